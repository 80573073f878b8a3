package identity_test

import (
	"encoding"
	"fmt"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
)

func TestPoliciesAreReadAsTheyArePrinted(t *testing.T) {
	for _, test := range []struct {
		value interface {
			encoding.TextUnmarshaler
			fmt.Stringer
		}
		words []string // the default first
	}{
		{new(identity.NameForm), []string{"hostname", "address"}},
		{new(identity.ForwardRule), []string{"only", "contains"}},
		{new(identity.ReverseRule), []string{"contains", "only", "ignore"}},
		{new(identity.Families), []string{"auto", "all", "ipv4", "ipv6"}},
	} {
		if got := test.value.String(); got != test.words[0] {
			t.Errorf("the default is %s, not %s", got, test.words[0])
		}
		for _, word := range test.words {
			if err := test.value.UnmarshalText([]byte(word)); err != nil || test.value.String() != word {
				t.Errorf("%s becomes %s, %v", word, test.value, err)
			}
		}
		last := test.value.String()
		for _, word := range []string{"", "ONLY", "default"} {
			err := test.value.UnmarshalText([]byte(word))
			want := "must be one of " + strings.Join(test.words, ", ")
			if err == nil || err.Error() != want || test.value.String() != last {
				t.Errorf("%q becomes %s, %v, not %s", word, test.value, err, want)
			}
		}
	}
}
