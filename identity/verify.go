package identity

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Agreement is a proven Claim. Only Verify makes a valid one; the zero value
// proves nothing and Render refuses it.
type Agreement struct {
	claim Claim
	addrs []netip.Addr // proven, primary first; empty in the zero value
}

// Name returns the proven name.
func (a Agreement) Name() Name { return a.claim.name }

// Addrs returns the proven addresses, primary first.
func (a Agreement) Addrs() []netip.Addr { return slices.Clone(a.addrs) }

// Also is what a verification asks in addition to the proof.
type Also uint8

const (
	Instead Also = 1 << iota // if the name is missing: names that DNS may publish instead
	Attest                   // if the answer lacks the Pod: whether the server knows the cluster
	Doubt                    // if a probe type has no answer: whether a plain question has one,
	Plainly                  // and if so, go on with plain questions; with Doubt, only if a second type has no answer either
	Blindly                  // if the server hides whether a name exists: go on with plain questions
	Warily                   // in each round, not only in the first: whether a probe type tells the truth
	Compare                  // if no family is proven and one is denied: whether it is denied for every name
	others                   // the families of which the Pod has no address
)

// Everything is for one look at a server. It leaves no denial behind that an
// application would get.
const Everything = Instead | Doubt | Plainly | Compare | others

func (a Also) has(all Also) bool { return a&all == all }

// Verify proves a claim: it asks rounds of questions, each over its own socket, until
// as many as the claim's policy requires have agreed on the same addresses. They show
// that the answer is stable, not that every replica knows it.
//
// Each round asks, in this order and only while all is well: whether the name
// exists, by a probe type; in the first round, whether that type denies what does
// not exist; the name's A and AAAA; the PTR of each address. So a replica never gets
// a question that applications ask too before it has the name; otherwise its denial
// would be cached. If replicas differ in what they deny, only Warily ensures that.
//
// The error is a *Mismatch if DNS does not agree yet, and otherwise the cause of
// ctx's end. The Report has every question asked, in any case.
func Verify(ctx context.Context, r Resolver, c Claim, also Also) (Agreement, Report, error) {
	return verify(ctx, r, c, also, nil)
}

// verify is Verify with what is already known of the server's probe types.
func verify(ctx context.Context, r Resolver, c Claim, also Also, t truths) (Agreement, Report, error) {
	var (
		report Report
		agreed []netip.Addr
	)
	rounds := c.Rounds()
	for i := range rounds {
		if i == rounds-1 {
			also |= others
		}
		round, addrs, err := ask(ctx, r, c, also, report.last(), t)
		report = append(report, round)
		if err != nil {
			return Agreement{}, report, err
		}
		if i > 0 && !slices.Equal(addrs, agreed) {
			question := Question{Kind: Exists, Name: c.name}
			last := Answer{Question: question, Server: round.Findings[0].Server, Is: Found, Again: round.spacing}
			return Agreement{}, report, &Mismatch{Finding: Finding{Answer: last, Verdict: Unsettled}}
		}
		agreed = addrs
	}
	return Agreement{claim: c, addrs: agreed}, report, nil
}

// Ask asks one round of questions and returns the addresses for which forward
// and reverse agree. It proves nothing; the error is as Verify's.
func Ask(ctx context.Context, r Resolver, c Claim, also Also) (Round, []netip.Addr, error) {
	return ask(ctx, r, c, also, Round{}, nil)
}

// ask is Ask after the round before in the same proof, if there was one.
func ask(ctx context.Context, r Resolver, c Claim, also Also, before Round, t truths) (Round, []netip.Addr, error) {
	a := asker{claim: c, also: also, before: before, truthful: t, Round: Round{tried: before.tried}}
	addrs, err := a.run(ctx, r)
	if Over(ctx) {
		addrs, err = nil, context.Cause(ctx)
	}
	return a.Round, addrs, err
}

// Over reports whether ctx has ended. A socket's deadline may pass a moment before
// ctx reports its end; Over waits for that moment, or the question that the deadline
// cut off would count as unanswered.
func Over(ctx context.Context) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < time.Millisecond {
		<-ctx.Done()
	}
	return ctx.Err() != nil
}

