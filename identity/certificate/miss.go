package certificate

import (
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
)

// maxName is the length of a DNS name.
const maxName = 253

// miss says which of a certificate's names comes nearest to a name of the cluster
// domain zone, "" for unknown. It is called where none covers it.
func miss(leaf *x509.Certificate, name, zone string) string {
	if len(leaf.DNSNames) == 0 || matches(leaf.Subject.CommonName, name) {
		return withoutDNSName(leaf, name)
	}
	for _, says := range []func(san string) string{
		func(san string) string {
			if matches(strings.TrimSuffix(san, "."), name) {
				return "with a dot at its end, which programs do not accept"
			}
			return ""
		},
		func(san string) string { return lacksEnd(san, name, zone) },
		func(san string) string { return lacksBeginning(san, name) },
	} {
		for _, san := range leaf.DNSNames {
			if text := says(san); text != "" {
				return fmt.Sprintf("has %s, %s", show(san), text)
			}
		}
	}
	if near := nearest(leaf.DNSNames, name); near != "" {
		return near
	}
	var all []string
	for _, san := range leaf.DNSNames {
		all = append(all, show(san))
	}
	return "has only " + identity.List(all)
}

// withoutDNSName says where a certificate has a name other than among its DNS names.
func withoutDNSName(leaf *x509.Certificate, name string) string {
	switch {
	case matches(leaf.Subject.CommonName, name):
		return fmt.Sprintf("has %s only as its common name (CN), which programs do not look at", show(leaf.Subject.CommonName))
	case len(leaf.URIs) > 0:
		return "has no DNS names, only a URI"
	case len(leaf.IPAddresses) > 0:
		return "has no DNS names, only IP addresses"
	}
	return "has no DNS names"
}

// matches reports whether a certificate's name is another, or a wildcard whose one
// label it has (RFC 9525, 6.3).
func matches(san, name string) bool {
	if strings.EqualFold(san, name) {
		return true
	}
	below, wild := strings.CutPrefix(san, "*.")
	_, parent, _ := strings.Cut(name, ".")
	return wild && strings.EqualFold(below, parent)
}

// lacksEnd says what a certificate's name lacks at its end, such as the cluster
// domain; "" if it lacks something else.
func lacksEnd(san, name, zone string) string {
	labels := strings.Split(name, ".")
	n := strings.Count(san, ".") + 1
	if n >= len(labels) || !matches(san, strings.Join(labels[:n], ".")) {
		return ""
	}
	rest := strings.Join(labels[n:], ".")
	if rest == zone {
		return "which lacks the cluster domain " + zone
	}
	return fmt.Sprintf("which lacks .%s at its end", rest)
}

// lacksBeginning says what a certificate's name lacks at its beginning, such as the
// hostname; "" if it lacks something else. A name that a zone can have is not looked at.
func lacksBeginning(san, name string) string {
	below, wild := strings.CutPrefix(san, "*.")
	first, ends := strings.CutSuffix(name, "."+strings.ToLower(below))
	switch {
	case ends && wild:
		return "where * stands for one label, not for " + first
	case !ends || strings.Count(first, ".") > 1:
		return ""
	case strings.Contains(first, "."):
		return fmt.Sprintf("which lacks %s at its beginning", first)
	}
	return "which lacks the hostname " + first
}

// nearest returns the certificate's name that has most labels in common with a name,
// from either end, and what it has in place of the others; "" if it has more than two
// others.
func nearest(sans []string, name string) string {
	want := strings.Split(name, ".")
	most, near := len(want)-3, ""
	for _, san := range sans {
		has := strings.Split(strings.ToLower(san), ".")
		if len(san) > maxName || len(has) < 2 {
			continue
		}
		least, before, after := min(len(has), len(want)), 0, 0
		for before < least && (has[before] == want[before] || before == 0 && has[0] == "*") {
			before++
		}
		for after < least-before && has[len(has)-1-after] == want[len(want)-1-after] {
			after++
		}
		if before+after > most && before+after < least {
			most = before + after
			near = fmt.Sprintf("has %s, with %s in place of %s", show(san),
				show(strings.Join(has[before:len(has)-after], ".")), strings.Join(want[before:len(want)-after], "."))
		}
	}
	return near
}

// show shows a name from outside: as it is if it could be a name.
func show(name string) string {
	odd := func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_*", c)
	}
	if name == "" || strings.ContainsFunc(name, odd) {
		name = fmt.Sprintf("%+q", name[:min(len(name), maxName)])
	}
	if len(name) > maxName {
		name = name[:maxName] + "..."
	}
	return name
}
