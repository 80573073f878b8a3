package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/podfqdn/podfqdn/integration/cluster"
)

// interrupts end this program, in good order.
var interrupts = []os.Signal{os.Interrupt, syscall.SIGTERM}

// patience is how long a command has to end that was passed an interrupt.
const patience = 10 * time.Second

// setChildSubreaper is PR_SET_CHILD_SUBREAPER of prctl(2).
const setChildSubreaper = 36

// exitStatus is that of run's command, if not 0.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// runWithin brings a cluster up, runs args in its environment and takes the
// cluster down. It takes nothing down after an error of Up, which may be that
// the cluster belongs to another run.
func runWithin(ctx context.Context, o cluster.Options, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	// From now on: one that is too late to end Up is the command's.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, interrupts...)
	defer signal.Stop(signals)
	c, err := up(ctx, o, "this is "+args[0]+":")
	if err != nil {
		return err
	}
	status, err := runIn(c, args, signals, stdin, stdout, stderr)
	if err := errors.Join(err, down(c.ID, stderr)); err != nil {
		return err
	}
	if status != 0 {
		return exitStatus(status)
	}
	return nil
}

func runIn(c *cluster.Cluster, args []string, signals <-chan os.Signal, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	for _, kv := range c.Environ() {
		// This process's too, as the command is looked up in its PATH.
		key, value, _ := strings.Cut(kv, "=")
		if err := os.Setenv(key, value); err != nil {
			return 0, err
		}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	return runGroup(cmd, signals, patience)
}

// runGroup runs cmd as a process group and returns its exit status, as a shell
// does: 128 and the signal's number if one killed it. The first of signals is
// passed on to the group, which is killed if it is there after patience;
// without a signal, once cmd has ended. cmd doesn't outlive this process.
func runGroup(cmd *exec.Cmd, signals <-chan os.Signal, patience time.Duration) (int, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if tty := terminal(); tty != nil {
		defer tty.Close()
		// A group in the background couldn't read from it. The terminal's own
		// interrupt is for the command alone then. It can't be stopped there,
		// as nobody would let it go on.
		cmd.SysProcAttr.Foreground, cmd.SysProcAttr.Ctty = true, int(tty.Fd())
		signal.Ignore(syscall.SIGTSTP)
		defer takeBack(tty)
	}
	// The group's orphans become children of this process, for Wait4 below:
	// not every container's first process reaps them.
	if _, _, errno := syscall.Syscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0); errno != 0 {
		return 0, fmt.Errorf("prctl: %w", errno)
	}
	// The kernel counts the end of the thread that started it as the parent's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	group := -cmd.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var deadline time.Time
	var late <-chan time.Time
	var err error
	for running := true; running; {
		select {
		case s := <-signals:
			_ = syscall.Kill(group, s.(syscall.Signal))
			// One is enough: timeout(1) sends its own twice.
			signals, deadline, late = nil, time.Now().Add(patience), time.After(patience)
		case <-late:
			_ = syscall.Kill(group, syscall.SIGKILL)
		case err = <-ended:
			running = false
		}
	}
	for time.Now().Before(deadline) {
		pid, err := syscall.Wait4(group, nil, syscall.WNOHANG, nil)
		if err != nil { // no child of that group is left
			break
		}
		if pid == 0 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	if cmd.ProcessState == nil {
		return 0, err
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// terminal returns the controlling one if this process is in its foreground.
func terminal() *os.File {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return nil
	}
	var group int32
	if err := ioctl(tty, syscall.TIOCGPGRP, &group); err != nil || int(group) != syscall.Getpgrp() {
		tty.Close()
		return nil
	}
	return tty
}

// takeBack brings this process into the foreground of its terminal again.
func takeBack(tty *os.File) {
	signal.Ignore(syscall.SIGTTOU) // what the kernel sends to those that try
	group := int32(syscall.Getpgrp())
	_ = ioctl(tty, syscall.TIOCSPGRP, &group)
}

func ioctl(f *os.File, request uintptr, group *int32) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(group))); errno != 0 {
		return errno
	}
	return nil
}
