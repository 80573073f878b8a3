//go:build kerberos

package kerberos

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/kerberos"
	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/identity/resolver"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

func TestMain(m *testing.M) {
	if err := Require(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const realmName = "EXAMPLE.COM"

// start starts a realm for a test.
func start(t *testing.T) *Realm {
	t.Helper()
	r, err := Start(t.TempDir(), realmName, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		log, err := r.Stop()
		if err != nil {
			t.Errorf("the KDC ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the KDC's log:\n%s", log)
		}
	})
	return r
}

// offline returns the settings of a realm whose KDC is not needed.
func offline(t *testing.T) *Realm {
	t.Helper()
	r := &Realm{Name: realmName, dir: t.TempDir(), KDC: netip.MustParseAddrPort("127.0.0.1:9")}
	if err := r.configure(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *Realm) must(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	out, err := r.Run(stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

func (r *Realm) admin(t testing.TB, format string, args ...any) {
	t.Helper()
	if err := r.Admin(fmt.Sprintf(format, args...)); err != nil {
		t.Fatal(err)
	}
}

// enctypes are the encryption types that libkrb5 1.20 knows.
var enctypes = []string{
	"aes256-cts", "aes128-cts", "aes256-sha2", "aes128-sha2", "camellia256-cts-cmac", "camellia128-cts-cmac",
	"rc4-hmac", "arcfour-hmac-exp", "des3-cbc-sha1",
}

// added is an entry that ktutil is told to add.
type added struct {
	principal string
	version   uint32
	enctype   string
}

// ktutil has MIT's ktutil write a keytab, and returns its path.
func (r *Realm) ktutil(t testing.TB, entries ...added) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "made.keytab")
	var script strings.Builder
	for i, e := range entries {
		fmt.Fprintf(&script, "addent -password -p %s -k %d -e %s\npassword-%d\n", e.principal, e.version, e.enctype, i)
	}
	fmt.Fprintf(&script, "wkt %s\nquit\n", path)
	if out := r.must(t, script.String(), "ktutil"); strings.Contains(out, " while ") {
		t.Fatalf("ktutil: %s", out)
	}
	return path
}

// entryLine is an entry as klist -ekKt shows it.
var entryLine = regexp.MustCompile(`^ *(\d+) (\d\d/\d\d/\d\d \d\d:\d\d:\d\d) (.*) \((?:DEPRECATED:)?([a-z0-9-]+)\)  \(0x([0-9a-f]+)\)$`)

// klist returns what MIT's klist says of a keytab, keys too.
func (r *Realm) klist(t testing.TB, path string) (entries []string) {
	t.Helper()
	out := r.must(t, "", "klist", "-ekKt", path)
	_, body, ok := strings.Cut(out, "\n---- ")
	if !ok {
		t.Fatalf("klist: %s", out)
	}
	for text := range strings.Lines(body[strings.Index(body, "\n")+1:]) {
		m := entryLine.FindStringSubmatch(strings.TrimSuffix(text, "\n"))
		if m == nil {
			t.Fatalf("klist says %q", text)
		}
		when, err := time.Parse("01/02/06 15:04:05", m[2])
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, fmt.Sprintf("%s, version %s, %s at %d: %s", m[3], m[1], m[4], when.Unix(), m[5]))
	}
	return entries
}

// ours returns what our reader says of the same keytab. It shows no keys: those are compared where they were extracted.
func ours(t testing.TB, data []byte) (entries []string) {
	t.Helper()
	parsed, err := kerberos.ParseKeytab(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range parsed {
		entries = append(entries, fmt.Sprintf("%s, version %d, %s at %d", e.Principal, e.Version, e.Enctype, e.Time))
	}
	return entries
}

// agree wants our reader to read a keytab as klist does.
func (r *Realm) agree(t testing.TB, path string, want int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	theirs := r.klist(t, path)
	for i := range theirs {
		theirs[i], _, _ = strings.Cut(theirs[i], ": ")
	}
	if got := ours(t, data); !slices.Equal(got, theirs) || len(got) != want {
		t.Fatalf("%d entries, want %d\ngot\n%s\nwant\n%s", len(got), want, strings.Join(got[:min(len(got), 20)], "\n"), strings.Join(theirs[:min(len(theirs), 20)], "\n"))
	}
}

// host returns the principal of a Pod, without realm.
func host(n int) string { return fmt.Sprintf("HTTP/db-%d.db.default.svc.cluster.local", n) }

func TestKeytabsOfEveryEncryptionTypeAndKeyVersionAreReadAsKlistReadsThem(t *testing.T) {
	t.Parallel()
	r := offline(t)
	var entries []added
	for _, enctype := range enctypes {
		for _, version := range []uint32{0, 1, 2, 127, 128, 254, 255, 256, 257, 300, 65535, 65536, 1<<31 - 1} {
			entries = append(entries, added{host(0), version, enctype})
		}
	}
	r.agree(t, r.ktutil(t, entries...), len(entries))
}

func TestKeytabsOf1To10000EntriesAreReadAsKlistReadsThem(t *testing.T) {
	t.Parallel()
	r := offline(t)
	var entries []added
	for i := range 100 {
		entries = append(entries, added{host(i), uint32(i), "aes256-cts"})
	}
	for _, n := range []int{1, 10, 100} {
		r.agree(t, r.ktutil(t, entries[:n]...), n)
	}
	// ktutil looks through the whole file for each entry that it writes, so the larger ones are what it wrote, repeatedly.
	data, err := os.ReadFile(r.ktutil(t, entries...))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{10, 100} {
		path := filepath.Join(t.TempDir(), "large.keytab")
		if err := os.WriteFile(path, slices.Concat(data[:2], bytes.Repeat(data[2:], n)), 0o600); err != nil {
			t.Fatal(err)
		}
		r.agree(t, path, 100*n)
	}
}

// ktremove leaves holes; ktadd fills one with a shorter entry, behind which bytes of the hole are left.
func TestHolesAndEntriesThatFillThemAreReadAsKlistReadsThem(t *testing.T) {
	t.Parallel()
	r := start(t)
	path := filepath.Join(t.TempDir(), "holes.keytab")
	for i := range 10 {
		r.admin(t, "addprinc -randkey %s", host(i))
		r.admin(t, "ktadd -k %s %s", path, host(i))
	}
	const perPrincipal = 2 // encryption types by default
	r.agree(t, path, 10*perPrincipal)
	for i, n := range []int{0, 9, 4, 5} { // the first, the last, and two neighbours
		r.admin(t, "ktremove -k %s %s all", path, host(n))
		r.agree(t, path, (9-i)*perPrincipal)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	r.admin(t, "addprinc -randkey short")
	r.admin(t, "ktadd -k %s short", path)
	r.agree(t, path, 7*perPrincipal)
	after, err := os.Stat(path)
	if err != nil || after.Size() != before.Size() {
		t.Errorf("no hole was filled: %v, then %v, %v", before.Size(), after.Size(), err)
	}
	// What is extracted from behind a hole is taken with the bytes that trail it.
	p := r.db0(t, "short", path)
	p.publish()
	p.must("kinit", "-k", "short")

	// The same by ktutil, which writes what it has in memory: no hole is left.
	script := fmt.Sprintf("rkt %s\ndelent 1\ndelent 3\nwkt %s.2\nquit\n", path, path)
	r.must(t, script, "ktutil")
	r.agree(t, path+".2", 7*perPrincipal-2)
}

// What ktutil takes for a principal and klist prints of it.
func TestPrincipalsAreReadAndPrintedAsLibkrb5Does(t *testing.T) {
	t.Parallel()
	r := offline(t)
	texts := []string{
		"user", "user@OTHER.EXAMPLE", host(0), "a/b/c/d@R", `a\/b@R`, `user\@home@R`, `a\\b`, `a\nb\tc\bd`, `\x\,\{`, `a@R\/S`, `a@R\@S`,
		"user@", "user@R@S", "user@R/S", `user\`, "a/b@R/", `a\`, "@", "/", "@R", "a//b",
	}
	seed := rand.New(rand.NewPCG(6, 6))
	for range 400 {
		text := make([]byte, 1+seed.IntN(10))
		for i := range text {
			text[i] = `ab/@\ntR.`[seed.IntN(9)]
		}
		texts = append(texts, string(text))
	}
	var good []added
	var want []string
	bad := 0
	for _, text := range texts {
		p, err := kerberos.ParsePrincipal(text)
		if err == nil {
			good = append(good, added{text, 1, "aes128-cts"})
			if want = append(want, p.String()); p.Realm() == "" {
				want[len(want)-1] += "@" + realmName
			}
			continue
		}
		bad++
		// libkrb5 takes empty components and realms, writes them into keytabs, and then reads such a keytab to that entry only.
		out := r.must(t, fmt.Sprintf("addent -password -p %s -k 1 -e aes128-cts\npassword\nquit\n", text), "ktutil")
		if !strings.Contains(out, "Malformed representation of principal") && !strings.Contains(err.Error(), "empty") {
			t.Errorf("%q: %v, but to libkrb5 it is good: %s", text, err, out)
		}
	}
	var got []string
	for _, entry := range r.klist(t, r.ktutil(t, good...)) {
		principal, _, _ := strings.Cut(entry, ", version ")
		got = append(got, principal)
	}
	if !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Errorf("%q: libkrb5 prints %q, we %q", good[i].principal, got[i], want[i])
			}
		}
		t.Errorf("%d principals, want %d", len(got), len(want))
	}
	if len(good) < 100 || bad < 100 {
		t.Errorf("%d good and %d bad ones are too few", len(good), bad)
	}
	path := r.ktutil(t, good...)
	r.agree(t, path, len(good))
}

// pod is a Pod whose name a real CoreDNS agrees on, with its Kerberos keys.
type pod struct {
	t         *testing.T
	realm     *Realm
	keys      *kerberos.Keys
	agreement identity.Agreement
	volume    string // where the application sees the files
	ccache    string
}

// db0 returns Pod db-0, with keys from a source.
func (r *Realm) db0(t *testing.T, templates, source string) *pod {
	t.Helper()
	const ip = "10.244.0.17"
	cluster := new(dnstest.Cluster)
	cluster.Service("default", "db")
	cluster.Publish(dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: ip})
	server, err := dnstest.CoreDNS{Cluster: cluster}.Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	claim := podtest.Claim(podtest.DB0.Files("cluster.local", ip), identity.Given{}, identity.Policy{})
	p := &pod{t: t, realm: r, volume: t.TempDir(), ccache: filepath.Join(t.TempDir(), "ccache")}
	p.agreement, _, err = identity.Verify(t.Context(), resolver.New([]netip.AddrPort{server.Addr()}, false), claim, identity.Instead)
	if err != nil {
		t.Fatal(err)
	}
	config := kerberos.Config{Realm: kerberos.Realm(r.Name), Dir: p.volume}
	err = errors.Join(config.Principals.UnmarshalText([]byte(templates)), config.Source.UnmarshalText([]byte(source)),
		config.KDCs.UnmarshalText([]byte(r.KDC.String())))
	if err != nil {
		t.Fatal(err)
	}
	if p.keys, err = config.Keys(claim); err != nil {
		t.Fatal(err)
	}
	return p
}

// publish writes the files where the application sees them.
func (p *pod) publish() {
	p.t.Helper()
	files, err := p.keys.Require(p.t.Context(), p.agreement, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range files {
		path := filepath.Join(p.volume, f.Name)
		if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, f.Data, f.Mode)); err != nil {
			p.t.Fatal(err)
		}
	}
}

// run runs a program as the application would: with the variables and the krb5.conf that were published, and no others.
func (p *pod) run(name string, args ...string) (string, error) {
	var environment []string
	for _, line := range p.keys.Environment() {
		environment = append(environment, strings.ReplaceAll(line, "'", ""))
	}
	environment = append(environment, "KRB5_KDC_PROFILE=/nonexistent", "KRB5CCNAME=FILE:"+p.ccache)
	return p.realm.RunWith(environment, "", name, args...)
}

func (p *pod) must(name string, args ...string) string {
	p.t.Helper()
	out, err := p.run(name, args...)
	if err != nil {
		p.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

// refused wants a program to fail, saying this.
func (p *pod) refused(want, name string, args ...string) {
	p.t.Helper()
	if out, err := p.run(name, args...); err == nil || !strings.Contains(out, want) {
		p.t.Errorf("%s %q: %v\n%s\nwant %s", name, args, err, out, want)
	}
}

func TestWhatIsExtractedIsAcceptedAndHasNobodyElsesKeys(t *testing.T) {
	t.Parallel()
	r := start(t)
	all := filepath.Join(t.TempDir(), "all.keytab")
	for i := range 3 {
		r.admin(t, "addprinc -randkey %s", host(i))
		r.admin(t, "addprinc -randkey hdfs/db-%d.db.default.svc.cluster.local", i)
		r.admin(t, "ktadd -k %s %s hdfs/db-%d.db.default.svc.cluster.local", all, host(i), i)
	}
	p := r.db0(t, "hdfs/{fqdn},HTTP/{fqdn}", all)
	p.publish()

	keytab := filepath.Join(p.volume, "keytab")
	var want []string
	for _, service := range []string{"hdfs", "HTTP"} {
		for _, entry := range r.klist(t, all) {
			if strings.HasPrefix(entry, service+"/db-0.") {
				want = append(want, entry)
			}
		}
	}
	if got := r.klist(t, keytab); !slices.Equal(got, want) || len(got) != 4 {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	data, err := os.ReadFile(keytab)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range r.klist(t, all) {
		if _, key, _ := strings.Cut(entry, ": "); !strings.Contains(entry, "/db-0.") && strings.Contains(fmt.Sprintf("%x", data), key) {
			t.Errorf("it has the key of %s", entry)
		}
	}

	// The KDC takes the keys, and libkrb5 takes krb5.conf and the variables: no option names a keytab or a realm.
	p.must("kinit", "-k", host(0))
	p.must("kvno", "-k", keytab, host(0), "hdfs/db-0.db.default.svc.cluster.local@"+realmName)
	// Of a client keytab the first principal is the client.
	p.must("kinit", "-k", "-i")
	if out := p.must("klist"); !strings.Contains(out, "Default principal: hdfs/db-0.db.default.svc.cluster.local@EXAMPLE.COM") {
		t.Error(out)
	}
	p.refused("no suitable keys for "+host(1), "kinit", "-k", host(1))
	// A ticket for another Pod can be had, and not be read.
	p.refused("keytab entry", "kvno", "-k", keytab, host(1))
}

func TestTicketsFromBeforeARotationAreAcceptedUntilTheNextOne(t *testing.T) {
	t.Parallel()
	r := start(t)
	source := filepath.Join(t.TempDir(), "source")
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	rotate := func() { r.admin(t, "ktadd -k %s/all.keytab %s", source, host(0)) }
	r.admin(t, "addprinc -randkey %s", host(0))
	r.admin(t, "addprinc -randkey client")
	r.admin(t, "ktadd -k %s %s", filepath.Join(t.TempDir(), "client.keytab"), "client")
	p := r.db0(t, "HTTP/{fqdn}", source)
	keytab := filepath.Join(p.volume, "keytab")

	// ticket gets a ticket with the newest key, and keeps it.
	ticket := func(name string) func() (string, error) {
		p.ccache = filepath.Join(t.TempDir(), name)
		p.must("kinit", "-k", host(0))
		p.must("kvno", host(0))
		ccache := p.ccache
		return func() (string, error) {
			p.ccache = ccache
			return p.run("kvno", "--cached-only", "-k", keytab, host(0))
		}
	}
	accepted := func(ticket func() (string, error), version int) {
		t.Helper()
		out, err := ticket()
		if want := fmt.Sprintf("kvno = %d, keytab entry valid", version); err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %s, want %s", err, out, want)
		}
	}
	rotate()
	p.publish()
	first := ticket("first")
	accepted(first, 2)

	rotate()
	p.publish()
	if got := r.klist(t, keytab); len(got) != 4 || !strings.Contains(got[0], "version 3") || !strings.Contains(got[2], "version 2") {
		t.Errorf("%q", got)
	}
	second := ticket("second")
	accepted(first, 2)
	accepted(second, 3)

	rotate()
	p.publish()
	accepted(second, 3)
	accepted(ticket("third"), 4)
	if out, err := first(); err == nil {
		t.Errorf("a ticket from two rotations before is accepted: %s", out)
	}
}

// As docs/kerberos.md describes it for those to whom the gap matters.
func TestAKeyThatIsPublishedBeforeTheKDCHasItIsAcceptedFromThenOn(t *testing.T) {
	t.Parallel()
	r := start(t)
	source := filepath.Join(t.TempDir(), "source")
	r.admin(t, "addprinc -randkey %s", host(0))
	r.admin(t, "ktadd -k %s %s", source, host(0))
	p := r.db0(t, "HTTP/{fqdn}", source)
	r.admin(t, "addprinc -pw secret client")
	accepted := func(version int) {
		t.Helper()
		p.ccache = filepath.Join(t.TempDir(), "ccache")
		if out, err := r.RunWith([]string{"KRB5CCNAME=FILE:" + p.ccache}, "secret\n", "kinit", "client"); err != nil {
			t.Fatalf("kinit: %v: %s", err, out)
		}
		if out := p.must("kvno", "-k", filepath.Join(p.volume, "keytab"), host(0)); !strings.Contains(out, fmt.Sprintf("kvno = %d, keytab entry valid", version)) {
			t.Errorf("version %d: %s", version, out)
		}
	}
	p.publish()
	accepted(2)

	script := fmt.Sprintf("rkt %s\naddent -password -p %s -k 3 -e aes256-cts\nnext\nwkt %s.next\nquit\n", source, host(0), source)
	if out := r.must(t, script, "ktutil"); strings.Contains(out, " while ") {
		t.Fatalf("ktutil: %s", out)
	}
	if err := os.Rename(source+".next", source); err != nil {
		t.Fatal(err)
	}
	p.publish()
	if got := r.klist(t, filepath.Join(p.volume, "keytab")); len(got) != 3 || !strings.Contains(got[0], "version 3") {
		t.Errorf("%q", got)
	}
	accepted(2)
	// A login by this keytab takes the newest key, which the KDC does not have yet.
	p.refused("Password incorrect", "kinit", "-k", host(0))
	r.admin(t, "cpw -pw next %s", host(0))
	accepted(3)
	p.must("kinit", "-k", host(0))
}

func TestMissingKeysAreNamedAsKlistNamesThem(t *testing.T) {
	t.Parallel()
	r := offline(t)
	source := t.TempDir()
	p := r.db0(t, "HTTP/{fqdn}", source)
	for what, step := range map[string]struct {
		entry added
		want  string
	}{
		"another realm":      {added{host(0) + "@OTHER.EXAMPLE", 1, "aes256-cts"}, "in another realm"},
		"another case":       {added{strings.ToLower(host(0)), 1, "aes256-cts"}, "case counts"},
		"the short hostname": {added{"HTTP/db-0", 1, "aes256-cts"}, "for the short hostname only"},
		"only RC4":           {added{host(0), 1, "rc4-hmac"}, "RC4 is deprecated"},
		"only triple DES":    {added{host(0), 1, "des3-cbc-sha1"}, "triple DES is deprecated"},
	} {
		made := r.ktutil(t, step.entry)
		if err := os.Rename(made, filepath.Join(source, "k")); err != nil {
			t.Fatal(err)
		}
		_, err := p.keys.Require(t.Context(), p.agreement, nil)
		mismatch, ok := errors.AsType[*identity.Mismatch](err)
		if !ok || mismatch.Verdict != identity.Keyless || !strings.Contains(err.Error(), step.want) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		entry := r.klist(t, filepath.Join(source, "k"))[0]
		principal, _, _ := strings.Cut(entry, ", version ")
		_, key, _ := strings.Cut(entry, ": ")
		if !strings.Contains(err.Error(), "it has keys for "+principal) || strings.Contains(err.Error(), key[:8]) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestEveryKrb5ConfOfTheContractIsReadByLibkrb5(t *testing.T) {
	t.Parallel()
	confs, err := filepath.Glob("../../identity/kerberos/testdata/contract/*/krb5.conf")
	if err != nil || len(confs) < 3 {
		t.Fatalf("%d, %v", len(confs), err)
	}
	r := offline(t)
	for _, conf := range confs {
		// ktutil completes a principal with the default realm of the file, and refuses to begin with one that it cannot read.
		path := filepath.Join(t.TempDir(), "k")
		script := fmt.Sprintf("addent -password -p user -k 1 -e aes128-cts\npassword\nwkt %s\nquit\n", path)
		if out, err := r.RunWith([]string{"KRB5_CONFIG=" + conf}, script, "ktutil"); err != nil {
			t.Errorf("%s: %v: %s", conf, err, out)
		}
		if got := r.klist(t, path); len(got) != 1 || !strings.HasPrefix(got[0], "user@EXAMPLE.COM,") {
			t.Errorf("%s: %q", conf, got)
		}
	}
}

func TestARealmNeedsNoRightAndLeavesNoProcess(t *testing.T) {
	t.Parallel()
	r, err := Start(t.TempDir(), "OTHER.EXAMPLE", netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := r.Stop()
	if err != nil || !strings.Contains(log, "commencing operation") || r.kdc.ProcessState == nil {
		t.Errorf("%v: %s", err, log)
	}
}
