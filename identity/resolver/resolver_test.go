package resolver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/resolver"
	"github.com/podfqdn/podfqdn/identity/shown"
)

var (
	db0    = name("db-0.db.default.svc.cluster.local")
	server = netip.MustParseAddrPort("10.96.0.10:53")
	second = netip.MustParseAddrPort("10.96.0.11:53")
	a      = identity.Question{Kind: identity.Forward4, Name: db0}
	exists = identity.Question{Kind: identity.Exists, Name: db0}
)

func name(s string) identity.Name {
	n, err := identity.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

// wire is a network in memory. What answers is up to the test: it gets the
// question and returns the packets that come back, in order; none is silence.
type wire struct {
	answer func(network, server string, q *dns.Msg) [][]byte

	mu    sync.Mutex
	dials []string // "udp 10.96.0.10:53"
	asked []string // "udp A db-0…"
}

func (w *wire) dial(_ context.Context, network, server string) (net.Conn, error) {
	w.mu.Lock()
	w.dials = append(w.dials, network+" "+server)
	w.mu.Unlock()
	client, far := net.Pipe()
	go func() {
		defer far.Close()
		buffer := make([]byte, dns.MaxMsgSize)
		for {
			var raw []byte
			if network == "tcp" {
				if _, err := io.ReadFull(far, buffer[:2]); err != nil {
					return
				}
				raw = buffer[:binary.BigEndian.Uint16(buffer)]
				if _, err := io.ReadFull(far, raw); err != nil {
					return
				}
			} else {
				n, err := far.Read(buffer)
				if err != nil {
					return
				}
				raw = buffer[:n]
			}
			q := new(dns.Msg)
			if err := q.Unpack(raw); err != nil {
				panic(err)
			}
			w.mu.Lock()
			w.asked = append(w.asked, fmt.Sprintf("%s %s %s", network, dns.Type(q.Question[0].Qtype), q.Question[0].Name))
			w.mu.Unlock()
			for _, reply := range w.answer(network, server, q) {
				if network == "tcp" {
					reply = append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
				}
				if _, err := far.Write(reply); err != nil {
					return
				}
			}
		}
	}()
	return client, nil
}

func (w *wire) resolver(servers ...netip.AddrPort) *resolver.Resolver {
	if len(servers) == 0 {
		servers = []netip.AddrPort{server}
	}
	r := resolver.New(servers, false)
	r.Dial = w.dial
	return r
}

// ask opens a round of its own for one question.
func ask(t *testing.T, r *resolver.Resolver, q identity.Question) answer {
	t.Helper()
	exchange, err := r.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer exchange.Close()
	return over(t.Context(), exchange, q)
}

// over puts a question over an exchange.
func over(ctx context.Context, exchange identity.Exchange, q identity.Question) answer {
	a := exchange.Ask(ctx, q)
	return answer{a, shown.Of(a)}
}

// answer is an answer and what it looked like.
type answer struct {
	identity.Answer
	look
}

type look = shown.Answer

func (a answer) String() string { return fmt.Sprintf("%+v %#v", a.Answer, a.look) }

// reply makes the packet of an answer from resource records in zone form.
func reply(q *dns.Msg, rcode int, records ...string) *dns.Msg {
	m := new(dns.Msg).SetRcode(q, rcode)
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

func pack(m *dns.Msg) []byte {
	raw, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return raw
}

const soa = "cluster.local. 30 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"

func TestAnAnswerIsReadAsWhatItSays(t *testing.T) {
	const owner = "db-0.db.default.svc.cluster.local."
	ptr := identity.Question{Kind: identity.Reverse, Addr: netip.MustParseAddr("10.244.0.17")}
	for _, test := range []struct {
		what    string
		q       identity.Question
		rcode   int
		records []string
		is      identity.Outcome
		wire    string
		addrs   string
		names   string
		zone    string
		again   time.Duration
	}{
		{"an address", a, dns.RcodeSuccess, []string{owner + " 30 A 10.244.0.17"}, identity.Found, "10.244.0.17", "[10.244.0.17]", "[]", "", 0},
		{"two addresses, in whatever order", a, dns.RcodeSuccess, []string{owner + " 30 A 10.244.0.18", owner + " 30 A 10.244.0.17"}, identity.Found, "10.244.0.17 and 10.244.0.18", "[10.244.0.17 10.244.0.18]", "[]", "", 0},
		{"owner in other case", a, dns.RcodeSuccess, []string{"DB-0.db.DEFAULT.svc.cluster.local. 30 A 10.244.0.17"}, identity.Found, "10.244.0.17", "[10.244.0.17]", "[]", "", 0},
		{"a foreign owner is nobody's answer", a, dns.RcodeSuccess, []string{"db-1.db.default.svc.cluster.local. 30 A 10.244.0.17"}, identity.NoData, "no data", "[]", "[]", "", 30 * time.Second},
		{"a CNAME in the same message", a, dns.RcodeSuccess, []string{owner + " 30 CNAME x.example.", "x.example. 30 CNAME y.example.", "y.example. 30 A 10.244.0.17"}, identity.Found, "10.244.0.17", "[10.244.0.17]", "[]", "", 0},
		{"a dangling CNAME", a, dns.RcodeSuccess, []string{owner + " 30 CNAME x.example."}, identity.NoData, "no data", "[]", "[]", "", 30 * time.Second},
		{"a CNAME in a circle", a, dns.RcodeSuccess, []string{owner + " 30 CNAME x.example.", "x.example. 30 CNAME " + owner}, identity.NoData, "no data", "[]", "[]", "", 30 * time.Second},
		{"eight CNAMEs", a, dns.RcodeSuccess, chain(owner, 8), identity.Found, "10.244.0.17", "[10.244.0.17]", "[]", "", 0},
		{"nine CNAMEs", a, dns.RcodeSuccess, chain(owner, 9), identity.NoData, "no data", "[]", "[]", "", 30 * time.Second},
		{"no data, as long as its SOA says", a, dns.RcodeSuccess, []string{soa}, identity.NoData, "no data", "[]", "[]", "cluster.local", 5 * time.Second},
		{"a denial, as long as its SOA says", a, dns.RcodeNameError, []string{soa}, identity.Denied, "NXDOMAIN", "[]", "[]", "cluster.local", 5 * time.Second},
		{"the SOA's own TTL, where it is less", a, dns.RcodeNameError, []string{". 7 SOA a. b. 1 2 3 4 86400"}, identity.Denied, "NXDOMAIN", "[]", "[]", ".", 7 * time.Second},
		{"a denial for days", a, dns.RcodeNameError, []string{". 86399 SOA a. b. 1 2 3 4 86400"}, identity.Denied, "NXDOMAIN", "[]", "[]", ".", 2 * time.Minute},
		{"a denial that may be fresh", a, dns.RcodeNameError, []string{". 30 SOA a. b. 1 2 3 4 30"}, identity.Denied, "NXDOMAIN", "[]", "[]", ".", 0},
		{"a denial without SOA", a, dns.RcodeNameError, nil, identity.Denied, "NXDOMAIN", "[]", "[]", "", 30 * time.Second},
		{"SERVFAIL", a, dns.RcodeServerFailure, nil, identity.Failed, "SERVFAIL", "[]", "[]", "", 0},
		{"REFUSED", a, dns.RcodeRefused, nil, identity.Refused, "REFUSED", "[]", "[]", "", 0},
		{"NOTIMP", a, dns.RcodeNotImplemented, nil, identity.Refused, "NOTIMP", "[]", "[]", "", 0},
		{"an rcode without name", a, 12, nil, identity.Failed, "RCODE12", "[]", "[]", "", 0},
		{"names, with what is odd escaped", ptr, dns.RcodeSuccess, []string{`17.0.244.10.in-addr.arpa. 30 PTR Evil\010\027[31m.example.`, "17.0.244.10.in-addr.arpa. 30 PTR DB-0.db.default.svc.cluster.local."}, identity.Found, `db-0.db.default.svc.cluster.local and evil\010\027[31m.example`, "[]", `[db-0.db.default.svc.cluster.local evil\010\027[31m.example]`, "", 0},
	} {
		t.Run(test.what, func(t *testing.T) {
			w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte { return [][]byte{pack(reply(q, test.rcode, test.records...))} }}
			got := ask(t, w.resolver(), test.q)
			if got.Is != test.is || got.Wire != test.wire || fmt.Sprint(got.Addrs) != test.addrs || fmt.Sprint(got.Names) != test.names || got.Zone.String() != test.zone || got.Again != test.again {
				t.Errorf("got %+v", got)
			}
			if got.Question != test.q || got.Server != server {
				t.Errorf("the answer is to %+v of %s", got.Question, got.Server)
			}
		})
	}
}

// An answer without an answer's rcode says nothing, whatever records it holds.
func TestEveryRcodeIsAnAnswerADenialARefusalOrAFailure(t *testing.T) {
	q := new(dns.Msg).SetQuestion("db-0.db.default.svc.cluster.local.", dns.TypeA)
	q.SetEdns0(1232, false) // which has the other eight bits of an rcode (RFC 6891, 6.1.3)
	want := map[int]identity.Outcome{
		dns.RcodeSuccess: identity.Found, dns.RcodeNameError: identity.Denied,
		dns.RcodeRefused: identity.Refused, dns.RcodeNotImplemented: identity.Refused,
	}
	for rcode := range 1 << 12 {
		m := reply(q, rcode, "db-0.db.default.svc.cluster.local. 30 A 10.244.0.17")
		m.SetEdns0(1232, false)
		a, ok := resolver.Read(pack(m), q)
		is, known := want[rcode]
		if !known {
			is = identity.Failed
		}
		if !ok || a.Is != is || (len(a.Addrs) > 0) != (rcode == dns.RcodeSuccess) {
			t.Errorf("rcode %d: %+v", rcode, a)
		}
	}
}

func TestNobodyCanTellTheNextID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a busy machine lets no question run out of time
		var ids []uint16
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			ids = append(ids, q.Id)
			return [][]byte{pack(reply(q, dns.RcodeSuccess, "db-0.db.default.svc.cluster.local. 30 A 10.244.0.17"))}
		}}
		r := w.resolver()
		const n = 1000
		for range n {
			ask(t, r, a)
		}
		seen, steps := map[uint16]bool{}, map[uint16]bool{}
		for i, id := range ids {
			seen[id] = true
			if i > 0 {
				steps[id-ids[i-1]] = true
			}
		}
		// Of a thousand drawn from 65,536, eight are expected twice.
		if len(ids) != n || len(seen) < n-60 || len(steps) < n-60 {
			t.Errorf("%d questions with %d IDs and %d steps from one to the next", len(ids), len(seen), len(steps))
		}
	})
}

