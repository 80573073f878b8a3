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
	real, spec := j.claims(), j.pod.Spec
	wrong := func(kind diagnosis.Kind, why, change string, mend fix) {
		j.found(kind, why, change, mend)
		j.mistold = true
	}
	if told, value, namespace := j.namespaceTold(); namespace != "" && !strings.EqualFold(namespace, j.Namespace) {
		change, mend := j.redirect(told, "metadata.namespace")
		of := ""
		if told == "PODFQDN_FQDN" {
			change, mend = j.leaveOut(told)
			of = " is a name of namespace " + quoted(namespace)
		}
		wrong(diagnosis.Misconfigured, fmt.Sprintf("%s%s, but the Pod's metadata.namespace is %+q", j.source(told, value), of, j.Namespace), change, mend)
		real.foreign = false
	}
	if !j.publishedAs(real) {
		service, hostname := real.service, real.hostname
		if real.foreign {
			service, hostname = "", ""
		}
		if service != "" && spec.Subdomain != "" && !strings.EqualFold(service, spec.Subdomain) {
			told, value := j.naming("PODFQDN_SERVICE")
			change, mend := j.leaveOut(told)
			if _, ok := j.services[service]; ok {
				change += ", or " + j.subdomainField(service)
			}
			wrong(diagnosis.SubdomainMismatch, fmt.Sprintf("the Pod's spec.subdomain is %+q, but podfqdn claims a name of Service %+q: %s", spec.Subdomain, service, j.source(told, value)), change, mend)
		}
		if hostname != "" && spec.Hostname != "" && !strings.EqualFold(hostname, spec.Hostname) {
			told, value := j.naming("PODFQDN_HOSTNAME")
			why := fmt.Sprintf("%s, but the Pod's spec.hostname is %+q: DNS has the latter", j.source(told, value), spec.Hostname)
			if pod := j.holder(service, hostname); pod != "" {
				why += fmt.Sprintf("; the former is the name of Pod %+q", pod)
			}
			change, mend := j.leaveOut(told)
			wrong(diagnosis.Misconfigured, why, change, mend)
		}
	}
	for _, name := range []string{"POD_IPS", "POD_IP"} {
		value, _, known := j.told(name)
		others := slices.DeleteFunc(addrsIn(value), func(a netip.Addr) bool { return slices.Contains(j.addrs(), a) })
		if !known || len(j.addrs()) == 0 || len(others) == 0 {
			continue
		}
		change, mend := j.redirect(name, either(name == "POD_IP", "status.podIP", "status.podIPs"))
		wrong(diagnosis.Misconfigured, fmt.Sprintf("%s, but the Pod's status.podIPs are %s", j.source(name, value), identity.Enumerate(j.addrs())), change, mend)
		break
	}
	own := fmt.Sprintf("%s.%s.%s.svc.", spec.Hostname, spec.Subdomain, j.Namespace)
	switch labels := strings.SplitN(j.wire.FQDN, ".", 5); {
	case j.mistold, spec.Hostname == "", spec.Subdomain == "", real.dashed:
	case real.foreign:
		j.notAPods(own)
	case len(labels) == 5 && labels[3] == "svc" && !strings.HasPrefix(j.wire.FQDN, own) && !j.publishedAs(claim{hostname: labels[0], service: labels[1]}):
		wrong(diagnosis.Misconfigured, fmt.Sprintf("podfqdn in the Pod claims %+q, but by its spec the Pod is %+q", j.wire.FQDN, own+labels[4]),
			fmt.Sprintf("find out what tells container %+q another name: its variables, or a file mounted over /etc/hosts", j.Container), nil)
	}
	if j.mistold && (spec.Hostname != "" || spec.Subdomain != "") {
		corrected := *j.View
		corrected.claim = claim{either(real.dashed, "", spec.Hostname), either(real.dashed, real.service, spec.Subdomain), real.dashed, false}
		j.View = &corrected
	}
}

