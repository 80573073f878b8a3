//go:build faults

package faults

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/integration/dnstest"
	"github.com/podfqdn/podfqdn/integration/programs"
)

const (
	db0     = "db-0.db.default.svc.cluster.local"
	ip      = "10.244.0.17"
	foreign = "10.244.9.9"
	token   = "eyJhbGciOiJub25lIn0.canary-of-a-token"
)

// podfqdn and kubectlPodfqdn are the binaries, built once, as they are shipped; writer is the one in that directory.
var podfqdn, kubectlPodfqdn, writer string

// counted is in the environment of each where make cover counts what they reach.
var counted []string

// long is for what takes longer than CI has.
var long = flag.Bool("long", false, "every fault at every place")

func TestMain(m *testing.M) {
	code := programs.Main(m, func(dir string) error {
		podfqdn, kubectlPodfqdn, writer = filepath.Join(dir, "podfqdn"), filepath.Join(dir, "kubectl-podfqdn"), filepath.Join(dir, "writer")
		product := []string{"./cmd/podfqdn", "./cmd/kubectl-podfqdn"}
		if dir := os.Getenv("GOCOVERDIR"); dir != "" {
			counted = []string{"GOCOVERDIR=" + dir}
			product = slices.Concat([]string{"-cover", "-covermode=atomic", "-coverpkg=./identity/...,./cmd/..."}, product)
		}
		// Most tests wait more than they work, and run together; those that work all the time run before them, one after the
		// other, with their cases side by side: a deadline says nothing of podfqdn where the machine has no time for it.
		flag.Parse()
		err := errors.Join(flag.Set("test.parallel", "12"), programs.Product(dir, product...), programs.Own(dir, "./writer"))
		go ran.follow()
		return err
	})
	ran.print()
	os.Exit(code)
}

// tally counts the cases that were run, by group.
type tally struct {
	sync.Mutex
	groups []string
	cases  map[string]int
}

var ran tally

func (r *tally) add(group string) {
	r.Lock()
	defer r.Unlock()
	if r.cases == nil {
		r.cases = map[string]int{}
	}
	if r.cases[group]++; r.cases[group] == 1 {
		r.groups = append(r.groups, group)
	}
}

// follow tells once a minute how far it has come.
func (r *tally) follow() {
	begin := time.Now()
	for now := range time.Tick(time.Minute) {
		r.Lock()
		all := 0
		for _, n := range r.cases {
			all += n
		}
		r.Unlock()
		fmt.Printf("%s: %d cases\n", now.Sub(begin).Round(time.Minute), all)
	}
}

func (r *tally) print() {
	r.Lock()
	defer r.Unlock()
	slices.Sort(r.groups)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, group := range r.groups {
		fmt.Fprintf(out, "%s\t%d\tcases\t\n", group, r.cases[group])
	}
	out.Flush()
}

// pod is what a kubelet gives db-0, with another Pod's identity left in its volume.
type pod struct {
	testing.TB
	root    string
	fqdn    string
	ip      string
	servers []netip.AddrPort
	environ []string
	timeout time.Duration
	slow    time.Duration // how much longer it takes where nothing is wrong but DNS
	ips     string        // to be published
	look    time.Duration // the pause of the reader
	fresh   time.Duration // how old the answers may be at the rename
	cached  bool          // what is asked again is answered by a cache, and truth learns nothing of it
	truth   truth
}

func newPod(t *testing.T, group string) *pod {
	t.Helper()
	ran.add(group)
	return lay(t)
}

func lay(t *testing.T) *pod {
	t.Helper()
	return layAs(t, t.TempDir(), db0, ip)
}

// layAs is lay for a Pod of another name, in a directory.
func layAs(t *testing.T, root, fqdn, ip string) *pod {
	t.Helper()
	p := &pod{TB: t, root: root, fqdn: fqdn, ip: ip, timeout: time.Second, ips: ip + "\n", look: 2 * time.Millisecond, fresh: 2 * time.Second}
	p.files()
	p.leave()
	return p
}

