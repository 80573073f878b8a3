package peers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/peers"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

const domain = ".zk.default.svc.cluster.local"

// pod is the claim of a member of a set.
func pod(t *testing.T, hostname string, given identity.Given) identity.Claim {
	t.Helper()
	return podtest.Claim(podtest.Pod{Name: hostname, Hostname: hostname, Subdomain: "zk", Namespace: "default"}.Files("cluster.local", "10.244.1.7"), given, identity.Policy{})
}

func config(t *testing.T, members, wait string) (c peers.Config, err error) {
	t.Helper()
	if err := c.Members.UnmarshalText([]byte(members)); err != nil {
		return c, err
	}
	return c, c.Wait.UnmarshalText([]byte(wait))
}

func TestMembersAreWrittenAsANumberARangeOrNames(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"3":                              "zk-0 zk-1 zk-2",
		"1..3":                           "zk-1 zk-2 zk-3",
		"1":                              "",
		"zk-{0..2}":                      "zk-0 zk-1 zk-2",
		" zk-0 , zk-2 ":                  "zk-0 zk-2",
		"jn-{0..2}.journal":              "jn-0.journal.default.svc.cluster.local. jn-1.journal.default.svc.cluster.local. jn-2.journal.default.svc.cluster.local.",
		"jn-0.journal.hdfs.svc":          "jn-0.journal.hdfs.svc.cluster.local.",
		"a-{8..11}-b":                    "a-8-b a-9-b a-10-b a-11-b",
		"zk-0,db.example.com.":           "zk-0 db.example.com.",
		"zk-0,db.example.":               "zk-0 db.example.",
		"db.eu.example.com":              "db.eu.example.com.",
		"ZK-0" + strings.ToUpper(domain): "zk-0",
	} {
		hostname := "zk-1"
		if written == "1" {
			hostname, want = "zk-0", "zk-0"
		}
		c, err := config(t, written, "none")
		if err != nil {
			t.Errorf("%q: %v", written, err)
			continue
		}
		r, err := c.Requirement(pod(t, hostname, identity.Given{}), "/identity")
		if err != nil {
			t.Errorf("%q: %v", written, err)
			continue
		}
		var names []string
		for _, name := range strings.Fields(want) {
			if name = strings.TrimSuffix(name, "."); !strings.Contains(name, ".") {
				name += domain
			}
			names = append(names, name)
		}
		if got, want := r.Environment, []string{"POD_PEERS='" + strings.Join(names, ",") + "'"}; !slices.Equal(got, want) {
			t.Errorf("%q: %q, not %q", written, got, want)
		}
		if len(r.Files) != 1 || r.Files[0].Name != "peers" || string(r.Files[0].Data) != strings.Join(names, "\n")+"\n" || r.Files[0].Mode != 0o644 {
			t.Errorf("%q: %v", written, r.Files)
		}
	}
}

