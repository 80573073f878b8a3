package identity_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// Whatever stands in a variable or a file, a refusal stays one line of ASCII.
func TestRefusalsEscapeForeignText(t *testing.T) {
	const evil = "a\nb\x1b[31m\u00e9"
	good := podtest.DB0
	for _, test := range []struct {
		name  string
		given identity.Given
		file  string // "PATH: TEXT" in place of the good one
		want  string
	}{
		{name: "hostname", given: identity.Given{Hostname: evil},
			want: `the hostname "a\nb\x1b[31m\u00e9" (from PODFQDN_HOSTNAME) cannot be part of a DNS name: the label "a\nb\x1b[31m\u00e9" contains "\n"; only letters, digits and hyphens are allowed: set PODFQDN_HOSTNAME`},
		{name: "Service", given: identity.Given{Service: evil},
			want: `the governing Service "a\nb\x1b[31m\u00e9" (from PODFQDN_SERVICE) cannot be part of a DNS name: the label "a\nb\x1b[31m\u00e9" contains "\n"; only letters, digits and hyphens are allowed: set PODFQDN_SERVICE`},
		{name: "namespace", given: identity.Given{PodNamespace: evil},
			want: `the namespace "a\nb\x1b[31m\u00e9" (from POD_NAMESPACE) cannot be part of a DNS name: the label "a\nb\x1b[31m\u00e9" contains "\n"; only letters, digits and hyphens are allowed: set POD_NAMESPACE`},
		{name: "namespace without zone", given: identity.Given{PodNamespace: evil, PodIPs: ip4, Hostname: "db-0", Service: "db"}, file: "etc/hosts: ",
			want: `the namespace "a\nb\x1b[31m\u00e9" (from POD_NAMESPACE) cannot be part of a DNS name: the label "a\nb\x1b[31m\u00e9" contains "\n"; only letters, digits and hyphens are allowed: set POD_NAMESPACE`},
		{name: "cluster domain", given: identity.Given{ClusterDomain: evil},
			want: `the cluster domain (from PODFQDN_CLUSTER_DOMAIN): "a\nb\x1b[31m\u00e9" is not a DNS name: the label "a\nb\x1b[31m\u00e9" contains "\n"; only letters, digits and hyphens are allowed: set PODFQDN_CLUSTER_DOMAIN, usually cluster.local`},
		{name: "cluster domain in addition to the whole name", given: identity.Given{ClusterDomain: evil, FQDN: name4},
			want: `the cluster domain (from PODFQDN_CLUSTER_DOMAIN): "a\nb\x1b[31m\u00e9" is not a DNS name: the label "a\nb\x1b[31m\u00e9" contains "\n"; only letters, digits and hyphens are allowed: set PODFQDN_CLUSTER_DOMAIN, usually cluster.local`},
		{name: "the whole name", given: identity.Given{FQDN: evil},
			want: `PODFQDN_FQDN: "a\nb\x1b[31m\u00e9" is not a DNS name: the label "a\nb\x1b[31m\u00e9" contains "\n"; only letters, digits and hyphens are allowed: write a name such as db-0.db.default.svc.cluster.local`},
		{name: "addresses", given: identity.Given{PodIPs: evil},
			want: `POD_IPS="a\nb\x1b[31m\u00e9": "a\nb\x1b[31m\u00e9" is not an IP address: set POD_IPS from status.podIPs`},
		{name: "an address with a scope", given: identity.Given{PodIP: "fd00::1%" + evil},
			want: `POD_IP="fd00::1%a\nb\x1b[31m\u00e9": "fd00::1%a\nb\x1b[31m\u00e9" is valid only on one link: set POD_IP from status.podIP`},
		{name: "two addresses of different variables", given: identity.Given{PodIP: "10.1.2.3,10.1.2.4", PodIPs: ip4},
			want: `POD_IP="10.1.2.3,10.1.2.4" is not among POD_IPS="10.244.0.27": set POD_IPS from status.podIPs and leave POD_IP out`},
		{name: "a value that is not an address, next to addresses", given: identity.Given{PodIP: evil, PodIPs: ip4},
			want: `POD_IP="a\nb\x1b[31m\u00e9": "a\nb\x1b[31m\u00e9" is not an IP address: set POD_IP from status.podIP`},
		{name: "an ordinal", given: identity.Given{PodOrdinal: evil},
			want: `POD_ORDINAL="a\nb\x1b[31m\u00e9" is not a whole number from 0 to 2147483647 without leading zeros: set POD_ORDINAL from metadata.labels['apps.kubernetes.io/pod-index'], or leave it out`},
		{name: "nameservers", given: identity.Given{Nameservers: evil},
			want: `PODFQDN_NAMESERVERS="a\nb\x1b[31m\u00e9": "a\nb\x1b[31m\u00e9" is not a nameserver address: write ADDRESS, ADDRESS:PORT or [IPV6]:PORT`},
		{name: "a nameserver with a strange scope", given: identity.Given{Nameservers: "fe80::1%" + evil},
			want: `PODFQDN_NAMESERVERS="fe80::1%a\nb\x1b[31m\u00e9": "fe80::1%a\nb\x1b[31m\u00e9" is not a nameserver address: write ADDRESS, ADDRESS:PORT or [IPV6]:PORT`},
		{name: "a nameserver in resolv.conf", file: "etc/resolv.conf: nameserver a\x1b[31m\u00e9",
			want: `/etc/resolv.conf: nameserver "a\x1b[31m\u00e9" is not an IP address: correct the Pod's dnsConfig.nameservers, or set PODFQDN_NAMESERVERS`},
		{name: "a nameserver with a strange scope in resolv.conf", file: "etc/resolv.conf: nameserver fe80::1%\x1b[31m\u00e9",
			want: `/etc/resolv.conf: nameserver "fe80::1%\x1b[31m\u00e9" is not an IP address: correct the Pod's dnsConfig.nameservers, or set PODFQDN_NAMESERVERS`},
		{name: "an override", file: "etc/hosts: " + podtest.Managed + ip4 + "\tcaf\u00e9.example\n",
			want: `/etc/hosts says only "caf\u00e9.example": spec.hostnameOverride hides the name that DNS publishes (or the Pod's name has dots): set PODFQDN_HOSTNAME and PODFQDN_SERVICE to spec.hostname and spec.subdomain`},
		{name: "a namespace file", given: identity.Given{Service: "db"}, file: "var/run/secrets/kubernetes.io/serviceaccount/namespace: " + evil,
			want: ""}, // the kubelet's own line says it better
	} {
		t.Run(test.name, func(t *testing.T) {
			root := good.Files("cluster.local", ip4)
			if path, text, ok := strings.Cut(test.file, ": "); ok {
				root[path] = &fstest.MapFile{Data: []byte(text)}
				if text == "" {
					delete(root, path)
				}
			}
			_, err := claimOf(root, test.given)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			checkRefusal(t, err)
		})
	}
}

