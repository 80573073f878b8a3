package kube

import (
	"fmt"
	"os"
	"regexp"
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

func TestTheVariablesAreThoseOfTheContract(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Variables\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var names []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z0-9_]+)` \\|").FindAllStringSubmatch(section, -1) {
		names = append(names, row[1])
	}
	want := slices.Clone(variables)
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("docs/contract.md has\n%q\nand this package\n%q", names, want)
	}
}

// denied is what the Pod's doctor says of a name that DNS denies.
var denied = &diagnosis.Diagnosis{Schema: 1, Verdict: identity.Missing, Reason: "NXDOMAIN", Causes: []diagnosis.Cause{
	{Kind: diagnosis.NotReadyHidden, Why: "the wire says so", Guess: true}, {Kind: diagnosis.CachedDenial, Why: "the wire says so"},
	{Kind: diagnosis.ClusterDomain, Why: "the wire says so", Change: "set PODFQDN_CLUSTER_DOMAIN"}}}

func TestWhatPodfqdnWasToldIsComparedBeforeDNSIsBlamed(t *testing.T) {
	t.Parallel()
	other := func(v *View) *View { // db-1 lives too
		hostname := "db-1"
		v.slices[0].Endpoints = append(v.slices[0].Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.244.0.18"}, Hostname: &hostname,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "db-1", UID: "2"}})
		return v
	}
	for name, c := range map[string]struct {
		env   []corev1.EnvVar
		kind  diagnosis.Kind
		words []string
	}{
		"another namespace":                 {[]corev1.EnvVar{literal("POD_NAMESPACE", "sree")}, diagnosis.Misconfigured, []string{`POD_NAMESPACE="sree"`, `metadata.namespace is "default"`, "from metadata.namespace"}},
		"a namespace from the wrong field":  {[]corev1.EnvVar{field("POD_NAMESPACE", "metadata.name")}, diagnosis.Misconfigured, []string{`POD_NAMESPACE="db-0", from metadata.name,`}},
		"another namespace, by the address": {[]corev1.EnvVar{literal("POD_NAMESPACE", "sree"), literal("PODFQDN_NAME_FORM", "address")}, diagnosis.Misconfigured, []string{`POD_NAMESPACE="sree"`}},
		"another Service":                   {[]corev1.EnvVar{literal("PODFQDN_SERVICE", "web")}, diagnosis.SubdomainMismatch, []string{`spec.subdomain is "db"`, `Service "web"`, "PODFQDN_SERVICE"}},
		"another hostname, by reference":    {[]corev1.EnvVar{literal("N", "1"), literal("PODFQDN_HOSTNAME", "db-$(N)")}, diagnosis.Misconfigured, []string{`PODFQDN_HOSTNAME="db-1"`, `spec.hostname is "db-0"`, `the name of Pod "db-1"`}},
		"the name of a Pod that lives":      {[]corev1.EnvVar{literal("PODFQDN_FQDN", "db-1.db.default.svc.cluster.local")}, diagnosis.Misconfigured, []string{"PODFQDN_FQDN", `spec.hostname is "db-0"`, `the name of Pod "db-1"`}},
		"a name of another namespace":       {[]corev1.EnvVar{literal("PODFQDN_FQDN", "db-0.db.sree.svc.cluster.local")}, diagnosis.Misconfigured, []string{`a name of namespace "sree"`}},
		"another address":                   {[]corev1.EnvVar{literal("POD_IP", "10.244.0.99")}, diagnosis.Misconfigured, []string{`POD_IP="10.244.0.99"`, "status.podIPs are 10.244.0.17", "from status.podIP"}},
		"another cluster domain":            {[]corev1.EnvVar{literal("PODFQDN_CLUSTER_DOMAIN", "cluster.lokal")}, diagnosis.ClusterDomain, []string{`PODFQDN_CLUSTER_DOMAIN="cluster.lokal"`, "serves cluster.local"}},
	} {
		for _, wire := range []*diagnosis.Diagnosis{nil, denied} {
			v := other(situation{services: true, slices: true, corefile: allZones, env: c.env}.view())
			v.slices[0].CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
			causes := v.Causes(wire)
			if len(causes) == 0 || causes[0].Kind != c.kind || causes[0].Guess {
				t.Errorf("%s: want %s first: %+v", name, c.kind, causes)
				continue
			}
			for _, words := range c.words {
				if !strings.Contains(causes[0].Why+"\n"+causes[0].Change, words) {
					t.Errorf("%s: %q is missing: %+v", name, words, causes[0])
				}
			}
			for _, cause := range causes {
				if strings.Contains(cause.Command, "rollout restart") || name != "another cluster domain" && strings.Contains(cause.Why, "the wire says so") {
					t.Errorf("%s: DNS is blamed: %+v", name, cause)
				}
			}
		}
	}
}

// wired is what the doctor in the Pod says of a name that cluster DNS denies, and
// of where a part of it is from.
func wired(fqdn string, facts ...diagnosis.Seen) *diagnosis.Diagnosis {
	q := denial("cluster.local")
	q.Subject = fqdn
	wire := asked(identity.Missing, q, q)
	wire.FQDN, wire.Facts = fqdn, facts
	return wire
}

func TestWhatAConfigMapTellsIsComparedToo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wire  *diagnosis.Diagnosis
		kind  diagnosis.Kind
		words []string
	}{
		"a hostname":        {wired("nope.db.default.svc.cluster.local", diagnosis.Seen{Name: "hostname", Value: "nope", From: "PODFQDN_HOSTNAME"}), diagnosis.Misconfigured, []string{`PODFQDN_HOSTNAME="nope", from a ConfigMap, a Secret or the image`, `spec.hostname is "db-0"`}},
		"a Service":         {wired("db-0.web.default.svc.cluster.local", diagnosis.Seen{Name: "governing Service", Value: "web", From: "PODFQDN_SERVICE"}), diagnosis.SubdomainMismatch, []string{`PODFQDN_SERVICE="web", from a ConfigMap`}},
		"a namespace":       {wired("db-0.db.sree.svc.cluster.local", diagnosis.Seen{Name: "namespace", Value: "sree", From: "POD_NAMESPACE"}), diagnosis.Misconfigured, []string{`POD_NAMESPACE="sree"`, "from metadata.namespace"}},
		"an address":        {wired(podfqdnsName, diagnosis.Seen{Name: "addresses", Value: "10.244.0.99", From: "POD_IPS"}), diagnosis.Misconfigured, []string{`POD_IPS="10.244.0.99"`, "status.podIPs are 10.244.0.17"}},
		"a cluster domain":  {wired("db-0.db.default.svc.cluster.lokal", diagnosis.Seen{Name: "cluster domain", Value: "cluster.lokal", From: "PODFQDN_CLUSTER_DOMAIN"}), diagnosis.ClusterDomain, []string{`PODFQDN_CLUSTER_DOMAIN="cluster.lokal"`}},
		"nothing says what": {wired("nope.db.default.svc.cluster.local"), diagnosis.Misconfigured, []string{`claims "nope.db.default.svc.cluster.local"`, `the Pod is "db-0.db.default.svc.cluster.local"`}},
		"the name's form":   {wired("10-244-0-17.db.default.svc.cluster.local"), diagnosis.Misconfigured, []string{`claims "10-244-0-17.db`}},
	} {
		v := situation{services: true, slices: true, corefile: allZones, pod: func(p *corev1.PodSpec) {
			p.InitContainers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{}}}
		}}.view()
		v.slices[0].CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
		causes := v.Causes(c.wire)
		if len(causes) != 1 || causes[0].Kind != c.kind || causes[0].Guess || causes[0].Command != "" {
			t.Errorf("%s: %+v", name, causes)
			continue
		}
		for _, words := range c.words {
			if !strings.Contains(causes[0].Why+"\n"+causes[0].Change, words) {
				t.Errorf("%s: %q is missing: %+v", name, words, causes[0])
			}
		}
	}
}

