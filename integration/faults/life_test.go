//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// moments stands in front of CoreDNS and reports what is asked about the Pod, before it is answered.
type moments struct {
	*breaker
	tell func(kind string, nth int) // the first is 1

	mu    sync.Mutex
	seen  map[string]bool
	count map[string]int
}

func newMoments(p *pod) *moments {
	return &moments{breaker: &breaker{pod: p, count: map[string]int{}}, seen: map[string]bool{}, count: map[string]int{}}
}

// at has f done when a question is there, the nth of its kind.
func (m *moments) at(kind string, nth int, f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.tell
	m.tell = func(k string, n int) {
		if before != nil {
			before(k, n)
		}
		if k == kind && n == nth {
			f()
		}
	}
}

// when has f done before a question is answered, the nth of its kind; what it returns waits for that.
func (m *moments) when(kind string, nth int, f func()) (wait func()) {
	there := make(chan struct{})
	m.at(kind, nth, func() { f(); close(there) })
	return func() {
		m.pod.Helper()
		select {
		case <-there:
		case <-time.After(30 * time.Second):
			m.pod.Fatalf("nobody has asked for %s %d times", kind, nth)
		}
	}
}

// afresh forgets what was asked.
func (m *moments) afresh() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.seen)
	clear(m.count)
	m.tell = nil
}

func (m *moments) plugin(next plugin.Handler) plugin.Handler {
	answers := m.breaker.plugin(next)
	return plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		q := r.Question[0]
		if strings.EqualFold(q.Name, db0+".") || q.Qtype == dns.TypePTR {
			m.mu.Lock()
			// A question that is sent again comes from the same socket.
			question, kind := fmt.Sprint(w.RemoteAddr(), q.Qtype), kindOf(q.Qtype)
			again, tell := m.seen[question], m.tell
			if m.seen[question] = true; !again {
				m.count[kind]++
			}
			nth := m.count[kind]
			m.mu.Unlock()
			if !again && tell != nil {
				tell(kind, nth)
			}
		}
		return answers.ServeDNS(ctx, w, r)
	})
}

// life is a Pod of which a part is told, and its DNS.
type life struct {
	*pod
	*moments
	cluster *dnstest.Cluster
	unlock  func() // ends another writer
	ring           // with Kerberos
}

func newLife(t *testing.T, group string) *life {
	t.Helper()
	ran.add(group)
	return layLife(t)
}

// layLife is for many cases, each of which counts itself.
func layLife(t *testing.T) *life {
	t.Helper()
	p := lay(t)
	l := &life{pod: p, moments: newMoments(p), cluster: published(), unlock: func() {}}
	p.serve(dnstest.CoreDNS{Cluster: l.cluster, Front: l.moments.plugin})
	p.timeout = 20 * time.Second
	return l
}

// signal sends one.
func (r *running) signal(s syscall.Signal) {
	r.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.Error(err)
	}
}

// says waits until there is such a word in what it says.
func (r *running) says(word string) {
	r.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(r.out.String(), word); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("it does not say %q\n%s", word, r.out.String())
		}
	}
}

// straced is podfqdn under strace, which does something to what is done with a path: "renameat:signal=SIGTERM:when=1". What
// it sees it writes into a log.
func straced(command, path, inject, log string) *exec.Cmd {
	// With -D the process is podfqdn.
	return exec.Command("strace", "-D", "-f", "-qq", "-o", log, "-P", path, "-e", "inject="+inject, podfqdn, command)
}

func (l *life) hosts() string { return filepath.Join(l.root, "etc/hosts") }

