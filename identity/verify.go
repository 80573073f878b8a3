package identity

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// Agreement is a proven Claim. Only Verify makes a valid one; the zero value
// proves nothing and Render refuses it.
type Agreement struct {
	claim  Claim
	policy Policy
	addrs  []netip.Addr // proven, primary first; empty in the zero value
}

// Name gives the proven name.
func (a Agreement) Name() Name { return a.claim.name }

// Addrs gives the proven addresses, primary first.
func (a Agreement) Addrs() []netip.Addr { return slices.Clone(a.addrs) }

// Verify is the whole proof: rounds of questions until one and then
// policy.Confirm more have agreed on the same addresses, each over a socket
// of its own. They show that the answer is stable, not that every replica
// knows it.
//
// Each round asks, in this order and only while all is well: whether the name
// exists, on a private key; its A and AAAA; the PTR of each address. So no
// question that an application would ask too ever reaches a replica before
// the name does, where its denial would be cached.
//
// The error is a *Mismatch where DNS does not agree yet, and the end of ctx
// otherwise. The Report holds every question asked, in any case.
func Verify(ctx context.Context, r Resolver, c Claim, p Policy) (Agreement, Report, error) {
	return verify(ctx, r, round{claim: c, policy: p, instead: true})
}

// verify is Verify, with rounds like the one given.
func verify(ctx context.Context, r Resolver, like round) (Agreement, Report, error) {
	var (
		report Report
		agreed []netip.Addr
	)
	confirm := max(like.policy.Confirm, 0)
	for i := 0; i <= confirm; i++ {
		round := like
		round.last = i == confirm
		addrs, err := round.run(ctx, r)
		report = append(report, round.report...)
		if over(ctx) {
			return Agreement{}, report, context.Cause(ctx)
		}
		if err != nil {
			return Agreement{}, report, err
		}
		if i > 0 && !slices.Equal(addrs, agreed) {
			asked := Question{Kind: Exists, Name: like.claim.name}
			last := Answer{Question: asked, Server: report[len(report)-1].Server}
			return Agreement{}, report, round.mismatchAt(Finding{Answer: last}, Unsettled)
		}
		agreed = addrs
	}
	return Agreement{claim: like.claim, policy: like.policy, addrs: agreed}, report, nil
}

// over reports whether ctx has ended. A socket's deadline may pass a moment
// before ctx says so itself; that moment is waited for, or the question that
// it cut off would count as unanswered.
func over(ctx context.Context) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < time.Millisecond {
		<-ctx.Done()
	}
	return ctx.Err() != nil
}

// round is one pass of questions over one exchange.
type round struct {
	claim   Claim
	policy  Policy
	last    bool
	instead bool          // look for the names that DNS may publish in place of the one claimed
	witness bool          // ask for the witness too, where the name is not the Pod's
	doubt   bool          // where a private key has no answer, see whether a plain question has one,
	plain   bool          // and if so ask plainly
	spacing time.Duration // until the next question of existence has a key
	report  Report
}

// run gives the addresses for which forward and reverse agree, or a *Mismatch.
func (r *round) run(ctx context.Context, resolver Resolver) ([]netip.Addr, error) {
	exchange, err := resolver.Open(ctx)
	if err != nil {
		r.report = append(r.report, Finding{
			Answer:  Answer{Question: Question{Kind: Exists, Name: r.claim.name}, Err: err},
			Verdict: Unanswered,
		})
		return nil, r.mismatch(Unanswered)
	}
	defer exchange.Close()

	addrs, err := r.forward(ctx, exchange)
	if err != nil {
		if m, ok := errors.AsType[*Mismatch](err); ok && r.witness && r.claim.misses(m) {
			r.attest(ctx, exchange, m)
		}
		return nil, err
	}
	if r.policy.Reverse == ReverseIgnore {
		return addrs, nil
	}
	for _, addr := range addrs {
		f := r.claim.judgeReverse(exchange.Ask(ctx, Question{Kind: Reverse, Addr: addr}), r.policy)
		if r.note(f); f.Verdict != Agrees {
			return nil, r.mismatch(f.Verdict)
		}
	}
	return addrs, nil
}

