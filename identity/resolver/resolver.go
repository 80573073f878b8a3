// Package resolver asks DNS servers on the wire. It never reads /etc/hosts, uses no
// search list and asks only the servers that it is given.
//
// One exchange is one connected UDP socket to one server, so that its kernel
// port, and with it the replica behind a Service's address, is the same for
// all questions of a round; a truncated answer is fetched by TCP from the same
// server. Messages that do not answer the question exactly are discarded, and
// reading goes on until the deadline; meanwhile the question is sent again to a
// server that has answered before.
package resolver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/shown"
)

const (
	// firstPatience is how long to wait for an answer. It doubles with each silence
	// up to maxPatience, glibc's RES_TIMEOUT, and an answer resets it.
	firstPatience = time.Second
	maxPatience   = 5 * time.Second

	// bystanderPatience is how long Bystander waits for an answer.
	bystanderPatience = 2 * time.Second

	// minResend is the shortest time after which a packet counts as lost.
	minResend = 200 * time.Millisecond

	// udpSize is the EDNS0 buffer size (RFC 6891) that crosses every path
	// unfragmented: DNS Flag Day 2020.
	udpSize = 1232

	// unknownDenial is how long a denial without SOA counts as cached: the
	// longest that CoreDNS caches one by default.
	unknownDenial = 30 * time.Second

	// maxAgain bounds how long an answer counts as cached. No cluster's DNS is
	// known to cache a denial for longer than two minutes; an upstream's SOA
	// may promise days.
	maxAgain = 2 * time.Minute
)

// Resolver is an identity.Resolver over real DNS. It remembers from round to round
// which server to ask, how long to wait for it, and which probe types are used up.
// It is for one goroutine.
type Resolver struct {
	// Dial connects to a server, ADDRESS:PORT, by "udp" or "tcp", as
	// net.Dialer does.
	Dial func(ctx context.Context, network, server string) (net.Conn, error)

	servers   []netip.AddrPort
	current   int  // servers[current%len] is asked
	vc        bool // everything by TCP
	bystander bool // see Bystander
	patience  time.Duration
	rtts      map[netip.AddrPort]time.Duration // of the last answer by UDP; absent after silence
	noEDNS    map[netip.AddrPort]bool
	order     []uint16 // in which probe types are taken
	probes    map[identity.Name]*probes
	refuses   map[netip.AddrPort]bool // servers that refused the last probe type
	hides     map[netip.AddrPort]bool // servers that do not deny what does not exist
	seen      map[string]sighting     // the last answer, by server and question
	buffer    []byte
}

// New returns a Resolver that asks servers over the operating system's sockets. It
// moves on to the next one when a server is silent, fails or refuses. With vc it
// asks everything by TCP ("options use-vc").
func New(servers []netip.AddrPort, vc bool) *Resolver {
	return &Resolver{
		Dial:     new(net.Dialer).DialContext,
		servers:  servers,
		vc:       vc,
		patience: firstPatience,
		rtts:     make(map[netip.AddrPort]time.Duration),
		noEDNS:   make(map[netip.AddrPort]bool),
		order:    shuffled(false),
		probes:   make(map[identity.Name]*probes),
		refuses:  make(map[netip.AddrPort]bool),
		hides:    make(map[netip.AddrPort]bool),
		seen:     make(map[string]sighting),
		buffer:   make([]byte, dns.MaxMsgSize),
	}
}

// Bystander returns a Resolver that asks one server while another process of the Pod
// waits for it. It takes the probe types that the other process takes last, in
// another order each time, so that no cache returns what it asked a moment ago. It
// asks which replica answers (RFC 5001). It waits at most 2 s for an answer, and
// sends each question up to three times meanwhile.
func Bystander(server netip.AddrPort, vc bool) *Resolver {
	r := New([]netip.AddrPort{server}, vc)
	r.bystander, r.order = true, shuffled(true)
	return r
}

// Open begins a round with one fresh socket.
func (r *Resolver) Open(ctx context.Context) (identity.Exchange, error) {
	if len(r.servers) == 0 {
		return nil, errors.New("no nameserver to ask")
	}
	e := &exchange{r: r, server: r.servers[r.current%len(r.servers)]}
	if r.vc {
		return e, nil // dialled by the first question
	}
	conn, err := r.Dial(ctx, "udp", e.server.String())
	if err != nil {
		r.current++
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err // without the address
		}
		return nil, fmt.Errorf("cannot reach nameserver %s: %w", e.server, err)
	}
	e.udp = conn
	return e, nil
}