// What a container says is in no command, unless the API has it.
func TestAServiceThatOnlyTheWireKnowsIsNotMade(t *testing.T) {
	t.Parallel()
	owner := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "db"}}
	wire := wired("db-0.evil.default.svc.cluster.local", diagnosis.Seen{Name: "governing Service", Value: "evil", From: "PODFQDN_SERVICE"})
	causes := situation{services: true, slices: true, corefile: allZones, owner: owner, pod: func(p *corev1.PodSpec) { p.Subdomain = "" }}.view().Causes(wire)
	for _, c := range causes {
		if strings.Contains(c.Command, "evil") {
			t.Errorf("%+v", c)
		}
	}
	if len(causes) == 0 || causes[0].Kind != diagnosis.NoSubdomain || !strings.Contains(causes[0].Command, `"subdomain":"db"`) {
		t.Errorf("%+v", causes)
	}
}

// CoreDNS is blamed only for the name that the slice publishes.
func TestADenialOfAnotherNameDoesNotProveThatCoreDNSIsBehind(t *testing.T) {
	t.Parallel()
	v := situation{services: true, slices: true, corefile: allZones, pod: func(p *corev1.PodSpec) { p.Hostname = "" }}.view()
	v.slices[0].CreationTimestamp, v.slices[0].Endpoints[0].Hostname = metav1.NewTime(time.Now().Add(-time.Hour)), nil
	causes := v.Causes(wired(podfqdnsName))
	if len(causes) != 1 || causes[0].Kind != diagnosis.NoHostname {
		t.Errorf("%+v", causes)
	}
}