// A signal ends it at once, whatever it is about: with the signal's exit code and a reason, and nothing published; or it
// had published, and all of it.
func TestASignalEndsItInEachPhase(t *testing.T) {
	t.Parallel()
	const missing, agreeing = false, true
	for name, c := range map[string]struct {
		dns     bool
		command string                        // "" is init
		lay     func(*life)                   // what is there before
		strace  func(*life) (path, at string) // where strace sends the signal
		opens   func(*life) string            // or the path at whose opening it is sent
		kind    string                        // or the question at which it is sent, before it is answered
		nth     int
		word    string      // or what it says before
		then    func(*life) // comes after it
		codes   []int       // other than the signal's
		says    string
	}{
		"as it reads the hosts file": {dns: agreeing, strace: func(l *life) (string, string) { return l.hosts(), "openat:signal=%s:when=1" }, says: "no answer yet from"},
		"as it waits for the kubelet to write that": {dns: agreeing, lay: func(l *life) { l.write("etc/hosts", "") },
			// Which it does to the end of its second: what it says then is true.
			opens: (*life).hosts, codes: []int{10}, says: "set POD_IPS from status.podIPs"},
		"as it waits, and the kubelet writes it": {dns: agreeing, lay: func(l *life) { l.write("etc/hosts", "") }, opens: (*life).hosts, then: (*life).kubelet, says: "no answer yet from"},
		"as it takes the volume":                 {dns: agreeing, strace: func(l *life) (string, string) { return l.dir(), "flock:signal=%s:when=1" }, says: "no answer yet from"},
		"as it removes another Pod's identity":   {dns: agreeing, strace: func(l *life) (string, string) { return l.dir(), "unlinkat:signal=%s:when=1" }, says: "no answer yet from"},
		"as it waits for another writer to end":  {dns: agreeing, lay: func(l *life) { l.lock() }, opens: func(l *life) string { return l.dir() }, says: "another podfqdn is writing to"},
		"at the first question":                  {dns: agreeing, kind: "existence", nth: 1, says: "no answer yet from"},
		"at the first question for an address":   {dns: agreeing, kind: "A", nth: 1, says: "no answer yet from"},
		"at the first question for a name":       {dns: agreeing, kind: "PTR", nth: 1, says: "no answer yet from"},
		"between the rounds that must agree":     {dns: agreeing, kind: "existence", nth: 2, says: "no answer yet from"},
		"at the last question":                   {dns: agreeing, kind: "PTR", nth: 2, codes: []int{0}, says: ""},
		"in the pause between two looks":         {dns: missing, word: "not yet", says: "says NXDOMAIN"},
		"while DNS says nothing": {dns: agreeing, lay: func(l *life) { says(l.breaker, "fault any any always: drop") },
			kind: "existence", nth: 1, says: "no answer yet from"},
		"a sidecar before it has published": {dns: missing, command: "sidecar", word: "not yet", says: "says NXDOMAIN"},
		"a sidecar that looks on":           {dns: agreeing, command: "sidecar", word: `"msg":"published"`, codes: []int{0}},
		"a sidecar as it publishes":         {dns: agreeing, command: "sidecar", strace: func(l *life) (string, string) { return l.dir(), "renameat:signal=%s:when=1" }, codes: []int{0}},
		"while keys are missing":            {dns: agreeing, lay: func(l *life) { l.kerberos(http1) }, word: "has no key for", says: "has no key for"},
		"as it takes the volume for keys":   {dns: agreeing, lay: func(l *life) { l.kerberos(http0) }, strace: func(l *life) (string, string) { return l.keys, "flock:signal=%s:when=1" }, says: "no answer yet from"},
		"as it publishes keys":              {dns: agreeing, lay: func(l *life) { l.kerberos(http0) }, strace: func(l *life) (string, string) { return l.keys, "renameat:signal=%s:when=1" }, codes: []int{0}},
		"between keys and name":             {dns: agreeing, lay: func(l *life) { l.kerberos(http0) }, strace: func(l *life) (string, string) { return l.dir(), "symlinkat:signal=%s:when=1" }, codes: []int{0}},
		"a sidecar between keys and name":   {dns: agreeing, command: "sidecar", lay: func(l *life) { l.kerberos(http0) }, strace: func(l *life) (string, string) { return l.dir(), "symlinkat:signal=%s:when=1" }, codes: []int{0}},
	} {
		for text, signal := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT} {
			t.Run(name+", "+text, func(t *testing.T) {
				t.Parallel()
				l := newLife(t, "life")
				if c.dns == agreeing {
					l.cluster.Publish(ours())
				}
				if c.lay != nil {
					c.lay(l)
				}
				command := c.command
				if command == "" {
					command = "init"
				}
				reader := l.reader()
				cmd := exec.Command(podfqdn, command)
				if c.strace != nil {
					path, at := c.strace(l)
					cmd = straced(command, path, fmt.Sprintf(at, text), "/dev/null")
				}
				var sent time.Time
				var r *running
				started := make(chan struct{})
				var opened func()
				if c.opens != nil {
					opened = l.opens(c.opens(l))
				}
				if c.kind != "" {
					l.at(c.kind, c.nth, func() {
						<-started
						if c.codes == nil {
							l.mute() // or the answers may be faster than the signal
						}
						sent = time.Now()
						r.signal(signal)
					})
				}
				r = l.start(cmd)
				close(started)
				if c.opens != nil {
					opened()
					sent = time.Now()
					r.signal(signal)
				}
				if c.word != "" {
					r.says(c.word)
					sent = time.Now()
					r.signal(signal)
				}
				if c.then != nil {
					c.then(l)
				}
				e := r.wait()
				reader()
				l.check(e)
				if took := time.Since(sent); !sent.IsZero() && took > time.Second && e.code != 10 {
					t.Errorf("I4: it ended %s after %s", took, text)
				}
				if e.code != 128+int(signal) && !slices.Contains(c.codes, e.code) {
					t.Errorf("exit code %d\n%s", e.code, e.log)
				}
				if e.code != 0 && (e.reason == "" || !strings.Contains(e.reason, c.says)) || e.code > 128 && !strings.Contains(e.reason, text) {
					t.Errorf("exit code %d, and the reason is %q", e.code, e.reason)
				}
				l.again()
			})
		}
	}
}

// kubelet writes the hosts file as the kubelet does, in place.
func (l *life) kubelet() {
	l.Helper()
	if err := os.WriteFile(l.hosts(), []byte(podtest.Hosts(db0+"\tdb-0", ip)), 0o644); err != nil {
		l.Error(err)
	}
}

// mute has DNS answer nothing from now on.
func (l *life) mute() {
	l.breaker.mu.Lock()
	defer l.breaker.mu.Unlock()
	says(l.breaker, "fault any any always: drop")
}

