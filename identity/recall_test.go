package identity_test

import (
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// identityOf returns the files that a Pod publishes.
func identityOf(t *testing.T, spec podtest.Pod, given identity.Given, ips ...string) []identity.File {
	t.Helper()
	return rendered(t, podtest.Claim(spec.Files("cluster.local", ips...), given, identity.Policy{}))
}

// recalled says "kept", or why files are not the identity of the Pod.
func recalled(root fstest.MapFS, given identity.Given, p identity.Policy, ifaces []string, files []identity.File) string {
	var see func() ([]netip.Addr, error)
	if ifaces != nil {
		see = func() (addrs []netip.Addr, err error) {
			for _, a := range ifaces {
				addrs = append(addrs, netip.MustParseAddr(a))
			}
			return addrs, nil
		}
	}
	facts, err := identity.Recall(root, given, see, files)
	if err != nil {
		return "mistake: " + err.Error()
	}
	claim, err := facts.Claim(p)
	if err != nil {
		return "refused: " + err.Error()
	}
	if _, err := claim.Keeps(files); err != nil {
		return err.Error()
	}
	return "kept"
}

// An identity stands whatever others write into the Pod's files, as long as
// these do not make it another Pod's.
func TestAPublishedIdentityIsRecalledWhateverTheFilesSay(t *testing.T) {
	const (
		ip, ip6 = "10.244.0.27", "fd00:10:244::1b"
		full    = "10.244.0.27\tdb-0.db.default.svc.cluster.local\tdb-0\n"
		other   = `it is for another name, "db-0.db.default.svc.cluster.local"`
	)
	own := podtest.Hosts("db-0.db.default.svc.cluster.local\tdb-0", ip, ip6)
	head := podtest.Hosts("")
	for _, test := range []struct {
		name   string
		hosts  string // "-": none
		resolv string // "": the kubelet's; "-": none
		self   string // "": db-0; "-": none
		kernel string // "": none
		given  identity.Given
		ifaces []string
		want   string // a part
	}{
		{name: "as it was", hosts: own},
		{name: "a peer appended", hosts: own + "10.244.0.28 db-1\n"},
		{name: "a peer appended without newline", hosts: own + "10.244.0.28 db-1.db.default.svc.cluster.local db-1"},
		{name: "peers above", hosts: head + "10.244.0.28 db-1.db.default.svc.cluster.local db-1\n" + full},
		{name: "HostAliases and more", hosts: own + aliases + "10.244.0.28 db-1\n10.9.9.9 db-0\n"},
		{name: "the own line twice", hosts: own + full + full},
		{name: "CR LF", hosts: strings.ReplaceAll(own+"10.244.0.28 db-1\n", "\n", "\r\n")},
		{name: "own names on loopback", hosts: own + "127.0.0.1 db-0\n127.0.1.1 db-0.db.default.svc.cluster.local db-0\n"},
		{name: "one family of two", hosts: head + full},
		{name: "the short name only", hosts: head + ip + " db-0\n"},
		{name: "the own line last, without newline", hosts: head + strings.TrimSuffix(full, "\n")},
		{name: "the own line half", hosts: head + "10.244.0.27\tdb-0.db.def"},
		{name: "the own address under another name", hosts: head + ip + " mydb.example.org mydb\n", given: identity.Given{PodIPs: ip + "," + ip6}},
		{name: "without the kubelet's first line", hosts: "127.0.0.1 localhost\n" + full + "10.244.0.28 db-1\n"},
		{name: "emptied", hosts: ""},
		{name: "missing", hosts: "-"},
		{name: "emptied, with interfaces", hosts: "", ifaces: []string{"127.0.0.1", ip, ip6, "fe80::1"}},
		{name: "emptied, with a second network", hosts: "", ifaces: []string{ip, ip6, "192.168.90.4"}},
		{name: "emptied, and no hostname, with interfaces", hosts: "", self: "-", ifaces: []string{ip, ip6}},
		{name: "emptied, and a hostname that is qualified", hosts: "", self: "db-0.db.default.svc.cluster.local"},
		{name: "emptied, and no hostname but the Pod's name", hosts: "", self: "-", given: identity.Given{PodName: "db-0"}},
		{name: "peers only", hosts: head + "10.244.0.28 db-1.db.default.svc.cluster.local db-1\n"},
		{name: "a second address under the own hostname", hosts: own + "192.168.90.4 db-0\n"},
		{name: "a peer appended, and no hostname", hosts: own + "10.244.0.28 db-1\n", self: "-"},
		{name: "a foreign address under the own hostname, with interfaces", hosts: head + "10.96.7.7 db-0\n", ifaces: []string{ip, ip6}},
		{name: "a changed hostname file, and the kernel's hostname", hosts: "", self: "db-1", kernel: "db-0", ifaces: []string{ip, ip6}},
		{name: "the own UID and nothing else", hosts: "", self: "-", given: identity.Given{PodUID: "1"}},
		{name: "interfaces that cannot be read, and the own UID", hosts: "", given: identity.Given{PodUID: "1"}, ifaces: []string{}},
		{name: "a UID, and the published identity has none", hosts: own, given: identity.Given{PodUID: "none"}},
		{name: "no UID, and the published identity has one", hosts: own, given: identity.Given{PodName: "told"}},
		{name: "resolv.conf emptied", hosts: own, resolv: "\n"},
		{name: "resolv.conf of comments", hosts: own, resolv: "# nothing\n; nothing\n"},
		{name: "resolv.conf missing", hosts: own, resolv: "-"},
		{name: "resolv.conf without address", hosts: own, resolv: "nameserver dns.example\n"},
		{name: "both emptied", hosts: "", resolv: "\n"},
		{name: "both missing", hosts: "-", resolv: "-", given: identity.Given{PodIP: ip}},

		{name: "another address", hosts: head + "10.244.0.99\tdb-0.db.default.svc.cluster.local\tdb-0\n", want: "it is for another address, 10.244.0.27"},
		{name: "another address without newline", hosts: head + "10.244.0.99\tdb-0.db.default.svc.cluster.local\tdb-0", want: "it is for another address, 10.244.0.27"},
		{name: "another address, told", hosts: "", given: identity.Given{PodIPs: "10.244.0.99"}, want: "it is for another address, 10.244.0.27"},
		{name: "another primary address, told", hosts: "", given: identity.Given{PodIP: "10.244.0.99"}, want: "it is for another address, 10.244.0.27"},
		{name: "another address of the interfaces", hosts: "", ifaces: []string{"10.244.0.99"}, want: "it is for another address, 10.244.0.27"},
		{name: "a second network, and not the published address", hosts: "", ifaces: []string{"192.168.90.4", "10.244.0.99"}, want: "it is for another address, 10.244.0.27"},
		{name: "the published address, told otherwise", hosts: "", given: identity.Given{PodIP: "10.244.0.99"}, ifaces: []string{ip, ip6}, want: "it is for another address, 10.244.0.27"},
		{name: "no interface", hosts: "", ifaces: []string{}, want: "refused: cannot determine this Pod's addresses"},
		{name: "the own address on one link only", hosts: "", ifaces: []string{"fe80::1", "127.0.0.1"}, want: "refused: cannot determine this Pod's addresses"},
		{name: "one address of two", hosts: "", ifaces: []string{ip}, want: "it is for another address, fd00:10:244::1b"},
		{name: "another line of the own hostname behind", hosts: head + "10.244.0.99\tdb-0.db.default.svc.cluster.local\tdb-0\n" + full, want: "it is for another address, 10.244.0.27"},
		{name: "the own UID at another address", hosts: "", given: identity.Given{PodUID: "1"}, ifaces: []string{"10.244.0.99"}, want: "it is for another address, 10.244.0.27"},
		{name: "another hostname", hosts: "", self: "db-1", want: other},
		{name: "another hostname of the kernel", hosts: own, self: "-", kernel: "db-1", ifaces: []string{ip, ip6}, want: other},
		{name: "another hostname, which lists this one as a peer", hosts: head + "10.244.0.28\tdb-1.db.default.svc.cluster.local\tdb-1\n" + full, self: "db-1", want: other},
		{name: "the same without hostname", hosts: head + "10.244.0.28\tdb-1.db.default.svc.cluster.local\tdb-1\n" + full, self: "-", want: other},
		{name: "another hostname, and only this one's line", hosts: head + full, self: "db-1", want: other},
		{name: "another namespace", hosts: "", given: identity.Given{PodNamespace: "staging"}, want: other},
		{name: "another Service", hosts: "", given: identity.Given{Service: "cache"}, want: other},
		{name: "another UID", hosts: own, given: identity.Given{PodUID: "2"}, want: `it belongs to another Pod, "1"`},
		{name: "nothing to compare with", hosts: "", self: "-", want: "refused: cannot determine this Pod's addresses"},
		{name: "a variable that is none", hosts: own, given: identity.Given{PodIPs: "x"}, want: `mistake: POD_IPS="x"`},
		{name: "nameservers that are none", hosts: own, given: identity.Given{Nameservers: "x"}, want: `mistake: PODFQDN_NAMESERVERS="x"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			uid := map[string]string{"1": "1", "2": "1"}[test.given.PodUID]
			if test.given.PodName == "told" {
				uid = "1"
			}
			files := identityOf(t, podtest.DB0, identity.Given{PodUID: uid}, ip, ip6)
			root := podtest.DB0.Files("cluster.local", ip)
			set := func(path, text, none string) {
				root[path] = &fstest.MapFile{Data: []byte(text)}
				if text == none {
					delete(root, path)
				}
			}
			set("etc/hosts", test.hosts, "-")
			if test.resolv != "" {
				set("etc/resolv.conf", test.resolv, "-")
			}
			if test.self != "" {
				set("etc/hostname", test.self, "-")
			}
			if test.kernel != "" {
				set("proc/sys/kernel/hostname", test.kernel, "")
			}
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				got := recalled(root, test.given, identity.Policy{}, test.ifaces, files)
				if test.want == "" && got != "kept" || !strings.Contains(got, test.want) {
					t.Errorf("got %s, not %s", got, test.want)
				}
				if took := time.Since(start); took > 0 {
					t.Errorf("it waited for %s", took)
				}
			})
		})
	}
}

// With setHostnameAsFQDN the hostname shows the Service and the namespace, whichever Pod had the address before.
func TestAFullHostnameIsAnotherPodsUnlessAllOfItIsTheSame(t *testing.T) {
	files := identityOf(t, podtest.DB0, identity.Given{}, "10.244.0.27")
	for hostname, want := range map[string]string{
		"db-0.db.default.svc.cluster.local":    "kept",
		"db-0.db.staging.svc.cluster.local":    `it is for another name, "db-0.db.default.svc.cluster.local"`,
		"db-0.cache.default.svc.cluster.local": `it is for another name, "db-0.db.default.svc.cluster.local"`,
	} {
		root := fstest.MapFS{"etc/hosts": {}, "etc/hostname": {}, "proc/sys/kernel/hostname": {Data: []byte(hostname + "\n")}}
		if got := recalled(root, identity.Given{}, identity.Policy{}, []string{"10.244.0.27"}, files); got != want {
			t.Errorf("%s: got %s, not %s", hostname, got, want)
		}
	}
}

// A dashed name says nothing of the Pod but its address, so that alone is compared.
func TestADashedIdentityIsRecalledByItsAddress(t *testing.T) {
	dashed := identity.Policy{NameForm: identity.AddressForm}
	spec := podtest.Pod{Name: "web-1", Namespace: "default"}
	given := identity.Given{Service: "web"}
	files := rendered(t, podtest.Claim(spec.Files("cluster.local", "10.244.0.27"), given, dashed))
	root := spec.Files("cluster.local", "10.244.0.27")
	root["etc/hosts"].Data = nil
	for _, test := range []struct {
		given  identity.Given
		ifaces []string
		want   string
	}{
		{identity.Given{Service: "web"}, []string{"10.244.0.27"}, "kept"},
		{identity.Given{Service: "web"}, []string{"10.244.0.28"}, `it is for another name, "10-244-0-27.web.default.svc.cluster.local"`},
		{identity.Given{Service: "web", PodIP: "10.244.0.27"}, nil, "kept"},
		{identity.Given{Service: "web"}, nil, "refused: cannot determine this Pod's addresses: set POD_IPS from status.podIPs"},
	} {
		if got := recalled(root, test.given, dashed, test.ifaces, files); got != test.want {
			t.Errorf("%+v: got %s, not %s", test, got, test.want)
		}
	}
}

// Whatever the files say, an identity is never recalled by a Pod with another
// hostname, nor by its own Pod at another address.
func FuzzRecall(f *testing.F) {
	for _, hosts := range filesOf(f, "etc/hosts") {
		for _, conf := range []string{"", "search default.svc.cluster.local\nnameserver 10.96.0.10\n"} {
			f.Add(hosts, conf)
		}
	}
	f.Fuzz(func(t *testing.T, hosts, conf string) {
		files := rendered(t, podtest.Claim(podtest.DB0.Files("cluster.local", "10.244.0.27"), identity.Given{}, identity.Policy{}))
		root := fstest.MapFS{"etc/hosts": {Data: []byte(hosts)}, "etc/resolv.conf": {Data: []byte(conf)}, "etc/hostname": {Data: []byte("db-1\n")}}
		for _, ifaces := range [][]string{nil, {"10.244.0.27"}, {"10.244.0.28"}} {
			if got := recalled(root, identity.Given{}, identity.Policy{}, ifaces, files); got == "kept" {
				t.Errorf("kept by db-1 with %q", ifaces)
			}
		}
		root["etc/hostname"].Data = []byte("db-0\n")
		root["etc/hosts"].Data = []byte(podtest.Managed + "10.244.0.28\tdb-0.db.default.svc.cluster.local\tdb-0\n" + aliases + hosts)
		if got := recalled(root, identity.Given{}, identity.Policy{}, nil, files); got == "kept" {
			t.Error("kept at another address")
		}
	})
}
