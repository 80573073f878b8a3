package kube

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

var (
	runs0   = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	ended0  = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 0}}
	ended10 = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 10, Message: "no hostname"}}
	always  = corev1.ContainerRestartPolicyAlways
	volumes = []corev1.VolumeMount{{Name: "identity", MountPath: "/identity"}}
)

func TestEveryContainerOfPodfqdnIsLookedAt(t *testing.T) {
	t.Parallel()
	yes := true
	init := corev1.Container{Name: "podfqdn", Image: "podfqdn:dev", Args: []string{"init"}}
	sidecar := corev1.Container{Name: "podfqdn-sidecar", Image: "registry.example/podfqdn:1", Args: []string{"sidecar"}, RestartPolicy: &always}
	app := corev1.Container{Name: "app", Image: "my-server:1.0"}
	swapped := corev1.Container{Name: "app", Image: "podfqdn:dev"}
	renamed := corev1.Container{Name: "identity", Image: "registry.example/platform/pod-identity@sha256:0", Args: []string{"init"}, VolumeMounts: volumes}
	crash := corev1.ContainerStatus{Name: sidecar.Name, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: ended10, RestartCount: 3}
	// between is a container between two ends: the kubelet has just started it.
	between := func(code, restarts int32, lived, runs time.Duration) corev1.ContainerStatus {
		start := time.Now().Add(-runs)
		end := &corev1.ContainerStateTerminated{ExitCode: code, Message: "no hostname", StartedAt: metav1.NewTime(start.Add(-lived)), FinishedAt: metav1.NewTime(start)}
		return corev1.ContainerStatus{Name: sidecar.Name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(start)}},
			LastTerminationState: corev1.ContainerState{Terminated: end}, Started: &yes, Ready: true, RestartCount: restarts}
	}
	for name, c := range map[string]struct {
		init      []corev1.Container
		others    []corev1.Container
		statuses  []corev1.ContainerStatus
		chosen    string
		state     State
		container string
		all       int
	}{
		"an init container":                 {[]corev1.Container{init}, []corev1.Container{app}, []corev1.ContainerStatus{{Name: "podfqdn", State: ended0}}, "", Published, "podfqdn", 0},
		"and a sidecar that runs":           {[]corev1.Container{init, sidecar}, []corev1.Container{app}, []corev1.ContainerStatus{{Name: "podfqdn", State: ended0}, {Name: sidecar.Name, State: runs0, Started: &yes, Ready: true}}, "", Running, sidecar.Name, 2},
		"and a sidecar in a crash loop":     {[]corev1.Container{init, sidecar}, []corev1.Container{app}, []corev1.ContainerStatus{{Name: "podfqdn", State: ended0}, crash}, "", Refused, sidecar.Name, 2},
		"between two ends":                  {[]corev1.Container{init, sidecar}, []corev1.Container{app}, []corev1.ContainerStatus{{Name: "podfqdn", State: ended0}, between(10, 1, 0, time.Second)}, "", Refused, sidecar.Name, 2},
		"between two ends with 13":          {[]corev1.Container{init, sidecar}, []corev1.Container{app}, []corev1.ContainerStatus{{Name: "podfqdn", State: ended0}, between(13, 1, time.Second, 0)}, "", Failed, sidecar.Name, 2},
		"some time after an end":            {[]corev1.Container{init, sidecar}, []corev1.Container{app}, []corev1.ContainerStatus{{Name: "podfqdn", State: ended0}, between(10, 1, 0, 11*time.Second)}, "", Running, sidecar.Name, 2},
		"and after the second":              {[]corev1.Container{init, sidecar}, []corev1.Container{app}, []corev1.ContainerStatus{{Name: "podfqdn", State: ended0}, between(10, 2, 0, 30*time.Second)}, "", Refused, sidecar.Name, 2},
		"a minute after it":                 {[]corev1.Container{init, sidecar}, []corev1.Container{app}, []corev1.ContainerStatus{{Name: "podfqdn", State: ended0}, between(10, 2, 0, 61*time.Second)}, "", Running, sidecar.Name, 2},
		"killed after an hour":              {[]corev1.Container{init, sidecar}, []corev1.Container{app}, []corev1.ContainerStatus{{Name: "podfqdn", State: ended0}, between(137, 3, time.Hour, 0)}, "", Running, sidecar.Name, 2},
		"a deadline, and again":             {[]corev1.Container{sidecar}, []corev1.Container{app}, []corev1.ContainerStatus{between(11, 3, 4*time.Second, 0)}, "", Running, sidecar.Name, 0},
		"only the init container is chosen": {[]corev1.Container{init, sidecar}, []corev1.Container{app}, []corev1.ContainerStatus{{Name: "podfqdn", State: ended0}, crash}, "podfqdn", Published, "podfqdn", 0},
		"names that are swapped":            {[]corev1.Container{swapped}, []corev1.Container{{Name: "podfqdn", Image: "my-server:1.0"}}, []corev1.ContainerStatus{{Name: "app", State: ended10}}, "", Refused, "app", 0},
		"another image and another name":    {[]corev1.Container{renamed}, []corev1.Container{app}, []corev1.ContainerStatus{{Name: "identity", State: ended10}}, "", Refused, "identity", 0},
		"its binary under another name":     {[]corev1.Container{{Name: "identity", Image: "x", Command: []string{"/identity", "init"}, VolumeMounts: volumes}}, []corev1.Container{app}, []corev1.ContainerStatus{{Name: "identity", State: ended10}}, "", Refused, "identity", 0},
		"an application's own init":         {nil, []corev1.Container{{Name: "app", Image: "x", Command: []string{"/app", "init"}}}, nil, "", Unused, "", 0},
		"a shell that runs it":              {nil, []corev1.Container{{Name: "main", Image: "x", Command: []string{"sh", "-c", "exec /opt/podfqdn sidecar"}}}, nil, "", Pending, "main", 0},
		"nothing to recognise it by":        {[]corev1.Container{{Name: "identity", Image: "x"}}, []corev1.Container{app}, nil, "", Unused, "", 0},
		"which is chosen":                   {[]corev1.Container{{Name: "identity", Image: "x"}}, []corev1.Container{app}, []corev1.ContainerStatus{{Name: "identity", State: ended10}}, "identity", Refused, "identity", 0},
	} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "db-0"}, Spec: corev1.PodSpec{InitContainers: c.init, Containers: c.others},
			Status: corev1.PodStatus{InitContainerStatuses: c.statuses}}
		u := use(p, c.chosen)
		if u.State != c.state || u.Container != c.container || len(u.Containers) != c.all {
			t.Errorf("%s: %+v", name, u)
		}
		v := &View{pod: p, Use: u, chosen: c.chosen}
		said := slices.ContainsFunc(v.Facts(), func(f diagnosis.Seen) bool { return strings.Contains(f.Value, "not recognised") })
		if said != (c.state == Unused) {
			t.Errorf("%s: it is said that it is not recognised: %v", name, said)
		}
		for _, each := range v.Each() {
			if each.podfqdn.Name != each.Container {
				t.Errorf("%s: %q and %q", name, each.podfqdn.Name, each.Container)
			}
		}
	}
}

