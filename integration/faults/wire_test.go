//go:build faults

package faults

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/nonwriter"
	"github.com/miekg/dns"
	"golang.org/x/tools/txtar"

	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// wire is one case of testdata/wire.txtar.
type wire struct {
	faults  []fault
	code    int    // of the first run
	says    string // is in its reason
	timeout time.Duration
	asks    int  // at most this number of questions until it ends; 0 is not counted
	long    bool // it waits for long
}

// fault is what happens to some answers.
type fault struct {
	kind    string // "existence", "A", "AAAA", "PTR"; "any"
	network string // "udp", "tcp"; "any"; "own": any, and about the Pod's name only
	first   int    // of the answers that are meant, from 0 on
	last    int
	ops     []string
}

// parseWire reads the lines of a case:
//
//	fault KIND NETWORK WHICH: OP; OP…   WHICH is "always", N or N-M
//	ends CODE [WORDS…]                  the exit code, and what the reason says
//	within TIME                         the deadline; 1s
//	asks N                              no more questions than that
//	long                                only in the long form
func parseWire(text string) (w wire, err error) {
	w.timeout = time.Second
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "", "#":
		case "fault":
			head, ops, _ := strings.Cut(rest, ": ")
			fields := strings.Fields(head)
			if len(fields) != 3 || ops == "" {
				return w, fmt.Errorf("%q", line)
			}
			f := fault{kind: fields[0], network: fields[1], last: 1 << 30}
			if fields[2] != "always" {
				from, to, both := strings.Cut(fields[2], "-")
				if f.first, err = strconv.Atoi(from); err != nil {
					return w, err
				}
				if f.last = f.first; both {
					if f.last, err = strconv.Atoi(to); err != nil {
						return w, err
					}
				}
			}
			for op := range strings.SplitSeq(ops, ";") {
				f.ops = append(f.ops, strings.TrimSpace(op))
			}
			w.faults = append(w.faults, f)
		case "ends":
			code, words, _ := strings.Cut(rest, " ")
			if w.code, err = strconv.Atoi(code); err != nil {
				return w, err
			}
			w.says = words
		case "within":
			if w.timeout, err = time.ParseDuration(rest); err != nil {
				return w, err
			}
		case "asks":
			if w.asks, err = strconv.Atoi(rest); err != nil {
				return w, err
			}
		case "long":
			w.long = true
		default:
			return w, fmt.Errorf("%q", line)
		}
	}
	return w, nil
}

// breaker stands before CoreDNS and breaks its answers.
type breaker struct {
	pod    *pod
	faults []fault
	only   func(dns.Question) bool // which questions are meant; nil: all

	mu     sync.Mutex
	healed bool
	count  map[string]int
	before []byte // the answer before this one
	turn   int    // of what is rotated
	asked  int    // questions
}

func (b *breaker) heal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.healed = true
}

func kindOf(qtype uint16) string {
	switch qtype {
	case dns.TypeA, dns.TypeAAAA, dns.TypePTR:
		return dns.TypeToString[qtype]
	}
	return "existence"
}

// ops returns what to do to the next answer of a kind.
func (b *breaker) ops(kind, network string, own bool) (ops []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, f := range b.faults {
		if f.kind != "any" && f.kind != kind || f.network != "any" && f.network != network && !(f.network == "own" && own) {
			continue
		}
		key := strconv.Itoa(i)
		n := b.count[key]
		b.count[key]++
		if n >= f.first && n <= f.last && !b.healed {
			ops = append(ops, f.ops...)
		}
	}
	return ops
}

func (b *breaker) plugin(next plugin.Handler) plugin.Handler {
	return plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		b.pod.question(strings.ToLower(r.Question[0].Name))
		good := nonwriter.New(w)
		if rcode, err := plugin.NextOrFailure("faults", next, ctx, good, r); good.Msg == nil {
			return rcode, err
		}
		b.mu.Lock()
		b.asked++
		b.mu.Unlock()
		network := w.RemoteAddr().Network()
		packet, err := good.Msg.Pack()
		if err != nil {
			return dns.RcodeServerFailure, err
		}
		sent := [][]byte{packet}
		var ops []string
		if b.only == nil || b.only(r.Question[0]) {
			ops = b.ops(kindOf(r.Question[0].Qtype), network, !strings.HasPrefix(r.Question[0].Name, "kubernetes."))
		}
		for _, op := range ops {
			if sent, err = b.apply(op, w, r, good.Msg, sent); err != nil {
				panic(err) // the archive is wrong
			}
		}
		for _, packet := range sent {
			b.pod.answer(r, packet)
			_, _ = w.Write(packet)
		}
		b.mu.Lock()
		b.before = packet
		b.mu.Unlock()
		return dns.RcodeSuccess, nil
	})
}

