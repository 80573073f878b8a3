package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

const (
	name4 = "db-0.db.default.svc.cluster.local"
	ip4   = "10.244.0.27"
	ip6   = "fd00:10:244::1b"
	dual  = ip4 + "," + ip6
	dash4 = "10-244-0-27.db.default.svc.cluster.local"
	dash6 = "fd00-10-244--1b.db.default.svc.cluster.local"
	vip4  = "10-244-0-27.db-vip.default.svc.cluster.local"

	kubernetes = "kubernetes.default.svc.cluster.local"
	noAAAA     = "AAAA " + kubernetes + ": nxdomain\nA " + kubernetes + ": 10.96.0.1"
	askAAAA    = "AAAA " + kubernetes + ", A " + kubernetes
	noA        = "A " + kubernetes + ": nxdomain\nAAAA " + kubernetes + ": fd00:10:96::1"
	askA       = "A " + kubernetes + ", AAAA " + kubernetes
)

// verification is one row: what DNS says, and all that must come of it.
type verification struct {
	name   string
	ips    string // ip4 if empty
	fqdn   string
	policy identity.Policy
	script string // what differs from an agreeing server

	asked     string // every question, in order
	verdicts  string // of each, "" if all agree
	proven    string // the addresses, primary first
	tolerated string // the warnings, "; " between

	verdict identity.Verdict // of the Mismatch
	says    string           // and its sentence
	others  string
	again   time.Duration
}

