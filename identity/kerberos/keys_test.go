package kerberos_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/kerberos"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// settings are what a person writes.
type settings struct {
	principals, realm, source, kdcs, mode, mount, fqdn string
	inPlace                                            bool
}

func (s settings) config(t testing.TB) kerberos.Config {
	t.Helper()
	c := kerberos.Config{Dir: "/krb5", Mount: s.mount, InPlace: kerberos.InPlace(s.inPlace)}
	for _, field := range []struct {
		into interface{ UnmarshalText([]byte) error }
		text string
	}{{&c.Principals, s.principals}, {&c.Realm, s.realm}, {&c.Source, s.source}, {&c.KDCs, s.kdcs}} {
		if err := field.into.UnmarshalText([]byte(field.text)); err != nil {
			t.Fatal(err)
		}
	}
	if s.mode != "" {
		if err := c.Mode.UnmarshalText([]byte(s.mode)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (s settings) keys(t testing.TB) (*kerberos.Keys, identity.Agreement) {
	t.Helper()
	claim := claimOf(t, s.fqdn)
	keys, err := s.config(t).Keys(claim)
	if err != nil {
		t.Fatal(err)
	}
	return keys, podtest.Proven(claim)
}

// contract are Pods whose files stand in testdata/contract, each in a directory
// of its own; "environment" there is no file of the volume. Their keys are in
// testdata/mit.
var contract = []struct {
	dir string
	settings
	keytabMode os.FileMode
}{
	{"dns", settings{principals: "HTTP/{fqdn}", realm: "EXAMPLE.COM"}, 0o440},
	{"kdcs", settings{principals: `HTTP/{fqdn}@EXAMPLE.COM,user@EXAMPLE.COM`, kdcs: "kdc1.example.com,10.1.2.3:750,[fd00::1]:88",
		mode: "0600", mount: "/etc/krb5-of-app"}, 0o600},
	{"foreign-name", settings{principals: "user", realm: "EXAMPLE.COM", fqdn: "kdc1.example.org"}, 0o440},
	{"in-place", settings{principals: "HTTP/{fqdn},user", realm: "EXAMPLE.COM", inPlace: true}, 0},
}

// published gives the files of a Pod of the contract, and its environment, with
// the source at /keytabs.
func (s settings) published(t *testing.T) []identity.File {
	t.Helper()
	where := t.TempDir()
	s.source = write(t, filepath.Join(where, "hole.keytab"), mit(t)["hole.keytab"])
	keys, agreement := s.keys(t)
	files, err := keys.Require(t.Context(), agreement, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !slices.Contains(kerberos.Files(), f.Name) {
			t.Errorf("%s is not a file of the contract", f.Name)
		}
	}
	for i, line := range keys.Environment() {
		if name, _, _ := strings.Cut(line, "="); kerberos.Variables()[i] != name {
			t.Errorf("line %d is %s, not one of %q", i, line, kerberos.Variables())
		}
	}
	environment := strings.Join(keys.Environment(), "\n") + "\n"
	files = append(files, identity.File{Name: "environment", Data: []byte(environment), Mode: 0o644})
	for i := range files {
		files[i].Data = bytes.ReplaceAll(files[i].Data, []byte(where), []byte("/keytabs"))
	}
	slices.SortFunc(files, func(a, b identity.File) int { return strings.Compare(a.Name, b.Name) })
	return files
}

func TestTheFilesOfTheContract(t *testing.T) {
	for _, test := range contract {
		t.Run(test.dir, func(t *testing.T) {
			files := test.published(t)
			dir := filepath.Join("testdata", "contract", test.dir)
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != len(files) {
				t.Fatalf("%d files, want %d, %v", len(files), len(entries), err)
			}
			for i, entry := range entries {
				want, err := os.ReadFile(filepath.Join(dir, entry.Name()))
				if err != nil {
					t.Fatal(err)
				}
				mode := os.FileMode(0o644)
				if entry.Name() == "keytab" {
					mode = test.keytabMode
				}
				if files[i].Name != entry.Name() || files[i].Mode != mode || !bytes.Equal(files[i].Data, want) {
					t.Errorf("got %v\n%q\nwant %s with mode %v\n%q", files[i], files[i].Data, entry.Name(), mode, want)
				}
			}
		})
	}
}

// line is what a line of a krb5.conf may be: nothing foreign makes one of
// another form.
var line = regexp.MustCompile(`^(#[ -~]*|\[(libdefaults|realms|domain_realm)\]` +
	`|(default_realm|dns_lookup_kdc|dns_canonicalize_hostname|rdns) = [A-Za-z0-9._-]+` +
	`|[A-Za-z0-9._-]+ = \{|kdc = [a-z0-9.:\[\]-]+|\}|\.?[a-z0-9.-]+ = [A-Za-z0-9._-]+|)$`)

func TestEveryLineOfAKrb5ConfIsOneThatLibkrb5Knows(t *testing.T) {
	for _, test := range contract {
		for _, f := range test.published(t) {
			if f.Name != "krb5.conf" {
				continue
			}
			for text := range strings.SplitSeq(string(f.Data), "\n") {
				if !line.MatchString(text) {
					t.Errorf("%s: %q", test.dir, text)
				}
			}
		}
	}
}

const inBase64 = `is a keytab in base64: put the decoded bytes there (kubectl create secret --from-file encodes a file by itself; a template has to decode what it copies)`

func base64Of(data []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(data)) }

// A ticket names a key version, and only libkrb5 takes version 0 for each.
func TestAKeyOfVersion0IsTakenWithARemark(t *testing.T) {
	m := mount(t, map[string][]byte{"k": podtest.KeytabOf(aes256(db0, 0)), "l": base64Of(podtest.KeytabOf(aes256(db1, 1)))})
	config := kerberos.Config{Realm: "EXAMPLE.COM", Dir: t.TempDir()}
	if err := errors.Join(config.Principals.UnmarshalText([]byte("HTTP/{fqdn}")), config.Source.UnmarshalText([]byte(m.dir))); err != nil {
		t.Fatal(err)
	}
	claim := claimOf(t, "")
	need, err := config.Requirement(claim, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := need.Check(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		var got []string
		for message, details := need.Remark(); message != ""; message, details = need.Remark() {
			got = append(got, message+": "+details)
		}
		want := []string{
			"a key has version 0: " + db0 + ": libkrb5 accepts it for tickets of every version, but other programs do not: make keys with the version that the KDC has",
			fmt.Sprintf("a file of the source was not read: %q %s", filepath.Join(m.dir, "l"), inBase64),
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// Of what a Secret may lack, time or a person may mend all.
func TestKeysThatAreMissingAreAwaited(t *testing.T) {
	whole := podtest.KeytabOf(aes256(db0, 1))
	for name, test := range map[string]struct {
		files map[string][]byte
		path  string // in the Secret
		want  string // SOURCE stands for the path
	}{
		"no file":                            {nil, "/k", `SOURCE does not exist: mount what holds the keys there, or add it to the Secret`},
		"an empty file":                      {map[string][]byte{"k": {}}, "/k", `SOURCE is empty`},
		"half a file":                        {map[string][]byte{"k": whole[:50]}, "/k", `SOURCE is damaged at byte 2: the file ends within an entry or a hole`},
		"format 0x0501":                      {map[string][]byte{"k": {5, 1}}, "/k", `SOURCE is a keytab of format 0x0501, which depends on the machine that wrote it: read it there with ktutil (rkt) and write it again (wkt)`},
		"text":                               {map[string][]byte{"k": []byte("x")}, "/k", `SOURCE is not a keytab: a keytab begins with the bytes 0x05 0x02`},
		"base64":                             {map[string][]byte{"k": base64Of(whole)}, "/k", "SOURCE " + inBase64},
		"base64 behind a line end, in lines": {map[string][]byte{"k": slices.Concat([]byte("\r\n "), base64Of(whole)[:40], []byte("\n"), base64Of(whole)[40:])}, "/k", "SOURCE " + inBase64},
		"base64 for addresses, in quotes":    {map[string][]byte{"k": []byte(`"` + base64.RawURLEncoding.EncodeToString(whole) + `"`)}, "/k", "SOURCE " + inBase64},
		"base64 in a directory": {map[string][]byte{"k": base64Of(whole)}, "",
			`SOURCE has no key for ` + db0 + `; not read: "DIR/k" ` + inBase64},
		"a text in a directory": {map[string][]byte{"k": []byte("x")}, "",
			`SOURCE has no key for ` + db0 + `; it has nothing; 1 file there is not a keytab`},
		"texts and half a file in a directory": {map[string][]byte{"k": whole[:50], "l": []byte("x"), "m": []byte("y")}, "",
			`SOURCE has no key for ` + db0 + `; not read: "DIR/k" is damaged at byte 2: the file ends within an entry or a hole; 2 files there are not keytabs`},
		"an empty directory": {nil, "", `SOURCE has no key for ` + db0 + `; it has nothing`},
		"other keys": {map[string][]byte{"k": podtest.KeytabOf(aes256(db1, 1))}, "",
			`SOURCE has no key for ` + db0 + `; it has keys for ` + db1 + ``},
		"half a file in a directory": {map[string][]byte{"k": whole[:50], "l": {5, 1}}, "",
			`SOURCE has no key for ` + db0 + `; not read: "DIR/k" is damaged at byte 2: the file ends within an entry or a hole; and 1 more`},
	} {
		m := mount(t, test.files)
		s := settings{principals: "HTTP/{fqdn}", realm: "EXAMPLE.COM", source: m.dir + test.path}
		keys, agreement := s.keys(t)
		files, err := keys.Require(t.Context(), agreement, nil)
		want := strings.NewReplacer("SOURCE", fmt.Sprintf("%q", s.source), "DIR", m.dir).Replace(test.want)
		if files != nil {
			t.Errorf("%s: %v", name, files)
		}
		checkKeyless(t, err, want)
		checkSilent(t, name, err.Error(), keyOf(db0, 1, 32))
		if told := len(keys.Skipped()); told > 0 != strings.Contains(want, "not read: ") {
			t.Errorf("%s: %q", name, keys.Skipped())
		}

		m.set(map[string][]byte{"k": whole})
		files, err = keys.Require(t.Context(), agreement, nil)
		if err != nil || len(files) != 3 || !bytes.Equal(files[0].Data, whole) || len(keys.Skipped()) > 0 {
			t.Errorf("%s, then whole: %v, %v, %q", name, files, err, keys.Skipped())
		}
	}
}

func TestARotationIsPublishedWithTheKeyVersionBefore(t *testing.T) {
	m := mount(t, map[string][]byte{"k": podtest.KeytabOf(aes256(db1, 1), aes256(db0, 1))})
	keys, agreement := settings{principals: "HTTP/{fqdn}", realm: "EXAMPLE.COM", source: m.dir}.keys(t)
	for _, step := range []struct{ source, want []byte }{
		{nil, podtest.KeytabOf(aes256(db0, 1))},
		{podtest.KeytabOf(aes256(db0, 1), aes256(db1, 1), aes256(db0, 2)), podtest.KeytabOf(aes256(db0, 2), aes256(db0, 1))},
		{podtest.KeytabOf(aes256(db0, 1), aes256(db0, 2), aes256(db0, 3)), podtest.KeytabOf(aes256(db0, 3), aes256(db0, 2))},
		{podtest.KeytabOf(aes256(db0, 3)), podtest.KeytabOf(aes256(db0, 3))},
	} {
		if step.source != nil {
			m.set(map[string][]byte{"k": step.source})
		}
		files, err := keys.Require(t.Context(), agreement, nil)
		if err != nil || !bytes.Equal(files[0].Data, step.want) {
			t.Fatalf("%v, %v", files, err)
		}
	}
}

func TestASourceThatHangsHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole := podtest.KeytabOf(aes256(db0, 1))
		path := write(t, filepath.Join(t.TempDir(), "k"), whole)
		keys, agreement := settings{principals: "HTTP/{fqdn}", realm: "EXAMPLE.COM", source: path}.keys(t)
		end := keys.Hang()
		for range 2 {
			start := time.Now()
			_, err := keys.Require(t.Context(), agreement, nil)
			checkKeyless(t, err, fmt.Sprintf("%q could not be read within 5s: check whether its file system hangs", path))
			if took := time.Since(start); took != 5*time.Second {
				t.Errorf("it took %s", took)
			}
		}
		soon, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		_, err := keys.Require(soon, agreement, nil)
		checkKeyless(t, err, fmt.Sprintf("%q could not be read within 1.9s: check whether its file system hangs", path))
		signal := errors.New("a signal")
		ctx, kill := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { kill(signal) })
		start := time.Now()
		if _, err := keys.Require(ctx, agreement, nil); err != signal || time.Since(start) != time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		end()
		for range 2 {
			if files, err := keys.Require(t.Context(), agreement, nil); err != nil || !bytes.Equal(files[0].Data, whole) {
				t.Errorf("%v, %v", files, err)
			}
		}
	})
}

// A principal that is made again begins with version 1 again.
func TestOlderKeysThanThePublishedOnesAreNone(t *testing.T) {
	m := mount(t, map[string][]byte{"k": podtest.KeytabOf(aes256(db0, 2))})
	keys, agreement := settings{principals: "HTTP/{fqdn}", realm: "EXAMPLE.COM", source: m.dir}.keys(t)
	files, err := keys.Require(t.Context(), agreement, nil)
	if err != nil {
		t.Fatal(err)
	}
	keys.Published(files)
	m.set(map[string][]byte{"k": podtest.KeytabOf(aes256(db0, 1))})
	_, err = keys.Require(t.Context(), agreement, nil)
	checkKeyless(t, err, fmt.Sprintf("%q has no key for %s (its newest version is 1, and version 2 is published); it has keys for %s", m.dir, db0, db0))
	again := podtest.KeytabOf(aes256(db0, 1, func(e *podtest.Entry) { e.Time++ }))
	m.set(map[string][]byte{"k": again})
	if files, err := keys.Require(t.Context(), agreement, nil); err != nil || !bytes.Equal(files[0].Data, again) {
		t.Errorf("%v, %v", files, err)
	}
}

// What Require has read is cleared but for what it gives.
func TestKeysAreClearedAfterUse(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "k"), podtest.KeytabOf(aes256(db0, 1), aes256(db1, 1)))
	r := kerberos.NewReader(path)
	entries, _, err := r.Read(t.Context(), principals(t, db0)...)
	if err != nil || !bytes.Equal(entries[0].Key(), keyOf(db0, 1, 32)) {
		t.Fatal(err)
	}
	kerberos.Forget(entries)
	if key, record := entries[0].Key(), entries[0].Record(); !bytes.Equal(key, make([]byte, 32)) || !bytes.Equal(record, make([]byte, len(record))) {
		t.Errorf("left: %x, %x", key, record)
	}
}

