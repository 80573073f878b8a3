//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// doctorsSay is what the doctor says next to a cause, and of what it says it.
func doctorsSay(t *testing.T, w world) {
	w.parallel(t, "every container", everyContainer)
	w.parallel(t, "a renamed image", renamedImage)
	w.parallel(t, "healthy, as far as it was looked at", asFar)
	w.parallel(t, "healthy, and a PTR from a cache", cachedPTR)
	w.parallel(t, "at night", atNight)
	w.parallel(t, "configuration, the namespace", wrongNamespace)
	w.parallel(t, "service-not-headless", notHeadless)
	w.parallel(t, "volume", unusableVolume)
}

// examines is doctor with more flags, and with the exit code that is wanted.
func (s *space) examines(code int, args ...string) (e examined) {
	s.Helper()
	args = append([]string{"doctor", "--namespace", s.name, "--output=json"}, args...)
	out, errs, got := s.plugin(s.kubeconfig, args...)
	if err := json.Unmarshal([]byte(out), &e); err != nil || got != code || errs != "" || e.Healthy != (code == 0) {
		s.Fatalf("kubectl podfqdn %q: exit code %d, want %d; %v: %s%s", args, got, code, err, out, errs)
	}
	return e
}

// prints is examines, for a person.
func (s *space) prints(code int, args ...string) string {
	s.Helper()
	args = append([]string{"doctor", "--namespace", s.name}, args...)
	out, errs, got := s.plugin(s.kubeconfig, args...)
	if got != code || errs != "" {
		s.Errorf("kubectl podfqdn %q: exit code %d, want %d; %s", args, got, code, errs)
	}
	s.Logf("kubectl podfqdn %q: exit code %d\n%s", args, got, out)
	return out
}

// has checks that a text has each of the words.
func (s *space) has(text string, words ...string) {
	s.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			s.Errorf("%q is not said:\n%s", w, text)
		}
	}
}

// lines returns lists as one text.
func lines(of ...[]string) string { return strings.Join(slices.Concat(of...), "\n") }