// files writes what the kubelet gives.
func (p *pod) files() {
	p.Helper()
	labels := strings.Split(p.fqdn, ".")
	spec := podtest.Pod{Name: labels[0], Namespace: "default", Hostname: labels[0], Subdomain: labels[1]}
	p.allow(podtest.Lay(p.root, spec.Files("cluster.local", p.ip)))
	p.write("var/run/secrets/kubernetes.io/serviceaccount/token", token)
}

// serve has the Pod ask a real CoreDNS.
func (p *pod) serve(c dnstest.CoreDNS) {
	p.Helper()
	server, err := c.Serve("127.0.0.1:0")
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		if err := server.Stop(); err != nil {
			p.Error(err)
		}
	})
	p.servers = append(p.servers, server.Addr())
}

func (p *pod) write(name, text string) {
	p.Helper()
	path := filepath.Join(p.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		p.Fatal(err)
	}
}

func (p *pod) dir() string { return filepath.Join(p.root, "identity") }

// leave leaves another Pod's identity in the volume.
func (p *pod) leave() {
	p.Helper()
	p.write("identity/..gen-left/fqdn", "db-9.db.default.svc.cluster.local")
	p.write("identity/..gen-left/identity.json", `{"schemaVersion": 1, "fqdn": "db-9.db.default.svc.cluster.local", "ip": "`+foreign+`", "ips": ["`+foreign+`"]}`)
	p.write("identity/..gen-left/identity.env", "POD_FQDN='db-9.db.default.svc.cluster.local'\nPOD_IP='"+foreign+"'\nPOD_IPS='"+foreign+"'\n")
	p.write("identity/..gen-left/ip", foreign)
	p.write("identity/..gen-left/ips", foreign+"\n")
	p.write("identity/..gen-left/verified", "")
	for link, target := range map[string]string{"..data": "..gen-left", "fqdn": "..data/fqdn", "identity.json": "..data/identity.json", "verified": "..data/verified"} {
		if err := os.Symlink(target, filepath.Join(p.dir(), link)); err != nil {
			p.Fatal(err)
		}
	}
}

// truth is what a nameserver really said, by a reading of its own.
type truth struct {
	sync.Mutex
	asked    bool
	early    error                     // what was still there at the first question
	agreed   map[dns.Question][]saying // whether it was answered as the Pod needs it, each time that it was answered
	answered *dns.Msg                  // the question before: once it has an answer it listens to no other
	once     bool                      // one answer to a question is enough
	noPTR    bool                      // that is not asked
	only     bool                      // no other name may be the address's
	others   bool                      // they may have the name too
}

// saying is one answer.
type saying struct {
	at    time.Time
	right bool
}

func (s saying) String() string {
	return map[bool]string{true: "rightly at ", false: "wrongly at "}[s.right] + s.at.Format(time.StampMicro)
}

// question is told of each question before it is answered.
func (p *pod) question(name string) {
	p.truth.Lock()
	defer p.truth.Unlock()
	if p.truth.asked || name != p.fqdn+"." {
		return
	}
	p.truth.asked = true
	for _, name := range []string{"verified", "fqdn", "identity.json"} {
		if _, err := os.Stat(filepath.Join(p.dir(), name)); err == nil {
			p.truth.early = fmt.Errorf("%s of another Pod can be read at the first question", name)
		}
	}
}