func chain(owner string, n int) []string {
	var records []string
	for i := range n {
		next := fmt.Sprintf("n%d.example.", i)
		records = append(records, owner+" 30 CNAME "+next)
		owner = next
	}
	// The order in a message means nothing.
	slices.Reverse(records)
	return append(records, owner+" 30 A 10.244.0.17")
}

func TestWhatDoesNotAnswerTheQuestionIsDiscarded(t *testing.T) {
	good := func(q *dns.Msg) *dns.Msg {
		return reply(q, dns.RcodeSuccess, "db-0.db.default.svc.cluster.local. 30 A 10.244.0.17")
	}
	evil := func(q *dns.Msg) *dns.Msg {
		return reply(q, dns.RcodeSuccess, "db-0.db.default.svc.cluster.local. 30 A 10.66.66.66")
	}
	for what, noise := range map[string]func(q *dns.Msg) []byte{
		"another ID":     func(q *dns.Msg) []byte { m := evil(q); m.Id++; return pack(m) },
		"a question":     func(q *dns.Msg) []byte { m := evil(q); m.Response = false; return pack(m) },
		"another opcode": func(q *dns.Msg) []byte { m := evil(q); m.Opcode = dns.OpcodeNotify; return pack(m) },
		"another type":   func(q *dns.Msg) []byte { m := evil(q); m.Question[0].Qtype = dns.TypeAAAA; return pack(m) },
		"another class":  func(q *dns.Msg) []byte { m := evil(q); m.Question[0].Qclass = dns.ClassCHAOS; return pack(m) },
		"another name":   func(q *dns.Msg) []byte { m := evil(q); m.Question[0].Name = "x."; return pack(m) },
		"no question":    func(q *dns.Msg) []byte { m := evil(q); m.Question = nil; return pack(m) },
		"two questions":  func(q *dns.Msg) []byte { m := evil(q); m.Question = append(m.Question, m.Question[0]); return pack(m) },
		"half a message": func(q *dns.Msg) []byte { raw := pack(evil(q)); return raw[:len(raw)-3] },
		"one record of two": func(q *dns.Msg) []byte {
			both := evil(q)
			both.Answer = append(both.Answer, good(q).Answer...)
			return pack(both)[:len(pack(evil(q)))]
		},
		"a header alone": func(q *dns.Msg) []byte { return pack(evil(q))[:12] },
		"nothing":        func(q *dns.Msg) []byte { return []byte{} },
		"noise":          func(q *dns.Msg) []byte { return []byte("\xff\x00\xfe garbage") },
		"a compression loop": func(q *dns.Msg) []byte {
			raw := pack(evil(q))
			return append(raw[:12], 0xc0, 12, 0, 1, 0, 1)
		},
	} {
		t.Run(what, func(t *testing.T) {
			for _, network := range []string{"udp", "tcp"} {
				w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
					q = q.Copy()
					return [][]byte{noise(q.Copy()), noise(q.Copy()), pack(good(q))}
				}}
				r := resolver.New([]netip.AddrPort{server}, network == "tcp")
				r.Dial = w.dial
				got := ask(t, r, a)
				if got.Is != identity.Found || got.Wire != "10.244.0.17" {
					t.Errorf("by %s: got %+v", network, got)
				}
			}
		})
	}
}

