//go:build faults

package faults

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rights are those of a volume, and the user that podfqdn is there.
type rights struct {
	mode     fs.FileMode // of the volume; 0777, as the kubelet makes an emptyDir, if 0
	owner    int         // and its group is the same number
	uid      int         // podfqdn's, and its group; own if 0
	groups   []uint32
	umask    string // 0022 if ""
	leftover int    // the UID of another Pod's identity that is there; -1 is none
	code     int
	says     string
}

const fsGroup = 12345

var rightsOf = map[string]rights{
	"an emptyDir":                                      {leftover: -1},
	"an emptyDir, and umask 0":                         {leftover: -1, umask: "0"},
	"an emptyDir, and umask 0777":                      {leftover: -1, umask: "0777"},
	"an emptyDir, and umask 0027":                      {leftover: -1, umask: "0027"},
	"an emptyDir with an fsGroup":                      {leftover: -1, mode: fs.ModeSetgid | 0o775, owner: fsGroup, groups: []uint32{fsGroup}},
	"an emptyDir with an fsGroup, and umask 0777":      {leftover: -1, mode: fs.ModeSetgid | 0o775, owner: fsGroup, groups: []uint32{fsGroup}, umask: "0777"},
	"an fsGroup that podfqdn is not in":                {leftover: -1, mode: fs.ModeSetgid | 0o775, owner: fsGroup, code: 13, says: "permission denied for uid 65532, the directory has uid 12345 and mode dgrwxrwxr-x: mount an emptyDir, or set the Pod's fsGroup"},
	"in memory, with the sticky bit":                   {leftover: own, mode: fs.ModeSticky | 0o777},
	"another UID's leftovers":                          {leftover: stranger},
	"root's leftovers":                                 {leftover: 0},
	"another UID's leftovers and the sticky bit":       {leftover: stranger, mode: fs.ModeSticky | 0o777, code: 13, says: "belongs to uid 65534 and the sticky bit of this volume (medium: Memory has it) keeps uid 65532 from replacing it: give both containers the same runAsUser"},
	"its leftovers and a sticky directory of its own":  {leftover: stranger, mode: fs.ModeSticky | 0o777, owner: own},
	"another UID's leftovers and an fsGroup":           {leftover: stranger, mode: fs.ModeSetgid | 0o775, owner: fsGroup, groups: []uint32{fsGroup}},
	"root before another UID's leftovers, sticky":      {leftover: stranger, mode: fs.ModeSticky | 0o777, uid: -1},
	"a directory of another UID alone":                 {leftover: -1, mode: 0o700, owner: stranger, code: 13, says: "uid 65532 cannot open "},
	"a directory of another UID that all may read":     {leftover: -1, mode: 0o755, owner: stranger, code: 13, says: "permission denied for uid 65532, the directory has uid 65534 and mode drwxr-xr-x: mount an emptyDir"},
	"its own directory":                                {leftover: own, mode: 0o700, owner: own},
	"its own directory, which it may not list":         {leftover: -1, mode: 0o300, owner: own, code: 13, says: "uid 65532 "},
	"its own directory, which it may not write":        {leftover: -1, mode: 0o500, owner: own, code: 13, says: "permission denied for uid 65532, the directory has uid 65532 and mode dr-x------: "},
	"its own directory without any right":              {leftover: -1, mode: fs.ModeSticky, owner: own, code: 13, says: "uid 65532 cannot open "},
	"its own directory with setuid, setgid and sticky": {leftover: own, mode: fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky | 0o777, owner: own},
}

// as runs podfqdn with a UID, a group, further groups and a umask.
func as(uid int, groups []uint32, umask string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", `umask "$1" && exec "$2" init`, "sh", umask, podfqdn)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), Groups: groups}}
	return cmd
}

// reachable lets every UID come to the Pod's files, and to podfqdn.
func (p *pod) reachable() {
	p.Helper()
	p.write("dev/termination-log", "")
	p.allow(os.Chmod(filepath.Dir(p.root), 0o755), os.Chmod(p.root, 0o755), os.Chmod(filepath.Dir(podfqdn), 0o755),
		os.Chmod(filepath.Join(p.root, "dev/termination-log"), 0o666))
}