func TestAContainerThatIsNotPodfqdnsIsNotLookedAt(t *testing.T) {
	t.Parallel()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "db-0"}, Spec: corev1.PodSpec{
		InitContainers:      []corev1.Container{{Name: "identity", Image: "podfqdn:dev"}},
		Containers:          []corev1.Container{{Name: "app", Image: "x"}},
		EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debugger"}}},
	}}
	for container, want := range map[string]string{
		"": "", "identity": "", "app": `container "app" of Pod "db-0" is not podfqdn's: leave --container out, or name "identity"`,
		"debugger": "is ephemeral", "none": `has no container "none": it has "identity", "app"`,
	} {
		if err := chosen(p, container); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", container, err)
		}
	}
	p.Spec.InitContainers[0].Image = "x" // nothing is recognised
	if err := chosen(p, "app"); err != nil {
		t.Error(err)
	}
}

func TestAnotherContainersDNSDoesNotExcuseOneThatHasEnded(t *testing.T) {
	t.Parallel()
	well := &diagnosis.Diagnosis{Schema: 1, Healthy: true, FQDN: podfqdnsName}
	for _, c := range []struct {
		state State
		code  int32
		kind  diagnosis.Kind
	}{{Refused, 10, diagnosis.Misconfigured}, {Failed, exitVolume, diagnosis.Volume}, {GaveUp, 11, diagnosis.Unexplained}} {
		v := situation{services: true, slices: true, corefile: allZones}.view()
		v.State, v.code, v.Reason = c.state, c.code, `PODFQDN_LISTEN="8053": must be off, :PORT or ADDRESS:PORT`
		if causes := v.Causes(well); len(causes) != 1 || causes[0].Kind != c.kind {
			t.Errorf("%s: %+v", c.state, causes)
		}
	}
	v := situation{services: true, slices: true, corefile: allZones}.view()
	if causes := v.Causes(well); len(causes) > 0 {
		t.Errorf("it waits, and DNS agrees: %+v", causes)
	}
}