func TestAnAnswerThatIsCutAnywhereIsDiscarded(t *testing.T) {
	const one, other = "db-0.db.default.svc.cluster.local. 30 A 10.66.66.66", "db-0.db.default.svc.cluster.local. 30 A 10.66.66.67"
	whole := len(pack(reply(new(dns.Msg).SetQuestion("db-0.db.default.svc.cluster.local.", dns.TypeA), dns.RcodeSuccess, one, other)))
	for cut := range whole + 1 {
		synctest.Test(t, func(t *testing.T) {
			w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
				raw := pack(reply(q, dns.RcodeSuccess, one, other))
				return [][]byte{raw[:cut], pack(reply(q, dns.RcodeSuccess, "db-0.db.default.svc.cluster.local. 30 A 10.244.0.17"))}
			}}
			want := "10.244.0.17"
			if cut == whole {
				want = "10.66.66.66 and 10.66.66.67"
			}
			if got := ask(t, w.resolver(), a); got.Wire != want {
				t.Errorf("at byte %d of %d: got %s", cut, whole, got.Wire)
			}
		})
	}
}

func TestNoiseAloneIsSilenceAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte { return [][]byte{{1, 2, 3}} }}
		begin := time.Now()
		got := ask(t, w.resolver(), a)
		if got.Is != identity.Silent || got.Wire != "nothing within 1s" || time.Since(begin) != time.Second {
			t.Errorf("got %+v after %s", got, time.Since(begin))
		}
	})
}

// stopped is a connection of a process that is stopped while an answer lies there: what is read then is read too late.
type stopped struct{ net.Conn }

func (s stopped) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	time.Sleep(time.Minute)
	return n, err
}

func TestAnAnswerThatIsReadPastTheDeadlineIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			return [][]byte{pack(reply(q, dns.RcodeSuccess, db0.String()+". 5 IN A 10.244.1.7"))}
		}}
		for _, vc := range []bool{false, true} {
			r := resolver.New([]netip.AddrPort{server}, vc)
			r.Dial = func(ctx context.Context, network, server string) (net.Conn, error) {
				conn, err := w.dial(ctx, network, server)
				return stopped{conn}, err
			}
			if got := ask(t, r, a); got.Is != identity.Silent || !strings.HasPrefix(got.Wire, "nothing within 1s") {
				t.Errorf("by TCP %t: it says %v, %q", vc, got.Is, got.Wire)
			}
		}
	})
}

func TestPatienceGrowsWithSilenceAndAnAnswerResetsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := true
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			if silent {
				return nil
			}
			return [][]byte{pack(reply(q, dns.RcodeNameError, soa))}
		}}
		r := w.resolver()
		for _, want := range []time.Duration{1, 2, 4, 5, 5} {
			begin := time.Now()
			if ask(t, r, a); time.Since(begin) != want*time.Second {
				t.Errorf("waited %s, not %ds", time.Since(begin), want)
			}
		}
		synctest.Wait()
		silent = false
		ask(t, r, a)
		synctest.Wait()
		silent = true
		begin := time.Now()
		if ask(t, r, a); time.Since(begin) != 5*time.Second {
			t.Errorf("waited %s after an answer, not 5s", time.Since(begin))
		}
	})
}

