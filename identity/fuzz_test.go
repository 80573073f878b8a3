package identity_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// In addition to the seeds that the targets add from the corpus of Pods and from the
// contract, each has some in testdata/fuzz.
func TestEveryFuzzTargetHasSeeds(t *testing.T) {
	text, err := os.ReadFile("fuzz_test.go")
	if err != nil {
		t.Fatal(err)
	}
	targets := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllStringSubmatch(string(text), -1)
	if len(targets) < 5 {
		t.Fatalf("%d targets", len(targets))
	}
	for _, target := range targets {
		seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", target[1], "*"))
		if err != nil || len(seeds) == 0 {
			t.Errorf("%s has no seeds: %v", target[1], err)
		}
	}
	if hosts, confs := filesOf(t, "etc/hosts"), filesOf(t, "etc/resolv.conf"); len(hosts) < 20 || len(confs) < 5 {
		t.Errorf("%d hosts files and %d of resolv.conf in the corpus", len(hosts), len(confs))
	}
}

// filesOf returns the different files of one path in the corpus of Pods.
func filesOf(t testing.TB, path string) (texts []string) {
	for _, p := range corpus(t) {
		if f := p.Root[path]; f != nil && !slices.Contains(texts, string(f.Data)) {
			texts = append(texts, string(f.Data))
		}
	}
	return texts
}

// What a hosts file says of a Pod, written down as the kubelet would, says the
// same again; and it never says anything of an address that no Pod has.
func FuzzHosts(f *testing.F) {
	for _, text := range filesOf(f, "etc/hosts") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines, hostNetwork := identity.HostsLines(text)
		if hostNetwork && len(lines) > 0 {
			t.Errorf("the node's lines: %q", lines)
		}
		again := podtest.Managed
		for _, line := range lines {
			word, rest, _ := strings.Cut(line, " ")
			addr, err := netip.ParseAddr(word)
			if err != nil || identity.CheckOwn(addr) != nil || addr.Is4In6() || rest == "" || strings.Contains(rest, "#") {
				t.Errorf("line %q: %v", line, err)
			}
			again += line + "\n"
		}
		if !hostNetwork {
			if got, _ := identity.HostsLines(again); !slices.Equal(got, lines) {
				t.Errorf("got %q, then %q", lines, got)
			}
		}
		if below := again + aliases + "10.9.8.7 below\n"; !hostNetwork {
			if got, _ := identity.HostsLines(below); !slices.Equal(got, lines) {
				t.Errorf("got %q, with HostAliases %q", lines, got)
			}
		}
		// No hosts file makes a claim that is not a name, nor a refusal that says nothing.
		root := fstest.MapFS{
			"etc/hosts":       {Data: []byte(text)},
			"etc/resolv.conf": {Data: []byte("search default.svc.cluster.local\nnameserver 10.96.0.10\n")},
		}
		synctest.Test(t, func(t *testing.T) { // Look waits for a file that is not whole
			claim, err := claimOf(root, identity.Given{PodIPs: "10.244.0.27", PodNamespace: "default"})
			if err != nil {
				checkRefusal(t, err)
			} else if !hostName(claim.Name().String()) {
				t.Errorf("claims %q", claim.Name())
			}
		})
	})
}

// A resolv.conf never has more than glibc would use, and its settings
// written down give the same settings again.
func FuzzResolvConf(f *testing.F) {
	for _, text := range filesOf(f, "etc/resolv.conf") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := identity.ParseResolvConf(text)
		if len(c.Nameservers) > 3 || c.Ndots < 0 || c.Ndots > 15 {
			t.Errorf("beyond the caps: %+v", c)
		}
		if again := identity.ParseResolvConf(printResolvConf(c)); !reflect.DeepEqual(again, c) {
			t.Errorf("got  %+v\nthen %+v", c, again)
		}
		root := fstest.MapFS{"etc/resolv.conf": {Data: []byte(text)}}
		if _, err := identity.Look(root, identity.Given{PodIPs: "10.244.0.27"}, nil); err != nil {
			checkRefusal(t, err)
		}
	})
}

func printResolvConf(c identity.ResolvConf) string {
	var b strings.Builder
	if len(c.Search) > 0 {
		b.WriteString("search " + strings.Join(c.Search, " ") + "\n")
	}
	for _, word := range c.Ignored {
		b.WriteString("nameserver " + word + "\n")
	}
	for _, server := range c.Nameservers {
		b.WriteString("nameserver " + server.Addr().String() + "\n")
	}
	b.WriteString("options ndots:" + decimal(c.Ndots))
	if c.UseVC {
		b.WriteString(" use-vc")
	}
	return b.String()
}

func decimal(n int) string {
	text, _ := json.Marshal(n)
	return string(text)
}

// label is one of RFC 1123, 2.1: letters, digits and inner hyphens.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// hostName reports whether text is a host name in lower case without root dot.
func hostName(text string) bool {
	if len(text) > 253 {
		return false
	}
	for part := range strings.SplitSeq(text, ".") {
		if !label.MatchString(part) {
			return false
		}
	}
	return true
}

