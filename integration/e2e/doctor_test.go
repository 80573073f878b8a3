//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// examined is what kubectl podfqdn doctor POD prints with -o json.
type examined struct {
	Schema         int
	Healthy        bool
	Namespace, Pod string
	State          string
	Container      string
	Reason         string
	Containers     []struct{ Container, State, Reason string }
	Facts          []diagnosis.Seen
	Wire           *diagnosis.Diagnosis
	NoWire         string
	Causes         []diagnosis.Cause
	Lacks          []struct{ Verb, APIGroup, Resource, Namespace string }
	Grant          []string
	Others         []struct {
		Container, NoWire string
		Wire              *diagnosis.Diagnosis
	}
	Unchecked, Ahead     []string
	Changes              []diagnosis.Seen
	RuledOut             []string
	IfNothing, IfDeleted string
	Undo                 []string
}

// plugin runs `kubectl podfqdn` as a user would, who has the plugin in the
// PATH, with the kubeconfig of somebody.
func (s *space) plugin(kubeconfig string, args ...string) (stdout, stderr string, code int) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", append([]string{"podfqdn"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(*pluginFlag)+":"+os.Getenv("PATH"), "KUBECONFIG="+kubeconfig)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.Fatalf("kubectl podfqdn %q: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// doctor examines a Pod.
func (s *space) doctor(pod string) examined {
	s.Helper()
	out, errs, code := s.plugin(s.kubeconfig, "doctor", "--namespace", s.name, pod, "--output", "json")
	var e examined
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		s.Fatalf("kubectl podfqdn doctor %s: exit code %d: %v: %s%s", pod, code, err, out, errs)
	}
	if code != map[bool]int{true: 0, false: 11}[e.Healthy] || e.Schema != 1 || e.Pod != pod || e.Namespace != s.name || errs != "" {
		s.Errorf("kubectl podfqdn doctor %s: exit code %d, healthy %v: %s%s", pod, code, e.Healthy, out, errs)
	}
	if e.Healthy != (len(e.Causes) == 0) {
		s.Errorf("%s: healthy: %v, with the causes %+v", pod, e.Healthy, e.Causes)
	}
	return e
}

// finds examines a Pod, and checks that the first cause is of a kind and that
// its sentence and its field have the words.
func (s *space) finds(pod string, kind diagnosis.Kind, words ...string) diagnosis.Cause {
	s.Helper()
	e := s.doctor(pod)
	if len(e.Causes) == 0 || e.Causes[0].Kind != kind {
		b, _ := json.MarshalIndent(e, "", "  ")
		s.Fatalf("%s: want %q first:\n%s", pod, kind, b)
	}
	ends := []diagnosis.Kind{diagnosis.HostNetwork, diagnosis.HostnameOverride, diagnosis.NoHostname, diagnosis.NoSubdomain}
	if e.State == "waiting" && e.Wire == nil && !slices.Contains(ends, kind) {
		s.Errorf("%s: podfqdn runs, and there is no view from the wire: %s", pod, e.NoWire)
	}
	for _, c := range e.Causes[1:] {
		s.Logf("%s: also %s, guess: %v: %s", pod, c.Kind, c.Guess, c.Why)
	}
	c := e.Causes[0]
	s.Logf("%s: %s: %s\n\tchange %s\n\t%s", pod, kind, c.Why, c.Change, c.Command)
	for _, w := range words {
		if !strings.Contains(c.Why+"\n"+c.Change, w) {
			s.Errorf("%s: %q is not said: %s: %s", pod, w, c.Why, c.Change)
		}
	}
	return c
}

// well checks that doctor finds nothing.
func (s *space) well(pod string) {
	s.Helper()
	if e := s.doctor(pod); !e.Healthy {
		b, _ := json.MarshalIndent(e, "", "  ")
		s.Errorf("%s is not healthy:\n%s", pod, b)
	}
}

// does runs a cause's command as a user who copies it into a shell.
func (s *space) does(c diagnosis.Cause) {
	s.Helper()
	if c.Command == "" {
		s.Fatalf("%s: there is no command", c.Kind)
	}
	s.sh(c.Command)
}

func (s *space) sh(command string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "sh", "-e", "-c", command).CombinedOutput()
	if err != nil {
		s.Fatalf("%s\n%v: %s", command, err, out)
	}
}

// stateful creates a StatefulSet of a Pod.
func (s *space) stateful(replicas int32, serviceName string, p *corev1.Pod) {
	s.Helper()
	p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, ServiceName: serviceName,
			Selector: &metav1.LabelSelector{MatchLabels: p.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels}, Spec: p.Spec},
		},
	}
	if _, err := s.kube.AppsV1().StatefulSets(s.name).Create(s.Context(), set, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
}

// refused waits until podfqdn has ended with 10.
func (s *space) refused(pod string) {
	s.Helper()
	s.until(pod, "podfqdn has refused", func(p *corev1.Pod) bool {
		c := podfqdn(p)
		end := c.State.Terminated
		if end == nil {
			end = c.LastTerminationState.Terminated
		}
		return end != nil && end.ExitCode == 10
	})
}

