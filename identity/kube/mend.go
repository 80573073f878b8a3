package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/podfqdn/podfqdn/identity"
)

// fix is what fixes a cause: steps in order, each run only if the one before it has
// succeeded. nil fixes nothing.
type fix []step

// step is one change of the cluster, or the wait for one.
type step struct {
	verb      verb
	namespace string
	objects   []string // KIND/NAME
	change    object   // a patch or a manifest
	words     []string // what a verb without a change needs
	recreate  bool     // change sets the strategy of a Deployment along with something else
}

// verb is a kubectl command for a shell, with [1], the beginning with the namespace,
// [2], the objects, and [3], the change or the words.
type verb string

const (
	patch   verb = "%[1]s patch %[2]s --patch %[3]s"
	remake  verb = "%[1]s patch %[2]s --patch %[3]s --type merge --dry-run=client --output json | %[1]s replace --force --cascade=orphan --filename -"
	create  verb = "echo %[3]s | %[1]s create --filename -"
	remove  verb = "%[1]s delete %[2]s"
	await   verb = "%[1]s wait --for=delete %[2]s --timeout=10m"
	relabel verb = "%[1]s label %[2]s --overwrite %[3]s"
	scale   verb = "%[1]s scale %[2]s --replicas=%[3]s"
	edit    verb = "%[1]s get %[2]s --output yaml | sed %[3]s | %[1]s replace --filename -"
	restart verb = "%[1]s rollout restart %[2]s"
)

// command returns the fix as a command of a shell; "" for none.
func (f fix) command(kubectl string) string {
	return join(f, " && ", func(s step) string {
		words := s.words
		if s.change != nil {
			words = []string{s.change.String()}
		}
		return fmt.Sprintf(string(s.verb), in(kubectl, s.namespace), join(s.objects, " ", Quote), join(words, " ", Quote))
	})
}

// object is one of JSON, for a patch or a manifest.
type object map[string]any

func (o object) String() string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(o); err != nil {
		panic(err) // it is made of strings, here
	}
	return strings.TrimSpace(b.String())
}

var (
	recreate  = object{"type": appsv1.RecreateDeploymentStrategyType, "rollingUpdate": nil} // a strategy that does not hold one hostname twice
	notReady  = object{"spec": object{"publishNotReadyAddresses": true}}                    // of a Service
	dualStack = object{"spec": object{"ipFamilyPolicy": corev1.IPFamilyPolicyPreferDualStack}}
)

// patch changes an object in the Pod's namespace; nil for one without a name.
func (j *judge) patch(kind, name string, change object) fix {
	if name == "" {
		return nil
	}
	return fix{{verb: patch, namespace: j.Namespace, objects: []string{kind + "/" + name}, change: change}}
}

// pods does something to Pods in the Pod's namespace.
func (j *judge) pods(do verb, names ...string) fix {
	var objects []string
	for _, name := range names {
		objects = append(objects, "pod/"+name)
	}
	return fix{{verb: do, namespace: j.Namespace, objects: objects}}
}

// replace deletes the Pod, which its owner then creates again.
func (j *judge) replace() fix { return j.pods(remove, j.Pod) }

// dnsDeployment does something to the Deployment of cluster DNS.
func (j *judge) dnsDeployment(do verb, words ...string) fix {
	return fix{{verb: do, namespace: system, objects: []string{"deployment/" + j.dns.name}, words: words}}
}

// patchOwner changes the Pod's spec in its owner; nil if nothing can be patched.
func (j *judge) patchOwner(spec object) fix { return j.patchTemplate(object{"spec": spec}) }

func (j *judge) patchTemplate(template object) fix {
	change := object{"template": template}
	switch d := j.owner.deployment; {
	case j.owner.name == "":
	case d != nil:
		together := j.owner.replicas == 1 && j.pod.Spec.Hostname != "" && d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType
		if together {
			change["strategy"] = recreate
		}
		mend := j.patch("deployment", j.owner.name, object{"spec": change})
		mend[0].recreate = together
		return mend
	case j.owner.statefulSet != nil:
		// It does not replace a Pod that is not Ready (kubernetes#67250).
		return append(j.patch("statefulset", j.owner.name, object{"spec": change}), j.replace()...)
	}
	return nil
}

