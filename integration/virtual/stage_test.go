package virtual

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/identity/resolver"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

const (
	db0  = "db-0.db.default.svc.cluster.local"
	ip   = "10.244.0.17"
	ip6  = "fd00:10:244::11"
	old  = "10.244.0.16" // another Pod's
	old6 = "fd00:10:244::10"
)

var server = netip.MustParseAddrPort("10.96.0.10:53")

// stage is a Pod and its cluster's DNS. What a case does not set is as in an ordinary StatefulSet: db-0, one IPv4
// address, one CoreDNS with kubeadm's Corefile, whose cluster has the headless Service db but no record yet.
type stage struct {
	tester
	hosts    string // the name in the kubelet's /etc/hosts
	name     string // the name that is claimed
	ips      []string
	corefile string
	withheld bool // AAAA is denied of every name
	node     bool // NodeLocal DNSCache is in front of CoreDNS
	policy   identity.Policy
	front    func(plugin.Handler) plugin.Handler // what else is in front of CoreDNS
	upstream plugin.Handler
	fault    dnstest.Fault
	timeout  time.Duration
	lags     []time.Duration // one replica each: how much later it learns of a change
	choose   func(n int) int // the replica of the nth socket; in turn if nil
	loss     func() bool     // whether this reply is lost
	plain    bool            // the server refuses other types, so plain questions come first
	lies     *lies           // what is denied, but not said to be; nil is nothing
	start    time.Time
	replicas []*replica

	mu      sync.Mutex
	packets []*packet
	sockets int
	lastOf  []int // the replica of each socket
	healed  bool  // no more faults
}

// tester is a *testing.T, or what fails for rapid.
type tester interface {
	Helper()
	Log(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Failed() bool
	Context() context.Context
}

// replica is one CoreDNS with a view of the cluster of its own.
type replica struct {
	*dnstest.Replica
	number  int
	cluster dnstest.Cluster
	lag     time.Duration
	changed time.Duration // when it last learned of a change, if not at once
}

// packet is one question as it left the Pod.
type packet struct {
	at, until time.Duration // asked; answered, or given up by closing the socket
	socket    int           // counted from 0
	port      netip.AddrPort
	network   string
	name      string
	qtype     uint16
	id        uint16
	reply     *dns.Msg // the first that answers it; nil if none did
}

func (p *packet) String() string {
	rcode := "-"
	if p.reply != nil {
		rcode = dns.RcodeToString[p.reply.Rcode]
	}
	return fmt.Sprintf("%v #%d %s %s %s %s", p.at, p.socket, p.network, dns.Type(p.qtype), p.name, rcode)
}

// sibling reports whether it is about a random name next to the Pod's.
func (p *packet) sibling() bool { return strings.HasPrefix(p.name, "podfqdn-") }

// private reports whether no application asks for this type.
func (p *packet) private() bool { return private(p.qtype) }

func private(qtype uint16) bool {
	return !slices.Contains([]uint16{dns.TypeA, dns.TypeAAAA, dns.TypePTR}, qtype)
}

// ttl is how long a cache may keep what p was told.
func (p *packet) ttl() time.Duration {
	switch {
	case p.reply == nil && p.private():
		return 30 * time.Second // it may have been answered and lost
	case p.reply == nil:
		return 0
	}
	if p.reply.Rcode != dns.RcodeSuccess && p.reply.Rcode != dns.RcodeNameError {
		return 5 * time.Second
	}
	ttl := uint32(0)
	if p.private() {
		ttl = 30 // without SOA, CoreDNS's default
	}
	for _, rr := range p.reply.Answer {
		ttl = rr.Header().Ttl
	}
	for _, rr := range p.reply.Ns {
		if soa, ok := rr.(*dns.SOA); ok && len(p.reply.Answer) == 0 {
			ttl = min(soa.Hdr.Ttl, soa.Minttl)
			if p.private() {
				// A cache in front of another cuts the TTL and not the field. None keeps anything for less than 5 s,
				// and no cluster's for more than 120.
				ttl = min(max(soa.Hdr.Ttl, soa.Minttl, 5), 120)
			}
		}
	}
	return time.Duration(ttl) * time.Second
}

func (p *packet) denied() bool { return p.reply != nil && p.reply.Rcode == dns.RcodeNameError }

// has tells whether p was answered with addr.
func (p *packet) has(addr string) bool {
	if p.reply == nil {
		return false
	}
	return slices.ContainsFunc(p.reply.Answer, func(rr dns.RR) bool {
		switch rr := rr.(type) {
		case *dns.A:
			return rr.A.Equal(net.ParseIP(addr))
		case *dns.AAAA:
			return rr.AAAA.Equal(net.ParseIP(addr))
		}
		return false
	})
}

// play runs a case in virtual time.
func play(t *testing.T, name string, act func(s *stage)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { act(newStage(t)) })
	})
}

