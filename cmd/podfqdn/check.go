package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/podfqdn/podfqdn/identity/screen"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// runCheck tells whether the volume holds this Pod's verified identity, for
// exec probes. It asks DNS nothing.
func runCheck(args, environ []string, stdout, stderr io.Writer) int {
	name, err := check(args, environ)
	var not notPublished
	switch {
	case errors.As(err, &not):
		fmt.Fprintf(stderr, "podfqdn: not verified: %s\n", screen.Printable(err.Error()))
		return exitDeadline
	case err != nil:
		fmt.Fprintf(stderr, "podfqdn: %s\n", screen.Printable(err.Error()))
		return exitCode(err)
	}
	fmt.Fprintln(stdout, name)
	return exitOK
}

// notPublished says why the volume does not hold the Pod's identity.
type notPublished struct{ error }

func check(args, environ []string) (name string, err error) {
	cfg, facts, _, err := prepare("check", args, environ)
	if err != nil {
		return "", err
	}
	claim, err := facts.Claim(cfg.policy())
	if err != nil {
		return "", err
	}
	files, verified, err := volume.Read(cfg.Dir)
	if err != nil {
		return "", volumeError{err}
	}
	if !verified {
		return "", notPublished{fmt.Errorf("there is no %q in %s", volume.Verified, cfg.Dir)}
	}
	if err := claim.Keeps(files); err != nil {
		return "", notPublished{fmt.Errorf("the identity in %s is not this Pod's: %w", cfg.Dir, err)}
	}
	return claim.Name().String(), nil
}