// everyContainer is of Pods with several containers of podfqdn's, one of which
// ends with 10 again and again.
func everyContainer(s *space) {
	s.headless("db", "db")
	always := corev1.ContainerRestartPolicyAlways
	pod := func(name string) (p *corev1.Pod, broken corev1.Container) {
		p = named(s.podOf("db"), name, "db")
		p.Name, p.Spec.RestartPolicy = name, corev1.RestartPolicyAlways
		broken = *p.Spec.InitContainers[1].DeepCopy()
		broken.Args, broken.Env = []string{"sidecar"}, []corev1.EnvVar{{Name: "PODFQDN_LISTEN", Value: "8053"}}
		return p, broken
	}
	both, broken := pod("both")
	broken.Name, broken.RestartPolicy = "podfqdn-sidecar", &always
	both.Spec.InitContainers = append(both.Spec.InitContainers, broken)
	// The application has the name of podfqdn, and podfqdn has others.
	swapped, broken := pod("swapped")
	swapped.Spec.InitContainers[1].Name, swapped.Spec.Containers[0].Name, broken.Name = "app", "podfqdn", "server"
	swapped.Spec.Containers = append(swapped.Spec.Containers, broken)
	// Both are sidecars, and one asks DNS, which agrees.
	two, broken := pod("two")
	broken.Name = "second"
	two.Spec.InitContainers[1].Args, two.Spec.InitContainers[1].RestartPolicy = []string{"sidecar"}, &always
	two.Spec.Containers = append(two.Spec.Containers, broken)
	s.start(both, swapped, two)

	for _, c := range []struct{ pod, well, state, loops, application string }{
		{"both", "podfqdn", "published", "podfqdn-sidecar", ""}, // which starts if the kubelet sees the sidecar run
		{"swapped", "app", "published", "server", "podfqdn"},
		{"two", "podfqdn", "running", "second", "app"},
	} {
		s.until(c.pod, "podfqdn ends again and again", func(p *corev1.Pod) bool {
			return (c.application == "" || runs(p, c.application)) && slices.ContainsFunc(slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses), func(status corev1.ContainerStatus) bool {
				return status.Name == c.loops && status.RestartCount > 1
			})
		})
		e, text := s.examines(11, c.pod), s.prints(11, c.pod)
		var states []string
		for _, one := range e.Containers {
			states = append(states, one.Container+" "+one.State)
		}
		if want := []string{c.loops + " refused", c.well + " " + c.state}; e.State != "refused" || e.Container != c.loops || !slices.Equal(states, want) {
			s.Errorf("%s: %s %s of %q, want %q", c.pod, e.Container, e.State, states, want)
		}
		if len(e.Causes) == 0 || e.Causes[0].Kind != diagnosis.Misconfigured || !strings.HasPrefix(e.Causes[0].Change, "the variable PODFQDN_LISTEN of container \""+c.loops+"\": it must be off") || len(e.Others) != 1 || e.Others[0].Container != c.well {
			s.Errorf("%s: %+v, %+v", c.pod, e.Causes, e.Others)
		}
		s.has(text, "not healthy: Pod "+c.pod, `container "`+c.loops+`": refused`, `container "`+c.well+`": `+c.state, "podfqdn has ended, and the kubelet restarts it, after growing pauses")
		if c.application != "" {
			s.has(e.IfNothing, "the application keeps running without it")
		}

		// One alone.
		if e := s.examines(0, c.pod, "-c", c.well); e.Container != c.well || e.State != c.state || len(e.Containers) > 0 || strings.Contains(fmt.Sprint(e), "PODFQDN_LISTEN") {
			s.Errorf("%s, %s alone: %+v", c.pod, c.well, e)
		}
		if e := s.examines(11, c.pod, "--container="+c.loops); e.Container != c.loops || e.State != "refused" || len(e.Others) > 0 {
			s.Errorf("%s, %s alone: %+v", c.pod, c.loops, e)
		}
	}
	_, errs, code := s.plugin(s.kubeconfig, "doctor", "-n", s.name, "both", "-c", "none")
	if want := `Pod "both" has no container "none": it has "observer", "podfqdn", "podfqdn-sidecar", "app"`; code != 10 || !strings.Contains(errs, want) {
		s.Errorf("exit code %d, want 10 and %s: %s", code, want, errs)
	}
	// The table is of the worst, too.
	out, _, code := s.plugin(s.kubeconfig, "doctor", "-n", s.name, "-l", "app=db")
	if code != 11 || len(regexp.MustCompile(`(?m)^`+s.name+` +(both|swapped|two) +refused +\S+ +PODFQDN_LISTEN="8053"`).FindAllString(out, -1)) != 3 {
		s.Errorf("exit code %d:\n%s", code, out)
	}
}

// renamedImage is podfqdn from a company's registry, where all has other names.
func renamedImage(s *space) {
	if s.own == nil {
		notShown(s.T, "needs podfqdn's image under another name on the node")
	}
	const image = "registry.example/platform/pod-identity:1"
	if out, err := s.own.Ctr(s.Context(), "images", "tag", "--force", "docker.io/library/"+s.image, image); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	s.headless("db", "db")
	pod := func(name, service string, args ...string) *corev1.Pod {
		p := named(s.podOf("db"), name, service)
		c := &p.Spec.InitContainers[1]
		p.Name, p.Spec.RestartPolicy = name, corev1.RestartPolicyAlways
		c.Name, c.Image, c.Args = "identity", image, args
		return p
	}
	refused := pod("refused", "db") // by its image's own arguments
	refused.Spec.InitContainers[1].Env = []corev1.EnvVar{{Name: "PODFQDN_TIMEOUT", Value: "5"}}
	s.start(pod("waits", "late", "init"), refused)

	s.until("waits", "podfqdn runs", func(p *corev1.Pod) bool { return runs(p, "identity") })
	e := s.examines(11, "waits")
	if e.State != "waiting" || e.Container != "identity" || e.Wire == nil || len(e.Causes) == 0 || e.Causes[0].Kind != diagnosis.SubdomainMismatch {
		s.Errorf("it is not recognised by its command: %+v", e)
	}

	s.until("refused", "podfqdn has refused", func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.InitContainerStatuses, func(c corev1.ContainerStatus) bool { return c.Name == "identity" && c.RestartCount > 0 })
	})
	const unknown = `not recognised by image, command or name in "observer", "identity", "app"; name it with --container`
	e, text := s.examines(0, "refused"), s.prints(0, "refused")
	if e.State != "no podfqdn" || e.Container != "" {
		s.Errorf("%+v", e)
	}
	s.has(text, unknown, "healthy: Pod refused in namespace "+s.name+", as far as it was looked at", "what DNS says now: no container of the Pod is recognised as podfqdn's; name it with --container")
	e = s.examines(11, "refused", "-c", "identity")
	// It is started again and again, and in between the API says that it runs.
	if e.State != "refused" && !strings.HasPrefix(e.Reason, "before that: ") || e.Container != "identity" || len(e.Causes) == 0 || e.Causes[0].Why != `PODFQDN_TIMEOUT="5"` {
		s.Errorf("%+v", e)
	}
}

