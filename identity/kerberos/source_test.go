package kerberos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/kerberos"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// write writes a file, in directories that it makes.
func write(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
	return path
}

// mounted is a Secret as the kubelet mounts it: each change is a directory of its
// own and one rename.
type mounted struct {
	t      testing.TB
	dir    string
	turn   int
	remove bool // the earlier directory at once, as the kubelet does
}

func mount(t testing.TB, files map[string][]byte) *mounted {
	m := &mounted{t: t, dir: t.TempDir(), remove: true}
	m.set(files)
	return m
}

func (m *mounted) set(files map[string][]byte) {
	m.t.Helper()
	m.turn++
	name := fmt.Sprintf("..2026_01_02_03_04_05.%d", m.turn)
	before, _ := os.Readlink(filepath.Join(m.dir, "..data"))
	for file, data := range files {
		write(m.t, filepath.Join(m.dir, name, file), data)
		_ = os.Symlink(filepath.Join("..data", file), filepath.Join(m.dir, file))
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(m.dir, name), 0o755), os.Symlink(name, filepath.Join(m.dir, "..data_tmp")),
		os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, "..data"))); err != nil {
		m.t.Fatal(err)
	}
	if m.remove && before != "" {
		if err := os.RemoveAll(filepath.Join(m.dir, before)); err != nil {
			m.t.Fatal(err)
		}
	}
}

// names gives the entries with bytes and, in brackets, those without.
func names(entries []kerberos.Entry) (all []string) {
	for _, e := range entries {
		name := fmt.Sprintf("%s %d", e.Principal, e.Version)
		if e.Key() == nil && e.Record() == nil {
			name = "[" + name + "]"
		}
		all = append(all, name)
	}
	return all
}

func TestASourceIsAKeytabOrADirectoryOfThem(t *testing.T) {
	t.Parallel()
	file := write(t, filepath.Join(t.TempDir(), "x"), podtest.KeytabOf(aes256(db0, 1), aes256(db1, 2)))
	link := filepath.Join(t.TempDir(), "link")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b.keytab"), podtest.KeytabOf(aes256(db0, 2)))
	write(t, filepath.Join(dir, "a"), podtest.KeytabOf(aes256(db1, 1), aes256(db0, 1)))
	write(t, filepath.Join(dir, "ca.crt"), []byte("-----BEGIN CERTIFICATE-----"))
	write(t, filepath.Join(dir, ".hidden"), podtest.KeytabOf(aes256(db0, 3)))
	write(t, filepath.Join(dir, "..2026/old"), podtest.KeytabOf(aes256(db0, 4)))
	write(t, filepath.Join(dir, "below/c.keytab"), podtest.KeytabOf(aes256(db0, 5)))
	if err := errors.Join(os.Symlink(file, link), os.Symlink("nowhere", filepath.Join(dir, "dangling")),
		syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644)); err != nil {
		t.Fatal(err)
	}
	secret := mount(t, map[string][]byte{"db-0.keytab": podtest.KeytabOf(aes256(db0, 7)), "db-1.keytab": podtest.KeytabOf(aes256(db1, 8))})
	for path, want := range map[string][]string{
		file:                                     {db0 + " 1", "[" + db1 + " 2]"},
		link:                                     {db0 + " 1", "[" + db1 + " 2]"},
		dir:                                      {db0 + " 3", "[" + db1 + " 1]", db0 + " 1", db0 + " 2"},
		dir + "/":                                {db0 + " 3", "[" + db1 + " 1]", db0 + " 1", db0 + " 2"},
		secret.dir:                               {db0 + " 7", "[" + db1 + " 8]"},
		filepath.Join(secret.dir, "db-0.keytab"): {db0 + " 7"},
		filepath.Join(dir, "below"):              {db0 + " 5"},
	} {
		r := kerberos.NewReader(path)
		entries, skipped, err := r.Read(t.Context(), principals(t, db0)...)
		if err != nil || len(skipped) > 0 || !slices.Equal(names(entries), want) {
			t.Errorf("%s:\ngot  %q, %q, %v\nwant %q", path, names(entries), skipped, err, want)
		}
		if r.Changed() {
			t.Errorf("%s has changed", path)
		}
	}
}

