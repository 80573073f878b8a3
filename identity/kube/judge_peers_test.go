package kube

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// crowd is what the API shows of a StatefulSet db, and of its Pod that waits for peers.
type crowd struct {
	own         int
	peers, wait string
	replicas    int32
	start       int32
	policy      appsv1.PodManagementPolicyType
	made        int32                                    // Pods, as the StatefulSet counts them; 0 where it does not
	published   []string                                 // hostnames
	pods        map[string]func(*corev1.Pod)             // what was read of them; nil for one that is not there
	nodes       map[string]bool                          // whether they are Ready
	set         func(*View)                              // what else
	container   func(*corev1.Container, *corev1.Pod)     // podfqdn's
	service     func(services map[string]corev1.Service) // and others
}

func (c crowd) view() *View {
	labels := map[string]string{"app": "db"}
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: "1", Labels: labels},
			Spec: corev1.PodSpec{Hostname: name, Subdomain: "db"}}
	}
	own := pod(fmt.Sprintf("db-%d", c.own))
	own.OwnerReferences = []metav1.OwnerReference{{Kind: "StatefulSet", Name: "db", Controller: new(true)}}
	own.Spec.InitContainers = []corev1.Container{{Name: "podfqdn", Env: []corev1.EnvVar{literal("PODFQDN_PEERS", c.peers), literal("PODFQDN_PEERS_WAIT", c.wait)}}}
	own.Status = corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.244.0.17"}}, InitContainerStatuses: []corev1.ContainerStatus{
		{Name: "podfqdn", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}
	if c.container != nil {
		c.container(&own.Spec.InitContainers[0], own)
	}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "default"},
		Spec: appsv1.StatefulSetSpec{Replicas: &c.replicas, ServiceName: "db", PodManagementPolicy: c.policy}}
	if c.start > 0 {
		set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: c.start}
	}
	if c.made > 0 {
		set.Generation, set.Status = 3, appsv1.StatefulSetStatus{ObservedGeneration: 3, Replicas: c.made}
	}
	slice := discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "db-x", Labels: map[string]string{discoveryv1.LabelServiceName: "db"}}}
	for i, name := range append([]string{own.Name}, c.published...) {
		hostname, _, _ := strings.Cut(name, "@")
		_, target, other := strings.Cut(name, "@")
		e := discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.0.%d", 17+i)}, Hostname: &hostname,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: either(other, target, hostname), UID: either(i == 0, own.UID, "2")}}
		slice.Endpoints = append(slice.Endpoints, e)
	}
	v := viewOf(own, []corev1.Service{{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "default"},
		Spec: corev1.ServiceSpec{ClusterIP: "None", IPFamilies: []corev1.IPFamily{"IPv4"}, Selector: labels, PublishNotReadyAddresses: true}}}, set, nil, []discoveryv1.EndpointSlice{slice}, nil, allZones)
	for name, change := range c.pods {
		v.peers[name] = nil
		if change != nil {
			v.peers[name] = pod(name)
			change(v.peers[name])
		}
	}
	v.nodes = c.nodes
	if c.service != nil {
		c.service(v.services)
	}
	if c.set != nil {
		c.set(v)
	}
	return v
}

// peerless is what podfqdn doctor says in a Pod whose own name is as it should be.
var peerless = &diagnosis.Diagnosis{Schema: 1, Verdict: identity.Peerless, Reason: "peers are missing",
	Causes: []diagnosis.Cause{{Kind: diagnosis.PeersDeadlock, Why: "the wire says so", Guess: true}, {Kind: diagnosis.PeersMissing, Why: "the wire says so"}}}

