package main

import (
	"fmt"
	"io"

	"github.com/podfqdn/podfqdn/identity/volume"
)

// runCheck reports whether the volume holds this Pod's verified identity, for
// exec probes. It asks DNS nothing.
func runCheck(args, environ []string, stdout, stderr io.Writer) int {
	name, err := check(args, environ)
	if err != nil {
		return fail(stderr, err)
	}
	fmt.Fprintln(stdout, name)
	return exitOK
}

// check returns the name that the volume holds.
func check(args, environ []string) (name string, err error) {
	cfg, facts, _, err := see("check", args, environ)
	if err != nil {
		return "", err
	}
	claim, err := facts.Claim(cfg.Policy)
	if err != nil {
		return "", err
	}
	files, verified, err := volume.Read(cfg.Dir)
	if err != nil {
		return "", volumeError(err)
	}
	if !verified {
		return "", exit{exitDeadline, fmt.Errorf("not verified: there is no %q in %s", volume.Verified, cfg.Dir)}
	}
	if _, err := claim.Keeps(files); err != nil {
		return "", exit{exitDeadline, fmt.Errorf("not verified: the identity in %s is not this Pod's: %w", cfg.Dir, err)}
	}
	return claim.Name().String(), nil
}
