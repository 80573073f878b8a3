package kube

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

const (
	waitedAndKilled = "podfqdn: ended by SIGTERM after 30s; db-0.db.default.svc.cluster.local: 10.96.0.10 says NXDOMAIN"
	noSuchFile      = `failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: "/podfqdn/podfqdn": stat /podfqdn/podfqdn: no such file or directory`
)

// wrapped is a container of podfqdn exec, from an image volume.
func wrapped() corev1.Container {
	return corev1.Container{Name: "app", Image: "my-server:1.0", Command: []string{"/podfqdn/podfqdn", "exec", "--", "/server"},
		VolumeMounts: []corev1.VolumeMount{{Name: "identity", MountPath: "/identity"}, {Name: "podfqdn", MountPath: "/podfqdn", ReadOnly: true}}}
}

// brought are the volumes of wrapped.
func brought() []corev1.Volume {
	return []corev1.Volume{
		{Name: "identity", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "podfqdn", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "registry.example/podfqdn:1"}}},
	}
}

func httpProbe() *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}}, PeriodSeconds: 10, FailureThreshold: 3}
}

// end is a container that was up for lived, and ended ago.
func end(code int32, reason, message string, lived, ago time.Duration) *corev1.ContainerStateTerminated {
	at := time.Now().Add(-ago)
	return &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message, StartedAt: metav1.NewTime(at.Add(-lived)), FinishedAt: metav1.NewTime(at)}
}

func TestAContainerOfExecIsRecognised(t *testing.T) {
	t.Parallel()
	installed := corev1.Container{Name: "setup", Image: "registry.example/platform/identity:1", Args: []string{"init"},
		Env: []corev1.EnvVar{literal("PODFQDN_INSTALL", "/tools")}, VolumeMounts: []corev1.VolumeMount{{Name: "tools", MountPath: "/tools"}}}
	app := func(change func(*corev1.Container)) corev1.Container {
		c := wrapped()
		change(&c)
		return c
	}
	words := func(command, args []string) corev1.Container {
		return app(func(c *corev1.Container) { c.Command, c.Args = command, args })
	}
	for name, c := range map[string]struct {
		init   []corev1.Container
		app    corev1.Container
		wraps  bool
		binary string // "" for a container that is not podfqdn's
	}{
		"its command":              {nil, wrapped(), true, "/podfqdn/podfqdn"},
		"command and arguments":    {nil, words([]string{"/podfqdn/podfqdn"}, []string{"exec", "/server", "init"}), true, "/podfqdn/podfqdn"},
		"arguments alone":          {nil, words(nil, []string{"/opt/podfqdn", "exec", "--", "/server"}), true, "/opt/podfqdn"},
		"a shell":                  {nil, words([]string{"sh", "-c"}, []string{"ulimit -n 9; exec /podfqdn/podfqdn exec -- /server"}), true, "/podfqdn/podfqdn"},
		"podfqdn's own image":      {nil, app(func(c *corev1.Container) { c.Image, c.Command, c.Args = "podfqdn:1", nil, []string{"exec", "/server"} }), true, "/podfqdn"},
		"another command":          {nil, words([]string{"/podfqdn/podfqdn", "sidecar"}, nil), false, "/podfqdn/podfqdn"},
		"another name in a volume": {nil, words([]string{"/podfqdn/pf", "exec", "--", "/server"}, nil), true, "/podfqdn/pf"},
		"installed, with other names": {[]corev1.Container{installed}, app(func(c *corev1.Container) {
			c.Command[0], c.VolumeMounts[1] = "/t/pf", corev1.VolumeMount{Name: "tools", MountPath: "/t"}
		}), true, "/t/pf"},
		"an application's own exec": {nil, words([]string{"/server", "exec", "podfqdn"}, nil), false, ""},
		"it is only spoken of":      {nil, words([]string{"/server", "--wrapped-by=podfqdn"}, nil), false, ""},
	} {
		p := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: c.init, Containers: []corev1.Container{c.app}, Volumes: brought()}}
		found := find(p, "")
		i := slices.IndexFunc(found, func(p part) bool { return p.Name == "app" })
		switch {
		case (i >= 0) != (c.binary != ""):
			t.Errorf("%s: recognised: %v", name, i >= 0)
		case i >= 0 && (found[i].wraps() != c.wraps || found[i].binary() != c.binary || found[i].sidecar == c.wraps):
			t.Errorf("%s: wraps: %v, a sidecar: %v, at %s", name, found[i].wraps(), found[i].sidecar, found[i].binary())
		}
		if len(c.init) > 0 && len(found) != 2 {
			t.Errorf("%s: %d containers are podfqdn's", name, len(found))
		}
	}
}