func TestAWaitForPodsThatAreMadeOnlyWhenThisOneIsReady(t *testing.T) {
	t.Parallel()
	none := func(ordinals ...int) map[string]func(*corev1.Pod) {
		all := map[string]func(*corev1.Pod){}
		for _, n := range ordinals {
			all[fmt.Sprintf("db-%d", n)] = nil
		}
		return all
	}
	const remade = `kubectl --namespace default patch statefulset/db --patch '{"spec":{"podManagementPolicy":"Parallel"}}' --type merge --dry-run=client --output json | kubectl --namespace default replace --force --cascade=orphan --filename -`
	for name, c := range map[string]struct {
		crowd
		want  string // the kinds, with a ? behind a guess
		words []string
	}{
		"all at the first start":      {crowd{peers: "3", wait: "all", replicas: 3, pods: none(1, 2)}, "peers-deadlock", []string{"needs 3 members, this Pod included, but there are no Pods db-1 and db-2", "PODFQDN_PEERS_WAIT=lower"}},
		"said in the policy's word":   {crowd{peers: "3", wait: "all", replicas: 3, policy: appsv1.OrderedReadyPodManagement, pods: none(1, 2)}, "peers-deadlock", nil},
		"majority at the first start": {crowd{peers: "5", wait: "majority", replicas: 5, own: 1, published: []string{"db-0"}, pods: none(2, 3, 4)}, "peers-deadlock", nil},
		"a number":                    {crowd{peers: "5", wait: "4", replicas: 5, own: 2, published: []string{"db-0", "db-1"}, pods: none(3, 4)}, "peers-deadlock", nil},
		"one of all, much later":      {crowd{peers: "3", wait: "all", replicas: 3, published: []string{"db-1"}, pods: none(2)}, "peers-deadlock", []string{"there is no Pod db-2"}},
		"from ordinal 1 on":           {crowd{peers: "1..3", wait: "majority", replicas: 3, start: 1, own: 1, pods: none(2, 3)}, "peers-deadlock", nil},
		"a list of names":             {crowd{peers: "db-{0..2}", wait: "all", replicas: 3, pods: none(1, 2)}, "peers-deadlock", nil},
		"a large set":                 {crowd{peers: "100", wait: "majority", replicas: 100, made: 1, pods: none(1, 2, 3, 4, 5, 6)}, "peers-deadlock", []string{"there are no Pods db-1, db-2, db-3, db-4, db-5 and db-6"}},

		"a large set, of which many are made": {crowd{peers: "100", wait: "majority", replicas: 100, made: 99, pods: none(1)}, "peers-missing", nil},
		"a large set that does not count":     {crowd{peers: "100", wait: "majority", replicas: 100, pods: none(1, 2, 3, 4, 5, 6)}, "peers-missing", nil},
		"Parallel":                            {crowd{peers: "3", wait: "all", replicas: 3, policy: appsv1.ParallelPodManagement, pods: none(1, 2)}, "peers-missing", []string{"db-1 and db-2: there is no such Pod"}},
		"lower":                               {crowd{peers: "3", wait: "lower", replicas: 3, own: 2, published: []string{"db-0"}, pods: none(1)}, "peers-missing", []string{"db-1: there is no such Pod"}},
		"the Pods were not read":              {crowd{peers: "3", wait: "all", replicas: 3}, "peers-missing", []string{`db-1 and db-2: no EndpointSlice of Service "db" publishes it`}},
	} {
		causes := c.view().Causes(peerless)
		if got := kindsOf(causes); got != c.want {
			t.Errorf("%s: %s, not %s: %+v", name, got, c.want, causes)
			continue
		}
		for _, words := range c.words {
			if !strings.Contains(causes[0].Why+"\n"+causes[0].Change, words) {
				t.Errorf("%s: %q is missing: %+v", name, words, causes[0])
			}
		}
		if deadlock := causes[0].Kind == diagnosis.PeersDeadlock; deadlock != (causes[0].Command == remade) || !deadlock && causes[0].Command != "" {
			t.Errorf("%s: the command is %s", name, causes[0].Command)
		}
	}
}

