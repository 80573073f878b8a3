package volume_test

import (
	"bytes"
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
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// refused opens dir and wants an error that has all the parts, in one line.
func refused(t *testing.T, dir string, parts ...string) {
	t.Helper()
	v, err := volume.Open(t.Context(), dir, names, keepAll)
	if err == nil {
		_ = v.Close()
		t.Fatalf("%q was accepted", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	if strings.ContainsAny(err.Error(), "\n\x1b") || strings.HasSuffix(err.Error(), ".") {
		t.Errorf("not one clean sentence: %q", err)
	}
}

func TestOpenRefusesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	things := map[string]func(path string) error{
		"a directory":    func(path string) error { return os.Mkdir(path, 0o755) },
		"a FIFO":         func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"a regular file": func(path string) error { return os.WriteFile(path, nil, 0o644) },
		"a socket":       func(path string) error { return syscall.Mknod(path, syscall.S_IFSOCK|0o644, 0) },
		`a symlink to "/etc/pass\x1bwd"`: func(path string) error {
			return os.Symlink("/etc/pass\x1bwd", path)
		},
		`a symlink to "..gen-1/../../x"`: func(path string) error { return os.Symlink("..gen-1/../../x", path) },
		`a symlink to "..2026_01_01"`:    func(path string) error { return os.Symlink("..2026_01_01", path) },
	}
	for _, name := range append(slices.Clone(names), volume.Verified, "..data", "..data_tmp") {
		for what, make := range things {
			if name == "..data_tmp" && (what == "a regular file" || strings.HasPrefix(what, "a symlink")) {
				continue // a leftover
			}
			dir := t.TempDir()
			if err := make(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			before := stamps(t, dir)
			hint := "give podfqdn an emptyDir of its own"
			if what == "a directory" {
				hint = "mount the directory, not single files"
			}
			refused(t, dir, fmt.Sprintf("%q in %q is %s, ", name, dir, what), hint)
			if after := stamps(t, dir); after != before {
				t.Errorf("%s at %s was touched", what, name)
			}
		}
	}
}

func TestPublishAndWithdrawRefuseWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := open(t, dir)
	if err := os.Mkdir(filepath.Join(dir, volume.Verified), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := v.PublishFiles(db0); err == nil || !strings.Contains(err.Error(), `"verified" in `) {
		t.Error(err)
	}
	if err := v.Withdraw(); err == nil || !strings.Contains(err.Error(), `"verified" in `) {
		t.Error(err)
	}
	if _, _, err := volume.Read(dir); err != nil {
		t.Error(err)
	}
	expect(t, dir, "drwxr-xr-x verified")
}

func TestOpenRemovesALeftoverDataTmp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "..data_tmp"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	expect(t, dir, "")
}

func TestOpenSaysWhatToMountIfThereIsNoDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	refused(t, filepath.Join(dir, "missing"), "does not exist: mount an emptyDir there")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "file"), nil, 0o644), syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644)); err != nil {
		t.Fatal(err)
	}
	refused(t, filepath.Join(dir, "file"), "is not a directory: mount an emptyDir there, not a single file")
	refused(t, filepath.Join(dir, "fifo"), "is not a directory")
	if _, _, err := volume.Read(filepath.Join(dir, "fifo")); err == nil {
		t.Error("read a FIFO")
	}
}

const (
	childVar    = "VOLUME_TEST_CHILD"
	noRaceSleep = "GORACE=atexit_sleep_ms=0" // the race detector sleeps for a second at each exit
)

// inChild reports whether this process is to do the test. If not it has let a
// child with these attributes do it; an error says that the system forbids
// such a child.
func inChild(t *testing.T, attr *syscall.SysProcAttr) (bool, error) {
	t.Helper()
	if os.Getenv(childVar) == t.Name() {
		return true, nil
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), childVar+"="+t.Name(), "TMPDIR=/tmp", noRaceSleep)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Fatalf("%v\n%s", err, out)
	case err != nil:
		return false, err
	}
	if !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("the child did nothing:\n%s", out)
	}
	return false, nil
}