// answer is told of each packet that is sent as an answer to q. What may not be believed says nothing.
func (p *pod) answer(q *dns.Msg, packet []byte) {
	m := new(dns.Msg)
	if m.Unpack(packet) != nil || m.Id != q.Id || !m.Response || m.Opcode != q.Opcode || m.Truncated || len(m.Question) != 1 {
		return
	}
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		if int(binary.BigEndian.Uint16(packet[6+2*i:])) != len(section) {
			return // it is cut
		}
	}
	asked := canonical(q.Question[0])
	p.truth.Lock()
	defer p.truth.Unlock()
	if canonical(m.Question[0]) != asked || p.truth.answered == q {
		return
	}
	p.truth.answered = q
	about := []dns.Question{asked}
	forward, reverse := p.needs()
	switch {
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return
	case m.Rcode == dns.RcodeNameError && asked.Name == forward[0].Name:
		about = forward // whatever type was asked for
	case !slices.Contains(slices.Concat(forward, reverse), asked):
		return
	}
	if p.truth.agreed == nil {
		p.truth.agreed = map[dns.Question][]saying{}
	}
	said := saying{time.Now(), m.Rcode == dns.RcodeSuccess && p.right(asked, m.Answer)}
	for _, question := range about {
		p.truth.agreed[question] = append(p.truth.agreed[question], said)
	}
}

func canonical(q dns.Question) dns.Question {
	return dns.Question{Name: dns.CanonicalName(q.Name), Qtype: q.Qtype, Qclass: q.Qclass}
}

// needs returns what has to be answered rightly: the name's addresses of either family, and each address's name.
func (p *pod) needs() (forward, reverse []dns.Question) {
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		forward = append(forward, dns.Question{Name: p.fqdn + ".", Qtype: qtype, Qclass: dns.ClassINET})
	}
	for _, addr := range strings.Fields(p.ips) {
		name, err := dns.ReverseAddr(addr)
		if err != nil {
			panic(err) // the test is wrong
		}
		reverse = append(reverse, dns.Question{Name: name, Qtype: dns.TypePTR, Qclass: dns.ClassINET})
	}
	return forward, reverse
}

// right reports whether these are the Pod's addresses of a family, if it has one to publish, or its name, and nobody else's
// where none may be there. Records of other names are not an answer, except through a CNAME.
func (p *pod) right(asked dns.Question, records []dns.RR) bool {
	owners := []string{asked.Name}
	var says, ours []string
	for _, rr := range records {
		if !slices.Contains(owners, dns.CanonicalName(rr.Header().Name)) {
			continue
		}
		switch rr := rr.(type) {
		case *dns.CNAME:
			owners = append(owners, dns.CanonicalName(rr.Target))
		case *dns.A:
			says = append(says, rr.A.String())
		case *dns.AAAA:
			if !bytes.HasSuffix(rr.AAAA, net.ParseIP(p.ip).To4()) { // else it is a DNS64's
				says = append(says, rr.AAAA.String())
			}
		case *dns.PTR:
			says = append(says, dns.CanonicalName(rr.Ptr))
		}
	}
	others := p.truth.others
	if asked.Qtype == dns.TypePTR {
		ours, others = []string{p.fqdn + "."}, !p.truth.only
	}
	for _, addr := range strings.Fields(p.ips) {
		if asked.Qtype == dns.TypeA && !strings.Contains(addr, ":") || asked.Qtype == dns.TypeAAAA && strings.Contains(addr, ":") {
			ours = append(ours, addr)
		}
	}
	foreign := func(s string) bool { return !slices.Contains(ours, s) }
	missing := func(s string) bool { return !slices.Contains(says, s) }
	return !slices.ContainsFunc(ours, missing) && (others || !slices.ContainsFunc(says, foreign))
}