// What the API shows says whether a wait can end, no matter which container asks DNS.
func TestADeadlockIsAFactOnlyWhereThePodIsNotReadyMeanwhile(t *testing.T) {
	t.Parallel()
	c := crowd{peers: "3", wait: "all", replicas: 3, pods: map[string]func(*corev1.Pod){"db-1": nil, "db-2": nil}}
	always := corev1.ContainerRestartPolicyAlways
	for name, one := range map[string]struct {
		change func(*corev1.Container, *corev1.Pod)
		want   string
	}{
		"an init container": {nil, "peers-deadlock"},
		"a sidecar with a probe": {func(c *corev1.Container, _ *corev1.Pod) {
			c.RestartPolicy, c.StartupProbe = &always, &corev1.Probe{}
		}, "peers-deadlock"},
		"a sidecar without one": {func(c *corev1.Container, _ *corev1.Pod) { c.RestartPolicy = &always }, "peers-deadlock?"},
		"exec in the application's container": {func(c *corev1.Container, p *corev1.Pod) {
			c.Command, c.StartupProbe = []string{"/podfqdn/podfqdn", "exec", "--", "/server"}, &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1000}
			p.Spec.Containers, p.Status.ContainerStatuses = p.Spec.InitContainers, p.Status.InitContainerStatuses
			p.Spec.InitContainers, p.Status.InitContainerStatuses = nil, nil
		}, "peers-deadlock?"},
		"a Pod that is Ready": {func(_ *corev1.Container, p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}, "peers-missing?"},
		"a container that gave up": {func(_ *corev1.Container, p *corev1.Pod) {
			p.Status.InitContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 15, Message: "gave up"}}
		}, "peers-deadlock"},
	} {
		c := c
		c.container = one.change
		causes := c.view().Causes(nil)
		if got := kindsOf(causes); got != one.want {
			t.Errorf("%s: %s, not %s: %+v", name, got, one.want, causes)
		}
		for _, cause := range causes {
			if cause.Guess && cause.Command != "" {
				t.Errorf("%s: a guess has the command %s", name, cause.Command)
			}
		}
	}
}

func TestWhatEachMissingPeerLacksIsSaidInGroups(t *testing.T) {
	t.Parallel()
	fine := func(*corev1.Pod) {}
	on := func(p *corev1.Pod) {
		p.Spec.NodeName, p.Status.Phase = "node-7", corev1.PodRunning
		p.Status.PodIPs = []corev1.PodIP{{IP: "10.244.0.99"}}
	}
	hides := func(all map[string]corev1.Service) {
		s := all["db"]
		s.Spec.PublishNotReadyAddresses = false
		all["db"] = s
	}
	type pods = map[string]func(*corev1.Pod)
	for name, c := range map[string]struct {
		crowd
		why string
	}{
		"no Pod, and one without a node": {crowd{peers: "4", pods: pods{"db-1": nil, "db-3": nil, "db-2": func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are\navailable"}}
		}}}, "db-1 and db-3: there is no such Pod; db-2: no node takes its Pod: 0/3 nodes are available"},
		"on a node that is not Ready": {crowd{peers: "2", pods: pods{"db-1": on}, nodes: map[string]bool{"node-7": false}}, `db-1: its Pod is on node "node-7", which is not Ready`},
		"the node was not read":       {crowd{peers: "2", pods: pods{"db-1": on}}, `db-1: no EndpointSlice of Service "db" has its Pod yet`},
		"hidden": {crowd{peers: "2", pods: pods{"db-1": on}, nodes: map[string]bool{"node-7": true}, container: func(_ *corev1.Container, p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}, service: hides}, `db-1: its Pod is not Ready, and Service "db" does not have publishNotReadyAddresses: true`},
		"no address": {crowd{peers: "2", pods: pods{"db-1": fine}}, "db-1: its Pod has no address yet: Pending"},
		"its image is not there": {crowd{peers: "2", pods: pods{"db-1": func(p *corev1.Pod) {
			p.Spec.Containers = []corev1.Container{{Name: "app"}}
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
		}}}, "db-1: its Pod has no address yet: ImagePullBackOff"},
		"terminating":      {crowd{peers: "2", pods: pods{"db-1": func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now()} }}}, "db-1: its Pod is terminating"},
		"ended":            {crowd{peers: "2", pods: pods{"db-1": func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }}}, "db-1: its Pod has ended: Failed"},
		"another hostname": {crowd{peers: "2", pods: pods{"db-1": func(p *corev1.Pod) { p.Spec.Hostname = "x" }}}, `db-1: its Pod has spec.hostname "x" and spec.subdomain "db"`},
		"not selected":     {crowd{peers: "2", pods: pods{"db-1": func(p *corev1.Pod) { p.Labels = nil }}}, `db-1: Service "db" does not select its Pod`},
		"another Service":  {crowd{peers: "db-0,jn-{0..1}.journal", pods: pods{"jn-0": nil}}, `jn-0.journal and jn-1.journal: there is no Service "journal"`},
		"another Service that is there": {crowd{peers: "db-0,jn-{0..1}.journal", pods: pods{"jn-0": nil}, service: func(all map[string]corev1.Service) { all["journal"] = all["db"] }},
			`jn-0.journal: there is no such Pod; jn-1.journal: no EndpointSlice of Service "journal" publishes it`},
		"two Pods claim a name": {crowd{peers: "3", published: []string{"db-1", "db-1@copy"}, pods: pods{"db-2": nil}}, `db-1: several Pods have this name, "db-1" and "copy"; db-2: there is no such Pod`},
		"the address of another Pod": {crowd{peers: "2", published: []string{"db-1", "x@other"}, set: func(v *View) {
			v.slices[0].Endpoints[2].Addresses = v.slices[0].Endpoints[1].Addresses
		}}, `db-1: its address 10.244.0.18 is that of Pod "other" too, and so may be its PTR record`},
	} {
		c.wait, c.policy = "all", appsv1.ParallelPodManagement
		c.replicas = 4
		causes := c.view().Causes(peerless)
		if len(causes) == 0 || causes[0].Kind != diagnosis.PeersMissing || causes[0].Guess || !strings.HasSuffix(causes[0].Why, c.why) || causes[0].Command != "" {
			t.Errorf("%s: want %q: %+v", name, c.why, causes)
		}
	}
}

