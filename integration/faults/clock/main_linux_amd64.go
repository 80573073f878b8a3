// Command clock runs a command whose wall clock is wrong: by so much from the start, and by so much more with each SIGUSR1.
//
//	clock OFFSET STEP COMMAND…
//
// The monotonic clock is the machine's. CLOCK_REALTIME has no namespace (time_namespaces(7)), and Go reads it without a
// system call, from the vDSO: so the command is traced, is not told of the vDSO, and what clock_gettime gave it is changed
// (ptrace(2), getauxval(3)). The exit code is the command's.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "clock:", err)
		os.Exit(125)
	}
	os.Exit(code)
}

func run() (code int, err error) {
	offset, err := time.ParseDuration(os.Args[1])
	if err != nil {
		return 0, err
	}
	step, err := time.ParseDuration(os.Args[2])
	if err != nil {
		return 0, err
	}
	var wrong atomic.Int64
	wrong.Store(int64(offset))
	steps := make(chan os.Signal, 8)
	signal.Notify(steps, syscall.SIGUSR1)
	go func() {
		for range steps {
			wrong.Add(int64(step))
		}
	}()
	runtime.LockOSThread() // the tracer is a thread
	cmd := exec.Command(os.Args[3], os.Args[4:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return 0, err
	}
	if err := hideVDSO(pid); err != nil {
		return 0, err
	}
	const exitKill = 0x100000 // PTRACE_O_EXITKILL
	if err := syscall.PtraceSetOptions(pid, syscall.PTRACE_O_TRACECLONE|syscall.PTRACE_O_TRACESYSGOOD|exitKill); err != nil {
		return 0, err
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() { _ = syscall.Kill(pid, (<-term).(syscall.Signal)) }()
	inside := map[int]bool{} // a system call
	for thread, send := pid, 0; ; {
		// A thread that is gone by now says so later.
		_ = syscall.PtraceSyscall(thread, send)
		if thread, err = syscall.Wait4(-1, &status, syscall.WALL, nil); err != nil {
			return 0, err
		}
		send = 0
		switch {
		case status.Exited() && thread == pid:
			return status.ExitStatus(), nil
		case status.Signaled() && thread == pid:
			return 128 + int(status.Signal()), nil
		case !status.Stopped():
		case status.StopSignal() == syscall.SIGTRAP|0x80:
			if inside[thread] = !inside[thread]; !inside[thread] {
				if err := shift(thread, time.Duration(wrong.Load())); err != nil {
					return 0, err
				}
			}
		case status.StopSignal() == syscall.SIGTRAP, status.StopSignal() == syscall.SIGSTOP: // a new thread
		default:
			send = int(status.StopSignal())
		}
	}
}

// hideVDSO takes AT_SYSINFO_EHDR out of what the kernel has put behind the environment.
func hideVDSO(pid int) error {
	const word, atSysinfoEHDR, atIgnore = 8, 33, 1
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(pid, &regs); err != nil {
		return err
	}
	at := uintptr(regs.Rsp)
	peek := func() (uint64, error) {
		var b [word]byte
		_, err := syscall.PtracePeekData(pid, at, b[:])
		at += word
		return binary.NativeEndian.Uint64(b[:]), err
	}
	if _, err := peek(); err != nil { // argc
		return err
	}
	for range 2 { // the arguments and the environment end with a zero each
		for {
			n, err := peek()
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
		}
	}
	for {
		kind, err := peek()
		switch {
		case err != nil:
			return err
		case kind == 0:
			return fmt.Errorf("there is no vDSO to hide")
		case kind == atSysinfoEHDR:
			_, err := syscall.PtracePokeData(pid, at-word, binary.NativeEndian.AppendUint64(nil, atIgnore))
			return err
		}
		at += word
	}
}

// shift changes what the call gave that a thread comes back from, if it asked for the time of day.
func shift(thread int, by time.Duration) error {
	const realtime = 0
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(thread, &regs); err != nil {
		return nil // it is gone
	}
	if regs.Orig_rax != syscall.SYS_CLOCK_GETTIME || regs.Rdi != realtime || regs.Rax != 0 {
		return nil
	}
	var b [8]byte
	if _, err := syscall.PtracePeekData(thread, uintptr(regs.Rsi), b[:]); err != nil {
		return err
	}
	seconds := binary.NativeEndian.Uint64(b[:]) + uint64(by/time.Second)
	_, err := syscall.PtracePokeData(thread, uintptr(regs.Rsi), binary.NativeEndian.AppendUint64(nil, seconds))
	return err
}
