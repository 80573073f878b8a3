package kube

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// compare compares what podfqdn's container was told with what the Pod is,
// before anything is blamed on DNS. What follows judges the name that the Pod
// has without the wrong variables.
func (j *judge) compare() {
	real := j.claim
	wrong := func(kind diagnosis.Kind, why, change string, mend fix) {
		j.found(kind, why, change, mend)
		j.mistold = true
	}
	leaveOut := func(name string) string {
		return fmt.Sprintf("the variable %s of container %+q: leave it out", name, j.Container)
	}
	spec := j.pod.Spec
	if told, value, namespace := j.namespaceTold(); namespace != "" && !strings.EqualFold(namespace, j.Namespace) {
		why := fmt.Sprintf("%s, and the Pod's metadata.namespace is %+q", j.source(told, value), j.Namespace)
		if told == "PODFQDN_FQDN" {
			why = fmt.Sprintf("%s is a name of namespace %+q, and the Pod's metadata.namespace is %+q", j.source(told, value), namespace, j.Namespace)
			wrong(diagnosis.Misconfigured, why, leaveOut(told), j.setVariables(without(told)))
		} else {
			wrong(diagnosis.Misconfigured, why, fmt.Sprintf("the variable %s of container %+q: from metadata.namespace", told, j.Container), j.setVariables(redirected(told, "metadata.namespace")))
		}
		real.foreign = false
	}
	if !j.publishedAs(real) {
		service, hostname := real.service, real.hostname
		if real.foreign {
			service, hostname = "", ""
		}
		if service != "" && spec.Subdomain != "" && !strings.EqualFold(service, spec.Subdomain) {
			told, _ := j.naming("PODFQDN_SERVICE")
			wrong(diagnosis.SubdomainMismatch,
				fmt.Sprintf("the Pod's spec.subdomain is %+q, and podfqdn claims a name of Service %+q", spec.Subdomain, service),
				fmt.Sprintf("%s, or %s", leaveOut(told), j.subdomainField(service)),
				j.setVariables(without(told)))
		}
		if hostname != "" && spec.Hostname != "" && !strings.EqualFold(hostname, spec.Hostname) {
			told, value := j.naming("PODFQDN_HOSTNAME")
			why := fmt.Sprintf("%s=%+q, and the Pod's spec.hostname is %+q: DNS knows the latter", told, value, spec.Hostname)
			if pod := j.holder(service, hostname); pod != "" {
				why += fmt.Sprintf("; the former is the name of Pod %+q", pod)
			}
			wrong(diagnosis.Misconfigured, why, leaveOut(told), j.setVariables(without(told)))
		}
	}
	for _, name := range []string{"POD_IPS", "POD_IP"} {
		value, _, known := j.told(name)
		others := slices.DeleteFunc(addrsIn(value), func(a netip.Addr) bool { return slices.Contains(j.addrs(), a) })
		if !known || len(j.addrs()) == 0 || len(others) == 0 {
			continue
		}
		field := either(name == "POD_IP", "status.podIP", "status.podIPs")
		wrong(diagnosis.Misconfigured,
			fmt.Sprintf("%s, and the Pod's status.podIPs are %s", j.source(name, value), identity.Enumerate(j.addrs())),
			fmt.Sprintf("the variable %s of container %+q: from %s", name, j.Container, field), j.setVariables(redirected(name, field)))
		break
	}
	if j.mistold && (spec.Hostname != "" || spec.Subdomain != "") {
		corrected := *j.View
		corrected.claim = claim{hostname: spec.Hostname, service: spec.Subdomain, dashed: real.dashed}
		if real.dashed {
			corrected.claim.hostname = ""
			corrected.claim.service = real.service
		}
		j.View = &corrected
	}
}