// agreement checks that all that the Pod needs had just been answered rightly at a moment, twice as podfqdn asks twice; and
// that nothing was answered otherwise since. What was published by another run has only to be right still.
func (p *pod) agreement(moment time.Time, before bool) error {
	const tick = 20 * time.Millisecond // that a file's time may lag
	forward, reverse := p.needs()
	if p.truth.noPTR {
		reverse = nil
	}
	for _, question := range slices.Concat(forward, reverse) {
		said := p.truth.agreed[question]
		needed := question.Qtype != dns.TypeAAAA || strings.Contains(p.ips, ":")
		times := 2
		if before || p.truth.once {
			times = 1
		}
		if !before {
			said = slices.DeleteFunc(slices.Clone(said), func(s saying) bool { return s.at.After(moment.Add(tick)) })
		}
		if !needed {
			times = min(1, len(said)) // the last round asks for it too
		}
		last := said[max(0, len(said)-times):]
		if len(last) < times || slices.ContainsFunc(last, func(s saying) bool { return !s.right }) ||
			needed && !before && moment.Sub(last[times-1].at) > p.fresh {
			return fmt.Errorf("published at %s, and %s %s was answered %v last", moment.Format(time.StampMicro), question.Name, dns.Type(question.Qtype), last)
		}
	}
	return nil
}

// end is how a run ended.
type end struct {
	code   int
	began  time.Time
	took   time.Duration
	log    string
	reason string // of the termination log
}

// running is podfqdn at work.
type running struct {
	*pod
	cmd     *exec.Cmd
	out     said
	began   time.Time
	stopped time.Duration // by SIGSTOP: that is not running time
}

// said is what a process says while it runs.
type said struct {
	sync.Mutex
	bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.Lock()
	defer s.Unlock()
	return s.Buffer.Write(b)
}

func (s *said) String() string {
	s.Lock()
	defer s.Unlock()
	return s.Buffer.String()
}

// start starts podfqdn in the Pod, perhaps through another program.
func (p *pod) start(cmd *exec.Cmd, environ ...string) *running {
	p.Helper()
	p.write("dev/termination-log", "")
	var servers []string
	for _, s := range p.servers {
		servers = append(servers, s.String())
	}
	cmd.Env = slices.Concat([]string{"PODFQDN_ROOT=" + p.root, "PODFQDN_DIR=" + p.dir(), "PODFQDN_TIMEOUT=" + p.timeout.String(), "PODFQDN_LOG_LEVEL=debug"}, counted, p.environ)
	if !slices.Contains(p.environ, "PODFQDN_NAMESERVERS=") {
		cmd.Env = append(cmd.Env, "PODFQDN_NAMESERVERS="+strings.Join(servers, ","))
	}
	cmd.Env = append(cmd.Env, environ...)
	p.truth.Lock()
	p.truth.once = p.cached || slices.Contains(cmd.Env, "PODFQDN_CONFIRM=0")
	p.truth.Unlock()
	r := &running{pod: p, cmd: cmd, began: time.Now()}
	cmd.Stderr, cmd.Stdout = &r.out, &r.out
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return r
}

// wait waits for the end.
func (r *running) wait() end {
	r.Helper()
	const forever = time.Minute
	stop := time.AfterFunc(r.timeout+forever, func() {
		r.Errorf("I4: it has not ended %s after its deadline", forever)
		_ = r.cmd.Process.Kill()
	})
	defer stop.Stop()
	err := r.cmd.Wait()
	e := end{began: r.began, took: time.Since(r.began) - r.stopped, log: r.out.String(), code: r.cmd.ProcessState.ExitCode()}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		r.Fatal(err)
	}
	e.reason = r.read("dev/termination-log")
	return e
}

// init runs podfqdn init, and checks what must be true whatever is wrong.
func (p *pod) init(environ ...string) end {
	p.Helper()
	reader := p.reader()
	e := p.start(exec.Command(podfqdn, "init"), environ...).wait()
	reader()
	p.invariants(e)
	return e
}

func (p *pod) read(name string) string {
	p.Helper()
	b, err := os.ReadFile(filepath.Join(p.root, name))
	if err != nil {
		p.Fatal(err)
	}
	return string(b)
}

// reader looks at the volume again and again until it is called: each generation that it sees is whole (I2).
func (p *pod) reader() (end func()) {
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var wrong error
		for {
			if err := whole(p.dir()); err != nil {
				wrong = err
			}
			select {
			case <-done:
				ended <- errors.Join(wrong, whole(p.dir()))
				return
			case <-time.After(p.look):
			}
		}
	}()
	return func() {
		p.Helper()
		close(done)
		if err := <-ended; err != nil {
			p.Errorf("I2: %v", err)
		}
	}
}

