package render_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/render"
)

func read(t *testing.T, src string) (names, modes, texts []string) {
	t.Helper()
	names, modes, texts, err := render.ReadWhile(src, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return names, modes, texts
}

// write makes files below dir, by name, and the directories that they lie in.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// configMap is a directory as the kubelet makes it, with one version.
func configMap(t *testing.T, files map[string]string) string {
	t.Helper()
	src := t.TempDir()
	write(t, filepath.Join(src, "..2026_01"), files)
	links := map[string]string{"..data": "..2026_01"}
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		links[top] = "..data/" + top
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(src, name)); err != nil {
			t.Fatal(err)
		}
	}
	return src
}

func TestAConfigMapIsReadWithoutItsHiddenNames(t *testing.T) {
	t.Parallel()
	files := map[string]string{"b.conf": "b", "a.conf": "", "conf.d/deep/c.conf": "c", "..hidden": "x", "conf.d/..hidden": "x", ".dot": "d", "verified": "v"}
	src := configMap(t, files)
	if err := os.Chmod(filepath.Join(src, "..2026_01", "b.conf"), 0o750); err != nil {
		t.Fatal(err)
	}
	want := []string{".dot", "a.conf", "b.conf", "conf.d/deep/c.conf", "verified"}
	for _, at := range []string{src, filepath.Join(src, "..data")} { // and a plain directory
		names, modes, texts := read(t, at)
		if !slices.Equal(names, want) || !slices.Equal(texts, []string{"d", "", "b", "c", "v"}) {
			t.Errorf("%q, %q", names, texts)
		}
		if !slices.Equal(modes, []string{"-rw-r--r--", "-rw-r--r--", "-rwxr-xr--", "-rw-r--r--", "-rw-r--r--"}) {
			t.Errorf("%q", modes)
		}
	}
	if names, _, _ := read(t, t.TempDir()); len(names) > 0 {
		t.Errorf("%q", names)
	}
}

func TestLinksAreFollowedWithinTheSource(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	write(t, src, map[string]string{"a": "a", "d/b": "b"})
	for name, target := range map[string]string{"link": "a", "e": "d", "d/up": "../a", "twice": "link"} {
		if err := os.Symlink(target, filepath.Join(src, name)); err != nil {
			t.Fatal(err)
		}
	}
	names, _, texts := read(t, src)
	if !slices.Equal(names, []string{"a", "d/b", "d/up", "e/b", "e/up", "link", "twice"}) || strings.Join(texts, "") != "ababaaa" {
		t.Errorf("%q, %q", names, texts)
	}
}

