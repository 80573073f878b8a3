package identity_test

import (
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// That another server's name is there proves nothing that could be published.
func TestWhatIsSoughtIsNotProven(t *testing.T) {
	t.Parallel()
	claim := podtest.Claim(podtest.Pod{Name: "zk-0", Hostname: "zk-0", Subdomain: "zk", Namespace: "default"}.Files("cluster.local", "10.244.1.7"),
		identity.Given{}, identity.Policy{})
	name, _ := identity.ParseName("zk-1.zk.default.svc.cluster.local")
	server := podtest.Agreeing(t, claim).Script("exists " + name.String() + ": nodata\nA " + name.String() + ": 10.244.1.8\nPTR 10.244.1.8: " + name.String())
	turn := (&identity.Search{Zone: claim.Zone()}).Seek(name).Look(t.Context(), server)
	if turn.Err != nil {
		t.Fatal(turn.Err)
	}
	if g, err := identity.Render(turn.Agreement); err == nil {
		t.Errorf("it is published: %v", g.Files())
	}
}