// ordinary reports whether this process is the one to do a test that must not
// be done by root.
func ordinary(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	_, err := inChild(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// tmpfs mounts a little file system in a name space of the test's own, which
// needs no right. Where the system forbids even that it says so and false:
// TestAFailureOfAnyStepBeforeTheFlipLeavesNoTrace and
// TestErrorsSayWhatToChange then stand alone, with errors that are made up.
func tmpfs(t *testing.T, options string) (dir string, ok bool) {
	t.Helper()
	child, err := inChild(t, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	})
	if err != nil {
		t.Logf("no user name space here: %v", err)
	}
	if !child {
		return "", false
	}
	dir = t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, options); err != nil {
		if !errors.Is(err, fs.ErrPermission) {
			t.Fatal(err)
		}
		t.Logf("no mount here: %v", err)
		return "", false
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir, true
}

func TestAFullVolumeKeepsTheOldGeneration(t *testing.T) {
	dir, ok := tmpfs(t, "size=64k")
	if !ok {
		return
	}
	v := open(t, dir)
	publish(t, v, db0, true)
	before := listing(t, dir)
	fill := func() {
		filler, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		for page := make([]byte, 4096); err == nil; {
			_, err = filler.Write(page)
		}
		if _ = filler.Close(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	fill()
	changed, err := v.PublishFiles(web0)
	if changed || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "raise the volume's sizeLimit") {
		t.Fatalf("%v, %v", changed, err)
	}
	publish(t, v, db0, false)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}

	v = open(t, dir) // what stands needs no space
	publish(t, v, db0, false)
	if err := errors.Join(v.Withdraw(), v.Close()); err != nil {
		t.Fatal(err)
	}
	v, err = volume.Open(t.Context(), dir, names, keepNone) // what is dropped frees its space
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	fill()
	refused(t, dir, "cannot write probe in ", "no space left on device: raise the volume's sizeLimit")
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	v = open(t, dir)
	publish(t, v, db0, true)
	expect(t, dir, before)
}

func TestAReadOnlyVolumeIsRefusedByOpenAndReadAllTheSame(t *testing.T) {
	dir, ok := tmpfs(t, "size=64k")
	if !ok {
		return
	}
	readOnly := func() {
		if err := syscall.Mount("none", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
	}
	v := open(t, dir)
	publish(t, v, db0, true)
	_ = v.Close()
	readOnly()
	refused(t, dir, "cannot make generation in ", "the volumeMount must not be readOnly")
	if fqdn, verified := read(t, dir); fqdn != "db-0.db" || !verified {
		t.Fatalf("%q, %v", fqdn, verified)
	}
}

func TestErrorsSayWhatToChange(t *testing.T) {
	t.Parallel()
	for errno, want := range map[syscall.Errno]string{
		syscall.EROFS:  "read-only file system: the volumeMount must not be readOnly",
		syscall.ENOSPC: "no space left on device: raise the volume's sizeLimit",
		syscall.EDQUOT: "disk quota exceeded: raise the volume's sizeLimit",
		syscall.EACCES: fmt.Sprintf("permission denied for uid %d, the directory has uid %[1]d and mode drwxr-xr-x: mount", os.Geteuid()),
		syscall.EIO:    "input/output error",
	} {
		_, err := volume.OpenAs(t.Context(), t.TempDir(), names, keepAll, os.Geteuid(), func(string) error { return errno })
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

func TestADirectoryWithoutRightsIsRefusedWithUidAndMode(t *testing.T) {
	if !ordinary(t) {
		return
	}
	dir := t.TempDir()
	for mode, want := range map[fs.FileMode]string{0o555: "permission denied for uid %d, the directory has uid %[1]d and mode dr-xr-xr-x: mount an emptyDir", 0: "uid %d cannot open "} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, fmt.Sprintf(want, os.Geteuid()))
	}
	_ = os.Chmod(dir, 0o755)
	if err := os.Mkdir(filepath.Join(dir, "..gen-1"), 0); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	expect(t, dir, "")
}

// The process takes itself for another uid: so no right is needed to try it.
func TestLinksOfAnotherUidUnderAStickyBitAreRefused(t *testing.T) {
	t.Parallel()
	dir := published(t, db0)
	other := os.Geteuid() + 1
	if v, err := volume.OpenAs(t.Context(), dir, names, keepAll, other, func(string) error { return nil }); err == nil {
		_ = v.Close()
		t.Fatal("the directory we made passed for one of another uid")
	} else if !strings.Contains(err.Error(), "put something else in place of our directory") {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	_, err := volume.OpenAs(t.Context(), dir, names, keepAll, other, func(string) error { return nil })
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf(`belongs to uid %d and the sticky bit of this volume (medium: Memory has it) keeps uid %d`, os.Geteuid(), other)) {
		t.Fatal(err)
	}
	open(t, dir) // our own are accepted
}

// Root can also try it with two processes that really have two uids.
func TestLinksOfAnotherUidUnderAStickyBitAreRefusedToAnotherProcess(t *testing.T) {
	const dirVar = "VOLUME_TEST_STICKY"
	if dir := os.Getenv(dirVar); dir != "" {
		refused(t, dir, "belongs to uid 0 and the sticky bit", "keeps uid 65534 from replacing it: give both containers the same runAsUser")
		if fqdn, verified := read(t, dir); fqdn != "db-0.db" || !verified {
			t.Errorf("%q, %v", fqdn, verified)
		}
		return
	}
	if os.Geteuid() != 0 {
		return
	}
	dir, err := os.MkdirTemp("/tmp", "sticky")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	v := open(t, dir)
	publish(t, v, db0, true)
	// Not even the directory is the child's, as in a tmpfs.
	if err := errors.Join(v.Close(), os.Chmod(dir, 0o777|fs.ModeSticky)); err != nil {
		t.Fatal(err)
	}
	t.Setenv(dirVar, dir)
	ordinary(t)
}

func TestTheGroupOfTheVolumeIsInheritedAndItsSetgidBitKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// fsGroup as the kubelet applies it. An ordinary user can only take a group
	// that it is in.
	group := os.Getegid()
	if groups, _ := os.Getgroups(); len(groups) > 0 {
		group = groups[len(groups)-1]
	}
	if os.Geteuid() == 0 {
		group = 12345
	}
	if err := errors.Join(os.Chown(dir, -1, group), os.Chmod(dir, 0o777|fs.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	v := open(t, dir)
	publish(t, v, []identity.File{{Name: "fqdn", Data: []byte("x"), Mode: 0o640}}, true)
	for path, mode := range map[string]fs.FileMode{"..data": fs.ModeDir | fs.ModeSetgid | 0o755, "..data/fqdn": 0o640, "..data/verified": 0o644} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if gid := int(info.Sys().(*syscall.Stat_t).Gid); gid != group || info.Mode() != mode {
			t.Errorf("%s has group %d and mode %v", path, gid, info.Mode())
		}
	}
}

func TestModesDoNotDependOnTheUmask(t *testing.T) {
	if !ordinary(t) { // root could open a directory without any bit
		return
	}
	for _, umask := range []int{0, 0o777} {
		dir := t.TempDir()
		old := syscall.Umask(umask)
		v, err := volume.Open(t.Context(), dir, names, keepAll)
		if err == nil {
			_, err = v.PublishFiles(db0)
			_ = v.Close()
		}
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, dir, db0Listing)
	}
}

// The attacker has every right in the volume that the writer has, and none
// outside: it swaps every name that the writer uses with a symlink that leads
// out, or to a file that the writer did not make.
func TestSwappedSymlinksNeverLeadTheWriterOutside(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir, outside := filepath.Join(base, "volume"), filepath.Join(base, "outside")
	foreign := filepath.Join(dir, "foreign") // another owner's directory inside
	for _, made := range []string{dir, outside, foreign} {
		if err := os.Mkdir(made, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, made := range []string{outside, foreign} {
		for _, name := range []string{"fqdn", "probe", "secret"} {
			if err := os.WriteFile(filepath.Join(made, name), []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := stamps(t, outside)

	done := make(chan struct{})
	var attackers sync.WaitGroup
	attack := func(turn func(i int)) {
		attackers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
					turn(i)
				}
			}
		})
	}
	targets := []string{outside, "../outside", "../outside/secret", "/proc/self/cwd", "foreign"}
	attack(func(i int) {
		generations, _ := filepath.Glob(filepath.Join(dir, "..gen-*"))
		for _, path := range generations {
			moved := filepath.Join(dir, "moved")
			_ = os.Rename(path, moved)
			_ = os.Symlink(targets[i%len(targets)], path)
			_ = os.RemoveAll(moved)
			_ = os.Remove(path)
		}
	})
	fixed := []string{"..data_tmp", "..data", "fqdn", volume.Verified}
	attack(func(i int) {
		name := fixed[i%len(fixed)]
		_ = os.Symlink(targets[i%len(targets)], filepath.Join(dir, name))
		_ = os.Remove(filepath.Join(dir, name))
	})

	published, failed := 0, 0
	for i, end := 0, time.Now().Add(2*time.Second); i < 400 && time.Now().Before(end); i++ {
		v, err := volume.Open(t.Context(), dir, names, keepAll)
		if err == nil {
			_, err = v.PublishFiles([]identity.File{file("fqdn", fmt.Sprint(i)), file("ip", "10.0.0.1")})
			_ = v.Withdraw()
			_ = v.Close()
		}
		if err == nil {
			published++
		} else {
			failed++
		}
	}
	close(done)
	attackers.Wait()
	t.Logf("published %d times, was stopped %d times", published, failed)
	if failed == 0 {
		t.Error("the attack hit nothing")
	}
	if after := stamps(t, outside); after != before {
		t.Errorf("outside was\n%s\nand is\n%s", before, after)
	}
	for _, name := range []string{"fqdn", "probe", "secret"} {
		if content, err := os.ReadFile(filepath.Join(foreign, name)); string(content) != "precious" {
			t.Errorf("%s inside is %q, %v", name, content, err)
		}
	}
}

// Each swap of the race, once, at the moment at which it hurts most.
func TestASwapBetweenTwoStepsNeverLeadsTheWriterOutside(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"outside", "link", "other"} {
		for n, steps := 0, 1; n < steps; n++ {
			base := t.TempDir()
			dir, outside := filepath.Join(base, "volume"), filepath.Join(base, "outside")
			if err := errors.Join(os.Mkdir(dir, 0o777), os.Mkdir(outside, 0o777), os.Mkdir(filepath.Join(dir, "other"), 0o700),
				os.WriteFile(filepath.Join(outside, "fqdn"), []byte("precious"), 0o600)); err != nil {
				t.Fatal(err)
			}
			before := stamps(t, outside)
			steps = 0
			v, err := volume.OpenAs(t.Context(), dir, names, keepAll, os.Geteuid(), func(string) error {
				if steps++; steps != n+1 {
					return nil
				}
				paths, _ := filepath.Glob(filepath.Join(dir, "*"))
				for i, path := range paths {
					if filepath.Base(path) == "other" {
						continue
					}
					_ = os.Rename(path, filepath.Join(dir, fmt.Sprintf("moved-%d", i)))
					_ = os.Symlink(map[string]string{"outside": "../outside", "link": outside + "/fqdn", "other": "other"}[target], path)
				}
				return nil
			})
			if err == nil {
				_, _ = v.PublishFiles(db0)
				_ = v.Withdraw()
				_ = v.Close()
			}
			if after := stamps(t, outside); after != before {
				t.Fatalf("step %d, %s: outside was\n%s\nand is\n%s", n, target, before, after)
			}
			if inside, _ := os.ReadDir(filepath.Join(dir, "other")); len(inside) > 0 {
				t.Fatalf("step %d, %s: %v was written to", n, target, inside)
			}
		}
	}
}

// The same uid can enter the directory that is being filled.
func TestAFilePlantedInTheNewGenerationIsNotWrittenTo(t *testing.T) {
	t.Parallel()
	for what, plant := range map[string]func(outside, path string) error{"hard link": os.Link, "symlink": os.Symlink} {
		base := t.TempDir()
		dir, outside := filepath.Join(base, "volume"), filepath.Join(base, "outside")
		if err := errors.Join(os.Mkdir(dir, 0o777), os.WriteFile(outside, []byte("precious"), 0o600)); err != nil {
			t.Fatal(err)
		}
		armed := false
		v, err := volume.OpenAs(t.Context(), dir, names, keepAll, os.Geteuid(), func(step string) error {
			if !armed || step != "create fqdn" {
				return nil
			}
			made, _ := filepath.Glob(filepath.Join(dir, "..gen-*"))
			return plant(outside, filepath.Join(made[0], "fqdn"))
		})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		armed = true
		if _, err := v.PublishFiles(db0); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", what, err)
		}
		if content, err := os.ReadFile(outside); string(content) != "precious" {
			t.Errorf("%s: outside is %q, %v", what, content, err)
		}
		expect(t, dir, "")
	}
}

