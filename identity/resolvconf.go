package identity

import (
	"net/netip"
	"strings"
)

// Limits of glibc's resolver (resolv/resolv.h: MAXNS, RES_MAXNDOTS).
const (
	maxNameservers = 3
	maxNdots       = 15
)

// blanks is what separates words in the kubelet's files: nothing beyond ASCII.
const blanks = " \t\r\n\v\f"

func fields(line string) []string {
	return strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(blanks, r) })
}

// dnsPort is where a nameserver listens unless told otherwise.
const dnsPort = 53

// ResolvConf is what podfqdn uses of /etc/resolv.conf, as glibc reads it
// (resolv.conf(5), resolv/res_init.c).
type ResolvConf struct {
	Nameservers []netip.AddrPort // the first three, in order, port 53
	Search      []string         // of the last "search" or "domain" line
	Ndots       int
	UseVC       bool     // "use-vc": TCP for every question
	Ignored     []string // nameserver entries that are not an address or are one too many, as written
}

// parseResolvConf reads the text of a resolv.conf. It returns no error: what glibc
// skips is skipped, and not replaced.
func parseResolvConf(text string) ResolvConf {
	c := ResolvConf{Ndots: 1}
	for line := range strings.Lines(text) {
		// A comment is a line that begins with ; or #. A keyword begins in
		// the first column and ends with white space.
		if strings.HasPrefix(line, ";") || strings.HasPrefix(line, "#") {
			continue
		}
		space := strings.IndexAny(line, " \t")
		if space < 1 {
			continue
		}
		keyword, rest := line[:space], line[space:]
		words := fields(rest)
		if len(words) == 0 {
			continue
		}
		switch keyword {
		case "nameserver":
			c.nameserver(words[0])
		case "domain":
			c.Search = words[:1]
		case "search":
			c.Search = words
		case "options":
			for _, option := range words {
				c.UseVC = c.UseVC || option == "use-vc"
				if digits, ok := strings.CutPrefix(option, "ndots:"); ok {
					c.Ndots = min(atoi(digits), maxNdots)
				}
			}
		}
	}
	return c
}

func (c *ResolvConf) nameserver(word string) {
	if end := strings.IndexAny(word, ";#"); end >= 0 {
		word = word[:end]
	}
	addr := parseServer(word)
	switch {
	case word == "":
	case !addr.IsValid():
		c.Ignored = append(c.Ignored, word)
	case len(c.Nameservers) < maxNameservers:
		c.Nameservers = append(c.Nameservers, netip.AddrPortFrom(addr, dnsPort))
	default:
		c.Ignored = append(c.Ignored, word)
	}
}

// parseServer reads the address of a nameserver; it is invalid if word is not one.
// After a % comes the name of an interface, which netip does not check.
func parseServer(word string) netip.Addr {
	addr, err := netip.ParseAddr(word)
	odd := func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}
	if err != nil || strings.ContainsFunc(addr.Zone(), odd) {
		return netip.Addr{}
	}
	return addr
}

// atoi reads the digits that text begins with, as atoi(3) does for glibc. It stops
// once the number exceeds every option's limit.
func atoi(text string) (n int) {
	for _, c := range []byte(text) {
		if c < '0' || c > '9' || n > maxNdots {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// clusterDomain returns the rest of the search entry that begins with
// "NAMESPACE.svc.", which the kubelet writes for dnsPolicy ClusterFirst
// (pkg/kubelet/network/dns, generateSearchesForDNSClusterFirst); "" if none.
func (c ResolvConf) clusterDomain(namespace string) string {
	for _, entry := range c.Search {
		if rest, ok := strings.CutPrefix(entry, namespace+".svc."); ok {
			return rest
		}
	}
	return ""
}
