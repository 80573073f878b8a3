package certificate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity/certificate"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

func TestAPathThatIsNotThereIsAwaited(t *testing.T) {
	leaf := podtest.Certificate{}.Issue()
	bundle := write(t, filepath.Join(t.TempDir(), "b"), append(leaf.PEM(), leaf.KeyPEM()...))
	none := filepath.Join(t.TempDir(), "none")
	dangling := t.TempDir()
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink("nowhere", filepath.Join(dangling, name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		none:          fmt.Sprintf("%q does not exist: mount what holds the certificate there, or add it to the Secret", none),
		bundle + "/x": fmt.Sprintf("%q does not exist: mount what holds the certificate there, or add it to the Secret", bundle+"/x"),
		dangling:      fmt.Sprintf("%q is a broken link: replace it, or create what it leads to", dangling+"/tls.crt"),
	} {
		checkNotYet(t, requirement(t, path, claimOf("")).Check(t.Context(), nil), want)
	}
	r := requirement(t, none, claimOf(""))
	if err := r.Check(t.Context(), nil); err == nil {
		t.Error("met")
	}
	write(t, none, append(leaf.KeyPEM(), leaf.PEM()...))
	if err := r.Check(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestWhatWouldHoldWhoeverOpensItIsRefusedAndNotOpened(t *testing.T) {
	leaf := podtest.Certificate{}.Issue()
	sentence := func(path, what string) string {
		return fmt.Sprintf("PODFQDN_TLS: %q is %s: name a directory with tls.crt and tls.key, or one file with certificate and key", path, what)
	}
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		m := mount(t, pair(leaf, leaf))
		at, _ := os.Readlink(filepath.Join(m.Dir, "..data"))
		file := filepath.Join(m.Dir, at, name)
		if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o644)); err != nil {
			t.Fatal(err)
		}
		checkRefusal(t, requirement(t, m.Dir, claimOf("")).Check(t.Context(), nil), sentence(filepath.Join(m.Dir, name), "a FIFO"))
		if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o755)); err != nil {
			t.Fatal(err)
		}
		checkRefusal(t, requirement(t, m.Dir, claimOf("")).Check(t.Context(), nil), sentence(filepath.Join(m.Dir, name), "a directory"))
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, what := range map[string]string{fifo: "a FIFO", "/dev/zero": "a device"} {
		checkRefusal(t, requirement(t, path, claimOf("")).Check(t.Context(), nil), sentence(path, what))
	}
}

// A FIFO that takes a key's place between the look and the read has nobody wait for
// its writer.
func TestAFileThatBecomesAFIFOHoldsNobody(t *testing.T) {
	m := mount(t, pair(podtest.Certificate{}.Issue()))
	at, _ := os.Readlink(filepath.Join(m.Dir, "..data"))
	read, err := certificate.Look(m.Dir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(m.Dir, at, "tls.key")
	if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := read(); err == nil || err.Error() != fmt.Sprintf("%q is no longer a file", filepath.Join(m.Dir, "tls.key")) {
		t.Error(err)
	}
}

func TestASourceThatHangsHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mount(t, pair(issue(podtest.Certificate{})))
		r, end := certificate.Hang(claimOf(""), m.Dir)
		want := fmt.Sprintf("%q could not be read within 5s: check whether its file system hangs", m.Dir)
		for range 2 {
			start := time.Now()
			checkNotYet(t, r.Check(t.Context(), nil), want)
			if took := time.Since(start); took != 5*time.Second {
				t.Errorf("it took %s", took)
			}
		}
		signal := errors.New("a signal")
		ctx, kill := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { kill(signal) })
		if err := r.Check(ctx, nil); err != signal {
			t.Error(err)
		}
		end()
		checkNotYet(t, r.Check(t.Context(), nil), "")
	})
}

// Two certificates take turns while the source is read, each with its own key: no read
// may see the key of one with the certificate of the other.
func TestASecretThatIsSwappedWhileItIsReadIsReadAsOneVersion(t *testing.T) {
	m := mount(t, nil)
	versions := []map[string][]byte{}
	for i := range 4 {
		ca := podtest.Certificate{CA: true, CommonName: "ca"}.Issue()
		versions = append(versions, pair(podtest.Certificate{Serial: int64(i + 1), Issuer: ca}.Issue(), ca))
	}
	set(t, m, versions[0])
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	var turns atomic.Int32
	swapping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				set(t, m, versions[int(turns.Add(1))%len(versions)])
				time.Sleep(500 * time.Microsecond)
			}
		}
	})
	seen := map[string]int{}
	for reads := 0; reads < 300 || turns.Load() < 20 || len(seen) < len(versions); reads++ {
		if reads == 100_000 {
			t.Errorf("%d reads, %d turns, seen %v", reads, turns.Load(), seen)
			break
		}
		found, err := certificate.Read(m.Dir)
		switch {
		case err == nil:
			if err := found.Judge(claimOf("")); err != nil {
				t.Error(err)
			}
			seen[found.Serial()]++
		case !strings.HasSuffix(err.Error(), "changed each of the 5 times that it was read") &&
			!strings.Contains(err.Error(), "does not exist") && !strings.HasSuffix(err.Error(), "has not put tls.crt and tls.key there yet"):
			t.Error(err) // of versions that go within a millisecond, a look may see none
		}
	}
	close(stop)
	swapping.Wait()
}

const childVar = "CERTIFICATE_TEST_PATH"

// ordinary reports whether this process is the one to do a test that must not be done
// by root, with a path that was made before. If it is not, it has let a child do it.
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

func TestAKeyThatMayNotBeReadIsRefusedWithItsModeAndTheUser(t *testing.T) {
	path := ""
	if os.Getenv(childVar) == "" {
		dir, err := os.MkdirTemp("/tmp", "certificate")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		for name, data := range pair(podtest.Certificate{}.Issue()) {
			write(t, filepath.Join(dir, name), data)
		}
		mode := os.FileMode(0o400)
		if os.Geteuid() != 0 {
			mode = 0o200 // nobody else is there to own it
		}
		if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Join(dir, "tls.key"), mode)); err != nil {
			t.Fatal(err)
		}
		path = dir
	}
	path, here := ordinary(t, path)
	if !here {
		return
	}
	info, err := os.Stat(filepath.Join(path, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	groups, _ := os.Getgroups()
	checkRefusal(t, requirement(t, path, claimOf("")).Check(t.Context(), nil),
		fmt.Sprintf("uid %d, gid %d, groups %v may not read %q, which has uid %d, gid %d and mode %04o: set the Pod's fsGroup, or a defaultMode or runAsUser that allows reading it",
			os.Geteuid(), os.Getegid(), groups, filepath.Join(path, "tls.key"), owner.Uid, owner.Gid, info.Mode().Perm()))
}
