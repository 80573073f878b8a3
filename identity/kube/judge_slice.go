package kube

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// slice judges the endpoints: whether the Pod is one, under its hostname, and
// which other Pods are.
func (j *judge) slice(s corev1.Service) {
	const passes = "nothing: it passes when the endpointslice controller has caught up; if it does not, see the log of kube-controller-manager"
	mine := slices.DeleteFunc(j.endpoints(s.Name), func(e endpoint) bool { return !j.own(e) })
	published := slices.IndexFunc(mine, func(e endpoint) bool {
		return e.ready() && (e.hostname() == j.claim.hostname || j.claim.hostname == "")
	})
	switch spec := j.pod.Spec; {
	case j.pod.Status.Phase == corev1.PodFailed:
		// No endpoint, whatever the Service: rest says what it was.
	case len(j.addrs()) == 0 && j.stands:
		// It has no address for that reason.
	case len(j.addrs()) == 0:
		change, old := "nothing: it passes when the kubelet has reported the Pod's status", since(j.pod.CreationTimestamp) > time.Minute
		if old {
			change = "find out what keeps the Pod from starting: see kubectl describe pod"
		}
		j.found(diagnosis.NotInSlice, "the API does not show an address of the Pod yet", change, nil).Guess = old
	case len(mine) == 0:
		j.found(diagnosis.NotInSlice, fmt.Sprintf("Service %+q selects the Pod, but none of its EndpointSlices has %s yet", s.Name, identity.Enumerate(j.addrs())), passes, nil)
	case j.claim.dashed && mine[0].hostname() != "":
		change, mend := j.leaveOut("PODFQDN_NAME_FORM")
		j.found(diagnosis.Misconfigured, fmt.Sprintf("PODFQDN_NAME_FORM=address, but DNS publishes the Pod by its spec.hostname, %+q", mine[0].hostname()), change, mend)
	case published < 0 && spec.Hostname != "" && spec.Subdomain != "":
		j.found(diagnosis.NotInSlice, fmt.Sprintf("EndpointSlice %+q still has the Pod with hostname %s, %s, not as it is now",
			mine[0].of.Name, shown(mine[0].hostname()), either(mine[0].ready(), "ready", "not ready")), passes, nil)
	case published >= 0 && !j.mistold && !j.shows(ofDomain) && j.asks(mine[published]) && (j.wire.Verdict == identity.Missing || j.wire.Verdict == identity.Unnamed):
		j.lagging(mine[published])
	}
	if j.value("PODFQDN_FORWARD") != "contains" && !j.mistold {
		j.shared()
	}
}

// asks reports whether podfqdn asked for the name that DNS makes of an endpoint
// (CoreDNS, plugin/kubernetes, endpointHostname).
func (j *judge) asks(e endpoint) bool {
	name := cmp.Or(e.hostname(), either(j.dns.corefile.podNames, e.pod(), ""))
	return j.wire.FQDN == "" || slices.ContainsFunc(e.Addresses, func(a string) bool {
		addr, _ := netip.ParseAddr(a)
		return strings.HasPrefix(strings.ToLower(j.wire.FQDN), fmt.Sprintf("%s.%s.%s.svc.", cmp.Or(name, identity.Dashed(addr)), e.service(), j.Namespace))
	})
}

// patienceDNS is how many seconds CoreDNS may be behind the API before it is
// stuck rather than slow, or a cache's: its longest usual denial.
const patienceDNS = 30

// lagging judges a name that the API has and DNS does not have.
func (j *judge) lagging(e endpoint) {
	changed := e.of.CreationTimestamp
	for _, m := range e.of.ManagedFields {
		if m.Time != nil && m.Time.After(changed.Time) {
			changed = *m.Time
		}
	}
	behind, change := since(changed), "nothing: it passes when CoreDNS has caught up with the API server"
	why := fmt.Sprintf("EndpointSlice %+q has published the Pod for %s, but cluster DNS does not know it yet", e.of.Name, behind)
	late := behind.Seconds() >= patienceDNS
	answers := j.dns.corefile.answers
	var mend fix
	switch {
	case len(answers) > 0:
		why += fmt.Sprintf("; the Corefile in ConfigMap %+q has the plugin %s, which may answer in place of kubernetes", j.dns.configMap, strings.Join(answers, " and "))
		change = fmt.Sprintf("check what that plugin does with the name; if nothing, see the logs of the Pods of cluster DNS in namespace %+q", system)
	case late && j.dns.name != "" && j.stuck():
		change = fmt.Sprintf("restart the Pods of Deployment %+q: their own answers are behind the API server; see their log", j.dns.name)
		mend = j.dnsDeployment(restart)
	case late:
		change = fmt.Sprintf("check the logs of the Pods of cluster DNS in namespace %+q for one that is cut off from the API server; then check what answers in place of them, and any cache in front", system)
	}
	j.found(diagnosis.NotInDNS, why, change, mend).Guess = mend == nil && (late || len(answers) > 0)
}