func TestADirectoryOfAThousandKeytabsIsRead(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{}
	for i := range 1000 {
		name := fmt.Sprintf("db-%d", i)
		files[name+".keytab"] = podtest.KeytabOf(aes256("HTTP/"+name+".db.default.svc.cluster.local@EXAMPLE.COM", 1))
	}
	m := mount(t, files)
	r := kerberos.NewReader(m.dir)
	entries, _, err := r.Read(t.Context(), principals(t, db0)...)
	kept := slices.DeleteFunc(slices.Clone(entries), func(e kerberos.Entry) bool { return e.Key() == nil })
	if err != nil || len(entries) != 1000 || !slices.Equal(names(kept), []string{db0 + " 1"}) {
		t.Errorf("%d entries, %q, %v", len(entries), names(kept), err)
	}
	start := time.Now()
	if r.Changed() {
		t.Error("has changed")
	}
	t.Logf("a look at it takes %v", time.Since(start))
}

// A FIFO that takes a keytab's place meanwhile has nobody wait for its writer.
func TestAFileThatBecomesAFIFOHoldsNobody(t *testing.T) {
	t.Parallel()
	path := write(t, filepath.Join(t.TempDir(), "k"), podtest.KeytabOf(aes256(db0, 1)))
	read, err := kerberos.NewReader(path).Look()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	held := time.AfterFunc(5*time.Second, func() { writer.Close() })
	_, _, err = read(t.Context(), principals(t, db0)...)
	if !held.Stop() || err == nil || !strings.HasSuffix(err.Error(), "is no longer a file") {
		t.Errorf("after at most 5 s: %v", err)
	}
	writer.Close()
}

// Nor does a link that leads to nothing readable stop anybody.
func TestABadLinkInADirectoryStopsNobody(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "k"), podtest.KeytabOf(aes256(db0, 1)))
	if err := errors.Join(os.Symlink("loop", filepath.Join(dir, "loop")), os.Symlink("k/below", filepath.Join(dir, "through"))); err != nil {
		t.Fatal(err)
	}
	entries, skipped, err := kerberos.NewReader(dir).Read(t.Context(), principals(t, db0)...)
	want := []string{
		fmt.Sprintf("%q cannot be read: too many levels of symbolic links", filepath.Join(dir, "loop")),
		fmt.Sprintf("%q does not exist: mount what holds the keys there, or add it to the Secret", filepath.Join(dir, "through")),
	}
	if err != nil || !slices.Equal(names(entries), []string{db0 + " 1"}) || !slices.Equal(skipped, want) {
		t.Errorf("%q, %v, got\n%s", names(entries), err, strings.Join(skipped, "\n"))
	}
}

// A file of a directory that cannot be read is most likely another Pod's.
func TestADamagedFileOfADirectoryIsSkippedAndTold(t *testing.T) {
	t.Parallel()
	whole := podtest.KeytabOf(aes256(db0, 1))
	m := mount(t, map[string][]byte{
		"a": whole[:len(whole)-1], "b": {5, 1, 0, 0}, "c": {}, "d": []byte("text"), "e": whole, "f": []byte{5, 2},
	})
	entries, skipped, err := kerberos.NewReader(m.dir).Read(t.Context(), principals(t, db0)...)
	want := []string{
		fmt.Sprintf("%q is damaged at byte 2: the file ends within an entry or a hole", filepath.Join(m.dir, "a")),
		fmt.Sprintf("%q is a keytab of format 0x0501, which depends on the machine that wrote it: read it there with ktutil (rkt) and write it again (wkt)", filepath.Join(m.dir, "b")),
		fmt.Sprintf("%q is empty", filepath.Join(m.dir, "c")),
	}
	if err != nil || !slices.Equal(names(entries), []string{db0 + " 1"}) || !slices.Equal(skipped, want) {
		t.Errorf("%q, %v, got\n%s", names(entries), err, strings.Join(skipped, "\n"))
	}
}

