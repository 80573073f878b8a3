package kube

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// State says how far podfqdn is in a Pod, by the Pod's status.
type State string

const (
	Unused    State = "no podfqdn"  // no container of the Pod is podfqdn's
	Pending   State = "not started" // its container has not begun
	Waiting   State = "waiting"     // it runs, and the application does not
	Running   State = "running"     // a sidecar that has let the application start, or exec that has become it
	Published State = "published"   // it has ended well, or the application that it became has ended
	Refused   State = "refused"     // it ended with 10: the spec or a variable has to change
	GaveUp    State = "gave up"     // 11, 12, 14, 15 or 16: the deadline
	Failed    State = "failed"      // anything else
	Over      State = "over"        // the Pod has ended or is being deleted, and does not need a name any more
)

// Use is a Pod and what podfqdn does in it.
type Use struct {
	Namespace string        `json:"namespace"`
	Pod       string        `json:"pod"`
	State     State         `json:"state"`
	Healthy   bool          `json:"healthy"`
	For       time.Duration `json:"-"`                // how long it has been so; 0 if unknown
	Container string        `json:"container"`        // podfqdn's
	Reason    string        `json:"reason,omitempty"` // what podfqdn said at its end, or why it does not run
	Node      string        `json:"node,omitempty"`
	Owner     string        `json:"owner,omitempty"` // KIND/NAME of what made the Pod
	// Containers are all of podfqdn's, if there are several: the fields above are
	// of the worst.
	Containers []Contained `json:"containers,omitempty"`

	code int32 // with which podfqdn ended last; 0 also if it has not
}

// Contained is what podfqdn does in one container of several.
type Contained struct {
	Container string `json:"container"`
	State     State  `json:"state"`
	Healthy   bool   `json:"healthy"`
	Reason    string `json:"reason,omitempty"`
}

// maxPages is the most pages of a list of Pods; Kubernetes is made for 300.
const maxPages = 1000

// Uses returns the Pods that have a container of podfqdn's, in the order of the
// API server: of one namespace or, for "", of all, and of those that selector
// selects. The error is a *Forbidden or what the API server says.
func (c *Client) Uses(ctx context.Context, namespace, selector string) ([]Use, error) {
	var (
		uses []Use
		next string
		list = Right{Verb: "list", Resource: "pods", Namespace: namespace}
		// The Pods that wait and do not say why, by their place in uses.
		waiting = map[int]*corev1.Pod{}
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
			if len(find(&p, "")) > 0 {
				uses = append(uses, use(&p, ""))
				if u := uses[len(uses)-1]; u.State == Waiting && u.Reason == "" {
					waiting[len(uses)-1] = &p
				}
			}
		}
		if page.Continue == "" {
			c.reasons(ctx, uses, waiting)
			return uses, nil
		}
		if page.Continue == next {
			break
		}
		next = page.Continue
	}
	return nil, fmt.Errorf("ask the API server to %s: the list does not end", list)
}

// part is podfqdn's container of a Pod.
type part struct {
	corev1.Container
	sidecar bool // it runs for the life of the Pod
	brought bool // its command is in a volume that brings podfqdn's file
	status  corev1.ContainerStatus
}

// parts returns all containers of a Pod, those of init first.
func parts(p *corev1.Pod) (all []part) {
	for _, c := range p.Spec.InitContainers {
		always := deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways
		all = append(all, partOf(p, c, always, p.Status.InitContainerStatuses))
	}
	for _, c := range p.Spec.Containers {
		all = append(all, partOf(p, c, true, p.Status.ContainerStatuses))
	}
	return all
}

func partOf(p *corev1.Pod, c corev1.Container, sidecar bool, statuses []corev1.ContainerStatus) part {
	made := part{Container: c, sidecar: sidecar, status: statusOf(statuses, c.Name)}
	if words := slices.Concat(c.Command, c.Args); len(words) > 0 {
		m, ok := mountAt(c, path.Clean(words[0]))
		made.brought = ok && brings(p, m.Name)
	}
	made.sidecar = sidecar && !made.wraps() && !(made.waits() && !made.shelled())
	return made
}

