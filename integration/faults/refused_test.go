//go:build faults

package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// refusal is one case of testdata/hostile.txtar, whose lines are those of an input, and these:
//
//	keys                      the Pod needs a key, which is there
//	uid N                     podfqdn's, and its group; 0
//	mode NAME MODE            of a file or a directory
//	refuse CALL ERRNO [NAME]  each such system call ends so; with a name, only where it is about this file or directory
type refusal struct {
	*input
	uid    int
	strace []string
}

func (r *refusal) line(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	name, arg, _ := strings.Cut(rest, " ")
	switch word {
	case "keys":
		r.keyed()
		return os.Chmod(r.keysDir(), 0o777)
	case "uid":
		var err error
		r.uid, err = strconv.Atoi(rest)
		return err
	case "mode":
		mode, err := strconv.ParseUint(arg, 8, 12)
		return errors.Join(err, os.Chmod(filepath.Join(r.root, name), fs.FileMode(mode)))
	case "refuse":
		errno, path, some := strings.Cut(arg, " ")
		if r.strace = []string{"-f", "-qq", "-o", "/dev/null", "-e", "trace=" + name, "-e", "inject=" + name + ":error=" + errno}; some {
			r.strace = append(r.strace, "-P", filepath.Join(r.root, path))
		}
		return nil
	}
	return r.input.line(line)
}

func TestWhatTheSystemRefusesIsTold(t *testing.T) {
	t.Parallel()
	archive, err := txtar.ParseFile("testdata/hostile.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range archive.Files {
		t.Run(file.Name, func(t *testing.T) {
			t.Parallel()
			r := &refusal{input: &input{pod: newPod(t, "files")}}
			r.known()
			r.reachable()
			r.allow(os.Chmod(r.dir(), 0o777))
			// strace needs a while to begin.
			r.timeout, r.environ = 5*time.Second, append(r.environ, "PODFQDN_TIMEOUT=3s")
			for line := range strings.Lines(string(file.Data)) {
				if line = strings.TrimSuffix(line, "\n"); line != "" {
					if err := r.line(line); err != nil {
						t.Fatal(err)
					}
				}
			}
			cmd := exec.Command("strace", append(r.strace, podfqdn, "init")...)
			if r.strace == nil {
				cmd = exec.Command(podfqdn, "init")
			}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(r.uid), Gid: uint32(r.uid)}}
			read := r.reader()
			e := r.start(cmd).wait()
			read()
			r.invariants(e)
			r.keyless(e.log + e.reason)
			if e.code != r.code || !strings.Contains(e.reason, r.says) {
				t.Errorf("ended with %d, %q, not with %d, %q\n%s", e.code, e.reason, r.code, r.says, e.log)
			}
			for _, name := range []string{"etc", "var", "keytabs", "dev"} {
				r.allow(os.RemoveAll(filepath.Join(r.root, name)))
			}
			r.environ = nil
			r.files()
			r.recovers()
		})
	}
}

// swept are calls with which podfqdn itself reads files and asks DNS, and what happens to each. write is none of them,
// nor are epoll_ctl and fcntl: Go's runtime needs them for itself, is never refused them and does not outlive it.
var swept = map[string]string{
	"openat": "EMFILE", "newfstatat": "EIO", "fstat": "EIO", "readlinkat": "EIO", "getdents64": "EIO", "read": "EIO", "pread64": "EIO",
	"mkdirat": "ENOSPC", "symlinkat": "ENOSPC", "renameat": "EROFS", "unlinkat": "EACCES", "fchmod": "EPERM", "flock": "ENOLCK",
	"socket": "EMFILE", "connect": "ENETUNREACH", "setsockopt": "EPERM",
}

