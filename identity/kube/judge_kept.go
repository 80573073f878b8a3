package kube

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// unbegun reports whether a Pod is on a node and none of its containers has begun:
// the kubelet mounts the volumes and makes the sandbox before the first one begins.
func unbegun(p *corev1.Pod) bool {
	return p.Spec.NodeName != "" && p.Status.Phase == corev1.PodPending && p.DeletionTimestamp == nil &&
		!slices.ContainsFunc(parts(p), func(c part) bool {
			s := c.status
			return s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil
		})
}

// seeEvents reads the events of a Pod that has not begun.
func (v *View) seeEvents(see reader) {
	if !unbegun(v.pod) {
		return
	}
	var list corev1.EventList
	if see(Right{Verb: "list", Resource: "events", Namespace: v.Namespace}, "involvedObject.name="+v.Pod, &list) == nil {
		v.events = list.Items
	}
}

// retried is the age at which an event no longer holds, as the kubelet would have
// repeated it: it retries a mount after two minutes at most.
const retried = 5 * time.Minute

// keeping returns the last event of some reasons about the Pod, as long as it holds.
func (v *View) keeping(reasons ...string) (last corev1.Event, ok bool) {
	for _, e := range v.events {
		about := e.InvolvedObject.Kind == "Pod" && e.InvolvedObject.Name == v.Pod && (e.InvolvedObject.UID == "" || e.InvolvedObject.UID == v.pod.UID)
		if !about || !slices.Contains(reasons, e.Reason) || since(e.LastTimestamp) > retried {
			continue
		}
		// An event that says why a volume is missing wins over one that only says which.
		if !ok || mounting.MatchString(e.Message) || !mounting.MatchString(last.Message) {
			last, ok = e, true
		}
	}
	return last, ok
}

var (
	// mounting begins what the kubelet says of a volume that it cannot mount
	// (k8s.io/kubernetes, pkg/volume/util/operationexecutor).
	mounting = regexp.MustCompile(`(?s)MountVolume\.SetUp failed for volume "([^"]*)" ?:\s*(.*)`)
	// absent is how it names a Secret or a ConfigMap that does not exist.
	absent = regexp.MustCompile(`(?i)\b(secret|configmap) "([^"]*)" not found`)
)

// starts judges what keeps podfqdn from starting.
func (j *judge) starts() {
	switch {
	case j.kept() || j.otherwiseRun() || j.file() || j.overItself():
	case j.State == Pending && j.Reason != "" && j.Reason != creating && !j.held():
		j.found(diagnosis.Unexplained, "podfqdn has not started: "+j.Reason, "find out what keeps the Pod from starting: see kubectl describe pod", nil)
		j.stands = true
	}
}

// kept judges what keeps a Pod from starting, whatever podfqdn's settings are, and
// reports whether something does: nothing passes by itself then.
func (j *judge) kept() bool {
	mount, failed := j.keeping("FailedMount", "FailedAttachVolume")
	sandbox, unmade := j.keeping("FailedCreatePodSandBox")
	switch refused := unscheduled(j.pod); {
	case refused != "":
		j.found(diagnosis.Unschedulable, "podfqdn has not started: no node takes the Pod: "+refused, "what the scheduler names: the Pod's requests, its nodeSelector, affinity, tolerations or volumes; or the nodes", nil)
	case failed:
		j.unmounted(oneLine(mount.Message))
	case unmade:
		j.found(diagnosis.Unexplained, "the kubelet cannot make the Pod's sandbox: "+oneLine(sandbox.Message), "fix what the message names, such as the node's network plugin", nil)
	default:
		why := unstarting(j.pod)
		if len(j.addrs()) > 0 || j.State == Pending && j.Reason != "" && j.Reason != creating || slices.Contains([]string{"", creating}, why) {
			return false
		}
		j.found(diagnosis.Unexplained, "the Pod has no address yet: "+why, "find out what keeps the Pod from starting: see kubectl describe pod", nil)
	}
	j.stands = true
	return true
}

// creating is the reason that a container of a new Pod waits.
const creating = "ContainerCreating"

// unmounted judges a volume that the kubelet cannot mount.
func (j *judge) unmounted(said string) {
	parts := mounting.FindStringSubmatch(said)
	if parts == nil {
		j.found(diagnosis.Volume, "the kubelet cannot mount the Pod's volumes: "+said, "fix what the message names; see kubectl describe pod", nil)
		return
	}
	why, volume := parts[2], parts[1]
	missing := absent.FindStringSubmatch(why)
	if missing == nil {
		j.found(diagnosis.Volume, fmt.Sprintf("the kubelet cannot mount volume %+q: %s", volume, why), "fix what the message names; see kubectl describe pod", nil)
		return
	}
	object := fmt.Sprintf("%s %+q", either(strings.EqualFold(missing[1], "secret"), "Secret", "ConfigMap"), missing[2])
	j.found(diagnosis.Volume, fmt.Sprintf("the kubelet cannot mount volume %+q: %s does not exist in namespace %+q", volume, object, j.Namespace),
		fmt.Sprintf("create %s; or, if the Pod can start without it, optional: true in volume %+q, %s", object, volume, j.field("volumes")), nil)
}

// unscheduled returns the scheduler's reason why no node takes a Pod; "" if one does,
// or if the scheduler has not tried yet.
func unscheduled(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return cmp.Or(oneLine(c.Message), c.Reason, "the scheduler does not say why")
		}
	}
	return ""
}
