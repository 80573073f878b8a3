package kerberos_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity/kerberos"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// In addition to the seeds that the targets add, of keytabs that MIT krb5 wrote and of
// the contract, each has some in testdata/fuzz.
func TestEveryFuzzTargetHasSeeds(t *testing.T) {
	text, err := os.ReadFile("fuzz_test.go")
	if err != nil {
		t.Fatal(err)
	}
	targets := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllStringSubmatch(string(text), -1)
	if len(targets) < 4 {
		t.Fatalf("%d targets", len(targets))
	}
	for _, target := range targets {
		seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", target[1], "*"))
		if err != nil || len(seeds) == 0 {
			t.Errorf("%s has no seeds: %v", target[1], err)
		}
	}
	entries := 0
	for _, data := range mit(t) {
		entries += len(parsed(t, data))
	}
	if seeds := keytabs(t); len(seeds) < 10 || entries < 20 {
		t.Errorf("%d keytabs with %d entries of MIT krb5 in the corpus", len(seeds), entries)
	}
}

// keytabs gives those of the corpus, and such as MIT krb5 does not write.
func keytabs(t testing.TB) (all [][]byte) {
	for _, data := range mit(t) {
		all = append(all, data, data[:len(data)-3])
	}
	one := podtest.KeytabOf(aes256(db0, 1))
	return append(all,
		[]byte{5, 1, 0, 0}, []byte{5, 2},
		slices.Concat(one, hole(40), podtest.KeytabOf(aes256(db1, 300))[2:], []byte{0, 0, 0, 0}, []byte("behind the end")),
		podtest.KeytabOf(aes256(db0, 1), aes256(db0, 2), aes256(db0, 3, enctype(23, 16)), aes256(strings.ToLower(db0), 1)),
	)
}

// solid gives a keytab without its holes and what is behind its end, from its
// lengths alone.
func solid(data []byte) []byte {
	all := slices.Clone(data[:2])
	for at := 2; at < len(data); {
		length := int(int32(binary.BigEndian.Uint32(data[at:])))
		switch {
		case length == 0:
			return all
		case length < 0:
			at += 4 - length
		default:
			all = append(all, data[at:at+4+length]...)
			at += 4 + length
		}
	}
	return all
}

// Whatever bytes are read: what is written of them is them, without holes; what
// is printed of them, and every error, is the same for whatever keys.
func FuzzKeytab(f *testing.F) {
	for _, data := range keytabs(f) {
		f.Add(data)
	}
	want := principals(f, db0, db1, "user@EXAMPLE.COM")
	f.Fuzz(func(t *testing.T, data []byte) {
		before := slices.Clone(data)
		entries, err := kerberos.ParseKeytab(data)
		if !slices.Equal(before, data) {
			t.Fatal("the bytes were changed")
		}
		if err != nil {
			if entries != nil {
				t.Errorf("%d entries and %v", len(entries), err)
			}
			checkMalformed(t, err, len(data))
			return
		}
		written := kerberos.WriteKeytab(entries)
		if !slices.Equal(written, solid(data)) {
			t.Errorf("%x is written as %x", data, written)
		}
		again, err := kerberos.ParseKeytab(written)
		if err != nil || !slices.Equal(kerberos.WriteKeytab(again), written) || shown(again) != shown(entries) {
			t.Errorf("%x is read again as %v, %v", data, again, err)
		}
		picked, missing := kerberos.Select(entries, want, kerberos.Enctypes{})
		checkPicked(t, picked, want)

		text := shown(entries) + fmt.Sprint(missing)
		kerberos.ClearKeys(entries)
		if got := shown(entries); !strings.HasPrefix(text, got) {
			t.Errorf("prints depend on keys: %q, %q", text, got)
		}
		if _, err := kerberos.Select(entries, want, kerberos.Enctypes{}); fmt.Sprint(err) != fmt.Sprint(missing) {
			t.Errorf("an error depends on keys: %v, %v", err, missing)
		}
		if missing != nil && strings.ContainsFunc(missing.Error(), func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%q would reach a terminal", missing)
		}
	})
}

// shown gives what printers make of entries.
func shown(entries []kerberos.Entry) (all string) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%d"} {
		all += fmt.Sprintf(verb+"\n", entries)
	}
	return all
}

