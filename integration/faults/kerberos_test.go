//go:build faults

package faults

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/identity/podtest"
)

const (
	http0 = "HTTP/" + db0 + "@EXAMPLE.COM"
	hdfs0 = "hdfs/" + db0 + "@EXAMPLE.COM"
	http1 = "HTTP/db-1.db.default.svc.cluster.local@EXAMPLE.COM"
)

// ring is what a Pod with Kerberos has in addition.
type ring struct {
	keys    string   // the volume for its keys; "" is a Pod without Kerberos
	entries []string // whose keys were ever in its source
	mounted bool     // keys is a file system of the test's own
}

// kerberos has the Pod need the keys of http0, from a directory that has these.
func (l *life) kerberos(entries ...string) {
	l.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "podfqdn-faults-")
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { os.RemoveAll(dir) })
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil || stat.Type != 0x01021994 {
		l.Fatalf("/dev/shm is not a tmpfs, on which keys are published: mount one there (%v)", err)
	}
	l.keys = dir
	l.environ = append(l.environ, "PODFQDN_KRB5_PRINCIPALS=HTTP/{fqdn}", "PODFQDN_KRB5_REALM=EXAMPLE.COM",
		"PODFQDN_KRB5_SOURCE="+filepath.Join(l.root, "keytabs"), "PODFQDN_KRB5_DIR="+dir)
	l.source(entries...)
}

// source has the Pod's source be a directory with one keytab.
func (l *life) source(entries ...string) {
	l.Helper()
	l.entries = append(l.entries, entries...)
	l.sourceIs(map[string][]byte{"all.keytab": podtest.Keytab(entries...)})
}

// sourceIs has it be a directory with these files.
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

// hasKeys checks that the keys of these entries are published, and no others.
func (l *life) hasKeys(entries ...string) {
	l.Helper()
	if got, err := os.ReadFile(filepath.Join(l.keys, "keytab")); err != nil || !bytes.Equal(got, podtest.Keytab(entries...)) {
		l.Errorf("the published keytab is not that of %q: %v, %d bytes", entries, err, len(got))
	}
}

