package peers

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
)

// maxMembers is how many members a set may have.
const maxMembers = 1000

// Members are those of a set as a person writes them:
//
//	3                          this Pod's own name with the ordinals 0, 1 and 2
//	1..3                       the same with the ordinals 1, 2 and 3
//	zk-{0..2},jn-0.journal     these names, where a range in braces is several
//
// The zero value has no members.
type Members struct {
	own         bool   // the Pod's own name with ordinals
	first, last int    // of own
	items       []item // where not own
}

// item is a name, perhaps with a range of numbers in it.
type item struct {
	before, after string
	first, last   int
	ranges        bool
}

// UnmarshalText reads one of the forms above; "" is none.
func (m *Members) UnmarshalText(text []byte) error {
	*m = Members{}
	s := strings.TrimSpace(string(text))
	if s == "" {
		return nil
	}
	if n, err := strconv.Atoi(s); err == nil || errors.Is(err, strconv.ErrRange) {
		if n < 1 || n > maxMembers || strconv.Itoa(n) != s {
			return fmt.Errorf("a number of members must be 1 to %d, without leading zeros", maxMembers)
		}
		*m = Members{own: true, last: n - 1}
		return nil
	}
	if first, last, ok, err := parseRange(s); ok || err != nil {
		*m = Members{own: true, first: first, last: last}
		return err
	}
	const want = ": must be a number of members, such as 3, a range of ordinals, such as 0..2, or names, such as zk-{0..2} or zk-0,zk-1"
	if new(Wait).UnmarshalText([]byte(s)) == nil {
		return fmt.Errorf("%+q is for PODFQDN_PEERS_WAIT%s", s, want)
	}
	total := 0
	for one := range strings.SplitSeq(s, ",") {
		i, err := parseItem(strings.TrimSpace(one), want)
		if err != nil {
			return err
		}
		if total += i.last - i.first + 1; total > maxMembers {
			return fmt.Errorf("has more than %d names", maxMembers)
		}
		m.items = append(m.items, i)
	}
	return nil
}

// IsZero reports whether there are none.
func (m Members) IsZero() bool { return !m.own && len(m.items) == 0 }

// Range returns the lowest and the highest ordinal; ok is false where these are names.
func (m Members) Range() (first, last int, ok bool) { return m.first, m.last, m.own }

// parseItem reads one name of a list; want is what may stand there, behind the error
// of what cannot be a name.
func parseItem(s, want string) (item, error) {
	before, rest, ranges := strings.Cut(s, "{")
	inner, after, closed := strings.Cut(rest, "}")
	i := item{before: before, after: after, ranges: ranges}
	if ranges {
		first, last, ok, err := parseRange(inner)
		if err != nil {
			return item{}, fmt.Errorf("%+q: %w", s, err)
		}
		if !ok || !closed || strings.ContainsAny(after, "{}") {
			return item{}, fmt.Errorf("%+q: braces hold one range of numbers, as in zk-{0..2}", s)
		}
		i.first, i.last = first, last
	}
	if _, err := identity.ParseName(i.name(i.first)); err != nil {
		return item{}, fmt.Errorf("%w%s", err, want)
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return item{}, fmt.Errorf("%+q is an address%s", s, want)
	}
	if strings.Trim(s, "0123456789") == "" {
		return item{}, fmt.Errorf("%+q is a number, not a name%s", s, want)
	}
	return i, nil
}

// name returns the name with the number in place of the range.
func (i item) name(number int) string {
	if !i.ranges {
		return i.before
	}
	return i.before + strconv.Itoa(number) + i.after
}

// parseRange reads FIRST..LAST; ok is false if it is something else.
func parseRange(s string) (first, last int, ok bool, err error) {
	a, b, dots := strings.Cut(s, "..")
	first, noFirst := number(a)
	last, noLast := number(b)
	switch {
	case !dots || noFirst != nil || noLast != nil:
		return 0, 0, false, nil
	case first > last:
		return 0, 0, true, fmt.Errorf("the range %s ends before it begins", s)
	case last-first >= maxMembers:
		return 0, 0, true, fmt.Errorf("the range %s has more than %d members", s, maxMembers)
	}
	return first, last, true, nil
}

// number reads an ordinal, which is an int32 without leading zeros.
func number(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, errors.New("is not an ordinal")
	}
	return int(n), nil
}

