// Command podfqdn runs in a Pod: it works out the Pod's fully qualified
// domain name, waits until forward and reverse DNS agree on it, and publishes
// it in a volume for the application. It needs no token, no right and no root,
// and never talks to the API server.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/podfqdn/podfqdn/cmd/internal/build"
	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/shown"
)

func main() {
	os.Exit(run(untilSignal(os.Args[1:]), os.Args[1:], environment(), os.Stdout, os.Stderr))
}

// The exit codes are a public interface.
const (
	exitOK         = 0
	exitUnexpected = 1
	exitRefused    = 10 // the configuration or the Pod's spec has to change
	exitDeadline   = 11 // DNS did not agree in time; check: not verified; doctor: not healthy
	exitShared     = 12 // the same, and another Pod holds the name
	exitVolume     = 13

	// The deadline; DNS agreed, but something else that was required is missing.
	exitKeyless     = 14 // keys for Kerberos
	exitPeerless    = 15 // peers
	exitUncertified = 16 // a certificate

	// Of exec, as of sh(1).
	exitNotExecutable = 126
	exitNotFound      = 127

	exitSignal = 128 // and the signal's number
)

// run is the whole program, given its arguments, environment and streams, and
// returns the exit code. ctx ends it; if its cause is an exit, with that exit's code.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	if len(args) > 1 && (args[1] == "-h" || args[1] == "--help") {
		command = "help"
	}
	switch command {
	case "help", "-h", "--help":
		help(stdout)
		return exitOK
	case "version", "--version":
		fmt.Fprintln(stdout, build.Line("podfqdn"))
		return exitOK
	case "init", "sidecar", "exec":
		return runPath(ctx, command, args[1:], environ, stderr)
	case "wait":
		return runWait(ctx, args[1:], environ, stderr)
	case "check":
		return runCheck(args[1:], environ, stdout, stderr)
	case "doctor":
		return runDoctor(ctx, args[1:], environ, stdout, stderr)
	case "":
		help(stderr)
		return exitRefused
	}
	err := fmt.Errorf("podfqdn: unknown command %+q: use init, sidecar, exec, wait, check, doctor, help or version", command)
	fmt.Fprintln(stderr, err)
	cfg, _, _ := readConfig(environ)
	_ = writeTerminationLog(cfg.Root, err) // it is on stderr in any case
	return exitRefused
}

// environment returns all that execve(2) was given, for "exec" to pass on;
// package os leaves out empty entries and duplicates.
func environment() []string {
	block, err := os.ReadFile("/proc/self/environ")
	if err != nil || len(block) == 0 {
		return os.Environ()
	}
	return strings.Split(strings.TrimSuffix(string(block), "\x00"), "\x00")
}

// exit is an error that ends a command with a code of its own.
type exit struct {
	code int
	error
}

func (e exit) Unwrap() error { return e.error }

// exitCode returns the exit code for what ended a command.
func exitCode(err error) int {
	switch e, ok := errors.AsType[exit](err); {
	case err == nil:
		return exitOK
	case ok:
		return e.code
	case errors.As(err, new(*identity.Refusal)):
		return exitRefused
	}
	return exitUnexpected
}

// fail writes to stderr what ended a command, and returns its exit code.
func fail(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "podfqdn: %s\n", shown.Printable(err.Error()))
	return exitCode(err)
}

// interrupted is the cause of a context that a signal ended.
func interrupted(s syscall.Signal) error {
	return exit{exitSignal + int(s), errors.New(signalNames[s])}
}

// signalNames are those of the signals that may end a command.
var signalNames = map[syscall.Signal]string{
	syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM",
	syscall.SIGHUP: "SIGHUP", syscall.SIGQUIT: "SIGQUIT", syscall.SIGUSR1: "SIGUSR1", syscall.SIGUSR2: "SIGUSR2",
}

// untilSignal returns a context that SIGINT and SIGTERM end; for "exec" whatever
// an image may have as its STOPSIGNAL, since that is what the kubelet sends then.
// An ignored signal stays ignored.
func untilSignal(args []string) context.Context {
	ending := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if len(args) > 0 && args[0] == "exec" {
		ending = nil
		for s := range signalNames {
			if !signal.Ignored(s) {
				ending = append(ending, s)
			}
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, ending...)
	go func() {
		defer close(done)
		for s := range signals {
			cancel(interrupted(s.(syscall.Signal)))
		}
	}()
	return context.WithValue(ctx, settling{}, func() {
		signal.Stop(signals)
		close(signals)
		<-done
	})
}

// settling is the key of what ends the watch of untilSignal.
type settling struct{}

// settled returns the cause of ctx, of untilSignal, once no signal that came until
// now is still on its way there. One that comes later ends the process where it is,
// as if nobody had ever waited for it.
func settled(ctx context.Context) error {
	if settle, ok := ctx.Value(settling{}).(func()); ok {
		settle()
	}
	return context.Cause(ctx)
}
