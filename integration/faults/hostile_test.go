//go:build faults

package faults

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/integration/dnstest"
	"github.com/podfqdn/podfqdn/integration/programs"
)

// Who runs in a Pod: podfqdn as its image has it, and another container.
const own, stranger = 65532, 65534

// canary is a key, and so are its beginning and its end.
var canary = []byte("canary-of-a-key-of-32-bytes-AES!")

// known has the Pod ask a CoreDNS that knows it.
func (p *pod) known() *breaker {
	p.Helper()
	b := &breaker{pod: p, count: map[string]int{}}
	p.behind(b)
	return b
}

// behind has it ask one whose answers are broken.
func (p *pod) behind(b *breaker) {
	p.Helper()
	cluster := new(dnstest.Cluster)
	cluster.Service("default", "kubernetes", "10.96.0.1")
	cluster.Service("default", "db")
	cluster.Publish(dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: ip})
	p.serve(dnstest.CoreDNS{Cluster: cluster, Front: b.plugin})
}

func (p *pod) keysDir() string { return filepath.Join(p.root, "krb5") }

// keyed has the Pod need a key, which is the canary.
func (p *pod) keyed() {
	p.Helper()
	entry := podtest.ParseEntry(http0 + ":3")
	entry.Key = canary
	p.write("keytabs/all.keytab", string(podtest.KeytabOf(entry)))
	p.allow(os.MkdirAll(p.keysDir(), 0o777))
	p.environ = append(p.environ, "PODFQDN_KRB5_PRINCIPALS=HTTP/{fqdn}", "PODFQDN_KRB5_REALM=EXAMPLE.COM", "PODFQDN_KRB5_ALLOW_DISK=true",
		"PODFQDN_KRB5_SOURCE="+filepath.Join(p.root, "keytabs"), "PODFQDN_KRB5_DIR="+p.keysDir(), "PODFQDN_KRB5_MOUNT=/krb5")
}

// allow fails the test where the system does not do what it needs.
func (p *pod) allow(errs ...error) {
	p.Helper()
	if err := errors.Join(errs...); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: run the faults as root", err)
		}
		p.Fatal(err)
	}
}

// keyless checks that no key is in a text.
func (p *pod) keyless(text string) {
	p.Helper()
	for _, secret := range []string{string(canary[:12]), string(canary[20:]), hex.EncodeToString(canary), base64.StdEncoding.EncodeToString(canary[:30])} {
		if strings.Contains(text, secret) {
			p.Errorf("I5: the key is in the output:\n%s", text)
		}
	}
}

// outside is a directory that nobody is to write to, and before is what it held.
func (p *pod) outside() (dir, before string) {
	p.Helper()
	for _, name := range []string{"file", "fqdn", "keytab", "probe", "directory/fqdn"} {
		p.write("outside/"+name, "precious")
	}
	dir = filepath.Join(p.root, "outside")
	return dir, p.stamps(dir)
}

// stamps are all that a directory holds, with mode, owner and time. How many links a file has is not its own matter.
func (p *pod) stamps(dir string) string {
	p.Helper()
	return tree(p, dir, func(e entry) string {
		stat := e.info.Sys().(*syscall.Stat_t)
		return fmt.Sprintln(e.path, e.info.Mode(), stat.Ino, stat.Uid, stat.Gid, e.info.ModTime().UnixNano(), string(e.text))
	})
}

// same checks that a directory is as it was.
func (p *pod) same(dir, before string) {
	p.Helper()
	if after := p.stamps(dir); after != before {
		p.Errorf("outside was\n%s\nand is\n%s", before, after)
	}
}

// thing is what stands where podfqdn is to write.
type thing struct {
	what string
	make func(path, outside string) error
}

