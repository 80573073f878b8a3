package surface_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity/podtest/surface"
)

func TestADifferenceSaysWhatToDo(t *testing.T) {
	t.Parallel()
	const list = "identity.json, field ip string\npodfqdn, verdict agrees\npodfqdn, verdict stale\n"
	for _, c := range []struct{ list, items, want string }{
		{list, "verdict agrees,verdict stale", ""},
		{list, "verdict stale", "v1 promises it: podfqdn, verdict agrees: bring it back"},
		{list, "verdict agrees,verdict new,verdict stale", "v1 does not promise it yet: podfqdn, verdict new: if it is to stay, add this line to docs/v1.txt, and one for users to CHANGELOG.md"},
		{list + "podfqdn, verdict b\n", "verdict agrees,verdict b,verdict stale", "is not sorted"},
		{list + "podfqdn, verdict stale\n", "verdict agrees,verdict stale", "says it twice"},
		{list + "podfqdnx, verdict agrees\n", "verdict agrees,verdict stale", "begins like no part"},
	} {
		got := surface.Differences(c.list, "podfqdn", strings.Split(c.items, ","))
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
			t.Errorf("%q: %q, not %q", c.items, got, c.want)
		}
	}
}

func TestFieldsAreThoseOfTheJSON(t *testing.T) {
	t.Parallel()
	type word string
	type inner struct {
		B bool `json:"b"`
	}
	type elsewhere struct {
		C int `json:"c"`
	}
	type embedded struct {
		S word `json:"s"`
	}
	type outer struct {
		embedded
		Address netip.Addr   `json:"address,omitzero"`
		Lists   [][]string   `json:"lists"`
		Inner   *inner       `json:"inner,omitempty"`
		Inners  []inner      `json:"inners"`
		Of      []*elsewhere `json:"of"`
		N       float64      `json:"n"`
		Quoted  int          `json:"quoted,string"`
		Hidden  string       `json:"-"`
		_       string
	}
	got := surface.Fields(reflect.TypeFor[outer](), map[reflect.Type]string{reflect.TypeFor[elsewhere](): "what is said elsewhere"})
	want := []string{
		"field s string", "field address string, optional", "field lists array of array of string", "field inner object, optional",
		"field inner.b boolean", "field inners array of object", "field inners[].b boolean", "field of array of what is said elsewhere", "field n number", "field quoted number in a string",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nnot %q", got, want)
	}
}
