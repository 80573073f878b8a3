package identity

import (
	"fmt"
	"net/netip"
	"strings"
)

// Limits of RFC 1035 §2.3.4, for names in presentation form without the
// root dot.
const (
	maxName  = 253
	maxLabel = 63
)

// Name is a domain name in lower case without the root dot, as in
// "db-0.db.default.svc.cluster.local". The zero value is not a name. Two names
// are the same domain exactly when they are ==.
type Name struct{ text string }

// ParseName reads a host name (RFC 952, RFC 1123 §2.1): labels of letters,
// digits and inner hyphens. Upper case and one root dot are accepted and
// removed.
func ParseName(s string) (Name, error) {
	text := lower(strings.TrimSuffix(s, "."))
	if text == "" {
		return Name{}, fmt.Errorf("%+q is not a DNS name", s)
	}
	if len(text) > maxName {
		return Name{}, fmt.Errorf("%+q has %d characters; a DNS name has at most %d", s, len(text), maxName)
	}
	for label := range strings.SplitSeq(text, ".") {
		if err := checkLabel(label); err != nil {
			return Name{}, fmt.Errorf("%+q is not a DNS name: %w", s, err)
		}
	}
	return Name{text}, nil
}

// WireName returns the Name of a name in a DNS message, given in presentation form
// with everything unusual escaped (RFC 1035 §5.1). Such a name is compared and
// shown, never published. The root is ".".
func WireName(presentation string) Name {
	if presentation == "." {
		return Name{"."}
	}
	return Name{lower(strings.TrimSuffix(presentation, "."))}
}

// lower converts ASCII letters only: strings.ToLower makes a k of the Kelvin sign.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// String returns the name without root dot; "" for the zero value.
func (n Name) String() string { return n.text }

// IsZero reports whether n is the zero value.
func (n Name) IsZero() bool { return n == Name{} }

// Under reports whether n is zone or lies below it.
func (n Name) Under(zone Name) bool {
	return n == zone || !zone.IsZero() && strings.HasSuffix(n.text, "."+zone.text)
}

// first returns the leftmost label.
func (n Name) first() string {
	label, _, _ := strings.Cut(n.text, ".")
	return label
}

// checkLabel checks a label by RFC 1123, as Kubernetes does spec.hostname,
// spec.subdomain, a namespace and a Service's name.
func checkLabel(label string) error {
	switch {
	case label == "":
		return fmt.Errorf("it has an empty label")
	case len(label) > maxLabel:
		return fmt.Errorf("the label %+q has %d characters; a label has at most %d", label, len(label), maxLabel)
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("the label %+q begins or ends with a hyphen", label)
	}
	for _, c := range label {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return fmt.Errorf("the label %+q contains %+q; only letters, digits and hyphens are allowed", label, string(c))
		}
	}
	return nil
}

// Dashed returns the label under which DNS publishes an endpoint that has no
// hostname: the address with dots or colons as hyphens, as CoreDNS makes it
// (plugin/kubernetes, endpointHostname): 10-1-2-3, fd00--1; an address that
// ends in "::" gains a 0.
//
// For an address that begins with "::" that label is not a host name; no Pod has
// such an address.
func Dashed(addr netip.Addr) string {
	label := strings.NewReplacer(".", "-", ":", "-").Replace(addr.String())
	if strings.HasSuffix(label, "-") {
		label += "0"
	}
	return label
}
