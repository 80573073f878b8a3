package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// probes is what the kubelet and Prometheus are told of a sidecar.
type probes struct {
	mu                        sync.Mutex
	began                     time.Time
	stands                    func() bool   // what is published stands
	reason                    string        // why not, as last seen
	first                     time.Duration // from began to the first agreement; 0 before it
	last                      time.Time     // of the last agreement
	turns                     map[identity.Verdict]int
	questions                 map[question]int
	withdrawals, volumeErrors int
	keysMissing               int
}

// question is how questions to DNS are counted. All its values are this
// program's own: what answers say becomes no label.
type question struct{ kind, rcode string }

func newProbes(stands func() bool) *probes {
	return &probes{began: time.Now(), stands: stands, turns: map[identity.Verdict]int{}, questions: map[question]int{}}
}

// turn counts a verification.
func (p *probes) turn(t identity.Turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	verdict := identity.Agrees
	if m, ok := errors.AsType[*identity.Mismatch](t.Err); ok {
		verdict, p.reason = m.Verdict, m.Error()
	}
	p.turns[verdict]++
	for _, f := range t.Report.Findings() {
		if f.Is != identity.Unasked {
			p.questions[question{f.Kind.String(), rcode(f.Answer)}]++
		}
	}
	if t.Err == nil {
		p.last = time.Now()
		if p.first == 0 {
			p.first = time.Since(p.began)
		}
	}
}

// withdrew counts that the published identity was withdrawn.
func (p *probes) withdrew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.withdrawals++
}

// volumeFailed counts a volume that could not be written.
func (p *probes) volumeFailed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.volumeErrors++
	p.reason = err.Error()
}

// keysMissed counts a source without the keys that are published.
func (p *probes) keysMissed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keysMissing++
}

// rcode returns what came of a question as a label, of which there are few:
// "none" is no answer, "other" all that is rare.
func rcode(a identity.Answer) string {
	switch rcode := shown.Of(a).Rcode; rcode {
	case "":
		return "none"
	case "NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED", "NOTIMP", "FORMERR":
		return rcode
	}
	return "other"
}

// serve answers on an address until end is called; "" is nowhere. It listens
// before anything is asked of DNS, so that a port which is taken is told at once.
func (p *probes) serve(address listen, hostNetwork bool) (end func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	if hostNetwork && address.open() {
		_, port, _ := net.SplitHostPort(string(address))
		return nil, misconfigured(fmt.Sprintf("PODFQDN_LISTEN=%s: this Pod has hostNetwork: true, where that is every address of the node", address), fmt.Sprintf("give one, such as 127.0.0.1:%s, and the probes the same as host", port))
	}
	listener, err := net.Listen("tcp", string(address))
	if err != nil {
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			err = errno // without the address
		}
		return nil, misconfigured(fmt.Sprintf("PODFQDN_LISTEN=%s: %v", address, err), "choose a port that no other container of this Pod uses")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", p.readyz)
	mux.HandleFunc("GET /metrics", p.metrics)
	server := &http.Server{
		Handler:        mux,
		ReadTimeout:    5 * time.Second, // of a body, too, that nobody wants
		WriteTimeout:   5 * time.Second,
		MaxHeaderBytes: 8 << 10,
		ErrorLog:       log.New(io.Discard, "", 0), // what strangers send is no event
	}
	server.SetKeepAlivesEnabled(false) // idle connections are memory, of which there is little
	go server.Serve(listener)
	return func() { server.Close() }, nil
}

func (p *probes) readyz(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	reason := p.reason
	p.mu.Unlock() // a reader may be slow
	if p.stands() {
		io.WriteString(w, "ok\n")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, cmp.Or(diagnosis.Printable(reason), "no answer from DNS yet"))
}

// metrics writes Prometheus's text format (version 0.0.4). Names and labels are
// a public interface.
func (p *probes) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write(p.text())
}

// text gives the metrics whole: who reads slowly must not hold the lock.
func (p *probes) text() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := new(bytes.Buffer)
	metric := func(name, kind, help string, samples ...string) {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
		for _, sample := range samples {
			fmt.Fprintf(w, "%s%s\n", name, sample)
		}
	}
	version, revision := built()
	metric("podfqdn_build_info", "gauge", "What this is; always 1.",
		fmt.Sprintf("{version=%q,revision=%q,goversion=%q} 1", version, revision, runtime.Version()))
	verified := 0
	if p.stands() {
		verified = 1
	}
	metric("podfqdn_verified", "gauge", "1 while the published identity stands, else 0.", fmt.Sprintf(" %d", verified))
	if p.first > 0 {
		metric("podfqdn_first_agreement_seconds", "gauge", "From the start of the process until forward and reverse DNS first agreed.",
			fmt.Sprintf(" %.3f", p.first.Seconds()))
		metric("podfqdn_last_agreement_timestamp_seconds", "gauge", "When forward and reverse DNS last agreed, since 1970.",
			fmt.Sprintf(" %.3f", float64(p.last.UnixMilli())/1000))
	}
	var turns []string
	for _, v := range identity.Verdicts() {
		turns = append(turns, fmt.Sprintf("{verdict=%q} %d", v, p.turns[v]))
	}
	metric("podfqdn_verifications_total", "counter", "Verifications, by what the first answer that did not agree meant.", turns...)
	var questions []string
	for _, q := range slices.SortedFunc(maps.Keys(p.questions), func(a, b question) int {
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.rcode, b.rcode))
	}) {
		questions = append(questions, fmt.Sprintf("{type=%q,rcode=%q} %d", q.kind, q.rcode, p.questions[q]))
	}
	metric("podfqdn_dns_questions_total", "counter", "Questions to DNS, by type and by what came of them; rcode none is no answer.", questions...)
	metric("podfqdn_withdrawals_total", "counter", "How often the published identity was withdrawn.", fmt.Sprintf(" %d", p.withdrawals))
	metric("podfqdn_volume_errors_total", "counter", "How often the volume could not be written.", fmt.Sprintf(" %d", p.volumeErrors))
	metric("podfqdn_keys_missing_total", "counter", "How often the source did not have the Kerberos keys that are published.", fmt.Sprintf(" %d", p.keysMissing))
	return w.Bytes()
}
