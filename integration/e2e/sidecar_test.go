//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// sidecar makes podfqdn of a Pod a native sidecar with both probes, which looks
// as often as it may.
func sidecar(p *corev1.Pod, variables ...string) *corev1.Pod {
	always, port := corev1.ContainerRestartPolicyAlways, intstr.FromInt32(8053)
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; c.Name == "podfqdn" {
			readyz := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: port}}
			c.Args, c.RestartPolicy = []string{"sidecar"}, &always
			c.StartupProbe = &corev1.Probe{ProbeHandler: readyz, PeriodSeconds: 1, FailureThreshold: 600}
			c.ReadinessProbe = &corev1.Probe{ProbeHandler: readyz, PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 2}
		}
	}
	return with(p, append([]string{"PODFQDN_LISTEN=:8053", "PODFQDN_CONFIRM=0", "PODFQDN_INTERVAL=5s"}, variables...)...)
}

// keeps waits until a sidecar has published, the application runs, and the Pod
// is Ready, and checks every file.
func (s *space) keeps(pod, fqdn string) *corev1.Pod {
	s.Helper()
	p := s.until(pod, "it is ready and the application runs", func(p *corev1.Pod) bool { return ready(p) && runs(p, "app") })
	s.holds(pod, "app", fqdn, s.addresses(p, fqdn)...)
	waited, err := waitOf(s.log(pod))
	if err != nil {
		s.Errorf("%s: %v", pod, err)
	}
	results.waited(s.T, waited)
	return p
}

// get asks podfqdn's probes, from the application's container.
func (s *space) get(pod, path string) string {
	s.Helper()
	out, code := s.exec(pod, "app", "wget", "-q", "-O", "-", "http://127.0.0.1:8053"+path)
	if code != 0 {
		s.Errorf("%s: %s: wget ends with %d: %s", pod, path, code, out)
	}
	return out
}

// verified reports whether the start signal stands.
func (s *space) verified(pod string) bool {
	s.Helper()
	_, code := s.exec(pod, "app", "test", "-e", "/identity/verified")
	return code == 0
}

// needsOperator installs the CustomResourceDefinitions of the Prometheus Operator, as its Go module has them, in the
// version whose types package examples uses. It changes nothing in a cluster of the user's, which has them or does not.
func (s *space) needsOperator() {
	s.Helper()
	if s.own == nil {
		if err := s.command(s.Context(), "get", "crd", "podmonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com").Run(); err != nil {
			notShown(s.T, "needs the CustomResourceDefinitions of the Prometheus Operator")
		}
		return
	}
	const operator = "github.com/prometheus-operator/prometheus-operator"
	run := func(dir string, args ...string) []byte {
		s.Helper()
		cmd := exec.CommandContext(s.Context(), "go", args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			s.Fatalf("go %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return out
	}
	version := strings.TrimSpace(string(run("", "list", "-m", "-f", "{{.Version}}", operator+"/pkg/apis/monitoring")))
	// Outside of a module, as this one does not require it.
	var module struct{ Dir string }
	if err := json.Unmarshal(run(s.TempDir(), "mod", "download", "-json", operator+"@"+version), &module); err != nil {
		s.Fatal(err)
	}
	for _, kind := range []string{"podmonitors", "prometheusrules"} {
		s.kubectl("apply", "--server-side", "--filename="+module.Dir+"/example/prometheus-operator-crd/monitoring.coreos.com_"+kind+".yaml")
		// kubectl wait ends with an error where there are no conditions yet.
		established := func() bool {
			conditions := s.kubectl("get", "crd", kind+".monitoring.coreos.com", "--output=jsonpath={.status.conditions}")
			return strings.Contains(conditions, `"status":"True","type":"Established"`)
		}
		for deadline := time.Now().Add(patience); !established(); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				s.Fatalf("the CustomResourceDefinition of %s is not established", kind)
			}
		}
	}
}