// exists asks for the name on a private key. known tells that this replica has
// just shown it, rather than refused to say.
func (r *round) exists(ctx context.Context, exchange Exchange) (known bool, err error) {
	f := r.claim.judgeExists(exchange.Ask(ctx, Question{Kind: Exists, Name: r.claim.name}))
	r.spacing = f.Again
	if r.note(f); f.Verdict == Agrees {
		return f.Is != Refused, nil
	}
	if f.Verdict == Unanswered && r.doubt && r.plainOnly(ctx, exchange, f.Is) && r.plain {
		return false, nil
	}
	if f.Verdict != Missing || !r.instead {
		return false, r.mismatchAt(f, f.Verdict)
	}
	for _, name := range r.claim.instead {
		other := exchange.Ask(ctx, Question{Kind: Exists, Name: name})
		switch other.Is {
		case Found, NoData:
			r.note(Finding{Answer: other, Verdict: Unnamed, Want: r.claim.name.String()})
			return false, r.mismatch(Unnamed)
		case Denied:
			r.note(Finding{Answer: other, Verdict: Missing})
		default:
			r.note(Finding{Answer: other, Verdict: Unanswered})
			return false, r.mismatchAt(f, Missing)
		}
	}
	return false, r.mismatchAt(f, Missing)
}

// forward asks whether the name exists, and then for its addresses, of every
// family that the policy proves, and in the last round of the other one too: to
// musl's resolver a denial of one family denies the name.
func (r *round) forward(ctx context.Context, exchange Exchange) ([]netip.Addr, error) {
	known, err := r.exists(ctx, exchange)
	if err != nil {
		return nil, err
	}
	var proven []netip.Addr
	var missing Finding
	for _, kind := range []Kind{Forward4, Forward6} {
		i := slices.IndexFunc(r.claim.addrs, func(a netip.Addr) bool { return a.Is4() == (kind == Forward4) })
		if i < 0 && !r.last {
			continue
		}
		f := r.claim.judgeForward(exchange.Ask(ctx, Question{Kind: kind, Name: r.claim.name}), r.policy, known)
		known = known || f.Is == Found || f.Is == NoData
		switch r.note(f); {
		case f.Verdict == Agrees:
			proven = append(proven, r.claim.addrs[i])
		case f.Verdict != absent:
			return nil, r.mismatch(f.Verdict)
		case i >= 0:
			missing = f
		}
	}
	if len(proven) == 0 || r.policy.Families == FamiliesAll && len(proven) < len(r.claim.addrs) {
		return nil, r.mismatchAt(missing, Missing)
	}
	if len(proven) == 2 && proven[0] != r.claim.addrs[0] {
		slices.Reverse(proven) // primary first
	}
	return proven, nil
}

// attest sees whether m may be believed, that this server does without the
// Pod. It asks for the other family, where one was enough for m, and for the API
// server's Service, which every cluster has: whoever resolves that knows the
// cluster. That is asked each time, lest it be the first question in a long time
// and answered from a cache that shows what it had before.
func (r *round) attest(ctx context.Context, exchange Exchange, m *Mismatch) {
	if r.claim.zone.IsZero() {
		return
	}
	if m.Kind == Forward4 && slices.ContainsFunc(r.claim.addrs, netip.Addr.Is6) && m.Is == Found {
		f := r.claim.judgeForward(exchange.Ask(ctx, Question{Kind: Forward6, Name: r.claim.name}), r.policy, true)
		if r.note(f); f.Is != Found && f.Is != NoData {
			return
		}
	}
	r.knows(ctx, exchange)
}

// plainOnly sees whether the server answers what applications ask and no
// private key, of which one came to that: some proxies know A, AAAA and PTR
// alone, and do not say so. It is asked for the API server's Service. A CoreDNS
// that has not heard of its API server fails too, but for what is not there.
func (r *round) plainOnly(ctx context.Context, exchange Exchange, is Outcome) bool {
	if is == Unasked || r.claim.zone.IsZero() || over(ctx) {
		return false
	}
	if is == Failed {
		a := exchange.Ask(ctx, Question{Kind: Exists, Name: r.claim.kubernetes()})
		if r.note(Finding{Answer: a, Witness: true}); a.Is != Failed {
			return false
		}
	}
	return r.knows(ctx, exchange)
}

// knows asks for the API server's Service as applications do.
func (r *round) knows(ctx context.Context, exchange Exchange) bool {
	for _, kind := range []Kind{Forward4, Forward6} {
		a := exchange.Ask(ctx, Question{Kind: kind, Name: r.claim.kubernetes()})
		if r.note(Finding{Answer: a, Witness: true}); a.Is != NoData {
			return a.Is == Found
		}
	}
	return false
}

func (r *round) note(f Finding) { r.report = append(r.report, f) }

// mismatch ends the round at the latest finding.
func (r *round) mismatch(v Verdict) error {
	return r.mismatchAt(r.report[len(r.report)-1], v)
}

// mismatchAt ends the round at f. Another round before spacing would have no
// key to ask for existence with.
func (r *round) mismatchAt(f Finding, v Verdict) error {
	f.Verdict = v
	f.Again = max(f.Again, r.spacing)
	return &Mismatch{f}
}
