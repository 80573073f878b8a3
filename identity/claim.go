package identity

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Claim is the name and the addresses that the Pod believes are its own, and the
// policy that proves them. Facts.Claim makes it; nothing in it is proven. The zero
// value claims nothing.
type Claim struct {
	policy Policy // by which it is proven
	name   Name
	parts  parts
	zone   Name         // the cluster domain; zero if unknown
	addrs  []netip.Addr // to be proven, primary first, at most one a family
	own    []netip.Addr // all of the Pod's
	uid    string
	// ordinal is the Pod's number in its set, in decimal; "" if it has none.
	ordinal string
	// sought means that the name is another server's, and any address proves it. See
	// Search.
	sought bool
	// instead are the names that DNS publishes for our addresses if spec.hostname is
	// empty: if one is there, name will never come.
	instead []Name
}

// parts are the parts of HOSTNAME.SERVICE.NAMESPACE.svc.CLUSTERDOMAIN. A name of
// another form has a hostname, its first label, and nothing else.
type parts struct{ hostname, service, namespace, clusterDomain string }

// Name returns the claimed name.
func (c Claim) Name() Name { return c.name }

// Addrs returns the addresses to be proven, primary first.
func (c Claim) Addrs() []netip.Addr { return slices.Clone(c.addrs) }

// Own returns all addresses of the Pod, including those that are not to be proven.
func (c Claim) Own() []netip.Addr { return slices.Clone(c.own) }

// Unproven returns the Pod's addresses that are not in proven.
func (c Claim) Unproven(proven []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(c.Own(), func(a netip.Addr) bool { return slices.Contains(proven, a) })
}

// Rounds returns how many rounds of questions the proof takes.
func (c Claim) Rounds() int { return cmp.Or(int(c.policy.Rounds), 2) }

// Reverse returns what the policy requires of PTR records.
func (c Claim) Reverse() ReverseRule { return c.policy.Reverse }

// Hostname returns the first label of the name.
func (c Claim) Hostname() string { return c.parts.hostname }

// Service returns the governing Service and its namespace; "" and "" for a name
// that does not have the form HOSTNAME.SERVICE.NAMESPACE.svc.CLUSTERDOMAIN.
func (c Claim) Service() (service, namespace string) { return c.parts.service, c.parts.namespace }

// Zone returns the cluster domain; the zero Name if it is unknown.
func (c Claim) Zone() Name { return c.zone }

// Kubernetes returns the name of the API server's Service, which every cluster
// has. It has no meaning if the zone is unknown.
func (c Claim) Kubernetes() Name { return Name{"kubernetes.default.svc." + c.zone.text} }

// Dashed reports whether the name is the one that DNS makes from the address.
func (c Claim) Dashed() bool { return len(c.addrs) > 0 && c.name.first() == Dashed(c.addrs[0]) }

// Claim concludes from the facts which name and addresses this Pod has. The error is
// a *Refusal, or several joined.
func (f Facts) Claim(p Policy) (Claim, error) {
	if untold := f.untold(p.NameForm); len(untold) > 0 {
		return Claim{}, refuse(HostNetwork, "this Pod has hostNetwork: true and sees the node's files, not its own").mend("set %s", List(untold))
	}
	addrs, err := f.wanted(p.Families)
	if err != nil {
		return Claim{}, err
	}
	c := Claim{policy: p, addrs: addrs, own: f.Addrs, uid: f.UID}
	if f.FQDN.Value != "" {
		return f.claimGiven(c)
	}
	if p.NameForm == AddressForm {
		// A dashed name holds one address, so the claim does too.
		if p.Families == FamiliesAll && len(addrs) > 1 {
			return Claim{}, refuse(Misconfigured, "PODFQDN_NAME_FORM=address gives each address its own name, so PODFQDN_FAMILIES=all cannot be met").mend("set PODFQDN_FAMILIES to ipv4 or ipv6")
		}
		c.addrs = addrs[:1]
		f.Hostname = Fact{Dashed(addrs[0]), "the Pod's address"}
	}
	if err := f.complete(); err != nil {
		return Claim{}, err
	}
	odd := errors.Join(
		f.Hostname.checkLabel("the hostname", "PODFQDN_HOSTNAME"),
		f.Service.checkLabel("the governing Service", "PODFQDN_SERVICE"),
		f.Namespace.checkLabel("the namespace", "POD_NAMESPACE"))
	if odd != nil {
		return Claim{}, odd
	}
	if c.zone, err = f.zone(); err != nil {
		return Claim{}, err
	}
	suffix := f.Service.Value + "." + f.Namespace.Value + ".svc." + c.zone.String()
	c.name, err = ParseName(f.Hostname.Value + "." + suffix)
	if err != nil {
		return Claim{}, refuse(Misconfigured, "%w", err).mend("set a shorter PODFQDN_HOSTNAME, PODFQDN_SERVICE or PODFQDN_CLUSTER_DOMAIN")
	}
	c.parts = c.name.split(c.zone)
	c.ordinal = cmp.Or(f.Ordinal.Value, c.number())
	if p.NameForm == HostnameForm {
		for _, addr := range c.addrs {
			if other, err := ParseName(Dashed(addr) + "." + suffix); err == nil && other != c.name {
				c.instead = append(c.instead, other)
			}
		}
	}
	return c, nil
}