// find returns podfqdn's containers: the one that is chosen by its name; else
// those with podfqdn's image or command, and else the one of podfqdn's name. A
// name alone says little: two may be swapped.
func find(p *corev1.Pod, chosen string) (found []part) {
	all := parts(p)
	is := part.made
	if chosen != "" {
		is = func(c part) bool { return c.Name == chosen }
	} else if !slices.ContainsFunc(all, is) {
		is = func(c part) bool { return c.Name == "podfqdn" }
	}
	return slices.DeleteFunc(all, func(c part) bool { return !is(c) })
}

// made reports whether a container has podfqdn's image, from any registry, or
// its binary in another image, or, where both have other names, its arguments
// and what they need.
func (c part) made() bool {
	words := slices.Concat(c.Command, c.Args)
	file, _ := c.runs()
	switch {
	case ours(c.Image), file != "":
		return true
	case len(words) == 0 || len(c.Args) > 1 || words[len(words)-1] != "init" && words[len(words)-1] != "sidecar":
		return false
	}
	mount, mounted := mountAt(c.Container, "/identity")
	return mounted && !mount.ReadOnly || slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return strings.HasPrefix(e.Name, "PODFQDN_") })
}

// probed reports whether the kubelet asks it whether DNS agrees: without that it
// is ready as soon as it runs.
func (c part) probed() bool { return c.StartupProbe != nil || c.ReadinessProbe != nil }

// binary returns where podfqdn is in the container.
func (c part) binary() string {
	file, _ := c.runs()
	return cmp.Or(file, "/podfqdn")
}

func statusOf(all []corev1.ContainerStatus, name string) corev1.ContainerStatus {
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	return corev1.ContainerStatus{}
}

// use reads a Pod's status: that of podfqdn's container which is worst off.
func use(p *corev1.Pod, chosen string) Use { return together(uses(p, chosen)) }

// together returns the first, and with it what is said of all.
func together(all []Use) Use {
	u := all[0]
	u.Containers = nil
	if len(all) > 1 {
		for _, o := range all {
			u.Containers = append(u.Containers, Contained{o.Container, o.State, o.Healthy, o.Reason})
		}
	}
	return u
}

// worse are the states of a container next to another one, the worst last.
var worse = []State{Over, Published, Running, Pending, Waiting, GaveUp, Failed, Refused}

// byWorst puts the worst off first.
func byWorst(a, b Use) int { return slices.Index(worse, b.State) - slices.Index(worse, a.State) }

// uses returns what podfqdn does in each of its containers, the worst off first;
// one that is Unused where there is none.
func uses(p *corev1.Pod, chosen string) []Use {
	var all []Use
	for _, c := range find(p, chosen) {
		all = append(all, useOf(p, c))
	}
	if len(all) == 0 {
		all = []Use{{Namespace: p.Namespace, Pod: p.Name, State: Unused}}
	}
	for i := range all {
		all[i].Node = p.Spec.NodeName
		if ref := metav1.GetControllerOf(p); ref != nil {
			all[i].Owner = ref.Kind + "/" + ref.Name
			if hash := p.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; ref.Kind == "ReplicaSet" && hash != "" {
				all[i].Owner = "Deployment/" + strings.TrimSuffix(ref.Name, "-"+hash)
			}
		}
	}
	slices.SortStableFunc(all, byWorst)
	return all
}

func useOf(p *corev1.Pod, c part) Use {
	u := Use{Namespace: p.Namespace, Pod: p.Name, State: Unused, Container: c.Name}
	state, last := c.status.State, c.status.LastTerminationState.Terminated
	switch {
	case p.Status.Phase == corev1.PodSucceeded || p.DeletionTimestamp != nil:
		u.State = Over
	case loops(c.status) && c.speaks(last):
		u.ended(last)
	case state.Running != nil && c.wraps():
		u.goesOn(p, c)
	case state.Running != nil:
		u.State, u.For = Waiting, since(state.Running.StartedAt)
		if c.sidecar && deref(c.status.Started, false) && c.status.Ready {
			u.State = Running
		}
	case state.Terminated != nil && !c.speaks(state.Terminated):
		u.handedOver(c, state.Terminated)
	case state.Terminated != nil:
		u.ended(state.Terminated)
	case last != nil && !c.speaks(last):
		u.handedOver(c, last)
	case last != nil && last.ExitCode != 0: // and it will be started again
		u.ended(last)
	default:
		u.State = Pending
		u.Reason = unstarted(p, state.Waiting)
	}
	u.previously(c)
	u.Healthy = u.State == Published || u.State == Running || u.State == Over
	return u
}

