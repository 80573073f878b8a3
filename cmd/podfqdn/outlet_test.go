package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

const (
	http0 = "HTTP/db-0.db.default.svc.cluster.local@EXAMPLE.COM"
	http1 = "HTTP/db-1.db.default.svc.cluster.local@EXAMPLE.COM"
)

// kerberized is a sidecar with Kerberos, and where its keys come from and go.
type kerberized struct {
	*sidecar
	source, keys string
}

// startKerberized starts one over directories that hold what an earlier one left.
func startKerberized(t *testing.T, dns answers, dir string, environ ...string) *kerberized {
	t.Helper()
	k := &kerberized{source: filepath.Join(dir, "source"), keys: filepath.Join(dir, "krb5")}
	if err := os.Mkdir(filepath.Join(dir, "identity"), 0o755); err == nil {
		if err := errors.Join(os.Mkdir(k.source, 0o755), os.Mkdir(k.keys, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	k.sidecar = start(t, filepath.Join(dir, "identity"), dns, append([]string{
		"PODFQDN_KRB5_PRINCIPALS=HTTP/{fqdn}", "PODFQDN_KRB5_REALM=EXAMPLE.COM", "PODFQDN_KRB5_SOURCE=" + k.source,
		"PODFQDN_KRB5_DIR=" + k.keys, "PODFQDN_KRB5_ALLOW_DISK=true"}, environ...)...)
	return k
}

// has puts a keytab into the source.
func (k *kerberized) has(entries ...string) {
	k.Helper()
	put(k.T, filepath.Join(k.source, "k"), podtest.Keytab(entries...))
}

// put makes or replaces a file in one step.
func put(t *testing.T, path string, data []byte) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path+".new", data, 0o600), os.Rename(path+".new", path))
	if err != nil {
		t.Fatal(err)
	}
}

// publishes sees what keytab is published; "" is none.
func (k *kerberized) publishes(entries ...string) {
	k.Helper()
	synctest.Wait()
	got, err := os.ReadFile(filepath.Join(k.keys, "keytab"))
	if len(entries) == 0 {
		if !os.IsNotExist(err) {
			k.Errorf("a keytab of %d bytes is published, %v", len(got), err)
		}
		return
	}
	if !bytes.Equal(got, podtest.Keytab(entries...)) {
		k.Errorf("the published keytab is not that of %q: %v", entries, err)
	}
}

// With Kerberos DNS is asked once more if the keys came late.
func TestKeysThatComeLateAreAwaitedAndDNSIsAskedOnceMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		dns := func(q identity.Question) identity.Answer {
			asked++
			return agreed(q)
		}
		k := startKerberized(t, dns, t.TempDir())
		time.Sleep(10 * time.Second)
		k.holds(false)
		k.publishes()
		const once = 8 // packets of an agreement
		if asked != once {
			t.Errorf("%d questions while the keys are awaited, not %d", asked, once)
		}
		want := `db-0.db.default.svc.cluster.local: "` + k.source + `" has no key for ` + http0 + `; it has nothing`
		if got := k.readyz(); got != want {
			t.Errorf("/readyz says %q, not %q", got, want)
		}
		k.has(http1, http0)
		time.Sleep(3 * time.Second)
		k.holds(true)
		k.publishes(http0)
		if asked != 2*once {
			t.Errorf("%d questions, not %d", asked, 2*once)
		}
		info := k.said("info")
		if !slices.Contains(info, "keys published: ") || !slices.Contains(info, "not yet: "+want) {
			t.Errorf("said %q", info)
		}
		if code := k.end(); code != exitOK {
			t.Errorf("exit code %d", code)
		}
	})
}

// If DNS has changed its mind by then, nothing is published, and no key is left.
func TestKeysThatComeWhenDNSDisagreesAreNotPublished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := startKerberized(t, agreed, t.TempDir())
		time.Sleep(10 * time.Second)
		k.turns(elsewhere)
		k.has(http0)
		time.Sleep(10 * time.Second)
		k.holds(false)
		k.publishes()
		if got := k.readyz(); !strings.Contains(got, "this Pod is 10.244.1.7") {
			t.Errorf("/readyz says %q", got)
		}
		k.turns(agreed)
		time.Sleep(10 * time.Second)
		k.holds(true)
		k.publishes(http0)
		k.end()
	})
}

