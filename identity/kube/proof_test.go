package kube

import (
	"slices"
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

const podfqdnsName = "db-0.db.default.svc.cluster.local"

// asked is what the Pod's doctor asked for the Pod's name, and was answered.
func asked(verdict identity.Verdict, answers ...diagnosis.Asked) *diagnosis.Diagnosis {
	return &diagnosis.Diagnosis{Schema: 1, FQDN: podfqdnsName, Verdict: verdict, Reason: "as DNS says", Questions: answers}
}

func denial(zone string) diagnosis.Asked {
	return diagnosis.Asked{Server: "10.96.0.10:53", Kind: "existence", Type: "TXT", Subject: podfqdnsName, Rcode: "NXDOMAIN", Zone: zone, Answer: "NXDOMAIN", Verdict: identity.Missing}
}

// CoreDNS is restarted for a name that it does not know only where its answers
// prove that it is behind.
func TestCoreDNSIsToBeRestartedOnlyWhereItsAnswersProveIt(t *testing.T) {
	t.Parallel()
	cached := denial("cluster.local")
	cached.Cached = true
	short := denial("cluster.local")
	short.TTL, short.Full = 17, 30
	answered := diagnosis.Asked{Kind: "existence", Subject: podfqdnsName, Rcode: "NOERROR"}
	ptr := diagnosis.Asked{Kind: "PTR", Subject: "10.96.0.1", Rcode: "NOERROR", Answer: "kubernetes.default.svc.cluster.local", Witness: true}
	for name, c := range map[string]struct {
		corefile string
		wire     *diagnosis.Diagnosis
		restart  bool
		words    string
	}{
		"denials of the cluster's own":  {allZones, asked(identity.Missing, denial("cluster.local"), denial("cluster.local")), true, "behind the API server"},
		"a template":                    {strings.Replace(allZones, "kubernetes", "template ANY A cluster.local\n kubernetes", 1), asked(identity.Missing, denial("cluster.local"), denial("cluster.local"), ptr), false, "the plugin template"},
		"denials without SOA, and PTRs": {allZones, asked(identity.Missing, denial(""), denial(""), ptr), false, "what answers in place of them"},
		"one replica knows it":          {allZones, asked(identity.Missing, denial("cluster.local"), answered), false, ""},
		"a cache's denial":              {allZones, asked(identity.Missing, denial("cluster.local"), cached), false, "any cache in front"},
		"less than the full TTL":        {allZones, asked(identity.Missing, denial("cluster.local"), short), false, "any cache in front"},
		"a Corefile that imports":       {"import x\n" + allZones, asked(identity.Missing, denial("cluster.local"), denial("cluster.local")), false, ""},
		"no Corefile":                   {"", asked(identity.Missing, denial("cluster.local"), denial("cluster.local")), false, ""},
		"no questions":                  {allZones, asked(identity.Missing), false, ""},
	} {
		v := situation{services: true, slices: true, corefile: c.corefile}.view()
		v.slices[0].CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
		causes := v.Causes(c.wire)
		i := slices.IndexFunc(causes, func(c diagnosis.Cause) bool { return c.Kind == diagnosis.NotInDNS })
		if i < 0 || causes[i].Guess == c.restart || strings.Contains(causes[i].Command, "rollout restart") != c.restart || !strings.Contains(causes[i].Why+causes[i].Change, c.words) {
			t.Errorf("%s: %+v", name, causes)
		}
	}
}

func TestAServiceWithAClusterAddressIsNotToPublishPodsThatAreNotReady(t *testing.T) {
	t.Parallel()
	vip := func(publish bool) func(*corev1.ServiceSpec) {
		return func(s *corev1.ServiceSpec) { s.ClusterIP, s.PublishNotReadyAddresses = "10.96.7.7", publish }
	}
	joined := func(v *View) *View {
		s := v.services["db"]
		s.Name, s.Spec.ClusterIP = "db-headless", "None"
		v.services["db-headless"] = s
		return v
	}
	hidden := situation{services: true, slices: true, corefile: allZones, service: vip(false)}
	for name, c := range map[string]struct {
		view  *View
		guess bool
		words string
	}{
		"it hides the Pod":              {hidden.view(), false, "create another Service with clusterIP: None"},
		"it hides the Pod, and another": {joined(hidden.view()), false, `the headless Service that selects the Pod is "db-headless"`},
		"it publishes the Pod":          {situation{services: true, slices: true, corefile: allZones, service: vip(true)}.view(), true, "not every DNS server"},
	} {
		causes := c.view.Causes(asked(identity.Missing, denial("cluster.local")))
		if len(causes) == 0 || causes[0].Kind != diagnosis.NotHeadless || causes[0].Guess != c.guess || !strings.Contains(causes[0].Why+causes[0].Change, c.words) {
			t.Errorf("%s: %+v", name, causes)
		}
		for _, cause := range causes {
			if strings.Contains(cause.Command, "publishNotReadyAddresses") {
				t.Errorf("%s: %s", name, cause.Command)
			}
		}
	}
}

func TestTheMountExplainsAVolumeThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	const said = `"/identity" does not exist: mount an emptyDir there`
	mount := func(readOnly bool) func(*corev1.PodSpec) {
		return func(p *corev1.PodSpec) {
			p.InitContainers[0].VolumeMounts = []corev1.VolumeMount{{Name: "identity", MountPath: "/identity", ReadOnly: readOnly}}
			p.Volumes = []corev1.Volume{{Name: "identity", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		}
	}
	for name, c := range map[string]struct {
		pod   func(*corev1.PodSpec)
		env   []corev1.EnvVar
		words string
	}{
		"no mount": {func(*corev1.PodSpec) {}, nil, `container "podfqdn" has no volume at /identity`},
		"another container's": {func(p *corev1.PodSpec) {
			p.Containers = []corev1.Container{{Name: "app", VolumeMounts: []corev1.VolumeMount{{Name: "id", MountPath: "/identity/"}}}}
		}, nil, `container "app" has volume "id" there`},
		"elsewhere": {mount(false), []corev1.EnvVar{literal("PODFQDN_DIR", "/id")}, "has no volume at /id,"},
		"read-only": {mount(true), nil, `mounts volume "identity" read-only at /identity`},
		"a Secret": {func(p *corev1.PodSpec) {
			mount(false)(p)
			p.Volumes[0].VolumeSource = corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}
		}, nil, "is a Secret"},
		"a claim to read": {func(p *corev1.PodSpec) {
			mount(false)(p)
			p.Volumes[0].VolumeSource = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ReadOnly: true}}
		}, nil, "a claim with readOnly: true"},
		"nothing in the spec": {mount(false), nil, "podfqdn could not use its volume: " + said},
	} {
		v := situation{services: true, slices: true, corefile: allZones, pod: c.pod, env: c.env}.view()
		v.State, v.code, v.Reason = Failed, exitVolume, said
		causes := v.Causes(nil)
		if len(causes) != 1 || causes[0].Kind != diagnosis.Volume || causes[0].Guess || !strings.Contains(causes[0].Why, c.words) {
			t.Errorf("%s: %+v", name, causes)
		}
	}
}

