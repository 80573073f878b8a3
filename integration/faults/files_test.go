//go:build faults

package faults

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mark is a file that is not there: the writer looks for it before it touches the volume.
const mark = "/podfqdn-faults-begin"

// write runs the writer, under strace with such an option if there is one.
func write(t *testing.T, dir, line string, strace ...string) (code int, killed bool, said string) {
	t.Helper()
	cmd := exec.Command(writer, dir)
	if len(strace) > 0 {
		cmd = exec.Command("strace", append(strace, writer, dir)...)
	}
	if line != "" {
		cmd.Args = append(cmd.Args, line)
	}
	var out bytes.Buffer
	cmd.Stderr = &out
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
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

// traced runs the writer once and gives, for each call, how often it was made before the mark and at all.
func traced(t *testing.T, dir string) (before, all map[string]int) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "trace")
	if code, _, said := write(t, dir, "", "-qq", "-o", log); code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	before, all = map[string]int{}, map[string]int{}
	begun := false
	for line := range strings.Lines(string(b)) {
		m := call.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if strings.Contains(m[2], mark) {
			begun = true
		}
		if all[m[1]]++; !begun || strings.Contains(m[2], mark) {
			before[m[1]]++
		}
	}
	if !begun {
		t.Fatalf("the mark is not in\n%s", b)
	}
	return before, all
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
	if code, _, said := write(t, dir, "OLD='1'"); code != 0 {
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
			before, all := traced(t, fresh(t, state))
			made := 0
			for _, name := range calls {
				made += all[name] - before[name]
			}
			if made < 20 {
				t.Fatalf("only %d calls: %v", made, all)
			}
			for _, name := range calls {
				for k := before[name] + 1; k <= all[name]; k++ {
					t.Run(fmt.Sprintf("%s %d", name, k-before[name]), func(t *testing.T) {
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
