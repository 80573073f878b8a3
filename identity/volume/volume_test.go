package volume_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/volume"
)

var names = []string{"fqdn", "hostname", "ip", "identity.json"}

// file makes one file of a generation.
func file(name, content string) identity.File {
	return identity.File{Name: name, Data: []byte(content), Mode: 0o644}
}

var (
	db0  = []identity.File{file("fqdn", "db-0.db"), file("hostname", "db-0"), file("identity.json", "{}\n")}
	web0 = []identity.File{file("fqdn", "web-0.web"), file("ip", "10.0.0.1"), file("identity.json", "{1}\n")}
)

func keepAll([]identity.File) error { return nil }

func keepNone([]identity.File) error { return errors.New("of another Pod") }

func open(t *testing.T, dir string) *volume.Volume {
	t.Helper()
	v, err := volume.Open(t.Context(), dir, names, keepAll)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func publish(t *testing.T, v *volume.Volume, files []identity.File, wantChanged bool) {
	t.Helper()
	changed, err := v.PublishFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	if changed != wantChanged {
		t.Fatalf("changed is %v", changed)
	}
}

// published is a directory with published files and no writer.
func published(t *testing.T, files []identity.File) string {
	t.Helper()
	dir := t.TempDir()
	v := open(t, dir)
	publish(t, v, files, true)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// listing returns every name below dir, sorted, with its mode and its content or
// target. For the random names it has "CURRENT", or else "OTHER".
func listing(t *testing.T, dir string) string {
	t.Helper()
	current, _ := os.Readlink(filepath.Join(dir, "..data"))
	var lines []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		what := ""
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what = fmt.Sprintf(" %q", content)
		case entry.Type() == fs.ModeSymlink:
			target, _ := os.Readlink(path)
			what = " -> " + target
		}
		name, _ := filepath.Rel(dir, path)
		lines = append(lines, info.Mode().String()+" "+name+what)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		if current != "" {
			line = strings.ReplaceAll(line, current, "CURRENT")
		}
		if before, rest, ok := strings.Cut(line, "..gen-"); ok {
			line = before + "OTHER" + rest[min(26, len(rest)):]
		}
		lines[i] = line
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[11:], b[11:]) })
	return strings.Join(lines, "\n")
}

const db0Listing = `Lrwxrwxrwx ..data -> CURRENT
drwxr-xr-x CURRENT
-rw-r--r-- CURRENT/fqdn "db-0.db"
-rw-r--r-- CURRENT/hostname "db-0"
-rw-r--r-- CURRENT/identity.json "{}\n"
-rw-r--r-- CURRENT/verified ""
Lrwxrwxrwx fqdn -> ..data/fqdn
Lrwxrwxrwx hostname -> ..data/hostname
Lrwxrwxrwx identity.json -> ..data/identity.json
Lrwxrwxrwx verified -> ..data/verified`

const web0Listing = `Lrwxrwxrwx ..data -> CURRENT
drwxr-xr-x CURRENT
-rw-r--r-- CURRENT/fqdn "web-0.web"
-rw-r--r-- CURRENT/identity.json "{1}\n"
-rw-r--r-- CURRENT/ip "10.0.0.1"
-rw-r--r-- CURRENT/verified ""
Lrwxrwxrwx fqdn -> ..data/fqdn
Lrwxrwxrwx identity.json -> ..data/identity.json
Lrwxrwxrwx ip -> ..data/ip
Lrwxrwxrwx verified -> ..data/verified`

const db0Predecessor = `
drwxr-xr-x OTHER
-rw-r--r-- OTHER/fqdn "db-0.db"
-rw-r--r-- OTHER/hostname "db-0"
-rw-r--r-- OTHER/identity.json "{}\n"
-rw-r--r-- OTHER/verified ""`

func expect(t *testing.T, dir, want string) {
	t.Helper()
	// The predecessor's lines sort among the others: compare as sets.
	sorted := func(s string) []string {
		lines := strings.Split(s, "\n")
		slices.Sort(lines)
		return lines
	}
	if got := listing(t, dir); !slices.Equal(sorted(got), sorted(want)) {
		t.Fatalf("the directory has\n%s\nwant\n%s", got, want)
	}
}