// The exit codes are podfqdn's only where it signs its message: 11 is the
// application's too.
func TestWhatEndsAContainerOfExecIsPodfqdnsOnlyIfItSaysSo(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Now().Add(-time.Minute))}}
	back := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	ended := func(end *corev1.ContainerStateTerminated) corev1.ContainerState {
		return corev1.ContainerState{Terminated: end}
	}
	startup := func(c *corev1.Container) { c.LivenessProbe, c.StartupProbe = httpProbe(), httpProbe() }
	liveness := func(c *corev1.Container) { c.LivenessProbe = httpProbe() }
	readiness := func(c *corev1.Container) { c.ReadinessProbe = httpProbe() }
	none := func(*corev1.Container) {}
	for name, c := range map[string]struct {
		probes func(*corev1.Container)
		status corev1.ContainerStatus
		state  State
		reason string
	}{
		"not started":                          {none, corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no podfqdn:1"}}}, Pending, "ErrImagePull: no podfqdn:1"},
		"not started up":                       {startup, corev1.ContainerStatus{State: running, Started: &no}, Waiting, ""},
		"started up":                           {startup, corev1.ContainerStatus{State: running, Started: &yes}, Running, ""},
		"not ready":                            {readiness, corev1.ContainerStatus{State: running, Started: &yes}, Waiting, ""},
		"ready":                                {readiness, corev1.ContainerStatus{State: running, Started: &yes, Ready: true}, Running, ""},
		"without a probe":                      {none, corev1.ContainerStatus{State: running, Started: &yes, Ready: true}, Running, "no probe shows"},
		"without a probe, for long":            {none, corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Now().Add(-17 * time.Minute))}}}, Running, ""},
		"the application ended with 11":        {none, corev1.ContainerStatus{State: ended(end(11, "Error", "", time.Hour, 0))}, Published, "the application that podfqdn became ended with 11 (Error)"},
		"and with a message":                   {none, corev1.ContainerStatus{State: ended(end(10, "Error", "fatal: no podfqdn: x", time.Hour, 0))}, Published, "ended with 10"},
		"and is in a crash loop":               {none, corev1.ContainerStatus{State: back, LastTerminationState: ended(end(1, "Error", "", time.Second, 0)), RestartCount: 5}, Published, "ended with 1"},
		"and runs between two ends":            {readiness, corev1.ContainerStatus{State: running, LastTerminationState: ended(end(1, "Error", "", time.Second, 0)), RestartCount: 5}, Waiting, ""},
		"the application is killed":            {none, corev1.ContainerStatus{State: back, LastTerminationState: ended(end(137, "Error", "", time.Second, 0)), RestartCount: 1}, Published, "ended with 137"},
		"and by its livenessProbe, perhaps":    {liveness, corev1.ContainerStatus{State: back, LastTerminationState: ended(end(137, "Error", "", time.Second, 0)), RestartCount: 1}, Failed, "nothing shows whether podfqdn waited or the application ran"},
		"but not after an hour":                {liveness, corev1.ContainerStatus{State: back, LastTerminationState: ended(end(137, "Error", "", time.Hour, 0)), RestartCount: 1}, Published, "ended with 137"},
		"and for its memory":                   {liveness, corev1.ContainerStatus{State: back, LastTerminationState: ended(end(137, "OOMKilled", "", time.Second, 0)), RestartCount: 1}, Published, "OOMKilled"},
		"the application ended with 0":         {none, corev1.ContainerStatus{State: back, LastTerminationState: ended(end(0, "Completed", "", time.Second, 0)), RestartCount: 1}, Published, ""},
		"podfqdn refused":                      {none, corev1.ContainerStatus{State: back, LastTerminationState: ended(end(10, "Error", "podfqdn: no hostname: set spec.hostname", 0, 0)), RestartCount: 1}, Refused, "no hostname: set spec.hostname"},
		"podfqdn gave up":                      {none, corev1.ContainerStatus{State: ended(end(11, "Error", "podfqdn: gave up after 15m", time.Second, 0))}, GaveUp, "gave up after 15m"},
		"it gave up, and waits again":          {readiness, corev1.ContainerStatus{State: running, LastTerminationState: ended(end(11, "Error", "podfqdn: gave up after 15m", time.Second, 0)), RestartCount: 1}, Waiting, "before that: gave up after 15m"},
		"the command is not found":             {none, corev1.ContainerStatus{State: ended(end(127, "Error", "podfqdn: /server is not found", 0, 0))}, Failed, "/server is not found"},
		"no volume":                            {none, corev1.ContainerStatus{State: back, LastTerminationState: ended(end(13, "Error", "podfqdn: /identity is not a volume", 0, 0)), RestartCount: 1}, Failed, "/identity is not a volume"},
		"podfqdn is killed while it waits":     {liveness, corev1.ContainerStatus{State: back, LastTerminationState: ended(end(143, "Error", waitedAndKilled, 30*time.Second, 0)), RestartCount: 1}, Failed, "ended by SIGTERM after 30s"},
		"podfqdn's file is not there":          {none, corev1.ContainerStatus{State: back, LastTerminationState: ended(end(128, "StartError", noSuchFile, 0, 0)), RestartCount: 1}, Failed, "no such file or directory"},
		"it ends at once, again and again":     {none, corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}, LastTerminationState: ended(end(10, "Error", "podfqdn: x", 0, 0)), RestartCount: 1, Ready: true, Started: &yes}, Refused, "x"},
		"the application does, and not it":     {none, corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}, LastTerminationState: ended(end(10, "Error", "x", 0, 0)), RestartCount: 1, Ready: true, Started: &yes}, Running, "no probe shows"},
		"the file is not there, as Docker has": {none, corev1.ContainerStatus{State: ended(end(127, "ContainerCannotRun", noSuchFile, 0, 0))}, Failed, "no such file"},
	} {
		app := wrapped()
		c.probes(&app)
		c.status.Name = "app"
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{app}, Volumes: brought()}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{c.status}}}
		if u := use(p, ""); u.State != c.state || !strings.Contains(u.Reason, c.reason) || c.reason == "" && u.Reason != "" || strings.HasPrefix(u.Reason, signed) {
			t.Errorf("%s: %s: %q", name, u.State, u.Reason)
		}
	}
}

