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

	tries = 10 // for Read to see no flip meanwhile
)

// Read gives the files of the current generation in the order of their names,
// nil if there is none, and whether Verified stood for this very generation.
// It takes no lock and needs no right to write, and no FIFO or device in the
// volume can hold it.
func Read(dir string) (files []identity.File, verified bool, err error) {
	return read(dir, contract(nil), func() {})
}

// ReadTree is Read for a tree, whose start signal is one of the files.
func ReadTree(dir, signal string) (files []identity.File, stands bool, err error) {
	return read(dir, treeOf(signal), func() {})
}

func read(dir string, l layout, meanwhile func()) (files []identity.File, verified bool, err error) {
	f, err := openFolder(dir, l)
	if err != nil {
		return nil, false, err
	}
	defer f.root.Close()
	for range tries {
		_, current, err := f.stat(data)
		if err != nil || current == "" {
			return nil, false, err
		}
		_, signal, err := f.stat(f.signal)
		if err != nil {
			return nil, false, err
		}
		files, err := f.generation(current)
		meanwhile()
		// A generation is removed only after the flip away from it, and its
		// name never comes again: the same name means that all was there.
		if _, again, _ := f.stat(data); again == current {
			return f.content(files), signal != "" && err == nil, err
		}
	}
	return nil, false, fmt.Errorf("the generation in %+q changed %d times while it was read", dir, tries)
}

// layout is what a volume may hold.
type layout struct {
	signal string   // the start signal: the last name to appear and the first to go
	tree   bool     // with subdirectories, and names that nobody knows beforehand
	names  []string // else: all that may be visible, but for the signal

	// Bounds on what is read, since anybody may have put it there.
	maxBytes, maxFiles int
}

// contract is the layout of files with these names, and Verified.
func contract(names []string) layout {
	return layout{signal: Verified, names: names, maxBytes: 1 << 20, maxFiles: 128}
}

// treeOf is the layout of a tree: of 1,000 files, and the signal.
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

// isVisible reports whether name, with slashes or not, can be that of a file which
// is not hidden.
func isVisible(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || strings.HasPrefix(part, "..") || strings.Contains(part, "\x00") {
			return false
		}
	}
	return true
}

// content is the files of a generation that are not the layout's own.
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

// tops gives the first parts of names, each once, in order.
func tops(names []string) (parts []string) {
	for _, name := range names {
		part, _, _ := strings.Cut(name, "/")
		parts = append(parts, part)
	}
	slices.Sort(parts)
	return slices.Compact(parts)
}

// folders gives every folder that files of these names lie in.
func folders(names []string) map[string]bool {
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

// folder is the volume as writer and reader see it.
type folder struct {
	layout
	dir  string // for errors only
	root *os.Root
}

// visible gives all names that may be visible now, the signal last: in a tree those
// that look like ours.
func (f folder) visible() ([]string, error) {
	if !f.tree {
		return append(slices.Clone(f.names), f.signal), nil
	}
	self, err := f.root.Open(".")
	if err != nil {
		return nil, f.explain("look", err)
	}
	defer self.Close()
	all, err := self.Readdirnames(-1)
	if err != nil {
		return nil, f.explain("look", err)
	}
	var names []string
	for _, name := range all {
		if target, err := f.root.Readlink(name); err == nil && target == data+"/"+name && isVisible(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return append(names, f.signal), nil
}

// inside is a path for which the kernel refuses a FIFO or a device before it
// opens it.
func inside(dir string) string { return filepath.Clean(dir) + "/." }

// openFolder opens the folder and nothing else.
func openFolder(dir string, l layout) (folder, error) {
	root, err := os.OpenRoot(inside(dir))
	f := folder{l, dir, root}
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, fs.ErrNotExist):
		return f, fmt.Errorf("%+q does not exist: mount an emptyDir there", dir)
	case errors.Is(err, syscall.ENOTDIR):
		return f, fmt.Errorf("%+q is not a directory: mount an emptyDir there, not a single file", dir)
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
		todo = "it usually comes from a subPath mount; mount the directory, not single files"
	}
	return nil, "", fmt.Errorf("%+q in %+q is %s, but only a symlink by podfqdn to %q may be there: %s", name, f.dir, what, link, todo)
}

// generation reads one generation whole, Verified included, or says why it
// cannot be.
func (f folder) generation(name string) ([]identity.File, error) {
	if name == "" {
		return nil, nil
	}
	files, err := f.readAll(name)
	if err == nil && !has(files, f.signal) {
		err = fmt.Errorf("%q is missing", f.signal)
	}
	if err != nil {
		forget(files)
		return nil, fmt.Errorf("generation %+q in %+q is torn: %w", name, f.dir, err)
	}
	return files, nil
}

func (f folder) readAll(name string) ([]identity.File, error) {
	in, _, err := enter(f.root, name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	r := reading{layout: f.layout, left: int64(f.maxBytes)}
	err = r.folder(in, "")
	slices.SortFunc(r.files, func(a, b identity.File) int { return strings.Compare(a.Name, b.Name) })
	return r.files, err
}

// reading is what was read of a generation, and how much more may be.
type reading struct {
	layout
	files   []identity.File
	left    int64 // bytes
	folders int
}

// folder reads the files of one folder, whose names begin with prefix.
func (r *reading) folder(in *os.Root, prefix string) error {
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
		if r.folders++; r.folders > r.maxFiles {
			return fmt.Errorf("there are more than %d directories", r.maxFiles)
		}
		sub, _, err := enter(in, name)
		if err != nil {
			return fmt.Errorf("%+q: %w", prefix+name, err)
		}
		defer sub.Close()
		return r.folder(sub, prefix+name+"/")
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

// file reads a regular file. Whatever else stands there is opened without waiting
// for anybody, and not read.
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

// enter opens the folder called name. A symlink, which os.Root follows as far
// as it stays inside, is refused by the comparison.
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
			todo += fmt.Sprintf(", the directory has uid %d and mode %v", owner(top), top.Mode())
		}
		todo += ": mount an emptyDir, or set the Pod's fsGroup, and give all containers that write to it the same runAsUser"
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