// opens watches a file or directory from now on; what it returns waits until somebody has opened it (inotify(7)).
func (l *life) opens(path string) (wait func()) {
	l.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err == nil {
		_, err = syscall.InotifyAddWatch(fd, path, syscall.IN_OPEN)
	}
	if err != nil {
		l.Fatal(err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	return func() {
		l.Helper()
		defer events.Close()
		if _, err := events.Read(make([]byte, 4096)); err != nil {
			l.Error(err)
		}
	}
}

// lock has another writer in the volume, which has published nothing yet.
func (l *life) lock() {
	l.Helper()
	l.empty()
	f, err := os.Open(l.dir())
	if err != nil {
		l.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		l.Fatal(err)
	}
	l.unlock = sync.OnceFunc(func() { f.Close() })
	l.Cleanup(l.unlock)
}

// check checks what must be true after a run that was ended.
func (l *life) check(e end) {
	l.Helper()
	l.invariants(e)
	l.secrets(e)
	// The name is the start signal for the keys too.
	if _, err := os.Stat(filepath.Join(l.keys, "keytab")); l.keys != "" && err != nil && l.stands() {
		l.Errorf("I2: the name stands without keys: %v", err)
	}
}

// killed does so after SIGKILL: the exit code says nothing then, and what another Pod left may stand if it came before the
// first question.
func (l *life) killed(e end) {
	l.Helper()
	e.code = 11
	if fqdn, err := os.ReadFile(filepath.Join(l.dir(), "fqdn")); l.stands() && (err != nil || string(fqdn) == db0 || l.truth.asked) {
		e.code = 0
	} else if l.stands() {
		return
	}
	if err := whole(l.dir()); err != nil {
		l.Errorf("I2: %v", err)
	}
	l.check(e)
}

func (p *pod) stands() bool {
	_, err := os.Stat(filepath.Join(p.dir(), "verified"))
	return err == nil
}

// again heals what is broken, and checks that a run succeeds.
func (l *life) again() {
	l.Helper()
	l.heal()
	l.afresh()
	l.unlock()
	l.cluster.Publish(ours())
	l.files()
	if l.keys != "" {
		l.source(http0)
	}
	l.recovers()
	l.secrets(end{})
	if l.keys != "" {
		l.hasKeys(http0)
	}
}

// empty empties the volume.
func (p *pod) empty() {
	p.Helper()
	if err := errors.Join(os.RemoveAll(p.dir()), os.Mkdir(p.dir(), 0o777)); err != nil {
		p.Fatal(err)
	}
}

// A signal, or a kill, at each change of the volumes by the real binary: what writer shows on one thread, for SIGTERM too,
// and for two volumes.
func TestAnEndAtEachChangeOfTheVolumes(t *testing.T) {
	for name, kerberos := range map[string]bool{"without Kerberos": false, "with Kerberos": true} {
		volumes := []string{"identity"}
		if kerberos {
			volumes = append(volumes, "keys")
		}
		for _, volume := range volumes {
			for call, most := range map[string]int{"mkdirat": 2, "symlinkat": 12, "renameat": 1, "unlinkat": 6} {
				t.Run(fmt.Sprintf("%s, %s, %s", name, volume, call), func(t *testing.T) {
					t.Parallel()
					hit := 0
					for i := range most {
						if !*long && i > 1 && i < most-1 {
							continue
						}
						for _, signal := range []string{"SIGTERM", "SIGKILL"} {
							if signal == "SIGKILL" && !kerberos && !*long {
								continue // see TestFiles
							}
							l := layLife(t)
							l.cluster.Publish(ours())
							dir := l.dir()
							if kerberos {
								l.kerberos(http0, http1)
							}
							if volume == "keys" {
								dir = l.keys
							}
							log := filepath.Join(l.root, "trace")
							cmd := straced("init", dir, fmt.Sprintf("%s:signal=%s:when=%d", call, signal, i+1), log)
							reader := l.reader()
							e := l.start(cmd).wait()
							reader()
							// The calls are counted by thread, and which does the next is chance.
							if e.code < 0 || strings.Contains(l.read("trace"), "--- "+signal) {
								hit++
								ran.add(map[bool]string{false: "life", true: "Kerberos"}[kerberos])
							} else if e.code != 0 {
								t.Errorf("nothing was sent, and the exit code is %d", e.code)
							}
							switch {
							case e.code < 0:
								l.killed(e)
							case e.code == 0, e.code == 128+int(syscall.SIGTERM) && strings.Contains(e.reason, "SIGTERM"):
								l.check(e)
							default:
								t.Errorf("exit code %d: %s", e.code, e.reason)
							}
							l.again()
							if t.Failed() {
								t.Fatalf("%s at %s %d of %s", signal, call, i+1, volume)
							}
						}
					}
					if hit == 0 {
						t.Errorf("no %s was met", call)
					}
				})
			}
		}
	}
}

// What PODFQDN_TIMEOUT=0 and a deadline that nobody can keep mean: for ever, and not at all; and then there is a reason.
func TestDeadlinesOfNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lay   func(*life)
		codes []int
		says  string
	}{
		"DNS agrees":         {nil, []int{0, 11}, "no answer yet from"},
		"DNS knows no Pod":   {func(l *life) { l.cluster.Withdraw(ours()) }, []int{11}, ""},
		"DNS is silent":      {func(l *life) { says(l.breaker, "fault any any always: drop") }, []int{11}, "no answer yet from"},
		"the volume is held": {func(l *life) { l.lock() }, []int{13}, "another podfqdn is writing to"},
		"there is no volume": {func(l *life) { l.empty(); l.environ = append(l.environ, "PODFQDN_DIR="+l.root+"/none") }, []int{13}, "mount an emptyDir there"},
		"no governing Service": {func(l *life) {
			l.write("etc/hosts", podtest.Hosts("db-0", ip))
		}, []int{10}, "no governing Service"},
		"keys are there":   {func(l *life) { l.kerberos(http0) }, []int{0, 11}, ""},
		"keys are missing": {func(l *life) { l.kerberos(http1) }, []int{11, 14}, ""},
	} {
		for _, timeout := range []time.Duration{time.Millisecond, time.Nanosecond} {
			t.Run(fmt.Sprint(name, ", ", timeout), func(t *testing.T) {
				t.Parallel()
				l := newLife(t, "life")
				l.cluster.Publish(ours())
				if c.lay != nil {
					c.lay(l)
				}
				l.timeout = timeout
				e := l.init()
				l.secrets(e)
				if !slices.Contains(c.codes, e.code) {
					t.Errorf("exit code %d", e.code)
				}
				if e.code != 0 && (!strings.Contains(e.reason, c.says) || e.code == 11 && !strings.HasPrefix(e.reason, "gave up after "+timeout.String()+": "+db0+": ")) {
					t.Errorf("exit code %d, and the reason is %q", e.code, e.reason)
				}
				if strings.Contains(e.reason, "context") {
					t.Errorf("the reason is not for people: %q", e.reason)
				}
				l.environ = slices.DeleteFunc(l.environ, func(s string) bool { return strings.HasPrefix(s, "PODFQDN_DIR=") })
				l.again()
			})
		}
	}
	t.Run("another writer does not end before the deadline", func(t *testing.T) {
		t.Parallel()
		l := newLife(t, "life")
		l.lock()
		l.timeout = time.Second
		e := l.init()
		if e.code != 13 || !strings.Contains(e.reason, "another podfqdn is writing to") || strings.Contains(e.reason, "context") {
			t.Errorf("exit code %d, and the reason is %q", e.code, e.reason)
		}
		l.again()
	})
	t.Run("for ever, and DNS is late", func(t *testing.T) {
		t.Parallel()
		l := newLife(t, "life")
		l.at("existence", 4, func() { l.cluster.Publish(ours()) })
		e := l.init("PODFQDN_TIMEOUT=0")
		if e.code != 0 {
			t.Errorf("exit code %d: %s", e.code, e.reason)
		}
		l.again()
	})
}

