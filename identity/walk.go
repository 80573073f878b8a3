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

	// Every has the walk go on after an agreement: the longest time between two
	// verifications, of which up to half is left out at random. With 0 the first
	// agreement ends the walk.
	Every time.Duration
	// Agreed: an earlier walk of this Pod has come to an agreement, and what it
	// published stands.
	Agreed bool
	// Grace is how long DNS must answer without this Pod before a Turn is Lost.
	Grace time.Duration

	// Require are called in order once DNS has agreed, each for the files of a
	// Requirement. After a *Mismatch and a pause, as long as it says itself, all are
	// called again until each has what it needs; the Pod's own name is not asked for
	// meanwhile, and once more if that took long. A *Refusal ends the walk. Files that
	// no Turn gets are cleared.
	Require []func(context.Context, Agreement, Resolver) ([]File, error)

	// Witnesses asks about other names, for people, why DNS does not agree; nil is
	// nobody. It is called when a wait has lasted 3 s, and each time that it has
	// doubled; after an agreement at most once an hour. It has a second.
	Witnesses func(context.Context, *Mismatch) Round
}

const (
	stale    = time.Second // the age from which on an agreement is not published
	patience = time.Second // for which the witnesses may hold up the walk
)

// Turn is one verification of a Walk.
type Turn struct {
	Agreement Agreement    // valid where Err is nil
	Required  []Generation // what each of Walk.Require returned; the caller clears them
	// Report has every question of the turn, those of Walk.Witnesses included: none
	// where only Require was asked again.
	Report Report
	// Unfinished has those since the turn before for which no probe type was left.
	Unfinished Report
	// Others has what Walk.Require asked about other names.
	Others Report
	// Err is nil, a *Mismatch (not yet; another turn follows) or a *Refusal
	// (never; the last turn).
	Err error
	// Agreed: DNS has agreed before this turn; what was published then may have
	// been withdrawn.
	Agreed bool
	// Lost, after an agreement: for Walk.Grace DNS has answered without this Pod's
	// address each time that it answered, and the server that says so now knows the
	// cluster: it resolves kubernetes.default, and not from what a cache had before.
	Lost   bool
	Waited time.Duration // since the walk began
	Pause  time.Duration // until the next turn; 0 for the last
}

// Turns verifies again and again, with pauses, until the first agreement, a
// refusal or the end of ctx. With Every set it runs until ctx ends; after the
// first agreement only Require can refuse. A verification that ctx cuts off is
// not a turn, nor is one for which no probe type was free.
func (w Walk) Turns(ctx context.Context) iter.Seq[Turn] {
	return func(yield func(Turn) bool) {
		k := walker{Walk: w, start: time.Now()}
		if !w.Agreed {
			k.blindly.next = time.Second // the record usually comes sooner
		}
		for k.turn(ctx, yield) {
		}
	}
}

// walker is a Walk under way.
type walker struct {
	Walk
	start      time.Time
	unnamed    lookout
	plainly    doubt
	blindly    blindness
	late       bool          // the record was not there at the first look: replicas may differ
	compare    time.Duration // when to compare again, since the walk began
	gone       absence
	people     curiosity
	slow       time.Duration // the least pause, for a server that is slow or in trouble
	proven     Agreement     // and waits for Require since then; zero if none does
	since      time.Time
	unfinished Report // of no turn yet
	truthful   truths // nil where each turn finds out for itself
}

// turn verifies once, yields what came of it and sleeps until the next turn. It
// reports whether there is one.
func (w *walker) turn(ctx context.Context, yield func(Turn) bool) bool {
	t, goesOn := w.look(ctx)
	if ctx.Err() != nil {
		forget(t.Required)
		return false
	}
	m, isMismatch := errors.AsType[*Mismatch](t.Err)
	if isMismatch && m.unasked() {
		w.unfinished = append(w.unfinished, t.Report...)
		return sleep(ctx, t.Pause)
	}
	looks := t.Waited
	if t.Pause > maxBackoff && !w.Agreed { // they would come too late to explain it
		looks += t.Pause
	}
	if isMismatch && goesOn && m.Answered() && w.Witnesses != nil && w.people.due(looks, w.Agreed) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		t.Report = append(t.Report, w.Witnesses(ctx, m))
		cancel()
	}
	t.Unfinished, w.unfinished = w.unfinished, nil
	return yield(t) && goesOn && sleep(ctx, t.Pause)
}

