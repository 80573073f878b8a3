package volume_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/volume"
)

const signal = "..signal"

// The two lives of a tree. A file of the one is a directory of the other.
var (
	before = []identity.File{file(signal, "1"), file("a.conf", "a1"), file("conf.d/b.conf", "b1"), file("conf.d/deep/c", "c1"),
		file("turns", "file"), file("verified", "a file of somebody's"), {Name: "conf.d/run.sh", Data: []byte("#!"), Mode: 0o755}}
	after = []identity.File{file(signal, "2"), file("a.conf", "a2"), file("conf.d-2", "d2"), file("turns/into", "a directory"), file("conf.d/b.conf", "b2")}
)

func openTree(t *testing.T, dir string) *volume.Volume {
	t.Helper()
	v, err := volume.OpenTree(t.Context(), dir, signal, keepAll)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func readTree(t *testing.T, dir string) (files []identity.File, stands bool) {
	t.Helper()
	files, stands, err := volume.ReadTree(dir, signal)
	if err != nil {
		t.Fatal(err)
	}
	return files, stands
}

// shown returns what a program gets that reads a directory and passes over hidden names.
func shown(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue // a dangling link is as good as none
		} else if err != nil {
			t.Fatal(err)
		} else if info.IsDir() {
			for name, content := range shown(t, path) {
				all[entry.Name()+"/"+name] = content
			}
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[entry.Name()] = string(content)
	}
	return all
}

// shows is shown of files.
func shows(files []identity.File) map[string]string {
	all := map[string]string{}
	for _, f := range files {
		if f.Name != signal {
			all[f.Name] = string(f.Data)
		}
	}
	return all
}

func sorted(files []identity.File) []identity.File {
	return slices.SortedFunc(slices.Values(files), func(a, b identity.File) int { return strings.Compare(a.Name, b.Name) })
}

func TestATreeHasTheLayoutOfAConfigMap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := openTree(t, dir)
	publish(t, v, before, true)
	expect(t, dir, `Lrwxrwxrwx ..data -> CURRENT
Lrwxrwxrwx ..signal -> ..data/..signal
drwxr-xr-x CURRENT
-rw-r--r-- CURRENT/..signal "1"
-rw-r--r-- CURRENT/a.conf "a1"
drwxr-xr-x CURRENT/conf.d
-rw-r--r-- CURRENT/conf.d/b.conf "b1"
drwxr-xr-x CURRENT/conf.d/deep
-rw-r--r-- CURRENT/conf.d/deep/c "c1"
-rwxr-xr-x CURRENT/conf.d/run.sh "#!"
-rw-r--r-- CURRENT/turns "file"
-rw-r--r-- CURRENT/verified "a file of somebody's"
Lrwxrwxrwx a.conf -> ..data/a.conf
Lrwxrwxrwx conf.d -> ..data/conf.d
Lrwxrwxrwx turns -> ..data/turns
Lrwxrwxrwx verified -> ..data/verified`)
	if files, stands := readTree(t, dir); !stands || !equal(files, sorted(before)) {
		t.Errorf("%v, %v", files, stands)
	}
	publish(t, v, before, false)
	publish(t, v, after, true)
	if files, stands := readTree(t, dir); !stands || !equal(files, sorted(after)) {
		t.Errorf("%v, %v", files, stands)
	}
	if got := shown(t, dir); fmt.Sprint(got) != fmt.Sprint(shows(after)) {
		t.Errorf("%v", got)
	}
	// The links of what is not there any more are gone.
	for _, name := range []string{"verified"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestATreeLeavesTheFilesOfOthersAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "theirs"), []byte("x"), 0o600), os.Symlink("theirs", filepath.Join(dir, "link")),
		os.Symlink("..data/other", filepath.Join(dir, "odd")), os.Mkdir(filepath.Join(dir, "a.conf"), 0o700)); err != nil {
		t.Fatal(err)
	}
	v := openTree(t, dir)
	stood := stamps(t, dir)
	if err := v.Expect([]string{signal, "b.conf", "conf.d/a.conf"}); err != nil {
		t.Error(err)
	}
	want := `"a.conf" in ` + fmt.Sprintf("%q", dir) + ` is a directory, but only a symlink by podfqdn to "..data/a.conf" may be there`
	if err := v.Expect([]string{"b.conf", "a.conf/x"}); err == nil || !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
	if _, err := v.PublishFiles(before); err == nil || !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
	if now := stamps(t, dir); now != stood {
		t.Errorf("it was\n%s\nand is\n%s", stood, now)
	}
	if err := os.Remove(filepath.Join(dir, "a.conf")); err != nil {
		t.Fatal(err)
	}
	publish(t, v, before, true)
	publish(t, v, after, true)
	for name, want := range map[string]string{"link": "theirs", "odd": "..data/other"} {
		if target, err := os.Readlink(filepath.Join(dir, name)); target != want {
			t.Errorf("%s: %q, %v", name, target, err)
		}
	}
}

