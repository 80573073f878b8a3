package certificate

import (
	"context"
	"time"

	"github.com/podfqdn/podfqdn/identity"
)

// Files are what was read of a source.
type Files struct{ *files }

// Judge returns why a server at the claim's name cannot use them now.
func (f Files) Judge(claim identity.Claim) error { return f.judge(claim, time.Now()) }

// Serial returns the leaf's serial number.
func (f Files) Serial() string { return serial(f.leaf.SerialNumber) }

// Serial shows a serial number.
var Serial = serial

// PublicOf returns the public half of a private key.
var PublicOf = publicOf

// Read reads a source.
func Read(path string) (Files, error) {
	f, err := read(path)
	return Files{f}, err
}

// Look looks at a source as it is now; what it returns reads what was seen then.
func Look(path string) (func() error, error) {
	s, err := look(path)
	return func() error { _, err := readAll(s); return err }, err
}

// Hang returns the requirement of a source that hangs until end is called.
func Hang(claim identity.Claim, path string) (r *identity.Requirement, end func()) {
	n := &need{claim: claim, path: path}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	ended := make(chan struct{})
	_, _ = n.reading.Read(gone, path, func() result {
		<-ended
		return readAndJudge(path, claim)
	})
	return n.requirement(), func() { close(ended) }
}

// Check parses a bundle, and CAs if there are any, and judges them.
func Check(claim identity.Claim, bundle, ca []byte) error {
	var all, roots blocks
	if err := all.parse(bundle, true); err != nil {
		return err
	}
	if err := roots.parse(ca, false); err != nil {
		return err
	}
	f, err := all.bundle("/bundle")
	if err != nil {
		return err
	}
	f.roots = roots.certs
	return f.judge(claim, time.Now())
}
