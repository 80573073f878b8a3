package kube

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// nameservers judges the nameservers in the Pod's spec, unless the wire has shown
// that they know the cluster.
func (j *judge) nameservers() {
	foreign := slices.ContainsFunc(j.wire.Causes, func(c diagnosis.Cause) bool { return c.Kind == diagnosis.ForeignDNS })
	asked := j.wire.Verdict != "" && j.wire.Verdict != identity.Unanswered
	if asked && !foreign {
		return
	}
	if j.knows("PODFQDN_NAMESERVERS") {
		value, _, known := j.told("PODFQDN_NAMESERVERS")
		servers := addrsIn(value)
		if !known || len(servers) == 0 || len(j.dns.addrs) == 0 || slices.ContainsFunc(servers, j.mayBeCluster) {
			return
		}
		change, _ := j.leaveOut("PODFQDN_NAMESERVERS")
		j.found(diagnosis.ForeignDNS, fmt.Sprintf("%s: none of these is cluster DNS, %s", j.source("PODFQDN_NAMESERVERS", value), identity.Enumerate(j.dns.addrs)), change, nil).Guess = !foreign
		return
	}
	why := j.foreignDNS()
	if why == "" {
		return
	}
	policy := either(j.pod.Spec.HostNetwork, corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst)
	change := object{"dnsPolicy": policy}
	if j.pod.Spec.DNSPolicy == corev1.DNSNone {
		change["dnsConfig"] = nil
	}
	j.found(diagnosis.ForeignDNS, why, fmt.Sprintf("%s: %s, or the variable PODFQDN_NAMESERVERS", j.field("dnsPolicy"), policy), j.patchOwner(change))
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
			if addr, err := netip.ParseAddr(s); err != nil || j.mayBeCluster(addr) {
				return ""
			}
		}
		return fmt.Sprintf("dnsPolicy: None, and none of dnsConfig.nameservers, %s, is cluster DNS, %s", strings.Join(spec.DNSConfig.Nameservers, " "), identity.Enumerate(j.dns.addrs))
	}
	return ""
}

// mayBeCluster reports whether an address is cluster DNS's, or may be a cache on the
// node, which is link-local, or a proxy in the Pod.
func (j *judge) mayBeCluster(addr netip.Addr) bool {
	return slices.Contains(j.dns.addrs, addr) || addr.IsLinkLocalUnicast() || addr.IsLoopback()
}

// down adds that cluster DNS has no ready Pod, if the wire was not asked. A cache may
// still answer.
func (j *judge) down() {
	if j.dns.name == "" || j.dns.ready > 0 {
		return
	}
	c := cause{Cause: diagnosis.Cause{Kind: diagnosis.DNSSilent, Why: "no server answers for the name, whatever podfqdn has proven before"}}
	j.silence(&c)
	j.found(c.Kind, c.Why, c.Change, nil).Guess = true
}

// silence adds to the cause that cluster DNS does not answer why it may not.
func (j *judge) silence(c *cause) {
	policies, allowed := j.egress()
	switch {
	case j.dns.name != "" && j.dns.ready == 0:
		c.Guess = false
		c.Why += fmt.Sprintf("; %d of %d Pods of cluster DNS are ready", j.dns.ready, j.dns.want)
		c.Change = fmt.Sprintf("find out what keeps the Pods of Deployment %+q in namespace %+q from being ready", j.dns.name, system)
		if j.dns.want == 0 {
			c.Change = fmt.Sprintf("spec.replicas of Deployment %+q in namespace %+q", j.dns.name, system)
			c.mend = j.dnsDeployment(scale, "2")
		}
	case len(policies) > 0 && !allowed:
		c.Guess = false
		c.Why += fmt.Sprintf("; NetworkPolicy %s selects the Pod and does not allow it UDP to port 53", strings.Join(policies, " and "))
		c.Change = "spec.egress of a NetworkPolicy that selects the Pod: port 53, UDP and TCP"
		if own := j.selector(); len(own) > 0 {
			c.mend = fix{{verb: create, namespace: j.Namespace, change: object{
				"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": object{"name": "allow-dns"},
				"spec": object{"podSelector": object{"matchLabels": own}, "policyTypes": []string{"Egress"},
					"egress": []any{object{"ports": []any{object{"protocol": "UDP", "port": 53}, object{"protocol": "TCP", "port": 53}}}}},
			}}}
		}
	case j.policed && len(policies) == 0:
		c.Why += "; no NetworkPolicy of the namespace blocks it"
		if j.dns.name != "" {
			c.Why += fmt.Sprintf(", and %d of %d Pods of cluster DNS are ready", j.dns.ready, j.dns.want)
		}
		// One that was silent answered another question.
		if slices.ContainsFunc(j.wire.Questions, func(q diagnosis.Asked) bool { return q.Rcode != "" }) || j.dns.name != "" && j.dns.ready < j.dns.want {
			c.Why += "; a Pod of cluster DNS that hangs leaves its share of the questions unanswered"
			c.Change = fmt.Sprintf("check the Pods of cluster DNS in namespace %+q one by one: which of them answer; then check what is between", system)
			return
		}
		c.Change = "check what is between the Pod and cluster DNS: a policy of the network plugin's own, a packet filter on the node, kube-proxy"
	}
}

