package identity

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Verdict is what an Answer means for a Claim.
type Verdict string

const (
	Agrees Verdict = "agrees"

	// Of the name's addresses.
	Shared        Verdict = "shared"          // ours and others: another Pod holds this name
	Stale         Verdict = "stale"           // only others: the predecessor's record
	Missing       Verdict = "missing"         // no such name, or no address
	Hidden        Verdict = "hidden"          // no address, and the server does not deny names that do not exist
	Unnamed       Verdict = "unnamed"         // DNS publishes our address without our hostname
	Poisoned      Verdict = "poisoned"        // the name exists, a cached denial says no
	Withheld      Verdict = "family-withheld" // the server has no address of this family for any name
	ForeignServer Verdict = "foreign-server"  // the server does not know the cluster
	Unanswered    Verdict = "unanswered"      // no answer, or none about the name
	Unsettled     Verdict = "unsettled"       // two rounds agreed, but not on the same addresses

	// Of an address's names.
	ReverseExtra   Verdict = "reverse-extra"   // ours and others, where only ours may be
	ReverseOther   Verdict = "reverse-other"   // only other names of the cluster
	ReverseForeign Verdict = "reverse-foreign" // names from outside the cluster
	ReverseMissing Verdict = "reverse-missing"
	ReverseRefused Verdict = "reverse-refused"

	// Of requirements in addition to DNS.
	Keyless     Verdict = "keyless"     // DNS agrees; the source lacks Kerberos keys of the Pod
	Peerless    Verdict = "peerless"    // DNS agrees; peers that the Pod waits for are missing in DNS
	Uncertified Verdict = "uncertified" // DNS agrees; no valid certificate covers the name

	// Absent: the name exists but has no address of this family, as for a Service of
	// one family. It is never the verdict of a Turn.
	Absent Verdict = "absent"
)

// Verdicts lists every verdict that a Turn can have.
func Verdicts() []Verdict {
	return []Verdict{
		Agrees, Shared, Stale, Missing, Hidden, Unnamed, Poisoned, Withheld, ForeignServer, Unanswered, Unsettled,
		ReverseExtra, ReverseOther, ReverseForeign, ReverseMissing, ReverseRefused,
		Keyless, Peerless, Uncertified,
	}
}

// Unmet reports whether DNS agrees, and something else is missing that is required.
func (v Verdict) Unmet() bool { return v == Keyless || v == Peerless || v == Uncertified }

// Finding is one answer and what it means.
type Finding struct {
	Answer
	Verdict Verdict
	Want    string // what would have agreed
	Others  string // other addresses or names in the answer, if the verdict is about them
	// Tolerated: the policy allows what Others lists.
	Tolerated bool
	// Witness: the question was about another name, for comparison, and there is no
	// verdict.
	Witness bool
}

// String returns a finding as a sentence, which does not depend on the order of an
// answer's records.
func (f Finding) String() string {
	says := fmt.Sprintf("%s says %v", ShowServer(f.Server), f.Shown)
	if f.Kind != Exists && f.Kind != Sibling && f.Is != Found {
		says += " to " + f.Kind.String()
	}
	switch f.Verdict {
	case Agrees:
		if f.Tolerated {
			says = "DNS also has " + f.Others + ", in addition to " + f.Want
		}
	case Shared:
		return fmt.Sprintf("%s: %s; another Pod holds this name: %s", f.Subject(), says, f.Others)
	case Stale:
		return fmt.Sprintf("%s: %s; this Pod is %s", f.Subject(), says, f.Want)
	case Hidden:
		return fmt.Sprintf("%s: %s, as it does for names that do not exist", f.Subject(), says)
	case Unnamed:
		return fmt.Sprintf("%s: DNS publishes this Pod as %s", f.Want, f.Subject())
	case Poisoned:
		return fmt.Sprintf("%s: the name exists, but %s", f.Subject(), says)
	case Withheld:
		says += ", as it does for " + f.Others
		if f.Tolerated {
			says += "; programs that use musl (Alpine) cannot resolve this name"
		}
	case ForeignServer:
		return fmt.Sprintf("%s: %s from zone %+q, not the cluster's", f.Subject(), says, f.Zone.String())
	case Unsettled:
		return fmt.Sprintf("%s: two rounds agreed on different addresses", f.Subject())
	case ReverseExtra:
		return fmt.Sprintf("%s: %s; only %s is allowed", f.Subject(), says, f.Want)
	case ReverseOther, ReverseForeign, ReverseMissing, ReverseRefused:
		return fmt.Sprintf("%s: %s, not %s", f.Subject(), says, f.Want)
	}
	return fmt.Sprintf("%s: %s", f.Subject(), says)
}

// ShowServer returns a nameserver's address, with the port if it is not 53.
func ShowServer(server netip.AddrPort) string {
	if server.Port() == dnsPort {
		return server.Addr().String()
	}
	return server.String()
}

// share reports whether two lists have an address in common.
func share(a, b []netip.Addr) bool {
	return slices.ContainsFunc(a, func(addr netip.Addr) bool { return slices.Contains(b, addr) })
}

// Mismatch is "not yet": the first finding that did not agree, or a reason that
// is not an answer of DNS.
type Mismatch struct {
	Finding       // without an Answer if why is set
	why     error // why there is no answer to show; nil if there is one
}

// NotYet returns a Mismatch for a reason that is not an answer of DNS: what a
// requirement lacks, or why no nameserver could be asked. Looking again before again
// has passed is useless.
func NotYet(v Verdict, why error, again time.Duration) *Mismatch {
	return &Mismatch{Finding{Answer: Answer{Again: again}, Verdict: v}, why}
}

