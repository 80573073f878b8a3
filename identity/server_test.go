package identity_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// db0 returns the claim of db-0.db.default.svc.cluster.local, or of another
// name, with these addresses.
func db0(t testing.TB, p identity.Policy, ips, fqdn string) identity.Claim {
	t.Helper()
	spec := podtest.DB0
	root := spec.Files("cluster.local", strings.Split(ips, ",")...)
	if strings.HasPrefix(fqdn, "unknown:") { // the cluster domain is unknown
		root = fstest.MapFS{"etc/resolv.conf": {Data: []byte("nameserver 10.96.0.10\n")}}
		fqdn = strings.TrimPrefix(fqdn, "unknown:")
	}
	given := identity.Given{PodIPs: ips, PodUID: "0b6f1c0e-6f43-4d0a-9a43-0d3a4b7d3a51", FQDN: fqdn}
	facts, err := identity.Look(root, given, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.Rounds == 0 {
		p.Rounds = 1 // unless the test says how many
	}
	claim, err := facts.Claim(p)
	if err != nil {
		t.Fatal(err)
	}
	return claim
}
