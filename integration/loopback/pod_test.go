package loopback

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/identity/resolver"
	"github.com/podfqdn/podfqdn/integration/dnstest"
	"github.com/podfqdn/podfqdn/integration/programs"
)

const (
	db0 = "db-0.db.default.svc.cluster.local"
	ip  = "10.244.0.17"
	ip6 = "fd00:10:244::11"
	api = "10.96.0.1"
)

// binary and maxrss are built once, as they are shipped: without the race detector.
var binary, maxrss string

func TestMain(m *testing.M) {
	os.Exit(programs.Main(m, func(dir string) error {
		binary, maxrss = filepath.Join(dir, "podfqdn"), filepath.Join(dir, "maxrss")
		// These tests wait more than they work.
		flag.Parse()
		return errors.Join(flag.Set("test.parallel", "8"), programs.Product(dir, "./cmd/podfqdn"), programs.Own(dir, "./testdata/maxrss"))
	}))
}

// cluster is one in which db-0 is published or not yet.
func cluster(ips ...string) *dnstest.Cluster {
	c := new(dnstest.Cluster)
	c.Service("default", "kubernetes", api)
	c.Service("default", "db")
	publish(c, ips...)
	return c
}

func publish(c *dnstest.Cluster, ips ...string) {
	for _, ip := range ips {
		c.Publish(endpoint(ip))
	}
}

// endpoint is db-0 with an address.
func endpoint(ip string) dnstest.Endpoint {
	return dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: ip}
}

// corefile has a TTL that a test can wait for.
const corefile = `.:53 {
	kubernetes cluster.local in-addr.arpa ip6.arpa {
		pods insecure
		fallthrough in-addr.arpa ip6.arpa
		ttl 1
	}
	forward . /etc/resolv.conf
	loadbalance
}`

// serve starts CoreDNS on the IPv4 loopback address.
func serve(t testing.TB, c dnstest.CoreDNS) *dnstest.Server {
	t.Helper()
	return serveOn(t, c, "127.0.0.1:0")
}

func serveOn(t testing.TB, c dnstest.CoreDNS, address string) *dnstest.Server {
	t.Helper()
	if c.Corefile == "" {
		c.Corefile = dnstest.Kubeadm
	}
	s, err := c.Serve(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// faulty puts a bad network in front of a server.
func faulty(t *testing.T, s *dnstest.Server, fault dnstest.Fault) netip.AddrPort {
	t.Helper()
	f, err := dnstest.NewFaulty(s.Addr(), fault)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f.Addr()
}

// alone is an address of loopback where nobody else takes the port of a server that is down.
const alone = "127.0.0.2:0"

// closed is a loopback port on which nobody listens.
func closed(t *testing.T) netip.AddrPort {
	t.Helper()
	s := serveOn(t, dnstest.CoreDNS{Cluster: cluster()}, alone)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	return s.Addr()
}

// refusing refuses what it is told to.
func refusing(refuse func(qtype uint16) bool) plugin.Plugin {
	return func(next plugin.Handler) plugin.Handler {
		return plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			if refuse(r.Question[0].Qtype) {
				return dns.RcodeRefused, nil
			}
			return next.ServeDNS(ctx, w, r)
		})
	}
}

func private(qtype uint16) bool {
	return !slices.Contains([]uint16{dns.TypeA, dns.TypeAAAA, dns.TypePTR}, qtype)
}

// pod is what a kubelet gives db-0.
type pod struct {
	t       testing.TB
	root    string
	ips     []string
	options string // more lines of resolv.conf
	servers []netip.AddrPort
	policy  identity.Policy
	timeout time.Duration
	more    []string // variables

	hostNetwork bool
}

func newPod(t testing.TB, servers ...netip.AddrPort) *pod {
	return &pod{t: t, root: t.TempDir(), ips: []string{ip}, servers: servers, timeout: time.Minute}
}

// lay writes the Pod's files.
func (p *pod) lay() {
	p.t.Helper()
	spec := podtest.DB0
	spec.HostNetwork = p.hostNetwork
	files := spec.Files("cluster.local", p.ips...)
	files["etc/resolv.conf"].Data = append(files["etc/resolv.conf"].Data, p.options...)
	if err := errors.Join(podtest.Lay(p.root, files), os.MkdirAll(p.dir(), 0o777)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pod) dir() string { return filepath.Join(p.root, "identity") }

func (p *pod) nameservers() string {
	var all []string
	for _, s := range p.servers {
		all = append(all, s.String())
	}
	return strings.Join(all, ",")
}

// environ is what the binary gets, and nothing of the test's own.
func (p *pod) environ() []string {
	return append([]string{
		"PODFQDN_ROOT=" + p.root, "PODFQDN_DIR=" + p.dir(), "PODFQDN_NAMESERVERS=" + p.nameservers(),
		"PODFQDN_TIMEOUT=" + p.timeout.String(), "PODFQDN_FORWARD=" + p.policy.Forward.String(), "PODFQDN_REVERSE=" + p.policy.Reverse.String(),
		"PODFQDN_FAMILIES=" + p.policy.Families.String(), "PODFQDN_NAME_FORM=" + p.policy.NameForm.String(), "KUBERNETES_SERVICE_HOST=" + api,
	}, p.more...)
}

// end is how a walk ended.
type end struct {
	fqdn    string   // published; "" if nothing was
	reason  string   // the last; "" if published
	reasons []string // all in order, as they changed
	took    time.Duration

	// Of the binary only.
	code        int
	termination string // what the Pod's status shows
	log         string
}

func (e *end) tell(reason string) {
	if len(e.reasons) == 0 || e.reasons[len(e.reasons)-1] != reason {
		e.reasons = append(e.reasons, reason)
	}
}

// process walks inside the test, under the race detector if that is on.
func (p *pod) process() (e end) {
	p.t.Helper()
	p.lay()
	facts, err := identity.Look(os.DirFS(p.root), identity.Given{Nameservers: p.nameservers()}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	claim, err := facts.Claim(p.policy)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), p.timeout)
	defer cancel()
	start := time.Now()
	r := resolver.New(facts.Nameservers, facts.ResolvConf.UseVC)
	for turn := range (identity.Walk{Claim: claim, Resolver: r}).Turns(ctx) {
		if turn.Err != nil {
			e.reason = turn.Err.Error()
			e.tell(e.reason)
			continue
		}
		e.fqdn, e.reason = turn.Agreement.Name().String(), ""
	}
	e.took = time.Since(start)
	return e
}

