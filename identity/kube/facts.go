package kube

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// Facts lists what the API shows, for people and programs.
func (v *View) Facts() []diagnosis.Seen {
	pod := fmt.Sprintf("Pod %+q", v.Pod)
	var facts []diagnosis.Seen
	see := func(name, from, format string, args ...any) {
		facts = append(facts, diagnosis.Seen{Name: name, Value: fmt.Sprintf(format, args...), From: from})
	}
	see("Pod", pod+", status", "%s", v.phase())
	see("addresses", pod+", status.podIPs", "%s", cmp.Or(identity.Enumerate(v.addrs()), "none yet"))
	see("hostname", pod+", spec.hostname", "%s", shown(v.pod.Spec.Hostname))
	see("subdomain", pod+", spec.subdomain", "%s", shown(v.pod.Spec.Subdomain))
	switch set, d := v.owner.statefulSet, v.owner.deployment; {
	case v.owner.kind == "":
		see("owner", pod+", metadata.ownerReferences", "none")
	case set != nil:
		see("owner", "StatefulSet "+quoted(v.owner.name), "StatefulSet %+q, serviceName %s", v.owner.name, shown(set.Spec.ServiceName))
	case d != nil:
		see("owner", "Deployment "+quoted(v.owner.name), "Deployment %+q, %d %s, strategy %s", v.owner.name, v.owner.replicas, either(v.owner.replicas == 1, "replica", "replicas"), d.Spec.Strategy.Type)
	default:
		see("owner", pod+", metadata.ownerReferences", "%s %+q", v.owner.kind, v.owner.name)
	}
	if v.Container != "" {
		see("podfqdn", pod+", status", "container %+q: %s", v.Container, v.clause())
	} else {
		see("podfqdn", pod+", containers", "not recognised by image, command or name in %s; name it with --container", join(parts(v.pod), ", ", func(c part) string { return quoted(c.Name) }))
	}
	for _, c := range v.Containers {
		if c.Container != v.Container {
			see("podfqdn", pod+", status", "container %+q: %s", c.Container, Use{State: c.State, Reason: c.Reason}.clause())
		}
	}
	if args, ok := v.podfqdn.waitArgs(); ok {
		see("waits for", fmt.Sprintf("container %+q, podfqdn wait", v.Container), "%s", strings.Join(args, " "))
	}
	for _, name := range deciding {
		if !v.knows(name) {
			continue
		}
		from := fmt.Sprintf("container %+q, a variable", v.Container)
		switch value, path, known := v.told(name); {
		case path != "":
			see(name, from+" from "+path, "%s", cmp.Or(value, "nothing yet"))
		case known:
			see(name, from, "%s", value)
		default:
			see(name, from, "not read: it is set by a ConfigMap, a Secret or another variable")
		}
	}
	for _, name := range []string{"PODFQDN_PEERS", "PODFQDN_PEERS_WAIT"} {
		if value, _, known := v.resolve(name, len(v.podfqdn.Env)); v.set(name, len(v.podfqdn.Env)) >= 0 {
			see(name, fmt.Sprintf("container %+q, a variable", v.Container), "%s", either(known, value, "not read: it is set by a ConfigMap, a Secret or another variable"))
		}
	}
	if j := (&judge{View: v}); v.owner.statefulSet != nil && v.set("PODFQDN_PEERS", len(v.podfqdn.Env)) >= 0 {
		see("ordinals", "StatefulSet "+quoted(v.owner.name), "%s; podManagementPolicy: %s", j.ordinals(), cmp.Or(v.owner.statefulSet.Spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement))
	}
	for _, s := range v.slips() {
		see(s.name, fmt.Sprintf("container %+q, a variable", s.container), "%s", either(s.container == v.Container, "podfqdn does not read it; perhaps "+s.meant+" is meant", "podfqdn does not read it there"))
	}
	if s, ok := v.governing(); ok {
		see("governing Service", "Service "+quoted(s.Name), "%s", describe(s))
	}
	for _, name := range v.selecting() {
		if s := v.services[name]; name != v.claim.service && !v.podfqdn.waits() {
			when := either(s.Spec.PublishNotReadyAddresses, "from the start", "when the Pod is Ready")
			see("another Service", "Service "+quoted(name), "%s: adds a second name for the address, %s, %s", describe(s), v.secondName(s), when)
		}
	}
	for _, e := range v.endpoints("") {
		if v.own(e) {
			see("endpoint", "EndpointSlice "+quoted(e.of.Name), "%s of Service %+q, hostname %s, %s",
				strings.Join(e.Addresses, " "), e.service(), shown(e.hostname()), either(e.ready(), "published", "not published: not ready"))
		}
	}
	if v.dns.name != "" {
		see("cluster DNS", "Deployment "+quoted(v.dns.name), "%d of %d ready, at %s", v.dns.ready, v.dns.want, identity.Enumerate(v.dns.addrs))
	}
	if v.dns.text != "" {
		see("zones", "ConfigMap "+quoted(v.dns.configMap), "%s", v.dns.corefile.zones())
	}
	return facts
}

func (v *View) phase() string {
	phase := string(v.pod.Status.Phase)
	switch {
	case v.pod.DeletionTimestamp != nil:
		phase = "Terminating"
	case isReady(v.pod):
		phase += ", Ready"
	case phase == string(corev1.PodRunning):
		phase += ", not Ready"
	}
	return phase
}

// clause returns podfqdn's state in words, with how long and why.
func (u Use) clause() string {
	s := string(u.State)
	if u.For > 0 {
		s += fmt.Sprintf(" for %s", u.For)
	}
	if u.Reason != "" {
		s += "; " + u.Reason
	}
	return s
}

// secondName returns the name that a Service other than the governing one
// makes.
func (v *View) secondName(s corev1.Service) string {
	addr := "ADDRESS"
	for _, a := range v.addrs() {
		if slices.Contains(s.Spec.IPFamilies, family(a)) {
			addr = identity.Dashed(a)
			break
		}
	}
	return fmt.Sprintf("%s.%s.%s.svc", addr, s.Name, s.Namespace)
}

func describe(s corev1.Service) string {
	kind := either(s.Spec.Type == corev1.ServiceTypeExternalName, "ExternalName", "with cluster address "+s.Spec.ClusterIP)
	return fmt.Sprintf("%s, %s, selects %s, publishNotReadyAddresses: %v", either(headless(s), "headless", kind), joined(s.Spec.IPFamilies), labelled(s.Spec.Selector), s.Spec.PublishNotReadyAddresses)
}

// labelled returns labels as kubectl writes them, in the order of their keys.
func labelled(labels map[string]string) string {
	return cmp.Or(join(slices.Sorted(maps.Keys(labels)), ",", func(key string) string { return key + "=" + labels[key] }), "nothing")
}

// joined returns families as a list for people.
func joined(families []corev1.IPFamily) string {
	return join(families, " and ", func(f corev1.IPFamily) string { return string(f) })
}

// join returns items as one text, each formatted by say.
func join[T any](items []T, separator string, say func(T) string) string {
	var words []string
	for _, item := range items {
		words = append(words, say(item))
	}
	return strings.Join(words, separator)
}

// deref returns what p points to, or otherwise for nil.
func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func either[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

func shown(s string) string { return either(s == "", "empty", quoted(s)) }

func quoted(s string) string { return fmt.Sprintf("%+q", s) }
