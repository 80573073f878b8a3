//go:build faults

package faults

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// refusal is one case of testdata/hostile.txtar, whose lines are those of an input, and besides:
//
//	keys                      the Pod needs a key, which is there
//	uid N                     podfqdn's, and its group; 0
//	mode NAME MODE            of a file or a folder
//	refuse CALL ERRNO [NAME]  each such system call ends so; with a name, only where it is about this file or folder
type refusal struct {
	*input
	uid    int
	strace []string
}

func (r *refusal) line(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	name, arg, _ := strings.Cut(rest, " ")
	switch word {
	case "keys":
		r.keyed()
		return os.Chmod(r.keys(), 0o777)
	case "uid":
		var err error
		r.uid, err = strconv.Atoi(rest)
		return err
	case "mode":
		mode, err := strconv.ParseUint(arg, 8, 12)
		return errors.Join(err, os.Chmod(filepath.Join(r.root, name), fs.FileMode(mode)))
	case "refuse":
		errno, path, some := strings.Cut(arg, " ")
		if r.strace = []string{"-f", "-qq", "-o", "/dev/null", "-e", "trace=" + name, "-e", "inject=" + name + ":error=" + errno}; some {
			r.strace = append(r.strace, "-P", filepath.Join(r.root, path))
		}
		return nil
	}
	return r.input.line(line)
}

func TestWhatTheSystemRefusesIsTold(t *testing.T) {
	t.Parallel()
	archive, err := txtar.ParseFile("testdata/hostile.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range archive.Files {
		t.Run(file.Name, func(t *testing.T) {
			t.Parallel()
			r := &refusal{input: &input{pod: newPod(t, "files")}}
			r.known()
			r.reachable()
			r.allow(os.Chmod(r.dir(), 0o777))
			r.timeout = 3 * time.Second
			for line := range strings.Lines(string(file.Data)) {
				if line = strings.TrimSuffix(line, "\n"); line != "" {
					if err := r.line(line); err != nil {
						t.Fatal(err)
					}
				}
			}
			cmd := exec.Command("strace", append(r.strace, podfqdn, "init")...)
			if r.strace == nil {
				cmd = exec.Command(podfqdn, "init")
			}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(r.uid), Gid: uint32(r.uid)}}
			read := r.reader()
			e := r.start(cmd).wait()
			read()
			r.invariants(e)
			r.keyless(e.log + e.reason)
			if e.code != r.code || !strings.Contains(e.reason, r.says) {
				t.Errorf("ended with %d, %q, not with %d, %q\n%s", e.code, e.reason, r.code, r.says, e.log)
			}
			for _, name := range []string{"etc", "var", "keytabs", "dev"} {
				r.allow(os.RemoveAll(filepath.Join(r.root, name)))
			}
			r.environ = nil
			r.files()
			r.recovers()
		})
	}
}
