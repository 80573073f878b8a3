package identity_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// published returns the name under which DNS knows such a Pod behind a Service
// (endpointslice util, ShouldSetHostname; CoreDNS, endpointHostname).
func published(p podtest.Pod, service, clusterDomain, ip string) string {
	label := strings.ReplaceAll(ip, ".", "-")
	if p.Hostname != "" && p.Subdomain == service {
		label = p.Hostname
	}
	return label + "." + service + "." + p.Namespace + ".svc." + clusterDomain
}

// The table of KEP-4762, every combination of the five fields that make a
// Pod's name, with the corrections of the code: a subdomain without hostname
// is published under the dashed name, and hostnameOverride changes nothing in
// DNS.
func TestEveryCombinationOfHostnameFieldsIsClaimedOrRefused(t *testing.T) {
	const (
		ip         = "10.244.0.27"
		named      = "claims aa.bb.default.svc.cluster.local or else 10-244-0-27.bb.default.svc.cluster.local"
		podNamed   = "claims pod-x.bb.default.svc.cluster.local or else 10-244-0-27.bb.default.svc.cluster.local"
		noService  = "refuses: this Pod has no governing Service: set spec.subdomain (spec.serviceName in a StatefulSet) to the name of a headless Service that selects it, or set PODFQDN_SERVICE; if it is already set, a virtual cluster's syncer may have emptied it: set PODFQDN_SERVICE"
		overridden = `refuses: /etc/hosts says only "cc.example.org": spec.hostnameOverride hides the name that DNS publishes (or the Pod's name has dots): set PODFQDN_HOSTNAME and PODFQDN_SERVICE to spec.hostname and spec.subdomain`
		ofTheNode  = "refuses: this Pod has hostNetwork: true and sees the node's files, not its own: set PODFQDN_HOSTNAME to spec.hostname and PODFQDN_SERVICE to spec.subdomain"
		forbidden  = "forbidden by the API"
	)
	rows := []struct {
		hostname, subdomain, asFQDN, override, hostNetwork int
		want                                               string
	}{
		{0, 0, 0, 0, 0, noService},
		{1, 0, 0, 0, 0, noService},
		{0, 1, 0, 0, 0, podNamed}, // the KEP: published as pod-x.bb
		{1, 1, 0, 0, 0, named},
		{0, 0, 1, 0, 0, noService},
		{1, 0, 1, 0, 0, noService},
		{0, 1, 1, 0, 0, podNamed}, // the KEP: published as pod-x.bb
		{1, 1, 1, 0, 0, named},
		{0, 0, 0, 1, 0, overridden},
		{1, 0, 0, 1, 0, overridden},
		{0, 1, 0, 1, 0, overridden}, // the KEP: published as pod-x.bb
		{1, 1, 0, 1, 0, overridden},
		{0, 0, 1, 1, 0, forbidden},
		{1, 0, 1, 1, 0, forbidden},
		{0, 1, 1, 1, 0, forbidden},
		{1, 1, 1, 1, 0, forbidden},
		{0, 0, 0, 0, 1, ofTheNode},
		{1, 0, 0, 0, 1, ofTheNode},
		{0, 1, 0, 0, 1, ofTheNode}, // the KEP: published as pod-x.bb
		{1, 1, 0, 0, 1, ofTheNode},
		{0, 0, 1, 0, 1, ofTheNode},
		{1, 0, 1, 0, 1, ofTheNode},
		{0, 1, 1, 0, 1, ofTheNode}, // the KEP: published as pod-x.bb
		{1, 1, 1, 0, 1, ofTheNode},
		{0, 0, 0, 1, 1, forbidden},
		{1, 0, 0, 1, 1, forbidden},
		{0, 1, 0, 1, 1, forbidden},
		{1, 1, 0, 1, 1, forbidden},
		{0, 0, 1, 1, 1, forbidden},
		{1, 0, 1, 1, 1, forbidden},
		{0, 1, 1, 1, 1, forbidden},
		{1, 1, 1, 1, 1, forbidden},
	}
	if len(rows) != 32 {
		t.Fatalf("%d rows", len(rows))
	}
	for i, row := range rows {
		if n := row.hostname | row.subdomain<<1 | row.asFQDN<<2 | row.override<<3 | row.hostNetwork<<4; n != i {
			t.Fatalf("row %d is row %d", i, n)
		}
		spec := podtest.Pod{Name: "pod-x", Namespace: "default", AsFQDN: row.asFQDN == 1, HostNetwork: row.hostNetwork == 1}
		if row.hostname == 1 {
			spec.Hostname = "aa"
		}
		if row.subdomain == 1 {
			spec.Subdomain = "bb"
		}
		if row.override == 1 {
			spec.Override = "cc.example.org"
		}
		if (row.want == forbidden) != spec.Forbidden() {
			t.Errorf("row %d: forbidden is %t", i, spec.Forbidden())
		}
		if spec.Forbidden() {
			continue
		}
		root := spec.Files("cluster.local", ip)
		given := identity.Given{PodIPs: ip}
		claim, err := claimOf(root, given)
		got := ""
		if err != nil {
			got = "refuses: " + err.Error()
			checkRefusal(t, err)
		} else {
			got = fmt.Sprintf("claims %s or else %s", claim.Name(), show(claim.Instead()))
		}
		if got != row.want {
			t.Errorf("row %d:\ngot  %s\nwant %s", i, got, row.want)
		}

		// What a refusal says to set leads to what DNS publishes, and so does
		// every claim, or else to the name that is looked out for.
		given.Hostname, given.Service = spec.Hostname, "bb"
		if given.Hostname == "" && err != nil {
			continue // only possible with spec.Hostname
		}
		claim, err = claimOf(root, given)
		if err != nil {
			t.Errorf("row %d with its variables: %v", i, err)
			continue
		}
		published := published(spec, "bb", "cluster.local", ip)
		if got := append(claim.Instead(), claim.Name()); !strings.Contains(" "+show(got)+",", " "+published+",") {
			t.Errorf("row %d: DNS publishes %s, of which %s knows nothing", i, published, show(got))
		}
	}
}

