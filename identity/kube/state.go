package kube

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// State is how far podfqdn is in a Pod, in one word, by the Pod's status.
type State string

const (
	Unused    State = "no podfqdn"  // no container of the Pod is podfqdn's
	Pending   State = "not started" // its container has not begun
	Waiting   State = "waiting"     // it runs, and the application does not
	Running   State = "running"     // a sidecar that has let the application start
	Published State = "published"   // it has ended well
	Refused   State = "refused"     // it ended with 10: the spec or a variable has to change
	GaveUp    State = "gave up"     // 11, 12 or 14: the deadline
	Failed    State = "failed"      // anything else
	Over      State = "over"        // the Pod has ended or is being deleted, and does not need a name any more
)

// Use is a Pod and what podfqdn does in it.
type Use struct {
	Namespace string        `json:"namespace"`
	Pod       string        `json:"pod"`
	State     State         `json:"state"`
	Healthy   bool          `json:"healthy"`
	For       time.Duration `json:"-"`                // how long it has been so; 0 where that is unknown
	Container string        `json:"container"`        // podfqdn's
	Reason    string        `json:"reason,omitempty"` // what podfqdn said at its end, or why it does not run

	code int32 // with which podfqdn ended last; 0 too where it has not
}

// maxPages bounds a list of Pods; Kubernetes is made for 300 such pages.
const maxPages = 1000

// Uses returns the Pods that have a container of podfqdn's, in the order of the
// API server: of one namespace or, for "", of all, and of those that selector
// selects. The error is a *Forbidden or what the API server says.
func (c *Client) Uses(ctx context.Context, namespace, selector string) ([]Use, error) {
	var (
		uses []Use
		next string
		list = Right{Verb: "list", Resource: "pods", Namespace: namespace}
	)
	for range maxPages {
		var page corev1.PodList
		err := func() error {
			ctx, cancel := c.patient(ctx)
			defer cancel()
			options := &metav1.ListOptions{LabelSelector: selector, Limit: 500, Continue: next}
			request := c.groups[""].Get().Resource("pods").VersionedParams(options, parameters)
			if namespace != "" {
				request.Namespace(namespace)
			}
			return failed(ctx, list, answer(request.Do(ctx), &page))
		}()
		if err != nil {
			return nil, err
		}
		for _, p := range page.Items {
			if _, ok := find(&p); ok {
				uses = append(uses, use(&p))
			}
		}
		if page.Continue == "" {
			return uses, nil
		}
		if page.Continue == next {
			break
		}
		next = page.Continue
	}
	return nil, fmt.Errorf("ask the API server: it answers without end to %s", list)
}

// part is podfqdn's container of a Pod.
type part struct {
	corev1.Container
	sidecar bool
	status  corev1.ContainerStatus
}

// find returns podfqdn's container: the one of that name, else one with
// podfqdn's image or command. An init container comes before all others.
func find(p *corev1.Pod) (part, bool) {
	var parts []part
	for _, c := range p.Spec.InitContainers {
		always := deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways
		parts = append(parts, part{c, always, statusOf(p.Status.InitContainerStatuses, c.Name)})
	}
	for _, c := range p.Spec.Containers {
		parts = append(parts, part{c, true, statusOf(p.Status.ContainerStatuses, c.Name)})
	}
	named := func(c part) bool { return c.Name == "podfqdn" }
	for _, is := range []func(part) bool{named, part.made} {
		if i := slices.IndexFunc(parts, is); i >= 0 {
			return parts[i], true
		}
	}
	return part{}, false
}

// made reports whether a container has podfqdn's image, from any registry, or
// its binary in another image.
func (c part) made() bool {
	name, _, _ := strings.Cut(path.Base(c.Image), "@")
	name, _, _ = strings.Cut(name, ":")
	return strings.Contains(name, "podfqdn") || len(c.Command) > 0 && path.Base(c.Command[0]) == "podfqdn"
}

func statusOf(all []corev1.ContainerStatus, name string) corev1.ContainerStatus {
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	return corev1.ContainerStatus{}
}

// use reads a Pod's status.
func use(p *corev1.Pod) Use {
	u := Use{Namespace: p.Namespace, Pod: p.Name, State: Unused}
	c, ok := find(p)
	if !ok {
		return u
	}
	u.Container = c.Name
	state, last := c.status.State, c.status.LastTerminationState.Terminated
	switch {
	case p.Status.Phase == corev1.PodSucceeded || p.DeletionTimestamp != nil:
		u.State = Over
	case state.Running != nil:
		u.State, u.For = Waiting, since(state.Running.StartedAt)
		if c.sidecar && deref(c.status.Started, false) && c.status.Ready {
			u.State = Running
		}
	case state.Terminated != nil:
		u.ended(state.Terminated)
	case last != nil && last.ExitCode != 0: // and it will be started again
		u.ended(last)
	default:
		u.State = Pending
		u.Reason = unstarted(p, state.Waiting)
	}
	if u.State == Waiting && last != nil && last.ExitCode != 0 {
		u.Reason, u.code = "before that: "+oneLine(last.Message), last.ExitCode
	}
	u.Healthy = u.State == Published || u.State == Running || u.State == Over
	return u
}

// ended reads how podfqdn's container ended (README, exit codes).
func (u *Use) ended(end *corev1.ContainerStateTerminated) {
	u.For, u.code = since(end.FinishedAt), end.ExitCode
	switch end.ExitCode {
	case 0:
		u.State = Published
		return
	case 10:
		u.State = Refused
	case 11, 12, 14:
		u.State = GaveUp
	default:
		u.State = Failed
	}
	u.Reason = oneLine(end.Message)
	if u.Reason == "" {
		u.Reason = fmt.Sprintf("it ended with %d and said nothing", end.ExitCode)
	}
}

// unstarted says why a container has not begun.
func unstarted(p *corev1.Pod, waiting *corev1.ContainerStateWaiting) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "no node takes the Pod: " + oneLine(c.Message)
		}
	}
	if waiting != nil && waiting.Reason != "PodInitializing" {
		return strings.TrimSuffix(waiting.Reason+": "+oneLine(waiting.Message), ": ")
	}
	for _, c := range p.Spec.InitContainers { // those before it
		s := statusOf(p.Status.InitContainerStatuses, c.Name)
		if s.State.Running != nil && !deref(s.Started, true) || s.State.Waiting != nil && s.State.Waiting.Reason != "PodInitializing" {
			return fmt.Sprintf("init container %+q comes first, and does not get on", c.Name)
		}
	}
	return ""
}

// since returns how long ago something was; 0 where that is unknown.
func since(t metav1.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(time.Since(t.Time).Round(time.Second), 0)
}

// oneLine returns text from a Pod's status as one line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
