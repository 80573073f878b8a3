package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// recall makes the application, and reports whether this Pod's identity stands in
// the volume with all that it needs. It asks DNS nothing, takes no lock and writes
// nothing, so it also works for an exec probe, and for an application that is
// started again while cluster DNS is down.
func (p *path) recall(args, environ []string) (stands bool, err error) {
	cfg, _, wrong := configure("exec", nil, environ)
	p.cfg, p.log = cfg, newLogger(cfg, p.stderr)
	if !cfg.Kerberos.Principals.IsZero() {
		wrong = errors.Join(wrong, misconfigured("PODFQDN_KRB5_PRINCIPALS is set for exec, which never reads keys in the application's container",
			"set it for podfqdn init or podfqdn sidecar in a container of its own, and mount what that publishes here"))
	}
	if cfg.Install != "" {
		wrong = errors.Join(wrong, misconfigured("PODFQDN_INSTALL is set for exec", "set it for podfqdn init in a container of its own"))
	}
	app, err := newApplication(args, environ)
	if err := errors.Join(wrong, err); err != nil {
		return false, err
	}
	p.app = app
	for _, t := range slices.Concat(app.args, app.environ) {
		for _, slip := range t.Slips() {
			p.log.Warn("a reference stays as it is", zap.String("where", t.where), zap.String("reference", slip.Written), zap.String("did_you_mean", "$("+slip.Meant+")"))
		}
	}
	if err := mounted(os.DirFS(cfg.Root), cfg.Dir, "identity"); err != nil {
		return false, exit{exitVolume, err}
	}
	_, h, err := hold("exec", nil, environ)
	if err != nil || !h.stands() {
		return false, nil // see reports what is wrong
	}
	if app.required, err = p.requirements(h.claim); err != nil {
		return false, nil
	}
	app.take(h.files)
	return app.complete() && p.rendered(h.claim), nil
}

// rendered reports whether everything that PODFQDN_RENDER asks for is rendered for a
// claim.
func (p *path) rendered(claim identity.Claim) bool {
	all, err := p.cfg.Render.Requirements(claim, p.others(p.app.required))
	for _, r := range all {
		if o := (outlet{Outlet: r.Outlet}); !o.holds() {
			return false
		}
	}
	return err == nil
}

// available refuses an application that needs what this Pod's identity does not
// have. What is required in addition may come from another container.
func (p *path) available() error {
	variable, where := p.app.lacks(slices.Concat(p.claim.Variables(), requiredVariables()))
	if variable == "" {
		return nil
	}
	change := "leave the reference out"
	switch {
	case variable == "POD_ORDINAL" && p.app.blank(variable):
		return misconfigured(where+" refers to POD_ORDINAL, which is set and empty", noOrdinal)
	case variable == "POD_ORDINAL":
		change = "in a StatefulSet or an Indexed Job set POD_ORDINAL from the label apps.kubernetes.io/pod-index; elsewhere leave the reference out"
	}
	return misconfigured(fmt.Sprintf("%s refers to %s, which %s does not have", where, variable, p.claim.Name()), change)
}

// ready reports whether the application may begin without another proof, because
// some container has published what it needs in the volume.
func (p *path) ready() (bool, error) {
	switch {
	case p.name.vol == nil && !p.rendered(p.claim):
		return false, misconfigured(fmt.Sprintf("PODFQDN_RENDER is set for exec, and another container publishes in %s", p.cfg.Dir),
			"set PODFQDN_RENDER for the container that runs podfqdn init or podfqdn sidecar, and mount what it renders here too")
	case p.name.vol == nil || p.name.stands.Load():
		return true, nil
	}
	has := p.claim.Variables()
	for _, add := range additions(p.app.required) {
		for _, line := range add.Environment {
			name, _, _ := strings.Cut(line, "=")
			has = append(has, name)
		}
	}
	for _, name := range requiredVariables() {
		if value, ok := p.app.values[name]; ok && !slices.Contains(has, name) {
			has = append(has, name)
			p.app.kept.Environment = append(p.app.kept.Environment, name+"='"+value+"'")
			if name == identity.VariablePeers && p.app.peers.Name != "" {
				p.app.kept.Files = append(p.app.kept.Files, p.app.peers)
			}
		}
	}
	p.app.values = nil
	return false, p.unpublished(has)
}

// unpublished refuses an application that needs a variable that is not among names,
// which are all that is published.
func (p *path) unpublished(names []string) error {
	variable, where := p.app.lacks(names)
	if variable == "" {
		return nil
	}
	change := "change the container that runs podfqdn init or podfqdn sidecar so that it does"
	if variable == identity.VariablePeers {
		change = "set PODFQDN_PEERS, such as 3, for the container that runs podfqdn init or podfqdn sidecar, or here if there is none"
	}
	return misconfigured(fmt.Sprintf("%s refers to %s, which no container of this Pod publishes in %s", where, variable, p.cfg.Dir), change)
}