func claimOf(root fstest.MapFS, given identity.Given) (identity.Claim, error) {
	facts, err := identity.Look(root, given, nil)
	if err != nil {
		return identity.Claim{}, err
	}
	return facts.Claim(identity.Policy{})
}

// KEP-4762 speaks of 64 characters, and the API lets them pass.
func TestAnOverrideOf64CharactersArrivesAs63(t *testing.T) {
	spec := podtest.Pod{Name: "pod-x", Namespace: "default", Override: strings.Repeat("a", 52) + ".example.org"}
	_, err := claimOf(spec.Files("cluster.local", "10.244.0.27"), identity.Given{})
	const want = `/etc/hosts says only "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.or": spec.hostnameOverride hides the name that DNS publishes (or the Pod's name has dots): set PODFQDN_HOSTNAME and PODFQDN_SERVICE to spec.hostname and spec.subdomain`
	if len(spec.Override) != 64 || err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// The kubelet cuts a Pod's long name wherever its 63rd character stands, and
// takes trailing hyphens and dots away.
func TestThePodsNameShowsEveryCutName(t *testing.T) {
	for _, name := range []string{
		strings.Repeat("a", 64),
		strings.Repeat("a", 62) + "-b",
		strings.Repeat("a", 60) + "---b",
		strings.Repeat("a-", 40) + "b",
		strings.Repeat("a", 253),
	} {
		spec := podtest.Pod{Name: name, Namespace: "default", Subdomain: "bb"}
		_, err := claimOf(spec.Files("cluster.local", "10.244.0.27"), identity.Given{PodName: name})
		want := fmt.Sprintf("the hostname %q is the Pod's name cut to 63 characters, and DNS does not publish it: set spec.hostname, or PODFQDN_NAME_FORM=address if a name that changes with the address will do", podtest.Truncated(name))
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		checkRefusal(t, err)
	}
	// A hostname of its own is not a cut name, however the Pod's name begins.
	for _, hostname := range []string{"a", strings.Repeat("a", 62), strings.Repeat("a", 63)} {
		spec := podtest.Pod{Name: hostname + strings.Repeat("b", 64), Namespace: "default", Subdomain: "bb", Hostname: hostname}
		claim, err := claimOf(spec.Files("cluster.local", "10.244.0.27"), identity.Given{PodName: spec.Name})
		if hostname == podtest.Truncated(spec.Name) {
			continue // cannot be told apart, and DNS would say the same of both
		}
		if err != nil || claim.Name().String() != hostname+".bb.default.svc.cluster.local" {
			t.Errorf("got %v, %v", claim.Name(), err)
		}
	}
}