// The interfaces are the system's; when they cannot be read, no field of the
// spec is to blame.
func TestLookSaysWhyTheInterfacesCannotBeRead(t *testing.T) {
	root := fstest.MapFS{"etc/resolv.conf": {Data: []byte("nameserver 10.96.0.10\n")}}
	_, err := identity.Look(root, identity.Given{}, func() ([]netip.Addr, error) { return nil, errors.New("netlink: permission denied") })
	const want = "read the addresses of the network interfaces: netlink: permission denied"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Who must correct two things is told of both at once.
func TestLookReportsAddressesAndNameserversTogether(t *testing.T) {
	_, err := identity.Look(fstest.MapFS{}, identity.Given{PodIP: "10.1.2", Nameservers: "dns"}, nil)
	const want = `POD_IP="10.1.2": "10.1.2" is not an IP address: set POD_IP from status.podIP` + "\n" +
		`PODFQDN_NAMESERVERS="dns": "dns" is not a nameserver address: write ADDRESS, ADDRESS:PORT or [IPV6]:PORT`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	checkRefusal(t, err)
}

func TestEnumerateShowsAtMostSix(t *testing.T) {
	var names []identity.Name
	for _, want := range []string{
		"", "a", "a and b", "a, b and c", "a, b, c and d", "a, b, c, d and e", "a, b, c, d, e and f",
		"a, b, c, d, e and 2 more", "a, b, c, d, e and 3 more",
	} {
		if got := identity.Enumerate(names); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		names = append(names, identity.WireName(string(rune('a'+len(names)))))
	}
}