func TestALostQuestionIsSentOnceMoreToAServerThatHasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var lose int
		var ids []uint16
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			mu.Lock()
			defer mu.Unlock()
			ids = append(ids, q.Id)
			if lose--; lose >= 0 {
				return nil
			}
			return [][]byte{pack(reply(q, dns.RcodeSuccess, db0.String()+". 5 A 10.244.0.27"))}
		}}
		r := w.resolver()
		for i, c := range []struct {
			lose    int
			is      identity.Outcome
			took    time.Duration
			packets int
		}{
			{1, identity.Silent, time.Second, 1}, // never heard of: perhaps there is no such server
			{0, identity.Found, 0, 1},
			{0, identity.Found, 0, 1},
			{1, identity.Found, 200 * time.Millisecond, 2},
			{1, identity.Found, 200 * time.Millisecond, 2},
			{2, identity.Found, 600 * time.Millisecond, 3},
			{9, identity.Silent, 5 * time.Second, 5}, // at 0, 200, 600, 1400 and 3000
			{1, identity.Silent, 2 * time.Second, 1}, // silent before: no more hope than for a new one
		} {
			mu.Lock()
			lose, ids = c.lose, nil
			mu.Unlock()
			begin := time.Now()
			got := ask(t, r, a)
			took := time.Since(begin)
			synctest.Wait()
			mu.Lock()
			if got.Is != c.is || took != c.took || len(ids) != c.packets {
				t.Errorf("case %d: got %+v after %s and %d packets", i, got, took, len(ids))
			}
			if len(slices.Compact(ids)) < c.packets {
				t.Errorf("case %d: packets that cannot be told apart: %v", i, ids)
			}
			mu.Unlock()
		}
	})
}

func TestASlowServerHasFourTimesItsUsualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var takes, asked atomic.Int64
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			asked.Add(1)
			time.Sleep(time.Duration(takes.Load()))
			return [][]byte{pack(reply(q, dns.RcodeSuccess, db0.String()+". 5 A 10.244.0.27"))}
		}}
		r := w.resolver()
		for _, ms := range []time.Duration{60, 230, 900, 3500, 60} {
			takes.Store(int64(ms * time.Millisecond))
			asked.Store(0)
			begin := time.Now()
			got := ask(t, r, a)
			if took := time.Since(begin); got.Is != identity.Found || took != ms*time.Millisecond || asked.Load() != 1 {
				t.Errorf("a server that takes %dms: got %+v after %s and %d packets", ms, got, took, asked.Load())
			}
		}
	})
}

func TestTheEndOfTheContextEndsAQuestionThatWasSentTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var silent atomic.Bool
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			if silent.Load() {
				return nil
			}
			return [][]byte{pack(reply(q, dns.RcodeSuccess, db0.String()+". 5 A 10.244.0.27"))}
		}}
		for _, ms := range []time.Duration{199, 200, 201, 300} {
			r := w.resolver()
			silent.Store(false)
			ask(t, r, a)
			silent.Store(true)
			ctx, cancel := context.WithTimeout(t.Context(), ms*time.Millisecond)
			exchange, err := r.Open(ctx)
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			if got := exchange.Ask(ctx, a); got.Is != identity.Silent || time.Since(begin) != ms*time.Millisecond {
				t.Errorf("got %+v after %s, not %dms", got, time.Since(begin), ms)
			}
			exchange.Close()
			cancel()
		}
	})
}

func TestADenialThatIsKeptByNameIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		left := func() int { return 30 - int(time.Since(begin).Seconds())%30 }
		w := &wire{}
		w.answer = func(_, _ string, q *dns.Msg) [][]byte {
			return [][]byte{pack(reply(q, dns.RcodeNameError, fmt.Sprintf("cluster.local. %d SOA a. b. 1 2 3 4 30", left())))}
		}
		r := w.resolver()
		for time.Since(begin) < 2*time.Second {
			if got := ask(t, r, exists); got.Again > time.Second {
				t.Errorf("after %s the next is asked %s later", time.Since(begin), got.Again)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if got := ask(t, r, exists); got.Again != 28*time.Second {
			t.Errorf("after %s the next is asked %s later, not when the denial ends", time.Since(begin), got.Again)
		}
		// A denial that begins again is not such a one until it counts down too.
		time.Sleep(28 * time.Second)
		if got := ask(t, r, exists); got.Again > 2*time.Second {
			t.Errorf("after %s the next is asked %s later", time.Since(begin), got.Again)
		}
	})
}

// What a process asked that was here before is cached by types of their own, perhaps all from the same second.
func TestADenialFromBeforeTheNameWasShownIsNotWaitedOut(t *testing.T) {
	for _, before := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var denied time.Time // since when a cache says so
			w := &wire{}
			w.answer = func(_, _ string, q *dns.Msg) [][]byte {
				if denied.IsZero() {
					return [][]byte{pack(reply(q, dns.RcodeSuccess))}
				}
				left := 30 - int(time.Since(denied).Seconds())
				return [][]byte{pack(reply(q, dns.RcodeNameError, fmt.Sprintf("cluster.local. %d SOA a. b. 1 2 3 4 30", left)))}
			}
			r := w.resolver()
			ask(t, r, exists)
			denied = time.Now()
			if before {
				denied = denied.Add(-2 * time.Second)
			}
			var last answer
			for range 6 {
				last = ask(t, r, exists)
				time.Sleep(500 * time.Millisecond)
			}
			if waits := last.Again > 20*time.Second; waits == before {
				t.Errorf("denied before the name was shown: %t; the next is asked %s later", before, last.Again)
			}
		})
	}
}

// Such are what a process before this one has asked: some probe types are denied from a cache, and others are not.
func TestDenialsAmongOtherAnswersAreNotKeptByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, n := time.Now(), 0
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			if n++; n%4 == 0 {
				return [][]byte{pack(reply(q, dns.RcodeSuccess, fresh))}
			}
			left := 30 - int(time.Since(start).Seconds())
			return [][]byte{pack(reply(q, dns.RcodeNameError, fmt.Sprintf("cluster.local. %d SOA a. b. 1 2 3 4 30", left)))}
		}}
		r := w.resolver()
		for range 16 {
			if got := ask(t, r, exists); got.Again > 3*time.Second {
				t.Errorf("after %s: %s, and again after %s", time.Since(start), got.Wire, got.Again)
			}
			time.Sleep(500 * time.Millisecond)
		}
	})
}

func TestTheEndOfTheContextEndsAQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: func(string, string, *dns.Msg) [][]byte { return nil }}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		begin := time.Now()
		exchange, err := w.resolver().Open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer exchange.Close()
		if got := exchange.Ask(ctx, a); got.Is != identity.Silent || time.Since(begin) != 300*time.Millisecond {
			t.Errorf("got %+v after %s", got, time.Since(begin))
		}
	})
}

func TestATruncatedAnswerIsFetchedByTCPFromTheSameServer(t *testing.T) {
	w := &wire{answer: func(network, _ string, q *dns.Msg) [][]byte {
		m := reply(q, dns.RcodeSuccess, "db-0.db.default.svc.cluster.local. 30 A 10.244.0.17")
		if m.Truncated = network == "udp"; !m.Truncated {
			m = reply(q, dns.RcodeSuccess, "db-0.db.default.svc.cluster.local. 30 A 10.244.0.17", "db-0.db.default.svc.cluster.local. 30 A 10.244.0.18")
		}
		return [][]byte{pack(m)}
	}}
	r := w.resolver()
	exchange, err := r.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer exchange.Close()
	for range 2 {
		if got := over(t.Context(), exchange, a); got.Wire != "10.244.0.17 and 10.244.0.18" {
			t.Errorf("got %+v", got)
		}
	}
	if want := []string{"udp 10.96.0.10:53", "tcp 10.96.0.10:53"}; !slices.Equal(w.dials, want) {
		t.Errorf("dialled %q, want %q", w.dials, want)
	}
}

func TestAnAnswerTruncatedByTCPTooIsNotAnAnswer(t *testing.T) {
	w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
		m := reply(q, dns.RcodeSuccess, "db-0.db.default.svc.cluster.local. 30 A 10.244.0.17")
		m.Truncated = true
		return [][]byte{pack(m)}
	}}
	exchange, err := w.resolver().Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer exchange.Close()
	why := resolver.Why(t.Context(), exchange, "db-0.db.default.svc.cluster.local.", dns.TypeA)
	if got := over(t.Context(), exchange, a); got.Is != identity.Silent || why == nil || why.Error() != "by TCP: truncated too" || got.Wire != "nothing by TCP, where UDP's answer is cut" {
		t.Errorf("got %+v, as %v", got, why)
	}
}

func TestSilenceByTCPSaysHowLongItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: func(network, _ string, q *dns.Msg) [][]byte {
			if network == "tcp" {
				return nil
			}
			m := reply(q, dns.RcodeSuccess)
			m.Truncated = true
			return [][]byte{pack(m)}
		}}
		begin := time.Now()
		got := ask(t, w.resolver(), a)
		if want := "nothing within 1s by TCP, where UDP's answer is cut"; got.Wire != want || time.Since(begin) != time.Second {
			t.Errorf("%q after %s, want %q", got.Wire, time.Since(begin), want)
		}
	})
}

func TestAClosedTCPPortIsDistinguishedFromADeadServer(t *testing.T) {
	w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
		m := reply(q, dns.RcodeSuccess)
		m.Truncated = true
		return [][]byte{pack(m)}
	}}
	r := w.resolver()
	r.Dial = func(ctx context.Context, network, to string) (net.Conn, error) {
		if network == "tcp" {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		return w.dial(ctx, network, to)
	}
	if got := ask(t, r, a); got.Is != identity.Silent || got.Wire != "nothing by TCP, where UDP's answer is cut (connection refused)" {
		t.Errorf("got %+v", got)
	}
}

func TestAServerThatDoesNotKnowEDNSIsAskedWithout(t *testing.T) {
	for _, rcode := range []int{dns.RcodeFormatError, dns.RcodeBadVers} {
		t.Run(dns.RcodeToString[rcode], func(t *testing.T) {
			with := 0
			w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
				if opt := q.IsEdns0(); opt != nil {
					with++
					if opt.UDPSize() != 1232 || opt.Do() {
						t.Errorf("asked with %v", opt)
					}
					m := reply(q, rcode)
					if rcode == dns.RcodeBadVers {
						m.SetEdns0(1232, false)
					} else {
						m.Question = nil // as a server may that could not read it
					}
					return [][]byte{pack(m)}
				}
				return [][]byte{pack(reply(q, dns.RcodeSuccess, "db-0.db.default.svc.cluster.local. 30 A 10.244.0.17"))}
			}}
			r := w.resolver()
			for range 3 {
				if got := ask(t, r, a); got.Is != identity.Found {
					t.Errorf("got %+v", got)
				}
			}
			if with != 1 || len(w.asked) != 4 {
				t.Errorf("asked %d times, %d with EDNS0, want 4 and 1", len(w.asked), with)
			}
		})
	}
}

func TestFormatErrorWithoutEDNSIsAFailure(t *testing.T) {
	w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte { return [][]byte{pack(reply(q, dns.RcodeFormatError))} }}
	if got := ask(t, w.resolver(), a); got.Is != identity.Failed || got.Wire != "FORMERR" || len(w.asked) != 2 {
		t.Errorf("got %+v after %q", got, w.asked)
	}
}

func TestTheNextServerIsAskedAfterAFailureAndTheFirstAfterADenial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for what, fail := range map[string]func(q *dns.Msg) [][]byte{
			"silent":   func(q *dns.Msg) [][]byte { return nil },
			"SERVFAIL": func(q *dns.Msg) [][]byte { return [][]byte{pack(reply(q, dns.RcodeServerFailure))} },
			"REFUSED":  func(q *dns.Msg) [][]byte { return [][]byte{pack(reply(q, dns.RcodeRefused))} },
		} {
			found := true
			w := &wire{answer: func(_, to string, q *dns.Msg) [][]byte {
				switch {
				case to == server.String():
					return fail(q)
				case found:
					return [][]byte{pack(reply(q, dns.RcodeSuccess, "db-0.db.default.svc.cluster.local. 30 A 10.244.0.17"))}
				}
				return [][]byte{pack(reply(q, dns.RcodeNameError, soa))}
			}}
			r := w.resolver(server, second)
			for range 3 {
				ask(t, r, a)
			}
			synctest.Wait()
			found = false
			for range 2 {
				ask(t, r, a)
			}
			want := []string{"udp 10.96.0.10:53", "udp 10.96.0.11:53", "udp 10.96.0.11:53", "udp 10.96.0.11:53", "udp 10.96.0.10:53"}
			if !slices.Equal(w.dials, want) {
				t.Errorf("%s: dialled %q, want %q", what, w.dials, want)
			}
		}
	})
}

