package kerberos_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/fstest"

	"github.com/podfqdn/podfqdn/identity"
)

// claimOf gives the claim of Pod db-0, or of a Pod whose whole name is given.
func claimOf(t testing.TB, fqdn string) identity.Claim {
	t.Helper()
	root := fstest.MapFS{
		"etc/hosts":       {Data: []byte("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n10.244.0.27\tdb-0.db.default.svc.cluster.local\tdb-0\n")},
		"etc/resolv.conf": {Data: []byte("search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\n")},
	}
	facts, err := identity.Look(root, identity.Given{PodIPs: "10.244.0.27", FQDN: fqdn}, nil)
	if err != nil {
		t.Fatal(err)
	}
	claim, err := facts.Claim(identity.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	return claim
}

// agreeing is a DNS that agrees with a claim.
type agreeing struct{ claim identity.Claim }

func (a agreeing) Open(context.Context) (identity.Exchange, error) { return a, nil }
func (a agreeing) Close() error                                    { return nil }

func (a agreeing) Ask(_ context.Context, q identity.Question) identity.Answer {
	answer := identity.Answer{Question: q, Server: netip.MustParseAddrPort("10.96.0.10:53"), Is: identity.NoData}
	switch q.Kind {
	case identity.Forward4:
		answer.Is, answer.Addrs = identity.Found, a.claim.Addrs()
	case identity.Reverse:
		answer.Is, answer.Names = identity.Found, []identity.Name{a.claim.Name()}
	}
	return answer
}

// proven gives the agreement on a claim.
func proven(t testing.TB, claim identity.Claim) identity.Agreement {
	t.Helper()
	agreement, _, err := identity.Verify(t.Context(), agreeing{claim}, claim, identity.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	return agreement
}

// checkRefusal wants a refusal with this sentence.
func checkRefusal(t testing.TB, err error, want string) {
	t.Helper()
	refusal, ok := errors.AsType[*identity.Refusal](err)
	if !ok || refusal.Kind != identity.Misconfigured || err.Error() != want {
		t.Errorf("%T\ngot  %v\nwant %s", err, err, want)
	}
}

// checkKeyless wants "not yet" with this sentence behind the Pod's name.
func checkKeyless(t testing.TB, err error, want string) {
	t.Helper()
	mismatch, ok := errors.AsType[*identity.Mismatch](err)
	if !ok || mismatch.Verdict != identity.Keyless || mismatch.Again() <= 0 || err.Error() != "db-0.db.default.svc.cluster.local: "+want {
		t.Errorf("%T\ngot  %v\nwant %s", err, err, want)
	}
}
