package peers_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/peers"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// counted is a server that knows all members of a set but some, and counts what it is
// asked.
type counted struct {
	missing map[string]bool
	addrs   map[string]netip.Addr
	names   map[netip.Addr]identity.Name
	asked   int
}

func (c *counted) Open(context.Context) (identity.Exchange, error) { return c, nil }

func (*counted) Close() error { return nil }

func (c *counted) Ask(_ context.Context, q identity.Question) identity.Answer {
	c.asked++
	name := q.Name.String()
	a := identity.Answer{Question: q, Is: identity.Denied}
	switch {
	case q.Kind == identity.Reverse:
		a.Is, a.Names = identity.Found, []identity.Name{c.names[q.Addr]}
	case c.missing[name] || q.Kind == identity.Sibling:
	case q.Kind == identity.Exists:
		a.Is = identity.NoData
	case q.Kind == identity.Forward4:
		if c.names == nil {
			c.addrs, c.names = map[string]netip.Addr{}, map[netip.Addr]identity.Name{}
		}
		n := len(c.names)
		addr := netip.AddrFrom4([4]byte{10, 244, byte(n >> 8), byte(n)})
		c.addrs[name], c.names[addr] = addr, q.Name
		a.Is, a.Addrs = identity.Found, []netip.Addr{addr}
	}
	return a
}

// asks returns how many questions about its peers db-0 asks within a time, and whether it
// has then what it waits for.
func asks(t *testing.T, members, wait string, within time.Duration, missing ...string) (asked int, met bool) {
	t.Helper()
	claim := podtest.Claim(podtest.DB0.Files("cluster.local", "10.244.0.27"), identity.Given{}, identity.Policy{})
	var c peers.Config
	if err := errors.Join(c.Members.UnmarshalText([]byte(members)), c.Wait.UnmarshalText([]byte(wait))); err != nil {
		t.Fatal(err)
	}
	r, err := c.Requirement(claim, "")
	if err != nil {
		t.Fatal(err)
	}
	server := counted{missing: map[string]bool{}}
	for _, hostname := range missing {
		server.missing[hostname+".db.default.svc.cluster.local"] = true
	}
	for start := time.Now(); time.Since(start) < within; {
		_, err := r.Require(t.Context(), podtest.Proven(claim), &server)
		if err == nil {
			return server.asked, true
		}
		m, ok := errors.AsType[*identity.Mismatch](err)
		if !ok || m.Again() <= 0 {
			t.Fatalf("%v, again after %v", err, m.Again())
		}
		time.Sleep(m.Again())
	}
	return server.asked, false
}

func TestAPeerThatIsThereCostsThreeQuestions(t *testing.T) {
	for members, rest := range map[string]time.Duration{"3": 0, "30": 0, "1000": 10100 * time.Second, "db-{0..999}": 20 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			asked, met := asks(t, members, "all", 3*time.Hour)
			n := map[string]int{"3": 2, "30": 29, "1000": 999, "db-{0..999}": 999}[members]
			if want := 3*n + 1; !met || asked != want { // and one random name
				t.Errorf("%s: %d questions, not %d; met: %v", members, asked, want, met)
			}
			if took := time.Since(start); took > rest {
				t.Errorf("%s: took %v", members, took)
			}
		})
	}
}

// A set may ask setRate questions a second; here one of 1,000 does, for a quarter of an
// hour. Its peers that are there take most of that.
func TestAMissingPeerCostsNoMoreThanTheStatedBound(t *testing.T) {
	const within = 15 * time.Minute
	const perMissing = 175 + 75 + 13*15 // in the first minute, the second and the others
	for _, test := range []struct {
		members, wait string
		missing       int
		most          int
	}{
		{"3", "all", 1, 4 + perMissing},
		{"3", "all", 2, 2 * perMissing},
		{"3", "majority", 2, 2 * perMissing},
		{"30", "all", 1, 28*3 + 1 + perMissing},
		{"1000", "all", 1, 280},
		{"1000", "all", 999, 280},
		{"1000", "majority", 999, 280},
		{"db-{0..99}", "all", 99, 11000},
	} {
		synctest.Test(t, func(t *testing.T) {
			var missing []string
			for i := range test.missing {
				missing = append(missing, fmt.Sprintf("db-%d", i+1))
			}
			asked, met := asks(t, test.members, test.wait, within, missing...)
			t.Logf("%s of %s, %d missing: %d questions", test.wait, test.members, test.missing, asked)
			if met || asked > test.most {
				t.Errorf("%s of %s, %d missing: %d questions, more than %d; met: %v", test.wait, test.members, test.missing, asked, test.most, met)
			}
		})
	}
}
