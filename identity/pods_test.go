package identity_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

func TestPodsClaimTheirNameOrSayWhichFieldToSet(t *testing.T) {
	for name, p := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			got, err := describeCase(t, p)
			if p.Refusal != "" {
				if err == nil || err.Error()+"\n" != p.Refusal {
					t.Errorf("got\n%s%v\nwant the refusal\n%s", got, err, p.Refusal)
				}
				checkRefusal(t, err)
				return
			}
			if err != nil || got != p.Claim {
				t.Errorf("got\n%s%v\nwant the claim\n%s", got, err, p.Claim)
			}
		})
	}
}

// The corpus is an input of other tests too; an empty one would let them pass.
func TestTheCorpusOfPodsHasClaimsAndRefusals(t *testing.T) {
	claims, refusals := 0, 0
	for name, p := range corpus(t) {
		if p.Comment == "" {
			t.Errorf("%s does not say what Pod it is", name)
		}
		if p.Claim != "" {
			claims++
		} else {
			refusals++
		}
	}
	if claims < 28 || refusals < 28 {
		t.Errorf("%d claims and %d refusals", claims, refusals)
	}
}

// corpus reads testdata/pods.
func corpus(t testing.TB) map[string]podtest.Case {
	t.Helper()
	pods, err := podtest.Corpus("testdata/pods")
	if err != nil {
		t.Fatal(err)
	}
	return pods
}

// describe returns the whole claim as text.
func describeCase(t testing.TB, p podtest.Case) (string, error) {
	facts, err := p.Look(t)
	if err != nil {
		return "", err
	}
	claim, err := facts.Claim(p.Policy)
	if err != nil {
		return "", err
	}
	return describe(facts, claim), nil
}

func describe(f identity.Facts, c identity.Claim) string {
	var b strings.Builder
	say := func(what, value, from string) {
		if from != "" {
			from = " from " + from
		}
		if value != "" {
			fmt.Fprintf(&b, "%s: %s%s\n", what, value, from)
		}
	}
	service, namespace := c.Service()
	say("name", c.Name().String(), "")
	say("zone", c.Zone().String(), "")
	say("to be proven", show(c.Addrs()), "")
	say("Service", service, "")
	say("namespace", namespace, "")
	say("ordinal", c.Ordinal(), "")
	say("or else", show(c.Instead()), "")
	say("asks", show(f.Nameservers), "")
	say("seen UID", f.UID, "")
	say("seen Pod name", f.PodName, "")
	say("seen ordinal", f.Ordinal.Value, f.Ordinal.From)
	say("seen FQDN", f.FQDN.Value, f.FQDN.From)
	say("seen hostname", f.Hostname.Value, f.Hostname.From)
	say("seen Service", f.Service.Value, f.Service.From)
	say("seen namespace", f.Namespace.Value, f.Namespace.From)
	say("seen cluster domain", f.ClusterDomain.Value, f.ClusterDomain.From)
	say("seen override", f.Override.Value, f.Override.From)
	say("seen addresses", show(f.Addrs), f.AddrsFrom)
	if f.HostNetwork {
		say("seen hostNetwork", "true", "")
	}
	return b.String()
}

// show returns things separated by commas.
func show[T fmt.Stringer](things []T) string {
	var words []string
	for _, thing := range things {
		words = append(words, thing.String())
	}
	return strings.Join(words, ", ")
}

var (
	command = regexp.MustCompile(`\b(set|write) `)
	settled = regexp.MustCompile(`\b(POD_[A-Z]+|PODFQDN_[A-Z_]+|spec\.[a-zA-Z]+|dnsPolicy|dnsConfig\.nameservers)\b`)
)

// checkRefusal holds a refusal to its form: one line of printable ASCII that
// says which field or variable to set.
func checkRefusal(t testing.TB, err error) {
	t.Helper()
	var refusal *identity.Refusal
	if !errors.As(err, &refusal) {
		t.Errorf("%v is not a refusal", err)
		return
	}
	var mismatch *identity.Mismatch
	if errors.As(err, &mismatch) {
		t.Errorf("%q is a mismatch too: never cannot be not yet", err)
	}
	sentence := refusal.Error()
	if at := slices.IndexFunc([]byte(sentence), func(b byte) bool { return b < ' ' || b > '~' }); at >= 0 {
		t.Errorf("%q is not one line of ASCII from byte %d on", sentence, at)
	}
	if !command.MatchString(sentence) || !settled.MatchString(sentence) {
		t.Errorf("%q does not say what to set", sentence)
	}
}