// as returns the plugin's flag of a user who has roles in namespaces, each
// NAMESPACE ROLE, and whom nobody has to know for it.
func (s *space) as(user string, roles ...string) string {
	s.Helper()
	for i, role := range roles {
		namespace, role, _ := strings.Cut(role, " ")
		name := fmt.Sprintf("%s-%s-%d", s.name, user, i)
		s.kubectl("create", "rolebinding", name, "--namespace="+namespace, "--clusterrole="+role, "--user="+user)
		s.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), time.Minute)
			defer cancel()
			_ = s.command(ctx, "delete", "rolebinding/"+name, "--namespace="+namespace, "--ignore-not-found").Run()
		})
	}
	return "--as=" + user
}

// asFar is of users who may not see all.
func asFar(s *space) {
	s.headless("db", "db")
	s.start(sidecar(named(s.podOf("db"), "db-0", "db")))
	s.keeps("db", s.fqdn("db-0", "db"))
	all := s.examines(0, "db")
	if len(all.Unchecked) > 0 || len(all.Ahead) > 0 || all.Wire == nil {
		s.Errorf("with all rights: %+v", all)
	}

	viewer := s.as("viewer", s.name+" view", system+" view")
	e, text := s.examines(0, "db", viewer), s.prints(0, "db", viewer)
	const unasked = "what DNS says now: you are not allowed to create pods/exec"
	if len(e.Unchecked) != 1 || !strings.HasPrefix(e.Unchecked[0], unasked) || e.Wire != nil {
		s.Errorf("the viewer is told of %q", e.Unchecked)
	}
	s.has(text, "healthy: Pod db in namespace "+s.name+", as far as it was looked at", "what was not looked at\n  "+unasked)

	// What an administrator is to paste is not for the viewer to run.
	if grant := lines(e.Grant); strings.Contains(grant, "--as") || !strings.Contains(grant, "--user=viewer") {
		s.Errorf("the grants are\n%s", grant)
	}
	for _, line := range e.Grant {
		s.sh(line)
	}
	if e := s.examines(0, "db", viewer); e.Wire == nil || len(e.Unchecked) > 0 || len(e.Lacks) > 0 {
		s.Errorf("with what was granted: %+v", e)
	}

	s.kubectl("create", "role", "pods", "--verb=get", "--resource=pods")
	s.kubectl("create", "rolebinding", "nearly-nobody", "--role=pods", "--user=nearly-nobody")
	e = s.examines(0, "db", s.as("nearly-nobody"))
	s.has(lines(e.Unchecked), unasked, "the Services of the namespace", "the EndpointSlices of the namespace", "the NetworkPolicies of the namespace",
		"how many Pods of cluster DNS are ready", "the Corefile")
}

// cachedPTR is of a Pod behind a cache, as on many nodes, which hides for an
// hour that the Pod's address has a second name.
func cachedPTR(s *space) {
	cache := s.server53("forward . /etc/resolv.conf\n    cache 3600 {\n        success 1000 3600 3600\n        denial 1000 1 1\n    }")
	s.headless("db", "db")
	s.start(sidecar(named(s.podOf("db"), "db-0", "db"), "PODFQDN_REVERSE=only", "PODFQDN_NAMESERVERS="+cache))
	s.keeps("db", s.fqdn("db-0", "db"))
	if e := s.examines(0, "db"); len(e.Ahead) > 0 {
		s.Errorf("before there is a second Service: %q", e.Ahead)
	}
	s.headless("db-vip", "db", func(spec *corev1.ServiceSpec) { spec.ClusterIP, spec.Ports = "", []corev1.ServicePort{{Port: 5432}} })
	s.sliced("db-vip", 1)
	e, text := s.examines(0, "db"), s.prints(0, "db")
	if e.Wire == nil || !e.Wire.Healthy || len(e.Ahead) != 1 {
		s.Fatalf("%+v", e)
	}
	s.has(e.Ahead[0], `second-service: Service "db-vip" also selects the Pod`)
	s.has(text, "healthy: Pod db in namespace "+s.name+", but the API shows what DNS does not show yet", "what changed last\n  Service \"db-vip\"")
}