// Each call of the real binary fails, with and without an identity of before: it says so or goes on, and asks nothing while
// another Pod's identity can be read. strace counts the calls of each thread by itself, and which thread makes the next is
// chance: so one or more fail in a run, and a run in which none did is not a case.
func TestEachCallOfTheBinaryThatFailsIsToldOrMadeGood(t *testing.T) {
	const each = 30 // is tried, but with -long all
	const others = "another Pod's"
	for state, before := range map[string]func(*pod){
		"nothing":                     func(p *pod) { p.empty() },
		"published, but keys":         func(p *pod) { p.recovers(); p.allow(os.RemoveAll(p.keysDir()), os.Mkdir(p.keysDir(), 0o777)) },
		"published with keys by half": func(p *pod) { p.recovers(); p.allow(os.Truncate(filepath.Join(p.keysDir(), "keytab"), 50)) },
		others:                        func(p *pod) { p.empty(); p.leave() },
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			p := lay(t)
			p.known()
			p.keyed()
			before(p)
			trace := filepath.Join(p.root, "trace")
			calls := slices.Sorted(maps.Keys(swept))
			strace := func(options ...string) (e end, log string) {
				e = p.start(exec.Command("strace", slices.Concat([]string{"-f", "-qq", "-o", trace, "-e", "trace=" + strings.Join(calls, ",")}, options, []string{podfqdn, "init"})...)).wait()
				return e, p.read("trace")
			}
			p.timeout = 5 * time.Second
			e, log := strace()
			if e.code != 0 {
				t.Fatalf("ended with %d, %q\n%s", e.code, e.reason, e.log)
			}
			nth := 0
			for _, name := range calls {
				most := 0 // of one thread; another time it is another one, with a few more or fewer
				made := map[string]int{}
				for _, m := range regexp.MustCompile(`(?m)^(\d+) +`+name+`\(`).FindAllStringSubmatch(log, -1) {
					made[m[1]]++
					most = max(most, made[m[1]])
				}
				hit := 0
				for k := 1; k <= most; k++ {
					// Where another Pod's identity is to go first, no kind of call is left out, and none that removes.
					must := state == others && (k == 1 || name == "unlinkat")
					if nth++; nth%each != 0 && !must && !*long {
						continue
					}
					t.Run(fmt.Sprintf("%s %d", name, k), func(t *testing.T) {
						defer p.of(t)()
						before(p)
						p.timeout, p.truth = 5*time.Second, truth{asked: state != others, agreed: p.truth.agreed}
						read := p.reader()
						e, log := strace("-e", fmt.Sprintf("inject=%s:error=%s:when=%d", name, swept[name], k))
						read()
						if strings.Contains(log, "(INJECTED)") {
							hit++
							ran.add("files")
						}
						p.stood(e)
						p.keyless(e.log + e.reason)
						if !slices.Contains([]int{0, 1, 10, 11, 13, 14}, e.code) || e.code != 0 && e.reason == "" && name != "openat" { // by which the termination log is opened, too
							t.Errorf("ended with %d, %q\n%s", e.code, e.reason, e.log)
						}
						p.recovers()
						if _, err := os.Stat(filepath.Join(p.keysDir(), "verified")); err != nil {
							t.Errorf("I6: %v", err)
						}
					})
				}
				if hit == 0 && (state == others || *long) {
					t.Errorf("no %s has failed: the most of one thread are %d", name, most)
				}
			}
		})
	}
}

// stood checks what must be true of a run that may have left what stood there: this Pod's own identity, or another's if DNS
// was not asked (I3).
func (p *pod) stood(e end) {
	p.Helper()
	p.truth.Lock()
	asked := p.truth.asked
	p.truth.Unlock()
	fqdn, err := os.ReadFile(filepath.Join(p.dir(), "fqdn"))
	own := p.stands() && err == nil && string(fqdn) == p.fqdn
	switch {
	case own && e.code != 2:
		e.code = 0
		p.invariants(e)
	case e.code == 0 || asked:
		p.invariants(e)
	default:
		p.ended(e)
	}
}

// A doctor ends when it is told to, and by itself where a nameserver is slow to each question.
func TestADoctorEndsInTime(t *testing.T) {
	t.Parallel()
	t.Run("by a signal", func(t *testing.T) {
		t.Parallel()
		p := newPod(t, "files")
		b := &breaker{pod: p, count: map[string]int{}, faults: []fault{{kind: "any", network: "any", last: 1 << 30, ops: []string{"drop"}}}}
		p.behind(b)
		before := p.stamps(p.dir())
		r := p.start(exec.Command(podfqdn, "doctor"))
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			p.truth.Lock()
			asked := p.truth.asked
			p.truth.Unlock()
			if asked {
				break
			}
			if time.Now().After(end) {
				t.Fatal("it asks nothing")
			}
		}
		told := time.Now()
		p.allow(r.cmd.Process.Signal(syscall.SIGTERM))
		e := r.wait()
		if e.took = time.Since(told); e.took > time.Second || e.code != 128+15 || e.log != "podfqdn: ended by SIGTERM\n" {
			t.Errorf("ended after %s with %d, %q", e.took, e.code, e.log)
		}
		p.ended(e)
		p.same(p.dir(), before)
		p.cured(b)
	})
	t.Run("by its own deadline", func(t *testing.T) {
		t.Parallel()
		p := newPod(t, "files")
		// Ten questions, none of which takes as long as anybody waits for it.
		p.write("etc/hosts", podtest.Hosts(db0+"\tdb-0", ip, ip6))
		b := &breaker{pod: p, count: map[string]int{}, faults: []fault{{kind: "any", network: "any", last: 1 << 30, ops: []string{"delay 1600ms"}}}}
		p.serve(dnstest.CoreDNS{Cluster: published(ours(), ours(ip6)), Front: b.plugin})
		p.timeout = 15 * time.Second // is its patience
		p.ips = ip + "\n" + ip6 + "\n"
		before := p.stamps(p.dir())
		e := p.start(exec.Command(podfqdn, "doctor")).wait()
		p.ended(e)
		if e.code != 11 || !strings.Contains(e.log, "did not answer all questions within 15s") {
			t.Errorf("ended after %s with %d\n%s", e.took, e.code, e.log)
		}
		p.same(p.dir(), before)
		p.cured(b)
	})
}

