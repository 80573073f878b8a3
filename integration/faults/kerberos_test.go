//go:build faults

package faults

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const (
	http0 = "HTTP/" + db0 + "@EXAMPLE.COM"
	http1 = "HTTP/db-1.db.default.svc.cluster.local@EXAMPLE.COM"
)

// keyOf gives the key of an entry. It is printable, so that it looks the same however it is quoted.
func keyOf(entry string) []byte {
	sum := sha256.Sum256([]byte(entry))
	return []byte(base32.StdEncoding.EncodeToString(sum[:]))[:32]
}

// keytab gives one with such entries: PRINCIPAL[:VERSION[:ENCTYPE]], where 1 and 18, AES of 256 bits, go without saying.
func keytab(entries ...string) []byte {
	file := []byte{5, 2}
	for _, entry := range entries {
		file = append(file, record(entry)...)
	}
	return file
}

// record is an entry as a keytab has it, with its length.
func record(entry string) []byte {
	principal, numbers, _ := strings.Cut(entry, ":")
	name, realm, _ := strings.Cut(principal, "@")
	var version uint32 = 1
	var enctype uint16 = 18
	for i, text := range strings.Split(numbers, ":") {
		fmt.Sscan(text, []any{&version, &enctype}[i])
	}
	var b []byte
	part := func(s []byte) { b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	components := strings.Split(name, "/")
	b = binary.BigEndian.AppendUint16(b, uint16(len(components)))
	part([]byte(realm))
	for _, c := range components {
		part([]byte(c))
	}
	b = binary.BigEndian.AppendUint32(b, 1)             // KRB5_NT_PRINCIPAL
	b = binary.BigEndian.AppendUint32(b, 1_700_000_000) // written then
	b = append(b, byte(version))
	b = binary.BigEndian.AppendUint16(b, enctype)
	part(keyOf(entry))
	b = binary.BigEndian.AppendUint32(b, version)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// ring is what a Pod with Kerberos has besides.
type ring struct {
	keys    string   // the volume for its keys; "" is a Pod without Kerberos
	entries []string // whose keys were ever in its source
}

// kerberos has the Pod need the keys of http0, from a folder that has these.
func (l *life) kerberos(entries ...string) {
	l.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "podfqdn-faults-")
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { os.RemoveAll(dir) })
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil || stat.Type != 0x01021994 {
		l.Fatalf("/dev/shm is no tmpfs, on which keys are published: mount one there (%v)", err)
	}
	l.keys = dir
	l.environ = append(l.environ, "PODFQDN_KRB5_PRINCIPALS=HTTP/{fqdn}", "PODFQDN_KRB5_REALM=EXAMPLE.COM",
		"PODFQDN_KRB5_SOURCE="+filepath.Join(l.root, "keytabs"), "PODFQDN_KRB5_DIR="+dir)
	l.source(entries...)
}

// source has the Pod's source be a folder with one keytab.
func (l *life) source(entries ...string) {
	l.Helper()
	l.entries = append(l.entries, entries...)
	l.sourceIs(map[string][]byte{"all.keytab": keytab(entries...)})
}

// sourceIs has it be a folder with these files.
func (l *life) sourceIs(files map[string][]byte) {
	l.Helper()
	dir := filepath.Join(l.root, "keytabs")
	err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755))
	for name, data := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	if err != nil {
		l.Fatal(err)
	}
}

// hasKeys sees that the keys of these entries are published, and no others.
func (l *life) hasKeys(entries ...string) {
	l.Helper()
	if got, err := os.ReadFile(filepath.Join(l.keys, "keytab")); err != nil || !bytes.Equal(got, keytab(entries...)) {
		l.Errorf("the published keytab is not that of %q: %v, %d bytes", entries, err, len(got))
	}
}

// secrets sees that no key is where it does not belong (I5): in no output, in nothing that everybody mounts, and in the
// volume for keys only this Pod's.
func (l *life) secrets(e end) {
	l.Helper()
	texts := map[string][]byte{"the log": []byte(e.log), "the reason": []byte(e.reason)}
	for what, dir := range map[string]string{"identity": l.dir(), "keys": l.keys} {
		if dir == "" {
			continue
		}
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			name := what + " " + strings.TrimPrefix(path, dir)
			texts[name], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			l.Errorf("I5: %v", err)
		}
	}
	for _, entry := range l.entries {
		principal, _, _ := strings.Cut(entry, ":")
		for where, text := range texts {
			own := principal == http0 && strings.HasPrefix(where, "keys ") && filepath.Base(where) == "keytab"
			if form := shows(text, keyOf(entry)); form != "" && !own {
				l.Errorf("I5: the key of %s is in %s, %s", entry, where, form)
			}
		}
	}
}

