package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/podfqdn/podfqdn/identity"
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
	dir, h, err := hold("check", args, environ)
	switch {
	case err != nil:
		return "", err
	case h.unread != nil:
		return "", volumeError(h.unread)
	case !h.verified:
		return "", exit{exitDeadline, fmt.Errorf("not verified: there is no %q in %s", volume.Verified, dir)}
	case h.undecided():
		return "", h.foreign
	case h.foreign != nil:
		return "", exit{exitDeadline, fmt.Errorf("not verified: the identity in %s is not this Pod's: %w", dir, h.foreign)}
	}
	return h.claim.Name().String(), nil
}

// held is what the volume holds, and whose it is. check and the doctor decide by the
// same rule, whatever others have written into the Pod's files since.
type held struct {
	files    []identity.File
	verified bool           // the start signal is there
	unread   error          // why the volume cannot be read
	facts    identity.Facts // with what only the files in the volume say
	claim    identity.Claim
	foreign  error // why it is not this Pod's identity, or why that cannot be decided
}

// hold reads the volume. The error says what is wrong with args and variables.
func hold(command string, args, environ []string) (dir string, h held, err error) {
	cfg, _, wrong := configure(command, args, environ)
	h.files, h.verified, h.unread = volume.Read(cfg.Dir)
	h.facts, err = identity.Recall(os.DirFS(cfg.Root), cfg.Given, cfg.interfaces(), h.files)
	if err = errors.Join(wrong, err); err != nil {
		h.foreign = err
		return cfg.Dir, h, err
	}
	if h.claim, h.foreign = h.facts.Claim(cfg.Policy); h.foreign == nil {
		_, h.foreign = h.claim.Keeps(h.files)
	}
	return cfg.Dir, h, nil
}

// undecided reports whether podfqdn cannot tell if the identity is this Pod's.
func (h held) undecided() bool { return errors.As(h.foreign, new(*identity.Refusal)) }

// stands reports whether the volume holds this Pod's verified identity.
func (h held) stands() bool { return h.verified && h.foreign == nil }