// Where one type alone is refused, a denial is not taken for cached.
func TestAServerThatRefusesOneTypeRefusesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuses := true
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			if refuses && q.Question[0].Qtype != dns.TypeA {
				return [][]byte{pack(reply(q, dns.RcodeRefused))}
			}
			return [][]byte{pack(reply(q, dns.RcodeNameError, fresh))}
		}}
		r := w.resolver()
		for _, want := range []time.Duration{30 * time.Second, 0} {
			ask(t, r, exists)
			if got := ask(t, r, a); got.Again != want {
				t.Errorf("refuses %v: ask again after %s, not %s", refuses, got.Again, want)
			}
			synctest.Wait()
			refuses = false
		}
	})
}

func TestAServerThatRefusesOtherTypesKeepsItsTurn(t *testing.T) {
	w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte { return [][]byte{pack(reply(q, dns.RcodeRefused))} }}
	r := w.resolver(server, second)
	for range 2 {
		if got := ask(t, r, exists); got.Is != identity.Refused || got.Server != server {
			t.Errorf("got %+v", got)
		}
	}
}

func TestAServerThatCannotBeDialledLosesItsTurn(t *testing.T) {
	r := resolver.New([]netip.AddrPort{server, second}, false)
	r.Dial = func(_ context.Context, _, to string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: syscall.ENETUNREACH}
	}
	for _, want := range []string{"10.96.0.10:53", "10.96.0.11:53", "10.96.0.10:53"} {
		_, err := r.Open(t.Context())
		if err == nil || err.Error() != "cannot reach nameserver "+want+": network is unreachable" || !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("got %v, want one about %s", err, want)
		}
	}
	if _, err := resolver.New(nil, false).Open(t.Context()); err == nil {
		t.Error("a resolver without servers asks somebody")
	}
}

func TestExistenceIsNeverAskedTwiceByAProbeTypeThatACacheMayHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		denied := map[string]time.Time{}
		private := map[uint16]bool{dns.TypeA: false, dns.TypeAAAA: false, dns.TypePTR: false, dns.TypeCNAME: false, dns.TypeNS: false, dns.TypeANY: false}
		w := &wire{}
		w.answer = func(_, _ string, q *dns.Msg) [][]byte {
			qtype := q.Question[0].Qtype
			if _, used := private[qtype]; used || qtype >= 0xff00 {
				t.Errorf("asked %s, which is not a probe type", dns.Type(qtype))
			}
			key := dns.Type(qtype).String()
			if at, ok := denied[key]; ok && time.Since(at) < 30*time.Second {
				t.Errorf("asked %s again after %s", key, time.Since(at))
			}
			denied[key] = time.Now()
			return [][]byte{pack(reply(q, dns.RcodeNameError, "cluster.local. 30 SOA a. b. 1 2 3 4 30"))}
		}
		r := w.resolver()
		begin := time.Now()
		for time.Since(begin) < 5*time.Minute {
			got := ask(t, r, exists)
			if got.Is != identity.Denied {
				t.Fatalf("got %+v after %s", got, time.Since(begin))
			}
			pause := max(got.Again, 30*time.Millisecond)
			if allowed := 30*time.Millisecond + time.Since(begin)/4; pause > allowed && pause > 1300*time.Millisecond {
				t.Errorf("after %s the next probe type has to wait for %s", time.Since(begin), pause)
			}
			time.Sleep(pause)
		}
		if most := 34 * 11; len(w.asked) < 200 || len(w.asked) > most {
			t.Errorf("%d questions in five minutes, want 200 to %d", len(w.asked), most)
		}
	})
}

func TestWithoutAFreeProbeTypeNothingIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			return [][]byte{pack(reply(q, dns.RcodeSuccess, "cluster.local. 30 SOA a. b. 1 2 3 4 30"))}
		}}
		r := w.resolver()
		for range 34 {
			if got := ask(t, r, exists); got.Is != identity.NoData {
				t.Fatalf("got %+v", got)
			}
		}
		time.Sleep(10 * time.Second)
		got := ask(t, r, exists)
		if got.Is != identity.Unasked || got.Again != 20*time.Second || len(w.asked) != 34 {
			t.Errorf("got %+v, asked %d", got, len(w.asked))
		}
		time.Sleep(got.Again)
		if got := ask(t, r, exists); got.Is != identity.NoData {
			t.Errorf("got %+v", got)
		}
	})
}

// The type that has told the truth is asked again, whatever a cache keeps of it.
func TestTheConfirmingRoundsAskTheSameProbeType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			if strings.HasPrefix(q.Question[0].Name, "podfqdn-") {
				return [][]byte{pack(reply(q, dns.RcodeNameError, fresh))}
			}
			return [][]byte{pack(reply(q, dns.RcodeSuccess, fresh))}
		}}
		r := w.resolver()
		sibling, same := exists, exists
		sibling.Kind, same.Same = identity.Sibling, true
		for _, q := range []identity.Question{exists, sibling, same, same, sibling} {
			if got := ask(t, r, q); (got.Is == identity.Denied) != (q.Kind == identity.Sibling) {
				t.Errorf("got %+v", got)
			}
		}
		word := strings.Fields(w.asked[0])[1]
		for i, asked := range w.asked {
			if strings.Fields(asked)[1] != word || i != 4 && i != 1 && asked != w.asked[0] {
				t.Errorf("asked %q", w.asked)
			}
		}
		if w.asked[1] == w.asked[4] || !strings.HasSuffix(w.asked[1], ".db.default.svc.cluster.local.") {
			t.Errorf("asked %q", w.asked)
		}
	})
}