// look verifies once, and reports whether there is a next time, after t.Pause. Where
// ctx has ended it means nothing.
func (w *walker) look(ctx context.Context) (t Turn, goesOn bool) {
	begin := time.Now()
	t = w.prove(ctx, w.also(begin.Sub(w.start)))
	if ctx.Err() != nil {
		return t, false
	}
	t.Agreed, t.Waited = w.Agreed, time.Since(w.start)
	w.plainly.heard(t)
	hidden := w.blindly.heard(t)
	if r := t.Report.last(); r.withheld {
		w.compare = 0
	} else if r.compared {
		w.compare = max(time.Second, 2*t.Waited)
	}
	goesOn = true
	m, isMismatch := errors.AsType[*Mismatch](t.Err)
	switch {
	case !isMismatch && (t.Err != nil || w.Every == 0):
		goesOn = false
	case !isMismatch:
		if !w.Agreed {
			w.people = curiosity{}
		}
		w.Agreed, w.gone = true, absence{}
		t.Pause = w.rest()
	case w.Agreed:
		w.proven = Agreement{} // DNS is asked each time
		t.Lost = w.gone.saw(begin, w.Walk, m, t.Report)
		t.Pause = w.rest()
	case len(w.proven.addrs) > 0: // and something is required in addition
		if t.Pause = m.Again(); t.Pause == 0 {
			t.Pause = pause(time.Since(w.since), 0, 0)
		}
	default:
		if refusal := w.unnamed.saw(m, t.Waited); refusal != nil {
			t.Err, goesOn = refusal, false
			break
		}
		if w.slow = slower(w.slow, time.Since(begin), m); w.plainly.seen > 0 {
			w.slow = 0 // it answers applications at once
		}
		w.late = w.late || m.Answered()
		waited := t.Waited
		if w.Claim.sought { // others come one after another: the next may be there soon
			waited = max(waited-Soon, 0) / 2
		}
		t.Pause = pause(waited, w.slow, max(m.Again(), hidden))
	}
	return t, goesOn
}

// also returns what a turn that begins after so long asks in addition to the proof.
func (w *walker) also(waited time.Duration) (also Also) {
	switch {
	case w.Agreed:
		also = Attest | Doubt | Compare
	case w.unnamed.due(waited):
		also = Instead
	}
	if w.late && !w.Agreed {
		also |= Warily
	}
	if w.plainly.due(waited) {
		also |= Doubt
	}
	if w.plainly.sure() {
		also = also&^Doubt | Plainly
	}
	if waited >= w.compare {
		also |= Compare
	}
	if w.blindly.due(waited) {
		also |= Blindly
	}
	return also
}

// prove verifies, unless an agreement waits for Require, and requires.
func (w *walker) prove(ctx context.Context, also Also) (t Turn) {
	if len(w.proven.addrs) == 0 {
		t.Agreement, t.Report, t.Err = verify(ctx, w.Resolver, w.Claim, also, w.truthful)
		if t.Err != nil || len(w.Require) == 0 {
			return t
		}
		w.proven, w.since = t.Agreement, time.Now()
	}
	required, err := w.require(ctx, &t.Others)
	if err != nil {
		t.Agreement, t.Err = Agreement{}, err
		return t
	}
	t.Agreement = w.proven
	if time.Since(w.since) > stale {
		var again Report
		t.Agreement, again, t.Err = Verify(ctx, w.Resolver, w.Claim, also)
		t.Report = append(t.Report, again...)
		if t.Err == nil && !slices.Equal(t.Agreement.addrs, w.proven.addrs) {
			// The files may tell of addresses that DNS does not give the name any more.
			forget(required)
			w.proven, w.since = t.Agreement, time.Now()
			if required, t.Err = w.require(ctx, &t.Others); t.Err != nil {
				t.Agreement = Agreement{}
				return t
			}
		}
	}
	w.proven = Agreement{}
	if t.Err != nil {
		forget(required)
		return t
	}
	t.Required = required
	return t
}

// require returns the files of each of Require, for what was proven, and adds what
// they ask to others.
func (w *walker) require(ctx context.Context, others *Report) (required []Generation, err error) {
	for _, require := range w.Require {
		files, err := require(ctx, w.proven, noting{w.Resolver, others})
		if err != nil {
			forget(required)
			if m, ok := errors.AsType[*Mismatch](err); ok && m.unasked() {
				err = NotYet(m.Verdict, errors.New("no reason is given for "+string(m.Verdict)), m.Again())
			}
			return nil, err
		}
		slices.SortFunc(files, byName)
		required = append(required, Generation{files})
	}
	return required, nil
}

// rest returns the pause after an agreement, with a jitter as that of pause.
func (w Walk) rest() time.Duration {
	return w.Every - time.Duration(rand.Int64N(int64(w.Every)/2+1))
}

