//go:build faults

package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/integration/dnstest"
	"github.com/podfqdn/podfqdn/integration/programs"
)

// executing is podfqdn that becomes a command, by its whole path: there is no PATH.
func executing(command ...string) *exec.Cmd {
	return exec.Command(podfqdn, append([]string{"exec", "--"}, command...)...)
}

// server is an application that says which name it was given.
var server = []string{"/bin/echo", "started as", "$(POD_FQDN)"}

const serving = "started as " + db0 + "\n"

// served checks what must be true of an exec that ended: the application had begun with this Pod's name, which stands, or it
// had not, and podfqdn says why and publishes nothing else.
func (p *pod) served(e end) {
	p.Helper()
	p.ended(end{e.code, e.began, e.took, strings.ReplaceAll(e.log, serving, ""), e.reason})
	began := strings.Contains(e.log, serving)
	if began != (e.code == 0) {
		p.Errorf("I1: exit code %d, and the application has begun: %t\n%s", e.code, began, e.log)
	}
	if reason := strings.HasPrefix(e.reason, "podfqdn: "); e.code > 0 && !reason || e.code == 0 && e.reason != "" {
		p.Errorf("exit code %d, and the termination message is %q", e.code, e.reason)
	}
	if err := whole(p.dir()); err != nil {
		p.Errorf("I2: %v", err)
	}
	if fqdn, err := os.ReadFile(filepath.Join(p.dir(), "fqdn")); began && (!p.stands() || string(fqdn) != db0) {
		p.Errorf("I1: the application has begun, and the volume has %q, %v", fqdn, err)
	}
}

// serves checks that the application begins when nothing is wrong any more (I6).
func (p *pod) serves() {
	p.Helper()
	p.timeout = time.Minute
	e := p.start(executing(server...)).wait()
	if p.served(e); e.code != 0 {
		p.Errorf("I6: exit code %d: %s", e.code, e.reason)
	}
}

const (
	readOnly = "mount --bind %[1]s %[1]s; mount -o remount,bind,ro %[1]s"
	path     = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
)

// apart is podfqdn that becomes a command where something is mounted for it alone.
func (p *pod) apart(script string, command ...string) *exec.Cmd {
	return inPlace(fmt.Sprintf(script, "'"+p.dir()+"'"), append([]string{podfqdn, "exec", "--"}, command...)...)
}

