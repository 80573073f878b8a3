package kube

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// Causes tells why the Pod's name is not what podfqdn waits for, the most
// likely first; none if all is well. wire is what podfqdn doctor found in the
// Pod; nil where it could not be asked.
//
// What the API decides it decides: a guess from the wire about a Service is
// dropped where the Service was seen. What only the wire can tell, as a
// silent nameserver, comes from there, with what the API knows of it; but no
// command does: a container may say what it likes, and commands are run.
func (v *View) Causes(wire *diagnosis.Diagnosis) []diagnosis.Cause {
	if v.State == Over || wire != nil && wire.Healthy {
		return nil
	}
	if wire == nil {
		wire = &diagnosis.Diagnosis{}
	}
	j := judge{View: v, wire: wire}
	if v.State == Pending && v.Reason != "" {
		j.found(diagnosis.Unexplained, diagnosis.Cause{Why: "podfqdn has not started: " + v.Reason, Change: "what keeps the Pod from starting; see kubectl describe pod"})
	}
	if v.State != Published && v.State != Running && v.State != Unused {
		j.spec()
	}
	j.silence()
	j.domain()
	if !v.claim.foreign {
		j.service()
	}
	j.reverse()
	j.rest()
	return j.causes
}

// judge collects causes.
type judge struct {
	*View
	wire   *diagnosis.Diagnosis
	causes []diagnosis.Cause
}

func (j *judge) found(kind diagnosis.Kind, c diagnosis.Cause) {
	c.Kind = kind
	if strings.Contains(c.Command, recreate.String()) && !strings.Contains(c.Change, string(appsv1.RecreateDeploymentStrategyType)) {
		c.Change += "; with strategy: {type: Recreate}, or the old Pod and the new one would wait for each other"
	}
	j.causes = append(j.causes, c)
}

// said gives a cause that the wire tells, without its command.
func (j *judge) said(kind diagnosis.Kind) (diagnosis.Cause, bool) {
	for _, c := range j.wire.Causes {
		if c.Kind == kind {
			c.Command = ""
			return c, true
		}
	}
	return diagnosis.Cause{}, false
}

// guesses passes on what the wire says, where the API could not be asked.
func (j *judge) guesses(kinds ...diagnosis.Kind) {
	for _, c := range j.wire.Causes {
		if !slices.Contains(kinds, c.Kind) {
			continue
		}
		switch c.Command = ""; c.Kind {
		case diagnosis.NotReadyHidden:
			c.Command = j.patch("service", j.claim.service, notReady)
		case diagnosis.SingleFamily:
			c.Command = j.patch("service", j.claim.service, dualStack)
		}
		j.causes = append(j.causes, c)
	}
}