// entry is what stands in a directory.
type entry struct {
	path   string // below the directory; "" is the directory
	info   fs.FileInfo
	target string // of a symbolic link
	text   []byte // of a file
}

// tree returns what stands in a directory and below it, each in the words of show.
func tree(t testing.TB, dir string, show func(entry) string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		e := entry{path: strings.TrimPrefix(path, dir)}
		if e.info, err = d.Info(); err != nil {
			return err
		}
		switch e.info.Mode().Type() {
		case 0:
			e.text, err = os.ReadFile(path)
		case fs.ModeSymlink:
			e.target, err = os.Readlink(path)
		}
		b.WriteString(show(e))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// whole checks whether the generation of a volume is; none is as good, and so is one that goes meanwhile.
func whole(dir string) error {
	target, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		return nil
	}
	err = consistent(filepath.Join(dir, target))
	if now, gone := os.Readlink(filepath.Join(dir, "..data")); gone != nil || now != target {
		return nil
	}
	return err
}

// consistent checks whether the files of a directory say the same: each that docs/contract.md's table of /identity has, and no other.
func consistent(dir string) error {
	hostname, ordinal, _, err := agree(dir)
	if err != nil {
		return err
	}
	if number := numbered.FindString(hostname); number != "" && "-"+ordinal != number {
		return fmt.Errorf("%s has the ordinal %q of %q", dir, ordinal, hostname)
	}
	return nil
}

// numbered is how a hostname ends that has an ordinal.
var numbered = regexp.MustCompile(`-(0|[1-9][0-9]*)$`)

// agree is consistent for files of any version: the ordinal, for one, may be absent. The peers are as in their file.
func agree(dir string) (hostname, ordinal, peers string, err error) {
	document, err := os.ReadFile(filepath.Join(dir, "identity.json"))
	if err != nil {
		return "", "", "", err
	}
	var record struct {
		FQDN, Hostname, Service, Namespace, ClusterDomain, IP string
		IPs                                                   []string
	}
	if err := json.Unmarshal(document, &record); err != nil {
		return "", "", "", fmt.Errorf("%s/identity.json: %w: %q", dir, err, document)
	}
	want := map[string]string{"identity.json": string(document), "ips": strings.Join(record.IPs, "\n") + "\n", "verified": ""}
	env := ""
	for _, file := range [][2]string{{"fqdn", record.FQDN}, {"hostname", record.Hostname}, {"service", record.Service},
		{"namespace", record.Namespace}, {"cluster-domain", record.ClusterDomain}, {"ip", record.IP}} {
		if name, value := file[0], file[1]; value != "" {
			want[name] = value
			env += "POD_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "='" + value + "'\n"
		}
	}
	env += "POD_IPS='" + strings.Join(record.IPs, ",") + "'\n"
	if text, err := os.ReadFile(filepath.Join(dir, "ordinal")); err == nil {
		ordinal, want["ordinal"] = string(text), string(text)
		env += "POD_ORDINAL='" + ordinal + "'\n"
	}
	want["identity.env"] = env
	line := "" // of the peers, if it is short enough for those who read it
	if text, err := os.ReadFile(filepath.Join(dir, "peers")); err == nil {
		peers, want["peers"] = string(text), string(text)
		line = "POD_PEERS='" + strings.ReplaceAll(strings.TrimSuffix(peers, "\n"), "\n", ",") + "'\n"
		if !strings.HasSuffix(peers, "\n") {
			return "", "", "", fmt.Errorf("%s/peers is cut: %q", dir, peers)
		}
		if len(line) > 32<<10+1 {
			line = ""
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", "", "", err
	}
	for _, entry := range entries {
		if _, ok := want[entry.Name()]; !ok {
			return "", "", "", fmt.Errorf("%s/%s is there, but not in identity.json", dir, entry.Name())
		}
	}
	for name, want := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		more, begins := strings.CutPrefix(string(got), want)
		last := true
		if name == "identity.env" {
			more, last = strings.CutSuffix(more, line)
		}
		// Kerberos adds variables.
		if err != nil || !begins || !last || more != "" && (name != "identity.env" || !assignments.MatchString(more) || strings.Contains(more, "POD_")) {
			return "", "", "", fmt.Errorf("%s/%s holds %q, %v, and the others say %q", dir, name, got, err, want)
		}
	}
	return record.Hostname, ordinal, peers, nil
}

