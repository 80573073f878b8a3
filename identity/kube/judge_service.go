package kube

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// service judges what makes the name: the governing Service, its selector,
// what it publishes, and the slices. It stops at the first that is wrong, as
// the rest follows from it.
func (j *judge) service() {
	if j.services == nil || j.claim.foreign {
		return
	}
	name := cmp.Or(j.claim.service, j.proposed())
	s, ok := j.services[name]
	headlessOnes := slices.DeleteFunc(j.selecting(), func(n string) bool { return !headless(j.services[n]) })
	switch {
	case !ok && len(headlessOnes) > 0:
		of := either(strings.EqualFold(name, j.pod.Spec.Subdomain), "the Pod's spec.subdomain", "what podfqdn is told")
		which, change, mend := j.another(headlessOnes)
		j.found(diagnosis.SubdomainMismatch, fmt.Sprintf("there is no Service %+q, which is %s; %s", name, of, which), change, mend)
	case !ok:
		j.found(diagnosis.NoService,
			fmt.Sprintf("there is no Service %+q in namespace %+q, and no headless Service selects the Pod", name, j.Namespace),
			fmt.Sprintf("create a headless Service %+q that selects the Pod and has publishNotReadyAddresses: true", name),
			j.createService(name))
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		j.found(diagnosis.NoService,
			fmt.Sprintf("Service %+q has type ExternalName, so it has no Pods", name),
			fmt.Sprintf("spec.type of Service %+q: ClusterIP, with clusterIP: None", name), nil)
	case !matches(s.Spec.Selector, j.pod.Labels):
		j.selectorOf(s)
	case !headless(s) && !s.Spec.PublishNotReadyAddresses && !isReady(j.pod):
		j.notHeadless(s, headlessOnes, false)
	case !s.Spec.PublishNotReadyAddresses && !isReady(j.pod):
		j.hidden(s)
	case !j.families(s) && j.sliced:
		if !headless(s) && (j.wire.Verdict == identity.Missing || j.wire.Verdict == identity.Unnamed) {
			j.notHeadless(s, headlessOnes, true)
		}
		j.slice(s)
		j.second()
	}
}

// notHeadless judges a governing Service that has a cluster address. To publish
// Pods that are not ready would send its clients to them, so that is never the
// change. If it publishes the Pod anyway, CoreDNS has a name for it, and other
// servers do not (kubernetes/kubernetes#68352).
func (j *judge) notHeadless(s corev1.Service, headlessOnes []string, guess bool) {
	why := fmt.Sprintf("the governing Service %+q has the cluster address %s and publishes ready Pods only, for its clients; the Pod cannot be Ready before podfqdn has its name", s.Name, s.Spec.ClusterIP)
	if guess {
		why = fmt.Sprintf("the governing Service %+q has the cluster address %s, and not every DNS server has names for the Pods of such a Service", s.Name, s.Spec.ClusterIP)
	}
	change := fmt.Sprintf("create another Service with clusterIP: None, the same selector and publishNotReadyAddresses: true, and name it in %s", j.subdomainField("NAME"))
	var mend fix
	if len(headlessOnes) > 0 {
		which := ""
		which, change, mend = j.another(headlessOnes)
		why += "; " + which
		if guess || j.knows("PODFQDN_SERVICE") {
			mend = nil
		}
	}
	j.found(diagnosis.NotHeadless, why, change, mend).Guess = guess
}

// another says which headless Services select the Pod, and names the first in its
// spec; of several it is not known which is meant.
func (j *judge) another(names []string) (which, change string, mend fix) {
	which, change = "the headless Service that selects the Pod is "+join(names, " or ", quoted), j.subdomainField(names[0])
	if len(names) == 1 {
		mend = j.setSubdomain(names[0])
	}
	return which, change, mend
}