// Round is one pass of questions over one exchange, and its result.
type Round struct {
	Findings []Finding // in the order asked
	Err      error     // why there was no exchange, so nothing was asked

	existence Outcome       // of the claimed name; Unasked if it was not asked for
	tried     bool          // hides is known
	hides     bool          // the server does not deny what does not exist, by the last probe types
	doubted   bool          // the round checked whether the server answers plain questions only
	plain     bool          // it does
	holds     bool          // an answer has one of the claimed addresses for the claimed name
	compared  bool          // the round checked whether a family is denied for every name
	withheld  bool          // it is
	attested  bool          // the server knows the cluster,
	fresh     time.Duration // by an answer that a cache may have had for this long
	spacing   time.Duration // until a probe type is free for the next question of existence
}

// Report is every question of a verification, round by round.
type Report []Round

// Findings returns the findings of all rounds, in the order asked.
func (r Report) Findings() (all []Finding) {
	for _, round := range r {
		all = append(all, round.Findings...)
	}
	return all
}

// last returns the last round; the zero Round if there is none.
func (r Report) last() Round {
	if len(r) == 0 {
		return Round{}
	}
	return r[len(r)-1]
}

// Tolerated returns the findings of the last round that agree only because the
// policy allows others: worth a warning.
func (r Report) Tolerated() (all []Finding) {
	for _, f := range r.last().Findings {
		if f.Tolerated {
			all = append(all, f)
		}
	}
	return all
}

// asker asks one Round of questions.
type asker struct {
	Round
	claim  Claim
	also   Also
	before Round // the one before in the same proof
	from   Exchange

	truthful truths // of earlier rounds about other names; nil if they are not kept
}

// run returns the addresses for which forward and reverse agree, or a *Mismatch.
func (a *asker) run(ctx context.Context, resolver Resolver) ([]netip.Addr, error) {
	if a.claim.name.IsZero() || resolver == nil {
		return nil, errors.New("there is no name to prove, or no resolver to ask")
	}
	exchange, err := resolver.Open(ctx)
	if err != nil {
		a.Err = err
		return nil, NotYet(Unanswered, fmt.Errorf("%s: %w", a.claim.name, err), 0)
	}
	defer exchange.Close()
	a.from = exchange

	if a.claim.sought {
		return a.sought(ctx)
	}
	addrs, err := a.forward(ctx)
	if err != nil {
		if m, ok := errors.AsType[*Mismatch](err); ok && a.also.has(Attest) && a.claim.misses(m) {
			a.attest(ctx, m)
		}
		return nil, err
	}
	if a.claim.policy.Reverse == ReverseIgnore {
		return addrs, nil
	}
	for _, addr := range addrs {
		f := a.claim.judgeReverse(a.from.Ask(ctx, Question{Kind: Reverse, Addr: addr}))
		if a.note(f); f.Verdict != Agrees {
			return nil, a.mismatch(f, f.Verdict)
		}
	}
	return addrs, nil
}

// exists asks for the name by a probe type. known reports that this replica has just
// shown the name, rather than refused to answer. The error is a *Mismatch.
func (a *asker) exists(ctx context.Context) (known bool, err error) {
	f, err := a.probe(ctx)
	if err != nil {
		return false, err
	}
	if a.hides && !a.also.has(Blindly) {
		return false, a.mismatch(f, Hidden)
	}
	if f.Verdict == Agrees {
		return f.Is != Refused && !a.hides, nil
	}
	if f.Verdict == Unanswered && a.also&(Doubt|Plainly) != 0 && a.plainOnly(ctx) && a.also.has(Plainly) {
		return false, nil
	}
	if f.Verdict != Missing || !a.also.has(Instead) {
		return false, a.mismatch(f, f.Verdict)
	}
	for _, name := range a.claim.instead {
		other := Finding{Answer: a.from.Ask(ctx, Question{Kind: Exists, Name: name}), Verdict: Unanswered, Want: a.claim.name.String()}
		switch other.Is {
		case Found, NoData:
			other.Verdict = Unnamed
		case Denied:
			other.Verdict = Missing
		}
		if a.note(other); other.Verdict == Unnamed {
			if lies, err := a.lies(ctx, name); !lies && err == nil {
				return false, a.mismatch(other, Unnamed)
			}
			break
		} else if other.Verdict == Unanswered {
			break
		}
	}
	return false, a.mismatch(f, Missing)
}