// assignments are lines of identity.env.
var assignments = regexp.MustCompile(`^([A-Z0-9_]+='[^']*'\n)*$`)

// plain is what a log may hold.
var plain = regexp.MustCompile(`^[ -~]*$`)

func (p *pod) invariants(e end) {
	p.Helper()
	defer func() {
		if p.Failed() {
			p.Logf("exit code %d after %s: %s\n%s", e.code, e.took, e.reason, e.log)
		}
	}()
	_, err := os.Stat(filepath.Join(p.dir(), "verified"))
	p.truth.Lock()
	defer p.truth.Unlock()
	switch published := err == nil; {
	case e.code == 10 && published:
		// What stood there stands: the application does not start, and nothing is lost.
		if fqdn := p.read("identity/fqdn"); fqdn != "db-9.db.default.svc.cluster.local" {
			p.Errorf("I1: exit code 10, published %q", fqdn)
		}
	case published != (e.code == 0):
		p.Errorf("I1: exit code %d, published %t", e.code, published)
	case published:
		text := func(name string) string {
			b, err := os.ReadFile(filepath.Join(p.dir(), name))
			return string(b) + map[bool]string{true: fmt.Sprint(err)}[err != nil]
		}
		if fqdn, ips := text("fqdn"), text("ips"); fqdn != p.fqdn || ips != p.ips {
			p.Errorf("I1: published %q and %q", fqdn, ips)
		}
		// The rename, or the start signal where that alone was given back.
		var moment time.Time
		for _, name := range []string{"..data", "verified"} {
			info, err := os.Lstat(filepath.Join(p.dir(), name))
			if err != nil {
				p.Fatal(err)
			}
			if info.ModTime().After(moment) {
				moment = info.ModTime()
			}
		}
		if err := p.agreement(moment, moment.Before(e.began)); err != nil {
			p.Errorf("I1: %v", err)
		}
	}
	if p.truth.early != nil {
		p.Errorf("I3: %v", p.truth.early)
	}
	p.ended(e)
}

// ended checks what must be true of a run, whatever else writes to the volume.
func (p *pod) ended(e end) {
	p.Helper()
	if e.took > p.timeout+time.Second {
		p.Errorf("I4: it took %s with a deadline of %s", e.took, p.timeout)
	}
	if e.code == 2 {
		p.Errorf("it panicked")
	}
	for line := range strings.Lines(e.log + e.reason + "\n") {
		if !plain.MatchString(strings.TrimSuffix(line, "\n")) {
			p.Errorf("I5: %q", line)
		}
	}
	for _, secret := range []string{token, base64.StdEncoding.EncodeToString([]byte(token))} {
		if strings.Contains(e.log+e.reason, secret) {
			p.Errorf("I5: the token is in the output")
		}
	}
}

// recovers checks that a run succeeds when nothing is wrong any more (I6).
func (p *pod) recovers() {
	p.Helper()
	p.timeout = time.Minute
	e := p.init()
	if e.code != 0 {
		p.Errorf("I6: exit code %d: %s", e.code, e.reason)
	}
	// What the run before asked is in caches for 30 seconds.
	if e.took > p.slow+20*time.Second {
		p.Errorf("I6: it took %s\n%s", e.took, e.log)
	}
}