func sidecars(t *testing.T, w world) {
	w.parallel(t, "the example", func(s *space) {
		s.example("networkpolicies.yaml")
		s.example("sidecar.yaml")
		s.kubectl("rollout", "status", "statefulset/db", "--timeout=3m")
		for _, pod := range s.pods("db", 3) {
			s.keeps(pod, s.fqdn(pod, "db"))
			if out := s.shell(pod, `echo "$(cat /identity/fqdn)"`); strings.TrimSpace(out) != s.fqdn(pod, "db") {
				s.Errorf("%s reads %q", pod, out)
			}
			if out := s.get(pod, "/metrics"); !strings.Contains(out, "podfqdn_verified 1\n") {
				s.Errorf("%s: /metrics says\n%s", pod, out)
			}
		}
	})
	w.parallel(t, "the PodMonitor and the alerts", func(s *space) {
		s.needsOperator()
		s.example("monitoring.yaml")
		if out := s.kubectl("get", "podmonitors,prometheusrules", "--output=name"); strings.Count(out, "/podfqdn\n") != 2 {
			s.Errorf("the namespace has %q", out)
		}
	})
	w.parallel(t, "the startupProbe holds back the application", func(s *space) {
		s.start(sidecar(named(s.podOf("db"), "db-0", "db")))
		s.waits("db", "NXDOMAIN")
		events := s.kubectl("events", "--for=pod/db")
		for deadline := time.Now().Add(patience); !strings.Contains(events, "Startup probe failed: HTTP probe failed with statuscode: 503"); {
			if time.Now().After(deadline) {
				s.Fatalf("no event mentions the probe:\n%s", events)
			}
			time.Sleep(200 * time.Millisecond)
			events = s.kubectl("events", "--for=pod/db")
		}
		if p := s.until("db", "it is there", func(*corev1.Pod) bool { return true }); runs(p, "app") || ready(p) {
			s.Errorf("the application runs: %+v", p.Status)
		}
		s.headless("db", "db")
		s.keeps("db", s.fqdn("db-0", "db"))
	})
	w.parallel(t, "it ends with the application, and well", func(s *space) {
		s.headless("db", "db")
		p := sidecar(named(s.podOf("db"), "db-0", "db"))
		p.Spec.Containers[0].Command = []string{"sh", "-c", "cat /identity/fqdn"}
		s.start(p)
		var end, app *corev1.ContainerStateTerminated
		s.until("db", "it is over", func(p *corev1.Pod) bool {
			if len(p.Status.ContainerStatuses) > 0 {
				end, app = podfqdn(p).State.Terminated, p.Status.ContainerStatuses[0].State.Terminated
			}
			return end != nil && app != nil
		})
		if end.ExitCode != 0 || end.Message != "" || app.ExitCode != 0 {
			s.Errorf("podfqdn ended with %d, %q, the application with %d", end.ExitCode, end.Message, app.ExitCode)
		}
		// The kubelet takes its time to send SIGTERM, and reports whole seconds.
		told := regexp.MustCompile(`"ts":"([^"]*)","msg":"ended","by":"SIGTERM","verified":true`).FindStringSubmatch(s.log("db"))
		if told == nil {
			s.Fatalf("podfqdn does not say that it ended:\n%s", s.log("db"))
		}
		at, err := time.Parse(time.RFC3339Nano, told[1])
		if took := end.FinishedAt.Sub(at); err != nil || took > time.Second {
			s.Errorf("podfqdn ended %v after SIGTERM, %v", took, err)
		}
	})
	w.parallel(t, "without an address", func(s *space) {
		s.headless("db", "db")
		p := named(s.podOf("db"), "db-0", "db")
		always := corev1.ContainerRestartPolicyAlways
		check := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/podfqdn", "check"}}}
		c := &p.Spec.InitContainers[1]
		c.Args, c.RestartPolicy = []string{"sidecar"}, &always
		c.StartupProbe = &corev1.Probe{ProbeHandler: check, PeriodSeconds: 1, FailureThreshold: 600, TimeoutSeconds: 10}
		s.start(p)
		s.keeps("db", s.fqdn("db-0", "db"))
	})
	w.parallel(t, "an address that cannot be listened on", func(s *space) {
		s.headless("db", "db")
		named := func(name string) *corev1.Pod {
			p := named(s.podOf("db"), name, "db")
			p.Name, p.Spec.RestartPolicy = name, corev1.RestartPolicyAlways
			return p
		}
		s.start(sidecar(named("malformed"), "PODFQDN_LISTEN=8053"))
		s.ended("malformed", 10, `PODFQDN_LISTEN="8053": must be off, :PORT or ADDRESS:PORT, such as :8053`)

		taken := sidecar(named("taken"))
		observer := &taken.Spec.InitContainers[0]
		observer.Command = []string{"sh", "-c", "exec httpd -f -p 8053"}
		observer.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8053)}}, PeriodSeconds: 1, FailureThreshold: 600}
		s.start(taken)
		s.ended("taken", 10, "PODFQDN_LISTEN=:8053: address already in use: choose a port that no other container of this Pod uses")
	})
	t.Run("with hostNetwork", func(t *testing.T) {
		t.Parallel()
		s := w.space(t, "privileged")
		s.headless("db", "db")
		pod := func(name, listen string) *corev1.Pod {
			p := sidecar(named(s.podOf("db"), name, "db"), "PODFQDN_HOSTNAME="+name, "PODFQDN_SERVICE=db",
				"POD_NAMESPACE=>metadata.namespace", "POD_IPS=>status.podIPs", "PODFQDN_LISTEN="+listen)
			p.Name, p.Spec.HostNetwork, p.Spec.DNSPolicy = name, true, corev1.DNSClusterFirstWithHostNet
			p.Spec.RestartPolicy = corev1.RestartPolicyAlways
			for _, probe := range []*corev1.Probe{p.Spec.InitContainers[1].StartupProbe, p.Spec.InitContainers[1].ReadinessProbe} {
				probe.HTTPGet.Host, probe.HTTPGet.Port = "127.0.0.1", intstr.FromInt32(18053)
			}
			return p
		}
		s.start(pod("open", ":18053"))
		s.ended("open", 10, "PODFQDN_LISTEN=:18053: with hostNetwork: true this is every address of the node: set one address, such as 127.0.0.1:18053")
		s.start(pod("closed", "127.0.0.1:18053"))
		s.keeps("closed", s.fqdn("closed", "db"))
	})
	w.parallel(t, "a volume that loses its files", func(s *space) {
		if w.own == nil {
			notShown(s.T, "needs a cluster that make e2e brings up: it reaches into the node")
		}
		s.headless("db", "db")
		s.start(sidecar(named(s.podOf("db"), "db-0", "db")))
		p := s.keeps("db", s.fqdn("db-0", "db"))
		dir := "/var/lib/kubelet/pods/" + string(p.UID) + "/volumes/kubernetes.io~empty-dir/identity"
		on := func(command ...string) {
			s.Helper()
			if out, err := w.own.Command(s.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
				s.Fatalf("%q: %v: %s", command, err, out)
			}
		}
		on("find", dir, "-mindepth", "1", "-delete")
		again := regexp.MustCompile(`"msg":"published".*"changed":true`)
		for deadline := time.Now().Add(patience); len(again.FindAllString(s.log("db"), -1)) < 2; time.Sleep(200 * time.Millisecond) {
			if time.Now().After(deadline) {
				s.Fatalf("it does not publish again:\n%s", s.log("db"))
			}
		}
		s.keeps("db", s.fqdn("db-0", "db"))
	})
	w.parallel(t, "after an ordinary init container", func(s *space) {
		s.headless("db", "db")
		p := sidecar(named(s.podOf("db"), "db-0", "db"))
		first := p.Spec.InitContainers[1].DeepCopy()
		first.Name, first.Args, first.RestartPolicy, first.StartupProbe, first.ReadinessProbe, first.Env = "first", nil, nil, nil, nil, nil
		p.Spec.InitContainers = append([]corev1.Container{*first}, p.Spec.InitContainers...)
		s.start(p)
		p = s.until("db", "it is ready and the application runs", func(p *corev1.Pod) bool { return ready(p) && runs(p, "app") })
		s.holds("db", "app", s.fqdn("db-0", "db"), s.addresses(p, s.fqdn("db-0", "db"))...)
	})
	w.parallel(t, "a name that is taken away", func(s *space) {
		s.headless("db", "db")
		stands, goes := named(s.podOf("db"), "db-0", "db"), named(s.podOf("db"), "db-1", "db")
		stands.Name, goes.Name = "stands", "goes"
		s.start(sidecar(stands), sidecar(goes, "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=5s"))
		s.keeps("stands", s.fqdn("db-0", "db"))
		s.keeps("goes", s.fqdn("db-1", "db"))
		fqdn, err := s.files("goes", "app")
		if err != nil {
			s.Fatal(err)
		}

		s.kubectl("patch", "service/db", "--patch", `{"spec":{"selector":{"app":"another"}}}`)
		s.until("goes", "it is not ready", func(p *corev1.Pod) bool { return !ready(p) })
		if s.verified("goes") {
			s.Error("verified is still there")
		}
		if files, err := s.files("goes", "app"); err != nil || files["fqdn"] != fqdn["fqdn"] || len(files) != len(fqdn)-1 {
			s.Errorf("the volume holds %q, %v", files, err)
		}
		s.says("goes", "withdrawn", "NXDOMAIN")
		s.says("stands", "DNS no longer agrees: what is published stays", "NXDOMAIN")
		if p := s.until("stands", "it is there", func(*corev1.Pod) bool { return true }); !ready(p) || !s.verified("stands") {
			s.Errorf("what is to stand does not: %+v", p.Status)
		}

		s.kubectl("patch", "service/db", "--patch", `{"spec":{"selector":{"app":"db"}}}`)
		s.until("goes", "it is ready again", ready)
		if !s.verified("goes") {
			s.Error("verified is not given back")
		}
		s.says("stands", "forward and reverse DNS agree again")
	})
	w.parallel(t, "kubectl debug --copy-to --keep-labels", func(s *space) {
		s.headless("db", "db")
		s.start(sidecar(named(s.podOf("db"), "db-0", "db"), "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=1s"))
		original := s.keeps("db", s.fqdn("db-0", "db"))
		s.kubectl("debug", "db", "--copy-to=copy", "--keep-labels", "--set-image=app="+s.server)
		copied := s.until("copy", "it has an address", func(p *corev1.Pod) bool { return p.Status.PodIP != "" })
		s.waits("copy", "another Pod holds this name: "+original.Status.PodIP)
		s.says("db", "DNS no longer agrees: what is published stays", "another Pod holds this name: "+copied.Status.PodIP)
		// A few more looks at it, each longer than GRACE.
		for deadline := time.Now().Add(patience); metric(s.get("db", "/metrics"), `podfqdn_verifications_total{verdict="shared"}`) < 3; time.Sleep(time.Second) {
			if time.Now().After(deadline) {
				s.Fatal("it does not look again")
			}
		}
		if p := s.until("db", "it is there", func(*corev1.Pod) bool { return true }); !ready(p) || !s.verified("db") {
			s.Errorf("a debug copy takes down what it copies: %+v", p.Status)
		}
	})
}

