package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asRun makes the test binary a program that only runs a command as `run` does.
const asRun = "as-run"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == asRun {
		cmd := exec.Command(os.Args[2], os.Args[3:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		status, err := runGroup(cmd, nil, patience)
		fmt.Println("status", status, err, "in the foreground", terminal() != nil)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// shell returns a command whose stdout is read line by line.
func shell(t *testing.T, script string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	return cmd, bufio.NewReader(r)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v", s, err)
	}
	return strings.TrimSpace(s)
}

// assertEnds waits for the end of a process, by the number that was printed.
func assertEnds(t *testing.T, pid string) {
	t.Helper()
	if _, err := strconv.Atoi(pid); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there: %s", stat)
		}
	}
}

func TestTheStatusIsTheCommandsAsAShellTellsIt(t *testing.T) {
	for script, want := range map[string]int{"true": 0, "exit 7": 7, "kill -TERM $$": 143, "kill -KILL $$": 137} {
		cmd, _ := shell(t, script)
		if got, err := runGroup(cmd, nil, patience); err != nil || got != want {
			t.Errorf("%s: status %d, %v, want %d", script, got, err, want)
		}
	}
	if _, err := runGroup(exec.Command("no-such-command"), nil, patience); err == nil {
		t.Error("a command that does not exist: no error")
	}
}

func TestTheFirstSignalIsPassedOnToTheGroup(t *testing.T) {
	cmd, out := shell(t, `sh -c 'trap "" INT; echo $$; exec sleep 1000' & wait`)
	signals := make(chan os.Signal, 1)
	sleeps := make(chan string, 1)
	go func() {
		pid, _ := out.ReadString('\n')
		sleeps <- strings.TrimSpace(pid)
		signals <- os.Interrupt
		signals <- syscall.SIGTERM
	}()
	start := time.Now()
	if got, err := runGroup(cmd, signals, 300*time.Millisecond); err != nil || got != 130 {
		t.Errorf("status %d, %v, want 130", got, err)
	}
	if took := time.Since(start); took < 300*time.Millisecond {
		t.Errorf("the rest of the group had %v", took)
	}
	assertEnds(t, <-sleeps)
}

func TestASignalledGroupMayFinish(t *testing.T) {
	cmd, out := shell(t, `(trap 'sleep 0.3; echo finished; exit' TERM; echo ready; while :; do sleep 0.05; done) & wait`)
	signals := make(chan os.Signal, 1)
	go func() {
		_, _ = out.ReadString('\n')
		signals <- syscall.SIGTERM
	}()
	start := time.Now()
	if got, err := runGroup(cmd, signals, patience); err != nil || got != 143 {
		t.Errorf("status %d, %v, want 143", got, err)
	}
	if took := time.Since(start); took > patience/2 {
		t.Errorf("took %v, though all had ended", took)
	}
	if got := line(t, out); got != "finished" {
		t.Errorf("printed %q", got)
	}
}

func TestACommandThatIgnoresTheSignalIsKilled(t *testing.T) {
	cmd, out := shell(t, "trap '' TERM; sleep 1000 & echo $!; wait")
	signals := make(chan os.Signal, 1)
	sleeps := make(chan string, 1)
	go func() {
		pid, _ := out.ReadString('\n')
		sleeps <- strings.TrimSpace(pid)
		signals <- syscall.SIGTERM
	}()
	if got, err := runGroup(cmd, signals, 300*time.Millisecond); err != nil || got != 137 {
		t.Errorf("status %d, %v, want 137", got, err)
	}
	assertEnds(t, <-sleeps)
}

func TestWhatTheCommandLeavesBehindEnds(t *testing.T) {
	cmd, out := shell(t, "sleep 1000 & echo $!")
	if got, err := runGroup(cmd, nil, patience); err != nil || got != 0 {
		t.Errorf("status %d, %v, want 0", got, err)
	}
	assertEnds(t, line(t, out))
}

func TestTheCommandDiesWithRun(t *testing.T) {
	inner, out := shell(t, "echo $$; exec sleep 1000")
	run := exec.Command(os.Args[0], append([]string{asRun}, inner.Args...)...)
	run.Stdout = inner.Stdout
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	pid := line(t, out)
	if err := run.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = run.Wait()
	assertEnds(t, pid)
}

func TestTheTerminalIsTheCommandsWhileItRuns(t *testing.T) {
	master, slave := pty(t)
	run := exec.Command(os.Args[0], asRun, "sh", "-c", `read x; echo "read $x"; exec sleep 1000`)
	run.Stdin, run.Stdout, run.Stderr = slave, slave, slave
	run.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	stuck := time.AfterFunc(20*time.Second, func() { _ = run.Process.Kill() })
	defer stuck.Stop()
	out := bufio.NewReader(master)
	say := func(s string) {
		t.Helper()
		if _, err := io.WriteString(master, s); err != nil {
			t.Fatal(err)
		}
	}
	until := func(want string) {
		t.Helper()
		for line(t, out) != want {
		}
	}
	say("hello\n")
	until("read hello")
	say("\x03") // the terminal's interrupt
	// The terminal shows what was typed, in the same line.
	until("^Cstatus 130 <nil> in the foreground true")
	if err := run.Wait(); err != nil {
		t.Error(err)
	}
}

// pty returns both ends of a new terminal.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	var number, locked int32
	if err := ioctl(master, syscall.TIOCGPTN, &number); err != nil {
		t.Fatal(err)
	}
	if err := ioctl(master, syscall.TIOCSPTLCK, &locked); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

func TestRunWantsACommand(t *testing.T) {
	for _, args := range [][]string{{"run"}, {"run", "-id", "x", "image.tar"}, {"run", "--"}} {
		var stderr strings.Builder
		if got := run(t.Context(), args, nil, io.Discard, &stderr); got != 2 || !strings.Contains(stderr.String(), "want -- and a command") {
			t.Errorf("%q: status %d, %q", args, got, stderr.String())
		}
	}
}