// stuck reports whether the answers prove that CoreDNS itself is behind: each
// denies the name on behalf of the cluster domain, as only its plugin
// kubernetes does, none is a cache's, neither its own nor one in front, and the
// Corefile, seen as a whole, lets nothing else answer.
func (j *judge) stuck() bool {
	labels := strings.SplitN(j.wire.FQDN, ".", 5)
	if !j.zoned() || len(j.dns.corefile.answers) > 0 || len(labels) < 5 {
		return false
	}
	denials := 0
	for _, q := range j.wire.Questions {
		if q.Witness || q.Subject != j.wire.FQDN {
			continue
		}
		server := addrsIn(q.Server)
		own := len(server) > 0 && (len(j.dns.addrs) == 0 || slices.Contains(j.dns.addrs, server[0]))
		if !own || q.Rcode != "NXDOMAIN" || q.Cached || q.Full > q.TTL || !strings.EqualFold(q.Zone, labels[4]) {
			return false
		}
		denials++
	}
	return denials > 1
}

// shared judges the other Pods that have the name, each kind of them by
// itself.
func (j *judge) shared() {
	with := map[diagnosis.Kind][]string{}
	for _, e := range j.sharers() {
		name, kind := cmp.Or(e.pod(), strings.Join(e.Addresses, " ")), diagnosis.HostnameShared
		if peer, seen := j.peers[e.pod()]; seen {
			kind = j.apart(peer)
		}
		if !slices.Contains(with[kind], name) {
			with[kind] = append(with[kind], name)
		}
	}
	host := fmt.Sprintf("hostname %+q in Service %+q", j.claim.hostname, j.claim.service)
	for _, kind := range []diagnosis.Kind{diagnosis.DebugCopy, diagnosis.RollingUpdate, diagnosis.HostnameShared, diagnosis.Terminating} {
		pods := join(with[kind], ", ", quoted)
		switch {
		case pods == "":
		case kind == diagnosis.DebugCopy:
			names, why := with[kind], fmt.Sprintf("Pod %s is a copy of this Pod", pods)
			if j.owner.kind == "" {
				names, why = []string{j.Pod}, "this Pod is a copy of "+pods
			}
			j.found(kind, fmt.Sprintf("%s, such as kubectl debug --copy-to makes with --keep-labels, and has its %s", why, host),
				"delete the copy; one without --keep-labels does not take the name", j.pods(remove, names...))
		case kind == diagnosis.RollingUpdate:
			j.found(kind, fmt.Sprintf("Pod %s of the same Deployment has %s too: a rolling update starts the new Pod before the old one goes, and %s", pods, host, j.rolls()),
				fmt.Sprintf("spec.strategy: {type: Recreate} in Deployment %+q", j.owner.name),
				j.patch("deployment", j.owner.name, object{"spec": object{"strategy": recreate}}))
		case kind == diagnosis.Terminating:
			j.found(kind, fmt.Sprintf("Pod %s is terminating, and has %s until it is gone", pods, host),
				"nothing: it passes when its terminationGracePeriodSeconds are over", j.pods(await, with[kind]...))
		case j.owner.deployment != nil && j.owner.replicas > 1:
			j.found(kind, fmt.Sprintf("Pod %s has %s too: Deployment %+q has one hostname for %d replicas", pods, host, j.owner.name, j.owner.replicas),
				"the variable PODFQDN_FORWARD=contains, if they may share the name; PODFQDN_NAME_FORM=address without spec.hostname, if each needs one",
				j.setVariables(literal("PODFQDN_FORWARD", "contains")))
		default:
			j.found(kind, fmt.Sprintf("Pod %s has %s too", pods, host),
				j.field("hostname")+": a different one for each Pod, or the variable PODFQDN_FORWARD=contains if they may share it", nil)
		}
	}
}

// apart returns what kind of other Pod has the name; nil is one that is gone.
func (j *judge) apart(peer *corev1.Pod) diagnosis.Kind {
	if peer == nil || peer.DeletionTimestamp != nil {
		return diagnosis.Terminating
	}
	mine, its := metav1.GetControllerOf(j.pod), metav1.GetControllerOf(peer)
	switch {
	case mine == nil && its != nil && copyOf(j.pod, peer), mine != nil && its == nil && copyOf(peer, j.pod):
		return diagnosis.DebugCopy
	case mine != nil && its != nil && mine.UID != its.UID && j.owner.deployment != nil && its.Kind == "ReplicaSet" &&
		peer.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != "" && matches(j.owner.selector, peer.Labels):
		return diagnosis.RollingUpdate
	}
	return diagnosis.HostnameShared
}

// copyOf reports whether a Pod is what kubectl debug --copy-to makes with
// --keep-labels: all containers, and perhaps one more, and what no person writes by
// hand: the labels that a controller gave to the original, or its volume of a
// generated name. Which Pod is the older one says nothing: the original may have
// been replaced since, and has that volume under another name then.
func copyOf(copied, of *corev1.Pod) bool {
	lacks := slices.ContainsFunc(of.Spec.Containers, func(c corev1.Container) bool {
		return !slices.ContainsFunc(copied.Spec.Containers, func(other corev1.Container) bool { return other.Name == c.Name })
	})
	if lacks {
		return false
	}
	for _, key := range []string{appsv1.DefaultDeploymentUniqueLabelKey, appsv1.ControllerRevisionHashLabelKey, appsv1.StatefulSetPodNameLabel, appsv1.PodIndexLabel, "batch.kubernetes.io/controller-uid"} {
		if copied.Labels[key] != "" && of.Labels[key] != "" {
			return true
		}
	}
	return slices.ContainsFunc(of.Spec.Volumes, func(v corev1.Volume) bool {
		return strings.HasPrefix(v.Name, "kube-api-access-") && slices.ContainsFunc(copied.Spec.Volumes, func(other corev1.Volume) bool { return other.Name == v.Name })
	})
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
