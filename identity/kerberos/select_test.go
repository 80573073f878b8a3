package kerberos_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity/kerberos"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

func principals(t testing.TB, texts ...string) (all []kerberos.Principal) {
	t.Helper()
	for _, text := range texts {
		p, err := kerberos.ParsePrincipal(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// enctype changes an entry's.
func enctype(number int16, length int) func(*podtest.Entry) {
	return func(m *podtest.Entry) {
		m.Enctype = uint16(number)
		m.Key = keyOf(fmt.Sprint(number), uint32(m.Version8), length)
	}
}

func at(time uint32) func(*podtest.Entry) { return func(m *podtest.Entry) { m.Time = time } }

// selected gives what Select takes of a keytab, as "VERSION ENCTYPE" each.
func selected(t testing.TB, data []byte, enctypes kerberos.Enctypes, want ...string) []string {
	t.Helper()
	entries, err := kerberos.Select(parsed(t, data), principals(t, want...), enctypes)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprintf("%d %d", e.Version, e.Enctype))
	}
	return got
}

func TestSelectTakesTheNewestKeyVersionAndTheOneBefore(t *testing.T) {
	v := func(version uint32, changes ...func(*podtest.Entry)) podtest.Entry {
		return aes256(db0, version, changes...)
	}
	for name, test := range map[string]struct {
		entries []podtest.Entry
		want    []string
	}{
		"one":               {[]podtest.Entry{v(7)}, []string{"7 18"}},
		"a rotation":        {[]podtest.Entry{v(7), v(8)}, []string{"8 18", "7 18"}},
		"in any order":      {[]podtest.Entry{v(8), v(6), v(7)}, []string{"8 18", "7 18"}},
		"with a gap":        {[]podtest.Entry{v(2), v(9), v(4)}, []string{"9 18", "4 18"}},
		"several types":     {[]podtest.Entry{v(1, enctype(17, 16)), v(1), v(2, enctype(20, 32)), v(2, enctype(19, 16))}, []string{"2 20", "2 19", "1 17", "1 18"}},
		"version 0":         {[]podtest.Entry{v(0)}, []string{"0 18"}},
		"300 after 256":     {[]podtest.Entry{v(256), v(300), v(255)}, []string{"300 18", "256 18"}},
		"a wrap":            {[]podtest.Entry{v(255, at(10)), v(254, at(9)), v(0, at(11))}, []string{"0 18", "255 18"}},
		"a wrap of many":    {[]podtest.Entry{v(200, at(8)), v(255, at(10)), v(1, at(11))}, []string{"1 18", "255 18"}},
		"two after a wrap":  {[]podtest.Entry{v(255, at(10)), v(1, at(12)), v(0, at(11))}, []string{"1 18", "0 18"}},
		"at the same time":  {[]podtest.Entry{v(1, at(10)), v(255, at(10))}, []string{"1 18", "255 18"}},
		"no wrap, as older": {[]podtest.Entry{v(1, at(9)), v(255, at(10))}, []string{"255 18", "1 18"}},
		"no wrap at 240":    {[]podtest.Entry{v(1, at(11)), v(240, at(10))}, []string{"240 18", "1 18"}},
		"the same twice":    {[]podtest.Entry{v(3, at(1)), v(3, at(2))}, []string{"3 18"}},
		"an older weak one": {[]podtest.Entry{v(3), v(2, enctype(23, 16))}, []string{"3 18"}},
		"weak ones as well": {[]podtest.Entry{v(3, enctype(23, 16)), v(3), v(3, enctype(16, 24)), v(3, enctype(1, 8)), v(3, enctype(99, 8))}, []string{"3 18"}},
	} {
		for range 2 {
			if got := selected(t, podtest.KeytabOf(test.entries...), kerberos.Enctypes{}, db0); !slices.Equal(got, test.want) {
				t.Errorf("%s: got %q, want %q", name, got, test.want)
			}
			if name == "several types" || name == "the same twice" {
				break // these keep the order of the file
			}
			slices.Reverse(test.entries)
		}
	}
}

func TestSelectTakesThePrincipalsThatAreWantedAndNoOthers(t *testing.T) {
	const hdfs = "hdfs/db-0.db.default.svc.cluster.local@EXAMPLE.COM"
	data := podtest.KeytabOf(
		aes256(db1, 1), aes256(db0, 1, func(m *podtest.Entry) { m.NameType = 3 }), aes256(strings.ToLower(db0), 1),
		aes256(db0+".ORG", 1), aes256("HTTP/db-0@EXAMPLE.COM", 1), aes256(hdfs, 5), aes256("HTTP@EXAMPLE.COM", 1), aes256(db0, 2))
	entries, err := kerberos.Select(parsed(t, data), principals(t, hdfs, db0), kerberos.Enctypes{})
	if err != nil {
		t.Fatal(err)
	}
	want := podtest.KeytabOf(aes256(hdfs, 5), aes256(db0, 2), aes256(db0, 1, func(m *podtest.Entry) { m.NameType = 3 }))
	if got := kerberos.WriteKeytab(entries); !bytes.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestOtherEncryptionTypesAreTakenIfTheyAreAsked(t *testing.T) {
	var enctypes kerberos.Enctypes
	if err := enctypes.UnmarshalText([]byte("aes256-sha2,camellia128-cts")); err != nil {
		t.Fatal(err)
	}
	data := podtest.KeytabOf(aes256(db0, 1), aes256(db0, 1, enctype(20, 32)), aes256(db0, 1, enctype(25, 16)))
	if got := selected(t, data, enctypes, db0); !slices.Equal(got, []string{"1 20", "1 25"}) {
		t.Errorf("%q", got)
	}
}

func TestWhatIsMissingIsSaidWithWhatWasFound(t *testing.T) {
	const types = "make keys of type aes128-cts-hmac-sha1-96, aes256-cts-hmac-sha1-96, aes128-cts-hmac-sha256-128 and aes256-cts-hmac-sha384-192"
	many := []podtest.Entry{}
	for i := range 1000 {
		many = append(many, aes256(fmt.Sprintf("HTTP/db-%03d.x@EXAMPLE.COM", i), 1))
	}
	for name, test := range map[string]struct {
		entries []podtest.Entry
		want    string
	}{
		"nothing": {nil, `no key for ` + db0 + `; it has nothing`},
		"other Pods": {[]podtest.Entry{aes256(db1, 1), aes256(db1, 2), aes256("a@R", 1)},
			`no key for ` + db0 + `; it has keys for ` + db1 + ` and a@R`},
		"a thousand": {many, `no key for ` + db0 + `; it has keys for HTTP/db-000.x@EXAMPLE.COM, HTTP/db-001.x@EXAMPLE.COM, HTTP/db-002.x@EXAMPLE.COM, HTTP/db-003.x@EXAMPLE.COM, HTTP/db-004.x@EXAMPLE.COM and 995 more`},
		"another realm": {[]podtest.Entry{aes256("HTTP/db-0.db.default.svc.cluster.local@OTHER.EXAMPLE", 1)},
			`no key for ` + db0 + ` (there is HTTP/db-0.db.default.svc.cluster.local@OTHER.EXAMPLE, in another realm: is OTHER.EXAMPLE the right one?); it has keys for HTTP/db-0.db.default.svc.cluster.local@OTHER.EXAMPLE`},
		"two other realms": {[]podtest.Entry{aes256("HTTP/db-0.db.default.svc.cluster.local@Z.EXAMPLE", 1), aes256("HTTP/db-0.db.default.svc.cluster.local@B.EXAMPLE", 1)},
			`no key for ` + db0 + ` (there is HTTP/db-0.db.default.svc.cluster.local@B.EXAMPLE, in another realm: is B.EXAMPLE the right one?); it has keys for HTTP/db-0.db.default.svc.cluster.local@B.EXAMPLE and HTTP/db-0.db.default.svc.cluster.local@Z.EXAMPLE`},
		"the realm in another case": {[]podtest.Entry{aes256("HTTP/db-0.db.default.svc.cluster.local@example.com", 1)},
			`no key for ` + db0 + ` (there is HTTP/db-0.db.default.svc.cluster.local@example.com, in another realm: is example.com the right one?); it has keys for HTTP/db-0.db.default.svc.cluster.local@example.com`},
		"another case": {[]podtest.Entry{aes256("http/DB-0.db.default.svc.cluster.local@EXAMPLE.COM", 1)},
			`no key for ` + db0 + ` (there is http/DB-0.db.default.svc.cluster.local@EXAMPLE.COM, and case counts: make the key for the name in lower case and the realm as it is); it has keys for http/DB-0.db.default.svc.cluster.local@EXAMPLE.COM`},
		"a computer account of Active Directory": {[]podtest.Entry{aes256("DB-0$@EXAMPLE.COM", 1)},
			`no key for db-0$@EXAMPLE.COM (there is DB-0$@EXAMPLE.COM, and case counts: a computer account of Active Directory is {HOSTNAME}$ in PODFQDN_KRB5_PRINCIPALS); it has keys for DB-0$@EXAMPLE.COM`},
		"the short hostname": {[]podtest.Entry{aes256("HTTP/db-0@EXAMPLE.COM", 1)},
			`no key for ` + db0 + ` (there is HTTP/db-0@EXAMPLE.COM, for the short hostname only: clients ask for the whole name, so make the key for that); it has keys for HTTP/db-0@EXAMPLE.COM`},
		"only RC4": {[]podtest.Entry{aes256(db0, 4, enctype(23, 16))},
			`no key for ` + db0 + ` (its newest version 4 has no usable key, as RC4 is deprecated (RFC 8429): ` + types + `); it has keys for ` + db0},
		"only RC4 in the newest": {[]podtest.Entry{aes256(db0, 3), aes256(db0, 4, enctype(23, 16)), aes256(db0, 4, enctype(16, 24))},
			`no key for ` + db0 + ` (its newest version 4 has no usable key, as RC4 is deprecated (RFC 8429) and triple DES is deprecated (RFC 8429): ` + types + `); it has keys for ` + db0},
		"only Camellia": {[]podtest.Entry{aes256(db0, 4, enctype(26, 32))},
			`no key for ` + db0 + ` (its newest version 4 has no usable key, as camellia256-cts-cmac is not allowed: ` + types + `); it has keys for ` + db0},
		"an unknown type": {[]podtest.Entry{aes256(db0, 4, enctype(-7, 32))},
			`no key for ` + db0 + ` (its newest version 4 has no usable key, as etype -7 is not allowed: ` + types + `); it has keys for ` + db0},
		"a key that is too short": {[]podtest.Entry{aes256(db0, 4, enctype(18, 16))},
			`no key for ` + db0 + ` (its newest version 4 has no usable key, as its aes256-cts-hmac-sha1-96 key has the wrong length: ` + types + `); it has keys for ` + db0},
		"names that cannot be shown": {[]podtest.Entry{aes256("a\xff@R", 1), aes256("b\x1b[2J@R", 1)},
			`no key for ` + db0 + `; it has keys for 2 principals whose names are not printable`},
	} {
		entries, err := kerberos.Select(parsed(t, podtest.KeytabOf(test.entries...)), principals(t, strings.TrimSuffix(strings.Fields(test.want)[3], ";")), kerberos.Enctypes{})
		missing, ok := errors.AsType[*kerberos.Missing](err)
		if !ok || entries != nil {
			t.Errorf("%s: %d entries, %v", name, len(entries), err)
			continue
		}
		missing.Source = "/keytabs"
		if got := err.Error(); got != `"/keytabs" has `+test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, `"/keytabs" has `+test.want)
		}
		for _, m := range test.entries {
			checkSilent(t, name, err.Error(), m.Key)
		}
	}
}

func TestAllThatIsMissingIsSaidAtOnce(t *testing.T) {
	_, err := kerberos.Select(parsed(t, podtest.KeytabOf(aes256(db0, 1))), principals(t, "a@R", db0, "b@R"), kerberos.Enctypes{})
	missing, ok := errors.AsType[*kerberos.Missing](err)
	if !ok || len(missing.Lacks) != 2 || missing.Lacks[0].Principal.String() != "a@R" || missing.Lacks[1].Principal.String() != "b@R" ||
		!slices.Equal(missing.Found, principals(t, db0)) {
		t.Errorf("%+v", err)
	}
}
