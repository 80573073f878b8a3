package identity

import (
	"context"
	"errors"
)

// Witnesses asks, over one exchange, about names other than the Pod's, to tell
// why a verification did not agree: m, or nil where it did.
//
//   - kubernetes.default.svc.ZONE, plainly: it always exists. Who denies it does
//     not know the zone, and who gives it is alive.
//   - The PTR of that Service's address, where its name was denied or a PTR of
//     ours is in doubt: it tells the zone that cluster DNS has in truth, and
//     whether it has the reverse at all.
//   - The governing Service: on a private key first, as for the Pod's own name,
//     and plainly only if that showed it.
//
// A server that is silent is asked no more, and about a name of which nobody
// knows the cluster there is nothing to ask. Findings are marked as Witness.
func Witnesses(ctx context.Context, r Resolver, f Facts, c Claim, m *Mismatch) Report {
	if m != nil && m.Is == Silent || c.zone.IsZero() {
		return nil
	}
	exchange, err := r.Open(ctx)
	if err != nil {
		return nil // which the next verification will tell
	}
	defer exchange.Close()
	var report Report
	silent := false
	ask := func(q Question) Answer {
		if silent || over(ctx) {
			return Answer{Is: Unasked}
		}
		a := exchange.Ask(ctx, q)
		if a.Is == Unasked || over(ctx) {
			return Answer{Is: Unasked}
		}
		report = append(report, Finding{Answer: a, Witness: true})
		silent = a.Is == Silent
		return a
	}
	foreign := c.foreign(ask(Question{Kind: Forward4, Name: c.kubernetes()}))
	reverse := m != nil && m.Kind == Reverse && m.Is != Refused
	if f.Kubernetes.IsValid() && (foreign || reverse) {
		ask(Question{Kind: Reverse, Addr: f.Kubernetes})
	}
	if c.parts.service == "" || foreign {
		return report
	}
	service := c.service()
	if a := ask(Question{Kind: Exists, Name: service}); a.Is == Found || a.Is == NoData {
		for _, addr := range c.addrs {
			kind := Forward6
			if addr.Is4() {
				kind = Forward4
			}
			ask(Question{Kind: kind, Name: service})
		}
	}
	return report
}

// kubernetes gives the name of the API server's Service, which every cluster
// has.
func (c Claim) kubernetes() Name { return Name{"kubernetes.default.svc." + c.zone.text} }

// foreign reports whether the answer to kubernetes.default shows that the
// server does not know the cluster domain. Who denies it in the name of that
// very domain does, and may keep a namespace to itself.
func (c Claim) foreign(a Answer) bool {
	return a.Is == Denied && (a.Zone.IsZero() || !a.Zone.Under(c.zone))
}

// service gives the name of the governing Service.
func (c Claim) service() Name {
	return Name{c.parts.service + "." + c.parts.namespace + ".svc." + c.zone.text}
}

// Examine looks at one server for somebody who wants to know what it says: two
// rounds, each on a socket of its own, so that replicas which do
// not know the same have a chance to show it, and then the witnesses. The error
// is that of the first round that did not agree, as Verify gives it. A server
// that is silent is asked once. One that refuses other types than an
// application's is asked plainly, as whoever waits has to do too.
func Examine(ctx context.Context, r Resolver, f Facts, c Claim, p Policy) (Report, error) {
	p.Confirm = 0
	var report Report
	var first error
	var m *Mismatch
	for range 2 {
		_, found, err := verify(ctx, r, round{claim: c, policy: p, instead: true, doubt: true, plain: true})
		report = append(report, found...)
		if first == nil {
			first = err
		}
		if err != nil && (!errors.As(err, &m) || m.Is == Silent) {
			return report, first
		}
	}
	errors.As(first, &m)
	return append(report, Witnesses(ctx, r, f, c, m)...), first
}
