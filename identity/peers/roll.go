package peers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podfqdn/podfqdn/identity"
)

// The pace of the questions. A process asks one at a time.
const (
	// setRate is how many questions a second all members of a set ask together, who
	// all wait for each other: a fraction of what a CoreDNS with a fifth of a core
	// answers.
	setRate = 300
	// setBurst is how many they ask together when they have not asked for a while: enough
	// that a set of 40 need not wait for setRate while it forms.
	setBurst = 6000
	// processRate is how many one process asks for names that it was given, and how
	// many at once.
	processRate = 200

	// sip is for how long an empty bucket fills: some questions at once, rather than a
	// look and a report for each.
	sip = 100 * time.Millisecond

	// breath is how long one look may last, so that progress is reported.
	breath = time.Second
	// idle is the least pause for a name on which nothing depends at the moment.
	idle = 5 * time.Second
)

// Roll looks for names until enough of them are there. One that was there once
// counts; it is not asked for again. It is for one goroutine.
type Roll struct {
	noun    string // what they are called
	need    int    // how many must be there
	there   int    // those that nobody has to ask for included
	members []*member

	// A bucket of questions, which fills at rate a second and holds burst.
	rate, burst, left float64
	filled            time.Time
}

// member is one name on a Roll, and how it may be spelled out; any of these will do.
type member struct {
	written string          // by a person; "" for a member of a set
	names   []identity.Name // how it may be spelled out
	seekers []*identity.Seeker
	there   bool
	asked   bool
	looked  time.Time     // when it was asked for last,
	pause   time.Duration // and for how long after that it is useless
	due     time.Time     // when to ask again
	why     error         // a *identity.Mismatch
}

// newRoll returns a Roll of which askers processes ask; they share setRate and
// setBurst.
func newRoll(noun string, need, askers int) *Roll {
	n := float64(askers)
	r := &Roll{noun: noun, need: need, rate: min(processRate, setRate/n), burst: min(processRate, setBurst/n)}
	r.left = r.burst
	return r
}

// add adds one member, as it was written, with the spellings of its name.
func (r *Roll) add(search *identity.Search, written string, names ...identity.Name) {
	m := &member{written: written, names: names}
	for i, name := range names {
		s := search.Seek(name)
		// NAME.NAMESPACE that is not a Service yet is not a domain of the internet either.
		s.Denied = i > 0 && strings.Count(name.String(), ".") == 1
		m.seekers = append(m.seekers, s)
	}
	r.members = append(r.members, m)
}

// Missing is why a Roll is not complete yet.
type Missing struct {
	Names       []identity.Name // that were asked for and are missing, in order
	There, Need int             // including those that need not be asked for
	Unasked     int
	Topic       string        // the same as long as little has changed
	Again       time.Duration // the pause before the next look
	noun        string
	why         error           // of the first,
	spellings   []identity.Name // and what it may stand for
	written     []string        // where a person wrote the names
}

func (m *Missing) Error() string {
	says := fmt.Sprintf("%d of %d needed %s are in DNS", m.There, m.Need, m.noun)
	names, domain := m.written, ""
	if len(names) == 0 {
		names, domain = shorten(m.Names)
	}
	if len(names) > 0 {
		says += "; missing: " + identity.List(names)
	}
	if domain != "" {
		says += " of " + domain
	}
	if m.Unasked > 0 {
		says += fmt.Sprintf("; %d more not asked for yet", m.Unasked)
	}
	if m.why == nil {
		return says
	}
	why := m.why.Error()
	rest, ok := strings.CutPrefix(why, m.Names[0].String()+": ")
	if m.written != nil {
		whole := m.spellings[:1]
		if isMissing(m.why) {
			whole = m.spellings
		}
		if ok && whole[0].String() != m.written[0] {
			why = "as " + identity.Enumerate(whole) + ": " + rest
		} else if ok && len(names) == 1 {
			why = rest
		}
	} else if ok && len(names) == 1 && m.Unasked == 0 {
		why = rest
	} else if ok {
		why = names[0] + ": " + rest
	}
	return says + " (" + why + ")"
}

// Unwrap returns what DNS said of the first that is missing, a *identity.Mismatch.
func (m *Missing) Unwrap() error { return m.why }

// shorten returns names without the domain that all of several have in common, as
// whole names are long; "" where they have none.
func shorten(names []identity.Name) (short []string, domain string) {
	var whole []string
	for _, name := range names {
		label, rest, _ := strings.Cut(name.String(), ".")
		if len(short) == 0 {
			domain = rest
		}
		if rest != domain {
			domain = ""
		}
		whole, short = append(whole, name.String()), append(short, label)
	}
	if len(names) < 2 || domain == "" {
		return whole, ""
	}
	return short, domain
}

