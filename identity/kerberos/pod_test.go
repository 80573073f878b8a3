package kerberos_test

import (
	"errors"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// claimOf returns the claim of Pod db-0, or of a Pod whose whole name is given.
func claimOf(t testing.TB, fqdn string) identity.Claim {
	t.Helper()
	return podtest.Claim(podtest.DB0.Files("cluster.local", "10.244.0.27"), identity.Given{FQDN: fqdn}, identity.Policy{})
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