// checkLabel returns a *Refusal if part cannot be one label of the name.
func (part Fact) checkLabel(what, variable string) error {
	if err := checkLabel(lower(part.Value)); err != nil {
		return refuse(Misconfigured, "%s %+q (from %s) cannot be part of a DNS name: %w", what, part.Value, part.From, err).mend("set %s", variable)
	}
	return nil
}

// Zone returns the cluster domain; the zero Name if it is unknown. The error is a
// *Refusal.
func (f Facts) Zone() (Name, error) {
	if f.ClusterDomain.Value == "" {
		return Name{}, nil
	}
	return f.zone()
}

// zone returns the cluster domain as a name.
func (f Facts) zone() (Name, error) {
	zone, err := ParseName(f.ClusterDomain.Value)
	if err != nil {
		return Name{}, refuse(Misconfigured, "the cluster domain (from %s): %w", f.ClusterDomain.From, err).mend("set PODFQDN_CLUSTER_DOMAIN, usually cluster.local")
	}
	return zone, nil
}

// claimGiven claims PODFQDN_FQDN, which may lie outside the cluster zone.
func (f Facts) claimGiven(c Claim) (Claim, error) {
	name, err := ParseName(f.FQDN.Value)
	if err != nil {
		return Claim{}, refuse(Misconfigured, "PODFQDN_FQDN: %w", err).mend("write a name such as db-0.db.default.svc.cluster.local")
	}
	if _, err := netip.ParseAddr(name.String()); err == nil {
		return Claim{}, refuse(Misconfigured, "PODFQDN_FQDN=%+q is an address", f.FQDN.Value).mend("write a name such as db-0.db.default.svc.cluster.local")
	}
	if name.first() == name.String() {
		return Claim{}, refuse(Misconfigured, "PODFQDN_FQDN=%+q has only one label", f.FQDN.Value).mend("write the whole name, such as db-0.db.default.svc.cluster.local")
	}
	c.name = name
	if f.ClusterDomain.Value != "" {
		if c.zone, err = f.zone(); err != nil {
			return Claim{}, err
		}
	} else if labels := strings.SplitN(name.String(), ".", 5); len(labels) == 5 && labels[3] == "svc" {
		// Only a name in the cluster domain has this form.
		c.zone = Name{labels[4]}
	}
	c.parts = name.split(c.zone)
	c.ordinal = cmp.Or(f.Ordinal.Value, c.number())
	return c, nil
}

// split returns the parts of a name that has the form of Kubernetes (DNS-Based
// Service Discovery, §2.4.1).
func (n Name) split(zone Name) parts {
	p := parts{hostname: n.first()}
	if zone.IsZero() {
		return p
	}
	rest, ok := strings.CutSuffix(n.String(), ".svc."+zone.String())
	if labels := strings.Split(rest, "."); ok && len(labels) == 3 {
		p.service, p.namespace, p.clusterDomain = labels[1], labels[2], zone.String()
	}
	return p
}

// wanted returns the Pod's addresses of the wanted families, primary first. The error
// is a *Refusal.
func (f Facts) wanted(families Families) ([]netip.Addr, error) {
	if len(f.Addrs) == 0 {
		return nil, refuse(Misconfigured, "cannot determine this Pod's addresses").mend("set POD_IPS from status.podIPs")
	}
	if families != FamiliesIPv4 && families != FamiliesIPv6 {
		return f.Addrs, nil
	}
	four := families == FamiliesIPv4
	for _, addr := range f.Addrs {
		if addr.Is4() == four {
			return []netip.Addr{addr}, nil
		}
	}
	return nil, refuse(Misconfigured, "PODFQDN_FAMILIES=%s, but this Pod has no %s address (%s says %s)", families, family(four), f.AddrsFrom, Enumerate(f.Addrs)).mend("set PODFQDN_FAMILIES=auto, or POD_IPS from status.podIPs")
}