// Exit code 14 is for keys that are missing at the deadline, not before it.
func TestDNSThatIsSilentAfterTheKeysHaveComeIsWhatIsWrong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := startKerberized(t, dead, t.TempDir())
		time.Sleep(time.Second)
		k.end()
		k.turns(agreed)
		go func() {
			time.Sleep(10 * time.Second)
			k.turns(dead)
			k.has(http0)
		}()
		init := path{stderr: io.Discard, dns: k.p.dns}
		err := init.run(t.Context(), "init", nil, append(k.environ, "PODFQDN_TIMEOUT=1m"))
		if code := exitCode(err); code != exitDeadline || !strings.Contains(err.Error(), "says nothing within 1s") {
			t.Errorf("exit code %d: %v", code, err)
		}
		k.publishes()
	})
}

func TestASidecarPublishesARotatedKeyBesideTheOneBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		k := startKerberized(t, agreed, dir)
		k.has(http0 + ":1")
		time.Sleep(2 * time.Second)
		k.holds(true)
		before, err := os.Stat(filepath.Join(k.dir, "fqdn"))
		if err != nil {
			t.Fatal(err)
		}
		k.has(http0+":1", http0+":2", http1+":2")
		time.Sleep(time.Minute + time.Second)
		k.holds(true)
		k.publishes(http0+":2", http0+":1")
		if now, err := os.Stat(filepath.Join(k.dir, "fqdn")); err != nil || !os.SameFile(before, now) {
			t.Errorf("the identity is another: %v", err)
		}
		// While DNS is in trouble nothing is proven, and so nothing is published.
		k.turns(broken)
		k.has(http0+":2", http0+":3")
		time.Sleep(5 * time.Minute)
		k.holds(true)
		k.publishes(http0+":2", http0+":1")
		k.turns(agreed)
		time.Sleep(time.Minute + time.Second)
		k.publishes(http0+":3", http0+":2")
		k.end()
	})
}

func TestAPublishedKeyStaysWhateverBecomesOfTheSource(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*kerberized)
		want   string
	}{
		"it loses the key":   {func(k *kerberized) { k.has(http1) }, `has no key for ` + http0 + `; it has keys for ` + http1},
		"it is an older one": {func(k *kerberized) { k.has(http0+":1", http1+":9") }, `has no key for ` + http0 + ` (its newest version is 1, and version 2 is published)`},
		"the newest is damaged": {func(k *kerberized) {
			k.has(http0 + ":1")
			put(k.T, filepath.Join(k.source, "k2"), podtest.Keytab(http0 + ":2")[:60])
		}, `has no key for ` + http0 + ` (its newest version is 1, and version 2 is published)`},
		"it is empty":       {func(k *kerberized) { os.Remove(filepath.Join(k.source, "k")) }, `it has nothing`},
		"it goes":           {func(k *kerberized) { os.RemoveAll(k.source) }, `does not exist: mount what holds the keys there`},
		"it becomes a FIFO": {func(k *kerberized) { os.RemoveAll(k.source); syscall.Mkfifo(k.source, 0o600) }, `is neither a file nor a directory`},
		"half a file":       {func(k *kerberized) { put(k.T, filepath.Join(k.source, "k"), podtest.Keytab(http0)[:60]) }, `is damaged at byte 2`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				first := startKerberized(t, agreed, dir)
				first.has(http0+":1", http0+":2")
				time.Sleep(2 * time.Second)
				first.holds(true)
				c.change(first)
				time.Sleep(10 * time.Minute)
				first.holds(true)
				first.publishes(http0+":2", http0+":1")
				warned := first.said("warn")
				if i := slices.IndexFunc(warned, func(line string) bool { return strings.HasPrefix(line, "the published keys stay: ") }); i < 0 || !strings.Contains(warned[i], c.want) {
					t.Errorf("warned of %q, not of %q", warned, c.want)
				}
				if len(warned) > 2 {
					t.Errorf("warned %d times", len(warned))
				}
				if n := first.counts("podfqdn_keys_missing_total"); len(n) != 2 {
					t.Errorf("counted %s times in ten minutes", n)
				}
				os.RemoveAll(first.source)
				first.has(http0+":1", http0+":2")
				time.Sleep(2 * time.Minute)
				if got := strings.Join(first.said("info"), "\n"); strings.Count(got, "the source has the keys again") != 1 {
					t.Errorf("that the keys are back is not said once:\n%s", got)
				}
				if code := first.end(); code != exitOK {
					t.Errorf("exit code %d", code)
				}
				// A container that is started again goes on where it was.
				c.change(first)
				second := startKerberized(t, dead, dir)
				time.Sleep(time.Minute)
				second.holds(true)
				second.turns(agreed)
				time.Sleep(2 * time.Minute)
				second.holds(true)
				second.publishes(http0+":2", http0+":1")
				second.end()
			})
		})
	}
}