func TestWhoeverOwnsTheVolumeItIsPublishedOrSaidWhyNot(t *testing.T) {
	t.Parallel()
	for name, r := range rightsOf {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, "files")
			p.known()
			p.keyed()
			p.reachable()
			p.timeout = 5 * time.Second
			outside, before := p.outside()
			switch {
			case r.mode == 0:
				r.mode = 0o777
			case r.mode == fs.ModeSticky:
				r.mode = 0
			}
			uid := max(0, r.uid)
			if r.uid == 0 {
				uid = own
			}
			if r.umask == "" {
				r.umask = "0022"
			}
			if r.leftover < 0 {
				p.allow(os.RemoveAll(p.dir()), os.Mkdir(p.dir(), 0o777))
			} else {
				p.allow(filepath.WalkDir(p.dir(), func(path string, _ fs.DirEntry, err error) error {
					return errors.Join(err, os.Lchown(path, r.leftover, r.leftover))
				}))
			}
			for _, dir := range []string{p.dir(), p.keysDir()} {
				p.allow(os.Chown(dir, r.owner, r.owner), os.Chmod(dir, r.mode))
			}
			read := p.reader()
			e := p.start(as(uid, r.groups, r.umask)).wait()
			read()
			p.stood(e)
			p.keyless(e.log + e.reason)
			if e.code != r.code || !strings.Contains(e.reason, r.says) {
				t.Errorf("ended with %d, %q, not with %d, %q\n%s", e.code, e.reason, r.code, r.says, e.log)
			}
			if r.code != 0 {
				for _, dir := range []string{p.dir(), p.keysDir()} {
					p.allow(os.Chown(dir, uid, uid), os.Chmod(dir, 0o777))
				}
			} else if r.groups != nil {
				p.has("krb5/keytab", 0o440, uid, fsGroup)
				p.has("identity/..data", fs.ModeDir|fs.ModeSetgid|0o755, uid, fsGroup)
			}
			p.timeout = time.Minute
			if e = p.start(as(uid, r.groups, r.umask)).wait(); e.code != 0 {
				t.Errorf("I6: exit code %d: %s", e.code, e.reason)
			}
			p.invariants(e)
			p.has("identity/fqdn", 0o644, uid, -1)
			p.has("krb5/keytab", 0o440, uid, -1)
			p.same(outside, before)
		})
	}
}

// has sees what mode, owner and group a file has; -1 is any.
func (p *pod) has(name string, mode fs.FileMode, uid, gid int) {
	p.Helper()
	info, err := os.Stat(filepath.Join(p.root, name))
	p.allow(err)
	stat := info.Sys().(*syscall.Stat_t)
	if info.Mode() != mode || int(stat.Uid) != uid || gid >= 0 && int(stat.Gid) != gid {
		p.Errorf("%s has mode %v, uid %d and gid %d, not %v, %d and %d", name, info.Mode(), stat.Uid, stat.Gid, mode, uid, gid)
	}
}