// probe asks for the name by a probe type, in later rounds by the same one, and
// whether that type denies what does not exist. A server may treat one type
// specially, so if it does not, or is refused, probe tries a second one. The error is
// a *Mismatch, as that of lies.
func (a *asker) probe(ctx context.Context) (f Finding, err error) {
	var refused, lied bool
	for first := true; ; first = false {
		q := Question{Kind: Exists, Name: a.claim.name, Same: first && a.before.tried, Even: a.claim.sought}
		f = a.claim.judgeExists(a.from.Ask(ctx, q))
		a.existence, a.spacing = f.Is, max(a.spacing, f.Again)
		a.note(f)
		if first {
			if len(a.before.Findings) > 0 && a.before.Findings[0].Server != f.Server {
				a.before = Round{} // it is another nameserver's
			}
			refused, lied = a.before.existence == Refused, a.before.hides
		}
		// A denial or silence does no harm if it is a lie; a second refusal is believed,
		// and so is a type that told the truth in the previous round.
		switch {
		case f.Verdict != Agrees, f.Is == Refused && refused, (first && a.before.tried && !lied || a.truthful[truth{f.Server, f.By}]) && !a.also.has(Warily) && f.Is != Refused:
			a.hides = false
			return f, nil
		case f.Is == Refused:
			refused = true
			continue
		}
		a.tried = true
		at := len(a.Findings) - 1
		if a.hides, err = a.lies(ctx, a.claim.name); a.hides {
			a.Findings[at].Verdict = Hidden
		} else if a.truthful != nil && a.Findings[len(a.Findings)-1].Is == Denied {
			a.truthful[truth{f.Server, f.By}] = true
		}
		if err != nil || lied || !a.hides {
			return f, err
		}
		lied = true
	}
}

// lies reports whether the type by which name was last probed does not deny a name
// that cannot exist. The error is a *Mismatch if the server does not answer.
func (a *asker) lies(ctx context.Context, name Name) (bool, error) {
	f := Finding{Answer: a.from.Ask(ctx, Question{Kind: Sibling, Name: name}), Witness: true}
	if a.note(f); f.Is == Silent {
		return false, a.mismatch(f, Unanswered)
	}
	return f.Is == Found || f.Is == NoData, nil
}

// forward asks whether the name exists, and then for its addresses of every family
// that the policy proves. In the last round it asks for the other family too, unless
// the policy names one: musl's resolver takes a denial of one family as a denial of
// the name.
func (a *asker) forward(ctx context.Context) ([]netip.Addr, error) {
	known, err := a.exists(ctx)
	if err != nil {
		return nil, err
	}
	policy := a.claim.policy
	one := policy.Families == FamiliesIPv4 || policy.Families == FamiliesIPv6
	var proven []netip.Addr
	var missing Finding
	for _, kind := range []Kind{Forward4, Forward6} {
		i := slices.IndexFunc(a.claim.addrs, func(addr netip.Addr) bool { return addr.Is4() == (kind == Forward4) })
		if i < 0 && (one || !a.also.has(others)) {
			continue
		}
		noted := len(a.Findings)
		f := a.claim.judgeForward(a.from.Ask(ctx, Question{Kind: kind, Name: a.claim.name}), known)
		known = known || f.Is == Found || f.Is == NoData
		a.note(f)
		if (i < 0 || f.Is == Denied && (len(proven) > 0 || a.also.has(Compare))) && a.compare(ctx, f) {
			f.Verdict, f.Others, f.Tolerated = Withheld, a.claim.Kubernetes().String(), true
			a.Findings[noted] = f
		}
		switch {
		case f.Verdict == Agrees:
			proven = append(proven, a.claim.addrs[i])
		case f.Verdict != Absent && f.Verdict != Withheld:
			return nil, a.mismatch(f, f.Verdict)
		case i >= 0:
			if a.hides { // each denial may be kept
				f.Again = max(f.Again, missing.Again)
			}
			missing = f
		}
	}
	if len(proven) == 0 || policy.Families == FamiliesAll && len(proven) < len(a.claim.addrs) {
		switch {
		case missing.Verdict == Withheld:
			missing.Tolerated = false
			return nil, a.mismatch(missing, Withheld)
		case a.hides:
			return nil, a.mismatch(missing, Hidden)
		}
		return nil, a.mismatch(missing, Missing)
	}
	if len(proven) == 2 && proven[0] != a.claim.addrs[0] {
		slices.Reverse(proven) // primary first
	}
	return proven, nil
}