// server53 starts a CoreDNS of this namespace's own, with plugins, that may read
// what cluster DNS does, and returns its address.
func (s *space) server53(plugins string) string {
	s.Helper()
	dns, err := s.kube.AppsV1().Deployments(system).Get(s.Context(), "coredns", metav1.GetOptions{})
	if err != nil {
		notShown(s.T, "needs the image of CoreDNS: "+err.Error())
	}
	s.kubectl("create", "clusterrolebinding", s.name, "--clusterrole=system:coredns", "--serviceaccount="+s.name+":default")
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), time.Minute)
		defer cancel()
		_ = s.command(ctx, "delete", "clusterrolebinding/"+s.name).Run()
	})
	s.kubectl("create", "configmap", "server", "--from-literal=Corefile=.:1053 {\n    "+plugins+"\n    ready :8181\n}\n")
	p, yes, user := s.podOf("server"), true, int64(65532)
	p.Spec.InitContainers, p.Spec.AutomountServiceAccountToken = nil, &yes
	c := &p.Spec.Containers[0]
	c.Image, c.Command, c.Args = dns.Spec.Template.Spec.Containers[0].Image, nil, []string{"-conf", "/etc/coredns/Corefile"}
	c.SecurityContext.RunAsUser = &user
	c.VolumeMounts = []corev1.VolumeMount{{Name: "corefile", MountPath: "/etc/coredns"}}
	c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(8181)}}, PeriodSeconds: 1}
	p.Spec.Volumes = []corev1.Volume{{Name: "corefile", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "server"}}}}}
	s.start(p)
	return s.until("server", "it answers", ready).Status.PodIP + ":1053"
}

