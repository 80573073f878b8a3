package diagnosis

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// Causes returns why there is no agreement, the most likely cause first. err is what
// Look, Claim, Verify or a Turn returned: a *Refusal (or several joined) or a
// *Mismatch. r has all questions before it, including those of Witnesses. Without an
// error there is no cause.
//
// DNS shows a Service only by its endpoints: one that is missing, one that selects
// nothing and one that hides Pods that are not ready look alike. If causes cannot be
// distinguished, Causes returns all of them, as guesses.
func Causes(f identity.Facts, c identity.Claim, r identity.Report, err error) []Cause {
	var m *identity.Mismatch
	refused := refusals(err)
	switch {
	case err == nil:
		return nil
	case len(refused) > 0:
		var causes []Cause
		for _, refusal := range refused {
			causes = append(causes, Cause{Kind: Kind(refusal.Kind), Why: refusal.Why(), Change: refusal.Change})
		}
		return causes
	case !errors.As(err, &m):
		return []Cause{{Kind: Unexplained, Why: err.Error(), Change: "check that podfqdn can read the Pod's files and reach its nameservers"}}
	}
	s := scene{f: f, c: c, m: m, findings: r.Findings()}
	causes := s.causes()
	if told := s.told(); len(told) > 0 {
		for i := range causes {
			causes[i].Command = "" // it may be for another Pod's name
		}
		causes = append(told, causes...)
	}
	if what := s.replicas(); what != "" {
		after := 0 // before a guess, as it is the better one
		if !causes[0].Guess {
			after = 1
		}
		causes = append(append(causes[:after:after], Cause{Kind: ReplicasDisagree, Guess: true, Why: what,
			Change: "check that all replicas of cluster DNS can reach the API server; if one only lags, this passes"}), causes[after:]...)
	}
	return causes
}

// told compares the variables with the Pod's own line in /etc/hosts, if the name does
// not resolve to the Pod. In a virtual cluster the variable may be right.
func (s scene) told() (causes []Cause) {
	if s.m.Kind == identity.Reverse || s.m.Verdict == identity.Unanswered || !s.m.Answered() || s.f.FQDN.Value != "" {
		return nil
	}
	for _, c := range []struct {
		kind   Kind
		said   identity.Fact
		line   string
		change string
	}{
		{Misconfigured, s.f.Namespace, s.f.Line.Namespace, "set POD_NAMESPACE from metadata.namespace, or leave it out"},
		{SubdomainMismatch, s.f.Service, s.f.Line.Service, "leave PODFQDN_SERVICE out, or set it to spec.subdomain"},
		{Misconfigured, s.f.Hostname, s.f.Line.Hostname, "leave PODFQDN_HOSTNAME out, or set it to spec.hostname"},
	} {
		if c.line != "" && strings.HasPrefix(c.said.From, "POD") && !strings.EqualFold(c.said.Value, c.line) {
			causes = append(causes, s.cause(c.kind, true, fmt.Sprintf("%s says %q, but /etc/hosts, which the kubelet writes, says %q", c.said.From, c.said.Value, c.line), c.change))
		}
	}
	return causes
}

// refusals returns the *Refusals in an error, however joined.
func refusals(err error) (all []*identity.Refusal) {
	switch e := err.(type) {
	case *identity.Refusal:
		return []*identity.Refusal{e}
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			all = append(all, refusals(err)...)
		}
	case interface{ Unwrap() error }:
		return refusals(e.Unwrap())
	}
	return all
}

// scene is the *Mismatch to explain, and the evidence.
type scene struct {
	f        identity.Facts
	c        identity.Claim
	m        *identity.Mismatch
	findings []identity.Finding
}

// cause returns a Cause; if why is "", it is the Mismatch's sentence.
func (s scene) cause(kind Kind, guess bool, why, change string) Cause {
	if why == "" {
		return Cause{Kind: kind, Guess: guess, Why: s.m.Error(), Change: change, told: true}
	}
	return Cause{Kind: kind, Guess: guess, Why: why, Change: change}
}

// Clauses that several causes use.
const (
	setPolicy   = "set dnsPolicy: ClusterFirst (with hostNetwork: ClusterFirstWithHostNet), or PODFQDN_NAMESERVERS and PODFQDN_CLUSTER_DOMAIN"
	serveArpa   = "make the Corefile's kubernetes plugin serve in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore"
	seeArpa     = "check whether the Corefile's kubernetes plugin serves in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore"
	refusesPTR  = "check whether a DNS policy refuses PTR or the Corefile does not serve it: allow in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore"
	ownHostname = "give each Pod its own hostname, and a Deployment strategy: Recreate; or set PODFQDN_FORWARD=contains if several Pods may share this name"
)

