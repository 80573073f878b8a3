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
	"syscall"

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

// files is what a source has, read at one moment. It holds no private key.
type files struct {
	certAt, keyAt string // to people: where the certificates and the key are
	leaf          *x509.Certificate
	chain         []*x509.Certificate // the others that come with it
	roots         []*x509.Certificate // of ca.crt; nil without
	key           crypto.PublicKey    // of the private key
	bundle        bool                // all are in one file, in any order
}

// state is a source from outside. Two states that are equal are at the same bytes, as
// far as a file system can tell.
type state struct {
	dir   string // that holds the files; "" where the source is one file
	files []file
}

func (s state) equal(other state) bool {
	return s.dir == other.dir && slices.Equal(s.files, other.files)
}

// file is a file from outside; without an ino it is not there.
type file struct {
	path         string // to open it
	shown        string // to people: without what "..data" stands for
	dev, ino     uint64
	size         int64
	mode         fs.FileMode
	mtime, ctime syscall.Timespec
}

// stat looks at a file, which it does not open. The error of one that is not there
// is fs.ErrNotExist.
func stat(path, shown string) (file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return file{path: path, shown: shown}, err
	}
	s := info.Sys().(*syscall.Stat_t)
	return file{path, shown, uint64(s.Dev), s.Ino, info.Size(), info.Mode(), s.Mtim, s.Ctim}, nil
}

// look looks at the source. A directory that the kubelet or a CSI driver writes is
// entered through its "..data", which is replaced by one rename when anything in it
// changes (Kubernetes, pkg/volume/util/atomic_writer.go).
func look(path string) (state, error) {
	one, err := stat(path, path)
	if err != nil {
		return state{}, source.Explain(path, err, "certificate")
	}
	if !one.mode.IsDir() {
		return state{files: []file{one}}, one.ordinary()
	}
	s := state{dir: path}
	if target, err := os.Readlink(filepath.Join(path, "..data")); err == nil {
		if s.dir = target; !filepath.IsAbs(target) {
			s.dir = filepath.Join(path, target)
		}
	}
	for _, name := range []string{fileCert, fileKey, fileCA} {
		f, err := stat(filepath.Join(s.dir, name), filepath.Join(path, name))
		if err == nil {
			err = f.ordinary()
		} else if errors.Is(err, fs.ErrNotExist) && name == fileCA {
			err = nil
		} else if errors.Is(err, fs.ErrNotExist) {
			err = lacks(path, s.dir, name)
		} else {
			err = source.Explain(f.shown, err, "certificate")
		}
		if err != nil {
			return s, err
		}
		s.files = append(s.files, f)
	}
	return s, nil
}

// ordinary refuses what would not end when it is read, or holds whoever opens it.
func (f file) ordinary() error {
	if f.mode.IsRegular() {
		return nil
	}
	what := "a device"
	switch f.mode.Type() {
	case fs.ModeDir:
		what = "a directory"
	case fs.ModeNamedPipe:
		what = "a FIFO"
	case fs.ModeSocket:
		what = "a socket"
	}
	return identity.Refuse(identity.Misconfigured, fmt.Errorf("%s: %+q is %s", variable, f.shown, what),
		"name a directory with tls.crt and tls.key, or one file with certificate and key")
}

// lacks says that a directory does not have a file, and what it has.
func lacks(path, dir, name string) error {
	if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.Mode().Type() == fs.ModeSymlink {
		return fmt.Errorf("%+q is a link that leads nowhere: replace it, or put there what it leads to", filepath.Join(path, name))
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
		found, err := before.read()
		if after, _ := look(path); after.equal(before) {
			return found, err
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, fmt.Errorf("%+q was changed each of the %d times that it was read", path, tries)
}

// read reads what was looked at.
func (s state) read() (*files, error) {
	left := int64(maxBytes)
	cert := s.files[0]
	if s.dir == "" {
		var all blocks
		if err := cert.read(&left, true, &all); err != nil {
			return nil, err
		}
		return all.bundle(cert.shown)
	}
	key, ca := s.files[1], s.files[2]
	var certs, keys, roots blocks
	if err := cert.read(&left, false, &certs); err != nil {
		return nil, err
	}
	if err := key.read(&left, true, &keys); err != nil {
		return nil, err
	}
	if ca.ino != 0 {
		if err := ca.read(&left, false, &roots); err != nil {
			return nil, err
		}
		if len(roots.certs) == 0 && !roots.blank { // an issuer that has no CA leaves it empty
			return nil, roots.none(ca.shown, "certificate")
		}
	}
	switch {
	case len(certs.certs) == 0:
		return nil, certs.none(cert.shown, "certificate")
	case keys.key == nil:
		return nil, keys.none(key.shown, "private key")
	}
	return &files{
		certAt: cert.shown, keyAt: key.shown, leaf: certs.certs[0], chain: certs.certs[1:],
		roots: roots.certs, key: keys.key,
	}, nil
}

// read parses a file of at most so many bytes, which become fewer. That it is another
// file by now is for a second look to see.
func (f file) read(left *int64, withKey bool, into *blocks) error {
	opened, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return source.Explain(f.shown, err, "certificate")
	}
	defer opened.Close()
	if info, err := opened.Stat(); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%+q is not a file any more", f.shown) // whose reader might wait for ever
	}
	if f.size > *left {
		return fmt.Errorf("%+q is too large: certificates and key may have %d MiB together", f.shown, maxBytes>>20)
	}
	*left -= f.size
	// In one piece, so that no copy of a key is left behind.
	data := make([]byte, f.size)
	defer clear(data)
	if _, err := io.ReadFull(opened, data); err != nil {
		return source.Explain(f.shown, err, "certificate")
	}
	if err := into.parse(data, withKey); err != nil {
		return fmt.Errorf("%+q: %w", f.shown, err)
	}
	return nil
}
