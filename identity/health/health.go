// Package health reports the state of a sidecar to the kubelet and to Prometheus:
// /livez, /readyz and /metrics. Names and labels of metrics are a public interface.
package health

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
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// Health is the state of a sidecar. Its methods may be called concurrently.
type Health struct {
	version, revision         string
	mu                        sync.Mutex
	began                     time.Time
	stands                    func() bool   // the identity is published and not withdrawn
	reason                    string        // why not, as last seen
	first                     time.Duration // from began to the first agreement; 0 before it
	last                      time.Time     // of the last agreement
	turns                     map[identity.Verdict]int
	questions                 map[question]int
	withdrawals, volumeErrors int
	missed                    map[string]int // by the requirement's name, as missing
	missing                   map[string]bool
	gauges                    []identity.Gauge
}

// question is how questions to DNS are counted. All its values come from this
// program: nothing in an answer becomes a label.
type question struct{ kind, rcode string }

// New returns the Health of a sidecar that begins now. stands reports whether its
// identity is published and not withdrawn; version and revision are those of its
// build.
func New(stands func() bool, version, revision string) *Health {
	return &Health{version: version, revision: revision, began: time.Now(), stands: stands, turns: map[identity.Verdict]int{}, questions: map[question]int{}, missed: map[string]int{}, missing: map[string]bool{}}
}

// Turn counts a verification.
func (h *Health) Turn(t identity.Turn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	verdict := identity.Agrees
	if m, ok := errors.AsType[*identity.Mismatch](t.Err); ok {
		verdict, h.reason = m.Verdict, m.Error()
	}
	h.turns[verdict]++
	for _, f := range slices.Concat(t.Unfinished.Findings(), t.Report.Findings(), t.Others.Findings()) {
		if f.Is != identity.Unasked {
			h.questions[question{f.Kind.String(), rcode(f.Answer)}]++
		}
	}
	if verdict == identity.Agrees || verdict.Unmet() && len(t.Report) > 0 {
		h.last = time.Now()
		if h.first == 0 {
			h.first = time.Since(h.began)
		}
	}
}

// Tell adds a requirement and its gauges. It is not missing before Missing says so:
// nothing is known of it until DNS agrees.
func (h *Health) Tell(requirement string, gauges []identity.Gauge) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.missing[requirement] = false
	h.gauges = append(h.gauges, gauges...)
}

// Missing sets whether a requirement is missing now.
func (h *Health) Missing(requirement string, missing bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.missing[requirement] = missing
}

// Withdrew counts a withdrawal of the published identity.
func (h *Health) Withdrew() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.withdrawals++
}

// VolumeFailed counts a failure to write the volume; err becomes the reason at /readyz.
func (h *Health) VolumeFailed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.volumeErrors++
	h.reason = err.Error()
}

// Missed counts that a requirement's source no longer has what was published.
func (h *Health) Missed(requirement string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.missed[requirement]++
}

// rcode returns the label for what came of a question, one of a few: "none" means
// that there was no answer, "other" is any rare one.
func rcode(a identity.Answer) string {
	switch rcode := shown.Of(a).Rcode; rcode {
	case "":
		return "none"
	case "NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED", "NOTIMP", "FORMERR":
		return rcode
	}
	return "other"
}

// Serve answers on an address until end is called; with "" it does nothing. It listens
// at once, so that a port that is taken shows before the wait for DNS. The error is a
// *identity.Refusal.
func (h *Health) Serve(address Address, hostNetwork bool) (end func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	if hostNetwork && address.open() {
		_, port, _ := net.SplitHostPort(string(address))
		return nil, misconfigured(fmt.Errorf("PODFQDN_LISTEN=%s: with hostNetwork: true this is every address of the node", address), fmt.Sprintf("set one address, such as 127.0.0.1:%s, and the same host in the probes", port))
	}
	listener, err := net.Listen("tcp", string(address))
	if err != nil {
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			err = errno // without the address
		}
		return nil, misconfigured(fmt.Errorf("PODFQDN_LISTEN=%s: %w", address, err), "choose a port that no other container of this Pod uses")
	}
	server := &http.Server{
		Handler:        h.Handler(),
		ReadTimeout:    5 * time.Second, // of the body too, which is not read
		WriteTimeout:   5 * time.Second,
		MaxHeaderBytes: 8 << 10,
		ErrorLog:       log.New(io.Discard, "", 0), // bad requests are not worth a log line
	}
	server.SetKeepAlivesEnabled(false) // idle connections take memory, and there is little
	go server.Serve(listener)
	return func() { server.Close() }, nil
}