var things = []thing{
	{"a symlink to a file outside", func(path, outside string) error { return os.Symlink(outside+"/file", path) }},
	{"a symlink to a directory outside", func(path, outside string) error { return os.Symlink(outside, path) }},
	{"a symlink out by ..", func(path, _ string) error { return os.Symlink("../outside/"+filepath.Base(path), path) }},
	{"a symlink to a file inside", func(path, _ string) error { return os.Symlink("theirs", path) }},
	{"a symlink to itself", func(path, _ string) error { return os.Symlink(filepath.Base(path), path) }},
	{"a symlink that dangles", func(path, _ string) error { return os.Symlink("..gen-nowhere/../fqdn", path) }},
	{"a symlink to where podfqdn runs", func(path, _ string) error { return os.Symlink("/proc/self/cwd", path) }},
	{"a symlink to its output", func(path, _ string) error { return os.Symlink("/proc/self/fd/2", path) }},
	{"a symlink with an escape", func(path, _ string) error { return os.Symlink("\x1b[31m\n\xff", path) }},
	{"a hard link of a file outside", func(path, outside string) error { return os.Link(outside+"/file", path) }},
	{"a file", func(path, _ string) error { return os.WriteFile(path, []byte("theirs"), 0o666) }},
	{"an immutable file", func(path, _ string) error {
		return errors.Join(os.WriteFile(path, []byte("theirs"), 0o666), immutable(path, true))
	}},
	{"a FIFO", func(path, _ string) error { return syscall.Mkfifo(path, 0o666) }},
	{"a directory", func(path, _ string) error {
		return errors.Join(os.Mkdir(path, 0o777), os.WriteFile(path+"/fqdn", []byte("theirs"), 0o666))
	}},
	{"a directory of another UID", func(path, _ string) error {
		return errors.Join(os.Mkdir(path, 0o777), os.Lchown(path, stranger, stranger))
	}},
	{"a socket", func(path, _ string) error { return syscall.Mknod(path, syscall.S_IFSOCK|0o666, 0) }},
	{"a device", func(path, _ string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o666, 1<<8|3) }},
}

// immutable makes a file or a directory that not even root changes (ioctl_iflags(2)), or changeable again.
func immutable(path string, yes bool) error {
	const get, set, flag = 0x80086601, 0x40086602, 0x10
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var flags int
	ioctl := func(request uintptr) error {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&flags))); errno != 0 {
			return fmt.Errorf("the file system of %s knows no immutable files: %w", path, errno)
		}
		return nil
	}
	if err := ioctl(get); err != nil {
		return err
	}
	if flags &^= flag; yes {
		flags |= flag
	}
	return ioctl(set)
}

// planted is what podfqdn says of a thing at a name: 0, as a leftover of its own may look like that, or 13.
func (t thing) planted(name string) (code int) {
	switch leftover := strings.Contains(t.what, "link") || strings.Contains(t.what, "file"); {
	case name == "..gen-planted", name == "..data_tmp" && leftover && t.what != "an immutable file":
		return 0
	}
	return 13
}

// What another process has put under a name of podfqdn's is refused, or is removed as a leftover; nothing behind it is touched.
func TestWhatStandsUnderItsNamesIsNotWrittenTo(t *testing.T) {
	t.Parallel()
	for volume, names := range map[string][]string{
		"identity": {"fqdn", "ip", "ips", "identity.json", "identity.env", "verified", "..data", "..data_tmp", "..gen-planted"},
		"krb5":     {"keytab", "keytab-path", "krb5.conf", "principals", "verified", "..data", "..data_tmp", "..gen-planted"},
		"rendered": {"server.conf", "conf.d", "..rendered", "..data", "..data_tmp", "..gen-planted"},
	} {
		for i, name := range names {
			t.Run(volume+" "+name, func(t *testing.T) {
				t.Parallel()
				p := lay(t)
				p.known()
				switch volume {
				case "krb5":
					p.keyed()
				case "rendered":
					p.renders()
				}
				outside, before := p.outside()
				path := filepath.Join(p.root, volume, name)
				p.recovers()
				for j, thing := range things {
					if volume != "identity" && (i+j)%3 > 0 && !*long {
						continue // the same code writes there
					}
					t.Run(thing.what, func(t *testing.T) {
						ran.add("files")
						defer p.of(t)()
						code := thing.planted(name)
						if code == 0 { // DNS is asked
							p.allow(os.RemoveAll(p.dir()))
							p.leave()
							p.truth.asked = false
						}
						p.write(volume+"/theirs", "theirs")
						p.Cleanup(func() { _ = immutable(path, false) }) // which would outlast the test
						p.allow(os.RemoveAll(path), thing.make(path, outside))
						seen, err := os.Lstat(path)
						p.allow(err)
						p.timeout = 5 * time.Second
						var e end
						if code == 0 {
							e = p.init()
						} else {
							// A reader meets what stands there too, and nothing was published in its place.
							e = p.start(exec.Command(podfqdn, "init")).wait()
							p.ended(e)
							if now, err := os.Lstat(path); err != nil || !os.SameFile(now, seen) || now.ModTime() != seen.ModTime() {
								p.Errorf("%s was touched: %v", name, err)
							}
						}
						p.keyless(e.log + e.reason)
						if says := fmt.Sprintf("%s in %q", name, filepath.Dir(path)); e.code != code || code != 0 && !strings.Contains(strings.ReplaceAll(e.reason, `"`+name+`"`, name), says) {
							p.Errorf("ended with %d, %q, not with %d and %s\n%s", e.code, e.reason, code, says, e.log)
						}
						p.same(outside, before)
						if thing.what == "an immutable file" {
							p.allow(immutable(path, false))
						}
						p.allow(os.RemoveAll(path))
						p.recovers()
						p.same(outside, before)
					})
				}
			})
		}
	}
}

