package render

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/reference"
)

// Bounds on a source, and on what is rendered of it.
const (
	maxBytes = 8 << 20
	maxFiles = 1000 // and as many directories

	tries = 10                   // to read a source that does not change meanwhile
	pause = 5 * time.Millisecond // between two
)

// file is one file of a source.
type file struct {
	name string // relative to the source
	mode fs.FileMode
	raw  string
	text reference.Text
}

// read reads the files of a source in the order of their names: those whose names
// do not begin with "..", in subdirectories too. A directory that the kubelet writes
// is entered through its "..data", which it replaces by one rename when anything in
// it changes (Kubernetes, pkg/volume/util/atomic_writer.go), so that all files are of
// one version. The error is a *identity.Refusal.
func read(src string) ([]file, error) {
	return readWhile(src, func() {})
}

func readWhile(src string, meanwhile func()) ([]file, error) {
	for n := range tries {
		if n > 0 {
			time.Sleep(pause)
		}
		files, changed, err := readOnce(src, meanwhile)
		if !changed {
			return files, err
		}
	}
	return nil, identity.Refuse(identity.Misconfigured,
		fmt.Errorf("PODFQDN_RENDER: %+q changed each of the %d times that it was read", src, tries), "stop what writes to it")
}

// readOnce reads a source. changed says that it was replaced meanwhile, and that what
// was read must not be used.
func readOnce(src string, meanwhile func()) (files []file, changed bool, err error) {
	root, err := os.OpenRoot(src + "/.") // for which the kernel refuses a FIFO before it opens it
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, refuse(src, errors.New("does not exist"), "mount a ConfigMap there")
	case errors.Is(err, syscall.ENOTDIR):
		return nil, false, refuse(src, errors.New("is not a directory"), "name the directory that the ConfigMap is mounted in")
	case err != nil:
		return nil, false, explain(src, err)
	}
	defer root.Close()
	s := source{src: src, in: root, left: maxBytes}
	version, _ := root.Readlink("..data") // "" in a plain directory
	if version != "" {
		if s.in, err = root.OpenRoot(version + "/."); err == nil {
			defer s.in.Close()
		} else {
			err = explain(filepath.Join(src, "..data"), err)
		}
	}
	if err == nil {
		err = s.directory("", nil)
	}
	meanwhile()
	// An old version is removed only after the rename, and its name never comes
	// again: the same name means that all was there.
	now, _ := root.Readlink("..data")
	return s.files, now != version, err
}

// source is a source while it is read.
type source struct {
	src         string // for errors
	in          *os.Root
	files       []file
	directories int
	left        int64 // bytes
}

// directory reads the files of one directory, whose names begin with prefix, and of
// those in it. above are the directories that it lies in.
func (s *source) directory(prefix string, above []fs.FileInfo) error {
	at := filepath.Join(s.src, prefix)
	dir, err := s.in.Open(prefix + ".")
	if err != nil {
		return explain(at, err)
	}
	names, err := s.list(dir)
	self, statErr := dir.Stat()
	_ = dir.Close()
	if err := errors.Join(err, statErr); err != nil {
		return explain(at, err)
	}
	if slices.ContainsFunc(above, func(other fs.FileInfo) bool { return os.SameFile(self, other) }) {
		return refuse(at, errors.New("is a link to a directory that it lies in"), "remove the link")
	}
	for _, name := range names {
		if err := s.entry(prefix+name, append(above, self)); err != nil {
			return err
		}
	}
	return nil
}

// list returns the names in dir that do not begin with "..", in order. It stops
// reading once there are more than are allowed.
func (s *source) list(dir *os.File) (names []string, err error) {
	for len(names) <= 2*maxFiles {
		some, err := dir.Readdirnames(256)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		for _, name := range some {
			if !strings.HasPrefix(name, "..") {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// entry reads the file or the directory called name. Links are followed as far as
// they stay in the source.
func (s *source) entry(name string, above []fs.FileInfo) error {
	at := filepath.Join(s.src, name)
	info, err := s.in.Stat(name)
	if err != nil {
		return explain(at, err)
	}
	if info.IsDir() {
		if s.directories++; s.directories > maxFiles {
			return refuse(s.src, fmt.Errorf("has more than %d directories", maxFiles), fewer)
		}
		return s.directory(name+"/", above)
	}
	if !info.Mode().IsRegular() {
		return refuse(at, fmt.Errorf("is %s", kind(info.Mode())), "only files and directories can be rendered: remove it")
	}
	if len(s.files) == maxFiles {
		return refuse(s.src, fmt.Errorf("has more than %d files", maxFiles), fewer)
	}
	raw, mode, err := s.read(name)
	if err != nil {
		return explain(at, err)
	}
	if !utf8.ValidString(raw) {
		return refuse(at, errors.New("is not UTF-8 text"), "only text can be rendered: mount the file itself, without podfqdn")
	}
	s.files = append(s.files, file{name: name, raw: raw, mode: 0o644 | mode&0o111})
	return nil
}

const fewer = "name a directory with less in it"

// read reads one file of at most as many bytes as are left. Anything else that is
// there by now is opened without blocking, and not read.
func (s *source) read(name string) (string, fs.FileMode, error) {
	f, err := s.in.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	if !info.Mode().IsRegular() {
		return "", 0, refuse(filepath.Join(s.src, name), fmt.Errorf("is now %s", kind(info.Mode())), "remove it")
	}
	if info.Size() > s.left {
		return "", 0, refuse(filepath.Join(s.src, name), fmt.Errorf("is too large: all files of a source together may have %d MiB", maxBytes>>20), fewer)
	}
	var b strings.Builder
	b.Grow(int(info.Size()))
	// One that grows meanwhile is as large as it was.
	if _, err = io.CopyN(&b, f, info.Size()); err != nil {
		return "", 0, err
	}
	s.left -= info.Size()
	return b.String(), info.Mode().Perm(), nil
}

// refuse returns a Refusal of what is at a path.
func refuse(at string, why error, change string) error {
	return identity.Refuse(identity.Misconfigured, fmt.Errorf("PODFQDN_RENDER: %+q %w", at, why), change)
}

// explain returns a Refusal with why a path cannot be read.
func explain(at string, err error) error {
	errno, system := errors.AsType[syscall.Errno](err)
	switch {
	case errors.As(err, new(*identity.Refusal)):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return refuse(at, errors.New("is a broken link, or was just removed"), "remove the link, or add what it leads to")
	case errors.Is(err, fs.ErrPermission):
		return refuse(at, fmt.Errorf("cannot be read by uid %d", os.Geteuid()), "set the Pod's fsGroup, or the volume's defaultMode to 0444")
	case system:
		return refuse(at, fmt.Errorf("cannot be read: %w", errno), "replace it")
	case errors.As(err, new(*fs.PathError)): // of os.Root
		return refuse(at, errors.New("is a link that is absolute or leads out of the source"), "remove it, or put there what it leads to")
	}
	return refuse(at, fmt.Errorf("cannot be read: %w", err), "replace it")
}

// kind names what has a mode that is not a regular file's.
func kind(mode fs.FileMode) string {
	switch mode.Type() {
	case fs.ModeNamedPipe:
		return "a FIFO"
	case fs.ModeSocket:
		return "a socket"
	case fs.ModeDir:
		return "a directory"
	}
	return "a device"
}