var verifications = []verification{
	// What agrees, and in which order it is asked.
	{
		name:   "one family, one confirming round",
		policy: identity.Policy{Rounds: 2},
		asked:  "exists, sibling, A, PTR 10.244.0.27 | exists, A, AAAA, PTR 10.244.0.27",
		proven: ip4, verdicts: "agrees agrees agrees agrees agrees absent agrees",
	},
	{
		name:  "no confirming round",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", proven: ip4, verdicts: "agrees agrees absent agrees",
	},
	{
		name:   "three confirming rounds",
		policy: identity.Policy{Rounds: 4},
		asked:  "exists, sibling, A, PTR 10.244.0.27 | exists, A, PTR 10.244.0.27 | exists, A, PTR 10.244.0.27 | exists, A, AAAA, PTR 10.244.0.27",
		proven: ip4, verdicts: "agrees agrees agrees agrees agrees agrees agrees agrees agrees agrees agrees absent agrees",
	},
	{
		name: "IPv6 only asks A in the last round", ips: ip6, policy: identity.Policy{Rounds: 2},
		asked:  "exists, sibling, AAAA, PTR fd00:10:244::1b | exists, A, AAAA, PTR fd00:10:244::1b",
		proven: ip6, verdicts: "agrees agrees agrees agrees absent agrees agrees",
	},
	{
		name: "both families", ips: dual, policy: identity.Policy{Rounds: 2},
		asked:  "exists, sibling, A, AAAA, PTR 10.244.0.27, PTR fd00:10:244::1b | exists, A, AAAA, PTR 10.244.0.27, PTR fd00:10:244::1b",
		proven: dual,
	},
	{
		name: "both families, IPv6 primary", ips: ip6 + "," + ip4,
		asked: "exists, sibling, A, AAAA, PTR fd00:10:244::1b, PTR 10.244.0.27", proven: ip6 + "," + ip4,
	},
	{
		name: "both families, all of them", ips: dual, policy: identity.Policy{Families: identity.FamiliesAll},
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27, PTR fd00:10:244::1b", proven: dual,
	},
	{
		name: "reverse ignored", ips: dual, policy: identity.Policy{Rounds: 2, Reverse: identity.ReverseIgnore},
		asked: "exists, sibling, A, AAAA | exists, A, AAAA", proven: dual,
	},
	{
		name: "reverse only, and ours alone", policy: identity.Policy{Reverse: identity.ReverseOnly},
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", proven: ip4, verdicts: "agrees agrees absent agrees",
	},
	{
		name: "a record of the private type is there", script: "exists: found",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", proven: ip4, verdicts: "agrees agrees absent agrees",
	},
	{
		name: "a server that refuses other types is asked plainly", policy: identity.Policy{Rounds: 2}, script: "exists: refused",
		asked:  "exists, exists, A, PTR 10.244.0.27 | exists, A, AAAA, PTR 10.244.0.27",
		proven: ip4, verdicts: "agrees agrees agrees agrees agrees agrees absent agrees",
	},
	{
		name: "a PTR in other case and with root dot", script: "PTR 10.244.0.27: DB-0.db.default.svc.Cluster.Local.",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", proven: ip4, verdicts: "agrees agrees absent agrees",
	},

	// Existence.
	{
		name: "no such name", script: "exists: nxdomain zone=cluster.local again=3s",
		asked: "exists, exists " + dash4, verdicts: "missing missing",
		verdict: identity.Missing, says: name4 + ": 10.96.0.10 says NXDOMAIN", again: 3 * time.Second,
	},
	{
		name: "no such name, without a zone", script: "exists: nxdomain",
		asked: "exists, exists " + dash4, verdicts: "missing missing",
		verdict: identity.Missing, says: name4 + ": 10.96.0.10 says NXDOMAIN",
	},
	{
		name: "no such name, in a zone below", script: "exists: nxdomain zone=svc.Cluster.Local.",
		asked: "exists, exists " + dash4, verdicts: "missing missing",
		verdict: identity.Missing, says: name4 + ": 10.96.0.10 says NXDOMAIN",
	},
	{
		name: "missing in the confirming round", policy: identity.Policy{Rounds: 2}, script: "exists: nodata | nxdomain zone=cluster.local",
		asked: "exists, sibling, A, PTR 10.244.0.27 | exists, exists " + dash4, verdicts: "agrees agrees agrees missing missing",
		verdict: identity.Missing, says: name4 + ": 10.96.0.10 says NXDOMAIN",
	},
	{
		name: "foreign server: the root", script: "exists: nxdomain zone=. again=30s",
		asked: "exists", verdicts: "foreign-server", verdict: identity.ForeignServer, again: 30 * time.Second,
		says: name4 + `: 10.96.0.10 says NXDOMAIN from zone ".", not the cluster's`,
	},
	{
		name: "foreign server: a zone above", script: "exists: nxdomain zone=local",
		asked: "exists", verdicts: "foreign-server", verdict: identity.ForeignServer,
		says: name4 + `: 10.96.0.10 says NXDOMAIN from zone "local", not the cluster's`,
	},
	{
		name: "foreign server: a plain question to one that refuses others", script: "exists: refused\nA: nxdomain zone=example.org\nA " + kubernetes + ": 10.96.0.1",
		asked: "exists, exists, A, A " + kubernetes, verdicts: "agrees agrees foreign-server", verdict: identity.ForeignServer,
		says: name4 + `: 10.96.0.10 says NXDOMAIN to A from zone "example.org", not the cluster's`,
	},
	{
		name: "a name outside the cluster has foreign zones by right", fqdn: "kdc1.example.org", script: "exists: nxdomain zone=example.org",
		asked: "exists", verdicts: "missing", verdict: identity.Missing, says: "kdc1.example.org: 10.96.0.10 says NXDOMAIN",
	},
	{
		name: "no zone is foreign where the cluster's is unknown", fqdn: "unknown:kdc1.example.org", script: "exists: nxdomain zone=.",
		asked: "exists", verdicts: "missing", verdict: identity.Missing, says: "kdc1.example.org: 10.96.0.10 says NXDOMAIN",
	},
	{
		name: "no answer", script: "exists: silent",
		asked: "exists", verdicts: "unanswered", verdict: identity.Unanswered, says: name4 + ": 10.96.0.10 says nothing within 1s",
	},
	{
		name: "a server in trouble", script: "exists: servfail again=5s",
		asked: "exists", verdicts: "unanswered", verdict: identity.Unanswered, says: name4 + ": 10.96.0.10 says SERVFAIL", again: 5 * time.Second,
	},
	{
		name: "the dashed name is there instead", script: "exists: nxdomain zone=cluster.local again=1s\nexists " + dash4 + ": nodata again=2s",
		asked: "exists, exists " + dash4 + ", sibling", verdicts: "missing unnamed", verdict: identity.Unnamed,
		says: name4 + ": DNS publishes this Pod as " + dash4, again: 2 * time.Second,
	},
	{
		name: "a record at the dashed name", script: "exists: nxdomain\nexists " + dash4 + ": found",
		asked: "exists, exists " + dash4 + ", sibling", verdicts: "missing unnamed", verdict: identity.Unnamed,
		says: name4 + ": DNS publishes this Pod as " + dash4,
	},
	{
		name: "the other family's dashed name is there instead", ips: dual, script: "exists: nxdomain\nexists " + dash6 + ": nodata",
		asked: "exists, exists " + dash4 + ", exists " + dash6 + ", sibling", verdicts: "missing missing unnamed", verdict: identity.Unnamed,
		says: name4 + ": DNS publishes this Pod as " + dash6,
	},
	{
		name: "no word on the dashed name", script: "exists: nxdomain\nexists " + dash4 + ": servfail",
		asked: "exists, exists " + dash4, verdicts: "missing unanswered", verdict: identity.Missing,
		says: name4 + ": 10.96.0.10 says NXDOMAIN",
	},
	{
		name: "a server that refuses to tell of the dashed name", script: "exists: nxdomain\nexists " + dash4 + ": refused",
		asked: "exists, exists " + dash4, verdicts: "missing unanswered", verdict: identity.Missing,
		says: name4 + ": 10.96.0.10 says NXDOMAIN",
	},
	{
		name: "the address form looks for no other name", policy: identity.Policy{NameForm: identity.AddressForm}, script: "exists: nxdomain",
		asked: "exists", verdicts: "missing", verdict: identity.Missing, says: dash4 + ": 10.96.0.10 says NXDOMAIN",
	},

	{
		name: "a server that does not deny what does not exist", script: "sibling: nodata",
		asked: "exists, sibling, exists, sibling", verdicts: "hidden hidden", verdict: identity.Hidden,
		says: name4 + ": 10.96.0.10 says no data, as it does for names that do not exist",
	},
	{
		name: "nobody answers for a name that does not exist", script: "sibling: silent",
		asked: "exists, sibling", verdicts: "agrees", verdict: identity.Unanswered,
		says: "*.db.default.svc.cluster.local: 10.96.0.10 says nothing within 1s",
	},
	{
		name: "a server that fails for what does not exist tells it from what does", script: "sibling: servfail",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", verdicts: "agrees agrees absent agrees", proven: ip4,
	},

	// Forward.
	{
		name: "shared", script: "A: 10.244.0.27 10.244.0.28 again=4s",
		asked: "exists, sibling, A", verdicts: "agrees shared", verdict: identity.Shared, others: "10.244.0.28", again: 4 * time.Second,
		says: name4 + ": 10.96.0.10 says 10.244.0.27 and 10.244.0.28; another Pod holds this name: 10.244.0.28",
	},
	{
		name: "shared by three", script: "A: 10.244.0.27 10.244.0.28 10.244.0.29",
		asked: "exists, sibling, A", verdicts: "agrees shared", verdict: identity.Shared, others: "10.244.0.28 and 10.244.0.29",
		says: name4 + ": 10.96.0.10 says 10.244.0.27, 10.244.0.28 and 10.244.0.29; another Pod holds this name: 10.244.0.28 and 10.244.0.29",
	},
	{
		name: "shared is tolerated", policy: identity.Policy{Forward: identity.ForwardContains, Rounds: 2}, script: "A: 10.244.0.27 10.244.0.28",
		asked:  "exists, sibling, A, PTR 10.244.0.27 | exists, A, AAAA, PTR 10.244.0.27",
		proven: ip4, verdicts: "agrees agrees agrees agrees agrees absent agrees",
		tolerated: name4 + ": DNS also has 10.244.0.28, in addition to 10.244.0.27",
	},
	{
		name: "shared in the other family", script: "AAAA: fd00:10:244::99",
		asked: "exists, sibling, A, AAAA", verdicts: "agrees agrees shared", verdict: identity.Shared, others: "fd00:10:244::99",
		says: name4 + ": 10.96.0.10 says fd00:10:244::99; another Pod holds this name: fd00:10:244::99",
	},
	{
		name: "shared in the other family is tolerated", policy: identity.Policy{Forward: identity.ForwardContains}, script: "AAAA: fd00:10:244::99",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", verdicts: "agrees agrees absent agrees", proven: ip4,
		tolerated: name4 + ": 10.96.0.10 says fd00:10:244::99",
	},
	{
		name: "stale", script: "A: 10.244.0.99 again=25s",
		asked: "exists, sibling, A", verdicts: "agrees stale", verdict: identity.Stale, others: "10.244.0.99", again: 25 * time.Second,
		says: name4 + ": 10.96.0.10 says 10.244.0.99; this Pod is 10.244.0.27",
	},
	{
		name: "stale is never tolerated", policy: identity.Policy{Forward: identity.ForwardContains}, script: "A: 10.244.0.99",
		asked: "exists, sibling, A", verdicts: "agrees stale", verdict: identity.Stale, others: "10.244.0.99",
		says: name4 + ": 10.96.0.10 says 10.244.0.99; this Pod is 10.244.0.27",
	},
	{
		name: "stale in one of two families", ips: dual, script: "AAAA: fd00:10:244::99",
		asked: "exists, sibling, A, AAAA", verdicts: "agrees agrees stale", verdict: identity.Stale, others: "fd00:10:244::99",
		says: name4 + ": 10.96.0.10 says fd00:10:244::99; this Pod is fd00:10:244::1b",
	},
	{
		name: "no address", script: "A: nodata zone=cluster.local again=5s",
		asked: "exists, sibling, A, AAAA", verdicts: "agrees absent absent", verdict: identity.Missing, again: 5 * time.Second,
		says: name4 + ": 10.96.0.10 says no data to A",
	},
	{
		name: "no address, and another round to come", policy: identity.Policy{Rounds: 2}, script: "A: nodata",
		asked: "exists, sibling, A", verdicts: "agrees absent", verdict: identity.Missing, says: name4 + ": 10.96.0.10 says no data to A",
	},
	{
		name: "no address of either family", ips: dual, script: "A: nodata\nAAAA: nodata",
		asked: "exists, sibling, A, AAAA", verdicts: "agrees absent absent", verdict: identity.Missing, says: name4 + ": 10.96.0.10 says no data to AAAA",
	},
	{
		name: "poisoned", script: "exists: nodata again=1s\nA: nxdomain zone=cluster.local again=20s\nA " + kubernetes + ": 10.96.0.1",
		asked: "exists, sibling, A, A " + kubernetes, verdicts: "agrees poisoned", verdict: identity.Poisoned, again: 20 * time.Second,
		says: name4 + ": the name exists, but 10.96.0.10 says NXDOMAIN to A",
	},
	{
		name: "poisoned by the root", script: "A: nxdomain zone=.\nA " + kubernetes + ": 10.96.0.1",
		asked: "exists, sibling, A, A " + kubernetes, verdicts: "agrees poisoned", verdict: identity.Poisoned,
		says: name4 + ": the name exists, but 10.96.0.10 says NXDOMAIN to A",
	},
	{
		name: "poisoned AAAA", policy: identity.Policy{Rounds: 2}, script: "AAAA: nxdomain zone=cluster.local again=17s\nAAAA " + kubernetes + ": nodata",
		asked:    "exists, sibling, A, PTR 10.244.0.27 | exists, A, AAAA, AAAA " + kubernetes,
		verdicts: "agrees agrees agrees agrees agrees poisoned", verdict: identity.Poisoned, again: 17 * time.Second,
		says: name4 + ": the name exists, but 10.96.0.10 says NXDOMAIN to AAAA",
	},
	{
		name: "a denial of the family that the policy leaves out", ips: dual, policy: identity.Policy{Families: identity.FamiliesIPv4}, script: "AAAA: nxdomain",
		asked: "exists, sibling, A, PTR 10.244.0.27", proven: ip4, verdicts: "agrees agrees agrees",
	},
	{
		name: "poisoned AAAA of a server that refuses other types", script: "exists: refused\nAAAA: nxdomain\nAAAA " + kubernetes + ": nodata",
		asked: "exists, exists, A, AAAA, AAAA " + kubernetes, verdicts: "agrees agrees agrees poisoned", verdict: identity.Poisoned,
		says: name4 + ": the name exists, but 10.96.0.10 says NXDOMAIN to AAAA",
	},
	{
		name: "a denial of a server that refuses other types", script: "exists: refused\nA: nxdomain zone=cluster.local\nA " + kubernetes + ": 10.96.0.1",
		asked: "exists, exists, A, A " + kubernetes, verdicts: "agrees agrees missing", verdict: identity.Missing,
		says: name4 + ": 10.96.0.10 says NXDOMAIN to A",
	},
	{
		name: "unanswered A", script: "A: silent",
		asked: "exists, sibling, A", verdicts: "agrees unanswered", verdict: identity.Unanswered, says: name4 + ": 10.96.0.10 says nothing within 1s to A",
	},
	{
		name: "refused A", script: "A: refused",
		asked: "exists, sibling, A", verdicts: "agrees unanswered", verdict: identity.Unanswered, says: name4 + ": 10.96.0.10 says REFUSED to A",
	},
	{
		name: "failed AAAA", script: "AAAA: servfail\nAAAA " + kubernetes + ": nodata",
		asked: "exists, sibling, A, AAAA, AAAA " + kubernetes, verdicts: "agrees agrees unanswered", verdict: identity.Unanswered, says: name4 + ": 10.96.0.10 says SERVFAIL to AAAA",
	},

	// A family that the server has for no name.
	{
		name: "AAAA is denied of every name", script: "AAAA: nxdomain\n" + noAAAA,
		asked: "exists, sibling, A, AAAA, " + askAAAA + ", PTR 10.244.0.27", proven: ip4, verdicts: "agrees agrees family-withheld agrees",
		tolerated: name4 + ": 10.96.0.10 says NXDOMAIN to AAAA, as it does for " + kubernetes + "; programs that use musl (Alpine) cannot resolve this name",
	},
	{
		name: "AAAA is refused of every name", script: "AAAA: refused\n" + strings.Replace(noAAAA, "nxdomain", "refused", 1),
		asked: "exists, sibling, A, AAAA, " + askAAAA + ", PTR 10.244.0.27", proven: ip4, verdicts: "agrees agrees family-withheld agrees",
		tolerated: name4 + ": 10.96.0.10 says REFUSED to AAAA, as it does for " + kubernetes + "; programs that use musl (Alpine) cannot resolve this name",
	},
	{
		name: "AAAA is not answered of any name", script: "AAAA: silent\n" + strings.Replace(noAAAA, "nxdomain", "silent", 1),
		asked: "exists, sibling, A, AAAA, " + askAAAA + ", PTR 10.244.0.27", proven: ip4, verdicts: "agrees agrees family-withheld agrees",
		tolerated: name4 + ": 10.96.0.10 says nothing within 1s to AAAA, as it does for " + kubernetes + "; programs that use musl (Alpine) cannot resolve this name",
	},
	{
		name: "A is denied of every name where all is IPv6", ips: ip6, script: "A: nxdomain\n" + noA,
		asked: "exists, sibling, A, " + askA + ", AAAA, PTR " + ip6, proven: ip6, verdicts: "agrees family-withheld agrees agrees",
		tolerated: name4 + ": 10.96.0.10 says NXDOMAIN to A, as it does for " + kubernetes + "; programs that use musl (Alpine) cannot resolve this name",
	},
	{
		name: "A is denied of every name by a server that refuses other types", ips: ip6, script: "exists: refused\nA: nxdomain\n" + noA,
		asked: "exists, exists, A, " + askA + ", AAAA, PTR " + ip6, proven: ip6, verdicts: "agrees agrees family-withheld agrees agrees",
		tolerated: name4 + ": 10.96.0.10 says NXDOMAIN to A, as it does for " + kubernetes + "; programs that use musl (Alpine) cannot resolve this name",
	},
	{
		name: "one of two families is denied of every name", ips: dual, script: "AAAA: nxdomain\n" + noAAAA,
		asked: "exists, sibling, A, AAAA, " + askAAAA + ", PTR 10.244.0.27", proven: ip4, verdicts: "agrees agrees family-withheld agrees",
		tolerated: name4 + ": 10.96.0.10 says NXDOMAIN to AAAA, as it does for " + kubernetes + "; programs that use musl (Alpine) cannot resolve this name",
	},
	{
		name: "all wants the family that is denied of every name", ips: dual, policy: identity.Policy{Families: identity.FamiliesAll}, script: "AAAA: nxdomain\n" + noAAAA,
		asked: "exists, sibling, A, AAAA, " + askAAAA, verdicts: "agrees agrees family-withheld", verdict: identity.Withheld, others: kubernetes,
		says: name4 + ": 10.96.0.10 says NXDOMAIN to AAAA, as it does for " + kubernetes,
	},
	{
		name: "the only family is denied of every name", script: "A: nxdomain\n" + noA,
		asked: "exists, sibling, A, " + askA + ", AAAA", verdicts: "agrees family-withheld absent", verdict: identity.Withheld, others: kubernetes,
		says: name4 + ": 10.96.0.10 says NXDOMAIN to A, as it does for " + kubernetes,
	},
	{
		name: "a server that does not have the API server's Service says nothing by its denial", script: "AAAA: nxdomain\nAAAA " + kubernetes + ": nxdomain\nA " + kubernetes + ": nxdomain",
		asked: "exists, sibling, A, AAAA, " + askAAAA, verdicts: "agrees agrees poisoned", verdict: identity.Poisoned,
		says: name4 + ": the name exists, but 10.96.0.10 says NXDOMAIN to AAAA",
	},

	// Families.
	{
		name: "auto proves what a Service of one family gives", ips: dual, policy: identity.Policy{Rounds: 2}, script: "AAAA: nodata",
		asked:  "exists, sibling, A, AAAA, PTR 10.244.0.27 | exists, A, AAAA, PTR 10.244.0.27",
		proven: ip4, verdicts: "agrees agrees absent agrees agrees agrees absent agrees",
	},
	{
		name: "auto proves the secondary address alone", ips: dual, script: "A: nodata",
		asked: "exists, sibling, A, AAAA, PTR fd00:10:244::1b", proven: ip6, verdicts: "agrees absent agrees agrees",
	},
	{
		name: "all misses one", ips: dual, policy: identity.Policy{Families: identity.FamiliesAll}, script: "AAAA: nodata",
		asked: "exists, sibling, A, AAAA", verdicts: "agrees agrees absent", verdict: identity.Missing,
		says: name4 + ": 10.96.0.10 says no data to AAAA",
	},
	{
		name: "all misses the other", ips: dual, policy: identity.Policy{Families: identity.FamiliesAll}, script: "A: nodata",
		asked: "exists, sibling, A, AAAA", verdicts: "agrees absent agrees", verdict: identity.Missing,
		says: name4 + ": 10.96.0.10 says no data to A",
	},
	{
		name: "ipv4 alone, whatever has the name in IPv6", ips: dual, policy: identity.Policy{Families: identity.FamiliesIPv4, Rounds: 2}, script: "AAAA: fd00:10:244::99",
		asked:  "exists, sibling, A, PTR 10.244.0.27 | exists, A, PTR 10.244.0.27",
		proven: ip4, verdicts: "agrees agrees agrees agrees agrees agrees",
	},
	{
		name: "ipv4 alone, ours in IPv6 too", ips: dual, policy: identity.Policy{Families: identity.FamiliesIPv4}, script: "AAAA: fd00:10:244::1b",
		asked: "exists, sibling, A, PTR 10.244.0.27", proven: ip4, verdicts: "agrees agrees agrees",
	},
	{
		name: "ipv6 alone", ips: dual, policy: identity.Policy{Families: identity.FamiliesIPv6, Rounds: 2}, script: "A: 10.244.0.27",
		asked:  "exists, sibling, AAAA, PTR fd00:10:244::1b | exists, AAAA, PTR fd00:10:244::1b",
		proven: ip6, verdicts: "agrees agrees agrees agrees agrees agrees",
	},
	{
		name: "the address form proves one family of two", ips: dual, policy: identity.Policy{NameForm: identity.AddressForm},
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", proven: ip4, verdicts: "agrees agrees absent agrees",
	},
	{
		name: "two rounds agree on different addresses", ips: dual, policy: identity.Policy{Rounds: 2}, script: "AAAA: nodata | fd00:10:244::1b",
		asked:    "exists, sibling, A, AAAA, PTR 10.244.0.27 | exists, A, AAAA, PTR 10.244.0.27, PTR fd00:10:244::1b",
		verdicts: "agrees agrees absent agrees agrees agrees agrees agrees agrees", verdict: identity.Unsettled,
		says: name4 + ": two rounds agreed on different addresses",
	},

	// DNS64 (RFC 6052, 2.2): see also the test of its own below.
	{
		name: "another's address translated", script: "AAAA: 64:ff9b::10.244.0.28",
		asked: "exists, sibling, A, AAAA", verdicts: "agrees agrees shared", verdict: identity.Shared, others: "64:ff9b::af4:1c",
		says: name4 + ": 10.96.0.10 says 64:ff9b::af4:1c; another Pod holds this name: 64:ff9b::af4:1c",
	},
	{
		name: "no translation: the u octet is set", script: "AAAA: 2001:db8:122:344:10a:f400:1b00:0",
		asked: "exists, sibling, A, AAAA", verdicts: "agrees agrees shared", verdict: identity.Shared, others: "2001:db8:122:344:10a:f400:1b00:0",
		says: name4 + ": 10.96.0.10 says 2001:db8:122:344:10a:f400:1b00:0; another Pod holds this name: 2001:db8:122:344:10a:f400:1b00:0",
	},
	{
		name: "no translation: the suffix is not empty", script: "AAAA: 2001:db8:af4:1b::1",
		asked: "exists, sibling, A, AAAA", verdicts: "agrees agrees shared", verdict: identity.Shared, others: "2001:db8:af4:1b::1",
		says: name4 + ": 10.96.0.10 says 2001:db8:af4:1b::1; another Pod holds this name: 2001:db8:af4:1b::1",
	},
	{
		name: "translated in addition to our own", ips: dual, script: "AAAA: 64:ff9b::10.244.0.27 fd00:10:244::1b",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27, PTR fd00:10:244::1b", proven: dual,
	},
	{
		name: "translated in addition to our own, IPv6 primary", ips: ip6 + "," + ip4, script: "AAAA: 64:ff9b::10.244.0.27 fd00:10:244::1b",
		asked: "exists, sibling, A, AAAA, PTR fd00:10:244::1b, PTR 10.244.0.27", proven: ip6 + "," + ip4,
	},
	{
		name: "translated in place of our own", ips: dual, policy: identity.Policy{Families: identity.FamiliesAll}, script: "AAAA: 64:ff9b::10.244.0.27",
		asked: "exists, sibling, A, AAAA", verdicts: "agrees agrees absent", verdict: identity.Missing,
		says: name4 + ": 10.96.0.10 says 64:ff9b::af4:1b",
	},
	{
		name: "an IPv6 Pod embeds nothing", ips: ip6, script: "AAAA: 64:ff9b::10.244.0.27",
		asked: "exists, sibling, A, AAAA", verdicts: "agrees absent stale", verdict: identity.Stale, others: "64:ff9b::af4:1b",
		says: name4 + ": 10.96.0.10 says 64:ff9b::af4:1b; this Pod is fd00:10:244::1b",
	},

	// Reverse.
	{
		name: "another Service's name too", policy: identity.Policy{Rounds: 2}, script: "PTR 10.244.0.27: " + vip4 + " " + name4,
		asked:  "exists, sibling, A, PTR 10.244.0.27 | exists, A, AAAA, PTR 10.244.0.27",
		proven: ip4, verdicts: "agrees agrees agrees agrees agrees absent agrees",
		tolerated: "10.244.0.27: DNS also has " + vip4 + ", in addition to " + name4,
	},
	{
		name: "a warning of an earlier round is forgotten", policy: identity.Policy{Rounds: 2}, script: "PTR 10.244.0.27: " + vip4 + " " + name4 + " | " + name4,
		asked:  "exists, sibling, A, PTR 10.244.0.27 | exists, A, AAAA, PTR 10.244.0.27",
		proven: ip4, verdicts: "agrees agrees agrees agrees agrees absent agrees",
	},
	{
		name: "reverse extra", policy: identity.Policy{Reverse: identity.ReverseOnly}, script: "PTR 10.244.0.27: " + vip4 + " " + name4 + " again=30s",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", verdicts: "agrees agrees absent reverse-extra",
		verdict: identity.ReverseExtra, others: vip4, again: 30 * time.Second,
		says: "10.244.0.27: 10.96.0.10 says " + vip4 + " and " + name4 + "; only " + name4 + " is allowed",
	},
	{
		name: "reverse other", script: "PTR 10.244.0.27: " + vip4,
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", verdicts: "agrees agrees absent reverse-other",
		verdict: identity.ReverseOther, others: vip4,
		says: "10.244.0.27: 10.96.0.10 says " + vip4 + ", not " + name4,
	},
	{
		name: "reverse other in addition to a foreign one", script: "PTR 10.244.0.27: ip-10-244-0-27.ec2.internal " + vip4,
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", verdicts: "agrees agrees absent reverse-other",
		verdict: identity.ReverseOther, others: "ip-10-244-0-27.ec2.internal and " + vip4,
		says: "10.244.0.27: 10.96.0.10 says ip-10-244-0-27.ec2.internal and " + vip4 + ", not " + name4,
	},
	{
		name: "reverse other where the zone is unknown", fqdn: "unknown:kdc1.example.org", script: "PTR 10.244.0.27: ip-10-244-0-27.ec2.internal",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", verdicts: "agrees agrees absent reverse-other",
		verdict: identity.ReverseOther, others: "ip-10-244-0-27.ec2.internal",
		says: "10.244.0.27: 10.96.0.10 says ip-10-244-0-27.ec2.internal, not kdc1.example.org",
	},
	{
		name: "reverse foreign", script: "PTR 10.244.0.27: ip-10-244-0-27.ec2.internal",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", verdicts: "agrees agrees absent reverse-foreign",
		verdict: identity.ReverseForeign, others: "ip-10-244-0-27.ec2.internal",
		says: "10.244.0.27: 10.96.0.10 says ip-10-244-0-27.ec2.internal, not " + name4,
	},
	{
		name: "reverse missing", script: "PTR 10.244.0.27: nxdomain zone=10.in-addr.arpa again=30s",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", verdicts: "agrees agrees absent reverse-missing",
		verdict: identity.ReverseMissing, again: 30 * time.Second,
		says: "10.244.0.27: 10.96.0.10 says NXDOMAIN to PTR, not " + name4,
	},
	{
		name: "reverse without data", script: "PTR 10.244.0.27: nodata",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", verdicts: "agrees agrees absent reverse-missing",
		verdict: identity.ReverseMissing, says: "10.244.0.27: 10.96.0.10 says no data to PTR, not " + name4,
	},
	{
		name: "reverse refused", script: "PTR 10.244.0.27: refused",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", verdicts: "agrees agrees absent reverse-refused",
		verdict: identity.ReverseRefused, says: "10.244.0.27: 10.96.0.10 says REFUSED to PTR, not " + name4,
	},
	{
		name: "reverse unanswered", script: "PTR 10.244.0.27: servfail",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27", verdicts: "agrees agrees absent unanswered",
		verdict: identity.Unanswered, says: "10.244.0.27: 10.96.0.10 says SERVFAIL to PTR",
	},
	{
		name: "reverse missing for the second address", ips: dual, script: "PTR fd00:10:244::1b: nxdomain",
		asked: "exists, sibling, A, AAAA, PTR 10.244.0.27, PTR fd00:10:244::1b", verdicts: "agrees agrees agrees agrees reverse-missing",
		verdict: identity.ReverseMissing, says: "fd00:10:244::1b: 10.96.0.10 says NXDOMAIN to PTR, not " + name4,
	},
	{
		name: "reverse missing in the confirming round", policy: identity.Policy{Rounds: 3}, script: "PTR 10.244.0.27: " + name4 + " | nxdomain",
		asked:    "exists, sibling, A, PTR 10.244.0.27 | exists, A, PTR 10.244.0.27",
		verdicts: "agrees agrees agrees agrees agrees reverse-missing",
		verdict:  identity.ReverseMissing, says: "10.244.0.27: 10.96.0.10 says NXDOMAIN to PTR, not " + name4,
	},

	// A mismatch is not to be looked at again before existence has a key.
	{
		name: "the next key is later than the answer's end", script: "exists: nodata again=7s\nA: 10.244.0.99 again=2s",
		asked: "exists, sibling, A", verdicts: "agrees stale", verdict: identity.Stale, others: "10.244.0.99", again: 7 * time.Second,
		says: name4 + ": 10.96.0.10 says 10.244.0.99; this Pod is 10.244.0.27",
	},
	{
		name: "no key for the dashed name", script: "exists: nxdomain again=7s\nexists " + dash4 + ": nodata again=2s",
		asked: "exists, exists " + dash4 + ", sibling", verdicts: "missing unnamed", verdict: identity.Unnamed, again: 7 * time.Second,
		says: name4 + ": DNS publishes this Pod as " + dash4,
	},
}