func newStage(t tester) *stage {
	return &stage{
		tester: t, hosts: db0, ips: []string{ip}, corefile: dnstest.Kubeadm, timeout: 15 * time.Minute, lags: []time.Duration{0}, start: time.Now(),
	}
}

// open starts the replicas; afterwards the cluster can be changed.
func (s *stage) open() {
	s.Helper()
	for i, lag := range s.lags {
		r := &replica{number: i, lag: lag}
		r.cluster.Service("default", "kubernetes", "10.96.0.1")
		r.cluster.Service("default", "db")
		r.Replica = s.coreDNS(dnstest.CoreDNS{Corefile: s.corefile, Cluster: &r.cluster, Upstream: s.upstream})
		if s.lies != nil && !s.lies.inFront {
			r.Replica = s.coreDNS(dnstest.CoreDNS{Corefile: ".:53 {\nforward . 10.96.0.10\n}", Upstream: s.lies.behind(i, r.Replica)})
		}
		if s.node {
			r.Replica = s.coreDNS(dnstest.CoreDNS{Corefile: dnstest.NodeLocal("cluster.local", "10.96.0.10"), Upstream: r.Replica})
		}
		if s.front != nil {
			r.Replica = s.coreDNS(dnstest.CoreDNS{Corefile: ".:53 {\nforward . 10.96.0.10\n}", Upstream: s.front(r.Replica)})
		}
		r.Fault = func(network string, n int, reply []byte) [][]byte {
			s.mu.Lock()
			healed, lost := s.healed, s.loss != nil && !s.healed && s.loss()
			s.mu.Unlock()
			if s.lies != nil && s.lies.inFront {
				reply = changed(reply, func(m *dns.Msg) { s.lies.tell(i, m) })
			}
			if s.plain {
				reply = changed(reply, refuse)
			}
			switch {
			case lost:
				return nil
			case healed || s.fault == nil:
				return [][]byte{reply}
			}
			return s.fault(network, n, reply)
		}
		s.replicas = append(s.replicas, r)
	}
}

// refuse makes a refusal of the reply to what no application asks.
func refuse(m *dns.Msg) {
	if private(m.Question[0].Qtype) {
		m.Rcode, m.Answer, m.Ns = dns.RcodeRefused, nil, nil
	}
}

// lies is an empty NOERROR in place of NXDOMAIN.
type lies struct {
	at      int  // the replica that does it; -1 is every one
	nth     int  // to this of the private types, in the order in which they are asked first; -1 to all questions
	soa     int  // seconds for which it may be cached; 0 as the denial, -1 without SOA
	inFront bool // of all caches; else behind them
	refuses bool // that type, instead

	mu    sync.Mutex
	types []uint16 // private, that were asked
}

// hides reports whether a replica denies nothing.
func (l *lies) hides(replica int) bool {
	return l != nil && l.nth < 0 && (l.at < 0 || l.at == replica)
}

// about reports whether a replica lies about a type.
func (l *lies) about(replica int, qtype uint16) bool {
	if l == nil || l.at >= 0 && l.at != replica {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nth < 0 || l.nth < len(l.types) && l.types[l.nth] == qtype
}

// tell lies if it must.
func (l *lies) tell(replica int, m *dns.Msg) {
	qtype := m.Question[0].Qtype
	l.mu.Lock()
	if private(qtype) && !slices.Contains(l.types, qtype) {
		l.types = append(l.types, qtype)
	}
	l.mu.Unlock()
	if l.refuses && l.about(replica, qtype) {
		refuse(m)
	}
	if m.Rcode != dns.RcodeNameError || !l.about(replica, qtype) {
		return
	}
	m.Rcode = dns.RcodeSuccess
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok && l.soa > 0 {
			soa.Hdr.Ttl, soa.Minttl = uint32(l.soa), uint32(l.soa)
		}
	}
	if l.soa < 0 {
		m.Ns = nil
	}
}

