package kube

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/peers"
)

// awaited holds the peers that a Pod waits for, by its variables.
type awaited struct {
	others  []peer              // those that it waits for
	need    int                 // how many of others
	self    bool                // whether this Pod is one of those that are counted
	holders map[string][]string // which Pods have an address, as the slices say
}

// peer is the name of a Pod in DNS, as far as Kubernetes makes it.
type peer struct {
	text                         string     // as people know it: without what is the same for this Pod
	hostname, service, namespace string     // "" for a name that is not one of a Pod
	published                    []endpoint // which DNS has under its name, one of each Pod
}

// setting returns PODFQDN_PEERS and PODFQDN_PEERS_WAIT. ok is false if they are not
// set, or if a value is not known.
func (v *View) setting() (c peers.Config, ok bool) {
	for _, one := range []struct {
		name string
		into interface{ UnmarshalText([]byte) error }
	}{{"PODFQDN_PEERS", &c.Members}, {"PODFQDN_PEERS_WAIT", &c.Wait}} {
		i := v.set(one.name, len(v.podfqdn.Env))
		value, _, known := v.resolve(one.name, len(v.podfqdn.Env))
		if i >= 0 && !known || i < 0 && len(v.podfqdn.EnvFrom) > 0 || one.into.UnmarshalText([]byte(value)) != nil {
			return peers.Config{}, false
		}
	}
	return c, !c.Members.IsZero()
}

// awaits returns the peers that podfqdn waits for; ok is false if it waits for none,
// or if that is not known.
func (v *View) awaits() (a awaited, ok bool) {
	c, ok := v.setting()
	if !ok || v.claim.hostname == "" || v.claim.service == "" {
		return a, false
	}
	facts := identity.Facts{
		Hostname: identity.Fact{Value: v.claim.hostname}, Service: identity.Fact{Value: v.claim.service}, Namespace: identity.Fact{Value: v.Namespace},
		ClusterDomain: identity.Fact{Value: v.zone()}, Ordinal: identity.Fact{Value: v.value("POD_ORDINAL")}, Addrs: v.addrs(),
	}
	if len(facts.Addrs) == 0 { // the peers' names do not depend on it
		facts.Addrs = []netip.Addr{netip.IPv6Unspecified()}
	}
	claim, err := facts.Claim(identity.Policy{})
	if err != nil {
		return a, false // what is wrong with it is judged elsewhere
	}
	others, need, err := c.Waits(claim)
	if err != nil {
		return a, false // podfqdn says it itself
	}
	published := v.byName()
	for _, name := range others {
		p := peer{text: name.String()}
		if labels := strings.SplitN(p.text, ".", 5); len(labels) == 5 && labels[3] == "svc" {
			p.hostname, p.service, p.namespace = labels[0], labels[1], labels[2]
			switch {
			case p.namespace == v.Namespace && p.service == v.claim.service:
				p.text = p.hostname
			case p.namespace == v.Namespace:
				p.text = p.hostname + "." + p.service
			}
			if p.namespace == v.Namespace {
				p.published = published[[2]string{p.service, p.hostname}]
			}
		}
		a.others = append(a.others, p)
	}
	a.need, a.holders, a.self = need, v.holders(), countsSelf(c, claim)
	return a, need > 0
}

// countsSelf reports whether the Pod counts among the members that podfqdn needs.
func countsSelf(c peers.Config, claim identity.Claim) bool {
	var one peers.Wait
	if c.Wait.String() == "lower" || one.UnmarshalText([]byte("1")) != nil {
		return false
	}
	_, others, err := peers.Config{Members: c.Members, Wait: one}.Waits(claim)
	return err == nil && others == 0
}

// holders returns the Pods of each address, by the slices.
func (v *View) holders() map[string][]string {
	all := map[string][]string{}
	for _, e := range v.endpoints("") {
		for _, addr := range e.Addresses {
			if pod := e.pod(); pod != "" && !slices.Contains(all[addr], pod) {
				all[addr] = append(all[addr], pod)
			}
		}
	}
	return all
}

// others returns the Pods that podfqdn waits for, as peers or by `podfqdn wait`.
func (v *View) others() (all []peer) {
	if a, ok := v.awaits(); ok {
		return a.others
	}
	if !v.podfqdn.waits() {
		return nil
	}
	names, _, _ := v.seeks()
	published := v.byName()
	for _, name := range names {
		for _, s := range name.readings {
			if _, exists := v.services[s.service]; s.pod != "" && s.namespace == v.Namespace && exists {
				all = append(all, peer{text: name.text, hostname: s.pod, service: s.service, namespace: s.namespace, published: published[[2]string{s.service, s.pod}]})
			}
		}
	}
	return all
}