// Nor does what stands in place of the termination log keep it from ending; the reason is in the log then.
func TestWhatStandsInPlaceOfTheTerminationLogHoldsNobody(t *testing.T) {
	t.Parallel()
	for _, thing := range things {
		switch thing.what {
		case "a FIFO", "a directory", "a socket", "a symlink to itself", "a symlink to a directory outside":
		default:
			continue // which can be written to, or nothing is
		}
		t.Run(thing.what, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, "files")
			outside, before := p.outside()
			path := filepath.Join(p.root, "dev/termination-log")
			p.allow(os.RemoveAll(p.dir()), os.RemoveAll(path), thing.make(path, outside))
			var log bytes.Buffer
			cmd := exec.CommandContext(t.Context(), podfqdn, "init")
			cmd.Env, cmd.Stderr = []string{"PODFQDN_ROOT=" + p.root, "PODFQDN_DIR=" + p.dir()}, &log
			began := time.Now()
			over := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
			err := cmd.Run()
			over.Stop()
			e := end{code: cmd.ProcessState.ExitCode(), took: time.Since(began), log: log.String()}
			if p.ended(e); e.code != 13 || !strings.Contains(e.log, "the reason is in this log only") {
				t.Errorf("ended with %d, %v\n%s", e.code, err, e.log)
			}
			p.same(outside, before)
			p.allow(os.RemoveAll(path), os.Mkdir(p.dir(), 0o777))
			p.known()
			p.recovers()
		})
	}
}

// of has a part of a test be the Pod's, until it has ended.
func (p *pod) of(t *testing.T) (ended func()) {
	whole := p.TB
	p.TB = t
	return func() { p.TB = whole }
}

// What comes in place of the directory that was just made is not taken for it, and not even its mode is changed.
func TestWhatIsPutInPlaceOfANewFolderIsLeftAlone(t *testing.T) {
	for _, thing := range things {
		if thing.what == "an immutable file" || thing.what == "a directory" {
			continue // which nobody can move, and which is as good as podfqdn's: it has root's UID
		}
		t.Run(thing.what, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, "files")
			p.known()
			outside, before := p.outside()
			p.write("identity/theirs", "theirs")
			p.timeout = 10 * time.Second
			r := p.start(exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=mkdirat", "-e", "inject=mkdirat:delay_exit=1s", podfqdn, "init"))
			var path string
			for end := time.Now().Add(20 * time.Second); path == ""; time.Sleep(time.Millisecond) {
				made, err := filepath.Glob(filepath.Join(p.dir(), "..gen-*"))
				p.allow(err)
				if i := slices.IndexFunc(made, func(name string) bool { return filepath.Base(name) != "..gen-left" }); i >= 0 {
					path = made[i]
				}
				if time.Now().After(end) {
					t.Fatal("no directory is made")
				}
			}
			p.allow(os.Rename(path, filepath.Join(p.dir(), "moved")), thing.make(path, outside))
			seen, err := os.Lstat(path)
			p.allow(err)
			e := r.wait()
			p.invariants(e)
			if e.code != 13 || !strings.Contains(e.reason, "cannot make generation in") {
				t.Errorf("ended with %d, %q\n%s", e.code, e.reason, e.log)
			}
			if now, err := os.Lstat(path); err != nil || now.Mode() != seen.Mode() {
				t.Errorf("it was %v, and is %v: %v", seen, now, err)
			}
			p.same(outside, before)
			p.allow(os.RemoveAll(path))
			p.recovers()
		})
	}
}

