// Package volume keeps one generation of small files in a folder that other
// containers read: all of it is visible, or none of it.
//
// What it does not promise:
//
//   - Nothing binds a container that may write to the volume: it can put its
//     own files where ours stand. Mount the volume read-only everywhere else.
//     Such a container may stop us; it cannot make us write outside the
//     volume or into a file that we did not create.
//   - Two files opened one after the other by their visible names may come
//     from two generations. Who needs facts that match reads one file that has
//     them all, or resolves "..data" once and opens below it.
//   - A reader that is slower than two publications meets ENOENT and opens
//     again.
//   - Nothing is synced to the disk: after a crash of the node the writer
//     runs again before any reader does, and fsync costs five times the rest.
//   - A container that mounts a single file by subPath never sees a change.
//
// What it promises: a kill at any moment, and a failure of any system call,
// leaves the old generation or the new one, whole; the next Open cleans up.
// Any uid will do, no capability is needed.
//
// The layout is the one that the kubelet gives ConfigMap and Secret volumes
// (Kubernetes, pkg/volume/util/atomic_writer.go), so that what watches those
// can watch this:
//
//	..gen-RANDOM/fqdn          the bytes
//	..gen-RANDOM/verified      empty
//	..data -> ..gen-RANDOM     replaced by one rename
//	fqdn -> ..data/fqdn        made once
//	verified -> ..data/verified
//
// A tree has subdirectories in addition, names that are not known beforehand, and a
// start signal of a hidden name, since its directory is that of a program that reads
// all of it. As in a ConfigMap the links stand for the names at the top:
//
//	..gen-RANDOM/conf.d/a.conf
//	..gen-RANDOM/..signal
//	conf.d -> ..data/conf.d
//	..signal -> ..data/..signal
//
// Names that begin with ".." are no part of the contract.
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
	patience = 2 * time.Second       // for another writer to end
	pause    = 20 * time.Millisecond // between two tries
)

// Busy is the error of Open where another process writes to the volume.
type Busy struct {
	dir    string
	waited time.Duration
}

func (b *Busy) Error() string {
	return fmt.Sprintf("another podfqdn is writing to %+q and did not finish within %v: only one container of a Pod may write to a volume", b.dir, b.waited)
}

// Volume is the right to write to a folder. It is for one goroutine.
type Volume struct {
	folder
	held     *os.File // carries the lock
	uid      int
	dropped  error
	previous string                  // the generation before the current one
	step     func(what string) error // called before each change
}

// Open takes the folder dir for one writer and finds out whether publishing
// will work there, so that nobody waits for DNS for nothing.
//
// The names are all that the volume may ever show, without Verified. Each
// must be absent or a link of ours. If a generation stands there, keep is
// given its files in the order of their names and says nil if they still
// hold, else why not. What keep refuses is dropped, and so is, without asking,
// what cannot be read whole; a keep of nil refuses everything.
//
// Every error says in one sentence what to change, for instance in the Pod's
// spec; the end of ctx, while another writer is waited for, is one with its
// cause, but for a deadline, which is a *Busy. The caller closes the Volume.
func Open(ctx context.Context, dir string, names []string, keep func([]identity.File) error) (*Volume, error) {
	return open(ctx, dir, contract(names), keep, os.Geteuid(), func(string) error { return nil })
}

// OpenTree is Open for a tree. The name of its start signal begins with "..", and
// the signal is one of the files that are published, with content of its own: keep
// is given it too.
func OpenTree(ctx context.Context, dir, signal string, keep func([]identity.File) error) (*Volume, error) {
	return open(ctx, dir, treeOf(signal), keep, os.Geteuid(), func(string) error { return nil })
}

func open(ctx context.Context, dir string, l layout, keep func([]identity.File) error, uid int, step func(string) error) (_ *Volume, err error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	f, err := openFolder(dir, l)
	if err != nil {
		return nil, err
	}
	v := &Volume{folder: f, uid: uid, step: step}
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
			// First the signal; then all the rest goes in one step. Should the
			// first fail, the second is tried all the more.
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

	// The probe takes a folder, a file and its first byte, as a publication does.
	_, err = v.build([]identity.File{{Name: "probe", Data: []byte{'\n'}, Mode: 0o600}})
	v.sweep(current)
	if current != "" && full(err) {
		err = nil // what stands there may be all that is needed
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Dropped says why Open dropped the generation that it found; nil if it
// dropped nothing.
func (v *Volume) Dropped() error { return v.dropped }

// Expect finds out whether files of these names can be published in a tree, whose
// names Open does not know. The error is as those of Open.
func (v *Volume) Expect(names []string) error {
	_, err := v.survey(tops(names))
	return err
}

// Publish makes g the current generation and then makes the start signal stand. If
// these very files, with these modes, are current already it writes nothing
// that is not missing, and changed is false; so it is where the current files hold
// these (identity.Holds), next to files whose names were not given to Open: a newer
// version wrote them, and nothing is taken back. After an error changed says which
// generation is visible: false, the one before; true, the new one, and only
// the signal or the cleaning is missing.
//
// There must be at least one file, each with one of the names given to Open
// and readable by its owner, and all together no more than 1 MiB; in a tree at most
// 1,000 files in addition to the signal, in at most as many directories, of 8 MiB.
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
		v.previous = current // where a reader is that has just resolved "..data"
	}
	// A name that could not be unlinked leads nowhere, which is as good to a
	// reader: it is reported, and does not hold back the signal.
	err = v.unlinkAllBut(files)
	signal := v.stays()
	if signal == nil {
		_, signal = v.link([]string{v.signal})
	}
	v.sweep(next, v.previous)
	return changed, cmp.Or(err, signal)
}