// behind is a replica that lies.
func (l *lies) behind(replica int, whole plugin.Handler) plugin.Handler {
	return plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) (int, error) {
		a := new(answer)
		whole.ServeDNS(ctx, a, q)
		m := a.msg.Copy()
		l.tell(replica, m)
		return dns.RcodeSuccess, w.WriteMsg(m)
	})
}

// changed is a reply with a change.
func changed(reply []byte, change func(*dns.Msg)) []byte {
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		panic(err) // it is CoreDNS's own
	}
	change(m)
	raw, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return raw
}

func (s *stage) coreDNS(c dnstest.CoreDNS) *dnstest.Replica {
	s.Helper()
	r, err := c.Replica()
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// at changes the cluster at a time since the start; each replica learns of it with its own lag.
func (s *stage) at(when time.Duration, change func(c *dnstest.Cluster)) {
	if s.replicas == nil {
		s.open()
	}
	for _, r := range s.replicas {
		wait := when + r.lag - time.Since(s.start)
		if wait <= 0 {
			change(&r.cluster)
			continue
		}
		time.AfterFunc(wait, func() {
			s.mu.Lock()
			r.changed = time.Since(s.start)
			s.mu.Unlock()
			change(&r.cluster)
		})
	}
}

// endpoints are the records of one hostname of the Service db.
func endpoints(hostname string, ips ...string) (all []dnstest.Endpoint) {
	for _, ip := range ips {
		all = append(all, dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: hostname, IP: ip})
	}
	return all
}

// publish makes the Pod's record appear.
func (s *stage) publish(when time.Duration) {
	s.at(when, func(c *dnstest.Cluster) { c.Publish(endpoints("db-0", s.ips...)...) })
}

// somebody asks a replica a plain question at a time, as an application or a peer does.
func (s *stage) somebody(when time.Duration, replica int, name string, qtype uint16) {
	if s.replicas == nil {
		s.open()
	}
	if wait := when - time.Since(s.start); wait > 0 {
		time.AfterFunc(wait, func() { s.ask(s.replicas[replica], name, qtype) })
		return
	}
	s.ask(s.replicas[replica], name, qtype)
}

// ask puts one question on a socket of its own, past all faults; nil if there is no answer within a second.
func (s *stage) ask(r *replica, name string, qtype uint16) *dns.Msg {
	w := new(answer)
	r.ServeDNS(context.Background(), w, new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype))
	if s.lies != nil && s.lies.inFront {
		w.msg = w.msg.Copy()
		s.lies.tell(r.number, w.msg)
	}
	return w.msg
}

// answer takes a reply without any network.
type answer struct{ msg *dns.Msg }

func (*answer) LocalAddr() net.Addr         { return net.UDPAddrFromAddrPort(server) }
func (*answer) RemoteAddr() net.Addr        { return &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 4000} }
func (*answer) Network() string             { return "udp" }
func (a *answer) WriteMsg(m *dns.Msg) error { a.msg = m; return nil }
func (*answer) Write([]byte) (int, error)   { return 0, errors.New("not a message") }
func (*answer) Close() error                { return nil }
func (*answer) TsigStatus() error           { return nil }
func (*answer) TsigTimersOnly(bool)         {}
func (*answer) Hijack()                     {}

// reverse is the name of an address's PTR.
func reverse(ip string) string {
	name, err := dns.ReverseAddr(ip)
	if err != nil {
		panic(err)
	}
	return name
}