// A container of the Pod is started again, with what the one before it left in the volume.
func TestAContainerIsStartedAgain(t *testing.T) {
	t.Parallel()
	// first has the Pod published, with another address if one is given.
	first := func(t *testing.T, l *life, addr string, environ ...string) {
		t.Helper()
		l.empty()
		l.write("etc/hosts", podtest.Hosts(db0+"\tdb-0", addr))
		l.cluster.Publish(ours(addr))
		e := l.start(exec.Command(podfqdn, "init"), environ...).wait()
		if e.code != 0 || !l.stands() {
			t.Fatalf("exit code %d: %s", e.code, e.reason)
		}
		l.files()
		l.afresh()
		l.truth = truth{}
	}
	t.Run("it writes nothing that stands", func(t *testing.T) {
		t.Parallel()
		for _, kerberos := range []bool{false, true} {
			l := newLife(t, "life")
			if kerberos {
				l.kerberos(http0, http1)
			}
			first(t, l, ip)
			before := listing(t, l.dir(), l.keys)
			l.truth.asked = true // what stands at the first question is its own
			e := l.init()
			l.check(e)
			if after := listing(t, l.dir(), l.keys); e.code != 0 || after != before {
				t.Errorf("exit code %d; the volumes held\n%sand hold\n%s", e.code, before, after)
			}
		}
	})
	t.Run("what is its own stands while DNS is silent", func(t *testing.T) {
		t.Parallel()
		l := newLife(t, "life")
		first(t, l, ip)
		before := listing(t, l.dir())
		says(l.breaker, "fault any any always: drop")
		l.timeout = time.Second
		e := l.start(exec.Command(podfqdn, "init")).wait()
		if after := listing(t, l.dir()); e.code != 11 || after != before {
			t.Errorf("exit code %d; the volume held\n%sand holds\n%s", e.code, before, after)
		}
		l.ended(e)
		l.secrets(e)
		l.truth = truth{asked: true}
		l.again()
	})
	for name, c := range map[string]struct {
		before, now []string // variables
		addr        string
	}{
		"the sandbox is another, with another address": {addr: foreign},
		"another Pod of this name":                     {before: []string{"POD_UID=1111"}, now: []string{"POD_UID=2222"}, addr: ip},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, kerberos := range []bool{false, true} {
				l := newLife(t, "life")
				if kerberos {
					l.kerberos(http0, http1)
				}
				first(t, l, c.addr, c.before...)
				// DNS goes on for a while with what it had.
				l.at("existence", 3, func() { l.cluster.Withdraw(ours(foreign)); l.cluster.Publish(ours()) })
				l.environ = append(l.environ, c.now...)
				reader := l.reader()
				e := l.start(exec.Command(podfqdn, "init")).wait()
				reader()
				l.check(e)
				if e.code != 0 {
					t.Errorf("exit code %d: %s", e.code, e.reason)
				}
				l.again()
			}
		})
	}
}