// execs is the situation of a Pod whose application podfqdn exec starts.
func execs(change func(*corev1.PodSpec), env ...corev1.EnvVar) situation {
	return situation{services: true, slices: true, corefile: allZones, pod: func(p *corev1.PodSpec) {
		p.InitContainers, p.Containers, p.Volumes = nil, []corev1.Container{wrapped()}, brought()
		p.Containers[0].Env = env
		if change != nil {
			change(p)
		}
	}}
}

// with makes a View of a Pod with a status of its application's container.
func (s situation) with(status corev1.ContainerStatus) *View {
	v := s.view()
	status.Name = "app"
	v.pod.Status.ContainerStatuses = []corev1.ContainerStatus{status}
	v.Use = use(v.pod, "")
	v.podfqdn = v.Each()[0].podfqdn
	return v
}

func TestALivenessProbeThatKillsTheWaitIsSaid(t *testing.T) {
	t.Parallel()
	no, one := false, int32(1)
	liveness := func(p *corev1.PodSpec) { p.Containers[0].LivenessProbe = httpProbe() }
	short := func(p *corev1.PodSpec) {
		p.Containers[0].LivenessProbe, p.Containers[0].StartupProbe = httpProbe(), httpProbe()
	}
	both := func(p *corev1.PodSpec) { short(p); p.Containers[0].StartupProbe.FailureThreshold = 12 }
	running := func(ago time.Duration) corev1.ContainerState {
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Now().Add(-ago))}}
	}
	back := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	was := func(code int32, message string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: end(code, "Error", message, 30*time.Second, 0)}
	}
	denied := asked("missing", denial("cluster.local"))
	silent := &diagnosis.Diagnosis{Schema: 1, Healthy: true}
	for name, c := range map[string]struct {
		pod    func(*corev1.PodSpec)
		status corev1.ContainerStatus
		wire   *diagnosis.Diagnosis
		found  bool
		guess  bool
	}{
		"killed, and between two starts":    {liveness, corev1.ContainerStatus{State: back, LastTerminationState: was(143, waitedAndKilled), RestartCount: 2}, nil, true, false},
		"killed, and it waits again":        {liveness, corev1.ContainerStatus{State: running(time.Second), LastTerminationState: was(143, waitedAndKilled), RestartCount: 2, Started: &no}, denied, true, false},
		"it waits for the first time":       {liveness, corev1.ContainerStatus{State: running(10 * time.Second)}, denied, true, true},
		"it waits for longer than that":     {liveness, corev1.ContainerStatus{State: running(time.Minute)}, denied, false, false},
		"killed, and nothing says what was": {liveness, corev1.ContainerStatus{State: back, LastTerminationState: was(137, ""), RestartCount: 2}, nil, true, true},
		"the application ended":             {liveness, corev1.ContainerStatus{State: back, LastTerminationState: was(1, ""), RestartCount: 2}, nil, false, false},
		"podfqdn gave up":                   {liveness, corev1.ContainerStatus{State: back, LastTerminationState: was(11, "podfqdn: gave up after 30s"), RestartCount: 2}, nil, false, false},
		"a startupProbe":                    {both, corev1.ContainerStatus{State: running(time.Second), LastTerminationState: was(143, waitedAndKilled), RestartCount: 2, Started: &no}, denied, false, false},
		"no probe":                          {nil, corev1.ContainerStatus{State: running(time.Second)}, denied, false, false},
		"a startupProbe that is too short":  {short, corev1.ContainerStatus{State: back, LastTerminationState: was(143, waitedAndKilled), RestartCount: 2, Started: &no}, denied, true, false},
		"and the first time":                {short, corev1.ContainerStatus{State: running(time.Second), Started: &no}, denied, true, true},
		"DNS agrees":                        {liveness, corev1.ContainerStatus{State: running(time.Second), LastTerminationState: was(143, waitedAndKilled), RestartCount: 2}, silent, false, false},
		"it runs, and DNS was not asked":    {liveness, corev1.ContainerStatus{State: running(time.Second), Ready: true}, nil, false, false},
	} {
		s := execs(c.pod, literal("PODFQDN_TIMEOUT", "2m"))
		s.owner = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.DeploymentSpec{Replicas: &one}}
		causes := s.with(c.status).Causes(c.wire)
		i := slices.IndexFunc(causes, func(c diagnosis.Cause) bool { return c.Kind == diagnosis.KilledByProbe })
		if (i >= 0) != c.found || c.found && causes[i].Guess != c.guess {
			t.Errorf("%s: %+v", name, causes)
			continue
		}
		if !c.found {
			continue
		}
		const lines = `startupProbe: {"httpGet":{"path":"/healthz","port":8080},"periodSeconds":1,"failureThreshold":150}`
		if !strings.Contains(causes[i].Change, lines) || (causes[i].Command == "") != c.guess {
			t.Errorf("%s: %+v", name, causes[i])
		}
		if !c.guess && (!strings.Contains(causes[i].Why, "SIGTERM last ended podfqdn 30s after its start") || !strings.Contains(causes[i].Command, `"containers":[{"name":"app","startupProbe":{"httpGet":`)) {
			t.Errorf("%s: %+v", name, causes[i])
		}
		if c.guess && i != len(causes)-1 || !c.guess && slices.ContainsFunc(causes[:i], func(c diagnosis.Cause) bool { return c.Guess }) {
			t.Errorf("%s: in its wrong place: %+v", name, causes)
		}
	}
}