// notAPods judges a whole name of the cluster that is not one of a Pod. own is
// what DNS makes of this Pod, without the cluster domain.
func (j *judge) notAPods(own string) {
	value := strings.ToLower(strings.TrimSuffix(j.value("PODFQDN_FQDN"), "."))
	short := strings.HasPrefix(own, value+".")
	inside := slices.ContainsFunc(j.dns.corefile.domains, func(domain string) bool { return domain != "" && strings.HasSuffix(value, "."+domain) })
	if value == "" || !short && !inside {
		return // another domain, whose DNS may well have the Pod
	}
	change, mend := j.leaveOut("PODFQDN_FQDN")
	c := j.found(diagnosis.Misconfigured, fmt.Sprintf("PODFQDN_FQDN=%+q is not the name of a Pod, which is HOSTNAME.SERVICE.NAMESPACE.svc.DOMAIN: this one's begins with %s", value, own), change, mend)
	if !short && (len(j.dns.corefile.answers) > 0 || !j.zoned()) {
		c.Guess, c.mend = true, nil
	}
	j.mistold = true
}

// leaveOut says to leave a variable out, and does it where the spec sets it.
func (j *judge) leaveOut(name string) (change string, mend fix) {
	if j.set(name, len(j.podfqdn.Env)) < 0 {
		return fmt.Sprintf("the variable %s of container %+q: leave it out where it is set, %s", name, j.Container, elsewhere), nil
	}
	return fmt.Sprintf("the variable %s of container %+q: leave it out", name, j.Container), j.setVariables(without(name))
}

// redirect says to take a variable from a field of the Pod, and does it.
func (j *judge) redirect(name, path string) (change string, mend fix) {
	from := object{"fieldRef": object{"fieldPath": path}, "configMapKeyRef": nil, "secretKeyRef": nil}
	return fmt.Sprintf("the variable %s of container %+q: from %s", name, j.Container, path), j.setVariables(object{"name": name, "value": nil, "valueFrom": from})
}

// namespaceTold returns the variable that decides the namespace of the name, its
// value, and the namespace; "" if none does, or if that is not known.
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
	_, path, _ := v.told(name)
	return fmt.Sprintf("%s=%+q", name, value) + either(path != "", ", from "+path, "") + either(strings.Contains(value, "$("), ", which refers to a variable that is not set before it", "")
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
	return slices.Contains([]subject{ofDomain, ofService, ofSlices}, subjectOf(kind)) ||
		slices.Contains([]diagnosis.Kind{diagnosis.NoSubdomain, diagnosis.CachedDenial, diagnosis.StaleRecord, diagnosis.ReplicasDisagree}, kind)
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
			c.Why = fmt.Sprintf("the name that podfqdn claims has the address %s of Pod %+q, which is alive: the record is not an earlier Pod's, and does not pass", addr, pod)
			c.Change = j.field("hostname") + ": a different one for each Pod"
			if fqdn := j.value("PODFQDN_FQDN"); fqdn != "" {
				c.Kind = diagnosis.Misconfigured
				c.Change = fmt.Sprintf("the variable PODFQDN_FQDN=%+q of container %+q: this Pod's own name, or leave it out", fqdn, j.Container)
			}
			return true
		}
	}
	return false
}

// slipped adds variables that look misspelled, and those that are wrong but do not
// decide the name. Nothing shows that they matter.
func (j *judge) slipped() {
	for _, c := range []struct{ name, field, is, only string }{
		{"POD_NAME", "metadata.name", j.Pod, "podfqdn uses it in its messages only"},
		{"POD_UID", "metadata.uid", string(j.pod.UID), "podfqdn uses it only to know which files in the volume are this Pod's"},
	} {
		if value, _, known := j.told(c.name); known && value != "" && value != c.is {
			change, _ := j.redirect(c.name, c.field)
			j.found(diagnosis.Misconfigured, fmt.Sprintf("%s, but the Pod's %s is %+q: %s", j.source(c.name, value), c.field, c.is, c.only), change, nil).Guess = true
		}
	}
	for _, s := range j.slips() {
		why, change := fmt.Sprintf("container %+q has the variable %s, which podfqdn does not read", s.container, s.name), fmt.Sprintf("the name of the variable: %s, if that is meant", s.meant)
		if s.container != j.Container {
			why = fmt.Sprintf("container %+q has the variable %s, which podfqdn reads in container %+q only", s.container, s.name, j.Container)
			change = fmt.Sprintf("move the variable to container %q, if it is meant for podfqdn", j.Container)
		}
		j.found(diagnosis.Misconfigured, why, change, nil).Guess = true
	}
}
