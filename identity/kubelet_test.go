package identity_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/podfqdn/podfqdn/identity"
)

// podSpec is what of a Pod's spec the kubelet makes names of.
type podSpec struct {
	name, namespace     string
	hostname, subdomain string
	asFQDN              bool // setHostnameAsFQDN
	override            string
	hostNetwork         bool
}

// forbidden reports whether the API refuses such a Pod
// (pkg/apis/core/validation, validatePodHostName).
func (s podSpec) forbidden() bool { return s.override != "" && (s.asFQDN || s.hostNetwork) }

// names gives the hostname and the domain, as the kubelet does
// (pkg/kubelet/kubelet_pods.go, GeneratePodHostNameAndDomain).
func (s podSpec) names(clusterDomain string) (hostname, domain string) {
	if s.override == "" && s.subdomain != "" {
		domain = s.subdomain + "." + s.namespace + ".svc." + clusterDomain
	}
	return truncated(cmp.Or(s.override, s.hostname, s.name)), domain
}

// truncated is truncatePodHostnameIfNeeded of the same file.
func truncated(hostname string) string {
	if len(hostname) > 63 {
		return strings.TrimRight(hostname[:63], "-.")
	}
	return hostname
}

// files gives the files that the kubelet and the runtime make for such a Pod
// (managedHostsFileContent, nodeHostsFileContent; GetNodenameForKernel).
func (s podSpec) files(clusterDomain string, ips ...string) fstest.MapFS {
	hostname, domain := s.names(clusterDomain)
	hosts := "# Kubernetes-managed hosts file.\n" +
		"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
	for _, ip := range ips {
		line := ip + "\t" + hostname
		if domain != "" {
			line = ip + "\t" + hostname + "." + domain + "\t" + hostname
		}
		hosts += line + "\n"
	}
	if s.asFQDN && domain != "" {
		hostname += "." + domain
	}
	if s.hostNetwork {
		hosts = "# Kubernetes-managed hosts file (host network).\n127.0.0.1\tlocalhost\n192.168.7.21\tnode-7\n"
		hostname = "node-7"
	}
	return fstest.MapFS{
		"etc/hosts":    {Data: []byte(hosts)},
		"etc/hostname": {Data: []byte(hostname + "\n")},
		"etc/resolv.conf": {Data: []byte(fmt.Sprintf(
			"search %[1]s.svc.%[2]s svc.%[2]s %[2]s\nnameserver 10.96.0.10\noptions ndots:5\n", s.namespace, clusterDomain))},
		"var/run/secrets/kubernetes.io/serviceaccount/namespace": {Data: []byte(s.namespace)},
	}
}

// published gives the name under which DNS knows such a Pod behind a Service
// (endpointslice util, ShouldSetHostname; CoreDNS, endpointHostname).
func (s podSpec) published(service, clusterDomain, ip string) string {
	label := strings.ReplaceAll(ip, ".", "-")
	if s.hostname != "" && s.subdomain == service {
		label = s.hostname
	}
	return label + "." + service + "." + s.namespace + ".svc." + clusterDomain
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
		noService  = "refuses: this Pod has no governing Service: set spec.subdomain (spec.serviceName in a StatefulSet) to the name of a headless Service that selects it, or PODFQDN_SERVICE"
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
		spec := podSpec{name: "pod-x", namespace: "default", asFQDN: row.asFQDN == 1, hostNetwork: row.hostNetwork == 1}
		if row.hostname == 1 {
			spec.hostname = "aa"
		}
		if row.subdomain == 1 {
			spec.subdomain = "bb"
		}
		if row.override == 1 {
			spec.override = "cc.example.org"
		}
		if (row.want == forbidden) != spec.forbidden() {
			t.Errorf("row %d: forbidden is %t", i, spec.forbidden())
		}
		if spec.forbidden() {
			continue
		}
		root := spec.files("cluster.local", ip)
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

		// What a refusal tells to set leads to what DNS publishes, and so does
		// every claim, or else to the name that is looked out for.
		given.Hostname, given.Service = spec.hostname, "bb"
		if given.Hostname == "" && err != nil {
			continue // not to be had but by spec.hostname
		}
		claim, err = claimOf(root, given)
		if err != nil {
			t.Errorf("row %d with its variables: %v", i, err)
			continue
		}
		published := spec.published("bb", "cluster.local", ip)
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
	spec := podSpec{name: "pod-x", namespace: "default", override: strings.Repeat("a", 52) + ".example.org"}
	_, err := claimOf(spec.files("cluster.local", "10.244.0.27"), identity.Given{})
	const want = `/etc/hosts says only "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.or": spec.hostnameOverride hides the name that DNS publishes (or the Pod's name has dots): set PODFQDN_HOSTNAME and PODFQDN_SERVICE to spec.hostname and spec.subdomain`
	if len(spec.override) != 64 || err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// The kubelet cuts a Pod's long name wherever its 63rd character stands, and
// takes trailing hyphens and dots away.
func TestEveryCutNameIsToldByThePodsName(t *testing.T) {
	for _, name := range []string{
		strings.Repeat("a", 64),
		strings.Repeat("a", 62) + "-b",
		strings.Repeat("a", 60) + "---b",
		strings.Repeat("a-", 40) + "b",
		strings.Repeat("a", 253),
	} {
		spec := podSpec{name: name, namespace: "default", subdomain: "bb"}
		_, err := claimOf(spec.files("cluster.local", "10.244.0.27"), identity.Given{PodName: name})
		want := fmt.Sprintf("the hostname %q is the Pod's name cut to 63 characters, and DNS does not publish it: set spec.hostname, or PODFQDN_NAME_FORM=address if a name that changes with the address will do", truncated(name))
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		checkRefusal(t, err)
	}
	// A hostname of its own is no cut name, however the Pod's name begins.
	for _, hostname := range []string{"a", strings.Repeat("a", 62), strings.Repeat("a", 63)} {
		spec := podSpec{name: hostname + strings.Repeat("b", 64), namespace: "default", subdomain: "bb", hostname: hostname}
		claim, err := claimOf(spec.files("cluster.local", "10.244.0.27"), identity.Given{PodName: spec.name})
		if hostname == truncated(spec.name) {
			continue // cannot be told apart, and DNS would say the same of both
		}
		if err != nil || claim.Name().String() != hostname+".bb.default.svc.cluster.local" {
			t.Errorf("got %v, %v", claim.Name(), err)
		}
	}
}