func TestTheKubeletIsBlamedOnlyForWhatItSays(t *testing.T) {
	t.Parallel()
	v := situation{corefile: allZones, pod: func(p *corev1.PodSpec) {
		p.DNSConfig = &corev1.PodDNSConfig{Searches: []string{"default.svc.cluster.lokal"}}
	}}.view()
	causes := v.Causes(wired("db-0.db.default.svc.cluster.lokal"))
	if len(causes) == 0 || causes[0].Kind != diagnosis.ClusterDomain || !strings.Contains(causes[0].Why, "spec.dnsConfig.searches") || causes[0].Command != "" {
		t.Errorf("%+v", causes)
	}
}

// A reference to what is not set stays as it is (kubelet, expansion.go).
func TestAReferenceToNothingStaysAsItIs(t *testing.T) {
	t.Parallel()
	late := []corev1.EnvVar{literal("PODFQDN_HOSTNAME", "$(POD_NAME)"), field("POD_NAME", "metadata.name")}
	causes := situation{services: true, slices: true, corefile: allZones, env: late}.view().Causes(nil)
	if len(causes) != 1 || !strings.Contains(causes[0].Why, `PODFQDN_HOSTNAME="$(POD_NAME)", which refers to a variable that is not set before it`) {
		t.Errorf("%+v", causes)
	}
	for name, s := range map[string]situation{
		"a ConfigMap may set it": {pod: func(p *corev1.PodSpec) { p.InitContainers[0].EnvFrom = make([]corev1.EnvFromSource, 1) }, env: late[:1]},
		"the kubelet may":        {env: []corev1.EnvVar{literal("PODFQDN_HOSTNAME", "$(DB_SERVICE_HOST)")}},
	} {
		if value, _, known := s.view().told("PODFQDN_HOSTNAME"); known {
			t.Errorf("%s: %q", name, value)
		}
	}
}

func TestAWholeNameThatIsNotAPodsIsReported(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"db.default.svc.cluster.local", "db-0.db.default", "db-0.db.default.cluster.local", "10-244-0-17.default.pod.cluster.local."} {
		causes := situation{services: true, slices: true, corefile: allZones, env: []corev1.EnvVar{literal("PODFQDN_FQDN", name)}}.view().Causes(asked(identity.Shared))
		if len(causes) != 1 || causes[0].Kind != diagnosis.Misconfigured || causes[0].Guess || !strings.Contains(causes[0].Why, "is not the name of a Pod") || !strings.Contains(causes[0].Why, "begins with db-0.db.default.svc.") {
			t.Errorf("%s: %+v", name, causes)
		}
	}
	rewrites := strings.Replace(allZones, "kubernetes", "rewrite name a b\n kubernetes", 1)
	causes := situation{services: true, slices: true, corefile: rewrites, env: []corev1.EnvVar{literal("PODFQDN_FQDN", "db.cluster.local")}}.view().Causes(nil)
	if len(causes) != 1 || !causes[0].Guess || causes[0].Command != "" {
		t.Errorf("%+v", causes)
	}
}

