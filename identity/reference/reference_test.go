package reference_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/identity/reference"
)

var documented = []string{"POD_FQDN", "POD_IP", "POD_IPS", "POD_ORDINAL", "POD_PEERS"}

var values = map[string]string{
	"POD_FQDN":    "db-0.db.default.svc.cluster.local",
	"POD_IP":      "10.244.1.7",
	"POD_IPS":     "10.244.1.7,fd00::7",
	"POD_ORDINAL": "2",
	"POD_PEERS":   "zk-9.zk.default.svc.cluster.local,zk-10.zk.default.svc.cluster.local",
}

func TestAReferenceIsReplacedAndEveryOtherByteStays(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		"$(POD_FQDN)":                       values["POD_FQDN"],
		"--name=$(POD_FQDN):9092":           "--name=db-0.db.default.svc.cluster.local:9092",
		"$(POD_IP)$(POD_IP)":                "10.244.1.710.244.1.7",
		"$(POD_IP),$(POD_IPS)":              "10.244.1.7,10.244.1.7,fd00::7",
		"$(POD_ORDINAL)":                    "2",
		"$(POD_ORDINAL+1)":                  "3",
		"$(POD_ORDINAL+0)":                  "2",
		"$(POD_ORDINAL+007)":                "9",
		"$(POD_ORDINAL+999999)":             "1000001",
		"$$(POD_FQDN)":                      "$(POD_FQDN)",
		"$$$(POD_FQDN)":                     "$$(POD_FQDN)",
		"$$(POD_ORDINAL+1)":                 "$(POD_ORDINAL+1)",
		"$(POD_IP)$$(POD_IP)":               "10.244.1.7$(POD_IP)",
		"$$(POD_IP)$(POD_IP)":               "$(POD_IP)10.244.1.7",
		"$($(POD_IP))":                      "$(10.244.1.7)",
		"pa$$word $$ $":                     "pa$$word $$ $",
		"${POD_FQDN} $POD_FQDN":             "${POD_FQDN} $POD_FQDN",
		"$(HOSTNAME) $$(HOSTNAME)":          "$(HOSTNAME) $$(HOSTNAME)",
		"$(POD_FQDNS) $(POD_FQD)":           "$(POD_FQDNS) $(POD_FQD)",
		"$(pod_fqdn) $(POD_FQDN_)":          "$(pod_fqdn) $(POD_FQDN_)",
		"$(POD_FQDN ) $( POD_FQDN)":         "$(POD_FQDN ) $( POD_FQDN)",
		"$(POD_FQDN=x) $(POD_FQDN":          "$(POD_FQDN=x) $(POD_FQDN",
		"$(POD_OTHER+1) $(POD_OTHER[,]:{})": "$(POD_OTHER+1) $(POD_OTHER[,]:{})",
		"$(POD_FQDN\n)":                     "$(POD_FQDN\n)",
		"\xff$(POD_IP)\x00\xfe":             "\xff10.244.1.7\x00\xfe",
		"$(POD_FQDN\xff)$(":                 "$(POD_FQDN\xff)$(",
	} {
		parsed, err := reference.Parse(text, documented)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, err := parsed.Expand(values); got != want || err != nil {
			t.Errorf("%q becomes %q, want %q (%v)", text, got, want, err)
		}
		if size, err := parsed.Size(values); size != len(want) || err != nil {
			t.Errorf("%q: Size is %d, want %d (%v)", text, size, len(want), err)
		}
	}
}

