package diagnosis_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// sick is a diagnosis with everything in it that a screen shows in its own way.
var sick = diagnosis.Diagnosis{
	Schema: 1, FQDN: "db-0.db.default.svc.cluster.local", Addresses: []netip.Addr{netip.MustParseAddr("10.244.1.7")},
	Reason: "10.96.0.10 says no\x1b[2J",
	Facts: []diagnosis.Seen{
		{Name: "hostname", Value: "db-0\x1b[31m", From: "/etc/hosts"}, {Name: "a\x1b[31m", Value: "b", From: "c"}, {Name: "governing Service", From: "neither here nor there"},
		{Name: "cluster domain", Value: "cluster.local", From: "/etc/hosts"},
	},
	Questions: []diagnosis.Asked{
		{Server: "10.96.0.10:53", Kind: "existence", Type: "SPF", Subject: "db-0.db.default.svc.cluster.local", Rcode: "NXDOMAIN", TTL: 30, Zone: "cluster.local", Answer: "NXDOMAIN", Milliseconds: 0.4, Verdict: identity.Missing},
		{Server: "10.96.0.10:53", Kind: "existence", Type: "KX", Subject: "db-0.db.default.svc.cluster.local", Rcode: "NXDOMAIN", TTL: 30, Zone: "cluster.local", Answer: "NXDOMAIN", Milliseconds: 0.5, Verdict: identity.Missing},
		{Server: "10.96.0.10:53", Kind: "A", Type: "A", Subject: "kubernetes.default.svc.cluster.local", Rcode: "NOERROR", Authoritative: true, TTL: 5, Cached: true, Answer: "10.96.0.1", NSID: "a", Milliseconds: 12.34, Witness: true},
		{Server: "10.96.0.11:53", Kind: "existence", Type: "KX", Subject: "db-0.db.default.svc.cluster.local", Answer: "nothing within 2s", Milliseconds: 2000.1, Verdict: identity.Unanswered},
		{Server: "10.96.0.12:53", Kind: "existence", Type: "KX", Subject: "db-0.db.default.svc.cluster.local", Rcode: "NXDOMAIN", Zone: ".", TTL: 5, Answer: "NXDOMAIN", Verdict: identity.ForeignServer},
	},
	Causes: []diagnosis.Cause{
		{Kind: diagnosis.NotReadyHidden, Why: "10.96.0.10 says no\x1b[2J", Change: "set it", Command: "kubectl do", Guess: true},
		{Kind: diagnosis.NoService, Why: "it may be missing", Change: "make it"},
		{Kind: "a\x1b[31m", Why: "a container said so", Change: "nothing"},
	},
}

const sickText = `not healthy: 10.96.0.10 says no\x1b[2J

seen in the Pod
  hostname           db-0\x1b[31m  (/etc/hosts)
  a\x1b[31m          b  (c)
  governing Service  none  (neither here nor there)
  cluster domain     cluster.local  (/etc/hosts)

so it claims
  db-0.db.default.svc.cluster.local  10.244.1.7

asked of 10.96.0.10
  existence  SPF  db-0.db.default.svc.cluster.local     NXDOMAIN   missing  x2     0.4 ms  ttl 30
  witness    A    kubernetes.default.svc.cluster.local  10.96.0.1                 12.3 ms  ttl 5 from a cache  aa  by a

asked of 10.96.0.11
  existence  KX  db-0.db.default.svc.cluster.local  nothing within 2s  unanswered  2000.1 ms

asked of 10.96.0.12
  existence  KX  db-0.db.default.svc.cluster.local  NXDOMAIN  foreign-server     0.0 ms  ttl 5  zone .

causes, the most likely first
  1. perhaps not-ready-hidden
     change  set it
     run     kubectl do
  2. service-missing
     why     it may be missing
     change  make it
  3. a\x1b[31m
     why     a container said so
     change  nothing
`

func TestTheScreenShowsTheDiagnosisAligned(t *testing.T) {
	t.Parallel()
	var plain, colour strings.Builder
	diagnosis.Screen{W: &plain}.Diagnosis(sick)
	if plain.String() != sickText {
		t.Errorf("it shows\n%s\nnot\n%s", plain.String(), sickText)
	}
	// In colour it is the same text, as wide.
	diagnosis.Screen{W: &colour, Colour: true}.Diagnosis(sick)
	sgr := regexp.MustCompile("\x1b\\[(\\d+)m")
	if got := sgr.ReplaceAllString(colour.String(), ""); got != sickText {
		t.Errorf("without its colours it shows\n%s\nnot\n%s", got, sickText)
	}
	open := 0
	for _, m := range sgr.FindAllStringSubmatch(colour.String(), -1) {
		if open++; m[1] == "0" {
			open -= 2
		}
		if open < 0 || open > 1 {
			t.Fatalf("a colour is not closed: %q", colour.String())
		}
	}
	if !strings.HasPrefix(colour.String(), "\x1b[31mnot healthy\x1b[0m: ") || !strings.Contains(colour.String(), "\x1b[33mperhaps \x1b[0m\x1b[1mnot-ready-hidden\x1b[0m") {
		t.Errorf("%q", colour.String())
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                              "",
		"plain, with 'quotes' and \"\"": "plain, with 'quotes' and \"\"",
		"one\ntwo":                      "one; two",
		"\x1b[31mred\x1b[0m":            `\x1b[31mred\x1b[0m`,
		"\x00\a\b\t\v\f\r\x7f":          `\x00\a\b\t\v\f\r\x7f`,
		"é \u202e \u009b \U0001F600":    `\u00e9 \u202e \u009b \U0001f600`,
		"\xff\xfe":                      `\xff\xfe`,
		"\u2028":                        `\u2028`,
	} {
		if got := shown.Printable(text); got != want {
			t.Errorf("%+q: %s, not %s", text, got, want)
		}
	}
	for _, foreign := range []string{"é", "\x1b", `"`, `\`, "\n", `\n`, `\"`, "a\"\x1b\\"} {
		quoted := fmt.Sprintf("%+q is not a name", foreign)
		if got := shown.Printable(quoted); got != quoted {
			t.Errorf("what was quoted as %s is shown as %s", quoted, got)
		}
	}
}

func TestJSONIsTheSameInASCII(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "plain <&> 'quotes' \"\" \\", "\x1b[31m\a\x7f", "é\u202e\u009b31m\u2028\U0001F600"} {
		out, err := diagnosis.JSON(map[string]string{"a": text})
		var back map[string]string
		if err := errors.Join(err, json.Unmarshal(out, &back)); err != nil || back["a"] != text {
			t.Errorf("%+q becomes %+q: %v", text, back["a"], err)
		}
		if strings.ContainsFunc(string(out), func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) || !strings.HasSuffix(string(out), "}\n") {
			t.Errorf("%+q", out)
		}
	}
	if out, err := diagnosis.JSON(func() {}); err == nil {
		t.Errorf("a function is %s", out)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[31m\"é\\\n\xff")
	f.Fuzz(func(t *testing.T, text string) {
		got := shown.Printable(text)
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%+q", got)
		}
		if again := shown.Printable(got); again != got {
			t.Errorf("%s becomes %s", got, again)
		}
	})
}

func TestALinelessListIsNotShown(t *testing.T) {
	var b strings.Builder
	s := diagnosis.NewScreen(&b)
	s.Lines("nothing")
	if b.Len() > 0 {
		t.Errorf("shows %q", b.String())
	}
	s.Lines("something", "a\x1b")
	if b.String() != "\nsomething\n  a\\x1b\n" {
		t.Errorf("shows %q", b.String())
	}
}
