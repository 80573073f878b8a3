package diagnosis_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/identity/shown"
)

const (
	name4 = "db-0.db.default.svc.cluster.local"
	ip4   = "10.244.0.27"
	ip6   = "fd00:10:244::1b"
	dual  = ip4 + "," + ip6
	dash4 = "10-244-0-27.db.default.svc.cluster.local"
	vip4  = "10-244-0-27.db-vip.default.svc.cluster.local"
	dash6 = "fd00-10-244--1b.db.default.svc.cluster.local"
)

// corpus reads the Pods of package identity.
func corpus(t testing.TB) map[string]podtest.Case {
	t.Helper()
	pods, err := podtest.Corpus("../testdata/pods")
	if err != nil {
		t.Fatal(err)
	}
	return pods
}

// db0 returns the claim of Pod db-0, which takes one round to prove.
func db0(p identity.Policy) identity.Claim {
	p.Rounds = 1
	return podtest.Claim(podtest.DB0.Files("cluster.local", ip4), identity.Given{}, p)
}

const (
	api     = "10.96.0.1"
	known   = "A kubernetes.default.svc.cluster.local: " + api
	service = "db.default.svc.cluster.local"
	patch   = `kubectl --namespace default patch service/db --patch '{"spec":{"publishNotReadyAddresses":true}}'`
	see     = `check that a headless Service "db" in namespace "default" selects this Pod and has publishNotReadyAddresses: true`
	policy  = "set dnsPolicy: ClusterFirst (with hostNetwork: ClusterFirstWithHostNet), or PODFQDN_NAMESERVERS and PODFQDN_CLUSTER_DOMAIN"
)

// scene is one row: what DNS says, and the causes that come of it.
type scene struct {
	name   string
	ips    string // ip4 if empty
	fqdn   string
	policy identity.Policy
	script string // what differs from a server on which everything agrees

	witnesses string // which were asked
	causes    string // the kinds, each with a ? if it is a guess
	line      string // the first for behind a reason
	command   string // of the first
}

