package diagnosis

import (
	"context"
	"errors"
	"slices"

	"github.com/podfqdn/podfqdn/identity"
)

// Witnesses asks, over one exchange, about names other than the Pod's, to show
// why a verification did not agree: m, or nil where it did.
//
//   - kubernetes.default.svc.ZONE, by a plain question: it always exists. A server
//     that denies it does not know the zone, and one that has it is alive.
//   - The PTR of that Service's address, if its name was denied or had no address, or
//     if a PTR of ours is in doubt: it shows which zone cluster DNS really serves, and
//     whether it serves the reverse zones at all.
//   - The governing Service: by a probe type first, as for the Pod's own name, and by
//     a plain question only if that showed it.
//   - The PTR of the Pod's own address, if the Service has that address and the Pod's
//     name is denied: it shows under which name the Pod is published. Otherwise it is
//     not asked for, as a denial would be cached.
//
// A server that is silent is not asked again. If the cluster domain is unknown, or
// replicas disagree, nothing is asked. Findings are marked as Witness.
func Witnesses(ctx context.Context, r identity.Resolver, f identity.Facts, c identity.Claim, m *identity.Mismatch) (round identity.Round) {
	if c.Zone().IsZero() || m != nil && (!m.Answered() || m.Is == identity.Silent || m.Verdict == identity.Unsettled) {
		return round
	}
	exchange, err := r.Open(ctx)
	if err != nil {
		return round // as the next verification will say
	}
	defer exchange.Close()
	silent := false
	ask := func(q identity.Question) identity.Answer {
		if silent || identity.Over(ctx) {
			return identity.Answer{}
		}
		a := exchange.Ask(ctx, q)
		if a.Is == identity.Unasked || identity.Over(ctx) {
			return identity.Answer{}
		}
		round.Findings = append(round.Findings, identity.Finding{Answer: a, Witness: true})
		silent = a.Is == identity.Silent
		return a
	}
	kubernetes := ask(apiServer(f, c))
	foreign := denies(c, kubernetes)
	reverse := m != nil && m.Kind == identity.Reverse && m.Is != identity.Refused
	if f.Kubernetes.IsValid() && (reverse || kubernetes.Is == identity.Denied || lacks(f, kubernetes)) {
		ask(identity.Question{Kind: identity.Reverse, Addr: f.Kubernetes})
	}
	service := governing(c)
	if service.IsZero() || foreign {
		return round
	}
	shows := func(a identity.Answer) bool { return a.Is == identity.Found || a.Is == identity.NoData }
	if shows(ask(identity.Question{Kind: identity.Exists, Name: service})) && !shows(ask(identity.Question{Kind: identity.Sibling, Name: service})) {
		for _, addr := range c.Addrs() {
			kind := identity.Forward6
			if addr.Is4() {
				kind = identity.Forward4
			}
			a := ask(identity.Question{Kind: kind, Name: service})
			if m != nil && m.Is == identity.Denied && (m.Verdict == identity.Missing || m.Verdict == identity.ForeignServer) && slices.Contains(a.Addrs, addr) {
				ask(identity.Question{Kind: identity.Reverse, Addr: addr})
			}
		}
	}
	return round
}

// apiServer returns the question for the API server's Service, in the family that it
// is known to have.
func apiServer(f identity.Facts, c identity.Claim) identity.Question {
	if f.Kubernetes.Is6() {
		return identity.Question{Kind: identity.Forward6, Name: c.Kubernetes()}
	}
	return identity.Question{Kind: identity.Forward4, Name: c.Kubernetes()}
}

// lacks reports whether the answer to apiServer has no address, although there is one
// of that family.
func lacks(f identity.Facts, a identity.Answer) bool {
	return a.Is == identity.NoData && f.Kubernetes.IsValid()
}

// denies reports whether the answer to kubernetes.default shows that the server
// does not know the cluster domain. A server whose denial has the SOA of that domain
// does know it, and may hide a namespace.
func denies(c identity.Claim, a identity.Answer) bool {
	return a.Is == identity.Denied && (a.Zone.IsZero() || !a.Zone.Under(c.Zone()))
}

// governing returns the name of the governing Service; the zero Name if the claim has
// none.
func governing(c identity.Claim) identity.Name {
	service, namespace := c.Service()
	if service == "" {
		return identity.Name{}
	}
	name, _ := identity.ParseName(service + "." + namespace + ".svc." + c.Zone().String())
	return name
}

// Examine asks one server two rounds of questions, each over its own socket, so that
// replicas that disagree may show it, and then the witnesses. The error is that of the
// first round that did not agree, as identity.Verify returns it. A silent server gets
// one round. A server that refuses other types than an application's gets plain
// questions, as from a process that waits; one that hides whether a name exists gets
// them only if also has identity.Blindly.
func Examine(ctx context.Context, r identity.Resolver, f identity.Facts, c identity.Claim, also identity.Also) (identity.Report, error) {
	var report identity.Report
	var first error
	var m *identity.Mismatch
	for range 2 {
		round, _, err := identity.Ask(ctx, r, c, identity.Everything|also)
		report = append(report, round)
		if first == nil {
			first = err
		}
		if err != nil && (!errors.As(err, &m) || !m.Answered() || m.Is == identity.Silent) {
			return report, first
		}
	}
	errors.As(first, &m)
	return append(report, Witnesses(ctx, r, f, c, m)), first
}