// exchange is one round of questions to one server.
type exchange struct {
	r        *Resolver
	server   netip.AddrPort
	udp, tcp net.Conn      // dialled when needed
	patience time.Duration // with the question under way
}

func (e *exchange) Close() error {
	var errs []error
	for _, conn := range []net.Conn{e.udp, e.tcp} {
		if conn != nil {
			errs = append(errs, conn.Close())
		}
	}
	return errors.Join(errs...)
}

// answer is an identity.Answer and what it looked like.
type answer struct {
	identity.Answer
	shown shown.Answer
	err   error // why there is none
}

// Ask asks one question.
func (e *exchange) Ask(ctx context.Context, q identity.Question) identity.Answer {
	var a answer
	switch q.Kind {
	case identity.Forward4:
		a = e.plain(ctx, dns.Fqdn(q.Name.String()), dns.TypeA)
	case identity.Forward6:
		a = e.plain(ctx, dns.Fqdn(q.Name.String()), dns.TypeAAAA)
	case identity.Reverse:
		a = e.plain(ctx, reverseName(q.Addr), dns.TypePTR)
	case identity.Exists:
		a = e.exists(ctx, q)
	case identity.Sibling:
		a = e.sibling(ctx, q.Name)
	}
	a.Question, a.Server, a.Shown = q, e.server, a.shown
	// The end of ctx says nothing about the server. A socket's deadline may pass a
	// moment before ctx reports its end.
	if end, ok := ctx.Deadline(); ctx.Err() == nil && (!ok || time.Until(end) >= time.Millisecond) {
		e.r.learn(a.Answer)
	}
	return a.Answer
}

// learn decides by an answer how long to wait for the next one and which server to
// ask for it: after a failure the next server, as glibc does; after a denial by any
// other than the first, the first again, which may know better.
func (r *Resolver) learn(a identity.Answer) {
	switch {
	case a.Is == identity.Unasked:
	case a.Is == identity.Silent:
		delete(r.rtts, a.Server)
		r.patience = min(2*r.patience, maxPatience)
		r.current++
	case a.Kind == identity.Sibling: // any answer to that is as good as a denial
		r.patience = firstPatience
	case a.Is == identity.Failed, a.Is == identity.Refused && a.Kind != identity.Exists:
		r.current++
	case a.Is == identity.Denied:
		r.current = 0
		fallthrough
	default:
		r.patience = firstPatience
	}
}

// reverseName returns the name of an address's PTR (RFC 1035 §3.5, RFC 3596
// §2.5).
func reverseName(addr netip.Addr) string {
	name, err := dns.ReverseAddr(addr.String())
	if err != nil {
		panic(err) // a netip.Addr prints as an address
	}
	return name
}

// exists asks for a name by a probe type that is free. The process next to Bystander's
// may have asked by that type a moment ago, so Bystander does not accept a denial from
// a cache, unless every denial looks cached, as behind NodeLocal DNSCache.
func (e *exchange) exists(ctx context.Context, q identity.Question) answer {
	a := e.existsBy(ctx, q)
	for range 5 {
		if !e.r.bystander || a.shown.Full <= a.TTL || a.Is != identity.Denied {
			break
		}
		a = e.existsBy(ctx, q)
	}
	return a
}

// existsBy asks for a name by the next type that is free.
func (e *exchange) existsBy(ctx context.Context, q identity.Question) answer {
	name := q.Name
	k := e.r.probes[name]
	if k == nil {
		k = newProbes(e.r.order)
		e.r.probes[name] = k
	}
	qtype, wait := k.take(time.Now(), q.Same)
	if wait > 0 {
		return answer{Answer: identity.Answer{Is: identity.Unasked, Again: wait}, shown: shown.Answer{Wire: "nothing, as nothing was asked"}}
	}
	a, life := e.ask(ctx, dns.Fqdn(name.String()), qtype)
	a.By = qtype
	now := time.Now()
	switch {
	case a.Is != identity.Silent:
		k.spend(qtype, now, min(max(life.full, minTTL), maxAgain))
	case errors.Is(a.err, errTimeout):
		k.spend(qtype, now, unknownDenial) // it may have been answered and lost
	}
	if a.Is != identity.Silent && a.Is != identity.Failed {
		e.r.refuses[e.server] = a.Is == identity.Refused
	}
	a.Again = k.spacing(now)
	if q.Even {
		a.Again = k.even(now, a.Again)
	}
	switch a.Is {
	case identity.Denied:
		a.Again = max(a.Again, min(k.down.denied(now, life), maxAgain))
	case identity.Found, identity.NoData:
		k.down = countdown{shown: now} // no cache keeps a denial by the name
	}
	a.shown.Probe = fmt.Sprintf("%s, and %d of %d are free", dns.Type(qtype), k.left(now), len(probeTypes))
	return a
}