func TestPeersAreComparedWithTheReplicas(t *testing.T) {
	t.Parallel()
	exit10 := func(_ *corev1.Container, p *corev1.Pod) {
		p.Status.InitContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 10, Message: "PODFQDN_PEERS: this Pod is not in it: set it"}}
	}
	gone := map[string]func(*corev1.Pod){"db-1": nil}
	for name, c := range map[string]struct {
		crowd
		wire  *diagnosis.Diagnosis
		want  string
		words []string
	}{
		"a Pod of a higher ordinal": {crowd{own: 3, peers: "3", wait: "none", replicas: 5, container: exit10}, nil, "configuration",
			[]string{`PODFQDN_PEERS="3" means the ordinals 0 to 2, but this Pod has the ordinal 3: StatefulSet "db" has the ordinals 0 to 4, as spec.replicas is 5`, `container "podfqdn": set it to spec.replicas, 5`}},
		"the ordinals start at 1": {crowd{own: 3, peers: "3", wait: "none", replicas: 3, start: 1, container: exit10}, nil, "configuration",
			[]string{"has the ordinals 1 to 3, as spec.replicas is 3 and spec.ordinals.start is 1", `container "podfqdn": set it to 1..3`}},
		"all of more than there will be": {crowd{peers: "5", wait: "all", replicas: 3, published: []string{"db-1", "db-2"}}, peerless, "configuration peers-missing",
			[]string{`PODFQDN_PEERS makes podfqdn wait for db-3 and db-4, which StatefulSet "db" does not create: it has the ordinals 0 to 2`, "3; or spec.replicas"}},
		"the first of all is not made": {crowd{own: 1, peers: "3", wait: "all", replicas: 3, start: 1, published: []string{"db-2"}}, peerless, "configuration peers-missing", []string{"wait for db-0, which"}},
		"DNS is not asked":             {crowd{peers: "5", wait: "all", replicas: 3, published: []string{"db-1", "db-2"}}, nil, "configuration", nil},
		"majority of more":             {crowd{peers: "5", wait: "majority", replicas: 3, policy: appsv1.ParallelPodManagement, published: []string{"db-2"}, pods: gone}, peerless, "peers-missing configuration?", []string{"db-1: there is no such Pod"}},
		"majority of fewer":            {crowd{peers: "3", wait: "majority", replicas: 5, policy: appsv1.ParallelPodManagement, pods: gone}, peerless, "peers-missing configuration?", nil},
		"no peer is waited for":        {crowd{peers: "5", wait: "none", replicas: 3}, nil, "unexplained?", nil},
	} {
		causes := c.view().Causes(c.wire)
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

// Where the API does not show whom podfqdn waits for, or shows them all, DNS has the word.
func TestWhatOnlyDNSShowsOfPeersPasses(t *testing.T) {
	t.Parallel()
	unread := func(c *corev1.Container, _ *corev1.Pod) {
		c.Env[0] = corev1.EnvVar{Name: "PODFQDN_PEERS", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{}}}
	}
	for name, c := range map[string]struct {
		crowd
		want string
	}{
		"set in a ConfigMap":               {crowd{wait: "all", replicas: 3, container: unread}, "peers-deadlock? peers-missing"},
		"set in a ConfigMap, and Parallel": {crowd{wait: "all", replicas: 3, container: unread, policy: appsv1.ParallelPodManagement}, "peers-missing"},
		"all are published":                {crowd{peers: "3", wait: "all", replicas: 3, published: []string{"db-1", "db-2"}}, "peers-missing"},
	} {
		causes := c.view().Causes(peerless)
		if got := kindsOf(causes); got != c.want {
			t.Errorf("%s: %s, not %s: %+v", name, got, c.want, causes)
		}
		for _, cause := range causes {
			if cause.Why != "the wire says so" {
				t.Errorf("%s: %+v", name, cause)
			}
		}
	}
}

