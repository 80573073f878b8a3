package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
)

// server is a DNS server that follows a script. For each question, as in
// "exists", "A", "AAAA", "PTR 10.244.0.27" or "exists OTHER-NAME", it has the
// answers of one round after the other; the last holds for all later rounds.
//
// An answer is addresses or names, or one of nodata, nxdomain, refused,
// servfail and silent; then perhaps zone=… of its SOA, again=… and ttl=…, and
// whether it is cached. Each came at noon.
type server struct {
	t       testing.TB
	name    identity.Name // the one that questions are about unless they say so
	answers map[string][]string
	refuses error         // what Open says
	latency time.Duration // of each answer

	changes []change
	start   time.Time

	rounds [][]string // what was asked
	closed int
}

var nameserver = netip.MustParseAddrPort("10.96.0.10:53")

// agreeing gives a server on which everything agrees with a claim.
func agreeing(t testing.TB, c identity.Claim) *server {
	s := &server{t: t, name: c.Name(), start: time.Now(), answers: map[string][]string{
		"exists": {"nodata"}, "A": {"nodata"}, "AAAA": {"nodata"},
	}}
	for _, addr := range c.Addrs() {
		kind := "AAAA"
		if addr.Is4() {
			kind = "A"
		}
		s.answers[kind] = []string{addr.String()}
		s.answers["PTR "+addr.String()] = []string{c.Name().String()}
	}
	for _, other := range c.Instead() {
		s.answers["exists "+other.String()] = []string{"nxdomain zone=cluster.local"}
	}
	return s
}

// script replaces answers: "QUESTION: ANSWER | ANSWER", a line each.
func (s *server) script(text string) *server {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		question, answers, ok := strings.Cut(line, ": ")
		if !ok {
			s.t.Fatalf("%q is no line of a script", line)
		}
		s.answers[question] = strings.Split(answers, " | ")
	}
	return s
}

// change is a part of the script that holds from a time on.
type change struct {
	after time.Duration
	text  string
}

// later replaces answers from a time on, in the order of the calls.
func (s *server) later(after time.Duration, text string) {
	s.changes = append(s.changes, change{after, text})
}

// asked gives all questions, rounds divided by " | ".
func (s *server) asked() string {
	var rounds []string
	for _, round := range s.rounds {
		rounds = append(rounds, strings.Join(round, ", "))
	}
	return strings.Join(rounds, " | ")
}

func (s *server) Open(context.Context) (identity.Exchange, error) {
	if s.refuses != nil {
		return nil, s.refuses
	}
	for _, c := range s.changes {
		if time.Since(s.start) >= c.after {
			s.script(c.text)
		}
	}
	s.rounds = append(s.rounds, nil)
	return exchange{s}, nil
}

type exchange struct{ *server }

func (e exchange) Close() error {
	e.closed++
	return nil
}

// spell gives a question in the words of the script.
func (s *server) spell(q identity.Question) string {
	switch {
	case q.Kind == identity.Reverse:
		return "PTR " + q.Addr.String()
	case q.Kind == identity.Exists && q.Name == s.name:
		return "exists"
	case q.Kind == identity.Exists:
		return "exists " + q.Name.String()
	case q.Name == s.name:
		return q.Kind.String()
	}
	return q.Kind.String() + " " + q.Name.String()
}

func (e exchange) Ask(ctx context.Context, q identity.Question) identity.Answer {
	e.t.Helper()
	a := identity.Answer{Question: q, Server: nameserver, At: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	word := e.spell(q)
	e.rounds[len(e.rounds)-1] = append(e.rounds[len(e.rounds)-1], word)
	if e.latency > 0 {
		timer := time.NewTimer(e.latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			a.Wire, a.Err = "nothing", ctx.Err()
			return a
		}
	}
	answers := e.answers[word]
	if len(answers) == 0 {
		e.t.Errorf("nobody expected the question %s", word)
		return a
	}
	if err := read(&a, answers[min(len(e.rounds), len(answers))-1]); err != nil {
		e.t.Error(err)
	}
	return a
}

// read reads an answer of the script.
func read(a *identity.Answer, text string) error {
	for _, word := range strings.Fields(text) {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "again":
			a.Again, err = time.ParseDuration(value)
		case "ttl":
			a.TTL, err = time.ParseDuration(value)
		case "cached":
			a.Cached = true
		case "zone":
			a.Zone = identity.WireName(value)
		case "nodata":
			a.Is, a.Wire = identity.NoData, "no data"
		case "nxdomain":
			a.Is, a.Wire = identity.Denied, "NXDOMAIN"
		case "refused":
			a.Is, a.Wire = identity.Refused, "REFUSED"
		case "servfail":
			a.Is, a.Wire = identity.Failed, "SERVFAIL"
		case "silent":
			a.Is, a.Wire, a.Err = identity.Silent, "nothing within 1s", errors.New("timeout")
		case "found":
			a.Is, a.Wire = identity.Found, "a record"
		default:
			a.Is = identity.Found
			if a.Kind == identity.Reverse {
				a.Names = append(a.Names, identity.WireName(word))
				a.Wire = identity.Enumerate(a.Names)
				break
			}
			var addr netip.Addr
			addr, err = netip.ParseAddr(word)
			a.Addrs = append(a.Addrs, addr)
			a.Wire = identity.Enumerate(a.Addrs)
		}
		if err != nil {
			return fmt.Errorf("answer %q: %w", text, err)
		}
	}
	return nil
}

// db0 gives the claim of db-0.db.default.svc.cluster.local, or of another
// name, with these addresses.
func db0(t testing.TB, p identity.Policy, ips, fqdn string) identity.Claim {
	t.Helper()
	spec := podSpec{name: "db-0", namespace: "default", hostname: "db-0", subdomain: "db"}
	root := spec.files("cluster.local", strings.Split(ips, ",")...)
	if strings.HasPrefix(fqdn, "nowhere:") { // and nothing tells the cluster domain
		root = fstest.MapFS{"etc/resolv.conf": {Data: []byte("nameserver 10.96.0.10\n")}}
		fqdn = strings.TrimPrefix(fqdn, "nowhere:")
	}
	given := identity.Given{PodIPs: ips, PodUID: "0b6f1c0e-6f43-4d0a-9a43-0d3a4b7d3a51", FQDN: fqdn}
	facts, err := identity.Look(root, given, nil)
	if err != nil {
		t.Fatal(err)
	}
	claim, err := facts.Claim(p)
	if err != nil {
		t.Fatal(err)
	}
	return claim
}