// checkPicked holds what Select takes to its rules.
func checkPicked(t *testing.T, picked []kerberos.Entry, want []kerberos.Principal) {
	t.Helper()
	versions := map[kerberos.Principal]map[uint32]bool{}
	for _, e := range picked {
		if !slices.Contains(want, e.Principal) || !slices.Contains([]kerberos.Enctype{17, 18, 19, 20}, e.Enctype) {
			t.Errorf("took %v", e)
		}
		if versions[e.Principal] == nil {
			versions[e.Principal] = map[uint32]bool{}
		}
		versions[e.Principal][e.Version] = true
		if len(versions[e.Principal]) > 2 {
			t.Errorf("took %d versions of %s", len(versions[e.Principal]), e.Principal)
		}
	}
	if len(picked) > 0 && len(versions) != len(want) {
		t.Errorf("took keys for %d principals of %d", len(versions), len(want))
	}
}

// A principal that is read prints as one that is read as the same.
func FuzzPrincipal(f *testing.F) {
	for _, data := range mit(f) {
		for _, e := range parsed(f, data) {
			f.Add(e.Principal.String())
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := kerberos.ParsePrincipal(text)
		if err != nil {
			if p != (kerberos.Principal{}) || strings.ContainsFunc(err.Error(), func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("%q becomes %q, %q", text, p, err)
			}
			return
		}
		again, err := kerberos.ParsePrincipal(p.String())
		if err != nil || again != p || again.String() != p.String() {
			t.Errorf("%q becomes %q, then %q, %v", text, p, again, err)
		}
		if strings.ContainsAny(p.String(), "\n\t\b\x00") {
			t.Errorf("%q breaks a line", p)
		}
	})
}

// Whatever a person writes: what is accepted becomes principals of one line
// each, and a krb5.conf and an environment whose every line is one of theirs.
func FuzzSettings(f *testing.F) {
	for _, test := range contract {
		f.Add(test.principals, test.realm, "/keytabs/{hostname}", test.kdcs, test.mount, test.fqdn)
	}
	variable := regexp.MustCompile(`^KRB5_(KTNAME|CLIENT_KTNAME|CONFIG)='/[A-Za-z0-9/._-]*'$`)
	f.Fuzz(func(t *testing.T, principals, realm, source, kdcs, mount, fqdn string) {
		c := kerberos.Config{Dir: "/krb5", Mount: mount, InPlace: len(source)%2 == 0}
		err := errors.Join(c.Principals.UnmarshalText([]byte(principals)), c.Realm.UnmarshalText([]byte(realm)),
			c.Source.UnmarshalText([]byte(source)), c.KDCs.UnmarshalText([]byte(kdcs)))
		var keys *kerberos.Keys
		if err == nil {
			name := ""
			if label.MatchString(fqdn) {
				name = fqdn + ".example.org"
			}
			keys, err = c.Keys(claimOf(t, name))
		}
		if err != nil {
			for text := range strings.SplitSeq(err.Error(), "\n") {
				if text == "" || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
					t.Errorf("%q would reach a terminal", err)
				}
			}
			return
		}
		for _, p := range keys.Principals() {
			again, err := kerberos.ParsePrincipal(p.String())
			if err != nil || again != p || p.Realm() == "" || strings.ContainsFunc(p.String(), func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("%q of %q: %v", p, principals, err)
			}
		}
		for text := range strings.SplitSeq(keys.Conf(), "\n") {
			if !line.MatchString(text) {
				t.Errorf("%q in a krb5.conf", text)
			}
		}
		for _, text := range keys.Environment() {
			if !variable.MatchString(text) {
				t.Errorf("%q in an environment", text)
			}
		}
	})
}

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Encryption types and modes that are accepted are not weak, and let nobody
// else write.
func FuzzEnctypesAndMode(f *testing.F) {
	f.Add("aes256-cts,aes128-cts", "0440")
	f.Add("rc4-hmac", "0666")
	f.Fuzz(func(t *testing.T, types, mode string) {
		var enctypes kerberos.Enctypes
		if err := enctypes.UnmarshalText([]byte(types)); err == nil {
			for _, weak := range []kerberos.Enctype{1, 2, 3, 4, 5, 6, 8, 16, 23, 24} {
				if enctypes.Allow(weak) {
					t.Errorf("%q allows %v", types, weak)
				}
			}
		} else if strings.ContainsFunc(err.Error(), func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%q would reach a terminal", err)
		}
		var m kerberos.Mode
		if err := m.UnmarshalText([]byte(mode)); err == nil && (m&0o7133 != 0 || m&0o400 == 0) {
			t.Errorf("%q is %o", mode, m)
		}
	})
}