// secrets checks that no key is where it does not belong (I5): in no output, in nothing that everybody mounts, and in the
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
			own := slices.Contains([]string{http0, hdfs0}, principal) && strings.HasPrefix(where, "keys ") && filepath.Base(where) == "keytab"
			if form := shows(text, podtest.Key(entry)); form != "" && !own {
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
	key := podtest.Key(http1)
	for name, text := range map[string]string{
		"itself": string(key), "half": string(key[16:]), "hex": fmt.Sprintf("%x", key), "HEX": fmt.Sprintf("%X", key),
		"base64": base64.StdEncoding.EncodeToString(key), "one byte before": base64.URLEncoding.EncodeToString(append([]byte("x"), key...)),
		"two bytes before": base64.StdEncoding.EncodeToString(append([]byte("xy"), key...)), "quoted": fmt.Sprintf("%+q", key),
	} {
		if shows([]byte("a "+text+" b"), key) == "" {
			t.Errorf("%s is not found", name)
		}
	}
	if form := shows([]byte(strings.Repeat(string(podtest.Key(http0)), 9)), key); form != "" {
		t.Errorf("another key is taken for it, %s", form)
	}
	for name, c := range map[string]struct {
		leak func(*life, *end)
		want string
	}{
		"nothing":                       {func(*life, *end) {}, ""},
		"another's in the log":          {func(_ *life, e *end) { e.log = fmt.Sprintf("%x", podtest.Key(http1)) }, "is in the log, in hex"},
		"its own in the reason":         {func(_ *life, e *end) { e.reason = string(podtest.Key(http0)) }, "is in the reason, as it is"},
		"its own where everybody reads": {func(l *life, _ *end) { l.write("identity/..gen-left/x", string(podtest.Key(http0))) }, "is in identity"},
		"another's in the Pod's keytab": {func(l *life, _ *end) { _ = os.WriteFile(l.keys+"/keytab", podtest.Keytab(http0, http1), 0o600) }, "is in keys /keytab"},
		"its own in another file there": {func(l *life, _ *end) { _ = os.WriteFile(l.keys+"/krb5.conf", podtest.Keytab(http0), 0o600) }, "is in keys /krb5.conf"},
		"its own in the Pod's keytab":   {func(l *life, _ *end) { _ = os.WriteFile(l.keys+"/keytab", podtest.Keytab(http0), 0o600) }, ""},
		"another's in a leftover directory": {func(l *life, _ *end) {
			_ = os.Mkdir(l.keys+"/..gen-x", 0o700)
			_ = os.WriteFile(l.keys+"/..gen-x/keytab", podtest.Keytab(http1), 0o600)
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

// sourceFile has the source be one file.
func (l *life) sourceFile(data []byte) {
	l.Helper()
	path := filepath.Join(l.root, "keytabs")
	if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, data, 0o600)); err != nil {
		l.Fatal(err)
	}
}

// do fails the test with the first error.
func (l *life) do(errs ...error) {
	l.Helper()
	if err := errors.Join(errs...); err != nil {
		l.Fatal(err)
	}
}

// A case is what becomes of the source, or of the volume for keys, and how the run ends.
func TestKerberos(t *testing.T) {
	t.Parallel()
	const holes = 5000
	hole := append(binary.BigEndian.AppendUint32(nil, 1<<32-20), make([]byte, 20)...)
	rc4 := func(n int) string { return fmt.Sprintf("%s:1:%d", http0, n) }
	for name, c := range map[string]struct {
		entries []string // of the source
		lay     func(l *life)
		later   func(l *life, r *running)
		code    int
		says    string
		keys    []string // that are published; else none, or those of http0
		environ []string
	}{
		"no source":          {lay: func(l *life) { l.do(os.RemoveAll(l.root + "/keytabs")) }, code: 14, says: "does not exist: mount what holds the keys there"},
		"an empty directory": {lay: func(l *life) { l.sourceIs(nil) }, code: 14, says: "it has nothing"},
		"an empty file":      {lay: func(l *life) { l.sourceFile(nil) }, code: 14, says: "is empty"},
		"a text":             {lay: func(l *life) { l.sourceFile([]byte("no keytab\n")) }, code: 14, says: "is not a keytab"},
		"NUL":                {lay: func(l *life) { l.sourceFile(make([]byte, 4096)) }, code: 14, says: "is not a keytab"},
		"one byte":           {lay: func(l *life) { l.sourceFile([]byte{5}) }, code: 14, says: "the file ends within its format"},
		"no entry":           {lay: func(l *life) { l.sourceFile([]byte{5, 2}) }, code: 14, says: "it has nothing"},
		"the old format":     {lay: func(l *life) { l.sourceFile(append([]byte{5, 1}, podtest.Keytab(http0)[2:]...)) }, code: 14, says: "format 0x0501"},
		"huge":               {lay: func(l *life) { l.sourceFile(podtest.Keytab(http0)); l.do(os.Truncate(l.root+"/keytabs", 1<<30)) }, code: 14, says: "is too large"},
		"thousands of files": {lay: func(l *life) {
			files := map[string][]byte{}
			for i := range 4097 {
				files[fmt.Sprint(i)] = nil
			}
			l.sourceIs(files)
		}, code: 14, says: "more than 4096 files"},
		"thousands of holes": {lay: func(l *life) {
			l.sourceFile(slices.Concat([]byte{5, 2}, bytes.Repeat(hole, holes), podtest.ParseEntry(http0).Record(), bytes.Repeat(hole, holes)))
		}},
		"a hole beyond the end": {lay: func(l *life) { l.sourceFile(append(podtest.Keytab(http0), hole[:10]...)) }, code: 14, says: "is damaged at byte"},
		"a FIFO":                {lay: func(l *life) { l.do(os.RemoveAll(l.root+"/keytabs"), syscall.Mkfifo(l.root+"/keytabs", 0o600)) }, code: 10, says: "neither a file nor a directory"},
		"a device":              {lay: func(l *life) { l.do(os.RemoveAll(l.root+"/keytabs"), os.Symlink("/dev/zero", l.root+"/keytabs")) }, code: 10, says: "neither a file nor a directory"},
		"a link to itself":      {lay: func(l *life) { l.do(os.RemoveAll(l.root+"/keytabs"), os.Symlink("keytabs", l.root+"/keytabs")) }, code: 14, says: "too many levels of symbolic links"},
		"much else that is not read": {lay: func(l *life) {
			in := l.root + "/keytabs/"
			l.do(syscall.Mkfifo(in+"fifo", 0o600), os.Symlink("/dev/zero", in+"zero"), os.Symlink("loop", in+"loop"), os.Symlink("nowhere", in+"nowhere"),
				os.Mkdir(in+"directory", 0o755), os.WriteFile(in+"text", []byte("text"), 0o600), os.WriteFile(in+"cut", podtest.Keytab(http1)[:70], 0o600),
				os.WriteFile(in+"\x1b[31m\n", podtest.Keytab(http1)[:70], 0o600))
			l.entries = append(l.entries, http1)
		}},
		"keys of others":           {entries: []string{http1, "hdfs/db-0@EXAMPLE.COM"}, code: 14, says: "it has keys for HTTP/db-1.db.default.svc.cluster.local@EXAMPLE.COM and hdfs/db-0@EXAMPLE.COM"},
		"with escapes in a name":   {entries: []string{"HTTP/\x1b[31mdb-0\x07@EXAMPLE.COM"}, code: 14, says: "has no key for " + http0},
		"another realm":            {entries: []string{"HTTP/" + db0 + "@example.com"}, code: 14, says: "in another realm"},
		"another case":             {entries: []string{"http/" + db0 + "@EXAMPLE.COM"}, code: 14, says: "case counts"},
		"the short name":           {entries: []string{"HTTP/db-0@EXAMPLE.COM"}, code: 14, says: "for the short hostname only"},
		"RC4":                      {entries: []string{rc4(23)}, code: 14, says: "RC4"},
		"DES":                      {entries: []string{rc4(3)}, code: 14, says: "DES"},
		"a type that nobody knows": {entries: []string{rc4(99)}, code: 14, says: "99"},
		"a key that is too long":   {entries: []string{rc4(17)}, code: 14, says: "key has the wrong length"},
		"two versions":             {entries: []string{http0 + ":1", http1, http0 + ":3", http0 + ":2"}, keys: []string{http0 + ":3", http0 + ":2"}},
		"it comes late": {entries: []string{http1}, later: func(l *life, r *running) {
			r.says("has no key for")
			l.source(http1, http0)
		}},
		"it comes late and by halves": {entries: []string{http1}, later: func(l *life, r *running) {
			r.says("has no key for")
			l.entries = append(l.entries, http0)
			path := filepath.Join(l.root, "keytabs/all.keytab")
			for n := range podtest.Keytab(http0) { // in place
				l.do(os.WriteFile(path, podtest.Keytab(http0)[:n+1], 0o600))
			}
		}},
		"a volume on a disk":  {environ: []string{"PODFQDN_KRB5_DIR={root}/disk"}, lay: func(l *life) { l.do(os.Mkdir(l.root+"/disk", 0o755)) }, code: 10, says: "is on a disk, where keys would stay after the Pod: make it an emptyDir with medium: Memory"},
		"no volume":           {environ: []string{"PODFQDN_KRB5_DIR={root}/none"}, code: 13, says: "does not exist"},
		"one volume for both": {environ: []string{"PODFQDN_KRB5_DIR={root}/identity"}, code: 10, says: "which everybody can read"},
		"a source for all":    {environ: []string{"PODFQDN_KRB5_SOURCE={root}/identity"}, code: 10, says: "which the application reads"},
		"a read-only volume":  {lay: func(l *life) { l.mount("", syscall.MS_RDONLY) }, code: 13, says: "must not be readOnly"},
		"a full volume": {lay: func(l *life) {
			l.mount("size=64k", 0)
			if err := os.WriteFile(l.keys+"/fill", make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
				l.Fatal(err)
			}
		}, code: 13, says: "sizeLimit"},
		"a volume with too little room": {lay: func(l *life) { l.mount("size=64k,nr_inodes=8", 0) }, code: 13, says: "sizeLimit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLife(t, "Kerberos")
			l.timeout = 2 * time.Second
			l.cluster.Publish(ours())
			if c.entries == nil {
				c.entries = []string{http0, http1}
			}
			l.kerberos(c.entries...)
			plain := slices.Clone(l.environ)
			for _, v := range c.environ {
				l.environ = append(l.environ, strings.ReplaceAll(v, "{root}", l.root))
			}
			if c.lay != nil {
				c.lay(l)
			}
			if c.later != nil || c.code == 0 {
				l.timeout = 20 * time.Second
			}
			reader := l.reader()
			r := l.start(exec.Command(podfqdn, "init"))
			if c.later != nil {
				c.later(l, r)
			}
			e := r.wait()
			reader()
			if e.code == 10 {
				// The volumes are as they were: what another Pod left has no keys here.
				l.invariants(e)
				l.secrets(e)
			} else {
				l.check(e)
			}
			if e.code != c.code || !strings.Contains(e.reason, c.says) {
				t.Errorf("ended with %d, %q, not with %d, %q\n%s", e.code, e.reason, c.code, c.says, e.log)
			}
			if _, err := os.Stat(l.keys + "/keytab"); e.code != 0 && err == nil {
				t.Errorf("exit code %d, and there is a keytab", e.code)
			}
			if c.keys == nil {
				c.keys = []string{http0}
			}
			if e.code == 0 {
				l.hasKeys(c.keys...)
			}
			l.environ = plain
			if l.mounted {
				l.do(syscall.Unmount(l.keys, 0))
			}
			if e.code == 0 && len(c.keys) > 1 {
				return // what comes now would be older
			}
			l.again()
		})
	}
}

// mount has the rest of this test, and what it starts, see a file system of its own as the volume for keys.
func (l *life) mount(options string, flags uintptr) {
	l.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test
	l.do(syscall.Unshare(syscall.CLONE_NEWNS), syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	if err := syscall.Mount("tmpfs", l.keys, "tmpfs", flags, options); err != nil {
		l.Fatalf("mount a tmpfs: %v: this test is root's", err)
	}
	l.mounted = true
}

// A keytab that is cut or written over at any place is waited for, and nothing of it is shown.
func TestAKeytabThatIsDamagedAnywhere(t *testing.T) {
	good := podtest.Keytab(http1, http0, http1)
	damaged := map[string][]byte{}
	for at := 2; at < len(good); at++ {
		damaged[fmt.Sprintf("cut at %d", at)] = good[:at]
		// The 1 of http1 becomes no 0: whose key it is says the keytab alone.
		for _, to := range []byte{0x00, 0xff, good[at] ^ 2} {
			other := slices.Clone(good)
			other[at] = to
			damaged[fmt.Sprintf("%d is %#x", at, to)] = other
		}
	}
	t.Run("all in one directory", func(t *testing.T) {
		t.Parallel()
		l := newLife(t, "Kerberos")
		l.cluster.Publish(ours())
		l.kerberos(http1, http0)
		files := map[string][]byte{}
		for name, data := range damaged {
			if strings.HasPrefix(name, "cut") {
				files[name] = data
			}
		}
		l.sourceIs(files)
		l.timeout = 3 * time.Second
		e := l.init()
		l.check(e)
		// Where it is cut between two entries it is whole.
		if e.code != 0 || !strings.Contains(e.log, "a file of the source was not read") {
			t.Errorf("exit code %d: %s", e.code, e.reason)
		}
		l.hasKeys(http0)
		l.again()
	})
	const workers = 8
	names := slices.Sorted(maps.Keys(damaged))
	for worker := range workers {
		t.Run(fmt.Sprint("worker ", worker), func(t *testing.T) {
			t.Parallel()
			l := layLife(t)
			l.cluster.Publish(ours())
			l.kerberos(http1, http0)
			for i, name := range names {
				if i%workers != worker || !*long && i/workers%12 != 0 {
					continue
				}
				ran.add("Kerberos")
				l.sourceFile(damaged[name])
				l.timeout = time.Second
				r := l.start(exec.Command(podfqdn, "init"))
				e := r.wait()
				l.check(e)
				switch {
				case e.code == 0: // what is written over is a time, a name type, another's entry
					got, err := os.ReadFile(l.keys + "/keytab")
					if err != nil || len(got) < 60 || !bytes.Contains(damaged[name], got[6:]) {
						t.Errorf("%s: what is published is not in the source: %v", name, err)
					}
				case e.code != 14:
					t.Errorf("%s: exit code %d: %s", name, e.code, e.reason)
				}
				// Each begins with another Pod's identity, and without keys.
				afresh := func() {
					l.empty()
					l.leave()
					entries, err := os.ReadDir(l.keys)
					l.do(err)
					for _, entry := range entries {
						l.do(os.RemoveAll(filepath.Join(l.keys, entry.Name())))
					}
					l.truth = truth{}
				}
				if e.code == 0 {
					afresh() // what comes now may be older
				}
				l.again()
				afresh()
				l.entries = []string{http1, http0}
				if t.Failed() {
					t.Fatalf("%s: %s", name, e.log)
				}
			}
		})
	}
}

// The kubelet replaces "..data" of a Secret, again and again: what is published is one of its states, whole.
func TestAKeytabIsOfOneStateOfTheSource(t *testing.T) {
	for name, c := range map[string]struct{ path string }{
		"a directory": {"keytabs"},
		"a file":      {"keytabs/a.keytab"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := layLife(t)
			l.cluster.Publish(ours())
			l.kerberos()
			l.environ = append(l.environ, "PODFQDN_KRB5_PRINCIPALS=HTTP/{fqdn},hdfs/{fqdn}", "PODFQDN_KRB5_SOURCE="+filepath.Join(l.root, c.path))
			secret := filepath.Join(l.root, "keytabs")
			state := func(n int) (a, b []string) {
				return []string{fmt.Sprint(http0, ":", n), fmt.Sprint(http1, ":", n)}, []string{fmt.Sprint(hdfs0, ":", n)}
			}
			swap := func(n int) error {
				a, b := state(n)
				if name == "a file" {
					a = append(a, b...)
				}
				dir := fmt.Sprintf("..%d", n)
				old, _ := os.Readlink(secret + "/..data")
				err := errors.Join(os.Mkdir(filepath.Join(secret, dir), 0o755),
					os.WriteFile(filepath.Join(secret, dir, "a.keytab"), podtest.Keytab(a...), 0o600),
					os.WriteFile(filepath.Join(secret, dir, "b.keytab"), podtest.Keytab(b...), 0o600),
					os.Symlink(dir, secret+"/..data_tmp"), os.Rename(secret+"/..data_tmp", secret+"/..data"))
				if old != "" {
					err = errors.Join(err, os.RemoveAll(filepath.Join(secret, old)))
				}
				return err
			}
			l.do(os.RemoveAll(secret), os.Mkdir(secret, 0o755), swap(1),
				os.Symlink("..data/a.keytab", secret+"/a.keytab"), os.Symlink("..data/b.keytab", secret+"/b.keytab"))
			// A state stands for half a millisecond or so: a reader meets one, or two.
			done, ended := make(chan struct{}), make(chan int, 1)
			go func() {
				n := 1
				for ; ; n++ {
					select {
					case <-done:
						ended <- n
						return
					case <-time.After(time.Duration(rand.N(1000)) * time.Microsecond):
						if err := swap(n + 1); err != nil {
							l.Error(err)
						}
					}
				}
			}()
			runs, last := 25, 0
			if *long {
				runs = 500
			}
			for range runs {
				ran.add("Kerberos")
				e := l.init()
				l.check(e)
				if e.code != 0 {
					t.Fatalf("exit code %d: %s", e.code, e.reason)
				}
				got, err := os.ReadFile(l.keys + "/keytab")
				l.do(err)
				version := 0
				for n := last; version == 0 && n < last+100_000; n++ {
					if bytes.Contains(got, podtest.Key(fmt.Sprint(http0, ":", n))) {
						version = n
					}
				}
				if want := podtest.Keytab(fmt.Sprint(http0, ":", version), fmt.Sprint(hdfs0, ":", version)); !bytes.Equal(got, want) {
					t.Fatalf("what is published is not state %d", version)
				}
				if version < last {
					t.Errorf("state %d after %d", version, last)
				}
				last = version
			}
			close(done)
			if n := <-ended; last < 2 || n < runs {
				t.Errorf("only %d states, and %d was published last", n, last)
			}
			a, b := state(last)
			l.entries = append(l.entries, a[1])
			l.entries = append(l.entries, b...)
			l.secrets(end{})
		})
	}
}

// What is published stays when the source goes back, and a name that was withdrawn comes back to its keys.
func TestWhatWasPublishedWithKeysIsFoundAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(l *life) error
		code   int
		says   string // in the log
		keys   []string
	}{
		"nothing changed":         {func(*life) error { return nil }, 0, `"changed":false`, []string{http0 + ":2"}},
		"an older key":            {func(l *life) error { l.source(http0+":1", http1); return nil }, 0, "its newest version is 1, and version 2 is published", []string{http0 + ":2"}},
		"a newer key":             {func(l *life) error { l.source(http0+":3", http0+":2"); return nil }, 0, "keys published", []string{http0 + ":3", http0 + ":2"}},
		"no key any more":         {func(l *life) error { l.source(http1); return nil }, 0, "the published keys stay", []string{http0 + ":2"}},
		"no source any more":      {func(l *life) error { return os.RemoveAll(l.root + "/keytabs") }, 0, "the published keys stay", []string{http0 + ":2"}},
		"the name was withdrawn":  {func(l *life) error { return os.Remove(l.dir() + "/verified") }, 0, "published", []string{http0 + ":2"}},
		"the name is gone":        {func(l *life) error { l.empty(); return nil }, 0, "earlier keys were removed", []string{http0 + ":2"}},
		"the keys are gone":       {func(l *life) error { return os.Remove(l.keys + "/..data") }, 0, "keys published", []string{http0 + ":2"}},
		"the keytab is torn":      {func(l *life) error { return os.Truncate(l.keys+"/keytab", 40) }, 0, "earlier keys were removed", []string{http0 + ":2"}},
		"the keytab is NUL":       {func(l *life) error { return os.WriteFile(l.keys+"/keytab", make([]byte, 100), 0o600) }, 0, "earlier keys were removed", []string{http0 + ":2"}},
		"the keytab is another's": {func(l *life) error { return os.WriteFile(l.keys+"/keytab", podtest.Keytab(http1), 0o600) }, 0, "earlier keys were removed", []string{http0 + ":2"}},
		"the node was booted":     {func(l *life) error { return errors.Join(os.RemoveAll(l.keys), os.Mkdir(l.keys, 0o755)) }, 0, "keys published", []string{http0 + ":2"}},
		"and the source is gone too": {func(l *life) error {
			return errors.Join(os.RemoveAll(l.keys), os.Mkdir(l.keys, 0o755), os.RemoveAll(l.root+"/keytabs"))
		}, 14, "does not exist: mount what", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLife(t, "Kerberos")
			l.cluster.Publish(ours())
			l.kerberos(http0+":2", http1)
			if e := l.init(); e.code != 0 {
				t.Fatalf("exit code %d: %s", e.code, e.reason)
			}
			l.do(c.change(l))
			l.afresh()
			l.truth = truth{asked: true}
			// Where keys do not stand, nor does the name.
			var early error
			l.at("existence", 1, func() {
				if _, err := os.Stat(l.keys + "/verified"); err != nil && l.stands() {
					early = errors.New("the name stands at the first question, and no keys do")
				}
			})
			if c.code != 0 {
				l.timeout = 2 * time.Second
			}
			e := l.init()
			l.check(e)
			if early != nil {
				t.Errorf("I3: %v", early)
			}
			if e.code != c.code || !strings.Contains(e.log, c.says) {
				t.Errorf("ended with %d, %q, not with %d, %q\n%s", e.code, e.reason, c.code, c.says, e.log)
			}
			if c.keys != nil {
				l.hasKeys(c.keys...)
			}
			if c.code != 0 {
				l.again()
			}
		})
	}
}

