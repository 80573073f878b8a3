package identity_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
)

func TestParseNameTakesHostNamesOnly(t *testing.T) {
	long := strings.Repeat("a", 63)
	longest := strings.Join([]string{long, long, long, long[:61]}, ".")
	if len(longest) != 253 {
		t.Fatal(len(longest))
	}
	for _, test := range []struct{ in, want, err string }{
		{in: "a", want: "a"},
		{in: "db-0.db.default.svc.cluster.local", want: "db-0.db.default.svc.cluster.local"},
		{in: "DB-0.Db.Default.SVC.Cluster.LOCAL.", want: "db-0.db.default.svc.cluster.local"},
		{in: "0.1a.xn--bcher-kva", want: "0.1a.xn--bcher-kva"},
		{in: long + ".b", want: long + ".b"},
		{in: longest, want: longest},
		{in: longest + ".", want: longest},
		{in: "", err: `"" is not a DNS name`},
		{in: ".", err: `"." is not a DNS name`},
		{in: "..", err: `".." is not a DNS name: it has an empty label`},
		{in: "a..b", err: `"a..b" is not a DNS name: it has an empty label`},
		{in: ".a", err: `".a" is not a DNS name: it has an empty label`},
		{in: "a..", err: `"a.." is not a DNS name: it has an empty label`},
		{in: "-a", err: `"-a" is not a DNS name: the label "-a" begins or ends with a hyphen`},
		{in: "b.a-", err: `"b.a-" is not a DNS name: the label "a-" begins or ends with a hyphen`},
		{in: "a_b", err: `"a_b" is not a DNS name: the label "a_b" contains "_"; only letters, digits and hyphens are allowed`},
		{in: "a b", err: `"a b" is not a DNS name: the label "a b" contains " "; only letters, digits and hyphens are allowed`},
		{in: "a\nb", err: `"a\nb" is not a DNS name: the label "a\nb" contains "\n"; only letters, digits and hyphens are allowed`},
		{in: "caf\u00e9", err: `"caf\u00e9" is not a DNS name: the label "caf\u00e9" contains "\u00e9"; only letters, digits and hyphens are allowed`},
		// The Kelvin sign, whose lower case is an ordinary k.
		{in: "\u212a8s", err: `"\u212a8s" is not a DNS name: the label "\u212a8s" contains "\u212a"; only letters, digits and hyphens are allowed`},
		{in: long + "a.b", err: `"` + long + `a.b" is not a DNS name: the label "` + long + `a" has 64 characters; a label has at most 63`},
		{in: longest + "b", err: `"` + longest + `b" has 254 characters; a DNS name has at most 253`},
	} {
		name, err := identity.ParseName(test.in)
		message := ""
		if err != nil {
			message = err.Error()
		}
		if name.String() != test.want || message != test.err || name.IsZero() != (test.want == "") {
			t.Errorf("%+q:\ngot  %q, %s\nwant %q, %s", test.in, name, message, test.want, test.err)
		}
	}
}

func TestNamesOfTheWireAreComparedWithoutCaseAndRootDot(t *testing.T) {
	for in, want := range map[string]string{
		"DB-0.db.Default.svc.cluster.local.": "db-0.db.default.svc.cluster.local",
		`_odd\046\032.example.`:              `_odd\046\032.example`,
		".":                                  ".",
	} {
		if got := identity.WireName(in).String(); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	parsed, err := identity.ParseName("a.example")
	if err != nil || identity.WireName("A.Example.") != parsed {
		t.Errorf("a parsed name is not the wire's: %v, %v", parsed, err)
	}
}

func TestUnderFollowsLabels(t *testing.T) {
	for _, test := range []struct {
		name, zone string
		want       bool
	}{
		{"a.cluster.local", "cluster.local", true},
		{"cluster.local", "cluster.local", true},
		{"local", "cluster.local", false},
		{"acluster.local", "cluster.local", false},
		{"a.cluster.local", "a.cluster.local.", true},
		{"a.cluster.local", "", false},
	} {
		if got := identity.WireName(test.name).Under(identity.WireName(test.zone)); got != test.want {
			t.Errorf("%s under %q: %t", test.name, test.zone, got)
		}
	}
}

// The labels are CoreDNS's own (plugin/kubernetes, endpointHostname).
func TestDashedIsTheLabelOfAnEndpointWithoutHostname(t *testing.T) {
	for addr, want := range map[string]string{
		"10.1.2.3":        "10-1-2-3",
		"fd00::1":         "fd00--1",
		"fd00::":          "fd00--0",
		"fd00:1:2:3::":    "fd00-1-2-3--0",
		"2001:db8::a:0:b": "2001-db8--a-0-b",
		"FD00:0:0::A":     "fd00--a",
	} {
		if got := identity.Dashed(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}