// spec judges what in the Pod's spec keeps podfqdn from a claim.
func (j *judge) spec() {
	spec := j.pod.Spec
	has := func(names ...string) bool {
		return !slices.ContainsFunc(names, func(n string) bool { _, told := j.variable(n); return !told })
	}
	whole := has("PODFQDN_FQDN")
	switch {
	case spec.HostNetwork:
		var set []any
		if !whole {
			if !has("PODFQDN_HOSTNAME") && !j.claim.dashed {
				set = append(set, j.hostnameVariable())
			}
			if !has("PODFQDN_SERVICE") {
				set = append(set, literal("PODFQDN_SERVICE", cmp.Or(spec.Subdomain, j.proposed())))
			}
			if !has("POD_NAMESPACE") {
				set = append(set, field("POD_NAMESPACE", "metadata.namespace"))
			}
		}
		if !has("POD_IPS") && !has("POD_IP") {
			set = append(set, field("POD_IPS", "status.podIPs"))
		}
		if len(set) == 0 {
			break
		}
		change := object{}
		if spec.DNSPolicy != corev1.DNSClusterFirstWithHostNet && !has("PODFQDN_NAMESERVERS") {
			change["dnsPolicy"] = corev1.DNSClusterFirstWithHostNet
		}
		j.found(diagnosis.HostNetwork, diagnosis.Cause{
			Why:     "the Pod has hostNetwork: true and sees the node's files, not its own, so podfqdn cannot tell its name",
			Change:  fmt.Sprintf("the variables %s of container %+q", named(set), j.Container),
			Command: j.patchOwner(j.withVariables(change, set...)),
		})
	case spec.HostnameOverride != nil && !whole && !has("PODFQDN_HOSTNAME", "PODFQDN_SERVICE"):
		var set []any
		if !has("PODFQDN_HOSTNAME") {
			set = append(set, j.hostnameVariable())
		}
		if !has("PODFQDN_SERVICE") {
			set = append(set, literal("PODFQDN_SERVICE", cmp.Or(spec.Subdomain, j.proposed())))
		}
		if !has("POD_NAMESPACE") {
			set = append(set, field("POD_NAMESPACE", "metadata.namespace"))
		}
		j.found(diagnosis.HostnameOverride, diagnosis.Cause{
			Why:     fmt.Sprintf("spec.hostnameOverride: %+q takes the name that DNS publishes out of the Pod's /etc/hosts, and DNS does not know the override", *spec.HostnameOverride),
			Change:  fmt.Sprintf("the variables %s of container %+q, or no spec.hostnameOverride", named(set), j.Container),
			Command: j.patchOwner(j.withVariables(object{}, set...)),
		})
	}
	_, foreign := j.said(diagnosis.ForeignDNS)
	asked := j.wire.Verdict != "" && j.wire.Verdict != identity.Unanswered
	if why := j.foreignDNS(); why != "" && !has("PODFQDN_NAMESERVERS") && (foreign || !asked) {
		policy := corev1.DNSClusterFirst
		if spec.HostNetwork {
			policy = corev1.DNSClusterFirstWithHostNet
		}
		change := object{"dnsPolicy": policy}
		if spec.DNSPolicy == corev1.DNSNone {
			change["dnsConfig"] = nil
		}
		j.found(diagnosis.ForeignDNS, diagnosis.Cause{
			Why:     why,
			Change:  fmt.Sprintf("%s: %s, or the variable PODFQDN_NAMESERVERS", j.field("dnsPolicy"), policy),
			Command: j.patchOwner(change),
		})
	}
	if j.claim.foreign || whole {
		return
	}
	if spec.Subdomain == "" && !j.claim.dashed || j.claim.service == "" {
		service := cmp.Or(j.claim.service, j.proposed())
		why := "the Pod has no spec.subdomain, and so no name in DNS"
		if j.owner.kind == "StatefulSet" {
			why = fmt.Sprintf("StatefulSet %+q has no serviceName, so its Pods have no spec.subdomain, and no name in DNS", j.owner.name)
		} else if j.claim.service != "" {
			why = fmt.Sprintf("the Pod has no spec.subdomain: PODFQDN_SERVICE=%+q tells podfqdn, and not DNS", j.claim.service)
		}
		j.found(diagnosis.NoSubdomain, diagnosis.Cause{Why: why, Change: j.subdomainField(service), Command: j.setSubdomain(service)})
	}
	if spec.Hostname == "" && !j.claim.dashed {
		j.hostname()
	}
}

// hostname is for a Pod without one.
func (j *judge) hostname() {
	c := diagnosis.Cause{
		Why:    "the Pod has no spec.hostname, and DNS publishes it by its address only",
		Change: j.field("hostname") + ", or the variable PODFQDN_NAME_FORM=address if a name that changes with the address will do",
	}
	switch {
	case j.owner.deployment == nil:
	case j.owner.replicas == 1 && label(j.owner.name):
		c.Change = fmt.Sprintf("%s: %s, with strategy: {type: Recreate}; or the variable PODFQDN_NAME_FORM=address", j.field("hostname"), j.owner.name)
		c.Command = j.patch("deployment", j.owner.name, object{"spec": object{
			"strategy": recreate, "template": object{"spec": object{"hostname": j.owner.name}}}})
	default:
		c.Change = fmt.Sprintf("the variable PODFQDN_NAME_FORM=address of container %+q: %d replicas cannot each have a hostname", j.Container, j.owner.replicas)
		c.Command = j.patchOwner(j.withVariables(object{}, literal("PODFQDN_NAME_FORM", "address")))
	}
	j.found(diagnosis.NoHostname, c)
}

// hostnameVariable tells podfqdn the hostname: in a StatefulSet each Pod its
// own.
func (j *judge) hostnameVariable() any {
	if j.owner.kind == "StatefulSet" {
		return field("PODFQDN_HOSTNAME", "metadata.name")
	}
	return literal("PODFQDN_HOSTNAME", cmp.Or(j.pod.Spec.Hostname, j.owner.name, j.Pod))
}

// foreignDNS says why the Pod's nameserver does not know the cluster; "" if it
// does, or may.
func (j *judge) foreignDNS() string {
	spec := j.pod.Spec
	switch {
	case spec.DNSPolicy == corev1.DNSDefault:
		return "dnsPolicy: Default gives the Pod the node's nameservers, which do not know the cluster"
	case spec.DNSPolicy == corev1.DNSClusterFirst && spec.HostNetwork:
		return "dnsPolicy: ClusterFirst means Default in a Pod with hostNetwork: the node's nameservers do not know the cluster"
	case spec.DNSPolicy == corev1.DNSNone && spec.DNSConfig != nil && len(j.dns.addrs) > 0:
		for _, s := range spec.DNSConfig.Nameservers {
			if addr, err := netip.ParseAddr(s); err != nil || slices.Contains(j.dns.addrs, addr) || addr.IsLinkLocalUnicast() {
				return "" // a cache on the node has a link-local address
			}
		}
		return fmt.Sprintf("dnsPolicy: None, and of dnsConfig.nameservers, %s, none is cluster DNS, %s", strings.Join(spec.DNSConfig.Nameservers, " "), identity.Enumerate(j.dns.addrs))
	}
	return ""
}