func (s scene) causes() []Cause {
	m := s.m
	if renamed := s.renamed(); len(renamed) > 0 {
		return renamed
	}
	switch m.Verdict {
	case identity.Missing, identity.Hidden, identity.ForeignServer:
		if m.Is == identity.NoData && m.Kind != identity.Exists {
			return s.empty()
		}
		return s.missing()
	case identity.Unnamed:
		// An empty answer alone proves nothing: a server may return one for every name.
		published := slices.ContainsFunc(s.published(), func(a netip.Addr) bool { return slices.Contains(s.c.Own(), a) })
		return []Cause{s.cause(NoHostname, m.Is != identity.Found && !published, "", "set spec.hostname, or PODFQDN_NAME_FORM=address")}
	case identity.Shared:
		return []Cause{s.cause(HostnameShared, false, "", ownHostname)}
	case identity.Stale:
		return []Cause{
			s.cause(StaleRecord, true, s.until("the answer"), "this may be the address of an earlier Pod; if so, it passes when the Service and the caches have dropped it"),
			s.cause(HostnameShared, true, fmt.Sprintf("%s may be another Pod with this hostname, while this Pod is not published", m.Others), ownHostname),
		}
	case identity.Poisoned:
		return s.poisoned()
	case identity.Withheld:
		if s.until("the denial") != "" { // and so may that of kubernetes.default be
			return s.poisoned()
		}
		return []Cause{s.cause(FamilyWithheld, false, "", "waiting does not help: "+s.withheld())}
	case identity.Unanswered:
		return s.unanswered()
	case identity.Unsettled:
		return []Cause{s.cause(ReplicasDisagree, false, "", "the replicas of cluster DNS do not have the same records yet")}
	case identity.ReverseExtra:
		if other := s.whose(); other != "" {
			return []Cause{s.cause(SecondService, false, "", fmt.Sprintf("%s selects this Pod too and adds %s: narrow its selector, or set PODFQDN_REVERSE=contains", other, m.Others))}
		}
		return []Cause{s.cause(StaleRecord, true, "", fmt.Sprintf("find out what has the name %s: an earlier Pod with this address, another Pod on the node's network, or something in front of cluster DNS; or set PODFQDN_REVERSE=contains", m.Others))}
	case identity.ReverseOther:
		var causes []Cause
		if !slices.ContainsFunc(m.Names, func(n identity.Name) bool { return strings.HasSuffix(n.String(), ".svc."+s.c.Zone().String()) }) {
			causes = append(causes, s.reverseOverridden()) // no Pod has such a name
		}
		return append(causes,
			s.cause(StaleRecord, true, s.until("the answer"), "this may be the name of an earlier Pod with this address; if so, it passes when the caches have dropped it"),
			s.cause(SubdomainMismatch, true, fmt.Sprintf("cluster DNS has this address only in %s", cmp.Or(s.whose(), "another name")), "check that spec.subdomain is the name of a Service that selects this Pod"),
		)
	case identity.ReverseForeign, identity.ReverseMissing:
		return s.reverse()
	case identity.ReverseRefused:
		return []Cause{s.cause(DNSRefusesPTR, false, "", refusesPTR)}
	case identity.Keyless:
		change := "add keys for these principals there (kadmin: ktadd)"
		if strings.Contains(m.Error(), "not read: ") {
			change = "fix the files that were not read; if the keys are not in them, add them (kadmin: ktadd)"
		}
		return []Cause{s.cause(KeysMissing, false, "", change+"; a changed Secret reaches the Pod within two minutes")}
	case identity.Peerless:
		return s.peerless()
	case identity.Uncertified:
		return []Cause{s.cause(CertificateMissing, false, "", "fix the files at PODFQDN_TLS; a changed Secret reaches the Pod within two minutes")}
	}
	return []Cause{s.cause(Unexplained, false, "", "run podfqdn with PODFQDN_LOG_LEVEL=debug")}
}