// misconfigured returns the *identity.Refusal for a mistake in PODFQDN_LISTEN.
func misconfigured(why error, change string) error {
	return identity.Refuse(identity.Misconfigured, why, change)
}

// Handler returns the handler of /livez, /readyz and /metrics.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", h.readyz)
	mux.HandleFunc("GET /metrics", h.metrics)
	return mux
}

func (h *Health) readyz(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	reason := h.reason
	h.mu.Unlock() // a reader may be slow
	if h.stands() {
		io.WriteString(w, "ok\n")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, cmp.Or(shown.Printable(reason), "no answer from DNS yet"))
}

// metrics writes Prometheus's text format (version 0.0.4).
func (h *Health) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write(h.text())
}

// text returns the metrics whole: a slow reader must not hold the lock.
func (h *Health) text() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := new(bytes.Buffer)
	metric := func(name, kind, help string, samples ...string) {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
		for _, sample := range samples {
			fmt.Fprintf(w, "%s%s\n", name, sample)
		}
	}
	metric("podfqdn_build_info", "gauge", "Version and build; always 1.",
		fmt.Sprintf("{version=%q,revision=%q,goversion=%q} 1", h.version, h.revision, runtime.Version()))
	verified := 0
	if h.stands() {
		verified = 1
	}
	metric("podfqdn_verified", "gauge", "1 while the identity is published and not withdrawn, else 0.", fmt.Sprintf(" %d", verified))
	if h.first > 0 {
		metric("podfqdn_first_agreement_seconds", "gauge", "Time from the start of the process until forward and reverse DNS first agreed.",
			fmt.Sprintf(" %.3f", h.first.Seconds()))
		metric("podfqdn_last_agreement_timestamp_seconds", "gauge", "Unix time at which forward and reverse DNS last agreed.",
			fmt.Sprintf(" %.3f", float64(h.last.UnixMilli())/1000))
	}
	var turns []string
	for _, v := range identity.Verdicts() {
		turns = append(turns, fmt.Sprintf("{verdict=%q} %d", v, h.turns[v]))
	}
	metric("podfqdn_verifications_total", "counter", "Verifications, by the verdict on the first answer that did not agree.", turns...)
	var questions []string
	for q, n := range h.questions {
		questions = append(questions, fmt.Sprintf("{type=%q,rcode=%q} %d", q.kind, q.rcode, n))
	}
	slices.Sort(questions)
	metric("podfqdn_dns_questions_total", "counter", "Questions to DNS, by type and rcode; rcode none means no answer.", questions...)
	metric("podfqdn_withdrawals_total", "counter", "How often the published identity was withdrawn.", fmt.Sprintf(" %d", h.withdrawals))
	metric("podfqdn_volume_errors_total", "counter", "How often the volume could not be written.", fmt.Sprintf(" %d", h.volumeErrors))
	metric("podfqdn_keys_missing_total", "counter", "How often the source did not have the Kerberos keys that are published.", fmt.Sprintf(" %d", h.missed["keys"]))
	var missing []string
	for _, kind := range slices.Sorted(maps.Keys(h.missing)) {
		n := 0
		if h.missing[kind] {
			n = 1
		}
		missing = append(missing, fmt.Sprintf("{kind=%q} %d", kind, n))
	}
	if len(missing) > 0 {
		metric("podfqdn_requirement_missing", "gauge", "1 while DNS agrees and this requirement is missing, else 0.", missing...)
	}
	for _, g := range h.gauges {
		if value, ok := g.Value(); ok {
			metric(g.Name, "gauge", g.Help, " "+strconv.FormatFloat(value, 'f', -1, 64))
		}
	}
	return w.Bytes()
}

// Address is where to listen, [ADDRESS]:PORT; with "" nothing listens.
type Address string

// UnmarshalText reads off, :PORT or ADDRESS:PORT.
func (a *Address) UnmarshalText(text []byte) error {
	*a = ""
	if string(text) == "off" {
		return nil
	}
	host, port, err := net.SplitHostPort(string(text))
	if err == nil && host != "" {
		_, err = netip.ParseAddr(host)
	}
	number, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || number == 0 {
		return errors.New("must be off, :PORT or ADDRESS:PORT, such as :8053")
	}
	*a = Address(text)
	return nil
}

// open reports whether a is every address of the machine.
func (a Address) open() bool {
	host, _, _ := net.SplitHostPort(string(a))
	addr, err := netip.ParseAddr(host)
	return a != "" && (err != nil || addr.IsUnspecified())
}
