package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// View is all that the API tells of one Pod's name, at one moment.
type View struct {
	Use
	// Lacks are the rights without which something was not seen, each once.
	Lacks []Right
	// Trouble is what went wrong otherwise, beside it: one sentence each.
	Trouble []string

	kubectl string
	pod     *corev1.Pod
	podfqdn part // the zero value where there is none
	owner   owner
	claim   claim

	services map[string]corev1.Service // nil: not seen
	slices   []discoveryv1.EndpointSlice
	sliced   bool // slices were seen
	policies []networkingv1.NetworkPolicy
	policed  bool                   // policies were seen
	peers    map[string]*corev1.Pod // others that have the name, as the slices say; nil for one that is gone
	dns      clusterDNS
}

// owner is what made the Pod, and where its spec can be changed.
type owner struct {
	kind, name  string // "" for a Pod by itself
	selector    map[string]string
	replicas    int32
	deployment  *appsv1.Deployment
	statefulSet *appsv1.StatefulSet
}

// claim is the name that podfqdn claims, as far as the Pod's spec tells it.
type claim struct {
	hostname string // the first label; "" if DNS makes it of the address, or nobody says
	service  string
	dashed   bool // PODFQDN_NAME_FORM=address
	foreign  bool // PODFQDN_FQDN is a name that Kubernetes does not make here
}

// clusterDNS is what answers.
type clusterDNS struct {
	addrs     []netip.Addr // of its Service
	name      string       // of its Deployment; "" if not seen
	want      int32
	ready     int32
	configMap string
	text      string // the Corefile; "" if not seen
	corefile  corefile
}

// system is the namespace of cluster DNS.
const system = "kube-system"

