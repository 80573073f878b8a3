package identity

import (
	"context"
	"net/netip"
	"time"
)

// Resolver asks this Pod's DNS servers.
type Resolver interface {
	// Open begins one round: one fresh connected socket to one server, so
	// that all its questions reach the same replica. The error says why none
	// can be had now.
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
	// Exists asks whether a name has records of whatever type, on a key that
	// no application uses, so that a denial cached too early harms nobody.
	Exists   Kind = iota
	Forward4      // the name's A records
	Forward6      // the name's AAAA records
	Reverse       // the address's PTR records
)

func (k Kind) String() string {
	return [...]string{"existence", "A", "AAAA", "PTR"}[k]
}

// Question is one question to DNS: Name for all kinds but Reverse, Addr for
// that.
type Question struct {
	Kind Kind
	Name Name
	Addr netip.Addr
}

// subject is what the question is about.
func (q Question) subject() string {
	if q.Kind == Reverse {
		return q.Addr.String()
	}
	return q.Name.String()
}

// Outcome is what an answer comes to.
type Outcome uint8

const (
	Silent  Outcome = iota // nothing valid came in time
	Unasked                // nothing was asked: every private key may be cached
	Found                  // records of the type asked for
	NoData                 // the name exists, without such records
	Denied                 // NXDOMAIN
	Refused                // REFUSED, NOTIMP: the server will not say
	Failed                 // SERVFAIL and the rest: the server cannot say
)

// Answer is what came of a Question.
type Answer struct {
	Question
	Server netip.AddrPort
	Is     Outcome
	Addrs  []netip.Addr // of Forward4 and Forward6
	Names  []Name       // of Reverse
	Zone   Name         // whose SOA vouches for NoData and Denied; zero without one
	// Again is how long asking the same is in vain: the answer comes from a
	// cache until then.
	Again time.Duration

	// The rest is for people, never for decisions.

	Wire   string        // "NXDOMAIN", "10.1.2.3", "nothing within 1s"
	Err    error         // why there is no answer
	Key    string        // the private key of Exists: "TXT, and 33 of 34 are free"
	Type   string        // as asked on the wire: "TXT"; "" where nothing was
	Rcode  string        // "NOERROR"; "" where no answer came
	AA     bool          // the answer says that it is authoritative
	TTL    time.Duration // of the records, or of the SOA that vouches for there being none
	Cached bool          // its TTL is less than its full length, as a cache makes it
	NSID   string        // which of several replicas answered (RFC 5001), where it was asked and says so
	At     time.Time     // when the answer came, or was waited for no longer
	Took   time.Duration // from the first packet to At
}