func TestHealthyIsSaidOnlyOfWhatWasAsked(t *testing.T) {
	t.Parallel()
	v := situation{}.view()
	if got := strings.Join(v.Unchecked(nil, "you are not allowed to"), "\n"); !strings.Contains(got, "what DNS says now: you are not allowed to") || !strings.Contains(got, "the Services") || !strings.Contains(got, "the Corefile") {
		t.Errorf("%s", got)
	}
	v = situation{services: true, slices: true, corefile: allZones}.view()
	v.policed = true
	well := &diagnosis.Diagnosis{Schema: 1, Healthy: true, FQDN: podfqdnsName}
	if got := slices.Concat(v.Unchecked(well, ""), v.Ahead(well)); len(got) > 0 {
		t.Errorf("%q", got)
	}
	// A cached PTR hides a second Service.
	v = situation{services: true, slices: true, corefile: allZones, env: []corev1.EnvVar{literal("PODFQDN_REVERSE", "only")}}.view()
	second := v.services["db"]
	second.Name = "db-vip"
	v.services["db-vip"] = second
	slice := *v.slices[0].DeepCopy()
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "db-vip"}
	v.slices = append(v.slices, slice)
	if got := v.Ahead(well); len(got) != 1 || !strings.Contains(got[0], `second-service: Service "db-vip" also selects the Pod`) {
		t.Errorf("%q", got)
	}
	// And that Service is among what changed last.
	second.CreationTimestamp = metav1.Now()
	v.services["db-vip"] = second
	if got := v.Changes(); len(got) != 1 || got[0].Name != `Service "db-vip"` {
		t.Errorf("%+v", got)
	}
}

func TestCoreDNSWithoutAReadyPodIsNotHealthy(t *testing.T) {
	t.Parallel()
	v := situation{services: true, slices: true, corefile: allZones}.view()
	v.State, v.dns.ready = Published, 0
	if causes := v.Causes(nil); len(causes) != 1 || causes[0].Kind != diagnosis.DNSSilent || !strings.Contains(causes[0].Why, "0 of 2 Pods of cluster DNS are ready") || causes[0].Command != "" {
		t.Errorf("%+v", causes)
	}
	well := &diagnosis.Diagnosis{Schema: 1, Healthy: true}
	if got := v.Ahead(well); len(got) != 1 || !strings.Contains(got[0], "0 of 2 Pods of cluster DNS are ready") {
		t.Errorf("%q", got)
	}
}

