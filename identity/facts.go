package identity

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Where a Pod's files are below its root.
const (
	hostsPath      = "etc/hosts"
	resolvConfPath = "etc/resolv.conf"
	hostnamePath   = "etc/hostname"
	kernelPath     = "proc/sys/kernel/hostname"
	namespacePath  = "var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// maxFile bounds each of them, in bytes.
const maxFile = 1 << 20

// Given is what the Pod's spec tells podfqdn through the environment. Each
// value that is not empty replaces the fact that it names; files only fill
// the gaps.
type Given struct {
	PodName       string `env:"POD_NAME" doc:"metadata.name, for better messages"`
	PodNamespace  string `env:"POD_NAMESPACE" doc:"metadata.namespace; else from /etc/hosts or the service account directory"`
	PodUID        string `env:"POD_UID" doc:"metadata.uid, to recognize another Pod's files in a shared volume"`
	PodIP         string `env:"POD_IP" doc:"status.podIP"`
	PodIPs        string `env:"POD_IPS" doc:"status.podIPs; else POD_IP, the Pod's own lines in /etc/hosts, the interfaces"`
	PodOrdinal    string `env:"POD_ORDINAL" doc:"metadata.labels['apps.kubernetes.io/pod-index']; else the number at the end of the hostname"`
	FQDN          string `env:"PODFQDN_FQDN" doc:"the whole name, in place of all its parts"`
	Hostname      string `env:"PODFQDN_HOSTNAME" doc:"spec.hostname; else from /etc/hosts"`
	Service       string `env:"PODFQDN_SERVICE" doc:"the governing Service, spec.subdomain; else from /etc/hosts"`
	ClusterDomain string `env:"PODFQDN_CLUSTER_DOMAIN" doc:"such as cluster.local; else from /etc/hosts or the search list"`
	Nameservers   string `env:"PODFQDN_NAMESERVERS" doc:"ADDRESS[:PORT],… to ask in place of those in /etc/resolv.conf"`

	// Kubernetes is KUBERNETES_SERVICE_HOST, which the kubelet sets in every
	// container. It is not a setting, so it has no tag.
	Kubernetes string
}

// Fact is one thing seen, as written, and where.
type Fact struct{ Value, From string }

// Facts is what the kubelet gave the Pod, before anything is concluded.
type Facts struct {
	FQDN          Fact
	Hostname      Fact // spec.hostname, or what the kubelet uses instead
	Service       Fact // the governing Service: spec.subdomain
	Namespace     Fact
	ClusterDomain Fact
	Override      Fact // spec.hostnameOverride, if the kubelet wrote it
	Ordinal       Fact // POD_ORDINAL
	PodName       string
	UID           string
	HostNetwork   bool
	Addrs         []netip.Addr // the Pod's own, primary first, at most one a family
	AddrsFrom     string
	Stray         netip.Addr // what the kubelet wrote into /etc/hosts, if that is not one of Addrs
	Nameservers   []netip.AddrPort
	FromVariable  bool       // the Nameservers are PODFQDN_NAMESERVERS
	Kubernetes    netip.Addr // of the Service kubernetes in default; invalid if unknown
	ResolvConf    ResolvConf

	Line Line // what the Pod's own line of /etc/hosts says, which a variable may contradict
}

// Line is what the kubelet, or another program since, wrote about the Pod into
// /etc/hosts; empty if there is nothing.
type Line struct{ Hostname, Service, Namespace string }

// Look reads the Pod's surroundings, once a process: given first, then the
// files below root (the root of the Pod's file system), then, for a Pod
// whose addresses nothing else shows, ifaces. ifaces may be nil.
//
// The error is a *Refusal, or several joined. The Facts then hold what could be
// seen, for people.
func Look(root fs.FS, given Given, ifaces func() ([]netip.Addr, error)) (Facts, error) {
	hostsText, err := readHosts(root)
	if err != nil {
		return Facts{}, refuse(Misconfigured, "%w", err).mend("do not mount anything over it, since the kubelet writes it")
	}
	h := parseHosts(hostsText)
	self, _ := selfIn(root, h)
	if ifaces == nil && len(h.own(short(self.Value))) == 0 {
		self = Fact{} // no interface shows which of the files is wrong: DNS decides
	}
	f, mistakes, gaps := look(root, given, h, short(self.Value), ifaces)
	return f, errors.Join(mistakes, gaps)
}

// look returns the Facts, with the mistakes in given and what is wrong with the
// files. hostname is that of the Pod's own lines in h; "" if unknown.
func look(root fs.FS, given Given, h hosts, hostname string, ifaces func() ([]netip.Addr, error)) (f Facts, mistakes, gaps error) {
	f = Facts{
		FQDN:        firstOf(Fact{given.FQDN, "PODFQDN_FQDN"}),
		PodName:     given.PodName,
		UID:         given.PodUID,
		HostNetwork: h.hostNetwork,
	}
	if addr, err := netip.ParseAddr(given.Kubernetes); err == nil {
		f.Kubernetes = addr.Unmap()
	}
	var wrong error
	f.Ordinal, wrong = givenOrdinal(given)
	mistakes = errors.Join(f.givenAddresses(given), wrong, f.givenNameservers(given))
	account, homeless := factIn(root, namespacePath, "set POD_NAMESPACE from metadata.namespace")
	here := func(l hostsLine) bool {
		of := cmp.Or(given.PodNamespace, account.Value)
		return of == "" || l.says.namespace == "" || lower(l.says.namespace) == lower(of)
	}
	mine := func(l hostsLine) bool {
		seen, _ := usable(ifaces)
		return slices.Contains(seen, l.addr)
	}
	own := narrow(h.own(hostname), here)
	if hostname != "" && f.AddrsFrom == "" {
		own = narrow(own, mine)
		own = slices.DeleteFunc(own, func(l hostsLine) bool { return ifaces != nil && !here(l) && !mine(l) }) // another Pod's
	}
	gaps = errors.Join(f.seenAddresses(addrsOf(own), ifaces), f.seenNameservers(root))
	var pod podName
	for _, line := range own {
		more := pod.service == "" && line.says.service != "" && lower(line.says.hostname) == lower(pod.hostname)
		if slices.Contains(f.Addrs, line.addr) && (pod == podName{} || more) {
			pod = line.says
		}
	}
	f.Line = Line{pod.hostname, pod.service, pod.namespace}
	if pod == (podName{}) && len(own) > 0 && !slices.Contains(f.Addrs, own[0].addr) {
		f.Stray = own[0].addr
	}
	f.Override = firstOf(Fact{pod.override, "/" + hostsPath})
	f.Hostname = firstOf(Fact{given.Hostname, "PODFQDN_HOSTNAME"}, Fact{pod.hostname, "/" + hostsPath})
	if f.Hostname.Value == "" && pod.override == "" && !h.hostNetwork {
		// Nothing from the kubelet: a container with an /etc/hosts of its own.
		self, err := selfIn(root, h)
		f.Hostname, gaps = self, errors.Join(gaps, err)
	}
	f.Service = firstOf(Fact{given.Service, "PODFQDN_SERVICE"}, Fact{pod.service, "/" + hostsPath})
	f.Namespace = firstOf(Fact{given.PodNamespace, "POD_NAMESPACE"}, Fact{pod.namespace, "/" + hostsPath})
	if f.Namespace.Value == "" {
		f.Namespace, gaps = account, errors.Join(gaps, homeless)
	}
	f.ClusterDomain = firstOf(
		Fact{given.ClusterDomain, "PODFQDN_CLUSTER_DOMAIN"},
		Fact{pod.domain, "/" + hostsPath},
		Fact{f.ResolvConf.clusterDomain(f.Namespace.Value), "/" + resolvConfPath})
	return f, mistakes, gaps
}

// selfIn returns the hostname that this Pod's containers have: the kernel's, or
// that of the runtime's file if only that one is in h.
func selfIn(root fs.FS, h hosts) (Fact, error) {
	file, err := factIn(root, hostnamePath, "set PODFQDN_HOSTNAME")
	kernel, _ := factIn(root, kernelPath, "")
	if kernel.Value == "" || file.Value != "" && len(h.own(short(kernel.Value))) == 0 && len(h.own(short(file.Value))) > 0 {
		return file, err
	}
	return kernel, nil
}

// firstOf returns the first fact with a value; the zero Fact if there is none.
func firstOf(facts ...Fact) Fact {
	for _, fact := range facts {
		if fact.Value != "" {
			return fact
		}
	}
	return Fact{}
}

// givenAddresses fills in POD_IPS, else POD_IP.
func (f *Facts) givenAddresses(given Given) error {
	all, err := parseAddrs("POD_IPS", "status.podIPs", given.PodIPs)
	primary, wrong := parseAddrs("POD_IP", "status.podIP", given.PodIP)
	if f.Addrs = all; len(all) > 0 {
		f.AddrsFrom = "POD_IPS"
	} else if len(primary) > 0 {
		f.Addrs, f.AddrsFrom = primary, "POD_IP"
	}
	switch {
	case err != nil:
		return err
	case wrong != nil:
		return wrong
	case len(all) > 0 && (len(primary) > 1 || len(primary) == 1 && !slices.Contains(all, primary[0])):
		return refuse(Misconfigured, "POD_IP=%+q is not among POD_IPS=%+q", given.PodIP, given.PodIPs).mend("set POD_IPS from status.podIPs and leave POD_IP out")
	}
	return onePerFamily(f.Addrs, f.AddrsFrom)
}

// seenAddresses fills in what the variables leave open: addrs, which are those of
// the Pod's own lines in /etc/hosts, else those of the interfaces.
func (f *Facts) seenAddresses(addrs []netip.Addr, ifaces func() ([]netip.Addr, error)) (err error) {
	switch {
	case f.AddrsFrom == "POD_IPS":
		return nil
	case f.AddrsFrom == "POD_IP":
		// It names the primary address only. Where the kubelet names it too, its
		// lines of the other family are the same Pod's.
		if slices.Contains(addrs, f.Addrs[0]) {
			others := slices.DeleteFunc(addrs, func(a netip.Addr) bool { return a.Is4() == f.Addrs[0].Is4() })
			f.Addrs, f.AddrsFrom = append(f.Addrs, others...), "POD_IP and /"+hostsPath
			return onePerFamily(f.Addrs, f.AddrsFrom)
		}
		return nil
	case len(addrs) > 0:
		f.Addrs, f.AddrsFrom = addrs, "/"+hostsPath
	case ifaces != nil:
		f.AddrsFrom = fromInterfaces
		if f.Addrs, err = usable(ifaces); err != nil {
			return err
		}
		if f.HostNetwork && onePerFamily(f.Addrs, f.AddrsFrom) != nil {
			// The node's, bridges included: nothing shows which one is status.podIP.
			f.Addrs, f.AddrsFrom = nil, ""
		}
	}
	return onePerFamily(f.Addrs, f.AddrsFrom)
}

const fromInterfaces = "the network interfaces"

// usable returns the addresses of the interfaces that may be a Pod's; none if ifaces
// is nil.
func usable(ifaces func() ([]netip.Addr, error)) (addrs []netip.Addr, err error) {
	if ifaces == nil {
		return nil, nil
	}
	all, err := ifaces()
	if err != nil {
		return nil, fmt.Errorf("read the addresses of the network interfaces: %w", err)
	}
	for _, addr := range all {
		if addr = addr.Unmap(); checkOwn(addr) == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}

// onePerFamily checks that there is at most one address of each family, as in
// status.podIPs (pkg/kubelet/kubelet_pods.go, sortPodIPs). The error is a *Refusal.
func onePerFamily(addrs []netip.Addr, from string) error {
	for i, a := range addrs {
		for _, b := range addrs[:i] {
			if a.Is4() == b.Is4() {
				return refuse(Misconfigured, "%s: two %s addresses, %s and %s, but a Pod has at most one", from, family(a.Is4()), b, a).mend("set POD_IPS from status.podIPs")
			}
		}
	}
	return nil
}

// family names an address family.
func family(four bool) string {
	if four {
		return "IPv4"
	}
	return "IPv6"
}

// parseAddrs reads addresses separated by commas, as the kubelet writes status.podIPs
// into a variable; "" has none. The error is a *Refusal.
func parseAddrs(variable, field, value string) (addrs []netip.Addr, err error) {
	if value == "" {
		return nil, nil
	}
	for word := range strings.SplitSeq(value, ",") {
		word = strings.Trim(word, blanks)
		addr, err := netip.ParseAddr(word)
		if err != nil {
			return nil, refuse(Misconfigured, "%s=%+q: %+q is not an IP address", variable, value, word).mend("set %s from %s", variable, field)
		}
		addr = addr.Unmap()
		if err := checkOwn(addr); err != nil {
			return nil, refuse(Misconfigured, "%s=%+q: %+q %w", variable, value, word, err).mend("set %s from %s", variable, field)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// checkOwn returns why addr cannot be the address of a Pod; nil if it can.
func checkOwn(addr netip.Addr) error {
	switch {
	case addr.Zone() != "" || addr.IsLinkLocalUnicast():
		return errors.New("is valid only on one link")
	case addr.IsUnspecified():
		return errors.New("is the unspecified address")
	case addr.IsLoopback():
		return errors.New("is a loopback address")
	case addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return errors.New("is a multicast or broadcast address")
	case addr.Is6() && (addr == ip6LocalNet || addr == ip6AllNodes || addr == ip6AllRouters):
		return errors.New("is one of the kubelet's fixed entries in /etc/hosts")
	}
	return nil
}

// The kubelet writes these into every /etc/hosts, as ip6-localnet and so on.
var (
	ip6LocalNet   = netip.MustParseAddr("fe00::")
	ip6AllNodes   = netip.MustParseAddr("fe00::1")
	ip6AllRouters = netip.MustParseAddr("fe00::2")
)

// givenNameservers fills in PODFQDN_NAMESERVERS.
func (f *Facts) givenNameservers(given Given) error {
	if given.Nameservers == "" {
		return nil
	}
	f.FromVariable = true
	for word := range strings.SplitSeq(given.Nameservers, ",") {
		word = strings.Trim(word, blanks)
		server, err := netip.ParseAddrPort(word)
		if err != nil {
			server = netip.AddrPortFrom(parseServer(word), dnsPort)
		} else {
			server = netip.AddrPortFrom(parseServer(server.Addr().String()), server.Port())
		}
		if !server.IsValid() || server.Port() == 0 {
			return refuse(Misconfigured, "PODFQDN_NAMESERVERS=%+q: %+q is not a nameserver address", given.Nameservers, word).mend("write ADDRESS, ADDRESS:PORT or [IPV6]:PORT")
		}
		f.Nameservers = append(f.Nameservers, server)
	}
	return nil
}

// seenNameservers reads resolv.conf, for the nameservers if no variable lists them. If
// there are none, glibc would ask 127.0.0.1, and others a public server; here this is
// an error.
func (f *Facts) seenNameservers(root fs.FS) error {
	text, err := readFile(root, resolvConfPath)
	if err != nil && !(f.FromVariable && errors.Is(err, fs.ErrNotExist)) {
		return refuse(ForeignDNS, "%w", err).mend("mount it, or set PODFQDN_NAMESERVERS")
	}
	f.ResolvConf = parseResolvConf(text)
	if !f.FromVariable {
		f.Nameservers = f.ResolvConf.Nameservers
	}
	switch {
	case f.FromVariable || len(f.Nameservers) > 0:
		return nil
	case len(f.ResolvConf.Ignored) > 0:
		return refuse(ForeignDNS, "/%s: nameserver %+q is not an IP address", resolvConfPath, f.ResolvConf.Ignored[0]).mend("correct the Pod's dnsConfig.nameservers, or set PODFQDN_NAMESERVERS")
	}
	return refuse(ForeignDNS, "/%s has no nameserver", resolvConfPath).mend("set the Pod's dnsPolicy to ClusterFirst, its dnsConfig.nameservers, or PODFQDN_NAMESERVERS")
}

// readHosts reads /etc/hosts, for up to a second again while it is incomplete: the
// kubelet truncates and rewrites it whenever a container of the Pod starts
//
//	(pkg/kubelet/kubelet_pods.go, ensureHostsFile).
func readHosts(root fs.FS) (string, error) {
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		text, err := readFile(root, hostsPath)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil || strings.HasSuffix(text, "\n") || time.Since(start) >= time.Second {
			return text, err
		}
	}
}

// factIn returns the content of a file that a Pod need not have.
func factIn(root fs.FS, path, change string) (Fact, error) {
	text, err := readFile(root, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Fact{}, refuse(Misconfigured, "%w", err).mend("%s", change)
	}
	return firstOf(Fact{strings.TrimSpace(text), "/" + path}), nil
}

// readFile reads a file of bounded size.
func readFile(root fs.FS, path string) (string, error) {
	info, err := fs.Stat(root, path)
	if err != nil {
		return "", fmt.Errorf("read /%s: %w", path, cause(err))
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return "", fmt.Errorf("read /%s: it is not a regular file of at most %d bytes", path, maxFile)
	}
	text, err := fs.ReadFile(root, path)
	if err != nil {
		return "", fmt.Errorf("read /%s: %w", path, cause(err))
	}
	return string(text), nil
}

// cause strips the path that an *fs.PathError repeats.
func cause(err error) error {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