var scenes = []scene{
	{
		name:      "everything agrees",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		script:    known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4,
	},

	// The name is denied.
	{
		name:      "the Service is missing, or hides or selects nobody",
		script:    "exists: nxdomain zone=cluster.local\n" + known + "\nexists " + service + ": nxdomain zone=cluster.local",
		command:   patch,
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service,
		causes:    "not-ready-hidden? service-missing? selector-mismatch?",
		line:      `Service "db" has no address in DNS either: ` + see,
	},
	{
		name: "the Service is there, with others",
		script: "exists: nxdomain zone=cluster.local\n" + known + "\nexists " + service + ": nodata\n" +
			"A " + service + ": 10.244.0.7 10.244.0.8",
		command:   patch,
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		causes:    "not-ready-hidden? selector-mismatch?",
		line:      `Service "db" publishes 10.244.0.7 and 10.244.0.8, but not this Pod: ` + see,
	},
	{
		name: "the Service is there, with one address that may be its own",
		script: "exists: nxdomain zone=cluster.local\n" + known + "\nexists " + service + ": nodata\n" +
			"A " + service + ": 10.96.7.7",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		causes:    "not-ready-hidden? selector-mismatch?",
		line:      `Service "db" publishes 10.96.7.7, but not this Pod: ` + see,
	},
	{
		name:      "the Service is missing, or a server denies it in nobody's name",
		script:    "exists: nxdomain\n" + known + "\nexists " + service + ": nxdomain",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service,
		causes:    "not-ready-hidden? service-missing? selector-mismatch?",
		line:      `Service "db" has no address in DNS either: ` + see,
	},
	{
		name: "the Service is there, with this Pod's address",
		script: "exists: nxdomain zone=cluster.local\n" + known + "\nexists " + service + ": nodata\n" +
			"A " + service + ": 10.244.0.7 " + ip4 + "\nPTR " + ip4 + ": nxdomain",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service + ", PTR " + ip4,
		causes:    "hostname-missing?",
		line:      `Service "db" publishes this Pod's address, but not as "db-0": set spec.hostname to "db-0" and spec.subdomain to "db"`,
	},
	{
		name: "the Service is there, with this Pod's address under another name",
		script: "exists: nxdomain zone=cluster.local\n" + known + "\nexists " + service + ": nodata\n" +
			"A " + service + ": " + ip4 + "\nPTR " + ip4 + ": x.db-vip.default.svc.cluster.local db-7.db.default.svc.cluster.local",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service + ", PTR " + ip4,
		causes:    "hostname-missing?",
		line:      `Service "db" publishes this Pod's address as "db-7", not as "db-0": set spec.hostname to "db-0" and spec.subdomain to "db", or PODFQDN_HOSTNAME=db-7 if that is this Pod's name`,
	},
	{
		name: "endpoint_pod_names, and the dashed name is wanted", policy: identity.Policy{NameForm: identity.AddressForm},
		script: "exists: nxdomain zone=cluster.local\n" + known + "\nexists " + service + ": nodata\n" +
			"A " + service + ": " + ip4 + "\nPTR " + ip4 + ": web-5d9f7c6b8-x2x7q.db.default.svc.cluster.local",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service + ", PTR " + ip4,
		causes:    "name-form?",
		line:      `Service "db" publishes this Pod's address as "web-5d9f7c6b8-x2x7q", not as "10-244-0-27": leave PODFQDN_NAME_FORM out: if the Pod has a hostname, or the Corefile has endpoint_pod_names, DNS does not publish the dashed name`,
	},
	{
		name: "the dashed name is wanted, and PTR is filtered", policy: identity.Policy{NameForm: identity.AddressForm},
		script: "exists: nxdomain zone=cluster.local\n" + known + "\nexists " + service + ": nodata\n" +
			"A " + service + ": " + ip4 + "\nPTR " + ip4 + ": nodata",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service + ", PTR " + ip4,
		causes:    "name-form?",
		line:      `Service "db" publishes this Pod's address, but not as "10-244-0-27": leave PODFQDN_NAME_FORM out: if the Pod has a hostname, or the Corefile has endpoint_pod_names, DNS does not publish the dashed name`,
	},

	// The answer is empty, or has another name's records.
	{
		name:      "a rewrite without answer",
		script:    "A: nodata owner=db-0.db.default.svc.corp.example\n" + known + "\nexists " + service + ": nodata\nA " + service + ": nodata owner=db.default.svc.corp.example",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		causes:    "record-renamed",
		line:      `the answer to A for db-0.db.default.svc.cluster.local has only records of db-0.db.default.svc.corp.example, which a resolver does not accept: if the Corefile rewrites it, add "answer auto" to that rewrite, or set PODFQDN_CLUSTER_DOMAIN=corp.example`,
	},
	{
		name:      "a rewrite of the PTR without answer",
		script:    "PTR " + ip4 + ": nodata owner=1.0.0.10.in-addr.arpa\n" + known + "\nPTR " + api + ": kubernetes.default.svc.cluster.local\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "record-renamed",
		line:      `the answer to PTR for 10.244.0.27 has only records of 1.0.0.10.in-addr.arpa, which a resolver does not accept: if the Corefile rewrites it, add "answer auto" to that rewrite, or set PODFQDN_REVERSE=ignore`,
	},
	{
		name:      "an empty answer to all that is missing",
		script:    "A: nodata\n" + known + "\nexists " + service + ": nodata\nA " + service + ": nodata",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		causes:    "not-ready-hidden? service-missing? selector-mismatch? single-family?",
		line:      see,
	},
	{
		name:      "an empty answer to everything",
		script:    "A: nodata\nA kubernetes.default.svc.cluster.local: nodata\nPTR " + api + ": nodata\nexists " + service + ": nodata\nA " + service + ": nodata",
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "zone-overridden? not-ready-hidden? service-missing? selector-mismatch? single-family?",
		line:      "10.96.0.10 has no address for kubernetes.default.svc.cluster.local either, which every cluster has: check whether something in front of cluster DNS returns an empty answer for cluster.local, such as a DNS policy, or a template in the Corefile",
	},
	{
		name: "no address of the only family that is wanted", ips: dual, policy: identity.Policy{Families: identity.FamiliesIPv6},
		script:    "AAAA: nodata zone=cluster.local\nA: nodata\n" + known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4 + "\nAAAA " + service + ": nodata",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", AAAA " + service,
		causes:    "single-family? not-ready-hidden? service-missing? selector-mismatch?",
		line:      "check whether the Service has this family (ipFamilyPolicy), or set PODFQDN_FAMILIES",
	},
	{
		name:      "a template for the cluster domain",
		script:    "exists: nxdomain\nA kubernetes.default.svc.cluster.local: nxdomain\nPTR " + api + ": kubernetes.default.svc.cluster.local",
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api,
		causes:    "zone-overridden? dns-policy?",
		line:      "10.96.0.10 has a PTR record from 10.96.0.1 to kubernetes.default.svc.cluster.local, but says NXDOMAIN to that name: check whether something in front of the kubernetes plugin answers for cluster.local, such as a template, hosts or rewrite in the Corefile, or a DNS policy",
	},
	{
		name:      "a template for the cluster domain, with its SOA",
		script:    "exists: nxdomain zone=cluster.local\nA kubernetes.default.svc.cluster.local: nxdomain zone=cluster.local\nPTR " + api + ": kubernetes.default.svc.cluster.local\nexists " + service + ": nxdomain zone=cluster.local",
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service,
		causes:    "zone-overridden? not-ready-hidden? service-missing? selector-mismatch?",
		line:      "10.96.0.10 has a PTR record from 10.96.0.1 to kubernetes.default.svc.cluster.local, but says NXDOMAIN to that name: check whether something in front of the kubernetes plugin answers for cluster.local, such as a template, hosts or rewrite in the Corefile, or a DNS policy",
	},
	{
		name:      "both families of the Service are asked for a Pod of both",
		ips:       dual,
		script:    "exists: nxdomain zone=cluster.local\nexists " + dash6 + ": nxdomain\n" + known + "\nexists " + service + ": nodata\nA " + service + ": 10.244.0.7\nAAAA " + service + ": nodata",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service + ", AAAA " + service,
		causes:    "not-ready-hidden? selector-mismatch?",
		line:      `Service "db" publishes 10.244.0.7, but not this Pod: ` + see,
	},
	{
		name:      "a server that keeps default to itself still knows the cluster",
		script:    "exists: nxdomain zone=cluster.local\nA kubernetes.default.svc.cluster.local: nxdomain zone=cluster.local\nPTR " + api + ": nxdomain zone=in-addr.arpa\nexists " + service + ": nxdomain",
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service,
		causes:    "not-ready-hidden? service-missing? selector-mismatch?",
		line:      `Service "db" has no address in DNS either: ` + see,
	},
	{
		name:      "the Service's address is not asked plainly where other types are refused",
		script:    "exists: nxdomain zone=cluster.local\n" + known + "\nexists " + service + ": refused",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service,
		causes:    "not-ready-hidden? service-missing? selector-mismatch?", line: see,
	},
	{
		name:      "a witness that is silent is the last",
		script:    "exists: nxdomain zone=cluster.local\nA kubernetes.default.svc.cluster.local: silent",
		witnesses: "A kubernetes.default.svc.cluster.local",
		causes:    "not-ready-hidden? service-missing? selector-mismatch?", line: see,
	},
	{
		name: "nothing publishes a name that is not a Pod's", fqdn: "kdc1.example.org", script: "exists: nxdomain zone=example.org\n" + known,
		witnesses: "A kubernetes.default.svc.cluster.local",
		causes:    "unexplained?", line: "check that something publishes this name in DNS",
	},
	{
		name: "DNS publishes the address without the hostname", script: "exists: nxdomain zone=cluster.local\nexists " + dash4 + ": nodata\n" + known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		causes:    "hostname-missing", line: "set spec.hostname, or PODFQDN_NAME_FORM=address",
	},
	{
		name: "the dashed name has an empty answer, and the Service has nobody", script: "exists: nxdomain zone=cluster.local\nexists " + dash4 + ": nodata\n" + known + "\nexists " + service + ": nodata\nA " + service + ": nodata",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		causes:    "hostname-missing?", line: "set spec.hostname, or PODFQDN_NAME_FORM=address",
	},

	// The server does not know the cluster.
	{
		name:      "the cluster has another domain",
		script:    "exists: nxdomain zone=.\nA kubernetes.default.svc.cluster.local: nxdomain zone=.\nPTR " + api + ": kubernetes.default.svc.corp.example",
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api,
		causes:    "cluster-domain",
		line:      `the cluster domain is "cluster.local" (from /etc/hosts), but that of 10.96.0.10 is "corp.example": make the kubelet's clusterDomain and the zone in the Corefile the same; for this Pod alone set PODFQDN_CLUSTER_DOMAIN=corp.example`,
	},
	{
		name:      "a foreign server",
		script:    "exists: nxdomain zone=.\nA kubernetes.default.svc.cluster.local: nxdomain zone=.\nPTR " + api + ": nxdomain zone=10.in-addr.arpa",
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api,
		causes:    "dns-policy", line: "10.96.0.10 does not know kubernetes.default.svc.cluster.local either: " + policy,
	},
	{
		name:      "a foreign server that will not say",
		script:    "exists: nxdomain zone=.\nA kubernetes.default.svc.cluster.local: nxdomain zone=.\nPTR " + api + ": refused",
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api,
		causes:    "dns-policy?", line: "10.96.0.10 does not know kubernetes.default.svc.cluster.local either: " + policy,
	},
	{
		name:      "a foreign server that leaves out the SOA",
		script:    "exists: nxdomain\nA kubernetes.default.svc.cluster.local: nxdomain\nPTR " + api + ": nxdomain",
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api,
		causes:    "dns-policy?", line: "10.96.0.10 does not know kubernetes.default.svc.cluster.local either: " + policy,
	},
	{
		name:      "a name of this Pod falls through to a foreign server",
		script:    "exists: nxdomain zone=.\n" + known + "\nexists " + service + ": nxdomain zone=.",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service,
		causes:    "not-ready-hidden? service-missing? selector-mismatch?",
		line:      `10.96.0.10 knows the cluster but lets unknown names fall through; Service "db" has no address in DNS either: ` + see,
	},
	{
		name:      "the claim's evil twin in a PTR is not a cluster domain",
		script:    "exists: nxdomain zone=.\nA kubernetes.default.svc.cluster.local: nxdomain zone=.\nPTR " + api + `: kubernetes.default.svc.\027[31m.example`,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api,
		causes:    "dns-policy?", line: "10.96.0.10 does not know kubernetes.default.svc.cluster.local either: " + policy,
	},

	// The name is there, with other addresses.
	{
		name: "shared", script: "A: 10.244.0.27 10.244.0.28\n" + known + "\nexists " + service + ": nodata\nA " + service + ": 10.244.0.27 10.244.0.28",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		causes:    "hostname-shared", line: "give each Pod its own hostname, and a Deployment strategy: Recreate; or set PODFQDN_FORWARD=contains if several Pods may share this name",
	},
	{
		name: "stale", script: "A: 10.244.0.28 ttl=17s\n" + known + "\nexists " + service + ": nodata\nA " + service + ": 10.244.0.28",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		causes:    "record-stale? hostname-shared?", line: "this may be the address of an earlier Pod; if so, it passes when the Service and the caches have dropped it",
	},
	{
		name: "stale, in a cache", script: "A: 10.244.0.28 ttl=17s cached\n" + known + "\nexists " + service + ": nodata\nA " + service + ": 10.244.0.28",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		causes:    "record-stale? hostname-shared?", line: "the answer is cached until 12:00:17 UTC: this may be the address of an earlier Pod; if so, it passes when the Service and the caches have dropped it",
	},
	{
		name: "poisoned", script: "A: nxdomain zone=cluster.local ttl=23s cached\n" + known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, A kubernetes.default.svc.cluster.local, A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		causes:    "denial-cached", line: "the denial is cached until 12:00:23 UTC: this passes then if it is from before the record existed; if it comes back, something denies A on purpose",
	},
	{
		name: "poisoned, for who knows how long", script: "A: nxdomain\n" + known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, A kubernetes.default.svc.cluster.local, A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		causes:    "denial-cached? family-withheld?", line: "this passes if a cache keeps the denial from before the record existed; if it comes back, something denies A on purpose",
	},
	{
		name: "denied again when the TTL has run out", script: "A: nxdomain zone=cluster.local ttl=23s cached renewed\n" + known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: strings.Repeat("A kubernetes.default.svc.cluster.local, ", 3) + "exists " + service + ", A " + service,
		causes:    "family-withheld?", line: "something may deny A on purpose: find what answers A before cluster DNS does: a DNS policy, or a template in the Corefile, which must have rcode NOERROR",
	},
	{
		name: "denied with less than the full TTL", script: "A: nxdomain zone=cluster.local ttl=23s full=30s\n" + known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: strings.Repeat("A kubernetes.default.svc.cluster.local, ", 3) + "exists " + service + ", A " + service,
		causes:    "denial-cached? family-withheld?", line: "the denial may be cached until 12:00:23 UTC: this passes if a cache keeps the denial from before the record existed; if it comes back, something denies A on purpose",
	},
	{
		name: "a denied family, and all is wanted", ips: dual, policy: identity.Policy{Families: identity.FamiliesAll},
		script:    "AAAA: nxdomain\nAAAA kubernetes.default.svc.cluster.local: nxdomain\n" + known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4 + "\nAAAA " + service + ": nxdomain",
		witnesses: strings.Repeat("AAAA kubernetes.default.svc.cluster.local, A kubernetes.default.svc.cluster.local, ", 2) + "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service + ", AAAA " + service,
		causes:    "family-withheld", line: "waiting does not help: find what answers AAAA before cluster DNS does: a DNS policy, or a template in the Corefile, which must have rcode NOERROR; or set PODFQDN_FAMILIES=ipv4, but programs that use musl (Alpine) will still not resolve the name",
	},
	{
		name: "a denied family in a cache, and all is wanted", ips: dual, policy: identity.Policy{Families: identity.FamiliesAll},
		script:    "AAAA: nxdomain zone=cluster.local ttl=23s cached\nAAAA kubernetes.default.svc.cluster.local: nxdomain\n" + known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4 + "\nAAAA " + service + ": nxdomain",
		witnesses: strings.Repeat("AAAA kubernetes.default.svc.cluster.local, A kubernetes.default.svc.cluster.local, ", 2) + "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service + ", AAAA " + service,
		causes:    "denial-cached", line: "the denial is cached until 12:00:23 UTC: this passes then if it is from before the record existed; if it comes back, something denies AAAA on purpose",
	},
	{
		name: "one family is missing", ips: dual, policy: identity.Policy{Families: identity.FamiliesAll},
		script:    "AAAA: nodata\n" + known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4 + "\nAAAA " + service + ": nodata",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service + ", AAAA " + service,
		causes:    "single-family?", line: "check whether the Service has this family (ipFamilyPolicy), or set PODFQDN_FAMILIES",
	},
	{
		name: "one family is missing, and others have it", ips: dual, policy: identity.Policy{Families: identity.FamiliesAll},
		script:    "AAAA: nodata\n" + known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4 + "\nAAAA " + service + ": fd00:10:244::7",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service + ", AAAA " + service,
		causes:    "dns-lag?", line: `Service "db" has addresses of this family, but not this Pod's: check that this Pod is in the Service's EndpointSlice of this family; if so, this passes once cluster DNS has it`,
	},

	// The server does not say.
	{
		name: "silent", script: "exists: silent\nA kubernetes.default.svc.cluster.local: silent",
		witnesses: "A kubernetes.default.svc.cluster.local", causes: "dns-silent?",
		line: "check that cluster DNS runs and that no NetworkPolicy blocks this Pod from it on port 53, UDP and TCP",
	},
	{
		name: "fails", script: "exists: servfail\nexists kubernetes.default.svc.cluster.local: servfail\nA kubernetes.default.svc.cluster.local: servfail\nexists " + service + ": servfail",
		witnesses: strings.Repeat("exists kubernetes.default.svc.cluster.local, A kubernetes.default.svc.cluster.local, ", 2) + "A kubernetes.default.svc.cluster.local, " + "exists " + service, causes: "dns-fails",
		line: "cluster DNS answers with an error: read its log, and check whether it reaches the API server and its upstream",
	},
	{
		name: "refuses", script: "exists: refused\nA: refused\nA kubernetes.default.svc.cluster.local: refused\nexists " + service + ": refused",
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service, causes: "dns-fails? dns-policy?",
		line: "cluster DNS answers with an error: read its log, and check whether it reaches the API server and its upstream",
	},
	{
		name: "two rounds on two sockets hear two things", script: "exists: nodata | nxdomain zone=cluster.local\n" + known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service + ", PTR " + ip4,
		causes:    "replicas-disagree? hostname-missing?",
		line:      "10.96.0.10 says no data to one socket and NXDOMAIN to another, so several replicas behind it disagree, or the record has just changed: check that all replicas of cluster DNS can reach the API server; if one only lags, this passes",
	},

	{
		name: "two replicas, one of them poisoned", script: "A: " + ip4 + " | nxdomain zone=cluster.local ttl=9s cached\n" + known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		causes:    "denial-cached replicas-disagree?",
		line:      "the denial is cached until 12:00:09 UTC: this passes then if it is from before the record existed; if it comes back, something denies A on purpose",
	},

	// The reverse.
	{
		name: "another Service adds a PTR", policy: identity.Policy{Reverse: identity.ReverseOnly}, script: "PTR 10.244.0.27: " + name4 + " " + vip4 + "\n" + known + "\nPTR " + api + ": kubernetes.default.svc.cluster.local\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "second-service", line: "Service \"db-vip\" in namespace \"default\" selects this Pod too and adds " + vip4 + ": narrow its selector, or set PODFQDN_REVERSE=contains",
	},
	{
		name: "another Pod of the Service adds a PTR", policy: identity.Policy{Reverse: identity.ReverseOnly}, script: "PTR 10.244.0.27: " + name4 + " db-7.db.default.svc.cluster.local\n" + known + "\nPTR " + api + ": kubernetes.default.svc.cluster.local\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "record-stale?", line: "find out what has the name db-7.db.default.svc.cluster.local: an earlier Pod with this address, another Pod on the node's network, or something in front of cluster DNS; or set PODFQDN_REVERSE=contains",
	},
	{
		name: "only another name", script: "PTR 10.244.0.27: " + vip4 + "\n" + known + "\nPTR " + api + ": kubernetes.default.svc.cluster.local\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "record-stale? subdomain-mismatch?", line: "this may be the name of an earlier Pod with this address; if so, it passes when the caches have dropped it",
	},
	{
		name: "no PTR, and none of the API server", script: "PTR 10.244.0.27: nxdomain zone=.\n" + known + "\nPTR " + api + ": nxdomain zone=.\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "reverse-zone-missing",
		line:      "the API server's own address 10.96.0.1 has no PTR either: make the Corefile's kubernetes plugin serve in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore",
	},
	{
		name: "no PTR, but one of the API server", script: "PTR 10.244.0.27: nxdomain zone=. ttl=12s cached\n" + known + "\nPTR " + api + ": kubernetes.default.svc.cluster.local\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "denial-cached? reverse-zone-missing?",
		line:      "the answer is cached until 12:00:12 UTC: if the answer is older than the record, this passes when it expires",
	},
	{
		name: "no PTR, denied again when the TTL has run out", script: "PTR 10.244.0.27: nxdomain zone=. ttl=12s cached renewed\n" + known + "\nPTR " + api + ": kubernetes.default.svc.cluster.local\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "reverse-zone-missing?",
		line:      "the Corefile may serve PTR records only for Services: check whether the Corefile's kubernetes plugin serves in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore",
	},
	{
		name: "no PTR for a dashed name", policy: identity.Policy{NameForm: identity.AddressForm}, script: "PTR 10.244.0.27: nxdomain zone=. ttl=12s\n" + known + "\nPTR " + api + ": kubernetes.default.svc.cluster.local\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "reverse-needs-hostname? denial-cached? reverse-zone-missing?",
		line:      "CoreDNS 1.11.4 and 1.12.0 have PTR records only for Pods with a hostname: check which version runs (kubectl -n kube-system get deployment coredns -o wide); if it is one of these, waiting does not help: update CoreDNS, or set spec.hostname and spec.subdomain and leave PODFQDN_NAME_FORM out, or set PODFQDN_REVERSE=ignore",
	},
	{
		name: "an IPv4 address of the API server tells nothing of IPv6", ips: ip6, script: "PTR " + ip6 + ": nxdomain zone=.\n" + known + "\nPTR " + api + ": kubernetes.default.svc.cluster.local\nexists " + service + ": nodata\nAAAA " + service + ": " + ip6,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", AAAA " + service,
		causes:    "reverse-zone-missing? denial-cached?",
		line:      "check whether the Corefile's kubernetes plugin serves in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore",
	},
	{
		name: "an upstream's PTR", script: "PTR 10.244.0.27: ip-10-244-0-27.ec2.internal\n" + known + "\nPTR " + api + ": nxdomain zone=10.in-addr.arpa\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "reverse-zone-missing",
		line:      "the API server's own address 10.96.0.1 has no PTR either: make the Corefile's kubernetes plugin serve in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore",
	},
	{
		name: "an upstream's PTR, and a denial without SOA", script: "PTR 10.244.0.27: ip-10-244-0-27.ec2.internal\n" + known + "\nPTR " + api + ": nxdomain\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "reverse-zone-missing? reverse-overridden? denial-cached?",
		line:      "an upstream resolver may have answered: check whether the Corefile's kubernetes plugin serves in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore",
	},
	{
		name: "hosts in front of kubernetes", script: "PTR 10.244.0.27: node-1\n" + known + "\nPTR " + api + ": kubernetes.default.svc.cluster.local\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "reverse-overridden? reverse-zone-missing? denial-cached?",
		line:      "something in front of cluster DNS may have node-1 for this address: check whether the Corefile's hosts plugin has this address, as NodeHosts of k3s has a node's: remove it or add no_reverse, or set PODFQDN_REVERSE=ignore",
	},
	{
		name: "hosts in front of kubernetes, with a name below the cluster domain", script: "PTR 10.244.0.27: node-1.cluster.local\n" + known + "\nPTR " + api + ": kubernetes.default.svc.cluster.local\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "reverse-overridden? record-stale? subdomain-mismatch?",
		line:      "something in front of cluster DNS may have node-1.cluster.local for this address: check whether the Corefile's hosts plugin has this address, as NodeHosts of k3s has a node's: remove it or add no_reverse, or set PODFQDN_REVERSE=ignore",
	},
	{
		name: "PTR is denied in nobody's name", script: "PTR 10.244.0.27: nxdomain\n" + known + "\nPTR " + api + ": nxdomain\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "reverse-filtered? reverse-zone-missing?",
		line:      "the API server's own address 10.96.0.1 has no PTR either, and that answer has no SOA: a DNS policy in between may deny PTR: allow *.in-addr.arpa and *.ip6.arpa there, or set PODFQDN_REVERSE=ignore",
	},
	{
		name: "PTR has an empty answer", script: "PTR 10.244.0.27: nodata\n" + known + "\nPTR " + api + ": nodata zone=10.in-addr.arpa\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "reverse-filtered? reverse-zone-missing?",
		line:      "the API server's own address 10.96.0.1 has no PTR either: a DNS policy in between may deny PTR: allow *.in-addr.arpa and *.ip6.arpa there, or set PODFQDN_REVERSE=ignore",
	},
	{
		name: "PTR of the Pod alone has an empty answer", script: "PTR 10.244.0.27: nodata\n" + known + "\nPTR " + api + ": kubernetes.default.svc.cluster.local\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "denial-cached? reverse-zone-missing? reverse-filtered?",
		line:      "the answer may be cached: if the answer is older than the record, this passes when it expires",
	},
	{
		name: "the PTR has the name in another cluster domain", script: "PTR 10.244.0.27: db-0.db.default.svc.corp.example\n" + known + "\nPTR " + api + ": kubernetes.default.svc.corp.example\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, PTR " + api + ", exists " + service + ", A " + service,
		causes:    "cluster-domain",
		line:      `cluster DNS has "corp.example" as its first domain: put this Pod's cluster domain first in the Corefile's kubernetes plugin, or set PODFQDN_CLUSTER_DOMAIN=corp.example`,
	},
	{
		name: "PTR is refused", script: "PTR 10.244.0.27: refused\n" + known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4,
		witnesses: "A kubernetes.default.svc.cluster.local, exists " + service + ", A " + service,
		causes:    "reverse-refused", line: "check whether a DNS policy refuses PTR or the Corefile does not serve it: allow in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore",
	},
}