// atNight checks what somebody needs who does not know podfqdn.
func atNight(s *space) {
	s.headless("zk", "zk", func(spec *corev1.ServiceSpec) { spec.PublishNotReadyAddresses = false })
	s.stateful(1, "zk", s.podOf("zk"))
	s.deploy(2, with(named(s.podOf("web"), "", "web"), "PODFQDN_NAME_FORM=address"))
	s.deploy(1, with(named(s.podOf("shop"), "", "shop"), "PODFQDN_NAME_FORM=address"))
	web, shop := s.pods("web", 2), s.pods("shop", 1)
	for _, pod := range append(web, shop[0], "zk-0") {
		s.waits(pod, "NXDOMAIN")
	}

	// Who was it?
	now := time.Now()
	s.kubectl("patch", "service/zk", "--field-manager=night-shift", "--patch", `{"spec":{"sessionAffinity":"ClientIP"}}`)
	e, text := s.examines(11, "zk-0"), s.prints(11, "zk-0")
	changes := map[string]diagnosis.Seen{}
	for _, c := range e.Changes {
		changes[c.Name] = c
	}
	last := e.Changes[0]
	if at, err := time.Parse("2006-01-02 15:04:05 MST", last.Value); last.Name != `Service "zk"` || last.From != "by night-shift" || err != nil || at.Sub(now).Abs() > 30*time.Second {
		s.Errorf("the last change is %+v, %v; want one by night-shift at %v", last, err, now.UTC())
	}
	for name, from := range map[string]string{
		`StatefulSet "zk"`: "by e2e.test", `Corefile in ConfigMap "coredns"`: "by ", `cluster DNS, Deployment "coredns"`: "by ",
		`rollout of cluster DNS, Deployment "coredns"`: "NewReplicaSetAvailable",
	} {
		if c := changes[name]; !strings.HasPrefix(c.From, from) || !strings.HasSuffix(c.Value, " UTC") {
			s.Errorf("%s: %+v, want %q", name, c, from)
		}
	}
	s.has(lines(e.RuledOut), "no NetworkPolicy of the namespace keeps the Pod from port 53", "Pods of cluster DNS are ready", "the Corefile serves PTR for the Pod's addresses")
	s.has(e.IfNothing, "gives up 15m after its start, and the kubelet restarts it", "the application does not start")
	s.has(e.IfDeleted, "harmless but useless: its owner recreates the same Pod")
	s.has(text, "what changed last\n  Service \"zk\"", "ruled out\n", "if nothing is done: podfqdn gives up", "if the Pod is deleted: harmless", "what undoes the commands\n  1. to restore service/zk")

	// By cause, node and owner.
	old := s.until("zk-0", "it is there", func(*corev1.Pod) bool { return true })
	node := old.Spec.NodeName
	for _, c := range []struct{ flags, lines []string }{
		{[]string{"--all-namespaces"}, []string{
			s.name + ` +` + web[0] + ` +waiting +\S+ +service-missing: there is no Service "web" in namespace "` + s.name + `", and no headless Service selects the Pod`,
			s.name + ` +zk-0 +waiting +\S+ +not-ready-hidden: Service "zk" publishes ready Pods only, and the Pod cannot be Ready before podfqdn has its name`,
			`what they have in common`,
			`  \d+ of \d+: waiting: service-missing: there is no Service .*; on ` + node + ` \(\d+\).*; of .*`,
		}},
		{[]string{"--namespace", s.name, "--selector=app in (shop, web, zk)"}, []string{
			`  3 of 4: waiting: service-missing: there is no Service "shop" in namespace "` + s.name + `", and no headless Service selects the Pod \(and 1 more like it\); on ` +
				node + ` \(3\); of ` + s.name + ` Deployment/web \(2\), ` + s.name + ` Deployment/shop \(1\)`,
			`  1 of 4: waiting: not-ready-hidden: Service "zk" publishes ready Pods only, .*; on ` + node + ` \(1\); of ` + s.name + ` StatefulSet/zk \(1\)`,
		}},
	} {
		out, errs, code := s.plugin(s.kubeconfig, append([]string{"doctor"}, c.flags...)...)
		s.Logf("exit code %d\n%s", code, out)
		for _, line := range c.lines {
			if code != 11 || errs != "" || !regexp.MustCompile(`(?m)^`+line+`$`).MatchString(out) {
				s.Errorf("exit code %d, and %s does not match\n%s%s", code, line, out, errs)
			}
		}
	}

	// By their owner.
	for _, words := range [][]string{{"sts/zk"}, {"statefulset", "zk"}, {"deployment/web"}} {
		want := map[bool]int{true: 2, false: 1}[words[0] == "deployment/web"]
		out, errs, code := s.plugin(s.kubeconfig, append([]string{"doctor", "-n", s.name}, words...)...)
		if code != 11 || errs != "" || strings.Count(out, s.name+" ") < want || len(regexp.MustCompile(`(?m)^`+s.name+` .* waiting `).FindAllString(out, -1)) != want {
			s.Errorf("%q: exit code %d: %s%s", words, code, out, errs)
		}
	}
	_, errs, code := s.plugin(s.kubeconfig, "doctor", "-n", s.name, "svc/zk")
	if code != 10 || !strings.Contains(errs, `"svc/zk" is not a Pod`) {
		s.Errorf("exit code %d: %s", code, errs)
	}

	// What is said of a deletion is so.
	s.kubectl("delete", "pod/zk-0")
	s.until("zk-0", "its owner makes it again", func(p *corev1.Pod) bool { return p.UID != old.UID })
	s.waits("zk-0", "NXDOMAIN")
	// And of the command, and of what undoes it.
	spec := func() string {
		return s.kubectl("get", "service/zk", "--output=jsonpath={.spec.publishNotReadyAddresses}{.spec.selector}{.spec.sessionAffinity}")
	}
	then := spec()
	e = s.examines(11, "zk-0")
	s.does(e.Causes[0])
	if spec() == then {
		s.Errorf("the command changes nothing: %s", e.Causes[0].Command)
	}
	_, undo, _ := strings.Cut(e.Undo[0], "to restore service/zk: ")
	undo, gitops, _ := strings.Cut(undo, "; ")
	s.has(gitops, "if a GitOps tool manages the object")
	s.sh(undo)
	if now := spec(); now != then {
		s.Errorf("%s\ngives %s, and it was %s", undo, now, then)
	}
}

