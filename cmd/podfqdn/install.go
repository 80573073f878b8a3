package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	installed  = "podfqdn"    // in the volume
	unfinished = "..podfqdn-" // begins the name of a copy that nobody runs yet
)

// self is this program as it runs, whatever its file is called now.
const self = "/proc/self/exe"

// checkInstall refuses a directory for the program that is not separate from PODFQDN_DIR.
func (c config) checkInstall() error {
	into := filepath.Clean(c.Install)
	switch dir := filepath.Clean(c.Dir); {
	case c.Install == "":
	case !filepath.IsAbs(into):
		return misconfigured(fmt.Sprintf("PODFQDN_INSTALL=%+q", c.Install), "must be an absolute path, such as /tools")
	case within(into, dir) || within(dir, into):
		return misconfigured(fmt.Sprintf("PODFQDN_INSTALL=%+q overlaps PODFQDN_DIR=%+q", c.Install, c.Dir), "mount a separate volume for the program")
	}
	return nil
}

// within reports whether a clean path is dir or lies in it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// install copies the program in file to dir/podfqdn, executable by every uid. A
// process that starts it meanwhile gets the old one or the new one, whole. If it is
// there already, nothing is written and changed is false. step is called before each
// change.
func install(ctx context.Context, file, dir string, step func(string) error) (changed bool, err error) {
	root, err := os.OpenRoot(dir + "/.") // for which the kernel refuses a FIFO
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("PODFQDN_INSTALL: %+q does not exist: mount a separate emptyDir there", dir)
	} else if err != nil {
		return false, installError(dir, "open", err)
	}
	defer root.Close()
	program, err := os.Open(file)
	if err != nil {
		return false, installError(dir, "read this program for", err)
	}
	defer program.Close()
	unlock, err := lockDir(ctx, root)
	if err != nil {
		return false, installError(dir, "lock", err)
	}
	defer unlock()
	names, _ := fs.Glob(root.FS(), unfinished+"*")
	for _, name := range names { // of a process that was killed
		_ = root.Remove(name)
	}
	if holds(root, program) {
		return false, nil
	}
	if _, err := program.Seek(0, io.SeekStart); err != nil {
		return false, installError(dir, "read this program for", err)
	}
	name := unfinished + rand.Text()
	if err := write(root, name, program, step); err != nil {
		_ = root.Remove(name)
		return false, installError(dir, "write to", err)
	}
	return true, nil
}

// write writes the program as name, and renames it once it is whole.
func write(root *os.Root, name string, program io.Reader, step func(string) error) error {
	if err := step("create"); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, do := range []struct {
		what string
		f    func() error
	}{
		{"write", func() error { _, err := io.Copy(f, program); return err }},
		{"chmod", func() error { return f.Chmod(0o555) }},
		{"close", f.Close}, // the kernel runs no file that is open for writing
		{"rename", func() error { return root.Rename(name, installed) }},
	} {
		if err := step(do.what); err != nil {
			return err
		}
		if err := do.f(); err != nil {
			return err
		}
	}
	return nil
}

// holds reports whether root has this very program, executable by every uid.
func holds(root *os.Root, program *os.File) bool {
	there, err := root.OpenFile(installed, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer there.Close()
	have, err := there.Stat()
	want, unknown := program.Stat()
	if err != nil || unknown != nil || have.Mode() != 0o555 || have.Size() != want.Size() {
		return false
	}
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(there, a)
		m, _ := io.ReadFull(program, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return false
		}
		if err != nil {
			return err == io.EOF || err == io.ErrUnexpectedEOF
		}
	}
}

// lockDir locks a directory for one writer, and returns a function that unlocks it.
func lockDir(ctx context.Context, root *os.Root) (unlock func(), err error) {
	const patience = 2 * time.Second // as for any volume
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	late := func() error {
		return fmt.Errorf("another process has had it locked for %s", min(time.Since(begin).Round(10*time.Millisecond), patience))
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if err == syscall.EWOULDBLOCK && time.Since(begin) >= patience {
			err = late()
		}
		if err != syscall.EWOULDBLOCK {
			_ = f.Close()
			return nil, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			_ = f.Close()
			if cause := context.Cause(ctx); cause != context.DeadlineExceeded {
				return nil, cause
			}
			return nil, late()
		}
	}
}

// installError adds what to change.
func installError(dir, what string, err error) error {
	if errors.As(err, new(exit)) { // a signal
		return fmt.Errorf("PODFQDN_INSTALL: cannot %s %+q: %w", what, dir, err)
	}
	change := "mount a separate emptyDir there"
	switch {
	case errors.Is(err, syscall.EROFS):
		change = "its volumeMount must not be readOnly in this container"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		change = "raise the volume's sizeLimit, or remove what fills it"
	case errors.Is(err, fs.ErrPermission):
		change = fmt.Sprintf("mount an emptyDir, or set the Pod's fsGroup, as this container's uid is %d", os.Geteuid())
	}
	return fmt.Errorf("PODFQDN_INSTALL: cannot %s %+q: %w: %s", what, dir, cause(err), change)
}

// install copies this program to PODFQDN_INSTALL, if that is set.
func (p *path) install(ctx context.Context) error {
	if p.cfg.Install == "" {
		return nil
	}
	if err := mounted(os.DirFS(p.cfg.Root), p.cfg.Install, "tools"); err != nil {
		return volumeError(fmt.Errorf("PODFQDN_INSTALL: %w", err))
	}
	changed, err := install(ctx, self, p.cfg.Install, func(string) error { return nil })
	if err != nil {
		return volumeError(err)
	}
	p.log.Info("installed", zap.String("file", filepath.Join(p.cfg.Install, installed)), zap.Bool("changed", changed))
	return nil
}