// A container of the same Pod that races with podfqdn may stop it. It gets nothing written outside, and no key.
func TestAHostileContainerGetsNothingWrittenOutsideAndNoKey(t *testing.T) {
	dir := t.TempDir()
	hostile := filepath.Join(dir, "hostile")
	if err := programs.Own(dir, "./hostile"); err != nil {
		t.Fatal(err)
	}
	lasts := 5 * time.Second
	if *long {
		lasts = time.Minute
	}
	for name, uids := range map[string]struct{ podfqdn, hostile int }{
		"of another UID":      {own, stranger},
		"of the same UID":     {own, own},
		"and podfqdn is root": {0, stranger},
	} {
		t.Run(name, func(t *testing.T) {
			// One after the other: there are two cores.
			p := lay(t)
			p.known()
			p.keyed()
			rendered := p.renders()
			p.reachable()
			p.allow(os.Chmod(filepath.Dir(hostile), 0o755), os.Chmod(filepath.Dir(filepath.Dir(hostile)), 0o755), os.RemoveAll(p.dir()), os.Mkdir(p.dir(), 0o777))
			for _, dir := range []string{p.dir(), p.keysDir()} {
				p.allow(os.Chmod(dir, 0o777))
			}
			outside, _ := p.outside()
			// Podfqdn may write there, as far as rights go, and hard links of it can be made (protected_hardlinks, proc_sys_fs(5)).
			p.allow(filepath.WalkDir(outside, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					return errors.Join(os.Chmod(path, 0o777), os.Lchown(path, uids.podfqdn, uids.podfqdn))
				}
				return errors.Join(err, os.Chmod(path, 0o666), os.Lchown(path, uids.hostile, uids.hostile))
			}))
			before := p.stamps(outside)
			rival := exec.Command(hostile, append([]string{string(canary), outside}, p.dir(), p.keysDir(), rendered.dst)...)
			rival.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uids.hostile), Gid: uint32(uids.hostile)}}
			stop, err := rival.StdinPipe()
			p.allow(err)
			var told bytes.Buffer
			rival.Stdout, rival.Stderr = &told, &told
			p.allow(rival.Start())

			p.timeout, p.truth.asked = 5*time.Second, true // what can be read is anybody's
			published, stopped, deep := 0, 0, 0            // deep in a step, not at the door
			i, began := 0, time.Now()
			shown := func() bool { return published > 0 && stopped > 0 && deep > 0 }
			for ; time.Since(began) < lasts || !shown() && time.Since(began) < lasts+time.Minute/2; i++ {
				ran.add("files, raced")
				e := p.raced(uids.podfqdn, i)
				p.ended(e)
				p.keyless(e.log + e.reason)
				switch {
				case e.code == 13:
					stopped++
					if inFlight.MatchString(e.reason) {
						deep++
					}
				case strings.Contains(e.log, `"msg":"published"`):
					published++
				}
				if e.code != 0 && e.code != 13 && e.code != 128+15 || strings.Contains(e.log, "panic") {
					t.Errorf("ended with %d, %q\n%s", e.code, e.reason, e.log)
				}
			}
			stop.Close()
			if err := rival.Wait(); err != nil {
				t.Errorf("hostile: %v", err)
			}
			p.same(outside, before)
			last := strings.TrimSpace(told.String())
			if strings.Contains(last, "\n") || !strings.HasSuffix(last, "kept open") {
				t.Errorf("hostile: %s", last)
			}
			t.Logf("published %d times, stopped %d times, %d of them within a step; hostile: %s", published, stopped, deep, last)
			if !shown() {
				t.Error("that shows nothing")
			}
			p.timeout = time.Minute
			if e := p.start(as(uids.podfqdn, nil, "0022")).wait(); e.code != 0 {
				t.Errorf("I6: ended with %d, %q\n%s", e.code, e.reason, e.log)
			} else {
				p.invariants(e)
				rendered.shows(1)
			}
			p.same(outside, before)
		})
	}
}

// inFlight is what podfqdn says of something that came between two of its calls.
var inFlight = regexp.MustCompile(`put something else in place of our directory|was replaced while|file exists|is torn|cannot (make|chmod|remove|create|write|link|rename|unlink) `)

// raced runs podfqdn once, as an init container or as a sidecar, now and then so slowly that others come between.
func (p *pod) raced(uid, i int) end {
	p.Helper()
	var cmd *exec.Cmd
	switch i % 3 {
	case 0:
		cmd = as(uid, nil, "0022")
	case 1:
		cmd = exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf", "-e", "trace="+between, "-e", "inject="+between+":delay_enter=3000", podfqdn, "init")
		cmd.SysProcAttr = as(uid, nil, "").SysProcAttr
	default:
		cmd = exec.Command(podfqdn, "sidecar")
		cmd.SysProcAttr = as(uid, nil, "").SysProcAttr
	}
	r := p.start(cmd)
	if i%3 < 2 {
		return r.wait()
	}
	for end := time.Now().Add(p.timeout); time.Now().Before(end) && !strings.Contains(r.out.String(), `"msg":"published"`) && !strings.Contains(r.out.String(), `"exit":`); {
		time.Sleep(time.Millisecond)
	}
	p.allow(cmd.Process.Signal(syscall.SIGTERM))
	return r.wait()
}

// between are the calls before which another process may come.
const between = "mkdirat,openat,newfstatat,symlinkat,readlinkat,renameat,renameat2,unlinkat,fchmod,fchmodat"