func TestWhatChangedLastComesFirst(t *testing.T) {
	t.Parallel()
	v := situation{services: true, corefile: allZones}.view()
	at := func(hour int) *metav1.Time {
		when := metav1.Date(2026, 1, 2, hour, 4, 5, 0, time.UTC)
		return &when
	}
	s := v.services["db"]
	s.CreationTimestamp = *at(1)
	s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl-edit", Time: at(3)}, {Manager: "controller", Time: at(9), Subresource: "status"}}
	v.services["db"] = s
	v.dns.corefileOf = metav1.ObjectMeta{CreationTimestamp: *at(2), ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "argocd", Time: at(5)}}}
	v.policies = []networkingv1.NetworkPolicy{
		{ObjectMeta: metav1.ObjectMeta{Name: "deny", CreationTimestamp: *at(6)}, Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "ingress", CreationTimestamp: *at(8)}},
	}
	v.dns.deployment = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "coredns"}, Status: appsv1.DeploymentStatus{
		Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: "NewReplicaSetAvailable", LastUpdateTime: *at(4)}}}}
	want := []diagnosis.Seen{
		{Name: `NetworkPolicy "deny"`, Value: "2026-01-02 06:04:05 UTC", From: "created"},
		{Name: `Corefile in ConfigMap "coredns"`, Value: "2026-01-02 05:04:05 UTC", From: "by argocd"},
		{Name: `rollout of cluster DNS, Deployment "coredns"`, Value: "2026-01-02 04:04:05 UTC", From: "NewReplicaSetAvailable"},
		{Name: `Service "db"`, Value: "2026-01-02 03:04:05 UTC", From: "by kubectl-edit"},
	}
	if got := v.Changes(); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestEachCommandSaysWhatUndoesIt(t *testing.T) {
	t.Parallel()
	one := int32(1)
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.DeploymentSpec{Replicas: &one, Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}}}
	for name, c := range map[string]struct {
		situation
		words string
	}{
		"a Service is patched":    {situation{services: true, service: func(s *corev1.ServiceSpec) { s.PublishNotReadyAddresses = false }}, `patch service/db --patch '{"spec":{"publishNotReadyAddresses":false}}'`},
		"a selector is patched":   {situation{services: true, slices: true, service: func(s *corev1.ServiceSpec) { s.Selector = map[string]string{"app": "x"} }}, `'{"spec":{"selector":{"app":"x"}}}'`},
		"a Deployment is patched": {situation{services: true, slices: true, owner: deployment, env: []corev1.EnvVar{literal("PODFQDN_HOSTNAME", "x")}}, "rollout undo deployment/db"},
	} {
		v := c.view()
		causes := v.Causes(nil)
		if undo := v.Undo(nil, 0); len(causes) == 0 || causes[0].Command == "" || !strings.Contains(undo, c.words) || !strings.Contains(undo, "GitOps") {
			t.Errorf("%s: %q of %+v", name, undo, causes)
		}
	}
	v := situation{services: true}.view()
	j := judge{View: v}
	for _, f := range []fix{j.createService("db"), j.pods(remove, "db-1"), j.pods(relabel, "db-0"), j.setSubdomain("x"), j.dnsDeployment(restart), j.dnsDeployment(scale, "2")} {
		for _, s := range f {
			if undo := v.undo(s); undo == "" || undo == "it changes nothing" || strings.Contains(undo, "<nil>") {
				t.Errorf("%+v: %q", s, undo)
			}
		}
	}
	if undo := v.undo(j.createService("db")[0]); undo != "`kubectl --namespace default delete service/db`" {
		t.Error(undo)
	}
}

func TestTheProspectsAndWhatIsRuledOut(t *testing.T) {
	t.Parallel()
	v := situation{services: true, slices: true, corefile: allZones}.view()
	causes := []diagnosis.Cause{{Kind: diagnosis.CachedDenial}}
	nothing, deleted := v.Prospects(causes)
	if !strings.Contains(nothing, "pass by itself") || !strings.Contains(deleted, "a loss: nothing recreates this Pod") {
		t.Errorf("%q, %q", nothing, deleted)
	}
	v.owner.kind = "StatefulSet"
	if nothing, deleted = v.Prospects([]diagnosis.Cause{{Kind: diagnosis.SelectorMismatch}}); !strings.Contains(nothing, "gives up 15m after its start") || !strings.Contains(deleted, "useless") {
		t.Errorf("%q, %q", nothing, deleted)
	}
	v.State = Published
	if nothing, deleted = v.Prospects([]diagnosis.Cause{{Kind: diagnosis.SelectorMismatch}}); !strings.Contains(nothing, "the application keeps running") || !strings.Contains(deleted, "an outage: the application runs") {
		t.Errorf("%q, %q", nothing, deleted)
	}
	// The application runs next to a container of podfqdn's that has ended.
	v.State = Refused
	v.pod.Spec.Containers = []corev1.Container{{Name: "app"}}
	refused := []diagnosis.Cause{{Kind: diagnosis.Misconfigured}}
	if nothing, _ = v.Prospects(refused); !strings.Contains(nothing, "the application does not start") {
		t.Errorf("%q", nothing)
	}
	v.pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: runs0}}
	if nothing, deleted = v.Prospects(refused); !strings.Contains(nothing, "the application keeps running without it") || !strings.Contains(deleted, "an outage: the application runs") {
		t.Errorf("%q, %q", nothing, deleted)
	}
	v.State = Published
	out := strings.Join(v.RuledOut(causes), "\n")
	for _, words := range []string{"is headless and selects the Pod", "publishes the Pod with hostname", "the Corefile serves PTR"} {
		if !strings.Contains(out, words) {
			t.Errorf("%q is not ruled out:\n%s", words, out)
		}
	}
	if out := strings.Join(v.RuledOut([]diagnosis.Cause{{Kind: diagnosis.SelectorMismatch}}), "\n"); strings.Contains(out, "selects the Pod") {
		t.Errorf("the cause is ruled out:\n%s", out)
	}
}