func TestEndpointPodNamesGiveTheNameOfThePod(t *testing.T) {
	t.Parallel()
	const corefile = ".:53 {\n kubernetes cluster.local in-addr.arpa {\n  endpoint_pod_names\n }\n}"
	nameless := func(p *corev1.PodSpec) { p.Hostname, p.Subdomain = "", "" }
	s := situation{services: true, slices: true, corefile: corefile, pod: nameless, env: []corev1.EnvVar{literal("PODFQDN_NAME_FORM", "address"), literal("PODFQDN_SERVICE", "db")}}
	causes := s.view().Causes(asked(identity.Missing, denial("cluster.local")))
	if len(causes) == 0 || causes[0].Kind != diagnosis.Misconfigured || causes[0].Guess || !strings.Contains(causes[0].Why, `endpoint_pod_names: DNS publishes the Pod as "db-0"`) {
		t.Errorf("%+v", causes)
	}
	s.env = s.env[1:] // as it is right
	for _, cause := range s.view().Causes(nil) {
		if cause.Kind != diagnosis.Unexplained {
			t.Errorf("%+v", cause)
		}
	}
}

func TestThePluginHostsAnswersBeforeKubernetes(t *testing.T) {
	t.Parallel()
	with := func(block string) string { return strings.Replace(allZones, "\n}", "\n hosts "+block+"\n}", 1) }
	for name, c := range map[string]struct {
		corefile     string
		found, guess bool
	}{
		"a file":              {with("/etc/coredns/NodeHosts {\n  fallthrough\n }"), true, true},
		"the address":         {with("{\n  10.244.0.17 node-1\n  fallthrough\n }"), true, false},
		"another address":     {with("{\n  10.244.0.18 node-1\n }"), true, true},
		"without PTR records": {with("{\n  10.244.0.17 node-1\n  no_reverse\n }"), false, false},
		"no such plugin":      {allZones, false, false},
	} {
		causes := situation{services: true, slices: true, corefile: c.corefile}.view().Causes(asked(identity.ReverseForeign))
		i := slices.IndexFunc(causes, func(c diagnosis.Cause) bool { return c.Kind == diagnosis.ReverseOverridden })
		if (i >= 0) != c.found || i >= 0 && causes[i].Guess != c.guess {
			t.Errorf("%s: %+v", name, causes)
		}
	}
}

