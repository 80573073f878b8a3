package identity

import (
	"net/netip"
	"strings"
)

// The kubelet's own words in /etc/hosts (pkg/kubelet/kubelet_pods.go,
// managedHostsFileContent and hostsEntriesFromHostAliases).
const (
	hostsHeader     = "# Kubernetes-managed hosts file."
	hostsHeaderNode = "# Kubernetes-managed hosts file (host network)."
	hostsAliases    = "# Entries added by HostAliases."
)

// hosts is what the kubelet says of the Pod in /etc/hosts.
type hosts struct {
	hostNetwork bool // and what follows is the node's own file
	lines       []hostsLine
}

// hostsLine is "ADDRESS NAME NAME…", names as written.
type hostsLine struct {
	addr  netip.Addr
	names []string
}

// parseHosts reads a hosts file for what the kubelet itself says: the lines
// above those of HostAliases, which may hold any name for any address. A file
// without the kubelet's header says nothing about the Pod, nor does the
// node's, which the kubelet copies for a Pod with hostNetwork.
func parseHosts(text string) hosts {
	var h hosts
	for i, line := range strings.Split(text, "\n") {
		line = strings.Trim(line, blanks)
		switch {
		case i == 0 && line == hostsHeaderNode:
			return hosts{hostNetwork: true}
		case i == 0 && line == hostsHeader:
			continue
		case i == 0:
			return hosts{}
		case line == hostsAliases:
			return h
		}
		line, _, _ = strings.Cut(line, "#")
		words := fields(line)
		if len(words) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		if err != nil || checkOwn(addr) != nil {
			continue // localhost, the ip6-… lines, garbage
		}
		h.lines = append(h.lines, hostsLine{addr.Unmap(), words[1:]})
	}
	return h
}

// podName is what a hosts line says of its Pod.
type podName struct {
	hostname  string // spec.hostname or the Pod's name, cut to 63 characters
	service   string // spec.subdomain; "" without one
	namespace string
	domain    string // the kubelet's clusterDomain; "" where it has none
	override  string // spec.hostnameOverride, which hides all the others
}

// read splits the names of a kubelet's line. With a domain the kubelet writes
// "HOSTNAME.SUBDOMAIN.NAMESPACE.svc.CLUSTERDOMAIN HOSTNAME", without one
// "HOSTNAME" alone, so the alias tells where the hostname ends, and a
// qualified name without alias is spec.hostnameOverride (KEP-4762) or a Pod's
// name with dots in it.
func (l hostsLine) read() podName {
	full := l.names[0]
	if len(l.names) == 1 {
		if strings.Contains(full, ".") {
			return podName{override: full}
		}
		return podName{hostname: full}
	}
	hostname := l.names[1]
	rest, ok := strings.CutPrefix(full, hostname+".")
	if !ok {
		return podName{} // not the kubelet's form
	}
	parts := strings.SplitN(rest, ".", 4)
	if len(parts) < 4 || parts[2] != "svc" {
		return podName{}
	}
	// An empty clusterDomain leaves "HOSTNAME.SUBDOMAIN.NAMESPACE.svc.".
	return podName{hostname: hostname, service: parts[0], namespace: parts[1], domain: parts[3]}
}