// In a directory with everybody's keys each other file may be unreadable.
func TestManyFilesThatAreNotReadDoNotFloodTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := startKerberized(t, agreed, t.TempDir())
		for i := range 100 {
			put(t, filepath.Join(k.source, fmt.Sprintf("db-%d", i)), podtest.Keytab(http1)[:60])
		}
		time.Sleep(10 * time.Minute) // without the key: a look each five seconds at most
		k.has(http0)
		time.Sleep(10 * time.Minute)
		k.publishes(http0)
		if n := strings.Count(k.log.String(), "\n"); n > 50 {
			t.Errorf("%d lines in twenty minutes", n)
		}
		k.end()
	})
}

// The name is the start signal for both: it does not stand without the keys.
func TestTheNameDoesNotStandWithoutTheKeys(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*kerberized){
		"the volume is a new one": func(k *kerberized) { os.RemoveAll(k.keys); os.Mkdir(k.keys, 0o755) },
		"the keytab is torn":      func(k *kerberized) { put(k.T, filepath.Join(k.keys, "..data", "keytab"), nil) },
		"with a stranger's key":   func(k *kerberized) { put(k.T, filepath.Join(k.keys, "..data", "keytab"), podtest.Keytab(http0, http1)) },
		"for other principals":    func(k *kerberized) { put(k.T, filepath.Join(k.keys, "..data", "principals"), []byte(http1+"\n")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				first := startKerberized(t, agreed, dir)
				first.has(http0)
				time.Sleep(2 * time.Second)
				first.holds(true)
				first.end()
				lose(first)
				second := startKerberized(t, dead, dir)
				time.Sleep(2 * time.Second)
				second.holds(false)
				second.publishes()
				second.turns(agreed)
				time.Sleep(5 * time.Second)
				second.holds(true)
				second.publishes(http0)
				second.end()
			})
		})
	}
}

// Another version of podfqdn, whose image the container has now, may write the
// krb5.conf in other words. That takes no keys away.
func TestAKrb5ConfInOtherWordsStandsUntilItIsWrittenAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := startKerberized(t, agreed, dir)
		first.has(http0)
		time.Sleep(2 * time.Second)
		first.end()
		conf := filepath.Join(first.keys, "krb5.conf")
		ours, err := os.ReadFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(first.keys, "..data", "krb5.conf"), append([]byte("# As of version 0.\n"), ours...))
		second := startKerberized(t, dead, dir)
		time.Sleep(2 * time.Second)
		second.holds(true)
		second.publishes(http0)
		second.turns(agreed)
		time.Sleep(2 * time.Minute)
		second.holds(true)
		if now, err := os.ReadFile(conf); !bytes.Equal(now, ours) {
			t.Errorf("it is still\n%s\n%v", now, err)
		}
		second.end()
	})
}