func TestAFilteredPTRIsNotBlamedOnACorefileThatServesIt(t *testing.T) {
	t.Parallel()
	wire := asked(identity.ReverseMissing, diagnosis.Asked{Kind: "PTR", Subject: "10.96.0.1", Rcode: "NXDOMAIN", Witness: true})
	wire.Causes = []diagnosis.Cause{{Kind: diagnosis.NoReverseZone, Why: "the API server's own address has no PTR either"}}
	causes := situation{services: true, slices: true, corefile: allZones}.view().Causes(wire)
	if len(causes) != 1 || causes[0].Kind != diagnosis.DNSRefusesPTR || !causes[0].Guess || causes[0].Command != "" {
		t.Errorf("%+v", causes)
	}
}

func TestACorefileIsNotChangedForAPTRThatAgrees(t *testing.T) {
	t.Parallel()
	v := situation{services: true, slices: true, corefile: ".:53 {\n kubernetes cluster.local\n}"}.view()
	blamed := func(verdict identity.Verdict) bool {
		wire := asked(identity.Shared, diagnosis.Asked{Kind: "PTR", Subject: "10.244.0.17", Rcode: "NOERROR", Verdict: verdict})
		return slices.ContainsFunc(v.Causes(wire), func(c diagnosis.Cause) bool { return c.Kind == diagnosis.NoReverseZone })
	}
	if blamed(identity.Agrees) || !blamed(identity.ReverseMissing) {
		t.Error("the Corefile is blamed for what agrees, or is not for what does not")
	}
}

func TestAWayPastARefusedPTRSaysWhatItCosts(t *testing.T) {
	t.Parallel()
	wire := asked(identity.ReverseRefused)
	wire.Causes = []diagnosis.Cause{{Kind: diagnosis.DNSRefusesPTR, Why: "REFUSED", Change: "allow in-addr.arpa, or set PODFQDN_REVERSE=ignore"}}
	if c := (situation{services: true, slices: true, corefile: allZones}).view().Causes(wire)[0]; !strings.HasSuffix(c.Change, "PODFQDN_REVERSE=ignore, which proves less") {
		t.Errorf("%+v", c)
	}
}

func TestAPodMadeByHandIsNotADebugCopy(t *testing.T) {
	t.Parallel()
	controlled := true
	app := corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}, Volumes: []corev1.Volume{{Name: "kube-api-access-abcde"}}}
	of := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "db-0", Labels: map[string]string{"app": "db", "controller-revision-hash": "a"},
		OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: "db", UID: "s", Controller: &controlled}}}, Spec: app}
	hand := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "mine", Labels: map[string]string{"app": "db"}}, Spec: corev1.PodSpec{Containers: app.Containers}}
	labelled, mounted := hand.DeepCopy(), hand.DeepCopy()
	labelled.Labels["controller-revision-hash"] = "b"
	mounted.Spec.Volumes = app.Volumes
	for _, c := range []struct {
		other *corev1.Pod
		want  diagnosis.Kind
	}{{hand, diagnosis.HostnameShared}, {labelled, diagnosis.DebugCopy}, {mounted, diagnosis.DebugCopy}} {
		j := judge{View: &View{pod: of}}
		if got := j.apart(c.other); got != c.want {
			t.Errorf("%+v: %s, not %s", c.other.ObjectMeta, got, c.want)
		}
	}
}

func TestAReplicaThatHangsIsNotKubeProxy(t *testing.T) {
	t.Parallel()
	wire := asked(identity.Unanswered, diagnosis.Asked{Kind: "A", Subject: podfqdnsName, Rcode: "NOERROR"}, diagnosis.Asked{Kind: "A", Subject: podfqdnsName})
	wire.Causes = []diagnosis.Cause{{Kind: diagnosis.DNSSilent, Why: "10.96.0.10 says nothing", Guess: true}}
	v := situation{services: true, slices: true, corefile: allZones}.view()
	v.policed, v.dns.want, v.dns.ready = true, 3, 3
	if c := v.Causes(wire)[0]; c.Kind != diagnosis.DNSSilent || !c.Guess || strings.Contains(c.Change, "kube-proxy") || !strings.Contains(c.Change, "one by one") {
		t.Errorf("%+v", c)
	}
}

