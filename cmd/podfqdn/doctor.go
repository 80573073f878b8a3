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
)

// doctorPatience bounds all questions to DNS. Servers are asked in parallel. A silent
// one costs 2 s; only one that is slow on every question comes near the limit, and
// so do many peers, which are asked for at the same time.
const doctorPatience = 15 * time.Second

// runDoctor looks at the Pod, asks DNS and says why it does not agree. It
// changes nothing: not the volume, and not the termination message of the container
// that it runs in. It asks DNS in the order that is safe for a process that waits there.
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

// doctorFormat returns what -o says: text or json.
func doctorFormat(args []string) (format string, err error) {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&format, "o", "text", "")
	err = flags.Parse(args)
	switch {
	case err != nil:
		return "", fmt.Errorf("doctor: %w: use -o text or -o json", err)
	case flags.NArg() > 0:
		return "", fmt.Errorf("doctor takes only -o text or -o json, got %+q", flags.Arg(0))
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
	p := path{cfg: cfg}
	if err == nil {
		p.claim, err = facts.Claim(cfg.Policy)
	}
	_, h, _ := hold("doctor", nil, environ)
	var changed []diagnosis.Seen
	if err != nil && h.stands() {
		// What others have made of the Pod's files since does not matter, unless
		// nobody is left to ask.
		changed = []diagnosis.Seen{{Name: "changed since", Value: why(err), From: "the Pod's files"}}
		facts, p.claim, err = h.facts, h.claim, nil
		if len(facts.Nameservers) == 0 {
			err = identity.Refuse(identity.ForeignDNS,
				errors.New("/etc/resolv.conf has no nameserver, although this Pod's identity is verified: something in the Pod has changed it since"),
				"find what writes it, or set PODFQDN_NAMESERVERS; what is published stays")
		}
	}
	d := diagnosis.Diagnosis{Schema: 1, Questions: []diagnosis.Asked{}}
	d.Facts = append(append(diagnosis.Facts(facts), h.seen(cfg.Dir)), changed...)
	if err == nil {
		err = p.makeNeeds()
	}
	if err != nil {
		d.Reason = err.Error()
		d.Causes = diagnosis.Causes(facts, p.claim, nil, err)
		return d, err
	}
	d.FQDN, d.Addresses, d.Healthy = p.claim.Name().String(), p.claim.Addrs(), true

	var also identity.Also
	var standing []identity.File
	if h.stands() {
		standing = h.files
		also = identity.Blindly // as applications ask too
	}
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	var (
		needs   []diagnosis.Seen
		unmet   error
		checked sync.WaitGroup
	)
	checked.Go(func() {
		needs, unmet = p.check(ctx, resolver.Bystander(facts.Nameservers[0], facts.ResolvConf.UseVC), standing)
	})
	all := ask(ctx, facts, p.claim, also)
	checked.Wait()
	d.Facts = append(d.Facts, needs...)
	for _, r := range all {
		d.Questions = append(d.Questions, diagnosis.Questions(r.report, r.server, p.claim)...)
		for _, f := range r.report.Findings() {
			if warning := f.String(); f.Verdict == identity.Withheld && f.Tolerated && !slices.Contains(d.Warnings, warning) {
				d.Warnings = append(d.Warnings, warning)
			}
		}
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

// check looks at what is needed in addition to the name; standing is the identity that
// stands, nil for none. It returns what was found, and the first that is not as it should
// be.
func (p *path) check(ctx context.Context, dns identity.Resolver, standing []identity.File) (facts []diagnosis.Seen, unmet error) {
	for _, n := range p.needs {
		n.has = standing != nil && n.Lacks(standing) == ""
		seen := diagnosis.Seen{Name: n.Title, From: n.From, Value: cmp.Or(identity.List(n.Wants), "none is waited for")}
		if n.Dir != "" { // the files of something
			seen.Value = "of " + seen.Value
		}
		if err := n.checked(ctx, dns); err != nil {
			seen.Value = "missing"
			unmet = cmp.Or(unmet, err)
		}
		facts = append(facts, seen)
	}
	return facts, unmet
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

// ask asks all nameservers at the same time, as long as ctx has time, and returns
// what they said in their order.
func ask(ctx context.Context, facts identity.Facts, claim identity.Claim, also identity.Also) []said {
	results := make([]said, len(facts.Nameservers))
	var all sync.WaitGroup
	for i, server := range facts.Nameservers {
		all.Go(func() {
			dns := resolver.Bystander(server, facts.ResolvConf.UseVC)
			report, err := diagnosis.Examine(ctx, dns, facts, claim, also)
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("%s did not answer all questions within %s", server, doctorPatience)
			}
			results[i] = said{server, report, err}
		})
	}
	all.Wait()
	return results
}

// why returns what was seen, of a refusal, without what to change.
func why(err error) string {
	if refusal, ok := errors.AsType[*identity.Refusal](err); ok {
		return refusal.Why()
	}
	return err.Error()
}

// seen reports what the volume holds.
func (h held) seen(dir string) diagnosis.Seen {
	seen := diagnosis.Seen{Name: diagnosis.FactVolume, From: dir}
	switch {
	case h.unread != nil:
		seen.Value = h.unread.Error()
	case len(h.files) == 0:
		seen.Value = diagnosis.NothingPublished
	case h.undecided():
		seen.Value = "published, but podfqdn cannot tell whether it is this Pod's"
	case h.foreign != nil:
		seen.Value = "not this Pod's identity: " + h.foreign.Error()
	case h.verified:
		seen.Value = diagnosis.Verified
	default:
		seen.Value = "published, but not verified"
	}
	return seen
}