// young is how long a container runs that podfqdn ends at once: what is wrong
// with a variable or the volume it finds in its first moments. A status may be
// late, so where it has happened more than once a minute has to pass.
const young = 10 * time.Second

// loops reports whether a container that runs is in a crash loop: it ended at
// once the last time, and has not run for longer yet. The moment between two
// ends says nothing. A deadline that passed is not such an end.
func loops(status corev1.ContainerStatus) bool {
	now, last := status.State.Running, status.LastTerminationState.Terminated
	if now == nil || last == nil || slices.Contains(deadlines, last.ExitCode) || last.ExitCode == 0 {
		return false
	}
	enough := either(status.RestartCount > 1, time.Minute, young)
	return last.FinishedAt.Sub(last.StartedAt.Time) < young && time.Since(now.StartedAt.Time) < enough
}

// deadlines are podfqdn's exit codes when its time is over (docs/contract.md, exit codes).
var deadlines = []int32{11, 12, 14, exitPeerless, 16}

// maxNamespaces is the most namespaces whose Services are read for a table.
const maxNamespaces = 20

// reasons sets the Reason of Pods that wait, as far as the Services and
// EndpointSlices of their namespaces show it.
func (c *Client) reasons(ctx context.Context, uses []Use, waiting map[int]*corev1.Pod) {
	seen := map[string]*View{}
	for _, i := range slices.Sorted(maps.Keys(waiting)) {
		p := waiting[i]
		world, ok := seen[p.Namespace]
		if !ok && len(seen) < maxNamespaces {
			world = &View{Use: Use{Namespace: p.Namespace}}
			see := func(right Right, selector string, into runtime.Object) error {
				return c.read(ctx, right, selector, into)
			}
			world.seeServices(see)
			world.seeSlices(see)
			seen[p.Namespace] = world
		}
		if world == nil || world.services == nil {
			uses[i].Reason = "not known: the Services of the namespace were not read"
			continue
		}
		v := &View{kubectl: c.Kubectl, pod: p, services: world.services, slices: world.slices, sliced: world.sliced, peers: map[string]*corev1.Pod{}}
		v.Use = uses[i]
		if ref := metav1.GetControllerOf(p); ref != nil {
			v.owner.kind, v.owner.name = ref.Kind, ref.Name
		}
		all := v.Each()
		if causes := all[0].Causes(nil); len(causes) > 0 && causes[0].Kind != diagnosis.Unexplained {
			uses[i].Reason = either(causes[0].Guess, "perhaps ", "") + string(causes[0].Kind) + ": " + causes[0].Why
		} else {
			uses[i].Reason = "not known: Services and EndpointSlices show no fault; the Pod's own doctor asks DNS"
		}
	}
}

// ended reads how podfqdn's container ended (docs/contract.md, exit codes).
func (u *Use) ended(end *corev1.ContainerStateTerminated) {
	u.For, u.code = since(end.FinishedAt), end.ExitCode
	switch {
	case end.ExitCode == 0:
		u.State = Published
		return
	case end.ExitCode == exitRefused:
		u.State = Refused
	case slices.Contains(deadlines, end.ExitCode):
		u.State = GaveUp
	default:
		u.State = Failed
	}
	u.Reason = said(end)
	if u.Reason == "" {
		u.Reason = fmt.Sprintf("it ended with exit code %d (%s) and no message", end.ExitCode, cmp.Or(end.Reason, "no reason given"))
	}
}

// unstarted returns why a container has not started.
func unstarted(p *corev1.Pod, waiting *corev1.ContainerStateWaiting) string {
	if why := unscheduled(p); why != "" {
		return "no node takes the Pod: " + why
	}
	if waiting != nil && waiting.Reason != "PodInitializing" {
		return strings.TrimSuffix(waiting.Reason+": "+oneLine(waiting.Message), ": ")
	}
	for _, c := range p.Spec.InitContainers { // those before it
		s := statusOf(p.Status.InitContainerStatuses, c.Name)
		if s.State.Running != nil && !deref(s.Started, true) || s.State.Waiting != nil && s.State.Waiting.Reason != "PodInitializing" {
			return fmt.Sprintf("init container %+q comes first and has not ended", c.Name)
		}
	}
	return ""
}

// since returns how long ago something was; 0 if unknown.
func since(t metav1.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(time.Since(t.Time).Round(time.Second), 0)
}

// oneLine returns text from a Pod's status as one line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