// What is wrong and does not decide the name is said after what does.
func TestAWrongPodNameOrUIDIsSaidAsAnAside(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env   corev1.EnvVar
		words string
	}{
		"a name":                {literal("POD_NAME", "db-1"), `POD_NAME="db-1", but the Pod's metadata.name is "db-0"`},
		"a name of a namespace": {field("POD_NAME", "metadata.namespace"), `POD_NAME="default", from metadata.namespace, but`},
		"a UID":                 {field("POD_UID", "metadata.name"), `POD_UID="db-0", from metadata.name, but the Pod's metadata.uid is "1"`},
	} {
		s := situation{services: true, slices: true, corefile: allZones, env: []corev1.EnvVar{c.env}, service: func(s *corev1.ServiceSpec) { s.Selector = map[string]string{"app": "x"} }}
		causes := s.view().Causes(nil)
		if len(causes) != 2 || causes[0].Kind != diagnosis.SelectorMismatch || !causes[1].Guess || causes[1].Command != "" || !strings.Contains(causes[1].Why, c.words) {
			t.Errorf("%s: %+v", name, causes)
		}
	}
}

func TestAVariableOfPodfqdnInAnotherContainerIsSeen(t *testing.T) {
	t.Parallel()
	with := func(own []corev1.EnvVar, others ...corev1.EnvVar) []diagnosis.Cause {
		return situation{services: true, slices: true, corefile: allZones, env: own, pod: func(p *corev1.PodSpec) {
			p.Containers = []corev1.Container{{Name: "app", Env: others}}
		}}.view().Causes(nil)
	}
	ignore := literal("PODFQDN_REVERSE", "ignore")
	if causes := with(nil, ignore); !strings.Contains(causes[len(causes)-1].Why, `container "app" has the variable PODFQDN_REVERSE, which podfqdn reads in container "podfqdn" only`) || !causes[len(causes)-1].Guess {
		t.Errorf("%+v", causes)
	}
	for _, causes := range [][]diagnosis.Cause{with([]corev1.EnvVar{ignore}, ignore), with(nil, literal("PODFQDN_DIR", "/id"), literal("POD_NAMESPACE", "x"))} {
		if len(causes) != 1 || causes[0].Kind != diagnosis.Unexplained {
			t.Errorf("%+v", causes)
		}
	}
}

// A sidecar without a probe is ready as soon as it runs.
func TestASidecarWithoutAProbeHasProvenNothing(t *testing.T) {
	t.Parallel()
	v := situation{services: true, slices: true, corefile: allZones, env: []corev1.EnvVar{literal("PODFQDN_HOSTNAME", "nope")}}.view()
	v.State = Running
	for _, wire := range []*diagnosis.Diagnosis{nil, wired("nope.db.default.svc.cluster.local")} {
		if causes := v.Causes(wire); len(causes) != 1 || causes[0].Kind != diagnosis.Misconfigured {
			t.Errorf("%+v", causes)
		}
	}
}

func TestAPodOfTheNodesNetworkMayBeToldByAConfigMap(t *testing.T) {
	t.Parallel()
	v := situation{pod: func(p *corev1.PodSpec) {
		p.HostNetwork, p.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet
		p.InitContainers[0].EnvFrom = make([]corev1.EnvFromSource, 1)
	}}.view()
	if causes := v.Causes(nil); len(causes) != 1 || !causes[0].Guess || causes[0].Command != "" {
		t.Errorf("%+v", causes)
	}
	for _, cause := range v.Causes(wired(podfqdnsName)) {
		if cause.Kind == diagnosis.HostNetwork {
			t.Errorf("podfqdn has told its name, and %+v", cause)
		}
	}
}

// A refusal is said next to what else is wrong, and not twice.
func TestARefusalIsNotHidden(t *testing.T) {
	t.Parallel()
	wrong := func(s *corev1.ServiceSpec) { s.Selector = map[string]string{"app": "x"} }
	said := func(state State, reason string) []diagnosis.Cause {
		v := situation{services: true, slices: true, service: wrong, env: []corev1.EnvVar{literal("POD_NAMESPACE", "sree")}}.view()
		v.State, v.code, v.Reason = state, exitRefused, reason
		return v.Causes(nil)
	}
	const timeout = `PODFQDN_TIMEOUT="x": must be a time with a unit`
	for _, causes := range [][]diagnosis.Cause{said(Refused, timeout), said(Waiting, "before that: "+timeout)} {
		if len(causes) != 3 || causes[1].Why != `PODFQDN_TIMEOUT="x"` || causes[2].Kind != diagnosis.SelectorMismatch {
			t.Errorf("%+v", causes)
		}
	}
	for _, reason := range []string{`POD_NAMESPACE="sree": x`, "this Pod has no governing Service: set spec.subdomain"} {
		if causes := said(Refused, reason); len(causes) != 2 {
			t.Errorf("%+v", causes)
		}
	}
}