// listing is every file of these directories, to the inode and the nanosecond.
func listing(t *testing.T, dirs ...string) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		b.WriteString(tree(t, dir, func(e entry) string {
			if e.path == "" {
				return "" // its own time changes when the room is probed
			}
			return fmt.Sprintln(dir+e.path, e.info.Mode(), e.info.ModTime(), e.info.Size(), e.info.Sys().(*syscall.Stat_t).Ino, e.target)
		}))
	}
	return b.String()
}

// contents are what a volume holds, whatever its generation is called.
func contents(t *testing.T, dir string) string {
	t.Helper()
	generation, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(tree(t, dir, func(e entry) string {
		return fmt.Sprintf("%s %v %q %q\n", e.path, e.info.Mode(), e.target, e.text)
	}), generation, "..gen-NEW")
}

// What a crash of the node makes of files that were not synced: an emptyDir is on the disk, and outlives it.
func TestTornFilesAreGoneBeforeTheFirstQuestion(t *testing.T) {
	names := []string{"cluster-domain", "fqdn", "hostname", "identity.env", "identity.json", "ip", "ips", "namespace", "ordinal", "service"}
	generation := func(l *life) string {
		target, err := os.Readlink(filepath.Join(l.dir(), "..data"))
		if err != nil {
			l.Fatal(err)
		}
		return filepath.Join(l.dir(), target)
	}
	type tear struct {
		name string
		do   func(l *life) error
	}
	const noDirectory = "its directory is a file" // which is not of podfqdn's making, and is left alone
	var tears []tear
	for _, name := range names {
		file := func(l *life) string { return filepath.Join(generation(l), name) }
		tears = append(tears,
			tear{name + " is empty", func(l *life) error { return os.Truncate(file(l), 0) }},
			tear{name + " is half", func(l *life) error {
				info, err := os.Stat(file(l))
				return errors.Join(err, os.Truncate(file(l), info.Size()/2))
			}},
			tear{name + " is NUL", func(l *life) error {
				info, err := os.Stat(file(l))
				return errors.Join(err, os.WriteFile(file(l), make([]byte, info.Size()), 0o644))
			}},
			tear{name + " ends in NUL", func(l *life) error {
				info, err := os.Stat(file(l))
				return errors.Join(err, os.Truncate(file(l), info.Size()/2), os.Truncate(file(l), info.Size()))
			}},
			tear{name + " is missing", func(l *life) error { return os.Remove(file(l)) }},
		)
	}
	tears = append(tears,
		tear{"its verified is missing", func(l *life) error { return os.Remove(filepath.Join(generation(l), "verified")) }},
		tear{"all are empty", func(l *life) (err error) {
			for _, name := range names {
				err = errors.Join(err, os.Truncate(filepath.Join(generation(l), name), 0))
			}
			return err
		}},
		tear{"there are none", func(l *life) (err error) {
			dir := generation(l)
			return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755))
		}},
		tear{"its directory is gone", func(l *life) error { return os.RemoveAll(generation(l)) }},
		tear{noDirectory, func(l *life) error {
			dir := generation(l)
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o644))
		}},
		tear{"..data is gone", func(l *life) error { return os.Remove(filepath.Join(l.dir(), "..data")) }},
		tear{"..data leads to nothing", func(l *life) error {
			return errors.Join(os.Remove(filepath.Join(l.dir(), "..data")), os.Symlink("..gen-GONE", filepath.Join(l.dir(), "..data")))
		}},
		tear{"..data_tmp is left", func(l *life) error { return os.Symlink("..gen-GONE", filepath.Join(l.dir(), "..data_tmp")) }},
		tear{"..data_tmp is an empty file", func(l *life) error { return os.WriteFile(filepath.Join(l.dir(), "..data_tmp"), nil, 0o644) }},
		tear{"the links are gone", func(l *life) (err error) {
			for _, name := range append(names, "verified") {
				err = errors.Join(err, os.Remove(filepath.Join(l.dir(), name)))
			}
			return err
		}},
		tear{"another generation is left half", func(l *life) error {
			return errors.Join(os.Mkdir(filepath.Join(l.dir(), "..gen-HALF"), 0o700), os.WriteFile(filepath.Join(l.dir(), "..gen-HALF/fqdn"), []byte("db"), 0o600))
		}},
	)
	// One Pod after the other, so that it costs one DNS.
	const parts = 6
	for part := range parts {
		t.Run(fmt.Sprint("part ", part), func(t *testing.T) {
			t.Parallel()
			l := layLife(t)
			l.cluster.Publish(ours())
			for i, tear := range tears {
				if i%parts != part {
					continue
				}
				ran.add("life")
				l.empty()
				if e := l.start(exec.Command(podfqdn, "init")).wait(); e.code != 0 {
					t.Fatalf("exit code %d: %s", e.code, e.reason)
				}
				fresh, torn := contents(t, l.dir()), generation(l)
				if err := tear.do(l); err != nil {
					t.Fatal(err)
				}
				l.afresh()
				l.truth = truth{asked: true}
				var early error
				l.at("existence", 1, func() { early = whole(l.dir()) })
				e := l.start(exec.Command(podfqdn, "init")).wait()
				if early != nil {
					t.Errorf("I2: at the first question %v", early)
				}
				l.invariants(e)
				if err := whole(l.dir()); err != nil {
					t.Errorf("I2: %v", err)
				}
				if e.code != 0 || t.Failed() {
					t.Fatalf("%s: exit code %d: %s\n%s", tear.name, e.code, e.reason, e.log)
				}
				if tear.name == noDirectory {
					l.do(os.Remove(torn))
				}
				// Nothing of it is left: not to be seen, and not for the next.
				if now := contents(t, l.dir()); now != fresh {
					t.Errorf("%s: the volume holds\n%s\nand where it was empty\n%s", tear.name, now, fresh)
				}
				before := listing(t, l.dir())
				l.recovers()
				if after := listing(t, l.dir()); after != before {
					t.Errorf("%s: the run after wrote once more\n%s\n%s", tear.name, before, after)
				}
			}
		})
	}
}