// egress returns the NetworkPolicies that bound what the Pod may send, and
// whether one of them lets questions through to any server.
func (j *judge) egress() (names []string, allowed bool) {
	for _, p := range j.policies {
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil || !selector.Matches(labels.Set(j.pod.Labels)) || !slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
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
	return p.Protocol != nil && *p.Protocol == corev1.ProtocolUDP &&
		(p.Port == nil || p.Port.Type == intstr.String || // by a name that is the other side's
			p.Port.IntVal == 53 || p.EndPort != nil && p.Port.IntVal <= 53 && *p.EndPort >= 53)
}

// domain compares the cluster domain that the Pod was given with CoreDNS's.
func (j *judge) domain() {
	name := j.wire.FQDN
	if name == "" { // what is written out is known without the wire
		name = j.value("PODFQDN_FQDN")
		if domain := j.value("PODFQDN_CLUSTER_DOMAIN"); name == "" && domain != "" {
			name = "a.b.c.svc." + strings.TrimSuffix(domain, ".")
		}
	}
	labels := strings.SplitN(strings.TrimSuffix(name, "."), ".", 5)
	domains := j.dns.corefile.domains
	if !j.zoned() || len(labels) < 5 || labels[3] != "svc" || len(domains) == 0 || slices.Contains(domains, strings.ToLower(labels[4])) {
		return
	}
	zones, domain := strings.Join(domains, " "), labels[4]
	if told, value := j.naming("PODFQDN_CLUSTER_DOMAIN"); value != "" {
		change, mend := j.leaveOut(told)
		j.found(diagnosis.ClusterDomain, fmt.Sprintf("%s, but the Corefile serves %s", j.source(told, value), zones), change+", as podfqdn finds it by itself", mend)
		return
	}
	if _, err := identity.ParseName(domain); err != nil {
		return // a Pod may say what it likes
	}
	if c := j.pod.Spec.DNSConfig; c != nil && slices.Contains(c.Searches, j.Namespace+".svc."+domain) {
		j.found(diagnosis.ClusterDomain, fmt.Sprintf("the Pod's spec.dnsConfig.searches says that the cluster domain is %s, but the Corefile serves %s", domain, zones), j.field("dnsConfig.searches")+": the cluster's domain", nil)
		return
	}
	j.found(diagnosis.ClusterDomain,
		fmt.Sprintf("the kubelet of node %+q says that the cluster domain is %s, but the Corefile serves %s", j.pod.Spec.NodeName, domain, zones),
		fmt.Sprintf("the zones of the kubernetes plugin in ConfigMap %+q: put %s first, as PTR records are made in the first; or change clusterDomain in the kubelets' configuration", j.dns.configMap, domain),
		j.addZones(domain+" ", ""))
}

// zoned reports whether the Corefile was seen, and shows all zones.
func (v *View) zoned() bool { return v.dns.text != "" && !v.dns.corefile.imports }

// reverse judges whether the Corefile serves PTR of the Pod's addresses.
func (j *judge) reverse() {
	j.overridden()
	if j.value("PODFQDN_REVERSE") == "ignore" || !j.zoned() || len(j.dns.corefile.domains) == 0 {
		return
	}
	var lacking []string
	s, _ := j.governing()
	for _, addr := range j.addrs() {
		answered := slices.ContainsFunc(j.wire.Questions, func(q diagnosis.Asked) bool {
			return !q.Witness && q.Kind == identity.Reverse.String() && q.Subject == addr.String() && q.Verdict == identity.Agrees
		})
		if answered { // by another plugin, and correctly
			continue
		}
		if (len(s.Spec.IPFamilies) == 0 || slices.Contains(s.Spec.IPFamilies, family(addr))) && !j.dns.corefile.serves(addr) {
			lacking = append(lacking, addr.String())
		}
	}
	if len(lacking) > 0 {
		c := j.found(diagnosis.NoReverseZone,
			fmt.Sprintf("the Corefile's kubernetes plugin serves %s, so it has no PTR for %s", j.dns.corefile.zones(), strings.Join(lacking, " and ")),
			fmt.Sprintf("the zones of the kubernetes plugin in ConfigMap %+q: add in-addr.arpa and ip6.arpa; or the variable PODFQDN_REVERSE=ignore, which proves less", j.dns.configMap),
			j.addZones("", " in-addr.arpa ip6.arpa"))
		unanswered := func(q diagnosis.Asked) bool {
			return !q.Witness && q.Kind == identity.Reverse.String() && q.Verdict != identity.Agrees
		}
		if !slices.ContainsFunc(j.wire.Questions, unanswered) && !strings.HasPrefix(string(j.wire.Verdict), "reverse-") && !strings.Contains(j.Reason, "PTR") {
			c.Guess, c.mend = true, nil // something else may answer it
		}
		return
	}
	j.filtered()
}

// overridden judges a PTR from outside the cluster if the Corefile has the plugin
// hosts, which answers before kubernetes and has the names of nodes.
func (j *judge) overridden() {
	if j.wire.Verdict != identity.ReverseForeign || !j.dns.corefile.hosts || j.value("PODFQDN_REVERSE") == "ignore" {
		return
	}
	why, guess := fmt.Sprintf("the address has a name from outside the cluster, and the Corefile in ConfigMap %+q has the plugin hosts, which answers before kubernetes does", j.dns.configMap), true
	for _, addr := range j.addrs() {
		if slices.Contains(j.dns.corefile.listed, addr) {
			why, guess = fmt.Sprintf("the plugin hosts of the Corefile in ConfigMap %+q has a name for %s, and answers before kubernetes does", j.dns.configMap, addr), false
		}
	}
	var mend fix
	if !guess {
		mend = j.setVariables(literal("PODFQDN_REVERSE", "ignore"))
	}
	j.found(diagnosis.ReverseOverridden, why, "add no_reverse to that plugin; or the variable PODFQDN_REVERSE=ignore, which proves less", mend).Guess = guess
}

// filtered judges a PTR that is missing although the Corefile serves it: what
// denies it is not the Corefile's kubernetes plugin.
func (j *judge) filtered() {
	denied := slices.ContainsFunc(j.wire.Questions, func(q diagnosis.Asked) bool {
		return q.Witness && q.Kind == identity.Reverse.String() && q.Rcode != "" && (q.Rcode != "NOERROR" || q.Answer == "no data")
	})
	if j.wire.Verdict == identity.ReverseMissing && denied {
		j.found(diagnosis.DNSRefusesPTR, fmt.Sprintf("the Corefile serves %s, but even the API server's address has no PTR: something between the Pod and cluster DNS may deny PTR", j.dns.corefile.zones()),
			"the DNS policy of the network plugin: allow *.in-addr.arpa and *.ip6.arpa; or the variable PODFQDN_REVERSE=ignore, which proves less", nil).Guess = true
	}
}

// refusal adds to the cause that cluster DNS refuses PTR which plugin may do so.
func (j *judge) refusal(c *cause) {
	if refuses := j.dns.corefile.refuses; len(refuses) > 0 {
		c.Why += fmt.Sprintf("; the Corefile in ConfigMap %+q has the plugin %s", j.dns.configMap, strings.Join(slices.Compact(slices.Clone(refuses)), " and "))
	}
	c.mend = j.setVariables(literal("PODFQDN_REVERSE", "ignore"))
	if strings.HasSuffix(c.Change, "PODFQDN_REVERSE=ignore") {
		c.Change += ", which proves less"
	}
}

// release adds to the cause that CoreDNS 1.11.4 or 1.12.0 runs which image does run.
// A tag with a suffix may be a release with the fix.
func (j *judge) release(c *cause) {
	if j.dns.deployment == nil {
		return
	}
	for _, container := range j.dns.deployment.Spec.Template.Spec.Containers {
		image, _, _ := strings.Cut(container.Image, "@")
		tag := strings.TrimPrefix(image[strings.LastIndex(image, ":")+1:], "v")
		if strings.Contains(image, "coredns") {
			c.Why += fmt.Sprintf("; the image of Deployment %+q is %+q", j.dns.name, container.Image)
			c.Guess = tag != "1.11.4" && tag != "1.12.0"
		}
	}
}