// metric returns a number out of a text in Prometheus's format.
func metric(text, name string) (value float64) {
	for line := range strings.Lines(text) {
		if number, ok := strings.CutPrefix(line, name+" "); ok {
			fmt.Sscan(number, &value)
		}
	}
	return value
}

// clusterLost takes cluster DNS away from sidecars that would withdraw: by a
// Corefile for another domain, and then altogether.
func clusterLost(t *testing.T, w world) {
	s := w.restricted(t)
	s.headless("db", "db")
	s.start(sidecar(named(s.podOf("db"), "db-0", "db"), "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=1s"))
	s.keeps("db", s.fqdn("db-0", "db"))
	looks := func(verdicts ...string) {
		t.Helper()
		count := func() (n float64) {
			text := s.get("db", "/metrics")
			for _, v := range verdicts {
				n += metric(text, fmt.Sprintf("podfqdn_verifications_total{verdict=%q}", v))
			}
			return n
		}
		for first, deadline := count(), time.Now().Add(patience); count() < first+4; time.Sleep(time.Second) {
			if time.Now().After(deadline) {
				t.Fatalf("it does not come to %q:\n%s", verdicts, s.get("db", "/metrics"))
			}
		}
		if p := s.until("db", "it is there", func(*corev1.Pod) bool { return true }); !ready(p) || !s.verified("db") {
			t.Errorf("what is to stand does not: %+v", p.Status)
		}
	}

	maps := s.kube.CoreV1().ConfigMaps(system)
	before, err := maps.Get(t.Context(), "coredns", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set := func(ctx context.Context, corefile string) {
		t.Helper()
		m, err := maps.Get(ctx, "coredns", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m.Data["Corefile"] = corefile
		if _, err := maps.Update(ctx, m, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.restart()
	}
	bad := strings.Replace(before.Data["Corefile"], "kubernetes "+w.domain, "kubernetes another.example", 1)
	if bad == before.Data["Corefile"] {
		t.Fatalf("the Corefile is not kubeadm's:\n%s", bad)
	}
	t.Cleanup(func() { set(context.WithoutCancel(t.Context()), before.Data["Corefile"]) })
	set(t.Context(), bad)
	looks("missing", "foreign-server", "unanswered")
	set(t.Context(), before.Data["Corefile"])
	s.says("db", "forward and reverse DNS agree again")
	s.scale(0)
	looks("unanswered")
	s.scale(2)
	looks("agrees")
}
