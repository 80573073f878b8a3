package identity

import (
	"cmp"
	"encoding/json"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
)

// published is the From of a Fact that only the published files have.
const published = "the published identity"

// Recall is Look for a Pod whose identity is published in files. Any program in the
// Pod may have changed /etc/hosts and /etc/resolv.conf since, so Recall does not wait
// for them, and takes what they no longer have from files. It never prefers files to
// what the Pod itself has, so that Claim.Keeps can check whose they are. If neither a
// UID, a hostname nor an address is left to compare, the Facts have no address.
//
// The error is a *Refusal about a variable, or several joined.
func Recall(root fs.FS, given Given, ifaces func() ([]netip.Addr, error), files []File) (Facts, error) {
	hostsText, _ := readFile(root, hostsPath)
	h := parseHosts(hostsText)
	self, _ := selfIn(root, h)
	f, mistakes, _ := look(root, given, h, short(self.Value), ifaces) // what is wrong with the files does not matter
	if f.Hostname.From != "PODFQDN_HOSTNAME" {
		f.Hostname.Value = short(f.Hostname.Value)
	}
	var r record
	i := slices.IndexFunc(files, func(file File) bool { return file.Name == fileJSON })
	if i < 0 || json.Unmarshal(files[i].Data, &r) != nil {
		return f, mistakes
	}
	says := readName(self.Value, short(self.Value)) // with setHostnameAsFQDN
	f.ClusterDomain = firstOf(f.ClusterDomain, Fact{says.domain, self.From}, Fact{r.ClusterDomain, published})
	if f.HostNetwork {
		return f, mistakes // its files and addresses are the node's: variables say the rest
	}
	if f.AddrsFrom != "POD_IPS" { // which has all of them
		f.recallAddrs(r, ifaces)
	}
	if f.Override.Value == "" {
		f.Hostname = firstOf(f.Hostname, Fact{r.Hostname, published})
	}
	f.Service = firstOf(f.Service, Fact{says.service, self.From}, Fact{r.Service, published})
	f.Namespace = firstOf(f.Namespace, Fact{says.namespace, self.From}, Fact{r.Namespace, published})
	return f, mistakes
}

// recallAddrs adds those of r's addresses that the interfaces have, which are better
// evidence than a file; without interfaces, those that come with the Pod's UID, its
// hostname or another of its addresses.
func (f *Facts) recallAddrs(r record, ifaces func() ([]netip.Addr, error)) {
	// A dashed hostname is made of the address, so it is not compared with the Pod's.
	known := f.FQDN.Value != "" || f.Hostname.Value != "" && r.Hostname != Dashed(r.IP) || lower(f.PodName) == r.Hostname ||
		slices.ContainsFunc(f.Addrs, func(a netip.Addr) bool { return slices.Contains(r.IPs, a) })
	known = known && ifaces == nil || f.UID != "" && f.UID == r.PodUID
	seen, _ := usable(ifaces)
	mine := slices.DeleteFunc(r.IPs, func(a netip.Addr) bool { return !slices.Contains(seen, a) && (len(seen) > 0 || !known) })
	all := slices.Concat(f.Addrs, mine)
	if len(seen) > 0 && !strings.HasPrefix(f.AddrsFrom, "POD_IP") {
		all = slices.Concat(mine, f.Addrs)
	}
	f.Addrs, f.AddrsFrom = nil, cmp.Or(f.AddrsFrom, published)
	for _, a := range all {
		if onePerFamily(append(f.Addrs, a), "") == nil { // of a file the first: the kubelet's
			f.Addrs = append(f.Addrs, a)
		}
	}
}
