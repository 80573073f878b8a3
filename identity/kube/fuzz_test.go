package kube

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// viewOf is what See makes of what the API server says; what is not there was
// not seen.
func viewOf(pod *corev1.Pod, services []corev1.Service, set *appsv1.StatefulSet, deployment *appsv1.Deployment, endpoints []discoveryv1.EndpointSlice, policies []networkingv1.NetworkPolicy, text string) *View {
	v := &View{kubectl: "kubectl", pod: pod, Use: use(pod, ""), peers: map[string]*corev1.Pod{}}
	v.podfqdn, v.claim = v.Each()[0].podfqdn, v.Each()[0].claim
	if ref := metav1.GetControllerOf(pod); ref != nil {
		v.owner.kind, v.owner.name = ref.Kind, ref.Name
	}
	switch {
	case set != nil:
		v.owner = owner{kind: "StatefulSet", name: set.Name, statefulSet: set, replicas: deref(set.Spec.Replicas, 1), selector: selected(set.Spec.Selector)}
	case deployment != nil:
		v.owner = owner{kind: "Deployment", name: deployment.Name, deployment: deployment, replicas: deref(deployment.Spec.Replicas, 1), selector: selected(deployment.Spec.Selector)}
	}
	if services != nil {
		v.services = map[string]corev1.Service{}
		for _, s := range services {
			v.services[s.Name] = s
		}
	}
	v.slices, v.sliced = endpoints, endpoints != nil
	v.policies, v.policed = policies, policies != nil
	for _, e := range v.sharers() {
		if name := e.pod(); name != "" {
			v.peers[name] = pod
		}
	}
	if text != "" {
		v.dns = clusterDNS{name: "coredns", want: 2, ready: 1, configMap: "coredns", text: text, corefile: parseCorefile(text)}
	}
	return v
}

// command is how each command begins that a user is to run.
var command = regexp.MustCompile(`^(echo '.*' \| )?kubectl --namespace `)

// shows checks what people are shown of a View and what a Pod's doctor says:
// nothing in it moves a terminal.
func shows(t *testing.T, v *View, wire *diagnosis.Diagnosis) {
	causes := v.Causes(wire)
	if wire != nil && wire.Healthy && len(causes) > 0 {
		t.Errorf("all is well, and %+v", causes)
	}
	var text strings.Builder
	s := diagnosis.Screen{W: &text}
	s.Facts("facts", v.Facts())
	if wire != nil {
		s.Facts("wire", wire.Facts)
		s.Questions(*wire)
	}
	s.Facts("changes", v.Changes())
	s.Lines("notes", slices.Concat(v.Unchecked(wire, "none"), v.Ahead(wire), v.RuledOut(causes))...)
	if len(causes) > 0 {
		nothing, deleted := v.Prospects(causes)
		s.Lines("prospects", nothing, deleted)
	}
	for n := range causes {
		s.Lines("undo", v.Undo(wire, n))
	}
	s.Lines("groups", Groups([]Use{v.Use, v.Use})...)
	s.Causes(causes, "")
	for _, c := range causes {
		if c.Command != "" && !command.MatchString(c.Command) {
			t.Errorf("the effect of this command is not known: %q", c.Command)
		}
	}
	if strings.ContainsFunc(text.String(), func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) {
		t.Errorf("what is shown is not plain: %q", text.String())
	}
}