// byName returns the endpoints that DNS publishes, by Service and hostname: one of
// each Pod, which may have two families.
func (v *View) byName() map[[2]string][]endpoint {
	all := map[[2]string][]endpoint{}
	for _, e := range v.endpoints("") {
		name := [2]string{e.service(), e.hostname()}
		same := func(other endpoint) bool { return other.pod() == e.pod() }
		if e.ready() && e.hostname() != "" && !slices.ContainsFunc(all[name], same) {
			all[name] = append(all[name], e)
		}
	}
	return all
}

// maxAwaited is the most Pods of peers that are read, with their nodes.
const maxAwaited = 6

// seeAwaited reads the Pods of the peers that the slices do not show as they should
// be, and the nodes of those that do not run, at most six.
func (v *View) seeAwaited(see reader) {
	read := 0
	for _, each := range v.Each() {
		if each.Healthy {
			continue
		}
		for _, p := range each.others() {
			if _, seen := v.peers[p.hostname]; seen || p.namespace != v.Namespace || v.sliced && len(p.published) == 1 {
				continue
			}
			if read++; read > maxAwaited {
				return
			}
			pod := &corev1.Pod{}
			err := see(Right{Verb: "get", Resource: "pods", Namespace: v.Namespace, Name: p.hostname}, "", pod)
			switch {
			case apierrors.IsNotFound(err):
				v.peers[p.hostname] = nil
				continue
			case err != nil:
				return
			}
			v.peers[p.hostname] = pod
			begun := len(pod.Status.PodIPs) > 0 && pod.Status.Phase == corev1.PodPending // by the kubelet, not long ago
			if node := pod.Spec.NodeName; node != "" && !isReady(pod) && !begun {
				v.seeNode(see, node)
			}
		}
	}
}

func (v *View) seeNode(see reader, name string) {
	if _, seen := v.nodes[name]; seen {
		return
	}
	node := &corev1.Node{}
	err := see(Right{Verb: "get", Resource: "nodes", Name: name}, "", node)
	if err == nil || apierrors.IsNotFound(err) {
		v.nodes[name] = err == nil && slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
	}
}

// unawaited lists the awaited peers that were not looked at.
func (v *View) unawaited() (all []string) {
	if v.Healthy {
		return nil
	}
	var elsewhere, more []string
	for _, p := range v.others() {
		switch _, seen := v.peers[p.hostname]; {
		case p.namespace != v.Namespace:
			elsewhere = append(elsewhere, p.text)
		case !seen && len(p.published) != 1:
			more = append(more, p.text)
		}
	}
	if len(elsewhere) > 0 {
		all = append(all, "the peers outside the namespace: "+identity.List(elsewhere))
	}
	if len(more) > 0 {
		all = append(all, "the Pods of the peers "+identity.List(more))
	}
	return all
}

// outsider judges a Pod whose ordinal is not one of those that podfqdn was told,
// which it refuses at once.
func (j *judge) outsider() {
	c, ok := j.setting()
	first, last, ranges := c.Members.Range()
	own, of := j.ordinal(j.self())
	if !ok || !ranges || !of || own >= first && own <= last {
		return
	}
	j.found(diagnosis.Misconfigured, fmt.Sprintf("PODFQDN_PEERS=%+q means the ordinals %d to %d, but this Pod has the ordinal %d: StatefulSet %+q has the ordinals %s",
		j.value("PODFQDN_PEERS"), first, last, own, j.owner.name, j.ordinals()), j.recount(), nil)
}

// recount returns what to change if PODFQDN_PEERS and the StatefulSet differ.
// Nothing shows which of the two is right, unless the set makes this Pod.
func (j *judge) recount() string {
	change := fmt.Sprintf("the variable PODFQDN_PEERS of container %+q: set it to %s", j.Container, j.counted())
	c, _ := j.setting()
	first, last, _ := c.Members.Range()
	own, _ := j.ordinal(j.self())
	switch {
	case last-first+1 == int(j.owner.replicas): // from another ordinal on
		return change
	case (own < first || own > last) && own >= j.first() && own <= j.last():
		return change
	}
	return change + fmt.Sprintf("; or spec.replicas of StatefulSet %+q", j.owner.name)
}