// A source on a file system that hangs holds nobody.
func TestASourceThatHangs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		timeout time.Duration
		signal  bool
		code    int
		says    string
	}{
		"until the deadline":                 {7 * time.Second, false, 14, "could not be read within 5s"},
		"until a deadline that comes sooner": {3 * time.Second, false, 14, "could not be read within"},
		"and it is ended":                    {time.Minute, true, 143, "ended by SIGTERM"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLife(t, "Kerberos")
			l.cluster.Publish(ours())
			l.kerberos(http0, http1)
			l.timeout = c.timeout
			last := func() {}
			if c.signal {
				last = l.when("PTR", 2, func() {})
			}
			r := l.start(straced("init", filepath.Join(l.root, "keytabs"), "openat:delay_enter=60s", "/dev/null"))
			last()
			if c.signal {
				r.held()
				r.signal(syscall.SIGTERM)
			}
			// Who is to end is held by strace, too, until that is ended.
			r.says(`"msg":"not published"`)
			r.untrace()
			e := r.wait()
			l.check(e)
			if e.code != c.code || !strings.Contains(e.reason, c.says) {
				t.Errorf("ended with %d, %q, not with %d, %q\n%s", e.code, e.reason, c.code, c.says, e.log)
			}
			l.again()
		})
	}
}

// held waits until strace holds one of its threads, which it does for a moment at each call, too.
func (r *running) held() {
	r.Helper()
	seen := map[string]int{}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", r.cmd.Process.Pid))
		for _, path := range threads {
			stat, _ := os.ReadFile(path)
			_, state, _ := strings.Cut(string(stat), ") ")
			if seen[path]++; !strings.HasPrefix(state, "t") {
				seen[path] = 0
			}
			if seen[path] == 20 {
				return
			}
		}
	}
	r.Fatalf("nothing holds it\n%s", r.out.String())
}

// untrace ends the strace of a process.
func (r *running) untrace() {
	r.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	_, tracer, _ := strings.Cut(string(status), "\nTracerPid:\t")
	var pid int
	if n, _ := fmt.Sscan(tracer, &pid); err != nil || n == 0 || pid == 0 {
		r.Fatalf("nobody traces it: %v", err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		r.Error(err)
	}
}