func FuzzReport(f *testing.F) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "db-0", Namespace: "default", Labels: map[string]string{"app": "db"}},
		Spec:       corev1.PodSpec{Hostname: "db-0", Subdomain: "db", InitContainers: []corev1.Container{{Name: "podfqdn"}}},
		Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.244.0.17"}}, InitContainerStatuses: []corev1.ContainerStatus{
			{Name: "podfqdn", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}},
	}
	service := corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "default"},
		Spec: corev1.ServiceSpec{ClusterIP: "None", IPFamilies: []corev1.IPFamily{"IPv4"}, Selector: pod.Labels, PublishNotReadyAddresses: true}}
	seen := viewOf(pod, []corev1.Service{service}, nil, nil, []discoveryv1.EndpointSlice{}, []networkingv1.NetworkPolicy{}, ".:53 {\n kubernetes cluster.local in-addr.arpa ip6.arpa\n}")
	unseen := viewOf(pod, nil, nil, nil, nil, nil, "")
	f.Add([]byte(`{"schema": 1, "healthy": true, "addresses": ["10.244.0.17"]}`), []byte(""), 0)
	f.Add([]byte(`{"schema": 1, "fqdn": "db-0.db.default.svc.a.b", "verdict": "missing", "reason": "\u001b[31m", "facts": [{"name": "\u009b", "value": "\u202e", "from": "\u001b"}],
		"questions": [{"server": "\u001b", "kind": "existence", "answer": "no data", "rcode": "NOERROR", "ttl": -1, "ms": 1e300, "zone": "\u001b", "nsid": "\n"}],
		"causes": [{"kind": "not-ready-hidden", "why": "a\nb", "command": "rm"}, {"kind": "reverse-refused", "command": "rm"}, {"kind": "cluster-domain", "command": "rm"}]}`), []byte("x"), 11)
	f.Add([]byte(`{"schema": 2}`), []byte(""), 0)
	f.Add([]byte(`{"schema": 1, "heal`), []byte(""), 0)
	f.Add([]byte(""), []byte("podfqdn: no command \"doctor\"\nusage\n"), 10)
	f.Fuzz(func(t *testing.T, stdout, stderr []byte, code int) {
		d, err := report(stdout, stderr, code)
		switch {
		case (d == nil) != (err != nil):
			t.Fatalf("%+v, %v", d, err)
		case err != nil:
			if len(err.Error()) > maxSaid+100 {
				t.Errorf("%d bytes are said", len(err.Error()))
			}
			return
		case d.Healthy && code != 0:
			t.Errorf("healthy, with exit code %d", code)
		}
		shows(t, seen, d)
		shows(t, unseen, d)
	})
}