func TestAPathThatIsNoSourceIsAnErrorThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "text"), []byte("text"))
	write(t, filepath.Join(dir, "empty"), nil)
	if err := errors.Join(syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644), os.Symlink("loop", filepath.Join(dir, "loop"))); err != nil {
		t.Fatal(err)
	}
	large, err := os.Create(filepath.Join(dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = large.Write([]byte{5, 2})
	if err := errors.Join(err, large.Truncate(kerberos.MaxBytes+1), large.Close()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"missing":      "does not exist: mount what holds the keys there, or add it to the Secret",
		"text/missing": "does not exist: mount what holds the keys there, or add it to the Secret",
		"text":         "is not a keytab: a keytab begins with the bytes 0x05 0x02",
		"empty":        "is empty",
		"large":        "is too large: all keytabs of a source together may have 16 MiB",
		"loop":         "cannot be read: too many levels of symbolic links",
	} {
		path := filepath.Join(dir, name)
		entries, _, err := kerberos.NewReader(path).Read(t.Context())
		if _, final := errors.AsType[*identity.Refusal](err); entries != nil || err == nil || final || err.Error() != fmt.Sprintf("%q %s", path, want) {
			t.Errorf("%s:\ngot  %v\nwant %s", name, err, want)
		}
	}
	path := filepath.Join(dir, "fifo")
	_, _, err = kerberos.NewReader(path).Read(t.Context())
	checkRefusal(t, err, fmt.Sprintf("PODFQDN_KRB5_SOURCE, %q, is neither a file nor a directory: name a keytab or a directory of keytabs", path))
}

func TestADirectoryWithTooMuchInItIsNotReadToItsEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range kerberos.MaxFiles + 1 {
		if err := os.Symlink("x", filepath.Join(dir, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := kerberos.NewReader(dir).Read(t.Context())
	if want := fmt.Sprintf("%q has more than 4096 files in it: name one keytab, for example with {hostname}, or a directory with fewer", dir); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}

	dir = t.TempDir()
	hollow := slices.Concat(podtest.KeytabOf(aes256(db0, 1)), hole(kerberos.MaxBytes/2))
	write(t, filepath.Join(dir, "a"), hollow)
	write(t, filepath.Join(dir, "b"), hollow)
	entries, skipped, err := kerberos.NewReader(dir).Read(t.Context(), principals(t, db0)...)
	want := []string{fmt.Sprintf("%q is too large: all keytabs of a source together may have 16 MiB", filepath.Join(dir, "b"))}
	if err != nil || len(entries) != 1 || !slices.Equal(skipped, want) {
		t.Errorf("%d entries, %q, %v", len(entries), skipped, err)
	}
}

const childVar = "KERBEROS_TEST_SOURCE"

// ordinary reports whether this process is the one to do a test that must not
// be done by root, with a path that was made before. If it is not, it has let a
// child do it.
func ordinary(t *testing.T, path string) (string, bool) {
	t.Helper()
	if path := os.Getenv(childVar); path != "" {
		return path, true
	}
	if os.Geteuid() != 0 {
		return path, true
	}
	child := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	child.Env = append(os.Environ(), childVar+"="+path, "GORACE=atexit_sleep_ms=0")
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := child.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("the child: %v\n%s", err, out)
	}
	return path, false
}

func TestAFileThatMayNotBeReadIsToldWithItsModeAndTheUser(t *testing.T) {
	path := ""
	if os.Getenv(childVar) == "" {
		dir, err := os.MkdirTemp("/tmp", "source")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		path = dir
		write(t, filepath.Join(dir, "one"), podtest.KeytabOf(aes256(db0, 1)))
		write(t, filepath.Join(dir, "all/a"), podtest.KeytabOf(aes256(db0, 1)))
		write(t, filepath.Join(dir, "all/b"), podtest.KeytabOf(aes256(db0, 1)))
		write(t, filepath.Join(dir, "some/a"), podtest.KeytabOf(aes256(db1, 1)))
		write(t, filepath.Join(dir, "some/b"), podtest.KeytabOf(aes256(db0, 1)))
		write(t, filepath.Join(dir, "closed/a"), podtest.KeytabOf(aes256(db0, 1)))
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, mode := range map[string]os.FileMode{"one": 0o200, "all/a": 0o200, "all/b": 0, "some/a": 0o200, "closed": 0o100} {
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "closed"), 0o700) })
	}
	path, here := ordinary(t, path)
	if !here {
		return
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	groups, _ := os.Getgroups()
	sentence := func(name, mode string) string {
		return fmt.Sprintf("uid %d, gid %d, groups %v may not read %q, which has uid %d, gid %d and mode %s: set the Pod's fsGroup, or a defaultMode or runAsUser that allows reading it",
			os.Geteuid(), os.Getegid(), groups, filepath.Join(path, name), owner.Uid, owner.Gid, mode)
	}
	for name, want := range map[string]string{"one": sentence("one", "0200"), "all": sentence("all/a", "0200"), "closed": sentence("closed", "0100")} {
		_, _, err := kerberos.NewReader(filepath.Join(path, name)).Read(t.Context(), principals(t, db0)...)
		checkRefusal(t, err, want)
	}
	_, _, err = kerberos.NewReader(filepath.Join(path, "closed/a")).Read(t.Context())
	if os.Geteuid() != int(owner.Uid) { // who may not even search the directory
		checkRefusal(t, err, fmt.Sprintf("uid %d, gid %d, groups %v may not read %q, as %q has uid %d, gid %d and mode 0100: set the Pod's fsGroup, or a defaultMode or runAsUser that allows reading it",
			os.Geteuid(), os.Getegid(), groups, filepath.Join(path, "closed/a"), filepath.Join(path, "closed"), owner.Uid, owner.Gid))
	}
	// Another Pod's file next to ours.
	entries, skipped, err := kerberos.NewReader(filepath.Join(path, "some")).Read(t.Context(), principals(t, db0)...)
	if err != nil || !slices.Equal(names(entries), []string{db0 + " 1"}) || !slices.Equal(skipped, []string{sentence("some/a", "0200")}) {
		t.Errorf("%q, %q, %v", names(entries), skipped, err)
	}
}