// stop stops it, and waits until each of its threads stands.
func (r *running) stop() {
	r.Helper()
	r.signal(syscall.SIGSTOP)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", r.cmd.Process.Pid))
		runs := err != nil || len(threads) == 0 || slices.ContainsFunc(threads, func(path string) bool {
			stat, err := os.ReadFile(path)
			return err != nil || !strings.Contains(string(stat), ") T ")
		})
		if !runs {
			return
		}
		if time.Now().After(end) {
			r.Errorf("it does not stop: %v", err)
			return
		}
	}
}

// pause stops it for this long.
func (r *running) pause(d time.Duration) {
	r.Helper()
	r.stop()
	begin := time.Now()
	time.Sleep(d)
	r.signal(syscall.SIGCONT)
	r.stopped += time.Since(begin)
}

// withdrawing are the variables of a sidecar that takes verified away as soon as it may. Between two of its looks there is
// less than GRACE, so that one which does not wait for that is seen.
var withdrawing = []string{"PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=" + grace.String(), "PODFQDN_INTERVAL=" + interval.String(), "PODFQDN_CONFIRM=0"}

const (
	interval = 5 * time.Second // the least
	grace    = 5500 * time.Millisecond
)

// A node that is suspended, a debugger, a freezer: a process does not know that it was stopped. What it learnt before is old
// then.
func TestAProcessThatWasStoppedPublishesNothingOld(t *testing.T) {
	t.Parallel()
	// Longer than any answer is waited for.
	stop := 6 * time.Second
	if *long {
		stop = time.Minute
	}
	for name, c := range map[string]struct {
		command string
		environ []string
		late    bool // DNS has no such Pod at first
		slow    bool
		stop    string // at the second question of this kind it is stopped
		act     func(l *life, r *running)
		timeout time.Duration
		code    int
		says    string
	}{
		"while it waits, and DNS comes to agree": {late: true, act: func(l *life, r *running) {
			r.says("not yet")
			time.AfterFunc(stop/2, func() { l.cluster.Publish(ours()) })
			r.pause(stop)
		}, timeout: 10*time.Second + stop},
		"past its deadline": {late: true, act: func(l *life, r *running) {
			r.says("not yet")
			time.AfterFunc(stop/2, func() { l.cluster.Publish(ours()) })
			r.pause(stop)
		}, timeout: 3 * time.Second, code: 11, says: "gave up after 3s: " + db0 + ": "},
		"at the last question, and DNS changes its mind":                {stop: "PTR", act: func(l *life, r *running) { l.changes(r, stop) }, timeout: 10*time.Second + stop},
		"at the last question for an address, and DNS changes its mind": {stop: "A", act: func(l *life, r *running) { l.changes(r, stop) }, timeout: 10*time.Second + stop},
		"between the rounds, and DNS changes its mind":                  {stop: "existence", act: func(l *life, r *running) { l.changes(r, stop) }, timeout: 10*time.Second + stop},
		"a sidecar": {command: "sidecar", environ: withdrawing, act: func(l *life, r *running) {
			r.says(`"msg":"published"`)
			r.pause(stop)
		}},
		"a sidecar, and DNS errs meanwhile": {command: "sidecar", environ: withdrawing, act: func(l *life, r *running) {
			r.says(`"msg":"published"`)
			r.stop()
			l.cluster.Withdraw(ours())
			time.Sleep(stop)
			l.cluster.Publish(ours())
			r.signal(syscall.SIGCONT)
		}},
		"a sidecar that is told of an error of long ago": {slow: true, command: "sidecar", environ: withdrawing, act: func(l *life, r *running) {
			r.says(`"msg":"published"`)
			l.afresh()
			l.cluster.Withdraw(ours())
			r.says("DNS no longer agrees")
			l.when("existence", 2, r.stop)() // it is told that, and reads it later
			time.Sleep(stop)
			l.cluster.Publish(ours())
			r.signal(syscall.SIGCONT)
		}},
	} {
		if c.slow && !*long {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLife(t, "life")
			if !c.late {
				l.cluster.Publish(ours())
			}
			if l.timeout = c.timeout; c.command == "sidecar" {
				l.timeout = time.Minute + 2*stop
			}
			reader := l.reader()
			var r *running
			started := make(chan struct{})
			stopped := func() {}
			if c.stop != "" {
				stopped = l.when(c.stop, 2, func() { <-started; r.stop() })
			}
			r = l.start(exec.Command(podfqdn, append(strings.Fields(c.command), "init")[0]), c.environ...)
			close(started)
			stopped()
			c.act(l, r)
			if c.command == "sidecar" {
				// It has looked again, and more than once: GRACE is over.
				l.afresh()
				l.when("PTR", 2, func() {})()
				if log := r.out.String(); !l.stands() || strings.Contains(log, `"msg":"withdrawn"`) {
					t.Errorf("it has withdrawn")
				}
				r.signal(syscall.SIGTERM)
			}
			e := r.wait()
			reader()
			l.check(e)
			if e.code != c.code || !strings.Contains(e.reason, c.says) {
				t.Errorf("exit code %d: %s", e.code, e.reason)
			}
			l.again()
		})
	}
}