func TestDiagnosePutsTheLikeliestCauseFirstAndMarksGuesses(t *testing.T) {
	for _, d := range scenes {
		t.Run(d.name, d.run)
	}
}

func (d scene) run(t *testing.T) {
	if d.ips == "" {
		d.ips = ip4
	}
	spec := podtest.DB0
	facts, err := identity.Look(spec.Files("cluster.local", strings.Split(d.ips, ",")...),
		identity.Given{PodIPs: d.ips, FQDN: d.fqdn, Kubernetes: api}, nil)
	if err != nil {
		t.Fatal(err)
	}
	d.policy.Rounds = 1
	claim, err := facts.Claim(d.policy)
	if err != nil {
		t.Fatal(err)
	}
	s := podtest.Agreeing(t, claim).Script(d.script)
	report, err := diagnosis.Examine(t.Context(), s, facts, claim, 0)
	if s.Closed != len(s.Rounds) {
		t.Errorf("%d of %d exchanges were closed", s.Closed, len(s.Rounds))
	}
	var witnesses []string
	for _, f := range report.Findings() {
		if f.Witness && f.Kind != identity.Sibling {
			witnesses = append(witnesses, s.Spell(f.Question))
			if f.Verdict != "" {
				t.Errorf("a witness has the verdict %s", f.Verdict)
			}
		}
	}
	if got := strings.Join(witnesses, ", "); got != d.witnesses {
		t.Errorf("witnesses\n%s, not\n%s", got, d.witnesses)
	}
	causes := diagnosis.Causes(facts, claim, report, err)
	if got := kinds(causes); got != d.causes {
		t.Errorf("causes %s, not %s", got, d.causes)
	}
	if len(causes) == 0 {
		return
	}
	if got := causes[0].String(); got != d.line || causes[0].Command != d.command {
		t.Errorf("got  %s\nwant %s\nand by %s, not %s", got, d.line, causes[0].Command, d.command)
	}
	for i, c := range causes {
		if checkCause(t, c); i > 0 && c.Command != "" {
			t.Errorf("%s has the command %s", c.Kind, c.Command)
		}
	}
	// After a short wait no witness was asked; there is a cause all the same.
	if causes := diagnosis.Causes(facts, claim, nil, err); len(causes) == 0 {
		t.Error("without a report there is no cause")
	}
}

