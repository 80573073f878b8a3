package kube

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// SameName reports whether two of podfqdn's containers claim the same name.
func (v *View) SameName(o *View) bool { return v.claim == o.claim && v.claim.service != "" }

// Unchecked lists what was not looked at, so that nothing is said about it. noWire
// says why DNS was not asked.
func (v *View) Unchecked(wire *diagnosis.Diagnosis, noWire string) (all []string) {
	if wire == nil && !(v.podfqdn.waits() && v.Healthy) {
		all = append(all, "what DNS says now: "+noWire)
	}
	for _, part := range []struct {
		seen bool
		what string
	}{
		{v.services != nil, "the Services of the namespace"},
		{v.sliced, "the EndpointSlices of the namespace"},
		{v.policed, "the NetworkPolicies of the namespace"},
		{v.dns.name != "", "how many Pods of cluster DNS are ready"},
		{v.zoned(), either(v.dns.text == "", "the Corefile", "the files that the Corefile imports")},
	} {
		if !part.seen {
			all = append(all, part.what)
		}
	}
	return append(all, v.unawaited()...)
}

// Ahead lists what the API shows and DNS, which agrees, does not show yet, such
// as what a cache still hides.
func (v *View) Ahead(wire *diagnosis.Diagnosis) (all []string) {
	if wire == nil || !wire.Healthy || v.State == Over {
		return nil
	}
	j := judge{View: v, wire: &diagnosis.Diagnosis{Healthy: true, FQDN: wire.FQDN}}
	j.domain()
	j.service()
	j.reverse()
	for _, c := range j.causes {
		all = append(all, string(c.Kind)+": "+c.Why)
	}
	if v.dns.name != "" && v.dns.ready == 0 {
		all = append(all, fmt.Sprintf("%d of %d Pods of cluster DNS are ready: the answers may come from a cache", v.dns.ready, v.dns.want))
	}
	return all
}