func TestAChangeOfTheSourceIsNoticed(t *testing.T) {
	t.Parallel()
	ours, theirs := podtest.KeytabOf(aes256(db0, 1)), podtest.KeytabOf(aes256(db1, 1))
	secret := mount(t, map[string][]byte{"a": ours, "b": theirs})
	plain := t.TempDir()
	path := func(name string) string { return filepath.Join(plain, name) }
	write(t, path("a"), ours)
	write(t, path("b"), theirs)
	whole := kerberos.NewReader(secret.dir)
	one := kerberos.NewReader(filepath.Join(secret.dir, "a"))
	dir := kerberos.NewReader(plain)
	file := kerberos.NewReader(path("a"))
	soon := kerberos.NewReader(path("soon"))
	for _, change := range []struct {
		what   string
		reader *kerberos.Reader
		do     func()
	}{
		{"the Secret's ..data flips", whole, func() { secret.set(map[string][]byte{"a": ours, "b": theirs}) }},
		{"and with it a file of it", one, func() { secret.set(map[string][]byte{"a": ours}) }},
		{"a file comes", dir, func() { write(t, path("c"), ours) }},
		{"a file goes", dir, func() { _ = os.Remove(path("c")) }},
		{"a file grows", dir, func() { write(t, path("b"), slices.Concat(theirs, hole(1))) }},
		{"a file is written again", file, func() {
			write(t, path("new"), ours)
			_ = os.Rename(path("new"), path("a"))
		}},
		{"a file's mode is another", file, func() { _ = os.Chmod(path("a"), 0o600) }},
		{"it is written in place", file, func() {
			write(t, path("a"), ours)
			_ = os.Chtimes(path("a"), time.Time{}, time.Unix(1, 0))
		}},
		{"the source comes", soon, func() { write(t, path("soon"), ours) }},
		{"the source goes", soon, func() { _ = os.Remove(path("soon")) }},
		{"the source becomes a directory", soon, func() { write(t, filepath.Join(path("soon"), "a"), ours) }},
	} {
		_, _, _ = change.reader.Read(t.Context(), principals(t, db0)...)
		if change.reader.Changed() {
			t.Errorf("before %s: changed", change.what)
		}
		change.do()
		if !change.reader.Changed() {
			t.Errorf("%s: not changed", change.what)
		}
	}
}

