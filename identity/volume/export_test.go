package volume

import "github.com/podfqdn/podfqdn/identity"

// Patience is how long Open waits for another writer.
const Patience = patience

// MaxBytes is the largest generation.
const MaxBytes = maxBytes

// OpenAs is Open for a process that takes itself for uid, with a function that
// is called before each change and can stop it.
var OpenAs = open

// ReadWhile is Read with a function that is called while each generation is read.
var ReadWhile = read

// PublishFiles publishes what nothing has proven.
func (v *Volume) PublishFiles(files []identity.File) (changed bool, err error) {
	return v.publish(files)
}

// Held is the descriptor of the lock.
func (v *Volume) Held() int { return int(v.held.Fd()) }
