package identity

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"time"
)

// Walk is the way from a Claim to its proof, waiting included.
type Walk struct {
	Claim    Claim
	Resolver Resolver
	Policy   Policy

	// Every has the walk go on after an agreement: at most so long lies
	// between two verifications, and a random half of it may be missing. With
	// 0 the first agreement ends the walk.
	Every time.Duration
	// Agreed tells that an earlier walk of this Pod has come to an agreement,
	// and that what it published stands.
	Agreed bool
	// Grace is for how long DNS has to do without this Pod before a Turn calls
	// it Lost.
	Grace time.Duration

	// Require gives what the Pod needs besides its name, once DNS has agreed
	// on that; nil is nothing. With a *Mismatch it is called again, after a
	// pause and without a question to DNS, until it has what it wants; if that
	// took long DNS is asked once more. A *Refusal ends the walk. Files that do
	// not become a Turn's are cleared.
	Require func(context.Context, Agreement) ([]File, error)
}

// stale is how old an agreement may be when it is published.
const stale = time.Second

// Turn is one verification of a Walk.
type Turn struct {
	Agreement Agreement  // valid where Err is nil
	Required  Generation // what Walk.Require gave; the caller clears it
	Report    Report     // of the questions of this turn: none where only Require was asked again
	// Err is nil, a *Mismatch (not yet; another turn follows) or a *Refusal
	// (never; the last turn).
	Err error
	// Lost tells, after an agreement, that DNS knows this Pod no more: for
	// Walk.Grace it has answered without this Pod's address each time that it
	// answered, and the server which says so now knows the cluster, as it
	// resolves kubernetes.default, and not from what a cache had before.
	Lost   bool
	Waited time.Duration // since the walk began
	Pause  time.Duration // until the next turn; 0 for the last
}

// Turns verifies again and again, with pauses, until the first agreement, a
// refusal or the end of ctx; with Every until the end of ctx, and after the
// first agreement there is no refusal but of Require. A verification that ctx
// cuts off is no turn, nor is one for which no private key was free: they say
// nothing about DNS.
func (w Walk) Turns(ctx context.Context) iter.Seq[Turn] {
	return func(yield func(Turn) bool) {
		start := time.Now()
		agreed := w.Agreed
		var unnamed lookout
		var plainly doubt
		var gone absence
		var slow time.Duration
		var last proven
		for {
			begin := time.Now()
			turn := w.prove(ctx, round{
				claim: w.Claim, policy: w.Policy,
				instead: !agreed && unnamed.due(begin.Sub(start)),
				witness: agreed,
				doubt:   agreed || plainly.due(begin.Sub(start)),
				plain:   plainly.sure(),
			}, &last)
			if ctx.Err() != nil {
				turn.Required.Clear()
				return
			}
			turn.Waited = time.Since(start)
			plainly.heard(turn)
			mismatch, isMismatch := errors.AsType[*Mismatch](turn.Err)
			switch {
			case !isMismatch && (turn.Err != nil || w.Every == 0):
				yield(turn)
				return
			case !isMismatch:
				agreed, gone = true, absence{}
				turn.Pause = w.rest()
			case agreed:
				last = proven{} // DNS is asked each time
				turn.Lost = gone.seen(begin, w, mismatch, turn.Report)
				turn.Pause = w.rest()
			default:
				if err := unnamed.seen(mismatch, turn.Waited); err != nil {
					turn.Err = err
					yield(turn)
					return
				}
				if slow = slower(slow, time.Since(begin), mismatch); plainly.seen > 0 {
					slow = 0 // it answers applications at once
				}
				turn.Pause = pause(turn.Waited, slow, mismatch.Again())
			}
			unasked := mismatch != nil && mismatch.Is == Unasked
			if !unasked && !yield(turn) || !sleep(ctx, turn.Pause) {
				return
			}
		}
	}
}

// proven is an agreement that Require has not met yet.
type proven struct {
	agreement Agreement
	at        time.Time // zero: there is none
}

// prove verifies, unless last holds an agreement, and requires.
func (w Walk) prove(ctx context.Context, like round, last *proven) (t Turn) {
	if last.at.IsZero() {
		t.Agreement, t.Report, t.Err = verify(ctx, w.Resolver, like)
		if t.Err != nil || w.Require == nil {
			return t
		}
		*last = proven{t.Agreement, time.Now()}
	}
	files, err := w.Require(ctx, last.agreement)
	if err != nil {
		t.Agreement, t.Err = Agreement{}, err
		return t
	}
	t.Agreement = last.agreement
	if time.Since(last.at) > stale {
		var again Report
		t.Agreement, again, t.Err = verify(ctx, w.Resolver, like)
		t.Report = append(t.Report, again...)
	}
	*last = proven{}
	if t.Err != nil {
		forget(files)
		return t
	}
	slices.SortFunc(files, byName)
	t.Required = Generation{files}
	return t
}

// rest gives the pause after an agreement. The jitter keeps Pods that started
// together from asking together.
func (w Walk) rest() time.Duration {
	return w.Every - time.Duration(rand.Int64N(int64(w.Every)/2+1))
}

