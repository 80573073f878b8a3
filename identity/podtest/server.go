package podtest

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// T is what a Server needs of a test.
type T interface {
	Helper()
	Error(...any)
	Errorf(string, ...any)
}

// Server is a DNS server that follows a script. For each question, as in
// "exists", "A", "AAAA", "PTR 10.244.0.27" or "exists OTHER-NAME", it has the
// answers of one round after the other; the last holds for all later rounds.
//
// An answer is addresses or names, or one of nodata, nxdomain, refused,
// servfail and silent; then perhaps zone=… of its SOA, owner=… of records that
// are not the name's, again=… and ttl=…, and whether it is cached. Each came at noon.
type Server struct {
	t       T
	name    identity.Name // the one that questions are about unless they say so
	answers map[string][]string
	Refuses error         // what Open returns
	Latency time.Duration // of each answer

	changes []change
	start   time.Time

	Rounds [][]string // what was asked
	Closed int        // exchanges
}

// Nameserver is the address of the server that answers.
var Nameserver = netip.MustParseAddrPort("10.96.0.10:53")

// Agreeing returns a server whose answers all agree with a claim.
func Agreeing(t T, c identity.Claim) *Server {
	s := &Server{t: t, name: c.Name(), start: time.Now(), answers: map[string][]string{
		"exists": {"nodata"}, "sibling": {"nxdomain zone=cluster.local"}, "A": {"nodata"}, "AAAA": {"nodata"},
	}}
	for _, addr := range c.Addrs() {
		kind := "AAAA"
		if addr.Is4() {
			kind = "A"
		}
		s.answers[kind] = []string{addr.String()}
		s.answers["PTR "+addr.String()] = []string{c.Name().String()}
	}
	// What DNS publishes for a Pod without hostname.
	if service, namespace := c.Service(); service != "" {
		for _, addr := range c.Addrs() {
			s.answers["exists "+identity.Dashed(addr)+"."+service+"."+namespace+".svc."+c.Zone().String()] = []string{"nxdomain zone=cluster.local"}
		}
	}
	return s
}

// Script replaces answers: "QUESTION: ANSWER | ANSWER", a line each.
func (s *Server) Script(text string) *Server {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		question, answers, ok := strings.Cut(line, ": ")
		if !ok {
			panic(fmt.Sprintf("%q is not a line of a script", line))
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

// Later replaces answers from a time on, in the order of the calls.
func (s *Server) Later(after time.Duration, text string) {
	s.changes = append(s.changes, change{after, text})
}

// Asked returns all questions, rounds divided by " | ".
func (s *Server) Asked() string {
	var rounds []string
	for _, round := range s.Rounds {
		rounds = append(rounds, strings.Join(round, ", "))
	}
	return strings.Join(rounds, " | ")
}

func (s *Server) Open(context.Context) (identity.Exchange, error) {
	if s.Refuses != nil {
		return nil, s.Refuses
	}
	for _, c := range s.changes {
		if time.Since(s.start) >= c.after {
			s.Script(c.text)
		}
	}
	s.Rounds = append(s.Rounds, nil)
	return exchange{s}, nil
}

type exchange struct{ *Server }

func (e exchange) Close() error {
	e.Closed++
	return nil
}

// Spell returns a question in the words of the script.
func (s *Server) Spell(q identity.Question) string {
	switch {
	case q.Kind == identity.Reverse:
		return "PTR " + q.Addr.String()
	case q.Kind == identity.Exists && q.Name == s.name:
		return "exists"
	case q.Kind == identity.Sibling:
		return "sibling"
	case q.Kind == identity.Exists:
		return "exists " + q.Name.String()
	case q.Name == s.name:
		return q.Kind.String()
	}
	return q.Kind.String() + " " + q.Name.String()
}

func (e exchange) Ask(ctx context.Context, q identity.Question) identity.Answer {
	e.t.Helper()
	a := identity.Answer{Question: q, Server: Nameserver, Shown: shown.Answer{At: noon}}
	word := e.Spell(q)
	e.Rounds[len(e.Rounds)-1] = append(e.Rounds[len(e.Rounds)-1], word)
	if e.Latency > 0 {
		timer := time.NewTimer(e.Latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			a.Is, a.Shown = identity.Silent, shown.Answer{Wire: "nothing"}
			return a
		}
	}
	answers := e.answers[word]
	if len(answers) == 0 {
		e.t.Errorf("nobody expected the question %s", word)
		return a
	}
	if err := Read(&a, answers[min(len(e.Rounds), len(answers))-1]); err != nil {
		e.t.Error(err)
	}
	return a
}

// noon is when each answer came.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Read reads an answer of the script into a.
func Read(a *identity.Answer, text string) error {
	s := shown.Answer{At: noon}
	says := func(is identity.Outcome, wire string) { a.Is, s.Wire = is, wire }
	for _, word := range strings.Fields(text) {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "again":
			a.Again, err = time.ParseDuration(value)
		case "ttl":
			a.TTL, err = time.ParseDuration(value)
		case "owner":
			s.Owners = append(s.Owners, value)
		case "cached":
			s.Cached = true
		case "full":
			s.Full, err = time.ParseDuration(value)
		case "renewed":
			s.Renewed = true
		case "zone":
			a.Zone = identity.WireName(value)
		case "nodata":
			says(identity.NoData, "no data")
		case "nxdomain":
			says(identity.Denied, "NXDOMAIN")
		case "refused":
			says(identity.Refused, "REFUSED")
		case "servfail":
			says(identity.Failed, "SERVFAIL")
		case "silent":
			says(identity.Silent, "nothing within 1s")
		case "found":
			says(identity.Found, "a record")
		default:
			if a.Kind == identity.Reverse {
				a.Names = append(a.Names, identity.WireName(word))
				says(identity.Found, identity.Enumerate(a.Names))
				break
			}
			var addr netip.Addr
			addr, err = netip.ParseAddr(word)
			a.Addrs = append(a.Addrs, addr)
			says(identity.Found, identity.Enumerate(a.Addrs))
		}
		if err != nil {
			return fmt.Errorf("answer %q: %w", text, err)
		}
	}
	a.Shown = s
	return nil
}