// read is what a reader of all files gets: the content of fqdn, "" if none.
func read(t *testing.T, dir string) (fqdn string, verified bool) {
	t.Helper()
	files, verified, err := volume.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, whole := range [][]identity.File{nil, db0, web0} {
		if equal(files, whole) {
			if len(files) > 0 {
				fqdn = string(files[0].Data)
			}
			return fqdn, verified
		}
	}
	t.Fatalf("read %v", files)
	return "", false
}

// equal compares regardless of the order.
func equal(a, b []identity.File) bool {
	text := func(files []identity.File) (lines []string) {
		for _, f := range files {
			lines = append(lines, fmt.Sprintf("%s %v %q", f.Name, f.Mode, f.Data))
		}
		slices.Sort(lines)
		return lines
	}
	return slices.Equal(text(a), text(b))
}

func TestPublishMakesTheLayoutOfTheContract(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := open(t, dir)
	expect(t, dir, "")
	publish(t, v, db0, true)
	expect(t, dir, db0Listing)
	if v.Dropped() != nil {
		t.Fatalf("dropped: %v", v.Dropped())
	}
}

func TestANewGenerationReplacesTheOldOneAndKeepsItAsPredecessorOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := open(t, dir)
	publish(t, v, db0, true)
	publish(t, v, web0, true)
	expect(t, dir, web0Listing+db0Predecessor)
	publish(t, v, db0, true)
	publish(t, v, web0, true)
	expect(t, dir, web0Listing+db0Predecessor)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	expect(t, dir, web0Listing)
}