// poisoned explains that one type is denied for a name that exists: by a cache, from
// before the record existed, or on purpose.
func (s scene) poisoned() []Cause {
	a, why := shown.Of(s.m.Answer), s.until("the denial")
	decided := s.cause(FamilyWithheld, true, fmt.Sprintf("something may deny %s on purpose", s.m.Kind), s.withheld())
	switch change := fmt.Sprintf("this passes if a cache keeps the denial from before the record existed; if it comes back, something denies %s on purpose", s.m.Kind); {
	case a.Renewed:
		return []Cause{decided}
	case a.Cached && why != "":
		return []Cause{s.cause(CachedDenial, false, why, strings.Replace(change, "if a cache keeps the denial", "then if it is", 1))}
	default:
		return []Cause{s.cause(CachedDenial, true, why, change), decided}
	}
}

// withheld returns what to change if m's type is denied on purpose.
func (s scene) withheld() string {
	change := fmt.Sprintf("find what answers %s before cluster DNS does: a DNS policy, or a template in the Corefile, which must have rcode NOERROR", s.m.Kind)
	if other := slices.IndexFunc(s.c.Own(), func(a netip.Addr) bool { return a.Is4() != (s.m.Kind == identity.Forward4) }); other >= 0 {
		change += fmt.Sprintf("; or set PODFQDN_FAMILIES=%s, but programs that use musl (Alpine) will still not resolve the name", map[bool]string{true: "ipv4", false: "ipv6"}[s.c.Own()[other].Is4()])
	}
	return change
}

// missing explains that the name is denied, by what the denying server knows: the
// cluster, then the Service.
func (s scene) missing() []Cause {
	kubernetes, asked := s.witness(apiServer(s.f, s.c))
	overridden := s.overridden(kubernetes)
	if asked && denies(s.c, kubernetes) || !asked && s.m.Verdict == identity.ForeignServer {
		return append(overridden, s.foreign(kubernetes, asked)...)
	}
	causes := s.unpublished()
	if len(overridden) > 0 {
		for i := range causes {
			causes[i].Command = "" // it may not be cluster DNS that denies
		}
	}
	return append(overridden, causes...)
}

// overridden explains that kubernetes.default, which every cluster has, is denied or
// has no address, although the PTR of its address shows that the server knows the
// cluster.
func (s scene) overridden(kubernetes identity.Answer) []Cause {
	ptr, _ := s.witness(identity.Question{Kind: identity.Reverse, Addr: s.f.Kubernetes})
	zone := s.c.Zone().String()
	switch {
	case kubernetes.Is != identity.Denied && !lacks(s.f, kubernetes):
		return nil
	case slices.Contains(ptr.Names, s.c.Kubernetes()):
		return []Cause{s.cause(ZoneOverridden, true, fmt.Sprintf("%s has a PTR record from %s to %s, but says %v to that name", identity.ShowServer(s.m.Server), s.f.Kubernetes, s.c.Kubernetes(), kubernetes.Shown),
			"check whether something in front of the kubernetes plugin answers for "+zone+", such as a template, hosts or rewrite in the Corefile, or a DNS policy")}
	case kubernetes.Is == identity.NoData:
		return []Cause{s.cause(ZoneOverridden, true, fmt.Sprintf("%s has no address for %s either, which every cluster has", identity.ShowServer(s.m.Server), s.c.Kubernetes()),
			"check whether something in front of cluster DNS returns an empty answer for "+zone+", such as a DNS policy, or a template in the Corefile")}
	}
	return nil
}

// renamed explains an answer that has only records of another name.
func (s scene) renamed() []Cause {
	if s.m.Is != identity.NoData {
		return nil
	}
	for _, f := range s.findings {
		owners := shown.Of(f.Answer).Owners
		if f.Witness || f.Is != identity.NoData || len(owners) == 0 || f.Server != s.m.Server || f.Kind == identity.Reverse != (s.m.Kind == identity.Reverse) {
			continue
		}
		const rewrite = `if the Corefile rewrites it, add "answer auto" to that rewrite`
		change := rewrite
		service, namespace := s.c.Service()
		if owner, err := identity.ParseName(owners[0]); err == nil && service != "" {
			if zone := zoneOf([]identity.Name{owner}, s.c.Hostname()+"."+service+"."+namespace+".svc."); !zone.IsZero() {
				change = fmt.Sprintf("%s, or set PODFQDN_CLUSTER_DOMAIN=%s", rewrite, zone)
			}
		}
		if f.Kind == identity.Reverse {
			change = rewrite + ", or set PODFQDN_REVERSE=ignore"
		}
		return []Cause{s.cause(RecordRenamed, false, fmt.Sprintf("the answer to %s for %s has only records of %s, which a resolver does not accept", f.Kind, f.Subject(), shown.Printable(identity.List(owners))), change)}
	}
	return nil
}