// Nothing here may hold the reader, and each is an error that names the entry.
func TestWhatCannotBeRenderedIsRefusedByName(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, make := range map[string]func(src string) error{
		`"SRC/d/fifo" is a FIFO: only files and directories can be rendered: remove it`: func(src string) error { return syscall.Mkfifo(src+"/d/fifo", 0o644) },
		`"SRC/d/socket" is a socket: only`:                                              func(src string) error { return syscall.Mknod(src+"/d/socket", syscall.S_IFSOCK|0o644, 0) },
		`"SRC/null" is a link that is absolute or leads out of the source`:              func(src string) error { return os.Symlink("/dev/null", src+"/null") },
		`"SRC/d/up" is a link that is absolute or leads out of the source`:              func(src string) error { return os.Symlink("../../"+filepath.Base(outside), src+"/d/up") },
		`"SRC/absolute" is a link that is absolute or leads out of the source`:          func(src string) error { return os.Symlink(src+"/a", src+"/absolute") },
		`"SRC/..data" is a link that is absolute or leads out of the source`:            func(src string) error { return os.Symlink(filepath.Dir(outside), src+"/..data") },
		`"SRC/..data" is a broken link, or was just removed`:                            func(src string) error { return os.Symlink("..2026", src+"/..data") },
		`"SRC/dangling" is a broken link, or was just removed`:                          func(src string) error { return os.Symlink("nowhere", src+"/dangling") },
		`"SRC/d/loop" is a link to a directory that it lies in`:                         func(src string) error { return os.Symlink("..", src+"/d/loop") },
		`"SRC/self" cannot be read: too many levels of symbolic`:                        func(src string) error { return os.Symlink("self", src+"/self") },
		`"SRC/binary" is not UTF-8 text`:                                                func(src string) error { return os.WriteFile(src+"/binary", []byte("\x05\x02\xff"), 0o644) },
		`"SRC/d/esc\x1b" is not UTF-8 text`:                                             func(src string) error { return os.WriteFile(src+"/d/esc\x1b", []byte("\xff"), 0o644) },
		`"SRC/large" is too large: all files of a source`: func(src string) error {
			return errors.Join(os.WriteFile(src+"/large", nil, 0o644), os.Truncate(src+"/large", 1<<40))
		},
		`"SRC/z" is too large: all files of a source together`:    func(src string) error { return errors.Join(large(src+"/y", render.MaxBytes-3), large(src+"/z", 2)) },
		`"SRC" has more than 1000 files`:                          func(src string) error { return fill(src+"/d", 1000) },
		`"SRC" has more than 1000 directories`:                    func(src string) error { return directories(src+"/d", 1000) },
		`"SRC" does not exist: mount a ConfigMap there`:           os.RemoveAll,
		`"SRC" is not a directory: name the directory`:            func(src string) error { return errors.Join(os.RemoveAll(src), os.WriteFile(src, nil, 0o644)) },
		`"SRC" is not a directory: name the directory that the C`: func(src string) error { return errors.Join(os.RemoveAll(src), syscall.Mkfifo(src, 0o644)) },
	} {
		src := filepath.Join(t.TempDir(), "src")
		write(t, src, map[string]string{"a": "a", "d/b": "b"})
		if err := make(src); err != nil {
			t.Fatal(err)
		}
		_, _, _, err := render.ReadWhile(src, func() {})
		refusal, ok := errors.AsType[*identity.Refusal](err)
		if want := "PODFQDN_RENDER: " + strings.ReplaceAll(want, "SRC", src); !ok || !strings.HasPrefix(refusal.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

func large(path string, size int) error { return os.WriteFile(path, make([]byte, size), 0o644) }

func fill(dir string, n int) error {
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d", i)), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func directories(dir string, n int) error {
	for i := range n {
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprintf("%04d", i)), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func TestASourceAtItsBoundsIsRead(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	if err := errors.Join(fill(src, render.MaxFiles-1), large(src+"/large", render.MaxBytes)); err != nil {
		t.Fatal(err)
	}
	if names, _, _ := read(t, src); len(names) != render.MaxFiles {
		t.Errorf("%d files", len(names))
	}
}

// flip makes another version of a ConfigMap, as the kubelet does, and removes the one
// before.
func flip(t *testing.T, src, version string, files map[string]string) {
	t.Helper()
	old, err := os.Readlink(filepath.Join(src, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(src, version), files)
	tmp := filepath.Join(src, "..data_tmp")
	if err := errors.Join(os.Symlink(version, tmp), os.Rename(tmp, filepath.Join(src, "..data")), os.RemoveAll(filepath.Join(src, old))); err != nil {
		t.Fatal(err)
	}
}

func TestAVersionThatIsReplacedWhileItIsReadIsReadAgain(t *testing.T) {
	t.Parallel()
	src := configMap(t, map[string]string{"a": "1", "b": "1"})
	flips := 0
	names, _, texts, err := render.ReadWhile(src, func() {
		if flips++; flips < render.Tries {
			flip(t, src, fmt.Sprintf("..2026_%02d", flips+1), map[string]string{"a": fmt.Sprint(flips), "b": fmt.Sprint(flips)})
		}
	})
	if err != nil || !slices.Equal(names, []string{"a", "b"}) || !slices.Equal(texts, []string{"9", "9"}) {
		t.Errorf("%q, %q, %v", names, texts, err)
	}
	_, _, _, err = render.ReadWhile(src, func() {
		flips++
		flip(t, src, fmt.Sprintf("..2026_%02d", flips+1), map[string]string{"a": "x"})
	})
	if !errors.As(err, new(*identity.Refusal)) || !strings.Contains(err.Error(), "changed each of the 10 times that it was read") {
		t.Error(err)
	}
}

// However often the kubelet replaces it, what is read is of one version.
func TestAConfigMapThatChangesAllTheTimeIsNeverReadMixed(t *testing.T) {
	t.Parallel()
	version := func(n int) map[string]string {
		files := map[string]string{}
		for i := range 20 {
			files[fmt.Sprintf("d%d/f%d", i%3, i)] = fmt.Sprint(n)
		}
		files[fmt.Sprintf("only-%d", n)] = fmt.Sprint(n)
		return files
	}
	src := configMap(t, version(0))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; n <= 100; n++ {
			flip(t, src, fmt.Sprintf("..v%d", n), version(n))
		}
	}()
	whole, refused := 0, 0
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true // and once more
		default:
		}
		names, _, texts, err := render.ReadWhile(src, func() {})
		if errors.As(err, new(*identity.Refusal)) && strings.Contains(err.Error(), "changed each") {
			refused++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(names) != 21 || names[20] != "only-"+texts[0] || slices.ContainsFunc(texts, func(s string) bool { return s != texts[0] }) {
			t.Fatalf("%q, %q", names, texts)
		}
		whole++
	}
	t.Logf("read %d times, given up %d times", whole, refused)
	if whole == 0 {
		t.Error("it was never read")
	}
}