// Withdraw takes the start signal away. The files stay; Publish brings the
// signal back. It needs no space, and it is no error if nothing stands.
func (v *Volume) Withdraw() error { return v.unlink(v.signal) }

// InMemory reports whether nothing of the volume is on a disk (statfs(2)).
func (v *Volume) InMemory() (bool, error) {
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	var stat syscall.Statfs_t
	if err := syscall.Fstatfs(int(v.held.Fd()), &stat); err != nil {
		return false, v.explain("determine the type of the file system", err)
	}
	return stat.Type == tmpfs || stat.Type == ramfs, nil
}

// Close lets another writer in. What is published stays. The lock is given
// back, and not only its descriptor: a process that is just being started has
// that too, from its fork until exec has closed it.
func (v *Volume) Close() error {
	return errors.Join(syscall.Flock(int(v.held.Fd()), syscall.LOCK_UN), v.held.Close(), v.root.Close())
}

// lock takes the folder itself: a lock file would be one more name in it, and
// the kernel ends this one with the process.
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

// survey gives the current generation, "" if there is none, and refuses a
// folder where something else stands in our way: under a name that is visible, or
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
		// Any other uid is refused by the kernel too, but only at the rename,
		// long after DNS was asked. Uid 0 has the capability, or is told then.
		if top.Mode()&fs.ModeSticky != 0 && v.uid != 0 && owner(top) != v.uid && owner(info) != v.uid {
			return "", fmt.Errorf("%+q in %+q belongs to uid %d and the sticky bit of this volume (medium: Memory has it) keeps uid %d from replacing it: give both containers the same runAsUser", name, v.dir, owner(info), v.uid)
		}
		if name == data {
			current = target
		}
	}
	return current, nil
}

// stays sees that readers find the folder where it was opened: what was
// unmounted, or covered by another mount, can be written to all the same.
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

// build makes a new generation that nobody sees yet.
func (v *Volume) build(files []identity.File) (name string, err error) {
	name = prefix + rand.Text()
	var made *os.Root
	err = v.do("make generation", func() (err error) {
		made, err = v.makeFolder(v.root, name, 0o700)
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
	// clear it, and with it the sign of the volume's fsGroup.
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

// fill writes files, whose names all begin with prefix, into a folder for it.
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
		n := 1 // in the order of their names those of one folder stand together
		for n < len(files) && strings.HasPrefix(files[n].Name, below) {
			n++
		}
		var sub *os.Root
		err := v.do("make "+prefix+name, func() (err error) {
			sub, err = v.makeFolder(in, name, 0o755) // nobody else gets as far as this yet
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

// makeFolder makes a folder and gives it opened. Whoever may write to the
// volume can put something else under its name meanwhile: only a folder of
// ours is taken, and it lies in this volume, since os.Root follows no link
// out of it. Nothing is done to what the name stands for: the umask, which may
// take our own bits, is put aside beforehand.
func (v *Volume) makeFolder(in *os.Root, name string, mode fs.FileMode) (*os.Root, error) {
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
	// On the descriptor: the umask has no say, and nobody can change what the
	// name stands for.
	return v.do("chmod "+file.Name, func() error { return cmp.Or(f.Chmod(file.Mode), f.Close()) })
}

// link makes the visible names that are missing and says which. Until the
// flip they may lead nowhere.
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

// flip is the only moment at which anything changes for a reader.
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

// unlink removes a name of ours; an absent one is no error.
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

// sweep removes our generations but those to keep. A failure is no news for
// anybody: no name leads there, and the next Open tries again.
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

// do makes one change. What it is called is part of the error's sentence.
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

// signed gives the files in order, the signal among them, or says why they
// cannot be published.
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
	case len(folders(names)) > v.maxFiles:
		return nil, fmt.Errorf("%d directories in one generation are more than %d", len(folders(names)), v.maxFiles)
	}
	files = slices.SortedFunc(slices.Values(files), func(a, b identity.File) int { return cmp.Compare(a.Name, b.Name) })
	for i := range files[1:] {
		if files[i].Name == files[i+1].Name {
			return nil, fmt.Errorf("%+q is there twice", files[i].Name)
		}
	}
	return files, nil
}

// known is files without those of names that Open was not given.
func (v *Volume) known(files []identity.File) []identity.File {
	return slices.DeleteFunc(slices.Clone(files), func(f identity.File) bool { return !v.shows(f.Name) })
}

// same reports whether what stands has all that would be written. Of a tree that is
// every byte: it is not podfqdn who gives its files their names.
func (v *Volume) same(standing, files []identity.File) bool {
	holds := identity.Holds
	if v.tree {
		holds = func(a, b identity.File) bool {
			return a.Name == b.Name && a.Mode == b.Mode && bytes.Equal(a.Data, b.Data)
		}
	}
	return slices.EqualFunc(v.known(standing), files, holds)
}

// forget overwrites what was read, which may be keys.
func forget(files []identity.File) {
	for _, f := range files {
		clear(f.Data)
	}
}