// A guess does not decide what happens, and what was not read is not told.
func TestTheProspectsOfAGuessAreNotAFact(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env              []corev1.EnvVar
		from             bool
		cause            diagnosis.Cause
		nothing, deleted string
	}{
		"a denial that perhaps is cached": {nil, false, diagnosis.Cause{Kind: diagnosis.CachedDenial, Guess: true}, "gives up 15m after", "not known to help"},
		"perhaps another selector":        {nil, false, diagnosis.Cause{Kind: diagnosis.SelectorMismatch, Guess: true}, "gives up 15m after", "not known to help"},
		"a time that is not read":         {nil, true, diagnosis.Cause{Kind: diagnosis.SelectorMismatch}, "gives up PODFQDN_TIMEOUT, which was not read, after", "useless"},
		"for ever, with a unit":           {[]corev1.EnvVar{literal("PODFQDN_TIMEOUT", "0s")}, true, diagnosis.Cause{Kind: diagnosis.SelectorMismatch}, "without a deadline", "useless"},
	} {
		v := situation{services: true, slices: true, corefile: allZones, env: c.env}.view()
		v.owner.kind = "StatefulSet"
		if c.from {
			v.podfqdn.EnvFrom = make([]corev1.EnvFromSource, 1)
		}
		nothing, deleted := v.Prospects([]diagnosis.Cause{c.cause})
		if !strings.Contains(nothing, c.nothing) || !strings.Contains(deleted, c.deleted) {
			t.Errorf("%s: %q, %q", name, nothing, deleted)
		}
	}
}

func TestVariablesAreRuledOutOnlyIfAllWereRead(t *testing.T) {
	t.Parallel()
	const words = "the variables of podfqdn do not contradict"
	read := []corev1.EnvVar{literal("POD_NAMESPACE", "default")}
	unread := append(read, corev1.EnvVar{Name: "PODFQDN_HOSTNAME", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: "n"}}})
	for _, c := range []struct {
		env  []corev1.EnvVar
		kind diagnosis.Kind
		want bool
	}{{read, diagnosis.SelectorMismatch, true}, {unread, diagnosis.SelectorMismatch, false}, {read, diagnosis.SubdomainMismatch, false}, {read, diagnosis.ClusterDomain, false}} {
		v := situation{services: true, env: c.env}.view()
		if got := strings.Contains(strings.Join(v.RuledOut([]diagnosis.Cause{{Kind: c.kind}}), "\n"), words); got != c.want {
			t.Errorf("%v, %s: %v", c.env, c.kind, got)
		}
	}
}

// What differs from Pod to Pod does not part them, and a short name leaves words
// alone.
func TestPodsWithTheSameCauseAreOneGroup(t *testing.T) {
	t.Parallel()
	uses := []Use{
		{Pod: "a", State: Waiting, Reason: "endpointslice-lag: none has 10.244.0.17 yet for a", Node: "n", Owner: "o"},
		{Pod: "b", State: Waiting, Reason: "endpointslice-lag: none has 10.244.0.18 yet for b", Node: "n", Owner: "o"},
		{Pod: "c", State: Waiting, Reason: "endpointslice-lag: none has fd00::5:2 yet for c", Node: "n", Owner: "o"},
	}
	if got := Groups(uses); len(got) != 1 || !strings.HasPrefix(got[0], "3 of 3: waiting: endpointslice-lag: none has ADDRESS yet for POD; on n (3)") {
		t.Errorf("%q", got)
	}
}