// What keeps DNS from agreeing comes first: the probe only interrupts the wait.
func TestAKillIsSaidBehindWhatIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := execs(func(p *corev1.PodSpec) { p.Containers[0].LivenessProbe = httpProbe() })
	s.service = func(s *corev1.ServiceSpec) { s.Selector = map[string]string{"app": "x"} }
	v := s.with(corev1.ContainerStatus{LastTerminationState: corev1.ContainerState{Terminated: end(143, "Error", waitedAndKilled, 30*time.Second, 0)}, RestartCount: 1})
	causes := v.Causes(nil)
	if len(causes) != 2 || causes[0].Kind != diagnosis.SelectorMismatch || causes[1].Kind != diagnosis.KilledByProbe {
		t.Fatalf("%+v", causes)
	}
	if nothing, _ := v.Prospects(causes); !strings.Contains(nothing, "the kubelet kills and restarts it") {
		t.Error(nothing)
	}
}

func TestTheStartupProbeHasPodfqdnsPatience(t *testing.T) {
	t.Parallel()
	for timeout, want := range map[string]int32{"": 930, "1h": 3630, "0": 86430, "x": 930, "999999h": 86430} {
		s := execs(func(p *corev1.PodSpec) { p.Containers[0].LivenessProbe = httpProbe() }, literal("PODFQDN_TIMEOUT", timeout))
		j := judge{View: s.with(corev1.ContainerStatus{})}
		if got := j.longProbe(httpProbe()); got.FailureThreshold != want || got.HTTPGet == nil {
			t.Errorf("%q: %+v", timeout, got)
		}
	}
	if got := limitOf(&corev1.Probe{PeriodSeconds: 1 << 30, FailureThreshold: 1 << 30}); got != day {
		t.Error(got)
	}
}

func TestACommandThatIsNotThereIsExplained(t *testing.T) {
	t.Parallel()
	empty := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	// The mistake is in the manifest, and the cluster is not blamed for it.
	manifests := []string{"another path in the image", "a volume that is not mounted", "nor can it be, at that path", "a volume that is mounted elsewhere",
		"another volume is mounted there", "one string", "installed with its own name", "no path"}
	said := func(file string) string { return strings.ReplaceAll(noSuchFile, "/podfqdn/podfqdn", file) }
	for name, c := range map[string]struct {
		pod   func(*corev1.PodSpec)
		said  string
		words []string // none: it is not explained
		guess bool
	}{
		"an image volume that is empty": {nil, noSuchFile, []string{`volume "podfqdn", which is mounted there, is the image "registry.example/podfqdn:1", and the container runtime of node "n1" has mounted an empty directory`, "containerd before 2.1", "PODFQDN_INSTALL"}, false},
		"crun":                          {nil, "executable file `/podfqdn/podfqdn` not found: No such file or directory", []string{"has mounted an empty directory"}, false},
		"another path in the image":     {func(p *corev1.PodSpec) { p.Containers[0].Command[0] = "/podfqdn/bin/podfqdn" }, said("/podfqdn/bin/podfqdn"), []string{"so write /podfqdn/podfqdn"}, false},
		"another image":                 {func(p *corev1.PodSpec) { p.Volumes[1].Image.Reference = "tools:1" }, noSuchFile, []string{`is the image "tools:1"`}, true},
		"no volume": {func(p *corev1.PodSpec) {
			p.Containers[0].VolumeMounts, p.Volumes = p.Containers[0].VolumeMounts[:1], p.Volumes[:1]
		}, noSuchFile, []string{"no volume is mounted there", "this Kubernetes has dropped it"}, false},
		"a volume that is not mounted": {func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts = p.Containers[0].VolumeMounts[:1] }, noSuchFile, []string{`volume "podfqdn" is not mounted in it`, `volumeMounts of container "app": volume "podfqdn" at /podfqdn`}, false},
		"nor can it be, at that path": {func(p *corev1.PodSpec) {
			p.Containers[0].VolumeMounts, p.Containers[0].Command[0] = p.Containers[0].VolumeMounts[:1], "/podfqdn"
		}, said("/podfqdn"), []string{`volume "podfqdn" at /podfqdn; and its command: write /podfqdn/podfqdn`}, false},
		"a volume that is mounted elsewhere": {func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts[1].MountPath = "/opt/podfqdn" }, noSuchFile, []string{`volume "podfqdn" is mounted at /opt/podfqdn`, "write /opt/podfqdn/podfqdn"}, false},
		"another volume is mounted there": {func(p *corev1.PodSpec) {
			p.Containers[0].VolumeMounts[1].Name = "identity"
		}, noSuchFile, []string{`volume "podfqdn" is not mounted in it`}, false},
		"one string":           {func(p *corev1.PodSpec) { p.Containers[0].Command = []string{"/podfqdn/podfqdn exec -- /server"} }, said("/podfqdn/podfqdn exec -- /server"), []string{`the command is one string with blanks, "/podfqdn/podfqdn exec -- /server"`, `write it as a list: ["/podfqdn/podfqdn","exec","--","/server"]`}, false},
		"a part of the image":  {func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts[1].SubPath = "bin" }, noSuchFile, []string{"may lack it there; or the container runtime"}, true},
		"nothing is installed": {func(p *corev1.PodSpec) { p.Volumes[1].VolumeSource = empty }, noSuchFile, []string{`volume "podfqdn", which is mounted there, does not have it`, "no container installs podfqdn in it"}, false},
		"installed with its own name": {func(p *corev1.PodSpec) {
			p.Volumes[1].VolumeSource = empty
			p.InitContainers = []corev1.Container{{Name: "podfqdn", Image: "podfqdn:1", Env: []corev1.EnvVar{literal("PODFQDN_INSTALL", "/tools")}, VolumeMounts: []corev1.VolumeMount{{Name: "podfqdn", MountPath: "/tools"}}}}
			p.Containers[0].Command[0] = "/podfqdn/pf"
		}, said("/podfqdn/pf"), []string{`container "podfqdn" installs podfqdn in volume "podfqdn" as podfqdn`}, false},
		"no path":               {func(p *corev1.PodSpec) { p.Containers[0].Command[0] = "podfqdn" }, `exec: "podfqdn": executable file not found in $PATH`, []string{"has no podfqdn in its $PATH", "the whole path"}, false},
		"something else":        {nil, "failed to create containerd task: no space left on device", nil, false},
		"another file":          {nil, said("/etc/x"), nil, false},
		"the application's own": {nil, "podfqdn: /server: no such file or directory", nil, false},
	} {
		s := execs(func(p *corev1.PodSpec) {
			p.NodeName = "n1"
			if c.pod != nil {
				c.pod(p)
			}
		})
		terminated := end(128, "StartError", c.said, 0, 0)
		if name == "the application's own" {
			terminated.ExitCode, terminated.Reason = 127, "Error"
		}
		v := s.with(corev1.ContainerStatus{LastTerminationState: corev1.ContainerState{Terminated: terminated}, RestartCount: 1})
		v = v.Each()[0] // the worst
		causes := v.Causes(nil)
		if len(causes) == 0 || (causes[0].Kind == diagnosis.BinaryMissing) != (c.words != nil) || c.words != nil && (len(causes) != 1 || causes[0].Guess != c.guess) {
			t.Errorf("%s: %+v", name, causes)
			continue
		}
		cluster := strings.Contains(causes[0].Why+causes[0].Change, "this Kubernetes") || strings.Contains(causes[0].Why+causes[0].Change, "the container runtime")
		if c.words != nil && cluster == slices.Contains(manifests, name) {
			t.Errorf("%s: the cluster is blamed: %v: %+v", name, cluster, causes[0])
		}
		for _, words := range c.words {
			if !strings.Contains(causes[0].Why+"\n"+causes[0].Change, words) {
				t.Errorf("%s: %q is missing: %+v", name, words, causes[0])
			}
		}
	}
	// Before it has ended, it is only not started.
	v := execs(nil).with(corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "RunContainerError", Message: noSuchFile}}})
	if causes := v.Causes(nil); len(causes) != 1 || causes[0].Kind != diagnosis.BinaryMissing {
		t.Errorf("%+v", causes)
	}
}