func TestKeysAreForTheNameThatTheyWereMadeFor(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "k"), podtest.KeytabOf(aes256(db0, 1)))
	keys, _ := settings{principals: "HTTP/{fqdn}", realm: "EXAMPLE.COM", source: path}.keys(t)
	for _, other := range []identity.Agreement{{}, podtest.Proven(claimOf(t, "kdc1.example.org"))} {
		if files, err := keys.Require(t.Context(), other, nil); err == nil || files != nil {
			t.Errorf("%v", files)
		}
	}
}

func TestADirectoryCannotBeUsedInPlace(t *testing.T) {
	m := mount(t, map[string][]byte{"k": podtest.KeytabOf(aes256(db0, 1))})
	keys, agreement := settings{principals: "HTTP/{fqdn}", realm: "EXAMPLE.COM", source: m.dir, inPlace: true}.keys(t)
	_, err := keys.Require(t.Context(), agreement, nil)
	checkRefusal(t, err, fmt.Sprintf("PODFQDN_KRB5_EXTRACT=false publishes the path of one keytab, but %q is a directory: name a keytab in it, for example with {hostname}", m.dir))
}

func TestASourceInAPublishedDirectoryIsRefused(t *testing.T) {
	volume, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(volume, "below/k"), podtest.KeytabOf(aes256(db0, 1)))
	write(t, filepath.Join(outside, "k"), podtest.KeytabOf(aes256(db0, 1)))
	if err := os.Symlink(volume, filepath.Join(outside, "link")); err != nil {
		t.Fatal(err)
	}
	for source, inside := range map[string]bool{
		volume: true, volume + "/below": true, volume + "/below/k": true, volume + "/to-come": true, volume + "/../" + filepath.Base(volume): true,
		outside + "/link": true, outside + "/link/below/k": true,
		outside: false, outside + "/k": false, volume + "-2/k": false, "/": false,
	} {
		keys, _ := settings{principals: "a@R", source: source}.keys(t)
		err := keys.Apart(volume)
		switch {
		case inside:
			checkRefusal(t, err, fmt.Sprintf("PODFQDN_KRB5_SOURCE, %q, lies in %q, which the application reads: mount the source somewhere else, and in podfqdn's container only", source, volume))
		case err != nil:
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestADirThatLiesInAnotherPublishedDirectoryIsRefused(t *testing.T) {
	volume := t.TempDir()
	inner := filepath.Join(volume, "krb5")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	source := write(t, filepath.Join(t.TempDir(), "k"), podtest.KeytabOf(aes256(db0, 1)))
	for _, dir := range []string{volume, inner} {
		c := settings{principals: "a@R", source: source}.config(t)
		c.Dir, c.Mount = dir, "/krb5"
		keys, err := c.Keys(claimOf(t, ""))
		if err != nil {
			t.Fatal(err)
		}
		checkRefusal(t, keys.Apart(volume), fmt.Sprintf("PODFQDN_KRB5_DIR, %q, lies in %q, which everybody can read: give the keys a separate volume", dir, volume))
	}
	c := settings{principals: "a@R", source: inner + "/k"}.config(t)
	c.Dir = inner
	keys, err := c.Keys(claimOf(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	checkRefusal(t, keys.Apart(t.TempDir()), fmt.Sprintf("PODFQDN_KRB5_SOURCE, %q, lies in %q, which the application reads: mount the source somewhere else, and in podfqdn's container only", inner+"/k", inner))
}

func TestWhatRequireGaveIsKeptAndNothingElse(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "k"), podtest.KeytabOf(aes256(db1, 1), aes256(db0, 1), aes256("user@EXAMPLE.COM", 1)))
	s := settings{principals: "HTTP/{fqdn},user", realm: "EXAMPLE.COM", source: path}
	keys, agreement := s.keys(t)
	given := func() []identity.File {
		files, err := keys.Require(t.Context(), agreement, nil)
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	if err := keys.Keeps(given()); err != nil {
		t.Errorf("what was given is not kept: %v", err)
	}
	with := func(i int, data []byte) []identity.File {
		files := given()
		files[i].Data = data
		return files
	}
	both := podtest.KeytabOf(aes256(db0, 1), aes256("user@EXAMPLE.COM", 1))
	for _, test := range []struct {
		what  string
		files []identity.File
		want  string
	}{
		{"nothing", nil, "its krb5.conf is not what this Pod's would be"},
		{"no keytab", given()[1:], "its keytab is empty"},
		{"an empty krb5.conf", with(1, nil), "its krb5.conf is not what this Pod's would be"},
		{"other principals", with(2, []byte(db0+"\n")), "its principals is not what this Pod's would be"},
		{"half a keytab", with(0, both[:len(both)-1]), "its keytab is damaged at byte 111: the file ends within an entry or a hole"},
		{"one key of two", with(0, podtest.KeytabOf(aes256(db0, 1))), "its keytab has no key for user@EXAMPLE.COM"},
		{"a stranger's", with(0, podtest.KeytabOf(aes256(db0, 1), aes256("user@EXAMPLE.COM", 1), aes256(db1, 1))), "its keytab has keys of other principals"},
	} {
		err := keys.Keeps(test.files)
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %s", test.what, err, test.want)
			continue
		}
		checkSilent(t, test.what, err.Error(), keyOf(db0, 1, 32))
	}
	s.inPlace = true
	inPlace, _ := s.keys(t)
	if err := inPlace.Keeps(given()); err == nil {
		t.Error("a keytab is kept where none is to be")
	}
	if files, err := inPlace.Require(t.Context(), agreement, nil); err != nil || inPlace.Keeps(files) != nil {
		t.Errorf("what was given is not kept: %v, %v", err, inPlace.Keeps(files))
	}
}

func TestLookGivesTheErrorOfRequire(t *testing.T) {
	m := mount(t, nil)
	keys, agreement := settings{principals: "HTTP/{fqdn}", realm: "EXAMPLE.COM", source: m.dir}.keys(t)
	_, want := keys.Require(t.Context(), agreement, nil)
	if err := keys.Check(t.Context(), nil); err == nil || err.Error() != want.Error() {
		t.Errorf("%v, not %v", err, want)
	}
	m.set(map[string][]byte{"k": podtest.KeytabOf(aes256(db0, 1))})
	if err := keys.Check(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