// apply does one thing to what is to be sent as the answer to q.
func (b *breaker) apply(op string, w dns.ResponseWriter, q, good *dns.Msg, sent [][]byte) ([][]byte, error) {
	word, arg, _ := strings.Cut(op, " ")
	edit := func(f func(*dns.Msg)) ([][]byte, error) {
		m := good.Copy()
		f(m)
		packet, err := m.Pack()
		return [][]byte{packet}, err
	}
	again := func(f func(*dns.Msg)) ([][]byte, error) { // to what has become of it
		m := new(dns.Msg)
		if err := m.Unpack(sent[0]); err != nil {
			return nil, err
		}
		f(m)
		packet, err := m.Pack()
		return [][]byte{packet}, err
	}
	raw := func(f func([]byte)) ([][]byte, error) {
		packet := slices.Clone(sent[0])
		f(packet)
		return [][]byte{packet}, nil
	}
	name := q.Question[0].Name
	header := func(owner string, rrtype uint16) dns.RR_Header {
		return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: 30}
	}
	switch word {
	case "drop":
		return nil, nil
	case "close": // of TCP
		return nil, w.Close()
	case "delay":
		pause, err := time.ParseDuration(arg)
		time.Sleep(pause)
		return sent, err
	case "twice":
		return append(sent, sent...), nil
	case "before": // the answer to the question before this one comes first
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.before == nil {
			return sent, nil
		}
		return append([][]byte{b.before}, sent...), nil
	case "noise": // and then the answer
		return append([][]byte{[]byte("noise"), {}, make([]byte, 600)}, sent...), nil
	case "first": // what it would be with this, and then the answer
		bad, err := b.apply(arg, w, q, good, sent)
		return append(bad, sent...), err
	case "flood": // a number of forgeries from the right address, whose IDs are guesses
		n, err := strconv.Atoi(arg)
		if err != nil {
			return nil, err
		}
		forged, err := edit(func(m *dns.Msg) {
			m.Answer, m.Ns, m.Rcode = nil, nil, dns.RcodeNameError
			switch q.Question[0].Qtype {
			case dns.TypeA:
				m.Rcode, m.Answer = dns.RcodeSuccess, []dns.RR{&dns.A{Hdr: header(name, dns.TypeA), A: net.ParseIP(foreign).To4()}}
			case dns.TypePTR:
				m.Rcode, m.Answer = dns.RcodeSuccess, []dns.RR{&dns.PTR{Hdr: header(name, dns.TypePTR), Ptr: "db-9.db.default.svc.cluster.local."}}
			}
		})
		if err != nil {
			return nil, err
		}
		for i := range n {
			binary.BigEndian.PutUint16(forged[0], q.Id+uint16(i)+1)
			if _, err := w.Write(forged[0]); err != nil {
				return nil, err
			}
		}
		return sent, nil
	case "source": // from another port
		conn, err := net.DialUDP("udp", nil, w.RemoteAddr().(*net.UDPAddr))
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		_, err = conn.Write(sent[0])
		return nil, err
	case "id":
		return raw(func(p []byte) { p[1]++ })
	case "query": // QR is 0
		return raw(func(p []byte) { p[2] &^= 0x80 })
	case "opcode":
		return raw(func(p []byte) { p[2] = p[2]&^0x78 | 2<<3 })
	case "name":
		return edit(func(m *dns.Msg) { m.Question[0].Name = "other.default.svc.cluster.local." })
	case "type":
		return edit(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeSRV })
	case "class":
		return edit(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })
	case "questions":
		n, err := strconv.Atoi(arg)
		if err != nil {
			return nil, err
		}
		return edit(func(m *dns.Msg) {
			question := m.Question[0]
			m.Question = nil
			for range n {
				m.Question = append(m.Question, question)
			}
		})
	case "cut": // in this number of hundredths
		n, err := strconv.Atoi(arg)
		return [][]byte{sent[0][:len(sent[0])*n/100]}, err
	case "loop": // the name is a pointer to itself
		p := slices.Clone(sent[0][:12])
		binary.BigEndian.PutUint16(p[4:], 1)
		binary.BigEndian.PutUint16(p[6:], 0)
		binary.BigEndian.PutUint16(p[8:], 0)
		binary.BigEndian.PutUint16(p[10:], 0)
		return [][]byte{append(p, 0xc0, 0x0c, 0, byte(q.Question[0].Qtype), 0, 1)}, nil
	case "counts": // more records are announced than there are
		return raw(func(p []byte) { binary.BigEndian.PutUint16(p[6:], 0xffff) })
	case "tc":
		return edit(func(m *dns.Msg) { m.Truncated, m.Answer, m.Ns, m.Extra = true, nil, nil, nil })
	case "rcode":
		code, ok := dns.StringToRcode[arg]
		if !ok {
			return nil, fmt.Errorf("no rcode %s", arg)
		}
		return edit(func(m *dns.Msg) {
			m.Rcode, m.Answer, m.Ns = code, nil, nil
			if code > 0xf && m.IsEdns0() == nil {
				m.SetEdns0(1232, false)
			}
		})
	case "nosoa":
		return edit(func(m *dns.Msg) { m.Ns, m.Answer = nil, nil })
	case "nxdomain", "nodata": // with this SOA, "." for that of the root
		return edit(func(m *dns.Msg) {
			m.Answer = nil
			if m.Rcode = dns.RcodeSuccess; word == "nxdomain" {
				m.Rcode = dns.RcodeNameError
			}
			m.Ns = []dns.RR{&dns.SOA{Hdr: header(arg, dns.TypeSOA), Ns: "ns.", Mbox: "m.", Minttl: 1}}
		})
	case "hide": // that a name does not exist
		return again(func(m *dns.Msg) { m.Rcode = dns.RcodeSuccess })
	case "swap": // A and B in the names of PTR
		one, other, _ := strings.Cut(arg, " ")
		return edit(func(m *dns.Msg) {
			for _, rr := range m.Answer {
				if rr, ok := rr.(*dns.PTR); ok {
					rr.Ptr = strings.NewReplacer(one, other, other, one).Replace(rr.Ptr)
				}
			}
		})
	case "referral":
		return edit(func(m *dns.Msg) {
			m.Answer, m.Authoritative = nil, false
			m.Ns = []dns.RR{&dns.NS{Hdr: header("cluster.local.", dns.TypeNS), Ns: "ns.elsewhere.example."}}
		})
	case "cname": // good, loop, long, dangling, wrong
		return edit(func(m *dns.Msg) {
			answer := m.Answer
			m.Answer = nil
			link := func(from, to string) {
				m.Answer = append(m.Answer, &dns.CNAME{Hdr: header(from, dns.TypeCNAME), Target: to})
			}
			alias := "alias.default.svc.cluster.local."
			switch arg {
			case "loop":
				link(name, alias)
				link(alias, name)
				return
			case "long":
				from := name
				for i := range 40 {
					to := fmt.Sprintf("a%d.default.svc.cluster.local.", i)
					link(from, to)
					from = to
				}
				alias = from
			case "dangling":
				link(name, alias)
				return
			default:
				link(name, alias)
			}
			for _, rr := range answer {
				rr.Header().Name = alias
				if a, ok := rr.(*dns.A); ok && arg == "wrong" {
					a.A = net.ParseIP(foreign).To4()
				}
				m.Answer = append(m.Answer, rr)
			}
		})
	case "owner": // the records are of another name
		return edit(func(m *dns.Msg) {
			for _, rr := range m.Answer {
				rr.Header().Name = "other.default.svc.cluster.local."
			}
		})
	case "rotate": // each time by one more, as servers do that balance
		return again(func(m *dns.Msg) {
			if len(m.Answer) == 0 {
				return
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.turn++
			n := b.turn % len(m.Answer)
			m.Answer = slices.Concat(m.Answer[n:], m.Answer[:n])
		})
	case "ttl": // of the records, and the last field of a SOA
		ttl, err := strconv.ParseUint(arg, 10, 32)
		if err != nil {
			return nil, err
		}
		return again(func(m *dns.Msg) {
			for _, rr := range append(m.Answer, m.Ns...) {
				rr.Header().Ttl = uint32(ttl)
				if soa, ok := rr.(*dns.SOA); ok {
					soa.Minttl = uint32(ttl)
				}
			}
		})
	case "says": // A or PTR, in place of the answer or in addition
		return edit(func(m *dns.Msg) {
			m.Answer, m.Rcode, m.Ns = nil, 0, nil
			for value := range strings.SplitSeq(arg, ",") {
				switch q.Question[0].Qtype {
				case dns.TypeA:
					m.Answer = append(m.Answer, &dns.A{Hdr: header(name, dns.TypeA), A: net.ParseIP(value).To4()})
				case dns.TypePTR:
					m.Answer = append(m.Answer, &dns.PTR{Hdr: header(name, dns.TypePTR), Ptr: value})
				}
			}
		})
	}
	return nil, fmt.Errorf("no such thing to do: %q", op)
}