// The API server checks most of what is in an object, and not all.
func FuzzView(f *testing.F) {
	f.Add([]byte(`{"metadata": {"name": "db-0", "namespace": "default", "labels": {"app": "db"}}, "spec": {"hostname": "db-0", "subdomain": "db", "initContainers": [{"name": "podfqdn"}]}, "status": {"phase": "Pending", "podIPs": [{"ip": "10.244.0.17"}]}}`),
		[]byte(`{"metadata": {"name": "db", "namespace": "default"}, "spec": {"clusterIP": "None", "ipFamilies": ["IPv4"], "selector": {"app": "x"}}}`),
		[]byte(`{"metadata": {"name": "db"}, "spec": {"serviceName": "db", "selector": {"matchExpressions": [{"key": "a"}]}}}`), true,
		[]byte(`{"metadata": {"name": "db-x", "labels": {"kubernetes.io/service-name": "db"}}, "endpoints": [{"addresses": ["10.244.0.18"], "hostname": "db-0", "targetRef": {"kind": "Pod", "name": "db-1"}}, {"addresses": ["10.244.0.17"]}]}`),
		[]byte(`{"metadata": {"name": "a"}, "spec": {"policyTypes": ["Egress"], "egress": [{"ports": [{"protocol": "UDP", "port": 50, "endPort": 60}]}]}}`),
		".:53 {\n kubernetes cluster.local\n}", []byte(`{"schema": 1, "verdict": "missing", "causes": [{"kind": "dns-silent"}]}`))
	f.Add([]byte(`{"metadata": {"name": "\u001b", "namespace": "\u001b", "deletionTimestamp": "2026-01-02T03:04:05Z", "ownerReferences": [{"kind": "\u001b", "name": "\u001b", "controller": true}]}, "spec": {"hostNetwork": true, "hostnameOverride": "\u001b", "dnsPolicy": "None", "dnsConfig": {"nameservers": ["\u001b"]}, "containers": [{"name": "podfqdn", "env": [{"name": "PODFQDN_FQDN", "value": "a.b.c.svc.d"}, {"name": "PODFQDN_FAMILIES", "value": "all"}, {"name": "PODFQDN_REVERSE", "value": "only"}]}]}, "status": {"phase": "\u001b", "containerStatuses": [{"name": "podfqdn", "state": {"waiting": {"reason": "\u001b", "message": "\u001b"}}, "lastState": {"terminated": {"exitCode": 12, "message": "\u001b"}}}]}}`),
		[]byte(`{"metadata": {"name": "\u001b"}, "spec": {"type": "ExternalName", "selector": {"\u001b": "\u001b"}, "clusterIP": "\u001b", "ipFamilies": ["\u001b"]}}`),
		[]byte(`{"metadata": {"name": "\u001b"}, "spec": {"replicas": 2, "strategy": {"rollingUpdate": {"maxUnavailable": "\u001b"}}}}`), false,
		[]byte(`{"metadata": {"name": "\u001b"}, "endpoints": [{"addresses": ["\u001b"], "hostname": "\u001b", "targetRef": {"kind": "Pod", "name": "\u001b"}}]}`),
		[]byte(`{"metadata": {"name": "\u001b"}, "spec": {"podSelector": {"matchExpressions": [{"key": "\u001b", "operator": "\u001b"}]}}}`),
		"import x\n", []byte(`{"schema": 1, "fqdn": "a.b.c.svc.\u001b", "reason": "x"}`))
	f.Add([]byte(`{"metadata": {"name": "db-0", "namespace": "default", "labels": {"app": "db"}}, "spec": {"hostname": "db-0", "subdomain": "db", "containers": [{"name": "app", "command": ["/podfqdn/podfqdn", "exec", "/\u001b"], "volumeMounts": [{"name": "podfqdn", "mountPath": "/podfqdn", "subPath": "\u001b"}, {"name": "identity", "mountPath": "/identity", "readOnly": true}], "livenessProbe": {"exec": {"command": ["\u001b"]}, "periodSeconds": 2147483647, "failureThreshold": -1}}], "volumes": [{"name": "podfqdn", "image": {"reference": "podfqdn:\u001b"}}]}, "status": {"containerStatuses": [{"name": "app", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 143, "reason": "StartError", "message": "podfqdn: \u001b /podfqdn/podfqdn: no such file or directory"}}}]}}`),
		[]byte(`{"metadata": {"name": "db", "namespace": "default"}, "spec": {"clusterIP": "None", "ipFamilies": ["IPv4"], "selector": {"app": "db"}}}`),
		[]byte(`{"metadata": {"name": "db"}, "spec": {"replicas": 1}}`), false, []byte(`{}`), []byte(`{}`), ".:53 {\n kubernetes cluster.local\n}", []byte(`{"schema": 1, "reason": "\u001b"}`))
	f.Fuzz(func(t *testing.T, pod, service, workload []byte, stateful bool, slice, policy []byte, text string, wire []byte) {
		var p corev1.Pod
		if json.Unmarshal(pod, &p) != nil {
			return
		}
		var (
			services []corev1.Service
			set      *appsv1.StatefulSet
			deploy   *appsv1.Deployment
			slices   []discoveryv1.EndpointSlice
			policies []networkingv1.NetworkPolicy
			diagnose *diagnosis.Diagnosis
		)
		if s := (corev1.Service{}); json.Unmarshal(service, &s) == nil {
			services = append(services, s)
		}
		if s := (appsv1.StatefulSet{}); stateful && json.Unmarshal(workload, &s) == nil {
			set = &s
		}
		if d := (appsv1.Deployment{}); !stateful && json.Unmarshal(workload, &d) == nil {
			deploy = &d
		}
		if s := (discoveryv1.EndpointSlice{}); json.Unmarshal(slice, &s) == nil {
			slices = append(slices, s)
		}
		if n := (networkingv1.NetworkPolicy{}); json.Unmarshal(policy, &n) == nil {
			policies = append(policies, n)
		}
		if d := (diagnosis.Diagnosis{}); json.Unmarshal(wire, &d) == nil {
			diagnose = &d
		}
		shows(t, viewOf(&p, services, set, deploy, slices, policies, text), diagnose)
	})
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a", "it's", "a b", "$(id)", "\\", "\x1b", "'", "''"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q := Quote(s)
		if q == s && !strings.ContainsAny(s, " \t\n'\"\\$`!*?[]{}()<>|&;~#") && s != "" {
			return
		}
		// A word in quotes of a shell ends at the next one (POSIX, 2.2.2), and what is between words here is \'.
		parts := strings.Split(q, `'\''`)
		parts[0] = strings.TrimPrefix(parts[0], "'")
		last := len(parts) - 1
		parts[last] = strings.TrimSuffix(parts[last], "'")
		if got := strings.Join(parts, "'"); got != s || len(q) < 2 || q[0] != '\'' || q[len(q)-1] != '\'' {
			t.Errorf("%q becomes %s", s, q)
		}
		for _, part := range parts {
			if strings.Contains(part, "'") {
				t.Errorf("%q becomes %s, whose quotes end too early", s, q)
			}
		}
	})
}