// Warnings lists what is wrong although DNS agrees: PODFQDN_PEERS with members other
// than those of the Pod's StatefulSet.
func (v *View) Warnings() []string {
	j := judge{View: v, wire: &diagnosis.Diagnosis{}}
	c, ok := j.setting()
	first, last, ranges := c.Members.Range()
	own, of := j.ordinal(j.self())
	switch {
	case v.State == Over || v.podfqdn.waits() || !ok || !ranges || !of || own > j.last():
		return nil
	case first < j.first() || last > j.last():
		return []string{fmt.Sprintf("PODFQDN_PEERS means the ordinals %d to %d, so podfqdn waits for members that do not exist, or counts them, and names them to the server: StatefulSet %+q has the ordinals %s; change %s",
			first, last, j.owner.name, j.ordinals(), j.recount())}
	case first > j.first() || last < j.last():
		return []string{fmt.Sprintf("PODFQDN_PEERS means the ordinals %d to %d, so podfqdn refuses to start in the other Pods, with exit code 10: StatefulSet %+q has the ordinals %s; change %s",
			first, last, j.owner.name, j.ordinals(), j.recount())}
	}
	return nil
}

// self returns this Pod as others wait for it.
func (j *judge) self() peer {
	return peer{hostname: strings.ToLower(j.pod.Spec.Hostname), service: j.pod.Spec.Subdomain, namespace: j.Namespace}
}

// first returns the lowest ordinal of the Pod's StatefulSet.
func (j *judge) first() int {
	if o := j.owner.statefulSet.Spec.Ordinals; o != nil {
		return int(o.Start)
	}
	return 0
}

// last returns the highest ordinal of the Pod's StatefulSet, which is lower than the
// first if it has no replicas.
func (j *judge) last() int { return j.first() + int(j.owner.replicas) - 1 }

// ordinals shows those of the Pod's StatefulSet.
func (j *judge) ordinals() string {
	return fmt.Sprintf("%d to %d, as spec.replicas is %d", j.first(), j.last(), j.owner.replicas) +
		either(j.first() > 0, fmt.Sprintf(" and spec.ordinals.start is %d", j.first()), "")
}

// counted returns what PODFQDN_PEERS has to be for all members of the Pod's
// StatefulSet.
func (j *judge) counted() string {
	return either(j.first() == 0, fmt.Sprintf("spec.replicas, %d", j.owner.replicas), fmt.Sprintf("%d..%d", j.first(), j.last()))
}

// ordinal returns the ordinal of a peer that the Pod's StatefulSet would make, be it
// one of its replicas or not.
func (j *judge) ordinal(p peer) (n int, ok bool) {
	set := j.owner.statefulSet
	if set == nil || set.Spec.ServiceName == "" || p.service != set.Spec.ServiceName || p.namespace != j.Namespace {
		return 0, false
	}
	text, of := strings.CutPrefix(p.hostname, set.Name+"-")
	n, err := strconv.Atoi(text)
	return n, of && err == nil && n >= 0 && strconv.Itoa(n) == text
}

// never returns the peers that the Pod's StatefulSet does not make with as many
// replicas as it has, and reports whether without them fewer are left than podfqdn
// waits for.
func (j *judge) never(a awaited) (names []string, hopeless bool) {
	for _, p := range a.others {
		n, ok := j.ordinal(p)
		pod, seen := j.peers[p.hostname]
		absent := seen && pod == nil || !seen && j.sliced && len(p.published) == 0
		if ok && absent && (n < j.first() || n > j.last()) {
			names = append(names, p.text)
		}
	}
	return names, len(a.others)-len(names) < a.need
}

// awaiting judges the peers that podfqdn waits for, once the Pod's own name is as it
// should be: whether they can come at all, and what each of them lacks.
func (j *judge) awaiting() {
	a, ok := j.awaits()
	peerless := j.wire.Verdict == identity.Peerless
	if !ok || !peerless && (len(j.causes) > 0 || j.wire.Reason != "") {
		return
	}
	certain := peerless || j.code == exitPeerless
	names, hopeless := j.never(a)
	switch {
	case hopeless:
		j.found(diagnosis.Misconfigured, fmt.Sprintf("PODFQDN_PEERS makes podfqdn wait for %s, which StatefulSet %+q does not create: it has the ordinals %s", identity.List(names), j.owner.name, j.ordinals()), j.recount(), nil)
		return
	case j.deadlocked(a):
	default:
		j.missing(a, certain)
	}
	if certain {
		j.miscounted(names)
	}
}

