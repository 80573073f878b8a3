// Command hostile is another container of a Pod, which may write to its volumes: it puts symbolic links, hard links,
// FIFOs and directories where podfqdn is about to write, and takes away what podfqdn has just made, until its input ends.
//
//	hostile SECRET OUTSIDE VOLUME…
//	hostile -install OUTSIDE VOLUME
//
// The second is for the volume of the program, in which it takes the lock now and then, too.
//
// OUTSIDE is a directory that its links lead to. It keeps a descriptor of each file that it plants, and afterwards reports
// of those that hold something else now, and of files that it did not make, of another UID, and could read SECRET in.
// At the end it takes away what it has put under podfqdn's names. The last line is what it did.
package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const planted = "planted"

// names are podfqdn's, in all volumes.
var names = []string{"fqdn", "ip", "identity.json", "keytab", "krb5.conf", "server.conf", "conf.d", "turns", "..rendered", "verified", "..data", "..data_tmp"}

// unfinished are what podfqdn is making.
var unfinished = "..gen-*"

// inner are those in a generation.
var inner = []string{"probe", "fqdn", "identity.json", "keytab", "krb5.conf", "server.conf", "conf.d", "conf.d/a.conf", "conf.d/b.conf", "verified"}

type hostile struct {
	secret  []byte
	outside string
	held    []*os.File
	turns   int
	taken   int // generations
}

func main() {
	h := hostile{secret: []byte(os.Args[1]), outside: os.Args[2]}
	if os.Args[1] == "-install" {
		names, unfinished = []string{"podfqdn", "..podfqdn-planted"}, "..podfqdn-*"
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for {
		select {
		case <-ended:
			for _, volume := range os.Args[3:] {
				h.leave(volume)
			}
			h.tell()
			return
		default:
		}
		// Now everything, now only what is being made: one that is stopped at the door is not met inside.
		door := rand.IntN(4) == 0
		for end := time.Now().Add(time.Duration(rand.IntN(50)) * time.Millisecond); time.Now().Before(end); h.turns++ {
			for _, volume := range os.Args[3:] {
				h.turn(volume, door)
			}
			time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
		}
		// So that podfqdn gets as far as any step.
		for _, volume := range os.Args[3:] {
			h.leave(volume)
		}
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
	}
}

// pick returns one of several.
func pick[T any](from []T) T { return from[rand.IntN(len(from))] }

// turn spoils a name, if it is to, and whatever generation is being made.
func (h *hostile) turn(volume string, door bool) {
	path := filepath.Join(volume, pick(names))
	if !door && unfinished == "..gen-*" {
		path = filepath.Join(volume, "..data_tmp")
	} else if unfinished != "..gen-*" {
		lock(volume)
	}
	h.plant(path)
	generations, _ := filepath.Glob(filepath.Join(volume, unfinished))
	for _, generation := range generations {
		h.look(generation)
		switch rand.IntN(4) {
		case 0: // something else in its place
			h.taken++
			moved := filepath.Join(volume, fmt.Sprintf("moved-%d", rand.IntN(8)))
			_ = os.RemoveAll(moved)
			_ = os.Rename(generation, moved)
			h.plant(generation)
			h.look(moved)
		case 1: // a file in it, before podfqdn makes it
			path := filepath.Join(generation, pick(inner))
			if !isDirectory(generation) || !isDirectory(filepath.Dir(path)) {
				continue // which leads outside: the hostile writer is not to write there
			}
			h.plant(path)
		}
	}
	if rand.IntN(2) == 0 {
		_ = os.Remove(path)
	} else if rand.IntN(4) == 0 {
		h.leave(volume)
	}
}

func isDirectory(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// lock holds the volume's lock for a moment, now and then.
func lock(volume string) {
	if rand.IntN(100) > 0 {
		return
	}
	f, err := os.Open(volume)
	if err != nil {
		return
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
	}
}

// plant puts something where nothing stands, or in place of what stands there.
func (h *hostile) plant(path string) {
	targets := []string{h.outside, filepath.Join(h.outside, "file"), "../outside", "../outside/" + filepath.Base(path), "/proc/self/cwd", ".", "theirs"}
	if rand.IntN(3) == 0 {
		_ = os.Remove(path)
	}
	switch rand.IntN(6) {
	case 0, 1:
		_ = os.Symlink(pick(targets), path)
	case 2:
		_ = os.Link(filepath.Join(h.outside, pick([]string{"file", "fqdn", "keytab"})), path)
	case 3:
		_ = syscall.Mkfifo(path, 0o666)
	case 4:
		h.file(path)
	case 5: // a directory with its own files in it, which are open to all
		if os.Mkdir(path, 0o777) == nil {
			_ = os.Chmod(path, 0o777)
			for _, name := range inner {
				if rand.IntN(4) == 0 {
					h.file(filepath.Join(path, filepath.Base(name)))
				}
			}
		}
	}
}

// file plants a file and keeps it open.
func (h *hostile) file(path string) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return
	}
	_ = f.Chmod(0o666)
	_, _ = f.WriteString(planted)
	if len(h.held) < 500 {
		h.held = append(h.held, f)
		return
	}
	i := rand.IntN(len(h.held))
	h.check(h.held[i])
	h.held[i] = f
}

// check tells if a planted file holds something else, and closes it.
func (h *hostile) check(f *os.File) {
	defer f.Close()
	b := make([]byte, 1<<16)
	if n, _ := f.ReadAt(b, 0); string(b[:n]) != planted {
		fmt.Printf("what was planted as %s holds %q\n", f.Name(), b[:n])
	}
}

// look tries to read the secret in a generation.
func (h *hostile) look(generation string) {
	f, err := os.OpenFile(filepath.Join(generation, "keytab"), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) == os.Geteuid() {
		return
	}
	if b, _ := io.ReadAll(io.LimitReader(f, 1<<16)); bytes.Contains(b, h.secret) {
		fmt.Printf("could read the secret in %s, whose mode is %v\n", f.Name(), info.Mode())
	}
}

// leave takes away what is not podfqdn's under its names.
func (h *hostile) leave(volume string) {
	for _, name := range names {
		path := filepath.Join(volume, name)
		target, err := os.Readlink(path)
		if ours := target == "..data/"+name || name == "..data" && strings.HasPrefix(target, "..gen-"); err == nil && ours {
			continue
		}
		_ = os.RemoveAll(path)
	}
}

func (h *hostile) tell() {
	for _, f := range h.held {
		h.check(f)
	}
	fmt.Printf("%d turns, %d generations taken, %d files kept open\n", h.turns, h.taken, len(h.held))
}