// Look reads what the API knows of a Pod. The error is a *NotFound, a
// *Forbidden if not even the Pod may be read, or what the API server or the
// network says. What else may not be read is in the View.
func (c *Client) Look(ctx context.Context, namespace, pod string) (*View, error) {
	v := &View{kubectl: c.Kubectl, pod: &corev1.Pod{}, peers: map[string]*corev1.Pod{}}
	err := c.read(ctx, Right{Verb: "get", Resource: "pods", Namespace: namespace, Name: pod}, "", v.pod)
	if apierrors.IsNotFound(err) {
		return nil, c.absent(ctx, namespace, pod)
	}
	if err != nil {
		return nil, err
	}
	v.Use = use(v.pod)
	v.podfqdn, _ = find(v.pod)
	if v.State == Unused && v.pod.Spec.Subdomain == "" {
		return nil, &NotFound{fmt.Sprintf("Pod %+q has no container of podfqdn's, and no spec.subdomain: it has no name to examine; `kubectl podfqdn doctor -A` lists the Pods that have", pod)}
	}
	v.claim = v.claims()
	for _, look := range []func(context.Context, *Client) error{v.lookOwner, v.lookServices, v.lookSlices, v.lookPeers, v.lookPolicies, v.lookDNS} {
		if err := v.pass(look(ctx, c)); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// pass takes note of a right that is missing, of a list that is, and of an
// object that is not there.
func (v *View) pass(err error) error {
	var forbidden *Forbidden
	switch {
	case errors.As(err, new(unserved)):
		v.Trouble = append(v.Trouble, err.Error())
		return nil
	case errors.As(err, &forbidden):
		if !slices.ContainsFunc(v.Lacks, func(r Right) bool { r.Name = forbidden.Name; return r == forbidden.Right }) {
			v.Lacks = append(v.Lacks, forbidden.Right)
		}
		return nil
	case apierrors.IsNotFound(err):
		return nil
	}
	return err
}

// variable gives one of podfqdn's variables; told is true also where it comes
// from a field or a ConfigMap, which value does not say.
func (v *View) variable(name string) (value string, told bool) {
	for _, e := range v.podfqdn.Env {
		if e.Name == name {
			return e.Value, e.Value != "" || e.ValueFrom != nil
		}
	}
	return "", false
}

// naming gives the variable that decides a part of the name, and its value:
// PODFQDN_FQDN, which decides all of it, or the part's own.
func (v *View) naming(part string) (name, value string) {
	if fqdn, _ := v.variable("PODFQDN_FQDN"); fqdn != "" {
		return "PODFQDN_FQDN", fqdn
	}
	value, _ = v.variable(part)
	return part, value
}

// claims reads the claim off the Pod's spec, as identity.Facts.Claim does it
// from within.
func (v *View) claims() claim {
	c := claim{hostname: v.pod.Spec.Hostname, service: v.pod.Spec.Subdomain}
	if h, _ := v.variable("PODFQDN_HOSTNAME"); h != "" {
		c.hostname = h
	}
	if s, _ := v.variable("PODFQDN_SERVICE"); s != "" {
		c.service = s
	}
	if form, _ := v.variable("PODFQDN_NAME_FORM"); form == "address" {
		c.dashed, c.hostname = true, ""
	}
	if fqdn, _ := v.variable("PODFQDN_FQDN"); fqdn != "" {
		labels := strings.SplitN(strings.ToLower(strings.TrimSuffix(fqdn, ".")), ".", 5)
		if len(labels) < 5 || labels[3] != "svc" || labels[2] != v.Namespace {
			return claim{foreign: true}
		}
		c.hostname, c.service, c.dashed = labels[0], labels[1], false
	}
	return c
}

func (v *View) lookOwner(ctx context.Context, c *Client) error {
	ref := metav1.GetControllerOf(v.pod)
	if ref == nil {
		return nil
	}
	v.owner.kind, v.owner.name = ref.Kind, ref.Name
	get := Right{Verb: "get", Group: appsv1.GroupName, Namespace: v.Namespace, Name: ref.Name}
	switch ref.Kind {
	case "StatefulSet":
		get.Resource = "statefulsets"
		set := &appsv1.StatefulSet{}
		if err := c.read(ctx, get, "", set); err != nil {
			return err
		}
		v.owner.statefulSet, v.owner.replicas = set, wanted(set.Spec.Replicas)
		v.owner.selector = selected(set.Spec.Selector)
	case "ReplicaSet":
		get.Resource = "replicasets"
		set := &appsv1.ReplicaSet{}
		err := c.read(ctx, get, "", set)
		if err := v.pass(err); err != nil {
			return err
		}
		hash := v.pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		switch ref = metav1.GetControllerOf(set); {
		case err != nil && hash != "": // a Deployment names its ReplicaSets so
			get.Name = strings.TrimSuffix(get.Name, "-"+hash)
		case ref == nil || ref.Kind != "Deployment":
			return nil
		default:
			get.Name = ref.Name
		}
		get.Resource = "deployments"
		v.owner.kind, v.owner.name = "Deployment", get.Name
		d := &appsv1.Deployment{}
		if err := c.read(ctx, get, "", d); err != nil {
			return err
		}
		v.owner.deployment, v.owner.replicas = d, wanted(d.Spec.Replicas)
		v.owner.selector = selected(d.Spec.Selector)
	}
	return nil
}

// wanted gives spec.replicas; the API server writes 1 where nobody did.
func wanted(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

// selected gives the labels that a selector fixes.
func selected(s *metav1.LabelSelector) map[string]string {
	if s == nil {
		return nil
	}
	all := maps.Clone(s.MatchLabels)
	for _, e := range s.MatchExpressions {
		if all == nil {
			all = map[string]string{}
		}
		all[e.Key] = ""
	}
	return all
}

func (v *View) lookServices(ctx context.Context, c *Client) error {
	var list corev1.ServiceList
	if err := c.read(ctx, Right{Verb: "list", Resource: "services", Namespace: v.Namespace}, "", &list); err != nil {
		return err
	}
	v.services = map[string]corev1.Service{}
	for _, s := range list.Items {
		v.services[s.Name] = s
	}
	return nil
}

func (v *View) lookSlices(ctx context.Context, c *Client) error {
	var list discoveryv1.EndpointSliceList
	if err := c.read(ctx, Right{Verb: "list", Group: discoveryv1.GroupName, Resource: "endpointslices", Namespace: v.Namespace}, "", &list); err != nil {
		return err
	}
	v.slices, v.sliced = list.Items, true
	return nil
}

// lookPeers reads the Pods that have the same name in DNS, at most six.
func (v *View) lookPeers(ctx context.Context, c *Client) error {
	for _, e := range v.sharers() {
		name := e.pod()
		if _, seen := v.peers[name]; name == "" || seen || len(v.peers) == 6 {
			continue
		}
		peer := &corev1.Pod{}
		err := c.read(ctx, Right{Verb: "get", Resource: "pods", Namespace: v.Namespace, Name: name}, "", peer)
		if apierrors.IsNotFound(err) {
			v.peers[name] = nil
			continue
		}
		if err != nil {
			return err
		}
		v.peers[name] = peer
	}
	return nil
}

func (v *View) lookPolicies(ctx context.Context, c *Client) error {
	var list networkingv1.NetworkPolicyList
	if err := c.read(ctx, Right{Verb: "list", Group: networkingv1.GroupName, Resource: "networkpolicies", Namespace: v.Namespace}, "", &list); err != nil {
		return err
	}
	v.policies, v.policed = list.Items, true
	return nil
}

// lookDNS finds cluster DNS by the label that its Service has everywhere, and
// from there what runs it and its Corefile.
func (v *View) lookDNS(ctx context.Context, c *Client) error {
	var services corev1.ServiceList
	services.Items = []corev1.Service{{Spec: corev1.ServiceSpec{Selector: map[string]string{"k8s-app": "kube-dns"}}}}
	err := c.read(ctx, Right{Verb: "list", Resource: "services", Namespace: system}, "k8s-app=kube-dns", &services)
	if err := v.pass(err); err != nil {
		return err
	}
	var selector map[string]string // without the Service, as it is everywhere
	for _, s := range services.Items {
		for _, ip := range s.Spec.ClusterIPs {
			if addr, err := netip.ParseAddr(ip); err == nil { // not "None"
				v.dns.addrs = append(v.dns.addrs, addr)
			}
		}
		if selector == nil {
			selector = s.Spec.Selector
		}
	}
	if selector == nil {
		v.Trouble = append(v.Trouble, fmt.Sprintf("no Service in namespace %q has the label k8s-app=kube-dns: of cluster DNS nothing is known", system))
		return nil
	}
	var deployments appsv1.DeploymentList
	if err := v.pass(c.read(ctx, Right{Verb: "list", Group: appsv1.GroupName, Resource: "deployments", Namespace: system}, "", &deployments)); err != nil {
		return err
	}
	var pod corev1.PodSpec
	for _, d := range deployments.Items {
		if matches(selector, d.Spec.Template.Labels) {
			v.dns.name, v.dns.want, v.dns.ready = d.Name, wanted(d.Spec.Replicas), d.Status.ReadyReplicas
			pod = d.Spec.Template.Spec
			break
		}
	}
	// The ConfigMap that it mounts; kubeadm's where that is not seen.
	names := []string{"coredns"}
	for _, volume := range pod.Volumes {
		if volume.ConfigMap != nil {
			names = append([]string{volume.ConfigMap.Name}, names...)
		}
	}
	for _, name := range slices.Compact(names) {
		var m corev1.ConfigMap
		err := c.read(ctx, Right{Verb: "get", Resource: "configmaps", Namespace: system, Name: name}, "", &m)
		if err := v.pass(err); err != nil {
			return err
		}
		if text := m.Data["Corefile"]; text != "" {
			v.dns.configMap, v.dns.text, v.dns.corefile = name, text, parseCorefile(text)
			break
		}
	}
	return nil
}

// governing gives the Service that makes the claimed name.
func (v *View) governing() (corev1.Service, bool) {
	s, ok := v.services[v.claim.service]
	return s, ok && v.claim.service != ""
}

// endpoint is one of a slice, which says more of it.
type endpoint struct {
	discoveryv1.Endpoint
	slice   string
	service string
	v6      bool
}

// ready tells what DNS publishes: no word counts as yes (CoreDNS,
// plugin/kubernetes/object/endpoint.go).
func (e endpoint) ready() bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }

func (e endpoint) hostname() string {
	if e.Hostname == nil {
		return ""
	}
	return *e.Hostname
}

// pod gives the Pod's name; "" where there is none that can be one: nobody
// checks what a hand writes there.
func (e endpoint) pod() string {
	if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || len(validation.IsDNS1123Subdomain(e.TargetRef.Name)) > 0 {
		return ""
	}
	return e.TargetRef.Name
}

// endpoints gives those of one Service, or of all for "".
func (v *View) endpoints(service string) (all []endpoint) {
	for _, s := range v.slices {
		of := s.Labels[discoveryv1.LabelServiceName]
		if service != "" && of != service {
			continue
		}
		for _, e := range s.Endpoints {
			all = append(all, endpoint{e, s.Name, of, s.AddressType == discoveryv1.AddressTypeIPv6})
		}
	}
	return all
}

// own tells an endpoint of this Pod.
func (v *View) own(e endpoint) bool {
	if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
		return e.TargetRef.UID == v.pod.UID
	}
	return slices.ContainsFunc(v.addrs(), func(a netip.Addr) bool { return slices.Contains(e.Addresses, a.String()) })
}

// sharers gives the endpoints of other Pods that DNS publishes under this
// Pod's name.
func (v *View) sharers() (others []endpoint) {
	if v.claim.hostname == "" || v.claim.service == "" {
		return nil
	}
	for _, e := range v.endpoints(v.claim.service) {
		if e.hostname() == v.claim.hostname && e.ready() && !v.own(e) {
			others = append(others, e)
		}
	}
	return others
}

// addrs gives the Pod's addresses, as far as the API knows them.
func (v *View) addrs() (addrs []netip.Addr) {
	for _, ip := range v.pod.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// matches tells whether a Service's selector selects labels; none selects
// nothing.
func matches(selector, labels map[string]string) bool {
	for key, value := range selector {
		if got, ok := labels[key]; !ok || got != value {
			return false
		}
	}
	return len(selector) > 0
}

// selecting gives the Services that select the Pod, those without a cluster
// address first, in the order of their names.
func (v *View) selecting() (names []string) {
	for name, s := range v.services {
		if matches(s.Spec.Selector, v.pod.Labels) && s.Spec.Type != corev1.ServiceTypeExternalName {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(order(headless(v.services[b]), headless(v.services[a])), cmp.Compare(a, b))
	})
	return names
}

func headless(s corev1.Service) bool { return s.Spec.ClusterIP == corev1.ClusterIPNone }

// order puts false before true.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// isReady tells a Pod that is Ready.
func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Facts is what was seen, for people and programs.
func (v *View) Facts() []diagnosis.Seen {
	pod := fmt.Sprintf("Pod %+q", v.Pod)
	var facts []diagnosis.Seen
	see := func(name, from, format string, args ...any) {
		facts = append(facts, diagnosis.Seen{Name: name, Value: fmt.Sprintf(format, args...), From: from})
	}
	see("Pod", pod+", status", "%s", v.phase())
	see("addresses", pod+", status.podIPs", "%s", cmp.Or(identity.Enumerate(v.addrs()), "none yet"))
	see("hostname", pod+", spec.hostname", "%s", shown(v.pod.Spec.Hostname))
	see("subdomain", pod+", spec.subdomain", "%s", shown(v.pod.Spec.Subdomain))
	switch v.owner.kind {
	case "":
		see("owner", pod+", metadata.ownerReferences", "none")
	case "StatefulSet":
		if set := v.owner.statefulSet; set != nil {
			see("owner", "StatefulSet "+quoted(v.owner.name), "StatefulSet %+q, serviceName %s", v.owner.name, shown(set.Spec.ServiceName))
			break
		}
		fallthrough
	default:
		if d := v.owner.deployment; d != nil {
			see("owner", "Deployment "+quoted(v.owner.name), "Deployment %+q, %d replicas, strategy %s", v.owner.name, v.owner.replicas, d.Spec.Strategy.Type)
			break
		}
		see("owner", pod+", metadata.ownerReferences", "%s %+q", v.owner.kind, v.owner.name)
	}
	if v.Container != "" {
		see("podfqdn", pod+", status", "container %+q: %s", v.Container, v.Use.told())
	}
	if s, ok := v.governing(); ok {
		see("governing Service", "Service "+quoted(s.Name), "%s", describe(s))
	}
	for _, name := range v.selecting() {
		if s := v.services[name]; name != v.claim.service {
			when := "when the Pod is Ready"
			if s.Spec.PublishNotReadyAddresses {
				when = "from the start"
			}
			see("another Service", "Service "+quoted(name), "%s: gives the address a second name, %s, %s", describe(s), v.secondName(s), when)
		}
	}
	for _, e := range v.endpoints("") {
		if v.own(e) {
			see("endpoint", "EndpointSlice "+quoted(e.slice), "%s of Service %+q, hostname %s, %s",
				strings.Join(e.Addresses, " "), e.service, shown(e.hostname()), map[bool]string{true: "published", false: "not published: not ready"}[e.ready()])
		}
	}
	if v.dns.name != "" {
		see("cluster DNS", "Deployment "+quoted(v.dns.name), "%d of %d ready, at %s", v.dns.ready, v.dns.want, identity.Enumerate(v.dns.addrs))
	}
	if v.dns.text != "" {
		see("zones", "ConfigMap "+quoted(v.dns.configMap), "%s", strings.Join(slices.Concat(v.dns.corefile.domains, v.dns.corefile.reverse), " "))
	}
	return facts
}

func (v *View) phase() string {
	phase := string(v.pod.Status.Phase)
	switch {
	case v.pod.DeletionTimestamp != nil:
		phase = "Terminating"
	case isReady(v.pod):
		phase += ", Ready"
	case phase == string(corev1.PodRunning):
		phase += ", not Ready"
	}
	return phase
}

// told gives podfqdn's state as a clause.
func (u Use) told() string {
	s := string(u.State)
	if u.For > 0 {
		s += fmt.Sprintf(" for %s", u.For)
	}
	if u.Reason != "" {
		s += "; " + u.Reason
	}
	return s
}

func describe(s corev1.Service) string {
	kind := "with cluster address " + s.Spec.ClusterIP
	if headless(s) {
		kind = "headless"
	} else if s.Spec.Type == corev1.ServiceTypeExternalName {
		kind = "ExternalName"
	}
	families := []string{}
	for _, f := range s.Spec.IPFamilies {
		families = append(families, string(f))
	}
	return fmt.Sprintf("%s, %s, selects %s, publishNotReadyAddresses: %v", kind, strings.Join(families, " and "), labelled(s.Spec.Selector), s.Spec.PublishNotReadyAddresses)
}

// labelled gives labels as kubectl writes them.
func labelled(labels map[string]string) string {
	if len(labels) == 0 {
		return "nothing"
	}
	var words []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		words = append(words, key+"="+labels[key])
	}
	return strings.Join(words, ",")
}

func shown(s string) string {
	if s == "" {
		return "empty"
	}
	return quoted(s)
}

func quoted(s string) string { return fmt.Sprintf("%+q", s) }