// Nor where the keys were dropped, and the volume is then refused.
func TestTheNameGoesBeforeTheKeysAreDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// In bin, which is on the disk of the sources, and which no test reads: the system's own
		// directory for such files may be in memory.
		if err := os.MkdirAll("../../bin", 0o777); err != nil {
			t.Fatal(err)
		}
		dir, err := os.MkdirTemp("../../bin", "on-disk-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if dir, err = filepath.Abs(dir); err != nil {
			t.Fatal(err)
		}
		first := startKerberized(t, agreed, dir)
		first.has(http0)
		time.Sleep(2 * time.Second)
		first.holds(true)
		first.end()
		second := startKerberized(t, agreed, dir, "PODFQDN_KRB5_PRINCIPALS=HTTP/{hostname}", "PODFQDN_KRB5_ALLOW_DISK=false")
		<-second.done
		if exitCode(second.err) != exitRefused || !strings.Contains(second.err.Error(), `PODFQDN_KRB5_DIR, "`+second.keys+`", is on a disk`) {
			t.Errorf("ended with %v", second.err)
		}
		second.publishes()
		second.holds(false)
	})
}

// What was withdrawn is not given back without keys.
func TestKeysThatAreGoneFromTheirVolumeAndTheSourceHoldTheNameBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := startKerberized(t, agreed, t.TempDir(), "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=1m")
		k.has(http0)
		time.Sleep(2 * time.Second)
		k.turns(without)
		time.Sleep(5 * time.Minute)
		k.holds(false)
		k.has(http1)
		if err := os.Remove(filepath.Join(k.keys, "..data", "keytab")); err != nil {
			t.Fatal(err)
		}
		k.turns(agreed)
		time.Sleep(2 * time.Minute)
		k.holds(false)
		if got := k.readyz(); got != `the keys in "`+k.keys+`" are no longer as they were published: its keytab is empty` {
			t.Errorf("/readyz says %q", got)
		}
		k.has(http0)
		time.Sleep(2 * time.Minute)
		k.holds(true)
		k.publishes(http0)
		k.end()
	})
}

// What belongs to another sandbox's identity goes with it.
func TestKeysDoNotStandWithoutTheName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := startKerberized(t, agreed, dir, "POD_UID=one")
		first.has(http0)
		time.Sleep(2 * time.Second)
		first.publishes(http0)
		first.end()
		second := startKerberized(t, dead, dir, "POD_UID=another")
		time.Sleep(2 * time.Second)
		second.holds(false)
		second.publishes()
		second.end()
	})
}

func TestAKeyVolumeThatCannotBeWrittenHoldsTheNameBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := startKerberized(t, denying, t.TempDir())
		k.has(http0)
		time.Sleep(2 * time.Second)
		if err := os.Mkdir(filepath.Join(k.keys, "keytab"), 0o755); err != nil {
			t.Fatal(err)
		}
		k.turns(agreed)
		<-k.done
		if exitCode(k.err) != exitVolume || !strings.Contains(k.err.Error(), `"keytab" in "`+k.keys+`" is a directory`) {
			t.Errorf("ended with %v", k.err)
		}
		if _, err := os.Stat(filepath.Join(k.dir, "fqdn")); err == nil {
			t.Error("the name is published")
		}
	})
}

// denying is a DNS that does not know the Pod yet.
func denying(identity.Question) identity.Answer { return denied }

func TestWithKerberosThereAreNoCoreDumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := startKerberized(t, dead, t.TempDir())
		time.Sleep(time.Second)
		k.end()
	})
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 {
		t.Errorf("a core file may have %d bytes, %v", limit.Cur, err)
	}
	dumpable, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_DUMPABLE, 0, 0)
	if errno != 0 || dumpable != 0 {
		t.Errorf("dumpable is %d, %v", dumpable, errno)
	}
}