// pause returns the time until the next turn. The record usually comes within
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

// slower returns the least pause after a turn that took so long, from that after
// the one before. A slow server is given as long again. For one that is silent,
// cannot say or will not, the pause doubles, and it halves when the server is
// there again: useless questions of a crowd would crowd out the others.
func slower(before, took time.Duration, m *Mismatch) time.Duration {
	switch {
	case m.unasked(): // which says nothing about the server
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
		return !Over(ctx)
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

// due reports whether this turn is to ask, and assumes that it does.
func (l *lookout) due(waited time.Duration) bool {
	l.asked = waited >= max(l.next, 500*time.Millisecond)
	return l.asked
}

// saw learns what a turn came to, and returns the *Refusal when it is certain.
func (l *lookout) saw(m *Mismatch, waited time.Duration) error {
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

// doubt is whether the server answers any probe type. That is looked for rarely,
// and believed when it is seen in a row: the third time where a probe type fails,
// the fifth where it is not answered, as packets get lost.
type doubt struct {
	next time.Duration // when to look again, since the walk began
	seen int           // that it answered what applications ask, and no probe type; twice for a failure
}

// due reports whether this turn is to look.
func (d *doubt) due(waited time.Duration) bool {
	return d.seen > 0 || waited >= max(d.next, 2*time.Second)
}

// sure reports whether this turn is to believe it, if it sees it too.
func (d *doubt) sure() bool { return d.seen >= 4 }

// heard learns what a turn's last round came to.
func (d *doubt) heard(t Turn) {
	switch r := t.Report.last(); {
	case r.existence == Unasked:
	case r.existence != Failed && r.existence != Silent:
		d.seen = 0
	case r.plain:
		if d.seen++; r.existence == Failed {
			d.seen++
		}
	case r.doubted:
		d.seen, d.next = 0, 2*t.Waited
	}
}

// blindness is when a server is asked plainly that hides whether a name exists. It
// may keep each denial, so that it is asked at growing intervals, or after an
// agreement, when applications ask as well, whenever the one before has ended.
type blindness struct {
	next  time.Duration // when to ask, since the walk began
	asked bool          // in this turn
}

// due reports whether this turn is to ask, and assumes that it does.
func (b *blindness) due(waited time.Duration) bool {
	b.asked = waited >= b.next
	return b.asked
}

// heard learns what a turn came to. Nothing else can be learned from such a server,
// so that it is useless to look again before again has passed.
func (b *blindness) heard(t Turn) (again time.Duration) {
	m, denied := errors.AsType[*Mismatch](t.Err)
	if !denied || !t.Report.last().hides {
		return 0
	}
	switch {
	case !b.asked || m.Kind == Exists || m.Kind == Sibling:
	case t.Agreed:
		b.next = t.Waited + m.Again()
	default:
		b.next = 2 * t.Waited
	}
	return b.next - t.Waited
}

// curiosity is when the witnesses are asked: next, since the walk began.
type curiosity struct{ next time.Duration }

// due reports whether to ask now, after an agreement or not, and assumes that it is done.
func (c *curiosity) due(waited time.Duration, agreed bool) bool {
	if waited < max(c.next, 3*time.Second) {
		return false
	}
	if c.next = 2 * waited; agreed { // of several replicas one may never agree
		c.next = waited + time.Hour
	}
	return true
}

// absence tracks how long DNS has answered without this Pod since it last
// agreed.
type absence struct {
	since    time.Time // the first answer without the Pod
	believed time.Time // from then on the witness is: no cache has what it had before
}

// saw learns what a turn that began then came to, and reports whether this Pod
// is lost. Any answer that holds the Pod ends an absence, in whichever round and
// whatever was wrong with others: of two replicas one may have lost it, or its
// PTR alone be in trouble. A server that cannot say, says nothing.
func (a *absence) saw(begin time.Time, w Walk, m *Mismatch, r Report) bool {
	if slices.ContainsFunc(r, func(round Round) bool { return round.holds }) {
		*a = absence{}
	}
	last := r.last()
	// A name that goes between two questions of a round looks poisoned.
	misses := w.Claim.misses(m)
	if !misses && m.Verdict != Poisoned || last.holds {
		return false
	}
	now := time.Now() // not begin: earlier rounds may have agreed
	if a.since.IsZero() {
		a.since = now
	}
	if !misses {
		return false
	}
	if last.attested && a.believed.IsZero() {
		a.believed = now.Add(last.fresh)
	}
	return last.attested && !begin.Before(a.believed) && begin.Sub(a.since) >= w.Grace
}
