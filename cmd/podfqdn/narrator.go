package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
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

// forget lets s be said again.
func (o *once) forget(s string) {
	*o = slices.DeleteFunc(*o, func(said string) bool { return said == s })
}

// narrator logs a wait: a new reason at once, the same reason again at growing
// intervals, even while a cached answer is waited out. Once the reason has lasted, it
// logs what was asked, what was answered and when that is asked again, and the
// likeliest cause once the questions that show it were asked; after half a minute it
// warns, with the command for the laptop and the time at which the wait ends. After an
// agreement it logs the same reason again only if DNS has agreed meanwhile, and at
// most once an hour: of several replicas one may never agree. It asks DNS only when
// the Walk wants witnesses.
type narrator struct {
	log    *zap.Logger
	facts  identity.Facts
	claim  identity.Claim
	dns    identity.Resolver // for the witnesses, which the Walk asks for
	stands func() bool       // what was published stands
	ends   time.Time         // the end of the wait; the zero Time if it has none

	mu     sync.Mutex         // of all below, as the timer has a goroutine of its own
	timer  *time.Timer        // logs while the Walk pauses; nil if nothing is due
	healed bool               // DNS has agreed since told was last cleared
	broken bool               // a reason was logged since the last agreement
	told   once               // reasons, since it was last cleared
	next   time.Duration      // when told is cleared, since the walk began
	firsts []identity.Finding // the first of each server

	last     identity.Turn      // the last that did not agree,
	at       time.Time          // and when it ended
	said     *identity.Mismatch // the last that says anything about the name; or nil
	heard    identity.Round     // what the witnesses said last,
	heardFor identity.Verdict   // about which verdict
}

const (
	// hintAfter is the longest that a reason usually lasts when nothing is wrong.
	hintAfter = 3 * time.Second
	// warnAfter is when a person has to look.
	warnAfter = 30 * time.Second
	// lateness is how long a line may wait for the next turn, which knows more.
	lateness = 2 * time.Second
)

// following returns after which wait the same reason is logged again, given the wait
// so far.
func following(waited time.Duration) time.Duration {
	next := max(hintAfter, 2*waited)
	if waited < warnAfter {
		next = min(next, warnAfter)
	}
	return next
}

// witnesses asks and returns them, for a Walk.
func (n *narrator) witnesses(ctx context.Context, m *identity.Mismatch) identity.Round {
	heard := diagnosis.Witnesses(ctx, n.dns, n.facts, n.claim, m)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heard, n.heardFor = heard, m.Verdict
	return heard
}

// turn logs a turn, or remembers it for later.
func (n *narrator) turn(t identity.Turn) {
	n.asked(t.Unfinished)
	n.asked(t.Report)
	n.asked(t.Others)
	n.quiet()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range t.Report.Findings() {
		if !slices.ContainsFunc(n.firsts, func(first identity.Finding) bool { return first.Server == f.Server }) {
			n.firsts = append(n.firsts, f)
		}
	}
	if t.Err == nil {
		n.heardFor = "" // what was so before explains nothing that comes later
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
	if n.last, n.at = t, time.Now(); m.Verdict != identity.Unanswered {
		n.said = m
	}
	n.tell(m, t.Waited)
	if !t.Agreed {
		n.later(m)
	}
}

// later sets the timer if the same reason is due long before the next turn.
func (n *narrator) later(m *identity.Mismatch) {
	due, next := n.next-n.last.Waited, n.last.Pause
	if due+lateness >= next {
		return
	}
	turn := n.at
	n.timer = time.AfterFunc(time.Until(n.at.Add(due)), func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.timer != nil && n.at.Equal(turn) {
			n.tell(m, n.last.Waited+time.Since(n.at))
			n.later(m)
		}
	})
}

// quiet stops the timer.
func (n *narrator) quiet() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.timer != nil {
		n.timer.Stop()
		n.timer = nil
	}
}

