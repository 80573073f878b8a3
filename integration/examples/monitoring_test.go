package examples

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/certificate"
	"github.com/podfqdn/podfqdn/identity/health"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// example returns one file of examples/.
func example(t *testing.T, name string) manifest {
	t.Helper()
	return documents(t, name, read(t, root+"/examples/"+name))
}

// alerts returns those of one group of examples/monitoring.yaml.
func alerts(t *testing.T, group string) (all []alert) {
	t.Helper()
	for _, r := range example(t, "monitoring.yaml").rules {
		for _, g := range r.Spec.Groups {
			if g.Name != group {
				continue
			}
			for _, rule := range g.Rules {
				a := alert{name: rule.Alert, expr: rule.Expr.String()}
				if rule.For != nil {
					hold, err := model.ParseDuration(string(*rule.For))
					if err != nil {
						t.Fatalf("%s: %v", a.name, err)
					}
					a.hold = time.Duration(hold)
				}
				for _, annotation := range slices.Sorted(maps.Keys(rule.Annotations)) {
					a.texts = append(a.texts, rule.Annotations[annotation])
				}
				if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" || rule.Labels["severity"] == "" {
					t.Errorf("%s lacks a summary, a description or a severity: %+v", a.name, rule)
				}
				all = append(all, a)
			}
		}
	}
	if len(all) < 3 {
		t.Fatalf("group %s has the alerts %+v", group, all)
	}
	return all
}

// target are the labels that Prometheus adds to a sidecar's metrics under a PodMonitor.
const target = "namespace=prod pod=db-0 container=podfqdn endpoint=podfqdn instance=10.244.1.7:8053 job=monitoring/podfqdn"

// stateMetrics are the metrics of kube-state-metrics that the alerts may use, and their labels
// (docs/metrics/workload/pod-metrics.md of kubernetes/kube-state-metrics). None has an init container's exit code.
var stateMetrics = map[string][]string{
	"kube_pod_status_phase":                            {"namespace", "pod", "uid", "phase"},
	"kube_pod_init_container_status_running":           {"namespace", "pod", "uid", "container"},
	"kube_pod_init_container_status_waiting_reason":    {"namespace", "pod", "uid", "container", "reason"},
	"kube_pod_init_container_status_terminated_reason": {"namespace", "pod", "uid", "container", "reason"},
	"kube_pod_init_container_status_restarts_total":    {"namespace", "pod", "uid", "container"},
}

// sidecarPod is a sidecar under test: whether its identity stands, and when its certificate expires.
type sidecarPod struct {
	*health.Health
	stands  bool
	expires time.Duration // from the start; 0 without a certificate
}

// agrees and disagrees are verifications.
func (s *sidecarPod) agrees()    { s.stands = true; s.Turn(identity.Turn{}) }
func (s *sidecarPod) disagrees() { s.Turn(identity.Turn{Err: mismatch}) }

var mismatch = identity.NotYet(identity.Missing, errors.New("10.96.0.10 says NXDOMAIN"), 0)

// observe scrapes a sidecar for a number of minutes of virtual time, after each of which something happens to it.
func observe(t *testing.T, minutes int, s *sidecarPod, happens func(minute int)) (d database) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s.Health = health.New(func() bool { return s.stands }, "v1", "abc")
		s.Tell("certificate", gauges(t, func() (float64, bool) {
			return float64(start.Add(s.expires).Unix()), s.expires != 0
		}))
		time.Sleep(time.Second) // the first agreement must not take 0 s
		for minute := range minutes {
			happens(minute)
			d.scrape(t, exposition(t, s.Health), time.Now(), pairs(t, target))
			time.Sleep(interval)
		}
	})
	return d
}

// gauges returns those of the requirement of a certificate, with another value.
func gauges(t *testing.T, value func() (float64, bool)) []identity.Gauge {
	t.Helper()
	var c certificate.Config
	if err := c.TLS.UnmarshalText([]byte("/tls")); err != nil {
		t.Fatal(err)
	}
	claim := podtest.Claim(podtest.DB0.Files("cluster.local", "10.244.1.7"), identity.Given{}, identity.Policy{})
	r, err := c.Requirement(claim, "/identity")
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Gauges {
		r.Gauges[i].Value = value
	}
	return r.Gauges
}