// miscounted adds that PODFQDN_PEERS and the StatefulSet differ, where that is not why
// podfqdn waits. more are the peers that the StatefulSet does not make.
func (j *judge) miscounted(more []string) {
	c, _ := j.setting()
	first, last, ranges := c.Members.Range()
	if _, of := j.ordinal(j.self()); !ranges || !of {
		return
	}
	has := fmt.Sprintf("StatefulSet %+q has the ordinals %s", j.owner.name, j.ordinals())
	switch {
	case len(more) > 0:
		j.found(diagnosis.Misconfigured, fmt.Sprintf("PODFQDN_PEERS has members that are never created, %s: %s", identity.List(more), has), j.recount(), nil).Guess = true
	case first > j.first() || last < j.last():
		j.found(diagnosis.Misconfigured, fmt.Sprintf("PODFQDN_PEERS means the ordinals %d to %d, so podfqdn refuses to start in the other Pods, with exit code 10: %s", first, last, has), j.recount(), nil).Guess = true
	}
}

// deadlocked judges whether podfqdn waits for Pods that the StatefulSet creates only
// when this Pod is Ready, and so without end: under OrderedReady, the default, and
// as long as the Pod is not Ready. It stops at the first ordinal whose Pod is not.
func (j *judge) deadlocked(a awaited) bool {
	set := j.owner.statefulSet
	own, ok := j.ordinal(j.self())
	if !ok || !j.ordered() || isReady(j.pod) {
		return false
	}
	var absent []string // and will be
	higher := 0         // of those that are waited for
	for _, p := range a.others {
		n, ok := j.ordinal(p)
		if !ok || n <= own {
			continue
		}
		higher++
		if pod, seen := j.peers[p.hostname]; seen && pod == nil {
			absent = append(absent, p.text)
		}
	}
	if len(absent) == 0 {
		return false
	}
	gone := len(absent)
	if set.Status.ObservedGeneration == set.Generation && set.Generation > 0 {
		// Of a large set not all Pods were read, but it counts those that it has made.
		made := max(int(set.Status.Replicas), own-j.first()+1)
		gone = max(gone, higher-(made-(own-j.first()+1)))
	}
	if len(a.others)-gone >= a.need {
		return false
	}
	mend := j.patch("statefulset", set.Name, object{"spec": object{"podManagementPolicy": appsv1.ParallelPodManagement}})
	mend[0].verb = remake
	c := j.found(diagnosis.PeersDeadlock,
		fmt.Sprintf("podfqdn needs %d members%s, but %s; StatefulSet %+q has podManagementPolicy: OrderedReady, and creates a Pod only when all Pods with lower ordinals are Ready; this one is not Ready while podfqdn waits",
			a.need+either(a.self, 1, 0), either(a.self, ", this Pod included", ""), absence(absent), set.Name),
		fmt.Sprintf("spec.podManagementPolicy: Parallel in StatefulSet %+q, which must be recreated for it; its Pods stay; or the variable PODFQDN_PEERS_WAIT=lower of container %+q, with which the first Pod waits for none, so it is not for servers that must form a quorum at the first start", set.Name, j.Container), mend)
	// The application's container may be Ready while podfqdn waits in it.
	if j.podfqdn.wraps() || j.podfqdn.sidecar && !j.podfqdn.probed() {
		c.Guess, c.mend = true, nil
	}
	return true
}

// ordered reports whether the Pod's owner may make its Pods one after the other, each
// when the one before is Ready.
func (j *judge) ordered() bool {
	set := j.owner.statefulSet
	return j.owner.kind == "StatefulSet" && (set == nil || set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement)
}

// absence says that Pods are not there.
func absence(names []string) string {
	return either(len(names) == 1, "there is no Pod ", "there are no Pods ") + identity.List(names)
}

