package kerberos

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
)

// KDCs are the key distribution centres of the default realm. With none,
// libkrb5 asks DNS for them.
type KDCs struct{ list []string } // as they stand in a krb5.conf

// UnmarshalText reads HOST[:PORT] with commas between them, where HOST is a
// name or an address; an IPv6 address with a port stands in brackets.
func (k *KDCs) UnmarshalText(text []byte) error {
	*k = KDCs{}
	if len(text) == 0 {
		return nil
	}
	var list []string
	for word := range strings.SplitSeq(string(text), ",") {
		kdc, err := parseKDC(strings.Trim(word, " "))
		if err != nil {
			return err
		}
		list = append(list, kdc)
	}
	k.list = list
	return nil
}

// parseKDC returns one KDC, with the brackets that libkrb5 wants around an IPv6
// address (k5_parse_host_string).
func parseKDC(word string) (string, error) {
	bad := fmt.Errorf("%+q is not a KDC: write NAME, NAME:PORT, ADDRESS, ADDRESS:PORT or [IPv6]:PORT", word)
	host, port := word, ""
	if _, err := netip.ParseAddr(word); err != nil {
		if i := strings.LastIndexByte(word, ':'); i >= 0 && !strings.HasSuffix(word, "]") {
			host, port = word[:i], word[i:]
			if n, err := strconv.ParseUint(port[1:], 10, 16); err != nil || n == 0 {
				return "", bad
			}
		}
	}
	inner := host
	bracketed := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	if bracketed {
		inner = host[1 : len(host)-1]
	}
	addr, err := netip.ParseAddr(inner)
	switch {
	case err == nil && addr.Is4() && !bracketed:
		return addr.String() + port, nil
	case err == nil && addr.Is6() && addr.Zone() == "" && (bracketed || port == ""):
		return "[" + addr.String() + "]" + port, nil
	case bracketed || strings.Contains(inner, ":"):
		return "", bad
	}
	name, err := identity.ParseName(inner)
	if err != nil {
		return "", bad
	}
	return name.String() + port, nil
}

// Mode is the mode of the published keytab, 0440 by default.
type Mode uint16

// UnmarshalText reads an octal number: the owner reads, others may at most
// read too, and the owner may write.
func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 16)
	if err != nil || n&^0o644 != 0 || n&0o400 == 0 {
		return errors.New("must be an octal mode with which the owner may read and nobody else may write, such as 0440 or 0600")
	}
	*m = Mode(n)
	return nil
}

// checkPath refuses a path with characters that a shell, the kubelet or libkrb5 might
// read in another way: in KRB5_CONFIG a colon separates two files.
func checkPath(p string) error {
	bad := func(c rune) bool {
		return c != '/' && c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}
	if !path.IsAbs(p) || strings.ContainsFunc(p, bad) {
		return fmt.Errorf("%+q is not an absolute path of letters, digits, dots, hyphens and underscores only", p)
	}
	return nil
}

// conf is what a krb5.conf is made of. Each part was checked, and cannot end a line
// or a section.
type conf struct {
	fqdn, zone identity.Name // zone is zero if it is unknown
	realm      string
	kdcs       KDCs
}

func (c conf) String() string {
	// Nothing is indented: libkrb5 does not mind, and some other readers of the file,
	// such as SQL Server's, find no setting behind blanks.
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by podfqdn for %s; podfqdn overwrites it without asking.", c.fqdn)
	line("[libdefaults]")
	line("default_realm = %s", c.realm)
	if len(c.kdcs.list) == 0 {
		line("# The KDCs come from DNS, from the SRV records of _kerberos._udp.%s.", c.realm)
		line("dns_lookup_kdc = true")
	}
	line("# A server's short name becomes the full one that forward DNS has for it.")
	line("dns_canonicalize_hostname = true")
	line("# PTR is not asked. With true, a server is called what PTR says of its address.")
	line("# That is safe where the address has one PTR: where one Service alone selects the")
	line("# Pod. PODFQDN_REVERSE=only waits for that, and proves it of this Pod when it")
	line("# starts: not of other servers, and not against a Service that comes later.")
	line("rdns = false")
	if len(c.kdcs.list) > 0 {
		line("")
		line("[realms]")
		line("%s = {", c.realm)
		for _, kdc := range c.kdcs.list {
			line("kdc = %s", kdc)
		}
		line("}")
	}
	line("")
	line("[domain_realm]")
	if !c.zone.IsZero() {
		line(".%s = %s", c.zone, c.realm)
		line("%s = %s", c.zone, c.realm)
	}
	if c.zone.IsZero() || !c.fqdn.Under(c.zone) {
		line("%s = %s", c.fqdn, c.realm)
	}
	return b.String()
}
