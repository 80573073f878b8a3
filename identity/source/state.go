package source

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// State is what stat(2) says of a source. Two that are Equal have the same bytes, as far
// as a file system can tell: what is read between two Equal states is of one version.
type State struct {
	Dir   string // that holds the files; "" where the source is one file
	Files []File
}

// Equal reports whether nothing has changed from one state to the other.
func (s State) Equal(other State) bool {
	return s.Dir == other.Dir && slices.Equal(s.Files, other.Files)
}

// File is what stat(2) says of a file. If that failed, only Path and Shown are known.
type File struct {
	Path  string // to open it
	Shown string // to people: without what "..data" stands for
	Size  int64  // in bytes
	Mode  fs.FileMode

	dev, ino     uint64
	mtime, ctime syscall.Timespec
}

// Stat returns the state of a file without opening it. The error is that of os.Stat.
func Stat(path, shown string) (File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return File{Path: path, Shown: shown}, err
	}
	s := info.Sys().(*syscall.Stat_t)
	return File{path, shown, info.Size(), info.Mode(), uint64(s.Dev), s.Ino, s.Mtim, s.Ctim}, nil
}

// There reports whether Stat succeeded.
func (f File) There() bool { return f.ino != 0 }

// Open opens a regular file for reading, and never blocks. It does not check that this
// is still the same file: a second State shows that. The error is one of Explain.
func (f File) Open(holds string) (*os.File, error) {
	opened, err := os.OpenFile(f.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, Explain(f.Shown, err, holds)
	}
	if info, err := opened.Stat(); err == nil && !info.Mode().IsRegular() {
		_ = opened.Close()
		return nil, fmt.Errorf("%+q is no longer a file", f.Shown) // whose reader might wait for ever
	}
	return opened, nil
}

// Data returns the directory in which the files of dir really are. One that the kubelet
// or a CSI driver writes is entered through its "..data", which is replaced by one rename when anything
// in it changes (Kubernetes, pkg/volume/util/atomic_writer.go).
func Data(dir string) string {
	target, err := os.Readlink(filepath.Join(dir, "..data"))
	switch {
	case err != nil:
		return dir
	case filepath.IsAbs(target):
		return target
	}
	return filepath.Join(dir, target)
}
