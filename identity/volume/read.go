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

	tries = 10 // how often Read starts again after a flip
)

// Read returns the files of the current generation in the order of their names,
// nil if there is none, and whether Verified was there for this very generation.
// It takes no lock and does not need write access. A FIFO or a device in the volume
// cannot block it.
func Read(dir string) (files []identity.File, verified bool, err error) {
	return read(dir, contract(nil), func() {})
}

// ReadTree is Read for a tree, whose start signal is one of the files.
func ReadTree(dir, signal string) (files []identity.File, stands bool, err error) {
	return read(dir, treeOf(signal), func() {})
}

func read(dir string, l layout, meanwhile func()) (files []identity.File, verified bool, err error) {
	d, err := openDir(dir, l)
	if err != nil {
		return nil, false, err
	}
	defer d.root.Close()
	for range tries {
		_, current, err := d.stat(data)
		if err != nil || current == "" {
			return nil, false, err
		}
		_, signal, err := d.stat(d.signal)
		if err != nil {
			return nil, false, err
		}
		files, err := d.generation(current)
		meanwhile()
		// A generation is removed only after the flip away from it, and its
		// name is never reused: the same name means that all of it was there.
		if _, again, _ := d.stat(data); again == current {
			return d.content(files), signal != "" && err == nil, err
		}
	}
	return nil, false, fmt.Errorf("the generation in %+q changed %d times while it was read", dir, tries)
}

// layout is what a volume may hold.
type layout struct {
	signal string   // the start signal: the last name to appear and the first to go
	tree   bool     // with subdirectories, and names that are not known beforehand
	names  []string // otherwise: all that may be visible, except the signal

	// Bounds on what is read, since others may have put it there.
	maxBytes, maxFiles int
}

// contract returns the layout of files with these names, and Verified.
func contract(names []string) layout {
	return layout{signal: Verified, names: names, maxBytes: 1 << 20, maxFiles: 128}
}

// treeOf returns the layout of a tree: up to 1,000 files, and the signal.
func treeOf(signal string) layout {
	return layout{signal: signal, tree: true, maxBytes: 8<<20 + 1<<16, maxFiles: 1000 + 1}
}

// check returns what is wrong with a layout's names.
func (l layout) check() error {
	for _, name := range l.names {
		if name == Verified || strings.Contains(name, "/") || !isVisible(name) {
			return fmt.Errorf("%+q cannot be a visible name", name)
		}
	}
	if l.tree && (!strings.HasPrefix(l.signal, "..") || l.signal == ".." || strings.ContainsAny(l.signal, "/\x00") ||
		l.signal == data || l.signal == dataTmp || isGeneration(l.signal)) {
		return fmt.Errorf("%+q cannot be the start signal of a tree", l.signal)
	}
	return nil
}

// shows reports whether a generation may have a file of this name.
func (l layout) shows(name string) bool {
	if l.tree {
		return name == l.signal || isVisible(name)
	}
	return name == l.signal || slices.Contains(l.names, name)
}

// isVisible reports whether name, with slashes or not, can be that of a file that
// is not hidden.
func isVisible(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || strings.HasPrefix(part, "..") || strings.Contains(part, "\x00") {
			return false
		}
	}
	return true
}

// content returns the files of a generation without the signal that the layout adds
// itself.
func (l layout) content(files []identity.File) []identity.File {
	if l.tree {
		return files
	}
	return slices.DeleteFunc(slices.Clone(files), func(f identity.File) bool { return f.Name == l.signal })
}

func namesOf(files []identity.File) (names []string) {
	for _, f := range files {
		names = append(names, f.Name)
	}
	return names
}

// tops returns the first parts of names, each once, in order.
func tops(names []string) (parts []string) {
	for _, name := range names {
		part, _, _ := strings.Cut(name, "/")
		parts = append(parts, part)
	}
	slices.Sort(parts)
	return slices.Compact(parts)
}

// subdirs returns every directory that contains files of these names.
func subdirs(names []string) map[string]bool {
	all := map[string]bool{}
	for _, name := range names {
		for i, c := range name {
			if c == '/' {
				all[name[:i]] = true
			}
		}
	}
	return all
}

// directory is what the writer and a reader of a volume have in common.
type directory struct {
	layout
	dir  string // for errors only
	root *os.Root
}

