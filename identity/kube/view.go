package kube

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// View is what the API shows of one Pod's name, at one moment.
type View struct {
	Use
	// Lacks are the rights without which something was not seen, each once.
	Lacks []Right
	// Trouble is what else went wrong: one sentence each.
	Trouble []string

	kubectl string
	chosen  string // the container that is looked at; "" for all of podfqdn's
	pod     *corev1.Pod
	podfqdn part             // the zero value where there is none
	heard   []diagnosis.Seen // what podfqdn doctor found in the Pod; nil if it was not asked
	holds   string           // what it found in the container's own volume; "" if it was not asked there
	owner   owner
	claim   claim

	services map[string]corev1.Service // nil: not seen
	slices   []discoveryv1.EndpointSlice
	sliced   bool // slices were seen
	policies []networkingv1.NetworkPolicy
	policed  bool                   // policies were seen
	far      map[seat]far           // Services of other namespaces that it waits for
	peers    map[string]*corev1.Pod // others that have the name, as the slices say, or that it waits for; nil for one that is gone
	events   []corev1.Event         // of a Pod that has not begun
	nodes    map[string]bool        // whether they are Ready, of those
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

// Each returns a View for each of podfqdn's containers, the worst off first: what
// one is told need not be what another is.
func (v *View) Each() (all []*View) {
	for _, u := range uses(v.pod, v.chosen) {
		each := *v
		u.Containers = v.Containers
		each.Use, each.claim = u, claim{}
		if i := slices.IndexFunc(parts(v.pod), func(c part) bool { return c.Name == u.Container }); i >= 0 {
			each.podfqdn = parts(v.pod)[i]
		}
		if !each.podfqdn.waits() { // which needs no name
			each.claim = each.claims()
		}
		all = append(all, &each)
	}
	return all
}

// Rank sorts the views of a Pod's containers again, the worst first, after Hear.
func Rank(views []*View) {
	slices.SortStableFunc(views, func(a, b *View) int { return byWorst(a.Use, b.Use) })
	var all []Use
	for _, v := range views {
		all = append(all, v.Use)
	}
	for _, v := range views {
		v.Containers = together(all).Containers
	}
}

// claim is the name that podfqdn claims, as far as the Pod's spec shows it.
type claim struct {
	hostname string // the first label; "" if DNS makes it of the address, or if it is not known
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

	corefileOf metav1.ObjectMeta  // the ConfigMap's
	deployment *appsv1.Deployment // nil if not seen
}

// system is the namespace of cluster DNS.
const system = "kube-system"

// value returns a variable's; "" also if it is not known.
func (v *View) value(name string) string {
	value, _, _ := v.told(name)
	return value
}

// knows reports whether each of these variables has a value, from anywhere.
func (v *View) knows(names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		value, _, known := v.told(name)
		return value == "" && (known || v.set(name, len(v.podfqdn.Env)) < 0)
	})
}

// naming returns the variable that decides a part of the name, and its value:
// PODFQDN_FQDN, which decides all of it, or the part's own.
func (v *View) naming(part string) (name, value string) {
	if fqdn := v.value("PODFQDN_FQDN"); fqdn != "" {
		return "PODFQDN_FQDN", fqdn
	}
	return part, v.value(part)
}

// claims reads the claim from the Pod's spec, as identity.Facts.Claim makes it
// in the Pod.
func (v *View) claims() claim {
	c := claim{hostname: strings.ToLower(cmp.Or(v.value("PODFQDN_HOSTNAME"), v.pod.Spec.Hostname)), service: strings.ToLower(cmp.Or(v.value("PODFQDN_SERVICE"), v.pod.Spec.Subdomain))}
	if v.value("PODFQDN_NAME_FORM") == "address" {
		c.dashed, c.hostname = true, ""
	}
	fqdn := v.value("PODFQDN_FQDN")
	if fqdn == "" {
		return c
	}
	labels := strings.SplitN(strings.ToLower(strings.TrimSuffix(fqdn, ".")), ".", 5)
	if len(labels) < 5 || labels[3] != "svc" || labels[2] != v.Namespace {
		return claim{foreign: true}
	}
	return claim{hostname: labels[0], service: labels[1]}
}