func TestPeersThatWereNotLookedAtAreSaid(t *testing.T) {
	t.Parallel()
	v := crowd{peers: "db-0,x.y.example.org.,jn-0.journal.prod.svc,db-{1..9}", wait: "all", replicas: 10, pods: map[string]func(*corev1.Pod){"db-1": nil}}.view()
	got := strings.Join(v.Unchecked(peerless, ""), "\n")
	for _, want := range []string{"the peers outside the namespace: x.y.example.org and jn-0.journal.prod.svc.cluster.local", "the Pods of the peers db-2, db-3, db-4, db-5, db-6 and 3 more"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// kindsOf returns the kinds of causes, each with a ? if it is a guess.
func kindsOf(causes []diagnosis.Cause) string {
	return join(causes, " ", func(c diagnosis.Cause) string { return string(c.Kind) + either(c.Guess, "?", "") })
}

// A person who has followed the advice must not read it again.
func TestAPodThatStaysBehindItsTemplateIsToBeDeleted(t *testing.T) {
	t.Parallel()
	const deleted = "kubectl --namespace default delete pod/db-0"
	revised := func(v *View) {
		v.pod.Labels = map[string]string{"app": "db", appsv1.ControllerRevisionHashLabelKey: "db-1"}
		v.owner.statefulSet.Status.UpdateRevision = "db-2"
	}
	lower := func(v *View) {
		c := v.pod.Spec.InitContainers[0].DeepCopy()
		c.Env[1].Value = "lower"
		v.owner.statefulSet.Spec.Template.Spec.InitContainers = []corev1.Container{*c}
	}
	for name, c := range map[string]struct {
		policy  appsv1.PodManagementPolicyType
		changes []func(*View)
		want    string
	}{
		"the same template":       {"", nil, "peers-deadlock"},
		"another revision":        {"", []func(*View){lower, revised}, "template-changed"},
		"not seen by the set yet": {"", []func(*View){lower, revised, func(v *View) { v.owner.statefulSet.Generation = 2; v.owner.statefulSet.Status.UpdateRevision = "db-1" }}, "template-changed"},
		"without revisions":       {"", []func(*View){lower}, "template-changed"},
		"the same revision":       {"", []func(*View){lower, revised, func(v *View) { v.owner.statefulSet.Status.UpdateRevision = "db-1" }}, "peers-deadlock"},
		"another volume": {"", []func(*View){revised, func(v *View) {
			v.owner.statefulSet.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "tls", Optional: new(true)}}}}
			v.pod.Spec.Volumes = []corev1.Volume{{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "tls"}}}}
		}}, "template-changed"},
		"another image of another": {"", []func(*View){revised}, "peers-deadlock template-changed"},
		"Parallel replaces it":     {appsv1.ParallelPodManagement, []func(*View){lower, revised}, "peers-missing"},
		"OnDelete does not": {appsv1.ParallelPodManagement, []func(*View){lower, revised, func(v *View) {
			v.owner.statefulSet.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
		}}, "template-changed"},
		"a partition": {"", []func(*View){lower, revised, func(v *View) {
			v.owner.statefulSet.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(1))}
		}}, "peers-deadlock"},
		"the Service is missing too": {"", []func(*View){lower, revised, func(v *View) { delete(v.services, "db") }}, "template-changed service-missing"},
	} {
		v := crowd{peers: "3", wait: "all", replicas: 3, policy: c.policy, pods: map[string]func(*corev1.Pod){"db-1": nil, "db-2": nil}}.view()
		for _, change := range c.changes {
			change(v)
		}
		causes := v.Causes(peerless)
		if got := kindsOf(causes); got != c.want {
			t.Errorf("%s: %s, not %s: %+v", name, got, c.want, causes)
			continue
		}
		i := strings.Index(c.want, "template-changed")
		if i < 0 {
			continue
		}
		at := strings.Count(c.want[:i], " ")
		if _, deleting := v.Prospects(causes); causes[at].Command != deleted || !strings.HasPrefix(deleting, "it helps: ") {
			t.Errorf("%s: %s; %s", name, causes[at].Command, deleting)
		}
	}
}

