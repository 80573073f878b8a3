package kube

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// situation is what the API shows of Pod db-0, which waits.
type situation struct {
	pod      func(*corev1.PodSpec)
	env      []corev1.EnvVar // of podfqdn's container
	service  func(*corev1.ServiceSpec)
	services bool
	slices   bool
	corefile string
	owner    *appsv1.Deployment
}

func (s situation) view() *View {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "db-0", Namespace: "default", UID: "1", Labels: map[string]string{"app": "db"}},
		Spec:       corev1.PodSpec{Hostname: "db-0", Subdomain: "db", DNSPolicy: corev1.DNSClusterFirst, InitContainers: []corev1.Container{{Name: "podfqdn", Env: s.env}}},
		Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.244.0.17"}}, InitContainerStatuses: []corev1.ContainerStatus{
			{Name: "podfqdn", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}},
	}
	if s.pod != nil {
		s.pod(&pod.Spec)
	}
	service := corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "default"},
		Spec: corev1.ServiceSpec{ClusterIP: "None", IPFamilies: []corev1.IPFamily{"IPv4"}, Selector: pod.Labels, PublishNotReadyAddresses: true}}
	if s.service != nil {
		s.service(&service.Spec)
	}
	var services []corev1.Service
	if s.services {
		services = []corev1.Service{service}
	}
	var endpoints []discoveryv1.EndpointSlice
	if s.slices {
		hostname := "db-0"
		endpoints = []discoveryv1.EndpointSlice{{
			ObjectMeta: metav1.ObjectMeta{Name: "db-x", Labels: map[string]string{discoveryv1.LabelServiceName: "db"}},
			Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.17"}, Hostname: &hostname}},
		}}
	}
	return viewOf(pod, services, nil, s.owner, endpoints, nil, s.corefile)
}

const allZones = ".:53 {\n kubernetes cluster.local in-addr.arpa ip6.arpa\n}"

func TestACauseFromTheWirePassesUnlessTheAPIDecidesItsKind(t *testing.T) {
	t.Parallel()
	ofService := []diagnosis.Kind{diagnosis.NoService, diagnosis.SelectorMismatch, diagnosis.NotReadyHidden, diagnosis.ReadinessDeadlock, diagnosis.SubdomainMismatch, diagnosis.SingleFamily, diagnosis.NotHeadless}
	ofSlices := slices.Concat(ofService, []diagnosis.Kind{diagnosis.NoHostname, diagnosis.HostnameShared, diagnosis.RollingUpdate, diagnosis.Terminating,
		diagnosis.DebugCopy, diagnosis.SecondService, diagnosis.NotInSlice, diagnosis.NotInDNS})
	ofCorefile := []diagnosis.Kind{diagnosis.ClusterDomain, diagnosis.NoReverseZone}
	hidden := func(s *corev1.ServiceSpec) { s.PublishNotReadyAddresses = false }
	nodes := func(p *corev1.PodSpec) { p.DNSPolicy = corev1.DNSDefault }
	for name, c := range map[string]struct {
		situation
		decided []diagnosis.Kind // in addition to what the Pod itself shows
		fqdn    string           // as the Pod's doctor says it
	}{
		"the Pod alone":                       {},
		"Services":                            {situation: situation{services: true}, decided: ofService},
		"EndpointSlices":                      {situation: situation{slices: true}},
		"both":                                {situation: situation{services: true, slices: true}, decided: ofSlices},
		"a Service that hides the Pod":        {situation: situation{services: true, service: hidden}, decided: ofSlices},
		"a name that no Service here makes":   {situation: situation{env: []corev1.EnvVar{literal("PODFQDN_FQDN", "db.example.org")}}, decided: ofSlices},
		"the Corefile":                        {situation: situation{corefile: allZones}, decided: ofCorefile},
		"a Corefile that imports another":     {situation: situation{corefile: "import x\n" + allZones}},
		"a Corefile without the zones of PTR": {situation: situation{corefile: ".:53 {\n kubernetes cluster.local\n}"}, decided: append(ofCorefile, diagnosis.DNSRefusesPTR)},
		"a Corefile of another domain":        {situation: situation{corefile: allZones}, fqdn: "db-0.db.default.svc.example.org", decided: append(ofCorefile, diagnosis.ForeignDNS)},
		"the node's nameservers":              {situation: situation{pod: nodes}, decided: []diagnosis.Kind{diagnosis.ForeignDNS}},
		"no PTR wanted":                       {situation: situation{env: []corev1.EnvVar{literal("PODFQDN_REVERSE", "ignore")}}, decided: []diagnosis.Kind{diagnosis.NoReverseZone, diagnosis.DNSRefusesPTR}},
		"all of it":                           {situation: situation{services: true, slices: true, corefile: allZones}, decided: slices.Concat(ofSlices, ofCorefile)},
	} {
		decided := append(c.decided, diagnosis.HostNetwork, diagnosis.HostnameOverride, diagnosis.NoSubdomain, diagnosis.Unexplained, diagnosis.Volume, diagnosis.KilledByProbe, diagnosis.BinaryMissing, diagnosis.Unschedulable, diagnosis.TemplateChanged, diagnosis.PeersDeadlock)
		for _, kind := range append(diagnosis.Kinds(), "certificate-missing") {
			wire := &diagnosis.Diagnosis{Schema: 1, FQDN: c.fqdn, Causes: []diagnosis.Cause{
				{Kind: "another", Why: "so that this is not the only cause"}, {Kind: kind, Why: "the wire says so", Command: "rm -rf /"}}}
			passes := false
			for _, cause := range c.view().Causes(wire) {
				passes = passes || cause.Kind == kind && strings.HasPrefix(cause.Why, "the wire says so")
				if strings.Contains(cause.Command, "rm -rf") {
					t.Errorf("%s: a command from the wire passes: %+v", name, cause)
				}
			}
			if passes == slices.Contains(decided, kind) {
				t.Errorf("%s: %s passes: %v", name, kind, passes)
			}
		}
	}
}

