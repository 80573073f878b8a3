package kube

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// corefile is what a Corefile configures for the cluster.
type corefile struct {
	domains []string // that a kubernetes plugin serves, without root dot, the first first
	reverse []string // the same of arpa
	// imports reports that the Corefile imports files, which are not read.
	imports bool
	// refuses names the plugins that may answer REFUSED: acl and template.
	refuses []string
	// answers names the plugins that answer, rewrite or refuse by themselves
	// what the plugin kubernetes would answer, each once.
	answers []string
	// hosts reports the plugin hosts that has PTR records too, which comes
	// before kubernetes whatever the order of the lines (coredns, plugin.cfg);
	// listed are the addresses that are written out in it.
	hosts  bool
	listed []netip.Addr
	// podNames reports endpoint_pod_names: a Pod without spec.hostname has its
	// own name.
	podNames bool
}

// answering are the plugins that may answer in place of kubernetes.
var answering = []string{"acl", "alternate", "auto", "dns64", "erratic", "etcd", "file", "hosts", "multicluster", "rewrite", "route53", "secondary", "template", "view"}

// parseCorefile reads the server blocks of a Corefile (coredns/caddy,
// caddyfile): keys, a brace, and in each line a plugin, its arguments and
// perhaps a block of its own. It passes over what it does not understand.
func parseCorefile(text string) corefile {
	var (
		c      corefile
		depth  int
		keys   []string // of the server block
		plugin string   // whose block it is
		hosts  corefile // what a block of hosts has
	)
	for line := range strings.Lines(text) {
		words := tokens(line)
		for len(words) > 0 && words[0] == "}" {
			if depth = max(depth-1, 0); depth == 0 {
				keys = nil
			}
			if depth == 1 && plugin == "hosts" {
				c.hosts, c.listed = c.hosts || hosts.hosts, append(c.listed, hosts.listed...)
			}
			if depth <= 1 {
				plugin = ""
			}
			words = words[1:]
		}
		if len(words) == 0 {
			continue
		}
		opens := words[len(words)-1] == "{"
		if opens {
			words = words[:len(words)-1]
		}
		switch depth {
		case 0:
			if len(words) > 0 && words[0] == "import" {
				c.imports = true
			} else {
				keys = append(keys, words...)
			}
		case 1:
			c.plugin(keys, words)
			if len(words) > 0 {
				if plugin = words[0]; plugin == "hosts" {
					hosts = corefile{hosts: true}
					if !opens {
						c.hosts = true
					}
				}
			}
		case 2:
			switch {
			case len(words) == 0:
			case plugin == "kubernetes" && words[0] == "endpoint_pod_names":
				c.podNames = true
			case plugin == "hosts" && words[0] == "no_reverse":
				hosts = corefile{}
			case plugin == "hosts" && hosts.hosts:
				if addr, err := netip.ParseAddr(words[0]); err == nil {
					hosts.listed = append(hosts.listed, addr)
				}
			}
		}
		if opens {
			depth++
		}
	}
	return c
}

// plugin reads one line of a server block.
func (c *corefile) plugin(keys, words []string) {
	if len(words) == 0 {
		return
	}
	if slices.Contains(answering, words[0]) && !slices.Contains(c.answers, words[0]) {
		c.answers = append(c.answers, words[0])
	}
	switch words[0] {
	case "import":
		c.imports = true
	case "acl", "template":
		c.refuses = append(c.refuses, words[0])
	case "kubernetes":
		zones := words[1:]
		if len(zones) == 0 { // those of the server block
			zones = keys
		}
		for _, zone := range zones {
			zone = host(zone)
			if strings.HasSuffix(zone, ".arpa") || strings.Contains(zone, "/") {
				c.reverse = append(c.reverse, zone)
			} else {
				c.domains = append(c.domains, zone)
			}
		}
	}
}

// host strips a zone of scheme, port and root dot: "dns://Cluster.Local.:53".
func host(zone string) string {
	zone = strings.TrimSuffix(zone, ",")
	if _, rest, ok := strings.Cut(zone, "://"); ok {
		zone = rest
	}
	if i := strings.LastIndexByte(zone, ':'); i >= 0 && !strings.Contains(zone[:i], ":") {
		zone = zone[:i]
	}
	return strings.ToLower(strings.TrimSuffix(zone, "."))
}

// zones returns what is served, for people.
func (c corefile) zones() string { return strings.Join(slices.Concat(c.domains, c.reverse), " ") }

// serves reports whether PTR of an address is answered from the API.
func (c corefile) serves(addr netip.Addr) bool {
	name := arpa(addr)
	for _, zone := range c.reverse {
		if network, err := netip.ParsePrefix(zone); err == nil {
			if network.Contains(addr) {
				return true
			}
		} else if name == zone || strings.HasSuffix(name, "."+zone) {
			return true
		}
	}
	return slices.Contains(c.domains, "") // the root
}

// arpa returns the name under which an address has its PTR (RFC 1035 §3.5,
// RFC 3596 §2.5).
func arpa(addr netip.Addr) string {
	if addr.Is4() {
		b := addr.As4()
		return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0])
	}
	var name strings.Builder
	b := addr.As16()
	for _, octet := range slices.Backward(b[:]) {
		fmt.Fprintf(&name, "%x.%x.", octet&15, octet>>4)
	}
	return name.String() + "ip6.arpa"
}

// tokens splits a line at blanks that are not in quotes, up to a comment.
func tokens(line string) []string {
	var (
		words  []string
		word   strings.Builder
		quoted bool
		inside bool // of a word
	)
	end := func() {
		if inside {
			words = append(words, word.String())
			word.Reset()
			inside = false
		}
	}
	for _, r := range line {
		switch {
		case r == '"':
			quoted, inside = !quoted, true
		case quoted:
			word.WriteRune(r)
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			end()
		case r == '#' && !inside:
			return words
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	end()
	return words
}
