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
	"k8s.io/apimachinery/pkg/runtime"
)

// See reads what the API knows of a Pod, and of podfqdn in the container that is
// chosen by its name, or, for "", in all that are podfqdn's. The error is a *NotFound, a
// *Forbidden if not even the Pod may be read, or what the API server or the
// network says. What else may not be read is in the View.
func (c *Client) See(ctx context.Context, namespace, pod, container string) (*View, error) {
	v := &View{kubectl: c.Kubectl, pod: &corev1.Pod{}, peers: map[string]*corev1.Pod{}, far: map[seat]far{}, nodes: map[string]bool{}}
	err := c.read(ctx, Right{Verb: "get", Resource: "pods", Namespace: namespace, Name: pod}, "", v.pod)
	if apierrors.IsNotFound(err) {
		return nil, c.absent(ctx, namespace, pod)
	}
	if err != nil {
		return nil, err
	}
	if err := chosen(v.pod, container); err != nil {
		return nil, err
	}
	v.chosen = container
	v.Use = use(v.pod, container)
	if v.State == Unused && v.pod.Spec.Subdomain == "" {
		return nil, &NotFound{fmt.Sprintf("Pod %+q has no container of podfqdn's and no spec.subdomain, so it has no name to examine; if a container is podfqdn's under another name, name it with --container; `kubectl podfqdn doctor -A` lists the Pods that use podfqdn", pod)}
	}
	first := v.Each()[0]
	v.podfqdn, v.claim = first.podfqdn, first.claim
	// What fails ends all reading, but for a right that is missing, a list that
	// the API server does not serve, and an object that does not exist.
	var fatal error
	see := func(right Right, selector string, into runtime.Object) error {
		if fatal != nil {
			return fatal
		}
		err := c.read(ctx, right, selector, into)
		var forbidden *Forbidden
		switch {
		case err == nil, apierrors.IsNotFound(err):
		case errors.As(err, new(unserved)):
			v.Trouble = append(v.Trouble, err.Error())
		case !errors.As(err, &forbidden):
			fatal = err
		case !slices.ContainsFunc(v.Lacks, func(r Right) bool { r.Name = forbidden.Name; return r == forbidden.Right }):
			v.Lacks = append(v.Lacks, forbidden.Right)
		}
		return err
	}
	for _, part := range []func(reader){v.seeOwner, v.seeEvents, v.seeServices, v.seeSlices, v.seePeers, v.seePolicies, v.seeDNS, v.seeAwaited, v.seeFar} {
		part(see)
	}
	if fatal != nil {
		return nil, fatal
	}
	return v, nil
}

// chosen returns why a container is not one to look at: a *NotFound where the Pod
// does not have it, or has others that are podfqdn's.
func chosen(p *corev1.Pod, container string) error {
	name := func(c part) string { return quoted(c.Name) }
	all, found := find(p, container), find(p, "")
	switch {
	case container == "":
	case slices.ContainsFunc(p.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == container }):
		return &NotFound{fmt.Sprintf("container %+q of Pod %+q is ephemeral, and does not make the Pod's name: leave --container out", container, p.Name)}
	case len(all) == 0:
		return &NotFound{fmt.Sprintf("Pod %+q has no container %+q: it has %s", p.Name, container, join(parts(p), ", ", name))}
	case len(found) > 0 && found[0].made() && !all[0].made():
		return &NotFound{fmt.Sprintf("container %+q of Pod %+q is not podfqdn's: leave --container out, or name %s", container, p.Name, join(found, " or ", name))}
	}
	return nil
}

// reader reads what right names into an object; selector is one of labels, of
// a list. An error means that it was not seen.
type reader func(right Right, selector string, into runtime.Object) error

func (v *View) seeOwner(see reader) {
	ref := metav1.GetControllerOf(v.pod)
	if ref == nil {
		return
	}
	v.owner = owner{kind: ref.Kind, name: ref.Name}
	get := Right{Verb: "get", Group: appsv1.GroupName, Namespace: v.Namespace, Name: ref.Name}
	switch ref.Kind {
	case "StatefulSet":
		get.Resource = "statefulsets"
		set := &appsv1.StatefulSet{}
		if see(get, "", set) == nil {
			v.owner.statefulSet, v.owner.replicas, v.owner.selector = set, deref(set.Spec.Replicas, 1), selected(set.Spec.Selector)
		}
	case "ReplicaSet":
		get.Resource = "replicasets"
		set := &appsv1.ReplicaSet{}
		err := see(get, "", set)
		hash := v.pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		switch ref = metav1.GetControllerOf(set); {
		case err != nil && hash != "": // a Deployment names its ReplicaSets so
			get.Name = strings.TrimSuffix(get.Name, "-"+hash)
		case ref == nil || ref.Kind != "Deployment":
			return
		default:
			get.Name = ref.Name
		}
		get.Resource = "deployments"
		v.owner.kind, v.owner.name = "Deployment", get.Name
		d := &appsv1.Deployment{}
		if see(get, "", d) == nil {
			v.owner.deployment, v.owner.replicas, v.owner.selector = d, deref(d.Spec.Replicas, 1), selected(d.Spec.Selector)
		}
	}
}

