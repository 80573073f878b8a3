package identity

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"time"
)

// Walk is the way from a Claim to its proof, including the wait.
type Walk struct {
	Claim    Claim
	Resolver Resolver

	// Every is the longest time between two verifications after an agreement; each is
	// shortened at random by up to half. With 0 the first agreement ends the walk.
	Every time.Duration
	// Agreed: an earlier walk of this Pod reached an agreement, and what it published
	// is still there.
	Agreed bool
	// Grace is how long DNS must answer without this Pod before a Turn is Lost.
	Grace time.Duration

	// Require are called in order once DNS has agreed, each for the files of a
	// Requirement. After a *Mismatch and a pause, whose length the *Mismatch says, all
	// are called again until each has what it needs. Meanwhile the walk does not ask
	// for the Pod's own name; if that took long, it verifies once more. A *Refusal ends
	// the walk. Files that no Turn gets are cleared.
	Require []func(context.Context, Agreement, Resolver) ([]File, error)

	// Witnesses asks about other names, to show people why DNS does not agree. It is
	// called when a wait has lasted 3 s, and each time that the wait has doubled; after
	// an agreement at most once an hour. Its ctx ends after a second. It may be nil.
	Witnesses func(context.Context, *Mismatch) Round
}

const (
	stale    = time.Second // the age at which an agreement is too old to publish
	patience = time.Second // how long the witnesses may delay the walk
)

// Turn is one verification of a Walk.
type Turn struct {
	Agreement Agreement    // valid if Err is nil
	Required  []Generation // what each of Walk.Require returned; the caller clears them
	// Report has every question of the turn, including those of Walk.Witnesses; none
	// if only Require was called again.
	Report Report
	// Unfinished has the questions of rounds since the previous turn that ended because
	// no probe type was free.
	Unfinished Report
	// Others has the questions that Walk.Require asked about other names.
	Others Report
	// Err is nil, a *Mismatch (not yet; another turn follows) or a *Refusal
	// (never; the last turn).
	Err error
	// Agreed: DNS agreed before this turn; what was published then may have been
	// withdrawn since.
	Agreed bool
	// Lost, after an agreement: for Walk.Grace every answer of DNS has lacked this
	// Pod's address, and the server that answered last knows the cluster: it resolves
	// kubernetes.default, and not from a cache that is older.
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

// walker is a Walk in progress.
type walker struct {
	Walk
	start      time.Time
	unnamed    lookout
	plainly    doubt
	blindly    blindness
	late       bool          // the record was missing at first: replicas may differ
	compare    time.Duration // when to compare again, since the walk began
	gone       absence
	people     curiosity
	slow       time.Duration // the least pause, for a server that is slow or in trouble
	proven     Agreement     // which waits for Require; zero if none does
	since      time.Time
	unfinished Report // for the next turn
	truthful   truths // nil if each turn finds out for itself
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
	if t.Pause > maxBackoff && !w.Agreed { // after the pause the witnesses would come too late
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

// look verifies once, and reports whether there is a next time, after t.Pause. If ctx
// has ended, the result means nothing.
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

// also returns what a turn asks in addition to the proof; waited is the time since the
// walk began.
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
			// The files may have addresses that DNS no longer has for the name.
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

// require returns the files of each of Require, for what was proven, and adds the
// questions that they ask to others.
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

// rest returns the pause after an agreement, at random between half of Every and all
// of it.
func (w Walk) rest() time.Duration {
	return w.Every - time.Duration(rand.Int64N(int64(w.Every)/2+1))
}

// pause returns the time until the next turn. The record usually comes within
// 150 ms of a container's start, so turns are dense at first. Then the pauses grow
// to a quarter of the wait, up to 1 s, and up to 5 s after a minute; slow is the
// minimum. The jitter keeps Pods that started together from asking together. Before
// again has passed the answer would be the same.
func pause(waited, slow, again time.Duration) time.Duration {
	limit := time.Second
	if waited > time.Minute {
		limit = 5 * time.Second
	}
	p := max(min(30*time.Millisecond+waited/4, limit), slow)
	p -= time.Duration(rand.Int64N(int64(p)/5 + 1))
	return max(p, again)
}

// maxBackoff is the longest pause for a server in trouble. Together with the wait for
// an answer, ten thousand Pods then ask a thousand questions a second, which the
// smallest CoreDNS can answer.
const maxBackoff = 5 * time.Second

// slower returns the minimum pause after a turn that lasted took; before is the one
// after the previous turn. After a slow answer the pause is at least as long as that
// answer took. While a server is silent, fails or refuses, the pause doubles; once it
// answers, the pause halves: useless questions of many Pods would crowd out the
// others.
func slower(before, took time.Duration, m *Mismatch) time.Duration {
	switch {
	case m.unasked(): // this says nothing about the server
		return before
	case m.Verdict == Unanswered:
		return min(max(2*before, 250*time.Millisecond), maxBackoff)
	}
	return max(before/2, took)
}

// sleep waits for d, and reports whether ctx lasted to the end.
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

// lookout watches for the name that DNS publishes instead of a hostname. The walk
// rarely asks for it, and believes it when it is there twice, a second or more
// apart: the address may have been a predecessor's without hostname, whose record
// stays for a moment.
type lookout struct {
	next  time.Duration // when to ask again, since the walk began
	asked bool          // in this turn
	found bool          // when it was last asked
}

// due reports whether this turn should ask, and assumes that it does.
func (l *lookout) due(waited time.Duration) bool {
	l.asked = waited >= max(l.next, 500*time.Millisecond)
	return l.asked
}

// saw records the result of a turn, and returns a *Refusal once it is certain.
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

// doubt is whether the server answers any probe type. The walk rarely checks it, and
// believes that it does not after several turns in a row: three if probe types fail,
// five if they have no answer, as packets get lost.
type doubt struct {
	next time.Duration // when to check again, since the walk began
	seen int           // turns in a row with plain answers only; a failure counts twice
}

// due reports whether this turn should check.
func (d *doubt) due(waited time.Duration) bool {
	return d.seen > 0 || waited >= max(d.next, 2*time.Second)
}

// sure reports whether this turn should believe it if it is the same again.
func (d *doubt) sure() bool { return d.seen >= 4 }

// heard records the result of a turn's last round.
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

// blindness schedules plain questions to a server that hides whether a name exists.
// A cache may keep each denial, so they come at growing intervals; after an
// agreement, when applications ask as well, whenever the last denial has ended.
type blindness struct {
	next  time.Duration // when to ask, since the walk began
	asked bool          // in this turn
}

// due reports whether this turn should ask, and assumes that it does.
func (b *blindness) due(waited time.Duration) bool {
	b.asked = waited >= b.next
	return b.asked
}

// heard records the result of a turn. Such a server shows nothing else, so looking
// again before again has passed is useless.
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

// curiosity schedules the witnesses; next is counted from the beginning of the walk.
type curiosity struct{ next time.Duration }

// due reports whether to ask them now, and assumes that it is done. agreed means that
// there was an agreement before.
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
	believed time.Time // when the witness is believed: any older cache entry has ended
}

// saw records the result of a turn that began at begin, and reports whether this Pod
// is lost. Any answer that has the Pod ends an absence, in any round and whatever was
// wrong with other answers: one of two replicas may have lost it, or only its PTR may
// be wrong. A server that cannot answer does not count.
func (a *absence) saw(begin time.Time, w Walk, m *Mismatch, r Report) bool {
	if slices.ContainsFunc(r, func(round Round) bool { return round.holds }) {
		*a = absence{}
	}
	last := r.last()
	// A name that disappears between two questions of a round looks poisoned.
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
