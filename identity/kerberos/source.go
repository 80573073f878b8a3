package kerberos

import (
	"context"
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

// Bounds on what is read. A Secret has at most 1 MiB.
const (
	maxBytes = 16 << 20 // of all keytabs of a source together
	maxFiles = 4096     // in a folder
	tries    = 5        // to read a source that does not change meanwhile
)

// Source is where the keys come from: the path of a keytab, or of a folder of
// keytabs, perhaps with words in braces, as in Templates.
//
// In a folder every file that begins like a keytab is read; others lie in
// Secrets too, and are passed over. One that cannot be read to its end counts
// for nothing and stops nobody: in a folder with everybody's keys it is most
// likely another Pod's. Where keys are missing the error names it, and one that is
// a keytab in base64, and counts what was passed over. Folders in the folder are
// not looked into.
type Source struct{ source.Path }

// keytabs is a Source whose path is known.
type keytabs struct {
	path   string
	seen   state // when it was read last
	passed int   // how many files there did not begin like a keytab then
}

// state is a source from outside. Two states that are equal are at the same
// bytes, as far as a file system can tell.
type state struct {
	folder string // that holds the files; "" where the source is a file
	files  []file
}

func (l state) equal(other state) bool {
	return l.folder == other.folder && slices.Equal(l.files, other.files)
}

// file is a file from outside.
type file struct {
	path         string // to open it
	shown        string // to people: without what "..data" stands for
	dev, ino     uint64
	size         int64
	mode         fs.FileMode
	mtime, ctime syscall.Timespec
}

func newFile(path, shown string, info fs.FileInfo) file {
	stat := info.Sys().(*syscall.Stat_t)
	return file{path, shown, uint64(stat.Dev), stat.Ino, info.Size(), info.Mode(), stat.Mtim, stat.Ctim}
}

// stat looks at the source. A folder that the kubelet or a CSI driver writes is
// entered through its "..data", which is replaced by one rename when anything
// in it changes (Kubernetes, pkg/volume/util/atomic_writer.go).
func (s *keytabs) stat() (state, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return state{}, explain(s.path, err)
	}
	if info.Mode().IsRegular() {
		return state{files: []file{newFile(s.path, s.path, info)}}, nil
	}
	if !info.IsDir() {
		return state{}, identity.Refuse(identity.Misconfigured,
			fmt.Errorf("PODFQDN_KRB5_SOURCE, %+q, is neither a file nor a folder", s.path), "name a keytab or a folder of keytabs")
	}
	l := state{folder: s.path}
	if target, err := os.Readlink(filepath.Join(s.path, "..data")); err == nil {
		if l.folder = target; !filepath.IsAbs(target) {
			l.folder = filepath.Join(s.path, target)
		}
	}
	folder, err := os.Open(l.folder)
	if err != nil {
		return state{}, explain(s.path, err)
	}
	defer folder.Close()
	names, err := folder.Readdirnames(maxFiles + 1)
	if err != nil && err != io.EOF {
		return state{}, explain(s.path, err)
	}
	if len(names) > maxFiles {
		return state{}, fmt.Errorf("%+q has more than %d files in it: name one keytab, such as with {hostname}, or a folder with fewer", s.path, maxFiles)
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasPrefix(name, "..") {
			continue
		}
		path, shown := filepath.Join(l.folder, name), filepath.Join(s.path, name)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // a link that leads nowhere, or the folder is being replaced
		case err != nil:
			l.files = append(l.files, file{path: path, shown: shown}) // to read it will tell why not
		case info.Mode().IsRegular():
			l.files = append(l.files, newFile(path, shown, info))
		}
	}
	return l, nil
}

// read gives the source's entries, all from one state of it: of the principals
// that are wanted with bytes of their own, of all others without. It tells of
// files in a folder that could not be read. The error is a *identity.Refusal
// where only another Pod spec can help.
func (s *keytabs) read(ctx context.Context, want []Principal) (entries []Entry, skipped []string, err error) {
	var failed error
	for range tries {
		before, err := s.stat()
		s.seen = before
		if failed = err; err != nil {
			continue // it may just have been replaced
		}
		entries, skipped, s.passed, err = before.read(ctx, want)
		if ctx.Err() != nil {
			forget(entries)
			return nil, nil, context.Cause(ctx)
		}
		if after, _ := s.stat(); after.equal(before) {
			return entries, skipped, err
		}
		forget(entries)
	}
	if failed != nil {
		return nil, nil, failed
	}
	return nil, nil, fmt.Errorf("%+q was changed each of the %d times that it was read", s.path, tries)
}

// read reads what was looked at. passed is how many files of a folder do not begin
// like a keytab.
func (l state) read(ctx context.Context, want []Principal) (entries []Entry, skipped []string, passed int, err error) {
	left := int64(maxBytes)
	var denied error
	readable := false
	for _, f := range l.files {
		if ctx.Err() != nil {
			break
		}
		found, err := f.read(&left, want)
		if _, final := errors.AsType[*identity.Refusal](err); !final {
			readable = true
		} else if denied == nil {
			denied = err
		}
		switch {
		case err == nil:
			entries = append(entries, found...)
		case l.folder == "":
			return nil, nil, 0, err
		case errors.Is(err, errNoKeytab):
			passed++
		default:
			skipped = append(skipped, err.Error())
		}
	}
	if !readable && denied != nil {
		return nil, nil, 0, denied // no file at all may be read: so says the Pod's spec
	}
	return entries, skipped, passed, nil
}

// read reads one keytab of at most so many bytes, which become fewer. That it is
// another file by now is for a second look to see.
func (f file) read(left *int64, want []Principal) ([]Entry, error) {
	opened, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, explain(f.shown, err)
	}
	defer opened.Close()
	if info, err := opened.Stat(); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%+q is not a file any more", f.shown) // whose reader might wait for ever
	}
	first := make([]byte, maxFirst)
	switch n, _ := opened.ReadAt(first, 0); {
	case looksBase64(first[:n]):
		return nil, fmt.Errorf("%+q %w", f.shown, errBase64)
	case n > 0 && first[0] != formatByte:
		return nil, fmt.Errorf("%+q %w", f.shown, errNoKeytab)
	case f.size > *left:
		return nil, fmt.Errorf("%+q is too large: all keytabs of a source together may have %d MiB", f.shown, maxBytes>>20)
	}
	*left -= f.size
	// In one piece, so that no copy of a key is left behind.
	data := make([]byte, f.size)
	defer clear(data)
	if _, err := io.ReadFull(opened, data); err != nil {
		return nil, explain(f.shown, err)
	}
	entries, err := ParseKeytab(data)
	if err != nil {
		return nil, fmt.Errorf("%+q %w", f.shown, err)
	}
	for i, e := range entries {
		if slices.Contains(want, e.Principal) {
			entries[i] = e.clone()
		} else {
			entries[i].key, entries[i].record = nil, nil
		}
	}
	return entries, nil
}

// forget clears the bytes of entries.
func forget(entries []Entry) {
	for _, e := range entries {
		e.forget()
	}
}

// explain says what to change where a path cannot be read.
func explain(path string, err error) error { return source.Explain(path, err, "keys") }