// tell logs m, the reason of the last turn, unless it was logged lately.
func (n *narrator) tell(m *identity.Mismatch, waited time.Duration) {
	reason, agreed := m.Error(), n.last.Agreed
	if waited >= n.next && (!agreed || n.healed) {
		n.told, n.healed = nil, false
		if n.next = following(waited); agreed {
			n.next = waited + time.Hour
		}
	}
	topic := reason
	if u, ok := errors.AsType[*identity.Unreached](m); ok {
		topic = u.Topic
	}
	if !n.told.first(topic) {
		return
	}
	n.broken = true
	fields := []zap.Field{zap.String("reason", reason), zap.Duration("waited", waited)}
	if waited+m.Again() >= hintAfter { // or is known to last
		fields = append(fields, n.details(m, waited)...)
	}
	switch {
	case n.stands() && m.Verdict.Unmet():
		n.log.Warn("what is published stays, although something else that is required is missing", fields...)
	case n.stands():
		n.log.Warn("DNS no longer agrees: what is published stays", fields...)
	case agreed:
		n.log.Warn("DNS does not agree, and what was published is withdrawn", fields...)
	case waited >= warnAfter:
		n.log.Warn("not yet", fields...)
	default:
		n.log.Info("not yet", fields...)
	}
}

// details returns what was asked, what was answered and when it is asked again; the
// cause, once the questions that show it were asked; and, once a person has to look,
// how.
func (n *narrator) details(m *identity.Mismatch, waited time.Duration) (fields []zap.Field) {
	if m.Answered() {
		a := shown.Of(m.Answer)
		question := m.Kind.String()
		if a.Type != "" && a.Type != question {
			question += " by " + a.Type
		}
		answered := fmt.Sprint(m.Shown)
		if m.TTL > 0 {
			answered += fmt.Sprintf(", ttl %s", m.TTL)
			if a.Full > m.TTL {
				answered += fmt.Sprintf(" of %s", a.Full)
			}
		}
		if a.Cached {
			answered += ", from a cache"
		}
		if zone := m.Zone.String(); zone != "" {
			answered += ", from zone " + zone
		}
		fields = append(fields,
			zap.String("asked", fmt.Sprintf("%s for %s of %s", identity.ShowServer(m.Server), question, m.Subject())),
			zap.String("answered", answered))
	}
	fields = append(fields, zap.Duration("again", max(0, n.last.Pause-time.Since(n.at))))
	if n.known(m) || waited >= warnAfter {
		fields = append(fields, zap.String("hint", n.hint()))
	}
	if waited >= warnAfter {
		fields = append(fields, zap.String("doctor", diagnosis.Doctor(n.facts)))
		if !n.ends.IsZero() && !n.last.Agreed {
			fields = append(fields, zap.String("gives_up", n.ends.UTC().Format(time.RFC3339)))
		}
	}
	return fields
}

// known reports whether everything was asked that shows the cause of m.
func (n *narrator) known(m *identity.Mismatch) bool {
	switch m.Verdict {
	case identity.Missing, identity.ForeignServer, identity.ReverseMissing, identity.ReverseForeign:
		return n.heardFor == m.Verdict
	}
	return true
}

// hint returns the likeliest cause of the last mismatch, in one line.
func (n *narrator) hint() string {
	report := slices.Clip(n.last.Report)
	m, ok := errors.AsType[*identity.Mismatch](n.last.Err)
	if ok && m.Verdict == n.heardFor {
		report = append(report, n.heard)
	}
	if ok && m.Is == identity.Silent { // as it was from the first packet on, or not
		report = append(report, identity.Round{Findings: n.firsts})
	}
	return diagnosis.Causes(n.facts, n.claim, report, n.last.Err)[0].String()
}

// asked logs each question, at level debug.
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
// 11 if it is not listed. Shared counts even if it was not the last.
var deadlineCodes = map[identity.Verdict]int{
	identity.Keyless: exitKeyless, identity.Peerless: exitPeerless, identity.Uncertified: exitUncertified,
}

// end returns why the wait ended without agreement: at its limit, or by a signal,
// which is then cause. The error has the last reason and the likeliest cause.
func (n *narrator) end(cause error, limit, waited time.Duration) error {
	n.quiet()
	n.mu.Lock()
	defer n.mu.Unlock()
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