// whose returns which Service adds another name to m's address; "" if the name does
// not show it.
func (s scene) whose() string {
	for _, name := range s.m.Names {
		if name == s.c.Name() {
			continue
		}
		inner, ok := strings.CutSuffix(name.String(), ".svc."+s.c.Zone().String())
		labels := strings.Split(inner, ".")
		if own, namespace := s.c.Service(); ok && len(labels) == 3 && (labels[1] != own || labels[2] != namespace) {
			return fmt.Sprintf("Service %q in namespace %q", labels[1], labels[2])
		}
	}
	return ""
}

// unpublished explains that the server knows the cluster but not this Pod.
func (s scene) unpublished() []Cause {
	service, namespace := s.c.Service()
	if service == "" {
		return []Cause{s.cause(Unexplained, true, "", "check that something publishes this name in DNS")}
	}
	named := "spec.subdomain"
	if s.f.Service.From == "PODFQDN_SERVICE" {
		named = s.f.Service.From
	}
	fields := fmt.Sprintf("a headless Service %q in namespace %q", service, namespace)
	see := "check that " + fields + " selects this Pod and has publishNotReadyAddresses: true"
	if s.c.Dashed() {
		see += "; if the Pod has spec.hostname, leave PODFQDN_NAME_FORM out"
	}
	exists, asked := s.witness(identity.Question{Kind: identity.Exists, Name: governing(s.c)})
	why := ""
	if asked && exists.Is == identity.Denied {
		why = fmt.Sprintf("Service %q has no address in DNS either", service)
	}
	addrs := s.published()
	if len(addrs) > 0 {
		why = fmt.Sprintf("Service %q publishes %s, but not this Pod", service, identity.Enumerate(addrs))
		if own := slices.IndexFunc(addrs, func(a netip.Addr) bool { return slices.Contains(s.c.Own(), a) }); own >= 0 {
			return []Cause{s.otherwise(addrs[own])}
		}
	}
	if s.m.Verdict == identity.ForeignServer && why != "" {
		why = identity.ShowServer(s.m.Server) + " knows the cluster but lets unknown names fall through; " + why
	}
	hidden := s.cause(NotReadyHidden, true, why, see)
	// Only if cluster DNS itself denies the name, and the Service has no address of its
	// own, whose clients the change would affect.
	denied := func(a identity.Answer) bool {
		return a.Is == identity.Denied && !a.Zone.IsZero() && a.Zone.Under(s.c.Zone())
	}
	if denied(s.m.Answer) && (denied(exists) || len(addrs) > 1 && addrs[0].Is4() == addrs[1].Is4()) {
		hidden.Command = fmt.Sprintf(`kubectl --namespace %s patch service/%s --patch '{"spec":{"publishNotReadyAddresses":true}}'`, namespace, service)
	}
	selector := s.cause(SelectorMismatch, true, fmt.Sprintf("Service %q may select other Pods", service),
		"make the Service's selector and this Pod's labels match; "+Doctor(s.f)+" names the label")
	if len(addrs) > 0 {
		return []Cause{hidden, selector}
	}
	return []Cause{hidden,
		s.cause(NoService, true, fmt.Sprintf("there may be no Service %q in namespace %q", service, namespace), "create "+fields+", named as "+named+" says"),
		selector}
}

// otherwise explains that the governing Service has the Pod's address, but not under
// the Pod's name.
func (s scene) otherwise(addr netip.Addr) Cause {
	service, namespace := s.c.Service()
	why := fmt.Sprintf("Service %q publishes this Pod's address, but not as %q", service, s.c.Hostname())
	ptr, _ := s.witness(identity.Question{Kind: identity.Reverse, Addr: addr})
	other := ""
	for _, name := range ptr.Names {
		inner, ok := strings.CutSuffix(name.String(), "."+service+"."+namespace+".svc."+s.c.Zone().String())
		if _, err := identity.ParseName(inner); ok && err == nil && !strings.Contains(inner, ".") && inner != s.c.Hostname() {
			why, other = fmt.Sprintf("Service %q publishes this Pod's address as %q, not as %q", service, inner, s.c.Hostname()), inner
		}
	}
	if s.c.Dashed() {
		return s.cause(NameForm, true, why, "leave PODFQDN_NAME_FORM out: if the Pod has a hostname, or the Corefile has endpoint_pod_names, DNS does not publish the dashed name")
	}
	change := fmt.Sprintf("set spec.hostname to %q and spec.subdomain to %q", s.c.Hostname(), service)
	if other != "" {
		change += fmt.Sprintf(", or PODFQDN_HOSTNAME=%s if that is this Pod's name", other)
	}
	return s.cause(NoHostname, true, why, change)
}