// Two releases of CoreDNS have no PTR for a dashed name. The plugin says which release runs, and is certain only of these.
func TestTheReleaseOfCoreDNSTellsWhetherItHasThePTRsOfDashedNames(t *testing.T) {
	t.Parallel()
	for image, certain := range map[string]bool{
		"registry.k8s.io/coredns/coredns:v1.12.0": true, "registry.example:5000/coredns:1.11.4": true, "registry.k8s.io/coredns/coredns:v1.12.0@sha256:abc": true,
		"registry.k8s.io/coredns/coredns:v1.12.1": false, "registry.example/eks/coredns:v1.11.4-eksbuild.2": false, "registry.example:5000/coredns": false,
	} {
		v := situation{services: true, slices: true, corefile: allZones}.view()
		v.dns.name, v.dns.deployment = "coredns", new(appsv1.Deployment)
		v.dns.deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "coredns", Image: image}}
		wire := asked(identity.ReverseMissing)
		wire.Causes = []diagnosis.Cause{
			{Kind: diagnosis.ReverseNeedsHostname, Why: "CoreDNS 1.11.4 and 1.12.0 have PTR records only for Pods with a hostname", Guess: true},
			{Kind: diagnosis.NoReverseZone, Why: "the Corefile may serve PTR records only for Services", Guess: true},
		}
		causes := v.Causes(wire)
		if c := causes[0]; len(causes) != 1 || c.Kind != diagnosis.ReverseNeedsHostname || c.Guess == certain || !strings.Contains(c.Why, image) || c.Command != "" {
			t.Errorf("%s: %+v", image, causes)
		}
	}
}

// What a cache on the node says is not what CoreDNS says.
func TestADenialOfACacheOnTheNodeProvesNothing(t *testing.T) {
	t.Parallel()
	q := denial("cluster.local")
	q.Server = "169.254.20.10:53"
	v := situation{services: true, slices: true, corefile: allZones}.view()
	v.slices[0].CreationTimestamp, v.dns.addrs = metav1.NewTime(time.Now().Add(-time.Hour)), addrsIn("10.96.0.10")
	if causes := v.Causes(asked(identity.Missing, q, q)); len(causes) != 1 || causes[0].Kind != diagnosis.NotInDNS || !causes[0].Guess || causes[0].Command != "" {
		t.Errorf("%+v", causes)
	}
	q.Server = "10.96.0.10:53"
	if causes := v.Causes(asked(identity.Missing, q, q)); len(causes) != 1 || causes[0].Guess {
		t.Errorf("%+v", causes)
	}
}

// Nobody asked DNS: what else answers is not known.
func TestClusterDNSIsNotToBeScaledForAGuess(t *testing.T) {
	t.Parallel()
	v := situation{services: true, slices: true, corefile: allZones}.view()
	v.dns.want, v.dns.ready = 0, 0
	if causes := v.Causes(nil); len(causes) != 1 || causes[0].Kind != diagnosis.DNSSilent || !causes[0].Guess || causes[0].Command != "" {
		t.Errorf("%+v", causes)
	}
	silent := asked(identity.Unanswered)
	silent.Causes = []diagnosis.Cause{{Kind: diagnosis.DNSSilent, Why: "10.96.0.10 says nothing", Guess: true}}
	if causes := v.Causes(silent); len(causes) != 1 || causes[0].Guess || !strings.Contains(causes[0].Command, "scale deployment/coredns") {
		t.Errorf("%+v", causes)
	}
}

func TestAPodThatGaveUpIsNotToBeDeletedForAGuess(t *testing.T) {
	t.Parallel()
	v := situation{services: true, slices: true, corefile: allZones}.view()
	v.State, v.code, v.Reason = GaveUp, 11, "gave up after 15m0s"
	v.owner.kind, v.owner.name = "StatefulSet", "db"
	causes := v.Causes(nil)
	if len(causes) != 1 || !causes[0].Guess || causes[0].Command != "" {
		t.Errorf("%+v", causes)
	}
	if _, deleted := v.Prospects(causes); strings.Contains(deleted, "useless") {
		t.Errorf("of what is not known: %s", deleted)
	}
}

func TestAVariableForAFamilyIsNamedOnlyWhereItHelps(t *testing.T) {
	t.Parallel()
	six := func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{"IPv6"} }
	c := situation{services: true, slices: true, service: six}.view().Causes(nil)[0]
	if c.Kind != diagnosis.SingleFamily || strings.Contains(c.Change, "PODFQDN_FAMILIES") {
		t.Errorf("%+v", c)
	}
}