// silence is for cluster DNS that does not answer, as the wire tells.
func (j *judge) silence() {
	c, ok := j.said(diagnosis.DNSSilent)
	if !ok {
		return
	}
	policies, allowed := j.egress()
	switch {
	case j.dns.name != "" && j.dns.ready == 0:
		c.Guess = false
		c.Why += fmt.Sprintf("; of cluster DNS %d of %d Pods are ready", j.dns.ready, j.dns.want)
		c.Change = fmt.Sprintf("what keeps the Pods of Deployment %+q in namespace %+q from being ready", j.dns.name, system)
		if j.dns.want == 0 {
			c.Change = fmt.Sprintf("spec.replicas of Deployment %+q in namespace %+q", j.dns.name, system)
			c.Command = fmt.Sprintf("%s scale deployment/%s --replicas=2", j.in(system), Quote(j.dns.name))
		}
	case len(policies) > 0 && !allowed:
		c.Guess = false
		c.Why += fmt.Sprintf("; NetworkPolicy %s selects the Pod and allows it no UDP to port 53", strings.Join(policies, " and "))
		c.Change = "spec.egress of a NetworkPolicy that selects the Pod: port 53, UDP and TCP"
		if own := j.selector(); len(own) > 0 {
			c.Command = j.create(object{
				"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": object{"name": "allow-dns"},
				"spec": object{"podSelector": object{"matchLabels": own}, "policyTypes": []string{"Egress"},
					"egress": []any{object{"ports": []any{object{"protocol": "UDP", "port": 53}, object{"protocol": "TCP", "port": 53}}}}},
			})
		}
	case j.policed && len(policies) == 0:
		c.Why += "; no NetworkPolicy of the namespace is in the way"
		if j.dns.name != "" {
			c.Why += fmt.Sprintf(", and of cluster DNS %d of %d Pods are ready", j.dns.ready, j.dns.want)
		}
		c.Change = "what is between the Pod and cluster DNS: a policy of the network plugin's own, a packet filter on the node, kube-proxy"
	}
	j.causes = append(j.causes, c)
}

// egress gives the NetworkPolicies that bound what the Pod may send, and
// whether one of them lets questions through to somebody.
func (j *judge) egress() (names []string, allowed bool) {
	for _, p := range j.policies {
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil || !selector.Matches(labels.Set(j.pod.Labels)) {
			continue
		}
		if !slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
			continue
		}
		names = append(names, quoted(p.Name))
		for _, rule := range p.Spec.Egress {
			allowed = allowed || len(rule.Ports) == 0 || slices.ContainsFunc(rule.Ports, lets53)
		}
	}
	return names, allowed
}

func lets53(p networkingv1.NetworkPolicyPort) bool {
	if p.Protocol == nil || *p.Protocol != corev1.ProtocolUDP {
		return false
	}
	switch {
	case p.Port == nil, p.Port.Type == intstr.String: // by a name that is the other side's
		return true
	case p.EndPort != nil:
		return p.Port.IntVal <= 53 && *p.EndPort >= 53
	}
	return p.Port.IntVal == 53
}

// domain compares the cluster domain that the Pod was given with CoreDNS's.
func (j *judge) domain() {
	labels := strings.SplitN(j.wire.FQDN, ".", 5)
	corefile := j.dns.corefile
	if j.dns.text == "" || corefile.imports {
		j.guesses(diagnosis.ClusterDomain)
		return
	}
	if len(labels) < 5 || labels[3] != "svc" || len(corefile.domains) == 0 || slices.Contains(corefile.domains, labels[4]) {
		return
	}
	zones, domain := strings.Join(corefile.domains, " "), labels[4]
	if _, err := identity.ParseName(domain); err != nil {
		return // a Pod may say what it likes
	}
	c := diagnosis.Cause{
		Why:     fmt.Sprintf("the kubelet of node %+q says that the cluster domain is %s, and the Corefile serves %s", j.pod.Spec.NodeName, domain, zones),
		Change:  fmt.Sprintf("the zones of the kubernetes plugin in ConfigMap %+q: %s first, as PTR records are of the first; or clusterDomain in the kubelets' configuration", j.dns.configMap, domain),
		Command: j.addZones(domain+" ", ""),
	}
	if told, ok := j.variable("PODFQDN_CLUSTER_DOMAIN"); ok {
		c.Why = fmt.Sprintf("PODFQDN_CLUSTER_DOMAIN=%+q, and the Corefile serves %s", told, zones)
		c.Change = "the variable PODFQDN_CLUSTER_DOMAIN: leave it out, as the Pod finds the cluster domain itself"
		c.Command = j.patchOwner(j.withVariables(object{}, object{"name": "PODFQDN_CLUSTER_DOMAIN", "$patch": "delete"}))
	}
	j.found(diagnosis.ClusterDomain, c)
}