// Doctor returns the command for the doctor on a laptop, with NAMESPACE or POD in
// capitals if the Pod does not know its own.
func Doctor(f identity.Facts) string {
	say := func(name, unknown string) string {
		if _, err := identity.ParseName(name); err != nil {
			return unknown
		}
		return name
	}
	namespace := f.Namespace.Value
	if f.Line.Namespace != "" && !strings.EqualFold(namespace, f.Line.Namespace) {
		namespace = "" // one of the two is wrong
	}
	return fmt.Sprintf("kubectl podfqdn doctor -n %s %s", say(namespace, "NAMESPACE"), say(f.PodName, "POD"))
}

// foreign explains a server that does not know the cluster domain. seen means that it
// was asked for kubernetes.default, and kubernetes is its answer. The SOA shows whose
// denial it is; without one it may come from any filter.
func (s scene) foreign(kubernetes identity.Answer, seen bool) []Cause {
	server, zone := identity.ShowServer(s.m.Server), s.c.Zone().String()
	why := ""
	if seen {
		why = fmt.Sprintf("%s does not know %s either", server, s.c.Kubernetes())
	}
	policy := s.cause(ForeignDNS, true, why, setPolicy)
	const same = "make the kubelet's clusterDomain and the zone in the Corefile the same; for this Pod alone set PODFQDN_CLUSTER_DOMAIN"
	ptr, asked := s.witness(identity.Question{Kind: identity.Reverse, Addr: s.f.Kubernetes})
	if !asked {
		return []Cause{policy, s.cause(ClusterDomain, true, fmt.Sprintf("the cluster domain may not be %q (from %s)", zone, s.f.ClusterDomain.From), same)}
	}
	if other := zoneOf(ptr.Names, "kubernetes.default.svc."); !other.IsZero() && other != s.c.Zone() {
		return []Cause{s.cause(ClusterDomain, kubernetes.Zone.IsZero(), fmt.Sprintf("the cluster domain is %q (from %s), but that of %s is %q", zone, s.f.ClusterDomain.From, server, other.String()),
			same+"="+other.String())}
	}
	policy.Guess = ptr.Is != identity.Denied || ptr.Zone.IsZero() || kubernetes.Zone.IsZero()
	return []Cause{policy}
}

// zoneOf returns what follows prefix in one of names; the zero Name if none has it.
func zoneOf(names []identity.Name, prefix string) identity.Name {
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name.String(), prefix); ok {
			if zone, err := identity.ParseName(rest); err == nil {
				return zone
			}
		}
	}
	return identity.Name{}
}

// empty explains a name that has no address of a family. Only the API shows whether
// the Service has that family; and a proxy may return an empty answer for a denial of
// cluster DNS.
func (s scene) empty() []Cause {
	service, _ := s.c.Service()
	both := slices.ContainsFunc(s.findings, func(f identity.Finding) bool {
		return !f.Witness && f.Name == s.c.Name() && f.Kind != identity.Exists && f.Kind != s.m.Kind && f.Is == identity.Found && f.Server == s.m.Server
	})
	a, _ := s.witness(identity.Question{Kind: s.m.Kind, Name: governing(s.c)})
	single := s.cause(SingleFamily, true, "", "check whether the Service has this family (ipFamilyPolicy), or set PODFQDN_FAMILIES")
	switch {
	case both && len(a.Addrs) > 0:
		return []Cause{s.cause(NotInDNS, true, fmt.Sprintf("Service %q has addresses of this family, but not this Pod's", service),
			"check that this Pod is in the Service's EndpointSlice of this family; if so, this passes once cluster DNS has it")}
	case both:
		return []Cause{single}
	case len(s.c.Own()) > 1 && !s.m.Zone.IsZero() && s.m.Zone.Under(s.c.Zone()): // cluster DNS itself says so
		return append([]Cause{single}, s.missing()...)
	}
	return append(s.missing(), single)
}

