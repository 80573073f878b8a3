package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// once remembers what was said lately.
type once []string

// first reports whether this is said for the first time. DNS can produce endless
// different reasons, so only the last 32 are kept.
func (o *once) first(s string) bool {
	if slices.Contains(*o, s) {
		return false
	}
	*o = append((*o)[max(0, len(*o)-31):], s)
	return true
}

// forget has s said again.
func (o *once) forget(s string) {
	*o = slices.DeleteFunc(*o, func(said string) bool { return said == s })
}

// narrator tells of a wait: a new reason at once, the same again at growing
// intervals, with a hint once it has lasted or where a cache will make it last.
// After an agreement the same is told again when DNS has agreed meanwhile, and
// once an hour at most: of several replicas one may never agree. It asks DNS only
// when the Walk wants witnesses.
type narrator struct {
	log    *zap.Logger
	facts  identity.Facts
	claim  identity.Claim
	dns    identity.Resolver // for the witnesses, whom the Walk asks
	stands func() bool       // what was published stands

	healed bool // DNS has agreed since told was last forgotten
	broken bool // a reason was told since the last agreement
	told   once // reasons, since they were last forgotten
	next   time.Duration

	last     identity.Turn      // the last that did not agree
	said     *identity.Mismatch // the last that says anything about the name; or nil
	heard    identity.Round     // what the witnesses said last,
	heardFor identity.Verdict   // about which verdict
}

// hintAfter is how long a reason usually lasts when nothing is wrong.
const hintAfter = 3 * time.Second

// witnesses asks and returns them, for a Walk.
func (n *narrator) witnesses(ctx context.Context, m *identity.Mismatch) identity.Round {
	n.heard, n.heardFor = diagnosis.Witnesses(ctx, n.dns, n.facts, n.claim, m), m.Verdict
	return n.heard
}

// turn tells of one turn of the walk.
func (n *narrator) turn(t identity.Turn) {
	n.asked(t.Report)
	if t.Err == nil {
		if t.Agreed && n.broken {
			n.log.Info("forward and reverse DNS agree again")
		}
		if !t.Agreed {
			n.next = 0
		}
		n.healed, n.broken = true, false
	}
	m, ok := errors.AsType[*identity.Mismatch](t.Err)
	if !ok {
		return
	}
	if n.last = t; m.Verdict != identity.Unanswered {
		n.said = m
	}
	reason := m.Error()
	if t.Waited >= n.next && (!t.Agreed || n.healed) {
		n.told, n.healed = nil, false
		n.next = max(hintAfter, 2*t.Waited)
		if t.Agreed {
			n.next = t.Waited + time.Hour
		}
	}
	if !n.told.first(reason) {
		return
	}
	n.broken = true
	fields := []zap.Field{zap.String("reason", reason), zap.Duration("waited", t.Waited)}
	if t.Waited+m.Again() >= hintAfter { // or is known to last
		fields = append(fields, zap.String("hint", n.hint()))
	}
	switch {
	case n.stands():
		n.log.Warn("DNS does not agree any more: what is published stays", fields...)
	case t.Agreed:
		n.log.Warn("DNS does not agree, and what was published is withdrawn", fields...)
	default:
		n.log.Info("not yet", fields...)
	}
}

// hint returns the likeliest cause of the last mismatch, in one line.
func (n *narrator) hint() string {
	report := n.last.Report
	if m, ok := errors.AsType[*identity.Mismatch](n.last.Err); ok && m.Verdict == n.heardFor {
		report = append(report[:len(report):len(report)], n.heard)
	}
	return diagnosis.Causes(n.facts, n.claim, report, n.last.Err)[0].String()
}

// asked logs each question, for somebody who wants to see all.
func (n *narrator) asked(r identity.Report) {
	for _, f := range r.Findings() {
		fields := []zap.Field{zap.Stringer("kind", f.Kind), zap.Stringer("server", f.Server),
			zap.Stringer("finding", f), zap.String("verdict", string(f.Verdict)), zap.Duration("again", f.Again)}
		if probe := shown.Of(f.Answer).Probe; probe != "" {
			fields = append(fields, zap.String("probe", probe))
		}
		n.log.Debug("asked", fields...)
	}
}

// deadlineCodes are the exit codes of a wait that ends without success, by its last reason;
// 11 where it has none here. That of Shared does not need to be the last.
var deadlineCodes = map[identity.Verdict]int{identity.Keyless: exitKeyless}

// end returns why the wait ended without agreement: by its limit, or by a signal,
// which is cause then; with its last reason, and with the likeliest cause.
func (n *narrator) end(cause error, limit, waited time.Duration) error {
	code, text := exitDeadline, fmt.Sprintf("gave up after %s", limit)
	last, answered := errors.AsType[*identity.Mismatch](n.last.Err)
	if signal, ok := errors.AsType[exit](cause); ok {
		code, text = signal.code, fmt.Sprintf("ended by %s after %s", signal, waited.Round(10*time.Millisecond))
	} else if n.said != nil && n.said.Verdict == identity.Shared { // even if DNS says nothing now
		code = exitShared
	} else if answered {
		code = cmp.Or(deadlineCodes[last.Verdict], exitDeadline)
	}
	if !answered {
		return exit{code, fmt.Errorf("%s: %s: no answer yet from %s", text, n.claim.Name(), identity.Enumerate(n.facts.Nameservers))}
	}
	text = fmt.Sprintf("%s: %s; %s", text, last, n.hint())
	if n.said != nil && n.said != last {
		text += fmt.Sprintf("; before that: %s", n.said)
	}
	return exit{code, errors.New(text)}
}