func TestAValueIsNotLookedAtAgain(t *testing.T) {
	parsed, err := reference.Parse("$(POD_FQDN)", documented)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parsed.Expand(map[string]string{"POD_FQDN": "$(POD_IP) $$(POD_IP)"}); got != "$(POD_IP) $$(POD_IP)" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestATextNamesWhatItNeedsAndWhere(t *testing.T) {
	parsed, err := reference.Parse("$$(POD_IPS)\n$(POD_ORDINAL+1) $(POD_FQDN)\n$(POD_ORDINAL)\n", documented)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := parsed.Needs(), []string{"POD_ORDINAL", "POD_FQDN"}; !slices.Equal(got, want) {
		t.Errorf("it needs %q, want %q", got, want)
	}
	for variable, want := range map[string]int{"POD_ORDINAL": 2, "POD_FQDN": 2, "POD_IPS": 0} {
		if got := parsed.At(variable); got != want {
			t.Errorf("%s is in line %d, want %d", variable, got, want)
		}
	}
}

func TestAMalformedReferenceIsReportedWithItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"a\nb $(POD_FQDN+1)":     `line 2: "$(POD_FQDN+1)" is not a reference: only POD_ORDINAL takes +N: write $(POD_FQDN)`,
		"$(POD_FQDN-1)":          `line 1: "$(POD_FQDN-1)" is not a reference: POD_FQDN takes no '-': write $(POD_FQDN)`,
		"$(POD_IPS[\\n])":        `line 1: "$(POD_IPS[\\n])" is not a reference: only POD_PEERS takes a separator: write $(POD_IPS)`,
		"$(POD_IP:{fqdn}\nx)":    `line 1: "$(POD_IP:" is not a reference: only POD_PEERS takes a format: write $(POD_IP)`,
		"$(POD_ORDINAL+)":        `line 1: "$(POD_ORDINAL+)" is not a reference: 1 to 6 digits and a parenthesis must follow the +: write $(POD_ORDINAL) or $(POD_ORDINAL+1)`,
		"$(POD_ORDINAL+1000000)": `line 1: "$(POD_ORDINAL+1000000)" is not a reference: 1 to 6 digits and a parenthesis must follow the +: write $(POD_ORDINAL) or $(POD_ORDINAL+1)`,
		"$(POD_ORDINAL+1 )":      `line 1: "$(POD_ORDINAL+" is not a reference: 1 to 6 digits and a parenthesis must follow the +: write $(POD_ORDINAL) or $(POD_ORDINAL+1)`,
		"$(POD_ORDINAL+1":        `line 1: "$(POD_ORDINAL+" is not a reference: 1 to 6 digits and a parenthesis must follow the +: write $(POD_ORDINAL) or $(POD_ORDINAL+1)`,
		"$(POD_ORDINAL-1)":       `line 1: "$(POD_ORDINAL-1)" is not a reference: POD_ORDINAL takes no '-': write $(POD_ORDINAL) or $(POD_ORDINAL+1)`,
		"$$(POD_FQDN-1)":         `line 1: "$(POD_FQDN-1)" is not a reference: POD_FQDN takes no '-': write $(POD_FQDN)`,
		"$(POD_IP-" + long + ")": `line 1: "$(POD_IP-" is not a reference: POD_IP takes no '-': write $(POD_IP)`,
		// A forgotten parenthesis may have anything behind it.
		"u:$(POD_IP:1 pw=x)":         `line 1: "$(POD_IP:" is not a reference: only POD_PEERS takes a format: write $(POD_IP)`,
		"u:$(POD_IP:1/?pw=$(POD_IP)": `line 1: "$(POD_IP:" is not a reference: only POD_PEERS takes a format: write $(POD_IP)`,
		"$(POD_IP-" + long + "end":   `line 1: "$(POD_IP-" is not a reference: POD_IP takes no '-': write $(POD_IP)`,
	} {
		_, err := reference.Parse(text, documented)
		malformed, ok := errors.AsType[*reference.Malformed](err)
		if !ok || malformed.Error() != want {
			t.Errorf("%q: %v\nwant %s", text, err, want)
		}
	}
}

var long = strings.Repeat("x", 100)

func TestWhatHasNoValueIsNamed(t *testing.T) {
	for _, c := range []struct{ text, ordinal, want string }{
		{"$(POD_FQDN)", "", "POD_FQDN has no value"},
		{"$(POD_ORDINAL+1)", "a", `POD_ORDINAL is "a": +1 needs a whole number from 0 to 2147483647`},
		{"$(POD_ORDINAL+0)", "-1", `POD_ORDINAL is "-1": +0 needs a whole number from 0 to 2147483647`},
		{"$(POD_ORDINAL+1)", "2147483648", `POD_ORDINAL is "2147483648": +1 needs a whole number from 0 to 2147483647`},
		{"$(POD_ORDINAL+1)", "2147483647", "POD_ORDINAL is 2147483647: with +1 it is more than 2147483647"},
	} {
		parsed, err := reference.Parse(c.text, documented)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parsed.Expand(map[string]string{"POD_ORDINAL": c.ordinal})
		if got != "" || err == nil || err.Error() != c.want {
			t.Errorf("%q with %q: %q, %v\nwant %s", c.text, c.ordinal, got, err, c.want)
		}
	}
}

func TestALargeTextIsReadAtOnce(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":          strings.Repeat("key = value\n", 8<<20/12),
		"dollars":          strings.Repeat("$", 8<<20),
		"openings":         strings.Repeat("$(", 4<<20),
		"one long name":    "$(" + strings.Repeat("A", 8<<20),
		"unknown names":    strings.Repeat("$(POD_FQDNS)", 8<<20/12),
		"known references": strings.Repeat("$(POD_FQDN)", 8<<20/11),
		"behind lines":     strings.Repeat("\n", 4<<20) + strings.Repeat("$(POD_FQDN)", 4<<20/11),
	} {
		begin := time.Now()
		parsed, err := reference.Parse(text, documented)
		if err != nil {
			t.Fatal(err)
		}
		if size, err := parsed.Size(values); size < len(text) || err != nil {
			t.Errorf("%s: %d, %v", name, size, err)
		}
		// Hundreds of times what it takes, and a fraction of what anything that
		// is not linear would.
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s takes %v", name, took)
		}
	}
}

func TestATextWithoutReferencesCostsNoMemory(t *testing.T) {
	text := strings.Repeat("key = ${value}\n", 1000)
	if n := testing.AllocsPerRun(10, func() {
		if _, err := reference.Parse(text, documented); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations", n)
	}
}
