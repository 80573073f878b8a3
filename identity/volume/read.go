package volume

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

	"github.com/podfqdn/podfqdn/identity"
)

const (
	data    = "..data"
	dataTmp = "..data_tmp"
	prefix  = "..gen-"

	// Bounds on what is read, since anybody may have put it there.
	maxBytes = 1 << 20
	maxFiles = 128

	tries = 10 // for Read to see no flip meanwhile
)

// Read gives the files of the current generation in the order of their names,
// nil if there is none, and whether Verified stood for this very generation.
// It takes no lock and needs no right to write, and no FIFO or device in the
// volume can hold it.
func Read(dir string) (files []identity.File, verified bool, err error) {
	return read(dir, func() {})
}

func read(dir string, meanwhile func()) (files []identity.File, verified bool, err error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, false, err
	}
	defer f.root.Close()
	for range tries {
		_, current, err := f.stat(data)
		if err != nil || current == "" {
			return nil, false, err
		}
		_, signal, err := f.stat(Verified)
		if err != nil {
			return nil, false, err
		}
		files, err := f.generation(current)
		meanwhile()
		// A generation is removed only after the flip away from it, and its
		// name never comes again: the same name means that all was there.
		if _, again, _ := f.stat(data); again == current {
			return unsigned(files), signal != "" && err == nil, err
		}
	}
	return nil, false, fmt.Errorf("the generation in %+q changed %d times while it was read", dir, tries)
}

// folder is the volume as writer and reader see it.
type folder struct {
	dir  string // for errors only
	root *os.Root
}

// inside is a path for which the kernel refuses a FIFO or a device before it
// opens it.
func inside(dir string) string { return filepath.Clean(dir) + "/." }

// openFolder opens the folder and nothing else.
func openFolder(dir string) (folder, error) {
	root, err := os.OpenRoot(inside(dir))
	f := folder{dir, root}
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, fs.ErrNotExist):
		return f, fmt.Errorf("%+q does not exist: mount an emptyDir there", dir)
	case errors.Is(err, syscall.ENOTDIR):
		return f, fmt.Errorf("%+q is not a folder: mount an emptyDir there, never a single file", dir)
	}
	return f, fmt.Errorf("uid %d cannot open %+q: %w", os.Geteuid(), dir, errno(err))
}

// stat says what stands under one of our names: info is nil if nothing does;
// target is where the link leads. Anything but ours is an error.
func (f folder) stat(name string) (info fs.FileInfo, target string, err error) {
	info, err = f.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", f.explain("look at "+name, err)
	}
	what := kind(info.Mode())
	if info.Mode().Type() == fs.ModeSymlink {
		if target, err = f.root.Readlink(name); err != nil {
			return nil, "", f.explain("look at "+name, err)
		}
		what = fmt.Sprintf("a symlink to %+q", target)
	}
	ours, link := false, data+"/"+name
	switch name {
	case data:
		ours, link = isGeneration(target), prefix+"*"
	case dataTmp:
		ours, link = target != "" || info.Mode().IsRegular(), prefix+"*"
	default:
		ours = target == link
	}
	if ours {
		return info, target, nil
	}
	todo := "remove it, or give podfqdn an emptyDir of its own"
	if info.IsDir() {
		todo = "it usually comes from a subPath mount; mount the directory, never single files"
	}
	return nil, "", fmt.Errorf("%+q in %+q is %s, where only a symlink of podfqdn to %q may stand: %s", name, f.dir, what, link, todo)
}

// generation reads one generation whole, Verified included, or says why it
// cannot be.
func (f folder) generation(name string) ([]identity.File, error) {
	if name == "" {
		return nil, nil
	}
	files, err := f.readAll(name)
	if err == nil && !has(files, Verified) {
		err = fmt.Errorf("%q is missing", Verified)
	}
	if err != nil {
		forget(files)
		return nil, fmt.Errorf("generation %+q in %+q is torn: %w", name, f.dir, err)
	}
	return files, nil
}

func (f folder) readAll(name string) ([]identity.File, error) {
	in, _, err := f.enter(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	self, err := in.Open(".")
	if err != nil {
		return nil, err
	}
	defer self.Close()
	names, err := self.Readdirnames(maxFiles + 1)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(names) > maxFiles {
		return nil, fmt.Errorf("there are more than %d files", maxFiles)
	}
	slices.Sort(names)
	left := int64(maxBytes)
	var files []identity.File
	for _, name := range names {
		file, err := readFile(in, name, left)
		files = append(files, file)
		if err != nil {
			return files, fmt.Errorf("%+q: %w", name, errno(err))
		}
		left -= int64(len(file.Data))
	}
	return files, nil
}

// readFile reads a regular file of at most max bytes. Whatever else stands
// there is opened without waiting for anybody, and not read.
func readFile(in *os.Root, name string, max int64) (file identity.File, err error) {
	f, err := in.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return file, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return file, err
	}
	if !info.Mode().IsRegular() {
		return file, fmt.Errorf("is %s", kind(info.Mode()))
	}
	if info.Size() > max {
		return file, fmt.Errorf("is too large: a generation has at most %d bytes", maxBytes)
	}
	// In one piece, so that no copy of a key is left behind.
	content := make([]byte, info.Size())
	_, err = io.ReadFull(f, content)
	return identity.File{Name: name, Data: content, Mode: info.Mode().Perm()}, err
}

// enter opens the folder called name. A symlink, which os.Root follows as far
// as it stays inside, is refused by the comparison.
func (f folder) enter(name string) (*os.Root, fs.FileInfo, error) {
	seen, err := f.root.Lstat(name)
	if err != nil {
		return nil, nil, errno(err)
	}
	in, err := f.root.OpenRoot(name + "/.") // see inside
	if err != nil {
		return nil, nil, errno(err)
	}
	opened, err := in.Stat(".")
	if err != nil || !os.SameFile(seen, opened) {
		_ = in.Close()
		return nil, nil, errors.New("is a symlink, or was replaced while it was opened")
	}
	return in, opened, nil
}

// explain turns the failure of a system call into a sentence that says what
// to change.
func (f folder) explain(what string, err error) error {
	todo := ""
	switch {
	case errors.Is(err, syscall.EROFS):
		todo = ": the volumeMount must not be readOnly"
	case full(err):
		todo = ": raise the volume's sizeLimit, or remove what fills it"
	case errors.Is(err, fs.ErrPermission):
		todo = fmt.Sprintf(" for uid %d", os.Geteuid())
		if top, err := f.root.Stat("."); err == nil {
			todo += fmt.Sprintf(", the folder has uid %d and mode %v", owner(top), top.Mode())
		}
		todo += ": mount an emptyDir, or set the Pod's fsGroup, and give all that write to it the same runAsUser"
	}
	return fmt.Errorf("cannot %s in %+q: %w%s", what, f.dir, errno(err), todo)
}

// errno leaves out what package os says around the cause: its operation and
// path mean nothing to whoever reads the sentence.
func errno(err error) error {
	if cause, ok := errors.AsType[syscall.Errno](err); ok {
		return cause
	}
	return err
}

func has(files []identity.File, name string) bool {
	return slices.ContainsFunc(files, func(f identity.File) bool { return f.Name == name })
}

func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func isGeneration(name string) bool {
	return strings.HasPrefix(name, prefix) && name != prefix && !strings.Contains(name, "/")
}

func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

func kind(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "a regular file"
	case fs.ModeDir:
		return "a folder"
	case fs.ModeSymlink:
		return "a symlink"
	case fs.ModeNamedPipe:
		return "a FIFO"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a device"
}