// onDisk returns an empty directory that is not in memory.
func onDisk(t *testing.T) string {
	t.Helper()
	cache, _ := os.UserCacheDir()
	for _, base := range []string{os.TempDir(), cache, "."} {
		dir, err := os.MkdirTemp(base, "podfqdn-disk-")
		if err != nil {
			continue
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		var stat syscall.Statfs_t
		if err := syscall.Statfs(dir, &stat); err == nil && stat.Type != 0x01021994 {
			dir, err := filepath.Abs(dir)
			if err != nil {
				t.Fatal(err)
			}
			return dir
		}
	}
	t.Fatal("this machine has no disk")
	return ""
}

func TestKeysDoNotGoToADisk(t *testing.T) {
	t.Parallel()
	disk := onDisk(t)
	memory, err := os.MkdirTemp("/dev/shm", "podfqdn-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	synctest.Test(t, func(t *testing.T) {
		k := startKerberized(t, agreed, disk, "PODFQDN_KRB5_ALLOW_DISK=false")
		k.has(http0)
		<-k.done
		want := `PODFQDN_KRB5_DIR, "` + k.keys + `", is on a disk, where keys would stay after the Pod: make it an emptyDir with medium: Memory, or set PODFQDN_KRB5_ALLOW_DISK=true`
		if exitCode(k.err) != exitRefused || k.err.Error() != want {
			t.Errorf("ended with %v, not %s", k.err, want)
		}
		k.publishes()
		k = startKerberized(t, agreed, memory, "PODFQDN_KRB5_ALLOW_DISK=false")
		k.has(http0)
		time.Sleep(2 * time.Second)
		k.holds(true)
		k.publishes(http0)
		k.end()
	})
}

// As one that only checks.
func TestARequirementWithoutAVolumeIsWaitedForAndThenStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var met atomic.Bool
		missing := identity.NotYet("uncertified", errors.New("the certificate does not cover the name"), time.Second)
		s := prepared(t, t.TempDir(), agreed)
		s.p.extra = []kind{{make: func(identity.Claim, string) (*identity.Requirement, error) {
			return &identity.Requirement{Name: "certificate", Label: "names", Wants: []string{"db-0"}, Addition: identity.Addition{Environment: []string{"TLS='1'"}},
				Require: func(context.Context, identity.Agreement, identity.Resolver) ([]identity.File, error) {
					if !met.Load() {
						return nil, missing
					}
					return nil, nil
				}}, nil
		}}}
		s.begin()
		time.Sleep(time.Minute)
		s.holds(false)
		if got := s.readyz(); got != "the certificate does not cover the name" {
			t.Errorf("/readyz says %q", got)
		}
		met.Store(true)
		time.Sleep(10 * time.Second)
		s.holds(true)
		if env, _ := os.ReadFile(filepath.Join(s.dir, "identity.env")); !strings.HasSuffix(string(env), "TLS='1'\n") {
			t.Errorf("identity.env is %s", env)
		}
		met.Store(false)
		time.Sleep(10 * time.Minute)
		s.holds(true)
		if warned := s.said("warn"); len(warned) != 2 || !strings.HasPrefix(warned[1], "what is published stays: ") || s.counts("podfqdn_keys_missing_total") != "0" {
			t.Errorf("warned of %q", warned)
		}
		s.end()
	})
}

// The name is not ready before what stands next to it was looked at.
func TestNobodyIsReadyBeforeTheKeysWereLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := startKerberized(t, agreed, dir)
		first.has(http0)
		time.Sleep(2 * time.Second)
		first.holds(true)
		first.end()
		if err := os.Remove(filepath.Join(first.keys, "..data", "verified")); err != nil {
			t.Fatal(err)
		}
		lock, err := os.Open(first.keys)
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		second := startKerberized(t, agreed, dir)
		time.Sleep(500 * time.Millisecond)
		if got := second.readyz(); got == "ok" || second.counts("podfqdn_verified") != "0" {
			t.Errorf("/readyz says %q, podfqdn_verified %s", got, second.counts("podfqdn_verified"))
		}
		<-second.done
		if exitCode(second.err) != exitVolume {
			t.Error(second.err)
		}
	})
}
