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

// recreate is a Deployment's strategy that does not hold one hostname twice.
var recreate = object{"type": appsv1.RecreateDeploymentStrategyType, "rollingUpdate": nil}

// notReady and dualStack are changes of a Service.
var (
	notReady  = object{"spec": object{"publishNotReadyAddresses": true}}
	dualStack = object{"spec": object{"ipFamilyPolicy": corev1.IPFamilyPolicyPreferDualStack}}
)

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

// literal and field are variables of a container.
func literal(name, value string) any { return object{"name": name, "value": value} }

func field(name, path string) any {
	return object{"name": name, "valueFrom": object{"fieldRef": object{"fieldPath": path}}}
}

// named gives the variables with what they are set to, for people.
func named(variables []any) string {
	var words []string
	for _, v := range variables {
		o := v.(object)
		if value, ok := o["value"]; ok {
			words = append(words, fmt.Sprintf("%s=%s", o["name"], value))
		} else {
			path := o["valueFrom"].(object)["fieldRef"].(object)["fieldPath"]
			words = append(words, fmt.Sprintf("%s from %s", o["name"], path))
		}
	}
	return strings.Join(words, ", ")
}

// in begins a command in a namespace.
func (v *View) in(namespace string) string { return v.kubectl + " --namespace " + Quote(namespace) }

func (v *View) patch(kind, name string, change object) string {
	return fmt.Sprintf("%s patch %s/%s --patch %s", v.in(v.Namespace), kind, Quote(name), Quote(change.String()))
}

func (v *View) create(o object) string {
	return fmt.Sprintf("echo %s | %s create --filename -", Quote(o.String()), v.in(v.Namespace))
}

// field names a field of the Pod's spec, where it can be changed.
func (v *View) field(name string) string {
	if v.owner.kind == "" {
		return fmt.Sprintf("spec.%s of the Pod, which has to be made anew", name)
	}
	return fmt.Sprintf("spec.template.spec.%s of %s %+q", name, v.owner.kind, v.owner.name)
}

// withVariables adds variables of podfqdn's container to a change of a Pod's
// spec.
func (v *View) withVariables(change object, variables ...any) object {
	list := "initContainers"
	if !slices.ContainsFunc(v.pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == v.Container }) {
		list = "containers"
	}
	change[list] = []any{object{"name": v.Container, "env": variables}}
	return change
}

// patchOwner changes the Pod's spec in what made the Pod; "" where there is
// nothing that can be patched.
func (v *View) patchOwner(spec object) string { return v.patchTemplate(object{"spec": spec}) }

func (v *View) patchTemplate(template object) string {
	change := object{"spec": object{"template": template}}
	switch {
	case v.owner.deployment != nil:
		if v.owner.replicas == 1 && v.pod.Spec.Hostname != "" && v.owner.deployment.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
			change["spec"].(object)["strategy"] = recreate
		}
		return v.patch("deployment", v.owner.name, change)
	case v.owner.statefulSet != nil:
		// It does not replace a Pod that is not Ready (kubernetes#67250).
		return v.patch("statefulset", v.owner.name, change) + " && " + v.replace()
	}
	return ""
}

// replace lets the Pod's owner make it anew.
func (v *View) replace() string {
	return fmt.Sprintf("%s delete pod/%s", v.in(v.Namespace), Quote(v.Pod))
}

// podWords names Pods for a command.
func podWords(names []string) string {
	var words []string
	for _, name := range names {
		words = append(words, Quote("pod/"+name))
	}
	return strings.Join(words, " ")
}

// subdomainField names what gives the Pod its subdomain.
func (v *View) subdomainField(service string) string {
	if v.owner.kind == "StatefulSet" {
		return fmt.Sprintf("spec.serviceName: %s in StatefulSet %+q, which has to be made anew for it; its Pods stay, and each has the new name when it is made anew", service, v.owner.name)
	}
	return v.field("subdomain") + ": " + service
}

// setSubdomain changes it. A StatefulSet's serviceName cannot be changed, so
// the set is made anew around its Pods; then the Pod is.
func (v *View) setSubdomain(service string) string {
	if v.owner.statefulSet == nil {
		return v.patchOwner(object{"subdomain": service})
	}
	change := object{"spec": object{"serviceName": service}}
	return fmt.Sprintf("%s --type merge --dry-run=client --output json | %s replace --force --cascade=orphan --filename - && %s",
		v.patch("statefulset", v.owner.name, change), v.in(v.Namespace), v.replace())
}

// proposed is the Service that the Pod should name: the one that selects it,
// else one named like its owner.
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

// label tells what can be one label of a DNS name.
func label(s string) bool { return s != "" && len(s) <= 63 && !strings.Contains(s, ".") }

// selector gives the labels to select the Pod by: those that its owner does,
// else all that nobody generated.
func (v *View) selector() map[string]string {
	all := map[string]string{}
	for key, value := range v.pod.Labels {
		_, owned := v.owner.selector[key]
		if owned || len(v.owner.selector) == 0 && !generated(key) {
			all[key] = value
		}
	}
	return all
}

// generated tells labels that controllers write, and that differ from Pod to
// Pod.
func generated(key string) bool {
	return key == "pod-template-hash" || key == "controller-revision-hash" || key == "pod-template-generation" ||
		strings.Contains(key, "kubernetes.io/") && !strings.HasPrefix(key, "app.kubernetes.io/") || key == "job-name" || key == "controller-uid"
}

// createService makes the governing Service; "" where the Pod has no label to
// select it by.
func (v *View) createService(name string) string {
	selector := v.selector()
	if len(selector) == 0 || !label(name) {
		return ""
	}
	return v.create(object{
		"apiVersion": "v1", "kind": "Service", "metadata": object{"name": name},
		"spec": object{"clusterIP": corev1.ClusterIPNone, "selector": selector, "publishNotReadyAddresses": true},
	})
}

// addZones writes zones into the Corefile's kubernetes plugin, before or after
// its first domain, and starts CoreDNS anew, which otherwise takes a minute or
// two to notice; "" where that line has another form.
func (v *View) addZones(before, after string) string {
	domain := v.dns.corefile.domains[0]
	line := "kubernetes " + domain
	if _, err := identity.ParseName(domain); err != nil || v.dns.name == "" || strings.Count(v.dns.text, line) != 1 {
		return ""
	}
	// A host name has no character that sed would take for anything else.
	change := fmt.Sprintf("s/%s/%s/", strings.ReplaceAll(line, ".", `\.`), "kubernetes "+before+domain+after)
	return fmt.Sprintf("%s get configmap/%s --output yaml | sed %s | %s replace --filename - && %s",
		v.in(system), Quote(v.dns.configMap), Quote(change), v.in(system), v.restartDNS())
}

func (v *View) restartDNS() string {
	return fmt.Sprintf("%s rollout restart deployment/%s", v.in(system), Quote(v.dns.name))
}

// texts gives a map of strings that is typed as an object.
func texts(o object) map[string]string {
	m := map[string]string{}
	for key, value := range o {
		m[key] = fmt.Sprint(value)
	}
	return m
}

// joined gives families as a list for people.
func joined(families []corev1.IPFamily) string {
	var words []string
	for _, f := range families {
		words = append(words, string(f))
	}
	return strings.Join(words, " and ")
}