func TestVerifyAsksInOrderAndJudgesEveryAnswer(t *testing.T) {
	seen := make(map[identity.Verdict]bool)
	for _, test := range verifications {
		t.Run(test.name, func(t *testing.T) { test.run(t) })
		seen[test.verdict] = true
	}
	for _, verdict := range []identity.Verdict{
		identity.Shared, identity.Stale, identity.Missing, identity.Hidden, identity.Unnamed, identity.Poisoned, identity.Withheld, identity.ForeignServer,
		identity.Unanswered, identity.Unsettled, identity.ReverseExtra, identity.ReverseOther, identity.ReverseForeign,
		identity.ReverseMissing, identity.ReverseRefused,
	} {
		if !seen[verdict] {
			t.Errorf("no row ends with %q", verdict)
		}
	}
}

func (test verification) run(t *testing.T) {
	if test.ips == "" {
		test.ips = ip4
	}
	claim := db0(t, test.policy, test.ips, test.fqdn)
	s := podtest.Agreeing(t, claim).Script(test.script)
	agreement, report, err := identity.Verify(t.Context(), s, claim, identity.Instead|identity.Compare)

	if got := s.Asked(); got != test.asked {
		t.Errorf("asked\n%s, not\n%s", got, test.asked)
	}
	if s.Closed != len(s.Rounds) {
		t.Errorf("%d of %d exchanges were closed", s.Closed, len(s.Rounds))
	}
	var reported, verdicts []string
	for _, f := range report.Findings() {
		reported = append(reported, s.Spell(f.Question))
		if !f.Witness {
			verdicts = append(verdicts, string(f.Verdict))
		}
	}
	if got, want := strings.Join(reported, ", "), strings.ReplaceAll(s.Asked(), " | ", ", "); got != want {
		t.Errorf("reported\n%s, asked\n%s", got, want)
	}
	if test.verdicts == "" {
		test.verdicts = strings.TrimSpace(strings.Repeat("agrees ", len(verdicts)))
	}
	if got := strings.Join(verdicts, " "); got != test.verdicts {
		t.Errorf("verdicts\n%s, not\n%s", got, test.verdicts)
	}
	if got := strings.ReplaceAll(show(agreement.Addrs()), " ", ""); got != test.proven {
		t.Errorf("proven %q, not %q", got, test.proven)
	}

	if test.verdict == "" {
		var warnings []string
		for _, f := range report.Tolerated() {
			warnings = append(warnings, f.String())
		}
		if got := strings.Join(warnings, "; "); err != nil || agreement.Name() != claim.Name() || got != test.tolerated {
			t.Errorf("got %v of %s, tolerating %q, not %q", err, agreement.Name(), got, test.tolerated)
		}
		return
	}
	var mismatch *identity.Mismatch
	if !errors.As(err, &mismatch) {
		t.Fatalf("got %v", err)
	}
	got := fmt.Sprintf("%s: %s (others %q, again %s)", mismatch.Verdict, mismatch, mismatch.Others, mismatch.Again())
	want := fmt.Sprintf("%s: %s (others %q, again %s)", test.verdict, test.says, test.others, test.again)
	if got != want {
		t.Errorf("got\n%s, not\n%s", got, want)
	}
	if _, err := identity.Render(agreement); err == nil {
		t.Error("a mismatch left an agreement behind")
	}
}

