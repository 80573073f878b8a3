// Package volume keeps one generation of small files in a directory that other
// containers read: all of it is visible, or none of it.
//
// What it does not promise:
//
//   - It does not protect against a container that may write to the volume: that
//     one can replace our files with its own. Mount the volume read-only
//     everywhere else. Such a container may stop us; it cannot make us write
//     outside the volume or into a file that we did not create.
//   - Two files opened one after the other by their visible names may come
//     from two generations. A reader that needs facts that match reads one file
//     that has them all, or resolves "..data" once and opens below it.
//   - A reader that is slower than two publications gets ENOENT and has to open
//     the file again.
//   - Nothing is synced to the disk: after a crash of the node the writer
//     runs again before any reader does, and fsync costs five times the rest.
//   - A container that mounts a single file by subPath never gets a change.
//
// What it promises: a kill at any moment, or a failure of any system call,
// leaves the old generation or the new one, whole; the next Open cleans up.
// It works under any uid and without capabilities.
//
// The layout is the one that the kubelet uses for ConfigMap and Secret volumes
// (Kubernetes, pkg/volume/util/atomic_writer.go), so that a program that watches
// those can watch this:
//
//	..gen-RANDOM/fqdn          the bytes
//	..gen-RANDOM/verified      empty
//	..data -> ..gen-RANDOM     replaced by one rename
//	fqdn -> ..data/fqdn        made once
//	verified -> ..data/verified
//
// A tree may also have subdirectories and names that are not known beforehand. Its
// start signal has a hidden name, since a program may read every visible file of the
// directory. As in a ConfigMap, only the names at the top are links:
//
//	..gen-RANDOM/conf.d/a.conf
//	..gen-RANDOM/..signal
//	conf.d -> ..data/conf.d
//	..signal -> ..data/..signal
//
// Names that begin with ".." are not part of the contract.
package volume

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/podfqdn/podfqdn/identity"
)

// Verified is the start signal: the last name to appear and the first to go.
const Verified = "verified"

const (
	patience = 2 * time.Second       // how long to wait for another writer to finish
	pause    = 20 * time.Millisecond // between two attempts
)

// Busy is the error that Open returns when another process is writing to the volume.
type Busy struct {
	dir    string
	waited time.Duration
}

func (b *Busy) Error() string {
	return fmt.Sprintf("another podfqdn is writing to %+q and did not finish within %v: only one container of a Pod may write to a volume", b.dir, b.waited)
}

// Volume is the right to write to a directory. It is for one goroutine.
type Volume struct {
	directory
	held     *os.File // carries the lock
	uid      int
	dropped  error
	previous string                  // the generation before the current one
	step     func(what string) error // called before each change
}

// Open locks the directory dir for one writer and checks whether publishing will
// work there, so that nobody waits for DNS for nothing.
//
// The names are all that the volume may ever show, without Verified. Each
// must be absent or a link of ours. If there is a generation, Open calls keep with
// its files in the order of their names; keep returns nil if they are still valid,
// else why not. Open drops a generation that keep refuses, and, without calling
// keep, one that cannot be read whole. A nil keep refuses every generation.
//
// Every error says in one sentence what to change, for instance in the Pod's
// spec. If ctx ends while Open waits for another writer, the error is a *Busy for a
// deadline and otherwise wraps the cause of ctx. The caller closes the Volume.
func Open(ctx context.Context, dir string, names []string, keep func([]identity.File) error) (*Volume, error) {
	return open(ctx, dir, contract(names), keep, os.Geteuid(), func(string) error { return nil })
}

// OpenTree is Open for a tree. The name of its start signal begins with "..". The
// signal is one of the published files and has content of its own, so keep gets it
// too.
func OpenTree(ctx context.Context, dir, signal string, keep func([]identity.File) error) (*Volume, error) {
	return open(ctx, dir, treeOf(signal), keep, os.Geteuid(), func(string) error { return nil })
}