// sibling asks for a random name next to a name, by the type of the last question
// about that one. Nobody can have asked for the random name before.
func (e *exchange) sibling(ctx context.Context, name identity.Name) answer {
	k := e.r.probes[name]
	if k == nil || k.last == 0 {
		return answer{shown: shown.Answer{Wire: "nothing, as nothing was asked"}}
	}
	_, parent, _ := strings.Cut(name.String(), ".")
	a, _ := e.ask(ctx, dns.Fqdn("podfqdn-"+strings.ToLower(rand.Text()[:20])+"."+parent), k.last)
	e.r.hides[e.server] = a.Is == identity.Found || a.Is == identity.NoData
	return a
}

// plain asks a question that applications ask too.
func (e *exchange) plain(ctx context.Context, name string, qtype uint16) answer {
	a, life := e.ask(ctx, name, qtype)
	switch a.Is {
	case identity.Found, identity.NoData, identity.Denied:
		e.again(fmt.Sprint(e.server, name, qtype), &a, life)
	}
	return a
}

// sighting is an answer of one kind that came as often as it was asked for.
type sighting struct {
	is    identity.Outcome
	until time.Time     // when the first one's TTL ends
	ttl   time.Duration // of the last one
}

// again sets how long the same question will have the same answer. A TTL at its full
// length does not show whether a cache keeps the answer; a shorter one, or one that
// has become shorter since the last answer, does. If only plain questions can be
// asked, each denial counts as cached.
func (e *exchange) again(question string, a *answer, life lifetime) {
	now, denied := time.Now(), a.Is != identity.Found
	before := e.r.seen[question]
	if before.is != a.Is {
		before = sighting{a.Is, now.Add(life.ttl), life.ttl}
	}
	a.shown.Cached, a.shown.Renewed = life.ttl < before.ttl, now.After(before.until)
	before.ttl = life.ttl
	e.r.seen[question] = before
	switch {
	case a.shown.Cached, life.left < life.full, denied && a.Zone.IsZero(), denied && (e.r.refuses[e.server] || e.r.hides[e.server]):
		a.Again = min(life.left, maxAgain)
	}
}

// lifetime is how long an answer may be cached by its own TTLs: left is what remains
// here, full is the longest that any cache on the way may keep it, and ttl is what a
// cache counts down.
type lifetime struct{ left, full, ttl time.Duration }

// ask exchanges one message and reads the answer out of it.
func (e *exchange) ask(ctx context.Context, name string, qtype uint16) (answer, lifetime) {
	start := time.Now()
	msg, err := e.exchange(ctx, name, qtype)
	var a answer
	var life lifetime
	if err != nil {
		a.Is, a.shown.Wire, a.err = identity.Silent, e.silence(err), err
	} else {
		a, life = read(msg)
	}
	a.shown.Type, a.shown.At = dns.Type(qtype).String(), time.Now()
	a.shown.Took = a.shown.At.Sub(start)
	return a, life
}

// silence says why no answer came, without addresses and other words that would
// differ each time.
func (e *exchange) silence(err error) string {
	by := ""
	if e.udp != nil && errors.Is(err, errTCP) {
		by = " by TCP, where UDP's answer is cut"
	}
	if errors.Is(err, errTimeout) {
		return fmt.Sprintf("nothing within %s%s", e.patience, by)
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return fmt.Sprintf("nothing%s (%s)", by, errno)
	}
	return "nothing" + by
}