// service judges what makes the name: the governing Service, its selector,
// what it publishes, and the slices. It stops at the first that is wrong, as
// the rest follows from it.
func (j *judge) service() {
	if j.services == nil {
		j.guesses(diagnosis.NoService, diagnosis.SelectorMismatch, diagnosis.NotReadyHidden, diagnosis.SubdomainMismatch,
			diagnosis.NoHostname, diagnosis.HostnameShared, diagnosis.SecondService, diagnosis.SingleFamily)
		return
	}
	name := cmp.Or(j.claim.service, j.proposed())
	s, ok := j.services[name]
	headlessOnes := slices.DeleteFunc(j.selecting(), func(n string) bool { return !headless(j.services[n]) })
	switch {
	case j.claim.service != "" && j.pod.Spec.Subdomain != "" && j.claim.service != j.pod.Spec.Subdomain:
		told, _ := j.naming("PODFQDN_SERVICE")
		j.found(diagnosis.SubdomainMismatch, diagnosis.Cause{
			Why:     fmt.Sprintf("the Pod's spec.subdomain is %+q, and podfqdn claims a name of Service %+q", j.pod.Spec.Subdomain, j.claim.service),
			Change:  fmt.Sprintf("the variable %s of container %+q: leave it out, or %s", told, j.Container, j.subdomainField(j.claim.service)),
			Command: j.patchOwner(j.withVariables(object{}, object{"name": told, "$patch": "delete"})),
		})
	case !ok && len(headlessOnes) > 0:
		right := headlessOnes[0]
		j.found(diagnosis.SubdomainMismatch, diagnosis.Cause{
			Why:     fmt.Sprintf("there is no Service %+q, which is the Pod's spec.subdomain; the headless Service that selects the Pod is %+q", name, right),
			Change:  j.subdomainField(right),
			Command: j.setSubdomain(right),
		})
	case !ok:
		j.found(diagnosis.NoService, diagnosis.Cause{
			Why:     fmt.Sprintf("there is no Service %+q in namespace %+q, and no headless Service selects the Pod", name, j.Namespace),
			Change:  fmt.Sprintf("make a headless Service %+q that selects the Pod and has publishNotReadyAddresses: true", name),
			Command: j.createService(name),
		})
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		j.found(diagnosis.NoService, diagnosis.Cause{
			Why:    fmt.Sprintf("Service %+q is of type ExternalName, and has no Pods", name),
			Change: fmt.Sprintf("spec.type of Service %+q: ClusterIP, with clusterIP: None", name),
		})
	case !matches(s.Spec.Selector, j.pod.Labels):
		j.selectorOf(s)
	case !s.Spec.PublishNotReadyAddresses && !isReady(j.pod):
		j.hidden(s)
	case !j.families(s):
		if !j.sliced {
			j.guesses(diagnosis.NoHostname, diagnosis.HostnameShared, diagnosis.SecondService)
			return
		}
		j.slice(s)
		j.second()
	}
}

// selectorOf says which labels differ.
func (j *judge) selectorOf(s corev1.Service) {
	var (
		differ []string
		toPod  = object{} // the Pod's labels as the Service wants them
		toSvc  = object{} // and the other way round
		fixed  bool       // the owner's selector fixes one of them
		left   = len(s.Spec.Selector)
	)
	for _, key := range slices.Sorted(maps.Keys(s.Spec.Selector)) {
		want := s.Spec.Selector[key]
		got, has := j.pod.Labels[key]
		switch {
		case !has:
			differ = append(differ, fmt.Sprintf("%s, which the Pod has not", key+"="+want))
			toSvc[key] = nil
			left--
		case got != want:
			differ = append(differ, fmt.Sprintf("%s, and the Pod has %s", key+"="+want, key+"="+got))
			toSvc[key] = got
		default:
			continue
		}
		toPod[key] = want
		if _, in := j.owner.selector[key]; in {
			fixed = true
		}
	}
	c := diagnosis.Cause{
		Why:    fmt.Sprintf("Service %+q selects %s", s.Name, strings.Join(differ, "; ")),
		Change: fmt.Sprintf("spec.selector of Service %+q, or the Pod's labels", s.Name),
	}
	if len(s.Spec.Selector) == 0 {
		c.Why = fmt.Sprintf("Service %+q has no selector, and selects no Pod", s.Name)
		c.Change = fmt.Sprintf("spec.selector of Service %+q", s.Name)
	}
	if left == 0 {
		for key, value := range j.selector() {
			toSvc[key] = value
		}
	}
	others := slices.ContainsFunc(j.endpoints(s.Name), func(e endpoint) bool { return !j.own(e) })
	switch {
	case !others:
		if len(toSvc) > 0 {
			c.Command = j.patch("service", s.Name, object{"spec": object{"selector": toSvc}})
		}
	case j.owner.kind == "":
		c.Change = fmt.Sprintf("the Pod's labels: Service %+q has other Pods", s.Name)
		c.Command = fmt.Sprintf("%s label pod/%s --overwrite %s", j.in(j.Namespace), Quote(j.Pod), Quote(labelled(texts(toPod))))
	case !fixed:
		c.Change = fmt.Sprintf("spec.template.metadata.labels of %s %+q: Service %+q has other Pods", j.owner.kind, j.owner.name, s.Name)
		c.Command = j.patchTemplate(object{"metadata": object{"labels": toPod}})
	}
	j.found(diagnosis.SelectorMismatch, c)
}