// changes has DNS, which has just stopped r at a question, answer that, and then know the Pod no more until r has asked
// once more.
func (l *life) changes(r *running, stop time.Duration) {
	l.Helper()
	begin := time.Now()
	time.Sleep(time.Second) // for the answer
	l.cluster.Withdraw(ours())
	l.mu.Lock()
	rounds := l.moments.count["existence"]
	l.mu.Unlock()
	l.at("existence", rounds+1, func() { time.AfterFunc(100*time.Millisecond, func() { l.cluster.Publish(ours()) }) })
	time.Sleep(stop - time.Second)
	r.signal(syscall.SIGCONT)
	r.stopped += time.Since(begin)
}

// forgotten has DNS, from the next question on, know nothing of a Pod that a sidecar has published, and returns when that was.
func (l *life) forgotten(r *running, how func()) (since time.Time) {
	l.Helper()
	r.says(`"msg":"published"`)
	// Or what a cache may have of the witness is waited for too.
	l.breaker.mu.Lock()
	says(l.breaker, "fault any any always: ttl 0")
	l.breaker.mu.Unlock()
	l.afresh()
	l.when("existence", 1, func() { how(); since = time.Now() })()
	r.says("DNS no longer agrees")
	return since
}

// withdraws checks that a sidecar takes verified away, neither too early nor too late, and brings it back when DNS agrees again
// (I3). What comes between begins when it has said that DNS does not agree.
func (l *life) withdraws(r *running, meanwhile func()) {
	l.Helper()
	const round = time.Second
	since := l.forgotten(r, func() { l.cluster.Withdraw(ours()) })
	meanwhile()
	for l.stands() && time.Since(since) <= grace+interval+round {
		time.Sleep(time.Millisecond)
	}
	if took := time.Since(since); l.stands() || took < grace {
		l.Errorf("I3: %s after the first answer without this Pod verified stands: %t; GRACE is %s", took, l.stands(), grace)
	}
	if fqdn := l.read("identity/fqdn"); fqdn != db0 {
		l.Errorf("fqdn is %q", fqdn)
	}
	l.truth.Lock()
	l.truth.agreed = nil
	l.truth.Unlock()
	l.cluster.Publish(ours())
	since = time.Now()
	for !l.stands() && time.Since(since) <= interval+round {
		time.Sleep(time.Millisecond)
	}
	l.truth.Lock()
	defer l.truth.Unlock()
	if err := l.agreement(time.Now(), false); err != nil || !l.stands() {
		l.Errorf("I1: %s after DNS knows the Pod again verified stands: %t, %v", time.Since(since), l.stands(), err)
	}
}