// dial is the resolver's way to the replicas, with every packet written down.
func (s *stage) dial(ctx context.Context, network, to string) (net.Conn, error) {
	s.mu.Lock()
	if network == "udp" {
		i := s.sockets % len(s.replicas)
		if s.choose != nil {
			i = s.choose(s.sockets)
		}
		s.sockets++
		s.lastOf = append(s.lastOf, i)
	}
	socket := s.sockets - 1
	r := s.replicas[s.lastOf[socket]]
	s.mu.Unlock()
	conn, err := r.Dial(ctx, network, to)
	if err != nil {
		return nil, err
	}
	return &tap{Conn: conn, s: s, network: network, socket: socket}, nil
}

// tap writes down what passes through a connection.
type tap struct {
	net.Conn
	s       *stage
	network string
	socket  int
	stream  []byte // what TCP brought that is not a whole message yet
}

func (c *tap) Write(b []byte) (int, error) {
	raw := b
	if c.network == "tcp" {
		raw = b[2:]
	}
	m := new(dns.Msg)
	if err := m.Unpack(raw); err != nil {
		c.s.Errorf("asked something that is not a message: %v", err)
		return c.Conn.Write(b)
	}
	port, _ := netip.ParseAddrPort(c.LocalAddr().String())
	c.s.mu.Lock()
	now := time.Since(c.s.start)
	for _, p := range c.s.packets {
		same := p.qtype == m.Question[0].Qtype && p.name == m.Question[0].Name
		if p.socket == c.socket && p.network == c.network && p.until < 0 && (same || now-p.at >= time.Second) {
			p.until = now // it counts as lost: sent once more, or nobody waits for it
		}
	}
	c.s.packets = append(c.s.packets, &packet{
		at: time.Since(c.s.start), until: -1, socket: c.socket, port: port, network: c.network,
		name: m.Question[0].Name, qtype: m.Question[0].Qtype, id: m.Id,
	})
	c.s.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tap) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.network == "udp" {
		c.note(b[:n])
		return n, err
	}
	c.stream = append(c.stream, b[:n]...)
	for len(c.stream) >= 2 && len(c.stream) >= 2+int(binary.BigEndian.Uint16(c.stream)) {
		size := 2 + int(binary.BigEndian.Uint16(c.stream))
		c.note(c.stream[2:size])
		c.stream = c.stream[size:]
	}
	return n, err
}