// hidden is for a Service that publishes ready Pods only, and a Pod that is
// not.
func (j *judge) hidden(s corev1.Service) {
	c := diagnosis.Cause{
		Why:     fmt.Sprintf("Service %+q publishes ready Pods only, and the Pod cannot be Ready before podfqdn has its name", s.Name),
		Change:  fmt.Sprintf("spec.publishNotReadyAddresses: true in Service %+q", s.Name),
		Command: j.patch("service", s.Name, notReady),
	}
	kind := diagnosis.NotReadyHidden
	if probed := j.unready(); len(probed) > 0 {
		kind = diagnosis.ReadinessDeadlock
		own := j.podfqdn.sidecar && slices.Contains(probed, quoted(j.Container))
		c.Guess = !own
		c.Why = fmt.Sprintf("Service %+q publishes ready Pods only, and the readiness probe of container %s fails: if it needs the Pod's name in DNS, each waits for the other", s.Name, strings.Join(probed, " and "))
		if own {
			c.Why = fmt.Sprintf("Service %+q publishes ready Pods only, and podfqdn's probe waits for what DNS publishes: each waits for the other", s.Name)
		}
	}
	j.found(kind, c)
}

// unready gives the containers that run and whose probes keep the Pod from
// being Ready.
func (j *judge) unready() (names []string) {
	for _, c := range slices.Concat(j.pod.Spec.InitContainers, j.pod.Spec.Containers) {
		status := statusOf(slices.Concat(j.pod.Status.InitContainerStatuses, j.pod.Status.ContainerStatuses), c.Name)
		if (c.ReadinessProbe != nil || c.StartupProbe != nil) && status.State.Running != nil && !status.Ready {
			names = append(names, quoted(c.Name))
		}
	}
	return names
}

// families compares those that the policy wants with the Service's.
func (j *judge) families(s corev1.Service) (wrong bool) {
	var mine, want, lacking []corev1.IPFamily
	for _, addr := range j.addrs() {
		mine = append(mine, family(addr))
	}
	switch told, _ := j.variable("PODFQDN_FAMILIES"); told {
	case "all":
		want = mine
	case "ipv4":
		want = []corev1.IPFamily{corev1.IPv4Protocol}
	case "ipv6":
		want = []corev1.IPFamily{corev1.IPv6Protocol}
	default: // one will do
		if len(mine) == 0 || slices.ContainsFunc(mine, func(f corev1.IPFamily) bool { return slices.Contains(s.Spec.IPFamilies, f) }) {
			return false
		}
		want = mine
	}
	for _, f := range want {
		if !slices.Contains(s.Spec.IPFamilies, f) && slices.Contains(mine, f) {
			lacking = append(lacking, f)
		}
	}
	if len(lacking) == 0 {
		return false
	}
	j.found(diagnosis.SingleFamily, diagnosis.Cause{
		Why:     fmt.Sprintf("Service %+q has addresses of %s only, so DNS publishes no %s address of the Pod, which has %s", s.Name, joined(s.Spec.IPFamilies), joined(lacking), identity.Enumerate(j.addrs())),
		Change:  fmt.Sprintf("spec.ipFamilyPolicy: PreferDualStack in Service %+q, or the variable PODFQDN_FAMILIES=auto", s.Name),
		Command: j.patch("service", s.Name, dualStack),
	})
	return true
}

