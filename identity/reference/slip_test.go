package reference

import (
	"fmt"
	"slices"
	"testing"
)

func TestASlipIsSaidAndNothingElseIs(t *testing.T) {
	t.Parallel()
	documented := []string{"POD_FQDN", "POD_HOSTNAME", "POD_SERVICE", "POD_NAMESPACE", "POD_CLUSTER_DOMAIN", "POD_IP", "POD_IPS", "POD_ORDINAL", "KRB5_KTNAME", "POD_PEERS"}
	for text, want := range map[string]string{
		"$(POD_FQND)":                             "1 $(POD_FQND) POD_FQDN",
		"$(POD_FQDN)":                             "",
		"\n$(POD_ORDINAL +1)":                     "2 $(POD_ORDINAL) POD_ORDINAL",
		"$( POD_IP )":                             "1 $(POD_IP) POD_IP",
		"$(POD_ORDINL+1)":                         "1 $(POD_ORDINL) POD_ORDINAL",
		"$(POD_PERS:{fqdn})":                      "1 $(POD_PERS) POD_PEERS",
		"$(POD_PEER[;]:{fqdn})":                   "1 $(POD_PEER) POD_PEERS",
		"$(POD_PEERS :{fqdn})":                    "1 $(POD_PEERS) POD_PEERS",
		"$(pod_peers:{fqdn})":                     "1 $(pod_peers) POD_PEERS",
		"$(POD_PEERS[;]:{fqdn}) $$(POD_PEER)":     "",
		"$(pod_fqdn)":                             "1 $(pod_fqdn) POD_FQDN",
		"$(POD_CLUSTERDOMAN)":                     "1 $(POD_CLUSTERDOMAN) POD_CLUSTER_DOMAIN",
		"$$(POD_FQND)":                            "",
		"$(POD_NAME) $(POD_UID) $(NODE_IP)":       "",
		"$(hostname -f) $(cat /pod/ip) $(":        "",
		"$(POD_FQDN_PORT) $(POD_IP_SERVICE_HOST)": "",
		"a=$(POD_FQND) b=$(POD_FQND)":             "1 $(POD_FQND) POD_FQDN,1 $(POD_FQND) POD_FQDN",
	} {
		parsed, err := Parse(text, documented)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for i, s := range parsed.Slips() {
			if i > 0 {
				got += ","
			}
			got += fmt.Sprintf("%d %s %s", s.Line, s.Written, s.Meant)
		}
		if got != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"ab", "ba", 1}, {"abc", "abd", 1}, {"abc", "acbd", 2}, {"kitten", "sitting", 3}, {"POD_FQND", "POD_FQDN", 1}} {
		if got := []int{Distance(c.a, c.b), Distance(c.b, c.a)}; !slices.Equal(got, []int{c.want, c.want}) {
			t.Errorf("%q and %q: %d, not %d", c.a, c.b, got, c.want)
		}
	}
}