// podfqdn's file in its image is /podfqdn, and so is the usual mount of an image
// volume in another container: the two are taken for each other.
func TestAFileAndADirectoryOfTheSameNameAreToldApart(t *testing.T) {
	t.Parallel()
	const over = `failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: error mounting "/var/lib/kubelet/pods/1/volumes/kubernetes.io~empty-dir/podfqdn" to rootfs at "/podfqdn": create mountpoint for /podfqdn mount: cannot create directory at /run/rootfs/podfqdn: not a directory`
	installing := func(at string) func(*corev1.PodSpec) {
		return func(p *corev1.PodSpec) {
			p.Volumes[1].VolumeSource = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
			p.Containers[0].Name, p.Containers[0].Image, p.Containers[0].Command, p.Containers[0].Args = "app", "podfqdn:1", nil, []string{"init"}
			p.Containers[0].Env, p.Containers[0].VolumeMounts[1] = []corev1.EnvVar{literal("PODFQDN_INSTALL", at)}, corev1.VolumeMount{Name: "podfqdn", MountPath: at}
		}
	}
	directory := func(p *corev1.PodSpec) { p.Containers[0].Command[0] = "/podfqdn" }
	for name, c := range map[string]struct {
		pod         func(*corev1.PodSpec)
		said        string
		kind        diagnosis.Kind
		why, change string
	}{
		"installed over itself":  {installing("/podfqdn"), over, diagnosis.Volume, `container "app" was not started: volume "podfqdn" is mounted at /podfqdn, which is podfqdn's own file in its image`, "and the same in PODFQDN_INSTALL"},
		"installed elsewhere":    {installing("/tools"), over, diagnosis.Unexplained, "could not be started", ""},
		"and something else":     {installing("/podfqdn"), "no space left on device", diagnosis.Unexplained, "could not be started", ""},
		"a directory is run":     {directory, `exec: "/podfqdn": permission denied`, diagnosis.BinaryMissing, `/podfqdn is the directory where volume "podfqdn" is mounted`, "write /podfqdn/podfqdn"},
		"as others say it":       {directory, `exec: "/podfqdn": is a directory`, diagnosis.BinaryMissing, "is the directory where", "write /podfqdn/podfqdn"},
		"a file may not be run":  {nil, `exec: "/podfqdn/podfqdn": permission denied`, diagnosis.Unexplained, "could not be started", ""},
		"and another file is it": {directory, `exec: "/server": permission denied`, diagnosis.Unexplained, "could not be started", ""},
	} {
		v := execs(c.pod).with(corev1.ContainerStatus{LastTerminationState: corev1.ContainerState{Terminated: end(128, "StartError", c.said, 0, 0)}, RestartCount: 1})
		causes := v.Causes(nil)
		if len(causes) != 1 || causes[0].Kind != c.kind || causes[0].Guess != (c.kind == diagnosis.Unexplained) || !strings.Contains(causes[0].Why, c.why) || !strings.Contains(causes[0].Change, c.change) {
			t.Errorf("%s: %+v", name, causes)
		}
	}
}

