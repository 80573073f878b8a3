package kube

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// waiter is a Pod without a name of its own, whose init container waits for others.
func waiter(args ...string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-x", Namespace: "default", UID: "1", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst,
			InitContainers: []corev1.Container{{Name: "wait", Image: "podfqdn:dev", Args: append([]string{"wait"}, args...)}},
			Containers:     []corev1.Container{{Name: "app", Image: "my-server:1.0"}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, PodIPs: []corev1.PodIP{{IP: "10.244.0.17"}}, InitContainerStatuses: []corev1.ContainerStatus{
			{Name: "wait", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}}
}

// around returns what the API shows around a waiter: kafka with a cluster address, zk
// headless, and of its Pods zk-0 alone.
func around(p *corev1.Pod) *View {
	labels := map[string]string{"app": "zk"}
	hostname, ready := "zk-0", true
	v := viewOf(p, []corev1.Service{
		{ObjectMeta: metav1.ObjectMeta{Name: "kafka", Namespace: "default"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.1.1", Selector: map[string]string{"app": "kafka"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "zk", Namespace: "default"}, Spec: corev1.ServiceSpec{ClusterIP: "None", Selector: labels, PublishNotReadyAddresses: true}},
		{ObjectMeta: metav1.ObjectMeta{Name: "late", Namespace: "default"}, Spec: corev1.ServiceSpec{ClusterIP: "None", Selector: map[string]string{"app": "late"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "none", Namespace: "default"}, Spec: corev1.ServiceSpec{ClusterIP: "None", Selector: map[string]string{"app": "none"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "away", Namespace: "default"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.org"}},
	}, nil, nil, []discoveryv1.EndpointSlice{
		{ObjectMeta: metav1.ObjectMeta{Name: "zk-a", Labels: map[string]string{discoveryv1.LabelServiceName: "zk"}}, Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.0.31"}, Hostname: &hostname, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "late-a", Labels: map[string]string{discoveryv1.LabelServiceName: "late"}}, Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.0.32"}, Conditions: discoveryv1.EndpointConditions{Ready: new(bool)}}}},
	}, nil, allZones)
	v.peers["zk-1"] = nil
	service := corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "mq", Namespace: "other"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.1.2"}}
	v.far = map[seat]far{{service: "mq", namespace: "other"}: {service: &service}, {service: "gone", namespace: "other"}: {}, {service: "example", namespace: "com"}: {}}
	return v
}

func TestOfEachNameThatIsWaitedForTheAPISaysWhatItLacks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		want string // a ? begins a guess
	}{
		{"nowhere", `the API shows 0 of 1 needed names; nowhere: there is no Service "nowhere" in namespace "default"`},
		{"kafka", `?the API shows 1 of 1 needed names; kafka: the API shows it, but DNS does not show it yet`},
		{"kafka nowhere", `the API shows 1 of 2 needed names; kafka: the API shows it; nowhere: there is no Service "nowhere" in namespace "default"`},
		{"--for majority kafka nowhere no", `the API shows 1 of 2 needed names; kafka: the API shows it; nowhere: there is no Service "nowhere" in namespace "default"; no: there is no Service "no" in namespace "default"`},
		{"--for=1 kafka nowhere", `?the API shows 1 of 1 needed names; kafka: the API shows it, but DNS`},
		{"-for 2 -- kafka nowhere nowhere", `the API shows 1 of 2 needed names; kafka: the API shows it; nowhere: `},
		{"zk", `?the API shows 1 of 1 needed names; zk: `},
		{"late", `the API shows 0 of 1 needed names; late: Service "late" in namespace "default" is headless and has no Pod that is Ready, and does not have publishNotReadyAddresses: true`},
		{"none", `the API shows 0 of 1 needed names; none: Service "none" in namespace "default" is headless and has no Pod with an address; it selects app=none`},
		{"away", `the API shows 0 of 1 needed names; away: Service "away" in namespace "default" has type ExternalName, so the API shows nothing about "example.org"`},
		{"zk-{0..2}.zk", `the API shows 1 of 3 needed names; zk-0.zk: the API shows it; zk-1.zk: there is no such Pod; zk-2.zk: no EndpointSlice of Service "zk" publishes it`},
		{"zk-0.zk.default zk-1.zk.default.svc zk-2.zk.default.svc.cluster.local.", `the API shows 1 of 3 needed names; zk-0.zk.default: the API shows it; zk-1.zk.default.svc: there is no such Pod; zk-2.zk.default.svc.cluster.local.: no EndpointSlice`},
		{"mq.other", `?the API shows 1 of 1 needed names; mq.other: the API shows it`},
		{"gone.other", `the API shows 0 of 1 needed names; gone.other: there is no Service "other" in namespace "default" and no Service "gone" in namespace "other"; the API shows nothing about a name outside the cluster`},
		{"gone.other.svc", `the API shows 0 of 1 needed names; gone.other.svc: there is no Service "gone" in namespace "other"`},
		{"kafka.unread", `?the API shows 0 of 1 needed names; kafka.unread: not looked at`},
		{"db.example.com", `the API shows 0 of 1 needed names; db.example.com: there is no Service "example" in namespace "com"; the API shows nothing about a name outside`},
		{"a.b.example.com other.", `?the API shows 0 of 2 needed names; a.b.example.com and other.: not a name of this cluster, so the API shows nothing about it`},
	} {
		causes := around(waiter(strings.Fields(c.args)...)).Causes(nil)
		if len(causes) != 1 || causes[0].Kind != diagnosis.PeersMissing || causes[0].Command != "" ||
			!strings.HasPrefix(either(causes[0].Guess, "?", "")+strings.TrimPrefix(causes[0].Why, "podfqdn waits, and "), c.want) {
			t.Errorf("wait %s: %+v", c.args, causes)
		}
	}
}

// What waits for others needs no name itself.
func TestAContainerThatWaitsIsJudgedByItsWaitAlone(t *testing.T) {
	t.Parallel()
	ended := func(code int32, message string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: message}}
	}
	for name, c := range map[string]struct {
		change func(*corev1.Pod, *corev1.Container)
		state  State
		want   string
		words  []string
	}{
		"it waits":   {func(*corev1.Pod, *corev1.Container) {}, Waiting, "peers-missing", nil},
		"it is over": {func(p *corev1.Pod, _ *corev1.Container) { p.Status.InitContainerStatuses[0].State = ended(0, "") }, Published, "", nil},
		"it gave up": {func(p *corev1.Pod, _ *corev1.Container) {
			p.Status.InitContainerStatuses[0].State = ended(15, "gave up after 15m: 0 of 1 needed names are in DNS; missing: nowhere")
		}, GaveUp, "peers-missing", []string{"last message: gave up after 15m: 0 of 1 needed names are in DNS; missing: nowhere; now the API shows 0 of 1"}},
		"it refused": {func(p *corev1.Pod, _ *corev1.Container) {
			p.Status.InitContainerStatuses[0].State = ended(10, "wait needs a name: write podfqdn wait [--for all|majority|N] NAME...")
		}, Refused, "configuration", []string{"wait needs a name", "write podfqdn wait"}},
		"by podfqdn's path in another image": {func(_ *corev1.Pod, c *corev1.Container) {
			c.Image, c.Command, c.Args = "my-server:1.0", []string{"/tools/podfqdn", "wait", "nowhere"}, nil
		}, Waiting, "peers-missing", []string{"nowhere: there is no Service"}},
		"by a shell": {func(_ *corev1.Pod, c *corev1.Container) {
			c.Image, c.Command, c.Args = "my-server:1.0", []string{"sh", "-c", `/tools/podfqdn wait "nowhere" && exec /server`}, nil
		}, Waiting, "peers-missing", []string{"nowhere: there is no Service", "0 of 1 needed"}},
		"by a variable": {func(_ *corev1.Pod, c *corev1.Container) {
			c.Args, c.Env = []string{"wait", "$(OTHER)"}, []corev1.EnvVar{literal("OTHER", "nowhere")}
		}, Waiting, "peers-missing", []string{"nowhere: there is no Service"}},
		"by a variable that is not read": {func(_ *corev1.Pod, c *corev1.Container) {
			c.Args, c.EnvFrom = []string{"wait", "$(OTHER)"}, []corev1.EnvFromSource{{}}
		}, Waiting, "unexplained?", nil},
		"as the only container": {func(p *corev1.Pod, c *corev1.Container) {
			p.Spec.Containers, p.Spec.InitContainers = []corev1.Container{*c}, nil
			p.Status.ContainerStatuses, p.Status.InitContainerStatuses = p.Status.InitContainerStatuses, nil
			p.Status.ContainerStatuses[0].Ready, p.Status.ContainerStatuses[0].Started = true, new(true)
		}, Waiting, "peers-missing", nil},
		"wait as a command": {func(p *corev1.Pod, c *corev1.Container) {
			c.Command, c.Args = []string{"wait", "kafka"}, nil
			p.Status.InitContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError",
				Message: `exec: "wait": executable file not found in $PATH`}}
		}, Failed, "binary-missing", []string{`its command, ["wait","kafka"], replaces podfqdn`, `no command, and args: ["wait","kafka"]`}},
		"a shell in podfqdn's image": {func(p *corev1.Pod, c *corev1.Container) {
			c.Command, c.Args = []string{"sh", "-c", "podfqdn wait kafka"}, nil
			p.Status.InitContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "RunContainerError",
				Message: `exec: "sh": executable file not found in $PATH`}}
		}, Pending, "binary-missing", []string{"which has no shell", `no command, and args: ["wait","kafka"]`}},
		"an image that is not there": {func(p *corev1.Pod, _ *corev1.Container) {
			p.Status.InitContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}
		}, Pending, "unexplained", []string{"podfqdn has not started: ImagePullBackOff"}},
		"dnsPolicy": {func(p *corev1.Pod, _ *corev1.Container) { p.Spec.DNSPolicy = corev1.DNSDefault }, Waiting, "dns-policy peers-missing", nil},
	} {
		p := waiter("nowhere")
		c.change(p, &p.Spec.InitContainers[0])
		v := around(p).Each()[0]
		causes := v.Causes(nil)
		if got := kindsOf(causes); got != c.want || v.State != c.state || v.Healthy != (c.want == "") {
			t.Errorf("%s: %s, %s, healthy: %v: %+v", name, v.State, got, v.Healthy, causes)
			continue
		}
		for _, words := range c.words {
			if !strings.Contains(causes[0].Why+"\n"+causes[0].Change, words) {
				t.Errorf("%s: %q is missing: %+v", name, words, causes[0])
			}
		}
	}
}

func TestAContainerThatAWaitHoldsBackIsNotBlamed(t *testing.T) {
	t.Parallel()
	p := waiter("nowhere")
	p.Spec.Hostname, p.Spec.Subdomain = "web-x", "web"
	p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: "name", Image: "podfqdn:dev", Env: []corev1.EnvVar{literal("PODFQDN_PEERS", "web-{x,y}")}})
	p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, corev1.ContainerStatus{Name: "name", State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}})
	all := around(p).Each()
	if len(all) != 2 || all[0].Container != "wait" || kindsOf(all[0].Causes(nil)) != "peers-missing" {
		t.Fatalf("%+v", all[0].Causes(nil))
	}
	// That its own Service is missing is a fact, and that it has not begun is not a fault.
	if got := kindsOf(all[1].Causes(nil)); got != "service-missing" {
		t.Errorf("held back: %s", got)
	}
	p.Status.InitContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	if got := kindsOf(around(p).Each()[0].Causes(nil)); got != "service-missing" {
		t.Errorf("the wait is over: %s", got)
	}
}
