package identity

import (
	"cmp"
	"net/netip"
	"slices"
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
	hostNetwork bool // the rest is the node's own file
	lines       []hostsLine
}

// hostsLine is "ADDRESS NAME NAME…", names as written.
type hostsLine struct {
	addr  netip.Addr
	names []string
	says  podName // what the line says of its Pod
}

// parseHosts reads a hosts file for what the kubelet itself says: the lines
// above those of HostAliases, which may have any name for any address. A file
// without the kubelet's header says nothing about the Pod. Nor does the node's file,
// which the kubelet copies for a Pod with hostNetwork.
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
		h.lines = append(h.lines, hostsLine{addr: addr.Unmap(), names: words[1:]})
	}
	return h
}

// podName is what a hosts line says of its Pod.
type podName struct {
	hostname  string // spec.hostname or the Pod's name, cut to 63 characters
	service   string // spec.subdomain; "" without one
	namespace string
	domain    string // the kubelet's clusterDomain; "" if it has none
	override  string // spec.hostnameOverride, which hides all the others
}

// own returns the Pod's own lines: those that have its hostname, alone or at the
// beginning of its full name. Programs in the Pod write lines too: for other hosts,
// and with their own names for the Pod's address. If the hostname is "", any line may
// be the Pod's.
func (h hosts) own(hostname string) (own []hostsLine) {
	for _, line := range h.lines {
		self := cmp.Or(hostname, line.names[min(1, len(line.names)-1)]) // as the kubelet has it
		for _, name := range line.names {
			if says := readName(name, self); line.says.service == "" && says != (podName{}) {
				line.says = says
			}
		}
		if line.says != (podName{}) {
			own = append(own, line)
		}
	}
	return own
}

// readName returns what a name says of the Pod with that hostname; the zero podName
// if it is not that Pod's. With a domain the kubelet writes
// "HOSTNAME.SUBDOMAIN.NAMESPACE.svc.CLUSTERDOMAIN HOSTNAME", without one
// "HOSTNAME" alone, and a hostname with dots is spec.hostnameOverride (KEP-4762)
// or a Pod's name with dots in it.
func readName(name, hostname string) podName {
	n := len(hostname)
	switch {
	case n == 0 || len(name) < n || lower(name[:n]) != lower(hostname):
		return podName{}
	case len(name) == n && strings.Contains(name, "."):
		return podName{override: name}
	case len(name) == n:
		return podName{hostname: name}
	}
	// An empty clusterDomain leaves "HOSTNAME.SUBDOMAIN.NAMESPACE.svc.".
	parts := strings.SplitN(name[n:], ".", 5)
	if len(parts) < 5 || parts[0] != "" || parts[3] != "svc" {
		return podName{}
	}
	return podName{hostname: name[:n], service: parts[1], namespace: parts[2], domain: parts[4]}
}

// short returns the first label of a hostname that setHostnameAsFQDN made a full
// name; any other hostname unchanged.
func short(hostname string) string {
	label, _, _ := strings.Cut(hostname, ".")
	if readName(hostname, label).service != "" {
		return label
	}
	return hostname
}

// addrsOf returns the different addresses of lines.
func addrsOf(lines []hostsLine) (addrs []netip.Addr) {
	for _, line := range lines {
		if !slices.Contains(addrs, line.addr) {
			addrs = append(addrs, line.addr)
		}
	}
	return addrs
}

// narrow returns the good lines, if there are any, if all lines together have too
// many addresses for one Pod; otherwise all of them.
func narrow(lines []hostsLine, good func(hostsLine) bool) []hostsLine {
	if onePerFamily(addrsOf(lines), "") == nil {
		return lines
	}
	if some := slices.DeleteFunc(slices.Clone(lines), func(l hostsLine) bool { return !good(l) }); len(some) > 0 {
		return some
	}
	return lines
}