// shows tells how a text shows eight bytes of a key or more; "" if it does not.
func shows(text, key []byte) (form string) {
	const least = 8
	for form, of := range map[string]func([]byte) []string{
		"as it is": func(b []byte) []string { return []string{string(b)} },
		"in hex": func(b []byte) []string {
			return []string{hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b))}
		},
		"in base64": func(b []byte) (all []string) {
			for before := range 3 { // bytes of something else
				s := base64.RawStdEncoding.EncodeToString(append(make([]byte, before), b...))
				s = s[before+min(before, 1) : len(s)-2] // without what depends on others
				all = append(all, s, strings.NewReplacer("+", "-", "/", "_").Replace(s))
			}
			return all
		},
	} {
		for i := range len(key) - least + 1 {
			for _, s := range of(key[i : i+least]) {
				if bytes.Contains(text, []byte(s)) {
					return form
				}
			}
		}
	}
	return ""
}

func TestAKeyIsFoundHoweverItIsShown(t *testing.T) {
	t.Parallel()
	key := keyOf(http1)
	for name, text := range map[string]string{
		"itself": string(key), "half": string(key[16:]), "hex": fmt.Sprintf("%x", key), "HEX": fmt.Sprintf("%X", key),
		"base64": base64.StdEncoding.EncodeToString(key), "one byte before": base64.URLEncoding.EncodeToString(append([]byte("x"), key...)),
		"two bytes before": base64.StdEncoding.EncodeToString(append([]byte("xy"), key...)), "quoted": fmt.Sprintf("%+q", key),
	} {
		if shows([]byte("a "+text+" b"), key) == "" {
			t.Errorf("%s is not found", name)
		}
	}
	if form := shows([]byte(strings.Repeat(string(keyOf(http0)), 9)), key); form != "" {
		t.Errorf("another key is taken for it, %s", form)
	}
	for name, c := range map[string]struct {
		leak func(*life, *end)
		want string
	}{
		"nothing":                       {func(*life, *end) {}, ""},
		"another's in the log":          {func(_ *life, e *end) { e.log = fmt.Sprintf("%x", keyOf(http1)) }, "is in the log, in hex"},
		"its own in the reason":         {func(_ *life, e *end) { e.reason = string(keyOf(http0)) }, "is in the reason, as it is"},
		"its own where everybody reads": {func(l *life, _ *end) { l.write("identity/..gen-left/x", string(keyOf(http0))) }, "is in identity"},
		"another's in the Pod's keytab": {func(l *life, _ *end) { _ = os.WriteFile(l.keys+"/keytab", keytab(http0, http1), 0o600) }, "is in keys /keytab"},
		"its own in another file there": {func(l *life, _ *end) { _ = os.WriteFile(l.keys+"/krb5.conf", keytab(http0), 0o600) }, "is in keys /krb5.conf"},
		"its own in the Pod's keytab":   {func(l *life, _ *end) { _ = os.WriteFile(l.keys+"/keytab", keytab(http0), 0o600) }, ""},
		"another's in a leftover folder": {func(l *life, _ *end) {
			_ = os.Mkdir(l.keys+"/..gen-x", 0o700)
			_ = os.WriteFile(l.keys+"/..gen-x/keytab", keytab(http1), 0o600)
		}, "is in keys /..gen-x/keytab"},
	} {
		l := &life{pod: lay(t)}
		l.kerberos(http0, http1)
		r := &recorder{TB: t}
		var e end
		c.leak(l, &e)
		l.pod.TB = r
		l.secrets(e)
		if told := strings.Join(r.told, "\n"); (told == "") != (c.want == "") || !strings.Contains(told, c.want) {
			t.Errorf("%s: told %q, not %q", name, told, c.want)
		}
	}
}

var _ = slices.Sort[[]int]
