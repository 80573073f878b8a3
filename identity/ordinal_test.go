package identity_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	utilrand "k8s.io/apimachinery/pkg/util/rand"

	"github.com/podfqdn/podfqdn/identity"
)

// numbered returns the claim of a Pod with a hostname, or why there is none.
func numbered(hostname, given string, p identity.Policy) (identity.Claim, error) {
	root := fstest.MapFS{"etc/resolv.conf": {Data: []byte("search default.svc.cluster.local\nnameserver 10.96.0.10\n")}}
	facts, err := identity.Look(root, identity.Given{
		Hostname: hostname, Service: "db", PodNamespace: "default", ClusterDomain: "cluster.local", PodIPs: dual, PodOrdinal: given,
	}, nil)
	if err != nil {
		return identity.Claim{}, err
	}
	return facts.Claim(p)
}

func TestTheOrdinalIsTheNumberAtTheEndOfTheHostname(t *testing.T) {
	for hostname, want := range map[string]string{
		"db-0":                    "0",
		"db-12":                   "12",
		"DB-3":                    "3",
		"my-db-7":                 "7",
		"7-7":                     "7",
		"a--1":                    "1",
		"db-2147483647":           "2147483647",
		"db-2147483648":           "", // no int32
		"db-99999999999999999999": "",
		"db":                      "",
		"7":                       "",
		"db7":                     "",
		"db-007":                  "",
		"db-00":                   "",
		"db-0a":                   "",
		"db-0x1":                  "",

		// An Indexed Job counts up to 100,000.
		"job-24567": "24567",
		"job-99999": "99999",

		"web-5f46b79f5f-24567":                      "",
		"web-8-99999":                               "",
		"web-bcdf456789-22222":                      "",
		"my-web-456789-24567":                       "",
		"web-5f46b79f5f-24563":                      "24563", // 3 is not a random character
		"web-5f46b79f5f-24":                         "24",
		"web-5f46b79f5f-0":                          "0",
		"web-5f46b79f5a-24567":                      "24567", // an a is not in a hash
		"web-5f46b79f5fb-24567":                     "24567", // eleven characters
		"web-2-24567":                               "24567",
		strings.Repeat("a", 53) + "-4567" + "24567": "", // cut: web-4567…

		"10-244-0-27":     "", // the Pod's own address
		"fd00-10-244--1b": "",
		"10-244-0-28":     "28",
	} {
		if claim, err := numbered(hostname, "", identity.Policy{}); err != nil || claim.Ordinal() != want {
			t.Errorf("%s: got %q, %v, not %q", hostname, claim.Ordinal(), err, want)
		}
		if claim, err := numbered(hostname, "41", identity.Policy{}); err != nil || claim.Ordinal() != "41" {
			t.Errorf("%s, told 41: got %q, %v", hostname, claim.Ordinal(), err)
		}
	}
}

// A name that is made of the address ends with a part of that.
func TestANameOfAnAddressHasNoOrdinal(t *testing.T) {
	for _, families := range []identity.Families{identity.FamiliesIPv4, identity.FamiliesIPv6} {
		p := identity.Policy{NameForm: identity.AddressForm, Families: families}
		if claim, err := numbered("db-0", "", p); err != nil || claim.Ordinal() != "" {
			t.Errorf("%s has the ordinal %q, %v", claim.Name(), claim.Ordinal(), err)
		}
		if claim, err := numbered("db-0", "5", p); err != nil || claim.Ordinal() != "5" {
			t.Errorf("%s, told 5, has the ordinal %q, %v", claim.Name(), claim.Ordinal(), err)
		}
	}
}

// The name of a Deployment's Pod is the Deployment's, pod-template-hash and five
// random characters (kube-controller-manager, ComputeHash; k8s.io/apiserver,
// pkg/storage/names).
func TestARandomSuffixOfDigitsIsNotAnOrdinal(t *testing.T) {
	for range 2000 {
		hash := utilrand.SafeEncodeString(fmt.Sprint(rand.Uint32()))
		base := strings.Repeat("w", 1+rand.IntN(60)) + "-" + hash + "-"
		suffix := ""
		for range 5 {
			suffix += string("2456789"[rand.IntN(7)])
		}
		hostname := base[:min(len(base), 58)] + suffix
		if len(base)-len(hash)-1 > 57 {
			continue // nothing is left of the hash, and it looks like a set of 22,222 Pods
		}
		if claim, err := numbered(hostname, "", identity.Policy{}); err != nil || claim.Ordinal() != "" {
			t.Errorf("%s has the ordinal %q, %v", hostname, claim.Ordinal(), err)
		}
	}
}

func TestAGivenOrdinalMustHaveItsForm(t *testing.T) {
	for _, text := range []string{"-1", "+1", "01", "00", " 1", "1 ", "1\n", "0x1", "1e3", "1_000", "2147483648", "db-0", "١"} {
		claim, err := numbered("db-0", text, identity.Policy{})
		if err == nil {
			t.Errorf("%q: the ordinal is %q", text, claim.Ordinal())
			continue
		}
		checkRefusal(t, err)
		if want := fmt.Sprintf("POD_ORDINAL=%+q is not ", text); !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	for _, text := range []string{"0", "1", "10", "2147483647"} {
		if claim, err := numbered("db", text, identity.Policy{}); err != nil || claim.Ordinal() != text {
			t.Errorf("%q: got %q, %v", text, claim.Ordinal(), err)
		}
	}
}

// An ordinal is an int32 as a StatefulSet writes it, and stands in the variable or
// at the end of the name.
func FuzzOrdinal(f *testing.F) {
	f.Add("db-0", "")
	f.Add("web-5f46b79f5f-24567", "")
	f.Add("db", "7")
	f.Fuzz(func(t *testing.T, hostname, given string) {
		claim, err := numbered(hostname, given, identity.Policy{})
		if err != nil {
			checkRefusal(t, err)
			return
		}
		ordinal := claim.Ordinal()
		if given != "" && ordinal != given {
			t.Errorf("told %q, the ordinal is %q", given, ordinal)
		}
		if ordinal == "" {
			return
		}
		if n, err := strconv.ParseInt(ordinal, 10, 32); err != nil || n < 0 || fmt.Sprint(n) != ordinal {
			t.Errorf("%s has the ordinal %q", hostname, ordinal)
		}
		if given == "" && !strings.HasSuffix(claim.Hostname(), "-"+ordinal) {
			t.Errorf("%s has the ordinal %q", hostname, ordinal)
		}
	})
}