// Look asks for those that are due, as many as may be asked for now. The error is
// a *Missing, or the end of ctx.
func (r *Roll) Look(ctx context.Context, dns identity.Resolver) error {
	ends := time.Now().Add(breath)
	again, there := idle, r.there
	for _, m := range r.due() {
		if r.there >= r.need {
			break
		}
		wait := time.Until(m.due)
		if wait <= 0 {
			if wait = r.wait(); wait > 0 {
				wait = max(wait, sip)
			}
			if wait == 0 && time.Now().Before(ends) {
				if err := r.ask(ctx, dns, m); err != nil {
					return err
				}
				wait = time.Until(m.due)
			}
		}
		if !m.there {
			again = min(again, max(wait, 0))
		}
	}
	if r.there >= r.need {
		return nil
	}
	if r.there > there {
		again = 0 // another member can wait longer now
	}
	return r.missing(max(again, time.Millisecond))
}

// due returns the missing members, in the order in which to ask for them: first those
// that were not asked for yet, as they may be there. Of the others, as many as still
// have to come and one more keep their pace; the rest can wait longer.
func (r *Roll) due() []*member {
	var missing []*member
	asked := 0
	for _, m := range r.members {
		if !m.there {
			missing = append(missing, m)
		}
	}
	slack := len(missing) - (r.need - r.there)
	for _, m := range missing {
		if m.asked {
			asked++
		}
		if m.due = m.looked.Add(m.pause); m.asked && asked > slack+1 {
			m.due = m.due.Add(idle)
		}
	}
	slices.SortStableFunc(missing, func(a, b *member) int { return a.due.Compare(b.due) })
	return missing
}

// ask asks for one name, by each of its spellings until one is there. The error is
// the end of ctx.
func (r *Roll) ask(ctx context.Context, dns identity.Resolver, m *member) error {
	var pause time.Duration
	for i, s := range m.seekers {
		t := s.Look(ctx, dns)
		r.left -= float64(len(t.Report.Findings()))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if t.Err == nil {
			m.there, m.why = true, nil
			r.there++
			return nil
		}
		// Of several spellings one that is there, but not as it has to be, explains most.
		if reason, _ := errors.AsType[*identity.Mismatch](t.Err); i == 0 || reason != nil && exists(reason) && isMissing(m.why) {
			m.why = t.Err
		}
		if i == 0 {
			pause = t.Pause
		}
		pause = min(pause, t.Pause)
	}
	m.asked, m.looked, m.pause = true, time.Now(), pause
	m.due = m.looked.Add(pause)
	return nil
}

// exists reports whether a name was shown to be there, although something is wrong.
func exists(m *identity.Mismatch) bool {
	return !slices.Contains([]identity.Verdict{identity.Missing, identity.Hidden, identity.ForeignServer, identity.Unanswered}, m.Verdict)
}

// isMissing reports whether a name was denied.
func isMissing(err error) bool {
	m, ok := errors.AsType[*identity.Mismatch](err)
	return ok && m.Verdict == identity.Missing
}

// wait returns how long until a question may be asked.
func (r *Roll) wait() time.Duration {
	now := time.Now()
	if !r.filled.IsZero() {
		r.left = min(r.left+r.rate*now.Sub(r.filled).Seconds(), r.burst)
	}
	if r.filled = now; r.left > 0 {
		return 0
	}
	return time.Duration((1 - r.left) / r.rate * float64(time.Second))
}

// sweep asks for each name once, in order, until enough are there or the time of ctx
// is over. The error is a *Missing, or what else has ended ctx.
func (r *Roll) sweep(ctx context.Context, dns identity.Resolver) error {
	for _, m := range r.members {
		if r.there >= r.need {
			return nil
		}
		for wait := r.wait(); wait > 0 && ctx.Err() == nil; wait = r.wait() {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
		err := r.ask(ctx, dns, m)
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return err
		}
	}
	if r.there >= r.need {
		return nil
	}
	return r.missing(0)
}

// missing returns what is missing.
func (r *Roll) missing(again time.Duration) *Missing {
	e := &Missing{There: r.there, Need: r.need, Again: again, noun: r.noun}
	for _, m := range r.members {
		switch {
		case m.there:
		case !m.asked:
			e.Unasked++
		default:
			if e.why == nil {
				e.why = m.why
			}
			if e.Names = append(e.Names, m.names[0]); m.written != "" {
				e.written = append(e.written, m.written)
			}
			if len(e.Names) == 1 {
				e.spellings = m.names
			}
		}
	}
	if few := 8; len(r.members) <= few {
		e.Topic = fmt.Sprint(e.Names, e.why)
		return e
	}
	step := 1 // told at each doubling
	for step*2 <= r.need-r.there {
		step *= 2
	}
	e.Topic = fmt.Sprint(step)
	return e
}

// There returns how many are there.
func (r *Roll) There() int { return r.there }

// Written returns the names on the roll, in order: each as a person wrote it, or else
// the whole name.
func (r *Roll) Written() []string {
	var all []string
	for _, m := range r.members {
		all = append(all, cmp.Or(m.written, m.names[0].String()))
	}
	return all
}