func open(ctx context.Context, dir string, l layout, keep func([]identity.File) error, uid int, step func(string) error) (_ *Volume, err error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	d, err := openDir(dir, l)
	if err != nil {
		return nil, err
	}
	v := &Volume{directory: d, uid: uid, step: step}
	defer func() {
		if err != nil {
			_ = v.Close()
		}
	}()
	if err := v.lock(ctx); err != nil {
		return nil, err
	}
	current, err := v.survey(nil)
	if err != nil {
		return nil, err
	}
	var standing []identity.File
	if current != "" {
		standing, v.dropped = v.generation(current)
		defer forget(standing)
		if v.dropped == nil && keep == nil {
			v.dropped = errors.New("nothing that was there before is kept")
		} else if v.dropped == nil {
			v.dropped = keep(v.content(standing))
		}
		if v.dropped != nil {
			// First the signal; then all the rest goes in one step. If the first
			// fails, the second is still tried.
			if err := cmp.Or(v.unlink(v.signal), v.unlink(data)); err != nil {
				return nil, err
			}
			current, standing = "", nil
		}
	}
	// What a killed writer left.
	if err := cmp.Or(v.unlinkAllBut(standing), v.unlink(dataTmp)); err != nil {
		return nil, err
	}
	v.sweep(current)

	// The probe needs space for a directory, a file and its first byte, as a
	// publication does.
	_, err = v.build([]identity.File{{Name: "probe", Data: []byte{'\n'}, Mode: 0o600}})
	v.sweep(current)
	if current != "" && full(err) {
		err = nil // the current generation may be all that is needed
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Dropped says why Open dropped the generation that it found; nil if it
// dropped nothing.
func (v *Volume) Dropped() error { return v.dropped }

// Expect checks whether files with these names can be published in a tree, whose
// names Open does not know. The errors are like those of Open.
func (v *Volume) Expect(names []string) error {
	_, err := v.survey(tops(names))
	return err
}

// Publish makes g the current generation and then creates the start signal. If
// exactly these files, with these modes, are current already, it writes only what
// is missing, and changed is false. The same holds if the current files contain
// these (identity.Holds) next to files whose names were not given to Open: a newer
// version wrote them, and nothing is taken back. After an error, changed reports
// which generation is visible: if false, the previous one; if true, the new one, and
// only the signal or the cleanup is missing.
//
// There must be at least one file. Each must have one of the names given to Open
// and be readable by its owner; all together may have at most 1 MiB. A tree may have
// 1,000 files in addition to the signal, as many directories, and 8 MiB.
func (v *Volume) Publish(g identity.Generation) (changed bool, err error) {
	return v.publish(g.Files())
}

func (v *Volume) publish(files []identity.File) (changed bool, err error) {
	files, err = v.signed(files)
	if err != nil {
		return false, err
	}
	names := tops(namesOf(files))
	current, err := v.survey(names)
	if err != nil {
		return false, err
	}
	next := current
	standing, err := v.generation(current)
	defer forget(standing)
	if err != nil || !v.same(standing, files) {
		if next, err = v.build(files); err != nil {
			v.sweep(current, v.previous)
			return false, err
		}
	}
	unsigned := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == v.signal })
	linked, err := v.link(unsigned)
	if err == nil && next != current {
		err = v.flip(next)
	}
	if err != nil {
		for _, name := range linked {
			_ = v.unlink(name)
		}
		_ = v.unlink(dataTmp)
		v.sweep(current, v.previous)
		return false, err
	}
	if changed = next != current; changed {
		v.previous = current // a reader that has just resolved "..data" still reads it
	}
	// A name that could not be unlinked is a dangling link, which to a reader is as
	// good as none: the error is reported, and does not hold back the signal.
	err = v.unlinkAllBut(files)
	signal := v.stays()
	if signal == nil {
		_, signal = v.link([]string{v.signal})
	}
	v.sweep(next, v.previous)
	return changed, cmp.Or(err, signal)
}

