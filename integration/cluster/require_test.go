package cluster

import (
	"slices"
	"testing"
)

func TestAMissingCapabilityIsNamed(t *testing.T) {
	for status, want := range map[string][]string{
		"Name:\tx\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n": nil,
		"CapEff:\t000001fffeffffff\n":                       nil, // CAP_SYS_RESOURCE is not needed
		"CapEff:\t000001ffffdfefff\n":                       {"CAP_NET_ADMIN", "CAP_SYS_ADMIN"},
	} {
		if got := lackingCapabilities([]byte(status)); !slices.Equal(got, want) {
			t.Errorf("%q lacks %v, want %v", status, got, want)
		}
	}
}