// compare reports whether the server answers f's type for the API server's Service in
// the same way as for the name, although that Service exists: then the answer is not
// about the Pod, and waiting does not help.
func (a *asker) compare(ctx context.Context, f Finding) bool {
	if f.Is != Denied && f.Verdict != Unanswered || a.claim.zone.IsZero() || Over(ctx) {
		return false
	}
	a.compared = true
	other := Forward4 + Forward6 - f.Kind
	if a.kubernetes(ctx, f.Kind).Is == f.Is {
		is := a.kubernetes(ctx, other).Is
		a.withheld = is == Found || is == NoData
	}
	return a.withheld
}

// attest checks that the server behind m knows the cluster, so that its missing
// Pod can be believed. It asks for the other family, if one was enough for m, and
// for the API server's Service, each time: the first question in a long time may be
// answered from a cache that has old data. A server that
// returns one address for both names is a wildcard, and proves nothing.
func (a *asker) attest(ctx context.Context, m *Mismatch) {
	if a.claim.zone.IsZero() {
		return
	}
	if m.Kind == Forward4 && slices.ContainsFunc(a.claim.addrs, netip.Addr.Is6) && m.Is == Found {
		f := a.claim.judgeForward(a.from.Ask(ctx, Question{Kind: Forward6, Name: a.claim.name}), true)
		if a.note(f); f.Is != Found && f.Is != NoData {
			return
		}
	}
	if kubernetes := a.knows(ctx); kubernetes.Is == Found && !share(kubernetes.Addrs, m.Addrs) {
		a.attested, a.fresh = true, kubernetes.TTL
	}
}

// plainOnly reports whether the server answers A, AAAA and PTR but no other
// type, as some proxies do. It asks for the API server's Service. A CoreDNS that has
// not reached its API server fails too, but only for names that it does not have; so
// its failure for a name in the cluster's zone shows nothing by itself.
func (a *asker) plainOnly(ctx context.Context) bool {
	if a.existence == Unasked || a.claim.zone.IsZero() || Over(ctx) {
		return false
	}
	a.doubted = true
	if a.existence == Failed && a.claim.name.Under(a.claim.zone) && a.kubernetes(ctx, Exists).Is != Failed {
		return false
	}
	a.plain = a.knows(ctx).Is == Found
	if a.existence == Silent && a.also.has(Doubt|Plainly) {
		a.plain = a.plain && a.kubernetes(ctx, Exists).Is == Silent
	}
	return a.plain
}

// knows asks for the API server's Service, which every cluster has, by a plain
// question.
func (a *asker) knows(ctx context.Context) (answer Answer) {
	for _, kind := range []Kind{Forward4, Forward6} {
		if answer = a.kubernetes(ctx, kind); answer.Is != NoData && answer.Is != Denied {
			break
		}
	}
	return answer
}

// kubernetes asks for the API server's Service.
func (a *asker) kubernetes(ctx context.Context, kind Kind) Answer {
	answer := a.from.Ask(ctx, Question{Kind: kind, Name: a.claim.Kubernetes()})
	a.note(Finding{Answer: answer, Witness: true})
	return answer
}

// note adds a finding to the round.
func (a *asker) note(f Finding) {
	a.Findings = append(a.Findings, f)
	a.holds = a.holds || !f.Witness && share(f.Addrs, a.claim.addrs)
}

// mismatch returns f with verdict v as a *Mismatch. Another round before spacing has
// passed would have no probe type left to ask for existence.
func (a *asker) mismatch(f Finding, v Verdict) error {
	f.Verdict = v
	f.Answer.Again = max(f.Answer.Again, a.spacing)
	return &Mismatch{Finding: f}
}