// namespaceTold returns the variable that decides the namespace of the name, its
// value, and the namespace; "" where none does, or nobody knows.
func (v *View) namespaceTold() (name, value, namespace string) {
	name, value = v.naming("POD_NAMESPACE")
	if name != "PODFQDN_FQDN" {
		return name, value, value
	}
	if labels := strings.SplitN(strings.TrimSuffix(value, "."), ".", 5); len(labels) == 5 && strings.EqualFold(labels[3], "svc") {
		namespace = labels[2]
	}
	return name, value, namespace
}

// source returns a variable with its value and where the value is from.
func (v *View) source(name, value string) string {
	if _, path, _ := v.told(name); path != "" {
		return fmt.Sprintf("%s=%+q, from %s,", name, value, path)
	}
	return fmt.Sprintf("%s=%+q", name, value)
}

// publishedAs reports whether the slices have the Pod under a claimed name, as
// slices made by hand may.
func (v *View) publishedAs(c claim) bool {
	return c.service != "" && c.hostname != "" && slices.ContainsFunc(v.endpoints(c.service), func(e endpoint) bool {
		return v.own(e) && e.ready() && e.hostname() == c.hostname
	})
}

// holder returns another Pod that has a hostname in a Service; "" if none does.
func (v *View) holder(service, hostname string) string {
	for _, e := range v.endpoints(service) {
		if e.hostname() == hostname && !v.own(e) && e.pod() != "" {
			return e.pod()
		}
	}
	return ""
}

// ofName reports whether a cause is drawn from what DNS says of the name that
// podfqdn claims.
func ofName(kind diagnosis.Kind) bool {
	return slices.Contains([]diagnosis.Kind{
		diagnosis.NoService, diagnosis.SelectorMismatch, diagnosis.NotReadyHidden, diagnosis.ReadinessDeadlock, diagnosis.SubdomainMismatch,
		diagnosis.NoSubdomain, diagnosis.NoHostname, diagnosis.HostnameShared, diagnosis.RollingUpdate, diagnosis.Terminating,
		diagnosis.DebugCopy, diagnosis.SecondService, diagnosis.ClusterDomain, diagnosis.CachedDenial, diagnosis.StaleRecord,
		diagnosis.NotInSlice, diagnosis.NotInDNS, diagnosis.ReplicasDisagree, diagnosis.SingleFamily,
	}, kind)
}

// living turns a cause from the wire, that a record is of an earlier Pod, into
// what the slices show: the address is that of a Pod that lives.
func (j *judge) living(c *cause) bool {
	for _, q := range j.wire.Questions {
		if q.Verdict != identity.Stale {
			continue
		}
		for _, addr := range addrsIn(q.Answer) {
			i := slices.IndexFunc(j.endpoints(""), func(e endpoint) bool {
				return e.pod() != "" && !j.own(e) && e.ready() && slices.Contains(e.Addresses, addr.String())
			})
			if i < 0 {
				continue
			}
			pod := j.endpoints("")[i].pod()
			c.Kind, c.Guess = diagnosis.HostnameShared, false
			c.Why = fmt.Sprintf("the name that podfqdn claims has the address %s of Pod %+q, which lives: it is not an earlier Pod's, and does not pass", addr, pod)
			c.Change = j.field("hostname") + ": one of its own for each Pod"
			if fqdn := j.value("PODFQDN_FQDN"); fqdn != "" {
				c.Kind = diagnosis.Misconfigured
				c.Change = fmt.Sprintf("the variable PODFQDN_FQDN=%+q of container %+q: this Pod's own name, or leave it out", fqdn, j.Container)
			}
			return true
		}
	}
	return false
}

// slipped adds variables that look like slips. Nothing shows that they matter.
func (j *judge) slipped() {
	for _, s := range j.slips() {
		j.found(diagnosis.Misconfigured, fmt.Sprintf("container %+q has the variable %s, which podfqdn does not read", j.Container, s.name),
			fmt.Sprintf("the name of the variable: %s, if that is meant", s.meant), nil).Guess = true
	}
}