// rolled waits until a Deployment's one Pod is another than before, and gives
// its name.
func (s *space) rolled(app string, before ...string) string {
	s.Helper()
	s.kubectl("rollout", "status", "deployment/"+app, "--timeout=3m")
	pods := s.pods(app, 1)
	if slices.Contains(before, pods[0]) {
		s.Fatalf("%s is still there", pods[0])
	}
	return pods[0]
}

// latest waits for a Deployment's Pod that is not one of those before.
func (s *space) latest(app string, n int, before ...string) string {
	s.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		for _, pod := range s.pods(app, n) {
			if !slices.Contains(before, pod) {
				return pod
			}
		}
	}
	s.Fatalf("no Pod of %s but %q", app, before)
	return ""
}

func doctors(t *testing.T, w world) {
	w.parallel(t, "service-missing", func(s *space) {
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "NXDOMAIN")
		s.does(s.finds("db", diagnosis.NoService, `"db"`, s.name, "publishNotReadyAddresses: true"))
		s.published("db", s.fqdn("db-0", "db"))
		s.well("db")
	})
	w.parallel(t, "selector-mismatch", func(s *space) {
		s.headless("db", "database")
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "NXDOMAIN")
		s.does(s.finds("db", diagnosis.SelectorMismatch, `"db"`, "app=database", "app=db"))
		s.published("db", s.fqdn("db-0", "db"))
		s.well("db")
	})
	w.parallel(t, "selector-mismatch, and the Service has other Pods", func(s *space) {
		s.headless("db", "database")
		other := named(s.podOf("database"), "db-1", "db")
		s.start(other, named(s.podOf("db"), "db-0", "db"))
		s.published("database", s.fqdn("db-1", "db"))
		s.waits("db", "NXDOMAIN")
		c := s.finds("db", diagnosis.SelectorMismatch, "app=database", "app=db", "other Pods")
		if !strings.Contains(c.Command, "label pod/db ") {
			s.Errorf("want that the Pod changes, and not the Service of others: %s", c.Command)
		}
		s.does(c)
		s.published("db", s.fqdn("db-0", "db"))
		s.well("db")
		s.well("database")
	})
	w.parallel(t, "selector-mismatch, a label that a Deployment lacks", func(s *space) {
		s.headless("db", "db", func(spec *corev1.ServiceSpec) { spec.Selector["tier"] = "data" })
		other := named(s.podOf("other"), "other", "db")
		other.Labels = map[string]string{"app": "db", "tier": "data"}
		s.start(other)
		s.published("other", s.fqdn("other", "db"))
		s.deploy(1, named(s.podOf("db"), "db-0", "db"))
		before := s.latest("db", 2, "other")
		s.waits(before, "NXDOMAIN")
		s.does(s.finds(before, diagnosis.SelectorMismatch, "tier=data", "which the Pod does not have", "spec.template.metadata.labels"))
		s.kubectl("rollout", "status", "deployment/db", "--timeout=3m")
		after := s.latest("db", 2, "other", before)
		s.published(after, s.fqdn("db-0", "db"))
		s.well(after)
	})
	late := func(spec *corev1.ServiceSpec) { spec.PublishNotReadyAddresses = false }
	w.parallel(t, "not-ready-hidden", func(s *space) {
		s.headless("db", "db", late)
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "NXDOMAIN")
		c := s.finds("db", diagnosis.NotReadyHidden, `"db"`, "spec.publishNotReadyAddresses: true")
		document, err := os.ReadFile("../../docs/when-it-hangs.md")
		if err != nil {
			s.Fatal(err)
		}
		for _, line := range []string{"why     " + c.Why, "change  " + c.Change, "run     " + strings.Replace(c.Command, s.name, "default", 1)} {
			if !strings.Contains(string(document), "\n     "+line+"\n") {
				s.Errorf("docs/when-it-hangs.md does not show\n%s", line)
			}
		}
		s.does(c)
		s.published("db", s.fqdn("db-0", "db"))
		s.well("db")
	})
	w.parallel(t, "readiness-deadlock", func(s *space) {
		s.headless("db", "db")
		p := named(s.podOf("db"), "db-0", "db")
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", `nslookup -type=a "$(cat /identity/fqdn)"`}}},
			PeriodSeconds: 1,
		}
		s.start(p)
		s.published("db", s.fqdn("db-0", "db"))
		s.until("db", "it is Ready", ready)
		s.well("db")
		// Once it is not Ready, for whatever reason, it stays so.
		s.kubectl("patch", "service/db", "--patch", `{"spec":{"publishNotReadyAddresses":false,"selector":{"app":"nobody"}}}`)
		s.until("db", "it is not Ready", func(p *corev1.Pod) bool { return !ready(p) })
		s.kubectl("patch", "service/db", "--patch", `{"spec":{"selector":{"app":"db"}}}`)
		s.does(s.finds("db", diagnosis.ReadinessDeadlock, `"db"`, `"app"`, "waits for the other", "spec.publishNotReadyAddresses: true"))
		s.until("db", "it is Ready", ready)
		s.well("db")
	})
	w.parallel(t, "readiness-deadlock, of podfqdn's own probe", func(s *space) {
		s.headless("db", "db", late)
		s.start(sidecar(named(s.podOf("db"), "db-0", "db")))
		s.waits("db", "NXDOMAIN")
		s.does(s.finds("db", diagnosis.ReadinessDeadlock, `"db"`, "podfqdn's probe", "each waits for the other", "spec.publishNotReadyAddresses: true"))
		s.keeps("db", s.fqdn("db-0", "db"))
		s.well("db")
	})
	w.parallel(t, "subdomain-mismatch, a StatefulSet", func(s *space) {
		s.headless("db", "db")
		s.stateful(1, "databases", s.podOf("db"))
		s.waits("db-0", "NXDOMAIN")
		s.does(s.finds("db-0", diagnosis.SubdomainMismatch, `"databases"`, `"db"`, "serviceName"))
		s.named("db-0", "db")
		s.published("db-0", s.fqdn("db-0", "db"))
		s.well("db-0")
	})
	w.parallel(t, "subdomain-mismatch, a Deployment", func(s *space) {
		s.headless("db", "db")
		s.deploy(1, named(s.podOf("db"), "db-0", "databases"))
		before := s.pods("db", 1)[0]
		s.waits(before, "NXDOMAIN")
		s.does(s.finds(before, diagnosis.SubdomainMismatch, `"databases"`, `"db"`, "spec.template.spec.subdomain"))
		after := s.rolled("db", before)
		s.published(after, s.fqdn("db-0", "db"))
		s.well(after)
	})
	w.parallel(t, "subdomain-missing, a StatefulSet", func(s *space) {
		s.headless("db", "db")
		s.stateful(2, "", s.podOf("db"))
		s.refused("db-0")
		s.does(s.finds("db-0", diagnosis.NoSubdomain, "serviceName", "db"))
		s.named("db-0", "db")
		s.published("db-0", s.fqdn("db-0", "db"))
		s.published("db-1", s.fqdn("db-1", "db"))
		s.well("db-0")
	})
	w.parallel(t, "subdomain-missing, a Deployment", func(s *space) {
		s.headless("db", "db")
		s.deploy(1, named(s.podOf("db"), "db-0", ""))
		before := s.pods("db", 1)[0]
		s.refused(before)
		s.does(s.finds(before, diagnosis.NoSubdomain, "spec.template.spec.subdomain"))
		after := s.rolled("db", before)
		s.published(after, s.fqdn("db-0", "db"))
		s.well(after)
	})
	w.parallel(t, "hostname-missing", func(s *space) {
		s.headless("db", "db")
		s.deploy(1, named(s.podOf("db"), "", "db"))
		before := s.pods("db", 1)[0]
		s.refused(before)
		s.does(s.finds(before, diagnosis.NoHostname, "spec.template.spec.hostname", "Recreate"))
		after := s.rolled("db", before)
		s.published(after, s.fqdn("db", "db"))
		s.well(after)
	})
	w.parallel(t, "hostname-missing, many replicas", func(s *space) {
		s.headless("db", "db")
		s.deploy(2, named(s.podOf("db"), "", "db"))
		before := s.pods("db", 2)
		s.refused(before[0])
		s.does(s.finds(before[0], diagnosis.NoHostname, "PODFQDN_NAME_FORM=address"))
		s.kubectl("rollout", "status", "deployment/db", "--timeout=3m")
		for _, pod := range s.pods("db", 2) {
			s.published(pod, s.dashed(pod, "db"))
			s.well(pod)
		}
	})
	w.parallel(t, "hostname-shared, bare Pods", func(s *space) {
		s.headless("db", "db")
		first, second := named(s.podOf("db"), "db-0", "db"), named(s.podOf("db"), "db-0", "db")
		first.Name, second.Name = "first", "second"
		s.start(first)
		s.published("first", s.fqdn("db-0", "db"))
		s.start(second)
		s.waits("second", "another Pod holds this name")
		if c := s.finds("second", diagnosis.HostnameShared, `"first"`, `"db-0"`, "spec.hostname"); c.Command != "" {
			s.Errorf("a Pod's hostname cannot be changed: %s", c.Command)
		}
		s.kubectl("delete", "pod/second")
		second.Spec.Hostname = "db-1"
		s.start(second)
		s.published("second", s.fqdn("db-1", "db"))
		s.well("second")
		s.well("first")
	})
	w.parallel(t, "hostname-shared, replicas", func(s *space) {
		s.deploy(2, named(s.podOf("db"), "db-0", "db"))
		before := s.pods("db", 2)
		for _, pod := range before { // neither may be in DNS before the other
			s.until(pod, "it has an address", func(p *corev1.Pod) bool { return p.Status.PodIP != "" })
		}
		s.headless("db", "db")
		s.waits(before[0], "another Pod holds this name")
		s.does(s.finds(before[0], diagnosis.HostnameShared, "2 replicas", "PODFQDN_FORWARD=contains"))
		s.kubectl("rollout", "status", "deployment/db", "--timeout=3m")
		for _, pod := range s.pods("db", 2) {
			s.published(pod, s.fqdn("db-0", "db"))
			s.well(pod)
		}
	})
	w.parallel(t, "hostname-shared, a slice made by hand", func(s *space) {
		s.headless("db", "db")
		s.kubectlInput(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: hand, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints: [{addresses: [10.244.255.1], hostname: db-0, targetRef: {kind: Pod, name: "x; exit 1; \u001b[2J"}}]
`, "create", "--filename=-")
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "another Pod holds this name")
		c := s.finds("db", diagnosis.HostnameShared, "10.244.255.1", `"db-0"`)
		if strings.Contains(c.Why+c.Change+c.Command, "exit 1") {
			s.Errorf("a hand's words are passed on: %+v", c)
		}
		s.kubectl("delete", "endpointslice/hand")
		s.published("db", s.fqdn("db-0", "db"))
		s.well("db")
	})
	w.parallel(t, "rolling-update", func(s *space) {
		s.headless("db", "db")
		s.deploy(1, named(s.podOf("db"), "db-0", "db"))
		before := s.pods("db", 1)[0]
		s.published(before, s.fqdn("db-0", "db"))
		s.kubectl("rollout", "restart", "deployment/db")
		next := s.latest("db", 2, before)
		s.waits(next, "another Pod holds this name")
		s.does(s.finds(next, diagnosis.RollingUpdate, `"`+before+`"`, "each waits for the other", "Recreate"))
		after := s.rolled("db", before)
		s.published(after, s.fqdn("db-0", "db"))
		s.well(after)
	})
	w.parallel(t, "terminating-predecessor", func(s *space) {
		s.headless("db", "db")
		old, grace := named(s.podOf("db"), "db-0", "db"), int64(40)
		old.Name, old.Spec.TerminationGracePeriodSeconds = "old", &grace
		old.Spec.Containers[0].Command = []string{"sh", "-c", `trap "" TERM; while :; do sleep 1; done`}
		s.start(old)
		s.published("old", s.fqdn("db-0", "db"))
		s.kubectl("delete", "pod/old", "--wait=false")
		p := named(s.podOf("db"), "db-0", "db")
		p.Name = "new"
		s.start(p)
		s.waits("new", "another Pod holds this name")
		s.does(s.finds("new", diagnosis.Terminating, `"old"`, "passes"))
		s.published("new", s.fqdn("db-0", "db"))
		s.well("new")
	})
	w.parallel(t, "debug-copy", func(s *space) {
		s.headless("db", "db")
		s.stateful(1, "db", s.podOf("db"))
		s.published("db-0", s.fqdn("db-0", "db"))
		s.kubectl("debug", "pod/db-0", "--copy-to=copy", "--keep-labels", "--profile=restricted", "--attach=false",
			"--image="+s.server, "--container=debugger", "--", "sh", "-c", "sleep 1000000")
		s.waits("copy", "another Pod holds this name")
		s.finds("copy", diagnosis.DebugCopy, `"db-0"`, "this Pod is a copy")
		s.kubectl("delete", "pod/db-0")
		s.waits("db-0", "another Pod holds this name")
		s.does(s.finds("db-0", diagnosis.DebugCopy, `"copy"`, "--keep-labels"))
		s.published("db-0", s.fqdn("db-0", "db"))
		s.well("db-0")
	})
	vip := func(publish bool) func(*corev1.ServiceSpec) {
		return func(spec *corev1.ServiceSpec) {
			spec.ClusterIP, spec.PublishNotReadyAddresses = "", publish
			spec.Ports = []corev1.ServicePort{{Port: 5432}}
		}
	}
	w.parallel(t, "second-service, from the start", func(s *space) {
		s.headless("db-vip", "db", vip(true))
		s.stateful(1, "db", with(s.podOf("db"), "PODFQDN_REVERSE=only"))
		s.sliced("db-vip", 1) // or the name may be in DNS before the second PTR
		s.headless("db", "db")
		s.waits("db-0", "db-vip."+s.name)
		s.does(s.finds("db-0", diagnosis.SecondService, `"db-vip"`, "from the start", "PODFQDN_REVERSE=contains"))
		s.published("db-0", s.fqdn("db-0", "db"))
		s.well("db-0")
	})
	w.parallel(t, "second-service, since Ready", func(s *space) {
		s.headless("db", "db")
		s.headless("db-vip", "db", vip(false))
		s.stateful(1, "db", with(s.podOf("db"), "PODFQDN_REVERSE=only"))
		s.published("db-0", s.fqdn("db-0", "db"))
		s.until("db-0", "it is Ready", ready)
		s.sliced("db-vip", 1)
		s.does(s.finds("db-0", diagnosis.SecondService, `"db-vip"`, "since the Pod is Ready"))
		s.published("db-0", s.fqdn("db-0", "db"))
		s.well("db-0")
	})
	w.parallel(t, "single-family", func(s *space) {
		s.headless("db", "db")
		p := with(named(s.podOf("db"), "db-0", "db"), "PODFQDN_FAMILIES=all")
		s.start(p)
		if len(s.until("db", "it has an address", func(p *corev1.Pod) bool { return p.Status.PodIP != "" }).Status.PodIPs) < 2 {
			notShown(s.T, "needs dual-stack")
		}
		s.waits("db", "no data")
		s.does(s.finds("db", diagnosis.SingleFamily, `"db"`, "spec.ipFamilyPolicy: PreferDualStack"))
		s.published("db", s.fqdn("db-0", "db"))
		s.well("db")
	})
	t.Run("host-network", func(t *testing.T) {
		t.Parallel()
		s := w.space(t, "privileged")
		s.headless("db", "db")
		p := s.podOf("db")
		p.Spec.HostNetwork = true
		s.stateful(1, "db", p)
		s.refused("db-0")
		s.does(s.finds("db-0", diagnosis.HostNetwork, "hostNetwork: true", "PODFQDN_HOSTNAME from metadata.name", "POD_IPS from status.podIPs"))
		s.published("db-0", s.fqdn("db-0", "db"))
		s.well("db-0")
	})
	w.parallel(t, "hostname-override", func(s *space) {
		s.headless("db", "db")
		p, override := named(s.podOf("db"), "db-0", "db"), "host.example.org"
		p.Spec.HostnameOverride = &override
		s.deploy(1, p)
		before := s.pods("db", 1)[0]
		s.refused(before)
		s.does(s.finds(before, diagnosis.HostnameOverride, "host.example.org", "PODFQDN_HOSTNAME=db-0", "PODFQDN_SERVICE=db"))
		after := s.rolled("db", before)
		s.published(after, s.fqdn("db-0", "db"))
		s.well(after)
	})
	for _, policy := range []corev1.DNSPolicy{corev1.DNSDefault, corev1.DNSNone} {
		w.parallel(t, "dns-policy "+string(policy), func(s *space) {
			s.headless("db", "db")
			p := named(s.podOf("db"), "db-0", "db")
			p.Spec.DNSPolicy = policy
			if policy == corev1.DNSNone {
				p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.2"}}
			}
			s.deploy(1, p)
			before := s.pods("db", 1)[0]
			s.says(before, "not yet")
			s.does(s.finds(before, diagnosis.ForeignDNS, "dnsPolicy: "+string(policy), "ClusterFirst"))
			after := s.rolled("db", before)
			s.published(after, s.fqdn("db-0", "db"))
			s.well(after)
		})
	}
	w.parallel(t, "endpointslice-lag", func(s *space) {
		s.headless("db", "db")
		s.unsliced()
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "NXDOMAIN")
		s.finds("db", diagnosis.NotInSlice, "none of its EndpointSlices", "passes")
		s.kubectl("delete", "validatingadmissionpolicybinding/"+s.name)
		s.published("db", s.fqdn("db-0", "db"))
		s.well("db")
	})
	w.parallel(t, "dns-silent", func(s *space) {
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "NXDOMAIN")
		free := s.silent("db")
		s.headless("db", "db")
		if c := s.finds("db", diagnosis.DNSSilent, "no NetworkPolicy", "Pods of cluster DNS are ready", "packet filter"); !c.Guess || c.Command != "" {
			s.Errorf("it cannot be known which server is silent: %+v", c)
		}
		free()
		s.published("db", s.fqdn("db-0", "db"))
		s.well("db")
	})
	w.parallel(t, "dns-silent, a NetworkPolicy", func(s *space) {
		s.kubectlInput(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 5432}]}]}`, "create", "--filename=-")
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "NXDOMAIN")
		free := s.silent("db")
		s.headless("db", "db")
		s.does(s.finds("db", diagnosis.DNSSilent, `"deny"`, "port 53"))
		// The network plugin here has no engine for policies: this test is it.
		allowed := s.kubectl("get", "networkpolicies", "--output=jsonpath={range .items[*]}{.spec.podSelector.matchLabels} {.spec.egress[*].ports[*].protocol} {.spec.egress[*].ports[*].port}{\"\\n\"}{end}")
		if !strings.Contains(allowed, `{"app":"db"} UDP TCP 53 53`) {
			s.Fatalf("the policies are\n%s", allowed)
		}
		free()
		s.published("db", s.fqdn("db-0", "db"))
		s.well("db")
	})
	w.parallel(t, "configuration, the form of the name", func(s *space) {
		s.headless("db", "db")
		s.deploy(1, with(named(s.podOf("db"), "db-0", "db"), "PODFQDN_NAME_FORM=address"))
		before := s.pods("db", 1)[0]
		s.waits(before, "NXDOMAIN")
		s.does(s.finds(before, diagnosis.Misconfigured, "PODFQDN_NAME_FORM", `"db-0"`, "leave it out"))
		after := s.rolled("db", before)
		s.published(after, s.fqdn("db-0", "db"))
		s.well(after)
	})
	w.parallel(t, "rights", rights)
	w.parallel(t, "nothing to examine", nothing)
	w.parallel(t, "tables", tables)
	w.parallel(t, "configuration", func(s *space) {
		s.headless("db", "db")
		s.deploy(1, with(named(s.podOf("db"), "db-0", "db"), "PODFQDN_HOSTNAME=db-1"))
		before := s.pods("db", 1)[0]
		s.waits(before, "NXDOMAIN")
		s.does(s.finds(before, diagnosis.Misconfigured, "PODFQDN_HOSTNAME", `"db-0"`, `"db-1"`))
		after := s.rolled("db", before)
		s.published(after, s.fqdn("db-0", "db"))
		s.well(after)
	})
}

