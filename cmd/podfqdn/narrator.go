package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/screen"
)

// once remembers what was said lately.
type once []string

// first reports whether this is said for the first time. Of what DNS says
// there is no end, so little is remembered.
func (o *once) first(s string) bool {
	if slices.Contains(*o, s) {
		return false
	}
	*o = append((*o)[max(0, len(*o)-31):], s)
	return true
}

// gaveUp is the end of the wait, with its last reason.
type gaveUp struct {
	cause   error // interrupted, or nil for the deadline
	after   time.Duration
	last    *identity.Mismatch // nil if no answer came at all
	hint    string             // its likeliest cause
	said    *identity.Mismatch // the last that says anything about the name; or nil
	claim   identity.Claim
	servers []netip.AddrPort
}

func (g *gaveUp) Error() string {
	what := fmt.Sprintf("gave up after %s", g.after)
	if g.cause != nil {
		what = fmt.Sprintf("ended by %s after %s", g.cause, g.after.Round(10*time.Millisecond))
	}
	if g.last == nil {
		return fmt.Sprintf("%s: %s: no answer yet from %s", what, g.claim.Name(), identity.Enumerate(g.servers))
	}
	what = fmt.Sprintf("%s: %s; %s", what, g.last, g.hint)
	if g.said != nil && g.said != g.last {
		what += fmt.Sprintf("; before that: %s", g.said)
	}
	return what
}

func (g *gaveUp) Unwrap() error { return g.cause }

// narrator tells of a wait: a new reason at once, the same again at growing
// intervals, with a hint once it has lasted or where a cache will make it last.
// After an agreement the same is told again when DNS has agreed meanwhile, and
// once an hour at most: of several replicas one may never agree.
type narrator struct {
	log    *zap.Logger
	why    explainer
	agreed bool // so what DNS says now changes nothing
	stands bool // what was published then, and was not withdrawn
	healed bool // DNS has agreed since told was last forgotten
	broken bool // a reason was told since the last agreement
	told   once // reasons, since they were last forgotten
	next   time.Duration
}

// hintAfter is how long a reason usually lasts when nothing is wrong.
const hintAfter = 3 * time.Second

func (n *narrator) turn(ctx context.Context, t identity.Turn) {
	n.asked(t.Report)
	if t.Err == nil {
		if n.agreed && n.broken {
			n.log.Info("forward and reverse DNS agree again")
		}
		if !n.agreed {
			n.next = 0
		}
		n.agreed, n.healed, n.broken, n.why.next = true, true, false, 0
	}
	var m *identity.Mismatch
	if !errors.As(t.Err, &m) {
		return
	}
	reason := m.Error()
	if t.Waited >= n.next && (!n.agreed || n.healed) {
		n.told, n.healed = nil, false
		n.next = max(hintAfter, 2*t.Waited)
		if n.agreed {
			n.next = t.Waited + time.Hour
		}
	}
	if !n.told.first(reason) {
		return
	}
	n.broken = true
	fields := []zap.Field{zap.String("reason", reason), zap.Duration("waited", t.Waited)}
	if t.Waited+m.Again() >= hintAfter { // or is known to last
		n.asked(n.why.ask(ctx, t, m))
		fields = append(fields, zap.String("hint", screen.Printable(n.why.cause(t, m))))
	}
	switch {
	case n.stands:
		n.log.Warn("DNS does not agree any more: what is published stays", fields...)
	case n.agreed:
		n.log.Warn("DNS does not agree, and what was published is withdrawn", fields...)
	default:
		n.log.Info("not yet", fields...)
	}
}

func (n *narrator) asked(r identity.Report) {
	for _, f := range r {
		fields := []zap.Field{zap.Stringer("kind", f.Kind), zap.Stringer("server", f.Server),
			zap.Stringer("finding", f), zap.String("verdict", string(f.Verdict)), zap.Duration("again", f.Again)}
		if f.Key != "" {
			fields = append(fields, zap.String("key", f.Key))
		}
		n.log.Debug("asked", fields...)
	}
}
