package identity

import (
	"fmt"
	"net/netip"
	"strings"
)

// Policy says what counts as agreement. The zero value is the default but for
// Confirm, which is 1 there.
type Policy struct {
	NameForm NameForm
	Forward  ForwardRule
	Reverse  ReverseRule
	Families Families
	Confirm  int // confirming rounds after the first that agrees
}

// NameForm says which of its possible names a Pod claims.
type NameForm uint8

const (
	HostnameForm NameForm = iota // "hostname": HOSTNAME.SERVICE.…
	AddressForm                  // "address": 10-1-2-3.SERVICE.…, for Pods without spec.hostname
)

// ForwardRule says what A and AAAA must hold.
type ForwardRule uint8

const (
	ForwardOnly     ForwardRule = iota // "only": our address alone
	ForwardContains                    // "contains": ours, perhaps with others
)

// ReverseRule says what PTR must hold.
type ReverseRule uint8

const (
	ReverseContains ReverseRule = iota // "contains": our name, perhaps with others
	ReverseOnly                        // "only": our name alone
	ReverseIgnore                      // "ignore": not asked
)

// Families says for which of the Pod's addresses DNS must agree.
type Families uint8

const (
	FamiliesAuto Families = iota // "auto": one at least agrees and none disagrees
	FamiliesAll                  // "all": every address of the Pod
	FamiliesIPv4                 // "ipv4"
	FamiliesIPv6                 // "ipv6"
)

var (
	nameForms = []string{"hostname", "address"}
	forwards  = []string{"only", "contains"}
	reverses  = []string{"contains", "only", "ignore"}
	families  = []string{"auto", "all", "ipv4", "ipv6"}
)

func (v NameForm) String() string    { return nameForms[v] }
func (v ForwardRule) String() string { return forwards[v] }
func (v ReverseRule) String() string { return reverses[v] }
func (v Families) String() string    { return families[v] }

// UnmarshalText reads one of the words above; so do the other three.
func (v *NameForm) UnmarshalText(text []byte) error    { return word(v, nameForms, text) }
func (v *ForwardRule) UnmarshalText(text []byte) error { return word(v, forwards, text) }
func (v *ReverseRule) UnmarshalText(text []byte) error { return word(v, reverses, text) }
func (v *Families) UnmarshalText(text []byte) error    { return word(v, families, text) }

func word[T ~uint8](v *T, words []string, text []byte) error {
	for i, w := range words {
		if w == string(text) {
			*v = T(i)
			return nil
		}
	}
	return fmt.Errorf("must be %s", strings.Join(words, ", "))
}

// Family is an address family.
type Family uint8

const (
	IPv4 Family = 4
	IPv6 Family = 6
)

func (f Family) String() string { return fmt.Sprintf("IPv%d", uint8(f)) }

func familyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return IPv4
	}
	return IPv6
}
