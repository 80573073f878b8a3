package identity

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Resolver asks this Pod's DNS servers.
type Resolver interface {
	// Open begins one round: one new connected socket to one server, so that all
	// its questions reach the same replica. The error says why that fails now.
	Open(context.Context) (Exchange, error)
}

// Exchange is one round of questions to one server.
type Exchange interface {
	// Ask asks one question and waits for its answer or the end of ctx.
	Ask(context.Context, Question) Answer
	Close() error
}

// Kind is what a Question is about.
type Kind uint8

const (
	// Exists asks whether a name has records of any type, by a probe type that no
	// application asks for, so that a denial cached too early does no harm.
	Exists Kind = iota
	// Sibling asks the same, by the type of the last Exists, about a random name
	// next to Name, which cannot exist: a server that does not deny it lies about
	// that type, or hides NXDOMAIN.
	Sibling
	Forward4 // the name's A records
	Forward6 // the name's AAAA records
	Reverse  // the address's PTR records
)

func (k Kind) String() string {
	return [...]string{"existence", "sibling", "A", "AAAA", "PTR"}[k]
}

// Question is one question to DNS: about Addr if Kind is Reverse, otherwise about
// Name.
type Question struct {
	Kind Kind
	Name Name
	Addr netip.Addr
	Same bool // of Exists: by the probe type of the last one
	// Even, of Exists: for Soon after the first question they are evenly spaced,
	// rather than at growing intervals.
	Even bool
}

// Soon is how long after a Pod the others of its set usually start, if they start
// together.
const Soon = 2 * time.Second

// Subject returns what the question is about: a name without root dot, an
// address, or any name next to one ("*.db.default.svc.cluster.local").
func (q Question) Subject() string {
	switch q.Kind {
	case Reverse:
		return q.Addr.String()
	case Sibling:
		return "*" + strings.TrimPrefix(q.Name.String(), q.Name.first())
	}
	return q.Name.String()
}

// Outcome is what came of a question.
type Outcome uint8

const (
	Unasked Outcome = iota // nothing was asked: every probe type may be cached
	Silent                 // nothing valid came in time
	Found                  // records of the type asked for
	NoData                 // the name exists, without such records
	Denied                 // NXDOMAIN
	Refused                // REFUSED, NOTIMP: the server will not answer
	Failed                 // SERVFAIL and the rest: the server cannot answer
)

// Answer is what came of a Question: all that decisions depend on.
type Answer struct {
	Question
	Server netip.AddrPort
	Is     Outcome
	Addrs  []netip.Addr  // of Forward4 and Forward6
	Names  []Name        // of Reverse
	Zone   Name          // the owner of the SOA with NoData and Denied; zero without one
	TTL    time.Duration // of the records, or of the SOA if there are none
	By     uint16        // of Exists: which probe type; only for comparison
	// Again is how long a cache will return the same answer: asking earlier is
	// useless.
	Again time.Duration

	// Shown is the answer as it came, for people: a shown.Answer. This package can
	// only print it, so nothing is decided by it.
	Shown fmt.Stringer
}
