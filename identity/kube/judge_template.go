package kube

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// outdated reports whether the Pod is of another template than its StatefulSet has now,
// and stays as it is: the controller does not replace a Pod that is not Ready under
// OrderedReady (kubernetes#67250), and none under OnDelete. ours reports whether the
// two differ in what podfqdn is told, or in the volumes.
func (v *View) outdated() (outdated, ours bool) {
	set := v.owner.statefulSet
	if set == nil || isReady(v.pod) {
		return false, false
	}
	onDelete := set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType
	if !onDelete && set.Spec.PodManagementPolicy == appsv1.ParallelPodManagement {
		return false, false
	}
	if rolling := set.Spec.UpdateStrategy.RollingUpdate; !onDelete && rolling != nil && deref(rolling.Partition, 0) > 0 {
		return false, false // a Pod that is made again may have the old template again
	}
	ours = v.toldOtherwise(set.Spec.Template.Spec)
	is, now := v.pod.Labels[appsv1.ControllerRevisionHashLabelKey], set.Status.UpdateRevision
	if is == "" || now == "" || set.Status.ObservedGeneration < set.Generation {
		return ours, ours
	}
	return is != now, is != now && ours
}

// toldOtherwise reports whether a template tells podfqdn's container something else
// than the Pod does, or has another volume. What is in the Pod alone may have been
// put there at its admission, but nothing puts podfqdn's variables there.
func (v *View) toldOtherwise(template corev1.PodSpec) bool {
	if c, ok := v.templated(template); ok {
		if !slices.Equal(c.Command, v.podfqdn.Command) || !slices.Equal(c.Args, v.podfqdn.Args) {
			return true
		}
		for _, e := range c.Env {
			if i := v.set(e.Name, len(v.podfqdn.Env)); i < 0 || !equality.Semantic.DeepEqual(e, v.podfqdn.Env[i]) {
				return true
			}
		}
		for _, e := range v.podfqdn.Env {
			if strings.HasPrefix(e.Name, "PODFQDN_") && !slices.ContainsFunc(c.Env, func(o corev1.EnvVar) bool { return o.Name == e.Name }) {
				return true
			}
		}
	}
	return slices.ContainsFunc(template.Volumes, func(t corev1.Volume) bool {
		return !slices.ContainsFunc(v.pod.Spec.Volumes, func(p corev1.Volume) bool {
			return p.Name == t.Name && (p.PersistentVolumeClaim != nil || equality.Semantic.DeepEqual(p.VolumeSource, t.VolumeSource))
		})
	})
}

// templated returns podfqdn's container in a template.
func (v *View) templated(template corev1.PodSpec) (c corev1.Container, ok bool) {
	all := slices.Concat(template.InitContainers, template.Containers)
	i := slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == v.Container })
	if i < 0 || v.Container == "" {
		return c, false
	}
	return all[i], true
}

// replaced judges a Pod that has stayed behind a template that tells podfqdn something
// else: of the rest only what the next Pod will find too.
func (j *judge) replaced(unasked bool) {
	j.template()
	next := *j.View
	if c, ok := next.templated(next.owner.statefulSet.Spec.Template.Spec); ok {
		next.podfqdn.Container = c
	}
	next.heard = nil
	next.claim = next.claims()
	j.View, j.wire, j.stands = &next, &diagnosis.Diagnosis{}, true
	j.surroundings(unasked)
}

// template judges a Pod that has stayed behind its StatefulSet's template.
func (j *judge) template() {
	set := j.owner.statefulSet
	rule := "under podManagementPolicy: OrderedReady it does not replace a Pod that is not Ready"
	if set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		rule = "under updateStrategy: OnDelete it does not replace Pods"
	}
	j.found(diagnosis.TemplateChanged, fmt.Sprintf("StatefulSet %+q now has a different template than this Pod, and %s", set.Name, rule),
		"delete the Pod: it is recreated from the current template", j.replace())
}