func TestAContainerOfExecNeedsAVolume(t *testing.T) {
	t.Parallel()
	one := int32(1)
	unmounted := func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts = p.Containers[0].VolumeMounts[1:] }
	readOnly := func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts[0].ReadOnly = true }
	init := corev1.Container{Name: "podfqdn", Image: "podfqdn:1", VolumeMounts: volumes}
	failed := corev1.ContainerStatus{LastTerminationState: corev1.ContainerState{Terminated: end(13, "Error", "podfqdn: /identity is not a volume", 0, 0)}, RestartCount: 1}
	waits := corev1.ContainerStatus{State: runs0}
	for name, c := range map[string]struct {
		pod     func(*corev1.PodSpec)
		status  corev1.ContainerStatus
		words   string // "" for no cause of that kind
		command string
	}{
		"no mount":         {unmounted, failed, `container "app" has no volume at /identity`, `"volumeMounts":[{"mountPath":"/identity","name":"identity"}]`},
		"no volume either": {func(p *corev1.PodSpec) { unmounted(p); p.Volumes = p.Volumes[1:] }, failed, "has no volume at /identity", `"volumes":[{"emptyDir":{},"name":"identity"}]`},
		"the name is taken": {func(p *corev1.PodSpec) {
			unmounted(p)
			p.Volumes[0].VolumeSource = corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}
		}, failed, "has no volume at /identity", ""},
		"it reads what nothing writes": {readOnly, waits, "no container mounts it for writing", `"readOnly":false`},
		"it reads what another writes": {func(p *corev1.PodSpec) { readOnly(p); p.InitContainers = []corev1.Container{init} }, waits, "", ""},
		"it writes":                    {nil, waits, "", ""},
	} {
		s := execs(func(p *corev1.PodSpec) {
			p.Containers[0].ReadinessProbe = httpProbe()
			if c.pod != nil {
				c.pod(p)
			}
		})
		s.owner = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.DeploymentSpec{Replicas: &one}}
		v := s.with(c.status)
		i := slices.IndexFunc(v.Each(), func(v *View) bool { return v.Container == "app" })
		causes := v.Each()[i].Causes(nil)
		i = slices.IndexFunc(causes, func(c diagnosis.Cause) bool { return c.Kind == diagnosis.Volume })
		if (i >= 0) != (c.words != "") || i > 0 {
			t.Errorf("%s: %+v", name, causes)
			continue
		}
		if i == 0 && (causes[0].Guess || !strings.Contains(causes[0].Why, c.words) || !strings.Contains(causes[0].Command, c.command) || (c.command == "") != (causes[0].Command == "")) {
			t.Errorf("%s: %+v", name, causes[0])
		}
	}
}

// holding is what podfqdn doctor says where DNS agrees, and the volume holds so much.
func holding(volume string) *diagnosis.Diagnosis {
	return &diagnosis.Diagnosis{Schema: 1, Healthy: true, FQDN: podfqdnsName, Facts: []diagnosis.Seen{{Name: diagnosis.FactVolume, Value: volume, From: "/identity"}}}
}

// heard makes the View of a Pod in whose container podfqdn doctor says so.
func (s situation) heard(status corev1.ContainerStatus, wire *diagnosis.Diagnosis) *View {
	v := s.with(status)
	if wire != nil {
		v.Hear(wire)
	}
	return v
}

// The spec shows that nothing publishes, whatever the container does.
func TestAVolumeThatNothingWritesIsACauseInEveryState(t *testing.T) {
	t.Parallel()
	yes := true
	killed := corev1.ContainerState{Terminated: end(137, "OOMKilled", "", time.Hour, 0)}
	gaveUp := corev1.ContainerState{Terminated: end(11, "Error", "podfqdn: gave up after 15m", time.Hour, 0)}
	for name, c := range map[string]struct {
		status corev1.ContainerStatus
		wire   *diagnosis.Diagnosis
		state  State
		cause  bool
	}{
		"it runs":                         {corev1.ContainerStatus{State: runs0, Ready: true, Started: &yes}, holding(diagnosis.NothingPublished), Waiting, true},
		"it runs, and cannot be asked":    {corev1.ContainerStatus{State: runs0, Ready: true, Started: &yes}, nil, Waiting, true},
		"it runs again after a deadline":  {corev1.ContainerStatus{State: runs0, LastTerminationState: gaveUp, RestartCount: 1}, holding(diagnosis.NothingPublished), Waiting, true},
		"it has not started":              {corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}}, nil, Pending, true},
		"it gave up":                      {corev1.ContainerStatus{State: gaveUp}, nil, GaveUp, true},
		"it was killed, and said nothing": {corev1.ContainerStatus{State: killed}, nil, Published, true},
		"something is published":          {corev1.ContainerStatus{State: runs0}, holding(diagnosis.Verified), Running, false},
	} {
		s := execs(func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts[0].ReadOnly = true })
		v := s.heard(c.status, c.wire)
		causes := v.Causes(c.wire)
		if v.State != c.state || (len(causes) > 0) != c.cause || c.cause && (causes[0].Kind != diagnosis.Volume || causes[0].Guess || !strings.Contains(causes[0].Why, "no container mounts it for writing")) {
			t.Errorf("%s: %s, %+v", name, v.State, causes)
		}
		if v.State == Waiting && (v.Healthy || !strings.Contains(v.Reason, either(c.status.RestartCount > 0, "before that: gave up", ""))) {
			t.Errorf("%s: healthy: %v, %q", name, v.Healthy, v.Reason)
		}
	}
}