// pause gives the time until the next turn. The record usually comes within
// 150 ms of a container's start, so turns are dense at first; then they grow
// with the wait, so that lateness stays a quarter of it, up to a second, and
// five after a minute; but slow is the least. The jitter keeps Pods that
// started together from asking together. Before again the answer would be the
// same.
func pause(waited, slow, again time.Duration) time.Duration {
	limit := time.Second
	if waited > time.Minute {
		limit = 5 * time.Second
	}
	p := max(min(30*time.Millisecond+waited/4, limit), slow)
	p -= time.Duration(rand.Int64N(int64(p)/5 + 1))
	return max(p, again)
}

// maxBackoff is the longest pause for a server in trouble. With the time for
// which an answer is waited, ten thousand Pods then ask a thousand questions a
// second, which the smallest CoreDNS can answer.
const maxBackoff = 5 * time.Second

// slower gives the least pause after a turn that took so long, from that after
// the one before. A server that is slow is given as long again. For one that is
// silent, cannot say or will not, the pause doubles, and it halves when the
// server is there again: a crowd that is too much for its DNS has to become
// less, or questions that are asked in vain crowd out the others.
func slower(before, took time.Duration, m *Mismatch) time.Duration {
	switch {
	case m.Is == Unasked: // which tells nothing of the server
		return before
	case m.Verdict == Unanswered:
		return min(max(2*before, 250*time.Millisecond), maxBackoff)
	}
	return max(before/2, took)
}

// sleep waits, and reports whether it did so to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return !over(ctx)
	case <-ctx.Done():
		return false
	}
}

// lookout watches for the name that DNS publishes in place of a hostname. It
// is asked for rarely, and believed when it is seen twice, a second or more
// apart: a predecessor without hostname may just have left its address to
// this Pod, and its record for a moment.
type lookout struct {
	next  time.Duration // when to ask again, since the walk began
	asked bool          // in this turn
	found bool          // when it was last asked
}

// due reports whether this turn is to ask, and takes it that it does.
func (l *lookout) due(waited time.Duration) bool {
	l.asked = waited >= max(l.next, 500*time.Millisecond)
	return l.asked
}

// seen takes note of what a turn said, and gives the *Refusal when it is
// certain.
func (l *lookout) seen(m *Mismatch, waited time.Duration) error {
	switch {
	case !l.asked:
	case m.Verdict == Unnamed && l.found:
		return refuse(NoHostname, "%v, as for a Pod without spec.hostname", m).mend("%s", nameOrForm)
	case m.Verdict == Unnamed:
		l.found, l.next = true, waited+time.Second
	default:
		l.found, l.next = false, 2*waited
	}
	return nil
}

// doubt is whether the server answers private keys at all. That is looked for
// rarely, and believed when it is seen in a row: the third time where a private
// key fails, the fifth where it is not answered, as packets get lost.
type doubt struct {
	next time.Duration // when to look again, since the walk began
	seen int           // that it answered what applications ask, and no private key; twice for a failure
}

// due reports whether this turn is to look.
func (d *doubt) due(waited time.Duration) bool {
	return d.seen > 0 || waited >= max(d.next, 2*time.Second)
}

// sure reports whether this turn is to believe it, if it sees it too.
func (d *doubt) sure() bool { return d.seen >= 4 }

// heard takes note of a turn.
func (d *doubt) heard(t Turn) {
	key := t.Report.last(func(f Finding) bool { return f.Kind == Exists && !f.Witness })
	looked := t.Report.last(func(f Finding) bool { return f.Witness })
	switch {
	case len(key) == 0 || key[0].Is == Unasked:
	case key[0].Is != Failed && key[0].Is != Silent:
		d.seen = 0
	case slices.ContainsFunc(looked, func(f Finding) bool { return f.Kind != Exists && f.Is == Found }):
		if d.seen++; key[0].Is == Failed {
			d.seen++
		}
	case len(looked) > 0:
		d.seen, d.next = 0, 2*t.Waited
	}
}

// absence is that DNS does without this Pod, after an agreement.
type absence struct {
	since time.Time // the first answer without the Pod
	// believed is from when on the witness is: what a cache had of it before
	// has run out by then.
	believed time.Time
}

// seen takes note of a turn that began then, and reports whether this Pod is
// lost. Any answer that holds the Pod ends an absence, in whichever round and
// whatever was wrong with others: of two replicas one may have lost it, or its
// PTR alone be in trouble. Who cannot say, says nothing.
func (a *absence) seen(begin time.Time, w Walk, m *Mismatch, r Report) bool {
	ours := func(f Finding) bool { return f.holds(w.Claim.addrs) }
	if slices.ContainsFunc(r, ours) {
		*a = absence{}
	}
	// A name that goes between two questions of a round looks poisoned.
	misses := w.Claim.misses(m)
	if !misses && m.Verdict != Poisoned || len(r.last(ours)) > 0 {
		return false
	}
	now := time.Now() // not begin: earlier rounds may have agreed
	if a.since.IsZero() {
		a.since = now
	}
	if !misses {
		return false
	}
	ttl, attested := r.attested(m)
	if attested && a.believed.IsZero() {
		a.believed = now.Add(ttl)
	}
	return attested && !begin.Before(a.believed) && begin.Sub(a.since) >= w.Grace
}