// await takes the name's volume for "exec". If another process has it, or if it is
// mounted read-only, others publish: then await takes nothing, asks DNS nothing, and
// waits until this Pod's identity is published there. Once it is, the volume is needed
// only to render what nobody else has rendered: for that await tries for a moment, as
// another application releases the volume when it begins.
func (p *path) await(ctx context.Context, keeps func([]identity.File) error) error {
	const pause, moment = 20 * time.Millisecond, 2 * time.Second
	began, told := time.Now(), hintAfter
	var stood time.Time // since when the identity does
	readOnly := isReadOnly(p.cfg.Dir)
	for {
		why, waits := fmt.Errorf("%s is mounted read-only here, and no other container has published this Pod's identity there", p.cfg.Dir), true
		hint := "run podfqdn init or podfqdn sidecar in a container that mounts the volume writable, or leave readOnly out here"
		if !readOnly {
			now, cancel := context.WithDeadline(ctx, time.Now()) // for one try
			why = p.name.open(now, keeps)
			if cancel(); why == nil {
				return nil
			}
			if waits = errors.As(why, new(*volume.Busy)); waits {
				why = fmt.Errorf("another podfqdn has %s locked, and has not published this Pod's identity there yet", p.cfg.Dir)
				hint = "look at the log of the container that runs it"
			}
		}
		stands, because := p.meets(keeps)
		if stands && stood.IsZero() {
			stood = time.Now()
		}
		lacks := errors.As(because, new(*identity.Refusal))
		switch {
		case stands && (!waits || readOnly || time.Since(stood) >= moment || p.rendered(p.claim)):
			return nil
		case !waits:
			return why
		case lacks && readOnly:
			return because
		case lacks:
			why = because
		case because != nil:
			why = fmt.Errorf("%w: %w", why, because)
		}
		waited := time.Since(began)
		if waited >= told {
			told = following(waited)
			level := zap.InfoLevel
			if waited >= warnAfter {
				level = zap.WarnLevel
			}
			fields := []zap.Field{zap.String("reason", why.Error()), zap.Duration("waited", waited), zap.String("hint", hint)}
			if ends, ok := ctx.Deadline(); ok {
				fields = append(fields, zap.String("gives_up", ends.UTC().Format(time.RFC3339)))
			}
			p.log.Log(level, "not yet", fields...)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return p.awaitEnded(ctx, time.Since(began), why, hint)
		}
	}
}

// meets reports whether this Pod's identity is published in the volume with all that
// the application needs, and gives it to the application. The error says why not, if
// something is there: a *identity.Refusal if it is this Pod's and lacks something.
func (p *path) meets(keeps func([]identity.File) error) (bool, error) {
	files, verified, err := volume.Read(p.cfg.Dir)
	if err != nil || len(files) == 0 {
		return false, err
	}
	if foreign := keeps(files); foreign != nil {
		return false, fmt.Errorf("what is published there is not this Pod's: %w", foreign)
	}
	if !verified {
		return false, nil
	}
	p.app.take(files)
	if p.app.complete() {
		return true, nil
	}
	if r := p.app.unmet; r != nil {
		return false, misconfigured(fmt.Sprintf("%s is set for exec, but what is published in %s was published without it, or with a different value", r.From, p.cfg.Dir),
			fmt.Sprintf("set %s for the container that runs podfqdn init or podfqdn sidecar, to the same value, or leave it out here", r.From))
	}
	return false, p.unpublished(slices.Collect(maps.Keys(p.app.values)))
}

// awaitEnded returns why await ended without an identity.
func (p *path) awaitEnded(ctx context.Context, waited time.Duration, why error, hint string) error {
	if signal, ok := errors.AsType[exit](context.Cause(ctx)); ok {
		return exit{signal.code, fmt.Errorf("ended by %w after %s: %w", signal, waited.Round(10*time.Millisecond), why)}
	}
	return exit{exitDeadline, fmt.Errorf("gave up after %s: %w: %s", time.Duration(p.cfg.Timeout), why, hint)}
}

// become replaces this process with the application. It returns only if it could
// not, or if a signal came first, which the application would never receive.
func (p *path) become(ctx context.Context) error {
	args, environ, differ, err := p.app.expand()
	if err != nil {
		return err
	}
	if len(differ) > 0 {
		p.log.Warn("published values replace inherited ones", zap.Strings("variables", differ))
	}
	if p.app.values["POD_ORDINAL"] == "" && p.app.blank("POD_ORDINAL") {
		p.log.Warn("POD_ORDINAL is set and empty, so the kubelet has replaced $(POD_ORDINAL) with nothing", zap.String("because", noOrdinal))
	}
	_ = p.log.Sync()
	showMemory()
	if signal, ok := errors.AsType[exit](settled(ctx)); ok {
		return exit{signal.code, fmt.Errorf("ended by %w before the application began", signal)}
	}
	err = syscall.Exec(p.app.file, args, environ)
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		err = errors.New("it is not a program for this machine, and has no #! line")
	case errors.Is(err, syscall.E2BIG):
		err = errors.New("its arguments and variables are too large: the kernel accepts at most 128 KiB for each, and a quarter of the stack limit for all of them")
	case errors.Is(err, syscall.ENOENT):
		err = errors.New("it exists, but the interpreter of its #! line, or its dynamic loader, does not")
	}
	return exit{exitNotExecutable, fmt.Errorf("the command %+q cannot be executed: %w", p.app.file, err)}
}