func (s scene) unanswered() []Cause {
	switch s.m.Is {
	case identity.Failed:
		return []Cause{s.cause(DNSFails, false, "", "cluster DNS answers with an error: read its log, and check whether it reaches the API server and its upstream")}
	case identity.Refused:
		return []Cause{
			s.cause(DNSFails, true, "", "cluster DNS answers with an error: read its log, and check whether it reaches the API server and its upstream"),
			s.cause(ForeignDNS, true, identity.ShowServer(s.m.Server)+" may not be this cluster's DNS", setPolicy),
		}
	}
	silent := s.cause(DNSSilent, true, "", "check that cluster DNS runs and that no NetworkPolicy blocks this Pod from it on port 53, UDP and TCP")
	if s.captured() {
		var servers []string
		for _, server := range s.f.Nameservers {
			servers = append(servers, identity.ShowServer(server))
		}
		return []Cause{s.cause(DNSCaptured, true, fmt.Sprintf("every packet to %s was refused: cluster DNS has no ready Pod, or a mesh captures DNS for a sidecar that is not running yet", identity.List(servers)),
			"check that cluster DNS runs and has a ready Pod; with a mesh, start podfqdn after its sidecar, as a native sidecar itself, or, with Istio, under runAsUser 1337"), silent}
	}
	return []Cause{silent}
}

// captured reports whether nothing has listened on any nameserver's port in all the
// findings.
func (s scene) captured() bool {
	refused := func(f identity.Finding) bool {
		return f.Is == identity.Silent && strings.Contains(shown.Of(f.Answer).Wire, syscall.ECONNREFUSED.Error())
	}
	for _, server := range s.f.Nameservers {
		if !slices.ContainsFunc(s.findings, func(f identity.Finding) bool { return f.Server == server && refused(f) }) {
			return false
		}
	}
	return len(s.f.Nameservers) > 0 && !slices.ContainsFunc(s.findings, func(f identity.Finding) bool { return !refused(f) })
}

// reverse explains that the forward records are right but the PTR is not from cluster
// DNS.
func (s scene) reverse() []Cause {
	m := s.m
	service, namespace := s.c.Service()
	if zone := zoneOf(m.Names, s.c.Hostname()+"."+service+"."+namespace+".svc."); service != "" && !zone.IsZero() {
		return []Cause{s.cause(ClusterDomain, false, fmt.Sprintf("cluster DNS has %q as its first domain", zone.String()),
			"put this Pod's cluster domain first in the Corefile's kubernetes plugin, or set PODFQDN_CLUSTER_DOMAIN="+zone.String())}
	}
	// A cache keeps an upstream's answer too, so a cached answer proves nothing.
	cached := []Cause{s.cause(CachedDenial, true, cmp.Or(s.until("the answer"), "the answer may be cached"),
		"if the answer is older than the record, this passes when it expires")}
	if shown.Of(m.Answer).Renewed {
		cached = nil
	}
	// Something in front of cluster DNS has another name, or none and no SOA.
	foreign := m.Verdict == identity.ReverseForeign
	overridden := s.reverseOverridden()
	filtered := s.cause(ReverseFiltered, true, "a DNS policy in between may deny PTR", "allow *.in-addr.arpa and *.ip6.arpa there, or set PODFQDN_REVERSE=ignore")
	ptr, asked := s.witness(identity.Question{Kind: identity.Reverse, Addr: s.f.Kubernetes})
	same := asked && s.f.Kubernetes.Is4() == m.Addr.Is4()
	vouched := m.Is == identity.Found || m.Is == identity.Denied && !m.Zone.IsZero()
	switch {
	case same && slices.Contains(ptr.Names, s.c.Kubernetes()) && foreign: // the zone is served
		return append([]Cause{overridden, s.cause(NoReverseZone, true, "the Corefile may serve PTR records only for Services, and an upstream resolver may have answered", seeArpa)}, cached...)
	case same && slices.Contains(ptr.Names, s.c.Kubernetes()):
		causes := append(cached, s.cause(NoReverseZone, true, "the Corefile may serve PTR records only for Services", seeArpa))
		if s.c.Dashed() {
			causes = append([]Cause{s.cause(ReverseNeedsHostname, true, "CoreDNS 1.11.4 and 1.12.0 have PTR records only for Pods with a hostname",
				"check which version runs (kubectl -n kube-system get deployment coredns -o wide); if it is one of these, waiting does not help: update CoreDNS, or set spec.hostname and spec.subdomain and leave PODFQDN_NAME_FORM out, or set PODFQDN_REVERSE=ignore")}, causes...)
		}
		if !vouched {
			causes = append(causes, filtered)
		}
		return causes
	case same && vouched && ptr.Is == identity.Denied && !ptr.Zone.IsZero():
		return []Cause{s.cause(NoReverseZone, false, fmt.Sprintf("the API server's own address %s has no PTR either", s.f.Kubernetes), serveArpa)}
	case same && !foreign && (ptr.Is == identity.Denied || ptr.Is == identity.NoData):
		filtered.Why = fmt.Sprintf("the API server's own address %s has no PTR either, and that answer has no SOA: a DNS policy in between may deny PTR", s.f.Kubernetes)
		if !ptr.Zone.IsZero() {
			filtered.Why = fmt.Sprintf("the API server's own address %s has no PTR either: a DNS policy in between may deny PTR", s.f.Kubernetes)
		}
		return []Cause{filtered, s.cause(NoReverseZone, true, "the Corefile may not serve the reverse zones", seeArpa)}
	case foreign:
		return append([]Cause{s.cause(NoReverseZone, true, "", "an upstream resolver may have answered: "+seeArpa), overridden}, cached...)
	}
	causes := append([]Cause{s.cause(NoReverseZone, true, "", seeArpa)}, cached...)
	if !vouched {
		causes = append(causes, filtered)
	}
	return causes
}