func TestEveryAlertUsesMetricsAndLabelsThatExist(t *testing.T) {
	known := maps.Clone(stateMetrics)
	s := &sidecarPod{expires: 90 * 24 * time.Hour}
	d := observe(t, 1, s, func(int) { s.agrees() })
	for _, series := range d.all {
		for name := range series.Metric.Map() {
			metric := series.Metric.Get(model.MetricNameLabel)
			known[metric] = append(known[metric], name)
		}
	}
	for _, a := range slices.Concat(alerts(t, "podfqdn-sidecar"), alerts(t, "podfqdn-init")) {
		for metric, names := range labelsOf(t, a.expr) {
			if known[metric] == nil {
				t.Errorf("%s: nothing exposes %s", a.name, metric)
			}
			for _, name := range names {
				if !slices.Contains(known[metric], name) {
					t.Errorf("%s: %s does not have the label %s", a.name, metric, name)
				}
			}
		}
	}
}

func TestAnAlertOnASidecarFiresWhenItShould(t *testing.T) {
	rules, fired := alerts(t, "podfqdn-sidecar"), map[string]bool{}
	for _, c := range []struct {
		name    string
		minutes int
		expires time.Duration
		happens func(s *sidecarPod, minute int)
		want    string
	}{
		{"healthy", 180, 90 * 24 * time.Hour, func(s *sidecarPod, minute int) { s.agrees() }, ""},
		{"starting for nine minutes", 9, 0, func(s *sidecarPod, minute int) { s.disagrees() }, ""},
		{"DNS never agrees", 30, 0, func(s *sidecarPod, minute int) { s.disagrees() }, "PodfqdnNotVerified"},
		{"DNS agrees after a wait", 30, 0, func(s *sidecarPod, minute int) {
			if minute < 20 {
				s.disagrees()
			} else {
				s.agrees()
			}
		}, ""},
		{"DNS stops agreeing", 60, 0, func(s *sidecarPod, minute int) {
			if minute < 30 {
				s.agrees()
			} else {
				s.disagrees()
			}
		}, "PodfqdnAgreementTooOld"},
		{"DNS does not agree for ten minutes", 40, 0, func(s *sidecarPod, minute int) {
			if minute < 30 {
				s.agrees()
			} else {
				s.disagrees()
			}
		}, ""},
		{"what was published is withdrawn", 43, 0, func(s *sidecarPod, minute int) {
			if minute < 30 {
				s.agrees()
			} else {
				s.disagrees()
				s.stands = false
			}
		}, "PodfqdnNotVerified"},
		{"keys are missing", 60, 0, func(s *sidecarPod, minute int) {
			s.agrees()
			s.Missing("keys", minute > 30)
		}, "PodfqdnRequirementMissing"},
		{"the volume cannot be written", 60, 0, func(s *sidecarPod, minute int) {
			s.agrees()
			if minute > 30 {
				s.VolumeFailed(errors.New("no space left on device"))
			}
		}, "PodfqdnVolumeErrors"},
		{"the volume could not be written once", 50, 0, func(s *sidecarPod, minute int) {
			s.agrees()
			if minute == 30 {
				s.VolumeFailed(errors.New("no space left on device"))
			}
		}, ""},
		{"a certificate expires in two days", 90, 48 * time.Hour, func(s *sidecarPod, minute int) { s.agrees() }, "PodfqdnCertificateExpires"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &sidecarPod{expires: c.expires}
			d := observe(t, c.minutes, s, func(minute int) { c.happens(s, minute) })
			judge(t, &d, rules, c.want, fired)
		})
	}
	everyone(t, rules, fired)
}