// With two writers at once one waits for the other, and gives up after two seconds.
func TestTwoWritersPublishOneAfterTheOtherOrOneOfThemSaysSo(t *testing.T) {
	t.Parallel()
	const busy = "only one container of a Pod may write to a volume"
	t.Run("two inits", func(t *testing.T) {
		t.Parallel()
		p := newPod(t, "files")
		p.known()
		p.timeout = 10 * time.Second
		read := p.reader()
		first, second := p.start(exec.Command(podfqdn, "init")), p.start(exec.Command(podfqdn, "init"))
		for _, e := range []end{first.wait(), second.wait()} {
			if e.code != 0 && (e.code != 13 || !strings.Contains(e.log, busy)) {
				t.Errorf("exit code %d\n%s", e.code, e.log)
			}
			e.code = 0 // one of them has published
			p.invariants(e)
		}
		read()
		p.recovers()
	})
	for _, command := range []string{"init", "sidecar"} {
		t.Run("init at the same time as a "+command+" that waits", func(t *testing.T) {
			t.Parallel()
			p := newPod(t, "files")
			b := p.known()
			b.faults = []fault{{kind: "any", network: "any", last: 1 << 30, ops: []string{"drop"}}}
			p.timeout = 20 * time.Second
			first := p.start(exec.Command(podfqdn, command))
			p.awaits(first, "waiting for forward and reverse DNS")
			second := p.start(exec.Command(podfqdn, "init")).wait()
			p.invariants(second)
			if second.code != 13 || !strings.Contains(second.reason, busy) {
				t.Errorf("ended with %d, %q\n%s", second.code, second.reason, second.log)
			}
			b.heal()
			if command == "sidecar" {
				p.awaits(first, `"msg":"published"`)
				if e := p.start(exec.Command(podfqdn, "init")).wait(); e.code != 13 || !strings.Contains(e.reason, busy) {
					t.Errorf("ended with %d, %q\n%s", e.code, e.reason, e.log)
				}
				p.allow(first.cmd.Process.Signal(syscall.SIGTERM))
			}
			e := first.wait()
			p.invariants(e)
			if e.code != 0 {
				t.Errorf("ended with %d, %q", e.code, e.reason)
			}
			p.recovers()
		})
	}
}

// awaits waits until podfqdn has said so.
func (p *pod) awaits(r *running, words string) {
	p.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(r.out.String(), words); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("it does not say %q\n%s", words, r.out.String())
		}
	}
}

// mounts is a mount name space of the test's own, and a shell in it.
type mounts struct {
	testing.TB
	in   io.Writer
	out  *bufio.Scanner
	root string // leads into it from outside
}

func newMounts(t *testing.T) *mounts {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: apt-get install -y --no-install-recommends util-linux", err)
	}
	t.Cleanup(func() {
		in.Close() // the shell ends, and with it what is mounted
		if err := cmd.Wait(); err != nil {
			t.Errorf("unshare: %v", err)
		}
	})
	return &mounts{t, in, bufio.NewScanner(out), fmt.Sprintf("/proc/%d/root", cmd.Process.Pid)}
}

// do has the shell do something.
func (m *mounts) do(format string, args ...any) {
	m.Helper()
	line := fmt.Sprintf(format, args...)
	fmt.Fprintf(m.in, "{ %s; } 2>&1; echo ended $?\n", line)
	var said []string
	for m.out.Scan() {
		if code, ended := strings.CutPrefix(m.out.Text(), "ended "); !ended {
			said = append(said, m.out.Text())
		} else if code == "0" {
			return
		} else {
			break
		}
	}
	m.Fatalf("%s: %q: it takes root, util-linux and mount", line, said)
}

// inMemory gives the Pod a volume in memory.
func (p *pod) inMemory(m *mounts, options string) {
	p.Helper()
	p.allow(os.RemoveAll(p.dir()), os.Mkdir(p.dir(), 0o777))
	m.do("mount -t tmpfs -o mode=0777,%s none %q", options, p.dir())
	p.root = m.root + p.root
}

// slow runs podfqdn so that it stays a while before a rename.
func slow(t *testing.T) *exec.Cmd {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("strace is missing: apt-get install -y --no-install-recommends strace")
	}
	return exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat,renameat2", "-e", "inject=renameat,renameat2:delay_enter=2s", podfqdn, "init")
}

// renames waits until podfqdn is about to rename what it has made.
func (p *pod) renames() {
	p.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Lstat(filepath.Join(p.dir(), "..data_tmp")); err == nil {
			return
		}
		if time.Now().After(end) {
			p.Fatal("there is no ..data_tmp")
		}
	}
}