// names returns the members' names for a Pod, in their order, and the index of the Pod
// itself among them; -1 if it is not one of them. The error is a *identity.Refusal.
func (m Members) names(c identity.Claim) (names []identity.Name, self int, err error) {
	self = -1
	var texts []string
	if m.own {
		base, own, err := ownSet(c)
		if err != nil {
			return nil, 0, err
		}
		if own < m.first || own > m.last {
			start := max(own-(m.last-m.first), 1)
			return nil, 0, refuse(fmt.Errorf("PODFQDN_PEERS: this Pod is %s, and its ordinal %d is not in %d..%d", c.Name(), own, m.first, m.last),
				fmt.Sprintf("set PODFQDN_PEERS to the number in spec.replicas, or, if spec.ordinals.start is not 0, to the range of ordinals, such as %d..%d", start, start+m.last-m.first))
		}
		_, domain, _ := strings.Cut(c.Name().String(), ".")
		for n := m.first; n <= m.last; n++ {
			texts = append(texts, fmt.Sprintf("%s-%d.%s.", base, n, domain))
		}
	}
	for _, i := range m.items {
		for n := i.first; n <= i.last; n++ {
			texts = append(texts, i.name(n))
		}
	}
	at := map[identity.Name]bool{}
	for _, text := range texts {
		name, err := complete(text, c)
		if err != nil {
			return nil, 0, err
		}
		if at[name] {
			return nil, 0, refuse(fmt.Errorf("PODFQDN_PEERS has %s twice", name), "leave one of them out")
		}
		if at[name] = true; name == c.Name() {
			self = len(names)
		}
		names = append(names, name)
	}
	return names, self, nil
}

// ownSet returns what the names of a Pod's own set have in common, and the Pod's
// number in it. The error is a *identity.Refusal.
func ownSet(c identity.Claim) (base string, own int, err error) {
	hostname := c.Hostname()
	i := strings.LastIndexByte(hostname, '-')
	own, no := number(hostname[i+1:])
	if i < 1 || no != nil || c.Dashed() || c.Ordinal() == "" {
		return "", 0, refuse(fmt.Errorf("PODFQDN_PEERS is a number of members or a range, but the hostname %+q does not end with an ordinal, as those of a StatefulSet do", hostname),
			"write the names of the peers, such as zk-{0..2}")
	}
	if c.Ordinal() != strconv.Itoa(own) {
		return "", 0, refuse(fmt.Errorf("PODFQDN_PEERS is a number of members or a range, but POD_ORDINAL=%s is not the number at the end of the hostname %+q", c.Ordinal(), hostname),
			"write the names of the peers, such as zk-{0..2}, or leave POD_ORDINAL out")
	}
	return hostname[:i], own, nil
}

// complete returns the whole name that a Pod means by a short one: HOSTNAME of its
// own Service, HOSTNAME.SERVICE of its own namespace, HOSTNAME.SERVICE.NAMESPACE.svc
// of its own zone. One with a root dot, or of more labels, is whole. The error is a
// *identity.Refusal.
func complete(text string, c identity.Claim) (identity.Name, error) {
	labels := strings.Split(text, ".")
	service, namespace := c.Service()
	domain := []string{service, namespace, "svc", c.Zone().String()}
	whole := text
	switch n := len(labels); {
	case labels[n-1] == "" || n > 4 || n == 4 && labels[3] != "svc":
	case n == 3:
		return identity.Name{}, refuse(fmt.Errorf("PODFQDN_PEERS: %+q may be a whole name, or a Pod of another namespace", text),
			fmt.Sprintf("write %+q or %+q", text+".", text+".svc"))
	case c.Zone().IsZero() || n < 3 && service == "":
		return identity.Name{}, refuse(fmt.Errorf("PODFQDN_PEERS: %+q is a short name, and the name of this Pod, %s, has no governing Service to complete it with", text, c.Name()),
			"write whole names")
	default:
		whole = strings.Join(append(labels, domain[min(n, 4)-1:]...), ".")
		if n == 4 {
			whole = text + "." + c.Zone().String()
		}
	}
	name, err := identity.ParseName(whole)
	if err != nil {
		return identity.Name{}, refuse(fmt.Errorf("PODFQDN_PEERS: %w", err), "write shorter names")
	}
	return name, nil
}

func refuse(why error, change string) error {
	return identity.Refuse(identity.Misconfigured, why, change)
}