// What to change is cut off only where it is surely that.
func TestSeveralRefusalsAreNotCutInTwo(t *testing.T) {
	t.Parallel()
	const one, two = "PODFQDN_FORWRD is not a variable of podfqdn: did you mean PODFQDN_FORWARD?", "PODFQDN_TIMOUT is not a variable of podfqdn: did you mean PODFQDN_TIMEOUT?"
	for reason, want := range map[string][2]string{
		one:              {"PODFQDN_FORWRD is not a variable of podfqdn", "did you mean PODFQDN_FORWARD?"},
		one + "; " + two: {one + "; " + two, "fix what podfqdn reports; `kubectl --namespace default logs db-0 --container podfqdn` shows all of it"},
		`exec has no option "-x": write podfqdn exec COMMAND; settings are variables`: {`exec has no option "-x"`, "write podfqdn exec COMMAND; settings are variables"},
	} {
		v := situation{services: true, slices: true}.view()
		v.State, v.code, v.Reason = Refused, exitRefused, reason
		if causes := v.Causes(nil); len(causes) != 1 || causes[0].Why != want[0] || causes[0].Change != want[1] {
			t.Errorf("%s: %+v", reason, causes)
		}
	}
}

func TestWhatAgreesWithThePodIsNotBlamed(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]corev1.EnvVar{
		"nothing":          nil,
		"all of it":        {literal("POD_NAMESPACE", "default"), literal("PODFQDN_SERVICE", "db"), literal("PODFQDN_HOSTNAME", "DB-0"), literal("POD_IPS", "10.244.0.17")},
		"fields":           {field("POD_NAMESPACE", "metadata.namespace"), field("PODFQDN_HOSTNAME", "metadata.name"), field("POD_IPS", "status.podIPs")},
		"references":       {field("POD_NAME", "metadata.name"), literal("PODFQDN_HOSTNAME", "$(POD_NAME)")},
		"a ConfigMap":      {{Name: "POD_NAMESPACE", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: "n"}}}},
		"a name elsewhere": {literal("PODFQDN_FQDN", "kafka-0.example.org")},
		"the whole name":   {literal("PODFQDN_FQDN", "db-0.db.default.svc.cluster.local.")},
	} {
		for _, cause := range (situation{services: true, slices: true, corefile: allZones, env: env}).view().Causes(nil) {
			if cause.Kind != diagnosis.Unexplained {
				t.Errorf("%s: %+v", name, cause)
			}
		}
	}
}

func TestASlipOfThePrefixIsSeen(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"POD_FQDN_TIMEOUT": "PODFQDN_TIMEOUT", "PODFDQN_TIMEOUT": "PODFQDN_TIMEOUT", "podfqdn_timeout": "PODFQDN_TIMEOUT", "PODFQDN-DIR": "PODFQDN_DIR",
		"POD_SERVICE": "PODFQDN_SERVICE", "PODNAMESPACE": "POD_NAMESPACE", "FQDN_REVERSE": "PODFQDN_REVERSE",
		"TIMEOUT": "", "PATH": "", "POD_LABEL": "", "KUBERNETES_SERVICE_HOST": "", "POD_FQDN": "PODFQDN_FQDN", "MY_TIMEOUT": "",
	} {
		if got := meant(name); got != want {
			t.Errorf("%s is a slip of %q, not of %q", name, got, want)
		}
	}
	v := situation{services: true, slices: true, corefile: allZones, env: []corev1.EnvVar{literal("POD_FQDN_TIMEOUT", "1m")}}.view()
	causes := v.Causes(nil)
	if last := causes[len(causes)-1]; !last.Guess || !strings.Contains(last.Why, "POD_FQDN_TIMEOUT") || !strings.Contains(last.Change, "PODFQDN_TIMEOUT") {
		t.Errorf("%+v", causes)
	}
	if !slices.ContainsFunc(v.Facts(), func(f diagnosis.Seen) bool { return f.Name == "POD_FQDN_TIMEOUT" }) {
		t.Errorf("no fact names it: %+v", v.Facts())
	}
}

