package identity

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Policy says what counts as agreement. The zero value is the default.
type Policy struct {
	NameForm NameForm    `env:"PODFQDN_NAME_FORM" envDefault:"hostname" doc:"hostname, or address: the dashed name of a Pod without spec.hostname"`
	Forward  ForwardRule `env:"PODFQDN_FORWARD" envDefault:"only" doc:"only: A and AAAA hold this Pod's address alone; contains: perhaps others too"`
	Reverse  ReverseRule `env:"PODFQDN_REVERSE" envDefault:"contains" doc:"contains: PTR holds this name, perhaps others too; only: this name alone; ignore: not asked"`
	Families Families    `env:"PODFQDN_FAMILIES" envDefault:"auto" doc:"auto: at least one address family agrees and none disagrees; all; ipv4 or ipv6: this one, and the other is not asked for"`
	Rounds   Rounds      `env:"PODFQDN_CONFIRM" envDefault:"1" doc:"rounds that must agree after the first one, each over a new socket; 0 to 10"`
}

// NameForm is which of its possible names a Pod claims.
type NameForm uint8

const (
	HostnameForm NameForm = iota // "hostname": HOSTNAME.SERVICE.…
	AddressForm                  // "address": 10-1-2-3.SERVICE.…, for Pods without spec.hostname
)

// ForwardRule is what A and AAAA must have.
type ForwardRule uint8

const (
	ForwardOnly     ForwardRule = iota // "only": our address and no other
	ForwardContains                    // "contains": ours, and others are allowed
)

// ReverseRule is what PTR must have.
type ReverseRule uint8

const (
	ReverseContains ReverseRule = iota // "contains": our name, and others are allowed
	ReverseOnly                        // "only": our name and no other
	ReverseIgnore                      // "ignore": not asked
)

// Families is for which of the Pod's addresses DNS must agree.
type Families uint8

const (
	FamiliesAuto Families = iota // "auto": at least one agrees and none disagrees
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
	return fmt.Errorf("must be one of %s", strings.Join(words, ", "))
}

// Rounds is how many rounds of questions a proof takes, each over a socket of
// its own: 1 to 11. 0 is the default, 2.
type Rounds uint8

// maxConfirm bounds the rounds after the first one.
const maxConfirm = 10

// UnmarshalText reads how many rounds confirm the first one, 0 to 10.
func (r *Rounds) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return errors.New("must be a whole number")
	case err != nil || n < 0 || n > maxConfirm:
		return fmt.Errorf("must be 0 to %d", maxConfirm)
	}
	*r = Rounds(1 + n)
	return nil
}
