package dnstest

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
)

// Query is one question that a server was asked.
type Query struct {
	At      time.Duration  // since the trace began
	Server  string         // CoreDNS.Name
	Network string         // "udp" or "tcp"
	Client  netip.AddrPort // a new port is a new socket
	Name    string         // as asked, with the root dot
	Type    uint16
	DO, CD  bool
	Rcode   int // -1 while there is no answer
}

func (q Query) String() string {
	rcode, ok := dns.RcodeToString[q.Rcode]
	if !ok {
		rcode = "-"
	}
	return fmt.Sprintf("%v %s %s %s %s %s", q.At.Round(time.Millisecond), q.Server, q.Network, dns.Type(q.Type), q.Name, rcode)
}

// Trace writes down questions in the order in which they came. The zero value is ready for use and begins with the
// first server that is given it. Copies of a question that a [Fault] makes are not seen, nor is what CoreDNS refuses
// before any plugin.
type Trace struct {
	mu      sync.Mutex
	start   time.Time
	queries []*Query
}

// Queries are the questions so far.
func (t *Trace) Queries() (all []Query) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, q := range t.queries {
		all = append(all, *q)
	}
	return all
}

// Reset forgets all questions and begins again now.
func (t *Trace) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.start, t.queries = time.Now(), nil
}

// Wrap puts the trace in front of a handler. CoreDNS.Trace does it for a server; around an Upstream it shows what
// leaves the cluster.
func (t *Trace) Wrap(server string, next plugin.Handler) plugin.Handler {
	t.mu.Lock()
	if t.start.IsZero() {
		t.start = time.Now()
	}
	t.mu.Unlock()
	return plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		client, _ := netip.ParseAddrPort(w.RemoteAddr().String())
		q := &Query{
			Server: server, Network: w.RemoteAddr().Network(), Client: client,
			Name: r.Question[0].Name, Type: r.Question[0].Qtype, CD: r.CheckingDisabled, Rcode: -1,
		}
		if opt := r.IsEdns0(); opt != nil {
			q.DO = opt.Do()
		}
		t.mu.Lock()
		q.At = time.Since(t.start)
		t.queries = append(t.queries, q)
		t.mu.Unlock()

		rw := &rcodeWriter{ResponseWriter: w, t: t, q: q}
		rcode, err := plugin.NextOrFailure("trace", next, ctx, rw, r)
		if !plugin.ClientWrite(rcode) {
			rw.note(rcode) // the server above writes it
		}
		return rcode, err
	})
}

// rcodeWriter notes the rcode before the client can have it, so that a client that has its answer finds it noted.
type rcodeWriter struct {
	dns.ResponseWriter
	t *Trace
	q *Query
}

func (w *rcodeWriter) WriteMsg(m *dns.Msg) error {
	w.note(m.Rcode)
	return w.ResponseWriter.WriteMsg(m)
}

func (w *rcodeWriter) note(rcode int) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	w.q.Rcode = rcode
}