// Nobody finds files that were published in a directory that is gone.
func TestADirectoryThatIsGoneIsNotPublishedIn(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(dir string) error{
		"another is": func(dir string) error { return os.Mkdir(dir, 0o777) },
		"none is":    func(string) error { return nil },
	} {
		dir := filepath.Join(t.TempDir(), "identity")
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		v := open(t, dir)
		if err := errors.Join(os.Rename(dir, dir+".moved"), replace(dir)); err != nil {
			t.Fatal(err)
		}
		if _, err := v.PublishFiles(db0); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q is no longer mounted", dir)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAGenerationThatNeverHoldsStillIsNotReadForEver(t *testing.T) {
	t.Parallel()
	dir := published(t, db0)
	current, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	flips := 0
	flip := func() {
		flips++
		generation, next := fmt.Sprint("..gen-", flips), filepath.Join(dir, "..data_next")
		if err := errors.Join(
			os.CopyFS(filepath.Join(dir, generation), os.DirFS(filepath.Join(dir, current))),
			os.Symlink(generation, next),
			os.Rename(next, filepath.Join(dir, "..data")),
		); err != nil {
			t.Fatal(err)
		}
	}
	files, verified, err := volume.ReadWhile(dir, flip)
	if len(files) != 0 || verified || err == nil || !strings.Contains(err.Error(), "changed 10 times while it was read") || flips != 10 {
		t.Errorf("%d files, %t, %v after %d flips", len(files), verified, err, flips)
	}
	left := 9 // the last try succeeds
	files, verified, err = volume.ReadWhile(dir, func() {
		if left--; left >= 0 {
			flip()
		}
	})
	if len(files) != len(db0) || !verified || err != nil {
		t.Errorf("%d files, %t, %v", len(files), verified, err)
	}
}

func TestReadRefusesAForeignSignal(t *testing.T) {
	t.Parallel()
	dir := published(t, db0)
	signal := filepath.Join(dir, volume.Verified)
	if err := errors.Join(os.Remove(signal), os.Mkdir(signal, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, verified, err := volume.Read(dir); verified || err == nil || !strings.Contains(err.Error(), `"verified" in `) {
		t.Errorf("%t, %v", verified, err)
	}
}
