package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/kerberos"
	"github.com/podfqdn/podfqdn/identity/resolver"
	"github.com/podfqdn/podfqdn/identity/screen"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// doctorPatience bounds a run as a whole. Servers are asked beside each other;
// one that is silent costs the 2 s of its first question, one that falls silent
// later the 2 s of that one, and only one that is slow to each question comes
// near the bound.
const doctorPatience = 15 * time.Second

// runDoctor looks at the Pod, asks DNS and says why it does not agree. It
// changes nothing: not the volume, not the termination message of the container
// that it runs beside, and it asks DNS in the order that is safe for whoever
// waits there.
func runDoctor(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	format, err := doctorFormat(args)
	if err != nil {
		fmt.Fprintf(stderr, "podfqdn: %s\n", screen.Printable(err.Error()))
		return exitRefused
	}
	d, err := examine(ctx, environ)
	if signal := (interrupted{}); errors.As(context.Cause(ctx), &signal) {
		fmt.Fprintf(stderr, "podfqdn: ended by %s\n", signal)
		return exitCode(signal)
	}
	if format == "json" {
		out, failed := screen.JSON(d)
		_, unread := stdout.Write(out)
		err = errors.Join(failed, unread, err)
	} else {
		screen.New(stdout).Diagnosis(d)
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
// anything, or a source of keys that only another Pod spec mends where DNS
// agrees; the diagnosis tells it too.
func examine(ctx context.Context, environ []string) (identity.Diagnosis, error) {
	cfg, facts, _, err := prepare("doctor", nil, environ)
	d := identity.Diagnosis{Schema: 1, Facts: facts.Seen(), Questions: []identity.Asked{}}
	var claim identity.Claim
	if err == nil {
		claim, err = facts.Claim(cfg.policy())
	}
	d.Facts = append(d.Facts, published(cfg.Dir, claim, err == nil))
	var keyless error // which is for after DNS, as on the path
	if err == nil && !cfg.Principals.IsZero() {
		var keys *kerberos.Keys
		if keys, err = cfg.keys(claim, cfg.Dir); err == nil {
			keyless = keys.Look(ctx)
		}
		seen := identity.Seen{Name: "Kerberos keys", From: "PODFQDN_KRB5_SOURCE", Value: "missing"}
		if err == nil && keyless == nil {
			seen.Value = "of " + identity.Enumerate(keys.Principals())
		}
		d.Facts = append(d.Facts, seen)
	}
	if err != nil {
		d.Reason = err.Error()
		d.Causes = diagnose(facts, claim, nil, err)
		return d, err
	}
	d.FQDN, d.Addresses = claim.Name().String(), claim.Addrs()

	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	type result struct {
		server netip.AddrPort
		report identity.Report
		err    error
	}
	results := make([]result, len(facts.Nameservers))
	var all sync.WaitGroup
	for i, server := range facts.Nameservers {
		all.Go(func() {
			dns := resolver.Beside(server, facts.ResolvConf.UseVC)
			report, err := identity.Examine(ctx, dns, facts, claim, cfg.policy())
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("%s did not answer everything within %s", server, doctorPatience)
			}
			results[i] = result{server, report, err}
		})
	}
	all.Wait()
	if keyless != nil {
		results = append(results, result{err: keyless}) // the last, as a Walk has it
	}
	d.Healthy = true
	for _, r := range results {
		d.Questions = append(d.Questions, r.report.Asked(r.server)...)
		if r.err == nil {
			continue
		}
		if d.Healthy {
			d.Healthy, d.Reason = false, r.err.Error()
			if errors.As(r.err, new(*identity.Refusal)) {
				err = r.err
			}
			if m := (*identity.Mismatch)(nil); errors.As(r.err, &m) {
				d.Verdict = m.Verdict
			}
		}
		for _, cause := range diagnose(facts, claim, r.report, r.err) {
			if !slices.ContainsFunc(d.Causes, func(c identity.Cause) bool { return c.Kind == cause.Kind }) {
				d.Causes = append(d.Causes, cause)
			}
		}
	}
	return d, err
}

// diagnose is identity.Diagnose, and knows mistakes in the variables.
func diagnose(f identity.Facts, c identity.Claim, r identity.Report, err error) (causes []identity.Cause) {
	if mistakes := (configError{}); errors.As(err, &mistakes) {
		for line := range strings.SplitSeq(mistakes.Error(), "\n") {
			causes = append(causes, identity.Cause{Kind: identity.Misconfigured, Why: line, Change: "correct this variable in the container's env"})
		}
		if !errors.As(err, new(*identity.Refusal)) {
			return causes
		}
	}
	return append(causes, identity.Diagnose(f, c, r, err)...)
}

// published tells what the volume holds.
func published(dir string, c identity.Claim, claimed bool) identity.Seen {
	seen := identity.Seen{Name: "volume", From: dir}
	files, verified, err := volume.Read(dir)
	foreign := error(nil)
	if claimed && len(files) > 0 {
		foreign = c.Keeps(files)
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
	return seen
}