func (m *Mismatch) Error() string {
	if m.why != nil {
		return m.why.Error()
	}
	return m.Finding.String()
}

// Unwrap returns the reason that NotYet was given; nil for an answer.
func (m *Mismatch) Unwrap() error { return m.why }

// Unreached is the reason why a Pod waits for other names.
type Unreached struct {
	Names []Name // those that are known to be missing
	Topic string // for the log: stays the same while little has changed
	Err   error
}

func (u *Unreached) Error() string { return u.Err.Error() }

func (u *Unreached) Unwrap() error { return u.Err }

// Again returns how long looking again is useless.
func (m *Mismatch) Again() time.Duration { return m.Answer.Again }

// Answered reports whether DNS was asked and the reason is its answer, or its
// silence.
func (m *Mismatch) Answered() bool { return m.why == nil && m.Is != Unasked }

// unasked reports whether no probe type was free to ask with.
func (m *Mismatch) unasked() bool { return m.why == nil && m.Is == Unasked }

// misses reports whether an answer to the claim's name lacks the Pod.
func (c Claim) misses(m *Mismatch) bool {
	return (m.Verdict == Missing || m.Verdict == Hidden && m.Kind != Exists || m.Verdict == Stale || m.Verdict == Shared) && !share(m.Addrs, c.addrs)
}

// judgeExists judges an answer to a probe type, which shows only whether the name
// exists.
func (c Claim) judgeExists(a Answer) Finding {
	f := Finding{Answer: a, Want: Enumerate(c.addrs)}
	switch a.Is {
	case Found, NoData, Refused:
		// If the server refuses other types, plain questions follow.
		f.Verdict = Agrees
	case Denied:
		f.Verdict = c.denied(a)
	default:
		f.Verdict = Unanswered
	}
	return f
}

// denied distinguishes a denial by the cluster's DNS from one by a server that does
// not know the cluster: the latter has the SOA of a zone above the cluster's.
func (c Claim) denied(a Answer) Verdict {
	if !a.Zone.IsZero() && c.name.Under(c.zone) && !c.zone.IsZero() && !a.Zone.Under(c.zone) {
		return ForeignServer
	}
	return Missing
}

// judgeForward judges an answer to A or AAAA. known: the same replica has just shown
// that the name exists.
func (c Claim) judgeForward(a Answer, known bool) Finding {
	f := Finding{Answer: a, Verdict: Unanswered, Want: "no " + family(a.Kind == Forward4) + " address"}
	var ours netip.Addr // invalid if this family is not to be proven
	for _, addr := range c.addrs {
		if addr.Is4() == (a.Kind == Forward4) {
			ours, f.Want = addr, addr.String()
		}
	}
	switch a.Is {
	case Denied:
		f.Verdict = c.denied(a)
		if known {
			f.Verdict = Poisoned
		}
	case NoData:
		f.Verdict = Absent
	case Found:
		seen := slices.Contains(a.Addrs, ours)
		var others []netip.Addr
		for _, addr := range a.Addrs {
			if !slices.Contains(c.own, addr) && !c.translated(addr) {
				others = append(others, addr)
			}
		}
		f.Others = Enumerate(others)
		switch {
		case len(others) == 0 && seen:
			f.Verdict = Agrees
		case len(others) == 0:
			// Translated addresses, or one of ours that is not to be proven.
			f.Verdict = Absent
		case ours.IsValid() && !seen:
			f.Verdict = Stale
		case c.policy.Forward == ForwardContains:
			f.Verdict, f.Tolerated = Agrees, true
			if !seen {
				f.Verdict = Absent
			}
		default:
			f.Verdict = Shared
		}
	}
	return f
}

// judgeReverse judges an answer to PTR of one of our addresses.
func (c Claim) judgeReverse(a Answer) Finding {
	f := Finding{Answer: a, Verdict: Unanswered, Want: c.name.String()}
	switch a.Is {
	case Denied, NoData:
		f.Verdict = ReverseMissing
	case Refused:
		f.Verdict = ReverseRefused
	case Found:
		var others []Name
		inside := false
		for _, name := range a.Names {
			if name != c.name {
				others = append(others, name)
				inside = inside || c.zone.IsZero() || name.Under(c.zone)
			}
		}
		f.Others = Enumerate(others)
		switch seen := len(others) < len(a.Names); {
		case seen && len(others) == 0:
			f.Verdict = Agrees
		case seen && c.policy.Reverse == ReverseOnly:
			f.Verdict = ReverseExtra
		case seen:
			f.Verdict, f.Tolerated = Agrees, true
		case inside:
			f.Verdict = ReverseOther
		default:
			f.Verdict = ReverseForeign
		}
	}
	return f
}

// translated reports whether addr is one of ours as a DNS64 shows it: an IPv4
// address inside an IPv6 prefix, with byte 8, the "u" octet, skipped and zeros
// after it (RFC 6052 §2.2).
func (c Claim) translated(addr netip.Addr) bool {
	if !addr.Is6() {
		return false
	}
	b := addr.As16()
	rest := append(b[:8:8], b[9:]...)
	return slices.ContainsFunc(c.own, func(own netip.Addr) bool {
		if !own.Is4() {
			return false
		}
		v4 := own.As4()
		for at := 4; at <= 8 && b[8] == 0; at++ {
			if bytes.Equal(bytes.TrimRight(rest[at+4:], "\x00"), nil) && bytes.Equal(rest[at:at+4], v4[:]) {
				return true
			}
		}
		return bytes.Equal(b[12:], v4[:])
	})
}