func TestASliceMadeByHandGivesAPodWithoutSubdomainItsName(t *testing.T) {
	t.Parallel()
	causes := situation{services: true, slices: true, corefile: allZones, env: []corev1.EnvVar{literal("PODFQDN_SERVICE", "db")},
		pod: func(p *corev1.PodSpec) { p.Subdomain = "" }}.view().Causes(nil)
	if len(causes) != 1 || causes[0].Kind != diagnosis.Unexplained {
		t.Errorf("%+v", causes)
	}
}

func TestTheDoctorThatWasNotRunInThePodIsNamedWhereTheAPIShowsNoFault(t *testing.T) {
	t.Parallel()
	v := situation{services: true, slices: true, corefile: allZones}.view()
	causes := v.Causes(nil)
	want := "kubectl --namespace '" + v.Namespace + "' exec '" + v.Pod + "' -c 'podfqdn' -- /podfqdn doctor"
	if got := strings.ReplaceAll(causes[0].Change, "'", ""); len(causes) != 1 || !strings.HasSuffix(got, strings.ReplaceAll(want, "'", "")) {
		t.Errorf("%+v, want %s", causes, want)
	}
}

func TestAnotherPodIsNamedThoughItMayNotBeRead(t *testing.T) {
	t.Parallel()
	v := situation{services: true, slices: true, corefile: allZones}.view()
	hostname := "db-0"
	v.slices[0].Endpoints = append(v.slices[0].Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.244.0.18"}, Hostname: &hostname, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "db-1", UID: "2"}})
	if causes := v.Causes(nil); len(causes) != 1 || !strings.Contains(causes[0].Why, `Pod "db-1" has hostname "db-0"`) {
		t.Errorf("%+v", causes)
	}
}

// A Corefile is changed only for a PTR that was asked and not answered.
func TestACorefileIsNotChangedForAPTRThatNobodyAsked(t *testing.T) {
	t.Parallel()
	for reason, guess := range map[string]bool{"": true, "gave up after 15m: 10.244.0.17: 10.96.0.10 says NXDOMAIN to PTR": false} {
		v := situation{services: true, slices: true, corefile: ".:53 {\n kubernetes cluster.local\n}"}.view()
		v.Reason = reason
		if causes := v.Causes(nil); len(causes) != 1 || causes[0].Kind != diagnosis.NoReverseZone || causes[0].Guess != guess || (causes[0].Command == "") != guess {
			t.Errorf("%q: %+v", reason, causes)
		}
	}
}

// A Service whose other Pods were not seen may have some.
func TestASelectorIsChangedOnlyWhereNobodyElseNeedsIt(t *testing.T) {
	t.Parallel()
	wrong := func(s *corev1.ServiceSpec) { s.Selector = map[string]string{"app": "x"} }
	for _, sliced := range []bool{false, true} {
		causes := situation{services: true, slices: sliced, service: wrong}.view().Causes(nil)
		if len(causes) != 1 || causes[0].Kind != diagnosis.SelectorMismatch || (causes[0].Command != "") != sliced {
			t.Errorf("%+v", causes)
		}
	}
}

func TestOfSeveralHeadlessServicesNoneIsChosen(t *testing.T) {
	t.Parallel()
	owner := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "db"}}
	for _, c := range []struct {
		names   []string
		pod     func(*corev1.PodSpec)
		env     []corev1.EnvVar
		words   string
		command bool
	}{
		{[]string{"a"}, func(p *corev1.PodSpec) { p.Subdomain = "gone" }, nil, `"gone", which is the Pod's spec.subdomain; the headless Service that selects the Pod is "a"`, true},
		{[]string{"a", "b"}, func(p *corev1.PodSpec) { p.Subdomain = "gone" }, nil, `the headless Service that selects the Pod is "a" or "b"`, false},
		{[]string{"a"}, func(p *corev1.PodSpec) { p.Subdomain = "" }, []corev1.EnvVar{literal("PODFQDN_SERVICE", "gone")}, `"gone", which is what podfqdn is told`, true},
	} {
		v := situation{services: true, slices: true, pod: c.pod, env: c.env, owner: owner}.view()
		s := v.services["db"]
		delete(v.services, "db")
		for _, name := range c.names {
			s.Name = name
			v.services[name] = s
		}
		causes := v.Causes(nil)
		i := slices.IndexFunc(causes, func(c diagnosis.Cause) bool { return c.Kind == diagnosis.SubdomainMismatch })
		if i < 0 || !strings.Contains(causes[i].Why, c.words) || (causes[i].Command != "") != c.command {
			t.Errorf("%q: %+v", c.names, causes)
		}
	}
}