func TestAnUnchangedPublicationWritesNothing(t *testing.T) {
	t.Parallel()
	dir := published(t, db0)
	var steps []string
	opened := false
	v, err := volume.OpenAs(t.Context(), dir, names, keepAll, os.Geteuid(), func(what string) error {
		if opened {
			steps = append(steps, what)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	opened = true
	before := stamps(t, dir)
	reversed := slices.Clone(db0)
	slices.Reverse(reversed)
	publish(t, v, reversed, false)
	if after := stamps(t, dir); after != before || len(steps) > 0 {
		t.Fatalf("steps %q, before:\n%s\nafter:\n%s", steps, before, after)
	}
}

// stamps returns inode and times of everything below dir.
func stamps(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		fmt.Fprintln(&all, path, stat.Ino, stat.Mode, stat.Uid, stat.Size, stat.Mtim, stat.Ctim)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// Of the containers of a Pod one may be of a newer version.
func TestWhatANewerVersionPublishedStaysWhileItHasWhatIsPublished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newer := append(slices.Clone(db0[:2]), file("identity.json", "{\"more\": 1}\n"), file("peers", "db-1\n"))
	v, err := volume.Open(t.Context(), dir, append([]string{"peers"}, names...), keepAll)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, v, newer, true)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir)
	v = open(t, dir)
	if v.Dropped() != nil {
		t.Fatalf("dropped: %v", v.Dropped())
	}
	publish(t, v, db0, false)
	expect(t, dir, before)
	if err := errors.Join(v.Withdraw(), os.Remove(filepath.Join(dir, "fqdn"))); err != nil {
		t.Fatal(err)
	}
	publish(t, v, db0, false)
	expect(t, dir, before)

	// What differs is published. The link to what this version does not know stays,
	// and is a dangling link until a newer one publishes again.
	publish(t, v, web0, true)
	if target, err := os.Readlink(filepath.Join(dir, "peers")); err != nil || target != "..data/peers" {
		t.Errorf("peers -> %q, %v", target, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "peers")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("peers: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = open(t, dir)
	expect(t, dir, web0Listing+"\nLrwxrwxrwx peers -> ..data/peers")
	publish(t, v, db0, true)
}

// Of the names that Open was given, what is not published goes.
func TestFewerFilesAreAChange(t *testing.T) {
	t.Parallel()
	dir := published(t, db0)
	v := open(t, dir)
	publish(t, v, db0[1:], true)
	if _, err := os.Lstat(filepath.Join(dir, "fqdn")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("fqdn: %v", err)
	}
}

func TestOtherBytesOrAnotherModeAreAChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := open(t, dir)
	publish(t, v, []identity.File{file("fqdn", "a")}, true)
	publish(t, v, []identity.File{file("fqdn", "b")}, true)
	publish(t, v, []identity.File{{Name: "fqdn", Data: []byte("b"), Mode: 0o440}}, true)
	publish(t, v, []identity.File{{Name: "fqdn", Data: []byte("b"), Mode: 0o440}}, false)
}

func TestPublishRestoresWhatWasRemoved(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		take    string
		changed bool
	}{{"fqdn", false}, {"verified", false}, {"..data", true}, {"..data/fqdn", true}, {"..data/verified", true}, {"..data/", true}} {
		dir := t.TempDir()
		v := open(t, dir)
		publish(t, v, db0, true)
		path := filepath.Join(dir, tc.take)
		if strings.HasSuffix(tc.take, "/") {
			path, _ = filepath.EvalSymlinks(path)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		publish(t, v, db0, tc.changed)
		if fqdn, verified := read(t, dir); fqdn != "db-0.db" || !verified {
			t.Fatalf("without %s: %q, %v", tc.take, fqdn, verified)
		}
		publish(t, v, db0, false)
	}
}

func TestWithdrawRemovesTheSignalAndPublishRestoresIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := open(t, dir)
	if err := v.Withdraw(); err != nil {
		t.Fatal(err)
	}
	publish(t, v, db0, true)
	for range 2 {
		if err := v.Withdraw(); err != nil {
			t.Fatal(err)
		}
		if fqdn, verified := read(t, dir); fqdn != "db-0.db" || verified {
			t.Fatalf("%q, %v", fqdn, verified)
		}
	}
	publish(t, v, db0, false)
	expect(t, dir, db0Listing)
}

func TestOpenAsksKeepForTheFilesInOrderAndKeepsThem(t *testing.T) {
	t.Parallel()
	dir := published(t, db0)
	before := stamps(t, filepath.Join(dir, "fqdn"))
	var asked []identity.File
	v, err := volume.Open(t.Context(), dir, names, func(files []identity.File) error {
		asked = files
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if fmt.Sprint(asked) != fmt.Sprint(db0) {
		t.Fatalf("asked for %v", asked)
	}
	if v.Dropped() != nil || stamps(t, filepath.Join(dir, "fqdn")) != before {
		t.Fatalf("dropped: %v", v.Dropped())
	}
	expect(t, dir, db0Listing)
}

func TestOpenDropsWhatKeepRefuses(t *testing.T) {
	t.Parallel()
	dir := published(t, db0)
	v, err := volume.Open(t.Context(), dir, names, keepNone)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if v.Dropped() == nil || v.Dropped().Error() != "of another Pod" {
		t.Fatalf("dropped: %v", v.Dropped())
	}
	expect(t, dir, "")
	publish(t, v, web0, true)
	expect(t, dir, web0Listing)
}

func TestOpenWithoutKeepKeepsNothing(t *testing.T) {
	t.Parallel()
	dir := published(t, db0)
	v, err := volume.Open(t.Context(), dir, names, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if v.Dropped() == nil {
		t.Error("nothing was dropped")
	}
	expect(t, dir, "")
}

func TestOpenDropsATornGenerationWithoutAsking(t *testing.T) {
	t.Parallel()
	for name, tear := range map[string]func(gen string) error{
		"no signal in it":    func(gen string) error { return os.Remove(gen + "/verified") },
		"the directory gone": os.RemoveAll,
		"a file instead":     func(gen string) error { return errors.Join(os.RemoveAll(gen), os.WriteFile(gen, nil, 0o644)) },
		"a symlink instead": func(gen string) error {
			return errors.Join(os.Rename(gen, gen+"x"), os.Symlink(filepath.Base(gen)+"x", gen))
		},
		"a FIFO instead":    func(gen string) error { return errors.Join(os.RemoveAll(gen), syscall.Mkfifo(gen, 0o644)) },
		"a FIFO in it":      func(gen string) error { return syscall.Mkfifo(gen+"/ip", 0o644) },
		"a symlink in it":   func(gen string) error { return os.Symlink("/etc/passwd", gen+"/ip") },
		"a directory in it": func(gen string) error { return os.Mkdir(gen+"/ip", 0o755) },
		"a terabyte":        func(gen string) error { return os.Truncate(gen+"/fqdn", 1<<40) },
		"many files": func(gen string) (err error) {
			for i := 0; i < 200 && err == nil; i++ {
				err = os.WriteFile(fmt.Sprintf("%s/%d", gen, i), nil, 0o644)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := published(t, db0)
			gen, err := filepath.EvalSymlinks(filepath.Join(dir, "..data"))
			if err != nil {
				t.Fatal(err)
			}
			if err := tear(gen); err != nil {
				t.Fatal(err)
			}
			if files, verified, err := volume.Read(dir); err == nil || verified {
				t.Fatalf("read %v, %v", files, verified)
			}
			v, err := volume.Open(t.Context(), dir, names, func([]identity.File) error {
				t.Error("asked")
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			if v.Dropped() == nil || !strings.Contains(v.Dropped().Error(), "is torn: ") {
				t.Fatalf("dropped: %v", v.Dropped())
			}
			if fqdn, verified := read(t, dir); fqdn != "" || verified {
				t.Fatalf("%q, %v", fqdn, verified)
			}
			publish(t, v, db0, true)
			if fqdn, verified := read(t, dir); fqdn != "db-0.db" || !verified {
				t.Fatalf("%q, %v", fqdn, verified)
			}
		})
	}
}

func TestOpenSweepsOurLeftoversAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := published(t, db0)
	for _, leftover := range []string{"..gen-1", "..gen-2"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, leftover, "deep"), 0o700), os.WriteFile(filepath.Join(dir, leftover, "deep/fqdn"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	foreign := []string{"..2026_01_01_00_00_00.1", "lost+found", "gen-1"}
	for _, name := range foreign {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("..gen-2", filepath.Join(dir, "..data_tmp")), os.Symlink("..data/ip", filepath.Join(dir, "ip")),
		os.Symlink("/etc", filepath.Join(dir, "..gen-link"))); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	for _, name := range append(foreign, "..gen-link") {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	expect(t, dir, db0Listing)
}

func TestOpenSweepsADirectoryThatTheUmaskLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "..gen-1"), 0o700), os.Chmod(filepath.Join(dir, "..gen-1"), 0)); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	expect(t, dir, "")
}

func TestPublishRefusesWhatTheContractDoesNotKnow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := open(t, dir)
	for want, files := range map[string][]identity.File{
		"without files":                   nil,
		`"other" is not a name`:           {file("other", "")},
		`"verified" is not a name`:        {file("fqdn", ""), file("verified", "")},
		`"../fqdn" is not a name`:         {file("../fqdn", "")},
		`"fqdn" is there twice`:           {file("fqdn", ""), file("fqdn", "")},
		`"fqdn" cannot have mode -`:       {{Name: "fqdn", Mode: 0o044}},
		`"fqdn" cannot have mode u`:       {{Name: "fqdn", Mode: 0o644 | fs.ModeSetuid}},
		"are more than 1048576":           {file("fqdn", strings.Repeat("x", volume.MaxBytes)), file("ip", "x")},
		`"fq\ndn\u202e" is not a name th`: {file("fq\ndn\u202e", "")},
	} {
		if changed, err := v.PublishFiles(files); changed || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	publish(t, v, []identity.File{file("fqdn", strings.Repeat("x", volume.MaxBytes))}, true)
	publish(t, v, []identity.File{file("fqdn", strings.Repeat("x", volume.MaxBytes))}, false)
}

func TestOpenRefusesNamesThatCannotBeShown(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", ".", "..", "..data", "..x", "a/b", "a\x00b", volume.Verified} {
		if _, err := volume.Open(t.Context(), t.TempDir(), []string{"fqdn", name}, keepAll); err == nil || !strings.Contains(err.Error(), "cannot be a visible name") {
			t.Errorf("%+q: %v", name, err)
		}
	}
}

func TestReadOfAnEmptyVolumeReturnsNothing(t *testing.T) {
	t.Parallel()
	if files, verified, err := volume.Read(t.TempDir()); files != nil || verified || err != nil {
		t.Fatalf("%v, %v, %v", files, verified, err)
	}
}

func TestReadNeedsNoLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := open(t, dir)
	publish(t, v, db0, true)
	if fqdn, verified := read(t, dir); fqdn != "db-0.db" || !verified {
		t.Fatalf("%q, %v", fqdn, verified)
	}
}

// A stop is a kill as far as the directory can tell: from then on nothing is done.
var errStop = errors.New("stopped")

// until returns a step function that lets n steps pass.
func until(n int, count *int) func(string) error {
	return func(string) error {
		if *count++; *count > n {
			return errStop
		}
		return nil
	}
}

func TestAStopBeforeAnyStepLeavesTheOldOrTheNewWholeAndTheNextRunSucceeds(t *testing.T) {
	t.Parallel()
	for n, steps := 0, 1; n < steps; n++ {
		dir := published(t, db0)
		steps = 0
		v, err := volume.OpenAs(t.Context(), dir, names, keepAll, os.Geteuid(), until(n, &steps))
		changed := false
		if err == nil {
			changed, err = v.PublishFiles(web0)
			_ = v.Close()
		}
		if err != nil && !errors.Is(err, errStop) {
			t.Fatal(err)
		}
		fqdn, verified := read(t, dir)
		if want := map[bool]string{false: "db-0.db", true: "web-0.web"}[changed]; fqdn != want || !verified {
			t.Fatalf("%d steps: %q, %v; changed %v", n, fqdn, verified, changed)
		}
		next := open(t, dir)
		publish(t, next, web0, !changed)
		if want := web0Listing; changed {
			expect(t, dir, want)
		} else {
			expect(t, dir, want+db0Predecessor)
		}
		if steps <= n && n < 20 {
			t.Fatalf("only %d steps", steps)
		}
	}
}

func TestAFailureOfAnyStepBeforeTheFlipLeavesNoTrace(t *testing.T) {
	t.Parallel()
	var steps []string
	for n := 0; n == 0 || n <= len(steps); n++ { // the last one without a failure
		dir := t.TempDir()
		publishing := false
		steps = nil
		v, err := volume.OpenAs(t.Context(), dir, names, keepAll, os.Geteuid(), func(what string) error {
			if !publishing {
				return nil
			}
			if steps = append(steps, what); len(steps) == n+1 {
				return syscall.ENOSPC
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		publish(t, v, db0, true)
		publishing = true
		changed, err := v.PublishFiles(web0)
		publishing = false
		turn := slices.Index(steps, "rename ..data_tmp")
		switch {
		case turn < 0 || n <= turn: // it failed before, and then it tidied up
			if changed || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "raise the volume's sizeLimit") {
				t.Fatalf("%q: %v, %v", steps, changed, err)
			}
			expect(t, dir, db0Listing)
			publish(t, v, db0, false)
		default:
			if !changed {
				t.Fatalf("%q: %v", steps, err)
			}
			if fqdn, verified := read(t, dir); fqdn != "web-0.web" || !verified {
				t.Fatalf("%q: %q, %v", steps, fqdn, verified)
			}
		}
		publish(t, v, web0, !changed)
	}
	if !slices.Contains(steps, "rename ..data_tmp") || !slices.Contains(steps, "unlink hostname") {
		t.Fatalf("steps %q", steps)
	}
}

// TestHelperThatIsKilled is not a test but the process of the next one.
func TestHelperThatIsKilled(t *testing.T) {
	dir, left := os.Getenv("VOLUME_TEST_DIR"), 0
	if dir == "" {
		return
	}
	if _, err := fmt.Sscan(os.Getenv("VOLUME_TEST_STEPS"), &left); err != nil {
		t.Fatal(err)
	}
	v, err := volume.OpenAs(t.Context(), dir, names, keepAll, os.Geteuid(), func(string) error {
		if left--; left < 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.PublishFiles(web0); err != nil {
		t.Fatal(err)
	}
}

func TestAKilledProcessLeavesTheOldOrTheNewWholeAndNoLock(t *testing.T) {
	t.Parallel()
	for n, alive := 0, false; !alive; n++ {
		dir := published(t, db0)
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestHelperThatIsKilled$", "-test.count=1")
		cmd.Env = append(os.Environ(), "VOLUME_TEST_DIR="+dir, fmt.Sprintf("VOLUME_TEST_STEPS=%d", n), noRaceSleep)
		out, err := cmd.CombinedOutput()
		alive = err == nil
		if status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus); !alive && status.Signal() != syscall.SIGKILL {
			t.Fatalf("%v\n%s", err, out)
		}
		fqdn, verified := read(t, dir)
		if !verified || fqdn != "db-0.db" && fqdn != "web-0.web" || alive && fqdn != "web-0.web" {
			t.Fatalf("killed before step %d: %q, %v", n, fqdn, verified)
		}
		v := open(t, dir)
		publish(t, v, web0, fqdn == "db-0.db")
		if alive && n < 20 {
			t.Fatalf("only %d steps", n)
		}
	}
}

func TestASecondWriterWaitsForTheFirstOrSaysSo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { // the wait is virtual
		first, err := volume.Open(t.Context(), dir, names, keepAll)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		_, err = volume.Open(t.Context(), dir, names, keepAll)
		if err == nil || !strings.Contains(err.Error(), "another podfqdn is writing to ") {
			t.Fatal(err)
		}
		if waited := time.Since(begin); waited < volume.Patience || waited > volume.Patience+time.Second/10 {
			t.Fatalf("waited %v", waited)
		}
		late, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := volume.Open(late, dir, names, keepAll); err == nil || !strings.Contains(err.Error(), "did not finish within 1s: only one container") {
			t.Fatal(err)
		}
		ended := errors.New("SIGTERM")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(ended) })
		begin = time.Now()
		if _, err := volume.Open(ctx, dir, names, keepAll); !errors.Is(err, ended) || time.Since(begin) != time.Second {
			t.Fatalf("after %v: %v", time.Since(begin), err)
		}
		go func() {
			time.Sleep(volume.Patience / 2)
			_ = first.Close()
		}()
		begin = time.Now()
		second, err := volume.Open(t.Context(), dir, names, keepAll)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		if waited := time.Since(begin); waited < volume.Patience/2 {
			t.Fatalf("waited %v", waited)
		}
	})
}

func TestAFailedOpenReleasesTheLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := volume.OpenAs(t.Context(), dir, names, keepAll, os.Geteuid(), func(string) error { return errStop }); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestALockIsReleasedThoughAProcessThatIsBeingStartedHasIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v, err := volume.Open(t.Context(), dir, names, keepAll)
	if err != nil {
		t.Fatal(err)
	}
	child, err := syscall.Dup(v.Held())
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(child)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestBusyReadersNeverGetAMixWithinOneGeneration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := open(t, dir)
	generation := func(i int) []identity.File {
		content := strings.Repeat(fmt.Sprintf("%d,", i), 500)
		return []identity.File{file("fqdn", content), file("hostname", content), file("ip", content)}
	}
	publish(t, v, generation(0), true)
	done := make(chan struct{})
	var readers sync.WaitGroup
	var reads [3]int
	for kind := range reads {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(20 * time.Microsecond): // leave the writer a processor
				}
				var contents []string
				switch kind {
				case 0: // as podfqdn check does
					files, verified, err := volume.Read(dir)
					if err != nil || !verified {
						// Nothing else than a very slow reader is excused.
						if err == nil || !strings.Contains(err.Error(), "times while it was read") {
							t.Errorf("%v, %v", verified, err)
						}
						continue
					}
					for _, f := range files {
						contents = append(contents, string(f.Data))
					}
				case 1: // resolves the generation once
					if _, err := os.Stat(filepath.Join(dir, "verified")); err != nil {
						t.Error(err)
					}
					gen, err := os.Readlink(filepath.Join(dir, "..data"))
					if err != nil {
						t.Error(err)
					}
					for _, name := range []string{"fqdn", "hostname", "ip"} {
						content, err := os.ReadFile(filepath.Join(dir, gen, name))
						if err != nil {
							contents = nil // slower than two publications
							break
						}
						contents = append(contents, string(content))
					}
				case 2: // one file by its visible name, opened again on ENOENT
					content, err := os.ReadFile(filepath.Join(dir, "fqdn"))
					if err != nil {
						continue
					}
					contents = []string{string(content)}
				}
				for _, content := range contents {
					first, _, _ := strings.Cut(content, ",")
					if content != contents[0] || content != strings.Repeat(first+",", 500) {
						t.Errorf("kind %d sees a mix", kind)
					}
				}
				if len(contents) > 0 {
					reads[kind]++
				}
			}
		})
	}
	for i := range 250 {
		publish(t, v, generation(i+1), true)
	}
	close(done)
	readers.Wait()
	for kind, n := range reads {
		if n < 10 {
			t.Errorf("reader %d read only %d times", kind, n)
		}
	}
	t.Logf("reads: %v", reads)
}