// Changes lists the objects that make the name, with when and by whom each last
// changed, the latest first.
func (v *View) Changes() []diagnosis.Seen {
	type change struct {
		what, by string
		at       time.Time
	}
	var all []change
	of := func(what string, m metav1.ObjectMeta) {
		c := change{what: what, by: "created", at: m.CreationTimestamp.Time}
		for _, f := range m.ManagedFields {
			if f.Subresource == "" && f.Time != nil && !f.Time.Time.Before(c.at) {
				c.at, c.by = f.Time.Time, "by "+cmp.Or(f.Manager, "an unknown manager")
			}
		}
		if !c.at.IsZero() {
			all = append(all, c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.services)) {
		if s := v.services[name]; name == v.claim.service || matches(s.Spec.Selector, v.pod.Labels) {
			of("Service "+quoted(name), s.ObjectMeta)
		}
	}
	if set := v.owner.statefulSet; set != nil {
		of("StatefulSet "+quoted(set.Name), set.ObjectMeta)
	}
	if d := v.owner.deployment; d != nil {
		of("Deployment "+quoted(d.Name), d.ObjectMeta)
	}
	selecting, _ := (&judge{View: v}).egress()
	for _, p := range v.policies {
		if slices.Contains(selecting, quoted(p.Name)) {
			of("NetworkPolicy "+quoted(p.Name), p.ObjectMeta)
		}
	}
	of("Corefile in ConfigMap "+quoted(v.dns.configMap), v.dns.corefileOf)
	if d := v.dns.deployment; d != nil {
		of("cluster DNS, Deployment "+quoted(d.Name), d.ObjectMeta)
		for _, c := range d.Status.Conditions {
			if c.Type == appsv1.DeploymentProgressing && !c.LastUpdateTime.IsZero() {
				all = append(all, change{"rollout of cluster DNS, Deployment " + quoted(d.Name), cmp.Or(c.Reason, "no reason given"), c.LastUpdateTime.Time})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b change) int { return b.at.Compare(a.at) })
	var seen []diagnosis.Seen
	for _, c := range all {
		seen = append(seen, diagnosis.Seen{Name: c.what, Value: c.at.UTC().Format("2006-01-02 15:04:05 UTC"), From: c.by})
	}
	return seen
}

// RuledOut lists what was checked and is as it should be, so that nobody checks it
// again.
func (v *View) RuledOut(causes []diagnosis.Cause) (all []string) {
	ofService := slices.ContainsFunc(causes, func(c diagnosis.Cause) bool { return subjectOf(c.Kind) == ofService })
	j := judge{View: v, wire: &diagnosis.Diagnosis{}}
	unread := len(v.podfqdn.EnvFrom) > 0 || slices.ContainsFunc(deciding, func(name string) bool { _, _, known := v.told(name); return !known && v.knows(name) })
	if len(v.podfqdn.Env) > 0 && !unread && !v.podfqdn.waits() && !slices.ContainsFunc(causes, func(c diagnosis.Cause) bool {
		return slices.Contains([]diagnosis.Kind{diagnosis.Misconfigured, diagnosis.SubdomainMismatch, diagnosis.ClusterDomain, diagnosis.ForeignDNS}, c.Kind)
	}) {
		all = append(all, "the variables of podfqdn do not contradict what the Pod is")
	}
	if s, ok := v.governing(); ok && !ofService && headless(s) && matches(s.Spec.Selector, v.pod.Labels) {
		all = append(all, fmt.Sprintf("Service %+q is there, is headless and selects the Pod", s.Name))
	}
	if v.publishedAs(v.claim) {
		all = append(all, fmt.Sprintf("an EndpointSlice of Service %+q publishes the Pod with hostname %+q", v.claim.service, v.claim.hostname))
	}
	if policies, allowed := j.egress(); v.policed && (len(policies) == 0 || allowed) {
		all = append(all, "no NetworkPolicy of the namespace keeps the Pod from port 53")
	}
	if v.dns.name != "" && v.dns.ready >= v.dns.want && v.dns.ready > 0 {
		all = append(all, fmt.Sprintf("%d of %d Pods of cluster DNS are ready", v.dns.ready, v.dns.want))
	}
	if v.zoned() && len(v.addrs()) > 0 && !v.podfqdn.waits() && !slices.ContainsFunc(v.addrs(), func(a netip.Addr) bool { return !v.dns.corefile.serves(a) }) {
		all = append(all, "the Corefile serves PTR for the Pod's addresses")
	}
	return all
}

// passing are the kinds that pass by themselves.
var passing = []diagnosis.Kind{diagnosis.CachedDenial, diagnosis.StaleRecord, diagnosis.NotInSlice, diagnosis.Terminating}

// Prospects says what happens if nothing is done, and whether it helps to delete
// the Pod.
func (v *View) Prospects(causes []diagnosis.Cause) (nothing, deleted string) {
	first := causes[0]
	passes := !first.Guess && (slices.Contains(passing, first.Kind) || first.Kind == diagnosis.NotInDNS && first.Command == "")
	started := v.State == Published || v.State == Running || v.State == Unused || v.appRuns()
	timeout, _, known := v.told("PODFQDN_TIMEOUT")
	if !known && (v.knows("PODFQDN_TIMEOUT") || len(v.podfqdn.EnvFrom) > 0) {
		timeout = "PODFQDN_TIMEOUT, which was not read,"
	}
	timeout = cmp.Or(timeout, "15m")
	limit, err := time.ParseDuration(timeout)
	switch {
	case slices.ContainsFunc(causes, func(c diagnosis.Cause) bool { return c.Kind == diagnosis.KilledByProbe && !c.Guess }):
		nothing = "each time podfqdn waits too long for the livenessProbe, the kubelet kills and restarts it, after growing pauses"
	case passes:
		nothing = "it is likely to pass by itself, and podfqdn then goes on"
	case v.unsure():
		nothing = "podfqdn keeps waiting, or the application keeps running: nothing shows which"
	case v.State == Published, v.State == Running:
		nothing = "the application keeps running; others may not find it by its name"
	case v.State == Unused:
		nothing = "the name stays as it is"
	case v.State == Pending:
		nothing = "the application does not start"
	case v.State == Waiting && v.podfqdn.sidecar:
		nothing = "podfqdn keeps asking, without a deadline, and the application does not start if it waits for podfqdn"
	case v.State == Waiting && err == nil && limit == 0:
		nothing = "podfqdn keeps asking, without a deadline, and the application does not start"
	case v.State == Waiting:
		nothing = fmt.Sprintf("podfqdn gives up %s after its start, %s; the application does not start", timeout, v.again())
	case v.appRuns():
		nothing = fmt.Sprintf("podfqdn has ended, %s; the application keeps running without it", v.again())
	default:
		nothing = fmt.Sprintf("podfqdn has ended, %s; the application does not start", v.again())
	}
	switch {
	case slices.ContainsFunc(causes, func(c diagnosis.Cause) bool { return c.Kind == diagnosis.TemplateChanged }):
		deleted = either(v.appRuns(), "it helps, but is an outage, as the application runs", "it helps") + ": its owner recreates the Pod from another template, which it has by now"
	case v.owner.kind == "":
		deleted = "a loss: nothing recreates this Pod"
	case v.unsure():
		deleted = "a loss if the application runs; its owner recreates the Pod with the same spec"
	case started:
		deleted = "an outage: the application runs, and its owner recreates the Pod with the same spec"
	case passes:
		deleted = "harmless but useless: the new Pod waits for the same"
	case first.Kind == diagnosis.PeersMissing:
		deleted = "harmless but useless: the new Pod waits for the same"
	case v.State == Refused || !first.Guess && (subjectOf(first.Kind) == ofPod || subjectOf(first.Kind) == ofService || first.Kind == diagnosis.Misconfigured || first.Kind == diagnosis.PeersDeadlock):
		deleted = "harmless but useless: its owner recreates the same Pod; first change what is named"
	default:
		deleted = "harmless, as the application has not started, but not known to help"
	}
	return nothing, deleted
}

// appRuns reports whether the application runs: a container that is not
// podfqdn's, or what podfqdn has become.
func (v *View) appRuns() bool {
	became := func(c part) bool {
		passed, known := c.passed()
		waits := c.Name == v.Container && v.State == Waiting // by what its volume holds, whatever its age
		return c.wraps() && c.status.State.Running != nil && passed && known && !waits
	}
	return slices.ContainsFunc(parts(v.pod), became) || slices.ContainsFunc(v.pod.Spec.Containers, func(c corev1.Container) bool {
		ours := c.Name == v.Container || slices.ContainsFunc(find(v.pod, ""), func(p part) bool { return p.Name == c.Name })
		return !ours && statusOf(v.pod.Status.ContainerStatuses, c.Name).State.Running != nil
	})
}

// again says whether the kubelet starts podfqdn's container again.
func (v *View) again() string {
	if v.pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
		return "and the Pod fails"
	}
	return "and the kubelet restarts it, after growing pauses"
}

// Undo returns what undoes the command of cause number n; "" if it has none.
func (v *View) Undo(wire *diagnosis.Diagnosis, n int) string {
	causes := v.judged(wire)
	if n >= len(causes) || len(causes[n].mend) == 0 {
		return ""
	}
	text := join(causes[n].mend, "; ", v.undo)
	return text + "; if a GitOps tool manages the object, change it there, or the tool may revert the command"
}

// undo returns what undoes a step.
func (v *View) undo(s step) string {
	target, kubectl := strings.Join(s.objects, " "), in(v.kubectl, s.namespace)
	kind, name := path.Split(target)
	switch {
	case s.verb == patch && kind == "service/":
		return fmt.Sprintf("to restore %s: %s", target, fix{{verb: patch, namespace: s.namespace, objects: s.objects, change: v.before(name, s.change)}}.command(v.kubectl))
	case s.verb == patch && s.recreate:
		return fmt.Sprintf("`%s rollout undo %s` restores the template, but not the strategy", kubectl, Quote(target))
	case s.verb == patch && (kind == "deployment/" && strings.Contains(s.change.String(), `"template"`) || kind == "statefulset/"):
		return fmt.Sprintf("`%s rollout undo %s`", kubectl, Quote(target))
	case s.verb == patch, s.verb == remake, s.verb == relabel, s.verb == edit:
		return fmt.Sprintf("%s: write back what was there; save it first with `%s get %s --output yaml`", target, kubectl, Quote(target))
	case s.verb == create:
		kind, _ := s.change["kind"].(string)
		meta, _ := s.change["metadata"].(object)
		return fmt.Sprintf("`%s delete %s/%v`", kubectl, strings.ToLower(kind), meta["name"])
	case s.verb == remove:
		return fmt.Sprintf("nothing brings %s back as it was", target) + either(v.owner.kind != "" && target == "pod/"+v.Pod, "; its owner recreates it", "")
	case s.verb == scale:
		return fmt.Sprintf("`%s scale %s --replicas=0`", kubectl, Quote(target))
	case s.verb == restart:
		return fmt.Sprintf("a restart of %s leaves nothing to undo; it replaces one Pod after the other", target)
	}
	return "it changes nothing"
}

// before returns the change that restores what a Service has now.
func (v *View) before(service string, change object) object {
	now := v.services[service].Spec
	spec, _ := change["spec"].(object)
	old := object{}
	for _, key := range slices.Sorted(maps.Keys(spec)) {
		switch key {
		case "publishNotReadyAddresses":
			old[key] = now.PublishNotReadyAddresses
		case "ipFamilyPolicy":
			old[key] = now.IPFamilyPolicy
		case "selector":
			selector := object{}
			for label := range spec[key].(object) {
				selector[label] = nil
			}
			for label, value := range now.Selector {
				selector[label] = value
			}
			old[key] = selector
		}
	}
	return object{"spec": old}
}

// address is one in a reason, which differs from Pod to Pod.
var address = regexp.MustCompile(`\b[0-9]+(\.[0-9]+){3}\b|\b[0-9a-f]*(:[0-9a-f]*){2,7}:[0-9a-f]+\b`)

// Groups returns what Pods that are not healthy have in common, one line a group:
// state and cause, node and owner; nothing for fewer than two. Pods of one cause are one group,
// whichever Service it is about; the reason is that of the first.
func Groups(uses []Use) (lines []string) {
	type group struct {
		cause, why    string
		others        []string // other reasons of the same cause
		n             int
		nodes, owners map[string]int
	}
	var groups []*group
	sick := 0
	for _, u := range uses {
		if u.Healthy {
			continue
		}
		sick++
		why := string(u.State)
		if u.Reason != "" {
			reason, _, _ := strings.Cut(regexp.MustCompile(`\b`+regexp.QuoteMeta(u.Pod)+`\b`).ReplaceAllString(u.Reason, "POD"), "; ")
			reason = address.ReplaceAllString(reason, "ADDRESS")
			why += ": " + reason
		}
		cause := why
		if kind, _, ok := strings.Cut(u.Reason, ": "); ok && slices.Contains(diagnosis.Kinds(), diagnosis.Kind(strings.TrimPrefix(kind, "perhaps "))) && kind != string(diagnosis.Misconfigured) {
			cause = string(u.State) + ": " + kind
		}
		i := slices.IndexFunc(groups, func(g *group) bool { return g.cause == cause })
		if i < 0 {
			groups, i = append(groups, &group{cause: cause, why: why, nodes: map[string]int{}, owners: map[string]int{}}), len(groups)
		}
		if g := groups[i]; why != g.why && !slices.Contains(g.others, why) {
			g.others = append(g.others, why)
		}
		groups[i].n++
		groups[i].nodes[cmp.Or(u.Node, "no node")]++
		groups[i].owners[u.Namespace+" "+cmp.Or(u.Owner, "no owner")]++
	}
	if sick < 2 {
		return nil
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return b.n - a.n })
	for _, g := range groups {
		why := g.why
		if len(g.others) > 0 {
			why += fmt.Sprintf(" (and %d more like it)", len(g.others))
		}
		lines = append(lines, fmt.Sprintf("%d of %d: %s; on %s; of %s", g.n, sick, why, counted(g.nodes), counted(g.owners)))
	}
	return lines
}

// counted returns the most frequent words with their counts.
func counted(words map[string]int) string {
	const most = 5
	all := slices.SortedFunc(maps.Keys(words), func(a, b string) int { return cmp.Or(words[b]-words[a], cmp.Compare(a, b)) })
	text := join(all[:min(len(all), most)], ", ", func(word string) string { return fmt.Sprintf("%s (%d)", word, words[word]) })
	if len(all) > most {
		text += fmt.Sprintf(" and %d more", len(all)-most)
	}
	return text
}