func TestAVolumeThatIsTakenAwayMeanwhileIsNotPublishedIn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		take, give string // of the shell
		says       string
	}{
		"read-only between write and rename": {"mount -o remount,ro %q", "mount -o remount,rw %q", "read-only file system: the volumeMount must not be readOnly"},
		"gone between write and rename":      {"umount -l %q", "mount -t tmpfs -o mode=0777 none %q", "is no longer mounted, or another directory is in its place"},
		"covered between write and rename":   {"mount -t tmpfs -o mode=0777 none %q", "umount %q", "is no longer mounted, or another directory is in its place"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, m := newPod(t, "files"), newMounts(t)
			p.known()
			inside := p.dir()
			p.inMemory(m, "size=1m")
			p.timeout = 10 * time.Second
			read := p.reader()
			r := p.start(slow(t))
			p.renames()
			m.do(c.take, inside)
			e := r.wait()
			read()
			p.invariants(e)
			if e.code != 13 || !strings.Contains(e.reason, c.says) {
				t.Errorf("ended with %d, %q\n%s", e.code, e.reason, e.log)
			}
			m.do(c.give, inside)
			p.recovers()
		})
	}
	t.Run("read-only before what stands there is replaced", func(t *testing.T) {
		t.Parallel()
		p, m := newPod(t, "files"), newMounts(t)
		p.known()
		inside := p.dir()
		p.inMemory(m, "size=1m")
		p.recovers()
		before, err := os.Readlink(filepath.Join(p.dir(), "..data"))
		p.allow(err)
		p.timeout = 10 * time.Second
		read := p.reader()
		r := p.start(slow(t), "PODFQDN_FORWARD=contains") // which identity.json records
		p.renames()
		m.do("mount -o remount,ro %q", inside)
		e := r.wait()
		read()
		p.ended(e)
		after, err := os.Readlink(filepath.Join(p.dir(), "..data"))
		p.allow(err)
		if e.code != 13 || !strings.Contains(e.reason, "the volumeMount must not be readOnly") || after != before {
			t.Errorf("ended with %d, %q: %s, then %s\n%s", e.code, e.reason, before, after, e.log)
		}
		m.do("mount -o remount,rw %q", inside)
		p.recovers()
	})
}

func TestAFullVolumeIsSaidToBeFull(t *testing.T) {
	t.Parallel()
	const says = "no space left on device: raise the volume's sizeLimit"
	for name, c := range map[string]struct {
		options string
		fill    string // of the shell, in the volume
		stands  bool   // it was published before, and that is enough
	}{
		"without room for a byte":                           {"size=64k", "cat /dev/zero >filler; test -s filler", false},
		"without room for another file":                     {"nr_inodes=2", "true", false},
		"without room for all files":                        {"nr_inodes=12", "true", false},
		"without room for all names":                        {"nr_inodes=20", "true", false},
		"without room for a byte more than what stands":     {"size=64k", "cat /dev/zero >filler; test -s filler", true},
		"without room for another file than what stands":    {"nr_inodes=64", "n=0; while echo >filler$n; do n=$((n+1)); done; test $n -gt 10", true},
		"read-only, where what stands is not looked behind": {"size=64k", "mount -o remount,ro .", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, m := newPod(t, "files"), newMounts(t)
			p.known()
			inside := p.dir()
			p.inMemory(m, c.options)
			if c.stands {
				p.recovers()
			}
			m.do("(cd %q && { %s; })", inside, c.fill)
			p.timeout = 5 * time.Second
			var e end
			if want := says; c.stands && !strings.HasPrefix(name, "read-only") {
				if e = p.init(); e.code != 0 {
					t.Errorf("ended with %d, %q\n%s", e.code, e.reason, e.log)
				}
			} else {
				if c.stands {
					want = "the volumeMount must not be readOnly"
				}
				read := p.reader()
				e = p.start(exec.Command(podfqdn, "init")).wait()
				read()
				if c.stands {
					p.ended(e) // its own, of before, which it could not look behind
				} else {
					p.invariants(e)
				}
				if e.code != 13 || !strings.Contains(e.reason, want) {
					t.Errorf("ended with %d, %q\n%s", e.code, e.reason, e.log)
				}
			}
			m.do("mount -o remount,rw,size=1m,nr_inodes=1000 %q && rm -f %q/filler*", inside, inside)
			p.recovers()
		})
	}
}
