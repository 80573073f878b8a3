package kube

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// spec judges what in the Pod's spec keeps podfqdn from a claim.
func (j *judge) spec() {
	spec, whole := j.pod.Spec, j.knows("PODFQDN_FQDN")
	switch {
	case spec.HostNetwork:
		j.hostNetwork()
	case spec.HostnameOverride != nil && !whole && !j.knows("PODFQDN_HOSTNAME", "PODFQDN_SERVICE"):
		set := j.untold(true)
		j.found(diagnosis.HostnameOverride,
			fmt.Sprintf("spec.hostnameOverride: %+q takes the name that DNS publishes out of the Pod's /etc/hosts, and DNS does not know the override", *spec.HostnameOverride),
			fmt.Sprintf("the variables %s of container %+q, or no spec.hostnameOverride", named(set), j.Container),
			j.patchOwner(j.withVariables(object{}, set)))
	}
	j.nameservers()
	if j.claim.foreign || whole {
		return
	}
	if spec.Subdomain == "" && !j.claim.dashed || j.claim.service == "" {
		j.subdomain()
	}
	if spec.Hostname == "" && !j.claim.dashed {
		j.hostname()
	}
}

// hostNetwork judges a Pod that sees the node's files, and needs variables
// instead.
func (j *judge) hostNetwork() {
	var set []corev1.EnvVar
	if !j.knows("PODFQDN_FQDN") {
		set = j.untold(!j.claim.dashed)
	}
	if !j.knows("POD_IPS") && !j.knows("POD_IP") {
		set = append(set, field("POD_IPS", "status.podIPs"))
	}
	if len(set) == 0 {
		return
	}
	change := object{}
	if j.pod.Spec.DNSPolicy != corev1.DNSClusterFirstWithHostNet && !j.knows("PODFQDN_NAMESERVERS") {
		change["dnsPolicy"] = corev1.DNSClusterFirstWithHostNet
	}
	j.found(diagnosis.HostNetwork,
		"the Pod has hostNetwork: true and sees the node's files, not its own, so podfqdn cannot tell its name",
		fmt.Sprintf("the variables %s of container %+q", named(set), j.Container),
		j.patchOwner(j.withVariables(change, set)))
}

// untold returns the variables for the parts of the name that podfqdn is not
// told: its hostname, where that is wanted, in a StatefulSet each Pod's own;
// the Service, and the namespace.
func (j *judge) untold(hostname bool) (set []corev1.EnvVar) {
	switch {
	case !hostname || j.knows("PODFQDN_HOSTNAME"):
	case j.owner.kind == "StatefulSet":
		set = append(set, field("PODFQDN_HOSTNAME", "metadata.name"))
	default:
		set = append(set, literal("PODFQDN_HOSTNAME", cmp.Or(j.pod.Spec.Hostname, j.owner.name, j.Pod)))
	}
	if !j.knows("PODFQDN_SERVICE") {
		set = append(set, literal("PODFQDN_SERVICE", cmp.Or(j.pod.Spec.Subdomain, j.proposed())))
	}
	if !j.knows("POD_NAMESPACE") {
		set = append(set, field("POD_NAMESPACE", "metadata.namespace"))
	}
	return set
}

// subdomain judges a Pod without one.
func (j *judge) subdomain() {
	service := cmp.Or(j.claim.service, j.proposed())
	why := "the Pod has no spec.subdomain, and so no name in DNS"
	if j.owner.kind == "StatefulSet" {
		why = fmt.Sprintf("StatefulSet %+q has no serviceName, so its Pods have no spec.subdomain, and no name in DNS", j.owner.name)
	} else if j.claim.service != "" {
		why = fmt.Sprintf("the Pod has no spec.subdomain: PODFQDN_SERVICE=%+q tells podfqdn, and not DNS", j.claim.service)
	}
	j.found(diagnosis.NoSubdomain, why, j.subdomainField(service), j.setSubdomain(service))
}

// hostname judges a Pod without one.
func (j *judge) hostname() {
	change := j.field("hostname") + ", or the variable PODFQDN_NAME_FORM=address if a name that changes with the address will do"
	var mend fix
	switch {
	case j.owner.deployment == nil:
	case j.owner.replicas == 1 && label(j.owner.name):
		change = fmt.Sprintf("%s: %s, with strategy: {type: Recreate}; or the variable PODFQDN_NAME_FORM=address", j.field("hostname"), j.owner.name)
		mend = j.patch("deployment", j.owner.name, object{"spec": object{
			"strategy": recreate, "template": object{"spec": object{"hostname": j.owner.name}}}})
	default:
		change = fmt.Sprintf("the variable PODFQDN_NAME_FORM=address of container %+q: %d replicas cannot each have a hostname", j.Container, j.owner.replicas)
		mend = j.setVariables(literal("PODFQDN_NAME_FORM", "address"))
	}
	j.found(diagnosis.NoHostname, "the Pod has no spec.hostname, and DNS publishes it by its address only", change, mend)
}