// untold lists the variables that a Pod with hostNetwork has to set, as it shares
// the node's hosts file and interfaces.
func (f Facts) untold(form NameForm) (set []string) {
	if !f.HostNetwork {
		return nil
	}
	if f.FQDN.Value == "" {
		if f.Hostname.Value == "" && form == HostnameForm {
			set = append(set, "PODFQDN_HOSTNAME to spec.hostname")
		}
		if f.Service.Value == "" {
			set = append(set, "PODFQDN_SERVICE to spec.subdomain")
		}
		if f.Namespace.Value == "" {
			set = append(set, "POD_NAMESPACE from metadata.namespace")
		}
	}
	if len(f.Addrs) == 0 {
		set = append(set, "POD_IPS from status.podIPs")
	}
	return set
}

// nameOrForm is what to change if DNS publishes the address without a hostname.
const nameOrForm = "set spec.hostname, or PODFQDN_NAME_FORM=address if a name that changes with the address will do"

// complete checks that every part of the name is known. The error is a *Refusal that
// names the field or variable to set.
func (f Facts) complete() error {
	hostname, service := f.Hostname.Value, f.Service.Value
	switch {
	case f.Override.Value != "" && f.Override.Value == f.PodName && (hostname == "" || service == ""):
		return refuse(NoHostname, "the Pod's name %+q has dots, and DNS does not publish hostnames with dots", f.Override.Value).mend("set spec.hostname to one label and spec.subdomain to the governing Service")
	case f.Override.Value != "" && (hostname == "" || service == ""):
		return refuse(HostnameOverride, "/%s says only %+q: spec.hostnameOverride hides the name that DNS publishes (or the Pod's name has dots)", hostsPath, f.Override.Value).mend("set PODFQDN_HOSTNAME and PODFQDN_SERVICE to spec.hostname and spec.subdomain")
	case hostname == "":
		return refuse(NoHostname, "cannot determine this Pod's hostname").mend("set spec.hostname and spec.subdomain, or PODFQDN_HOSTNAME")
	case f.Hostname.From == "/"+hostsPath && strings.Contains(hostname, "."):
		return refuse(NoHostname, "the hostname %+q has dots, and DNS does not publish hostnames with dots", hostname).mend("set spec.hostname to one label")
	case f.Hostname.From != "PODFQDN_HOSTNAME" && len(f.PodName) > maxLabel && hostname == cut(f.PodName):
		return refuse(NoHostname, "the hostname %+q is the Pod's name cut to %d characters, and DNS does not publish it", hostname, maxLabel).mend("%s", nameOrForm)
	case service == "" && f.Stray.IsValid():
		return refuse(Misconfigured, "%s says %s, but the kubelet wrote %s into /%s", f.AddrsFrom, Enumerate(f.Addrs), f.Stray, hostsPath).mend("set POD_IPS from status.podIPs")
	case service == "":
		emptied := "something in this Pod has replaced or changed /" + hostsPath
		if f.Line != (Line{}) || f.Override.Value != "" {
			emptied = "a virtual cluster's syncer may have emptied it"
		}
		return refuse(NoSubdomain, "this Pod has no governing Service").mend("set spec.subdomain (spec.serviceName in a StatefulSet) to the name of a headless Service that selects it, or set PODFQDN_SERVICE; if it is already set, %s: set PODFQDN_SERVICE", emptied)
	case f.Namespace.Value == "":
		return refuse(Misconfigured, "cannot determine this Pod's namespace").mend("set POD_NAMESPACE from metadata.namespace")
	case f.ClusterDomain.Value == "" && checkLabel(lower(f.Namespace.Value)) == nil:
		return refuse(ClusterDomain, "cannot determine the cluster domain (no %+q entry in the search list of /%s)", f.Namespace.Value+".svc.", resolvConfPath).mend("set PODFQDN_CLUSTER_DOMAIN, usually cluster.local")
	}
	return nil
}

// cut shortens a hostname that is too long, as the kubelet does
// (pkg/kubelet/kubelet_pods.go, truncatePodHostnameIfNeeded).
func cut(hostname string) string {
	return strings.TrimRight(hostname[:maxLabel], "-.")
}

// Enumerate is List for items with a String method.
func Enumerate[T fmt.Stringer](items []T) string {
	var words []string
	for _, item := range items {
		words = append(words, item.String())
	}
	return List(words)
}

// List joins words for people: "a", "a and b", "a, b and c"; if there are more than
// six, the first five and how many more there are.
func List(words []string) string {
	const most = 6
	n := len(words)
	switch {
	case n < 2:
		return strings.Join(words, "")
	case n > most:
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most-1], ", "), n-most+1)
	}
	return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
}