func (c *tap) note(raw []byte) {
	m := new(dns.Msg)
	if m.Unpack(raw) != nil || len(m.Question) != 1 {
		return
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for _, p := range slices.Backward(c.s.packets) {
		if p.socket == c.socket && p.network == c.network && p.id == m.Id && p.qtype == m.Question[0].Qtype && p.reply == nil {
			p.reply, p.until = m, time.Since(c.s.start)
			return
		}
	}
}

func (c *tap) Close() error {
	c.s.mu.Lock()
	for _, p := range c.s.packets {
		if p.socket == c.socket && p.network == c.network && p.until < 0 {
			p.until = time.Since(c.s.start)
		}
	}
	c.s.mu.Unlock()
	return c.Conn.Close()
}

// claim is made as in a Pod: from the kubelet's files.
func (s *stage) claim() identity.Claim {
	s.Helper()
	files := podtest.DB0.Files("cluster.local")
	hostname, _, _ := strings.Cut(s.hosts, ".")
	files["etc/hosts"].Data = []byte(podtest.Hosts(s.hosts+"\t"+hostname, s.ips...))
	claim := podtest.Claim(files, identity.Given{}, s.policy)
	s.name = claim.Name().String()
	return claim
}

// outcome is how a walk ended.
type outcome struct {
	*stage
	agreed identity.Agreement
	err    error         // of the last turn; nil is the agreement
	at     time.Duration // when it ended
	turns  []identity.Turn
}

// walk walks to the end, and holds every packet to the rules.
func (s *stage) walk() outcome {
	s.Helper()
	if s.replicas == nil {
		s.open()
	}
	claim := s.claim()
	r := resolver.New([]netip.AddrPort{server}, false)
	r.Dial = s.dial
	ctx, cancel := context.WithTimeout(s.Context(), s.timeout)
	defer cancel()
	begin := time.Since(s.start)
	o := outcome{stage: s, err: errors.New("no turn")}
	for turn := range (identity.Walk{Claim: claim, Resolver: r}).Turns(ctx) {
		o.turns = append(o.turns, turn)
		o.agreed, o.err = turn.Agreement, turn.Err
	}
	o.at = time.Since(s.start)
	s.mu.Lock()
	s.healed = true
	s.mu.Unlock()
	if o.at > begin+s.timeout {
		s.Errorf("the walk ended at %v, after its deadline", o.at)
	}
	o.check(begin + s.timeout)
	time.Sleep(10 * time.Second) // for answers that are still on their way
	return o
}

// check holds every packet of a walk to the rules that no case may break.
func (o outcome) check(deadline time.Duration) {
	o.Helper()
	before := o.Failed()
	type key struct {
		name  string
		qtype uint16
	}
	last, counted := map[key]*packet{}, map[key]bool{}
	shown, forward := map[int]bool{}, map[int]bool{}  // by socket
	honest, by := map[uint16]bool{}, map[int]uint16{} // probe types that denied what does not exist; the one of a socket
	ports := map[netip.AddrPort]int{}
	for i, p := range o.packets {
		if p.at >= deadline {
			o.Errorf("asked after the deadline: %v", p)
		}
		for _, q := range o.packets[:i] {
			if q.until < 0 || q.until > p.at {
				o.Errorf("two questions in flight: %v and %v", q, p)
			}
		}
		if socket, ok := ports[p.port]; ok && socket != p.socket {
			o.Errorf("two rounds on one socket: %v", p)
		}
		ports[p.port] = p.socket

		name := strings.ToLower(p.name)
		k := key{name, p.qtype}
		before := last[k]
		last[k] = p
		if before != nil && before.socket != p.socket { // else by TCP, or without EDNS0
			// A type that has shown the name is asked again in the rounds that confirm.
			confirms := p.private() && before.reply != nil && before.reply.Rcode == dns.RcodeSuccess && p.socket == before.socket+1
			if (p.private() && !confirms || counted[k]) && p.at < before.until+before.ttl() {
				o.Errorf("asked again within %v, while a cache may answer: %v, then %v", before.ttl(), before, p)
			}
			// A TTL that has counted down comes from a cache.
			counted[k] = p.denied() && before.denied() && p.ttl() < before.ttl()
		}

		switch {
		case p.sibling():
			honest[p.qtype] = p.reply != nil && p.reply.Rcode != dns.RcodeSuccess
		case p.private():
			by[p.socket] = p.qtype
			ok := p.reply != nil && (p.reply.Rcode == dns.RcodeSuccess || o.plain && p.reply.Rcode == dns.RcodeRefused)
			shown[p.socket] = shown[p.socket] || ok && name == dns.CanonicalName(o.name)
		case p.qtype == dns.TypePTR && o.policy.Reverse == identity.ReverseIgnore:
			o.Errorf("asked what is to be ignored: %v", p)
		case name == "kubernetes.default.svc.cluster.local.":
			// Whether a server that leaves probe types unanswered answers applications, and
			// whether it denies every name a family that it denies this one.
			before := o.packets[max(i, 1)-1]
			if before.socket == p.socket && !before.private() && (before.reply == nil || before.reply.Rcode != dns.RcodeSuccess) && (before.qtype == dns.TypeA || before.qtype == dns.TypeAAAA) {
				break
			}
			if before.socket != p.socket || before.reply != nil && before.reply.Rcode != dns.RcodeServerFailure && before.reply.Rcode != dns.RcodeFormatError {
				o.Errorf("a witness is asked that nobody needs: %v", p)
			}
		case !o.lies.hides(o.lastOf[p.socket]) && (!shown[p.socket] || !honest[by[p.socket]] && !o.plain):
			o.Errorf("a plain question to a replica that has not shown the name: %v", p)
		case p.qtype == dns.TypePTR:
			if !forward[p.socket] {
				o.Errorf("a PTR question before the forward answer was right: %v", p)
			}
		default:
			forward[p.socket] = forward[p.socket] || slices.ContainsFunc(o.ips, p.has)
		}
	}
	if o.err == nil {
		o.checkApplication()
	}
	if o.Failed() && !before {
		o.Log(o.story())
	}
}

// checkApplication asks what the application asks when it starts, of the replicas that the last proof came from.
func (o outcome) checkApplication() {
	o.Helper()
	first := len(o.lastOf) - o.claim().Rounds()
	if first < 0 {
		o.Errorf("agreed after %d rounds", len(o.lastOf))
		return
	}
	begin := o.packets[slices.IndexFunc(o.packets, func(p *packet) bool { return p.socket == first })].at
	for _, i := range o.lastOf[first:] {
		r := o.replicas[i]
		o.mu.Lock()
		changed := r.changed
		o.mu.Unlock()
		if changed >= begin && changed > 0 {
			continue // since it was asked, perhaps
		}
		proven := map[uint16]bool{}
		for _, addr := range o.agreed.Addrs() {
			qtype := dns.TypeA
			if addr.Is6() {
				qtype = dns.TypeAAAA
			}
			proven[qtype] = true
			m := o.ask(r, o.name, qtype)
			if p := (&packet{reply: m}); !p.has(addr.String()) || o.policy.Forward == identity.ForwardOnly && len(m.Answer) != 1 {
				o.Errorf("replica %d answers the application %v, not %s", i, m, addr)
			}
			if o.policy.Reverse == identity.ReverseIgnore {
				continue
			}
			m = o.ask(r, reverse(addr.String()), dns.TypePTR)
			if m == nil || !slices.ContainsFunc(m.Answer, func(rr dns.RR) bool {
				ptr, ok := rr.(*dns.PTR)
				return ok && ptr.Ptr == dns.Fqdn(o.name)
			}) {
				o.Errorf("replica %d answers the application %v, not %s", i, m, o.name)
			}
		}
		if i != o.lastOf[len(o.lastOf)-1] {
			continue
		}
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
			if o.withheld && qtype == dns.TypeAAAA {
				continue // that is warned of
			}
			if m := o.ask(r, o.name, qtype); m == nil || m.Rcode != dns.RcodeSuccess {
				o.Errorf("replica %d answers the application %v, not that the name is there", i, m)
			}
		}
	}
}