// selected returns the labels that a selector fixes.
func selected(s *metav1.LabelSelector) map[string]string {
	all := map[string]string{}
	if s != nil {
		maps.Copy(all, s.MatchLabels)
		for _, e := range s.MatchExpressions {
			all[e.Key] = ""
		}
	}
	return all
}

func (v *View) seeServices(see reader) {
	var list corev1.ServiceList
	if see(Right{Verb: "list", Resource: "services", Namespace: v.Namespace}, "", &list) == nil {
		v.services = map[string]corev1.Service{}
	}
	for _, s := range list.Items {
		v.services[s.Name] = s
	}
}

func (v *View) seeSlices(see reader) {
	var list discoveryv1.EndpointSliceList
	err := see(Right{Verb: "list", Group: discoveryv1.GroupName, Resource: "endpointslices", Namespace: v.Namespace}, "", &list)
	v.slices, v.sliced = list.Items, err == nil
}

// seePeers reads the Pods that have the same name in DNS, at most six.
func (v *View) seePeers(see reader) {
	var sharers []endpoint
	for _, each := range v.Each() {
		sharers = append(sharers, each.sharers()...)
	}
	for _, e := range sharers {
		name := e.pod()
		if _, seen := v.peers[name]; name == "" || seen || len(v.peers) == 6 {
			continue
		}
		peer := &corev1.Pod{}
		err := see(Right{Verb: "get", Resource: "pods", Namespace: v.Namespace, Name: name}, "", peer)
		switch {
		case apierrors.IsNotFound(err):
			v.peers[name] = nil
		case err != nil:
			return
		default:
			v.peers[name] = peer
		}
	}
}

func (v *View) seePolicies(see reader) {
	var list networkingv1.NetworkPolicyList
	err := see(Right{Verb: "list", Group: networkingv1.GroupName, Resource: "networkpolicies", Namespace: v.Namespace}, "", &list)
	v.policies, v.policed = list.Items, err == nil
}

// seeDNS finds cluster DNS by the label that its Service has everywhere, and
// from there what runs it and its Corefile.
func (v *View) seeDNS(see reader) {
	var services corev1.ServiceList
	selector := map[string]string{"k8s-app": "kube-dns"} // as it is everywhere
	if see(Right{Verb: "list", Resource: "services", Namespace: system}, "k8s-app=kube-dns", &services) == nil {
		selector = nil
	}
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
		v.Trouble = append(v.Trouble, fmt.Sprintf("no Service in namespace %q has the label k8s-app=kube-dns: nothing is known about cluster DNS", system))
		return
	}
	var deployments appsv1.DeploymentList
	_ = see(Right{Verb: "list", Group: appsv1.GroupName, Resource: "deployments", Namespace: system}, "", &deployments)
	names := []string{"coredns"} // the ConfigMap is kubeadm's where no other is mounted
	of := slices.DeleteFunc(deployments.Items, func(d appsv1.Deployment) bool { return !matches(selector, d.Spec.Template.Labels) })
	if len(of) > 0 { // one that was replaced by another may be left with no replicas
		d := slices.MaxFunc(of, func(a, b appsv1.Deployment) int { return cmp.Compare(a.Status.ReadyReplicas, b.Status.ReadyReplicas) })
		v.dns.deployment = &d
		v.dns.name, v.dns.want, v.dns.ready = d.Name, deref(d.Spec.Replicas, 1), d.Status.ReadyReplicas
		for _, volume := range d.Spec.Template.Spec.Volumes {
			if volume.ConfigMap != nil {
				names = append([]string{volume.ConfigMap.Name}, names...)
			}
		}
	}
	for _, name := range slices.Compact(names) {
		var m corev1.ConfigMap
		_ = see(Right{Verb: "get", Resource: "configmaps", Namespace: system, Name: name}, "", &m)
		if text := m.Data["Corefile"]; text != "" {
			v.dns.corefileOf, v.dns.configMap, v.dns.text, v.dns.corefile = m.ObjectMeta, name, text, parseCorefile(text)
			return
		}
	}
}