// A sidecar with PODFQDN_WITHDRAW takes verified away when it has to, and at no other time.
func TestWhatDNSHasForgottenIsWithdrawnInTime(t *testing.T) {
	t.Parallel()
	stays := func(how string, look time.Duration) func(*life, *running) {
		return func(l *life, r *running) {
			since := l.forgotten(r, func() {
				l.breaker.mu.Lock()
				defer l.breaker.mu.Unlock()
				says(l.breaker, "fault any any always: "+how)
			})
			// One look tells it, at the next GRACE is not over, and then it is.
			for l.stands() && time.Since(since) < 3*look+grace+interval {
				time.Sleep(time.Millisecond)
			}
			if !l.stands() {
				l.Errorf("I3: withdrawn after %s", time.Since(since))
			}
		}
	}
	for name, c := range map[string]struct {
		act  func(*life, *running)
		slow bool
	}{
		"DNS knows the Pod no more":                                {act: func(l *life, r *running) { l.withdraws(r, func() {}) }},
		"DNS knows the Pod no more, and it is stopped beyond that": {act: func(l *life, r *running) { l.withdraws(r, func() { r.pause(grace + time.Second) }) }},
		"DNS cannot say":                                           {act: stays("rcode SERVFAIL", time.Second)},
		"DNS knows the cluster no more":                            {act: stays("nxdomain .", time.Second), slow: true},
		"DNS has an empty cluster":                                 {act: stays("nxdomain cluster.local.", time.Second), slow: true},
		"DNS is silent":                                            {act: stays("drop", 10*time.Second), slow: true},
	} {
		if c.slow && !*long {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLife(t, "life")
			l.cluster.Publish(ours())
			l.timeout = time.Minute
			reader := l.reader()
			r := l.start(exec.Command(podfqdn, "sidecar"), withdrawing...)
			c.act(l, r)
			r.signal(syscall.SIGTERM)
			e := r.wait()
			reader()
			l.check(e)
			if e.code != 0 {
				t.Errorf("exit code %d: %s", e.code, e.reason)
			}
			l.again()
		})
	}
}

// A kill at any moment, and another one of the run after it, with a reader that looks on.
func TestKillsAtRandomMoments(t *testing.T) {
	cases := 100
	if *long {
		cases = 1000
	}
	const workers, kills = 4, 2
	for worker := range workers {
		t.Run(fmt.Sprint("worker ", worker), func(t *testing.T) {
			t.Parallel()
			l := layLife(t)
			kerberos := worker%2 == 1
			if kerberos {
				l.kerberos(http0, http1)
			}
			l.cluster.Publish(ours())
			first := l.init()
			if first.code != 0 {
				t.Fatalf("exit code %d: %s", first.code, first.reason)
			}
			usual := first.took
			died := 0
			for i := range cases / workers {
				ran.add("life")
				l.truth.Lock()
				if l.truth.asked = true; i%3 < 2 { // or its own stands there
					l.empty()
					l.leave()
					l.truth.asked, l.truth.agreed = false, nil
				}
				l.truth.Unlock()
				reader := l.reader()
				for range kills {
					moment := rand.N(usual + usual/4)
					r := l.start(exec.Command(podfqdn, "init"))
					time.Sleep(moment)
					_ = r.cmd.Process.Kill()
					e := r.wait()
					if e.code < 0 {
						died++
						l.killed(e)
					} else {
						usual = max(e.took, 20*time.Millisecond)
						l.check(e)
					}
					if t.Failed() {
						t.Fatalf("killed after %s of %s", moment, usual)
					}
				}
				reader()
				if l.recovers(); kerberos {
					l.hasKeys(http0)
				}
				l.secrets(end{})
			}
			if all := kills * cases / workers; died < all/4 {
				t.Errorf("only %d of %d were killed", died, all)
			}
		})
	}
}

// One writer is in a volume at a time.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	t.Run("they publish the same, one after the other", func(t *testing.T) {
		t.Parallel()
		l := newLife(t, "life")
		l.cluster.Publish(ours())
		reader := l.reader()
		var all []*running
		for range 4 {
			all = append(all, l.start(exec.Command(podfqdn, "init")))
		}
		var ends []end
		for _, r := range all {
			ends = append(ends, r.wait())
		}
		published := 0
		for _, e := range ends {
			l.ended(e)
			l.secrets(e)
			switch {
			case e.code == 0:
				published++
				l.check(e)
			case e.code != 13 || !strings.Contains(e.log, "another podfqdn is writing to"):
				t.Errorf("exit code %d: %s", e.code, e.log)
			}
		}
		reader()
		if published == 0 {
			t.Error("none has published")
		}
		l.again()
	})
	for name, c := range map[string]struct {
		first string
		wake  bool // the first ends while the second waits
		code  int
	}{
		"the second is told of the first":                    {"init", false, 13},
		"the second is told of a sidecar":                    {"sidecar", false, 13},
		"the second takes the place of the first":            {"init", true, 0},
		"the second takes the place of a sidecar that ended": {"sidecar", true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLife(t, "life")
			first := l.start(exec.Command(podfqdn, c.first))
			first.says("not yet")
			reader := l.reader()
			opened := l.opens(l.dir())
			second := l.start(exec.Command(podfqdn, "init"))
			opened()
			if c.wake {
				first.signal(syscall.SIGTERM)
				if e := first.wait(); e.code != 143 {
					t.Errorf("the first: exit code %d: %s", e.code, e.reason)
				}
				l.cluster.Publish(ours())
			}
			e := second.wait()
			l.check(e)
			if e.code != c.code || e.code != 0 && !strings.Contains(e.reason, "another podfqdn is writing to") {
				t.Errorf("the second: exit code %d: %s", e.code, e.reason)
			}
			if !c.wake {
				l.cluster.Publish(ours())
				first.says(`"msg":"published"`)
				first.signal(syscall.SIGTERM)
				if e := first.wait(); e.code != 0 && e.code != 143 {
					t.Errorf("the first: exit code %d: %s", e.code, e.reason)
				}
			}
			reader()
			l.again()
		})
	}
}