func TestATreeRefusesWhatItCannotHold(t *testing.T) {
	t.Parallel()
	v := openTree(t, t.TempDir())
	many := []identity.File{file(signal, "")}
	deep := slices.Clone(many)
	for i := range 1001 {
		many = append(many, file(fmt.Sprintf("%04d", i), ""))
	}
	for i := range 600 {
		deep = append(deep, file(fmt.Sprintf("%03d/d/f", i), ""))
	}
	for want, files := range map[string][]identity.File{
		`"..signal" is missing`:                          {file("a", "")},
		"1002 files in one generation are more than":     many,
		"1200 directories in one generation are":         deep,
		"bytes in one generation are more than":          {file(signal, ""), file("a", strings.Repeat("x", 9<<20))},
		`"a" is there twice`:                             {file(signal, ""), file("a", ""), file("a", "")},
		`cannot make a in`:                               {file(signal, ""), file("a", ""), file("a/b", "")},
		`"..a" is not a name that`:                       {file(signal, ""), file("..a", "")},
		`"a/../b" is not a name that`:                    {file(signal, ""), file("a/../b", "")},
		`"a/..b" is not a name that`:                     {file(signal, ""), file("a/..b", "")},
		`"/a" is not a name that`:                        {file(signal, ""), file("/a", "")},
		`"a//b" is not a name that`:                      {file(signal, ""), file("a//b", "")},
		`"a/" is not a name that`:                        {file(signal, ""), file("a/", "")},
		`"." is not a name that`:                         {file(signal, ""), file(".", "")},
		`"a\x00" is not a name that`:                     {file(signal, ""), file("a\x00", "")},
		"a generation without files cannot be published": {},
	} {
		if _, err := v.PublishFiles(files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	publish(t, v, many[:1001], true)
	publish(t, v, []identity.File{file(signal, ""), file("a", strings.Repeat("x", 8<<20))}, true)
	for _, name := range []string{"", "..", "signal", "..data", "..data_tmp", "..gen-1", "..a/b"} {
		if v, err := volume.OpenTree(t.Context(), t.TempDir(), name, nil); err == nil {
			_ = v.Close()
			t.Errorf("%q is a signal", name)
		}
	}
}

// A reader that follows "..data" once sees one of the two, whole, whatever step is
// the last one; and the next run makes the new one stand.
func TestAStopOrAFailureAtAnyStepLeavesTheOldTreeOrTheNewWhole(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		for n, steps := 0, []string(nil); n <= len(steps); n++ {
			dir := t.TempDir()
			v := openTree(t, dir)
			publish(t, v, before, true)
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			steps = nil
			v, err := volume.OpenTreeAs(t.Context(), dir, signal, keepAll, os.Geteuid(), func(what string) error {
				if steps = append(steps, what); len(steps) == n+1 || !fails && len(steps) > n {
					return errors.New("stopped")
				}
				return nil
			})
			if err == nil {
				_, _ = v.PublishFiles(after)
				_ = v.Close()
			}
			files, _ := readTree(t, dir)
			got := shown(t, dir)
			switch {
			case equal(files, sorted(before)) && fmt.Sprint(got) == fmt.Sprint(shows(before)):
			case equal(files, sorted(after)) && fmt.Sprint(got) == fmt.Sprint(shows(after)):
			default:
				t.Fatalf("after %d steps, the last %q: %v\n%v", n, steps[len(steps)-1], files, got)
			}
			v = openTree(t, dir)
			if _, err := v.PublishFiles(after); err != nil {
				t.Fatal(err)
			}
			if files, stands := readTree(t, dir); !stands || !equal(files, sorted(after)) {
				t.Fatalf("after %d steps and a run: %v, %v", n, files, stands)
			}
			_ = v.Close()
			if n > 200 {
				t.Fatal("there is no end")
			}
		}
	}
}

func TestATornTreeIsDropped(t *testing.T) {
	t.Parallel()
	for what, tear := range map[string]func(generation string) error{
		`"..signal" is missing`: func(g string) error { return os.Remove(g + "/..signal") },
		`"conf.d/b.conf": is a FIFO`: func(g string) error {
			return errors.Join(os.Remove(g+"/conf.d/b.conf"), syscall.Mkfifo(g+"/conf.d/b.conf", 0o644))
		},
		"there are more than 1001 directories": func(g string) error { return os.MkdirAll(g+strings.Repeat("/d", 1002), 0o755) },
		`"conf.d/large": is too large`: func(g string) error {
			return errors.Join(os.WriteFile(g+"/conf.d/large", nil, 0o644), os.Truncate(g+"/conf.d/large", 1<<40))
		},
		"there are more than 1001 files":           func(g string) error { return fill(g, 1010) },
		`"dangling": no such file or directory`:    func(g string) error { return os.Symlink("missing", g+"/dangling") },
		`"loop": is a directory`:                   func(g string) error { return os.Symlink(".", g+"/loop") },
		`"conf.d/host": openat host: path escapes`: func(g string) error { return os.Symlink("/etc/passwd", g+"/conf.d/host") },
	} {
		dir := t.TempDir()
		v := openTree(t, dir)
		publish(t, v, before, true)
		if err := errors.Join(v.Close(), tear(filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
		if _, _, err := volume.ReadTree(dir, signal); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v\nwant %s", err, what)
		}
		v = openTree(t, dir)
		if err := v.Dropped(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v\nwant %s", err, what)
		}
		expect(t, dir, "")
	}
}

func fill(dir string, n int) error {
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d", i)), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Each name that the writer has made is replaced before each of its steps, by a link
// that leads out or to another owner's directory.
func TestASwapBetweenTwoStepsNeverLeadsTheWriterOfATreeOutside(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"outside", "link", "other"} {
		for n, steps := 0, 1; n < steps; n++ {
			base := t.TempDir()
			dir, outside := filepath.Join(base, "volume"), filepath.Join(base, "outside")
			if err := errors.Join(os.Mkdir(dir, 0o777), os.Mkdir(outside, 0o777), os.Mkdir(filepath.Join(dir, "other"), 0o700),
				os.WriteFile(filepath.Join(outside, "b.conf"), []byte("precious"), 0o600)); err != nil {
				t.Fatal(err)
			}
			stood := stamps(t, outside)
			steps = 0
			v, err := volume.OpenTreeAs(t.Context(), dir, signal, keepAll, os.Geteuid(), func(string) error {
				if steps++; steps != n+1 {
					return nil
				}
				paths, _ := filepath.Glob(filepath.Join(dir, "..gen-*", "*"))
				deeper, _ := filepath.Glob(filepath.Join(dir, "..gen-*", "*", "*"))
				for i, path := range slices.Concat(deeper, paths) {
					_ = os.Rename(path, filepath.Join(dir, fmt.Sprintf("moved-%d", i)))
					up := strings.Repeat("../", strings.Count(strings.TrimPrefix(path, dir), "/")-1)
					_ = os.Symlink(map[string]string{"outside": up + "../outside", "link": outside + "/b.conf", "other": up + "other"}[target], path)
				}
				return nil
			})
			if err == nil {
				_, _ = v.PublishFiles(before)
				_ = v.Withdraw()
				_ = v.Close()
			}
			if now := stamps(t, outside); now != stood {
				t.Fatalf("step %d, %s: outside was\n%s\nand is\n%s", n, target, stood, now)
			}
			if inside, _ := os.ReadDir(filepath.Join(dir, "other")); len(inside) > 0 {
				t.Fatalf("step %d, %s: %v was written to", n, target, inside)
			}
			if steps > 0 && n > 300 {
				t.Fatal("there is no end")
			}
		}
	}
}

func TestTheSubdirectoriesOfATreeHaveTheGroupOfTheVolume(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	group := os.Getegid()
	if os.Geteuid() == 0 {
		group = 12345
	}
	if err := errors.Join(os.Chown(dir, -1, group), os.Chmod(dir, 0o777|fs.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	publish(t, openTree(t, dir), before, true)
	for path, mode := range map[string]fs.FileMode{"conf.d": fs.ModeDir | fs.ModeSetgid | 0o755, "conf.d/deep": fs.ModeDir | fs.ModeSetgid | 0o755, "conf.d/b.conf": 0o644} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if gid := int(info.Sys().(*syscall.Stat_t).Gid); gid != group || info.Mode() != mode {
			t.Errorf("%s has group %d and mode %v", path, gid, info.Mode())
		}
	}
}
