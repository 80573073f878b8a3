package kerberos

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
)

// Select returns the entries of the principals that are wanted, and of no
// others: those of the newest key version and of the one before, with which
// tickets from before a rotation can be read for as long as the source has it.
// They are in the order of the principals, the newest first, so that a client
// that takes the first entry is the first principal.
//
// The error is a *Missing if a principal has no key that is allowed in its
// newest version.
func Select(entries []Entry, want []Principal, allowed Enctypes) ([]Entry, error) {
	of := map[Principal][]Entry{}
	for _, e := range entries {
		of[e.Principal] = append(of[e.Principal], e)
	}
	var picked []Entry
	missing := &Missing{}
	for _, p := range want {
		keys, why := pick(of[p], allowed)
		if len(of[p]) == 0 {
			why = nearMiss(p, of)
		}
		if len(keys) == 0 {
			missing.Lacks = append(missing.Lacks, Lack{p, why})
		}
		picked = append(picked, keys...)
	}
	if len(missing.Lacks) == 0 {
		return picked, nil
	}
	for p := range of {
		if printable(p.String()) {
			missing.Found = append(missing.Found, p)
		} else {
			missing.Unprintable++
		}
	}
	slices.SortFunc(missing.Found, func(a, b Principal) int { return cmp.Compare(a.String(), b.String()) })
	return nil, missing
}

// pick returns the keys to take from one principal's entries, or why there are
// none.
func pick(entries []Entry, allowed Enctypes) (keys []Entry, why string) {
	var refused []string
	for i, version := range newest(entries) {
		for _, e := range entries {
			if e.Version != version || slices.ContainsFunc(keys, e.same) {
				continue
			}
			known, _ := e.Enctype.find()
			switch {
			case !allowed.allow(e.Enctype):
				refused = append(refused, cmp.Or(known.weak, e.Enctype.String()+" is not allowed"))
			case known.bytes != 0 && len(e.key.bytes()) != known.bytes:
				refused = append(refused, fmt.Sprintf("its %s key has the wrong length", e.Enctype))
			default:
				keys = append(keys, e)
			}
		}
		if i == 0 && len(keys) == 0 {
			slices.Sort(refused)
			return nil, fmt.Sprintf("its newest version %d has no usable key, as %s: make keys of type %s",
				version, strings.Join(slices.Compact(refused), " and "), allowed)
		}
	}
	return keys, ""
}

// same reports whether another entry holds the same key, as when keytabs were
// merged.
func (e Entry) same(other Entry) bool {
	return e.Principal == other.Principal && e.Version == other.Version && e.Enctype == other.Enctype &&
		string(e.key.bytes()) == string(other.key.bytes())
}

// newest returns the newest of the key versions and the one before, if there is
// one.
func newest(entries []Entry) (versions []uint32) {
	last := map[uint32]uint32{} // when each version was written last
	for _, e := range entries {
		last[e.Version] = max(last[e.Version], e.Time)
		if !slices.Contains(versions, e.Version) {
			versions = append(versions, e.Version)
		}
	}
	// As they were written, which their order in several files need not be:
	// where versions wrapped, the one that counts depends on it.
	slices.SortFunc(versions, func(a, b uint32) int { return cmp.Or(cmp.Compare(last[a], last[b]), cmp.Compare(a, b)) })
	var two []uint32
	for len(two) < 2 && len(versions) > 0 {
		best := 0
		for i, v := range versions {
			if b := versions[best]; moreRecent(v, last[v], b, last[b]) {
				best = i
			}
		}
		two = append(two, versions[best])
		versions = slices.Delete(versions, best, best+1)
	}
	return two
}

// moreRecent reports whether key version a, written at that time, is newer than
// b. Versions wrap, since old programs kept 8 or 16 bits of them: so a small
// one that was written no earlier than a large one follows it (MIT krb5,
// kt_file.c, more_recent).
func moreRecent(a, written uint32, b, before uint32) bool {
	switch {
	case a < 128 && b > 240 && written >= before:
		return true
	case a > 240 && b < 128 && before >= written:
		return false
	}
	return a > b
}

// nearMiss describes a similar principal that is there instead of p; "" if none is.
func nearMiss(p Principal, there map[Principal][]Entry) string {
	var realm, letters, short []Principal
	service, host, isHost := p.host()
	label, _, qualified := strings.Cut(host, ".")
	for q := range there {
		switch {
		case !printable(q.String()):
		case q.name == p.name:
			realm = append(realm, q)
		case strings.EqualFold(q.String(), p.String()):
			letters = append(letters, q)
		case isHost && qualified && q.realm == p.realm && q.name == service+"/"+label:
			short = append(short, q)
		}
	}
	first := func(all []Principal) Principal {
		return slices.MinFunc(all, func(a, b Principal) int { return cmp.Compare(a.String(), b.String()) })
	}
	switch {
	case len(realm) > 0:
		q := first(realm)
		return fmt.Sprintf("there is %s, in another realm: is %s the right one?", q, q.realm)
	case len(letters) > 0 && strings.HasSuffix(first(letters).name, "$"):
		return fmt.Sprintf("there is %s, and case counts: a computer account of Active Directory is {HOSTNAME}$ in PODFQDN_KRB5_PRINCIPALS", first(letters))
	case len(letters) > 0:
		return fmt.Sprintf("there is %s, and case counts: make the key for the name in lower case and the realm as it is", first(letters))
	case len(short) > 0:
		return fmt.Sprintf("there is %s, for the short hostname only: clients ask for the whole name, so make the key for that", first(short))
	}
	return ""
}

// Missing reports that a source lacks keys. It holds names only.
type Missing struct {
	Source      string // the file or directory
	Lacks       []Lack
	Found       []Principal // those that have keys, wanted or not, in order
	Unprintable int         // how many more there are whose names cannot be shown
	Skipped     []string    // files that could not be read, each with its reason
	Passed      int         // how many files there are not keytabs, and were passed over
}

// Lack is a principal without a key, and why; "" if nothing similar is there.
type Lack struct {
	Principal Principal
	Why       string
}

func (l Lack) String() string {
	if l.Why == "" {
		return l.Principal.String()
	}
	return fmt.Sprintf("%s (%s)", l.Principal, l.Why)
}

func (m *Missing) Error() string {
	there := "nothing"
	switch {
	case len(m.Found) > 0:
		there = "keys for " + identity.Enumerate(m.Found)
	case m.Unprintable > 0:
		there = fmt.Sprintf("keys for %d principals whose names are not printable", m.Unprintable)
	}
	text := fmt.Sprintf("%+q has no key for %s", m.Source, identity.Enumerate(m.Lacks))
	if there != "nothing" || len(m.Skipped) == 0 { // what was not read may have some
		text += "; it has " + there
	}
	if n := len(m.Skipped); n > 0 {
		text += "; not read: " + m.Skipped[0]
		if n > 1 {
			text += fmt.Sprintf("; and %d more", n-1)
		}
	}
	switch {
	case m.Passed == 1:
		text += "; 1 file there is not a keytab"
	case m.Passed > 1:
		text += fmt.Sprintf("; %d files there are not keytabs", m.Passed)
	}
	return text
}