// Between the look at a Secret and the reading of it, ..data flips and the
// directory that was looked at is removed.
func TestWhatWasLookedAtIsReadOrNothing(t *testing.T) {
	t.Parallel()
	m := mount(t, map[string][]byte{"a": podtest.KeytabOf(aes256(db0, 1)), "b": podtest.KeytabOf(aes256(db0, 1))})
	m.remove = false
	read, err := kerberos.NewReader(m.dir).Look()
	if err != nil {
		t.Fatal(err)
	}
	m.set(map[string][]byte{"a": podtest.KeytabOf(aes256(db0, 2)), "b": podtest.KeytabOf(aes256(db0, 2))})
	entries, _, err := read(t.Context(), principals(t, db0)...)
	if err != nil || !slices.Equal(names(entries), []string{db0 + " 1", db0 + " 1"}) {
		t.Errorf("two states at once: %q, %v", names(entries), err)
	}
	if err := os.RemoveAll(filepath.Join(m.dir, "..2026_01_02_03_04_05.1")); err != nil {
		t.Fatal(err)
	}
	if entries, skipped, err := read(t.Context(), principals(t, db0)...); len(entries) != 0 || len(skipped) != 2 || err != nil {
		t.Errorf("%q, %q, %v", names(entries), skipped, err)
	}
}

// Each state of the Secret has the same version in all files: a mixture would
// be two states.
func TestASecretThatIsSwappedWhileItIsReadIsReadFromOneState(t *testing.T) {
	t.Parallel()
	files := func(version uint32) map[string][]byte {
		all := map[string][]byte{}
		for i := range 20 {
			all[fmt.Sprint("k", i)] = podtest.KeytabOf(aes256(db0, version))
		}
		return all
	}
	m := mount(t, files(1))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for version := uint32(2); ctx.Err() == nil; version++ {
			m.set(files(version))
		}
	}()
	r := kerberos.NewReader(m.dir)
	whole, torn := 0, 0
	for end := time.Now().Add(10 * time.Second); whole < 20 && time.Now().Before(end); {
		entries, _, err := r.Read(t.Context(), principals(t, db0)...)
		if err != nil {
			torn++ // it said so
			if want := fmt.Sprintf("%q changed each of the %d times that it was read", m.dir, kerberos.Tries); err.Error() != want {
				t.Error(err)
			}
			continue
		}
		whole++
		if len(entries) != 20 || len(slices.Compact(names(entries))) != 1 {
			t.Fatalf("a mixture: %q", names(entries))
		}
	}
	cancel()
	<-done
	t.Logf("%d times whole, %d times not", whole, torn)
	entries, skipped, err := r.Read(t.Context(), principals(t, db0)...)
	if err != nil || len(entries) != 20 || len(skipped) != 0 {
		t.Errorf("when all is quiet: %q, %q, %v", names(entries), skipped, err)
	}
}

// meddled is a context in which the file changes whenever it is asked.
type meddled struct {
	context.Context
	change func()
}

func (m meddled) Err() error {
	m.change()
	return m.Context.Err()
}

func TestASourceThatNeverStandsStillIsAnErrorAndThenReadAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "k")
	r := kerberos.NewReader(write(t, path, podtest.KeytabOf(aes256(db0, 1))))
	written := uint32(1)
	ctx := meddled{t.Context(), func() {
		written++
		write(t, path, podtest.KeytabOf(slices.Repeat([]podtest.Entry{aes256(db0, written)}, int(written))...)) // each of a size of its own
	}}
	entries, _, err := r.Read(ctx, principals(t, db0)...)
	if want := fmt.Sprintf("%q changed each of the %d times that it was read", path, kerberos.Tries); entries != nil || err == nil || err.Error() != want {
		t.Errorf("%q, %v\nnot %s", names(entries), err, want)
	}
	entries, _, err = r.Read(t.Context(), principals(t, db0)...)
	if err != nil || len(entries) != int(written) || entries[0].Version != written {
		t.Errorf("when all is quiet: %q, %v", names(entries), err)
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the end")
	cancel(cause)
	path := write(t, filepath.Join(t.TempDir(), "k"), podtest.KeytabOf(aes256(db0, 1)))
	if entries, _, err := kerberos.NewReader(path).Read(ctx, principals(t, db0)...); err != cause || entries != nil {
		t.Errorf("%q, %v", names(entries), err)
	}
}