// selectorOf says which labels differ, and which side to change: the Service,
// or the Pod where other Pods need the Service as it is.
func (j *judge) selectorOf(s corev1.Service) {
	selector, labels := s.Spec.Selector, j.pod.Labels
	keys := slices.Sorted(maps.Keys(selector))
	has := func(key string) bool { _, ok := labels[key]; return ok }
	fixed := func(key string) bool { _, ok := j.owner.selector[key]; return ok }
	differ := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return has(key) && labels[key] == selector[key] })
	why := fmt.Sprintf("Service %+q selects %s", s.Name, join(differ, "; ", func(key string) string {
		if has(key) {
			return fmt.Sprintf("%s=%s, but the Pod has %s=%s", key, selector[key], key, labels[key])
		}
		return fmt.Sprintf("%s=%s, which the Pod does not have", key, selector[key])
	}))
	change := fmt.Sprintf("spec.selector of Service %+q, or the Pod's labels", s.Name)
	if len(selector) == 0 {
		why = fmt.Sprintf("Service %+q has no selector, so it selects no Pod", s.Name)
		change = fmt.Sprintf("spec.selector of Service %+q", s.Name)
	}
	ofPod, ofService := object{}, object{} // what each side has to have for the other
	for _, key := range differ {
		ofPod[key], ofService[key] = selector[key], either[any](has(key), labels[key], nil)
	}
	if !slices.ContainsFunc(keys, has) { // it would select nothing
		for key, value := range j.selector() {
			ofService[key] = value
		}
	}
	var mend fix
	others := slices.ContainsFunc(j.endpoints(s.Name), func(e endpoint) bool { return !j.own(e) })
	switch {
	case !j.sliced, !others && len(ofService) == 0, others && len(selector) == 0:
		// Whether others need it was not seen, the Pod has no label to select it by, or
		// slices are written by hand.
	case !others:
		mend = j.patch("service", s.Name, object{"spec": object{"selector": ofService}})
	case j.owner.kind == "":
		change = fmt.Sprintf("the Pod's labels: Service %+q has other Pods", s.Name)
		mend = j.pods(relabel, j.Pod)
		for _, key := range differ {
			mend[0].words = append(mend[0].words, key+"="+selector[key])
		}
	case !slices.ContainsFunc(differ, fixed):
		change = fmt.Sprintf("spec.template.metadata.labels of %s %+q: Service %+q has other Pods", j.owner.kind, j.owner.name, s.Name)
		mend = j.patchTemplate(object{"metadata": object{"labels": ofPod}})
	}
	j.found(diagnosis.SelectorMismatch, why, change, mend)
}

// hidden judges a Service that publishes ready Pods only, for a Pod that is
// not.
func (j *judge) hidden(s corev1.Service) {
	kind, guess := diagnosis.NotReadyHidden, false
	why := fmt.Sprintf("Service %+q publishes ready Pods only, and the Pod cannot be Ready before podfqdn has its name", s.Name)
	if probed := j.unready(); len(probed) > 0 {
		kind, guess = diagnosis.ReadinessDeadlock, true
		why = fmt.Sprintf("Service %+q publishes ready Pods only, and the readiness probe of container %s fails: if it needs the Pod's name in DNS, each waits for the other", s.Name, strings.Join(probed, " and "))
		if j.podfqdn.sidecar && slices.Contains(probed, quoted(j.Container)) {
			guess = false
			why = fmt.Sprintf("Service %+q publishes ready Pods only, and podfqdn's probe waits for what DNS publishes: each waits for the other", s.Name)
		}
	}
	j.found(kind, why, fmt.Sprintf("spec.publishNotReadyAddresses: true in Service %+q", s.Name), j.patch("service", s.Name, notReady)).Guess = guess
}

// unready returns the containers that run and whose probes keep the Pod from
// being Ready.
func (j *judge) unready() (names []string) {
	for _, c := range parts(j.pod) {
		if c.probed() && c.status.State.Running != nil && !c.status.Ready {
			names = append(names, quoted(c.Name))
		}
	}
	return names
}

// families compares those that the policy wants with the Service's, and
// reports whether one is missing.
func (j *judge) families(s corev1.Service) (wrong bool) {
	only := map[string]corev1.IPFamily{"ipv4": corev1.IPv4Protocol, "ipv6": corev1.IPv6Protocol}
	policy, serving := j.value("PODFQDN_FAMILIES"), false
	var lacking []corev1.IPFamily
	for _, addr := range j.addrs() {
		switch f := family(addr); {
		case slices.Contains(s.Spec.IPFamilies, f):
			serving = true
		case only[policy] == "" || only[policy] == f:
			lacking = append(lacking, f)
		}
	}
	one := policy != "all" && only[policy] == "" // will do
	if len(lacking) == 0 || one && serving {
		return false
	}
	j.found(diagnosis.SingleFamily,
		fmt.Sprintf("Service %+q has addresses of %s only, so DNS publishes no %s address of the Pod, which has %s", s.Name, joined(s.Spec.IPFamilies), joined(lacking), identity.Enumerate(j.addrs())),
		fmt.Sprintf("spec.ipFamilyPolicy: PreferDualStack in Service %+q", s.Name)+either(serving, ", or the variable PODFQDN_FAMILIES=auto", ""),
		j.patch("service", s.Name, dualStack))
	return true
}

// second judges another Service's PTR, where only one name may be there.
func (j *judge) second() {
	if j.value("PODFQDN_REVERSE") != "only" {
		return
	}
	for _, name := range j.selecting() {
		now := slices.ContainsFunc(j.endpoints(name), func(e endpoint) bool { return j.own(e) && e.ready() })
		if name == j.claim.service || !now {
			continue
		}
		s := j.services[name]
		when := either(s.Spec.PublishNotReadyAddresses, "from the start, because it has publishNotReadyAddresses: true", "since the Pod is Ready")
		j.found(diagnosis.SecondService,
			fmt.Sprintf("Service %+q also selects the Pod and adds a second name for its address, %s, %s", name, j.secondName(s), when),
			fmt.Sprintf("spec.selector of Service %+q, if it need not select the Pod; or the variable PODFQDN_REVERSE=contains, which accepts the name", name),
			j.setVariables(literal("PODFQDN_REVERSE", "contains")))
	}
}