func TestAnAlertOnAnInitContainerFiresWhenItShould(t *testing.T) {
	rules, fired := alerts(t, "podfqdn-init"), map[string]bool{}
	const pod = `namespace="prod",pod="db-0",uid="u1"`
	const container = pod + `,container="podfqdn"`
	phase := func(phase string) (all string) {
		for _, p := range []string{"Pending", "Running", "Succeeded", "Failed", "Unknown"} {
			value := 0
			if p == phase {
				value = 1
			}
			all += sample("kube_pod_status_phase", pod+`,phase="`+p+`"`, value)
		}
		return all
	}
	running := func(value int) string { return sample("kube_pod_init_container_status_running", container, value) }
	restarts := func(n int) string { return sample("kube_pod_init_container_status_restarts_total", container, n) }
	waiting := func(reason string) string {
		return sample("kube_pod_init_container_status_waiting_reason", container+`,reason="`+reason+`"`, 1)
	}
	terminated := func(reason string) string {
		return sample("kube_pod_init_container_status_terminated_reason", container+`,reason="`+reason+`"`, 1)
	}
	for _, c := range []struct {
		name    string
		minutes int
		state   func(minute int) string
		want    string
	}{
		{"init: done", 60, func(int) string { return phase("Running") + running(0) + restarts(0) + terminated("Completed") }, ""},
		{"sidecar: the application runs", 60, func(int) string { return phase("Running") + running(1) + restarts(0) }, ""},
		{"init: starting", 9, func(int) string { return phase("Pending") + running(1) + restarts(0) }, ""},
		{"init: waits", 20, func(int) string { return phase("Pending") + running(1) + restarts(0) }, "PodfqdnWaits"},
		{"another init container waits for podfqdn to run", 60, func(int) string { return phase("Pending") + running(0) + waiting("PodInitializing") }, ""},
		{"init: failed, restartPolicy Never", 10, func(int) string { return phase("Failed") + running(0) + terminated("Error") }, "PodfqdnFailed"},
		{"init: ends and is restarted", 30, func(minute int) string {
			return phase("Pending") + running(0) + restarts(minute/5) + waiting("CrashLoopBackOff")
		}, "PodfqdnRestarts"},
		{"init: restarted once", 30, func(minute int) string {
			return phase("Running") + running(0) + restarts(min(1, minute/10)) + terminated("Completed")
		}, ""},
		{"init: no image", 20, func(int) string { return phase("Pending") + running(0) + waiting("ImagePullBackOff") }, "PodfqdnCannotStart"},
		{"init: a Secret is missing", 20, func(int) string { return phase("Pending") + running(0) + waiting("CreateContainerConfigError") }, "PodfqdnCannotStart"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d database
			for minute := range c.minutes {
				d.scrape(t, c.state(minute), time.Unix(1e9, 0).Add(time.Duration(minute)*interval), pairs(t, "job=kube-state-metrics instance=10.244.2.2:8080"))
			}
			for _, series := range d.all {
				for name := range series.Metric.Map() {
					metric := series.Metric.Get(model.MetricNameLabel)
					if name != model.MetricNameLabel && name != "job" && name != "instance" && !slices.Contains(stateMetrics[metric], name) {
						t.Errorf("the test exposes %s with the label %s, and kube-state-metrics does not", metric, name)
					}
				}
			}
			judge(t, &d, rules, c.want, fired)
		})
	}
	everyone(t, rules, fired)
}

// judge compares the alerts that fire with those that should, and checks what they say.
func judge(t *testing.T, d *database, rules []alert, want string, fired map[string]bool) {
	t.Helper()
	names, texts := d.firing(t, rules)
	if got := strings.Join(names, " "); got != want {
		t.Errorf("%q fires, want %q", got, want)
	}
	for _, name := range names {
		fired[name] = true
	}
	for _, text := range texts {
		if !strings.Contains(text, "prod/db-0") && !regexp.MustCompile(`kubectl (podfqdn doctor|logs) -n prod db-0`).MatchString(text) {
			t.Errorf("an annotation does not name the Pod: %s", text)
		}
	}
	if len(texts) > 0 && !strings.Contains(strings.Join(texts, "\n"), "kubectl ") {
		t.Errorf("no command is named in %q", texts)
	}
}