func TestAWarningSaysThatPeersAreNotTheReplicas(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		crowd
		want string
	}{
		"as many":   {crowd{peers: "3", replicas: 3}, ""},
		"too many":  {crowd{peers: "5", replicas: 3}, `waits for members that do not exist, or counts them, and names them to the server: StatefulSet "db" has the ordinals 0 to 2, as spec.replicas is 3; change the variable PODFQDN_PEERS of container "podfqdn": set it to spec.replicas, 3; or spec.replicas of StatefulSet "db"`},
		"too few":   {crowd{peers: "3", replicas: 5}, `refuses to start in the other Pods, with exit code 10`},
		"a range":   {crowd{peers: "1..3", replicas: 3, start: 1, own: 1}, ""},
		"names":     {crowd{peers: "db-{0..4}", replicas: 3}, ""},
		"none":      {crowd{replicas: 3}, ""},
		"scaled in": {crowd{peers: "5", replicas: 3, own: 4}, ""},
	} {
		got := strings.Join(c.view().Warnings(), "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestWhatPodfqdnSaidAtItsDeadlineIsTheCause(t *testing.T) {
	t.Parallel()
	const said = "gave up after 15m: db-0.db: it is not there: add it"
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 0, Message: said}}
	for name, c := range map[string]struct {
		code  int32
		again bool
		crowd
		want, why string
	}{
		"keys":          {14, false, crowd{}, "keys-missing", "podfqdn's last message: " + said},
		"a certificate": {16, false, crowd{}, "certificate-missing", "podfqdn's last message: " + said},
		"keys, again":   {14, true, crowd{}, "keys-missing", "podfqdn's last message: " + said},
		"peers, and all are there by now": {15, false, crowd{peers: "2", wait: "all", replicas: 2, published: []string{"db-1"}}, "peers-missing",
			"podfqdn's last message: " + said},
		"peers, and one is missing": {15, false, crowd{peers: "3", wait: "all", replicas: 3, policy: appsv1.ParallelPodManagement, published: []string{"db-1"}, pods: map[string]func(*corev1.Pod){"db-2": nil}}, "peers-missing",
			"podfqdn's last message: " + said + "; now the API shows the Pods of 2 of 3 needed members, this Pod included; db-2: there is no such Pod"},
		"peers, in a deadlock": {15, false, crowd{peers: "3", wait: "all", replicas: 3, pods: map[string]func(*corev1.Pod){"db-1": nil, "db-2": nil}}, "peers-deadlock", "podfqdn needs 3 members"},
		"the deadline of DNS":  {11, false, crowd{}, "unexplained?", "podfqdn's last message: " + said},
	} {
		c.container = func(_ *corev1.Container, p *corev1.Pod) {
			end := ended.DeepCopy()
			end.Terminated.ExitCode = c.code
			s := &p.Status.InitContainerStatuses[0]
			if c.again {
				s.LastTerminationState = *end
			} else {
				s.State = *end
			}
		}
		causes := c.view().Causes(nil)
		if got := kindsOf(causes); got != c.want || !strings.HasPrefix(causes[0].Why, c.why) {
			t.Errorf("%s: %s, not %s: %+v", name, got, c.want, causes)
		}
	}
}