func TestAPodWithNothingPublishedIsNotHealthy(t *testing.T) {
	t.Parallel()
	yes := true
	runs := corev1.ContainerStatus{State: runs0, Ready: true, Started: &yes}
	for name, c := range map[string]struct {
		probed bool
		wire   *diagnosis.Diagnosis
		state  State
		well   bool
	}{
		"nothing is published":                      {false, holding(diagnosis.NothingPublished), Waiting, false},
		"nothing is, and yet the application runs":  {true, holding(diagnosis.NothingPublished), Running, false},
		"published and verified":                    {false, holding(diagnosis.Verified), Running, true},
		"a doctor that does not look at the volume": {false, &diagnosis.Diagnosis{Schema: 1, Healthy: true}, Running, true},
	} {
		s := execs(func(p *corev1.PodSpec) {
			if c.probed {
				p.Containers[0].ReadinessProbe = httpProbe()
			}
		})
		v := s.heard(runs, c.wire)
		causes := v.Causes(c.wire)
		if v.State != c.state || v.Healthy != c.well || (len(causes) == 0) != c.well || !c.well && (!causes[0].Guess || !strings.Contains(causes[0].Why, "nothing is published")) {
			t.Errorf("%s: %s, healthy: %v, %+v", name, v.State, v.Healthy, causes)
		}
	}
}

// What nothing shows is not claimed.
func TestTheProspectsOfAContainerOfExec(t *testing.T) {
	t.Parallel()
	from := literal("PODFQDN_TIMEOUT", "$(TIMEOUT)")
	runs := func(ago time.Duration) corev1.ContainerState {
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Now().Add(-ago))}}
	}
	for name, c := range map[string]struct {
		state            corev1.ContainerState
		env              []corev1.EnvVar
		volume           string // as podfqdn doctor says; "" where it cannot be asked
		nothing, deleted string
	}{
		"it waits":                       {runs(time.Minute), nil, diagnosis.NothingPublished, "podfqdn gives up 15m after its start", "useless"},
		"it does not":                    {runs(time.Minute), nil, diagnosis.Verified, "the application keeps running", "the application runs"},
		"nothing was asked":              {runs(time.Minute), nil, "", "nothing shows which", "a loss if the application runs"},
		"nor for longer than it waits":   {runs(17 * time.Minute), nil, "", "the application keeps running", "the application runs"},
		"which is not known":             {runs(17 * time.Minute), []corev1.EnvVar{from}, "", "nothing shows which", "a loss if the application runs"},
		"which is not yet":               {runs(17 * time.Minute), []corev1.EnvVar{literal("PODFQDN_TIMEOUT", "1h")}, "", "nothing shows which", "a loss if the application runs"},
		"which is without end":           {runs(48 * time.Hour), []corev1.EnvVar{literal("PODFQDN_TIMEOUT", "0")}, "", "nothing shows which", "a loss if the application runs"},
		"an identity that is not its":    {runs(time.Minute), nil, "not this Pod's identity: x", "nothing shows which", "a loss if the application runs"},
		"nothing is published, for long": {runs(17 * time.Minute), nil, diagnosis.NothingPublished, "podfqdn gives up 15m after its start", "useless"},
	} {
		s := execs(func(p *corev1.PodSpec) { p.Subdomain = "other" }, c.env...)
		s.owner = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "db"}}
		var wire *diagnosis.Diagnosis
		if c.volume != "" {
			wire = asked("missing", denial("cluster.local"))
			wire.Facts = holding(c.volume).Facts
		}
		v := s.heard(corev1.ContainerStatus{State: c.state}, wire)
		nothing, deleted := v.Prospects([]diagnosis.Cause{{Kind: diagnosis.SubdomainMismatch}})
		if !strings.Contains(nothing, c.nothing) || !strings.Contains(deleted, c.deleted) {
			t.Errorf("%s: %q, %q", name, nothing, deleted)
		}
	}
}