// silent keeps a Pod's questions from cluster DNS, as the engine of a
// NetworkPolicy does, until free is called.
func (s *space) silent(pod string) (free func()) {
	s.Helper()
	if s.own == nil {
		notShown(s.T, "needs a packet filter on the node")
	}
	p := s.until(pod, "it has an address", func(p *corev1.Pod) bool { return p.Status.PodIP != "" })
	filter := func(ctx context.Context, action string) {
		for _, protocol := range []string{"udp", "tcp"} {
			rule := []string{"-w", "-t", "raw", action, "PREROUTING", "--source", p.Status.PodIP, "--protocol", protocol, "--dport", "53", "--jump", "DROP"}
			if out, err := s.own.Command(ctx, "iptables", rule...).CombinedOutput(); err != nil {
				s.Errorf("iptables %q: %v: %s", rule, err, out)
			}
		}
	}
	filter(s.Context(), "-I")
	free = sync.OnceFunc(func() { filter(context.WithoutCancel(s.Context()), "-D") })
	s.Cleanup(free)
	return free
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// named waits until a StatefulSet's Pod is one that names the Service.
func (s *space) named(pod, service string) {
	s.Helper()
	s.until(pod, "it is created again", func(p *corev1.Pod) bool { return p.Spec.Subdomain == service })
}

// sliced waits until a Service of one family has n endpoints that are ready.
func (s *space) sliced(service string, n int) {
	s.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		list, err := s.kube.DiscoveryV1().EndpointSlices(s.name).List(s.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
		if err != nil {
			s.Fatal(err)
		}
		ready := 0
		for _, slice := range list.Items {
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready != nil && *e.Conditions.Ready {
					ready++
				}
			}
		}
		if ready == n {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("Service %q has %d endpoints that are ready, want %d", service, ready, n)
		}
	}
}