func TestATTLThatCountsDownShowsHowLongTheAnswerStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ttl := uint32(30)
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			return [][]byte{pack(reply(q, dns.RcodeSuccess, fmt.Sprintf("db-0.db.default.svc.cluster.local. %d A 10.244.0.9", ttl)))}
		}}
		r := w.resolver()
		for _, step := range []struct {
			ttl   uint32
			again time.Duration
		}{{30, 0}, {30, 0}, {29, 29 * time.Second}, {3, 3 * time.Second}, {30, 0}} {
			synctest.Wait()
			ttl = step.ttl
			if got := ask(t, r, a); got.Again != step.again {
				t.Errorf("with TTL %d: ask again after %s, want %s", ttl, got.Again, step.again)
			}
		}
	})
}

// Two nameservers have TTLs of their own: that one's is less than the other's shows no cache.
func TestATTLIsComparedWithThatOfTheSameServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := false
		w := &wire{answer: func(_, to string, q *dns.Msg) [][]byte {
			switch {
			case fails:
				return [][]byte{pack(reply(q, dns.RcodeServerFailure))}
			case to == server.String():
				return [][]byte{pack(reply(q, dns.RcodeSuccess, db0.String()+". 30 A 10.244.0.9"))}
			}
			return [][]byte{pack(reply(q, dns.RcodeSuccess, db0.String()+". 5 A 10.244.0.9"))}
		}}
		r := w.resolver(server, second)
		for _, after := range []time.Duration{0, 0, 7 * time.Second, 7 * time.Second} {
			time.Sleep(after)
			if got := ask(t, r, a); got.Cached || got.Again != 0 {
				t.Errorf("%s: cached %v, again %s", got.Server, got.Cached, got.Again)
			}
			synctest.Wait()
			fails = true
			ask(t, r, a) // the other one is next
			synctest.Wait()
			fails = false
		}
	})
}

func TestTheReverseNameIsThatOfTheAddress(t *testing.T) {
	w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte { return [][]byte{pack(reply(q, dns.RcodeNameError))} }}
	r := w.resolver()
	for _, addr := range []string{"10.244.0.17", "fd00:10:244::11"} {
		ask(t, r, identity.Question{Kind: identity.Reverse, Addr: netip.MustParseAddr(addr)})
	}
	want := []string{"udp PTR 17.0.244.10.in-addr.arpa.", "udp PTR 1.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.4.4.2.0.0.1.0.0.0.0.d.f.ip6.arpa."}
	if !slices.Equal(w.asked, want) {
		t.Errorf("asked %q, want %q", w.asked, want)
	}
}

func TestAnAnswerShowsPeopleHowItCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			time.Sleep(3 * time.Millisecond)
			m := reply(q, dns.RcodeNameError, "cluster.local. 17 SOA a. b. 1 2 3 4 30")
			if q.Question[0].Qtype != dns.TypeA {
				m = reply(q, dns.RcodeSuccess)
			}
			m.Authoritative = true
			return [][]byte{pack(m)}
		}}
		r := w.resolver()
		got := ask(t, r, a)
		if got.Type != "A" || got.Rcode != "NXDOMAIN" || !got.AA || got.TTL != 17*time.Second || got.Full != 30*time.Second || got.Cached || got.Renewed || got.Took != 3*time.Millisecond || got.At != time.Now() || got.NSID != "" {
			t.Errorf("got %+v", got)
		}
		// A denial without SOA has no TTL.
		if got := ask(t, r, exists); !strings.HasPrefix(got.Probe, got.Type+", and ") || got.Rcode != "NOERROR" || got.TTL != 0 || got.Full != 0 || got.Cached {
			t.Errorf("got %+v", got)
		}
		w.answer = func(_, _ string, q *dns.Msg) [][]byte { return nil }
		if got := ask(t, r, a); got.Type != "A" || got.Rcode != "" || got.AA || got.Took != 5*time.Second {
			t.Errorf("got %+v", got)
		}
	})
}

// fresh is the SOA of a denial that no cache has had.
const fresh = "cluster.local. 30 SOA a. b. 1 2 3 4 30"

// bystander returns a resolver of a bystander, made by Bystander.
func (w *wire) bystander() *resolver.Resolver {
	r := resolver.Bystander(server, false)
	r.Dial = w.dial
	return r
}

func TestABystanderTakesOtherProbeTypesThanTheWaitingProcessAndEachTimeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte { return [][]byte{pack(reply(q, dns.RcodeNameError, fresh))} }}
		waiting := w.resolver()
		for range 17 {
			ask(t, waiting, exists)
		}
		begin := map[string]bool{}
		for range 30 {
			synctest.Wait()
			r := w.bystander()
			before := len(w.asked)
			for range 17 {
				if got := ask(t, r, exists); got.Is != identity.Denied {
					t.Fatalf("got %+v", got)
				}
			}
			synctest.Wait()
			begin[w.asked[before]] = true
			for i, q := range w.asked[before:] {
				if slices.Contains(w.asked[:17], q) || slices.Contains(w.asked[before:before+i], q) {
					t.Errorf("asked %s", q)
				}
			}
		}
		if len(begin) < 5 {
			t.Errorf("thirty began with %v", begin)
		}
	})
}