func TestANewKindFromTheWireReachesTheUserWithoutItsCommand(t *testing.T) {
	t.Parallel()
	said := diagnosis.Cause{Kind: "certificate-missing", Why: "tls.crt does not cover the name", Change: "the certificate's DNS names", Command: "rm -rf /", Guess: true}
	want := said
	want.Command = ""
	for name, s := range map[string]situation{
		"nothing else is wrong":   {services: true, slices: true, corefile: allZones},
		"something else is wrong": {services: true, service: func(s *corev1.ServiceSpec) { s.Selector = nil }},
		"nothing was seen":        {},
	} {
		causes := s.view().Causes(&diagnosis.Diagnosis{Schema: 1, Causes: []diagnosis.Cause{said}})
		if len(causes) == 0 || causes[len(causes)-1] != want {
			t.Errorf("%s: %+v, want %+v last", name, causes, want)
		}
	}
}

// No command can be run that names no object, or no label of one.
func TestACommandIsLeftOutWhereItWouldNotDo(t *testing.T) {
	t.Parallel()
	selects := func(labels map[string]string) func(*corev1.ServiceSpec) {
		return func(s *corev1.ServiceSpec) { s.Selector = labels }
	}
	others := func(v *View) *View { // the endpoint becomes another Pod's
		v.slices[0].Endpoints[0].Addresses = []string{"10.244.0.18"}
		return v
	}
	unnamed := situation{pod: func(p *corev1.PodSpec) { p.Subdomain = "" }}
	for name, c := range map[string]struct {
		view *View
		kind diagnosis.Kind
		want string
	}{
		"a Service that nothing names, hidden":        {unnamed.view(), diagnosis.NotReadyHidden, ""},
		"a Service that nothing names, of one family": {unnamed.view(), diagnosis.SingleFamily, ""},
		"a Service that was not seen, hidden":         {situation{}.view(), diagnosis.NotReadyHidden, ""},
		"a Service that was not seen, of one family":  {situation{}.view(), diagnosis.SingleFamily, ""},
		"a Service without a selector, and its slice": {others(situation{services: true, slices: true, service: selects(nil)}.view()), diagnosis.SelectorMismatch, ""},
		"two labels": {others(situation{services: true, slices: true, service: selects(map[string]string{"app": "x", "tier": "a b"})}.view()), diagnosis.SelectorMismatch,
			"kubectl --namespace default label pod/db-0 --overwrite app=x 'tier=a b'"},
	} {
		causes := c.view.Causes(&diagnosis.Diagnosis{Schema: 1, Causes: []diagnosis.Cause{{Kind: c.kind}}})
		i := slices.IndexFunc(causes, func(found diagnosis.Cause) bool { return found.Kind == c.kind })
		if i < 0 || causes[i].Command != c.want {
			t.Errorf("%s: want %q: %+v", name, c.want, causes)
		}
	}
}

// What nobody asked for is said: a patch that restarts the Pod of a Deployment
// with a hostname changes the strategy too.
func TestACommandThatChangesTheStrategySaysSo(t *testing.T) {
	t.Parallel()
	one := int32(1)
	s := situation{services: true, slices: true, corefile: allZones, owner: &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.DeploymentSpec{Replicas: &one}}}
	wire := &diagnosis.Diagnosis{Schema: 1, Causes: []diagnosis.Cause{{Kind: diagnosis.DNSRefusesPTR, Change: "allow it"}}}
	for strategy, want := range map[appsv1.DeploymentStrategyType]bool{appsv1.RollingUpdateDeploymentStrategyType: true, appsv1.RecreateDeploymentStrategyType: false} {
		s.owner.Spec.Strategy.Type = strategy
		causes := s.view().Causes(wire)
		if len(causes) != 1 || strings.Contains(causes[0].Command, `"Recreate"`) != want || strings.Contains(causes[0].Change, "with strategy: {type: Recreate}") != want {
			t.Errorf("%s: %+v", strategy, causes)
		}
	}
}