// A name is accepted exactly where it is a host name but for case and root
// dot, and prints as one that is accepted and prints the same.
func FuzzName(f *testing.F) {
	for _, p := range corpus(f) {
		f.Add(p.Given.FQDN)
		f.Add(p.Given.ClusterDomain)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lower := func(c rune) rune {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			return c
		}
		want := strings.Map(lower, strings.TrimSuffix(text, "."))
		name, err := identity.ParseName(text)
		if (err == nil) != hostName(want) {
			t.Fatalf("%q becomes %q, %v", text, name, err)
		}
		if err != nil {
			if !name.IsZero() || strings.ContainsFunc(err.Error(), func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("%q becomes %q, %q", text, name, err)
			}
			return
		}
		if name.String() != want {
			t.Errorf("%q becomes %q", text, name)
		}
		if again, err := identity.ParseName(name.String()); err != nil || again != name {
			t.Errorf("%q becomes %q, then %q, %v", text, name, again, err)
		}
		if identity.WireName(text) != name {
			t.Errorf("%q becomes %q, on the wire %q", text, name, identity.WireName(text))
		}
	})
}

// Whatever can be claimed is written so that the kubelet reads it.
func FuzzEnvFile(f *testing.F) {
	for _, p := range corpus(f) {
		g := p.Given
		f.Add(g.FQDN, g.Hostname, g.Service, g.PodNamespace, g.ClusterDomain, g.PodIPs, g.PodUID)
	}
	f.Add("", "db-0", "db", "default", "cluster.local", dual, "0b6f1c0e")
	f.Fuzz(func(t *testing.T, fqdn, hostname, service, namespace, domain, ips, uid string) {
		root := fstest.MapFS{"etc/resolv.conf": {Data: []byte("nameserver 10.96.0.10\n")}}
		given := identity.Given{
			FQDN: fqdn, Hostname: hostname, Service: service, PodNamespace: namespace,
			ClusterDomain: domain, PodIPs: ips, PodUID: uid,
		}
		claim, err := claimOf(root, given)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		checkEnv(t, rendered(t, claim))
	})
}

// Nothing in an identity.json makes Keeps panic, and nothing is kept that does not
// say what ours does: it may have been proven by other rules, and have been written
// by another version, which knows more, or by one that was not told the UID.
func FuzzKeeps(f *testing.F) {
	for _, test := range contract {
		f.Add(string(file(rendered(f, db0(f, test.policy, test.ips, test.fqdn)), "identity.json")))
	}
	policy := identity.Policy{Rounds: 2}
	claim := db0(f, policy, dual, "")
	files := rendered(f, claim)
	at := slices.IndexFunc(files, func(f identity.File) bool { return f.Name == "identity.json" })
	f.Add(strings.Replace(string(files[at].Data), "{", `{"more": [{}],`, 1))
	var want map[string]any
	if err := json.Unmarshal(files[at].Data, &want); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		files := slices.Clone(files)
		files[at].Data = []byte(text)
		if _, err := claim.Keeps(files); err == nil {
			var has map[string]any
			if err := json.Unmarshal([]byte(text), &has); err != nil || !strings.HasSuffix(text, "}\n") {
				t.Fatalf("kept %s, %v", text, err)
			}
			for name, value := range want {
				other, there := has[name]
				if name == "podUID" && (other == nil || other == "") || name == "verified" && there {
					continue
				}
				if !reflect.DeepEqual(other, value) {
					t.Errorf("kept %s", text)
				}
			}
		}
		// Alone it is never a generation.
		if _, err := claim.Keeps(files[at : at+1]); err == nil {
			t.Errorf("kept alone: %s", text)
		}
	})
}

// FuzzGiven: whatever the environment says of a Pod comes to a name and its own
// addresses, or to sentences for people.
func FuzzGiven(f *testing.F) {
	f.Add("10.244.0.27", "", "", "", "", "", "", "default")
	f.Add("10.244.0.27,fd00::1", "fd00::1", "", "db-0", "db", "cluster.local", "10.96.0.10, [fd00::a]:53", "")
	f.Fuzz(func(t *testing.T, ips, ip, fqdn, hostname, service, domain, nameservers, namespace string) {
		root := fstest.MapFS{
			"etc/hosts":       {Data: []byte(podtest.Managed + "10.244.0.27\tdb-0.db.default.svc.cluster.local\tdb-0\n")},
			"etc/resolv.conf": {Data: []byte("search default.svc.cluster.local\nnameserver 10.96.0.10\n")},
		}
		claim, err := claimOf(root, identity.Given{
			PodIPs: ips, PodIP: ip, FQDN: fqdn, Hostname: hostname, Service: service, ClusterDomain: domain, Nameservers: nameservers, PodNamespace: namespace,
		})
		if err != nil {
			checkRefusal(t, err)
			for line := range strings.Lines(err.Error()) {
				if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("%q would reach a terminal", line)
				}
			}
			return
		}
		if !hostName(claim.Name().String()) {
			t.Errorf("claims %q", claim.Name())
		}
		for i, addr := range claim.Addrs() {
			if err := identity.CheckOwn(addr); err != nil || i > 0 && addr.Is4() == claim.Addrs()[0].Is4() {
				t.Errorf("claims %v: %v", claim.Addrs(), err)
			}
		}
	})
}
