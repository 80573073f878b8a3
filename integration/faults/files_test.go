//go:build faults

package faults

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The writer looks for files that are not there before it touches the volume, and before and after it looks at it for
// itself.
const markBegin, markAsks, markAsked = "/podfqdn-faults-begin", "/podfqdn-faults-asks", "/podfqdn-faults-asked"

// patience is how long a writer may take: it waits two seconds for another one.
const patience = 4 * time.Second

// write runs the writer, under strace with such an option if there is one. line is that of an older identity, which a newer
// one does not have: what only has more than is to be published is left as it is.
func write(t *testing.T, dir, line string, strace ...string) (code int, killed bool, said string) {
	t.Helper()
	cmd := exec.Command(writer, dir)
	if len(strace) > 0 {
		cmd = exec.Command("strace", append(strace, writer, dir)...)
	}
	cmd.Args = append(cmd.Args, cmp.Or(line, "LINE='2'"))
	var out bytes.Buffer
	cmd.Stderr = &out
	started := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := time.AfterFunc(2*patience, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	over.Stop()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	e := end{code: cmd.ProcessState.ExitCode(), took: time.Since(started), log: out.String()}
	(&pod{TB: t, timeout: patience}).ended(e)
	if e.code == 3 {
		t.Errorf("I3: %s", e.log)
	}
	return cmd.ProcessState.ExitCode(), cmd.ProcessState.ExitCode() < 0 || cmd.ProcessState.ExitCode() == 128+9, out.String()
}

// call is one line of strace's.
var call = regexp.MustCompile(`^([a-z0-9_]+)\((.*)`)

// calls are those with which a volume is read and written.
var calls = []string{
	"openat", "newfstatat", "fstat", "read", "write", "close", "mkdirat", "symlinkat", "readlinkat", "renameat", "renameat2", "unlinkat",
	"fchmod", "fchmodat", "getdents64", "flock", "fcntl",
}

// traced runs the writer once and gives, for each call, which of them are podfqdn's: the first of all is 1.
func traced(t *testing.T, dir, line string) (its map[string][]int) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "trace")
	if code, _, said := write(t, dir, line, "-qq", "-o", log); code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	its = map[string][]int{}
	all := map[string]int{}
	within := false
	for line := range strings.Lines(string(b)) {
		m := call.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		all[m[1]]++
		switch path, _, _ := strings.Cut(strings.TrimPrefix(m[2], `AT_FDCWD, "`), `"`); {
		case path == markBegin || path == markAsked:
			within = true
		case path == markAsks:
			within = false
		case within:
			its[m[1]] = append(its[m[1]], all[m[1]])
		}
	}
	if !within {
		t.Fatalf("the marks are not in\n%s", b)
	}
	return its
}

// states are what a volume holds before.
var states = map[string]func(*testing.T, string){
	"empty":          func(*testing.T, string) {},
	"another Pod's":  func(t *testing.T, dir string) { (&pod{TB: t, root: filepath.Dir(dir)}).leave() },
	"an older one":   func(t *testing.T, dir string) { older(t, dir) },
	"the same again": func(t *testing.T, dir string) { older(t, dir); same(t, dir) },
}

func older(t *testing.T, dir string) {
	t.Helper()
	if code, _, said := write(t, dir, "LINE='1'"); code != 0 {
		t.Fatal(said)
	}
}

func same(t *testing.T, dir string) {
	t.Helper()
	if code, _, said := write(t, dir, ""); code != 0 {
		t.Fatal(said)
	}
}

// shown is what a reader finds: "", or identity.env of the generation, whole.
func shown(t *testing.T, dir string) string {
	t.Helper()
	if err := whole(dir); err != nil {
		t.Errorf("I2: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "identity.json"))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	env, _ := os.ReadFile(filepath.Join(dir, "identity.env"))
	return string(b) + string(env)
}

func TestFiles(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("strace is missing: apt-get install -y --no-install-recommends strace")
	}
	fresh := func(t *testing.T, state string) string {
		t.Helper()
		// In memory, as volumes are made by the thousand.
		root, err := os.MkdirTemp("/dev/shm", "podfqdn-faults-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(root) })
		dir := filepath.Join(root, "identity")
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		states[state](t, dir)
		return dir
	}
	want := func() string {
		dir := fresh(t, "empty")
		same(t, dir)
		return shown(t, dir)
	}()
	errnos := []string{"ENOSPC", "EROFS", "EIO", "EDQUOT", "EMFILE", "EACCES"}
	for state := range states {
		t.Run(state, func(t *testing.T) {
			its := traced(t, fresh(t, state), "")
			made := 0
			for _, name := range calls {
				made += len(its[name])
			}
			if made < 20 {
				t.Fatalf("only %d calls: %v", made, its)
			}
			for _, name := range calls {
				for i, k := range its[name] {
					t.Run(fmt.Sprintf("%s %d", name, i+1), func(t *testing.T) {
						t.Parallel()
						faults := []string{"signal=SIGKILL"}
						for i, errno := range errnos {
							if *long || i == k%len(errnos) {
								faults = append(faults, "error="+errno)
							}
						}
						for _, fault := range faults {
							ran.add("files")
							dir := fresh(t, state)
							first := shown(t, dir)
							code, killed, said := write(t, dir, "", "-qq", "-o", "/dev/null", "-e", fmt.Sprintf("inject=%s:%s:when=%d", name, fault, k))
							got := shown(t, dir)
							switch {
							case killed != strings.HasPrefix(fault, "signal"):
								t.Errorf("%s: killed: %t, exit code %d: %s", fault, killed, code, said)
							case code == 2:
								t.Errorf("%s: it panicked: %s", fault, said)
							case code == 0 && got != want:
								t.Errorf("%s: exit code 0, and readers see %q", fault, got)
							case !slices.Contains([]string{first, "", want}, got):
								t.Errorf("%s: readers see %q", fault, got)
							case code == 13 && !killed && strings.Count(said, "\n") != 1:
								t.Errorf("%s: it says %q", fault, said)
							}
							if code, _, said := write(t, dir, ""); code != 0 || shown(t, dir) != want {
								t.Errorf("I6: after %s: exit code %d: %s", fault, code, said)
							}
							if left, _ := filepath.Glob(filepath.Join(dir, "..gen-*")); len(left) > 2 {
								t.Errorf("I6: after %s there are %q", fault, left)
							}
						}
					})
				}
			}
		})
	}
}