func TestTheRecordOfAPodThatLivesIsNotAnEarlierPods(t *testing.T) {
	t.Parallel()
	v := situation{services: true, slices: true, corefile: allZones, env: []corev1.EnvVar{literal("PODFQDN_FQDN", "kafka-1.example.org")}}.view()
	v.slices[0].Endpoints = append(v.slices[0].Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.244.0.18"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "db-1", UID: "2"}})
	wire := &diagnosis.Diagnosis{Schema: 1, Verdict: identity.Stale, Questions: []diagnosis.Asked{{Kind: "A", Answer: "10.244.0.18", Verdict: identity.Stale}},
		Causes: []diagnosis.Cause{{Kind: diagnosis.StaleRecord, Why: "an earlier Pod's", Change: "it passes", Guess: true}}}
	causes := v.Causes(wire)
	if len(causes) != 1 || causes[0].Kind != diagnosis.Misconfigured || !strings.Contains(causes[0].Why, `Pod "db-1", which is alive`) || strings.Contains(causes[0].Change, "it passes") {
		t.Errorf("%+v", causes)
	}
	v.slices[0].Endpoints = v.slices[0].Endpoints[:1] // db-1 is gone
	if causes := v.Causes(wire); len(causes) != 1 || causes[0].Kind != diagnosis.StaleRecord {
		t.Errorf("%+v", causes)
	}
}

func TestARefusalNamesWhatToChange(t *testing.T) {
	t.Parallel()
	v := situation{services: true, slices: true, corefile: allZones}.view()
	v.State, v.code, v.Reason = Refused, exitRefused, `PODFQDN_TIMEOUT="x": must be a time with a unit`
	if c := v.Causes(nil)[0]; c.Why != `PODFQDN_TIMEOUT="x"` || c.Change != `the variable PODFQDN_TIMEOUT of container "podfqdn": it must be a time with a unit` {
		t.Errorf("%+v", c)
	}
}

// Nameservers that a variable gives are compared with cluster DNS. Others may know the cluster too, as a cache on the
// node does, so only what they say makes it a fact.
func TestNameserversOfAVariableAreComparedWithClusterDNS(t *testing.T) {
	t.Parallel()
	foreign := asked(identity.ForeignServer)
	foreign.Causes = []diagnosis.Cause{{Kind: diagnosis.ForeignDNS, Why: "192.0.2.53 does not know kubernetes.default.svc.cluster.local either"}}
	for value, c := range map[string]struct {
		wire  *diagnosis.Diagnosis
		found bool
		guess bool
	}{
		"10.96.0.10":            {nil, false, false},
		"192.0.2.53":            {nil, true, true},
		"192.0.2.53,192.0.2.54": {foreign, true, false},
	} {
		v := situation{services: true, slices: true, corefile: allZones, env: []corev1.EnvVar{literal("PODFQDN_NAMESERVERS", value)}}.view()
		v.dns.addrs = addrsIn("10.96.0.10")
		causes := v.Causes(c.wire)
		i := slices.IndexFunc(causes, func(c diagnosis.Cause) bool { return c.Kind == diagnosis.ForeignDNS })
		if (i >= 0) != c.found {
			t.Errorf("%s: %+v", value, causes)
			continue
		}
		if i >= 0 && (causes[i].Guess != c.guess || !strings.Contains(causes[i].Why, fmt.Sprintf("PODFQDN_NAMESERVERS=%q: none of these is cluster DNS, 10.96.0.10", value))) {
			t.Errorf("%s: %+v", value, causes[i])
		}
	}
}

// What the Pod's doctor compares with its own files, the API has compared with the Pod.
func TestAVariableThatTheAPIShowsToBeWrongIsSaidOnce(t *testing.T) {
	t.Parallel()
	wire := asked(identity.Missing)
	wire.Causes = []diagnosis.Cause{{Kind: diagnosis.Misconfigured, Guess: true, Why: `POD_NAMESPACE says "prod", but /etc/hosts, which the kubelet writes, says "default"`}}
	v := situation{services: true, slices: true, corefile: allZones, env: []corev1.EnvVar{literal("POD_NAMESPACE", "prod")}}.view()
	if causes := v.Causes(wire); len(causes) != 1 || causes[0].Guess || !strings.HasPrefix(causes[0].Why, `POD_NAMESPACE="prod"`) {
		t.Errorf("%+v", causes)
	}
}