// setVariables changes variables of podfqdn's container.
func (j *judge) setVariables(env ...any) fix { return j.patchOwner(j.with(object{}, "env", env)) }

// with adds a field of podfqdn's container to a change of a Pod's spec.
func (j *judge) with(spec object, field string, value any) object {
	first := slices.ContainsFunc(j.pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == j.Container })
	spec[either(first, "initContainers", "containers")] = []any{object{"name": j.Container, field: value}}
	return spec
}

// literal and field are variables of a container; without takes one away.
func literal(name, value string) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: value} }

func field(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
}

func without(name string) any { return object{"name": name, "$patch": "delete"} }

// named returns variables with what they are set to, for people.
func named(env []corev1.EnvVar) string {
	return join(env, ", ", func(e corev1.EnvVar) string {
		if e.ValueFrom != nil {
			return e.Name + " from " + e.ValueFrom.FieldRef.FieldPath
		}
		return e.Name + "=" + e.Value
	})
}

// field names a field of the Pod's spec, in the object where it can be changed.
func (j *judge) field(name string) string {
	if j.owner.kind == "" {
		return fmt.Sprintf("spec.%s of the Pod, which must be recreated", name)
	}
	return fmt.Sprintf("spec.template.spec.%s of %s %+q", name, j.owner.kind, j.owner.name)
}

// subdomainField names the field that sets the Pod's subdomain.
func (j *judge) subdomainField(service string) string {
	if j.owner.kind == "StatefulSet" {
		return fmt.Sprintf("spec.serviceName: %s in StatefulSet %+q, which must be recreated for it; its Pods stay, and each has the new name once it is recreated", service, j.owner.name)
	}
	return j.field("subdomain") + ": " + service
}

// setSubdomain changes that field. A StatefulSet's serviceName cannot be
// changed, so the set is replaced around its Pods, and then the Pod is.
func (j *judge) setSubdomain(service string) fix {
	if j.owner.statefulSet == nil || j.owner.name == "" {
		return j.patchOwner(object{"subdomain": service})
	}
	mend := j.patch("statefulset", j.owner.name, object{"spec": object{"serviceName": service}})
	mend[0].verb = remake
	return append(mend, j.replace()...)
}

// createService makes the governing Service; nil if the Pod has no label to
// select it by.
func (j *judge) createService(name string) fix {
	selector := j.selector()
	if len(selector) == 0 || !label(name) {
		return nil
	}
	return fix{{verb: create, namespace: j.Namespace, change: object{
		"apiVersion": "v1", "kind": "Service", "metadata": object{"name": name},
		"spec": object{"clusterIP": corev1.ClusterIPNone, "selector": selector, "publishNotReadyAddresses": true},
	}}}
}

// selector returns the labels to select the Pod by: those of its owner's selector,
// else all that are not generated.
func (j *judge) selector() map[string]string {
	all := map[string]string{}
	for key, value := range j.pod.Labels {
		_, owned := j.owner.selector[key]
		if owned || len(j.owner.selector) == 0 && !generated(key) {
			all[key] = value
		}
	}
	return all
}

// generated reports whether a label is one that controllers write, and that
// differs from Pod to Pod.
func generated(key string) bool {
	return key == "pod-template-hash" || key == "controller-revision-hash" || key == "pod-template-generation" ||
		strings.Contains(key, "kubernetes.io/") && !strings.HasPrefix(key, "app.kubernetes.io/") || key == "job-name" || key == "controller-uid"
}

// addZones writes zones into the Corefile's kubernetes plugin, in front of its
// first domain or behind it, and restarts CoreDNS, which otherwise takes a
// minute or two to notice; nil if that line has another form.
func (j *judge) addZones(front, behind string) fix {
	domain := j.dns.corefile.domains[0]
	line := "kubernetes " + domain
	if _, err := identity.ParseName(domain); err != nil || j.dns.name == "" || strings.Count(j.dns.text, line) != 1 {
		return nil
	}
	// A host name has no character that sed would take for anything else.
	change := fmt.Sprintf("s/%s/%s/", strings.ReplaceAll(line, ".", `\.`), "kubernetes "+front+domain+behind)
	return append(fix{{verb: edit, namespace: system, objects: []string{"configmap/" + j.dns.configMap}, words: []string{change}}}, j.dnsDeployment(restart)...)
}