// kinds returns the causes in short, "a? b": a guess has a question mark.
func kinds(causes []diagnosis.Cause) string {
	var all []string
	for _, c := range causes {
		s := string(c.Kind)
		if c.Guess {
			s += "?"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

// checkCause holds a cause to its form.
func checkCause(t *testing.T, c diagnosis.Cause) {
	t.Helper()
	for _, text := range []string{c.Why, c.Change} {
		if text == "" || strings.HasSuffix(text, ".") || strings.Contains(text, `""`) ||
			strings.ContainsFunc(text+c.Command, func(r rune) bool { return r < ' ' && r != '\n' || r > '~' }) {
			t.Errorf("%s: %+q", c.Kind, c)
		}
	}
}

// A question is only ever put plainly where the name has just been shown, but
// for what always exists and what nobody else asks.
func TestAWitnessIsNotAskedPlainlyBeforeItIsSeen(t *testing.T) {
	for _, d := range scenes {
		before, plainly := strings.Index(d.witnesses, "exists "+service), strings.Index(d.witnesses, "A "+service)
		if plainly >= 0 && (before < 0 || before > plainly) {
			t.Errorf("%s: %s", d.name, d.witnesses)
		}
		// Nor is the PTR of the Pod's own address, whose denial would be cached too.
		if reverse := strings.Index(d.witnesses, "PTR "+ip4); reverse >= 0 && (plainly < 0 || plainly > reverse) {
			t.Errorf("%s: %s", d.name, d.witnesses)
		}
	}
}

// A port on which nothing listens is that of a sidecar that is not running yet, or of
// a Service without Pods; one server that answers shows that it is neither.
func TestDNSThatIsCapturedRefusesEveryPacketOfEveryServer(t *testing.T) {
	claim := db0(identity.Policy{})
	refused := func(server string) identity.Finding {
		return identity.Finding{Verdict: identity.Unanswered, Answer: identity.Answer{Is: identity.Silent, Server: netip.MustParseAddrPort(server),
			Question: identity.Question{Name: claim.Name()}, Shown: shown.Answer{Wire: "nothing (connection refused)"}}}
	}
	const first, second = "10.96.0.10:53", "10.96.0.11:53"
	lost, answered := refused(first), refused(second)
	lost.Shown = shown.Answer{Wire: "nothing within 1s"}
	answered.Is, answered.Shown = identity.Denied, shown.Answer{Wire: "NXDOMAIN"}
	for _, test := range []struct {
		what     string
		findings []identity.Finding
		want     string
	}{
		{"all, always", []identity.Finding{refused(second), refused(first)}, "dns-captured? dns-silent?"},
		{"one only was asked", []identity.Finding{refused(first)}, "dns-silent?"},
		{"a packet was lost before", []identity.Finding{lost, refused(second), refused(first)}, "dns-silent?"},
		{"one has answered", []identity.Finding{answered, refused(first)}, "dns-silent?"},
	} {
		facts := identity.Facts{Nameservers: []netip.AddrPort{netip.MustParseAddrPort(first), netip.MustParseAddrPort(second)}}
		causes := diagnosis.Causes(facts, claim, identity.Report{{Findings: test.findings}}, &identity.Mismatch{Finding: refused(first)})
		if got := kinds(causes); got != test.want {
			t.Errorf("%s: %s, not %s", test.what, got, test.want)
		}
		if causes[0].Kind == diagnosis.DNSCaptured && causes[0].Why != "every packet to 10.96.0.10 and 10.96.0.11 was refused: cluster DNS has no ready Pod, or a mesh captures DNS for a sidecar that is not running yet" {
			t.Error(causes[0].Why)
		}
		for _, c := range causes {
			checkCause(t, c)
		}
	}
}

func TestTheCommandForTheLaptopHasNoForeignText(t *testing.T) {
	for want, f := range map[string]identity.Facts{
		"kubectl podfqdn doctor -n default db-0":  {PodName: "db-0", Namespace: identity.Fact{Value: "default"}},
		"kubectl podfqdn doctor -n default POD":   {PodName: "x; reboot", Namespace: identity.Fact{Value: "default"}},
		"kubectl podfqdn doctor -n NAMESPACE POD": {Namespace: identity.Fact{Value: "$(reboot)"}},
	} {
		if got := diagnosis.Doctor(f); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

func TestAnotherNameOfTheAddressSaysWhoseItIs(t *testing.T) {
	claim := db0(identity.Policy{})
	s := podtest.Agreeing(t, claim).Script("PTR " + ip4 + ": " + vip4)
	_, report, err := identity.Verify(t.Context(), s, claim, 0)
	causes := diagnosis.Causes(identity.Facts{}, claim, report, err)
	const want = `cluster DNS has this address only in Service "db-vip" in namespace "default"`
	if got := kinds(causes); got != "record-stale? subdomain-mismatch?" || causes[1].Why != want {
		t.Errorf("%s: %+v", got, causes)
	}
}

func TestADashedNameMayBeThatOfAPodWithHostname(t *testing.T) {
	policy := identity.Policy{NameForm: identity.AddressForm}
	claim := db0(policy)
	s := podtest.Agreeing(t, claim).Script("exists: nxdomain zone=cluster.local")
	_, report, err := identity.Verify(t.Context(), s, claim, identity.Instead)
	causes := diagnosis.Causes(identity.Facts{}, claim, report, err)
	if want := see + "; if the Pod has spec.hostname, leave PODFQDN_NAME_FORM out"; causes[0].String() != want {
		t.Errorf("got  %s\nwant %s", causes[0], want)
	}
}

func TestARefusalIsItsOwnDiagnosis(t *testing.T) {
	for pod, want := range map[string]diagnosis.Kind{
		"statefulset-without-service-name":      diagnosis.NoSubdomain,
		"deployment-plain":                      diagnosis.NoSubdomain,
		"pod-name-with-dots":                    diagnosis.NoHostname,
		"no-hostname-anywhere":                  diagnosis.NoHostname,
		"hostnetwork-untold":                    diagnosis.HostNetwork,
		"hostname-override":                     diagnosis.HostnameOverride,
		"no-nameserver":                         diagnosis.ForeignDNS,
		"no-resolv-conf":                        diagnosis.ForeignDNS,
		"dnspolicy-none-with-hostname-override": diagnosis.ClusterDomain,
		"nameserver-variable-that-is-a-name":    diagnosis.Misconfigured,
		"fqdn-of-one-label":                     diagnosis.Misconfigured,
		"families-not-of-this-pod":              diagnosis.Misconfigured,
		"address-that-is-none":                  diagnosis.Misconfigured,
	} {
		p, ok := corpus(t)[pod]
		if !ok {
			t.Errorf("no Pod %s", pod)
			continue
		}
		facts, err := p.Look(t)
		if err == nil {
			_, err = facts.Claim(p.Policy)
		}
		for _, err := range []error{err, fmt.Errorf("podfqdn: %w", err)} { // in words of its caller's
			if got := diagnosis.Causes(facts, identity.Claim{}, nil, err); len(got) == 0 || got[0].Kind != want || got[0].Guess {
				t.Errorf("%s: %s, not %s", pod, kinds(got), want)
			}
		}
	}
}

func TestEveryRefusalOfTheCorpusIsACauseWithAChange(t *testing.T) {
	for name, p := range corpus(t) {
		if p.Refusal == "" {
			continue
		}
		facts, err := p.Look(t)
		if err == nil {
			_, err = facts.Claim(p.Policy)
		}
		var said []string
		for _, c := range diagnosis.Causes(facts, identity.Claim{}, nil, err) {
			checkCause(t, c)
			if c.Kind == diagnosis.Unexplained {
				t.Errorf("%s: %s", name, c)
			}
			said = append(said, c.String())
		}
		if got := strings.Join(said, "\n"); got != err.Error() {
			t.Errorf("%s: the causes say\n%s, not\n%v", name, got, err)
		}
		// What could be seen is told all the same.
		if len(diagnosis.Facts(facts)) < 5 {
			t.Errorf("%s: seen %v", name, diagnosis.Facts(facts))
		}
	}
}

func TestAnErrorThatIsNeitherRefusalNorMismatchIsNotExplained(t *testing.T) {
	got := diagnosis.Causes(identity.Facts{}, identity.Claim{}, nil, errors.New("read /etc/hosts: permission denied"))
	if kinds(got) != "unexplained" || got[0].Why != "read /etc/hosts: permission denied" {
		t.Errorf("%+v", got)
	}
	if got := diagnosis.Causes(identity.Facts{}, identity.Claim{}, nil, nil); got != nil {
		t.Errorf("%+v", got)
	}
}

func TestASilentServerIsAskedForTheNameAndForOneThatExists(t *testing.T) {
	claim := db0(identity.Policy{})
	s := podtest.Agreeing(t, claim).Script("exists: silent\nA kubernetes.default.svc.cluster.local: silent")
	if _, err := diagnosis.Examine(t.Context(), s, identity.Facts{}, claim, 0); err == nil || s.Asked() != "exists, A kubernetes.default.svc.cluster.local" {
		t.Errorf("asked %s: %v", s.Asked(), err)
	}
	s.Refuses = errors.New("network is unreachable")
	report, err := diagnosis.Examine(t.Context(), s, identity.Facts{}, claim, 0)
	if err == nil || len(report) != 1 || len(s.Rounds) != 1 {
		t.Errorf("asked %s: %v, %v", s.Asked(), report, err)
	}
	asked := diagnosis.Questions(report, podtest.Nameserver, claim)
	if len(asked) != 1 || asked[0].Server != podtest.Nameserver.String() || asked[0].Answer != "network is unreachable" || asked[0].Type != "" {
		t.Errorf("%+v", asked)
	}
}

func TestWithoutTheAPIServersAddressAnotherClusterDomainIsAGuess(t *testing.T) {
	claim := db0(identity.Policy{})
	s := podtest.Agreeing(t, claim).Script("exists: nxdomain zone=.\nA kubernetes.default.svc.cluster.local: nxdomain zone=.")
	facts := identity.Facts{ClusterDomain: identity.Fact{Value: "cluster.local", From: "/etc/hosts"}}
	report, err := diagnosis.Examine(t.Context(), s, facts, claim, 0)
	causes := diagnosis.Causes(facts, claim, report, err)
	if got := kinds(causes); got != "dns-policy? cluster-domain?" || !strings.Contains(causes[1].Why, `the cluster domain may not be "cluster.local" (from /etc/hosts)`) {
		t.Errorf("%s: %+v", got, causes)
	}
}

func TestAnExaminationThatIsCutOffReturnsWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(identity.Policy{})
		s := podtest.Agreeing(t, claim)
		s.Latency = time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		start := time.Now()
		report, err := diagnosis.Examine(ctx, s, identity.Facts{}, claim, 0)
		if !errors.Is(err, context.DeadlineExceeded) || len(report.Findings()) != 6 || time.Since(start) != 5500*time.Millisecond {
			t.Errorf("after %v: %v, %v", time.Since(start), report, err)
		}
		// And in the middle of the witnesses.
		s.Script(known + "\nexists " + service + ": nodata\nA " + service + ": " + ip4)
		ctx, cancel = context.WithTimeout(t.Context(), 11500*time.Millisecond)
		defer cancel()
		report, err = diagnosis.Examine(ctx, s, identity.Facts{}, claim, 0)
		if err != nil || len(report.Findings()) != 11 || !report.Findings()[10].Witness {
			t.Errorf("%v, %v", report, err)
		}
	})
}

func TestAnotherServersWitnessesAreNoEvidence(t *testing.T) {
	claim := db0(identity.Policy{})
	facts := identity.Facts{Kubernetes: netip.MustParseAddr(api)}
	first := podtest.Agreeing(t, claim).Script("exists: nxdomain zone=cluster.local")
	_, report, err := identity.Verify(t.Context(), first, claim, identity.Instead)
	var m *identity.Mismatch
	if !errors.As(err, &m) {
		t.Fatal(err)
	}
	other := podtest.Agreeing(t, claim).Script("A kubernetes.default.svc.cluster.local: nxdomain zone=.\nPTR " + api + ": nxdomain")
	report = append(report, diagnosis.Witnesses(t.Context(), ported{other}, facts, claim, m))
	if got := diagnosis.Causes(facts, claim, report, err)[0].String(); got != see {
		t.Errorf("got  %s\nwant %s", got, see)
	}
}

func TestTheFactsAreShownWithWhereTheyComeFromAndWhatIsAbsent(t *testing.T) {
	show := func(p podtest.Case) string {
		facts, _ := p.Look(t)
		var lines []string
		for _, s := range diagnosis.Facts(facts) {
			lines = append(lines, fmt.Sprintf("%s: %s (%s)", s.Name, s.Value, s.From))
		}
		return strings.Join(lines, "\n")
	}
	pods := corpus(t)
	for name, want := range map[string][]string{
		"statefulset-without-service-name": {
			"governing Service:  (neither PODFQDN_SERVICE nor spec.subdomain in /etc/hosts)",
		},
		"hostname-override":          {"hostnameOverride: ", "hostname:  (neither PODFQDN_HOSTNAME nor /etc/hosts)"},
		"hostnetwork-untold":         {"hostNetwork: true (/etc/hosts)"},
		"nameserver-that-is-a-name":  {"ignored: ", "nameservers:  (/etc/resolv.conf)"},
		"no-address":                 {"addresses:  (neither POD_IPS nor POD_IP nor /etc/hosts)"},
		"dual-stack-ipv4-primary":    {"addresses: 10.244.0.27 fd00:10:244::1b (/etc/hosts)", "options: ndots:5 (/etc/resolv.conf)"},
		"fqdn-outside-the-zone":      {"whole name: "},
		"nameserver-with-scope":      {"nameservers: "},
		"pod-ip-contradicts-pod-ips": {"nameservers: 10.96.0.10 (/etc/resolv.conf)"},
	} {
		got := show(pods[name])
		for _, line := range want {
			if !slices.ContainsFunc(strings.Split(got, "\n"), func(l string) bool { return strings.HasPrefix(l, line) }) {
				t.Errorf("%s: no %q in\n%s", name, line, got)
			}
		}
	}
}

func TestAVerdictHasItsCauseWhateverElseIsKnown(t *testing.T) {
	for verdict, want := range map[identity.Verdict]string{identity.Unsettled: "replicas-disagree", "unheard of": "unexplained"} {
		m := &identity.Mismatch{Finding: identity.Finding{Verdict: verdict}}
		causes := diagnosis.Causes(identity.Facts{}, identity.Claim{}, nil, m)
		if kinds(causes) != want {
			t.Errorf("%s: causes %s, not %s", verdict, kinds(causes), want)
		}
		for _, c := range causes {
			checkCause(t, c)
		}
	}
}

func TestTheFactsShowRareOnes(t *testing.T) {
	files := podtest.DB0.Files("cluster.local", ip4)
	files["etc/resolv.conf"].Data = append(files["etc/resolv.conf"].Data, "\noptions use-vc\n"...)
	facts, err := identity.Look(files, identity.Given{Kubernetes: api}, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := diagnosis.Facts(facts)
	for _, want := range []diagnosis.Seen{{Name: "API server", Value: api, From: "KUBERNETES_SERVICE_HOST"}, {Name: "options", Value: "ndots:5 use-vc", From: "/etc/resolv.conf"}} {
		if !slices.Contains(seen, want) {
			t.Errorf("no %+v in %+v", want, seen)
		}
	}
}

func TestWithoutAnExchangeThereAreNoWitnesses(t *testing.T) {
	claim := db0(identity.Policy{})
	closed := resolverFunc(func(context.Context) (identity.Exchange, error) { return nil, errors.New("too many open files") })
	if round := diagnosis.Witnesses(t.Context(), closed, identity.Facts{}, claim, nil); len(round.Findings) > 0 {
		t.Errorf("%+v", round)
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

// resolverFunc is a Resolver of one func.
type resolverFunc func(context.Context) (identity.Exchange, error)

func (f resolverFunc) Open(ctx context.Context) (identity.Exchange, error) { return f(ctx) }

// What a variable says is compared with what the kubelet wrote before DNS is suspected; nothing is patched then.
func TestAVariableThatContradictsTheKubeletComesFirst(t *testing.T) {
	for name, test := range map[string]struct {
		given identity.Given
		want  string
		why   string
		line  string // the command for a laptop
	}{
		"none":            {identity.Given{}, "not-ready-hidden? service-missing? selector-mismatch?", "", "kubectl podfqdn doctor -n default POD"},
		"the same":        {identity.Given{PodNamespace: "default", Service: "DB", Hostname: "db-0"}, "not-ready-hidden? service-missing? selector-mismatch?", "", "kubectl podfqdn doctor -n default POD"},
		"another one's":   {identity.Given{PodNamespace: "prod"}, "configuration? not-ready-hidden? service-missing? selector-mismatch?", `POD_NAMESPACE says "prod", but /etc/hosts, which the kubelet writes, says "default"`, "kubectl podfqdn doctor -n NAMESPACE POD"},
		"another Service": {identity.Given{Service: "database"}, "subdomain-mismatch? not-ready-hidden? service-missing? selector-mismatch?", `PODFQDN_SERVICE says "database", but /etc/hosts, which the kubelet writes, says "db"`, "kubectl podfqdn doctor -n default POD"},
		"another name":    {identity.Given{Hostname: "db-1"}, "configuration? not-ready-hidden? service-missing? selector-mismatch?", `PODFQDN_HOSTNAME says "db-1", but /etc/hosts, which the kubelet writes, says "db-0"`, "kubectl podfqdn doctor -n default POD"},
	} {
		test.given.Kubernetes = api
		facts, err := identity.Look(podtest.DB0.Files("cluster.local", ip4), test.given, nil)
		if err != nil {
			t.Fatal(err)
		}
		claim, err := facts.Claim(identity.Policy{Rounds: 1})
		if err != nil {
			t.Fatal(err)
		}
		of, namespace := claim.Service()
		s := podtest.Agreeing(t, claim).Script("exists: nxdomain zone=cluster.local\nexists " + of + "." + namespace + ".svc.cluster.local: nxdomain zone=cluster.local\n" + known)
		report, err := diagnosis.Examine(t.Context(), s, facts, claim, 0)
		causes := diagnosis.Causes(facts, claim, report, err)
		if got := kinds(causes); got != test.want || test.why != "" && causes[0].Why != test.why {
			t.Errorf("%s: %s: %+v", name, got, causes[0])
		}
		for _, c := range causes {
			if (c.Command != "") != (test.why == "" && c.Kind == diagnosis.NotReadyHidden) {
				t.Errorf("%s: %s has command %q", name, c.Kind, c.Command)
			}
		}
		if got := diagnosis.Doctor(facts); got != test.line {
			t.Errorf("%s: %s, not %s", name, got, test.line)
		}
	}
}

// A Pod cannot see whether a StatefulSet makes its Pods in order: that is a guess, and only where nothing speaks against it.
func TestTheMissingPeersShowWhetherTheWaitMayNeverEnd(t *testing.T) {
	set := func(of string, ordinals ...int) (all []string) {
		for _, n := range ordinals {
			all = append(all, fmt.Sprintf("%s-%d.db.default.svc.cluster.local", of, n))
		}
		return all
	}
	denied := &identity.Mismatch{Finding: identity.Finding{Verdict: identity.Missing}}
	for name, test := range map[string]struct {
		own     string
		missing []string
		why     error // of the first
		want    string
		change  string // of peers-missing, in part
	}{
		"only higher ordinals":          {"db-1", set("db", 2, 3), denied, "peers-deadlock? peers-missing", "whether these Pods run"},
		"a lower one too":               {"db-1", set("db", 0, 2), denied, "peers-missing", "whether these Pods run"},
		"another set's too":             {"db-1", append(set("db", 2), set("jn", 3)...), denied, "peers-missing", ""},
		"another Service's":             {"db-1", []string{"db-2.journal.default.svc.cluster.local"}, denied, "peers-missing", ""},
		"a name outside the cluster":    {"db-1", []string{"db-2.example.com"}, denied, "peers-missing", "its own zone"},
		"no ordinal":                    {"db-1", []string{"db-x.db.default.svc.cluster.local"}, denied, "peers-missing", ""},
		"zeros in front":                {"db-1", []string{"db-02.db.default.svc.cluster.local"}, denied, "peers-missing", ""},
		"this Pod has none":             {"db", set("db", 2), denied, "peers-missing", ""},
		"nobody was asked for yet":      {"db-1", nil, nil, "peers-missing", "nothing yet"},
		"the name, and another PTR":     {"db-1", set("db", 0), &identity.Mismatch{Finding: identity.Finding{Verdict: identity.ReverseOther}}, "peers-missing", "PODFQDN_REVERSE=ignore"},
		"a cache denies the address":    {"db-1", set("db", 0), &identity.Mismatch{Finding: identity.Finding{Verdict: identity.Poisoned}}, "peers-missing", "this passes if a cache"},
		"the server does not answer":    {"db-1", set("db", 0), &identity.Mismatch{Finding: identity.Finding{Verdict: identity.Unanswered}}, "peers-missing", "why cluster DNS does not answer"},
		"higher ones, and no answer":    {"db-0", set("db", 1), &identity.Mismatch{Finding: identity.Finding{Verdict: identity.Unanswered}}, "peers-missing", ""},
		"higher ones, and another PTR":  {"db-0", set("db", 1), &identity.Mismatch{Finding: identity.Finding{Verdict: identity.ReverseOther}}, "peers-missing", ""},
		"nothing is known of the first": {"db-1", set("db", 0), errors.New("it is missing"), "peers-missing", "whether these Pods run"},
	} {
		claim := podtest.Claim(podtest.DB0.Files("cluster.local", ip4), identity.Given{Hostname: test.own}, identity.Policy{})
		u := &identity.Unreached{Err: errors.New("1 of 2 needed peers is in DNS")}
		if test.why != nil {
			u.Err = fmt.Errorf("1 of 2 needed peers is in DNS (%w)", test.why)
		}
		for _, text := range test.missing {
			peer, err := identity.ParseName(text)
			if err != nil {
				t.Fatal(err)
			}
			u.Names = append(u.Names, peer)
		}
		m := identity.NotYet(identity.Peerless, u, 0)
		causes := diagnosis.Causes(identity.Facts{}, claim, nil, m)
		if got := kinds(causes); got != test.want {
			t.Errorf("%s: %s, not %s", name, got, test.want)
			continue
		}
		for _, c := range causes {
			checkCause(t, c)
		}
		last := causes[len(causes)-1]
		if last.Why != m.Error() || !strings.Contains(last.Change, test.change) || last.String() != last.Change {
			t.Errorf("%s: %+v", name, last)
		}
	}
}