func TestATableIsGroupedByCauseNodeAndOwner(t *testing.T) {
	t.Parallel()
	uses := []Use{
		{Namespace: "a", Pod: "db-0", State: Waiting, Reason: "service-missing: x; more of db-0", Node: "n1", Owner: "StatefulSet/db"},
		{Namespace: "a", Pod: "web-1", State: Refused, Reason: "no hostname", Node: "n2", Owner: "Deployment/web"},
		{Namespace: "a", Pod: "db-1", State: Waiting, Reason: "service-missing: x", Node: "n1", Owner: "StatefulSet/db"},
		{Namespace: "a", Pod: "ok", State: Published, Healthy: true, Node: "n3"},
	}
	want := []string{
		"2 of 3: waiting: service-missing: x; on n1 (2); of a StatefulSet/db (2)",
		"1 of 3: refused: no hostname; on n2 (1); of a Deployment/web (1)",
	}
	if got := Groups(uses); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	// One cause in many namespaces is one group; what a variable is wrong about is not.
	uses = []Use{
		{Namespace: "a", Pod: "db-0", State: Waiting, Reason: `not-ready-hidden: Service "db" hides it`, Node: "n1", Owner: "StatefulSet/db"},
		{Namespace: "b", Pod: "zk-0", State: Waiting, Reason: `not-ready-hidden: Service "zk" hides it`, Node: "n1", Owner: "StatefulSet/zk"},
		{Namespace: "c", Pod: "x", State: Waiting, Reason: "configuration: POD_NAMESPACE", Node: "n1"},
		{Namespace: "d", Pod: "y", State: Waiting, Reason: "configuration: PODFQDN_SERVICE", Node: "n1"},
	}
	want = []string{
		`2 of 4: waiting: not-ready-hidden: Service "db" hides it (and 1 more like it); on n1 (2); of a StatefulSet/db (1), b StatefulSet/zk (1)`,
		"1 of 4: waiting: configuration: POD_NAMESPACE; on n1 (1); of c no owner (1)",
		"1 of 4: waiting: configuration: PODFQDN_SERVICE; on n1 (1); of d no owner (1)",
	}
	if got := Groups(uses); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := Groups(uses[:1]); got != nil {
		t.Errorf("%q", got)
	}
}

// What undoes a command is in the words of a shell too.
func TestTheUndoOfAServiceIsACommand(t *testing.T) {
	t.Parallel()
	v := situation{services: true, service: func(s *corev1.ServiceSpec) { s.PublishNotReadyAddresses = false }}.view()
	_, line, _ := strings.Cut(v.Undo(nil, 0), "to restore service/db: ")
	line, _, _ = strings.Cut(line, "; if a GitOps")
	if out, err := exec.Command("sh", "-n", "-c", line).CombinedOutput(); err != nil || line == "" {
		t.Errorf("%q: %v: %s", line, err, out)
	}
}

func TestWhatKilledPodfqdnIsSaid(t *testing.T) {
	t.Parallel()
	var u Use
	u.ended(&corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"})
	if u.State != Failed || u.Reason != "it ended with exit code 137 (OOMKilled) and no message" {
		t.Errorf("%+v", u)
	}
}

func TestADeploymentOfOneHasOneReplica(t *testing.T) {
	t.Parallel()
	for replicas, want := range map[int32]string{1: "1 replica, ", 2: "2 replicas, "} {
		deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.DeploymentSpec{Replicas: &replicas}}
		facts := situation{owner: deployment}.view().Facts()
		if !slices.ContainsFunc(facts, func(f diagnosis.Seen) bool { return f.Name == "owner" && strings.Contains(f.Value, want) }) {
			t.Errorf("%+v", facts)
		}
	}
}
