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
	"syscall"

	"github.com/podfqdn/podfqdn/identity"
)

func main() {
	os.Exit(run(untilSignal(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// The exit codes are a public interface.
const (
	exitOK         = 0
	exitUnexpected = 1
	exitRefused    = 10 // the configuration or the Pod's spec has to change
	exitDeadline   = 11 // DNS did not agree in time; check: not published; doctor: not healthy
	exitShared     = 12 // the same, and another Pod holds the name
	exitVolume     = 13
	exitKeyless    = 14  // the deadline; DNS agreed, but keys for Kerberos are missing
	exitSignal     = 128 // and the signal's number
)

// run is the program: the process but for its arguments, environment, streams
// and signals. ctx ends it; an interrupted as its cause gives the exit code.
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
		fmt.Fprintln(stdout, version())
		return exitOK
	case "init", "sidecar":
		return runWalk(ctx, command, args[1:], environ, stderr)
	case "check":
		return runCheck(args[1:], environ, stdout, stderr)
	case "doctor":
		return runDoctor(ctx, args[1:], environ, stdout, stderr)
	case "":
		help(stderr)
		return exitRefused
	}
	err := fmt.Errorf("podfqdn: no command %+q: use init, sidecar, check, doctor, help or version", command)
	fmt.Fprintln(stderr, err)
	cfg, _, _ := readConfig(environ)
	_ = writeTerminationLog(cfg.Root, err) // it is on stderr in any case
	return exitRefused
}

// volumeError is what is wrong with the volume to publish in.
type volumeError struct{ error }

func (e volumeError) Unwrap() error { return e.error }

// interrupted is the signal that ended a run.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string {
	return map[syscall.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM"}[i.signal]
}

// untilSignal gives a context that SIGINT and SIGTERM end.
func untilSignal() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() { cancel(interrupted{(<-signals).(syscall.Signal)}) }()
	return ctx
}

// exitCode gives the exit code for what ended a command.
func exitCode(err error) int {
	var (
		config  configError
		refusal *identity.Refusal
		volume  volumeError
		late    *gaveUp
		signal  interrupted
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &config), errors.As(err, &refusal):
		return exitRefused
	case errors.As(err, &volume):
		return exitVolume
	case errors.As(err, &signal):
		return exitSignal + int(signal.signal)
	case errors.As(err, &late):
		switch {
		case late.said != nil && late.said.Verdict == identity.Shared:
			return exitShared
		case late.last != nil && late.last.Verdict == identity.Keyless:
			return exitKeyless
		}
		return exitDeadline
	}
	return exitUnexpected
}