// reverseOverridden explains a name that is not from cluster DNS.
func (s scene) reverseOverridden() Cause {
	return s.cause(ReverseOverridden, true, fmt.Sprintf("something in front of cluster DNS may have %s for this address", s.m.Others),
		"check whether the Corefile's hosts plugin has this address, as NodeHosts of k3s has a node's: remove it or add no_reverse, or set PODFQDN_REVERSE=ignore")
}

// until says until when m's answer is cached, or may be; "" if that is unknown.
func (s scene) until(what string) string {
	a, is := shown.Of(s.m.Answer), "is"
	if !a.Cached {
		is = "may be"
	}
	// A TTL of hours is not from a cluster, and its caches would shorten it.
	if a.Renewed || !a.Cached && a.Full <= s.m.TTL || s.m.TTL <= 0 || s.m.TTL > 10*time.Minute {
		return ""
	}
	return fmt.Sprintf("%s %s cached until %s UTC", what, is, a.At.Add(s.m.TTL).UTC().Format(time.TimeOnly))
}

// witness returns what m's server said about another name or address.
func (s scene) witness(q identity.Question) (identity.Answer, bool) {
	for _, f := range s.findings {
		if f.Witness && f.Question == q && f.Server == s.m.Server {
			return f.Answer, true
		}
	}
	return identity.Answer{}, false
}

// published returns the governing Service's addresses.
func (s scene) published() (addrs []netip.Addr) {
	for _, kind := range []identity.Kind{identity.Forward4, identity.Forward6} {
		a, _ := s.witness(identity.Question{Kind: kind, Name: governing(s.c)})
		addrs = append(addrs, a.Addrs...)
	}
	return addrs
}

// replicas says which question one server answered differently in two rounds, over two
// sockets; "" if none.
func (s scene) replicas() string {
	for i, f := range s.findings {
		for _, g := range s.findings[:i] {
			if f.Same = g.Same; f.Question != g.Question || f.Server != g.Server || f.Witness || g.Witness || !says(f) || !says(g) ||
				shown.Of(f.Answer).Wire == shown.Of(g.Answer).Wire || f.Kind == identity.Exists && (f.Is == identity.Denied) == (g.Is == identity.Denied) {
				continue
			}
			who := identity.ShowServer(f.Server)
			return fmt.Sprintf("%s says %s to one socket and %s to another, so several replicas behind it disagree, or the record has just changed", who, shown.Of(g.Answer).Wire, shown.Of(f.Answer).Wire)
		}
	}
	return ""
}

// says reports whether a finding shows what its server knows.
func says(f identity.Finding) bool {
	return f.Is == identity.Found || f.Is == identity.NoData || f.Is == identity.Denied
}
