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
	Zone    Name        // the cluster domain; zero where nobody says
	Reverse ReverseRule // what is asked of Pods of the cluster; ReverseOnly is ReverseContains

	truthful truths // learned from all of them
}

// Seeker looks for one name, and keeps what must last from one look to the next.
type Seeker struct {
	// Denied: the name is not there where a server gives an address to names that
	// cannot exist, as one that answers in place of those outside the cluster.
	Denied bool

	w walker
}

// Seek returns a Seeker. A name is there if it has an address; where it is that of a
// Pod in the zone, HOSTNAME.SERVICE.NAMESPACE.svc.ZONE, also if a PTR record of an
// address has the name, unless the Search ignores that.
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

// Look asks one round of questions, in the order of Verify, so that a name which is
// not there yet leaves no denial behind that an application would meet. The Turn's
// Err is nil if the name is there, and then it is there in this Turn only; a
// *Mismatch if it is not there yet, and Pause is how long it is useless to look
// again; otherwise the end of ctx. It has no Agreement.
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

// sought returns the addresses of one family of a name that is sought, if one of them
// leads back to it, or a *Mismatch: of the first family that has some, or is in trouble.
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

// leadsBack returns nil if a PTR record of one of the addresses of a name that is
// sought has the name, or if nobody has to ask for one; else a *Mismatch.
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

// maxSought is how many addresses of one name are asked back: a Pod has one of each
// family, and while it moves its predecessor's too.
const maxSought = 4

// judgeSought judges A or AAAA of a name that is not this Pod's. known: the same
// replica has just shown that the name exists.
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

// truths are the probe types that a server has been seen to deny what does not exist
// by.
type truths map[truth]bool

type truth struct {
	server netip.AddrPort
	probe  uint16
}

// noting is a Resolver that adds what it is asked to a Report, of other names than
// the Pod's.
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
