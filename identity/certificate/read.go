package certificate

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/source"
)

// The files of a directory, as of a Secret of type kubernetes.io/tls and of cert-manager.
const (
	fileCert = "tls.crt"
	fileKey  = "tls.key"
	fileCA   = "ca.crt"
)

// Bounds on what is read. A Secret has at most 1 MiB.
const (
	maxBytes = 4 << 20 // of all files together
	maxNames = 100     // of a directory, to show what it has instead
	tries    = 5       // to read a source that does not change meanwhile
)

// holds is what the source holds, for errors.
const holds = "certificate"

// files is what a source has, read at one moment. It holds no private key.
type files struct {
	certAt, keyAt string // to people: where the certificates and the key are
	leaf          *x509.Certificate
	chain         []*x509.Certificate // the others that come with it
	roots         []*x509.Certificate // of ca.crt; nil without
	key           crypto.PublicKey    // of the private key
	bundle        bool                // all are in one file, in any order
}

// look looks at the source.
func look(path string) (source.State, error) {
	one, err := source.Stat(path, path)
	if err != nil {
		return source.State{}, source.Explain(path, err, holds)
	}
	if !one.Mode.IsDir() {
		return source.State{Files: []source.File{one}}, ordinary(one)
	}
	s := source.State{Dir: source.Data(path)}
	for _, name := range []string{fileCert, fileKey, fileCA} {
		f, err := source.Stat(filepath.Join(s.Dir, name), filepath.Join(path, name))
		if err == nil {
			err = ordinary(f)
		} else if errors.Is(err, fs.ErrNotExist) && name == fileCA {
			err = nil
		} else if errors.Is(err, fs.ErrNotExist) {
			err = lacks(path, s.Dir, name)
		} else {
			err = source.Explain(f.Shown, err, holds)
		}
		if err != nil {
			return s, err
		}
		s.Files = append(s.Files, f)
	}
	return s, nil
}

// ordinary refuses anything but a regular file, as a read of it may never end.
func ordinary(f source.File) error {
	if f.Mode.IsRegular() {
		return nil
	}
	what := "a device"
	switch f.Mode.Type() {
	case fs.ModeDir:
		what = "a directory"
	case fs.ModeNamedPipe:
		what = "a FIFO"
	case fs.ModeSocket:
		what = "a socket"
	}
	return identity.Refuse(identity.Misconfigured, fmt.Errorf("%s: %+q is %s", variable, f.Shown, what),
		"name a directory with tls.crt and tls.key, or one file with certificate and key")
}

// lacks returns the error that a directory does not have a file, with what it has.
func lacks(path, dir, name string) error {
	if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.Mode().Type() == fs.ModeSymlink {
		return fmt.Errorf("%+q is a broken link: replace it, or create what it leads to", filepath.Join(path, name))
	}
	var names []string
	if opened, err := os.Open(dir); err == nil {
		some, _ := opened.Readdirnames(maxNames)
		_ = opened.Close()
		for _, name := range some {
			if !strings.HasPrefix(name, "..") {
				names = append(names, show(name))
			}
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("%+q is empty: what issues the certificate has not put %s and %s there yet", path, fileCert, fileKey)
	}
	slices.Sort(names)
	return fmt.Errorf("%+q has no %s, but %s: name its files %s and %s, or set %s to one file with certificate and key",
		path, name, identity.List(names), fileCert, fileKey, variable)
}

// read reads the source, all of it in one state. The error is a *identity.Refusal
// where only another Pod spec can help.
func read(path string) (*files, error) {
	var failed error
	for range tries {
		before, err := look(path)
		if failed = err; err != nil {
			continue // it may just have been replaced
		}
		found, err := readAll(before)
		if after, _ := look(path); after.Equal(before) {
			return found, err
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, fmt.Errorf("%+q changed each of the %d times that it was read", path, tries)
}

// readAll reads the files of s.
func readAll(s source.State) (*files, error) {
	left := int64(maxBytes)
	cert := s.Files[0]
	if s.Dir == "" {
		var all blocks
		if err := readFile(cert, &left, true, &all); err != nil {
			return nil, err
		}
		return all.bundle(cert.Shown)
	}
	key, ca := s.Files[1], s.Files[2]
	var certs, keys, roots blocks
	if err := readFile(cert, &left, false, &certs); err != nil {
		return nil, err
	}
	if err := readFile(key, &left, true, &keys); err != nil {
		return nil, err
	}
	if ca.There() {
		if err := readFile(ca, &left, false, &roots); err != nil {
			return nil, err
		}
		if len(roots.certs) == 0 && !roots.blank { // an issuer that has no CA leaves it empty
			return nil, roots.none(ca.Shown, "certificate")
		}
	}
	switch {
	case len(certs.certs) == 0:
		return nil, certs.none(cert.Shown, "certificate")
	case keys.key == nil:
		return nil, keys.none(key.Shown, "private key")
	}
	return &files{
		certAt: cert.Shown, keyAt: key.Shown, leaf: certs.certs[0], chain: certs.certs[1:],
		roots: roots.certs, key: keys.key,
	}, nil
}

// readFile parses a file of at most *left bytes, and subtracts its size from that.
func readFile(f source.File, left *int64, withKey bool, into *blocks) error {
	opened, err := f.Open(holds)
	if err != nil {
		return err
	}
	defer opened.Close()
	if f.Size > *left {
		return fmt.Errorf("%+q is too large: certificates and key may have %d MiB together", f.Shown, maxBytes>>20)
	}
	*left -= f.Size
	// In one piece, so that no copy of a key is left behind.
	data := make([]byte, f.Size)
	defer clear(data)
	if _, err := io.ReadFull(opened, data); err != nil {
		return source.Explain(f.Shown, err, holds)
	}
	if err := into.parse(data, withKey); err != nil {
		return fmt.Errorf("%+q: %w", f.Shown, err)
	}
	return nil
}