// unsliced keeps the endpointslice controller from writing in this namespace,
// as one that is behind or down does, until its binding is deleted.
func (s *space) unsliced() {
	s.Helper()
	s.kubectlInput(strings.ReplaceAll(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAME}}
    resourceRules:
    - {apiGroups: [discovery.k8s.io], apiVersions: [v1], resources: [endpointslices], operations: [CREATE, UPDATE]}
  validations:
  - expression: "false"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAME}
spec: {policyName: NAME, validationActions: [Deny]}
`, "NAME", s.name), "apply", "--filename=-")
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), time.Minute)
		defer cancel()
		out, err := s.command(ctx, "delete", "--ignore-not-found", "validatingadmissionpolicybinding/"+s.name, "validatingadmissionpolicy/"+s.name).CombinedOutput()
		if err != nil {
			s.Errorf("%v: %s", err, out)
		}
	})
	const probe = `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"probe"},"addressType":"IPv4","endpoints":[]}`
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		cmd := s.command(s.Context(), "create", "--dry-run=server", "--filename=-")
		cmd.Stdin = strings.NewReader(probe)
		if out, err := cmd.CombinedOutput(); err != nil && strings.Contains(string(out), "denied") {
			return
		} else if time.Now().After(deadline) {
			s.Fatalf("the policy does not work: %v: %s", err, out)
		}
	}
}

// account makes a kubeconfig of a service account that may do what its roles,
// each VERB RESOURCE, say in this namespace.
func (s *space) account(name string, roles ...string) (kubeconfig string) {
	s.Helper()
	s.kubectl("create", "serviceaccount", name)
	for i, role := range roles {
		verb, resource, _ := strings.Cut(role, " ")
		role := fmt.Sprintf("%s-%d", name, i)
		s.kubectl("create", "role", role, "--verb="+verb, "--resource="+resource)
		s.kubectl("create", "rolebinding", role, "--role="+role, "--serviceaccount="+s.name+":"+name)
	}
	token := strings.TrimSpace(s.kubectl("create", "token", name))
	b, err := os.ReadFile(s.kubeconfig)
	if err != nil {
		s.Fatal(err)
	}
	config, err := clientcmd.Load(b)
	if err != nil {
		s.Fatal(err)
	}
	config.AuthInfos = map[string]*clientcmdapi.AuthInfo{name: {Token: token}}
	for _, c := range config.Contexts {
		c.AuthInfo = name
	}
	kubeconfig = filepath.Join(s.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		s.Fatal(err)
	}
	return kubeconfig
}

// rights takes them all away, and gives them back by doctor's own commands.
func rights(s *space) {
	s.headless("db", "db", func(spec *corev1.ServiceSpec) { spec.PublishNotReadyAddresses = false })
	s.stateful(1, "db", s.podOf("db"))
	s.waits("db-0", "NXDOMAIN")

	none := s.account("nobody")
	_, errs, code := s.plugin(none, "doctor", "--namespace", s.name, "db-0")
	want := fmt.Sprintf(`you are not allowed to get pods in API group "", namespace %q`, s.name)
	if code != 10 || !strings.Contains(errs, want) || !strings.Contains(errs, "create role podfqdn-doctor-get --verb=get --resource=pods") {
		s.Errorf("exit code %d, want 10 and %q: %s", code, want, errs)
	}
	if _, errs, code = s.plugin(none, "doctor", "--all-namespaces"); code != 10 || !strings.Contains(errs, `you are not allowed to list pods in API group "", all namespaces`) {
		s.Errorf("exit code %d, want 10: %s", code, errs)
	}

	some := s.account("somebody", "get pods")
	examine := func(flags ...string) (e examined) {
		s.Helper()
		out, errs, code := s.plugin(some, append([]string{"doctor", "--namespace", s.name, "db-0", "--output=json"}, flags...)...)
		if err := json.Unmarshal([]byte(out), &e); err != nil || code != 11 {
			s.Fatalf("exit code %d, %v: %s%s", code, err, out, errs)
		}
		return e
	}
	e := examine()
	var lacks []string
	for _, r := range e.Lacks {
		lacks = append(lacks, fmt.Sprintf("%s %s.%s %s", r.Verb, r.Resource, r.APIGroup, r.Namespace))
	}
	slices.Sort(lacks)
	if want := []string{
		"create pods/exec. " + s.name,
		"get configmaps. kube-system",
		"get statefulsets.apps " + s.name,
		"list deployments.apps kube-system",
		"list endpointslices.discovery.k8s.io " + s.name,
		"list networkpolicies.networking.k8s.io " + s.name,
		"list services. " + s.name,
		"list services. kube-system",
	}; !slices.Equal(lacks, want) {
		s.Errorf("the rights that are missing are\n%s\nwant\n%s", strings.Join(lacks, "\n"), strings.Join(want, "\n"))
	}
	if e.Wire != nil || !strings.Contains(e.NoWire, "create pods/exec") || len(e.Facts) == 0 || len(e.Causes) == 0 {
		s.Errorf("the rest does not go on: %+v", e)
	}
	text, _, _ := s.plugin(some, "doctor", "--namespace", s.name, "db-0")
	for _, words := range []string{"you are not allowed to list services in API group \"\", namespace", "and how an administrator grants it\n  kubectl ", "the view from the wire\n  none: you are not allowed to create pods/exec"} {
		if strings.Count(text, words) == 0 {
			s.Errorf("%q is not said:\n%s", words, text)
		}
	}
	// All of them granted by the commands that are given.
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), time.Minute)
		defer cancel()
		_ = s.command(ctx, "delete", "--namespace", system, "--ignore-not-found", "role/podfqdn-doctor-get", "role/podfqdn-doctor-list", "rolebinding/podfqdn-doctor-get", "rolebinding/podfqdn-doctor-list").Run()
	})
	for _, line := range e.Grant {
		s.sh(line)
	}
	if e = examine(); len(e.Lacks) > 0 || e.Wire == nil || e.Causes[0].Kind != diagnosis.NotReadyHidden || e.Causes[0].Guess {
		s.Errorf("with all rights: %+v", e)
	}
	// And another account, with the ClusterRole of SECURITY.md.
	document, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		s.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(document), "```yaml\n")
	text, _, _ = strings.Cut(rest, "```")
	role := "podfqdn-doctor-" + s.name
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), time.Minute)
		defer cancel()
		_ = s.command(ctx, "delete", "--ignore-not-found", "clusterrole/"+role, "clusterrolebinding/"+role).Run()
	})
	s.kubectlInput(strings.Replace(text, "{name: podfqdn-doctor}", "{name: "+role+"}", 1), "create", "--filename=-")
	some = s.account("reader")
	s.kubectl("create", "clusterrolebinding", role, "--clusterrole="+role, "--serviceaccount="+s.name+":reader")
	if e = examine(); len(e.Lacks) > 0 || e.Wire == nil || e.Causes[0].Kind != diagnosis.NotReadyHidden || e.Causes[0].Guess {
		s.Errorf("with the ClusterRole of SECURITY.md: %+v", e)
	}
	if e = examine("--no-exec"); len(e.Lacks) > 0 || e.Wire != nil || !strings.Contains(e.NoWire, "--no-exec") || e.Causes[0].Kind != diagnosis.NotReadyHidden || e.Causes[0].Guess {
		s.Errorf("from the API alone: %+v", e)
	}
}