func TestMembersThatCannotBeAreRefusedInOneSentence(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ hostname, members, wait, want string }{
		{"zk-0", "0", "", "a number of members must be 1 to 1000, without leading zeros"},
		{"zk-0", "1001", "", "a number of members must be 1 to 1000, without leading zeros"},
		{"zk-0", "-1", "", "a number of members must be 1 to 1000, without leading zeros"},
		{"zk-0", "3..1", "", "the range 3..1 ends before it begins"},
		{"zk-0", "0..1000", "", "the range 0..1000 has more than 1000 members"},
		{"zk-0", "zk-{0..1000}", "", `"zk-{0..1000}": the range 0..1000 has more than 1000 members`},
		{"zk-0", "zk-{0..998},a,b", "", "has more than 1000 names"},
		{"zk-0", "zk-{0-2}", "", `"zk-{0-2}": braces hold one range of numbers, as in zk-{0..2}`},
		{"zk-0", "zk-{0..2", "", `"zk-{0..2": braces hold one range of numbers, as in zk-{0..2}`},
		{"zk-0", "zk-{0..1}-{0..1}", "", `"zk-{0..1}-{0..1}": braces hold one range of numbers, as in zk-{0..2}`},
		{"zk-0", "zk-{00..2}", "", `"zk-{00..2}": braces hold one range of numbers, as in zk-{0..2}`},
		{"zk-0", "zk-0,", "", `"" is not a DNS name: must be a number of members, such as 3, a range of ordinals, such as 0..2, or names, such as zk-{0..2} or zk-0,zk-1`},
		{"zk-0", "zk-1,10.0.0.1", "", `"10.0.0.1" is an address: must be a number of members, such as 3, a range of ordinals, such as 0..2, or names, such as zk-{0..2} or zk-0,zk-1`},
		{"zk-0", "zk_0", "", `"zk_0" is not a DNS name: the label "zk_0" contains "_"; only letters, digits and hyphens are allowed: must be a number of members, such as 3, a range of ordinals, such as 0..2, or names, such as zk-{0..2} or zk-0,zk-1`},
		{"zk-0", "03", "", "a number of members must be 1 to 1000, without leading zeros"},
		{"zk-0", "all", "", `"all" is for PODFQDN_PEERS_WAIT: must be a number of members, such as 3, a range of ordinals, such as 0..2, or names, such as zk-{0..2} or zk-0,zk-1`},
		{"zk-0", "zk-1,2", "", `"2" is a number, not a name: must be a number of members, such as 3, a range of ordinals, such as 0..2, or names, such as zk-{0..2} or zk-0,zk-1`},
		{"zk-0", "three", "most", "must be none, majority, all, lower, or a number of members from 1 on"},
		{"zk-0", "3", "0", "must be none, majority, all, lower, or a number of members from 1 on"},
		{"zk-3", "3", "", `PODFQDN_PEERS: this Pod is zk-3` + domain + `, and its ordinal 3 is not in 0..2: set PODFQDN_PEERS to the number in spec.replicas, or, if spec.ordinals.start is not 0, to the range of ordinals, such as 1..3`},
		{"zk-0", "1..3", "", `PODFQDN_PEERS: this Pod is zk-0` + domain + `, and its ordinal 0 is not in 1..3: set PODFQDN_PEERS to the number in spec.replicas, or, if spec.ordinals.start is not 0, to the range of ordinals, such as 1..3`},
		{"zookeeper", "3", "", `PODFQDN_PEERS is a number of members or a range, but the hostname "zookeeper" does not end with an ordinal, as those of a StatefulSet do: write the names of the peers, such as zk-{0..2}`},
		{"zk-0", "a.b.c", "", `PODFQDN_PEERS: "a.b.c" may be a whole name, or a Pod of another namespace: write "a.b.c." or "a.b.c.svc"`},
		{"zk-0", "zk-{0..2},zk-1", "", "PODFQDN_PEERS has zk-1" + domain + " twice: leave one of them out"},
		{"zk-0", "3", "4", "PODFQDN_PEERS_WAIT=4, but PODFQDN_PEERS has 3 members: set at most that many"},
		{"zk-0", "jn-{0..2}", "lower", "PODFQDN_PEERS_WAIT=lower, but zk-0" + domain + " is not among PODFQDN_PEERS: list this Pod too, or set all"},
		{"zk-0", "", "all", "PODFQDN_PEERS_WAIT=all has no effect alone: set PODFQDN_PEERS too, such as 3"},
	} {
		c, err := config(t, test.members, test.wait)
		if err == nil {
			_, err = c.Requirement(pod(t, test.hostname, identity.Given{}), "/identity")
		}
		if err == nil || err.Error() != test.want {
			t.Errorf("%s with %q and %q: %v\nnot %s", test.hostname, test.members, test.wait, err, test.want)
		}
	}
	if r, err := (peers.Config{}).Requirement(pod(t, "zk-0", identity.Given{}), "/identity"); r != nil || err != nil {
		t.Errorf("nothing is asked for: %v, %v", r, err)
	}
}

// A whole name outside the cluster has no Service by which short names are completed.
func TestShortNamesNeedAGoverningService(t *testing.T) {
	t.Parallel()
	c, err := config(t, "db-{0..1}", "")
	if err != nil {
		t.Fatal(err)
	}
	claim := pod(t, "zk-0", identity.Given{FQDN: "db-0.example.com"})
	want := `PODFQDN_PEERS: "db-0" is a short name, and the name of this Pod, db-0.example.com, has no governing Service to complete it with: write whole names`
	if _, err := c.Requirement(claim, "/identity"); err == nil || err.Error() != want {
		t.Errorf("%v\nnot %s", err, want)
	}
	// Of its own set it knows the domain.
	if c, err = config(t, "2", ""); err != nil {
		t.Fatal(err)
	}
	r, err := c.Requirement(claim, "/identity")
	if err != nil || r.Environment[0] != "POD_PEERS='db-0.example.com,db-1.example.com'" {
		t.Errorf("%v, %v", r, err)
	}
}

// FuzzMembers: whatever is written, each name is a DNS name, is there once, and there
// are at most 1,000; or there is one sentence.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{"3", "0..2", "zk-{0..2},jn-0.journal", "a.b.c.svc", "{0..1}", "db.example.com.", "zk-{0..2147483647}", "zk-{1..}", ",", " "} {
		f.Add(seed)
	}
	claim := podtest.Claim(podtest.Pod{Name: "zk-1", Hostname: "zk-1", Subdomain: "zk", Namespace: "default"}.Files("cluster.local", "10.244.1.7"), identity.Given{}, identity.Policy{})
	f.Fuzz(func(t *testing.T, written string) {
		var c peers.Config
		if err := c.Members.UnmarshalText([]byte(written)); err != nil {
			oneSentence(t, err)
			return
		}
		r, err := c.Requirement(claim, "/identity")
		if err != nil {
			oneSentence(t, err)
			return
		}
		if r == nil {
			return
		}
		lines := strings.Split(strings.TrimSuffix(string(r.Files[0].Data), "\n"), "\n")
		seen := map[string]bool{}
		for _, line := range lines {
			if name, err := identity.ParseName(line); err != nil || name.String() != line || seen[line] {
				t.Errorf("%q gives %q", written, lines)
			}
			seen[line] = true
		}
		if len(lines) > 1000 || r.Environment[0] != fmt.Sprintf("POD_PEERS='%s'", strings.Join(lines, ",")) {
			t.Errorf("%q gives %d names and %q", written, len(lines), r.Environment)
		}
	})
}

func oneSentence(t *testing.T, err error) {
	if text := err.Error(); text == "" || strings.ContainsAny(text, "\n\r\x00") {
		t.Errorf("%q", text)
	}
}
