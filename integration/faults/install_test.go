//go:build faults

package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/integration/programs"
)

func (p *pod) tools() string { return filepath.Join(p.root, "tools") }

// installs has the Pod's podfqdn install itself.
func (p *pod) installs() {
	p.Helper()
	p.allow(os.MkdirAll(p.tools(), 0o777))
	p.environ = append(p.environ, "PODFQDN_INSTALL="+p.tools(), "PODFQDN_CONFIRM=0")
}

// program is podfqdn; another version of it is the same and a word: both can be executed.
var program = sync.OnceValue(func() []byte {
	b, err := os.ReadFile(podfqdn)
	if err != nil {
		panic(err)
	}
	return b
})

func anotherVersion(p *pod) {
	p.allow(os.WriteFile(filepath.Join(p.tools(), "podfqdn"), append(slices.Clone(program()), "older"...), 0o555))
}

// runs looks at the installed program again and again until it is called: what has the name is one of the two, whole, and
// can be executed.
func (p *pod) runs() (end func()) {
	path := filepath.Join(p.tools(), "podfqdn")
	whole := func(before fs.FileInfo) (fs.FileInfo, error) {
		info, err := os.Stat(path)
		if err != nil || before != nil && os.SameFile(before, info) {
			return info, nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, nil // it went meanwhile
		}
		if rest, ok := bytes.CutPrefix(b, program()); !ok || len(rest) > 0 && string(rest) != "older" || info.Mode() != 0o555 {
			return info, fmt.Errorf("%s has %d bytes and mode %v", path, len(b), info.Mode())
		}
		return info, nil
	}
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var seen fs.FileInfo
		var wrong error
		for {
			now, err := whole(seen)
			if seen = now; err != nil {
				wrong = err
			}
			select {
			case <-done:
				_, err := whole(nil)
				ended <- errors.Join(wrong, err)
				return
			case <-time.After(p.look):
			}
		}
	}()
	return func() {
		p.Helper()
		close(done)
		if err := <-ended; err != nil {
			p.Errorf("I2: %v", err)
		}
	}
}

// installed checks that a run succeeds, that its program is installed then, and that it can be executed; and that nothing
// else is left.
func (p *pod) installed() {
	p.Helper()
	p.timeout = time.Minute
	e := p.start(exec.Command(podfqdn, "init")).wait()
	p.ended(e)
	b, err := os.ReadFile(filepath.Join(p.tools(), "podfqdn"))
	if e.code != 0 || !bytes.Equal(b, program()) {
		p.Errorf("I6: exit code %d, %s; %d bytes are installed: %v", e.code, e.reason, len(b), err)
	}
	if out, err := exec.Command(filepath.Join(p.tools(), "podfqdn"), "version").CombinedOutput(); err != nil {
		p.Errorf("it cannot be executed: %v %s", err, out)
	}
	if left, _ := filepath.Glob(p.tools() + "/..*"); left != nil {
		p.Errorf("I6: there are %q", left)
	}
}

// A kill at each of its calls, and a failure of each.
func TestWhatIsInstalledIsWholeWhateverFails(t *testing.T) {
	type at struct {
		call string
		most int
		any  bool // not only in the volume: the name of what it copies into is random
	}
	calls := []at{{"openat", 5, false}, {"fstat", 1, false}, {"flock", 1, false}, {"getdents64", 2, false}, {"newfstatat", 1, false},
		{"renameat", 1, false}, {"unlinkat", 1, false}, {"close", 3, false}, {"copy_file_range", 2, true}, {"fchmod", 3, true}}
	errnos := []string{"ENOSPC", "EROFS", "EIO", "EDQUOT", "EMFILE", "EACCES"}
	for state, lay := range map[string]func(*pod){
		"empty":                func(*pod) {},
		"another version":      anotherVersion,
		"what one left killed": func(p *pod) { anotherVersion(p); p.write("tools/..podfqdn-LEFT", "half") },
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			l := layLife(t)
			l.cluster.Publish(ours())
			l.installs()
			l.truth.asked = true
			hit, all, refused := 0, 0, 0
			for i, c := range calls {
				for k := range c.most {
					for _, fault := range []string{"signal=SIGKILL", "error=" + errnos[(i+k)%len(errnos)]} {
						ran.add("files, installed")
						l.allow(os.RemoveAll(l.tools()), os.Mkdir(l.tools(), 0o777))
						lay(l.pod)
						trace := filepath.Join(l.root, "trace")
						args := []string{"-D", "-f", "-qq", "-o", trace, "-e", fmt.Sprintf("inject=%s:%s:when=%d", c.call, fault, k+1), podfqdn, "init"}
						if !c.any {
							args = append([]string{"-P", l.tools()}, args...)
						}
						l.timeout = 5 * time.Second
						reads := l.runs()
						e := l.start(exec.Command("strace", args...)).wait()
						reads()
						l.ended(e)
						all++
						switch log := l.read("trace"); {
						case e.code < 0, strings.Contains(log, "(INJECTED)"):
							hit++
						case e.code != 0:
							t.Errorf("%s %d, %s: nothing was injected, and the exit code is %d: %s", c.call, k+1, fault, e.code, e.reason)
						}
						switch {
						case strings.HasPrefix(e.reason, "PODFQDN_INSTALL: cannot "):
							if refused++; e.code != 13 || strings.Contains(e.reason, "\n") {
								t.Errorf("%s %d, %s: exit code %d: %s", c.call, k+1, fault, e.code, e.reason)
							}
						case e.code != 0 && e.code != 13 && e.code >= 0:
							t.Errorf("%s %d, %s: exit code %d: %s", c.call, k+1, fault, e.code, e.reason)
						}
						if l.installed(); t.Failed() {
							t.Fatalf("%s %d, %s: exit code %d: %s\n%s", c.call, k+1, fault, e.code, e.reason, e.log)
						}
					}
				}
			}
			// The calls are counted by thread, and which does the next is chance.
			if hit < all/2 || refused < 4 {
				t.Errorf("of %d faults %d were met, and %d refused", all, hit, refused)
			}
			t.Logf("of %d faults %d were met, and %d refused", all, hit, refused)
		})
	}
}