func TestExecInArgsAloneIsTheEntrypointsArgument(t *testing.T) {
	t.Parallel()
	run := corev1.ContainerStatus{State: runs0}
	ended := func(message string) corev1.ContainerStatus {
		return corev1.ContainerStatus{State: corev1.ContainerState{Terminated: end(2, "Error", message, time.Second, 0)}, RestartCount: 3}
	}
	denied := asked("missing", denial("cluster.local"))
	denied.Facts = holding(diagnosis.NothingPublished).Facts
	command := func(c *corev1.Container) { c.Command, c.Args = c.Args[:1], c.Args[1:] }
	for name, c := range map[string]struct {
		change func(*corev1.Container)
		status corev1.ContainerStatus
		wire   *diagnosis.Diagnosis
		found  bool
		guess  bool
	}{
		"nothing is published":           {nil, run, holding(diagnosis.NothingPublished), true, false},
		"nor does DNS agree":             {nil, run, denied, true, true},
		"the ENTRYPOINT ran podfqdn":     {nil, run, holding(diagnosis.Verified), false, false},
		"the ENTRYPOINT refuses it":      {nil, ended("unknown argument: exec"), nil, true, true},
		"podfqdn did":                    {nil, ended("podfqdn: no hostname: set spec.hostname"), nil, false, false},
		"nothing was asked":              {nil, run, nil, false, false},
		"podfqdn's own image":            {func(c *corev1.Container) { c.Image = "podfqdn:1" }, run, holding(diagnosis.NothingPublished), false, false},
		"a command, and it publishes on": {command, run, holding(diagnosis.NothingPublished), false, false},
	} {
		s := execs(func(p *corev1.PodSpec) {
			app := &p.Containers[0]
			app.Command, app.Args = nil, app.Command
			if c.change != nil {
				c.change(app)
			}
		})
		v := s.heard(c.status, c.wire)
		causes := v.Causes(c.wire)
		i := slices.IndexFunc(causes, func(c diagnosis.Cause) bool {
			return c.Kind == diagnosis.Misconfigured && strings.Contains(c.Why, "args")
		})
		if (i >= 0) != c.found || c.found && (causes[i].Guess != c.guess || causes[i].Why != `container "app" has podfqdn exec in args but no command: the image's ENTRYPOINT gets it as arguments` ||
			causes[i].Change != `container "app": move it to command: command: ["/podfqdn/podfqdn","exec","--","/server"]`) {
			t.Errorf("%s: %+v", name, causes)
		}
		if !c.found || c.guess {
			continue
		}
		if nothing, _ := v.Prospects(causes); v.Healthy || v.State != Running || !strings.Contains(nothing, "nothing shows which") {
			t.Errorf("%s: %s, healthy: %v, %s", name, v.State, v.Healthy, nothing)
		}
	}
}

// podfqdn knows it as surely as what it refuses.
func TestACommandThatPodfqdnCannotBecomeIsSaid(t *testing.T) {
	t.Parallel()
	const missing, denied = `the command "/my-sever" does not exist in this container`, `the command "/my-server": permission denied`
	back := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	ended := func(code int32, message string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: end(code, "Error", message, time.Second, time.Minute)}
	}
	for name, c := range map[string]struct {
		status corev1.ContainerStatus
		why    string // "" for no such cause
	}{
		"not found":              {corev1.ContainerStatus{State: back, LastTerminationState: ended(127, signed+" "+missing), RestartCount: 2}, missing},
		"not executable":         {corev1.ContainerStatus{State: ended(126, signed+" "+denied)}, denied},
		"and the container runs": {corev1.ContainerStatus{State: runs0, LastTerminationState: ended(127, signed+" "+missing), RestartCount: 2}, missing},
		"the application's own":  {corev1.ContainerStatus{State: back, LastTerminationState: ended(127, "sh: x: not found"), RestartCount: 2}, ""},
		"another end":            {corev1.ContainerStatus{State: back, LastTerminationState: ended(1, "podfqdn: x"), RestartCount: 2}, ""},
	} {
		v := execs(func(p *corev1.PodSpec) { p.Containers[0].ReadinessProbe = httpProbe() }).with(c.status)
		causes := v.Causes(nil)
		i := slices.IndexFunc(causes, func(c diagnosis.Cause) bool { return c.Kind == diagnosis.Misconfigured })
		if (i == 0) != (c.why != "") || i > 0 || i == 0 && (len(causes) != 1 || causes[0].Guess || causes[0].Why != c.why || !strings.HasPrefix(causes[0].Change, `the command after podfqdn exec in container "app"`)) {
			t.Errorf("%s: %+v", name, causes)
		}
	}
}

func TestTheWorstContainerIsFirstAgainOnceItIsHeard(t *testing.T) {
	t.Parallel()
	s := execs(func(p *corev1.PodSpec) {
		second := wrapped()
		second.Name = "second"
		p.Containers = append(p.Containers, second)
	})
	v := s.with(corev1.ContainerStatus{State: runs0})
	v.pod.Status.ContainerStatuses = append(v.pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: "second", State: runs0})
	each := v.Each()
	each[1].Hear(holding(diagnosis.NothingPublished))
	Rank(each)
	if u := each[0].Use; u.Container != "second" || u.State != Waiting || len(u.Containers) != 2 || u.Containers[0].State != Waiting || u.Containers[1].State != Running {
		t.Errorf("%+v", u)
	}
}

// The kubelet starts the application again, and podfqdn in it: it is a loss to
// delete the Pod.
func TestAnApplicationThatPodfqdnBecameRuns(t *testing.T) {
	t.Parallel()
	yes := true
	s := execs(func(p *corev1.PodSpec) { p.Containers[0].ReadinessProbe = httpProbe() })
	v := s.with(corev1.ContainerStatus{State: runs0, Started: &yes, Ready: true})
	if !v.appRuns() {
		t.Error("it is ready, and does not run")
	}
	v = s.with(corev1.ContainerStatus{State: runs0, Started: &yes})
	if v.appRuns() {
		t.Error("it is not ready, and runs")
	}
}