// read returns the answer in a message that is known to answer the question.
func read(msg *dns.Msg) (a answer, life lifetime) {
	rcode := dns.RcodeToString[msg.Rcode]
	if rcode == "" {
		rcode = fmt.Sprintf("RCODE%d", msg.Rcode)
	}
	a.shown = shown.Answer{Wire: rcode, Rcode: rcode, AA: msg.Authoritative, NSID: nsid(msg)}
	switch msg.Rcode {
	case dns.RcodeSuccess:
		a.Is = identity.NoData
	case dns.RcodeNameError:
		a.Is = identity.Denied
	case dns.RcodeRefused, dns.RcodeNotImplemented:
		a.Is = identity.Refused
		return a, life
	default:
		a.Is = identity.Failed
		return a, life
	}
	life, a.Zone = denial(msg)
	if !a.Zone.IsZero() {
		a.TTL, a.shown.Full = life.left, life.full
	}
	if a.Is == identity.Denied {
		return a, life
	}
	records := owned(msg)
	if len(records) == 0 {
		a.shown.Wire, a.shown.Owners = "no data", strangers(msg)
		return a, life
	}
	a.Is = identity.Found
	ttl := records[0].Header().Ttl
	for _, rr := range records {
		ttl = min(ttl, rr.Header().Ttl)
		switch rr := rr.(type) {
		case *dns.A:
			if addr, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				a.Addrs = append(a.Addrs, addr)
			}
		case *dns.AAAA:
			if addr, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok {
				a.Addrs = append(a.Addrs, addr)
			}
		case *dns.PTR:
			if rr.Ptr != "" {
				a.Names = append(a.Names, identity.WireName(rr.Ptr))
			}
		}
	}
	a.TTL = time.Duration(ttl) * time.Second
	life, a.shown.Full = lifetime{a.TTL, a.TTL, a.TTL}, 0
	// Servers shuffle; the same answer must look the same.
	slices.SortFunc(a.Addrs, netip.Addr.Compare)
	slices.SortFunc(a.Names, func(x, y identity.Name) int { return strings.Compare(x.String(), y.String()) })
	switch {
	case len(a.Addrs) > 0:
		a.shown.Wire = identity.Enumerate(a.Addrs)
	case len(a.Names) > 0:
		a.shown.Wire = identity.Enumerate(a.Names)
	case slices.Contains([]uint16{dns.TypeA, dns.TypeAAAA, dns.TypePTR}, msg.Question[0].Qtype):
		a.Is, a.shown.Wire = identity.Failed, "a record without content"
	}
	return a, life
}

// nsid returns a server's name for itself (RFC 5001): as text if it is text, else in
// hexadecimal digits; "" if the server does not send one.
func nsid(msg *dns.Msg) string {
	opt := msg.IsEdns0()
	if opt == nil {
		return ""
	}
	for _, option := range opt.Option {
		if option, ok := option.(*dns.EDNS0_NSID); ok {
			raw, err := hex.DecodeString(option.Nsid)
			if err != nil || bytes.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' }) {
				return option.Nsid
			}
			return string(raw)
		}
	}
	return ""
}

// denial returns how long a negative answer may be cached, and the zone of its SOA.
// By RFC 2308 §5 the time is the lesser of the SOA's TTL and its last field; but a
// cache in front of another shortens the TTL and not the field, which the one behind
// may use.
func denial(msg *dns.Msg) (lifetime, identity.Name) {
	for _, rr := range msg.Ns {
		if soa, ok := rr.(*dns.SOA); ok && soa.Hdr.Class == dns.ClassINET {
			ttl, minimum := time.Duration(soa.Hdr.Ttl)*time.Second, time.Duration(soa.Minttl)*time.Second
			return lifetime{min(ttl, minimum), max(ttl, minimum), ttl}, identity.WireName(soa.Hdr.Name)
		}
	}
	return lifetime{unknownDenial, unknownDenial, unknownDenial}, identity.Name{}
}

// strangers returns the owners of the answer records of the type asked for, if
// owned found none: names without root dot, each once.
func strangers(msg *dns.Msg) (owners []string) {
	for _, rr := range msg.Answer {
		if h := rr.Header(); h.Class == dns.ClassINET && h.Rrtype == msg.Question[0].Qtype {
			owners = append(owners, identity.WireName(h.Name).String())
		}
	}
	slices.Sort(owners)
	return slices.Compact(owners)
}

// maxChain bounds a chain of CNAMEs.
const maxChain = 8

// owned returns the answer records of the type asked for that belong to the
// question's name, or to one that a chain of CNAMEs in the same message leads
// to. Records of other owners do not answer the question.
func owned(msg *dns.Msg) []dns.RR {
	q := msg.Question[0]
	owner := dns.CanonicalName(q.Name)
	for range maxChain + 1 {
		var records []dns.RR
		var next string
		for _, rr := range msg.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || dns.CanonicalName(h.Name) != owner {
				continue
			}
			if h.Rrtype == q.Qtype {
				records = append(records, rr)
			} else if cname, ok := rr.(*dns.CNAME); ok {
				next = dns.CanonicalName(cname.Target)
			}
		}
		if len(records) > 0 || next == "" {
			return records
		}
		owner = next
	}
	return nil
}