// wrongNamespace is of a Pod that lives under its name, and whose podfqdn was
// told another namespace; what is not meant for podfqdn's prefix is said too.
func wrongNamespace(s *space) {
	s.headless("db", "db")
	s.deploy(1, with(named(s.podOf("db"), "db-0", "db"), "POD_NAMESPACE=sree", "POD_FQDN_TIMEOUT=1m"))
	before := s.pods("db", 1)[0]
	s.waits(before, "NXDOMAIN", "db-0.db.sree.svc."+s.domain)
	s.sliced("db", 1)
	// From here on CoreDNS would be behind, if it were about this name.
	time.Sleep(31 * time.Second)
	c := s.finds(before, diagnosis.Misconfigured, `POD_NAMESPACE="sree"`, `the Pod's metadata.namespace is "`+s.name+`"`, "from metadata.namespace")
	e, text := s.examines(11, before), s.prints(11, before)
	for _, cause := range e.Causes {
		if strings.Contains(cause.Command+cause.Change, "restart") || strings.Contains(cause.Command, system) {
			s.Errorf("cluster DNS is blamed: %+v", cause)
		}
	}
	slip := e.Causes[len(e.Causes)-1]
	if slip.Kind != diagnosis.Misconfigured || !slip.Guess || len(e.Causes) != 2 {
		s.Errorf("%+v", e.Causes)
	}
	s.has(slip.Why+"\n"+slip.Change, `container "podfqdn" has the variable POD_FQDN_TIMEOUT, which podfqdn does not read`, "PODFQDN_TIMEOUT, if that is meant")
	s.has(text, "what undoes the commands\n  1. `kubectl --namespace "+s.name+" rollout undo deployment/db` restores the template")
	s.does(c)
	after := s.rolled("db", before)
	s.published(after, s.fqdn("db-0", "db"))
	e = s.examines(0, after)
	if !slices.ContainsFunc(e.Facts, func(f diagnosis.Seen) bool { return f.Name == "POD_FQDN_TIMEOUT" }) {
		s.Errorf("the slip is forgotten: %+v", e.Facts)
	}
}

// notHeadless is of a governing Service that clients use.
func notHeadless(s *space) {
	s.headless("db", "db", func(spec *corev1.ServiceSpec) {
		spec.ClusterIP, spec.PublishNotReadyAddresses, spec.Ports = "", false, []corev1.ServicePort{{Port: 5432}}
	})
	s.stateful(1, "db", s.podOf("db"))
	s.waits("db-0", "NXDOMAIN")
	vip := s.kubectl("get", "service/db", "--output=jsonpath={.spec.clusterIP}")
	c := s.finds("db-0", diagnosis.NotHeadless, `"db" has the cluster address `+vip, "create another Service with clusterIP: None", "serviceName")
	if c.Command != "" {
		s.Errorf("the Service of clients is not to be changed: %s", c.Command)
	}
	s.headless("db-peers", "db")
	c = s.finds("db-0", diagnosis.NotHeadless, `the headless Service that selects the Pod is "db-peers"`)
	if strings.Contains(c.Command, "publishNotReadyAddresses") {
		s.Errorf("clients would come to Pods that are not ready: %s", c.Command)
	}
	s.does(c)
	s.named("db-0", "db-peers")
	s.published("db-0", s.fqdn("db-0", "db-peers"))
	s.well("db-0")
}

// unusableVolume is what ends podfqdn with 13, as the Pod's spec shows it.
func unusableVolume(s *space) {
	mounts := map[string][]corev1.VolumeMount{"readonly": {{Name: "identity", MountPath: "/identity", ReadOnly: true}}, "unmounted": nil}
	for name, mount := range mounts {
		s.headless(name, name)
		p := named(s.podOf(name), name, name)
		p.Spec.InitContainers[1].VolumeMounts = mount
		s.deploy(1, p)
	}
	before := map[string]string{}
	for name, words := range map[string][]string{
		"readonly":  {`container "podfqdn" mounts volume "identity" read-only at /identity, where podfqdn publishes`, `readOnly: false for volume "identity"`},
		"unmounted": {`container "podfqdn" has no volume at /identity, where podfqdn publishes; container "app" has volume "identity" there`, `volumeMounts of container "podfqdn"`},
	} {
		before[name] = s.pods(name, 1)[0]
		s.gaveUp(before[name], 13)
		s.does(s.finds(before[name], diagnosis.Volume, words...))
	}
	for name := range mounts {
		after := s.rolled(name, before[name])
		s.published(after, s.fqdn(name, name))
		s.well(after)
	}
}