// Withdraw removes the start signal. The files stay; Publish creates the signal
// again. It needs no space, and returns no error if there is no signal.
func (v *Volume) Withdraw() error { return v.unlink(v.signal) }

// InMemory reports whether the volume is entirely in memory (statfs(2)).
func (v *Volume) InMemory() (bool, error) {
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	var stat syscall.Statfs_t
	if err := syscall.Fstatfs(int(v.held.Fd()), &stat); err != nil {
		return false, v.explain("determine the type of the file system", err)
	}
	return stat.Type == tmpfs || stat.Type == ramfs, nil
}

// Close lets another writer in. What is published stays. It unlocks, rather than
// only closing the descriptor: a process that is just being started holds that
// descriptor too, from its fork until exec closes it.
func (v *Volume) Close() error {
	return errors.Join(syscall.Flock(int(v.held.Fd()), syscall.LOCK_UN), v.held.Close(), v.root.Close())
}

// lock locks the directory itself: a lock file would be one more name in it. The
// kernel releases the lock when the process ends.
func (v *Volume) lock(ctx context.Context) (err error) {
	if v.held, err = v.root.Open("."); err != nil {
		return v.explain("take the lock", err)
	}
	begin := time.Now()
	late := func() error { return &Busy{v.dir, min(time.Since(begin).Round(time.Millisecond), patience)} }
	for {
		err := syscall.Flock(int(v.held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case err != syscall.EWOULDBLOCK:
			return v.explain("take the lock", err)
		case time.Since(begin) >= patience:
			return late()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			if cause := context.Cause(ctx); cause != context.DeadlineExceeded {
				return fmt.Errorf("another podfqdn is writing to %+q: %w", v.dir, cause)
			}
			return late()
		}
	}
}

// survey returns the current generation, "" if there is none. It refuses a
// directory in which something else has one of our names: one that is visible, or
// is about to be.
func (v *Volume) survey(names []string) (current string, err error) {
	top, err := v.root.Stat(".")
	if err != nil {
		return "", v.explain("look", err)
	}
	visible, err := v.visible()
	if err != nil {
		return "", err
	}
	for _, name := range slices.Concat(visible, names, []string{dataTmp, data}) {
		info, target, err := v.stat(name)
		if err != nil {
			return "", err
		}
		if info == nil {
			continue
		}
		// The kernel would refuse any other uid too, but only at the rename, long
		// after DNS was asked. Uid 0 has the capability, or fails at the rename.
		if top.Mode()&fs.ModeSticky != 0 && v.uid != 0 && owner(top) != v.uid && owner(info) != v.uid {
			return "", fmt.Errorf("%+q in %+q belongs to uid %d and the sticky bit of this volume (medium: Memory has it) keeps uid %d from replacing it: give both containers the same runAsUser", name, v.dir, owner(info), v.uid)
		}
		if name == data {
			current = target
		}
	}
	return current, nil
}

// stays checks that readers still find the directory at its path: a directory that
// was unmounted, or covered by another mount, can still be written to.
func (v *Volume) stays() error {
	opened, err := v.root.Stat(".")
	if err != nil {
		return v.explain("look", err)
	}
	now, err := os.Stat(inside(v.dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return v.explain("look", err)
	}
	if err != nil || !os.SameFile(opened, now) {
		return fmt.Errorf("%+q is no longer mounted, or another directory is in its place: what is published there must stay for the life of the Pod", v.dir)
	}
	return nil
}

// build creates a new generation that is not visible yet.
func (v *Volume) build(files []identity.File) (name string, err error) {
	name = prefix + rand.Text()
	var made *os.Root
	err = v.do("make generation", func() (err error) {
		made, err = v.makeDir(v.root, name, 0o700)
		return err
	})
	if err != nil {
		return "", err
	}
	defer made.Close()
	if err := v.fill(made, "", files); err != nil {
		return "", err
	}
	// Readers are let in at the end. A chmod without the setgid bit would
	// clear it, and with it the group that comes from the Pod's fsGroup.
	return name, v.do("chmod generation", func() error {
		self, err := made.Open(".")
		if err != nil {
			return err
		}
		defer self.Close()
		info, err := self.Stat()
		if err != nil {
			return err
		}
		return self.Chmod(0o755 | info.Mode()&fs.ModeSetgid)
	})
}

// fill writes files, whose names all begin with prefix, into the directory of that
// prefix.
func (v *Volume) fill(in *os.Root, prefix string, files []identity.File) error {
	for len(files) > 0 {
		name, _, deeper := strings.Cut(files[0].Name[len(prefix):], "/")
		if !deeper {
			if err := v.write(in, name, files[0]); err != nil {
				return err
			}
			files = files[1:]
			continue
		}
		below := prefix + name + "/"
		n := 1 // sorted by name, the files of one directory are adjacent
		for n < len(files) && strings.HasPrefix(files[n].Name, below) {
			n++
		}
		var sub *os.Root
		err := v.do("make "+prefix+name, func() (err error) {
			sub, err = v.makeDir(in, name, 0o755) // the generation is still closed to others
			return err
		})
		if err != nil {
			return err
		}
		err = v.fill(sub, below, files[:n])
		_ = sub.Close()
		if err != nil {
			return err
		}
		files = files[n:]
	}
	return nil
}

// umask is held while the process has none.
var umask sync.Mutex

// makeDir creates a directory and returns it opened. Any process that may write to the
// volume can put something else under its name meanwhile: only a directory that we
// own is accepted, and it is in this volume, since os.Root follows no link out of
// it. No chmod goes by the name, so the umask, which may clear our own bits, is
// lifted beforehand.
func (v *Volume) makeDir(in *os.Root, name string, mode fs.FileMode) (*os.Root, error) {
	umask.Lock()
	before := syscall.Umask(0)
	err := in.Mkdir(name, mode)
	syscall.Umask(before)
	umask.Unlock()
	if err != nil {
		return nil, err
	}
	made, info, err := enter(in, name)
	if err != nil {
		return nil, err
	}
	if owner(info) != v.uid {
		_ = made.Close()
		return nil, fmt.Errorf("uid %d put something else in place of our directory %+q", owner(info), name)
	}
	return made, nil
}

func (v *Volume) write(in *os.Root, name string, file identity.File) error {
	var f *os.File
	err := v.do("create "+file.Name, func() (err error) {
		f, err = in.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	defer f.Close()
	err = v.do("write "+file.Name, func() error {
		_, err := f.Write(file.Data)
		return err
	})
	if err != nil {
		return err
	}
	// On the descriptor: the umask does not apply, and nobody can replace the file
	// meanwhile.
	return v.do("chmod "+file.Name, func() error { return cmp.Or(f.Chmod(file.Mode), f.Close()) })
}

// link creates the visible names that are missing and returns them. Until the
// flip they may be dangling.
func (v *Volume) link(names []string) (linked []string, err error) {
	for _, name := range names {
		info, _, err := v.stat(name)
		if err == nil && info == nil {
			linked = append(linked, name)
			err = v.do("link "+name, func() error { return v.root.Symlink(data+"/"+name, name) })
		}
		if err != nil {
			return linked, err
		}
	}
	return linked, nil
}

// flip makes next the current generation: the only moment at which anything changes
// for a reader.
func (v *Volume) flip(next string) error {
	if err := v.unlink(dataTmp); err != nil {
		return err
	}
	err := v.do("link "+dataTmp, func() error { return v.root.Symlink(next, dataTmp) })
	if err != nil {
		return err
	}
	return v.do("rename "+dataTmp, func() error { return v.root.Rename(dataTmp, data) })
}

// unlink removes a name of ours; it returns no error if the name is absent.
func (v *Volume) unlink(name string) error {
	if info, _, err := v.stat(name); err != nil || info == nil {
		return err
	}
	return v.do("unlink "+name, func() error { return v.root.Remove(name) })
}

func (v *Volume) unlinkAllBut(files []identity.File) error {
	visible, err := v.visible()
	if err != nil {
		return err
	}
	stay := tops(namesOf(files))
	for _, name := range visible {
		if slices.Contains(stay, name) {
			continue
		}
		if err := v.unlink(name); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes our generations except those to keep. It ignores failures: no name
// leads to those generations, and the next Open tries again.
func (v *Volume) sweep(keep ...string) {
	entries, _ := fs.ReadDir(v.root.FS(), ".")
	for _, entry := range entries {
		name := entry.Name()
		if !isGeneration(name) || slices.Contains(keep, name) {
			continue
		}
		if info, err := v.root.Lstat(name); err != nil || !info.IsDir() || owner(info) != v.uid {
			continue
		}
		_ = v.do("remove generation", func() error { return v.root.RemoveAll(name) })
	}
}

// do makes one change; what names it in the error.
func (v *Volume) do(what string, change func() error) error {
	err := v.step(what)
	if err == nil {
		err = change()
	}
	if err != nil {
		return v.explain(what, err)
	}
	return nil
}

// signed returns the files in order, with the signal, or says why they cannot be
// published.
func (v *Volume) signed(files []identity.File) ([]identity.File, error) {
	if len(files) == 0 {
		return nil, errors.New("a generation without files cannot be published")
	}
	if !v.tree {
		if has(files, v.signal) {
			return nil, fmt.Errorf("%+q is not a name that %+q may show", v.signal, v.dir)
		}
		files = append(slices.Clone(files), identity.File{Name: v.signal, Mode: 0o644})
	}
	size, names := 0, namesOf(files)
	for _, f := range files {
		if !v.shows(f.Name) {
			return nil, fmt.Errorf("%+q is not a name that %+q may show", f.Name, v.dir)
		}
		if f.Mode&^fs.ModePerm != 0 || f.Mode&0o400 == 0 {
			return nil, fmt.Errorf("%+q cannot have mode %v", f.Name, f.Mode)
		}
		size += len(f.Data)
	}
	switch {
	case !has(files, v.signal):
		return nil, fmt.Errorf("%+q is missing", v.signal)
	case size > v.maxBytes:
		return nil, fmt.Errorf("%d bytes in one generation are more than %d", size, v.maxBytes)
	case len(files) > v.maxFiles:
		return nil, fmt.Errorf("%d files in one generation are more than %d", len(files), v.maxFiles)
	case len(subdirs(names)) > v.maxFiles:
		return nil, fmt.Errorf("%d directories in one generation are more than %d", len(subdirs(names)), v.maxFiles)
	}
	files = slices.SortedFunc(slices.Values(files), func(a, b identity.File) int { return cmp.Compare(a.Name, b.Name) })
	for i := range files[1:] {
		if files[i].Name == files[i+1].Name {
			return nil, fmt.Errorf("%+q is there twice", files[i].Name)
		}
	}
	return files, nil
}

// known returns the files without those whose names were not given to Open.
func (v *Volume) known(files []identity.File) []identity.File {
	return slices.DeleteFunc(slices.Clone(files), func(f identity.File) bool { return !v.shows(f.Name) })
}

// same reports whether the current files contain all that would be written. In a
// tree every byte must match: podfqdn does not choose the names of its files.
func (v *Volume) same(standing, files []identity.File) bool {
	holds := identity.Holds
	if v.tree {
		holds = func(a, b identity.File) bool {
			return a.Name == b.Name && a.Mode == b.Mode && bytes.Equal(a.Data, b.Data)
		}
	}
	return slices.EqualFunc(v.known(standing), files, holds)
}

// forget overwrites the content of files, which may be keys.
func forget(files []identity.File) {
	for _, f := range files {
		clear(f.Data)
	}
}