// visible returns all names that may be visible now, the signal last: in a tree,
// those that look like ours.
func (d directory) visible() ([]string, error) {
	if !d.tree {
		return append(slices.Clone(d.names), d.signal), nil
	}
	self, err := d.root.Open(".")
	if err != nil {
		return nil, d.explain("look", err)
	}
	defer self.Close()
	all, err := self.Readdirnames(-1)
	if err != nil {
		return nil, d.explain("look", err)
	}
	var names []string
	for _, name := range all {
		if target, err := d.root.Readlink(name); err == nil && target == data+"/"+name && isVisible(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return append(names, d.signal), nil
}

// inside returns a path to dir that the kernel refuses for a FIFO or a device before
// it opens it.
func inside(dir string) string { return filepath.Clean(dir) + "/." }

// openDir opens dir; anything but a directory is an error.
func openDir(dir string, l layout) (directory, error) {
	root, err := os.OpenRoot(inside(dir))
	d := directory{l, dir, root}
	switch {
	case err == nil:
		return d, nil
	case errors.Is(err, fs.ErrNotExist):
		return d, fmt.Errorf("%+q does not exist: mount an emptyDir there", dir)
	case errors.Is(err, syscall.ENOTDIR):
		return d, fmt.Errorf("%+q is not a directory: mount an emptyDir there, not a single file", dir)
	}
	return d, fmt.Errorf("uid %d cannot open %+q: %w", os.Geteuid(), dir, errno(err))
}

// stat looks at one of our names: info is nil if it is absent; target is where the
// link leads. Anything that is not ours is an error.
func (d directory) stat(name string) (info fs.FileInfo, target string, err error) {
	info, err = d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", d.explain("look at "+name, err)
	}
	what := kind(info.Mode())
	if info.Mode().Type() == fs.ModeSymlink {
		if target, err = d.root.Readlink(name); err != nil {
			return nil, "", d.explain("look at "+name, err)
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
		todo = "it usually comes from a subPath mount; mount the directory, not single files"
	}
	return nil, "", fmt.Errorf("%+q in %+q is %s, but only a symlink by podfqdn to %q may be there: %s", name, d.dir, what, link, todo)
}

// generation reads one whole generation, the signal included, or says why it cannot.
func (d directory) generation(name string) ([]identity.File, error) {
	if name == "" {
		return nil, nil
	}
	files, err := d.readAll(name)
	if err == nil && !has(files, d.signal) {
		err = fmt.Errorf("%q is missing", d.signal)
	}
	if err != nil {
		forget(files)
		return nil, fmt.Errorf("generation %+q in %+q is torn: %w", name, d.dir, err)
	}
	return files, nil
}

func (d directory) readAll(name string) ([]identity.File, error) {
	in, _, err := enter(d.root, name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	r := reading{layout: d.layout, left: int64(d.maxBytes)}
	err = r.dir(in, "")
	slices.SortFunc(r.files, func(a, b identity.File) int { return strings.Compare(a.Name, b.Name) })
	return r.files, err
}

// reading is what was read of a generation, and how much more may be read.
type reading struct {
	layout
	files []identity.File
	left  int64 // bytes
	dirs  int
}

// dir reads the files of one directory; their names begin with prefix.
func (r *reading) dir(in *os.Root, prefix string) error {
	self, err := in.Open(".")
	if err != nil {
		return err
	}
	names, err := self.Readdirnames(r.maxFiles + 1)
	_ = self.Close()
	if err != nil && err != io.EOF {
		return err
	}
	if len(names) > r.maxFiles {
		return fmt.Errorf("there are more than %d files", r.maxFiles)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := r.entry(in, prefix, name); err != nil {
			return err
		}
	}
	return nil
}

func (r *reading) entry(in *os.Root, prefix, name string) error {
	if info, err := in.Lstat(name); err == nil && info.IsDir() && r.tree {
		if r.dirs++; r.dirs > r.maxFiles {
			return fmt.Errorf("there are more than %d directories", r.maxFiles)
		}
		sub, _, err := enter(in, name)
		if err != nil {
			return fmt.Errorf("%+q: %w", prefix+name, err)
		}
		defer sub.Close()
		return r.dir(sub, prefix+name+"/")
	}
	if len(r.files) >= r.maxFiles {
		return fmt.Errorf("there are more than %d files", r.maxFiles)
	}
	file, err := r.file(in, name)
	file.Name = prefix + name
	r.files = append(r.files, file)
	if err != nil {
		return fmt.Errorf("%+q: %w", prefix+name, errno(err))
	}
	r.left -= int64(len(file.Data))
	return nil
}

// file reads a regular file. Anything else is opened without waiting, and not read.
func (r *reading) file(in *os.Root, name string) (file identity.File, err error) {
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
	if info.Size() > r.left {
		return file, fmt.Errorf("is too large: a generation has at most %d bytes", r.maxBytes)
	}
	// In one piece, so that no copy of a key is left behind.
	content := make([]byte, info.Size())
	_, err = io.ReadFull(f, content)
	return identity.File{Data: content, Mode: info.Mode().Perm()}, err
}

// enter opens the directory name. os.Root follows a symlink that stays inside it;
// the comparison refuses that one.
func enter(parent *os.Root, name string) (*os.Root, fs.FileInfo, error) {
	seen, err := parent.Lstat(name)
	if err != nil {
		return nil, nil, errno(err)
	}
	in, err := parent.OpenRoot(name + "/.") // see inside
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

// explain makes an error of a failed system call that says what to change.
func (d directory) explain(what string, err error) error {
	todo := ""
	switch {
	case errors.Is(err, syscall.EROFS):
		todo = ": the volumeMount must not be readOnly"
	case full(err):
		todo = ": raise the volume's sizeLimit, or remove what fills it"
	case errors.Is(err, fs.ErrPermission):
		todo = fmt.Sprintf(" for uid %d", os.Geteuid())
		if top, err := d.root.Stat("."); err == nil {
			todo += fmt.Sprintf(", the directory has uid %d and mode %v", owner(top), top.Mode())
		}
		todo += ": mount an emptyDir, or set the Pod's fsGroup, and give all containers that write to it the same runAsUser"
	}
	return fmt.Errorf("cannot %s in %+q: %w%s", what, d.dir, errno(err), todo)
}

// errno returns the bare cause: the operation and path that package os adds would
// mean nothing to the reader of the error.
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
		return "a directory"
	case fs.ModeSymlink:
		return "a symlink"
	case fs.ModeNamedPipe:
		return "a FIFO"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a device"
}