// What comes again when its TTL has run out is what the server says now, and not left in a cache from before.
func TestADenialThatComesAgainIsDistinguishedFromACachedOne(t *testing.T) {
	type seen struct {
		after       time.Duration // since the one before
		says        string        // "TTL MINIMUM", or an address
		cached, new bool
	}
	for name, row := range map[string][]seen{
		"left in a cache, and gone":          {{0, "17 30", false, false}, {2 * time.Second, "15 30", true, false}, {15 * time.Second, "10.244.1.7", false, false}},
		"left in a cache, and denied again":  {{0, "17 30", false, false}, {18 * time.Second, "30 30", false, true}, {time.Second, "29 30", true, true}},
		"our own question":                   {{0, "30 30", false, false}, {3 * time.Second, "27 30", true, false}, {28 * time.Second, "30 30", false, true}},
		"our own, through a cache that cuts": {{0, "30 3600", false, false}, {3 * time.Second, "27 3600", true, false}, {28 * time.Second, "30 3600", false, true}},
		"no TTL at all, and half a minute":   {{0, "", false, false}, {20 * time.Second, "", false, false}, {31 * time.Second, "", false, true}},
		"a record, and then a cached denial": {{0, "10.244.1.7", false, false}, {time.Second, "17 30", false, false}, {time.Second, "16 30", true, false}},
		"a denial, a record, and a denial":   {{0, "30 30", false, false}, {31 * time.Second, "10.244.1.7", false, false}, {31 * time.Second, "12 30", false, false}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var says string
			w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
				ttl, minimum, soa := strings.Cut(says, " ")
				switch {
				case soa:
					return [][]byte{pack(reply(q, dns.RcodeNameError, fmt.Sprintf("cluster.local. %s SOA a. b. 1 2 3 4 %s", ttl, minimum)))}
				case says == "":
					return [][]byte{pack(reply(q, dns.RcodeNameError))}
				}
				return [][]byte{pack(reply(q, dns.RcodeSuccess, q.Question[0].Name+" 30 A "+says))}
			}}
			r := w.resolver()
			for i, s := range row {
				time.Sleep(s.after)
				says = s.says
				if got := ask(t, r, a); got.Cached != s.cached || got.Renewed != s.new {
					t.Errorf("%s: answer %d: cached %v, again %v", name, i+1, got.Cached, got.Renewed)
				}
			}
		})
	}
}

// Two bystanders, one after the other, may come to the same probe type, and the second must not take for news what a cache
// kept for the first. Where every denial's TTL is cut, there is an end to it.
func TestABystanderTakesAnotherProbeTypeIfADenialComesFromACache(t *testing.T) {
	for cut, want := range map[int]int{0: 1, 1: 2, 3: 4, 5: 6, 100: 6} {
		n := 0
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			if n++; n <= cut {
				return [][]byte{pack(reply(q, dns.RcodeNameError, "cluster.local. 17 SOA a. b. 1 2 3 4 30"))}
			}
			return [][]byte{pack(reply(q, dns.RcodeSuccess, fresh))}
		}}
		got := ask(t, w.bystander(), exists)
		if len(w.asked) != want || (got.Is == identity.Denied) != (cut > 5) {
			t.Errorf("after %d cached denials: %d questions, %+v", cut, len(w.asked), got)
		}
	}
}

func TestABystanderAsksWhichReplicaAnswers(t *testing.T) {
	for text, want := range map[string]string{"636f7265646e732d61": "coredns-a", "0102ff": "0102ff", "": "", "61200a": "61200a"} {
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			opt := q.IsEdns0()
			if opt == nil || len(opt.Option) != 1 || opt.Option[0].Option() != dns.EDNS0NSID || opt.UDPSize() != 1232 {
				t.Errorf("asked %s", q)
			}
			m := reply(q, dns.RcodeNameError, fresh)
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"}, &dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: text}}
			return [][]byte{pack(m)}
		}}
		if got := ask(t, w.bystander(), exists); got.NSID != want {
			t.Errorf("%s is shown as %q, not %q", text, got.NSID, want)
		}
	}
}

func TestAServerThatDropsQuestionsForTheReplicaIsAskedWithoutThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			if len(q.IsEdns0().Option) > 0 {
				return nil
			}
			return [][]byte{pack(reply(q, dns.RcodeNameError, soa))}
		}}
		if got := ask(t, w.bystander(), a); got.Is != identity.Denied || got.Took != 500*time.Millisecond {
			t.Errorf("got %+v", got)
		}
	})
}

func TestABystanderWaitsTwoSecondsForASilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte { return nil }}
		r := w.bystander()
		for range 3 {
			if got := ask(t, r, a); got.Is != identity.Silent || got.Took != 2*time.Second || got.Wire != "nothing within 2s" {
				t.Errorf("got %+v", got)
			}
		}
		synctest.Wait()
		if len(w.asked) != 9 {
			t.Errorf("%d packets for three questions", len(w.asked))
		}
	})
}

// Who looks at other names for a second, while a walk waits, must not send the
// walk to the next server.
func TestAQuestionThatItsAskerCutOffSaysNothingAboutTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: func(_, _ string, q *dns.Msg) [][]byte {
			time.Sleep(700 * time.Millisecond)
			return [][]byte{pack(reply(q, dns.RcodeSuccess, "db-0.db.default.svc.cluster.local. 5 IN A 10.244.0.27"))}
		}}
		r := w.resolver(server, second)
		if got := ask(t, r, a); got.Is != identity.Found {
			t.Fatal(got)
		}
		for _, end := range []func(context.Context) (context.Context, context.CancelFunc){
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 500*time.Millisecond)
			},
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(500*time.Millisecond, cancel)
				return ctx, cancel
			},
		} {
			ctx, cancel := end(t.Context())
			e, err := r.Open(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Ask(ctx, a); got.Is != identity.Silent {
				t.Error(got)
			}
			e.Close()
			cancel()
			if got := ask(t, r, a); got.Server != server {
				t.Errorf("asked %v next", got.Server)
			}
		}
	})
}

func TestTheDocumentHasEveryProbeType(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/cluster-dns.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := "\n`" + strings.Join(resolver.ProbeTypes(), "` `") + "`\n"; !strings.Contains(string(text), want) {
		t.Errorf("docs/cluster-dns.md lacks%s", want)
	}
}