// story is all that was asked and what came of it.
func (o outcome) story() string {
	var b strings.Builder
	for _, p := range o.packets {
		fmt.Fprintf(&b, "%v (replica %d)\n", p, o.lastOf[p.socket])
	}
	fmt.Fprintf(&b, "%v: %v\n", o.at, o.err)
	return b.String()
}

// rounds shows the types asked on each socket, "PROBE A PTR", in order; of a probe type only that it is one.
func (o outcome) rounds() (all []string) {
	last := -1
	for _, p := range o.packets {
		if p.socket != last {
			all = append(all, "")
			last = p.socket
		}
		kind := "PROBE"
		if p.sibling() {
			kind = "SIBLING"
		} else if !p.private() {
			kind = dns.Type(p.qtype).String()
		}
		all[len(all)-1] = strings.TrimSpace(all[len(all)-1] + " " + kind)
	}
	return all
}

// asked counts the plain questions of a type.
func (o outcome) asked(qtype uint16) (n int) {
	for _, p := range o.packets {
		if p.qtype == qtype {
			n++
		}
	}
	return n
}

// verdicts are those of the turns, without repetition.
func (o outcome) verdicts() (all []identity.Verdict) {
	for _, turn := range o.turns {
		var m *identity.Mismatch
		v := identity.Agrees
		if errors.As(turn.Err, &m) {
			v = m.Verdict
		}
		if len(all) == 0 || all[len(all)-1] != v {
			all = append(all, v)
		}
	}
	return all
}

// agrees fails unless the walk ended with an agreement between two times.
func (o outcome) agrees(from, to time.Duration) {
	o.Helper()
	if o.err != nil {
		o.Errorf("no agreement by %v: %v", o.at, o.err)
	}
	if o.at < from || o.at > to {
		o.Errorf("the walk ended after %v, not between %v and %v\n%s", o.at, from, to, o.story())
	}
}

// saw fails unless the turns came to these verdicts, in this order.
func (o outcome) saw(want ...identity.Verdict) {
	o.Helper()
	if got := o.verdicts(); !slices.Equal(got, want) {
		o.Errorf("verdicts %q, not %q\n%s", got, want, o.story())
	}
}
