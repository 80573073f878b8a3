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
	// Open begins one round: one fresh connected socket to one server, so
	// that all its questions reach the same replica. The error says why none
	// can be opened now.
	Open(context.Context) (Exchange, error)
}

// Exchange is one round of questions to one server.
type Exchange interface {
	// Ask puts one question and waits for its answer, or for the end of ctx.
	Ask(context.Context, Question) Answer
	Close() error
}

// Kind is what a Question is about.
type Kind uint8

const (
	// Exists asks whether a name has records of whatever type, by a probe type
	// that no application asks for, so that a denial cached too early harms
	// nobody.
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

// Question is one question to DNS: Name for all kinds but Reverse, Addr for
// that.
type Question struct {
	Kind Kind
	Name Name
	Addr netip.Addr
	Same bool // of Exists: by the probe type of the last one
	// Even, of Exists: for Soon after the first it is asked evenly, rather than the more
	// rarely the longer it takes.
	Even bool
}

// Soon is how long after a Pod those of its set usually start that start with it.
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

// Outcome is what an answer comes to.
type Outcome uint8

const (
	Unasked Outcome = iota // nothing was asked: every probe type may be cached
	Silent                 // nothing valid came in time
	Found                  // records of the type asked for
	NoData                 // the name exists, without such records
	Denied                 // NXDOMAIN
	Refused                // REFUSED, NOTIMP: the server will not say
	Failed                 // SERVFAIL and the rest: the server cannot say
)

// Answer is what came of a Question, as far as anything is decided by it.
type Answer struct {
	Question
	Server netip.AddrPort
	Is     Outcome
	Addrs  []netip.Addr  // of Forward4 and Forward6
	Names  []Name        // of Reverse
	Zone   Name          // whose SOA vouches for NoData and Denied; zero without one
	TTL    time.Duration // of the records, or of the SOA that vouches for there being none
	By     uint16        // of Exists: which probe type; for comparison alone
	// Again is how long the answer stays the same, as it comes from a cache:
	// asking earlier is useless.
	Again time.Duration

	// Shown is the answer as it came, for people. This package can print it and
	// nothing else, so nothing is decided by it: a shown.Answer.
	Shown fmt.Stringer
}
