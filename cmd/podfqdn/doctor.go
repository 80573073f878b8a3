package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/resolver"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// doctorPatience bounds a run as a whole. Servers are asked in parallel. A silent
// one costs 2 s; only one that is slow on every question comes near the limit.
const doctorPatience = 15 * time.Second

// runDoctor looks at the Pod, asks DNS and says why it does not agree. It
// changes nothing: not the volume, not the termination message of the container
// that it runs beside, and it asks DNS in the order that is safe for whoever
// waits there.
func runDoctor(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	format, err := doctorFormat(args)
	if err != nil {
		return fail(stderr, exit{exitRefused, err})
	}
	d, err := examine(ctx, environ)
	if signal, ok := errors.AsType[exit](context.Cause(ctx)); ok {
		return fail(stderr, exit{signal.code, fmt.Errorf("ended by %w", signal)})
	}
	if format == "json" {
		out, failed := diagnosis.JSON(d)
		_, unread := stdout.Write(out)
		err = errors.Join(failed, unread, err)
	} else {
		diagnosis.NewScreen(stdout).Diagnosis(d)
	}
	switch {
	case d.Healthy:
		return exitOK
	case err != nil:
		return exitCode(err)
	}
	return exitDeadline
}

// doctorFormat gives what -o says: text or json.
func doctorFormat(args []string) (format string, err error) {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&format, "o", "text", "")
	err = flags.Parse(args)
	switch {
	case err != nil:
		return "", fmt.Errorf("doctor: %w: use -o text or -o json", err)
	case flags.NArg() > 0:
		return "", fmt.Errorf("doctor takes no argument but -o text or -o json, got %+q", flags.Arg(0))
	case format != "text" && format != "json":
		return "", fmt.Errorf("doctor -o %+q: use text or json", format)
	}
	return format, nil
}

// examine makes the diagnosis. The error is what is wrong before DNS is asked
// anything, or a requirement that only another Pod spec meets where DNS agrees;
// the diagnosis says it too.
func examine(ctx context.Context, environ []string) (diagnosis.Diagnosis, error) {
	cfg, facts, _, err := see("doctor", nil, environ)
	d := diagnosis.Diagnosis{Schema: 1, Facts: diagnosis.Facts(facts), Questions: []diagnosis.Asked{}}
	p := path{cfg: cfg}
	if err == nil {
		p.claim, err = facts.Claim(cfg.Policy)
	}
	seen, verified := published(cfg.Dir, p.claim, err == nil)
	d.Facts = append(d.Facts, seen)
	if err == nil {
		err = p.makeNeeds()
	}
	if err != nil {
		d.Reason = err.Error()
		d.Causes = diagnosis.Causes(facts, p.claim, nil, err)
		return d, err
	}
	var unmet error // which is for after DNS, as on the path
	for _, n := range p.needs {
		seen := diagnosis.Seen{Name: n.Title, From: n.From, Value: "of " + identity.List(n.Wants)}
		if err := n.Check(ctx); err != nil {
			seen.Value = "missing"
			unmet = cmp.Or(unmet, err)
		}
		d.Facts = append(d.Facts, seen)
	}
	d.FQDN, d.Addresses, d.Healthy = p.claim.Name().String(), p.claim.Addrs(), true

	var also identity.Also
	if verified {
		also = identity.Blindly // as applications ask too
	}
	all := ask(ctx, facts, p.claim, also)
	for _, r := range all {
		d.Questions = append(d.Questions, diagnosis.Questions(r.report, r.server, p.claim)...)
		report := r.report
		if m, ok := errors.AsType[*identity.Mismatch](r.err); ok && m.Is == identity.Silent {
			report = nil // why one is silent, the others show too
			for _, other := range all {
				report = append(report, other.report...)
			}
		}
		conclude(&d, r.err, diagnosis.Causes(facts, p.claim, report, r.err))
	}
	healthy := d.Healthy
	conclude(&d, unmet, diagnosis.Causes(facts, p.claim, nil, unmet)) // the last, as a Walk has it
	if healthy && errors.As(unmet, new(*identity.Refusal)) {
		return d, unmet
	}
	return d, nil
}

// conclude adds the first reason with its verdict, and the causes that are new.
func conclude(d *diagnosis.Diagnosis, err error, causes []diagnosis.Cause) {
	if err == nil {
		return
	}
	if d.Healthy {
		d.Healthy, d.Reason = false, err.Error()
		if m, ok := errors.AsType[*identity.Mismatch](err); ok {
			d.Verdict = m.Verdict
		}
	}
	for _, cause := range causes {
		if !slices.ContainsFunc(d.Causes, func(c diagnosis.Cause) bool { return c.Kind == cause.Kind }) {
			d.Causes = append(d.Causes, cause)
		}
	}
}

// said is what one nameserver said.
type said struct {
	server netip.AddrPort
	report identity.Report
	err    error
}

// ask asks all nameservers at the same time, and returns what they said in their
// order.
func ask(ctx context.Context, facts identity.Facts, claim identity.Claim, also identity.Also) []said {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	results := make([]said, len(facts.Nameservers))
	var all sync.WaitGroup
	for i, server := range facts.Nameservers {
		all.Go(func() {
			dns := resolver.Beside(server, facts.ResolvConf.UseVC)
			report, err := diagnosis.Examine(ctx, dns, facts, claim, also)
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("%s did not answer everything within %s", server, doctorPatience)
			}
			results[i] = said{server, report, err}
		})
	}
	all.Wait()
	return results
}

// published returns what the volume holds, and whether that is the Pod's verified
// identity.
func published(dir string, c identity.Claim, claimed bool) (seen diagnosis.Seen, verified bool) {
	seen = diagnosis.Seen{Name: "volume", From: dir}
	files, verified, err := volume.Read(dir)
	foreign := error(nil)
	if claimed && len(files) > 0 {
		_, foreign = c.Keeps(files)
	}
	switch {
	case err != nil:
		seen.Value = err.Error()
	case len(files) == 0:
		seen.Value = "nothing is published"
	case foreign != nil:
		seen.Value = "not this Pod's identity: " + foreign.Error()
	case verified:
		seen.Value = "published and verified"
	default:
		seen.Value = "published, but not verified"
	}
	return seen, verified && claimed && foreign == nil
}