// missing judges what each peer lacks that the slices do not show as it should be, in
// groups. certain: podfqdn itself says that it waits for peers.
func (j *judge) missing(a awaited, certain bool) {
	var (
		lacks  []string // what, each once, in the order of the peers
		who    = map[string][]string{}
		there  int
		beyond int // what was looked at
	)
	for _, p := range a.others {
		what := j.lack(a, p)
		if len(p.published) > 1 || what == "" {
			there++
		}
		if what == unseen {
			beyond++
		}
		if what == "" || what == unseen {
			continue
		}
		if !slices.Contains(lacks, what) {
			lacks = append(lacks, what)
		}
		who[what] = append(who[what], p.text)
	}
	if len(lacks) == 0 || there >= a.need || !certain && there+beyond >= a.need {
		return // it is what only DNS shows
	}
	own := either(a.self, 1, 0)
	count := fmt.Sprintf("the API shows the Pods of %d of %d needed members%s; ", there+own, a.need+own, either(a.self, ", this Pod included", ""))
	said, again := strings.CutPrefix(j.Reason, "before that: ")
	if j.code == exitPeerless && (j.State == GaveUp || again) && j.wire.Verdict == "" {
		count = "podfqdn's last message: " + said + "; now " + count
	}
	j.found(diagnosis.PeersMissing, count+
		join(lacks, "; ", func(what string) string { return identity.List(who[what]) + ": " + what }),
		"fix what is said of each; or set the variable PODFQDN_PEERS_WAIT to wait for fewer", nil).Guess = !certain
}

// unseen stands for the lack of a peer about which the API was not asked.
const unseen = "not looked at"

// lack returns what a peer lacks, as far as the API shows it, in a few words; "" for
// nothing, and unseen where it was not looked at.
func (j *judge) lack(a awaited, p peer) string {
	if p.namespace != j.Namespace || j.services == nil || !j.sliced {
		return unseen
	}
	s, ok := j.services[p.service]
	pod, seen := j.peers[p.hostname]
	switch {
	case !ok:
		return fmt.Sprintf("there is no Service %+q", p.service)
	case len(p.published) > 1:
		return "several Pods have this name, " + join(p.published, " and ", func(e endpoint) string { return cmp.Or(quoted(e.pod()), strings.Join(e.Addresses, " ")) })
	case len(p.published) == 1:
		return a.misplaced(p.published[0])
	case !seen:
		return fmt.Sprintf("no EndpointSlice of Service %+q publishes it", p.service)
	case pod == nil:
		return "there is no such Pod"
	}
	return j.lackOf(pod, p, s)
}

// misplaced says that the one endpoint of a peer's name has the address of another
// Pod, whose name its PTR record is; "" if it does not.
func (a awaited) misplaced(e endpoint) string {
	for _, addr := range e.Addresses {
		for _, pod := range a.holders[addr] {
			if e.pod() != "" && pod != e.pod() {
				return fmt.Sprintf("its address %s is that of Pod %+q too, and so may be its PTR record", addr, pod)
			}
		}
	}
	return ""
}

// lackOf returns what keeps a peer's Pod from being published.
func (j *judge) lackOf(pod *corev1.Pod, p peer, s corev1.Service) string {
	node := pod.Spec.NodeName
	ready, seen := j.nodes[node]
	switch {
	case pod.DeletionTimestamp != nil:
		return "its Pod is terminating"
	case pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded:
		return "its Pod has ended: " + string(pod.Status.Phase)
	case unscheduled(pod) != "":
		return "no node takes its Pod: " + unscheduled(pod)
	case !strings.EqualFold(pod.Spec.Hostname, p.hostname) || !strings.EqualFold(pod.Spec.Subdomain, p.service):
		return fmt.Sprintf("its Pod has spec.hostname %s and spec.subdomain %s", shown(pod.Spec.Hostname), shown(pod.Spec.Subdomain))
	case !matches(s.Spec.Selector, pod.Labels):
		return fmt.Sprintf("Service %+q does not select its Pod", s.Name)
	case seen && !ready:
		return fmt.Sprintf("its Pod is on node %+q, which is not Ready", node)
	case len(pod.Status.PodIPs) == 0:
		return "its Pod has no address yet: " + either(unstarting(pod) == "", "Pending", unstarting(pod))
	case !s.Spec.PublishNotReadyAddresses && !isReady(pod):
		return fmt.Sprintf("its Pod is not Ready, and Service %+q does not have publishNotReadyAddresses: true", s.Name)
	}
	return fmt.Sprintf("no EndpointSlice of Service %+q has its Pod yet", s.Name)
}

// unstarting returns why a Pod's first container that waits does not start; "" where
// that is not said.
func unstarting(pod *corev1.Pod) string {
	for _, c := range parts(pod) {
		if w := c.status.State.Waiting; w != nil && w.Reason != "PodInitializing" {
			return w.Reason
		}
	}
	return ""
}