// cured checks that a run succeeds when DNS answers again (I6): a doctor, who may ask while another Pod's identity is there, has
// told nothing of the first question.
func (p *pod) cured(b *breaker) {
	p.Helper()
	b.heal()
	p.truth.Lock()
	p.truth.asked, p.truth.early = false, nil
	p.truth.Unlock()
	p.recovers()
}

// Where nobody can listen a sidecar does not begin.
func TestASidecarThatCannotListenSaysSoAtOnce(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		address     string
		hostNetwork bool
		says        string
	}{
		"the port is taken":         {taken.Addr().String(), false, "address already in use: choose a port that no other container of this Pod uses"},
		"the address is another's":  {"192.0.2.1:8053", false, "cannot assign requested address"},
		"every address of the node": {":8053", true, "with hostNetwork: true this is every address of the node: set one address, such as 127.0.0.1:8053"},
		"every address, in figures": {"[::]:8053", true, "with hostNetwork: true this is every address of the node"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t, "files")
			p.known()
			if c.hostNetwork {
				p.allow(podtest.Lay(p.root, podtest.Pod{HostNetwork: true}.Files("cluster.local")))
				p.environ = append(p.environ, "PODFQDN_FQDN="+db0, "POD_IP="+ip)
			}
			e := p.start(exec.Command(podfqdn, "sidecar"), "PODFQDN_LISTEN="+c.address).wait()
			p.invariants(e)
			if e.code != 10 || !strings.Contains(e.reason, "PODFQDN_LISTEN="+c.address) || !strings.Contains(e.reason, c.says) {
				t.Errorf("ended with %d, %q\n%s", e.code, e.reason, e.log)
			}
			p.environ = nil
			p.files()
			p.recovers()
		})
	}
}

// A Pod has its files at the root, and without the kubelet's hosts file its addresses are those of its interfaces.
func TestAPodAtTheRootOfItsOwnFileSystem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hosts  bool
		strace []string
		code   int
		says   string
	}{
		"with the kubelet's files":       {hosts: true},
		"with the interfaces' addresses": {code: 11, says: "this Pod is "},
		"whose interfaces are not told":  {strace: []string{"-e", "trace=socket", "-e", "inject=socket:error=EMFILE"}, code: 1, says: "read the addresses of the network interfaces: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, "files")
			p.known()
			p.timeout = 3 * time.Second
			// A copy could not be run while any child that is just being started has it open for writing.
			p.allow(os.Link(podfqdn, filepath.Join(p.root, "podfqdn")))
			if !c.hosts {
				p.allow(os.Remove(filepath.Join(p.root, "etc/hosts")))
			}
			cmd := exec.Command("chroot", p.root, "/podfqdn", "init")
			if c.strace != nil {
				cmd = exec.Command("strace", slices.Concat([]string{"-f", "-qq", "-o", "/dev/null"}, c.strace, []string{cmd.Path}, cmd.Args[1:])...)
			}
			e := p.start(cmd, "PODFQDN_ROOT=/", "PODFQDN_DIR=/identity", "PODFQDN_FQDN="+db0).wait()
			p.stood(e)
			if e.code != c.code || !strings.Contains(e.reason, c.says) {
				t.Errorf("ended with %d, %q\n%s", e.code, e.reason, e.log)
			}
			p.files()
			p.recovers()
		})
	}
}