// The report is shown to people as it is.
func TestReportShowsEveryAnswerAsASentence(t *testing.T) {
	policy := identity.Policy{Rounds: 2, Forward: identity.ForwardContains}
	claim := db0(t, policy, ip4, "")
	s := podtest.Agreeing(t, claim).Script("A: 10.244.0.27 | 10.244.0.27 10.244.0.28\nPTR 10.244.0.27: " + name4 + " | nxdomain")
	_, report, _ := identity.Verify(t.Context(), s, claim, identity.Instead)
	var got []string
	for _, f := range report.Findings() {
		got = append(got, f.String())
	}
	want := []string{
		name4 + ": 10.96.0.10 says no data",
		"*.db.default.svc.cluster.local: 10.96.0.10 says NXDOMAIN",
		name4 + ": 10.96.0.10 says 10.244.0.27",
		"10.244.0.27: 10.96.0.10 says " + name4,
		name4 + ": 10.96.0.10 says no data",
		name4 + ": DNS also has 10.244.0.28, in addition to 10.244.0.27",
		name4 + ": 10.96.0.10 says no data to AAAA",
		"10.244.0.27: 10.96.0.10 says NXDOMAIN to PTR, not " + name4,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestVerifyWithoutAnyServerIsUnanswered(t *testing.T) {
	claim := db0(t, identity.Policy{}, ip4, "")
	s := podtest.Agreeing(t, claim)
	s.Refuses = errors.New("no nameserver can be reached: connection refused")
	_, report, err := identity.Verify(t.Context(), s, claim, identity.Instead)
	var mismatch *identity.Mismatch
	const want = name4 + ": no nameserver can be reached: connection refused"
	if !errors.As(err, &mismatch) || mismatch.Verdict != identity.Unanswered || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if len(report) != 1 || report[0].Err != s.Refuses || len(report[0].Findings) > 0 || mismatch.Answered() {
		t.Errorf("the report is %v", report)
	}
}

func TestVerifyShowsAnUnusualPort(t *testing.T) {
	claim := db0(t, identity.Policy{}, ip4, "")
	s := podtest.Agreeing(t, claim).Script("A: 10.244.0.99")
	_, _, err := identity.Verify(t.Context(), ported{s}, claim, identity.Instead)
	const want = name4 + ": [fd00::a]:5353 says 10.244.0.99; this Pod is 10.244.0.27"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// ported is a server on a port of its own.
type ported struct{ *podtest.Server }

func (p ported) Open(ctx context.Context) (identity.Exchange, error) {
	e, err := p.Server.Open(ctx)
	return portedExchange{e}, err
}

type portedExchange struct{ identity.Exchange }

func (p portedExchange) Ask(ctx context.Context, q identity.Question) identity.Answer {
	a := p.Exchange.Ask(ctx, q)
	a.Server = netip.MustParseAddrPort("[fd00::a]:5353")
	return a
}

func TestVerifyEndsWithTheCauseOfItsContext(t *testing.T) {
	claim := db0(t, identity.Policy{Rounds: 2}, ip4, "")
	cause := errors.New("SIGTERM")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	s := podtest.Agreeing(t, claim)
	agreement, report, err := identity.Verify(ctx, s, claim, identity.Instead)
	if !errors.Is(err, cause) || len(agreement.Addrs()) != 0 {
		t.Errorf("got %v, %v", agreement.Addrs(), err)
	}
	// What was asked until then is told all the same.
	if got := s.Asked(); got != "exists, sibling, A, PTR 10.244.0.27" || len(report.Findings()) != 4 {
		t.Errorf("asked %s, reported %v", got, report)
	}
}

// The table of RFC 6052, 2.4: one address behind each length of prefix.
func TestOurAddressBehindADNS64PrefixIsNobodyElses(t *testing.T) {
	for length, addr := range map[int]string{
		32: "2001:db8:c000:221::",
		40: "2001:db8:1c0:2:21::",
		48: "2001:db8:122:c000:2:2100::",
		56: "2001:db8:122:3c0:0:221::",
		64: "2001:db8:122:344:c0:2:2100::",
		96: "2001:db8:122:344::192.0.2.33",
	} {
		shown := netip.MustParseAddr(addr).String()
		verification{
			name: fmt.Sprint(length), ips: "192.0.2.33", script: "AAAA: " + addr,
			asked: "exists, sibling, A, AAAA, PTR 192.0.2.33", proven: "192.0.2.33", verdicts: "agrees agrees absent agrees",
		}.run(t)
		verification{
			name: fmt.Sprint(length), ips: "192.0.2.34", script: "AAAA: " + addr,
			asked: "exists, sibling, A, AAAA", verdicts: "agrees agrees shared",
			verdict: identity.Shared, others: shown,
			says: name4 + ": 10.96.0.10 says " + shown + "; another Pod holds this name: " + shown,
		}.run(t)
	}
}

// Zero values claim nothing, prove nothing and ask nobody.
func TestZeroValuesWork(t *testing.T) {
	var c identity.Claim
	if c.Dashed() || !c.Name().IsZero() || len(c.Addrs()) > 0 || c.Rounds() != 2 {
		t.Errorf("%+v", c)
	}
	s := podtest.Agreeing(t, c)
	for _, r := range []identity.Resolver{s, nil} {
		if _, _, err := identity.Verify(t.Context(), r, c, 0); err == nil || errors.As(err, new(*identity.Mismatch)) {
			t.Errorf("got %v", err)
		}
	}
	for turn := range (identity.Walk{}).Turns(t.Context()) {
		if turn.Err == nil || turn.Pause != 0 {
			t.Errorf("%+v", turn)
		}
	}
	if len(s.Rounds) > 0 {
		t.Errorf("asked %s", s.Asked())
	}
	if _, err := identity.Render(identity.Agreement{}); err == nil {
		t.Error("rendered what nothing proved")
	}
	if (identity.Policy{}).Forward != identity.ForwardOnly || db0(t, identity.Policy{Rounds: 3}, ip4, "").Rounds() != 3 {
		t.Error("the policy is not the claim's")
	}
}

// lying is a server on which one type shows names that do not exist.
func lying(whole identity.Resolver, lies func(n int) bool) identity.Resolver {
	n, same := 0, 0
	return resolverFunc(func(ctx context.Context) (identity.Exchange, error) {
		exchange, err := whole.Open(ctx)
		return exchangeFunc(func(q identity.Question) identity.Answer {
			a := exchange.Ask(ctx, q)
			if q.Kind == identity.Exists && !q.Same {
				n++
				same = n
			}
			if (q.Kind == identity.Exists || q.Kind == identity.Sibling) && lies(same) {
				a.Is = identity.NoData
			}
			return a
		}), err
	})
}

// No type is trusted: before a plain question it has denied what does not exist.
func TestATypeThatLiesIsNotBelieved(t *testing.T) {
	claim := db0(t, identity.Policy{Rounds: 2}, ip4, "")
	odd := func(n int) bool { return n%2 == 1 }
	s := podtest.Agreeing(t, claim)
	if _, _, err := identity.Verify(t.Context(), lying(s, odd), claim, 0); err != nil {
		t.Error(err)
	}
	if want := "exists, sibling, exists, sibling, A, PTR 10.244.0.27 | exists, A, AAAA, PTR 10.244.0.27"; s.Asked() != want {
		t.Errorf("asked %s,\nnot   %s", s.Asked(), want)
	}
	s = podtest.Agreeing(t, claim).Script("exists: nxdomain zone=cluster.local")
	_, _, err := identity.Verify(t.Context(), lying(s, odd), claim, identity.Instead)
	if m, ok := errors.AsType[*identity.Mismatch](err); !ok || m.Verdict != identity.Missing || s.Asked() != "exists, sibling, exists, exists "+dash4+", sibling" {
		t.Errorf("asked %s: %v", s.Asked(), err)
	}
}

// A filter may refuse one type. After the third type it is known whether the server refuses, lies or denies.
func TestATypeThatIsRefusedIsNotBelieved(t *testing.T) {
	for _, c := range []struct{ types, asked string }{
		{"refused nxdomain", "exists, exists"},
		{"nodata refused nxdomain", "exists, sibling, exists, exists"},
		{"refused nodata nxdomain", "exists, exists, sibling, exists"},
		{"refused nodata nodata", "exists, exists, sibling, exists, sibling"},
		{"nodata refused refused", "exists, sibling, exists, exists, A"},
	} {
		claim := db0(t, identity.Policy{Rounds: 2}, ip4, "")
		s := podtest.Agreeing(t, claim).Script("A: nxdomain zone=cluster.local")
		types, n := strings.Fields(c.types), 0
		_, _, err := identity.Verify(t.Context(), resolverFunc(func(ctx context.Context) (identity.Exchange, error) {
			exchange, err := s.Open(ctx)
			return exchangeFunc(func(q identity.Question) identity.Answer {
				a := exchange.Ask(ctx, q)
				if q.Kind == identity.Exists {
					n++
				}
				if q.Kind == identity.Exists || q.Kind == identity.Sibling {
					_ = podtest.Read(&a, types[n-1])
				}
				return a
			}), err
		}), claim, 0)
		if s.Asked() != c.asked {
			t.Errorf("%s: asked %s, not %s: %v", c.types, s.Asked(), c.asked, err)
		}
	}
}

// Nothing is known of a nameserver from what another said in the round before.
func TestAnotherNameserverIsProbedAgain(t *testing.T) {
	claim := db0(t, identity.Policy{Rounds: 2}, ip4, "")
	first, second := podtest.Agreeing(t, claim), podtest.Agreeing(t, claim).Script("sibling: nodata\nA: nodata")
	_, _, err := identity.Verify(t.Context(), resolverFunc(func(ctx context.Context) (identity.Exchange, error) {
		if len(first.Rounds) == 0 {
			return first.Open(ctx)
		}
		exchange, err := second.Open(ctx)
		return exchangeFunc(func(q identity.Question) identity.Answer {
			a := exchange.Ask(ctx, q)
			a.Server = netip.MustParseAddrPort("10.96.0.11:53")
			return a
		}), err
	}), claim, 0)
	if second.Asked() != "exists, sibling, exists, sibling" {
		t.Errorf("asked %s | %s: %v", first.Asked(), second.Asked(), err)
	}
}

// A single look does not mistake one lost packet for a server that answers only plain questions.
func TestASingleLookAsksPlainlyOnlyIfTwoTypesHaveNoAnswer(t *testing.T) {
	claim := db0(t, identity.Policy{}, ip4, "")
	for says, want := range map[string]string{
		"nodata": "exists, A " + kubernetes + ", exists " + kubernetes,
		"silent": "exists, A " + kubernetes + ", exists " + kubernetes + ", A, AAAA, PTR " + ip4,
	} {
		s := podtest.Agreeing(t, claim).Script("exists: silent\nA " + kubernetes + ": 10.96.0.1\nexists " + kubernetes + ": " + says)
		if _, _, err := identity.Ask(t.Context(), s, claim, identity.Everything); s.Asked() != want {
			t.Errorf("%s: asked %s, not %s: %v", says, s.Asked(), want, err)
		}
	}
}

// Who hides what does not exist denies one family of every name.
func TestAFamilyThatIsDeniedForEveryNameIsReportedIfNothingElseIsDenied(t *testing.T) {
	for _, ips := range []string{ip6, dual} {
		claim := db0(t, identity.Policy{Rounds: 2}, ips, "")
		s := podtest.Agreeing(t, claim).Script("sibling: nodata\nA: nxdomain\n" + noA)
		if agreement, _, err := identity.Verify(t.Context(), s, claim, identity.Blindly|identity.Compare); err != nil || show(agreement.Addrs()) != ip6 {
			t.Errorf("%s: asked %s: %v", ips, s.Asked(), err)
		}
	}
}

// Replicas may differ in what they deny.
func TestWarilyEachRoundTriesTheType(t *testing.T) {
	claim := db0(t, identity.Policy{Rounds: 3}, ip4, "")
	s := podtest.Agreeing(t, claim).Script("sibling: nxdomain | nodata | nxdomain")
	if _, _, err := identity.Verify(t.Context(), s, claim, identity.Warily|identity.Blindly); err != nil {
		t.Error(err)
	}
	if want := "exists, sibling, A, PTR 10.244.0.27 | exists, sibling, exists, sibling, A, PTR 10.244.0.27 | exists, sibling, A, AAAA, PTR 10.244.0.27"; s.Asked() != want {
		t.Errorf("asked %s,\nnot   %s", s.Asked(), want)
	}
}

func TestAServerThatHidesWhatDoesNotExistIsAskedPlainlyOnlyBlindly(t *testing.T) {
	const probes = "exists, sibling, exists, sibling"
	for script, want := range map[string]struct {
		also           identity.Also
		asked, verdict string
	}{
		"A: " + ip4: {identity.Blindly, probes + ", A, PTR 10.244.0.27 | exists, sibling, A, AAAA, PTR 10.244.0.27", ""},
		"A: nodata": {identity.Blindly, probes + ", A", name4 + ": 10.96.0.10 says no data to A, as it does for names that do not exist"},
		// A wildcard.
		"A: 10.244.0.99": {identity.Blindly, probes + ", A", name4 + ": 10.96.0.10 says 10.244.0.99; this Pod is " + ip4},
		"A: nxdomain":    {identity.Blindly, probes + ", A", name4 + ": 10.96.0.10 says NXDOMAIN to A"},
		"AAAA: nodata":   {identity.Everything, probes, name4 + ": 10.96.0.10 says no data, as it does for names that do not exist"},
	} {
		claim := db0(t, identity.Policy{Rounds: 2}, ip4, "")
		s := podtest.Agreeing(t, claim).Script("sibling: nodata\n" + script)
		_, _, err := identity.Verify(t.Context(), s, claim, want.also)
		if said := fmt.Sprint(err); s.Asked() != want.asked || said != want.verdict && !(want.verdict == "" && err == nil) {
			t.Errorf("%s: asked %s: %v", script, s.Asked(), err)
		}
	}
}