// command is podfqdn init in this Pod.
func (p *pod) command() *exec.Cmd {
	p.t.Helper()
	p.lay()
	cmd := exec.Command(binary, "init")
	cmd.Env = p.environ()
	return cmd
}

// init runs the binary.
func (p *pod) init() end {
	p.t.Helper()
	return p.initUntil("", 0)
}

// initUntil runs the binary and sends it a signal when its log says a word.
func (p *pod) initUntil(word string, signal syscall.Signal) (e end) {
	p.t.Helper()
	cmd := p.command()
	logs, err := cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	var log bytes.Buffer
	for scanner := bufio.NewScanner(logs); scanner.Scan(); {
		log.WriteString(scanner.Text() + "\n")
		var line struct{ Msg, Reason string }
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			p.t.Errorf("log line %q: %v", scanner.Text(), err)
		}
		if line.Msg == "not yet" {
			e.tell(line.Reason)
		}
		if line.Msg == "not published" {
			e.reason = line.Reason
		}
		if word != "" && strings.Contains(scanner.Text(), word) {
			word = ""
			if err := cmd.Process.Signal(signal); err != nil {
				p.t.Error(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	e.took, e.code, e.log = time.Since(start), cmd.ProcessState.ExitCode(), log.String()
	e.termination = p.read("../dev/termination-log")
	if _, err := os.Stat(filepath.Join(p.dir(), "verified")); err == nil {
		e.fqdn = p.read("fqdn")
	} else if entries, _ := filepath.Glob(filepath.Join(p.dir(), "[!.]*")); len(entries) > 0 {
		p.t.Errorf("without verified there are %q", entries)
	}
	if e.termination != e.reason {
		p.t.Errorf("the termination log says %q, not %q", e.termination, e.reason)
	}
	if (e.code == 0) != (e.fqdn != "") {
		p.t.Errorf("exit code %d, published %q", e.code, e.fqdn)
	}
	return e
}

// read returns the text of a file of the volume.
func (p *pod) read(name string) string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir(), name))
	if err != nil {
		p.t.Error(err)
	}
	return string(text)
}

// eachWay runs a case with the binary and in process. Each has a Pod of its own, and what act sets up.
func eachWay(t *testing.T, name string, act func(t *testing.T, run func(p *pod) end)) {
	t.Helper()
	for way, run := range map[string]func(p *pod) end{"binary": (*pod).init, "process": (*pod).process} {
		t.Run(strings.TrimSpace(name+" "+way), func(t *testing.T) {
			t.Parallel()
			act(t, run)
		})
	}
}

// published fails unless the walk ended well.
func (e end) published(t *testing.T) {
	t.Helper()
	if e.fqdn != db0 {
		t.Errorf("published %q after %v: %s\n%s", e.fqdn, e.took, e.reason, e.log)
	}
}

// stopped fails unless the walk ended without publication and with a sentence as its last reason.
func (e end) stopped(t *testing.T, sentence string) {
	t.Helper()
	if e.fqdn != "" || !strings.Contains(e.reason, sentence) {
		t.Errorf("published %q after %v: %q, not %q", e.fqdn, e.took, e.reason, sentence)
	}
}

// told fails unless a reason in between held this sentence.
func (e end) told(t *testing.T, sentence string) {
	t.Helper()
	if !slices.ContainsFunc(e.reasons, func(r string) bool { return strings.Contains(r, sentence) }) {
		t.Errorf("the reasons were %q; none has %q", e.reasons, sentence)
	}
}

// settled is what types shows without what was sent again at once: a busy
// machine may take longer for an answer than a packet takes to count as lost.
// In virtual time the resolver's own tests are exact.
func settled(types string) string {
	return strings.Join(slices.Compact(strings.Fields(types)), " ")
}

// kind shows what is asked: a type; of a probe type only that it is one, or that it asks about a random name.
func kind(q dnstest.Query) string {
	switch {
	case strings.HasPrefix(q.Name, "podfqdn-"):
		return "SIBLING"
	case private(q.Type):
		return "PROBE"
	}
	return dns.Type(q.Type).String()
}

// types shows what was asked, "PROBE SIBLING A PTR"; a question that came by TCP has a star.
func types(trace *dnstest.Trace) string {
	var all []string
	for _, q := range trace.Queries() {
		s := kind(q)
		if q.Network == "tcp" {
			s += "*"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}
