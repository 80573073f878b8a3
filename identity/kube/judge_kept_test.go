package kube

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhatKeepsAPodFromStartingIsNotSaidToPass(t *testing.T) {
	t.Parallel()
	event := func(reason, message string, ago time.Duration) corev1.Event {
		return corev1.Event{InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "db-0", UID: "1"}, Reason: reason, Message: message,
			LastTimestamp: metav1.NewTime(time.Now().Add(-ago))}
	}
	const tls = `MountVolume.SetUp failed for volume "tls" : secret "web-tls" not found`
	const timedOut = "Unable to attach or mount volumes: unmounted volumes=[tls], unattached volumes=[]: timed out waiting for the condition"
	for name, c := range map[string]struct {
		events []corev1.Event
		change func(*corev1.Pod)
		want   string
		words  []string
	}{
		"a Secret that does not exist": {[]corev1.Event{event("FailedMount", tls, time.Second), event("FailedMount", timedOut, 0), event("Scheduled", "x", 0)}, nil, "volume",
			[]string{`the kubelet cannot mount volume "tls": Secret "web-tls" does not exist in namespace "default"`, `create Secret "web-tls"; or, if the Pod can start without it, optional: true in volume "tls", spec.volumes of the Pod`}},
		"a ConfigMap of several": {[]corev1.Event{event("FailedMount", `MountVolume.SetUp failed for volume "all" : [configmap "cfg" not found, secret "s" not found]`, 0)}, nil, "volume", []string{`ConfigMap "cfg" does not exist`}},
		"another reason":         {[]corev1.Event{event("FailedMount", "MountVolume.SetUp failed for volume \"tls\" : references non-existent secret key: tls.key", 0)}, nil, "volume", []string{`cannot mount volume "tls": references non-existent secret key: tls.key`}},
		"no volume is named":     {[]corev1.Event{event("FailedMount", timedOut, 0)}, nil, "volume", []string{"cannot mount the Pod's volumes: Unable to attach"}},
		"no network":             {[]corev1.Event{event("FailedCreatePodSandBox", "plugin type=\"x\" failed", 0)}, nil, "unexplained", []string{"cannot make the Pod's sandbox: plugin"}},
		"it was long ago":        {[]corev1.Event{event("FailedMount", tls, time.Hour)}, nil, "endpointslice-lag", []string{"it passes"}},
		"of another Pod":         {[]corev1.Event{{InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "db-0", UID: "2"}, Reason: "FailedMount", Message: tls}}, nil, "endpointslice-lag", nil},
		"nothing is said":        {nil, nil, "endpointslice-lag", []string{"it passes"}},
		"nothing is said for long": {nil, func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour)) }, "endpointslice-lag?",
			[]string{"what keeps the Pod from starting"}},
		"no node takes it": {nil, func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available"}}
		}, "unschedulable", []string{"no node takes the Pod: 0/3 nodes are available"}},
		"its image is not there": {nil, func(p *corev1.Pod) {
			p.Status.InitContainerStatuses[0].State.Waiting.Reason = "ErrImagePull"
		}, "unexplained", []string{"podfqdn has not started: ErrImagePull"}},
		"another's image is not there": {nil, func(p *corev1.Pod) {
			p.Spec.Containers = []corev1.Container{{Name: "app"}}
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImageNeverPull"}}}}
		}, "unexplained", []string{"the Pod has no address yet: ErrImageNeverPull"}},
	} {
		v := situation{services: true, slices: true, corefile: allZones}.view()
		v.pod.Status = corev1.PodStatus{Phase: corev1.PodPending, InitContainerStatuses: []corev1.ContainerStatus{
			{Name: "podfqdn", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}}}}
		v.pod.Spec.NodeName = "node-1"
		if c.change != nil {
			c.change(v.pod)
		}
		v.events, v.slices = c.events, nil
		v.Use = use(v.pod, "")
		v = v.Each()[0]
		causes := v.Causes(nil)
		if got := kindsOf(causes); got != c.want {
			t.Errorf("%s: %s, not %s: %+v", name, got, c.want, causes)
			continue
		}
		for _, words := range c.words {
			if !strings.Contains(causes[0].Why+"\n"+causes[0].Change, words) {
				t.Errorf("%s: %q is missing: %+v", name, words, causes[0])
			}
		}
	}
}

// Nobody needs to read events of a Pod that has begun.
func TestEventsAreReadOfAPodThatHasNotBegun(t *testing.T) {
	t.Parallel()
	p := waiter("x")
	p.Spec.NodeName = "node-1"
	if unbegun(p) {
		t.Error("a container runs")
	}
	p.Status.InitContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}
	if !unbegun(p) {
		t.Error("no container runs")
	}
	if p.Spec.NodeName = ""; unbegun(p) {
		t.Error("the kubelet has not heard of it")
	}
}