// nothing is what cannot be examined: exit code 10 and a sentence.
func nothing(s *space) {
	s.start(s.podOf("plain"))
	p := s.podOf("other")
	p.Spec.InitContainers = nil
	s.start(p)
	for _, c := range []struct {
		kubeconfig string
		args       []string
		want       string
	}{
		{filepath.Join(s.TempDir(), "none"), []string{"db-0"}, "there is no kubeconfig: set KUBECONFIG"},
		{s.account("revoked"), []string{"--token", "no token of this cluster", "db-0"}, "nauthorized"},
		{s.kubeconfig, []string{"--context", "none", "db-0"}, `context "none" does not exist`},
		{s.kubeconfig, []string{"--namespace", s.name, "db-0"}, `there is no Pod "db-0" in namespace "` + s.name + `"`},
		{s.kubeconfig, []string{"--namespace", "none", "db-0"}, `there is no namespace "none"`},
		{s.kubeconfig, []string{"--namespace", s.name, "other"}, `Pod "other" has no container of podfqdn's`},
		{s.kubeconfig, []string{"--namespace", s.name}, "want one Pod, got 0"},
		{s.kubeconfig, []string{"--namespace", s.name, "-l", "app=x", "db-0"}, "use one or the other"},
		{s.kubeconfig, []string{"--namespace", s.name, "-l", "no selector", "-o", "json"}, `--selector="no selector": `},
		{s.kubeconfig, []string{"--namespace", s.name, "-o", "xml", "db-0"}, `--output="xml": must be json, yaml`},
	} {
		out, errs, code := s.plugin(c.kubeconfig, append([]string{"doctor"}, c.args...)...)
		if code != 10 || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			s.Errorf("%q: exit code %d, want 10 and %q: %s%s", c.args, code, c.want, out, errs)
		}
	}
}

