package volume

import (
	"context"

	"github.com/podfqdn/podfqdn/identity"
)

// Patience is how long Open waits for another writer.
const Patience = patience

// MaxBytes is the largest generation of a contract.
var MaxBytes = contract(nil).maxBytes

// OpenAs is Open for a process that takes itself for uid, with a function that
// is called before each change and can stop it.
func OpenAs(ctx context.Context, dir string, names []string, keep func([]identity.File) error, uid int, step func(string) error) (*Volume, error) {
	return open(ctx, dir, contract(names), keep, uid, step)
}

// OpenTreeAs is OpenTree with the same.
func OpenTreeAs(ctx context.Context, dir, signal string, keep func([]identity.File) error, uid int, step func(string) error) (*Volume, error) {
	return open(ctx, dir, treeOf(signal), keep, uid, step)
}

// ReadWhile is Read with a function that is called while each generation is read.
func ReadWhile(dir string, meanwhile func()) ([]identity.File, bool, error) {
	return read(dir, contract(nil), meanwhile)
}

// PublishFiles publishes what nothing has proven.
func (v *Volume) PublishFiles(files []identity.File) (changed bool, err error) {
	return v.publish(files)
}

// Held is the descriptor of the lock.
func (v *Volume) Held() int { return int(v.held.Fd()) }
