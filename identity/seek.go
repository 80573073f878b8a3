package identity

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/netip"
	"time"
)

// Search looks for the names of other servers, such as this Pod's peers. It proves
// nothing of this Pod. It is for one goroutine, and its zero value works.
type Search struct {
	Zone    Name        // the cluster domain; zero if unknown
	Reverse ReverseRule // required of Pods of the cluster; ReverseOnly counts as ReverseContains

	truthful truths // shared by all names
}

// Seeker looks for one name, and keeps what it learned from one look to the next.
type Seeker struct {
	// Denied: the name counts as missing if the server has addresses even for names
	// that cannot exist, as a server that answers for all names outside the cluster.
	Denied bool

	w walker
}

// Seek returns a Seeker. A name is there if it has an address. The name of a Pod in
// the zone, HOSTNAME.SERVICE.NAMESPACE.svc.ZONE, also needs a PTR record of one of the
// addresses that has the name, unless the Search ignores PTR.
func (s *Search) Seek(name Name) *Seeker {
	if s.truthful == nil {
		s.truthful = truths{}
	}
	c := Claim{name: name, zone: s.Zone, parts: name.split(s.Zone), sought: true}
	if c.policy = (Policy{Rounds: 1}); c.parts.service == "" || s.Reverse == ReverseIgnore {
		c.policy.Reverse = ReverseIgnore
	}
	return &Seeker{w: walker{Walk: Walk{Claim: c}, truthful: s.truthful}}
}

// Look asks one round of questions, in the order of Verify, so that a name that is
// not there yet leaves no denial behind that an application would get. The Turn's
// Err is nil if the name is there, for this Turn only; a *Mismatch if it is not there
// yet, and looking again before Pause has passed is useless; otherwise the cause of
// ctx's end. The Turn has no Agreement.
func (s *Seeker) Look(ctx context.Context, r Resolver) Turn {
	w := &s.w
	if w.start.IsZero() {
		w.start = time.Now()
		w.blindly.next = time.Second
		if s.Denied {
			w.blindly.next = math.MaxInt64
		}
	}
	w.Resolver = r
	t, _ := w.look(ctx)
	if ctx.Err() != nil {
		t.Err = context.Cause(ctx)
	}
	t.Agreement = Agreement{}
	if m, ok := errors.AsType[*Mismatch](t.Err); ok && m.unasked() {
		t.Err = NotYet(Missing, errors.New(w.Claim.name.String()+": the answer to each probe type may still be cached"), m.Again())
	}
	return t
}

// sought returns the addresses of one family of another server's name, if one of them
// leads back to it. The error is a *Mismatch of the first family that has addresses or
// is in trouble.
func (a *asker) sought(ctx context.Context) ([]netip.Addr, error) {
	known, err := a.exists(ctx)
	if err != nil {
		return nil, err
	}
	var missing Finding
	var why error
	for _, kind := range []Kind{Forward4, Forward6} {
		f := a.claim.judgeSought(a.from.Ask(ctx, Question{Kind: kind, Name: a.claim.name}), known)
		known = known || f.Is == Found || f.Is == NoData
		a.note(f)
		var err error
		switch f.Verdict {
		case Agrees:
			if err = a.leadsBack(ctx, f.Addrs); err == nil {
				return f.Addrs, nil
			}
		case Absent:
			missing = f
		default:
			err = a.mismatch(f, f.Verdict)
			if !known || !a.also.has(Compare) || !a.compare(ctx, f) { // which holds for every name
				return nil, cmp.Or(why, err)
			}
		}
		why = cmp.Or(why, err)
	}
	switch {
	case why != nil:
		return nil, why
	case a.hides:
		return nil, a.mismatch(missing, Hidden)
	}
	return nil, a.mismatch(missing, Missing)
}

// leadsBack returns nil if a PTR record of one of addrs has the claimed name, or if the
// policy ignores PTR; otherwise a *Mismatch.
func (a *asker) leadsBack(ctx context.Context, addrs []netip.Addr) error {
	if a.claim.policy.Reverse == ReverseIgnore {
		return nil
	}
	var last Finding
	for _, addr := range addrs[:min(len(addrs), maxSought)] {
		last = a.claim.judgeReverse(a.from.Ask(ctx, Question{Kind: Reverse, Addr: addr}))
		if a.note(last); last.Verdict == Agrees {
			return nil
		}
	}
	return a.mismatch(last, last.Verdict)
}

// maxSought bounds the PTR questions for one name: a Pod has one address of each
// family, and, after a move, its predecessor's for a while.
const maxSought = 4

// judgeSought judges an answer to A or AAAA of a name that is not this Pod's. known:
// the same replica has just shown that the name exists.
func (c Claim) judgeSought(a Answer, known bool) Finding {
	f := Finding{Answer: a, Verdict: Unanswered, Want: "an address"}
	switch a.Is {
	case Found:
		f.Verdict = Agrees
	case NoData:
		f.Verdict = Absent
	case Denied:
		if f.Verdict = c.denied(a); known {
			f.Verdict = Poisoned
		}
	}
	return f
}

// truths are the probe types by which a server denied a name that does not exist.
type truths map[truth]bool

type truth struct {
	server netip.AddrPort
	probe  uint16
}

// noting is a Resolver that adds its questions, which are about other names than the
// Pod's, to a Report.
type noting struct {
	Resolver
	report *Report
}

func (n noting) Open(ctx context.Context) (Exchange, error) {
	e, err := n.Resolver.Open(ctx)
	*n.report = append(*n.report, Round{Err: err})
	if err != nil {
		return nil, err
	}
	return notingExchange{e, n.report}, nil
}

type notingExchange struct {
	Exchange
	report *Report
}

func (n notingExchange) Ask(ctx context.Context, q Question) Answer {
	a := n.Exchange.Ask(ctx, q)
	last := &(*n.report)[len(*n.report)-1]
	last.Findings = append(last.Findings, Finding{Answer: a, Witness: true})
	return a
}