func family(addr netip.Addr) corev1.IPFamily {
	if addr.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// slice judges the endpoints: whether the Pod is one, under its hostname, and
// who else is.
func (j *judge) slice(s corev1.Service) {
	passes := "nothing: it passes when the endpointslice controller has caught up; if it does not, see the log of kube-controller-manager"
	mine := slices.DeleteFunc(j.endpoints(s.Name), func(e endpoint) bool { return !j.own(e) })
	published := slices.IndexFunc(mine, func(e endpoint) bool {
		return e.ready() && (e.hostname() == j.claim.hostname || j.claim.hostname == "")
	})
	switch spec := j.pod.Spec; {
	case j.pod.Status.Phase == corev1.PodFailed:
		// No endpoint, whatever the Service: rest says what it was.
	case len(j.addrs()) == 0:
		j.found(diagnosis.NotInSlice, diagnosis.Cause{Why: "the API does not know an address of the Pod yet", Change: "nothing: it passes when the kubelet has reported the Pod's status"})
	case len(mine) == 0:
		j.found(diagnosis.NotInSlice, diagnosis.Cause{Why: fmt.Sprintf("Service %+q selects the Pod, but none of its EndpointSlices has %s yet", s.Name, identity.Enumerate(j.addrs())), Change: passes})
	case j.claim.dashed && len(mine) > 0 && mine[0].hostname() != "":
		j.found(diagnosis.Misconfigured, diagnosis.Cause{
			Why:     fmt.Sprintf("PODFQDN_NAME_FORM=address, and DNS publishes the Pod by its spec.hostname, %+q", mine[0].hostname()),
			Change:  "the variable PODFQDN_NAME_FORM: leave it out",
			Command: j.patchOwner(j.withVariables(object{}, object{"name": "PODFQDN_NAME_FORM", "$patch": "delete"})),
		})
	case published < 0 && j.claim.hostname != "" && spec.Hostname != "" && spec.Hostname != j.claim.hostname:
		told, value := j.naming("PODFQDN_HOSTNAME")
		j.found(diagnosis.Misconfigured, diagnosis.Cause{
			Why:     fmt.Sprintf("%s=%+q, and the Pod's spec.hostname is %+q: DNS knows the latter", told, value, spec.Hostname),
			Change:  fmt.Sprintf("the variable %s: leave it out", told),
			Command: j.patchOwner(j.withVariables(object{}, object{"name": told, "$patch": "delete"})),
		})
	case published < 0 && spec.Hostname != "" && spec.Subdomain != "":
		j.found(diagnosis.NotInSlice, diagnosis.Cause{Why: fmt.Sprintf("EndpointSlice %+q has the Pod with hostname %s, %s, and not yet as it is now", mine[0].slice, shown(mine[0].hostname()), map[bool]string{true: "ready", false: "not ready"}[mine[0].ready()]), Change: passes})
	case published >= 0 && (j.wire.Verdict == identity.Missing || j.wire.Verdict == identity.Unnamed):
		j.lagging(mine[published])
	}
	if forward, _ := j.variable("PODFQDN_FORWARD"); forward != "contains" {
		j.shared()
	}
}

// patienceDNS is how many seconds CoreDNS may be behind the API before it is
// stuck rather than slow, or a cache's: its longest usual denial.
const patienceDNS = 30

// lagging is for a name that the API has and DNS has not.
func (j *judge) lagging(e endpoint) {
	c := diagnosis.Cause{
		Why:    fmt.Sprintf("EndpointSlice %+q publishes the Pod, and cluster DNS does not know it yet", e.slice),
		Change: "nothing: it passes when CoreDNS has caught up with the API server",
	}
	for _, s := range j.slices {
		if s.Name != e.slice {
			continue
		}
		changed := s.CreationTimestamp
		for _, m := range s.ManagedFields {
			if m.Time != nil && m.Time.After(changed.Time) {
				changed = *m.Time
			}
		}
		behind := since(changed)
		c.Why = fmt.Sprintf("EndpointSlice %+q has published the Pod for %s, and cluster DNS does not know it yet", e.slice, behind)
		if behind.Seconds() >= patienceDNS && j.dns.name != "" {
			c.Change = fmt.Sprintf("start the Pods of Deployment %+q anew: they are cut off from the API server, see their log", j.dns.name)
			c.Command = j.restartDNS()
		}
	}
	j.found(diagnosis.NotInDNS, c)
}

// shared tells the other Pods that have the name apart: by what made them, and
// by whether they are going.
func (j *judge) shared() {
	with := map[diagnosis.Kind][]string{}
	for _, e := range j.sharers() {
		name := strings.Join(e.Addresses, " ")
		kind := diagnosis.HostnameShared
		if peer, seen := j.peers[e.pod()]; seen {
			name, kind = e.pod(), j.apart(peer)
		}
		if !slices.Contains(with[kind], name) {
			with[kind] = append(with[kind], name)
		}
	}
	host := fmt.Sprintf("hostname %+q in Service %+q", j.claim.hostname, j.claim.service)
	pods := func(kind diagnosis.Kind) string {
		var quotedNames []string
		for _, n := range with[kind] {
			quotedNames = append(quotedNames, quoted(n))
		}
		return "Pod " + strings.Join(quotedNames, ", ")
	}
	for _, kind := range []diagnosis.Kind{diagnosis.DebugCopy, diagnosis.RollingUpdate, diagnosis.HostnameShared, diagnosis.Terminating} {
		if len(with[kind]) == 0 {
			continue
		}
		var c diagnosis.Cause
		switch kind {
		case diagnosis.DebugCopy:
			copies := with[kind]
			c.Why = fmt.Sprintf("%s is a copy of this Pod, as kubectl debug --copy-to makes with --keep-labels, and has its %s", pods(kind), host)
			if j.owner.kind == "" {
				copies = []string{j.Pod}
				c.Why = fmt.Sprintf("this Pod is a copy of %s, as kubectl debug --copy-to makes with --keep-labels, and has its %s", strings.TrimPrefix(pods(kind), "Pod "), host)
			}
			c.Change = "delete the copy; one without --keep-labels takes no name"
			c.Command = fmt.Sprintf("%s delete %s", j.in(j.Namespace), podWords(copies))
		case diagnosis.RollingUpdate:
			c.Why = fmt.Sprintf("%s of the same Deployment has %s too: a rolling update starts the new Pod before the old one goes, and %s", pods(kind), host, j.rolls())
			c.Change = fmt.Sprintf("spec.strategy: {type: Recreate} in Deployment %+q", j.owner.name)
			c.Command = j.patch("deployment", j.owner.name, object{"spec": object{"strategy": recreate}})
		case diagnosis.Terminating:
			c.Why = fmt.Sprintf("%s is going, and has %s until it is gone", pods(kind), host)
			c.Change = "nothing: it passes with the end of its terminationGracePeriodSeconds"
			c.Command = fmt.Sprintf("%s wait --for=delete %s --timeout=10m", j.in(j.Namespace), podWords(with[kind]))
		default:
			c.Why = fmt.Sprintf("%s has %s too", pods(kind), host)
			c.Change = fmt.Sprintf("%s: one of its own for each Pod, or the variable PODFQDN_FORWARD=contains if they may share it", j.field("hostname"))
			if j.owner.deployment != nil && j.owner.replicas > 1 {
				c.Why += fmt.Sprintf(": Deployment %+q gives one hostname to %d replicas", j.owner.name, j.owner.replicas)
				c.Change = "the variable PODFQDN_FORWARD=contains, if they may share the name; PODFQDN_NAME_FORM=address without spec.hostname, if each needs one"
				c.Command = j.patchOwner(j.withVariables(object{}, literal("PODFQDN_FORWARD", "contains")))
			}
		}
		j.found(kind, c)
	}
}

// apart tells what kind of other Pod has the name. nil is one that is gone.
func (j *judge) apart(peer *corev1.Pod) diagnosis.Kind {
	if peer == nil || peer.DeletionTimestamp != nil {
		return diagnosis.Terminating
	}
	mine, its := metav1.GetControllerOf(j.pod), metav1.GetControllerOf(peer)
	switch {
	case (mine == nil) != (its == nil):
		copied, of := peer, j.pod
		if mine == nil {
			copied, of = of, copied
		}
		if copyOf(copied, of) {
			return diagnosis.DebugCopy
		}
	case mine != nil && mine.UID != its.UID && j.owner.deployment != nil && its.Kind == "ReplicaSet" &&
		peer.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != "" && matches(j.owner.selector, peer.Labels):
		return diagnosis.RollingUpdate
	}
	return diagnosis.HostnameShared
}

// copyOf tells what kubectl debug --copy-to makes: all containers, and perhaps
// one more. Which Pod is the older says nothing: the original may have been
// made anew since.
func copyOf(copied, of *corev1.Pod) bool {
	for _, c := range of.Spec.Containers {
		if !slices.ContainsFunc(copied.Spec.Containers, func(other corev1.Container) bool { return other.Name == c.Name }) {
			return false
		}
	}
	return true
}

// rolls says whether a rolling update gets on by itself.
func (j *judge) rolls() string {
	if rolling := j.owner.deployment.Spec.Strategy.RollingUpdate; rolling != nil {
		if n, err := intstr.GetScaledValueFromIntOrPercent(rolling.MaxUnavailable, int(j.owner.replicas), false); err == nil && n > 0 {
			return fmt.Sprintf("passes, as %d may be unavailable", n)
		}
	}
	return "the old one goes only when the new one is Ready: each waits for the other"
}

// second is for another Service's PTR, where only one name may be there.
func (j *judge) second() {
	if reverse, _ := j.variable("PODFQDN_REVERSE"); reverse != "only" {
		return
	}
	for _, name := range j.selecting() {
		if name == j.claim.service {
			continue
		}
		s := j.services[name]
		now := slices.ContainsFunc(j.endpoints(name), func(e endpoint) bool { return j.own(e) && e.ready() })
		if !now {
			continue
		}
		when := "from the start, as it has publishNotReadyAddresses: true"
		if !s.Spec.PublishNotReadyAddresses {
			when = "since the Pod is Ready"
		}
		j.found(diagnosis.SecondService, diagnosis.Cause{
			Why:     fmt.Sprintf("Service %+q selects the Pod too, and gives its address a second name, %s, %s", name, j.secondName(s), when),
			Change:  fmt.Sprintf("spec.selector of Service %+q, if it need not select the Pod; or the variable PODFQDN_REVERSE=contains, which accepts the name", name),
			Command: j.patchOwner(j.withVariables(object{}, literal("PODFQDN_REVERSE", "contains"))),
		})
	}
}

// secondName is the name that a Service other than the governing one makes.
func (v *View) secondName(s corev1.Service) string {
	addr := "ADDRESS"
	for _, a := range v.addrs() {
		if slices.Contains(s.Spec.IPFamilies, family(a)) {
			addr = strings.NewReplacer(".", "-", ":", "-").Replace(a.String())
			break
		}
	}
	return fmt.Sprintf("%s.%s.%s.svc", addr, s.Name, s.Namespace)
}

// reverse judges what the Corefile says of PTR.
func (j *judge) reverse() {
	if rule, _ := j.variable("PODFQDN_REVERSE"); rule == "ignore" {
		return
	}
	if j.dns.text == "" || j.dns.corefile.imports {
		j.guesses(diagnosis.NoReverseZone)
	} else if len(j.dns.corefile.domains) > 0 {
		var lacking []string
		s, _ := j.governing()
		for _, addr := range j.addrs() {
			if (len(s.Spec.IPFamilies) == 0 || slices.Contains(s.Spec.IPFamilies, family(addr))) && !j.dns.corefile.serves(addr) {
				lacking = append(lacking, addr.String())
			}
		}
		if len(lacking) > 0 {
			j.found(diagnosis.NoReverseZone, diagnosis.Cause{
				Why:     fmt.Sprintf("the Corefile's kubernetes plugin serves %s, and so no PTR of %s", strings.Join(slices.Concat(j.dns.corefile.domains, j.dns.corefile.reverse), " "), strings.Join(lacking, " and ")),
				Change:  fmt.Sprintf("the zones of the kubernetes plugin in ConfigMap %+q: in-addr.arpa and ip6.arpa too; or the variable PODFQDN_REVERSE=ignore, which proves less", j.dns.configMap),
				Command: j.addZones("", " in-addr.arpa ip6.arpa"),
			})
			return
		}
	}
	if c, ok := j.said(diagnosis.DNSRefusesPTR); ok {
		if len(j.dns.corefile.refuses) > 0 {
			c.Why += fmt.Sprintf("; the Corefile in ConfigMap %+q has the plugin %s", j.dns.configMap, strings.Join(slices.Compact(j.dns.corefile.refuses), " and "))
		}
		c.Command = j.patchOwner(j.withVariables(object{}, literal("PODFQDN_REVERSE", "ignore")))
		j.causes = append(j.causes, c)
	}
}

// rest is what the wire alone tells, and what is left when nothing is found.
func (j *judge) rest() {
	j.guesses(diagnosis.CachedDenial, diagnosis.StaleRecord, diagnosis.DNSFails, diagnosis.ReplicasDisagree, diagnosis.Misconfigured, diagnosis.KeysMissing)
	if !slices.ContainsFunc(j.causes, func(c diagnosis.Cause) bool {
		return c.Kind == diagnosis.ForeignDNS || c.Kind == diagnosis.ClusterDomain
	}) {
		j.guesses(diagnosis.ForeignDNS)
	}
	if len(j.causes) > 0 {
		return
	}
	again := ""
	if j.owner.kind != "" {
		again = j.replace()
	}
	switch {
	case len(j.wire.Causes) > 0 && j.wire.Causes[0].Kind != diagnosis.Unexplained:
		j.guesses(j.wire.Causes[0].Kind)
	case j.wire.Reason != "":
		j.found(diagnosis.Unexplained, diagnosis.Cause{Why: j.wire.Reason, Change: "what the questions above show", Guess: true})
	case j.State == Refused:
		j.found(diagnosis.Misconfigured, diagnosis.Cause{Why: j.Reason, Change: "what podfqdn names"})
	case j.State == GaveUp || j.State == Failed:
		j.found(diagnosis.Unexplained, diagnosis.Cause{Why: "podfqdn said at its end: " + j.Reason, Change: "the API shows nothing that is wrong now: start the Pod again", Command: again, Guess: true})
	case j.State == Waiting:
		j.found(diagnosis.Unexplained, diagnosis.Cause{Why: "podfqdn waits, and the API shows nothing that is wrong", Change: "only the view from the wire can tell", Guess: true})
	case j.State == Unused && (j.services == nil || !j.sliced):
		j.found(diagnosis.Unexplained, diagnosis.Cause{Why: "what gives the Pod its name was not seen, and no podfqdn has asked DNS", Change: "what keeps you from the Services and EndpointSlices of the namespace", Guess: true})
	case j.State == Pending:
		j.found(diagnosis.Unexplained, diagnosis.Cause{Why: "podfqdn has not started yet", Change: "nothing, if the Pod is new; else see kubectl describe pod", Guess: true})
	}
}
