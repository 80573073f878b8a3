package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
)

// reaper starts programs and waits for every child, its own and those that
// were orphaned to it: in a PID namespace nobody else does, and os/exec can't
// wait for one child next to it.
type reaper struct {
	stop context.CancelCauseFunc // with the first component's end

	mu    sync.Mutex
	ended map[int]func(syscall.WaitStatus) // by process id, of those it started
}

func newReaper(stop context.CancelCauseFunc) *reaper {
	r := &reaper{stop: stop, ended: map[int]func(syscall.WaitStatus){}}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	go func() {
		for range signals {
			r.reap()
		}
	}()
	return r
}

func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
		if ended := r.ended[pid]; ended != nil {
			delete(r.ended, pid)
			ended(status)
		}
	}
}

// step starts s and returns once the next step may begin.
func (r *reaper) step(ctx context.Context, s Step) error {
	if s.Needs != "" {
		ctx, cancel := context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("%s waited %v for %s", s.Name, s.Timeout, s.Needs))
		defer cancel()
		if err := await(ctx, s.Needs); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("%s has not ended after %v", s.Name, s.Timeout))
	defer cancel()
	done := make(chan error, 1)
	err := r.start(s, func(status syscall.WaitStatus) {
		err := fmt.Errorf("%s ended: %s", s.Name, describe(status))
		if !s.Once {
			r.stop(err)
		} else if status == 0 {
			err = nil
		}
		done <- err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	if !s.Once {
		return nil
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *reaper) start(s Step, ended func(syscall.WaitStatus)) error {
	path, err := exec.LookPath(s.Args[0])
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(State, "log", s.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	// Locked until something waits for its end: it may end at once.
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := os.StartProcess(path, s.Args, &os.ProcAttr{
		Dir:   State,
		Files: []*os.File{null, log, log},
	})
	if err != nil {
		return err
	}
	r.ended[p.Pid] = ended
	return p.Release()
}

func describe(s syscall.WaitStatus) string {
	if s.Signaled() {
		return s.Signal().String()
	}
	return fmt.Sprintf("status %d", s.ExitStatus())
}
