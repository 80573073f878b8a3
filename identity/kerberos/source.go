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

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/source"
)

// Bounds on what is read. A Secret has at most 1 MiB.
const (
	maxBytes = 16 << 20 // of all keytabs of a source together
	maxFiles = 4096     // in a directory
	tries    = 5        // to read a source that does not change meanwhile
)

// Source is where the keys come from: the path of a keytab, or of a directory of
// keytabs, perhaps with words in braces, as in Templates.
//
// In a directory every file that begins like a keytab is read; a Secret may have
// other files too, which are passed over. One that cannot be read to its end is
// ignored: in a directory with everybody's keys it is most
// likely another Pod's. Where keys are missing the error names it, and one that is
// a keytab in base64, and counts what was passed over. Subdirectories are not read.
type Source struct{ source.Path }

// keytabs is a Source whose path is known.
type keytabs struct {
	path   string
	seen   source.State // when it was read last
	passed int          // how many files there did not begin like a keytab then
}

// stat looks at the source.
func (s *keytabs) stat() (source.State, error) {
	one, err := source.Stat(s.path, s.path)
	if err != nil {
		return source.State{}, explain(s.path, err)
	}
	if one.Mode.IsRegular() {
		return source.State{Files: []source.File{one}}, nil
	}
	if !one.Mode.IsDir() {
		return source.State{}, identity.Refuse(identity.Misconfigured,
			fmt.Errorf("PODFQDN_KRB5_SOURCE, %+q, is neither a file nor a directory", s.path), "name a keytab or a directory of keytabs")
	}
	l := source.State{Dir: source.Data(s.path)}
	dir, err := os.Open(l.Dir)
	if err != nil {
		return source.State{}, explain(s.path, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxFiles + 1)
	if err != nil && err != io.EOF {
		return source.State{}, explain(s.path, err)
	}
	if len(names) > maxFiles {
		return source.State{}, fmt.Errorf("%+q has more than %d files in it: name one keytab, for example with {hostname}, or a directory with fewer", s.path, maxFiles)
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasPrefix(name, "..") {
			continue
		}
		f, err := source.Stat(filepath.Join(l.Dir, name), filepath.Join(s.path, name))
		switch {
		case errors.Is(err, fs.ErrNotExist): // a broken link, or the directory is being replaced
		case err != nil:
			l.Files = append(l.Files, f) // reading it will say why not
		case f.Mode.IsRegular():
			l.Files = append(l.Files, f)
		}
	}
	return l, nil
}

// read returns the source's entries, all from one state of it: those of the wanted
// principals with bytes of their own, all others without. skipped names the files of
// a directory that could not be read. The error is a *identity.Refusal
// where only another Pod spec can help.
func (s *keytabs) read(ctx context.Context, want []Principal) (entries []Entry, skipped []string, err error) {
	var failed error
	for range tries {
		before, err := s.stat()
		s.seen = before
		if failed = err; err != nil {
			continue // it may just have been replaced
		}
		entries, skipped, s.passed, err = readAll(ctx, before, want)
		if ctx.Err() != nil {
			forget(entries)
			return nil, nil, context.Cause(ctx)
		}
		if after, _ := s.stat(); after.Equal(before) {
			return entries, skipped, err
		}
		forget(entries)
	}
	if failed != nil {
		return nil, nil, failed
	}
	return nil, nil, fmt.Errorf("%+q changed each of the %d times that it was read", s.path, tries)
}

// readAll reads the files of l. passed is the number of files of a directory that do
// not begin like a keytab.
func readAll(ctx context.Context, l source.State, want []Principal) (entries []Entry, skipped []string, passed int, err error) {
	left := int64(maxBytes)
	var denied error
	readable := false
	for _, f := range l.Files {
		if ctx.Err() != nil {
			break
		}
		found, err := readFile(f, &left, want)
		if _, final := errors.AsType[*identity.Refusal](err); !final {
			readable = true
		} else if denied == nil {
			denied = err
		}
		switch {
		case err == nil:
			entries = append(entries, found...)
		case l.Dir == "":
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

// readFile reads one keytab of at most *left bytes, and subtracts its size from that.
func readFile(f source.File, left *int64, want []Principal) ([]Entry, error) {
	opened, err := f.Open(holds)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	first := make([]byte, maxFirst)
	switch n, _ := opened.ReadAt(first, 0); {
	case looksBase64(first[:n]):
		return nil, fmt.Errorf("%+q %w", f.Shown, errBase64)
	case n > 0 && first[0] != formatByte:
		return nil, fmt.Errorf("%+q %w", f.Shown, errNoKeytab)
	case f.Size > *left:
		return nil, fmt.Errorf("%+q is too large: all keytabs of a source together may have %d MiB", f.Shown, maxBytes>>20)
	}
	*left -= f.Size
	// In one piece, so that no copy of a key is left behind.
	data := make([]byte, f.Size)
	defer clear(data)
	if _, err := io.ReadFull(opened, data); err != nil {
		return nil, explain(f.Shown, err)
	}
	entries, err := ParseKeytab(data)
	if err != nil {
		return nil, fmt.Errorf("%+q %w", f.Shown, err)
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

// explain adds what to change if a path cannot be read.
func explain(path string, err error) error { return source.Explain(path, err, holds) }

// holds is what lies in the source, in errors.
const holds = "keys"