func TestAVolumeInWhichNothingCanBePublishedForAnApplication(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mount string // %s is the volume
		code  int
		says  string
	}{
		"full":                         {"mount -t tmpfs -o size=4k,nr_inodes=100 none %[1]s; head -c 4096 /dev/zero > %[1]s/filler", 13, "no space left on device: raise the volume's sizeLimit, or remove what fills it"},
		"without an inode":             {"mount -t tmpfs -o nr_inodes=1 none %s", 13, "no space left on device: raise the volume's sizeLimit, or remove what fills it"},
		"missing":                      {"rm -rf %s", 13, "does not exist: mount an emptyDir there"},
		"a file":                       {"rm -rf %[1]s; echo > %[1]s", 13, "is not a directory: mount an emptyDir there, not a single file"},
		"read-only":                    {readOnly, 11, "is mounted read-only here, and no other container has published this Pod's identity there: run podfqdn init or podfqdn sidecar in a container that mounts the volume writable, or leave readOnly out here"},
		"read-only, and another Pod's": {readOnly, 11, `is mounted read-only here, and no other container has published this Pod's identity there: what is published there is not this Pod's: it is for another name, "db-9.db.default.svc.cluster.local"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLife(t, "exec")
			l.cluster.Publish(ours())
			if strings.Contains(name, "another Pod's") {
				l.publishedBy(t, layAs(t, t.TempDir(), "db-9.db.default.svc.cluster.local", ip))
			} else {
				l.empty()
			}
			e := l.start(l.apart(c.mount, server...), path, "PODFQDN_TIMEOUT=1s").wait()
			l.served(e)
			if e.code != c.code || !strings.Contains(e.reason, c.says) || strings.Contains(e.reason, "\n") {
				t.Errorf("exit code %d: %s", e.code, e.reason)
			}
			if l.breaker.asked > 0 {
				t.Error("DNS was asked")
			}
			l.empty()
			l.serves()
		})
	}
}

// publishedBy has another Pod leave its verified identity in the volume.
func (l *life) publishedBy(t *testing.T, other *pod, environ ...string) {
	t.Helper()
	hostname, _, _ := strings.Cut(other.fqdn, ".")
	other.serve(dnstest.CoreDNS{Cluster: published(dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: hostname, IP: other.ip})})
	l.empty()
	other.timeout = time.Minute
	e := other.start(exec.Command(podfqdn, "init"), append(environ, "PODFQDN_CONFIRM=0", "PODFQDN_DIR="+l.dir())...).wait()
	if e.code != 0 || !l.stands() {
		t.Fatalf("exit code %d: %s", e.code, e.reason)
	}
}

func TestAnIdentityOfAnotherPodIsNotTakenForAnApplication(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fqdn, ip, uid string
		because       string
	}{
		"another name":    {"db-9.db.default.svc.cluster.local", ip, "", `it is for another name, \"db-9.`},
		"another address": {db0, foreign, "", "it is for another address, " + foreign},
		"another UID":     {db0, ip, "7d3a51", `it belongs to another Pod, \"7d3a51\"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLife(t, "exec")
			l.cluster.Publish(ours())
			l.publishedBy(t, layAs(t, t.TempDir(), c.fqdn, c.ip), "POD_UID="+c.uid)
			if c.uid != "" {
				l.environ = append(l.environ, "POD_UID=0b6f1c")
			}
			e := l.start(executing(server...)).wait()
			if l.served(e); e.code != 0 || !strings.Contains(strings.ReplaceAll(e.log, `\\`, `\`), c.because) {
				t.Errorf("exit code %d, %s\n%s", e.code, e.reason, e.log)
			}
			l.truth.Lock()
			defer l.truth.Unlock()
			if !l.truth.asked || l.truth.early != nil {
				t.Errorf("I3: DNS was asked: %t, %v", l.truth.asked, l.truth.early)
			}
		})
	}
}

// Two containers of one Pod, with one volume.
func TestTwoThatExecAtOnce(t *testing.T) {
	t.Parallel()
	const proves = "waiting for forward and reverse DNS to agree"
	for name, second := range map[string]func(*life) *running{
		"both may write":    func(l *life) *running { return l.start(executing(server...)) },
		"one may only read": func(l *life) *running { return l.start(l.apart(readOnly, server...), path) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLife(t, "exec")
			l.empty()
			l.cluster.Publish(ours())
			reader := l.reader()
			log := ""
			for _, r := range []*running{second(l), l.start(executing(server...))} {
				e := r.wait()
				if l.served(e); e.code != 0 {
					t.Errorf("exit code %d: %s", e.code, e.reason)
				}
				log += e.log
			}
			reader()
			if n := strings.Count(log, proves); n != 1 {
				t.Errorf("there were %d proofs\n%s", n, log)
			}
		})
		t.Run(name+", and the publisher is killed", func(t *testing.T) {
			t.Parallel()
			l := newLife(t, "exec")
			l.empty()
			first := l.start(executing(server...))
			first.says("not yet")
			opened := l.opens(l.dir())
			r := second(l)
			opened()
			l.allow(first.cmd.Process.Kill())
			if e := first.wait(); e.code >= 0 || strings.Contains(e.log, serving) || l.stands() {
				t.Errorf("exit code %d, published: %t\n%s", e.code, l.stands(), e.log)
			}
			l.cluster.Publish(ours())
			if name == "one may only read" {
				l.serves() // the kubelet starts the other again
			}
			if e := r.wait(); e.code != 0 {
				t.Errorf("exit code %d: %s", e.code, e.reason)
			} else {
				l.served(e)
			}
		})
	}
}

// In a volume in memory, which has the sticky bit, a container of another UID may not write where the first one has: but it may
// read, and needs no more.
func TestTwoThatExecAtOnceWithTwoUIDsInMemory(t *testing.T) {
	t.Parallel()
	l := newLife(t, "exec")
	l.empty()
	l.reachable()
	l.allow(os.Chmod(l.dir(), os.ModeSticky|0o777))
	var all []*running
	for _, uid := range []uint32{own, stranger} {
		cmd := executing(server...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		opened := l.opens(l.dir())
		r := l.start(cmd)
		if opened(); uid == own {
			r.says("not yet")
		}
		all = append(all, r)
	}
	l.cluster.Publish(ours())
	for _, r := range all {
		e := r.wait()
		if l.served(e); e.code != 0 {
			t.Errorf("exit code %d: %s", e.code, e.reason)
		}
	}
}

// Before the application begins SIGTERM ends podfqdn with 143 and a reason; afterwards it is the application's own.
func TestASignalBeforeAnApplicationBeginsAndAfterwards(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lay    func(*life)
		strace func(*life) (path, at string)
		kind   string // of the question at which it is sent
		nth    int
		opens  bool // or when the volume is opened
		mount  string
		says   string
		stands bool
	}{
		"as it reads the hosts file": {strace: func(l *life) (string, string) { return l.hosts(), "openat:signal=SIGTERM:when=1" }, says: "no answer yet from"},
		"as it takes the volume":     {strace: func(l *life) (string, string) { return l.dir(), "flock:signal=SIGTERM:when=1" }, says: "no answer yet from"},
		"at the first question":      {kind: "existence", nth: 1, says: "no answer yet from"},
		"at a later question":        {kind: "PTR", nth: 1, says: "no answer yet from"},
		"as it publishes":            {strace: func(l *life) (string, string) { return l.dir(), "renameat:signal=SIGTERM:when=1" }, stands: true, says: "before the application began"},
		"while another publishes":    {lay: (*life).lock, opens: true, says: "another podfqdn"},
		"where it may only read":     {lay: func(l *life) { l.empty() }, opens: true, mount: readOnly, says: "is mounted read-only here"},
		"and the identity stands":    {lay: func(l *life) { l.serves() }, strace: func(l *life) (string, string) { return l.dir(), "readlinkat:signal=SIGTERM:when=1" }, stands: true, says: "before the application began"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLife(t, "exec")
			l.cluster.Publish(ours())
			if c.lay != nil {
				c.lay(l)
			}
			cmd := executing(server...)
			if c.strace != nil {
				path, at := c.strace(l)
				cmd = straced("exec", path, at, "/dev/null")
				cmd.Args = append(cmd.Args, append([]string{"--"}, server...)...)
			} else if c.mount != "" {
				cmd = l.apart(c.mount, server...)
			}
			var r *running
			started := make(chan struct{})
			if c.kind != "" {
				l.at(c.kind, c.nth, func() {
					<-started
					l.mute() // or the answers may be faster than the signal
					r.signal(syscall.SIGTERM)
				})
			}
			opened := func() {}
			if c.opens {
				opened = l.opens(l.dir())
			}
			reader := l.reader()
			r = l.start(cmd, path)
			close(started)
			if opened(); c.opens {
				if c.mount != "" {
					r.says(`not yet`) // it was the shell
				}
				r.signal(syscall.SIGTERM)
			}
			e := r.wait()
			reader()
			l.served(e)
			if e.code != 143 || !strings.Contains(e.reason, "SIGTERM") || !strings.Contains(e.reason, c.says) || l.stands() != c.stands {
				t.Errorf("exit code %d, published: %t, %s\n%s", e.code, l.stands(), e.reason, e.log)
			}
			l.heal()
			l.unlock()
			l.serves()
		})
	}
	t.Run("afterwards", func(t *testing.T) {
		t.Parallel()
		l := newLife(t, "exec")
		l.cluster.Publish(ours())
		r := l.start(executing("/bin/sh", "-c", `trap "echo it is mine; exit 7" TERM; echo it serves; while :; do sleep 0.01; done`), path)
		r.says("it serves")
		r.signal(syscall.SIGTERM)
		if e := r.wait(); e.code != 7 || !strings.Contains(e.log, "it is mine") || e.reason != "" {
			t.Errorf("exit code %d, %q\n%s", e.code, e.reason, e.log)
		}
	})
}

// crashed starts the application once, with DNS, and takes DNS away.
func (l *life) crashed() {
	l.Helper()
	l.cluster.Publish(ours())
	l.serves()
	l.environ = append(l.environ, "PODFQDN_NAMESERVERS=127.0.0.1:1")
	l.timeout = 20 * time.Second
}

func median[T int64 | time.Duration](all []T) T {
	slices.Sort(all)
	return all[len(all)/2]
}

// begin starts a command as the first process of a PID name space, as a container's is.
func (l *life) begin(command ...string) (*running, time.Time) {
	l.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	return l.start(cmd, "PODFQDN_NAMESERVERS=127.0.0.1:1", "PODFQDN_LOG_LEVEL=error"), time.Now()
}

// ready waits until the application says so, or until the end.
func (r *running) ready(ended chan struct{}) bool {
	for !strings.Contains(r.out.String(), "ready") {
		select {
		case <-ended:
			return false
		case <-time.After(200 * time.Microsecond):
		}
	}
	return true
}

// lasts returns how long a command takes until it is an application that is ready, which it then ends.
func (l *life) lasts(command ...string) time.Duration {
	l.Helper()
	r, began := l.begin(command...)
	ended := make(chan struct{})
	stop := time.AfterFunc(time.Minute, func() { close(ended) })
	defer stop.Stop()
	if !r.ready(ended) {
		l.Fatalf("it is not ready: %s", r.out.String())
	}
	took := time.Since(began)
	r.signal(syscall.SIGTERM)
	if e := r.wait(); e.code != 0 || e.reason != "" {
		l.Errorf("exit code %d: %s", e.code, e.reason)
	}
	return took
}

// application builds what podfqdn becomes.
func application(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := programs.Own(dir, "./application"); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "application")
}

// A server that crashes while cluster DNS is down has its name in the volume.
func TestACrashedApplicationComesBackWithoutDNS(t *testing.T) {
	const wanted, limit = 10 * time.Millisecond, 100 * time.Millisecond
	l := newLife(t, "exec")
	l.crashed()
	application := application(t)
	var alone, behind []time.Duration
	for range 41 {
		alone = append(alone, l.lasts(application))
		behind = append(behind, l.lasts(podfqdn, "exec", "--", application))
	}
	took := median(behind) - median(alone)
	t.Logf("until the application is ready: %s, and %s behind podfqdn, medians of %d; at most %s more are wanted", median(alone), median(behind), len(alone), wanted)
	if took > limit {
		t.Errorf("podfqdn takes %s", took)
	}
}

// As an exec probe it is answered from the volume: it takes no lock, writes nothing and asks nobody.
func TestAProbeTakesNothing(t *testing.T) {
	t.Parallel()
	t.Run("where the identity stands", func(t *testing.T) {
		t.Parallel()
		l := newLife(t, "exec")
		l.crashed()
		before := listing(t, l.dir())
		const changes = "flock,mkdirat,symlinkat,renameat,renameat2,linkat,unlinkat,fchmod,fchmodat,ftruncate,socket,connect,sendto"
		e := l.start(exec.Command("strace", "-D", "-f", "-qq", "-o", filepath.Join(l.root, "trace"), "-e", "trace="+changes, podfqdn, "exec", "--", "/bin/true"), "PODFQDN_NAMESERVERS=127.0.0.1:1").wait()
		if calls := l.read("trace"); e.code != 0 || e.reason != "" || strings.Contains(calls, "(") {
			t.Errorf("exit code %d, %s:\n%s", e.code, e.reason, calls)
		}
		if after := listing(t, l.dir()); after != before {
			t.Errorf("the volume was\n%s\nand is\n%s", before, after)
		}
	})
	t.Run("while nothing is published", func(t *testing.T) {
		t.Parallel()
		l := newLife(t, "exec")
		l.empty()
		reader := l.reader()
		main := l.start(executing(server...))
		main.says("not yet")
		for range 5 {
			opened := l.opens(l.dir())
			probe := l.start(executing("/bin/true"))
			opened()
			l.allow(probe.cmd.Process.Kill()) // as its timeoutSeconds are over
			if e := probe.wait(); e.code >= 0 || strings.Contains(e.log, "waiting for forward") {
				t.Errorf("a probe ended with %d\n%s", e.code, e.log)
			}
		}
		last := l.start(executing("/bin/true"))
		l.cluster.Publish(ours())
		if e := last.wait(); e.code != 0 || strings.Contains(e.log, "waiting for forward") {
			t.Errorf("a probe ended with %d, %s\n%s", e.code, e.reason, e.log)
		}
		e := main.wait()
		reader()
		if l.served(e); e.code != 0 {
			t.Errorf("exit code %d: %s", e.code, e.reason)
		}
	})
}

func TestWhatCannotBeExecuted(t *testing.T) {
	t.Parallel()
	l := newLife(t, "exec")
	l.crashed()
	l.write("bin/script", "echo without the line\n")
	bin := filepath.Join(l.root, "bin")
	l.allow(os.Chmod(bin+"/script", 0o755), os.Symlink("nowhere", bin+"/dangling"), os.Symlink("loop", bin+"/loop"), syscall.Mkfifo(bin+"/fifo", 0o777))
	for name, c := range map[string]struct {
		command []string
		code    int
		says    string
	}{
		"a directory":                 {[]string{bin}, 126, "is a directory"},
		"a script without its line":   {[]string{bin + "/script"}, 126, "it is not a program for this machine, and has no #! line"},
		"a dangling link":             {[]string{bin + "/dangling"}, 127, `is a link to "nowhere", which does not exist`},
		"a link to itself":            {[]string{bin + "/loop"}, 126, "too many levels of symbolic links"},
		"a FIFO":                      {[]string{bin + "/fifo"}, 126, "permission denied"},
		"a name without a PATH":       {[]string{"echo"}, 127, `the command "echo" is not in PATH=""`},
		"an argument that grows":      {[]string{"/bin/true", strings.Repeat("x", 128<<10-20) + "$(POD_FQDN)"}, 126, "the kernel accepts at most 128 KiB for each"},
		"arguments that are too many": {append(server, slices.Repeat([]string{strings.Repeat("$(POD_FQDN)", 3900)}, 30)...), 126, "a quarter of the stack limit for all of them"},
	} {
		e := l.start(executing(c.command...), "PODFQDN_NAMESERVERS=127.0.0.1:1").wait()
		if l.served(e); e.code != c.code || !strings.Contains(e.reason, c.says) || strings.Contains(e.reason, "\n") {
			t.Errorf("%s: exit code %d, %s, not %d, %s", name, e.code, e.reason, c.code, c.says)
		}
	}
}

// raw runs podfqdn with this environment and no other, not even in another order, and returns what the application has of
// a file of its own in /proc.
func (l *life) raw(file string, args, environ []string) string {
	l.Helper()
	out := filepath.Join(l.root, "given")
	log, err := os.Create(filepath.Join(l.root, "log"))
	l.allow(err)
	defer log.Close()
	argv := slices.Concat([]string{podfqdn, "exec", "--", "/bin/sh", "-c", "cat /proc/$$/" + file + " > '" + out + "'", "sh"}, args)
	environ = slices.Concat([]string{"PODFQDN_ROOT=" + l.root, "PODFQDN_DIR=" + l.dir(), "PODFQDN_NAMESERVERS=127.0.0.1:1", path}, environ)
	process, err := os.StartProcess(podfqdn, argv, &os.ProcAttr{Env: environ, Files: []*os.File{nil, log, log}})
	l.allow(err)
	state, err := process.Wait()
	if err != nil || state.ExitCode() != 0 {
		l.Fatalf("exit code %d, %v: %s", state.ExitCode(), err, l.read("log"))
	}
	given := l.read("given")
	if _, rest, ok := strings.Cut(given, path+"\x00"); ok && file == "environ" {
		return rest
	}
	return given
}

func TestWhatAnApplicationIsGivenIsPassedOnByteForByte(t *testing.T) {
	t.Parallel()
	l := newLife(t, "exec")
	l.crashed()
	var args []string
	for i := range 16 { // 1 MiB
		b := make([]byte, 64<<10-1)
		for j := range b {
			b[j] = byte(1 + rand.IntN(255))
		}
		args = append(args, string(append(b, byte('a'+i))))
	}
	args = append(args, "", "$(POD_FQDN_PORT) $(date) $$ $$(HOME) $(POD_FQDN", "\xff\xfe")
	if given := l.raw("cmdline", args, nil); !strings.HasSuffix(given, "\x00sh\x00"+strings.Join(args, "\x00")+"\x00") {
		t.Errorf("of %d bytes of arguments %d are given, or not the same", len(strings.Join(args, " ")), len(given))
	}
	environ := []string{"no sign", "A=1", "A=2", "", "=", "=C:=x", "\xff=\xfe", "B=", "B", "POD_FQDN", "$(POD_FQDN)=name", "C=$$(HOME) $(POD_FQDN_PORT)",
		"POD_FQDN_SERVICE_HOST=10.96.0.7", "POD_FQDN_SERVICE_PORT=80", "POD_FQDN_PORT=tcp://10.96.0.7:80", "POD_FQDN_PORT_80_TCP_ADDR=10.96.0.7"}
	for i := range 5000 {
		environ = append(environ, fmt.Sprintf("SERVICE_%d_PORT_80_TCP=tcp://10.96.%d.%d:80", i, i/256, i%256))
	}
	if given, want := l.raw("environ", nil, environ), strings.Join(environ, "\x00")+"\x00POD_CLUSTER_DOMAIN=cluster.local\x00POD_FQDN="+db0+"\x00"; !strings.HasPrefix(given, want) {
		t.Errorf("given\n%.2000q\nnot\n%.2000q", given, want)
	}
}

// As process 1 a program meets no signal that it does not handle (kill(2)): one that comes when podfqdn does not look any
// more, and the application does not yet, is lost, and the Pod takes all of its grace period to end. How long that is follows
// from how many of many signals are, whose moments are chance. A program that nothing is in front of loses some too.
func TestTheMomentAtWhichASignalIsLost(t *testing.T) {
	const wanted, limit = time.Millisecond, 10 * time.Millisecond
	l := newLife(t, "exec")
	l.crashed()
	application := application(t)
	for name, c := range map[string]struct {
		command []string
		most    int
	}{
		"alone":          {[]string{application}, 60},
		"behind podfqdn": {[]string{podfqdn, "exec", "--", application}, 150},
	} {
		var span []time.Duration
		for range 21 {
			span = append(span, l.lasts(c.command...))
		}
		within := median(span) * 3 / 2
		moments := map[int][]time.Duration{} // by exit code
		for range c.most {
			ran.add("exec")
			r, began := l.begin(c.command...)
			moment := rand.N(within)
			for time.Since(began) < moment {
			}
			moment = time.Since(began)
			r.signal(syscall.SIGTERM)
			ended := make(chan struct{})
			go func() {
				if r.ready(ended) {
					_ = r.cmd.Process.Signal(syscall.SIGUSR1)
				}
			}()
			e := r.wait()
			close(ended)
			moments[e.code] = append(moments[e.code], moment)
		}
		reached, met, wordless, lost := moments[143], moments[0], moments[2], moments[3]
		late := lost // not as podfqdn itself began
		if len(reached) > 0 {
			late = slices.DeleteFunc(slices.Clone(lost), func(m time.Duration) bool { return m < median(reached) })
		}
		unseen := within * time.Duration(len(late)) / time.Duration(c.most)
		t.Logf("%s, of %d signals within %s %d ended podfqdn with 143, %d the application, %d either without a word, and %d were lost, %d of them before podfqdn listens: for %s nobody does afterwards; at most %s is wanted",
			name, c.most, within, len(reached), len(met), len(wordless), len(lost), len(lost)-len(late), unseen, wanted)
		if len(reached)+len(met)+len(wordless)+len(lost) != c.most || name != "alone" && (len(reached) == 0 || len(met) == 0) {
			t.Errorf("%s: they ended with %v", name, moments)
		}
		if unseen > limit {
			t.Errorf("%s: for %s nobody listens", name, unseen)
		}
	}
}