// inPlace is a command that first changes what is mounted for itself alone.
func inPlace(script string, command ...string) *exec.Cmd {
	return exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-ec", script + `; exec "$@"`, "sh"}, command...)...)
}

func TestAVolumeForTheProgramThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mount string // %s is the volume
		says  string
	}{
		"full":                         {"mount -t tmpfs -o size=4m none %s", "cannot write to %s: no space left on device: raise the volume's sizeLimit, or remove what fills it"},
		"without an inode":             {"mount -t tmpfs -o nr_inodes=1 none %s", "cannot write to %s: no space left on device: raise the volume's sizeLimit, or remove what fills it"},
		"read-only":                    {"mount --bind %[1]s %[1]s; mount -o remount,bind,ro %[1]s", "cannot write to %s: read-only file system: its volumeMount must not be readOnly in this container"},
		"missing":                      {"rmdir %s", "%s does not exist: mount a separate emptyDir there"},
		"a file":                       {"rmdir %[1]s; echo > %[1]s", "cannot open %s: not a directory: mount a separate emptyDir there"},
		"a FIFO":                       {"rmdir %[1]s; mkfifo %[1]s", "cannot open %s: not a directory: mount a separate emptyDir there"},
		"a directory in its own place": {"mkdir -p %s/podfqdn/x", "cannot write to %s: file exists: mount a separate emptyDir there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, "files, installed")
			p.known()
			p.installs()
			p.truth.asked = true
			p.timeout = 5 * time.Second
			e := p.start(inPlace(fmt.Sprintf(c.mount, "'"+p.tools()+"'"), podfqdn, "init"), "PATH="+os.Getenv("PATH")).wait()
			p.ended(e)
			if says := "PODFQDN_INSTALL: " + strings.ReplaceAll(c.says, "%s", fmt.Sprintf("%+q", p.tools())); e.code != 13 || e.reason != says {
				t.Errorf("exit code %d: %s\nnot %s", e.code, e.reason, says)
			}
			p.allow(os.RemoveAll(p.tools()), os.Mkdir(p.tools(), 0o777))
			p.installed()
		})
	}
}

// Another container that may write to the volume of the program may stop podfqdn. It gets nothing written outside, and
// holds nobody for longer than two seconds.
func TestAHostileContainerInTheVolumeOfTheProgram(t *testing.T) {
	dir := t.TempDir()
	if err := programs.Own(dir, "./hostile"); err != nil {
		t.Fatal(err)
	}
	lasts := 4 * time.Second
	if *long {
		lasts = time.Minute
	}
	p := lay(t)
	p.known()
	p.installs()
	p.truth.asked = true
	p.timeout = 20 * time.Second
	outside, before := p.outside()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	rival := exec.CommandContext(ctx, filepath.Join(dir, "hostile"), "-install", outside, p.tools())
	stop, err := rival.StdinPipe()
	p.allow(err)
	var told bytes.Buffer
	rival.Stdout, rival.Stderr = &told, &told
	p.allow(rival.Start())
	installed, stopped := 0, 0
	for began := time.Now(); time.Since(began) < lasts || (installed == 0 || stopped == 0) && time.Since(began) < lasts+time.Minute/2; {
		ran.add("files, raced")
		cmd := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf", "-e", "trace="+between, "-P", p.tools(), "-e", "inject="+between+":delay_enter=3000", podfqdn, "init")
		e := p.start(cmd).wait()
		p.ended(e)
		switch {
		case e.code == 13 && strings.HasPrefix(e.reason, "PODFQDN_INSTALL: "):
			stopped++
		case strings.Contains(e.log, `"msg":"installed"`):
			installed++
		default:
			t.Errorf("ended with %d, %q\n%s", e.code, e.reason, e.log)
		}
		if e.took > 10*time.Second {
			t.Errorf("I4: it took %s", e.took)
		}
	}
	stop.Close()
	if err := rival.Wait(); err != nil {
		t.Errorf("hostile: %v", err)
	}
	p.same(outside, before)
	t.Logf("installed %d times, stopped %d times; hostile: %s", installed, stopped, strings.TrimSpace(told.String()))
	if installed == 0 || stopped == 0 {
		t.Error("that shows nothing")
	}
	p.installed()

	// Who holds the lock holds nobody for ever.
	f, err := os.Open(p.tools())
	p.allow(err)
	defer f.Close()
	p.allow(syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	p.timeout = 5 * time.Second
	e := p.start(exec.Command(podfqdn, "init")).wait()
	p.ended(e)
	if e.code != 13 || !strings.Contains(e.reason, "another process has had it locked for 2s") {
		t.Errorf("exit code %d: %s", e.code, e.reason)
	}
}
