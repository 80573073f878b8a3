package kerberos_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity/kerberos"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// aes256 returns an entry for a principal "A/B@REALM" as MIT krb5 1.14 writes it.
func aes256(principal string, version uint32, changes ...func(*podtest.Entry)) podtest.Entry {
	e := podtest.ParseEntry(fmt.Sprintf("%s:%d", principal, version))
	for _, change := range changes {
		change(&e)
	}
	return e
}

// keyOf returns the key of such an entry, cut to a length of at most 32.
func keyOf(principal string, version uint32, length int) []byte {
	return podtest.Key(fmt.Sprintf("%s:%d", principal, version))[:length]
}

// hole returns a hole of n bytes.
func hole(n int) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(-int32(n))), make([]byte, n)...)
}

const (
	db0 = "HTTP/db-0.db.default.svc.cluster.local@EXAMPLE.COM"
	db1 = "HTTP/db-1.db.default.svc.cluster.local@EXAMPLE.COM"
)

// parsed reads a keytab that is one.
func parsed(t testing.TB, data []byte) []kerberos.Entry {
	t.Helper()
	entries, err := kerberos.ParseKeytab(data)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestAKeytabIsReadAsItWasWritten(t *testing.T) {
	first := aes256(db0, 3)
	second := aes256("user@EXAMPLE.COM", 4, func(m *podtest.Entry) { m.Enctype, m.Time, m.NameType = 17, 0xffffffff, 0x80000000; m.Key = m.Key[:16] })
	third := aes256("caf\u00e9\x1b[2J@EXAMPLE.COM", 5)
	entries := parsed(t, podtest.KeytabOf(first, second, third))
	if len(entries) != 3 {
		t.Fatalf("%d entries", len(entries))
	}
	for i, want := range []string{
		db0 + ", version 3, aes256-cts-hmac-sha1-96",
		"user@EXAMPLE.COM, version 4, aes128-cts-hmac-sha1-96",
		`"caf\u00e9\x1b[2J@EXAMPLE.COM", version 5, aes256-cts-hmac-sha1-96`,
	} {
		if got := entries[i].String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		m := []podtest.Entry{first, second, third}[i]
		if !bytes.Equal(entries[i].Key(), m.Key) || !bytes.Equal(entries[i].Record(), m.Record()[4:]) || entries[i].Time != m.Time {
			t.Errorf("entry %d is another: %q at %d", i, entries[i].Record(), entries[i].Time)
		}
	}
}

// The rules of kt_file.c: the 32-bit number counts if there is room for it and
// it is not 0.
func TestTheKeyVersionIsThe32BitOneWhereThereIsOne(t *testing.T) {
	number := func(n uint32, more ...byte) []byte { return append(binary.BigEndian.AppendUint32(nil, n), more...) }
	for _, test := range []struct {
		vno8 uint8
		tail []byte
		want uint32
	}{
		{0, nil, 0},
		{0, number(0), 0},
		{7, nil, 7},
		{7, number(0), 7},
		{7, []byte{0, 0, 1}, 7},
		{255, number(255), 255},
		{0, number(256), 256},
		{44, number(300), 300},
		{44, number(300, 1, 2, 3), 300},
		{1, number(2), 2},
		{255, number(math.MaxUint32), math.MaxUint32},
		{0, number(5), 5},
	} {
		m := aes256(db0, 1, func(m *podtest.Entry) { m.Version8, m.Tail = test.vno8, test.tail })
		data := podtest.KeytabOf(m)
		entries := parsed(t, data)
		if entries[0].Version != test.want || !bytes.Equal(kerberos.WriteKeytab(entries), data) {
			t.Errorf("%d and %x: version %d, written as %x", test.vno8, test.tail, entries[0].Version, kerberos.WriteKeytab(entries))
		}
	}
}

func TestHolesAreSkippedAndALengthOf0EndsTheFile(t *testing.T) {
	one := podtest.KeytabOf(aes256(db0, 1))[2:]
	two := podtest.KeytabOf(aes256(db1, 1))[2:]
	end := []byte{0, 0, 0, 0}
	for name, test := range map[string]struct {
		data []byte
		want int
	}{
		"no entry at all":      {[]byte{5, 2}, 0},
		"only a hole":          {slices.Concat([]byte{5, 2}, hole(7)), 0},
		"a hole before":        {slices.Concat([]byte{5, 2}, hole(1), one), 1},
		"a hole between":       {slices.Concat([]byte{5, 2}, one, hole(120), two), 2},
		"two holes at the end": {slices.Concat([]byte{5, 2}, one, two, hole(33), hole(1)), 2},
		"an end":               {slices.Concat([]byte{5, 2}, one, end, two), 1},
		"an end and garbage":   {slices.Concat([]byte{5, 2}, one, end, []byte("garbage")), 1},
		"only an end":          {slices.Concat([]byte{5, 2}, end), 0},
	} {
		if entries := parsed(t, test.data); len(entries) != test.want {
			t.Errorf("%s: %d entries, want %d", name, len(entries), test.want)
		}
	}
}

func TestTrailingBytesOfAnEntryAreKept(t *testing.T) {
	m := aes256(db0, 9, func(m *podtest.Entry) { m.Tail = append(m.Tail, "what an earlier entry left"...) })
	data := slices.Concat([]byte{5, 2}, hole(5), podtest.KeytabOf(m)[2:])
	if got := kerberos.WriteKeytab(parsed(t, data)); !bytes.Equal(got, podtest.KeytabOf(m)) {
		t.Errorf("%q", got)
	}
}

func TestWhatIsNoKeytabIsRefusedWithAReason(t *testing.T) {
	entry := func(change func(*podtest.Entry)) []byte { return podtest.KeytabOf(aes256(db0, 1, change)) }
	within := func(length uint32) []byte {
		data := podtest.KeytabOf(aes256(db0, 1))
		binary.BigEndian.PutUint32(data[2:], length)
		return data
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":                      {nil, "is empty"},
		"text":                       {[]byte("[libdefaults]\n"), "is not a keytab: a keytab begins with the bytes 0x05 0x02"},
		"a ticket cache":             {[]byte{5, 4, 0, 12}, "is not a keytab: a keytab begins with the bytes 0x05 0x02"},
		"one byte":                   {[]byte{5}, "is damaged at byte 1: the file ends within its format"},
		"format 0x0501":              {[]byte{5, 1, 0, 0}, "is a keytab of format 0x0501, which depends on the machine that wrote it: read it there with ktutil (rkt) and write it again (wkt)"},
		"half a length":              {[]byte{5, 2, 0, 0}, "is damaged at byte 2: the file ends within a length"},
		"a hole beyond the end":      {[]byte{5, 2, 0xff, 0xff, 0xff, 0xf0}, "is damaged at byte 2: the file ends within an entry or a hole"},
		"the least length":           {[]byte{5, 2, 0x80, 0, 0, 0}, "is damaged at byte 2: the file ends within an entry or a hole"},
		"the greatest length":        {[]byte{5, 2, 0x7f, 0xff, 0xff, 0xff}, "is damaged at byte 2: the file ends within an entry or a hole"},
		"an entry of one byte":       {[]byte{5, 2, 0, 0, 0, 1, 0}, "is damaged at byte 6: an entry ends within the count of its components"},
		"no component":               {entry(func(m *podtest.Entry) { m.Components = nil }), "is damaged at byte 8: the count of its components is out of range"},
		"an empty component":         {entry(func(m *podtest.Entry) { m.Components = []string{"HTTP", ""} }), "is damaged at byte 29: the length of a component is out of range"},
		"an empty realm":             {entry(func(m *podtest.Entry) { m.Realm = "" }), "is damaged at byte 10: the length of its realm is out of range"},
		"an empty key":               {entry(func(m *podtest.Entry) { m.Key = nil }), "is damaged at byte 75: the length of its key is out of range"},
		"a length beyond 15 bits":    {entry(func(m *podtest.Entry) { m.Realm = strings.Repeat("R", 1<<15) }), "is damaged at byte 10: the length of its realm is out of range"},
		"an entry that is cut off":   {within(90), "is damaged at byte 75: an entry ends within its key"},
		"an entry without name type": {within(58), "is damaged at byte 62: an entry ends within its name type"},
	} {
		entries, err := kerberos.ParseKeytab(test.data)
		if err == nil || err.Error() != test.want || entries != nil {
			t.Errorf("%s: %d entries,\ngot  %v\nwant %s", name, len(entries), err, test.want)
		}
	}
}

// A cut between two entries cannot be told from a keytab with fewer.
func TestAKeytabCutOffAtAnyByteIsDamagedOrHasFewerEntries(t *testing.T) {
	data := slices.Concat(podtest.KeytabOf(aes256(db0, 1), aes256(db0, 2)), hole(9), podtest.KeytabOf(aes256(db1, 300))[2:])
	one := len(podtest.KeytabOf(aes256(db0, 1)))
	whole := map[int]int{2: 0, one: 1, 2*one - 2: 2, 2*one - 2 + 13: 2, len(data): 3}
	for n := range len(data) + 1 {
		entries, err := kerberos.ParseKeytab(data[:n:n])
		want, ok := whole[n]
		switch {
		case ok && (err != nil || len(entries) != want):
			t.Errorf("%d bytes: %d entries, %v; want %d", n, len(entries), err, want)
		case !ok && err == nil:
			t.Errorf("%d bytes are a keytab with %d entries", n, len(entries))
		case !ok:
			checkMalformed(t, err, n)
		}
	}
}

// An error of the reader is one of its sentences and an offset: nothing that
// it read, which may be a key where a file is damaged.
var sentences = regexp.MustCompile(`^(is empty` +
	`|is a keytab in base64: put the decoded bytes there .*` +
	`|is not a keytab: a keytab begins with the bytes 0x05 0x02` +
	`|is a keytab of format 0x0501, which depends on the machine that wrote it: read it there with ktutil \(rkt\) and write it again \(wkt\)` +
	`|is damaged at byte (\d+): (the file ends within (its format|a length|an entry or a hole)` +
	`|the count of its components is out of range|the length of (its realm|a component|its key) is out of range` +
	`|an entry ends within (the count of its components|the length of (its realm|a component|its key)|its realm|a component|its name type|its time|its key version|its encryption type|its key)))$`)

func checkMalformed(t testing.TB, err error, length int) {
	t.Helper()
	match := sentences.FindStringSubmatch(err.Error())
	if match == nil {
		t.Fatalf("an error of its own: %q", err)
	}
	at := 0
	if _, err := fmt.Sscan(match[2], &at); match[2] != "" && (err != nil || at > length) {
		t.Errorf("%q of %d bytes", match[2], length)
	}
}

// mit are keytabs that MIT krb5 1.20 wrote.
func mit(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "mit", "*.keytab"))
	if err != nil || len(paths) < 5 {
		t.Fatalf("%d keytabs of MIT krb5 in the corpus, %v", len(paths), err)
	}
	files := map[string][]byte{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = data
	}
	return files
}

func TestKeytabsOfMITAreReadAsKlistReadsThem(t *testing.T) {
	for name, data := range mit(t) {
		want, err := os.ReadFile(filepath.Join("testdata", "mit", strings.TrimSuffix(name, ".keytab")+".klist"))
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, e := range parsed(t, data) {
			weak := ""
			if slices.Contains([]kerberos.Enctype{16, 23}, e.Enctype) {
				weak = "DEPRECATED:"
			}
			fmt.Fprintf(&got, "%d %s (%s%s)  (0x%x)\n", e.Version, e.Principal, weak, e.Enctype, e.Key())
		}
		if got.String() != string(want) {
			t.Errorf("%s:\ngot\n%s\nwant\n%s", name, &got, want)
		}
	}
}
