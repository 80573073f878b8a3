// Package shown has what an answer of DNS looked like, for people and for metrics.
// Package identity carries it along but cannot read it, so nothing is decided by it.
package shown

import (
	"time"

	"github.com/podfqdn/podfqdn/identity"
)

// Answer is an answer as it came.
type Answer struct {
	Wire    string        // "NXDOMAIN", "10.1.2.3", "nothing within 1s"
	Probe   string        // of a question of existence: "LOC, and 33 of 34 are free"
	Type    string        // as asked on the wire: "LOC"; "" if nothing was asked
	Rcode   string        // "NOERROR"; "" if no answer came
	AA      bool          // the answer says that it is authoritative
	Owners  []string      // of records of the type asked for, if none are the name's
	Full    time.Duration // of a denial: the longest TTL that its SOA allows; a cache, or the server, may set a shorter one
	Cached  bool          // its TTL counted down, as in a cache
	Renewed bool          // the same came again after its TTL had ended: it is not an old cache entry
	NSID    string        // which of several replicas answered (RFC 5001), if it was asked and says so
	At      time.Time     // when the answer came, or the wait for it ended
	Took    time.Duration // from the first packet to At
}

// String returns the answer in the server's words.
func (a Answer) String() string { return a.Wire }

// Of returns what an answer looked like; the zero Answer if that is unknown.
func Of(a identity.Answer) Answer {
	s, _ := a.Shown.(Answer)
	return s
}