func TestWire(t *testing.T) {
	t.Parallel()
	archive, err := txtar.ParseFile("testdata/wire.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range archive.Files {
		w, err := parseWire(string(file.Data))
		if err != nil {
			t.Fatal(err)
		}
		if w.long && !*long {
			continue
		}
		t.Run(file.Name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, "DNS wire")
			b := &breaker{pod: p, faults: w.faults, count: map[string]int{}}
			cluster := new(dnstest.Cluster)
			cluster.Service("default", "kubernetes", "10.96.0.1")
			cluster.Service("default", "db")
			cluster.Publish(dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: ip})
			p.serve(dnstest.CoreDNS{Cluster: cluster, Front: b.plugin})
			p.timeout = w.timeout
			e := p.init()
			if e.code != w.code || !strings.Contains(e.reason, w.says) {
				t.Errorf("ended with %d, %q, not with %d, %q\n%s", e.code, e.reason, w.code, w.says, e.log)
			}
			b.mu.Lock()
			if t.Logf("%d questions in %s", b.asked, e.took); w.asks > 0 && b.asked > w.asks {
				t.Errorf("it asked %d questions in %s, and not %d at most\n%s", b.asked, e.took, w.asks, e.log)
			}
			b.mu.Unlock()
			b.heal()
			p.recovers()
		})
	}
}