// governing returns the Service that makes the claimed name.
func (v *View) governing() (corev1.Service, bool) {
	s, ok := v.services[v.claim.service]
	return s, ok && v.claim.service != ""
}

// proposed returns the Service that the Pod should name: the one that selects
// it, else one named like its owner.
func (v *View) proposed() string {
	if names := v.selecting(); len(names) > 0 {
		return names[0]
	}
	for _, name := range []string{v.owner.name, v.pod.Spec.Hostname, v.Pod} {
		if label(name) {
			return name
		}
	}
	return "pods"
}

// label reports whether s can be one label of a DNS name.
func label(s string) bool { return s != "" && len(s) <= 63 && !strings.Contains(s, ".") }

// selecting returns the Services that select the Pod, headless ones first, in
// the order of their names.
func (v *View) selecting() []string {
	var first, others []string
	for _, name := range slices.Sorted(maps.Keys(v.services)) {
		switch s := v.services[name]; {
		case !matches(s.Spec.Selector, v.pod.Labels) || s.Spec.Type == corev1.ServiceTypeExternalName:
		case headless(s):
			first = append(first, name)
		default:
			others = append(others, name)
		}
	}
	return append(first, others...)
}

// matches reports whether a Service's selector selects labels; an empty one
// selects nothing.
func matches(selector, labels map[string]string) bool {
	for key, value := range selector {
		if got, ok := labels[key]; !ok || got != value {
			return false
		}
	}
	return len(selector) > 0
}

func headless(s corev1.Service) bool { return s.Spec.ClusterIP == corev1.ClusterIPNone }

// endpoint is one of a slice.
type endpoint struct {
	discoveryv1.Endpoint
	of discoveryv1.EndpointSlice
}

// service returns the name of the Service that it is of.
func (e endpoint) service() string { return e.of.Labels[discoveryv1.LabelServiceName] }

// ready reports whether DNS publishes it: an unknown condition counts as ready
// (CoreDNS, plugin/kubernetes/object/endpoint.go).
func (e endpoint) ready() bool { return deref(e.Conditions.Ready, true) }

func (e endpoint) hostname() string { return deref(e.Hostname, "") }

// pod returns the Pod's name; "" where there is none that can be one, as a
// slice made by hand may name anything.
func (e endpoint) pod() string {
	if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || len(validation.IsDNS1123Subdomain(e.TargetRef.Name)) > 0 {
		return ""
	}
	return e.TargetRef.Name
}

// endpoints returns those of one Service, or of all for "".
func (v *View) endpoints(service string) (all []endpoint) {
	for _, s := range v.slices {
		for _, e := range s.Endpoints {
			if e := (endpoint{e, s}); service == "" || service == e.service() {
				all = append(all, e)
			}
		}
	}
	return all
}

// own reports whether an endpoint is this Pod's.
func (v *View) own(e endpoint) bool {
	if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
		return e.TargetRef.UID == v.pod.UID
	}
	return slices.ContainsFunc(v.addrs(), func(a netip.Addr) bool { return slices.Contains(e.Addresses, a.String()) })
}

// sharers returns the endpoints of other Pods that DNS publishes under this
// Pod's name.
func (v *View) sharers() []endpoint {
	if v.claim.hostname == "" || v.claim.service == "" {
		return nil
	}
	return slices.DeleteFunc(v.endpoints(v.claim.service), func(e endpoint) bool {
		return e.hostname() != v.claim.hostname || !e.ready() || v.own(e)
	})
}

// addrs returns the Pod's addresses, as far as the API knows them.
func (v *View) addrs() (addrs []netip.Addr) {
	for _, ip := range v.pod.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// family returns an address's, as a Service names it.
func family(addr netip.Addr) corev1.IPFamily {
	if addr.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// isReady reports whether a Pod is Ready.
func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