// tables are of many Pods, and all forms say the same.
func tables(s *space) {
	s.headless("db", "db")
	s.start(named(s.podOf("db"), "db-0", "db"), named(s.podOf("late"), "late-0", "late"))
	p := s.podOf("other")
	p.Spec.InitContainers = nil
	s.start(p, s.podOf("wrong"))
	s.published("db", s.fqdn("db-0", "db"))
	s.waits("late", "NXDOMAIN")
	s.until("wrong", "it is over", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })

	type listed struct {
		Schema  int
		Healthy bool
		Pods    []struct {
			Namespace, Pod, State, Reason string
			Healthy                       bool
		}
	}
	states := func(out string, read func([]byte, any) error) map[string]string {
		s.Helper()
		var all listed
		if err := read([]byte(out), &all); err != nil || all.Schema != 1 {
			s.Fatalf("%v: %s", err, out)
		}
		states := map[string]string{}
		for _, p := range all.Pods {
			if p.Namespace == s.name {
				states[p.Pod] = p.State
			}
			if p.Healthy != (p.State == "published" || p.State == "running" || p.State == "over") {
				s.Errorf("%+v", p)
			}
		}
		return states
	}
	asJSON := json.Unmarshal
	asYAML := func(b []byte, into any) error { return yaml.Unmarshal(b, into) }
	want := map[string]string{"db": "published", "late": "waiting", "wrong": "refused"}
	for _, c := range []struct {
		args []string
		code int
		read func([]byte, any) error
		want map[string]string
	}{
		{[]string{"-A", "-o", "json"}, 11, asJSON, want},
		{[]string{"-A", "-o", "yaml"}, 11, asYAML, want},
		{[]string{"-n", s.name, "-l", "app in (db, late, other)", "-o", "json"}, 11, asJSON, map[string]string{"db": "published", "late": "waiting"}},
		{[]string{"-n", s.name, "-l", "app=db", "-o", "yaml"}, 0, asYAML, map[string]string{"db": "published"}},
	} {
		out, errs, code := s.plugin(s.kubeconfig, append([]string{"doctor"}, c.args...)...)
		if got := states(out, c.read); !maps.Equal(got, c.want) || code != c.code || errs != "" {
			s.Errorf("%q: exit code %d, want %d; %v, want %v; %s", c.args, code, c.code, got, c.want, errs)
		}
	}
	if out, errs, code := s.plugin(s.kubeconfig, "doctor", "-n", s.name, "-l", "app=none"); code != 10 || out != "" || !strings.Contains(errs, "no Pod here uses podfqdn") {
		s.Errorf("exit code %d: %s%s", code, out, errs)
	}
	out, _, code := s.plugin(s.kubeconfig, "doctor", "-A")
	for _, line := range []string{
		`(?m)^NAMESPACE +POD +STATE +FOR +REASON$`,
		`(?m)^` + s.name + ` +db +published `,
		`(?m)^` + s.name + ` +late +waiting `,
		`(?m)^` + s.name + ` +wrong +refused +\S+ +.*no governing Service`,
		`(?m)^see kubectl podfqdn doctor -n \S+ \S+$`,
	} {
		if !regexp.MustCompile(line).MatchString(out) {
			s.Errorf("exit code %d: %s does not match\n%s", code, line, out)
		}
	}

	// One Pod in all forms.
	forms := map[string]any{}
	for form, read := range map[string]func([]byte, any) error{"json": asJSON, "yaml": asYAML} {
		out, errs, code := s.plugin(s.kubeconfig, "doctor", "-n", s.name, "wrong", "-o", form)
		var e examined
		if err := read([]byte(out), &e); err != nil || code != 11 || errs != "" {
			s.Fatalf("-o %s: exit code %d: %v: %s%s", form, code, err, out, errs)
		}
		e.Facts = slices.DeleteFunc(e.Facts, func(f diagnosis.Seen) bool { return f.Name == "podfqdn" }) // tells a time
		forms[form] = e
	}
	if !reflect.DeepEqual(forms["json"], forms["yaml"]) {
		s.Errorf("json says\n%+v\nyaml\n%+v", forms["json"], forms["yaml"])
	}
	out, _, code = s.plugin(s.kubeconfig, "doctor", "-n", s.name, "late")
	s.Logf("%s", out)
	for _, words := range []string{"not healthy", "service-missing", "kubectl --namespace " + s.name, "NXDOMAIN"} {
		if code != 11 || !strings.Contains(out, words) {
			s.Errorf("exit code %d, %q is not said:\n%s", code, words, out)
		}
	}
}