// everyone checks that each alert can fire.
func everyone(t *testing.T, rules []alert, fired map[string]bool) {
	t.Helper()
	for _, a := range rules {
		if !fired[a.name] {
			t.Errorf("%s fired in no state", a.name)
		}
	}
}

func TestTheDocumentExplainsEveryAlert(t *testing.T) {
	var want []string
	for _, a := range slices.Concat(alerts(t, "podfqdn-sidecar"), alerts(t, "podfqdn-init")) {
		want = append(want, a.name)
	}
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(Podfqdn\\w+)` ").FindAllStringSubmatch(read(t, root+"/docs/monitoring.md"), -1) {
		got = append(got, row[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/monitoring.md explains %q, want %q", got, want)
	}
}

func TestThePodMonitorScrapesEverySidecar(t *testing.T) {
	monitors := example(t, "monitoring.yaml").monitors
	if len(monitors) != 1 || len(monitors[0].Spec.PodMetricsEndpoints) != 1 {
		t.Fatalf("the PodMonitors are %+v", monitors)
	}
	spec := monitors[0].Spec
	endpoint := spec.PodMetricsEndpoints[0]
	if endpoint.Path != "/metrics" || endpoint.Port == nil || !spec.NamespaceSelector.Any {
		t.Fatalf("it scrapes %+v in the namespaces %+v", endpoint, spec.NamespaceSelector)
	}
	some := 0
	each(t, func(t *testing.T, m manifest, p pod) {
		listens, port := listener(p)
		if !listens {
			return
		}
		some++
		if port.Name != *endpoint.Port || !selects(t, spec.Selector, p.labels) {
			t.Errorf("port %+v of the labels %v is not scraped by %+v", port, p.labels, spec)
		}
	})
	if some == 0 {
		t.Error("no example has metrics")
	}
}

// listener returns the port of podfqdn's metrics in a Pod, if it has one.
func listener(p pod) (listens bool, port corev1.ContainerPort) {
	for _, c := range p.spec.InitContainers {
		for _, env := range c.Env {
			if env.Name == "PODFQDN_LISTEN" {
				if len(c.Ports) == 1 {
					port = c.Ports[0]
				}
				return true, port
			}
		}
	}
	return false, port
}

func selects(t *testing.T, s metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(&s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(of))
}

func TestTheNetworkPoliciesAllowDNSAndPrometheus(t *testing.T) {
	policies := example(t, "networkpolicies.yaml").policies
	var db pod
	for _, p := range example(t, "sidecar.yaml").pods {
		db = p
	}
	_, metrics := listener(db)
	allowed := map[string]bool{}
	for _, p := range policies {
		if !selects(t, p.Spec.PodSelector, db.labels) {
			t.Errorf("NetworkPolicy %s does not select the Pods of sidecar.yaml", p.Name)
		}
		add := func(direction networkingv1.PolicyType, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) {
			if !slices.Equal(p.Spec.PolicyTypes, []networkingv1.PolicyType{direction}) || len(peers) == 0 {
				t.Errorf("NetworkPolicy %s has the types %v and allows %v", p.Name, p.Spec.PolicyTypes, peers)
			}
			for _, port := range ports {
				allowed[string(direction)+" "+string(*port.Protocol)+" "+port.Port.String()] = true
			}
		}
		for _, rule := range p.Spec.Egress {
			add(networkingv1.PolicyTypeEgress, rule.To, rule.Ports)
		}
		for _, rule := range p.Spec.Ingress {
			add(networkingv1.PolicyTypeIngress, rule.From, rule.Ports)
		}
	}
	number := intstr.FromInt32(metrics.ContainerPort)
	want := []string{"Egress TCP 53", "Egress UDP 53", "Ingress TCP " + number.String()}
	if got := slices.Sorted(maps.Keys(allowed)); !slices.Equal(got, want) {
		t.Errorf("they allow %q, want %q", got, want)
	}
}
