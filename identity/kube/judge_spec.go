package kube

import (
	"cmp"
	"fmt"
	"path"
	"strings"

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
			fmt.Sprintf("spec.hostnameOverride: %+q removes the name that DNS publishes from the Pod's /etc/hosts, and DNS does not know the override", *spec.HostnameOverride),
			fmt.Sprintf("the variables %s of container %+q, or no spec.hostnameOverride", named(set), j.Container),
			j.patchOwner(j.with(object{}, "env", set)))
	}
	j.nameservers()
	if j.claim.foreign || whole {
		return
	}
	if j.byPodName() || j.publishedAs(j.claim) { // neither field is needed
		return
	}
	if spec.Subdomain == "" && !j.claim.dashed || j.claim.service == "" {
		j.subdomain()
	}
	if spec.Hostname == "" && !j.claim.dashed {
		j.hostname()
	}
}

// byPodName judges a Pod that CoreDNS publishes by the name of the Pod, as it
// does with endpoint_pod_names where there is no spec.hostname, and reports
// whether it is one.
func (j *judge) byPodName() bool {
	if !j.dns.corefile.podNames || j.pod.Spec.Hostname != "" || j.claim.service == "" {
		return false
	}
	if j.claim.dashed {
		j.found(diagnosis.Misconfigured,
			fmt.Sprintf("PODFQDN_NAME_FORM=address, but the Corefile in ConfigMap %+q has endpoint_pod_names: DNS publishes the Pod as %+q, not by its address", j.dns.configMap, j.Pod),
			fmt.Sprintf("the variable PODFQDN_NAME_FORM of container %+q: leave it out, and set PODFQDN_SERVICE=%s", j.Container, j.claim.service),
			j.setVariables(without("PODFQDN_NAME_FORM"), literal("PODFQDN_SERVICE", j.claim.service)))
		j.mistold = true
	}
	return true
}

// podfqdn's exit codes when it refuses its settings or files, when its volume is
// missing, read-only, full or in use, and when peers are missing (docs/contract.md, exit codes).
const (
	exitRefused  = 10
	exitVolume   = 13
	exitPeerless = 15
)

// volume judges what is mounted where podfqdn publishes.
func (j *judge) volume() {
	if j.State != Failed && j.State != Pending && j.code != exitVolume {
		return // it is open, or was not the reason
	}
	dir, _, known := j.told("PODFQDN_DIR")
	if j.knows("PODFQDN_DIR") && !known {
		return
	}
	dir = path.Clean(cmp.Or(dir, "/identity"))
	mount, ok := mountAt(j.podfqdn.Container, dir)
	if !ok && j.podfqdn.wraps() && j.code == exitVolume {
		j.mountIdentity(dir)
		return
	}
	if !ok {
		if j.code != exitVolume {
			return // its image may have the directory
		}
		why := fmt.Sprintf("container %+q has no volume at %s, where podfqdn publishes", j.Container, dir)
		change := fmt.Sprintf("volumeMounts of container %+q: the volume that the application mounts too, an emptyDir", j.Container)
		var mend fix
		for _, c := range j.pod.Spec.Containers {
			if other, ok := mountAt(c, dir); ok && c.Name != j.Container {
				why += fmt.Sprintf("; container %+q has volume %+q there", c.Name, other.Name)
				mend = j.mounts(object{"name": other.Name, "mountPath": dir})
				break
			}
		}
		j.found(diagnosis.Volume, why, change, mend)
		return
	}
	if mount.ReadOnly && !j.podfqdn.wraps() {
		j.found(diagnosis.Volume, fmt.Sprintf("container %+q mounts volume %+q read-only at %s, where podfqdn publishes", j.Container, mount.Name, mount.MountPath),
			fmt.Sprintf("volumeMounts of container %+q: readOnly: false for volume %+q; only the application's mount is read-only", j.Container, mount.Name),
			j.mounts(object{"name": mount.Name, "mountPath": mount.MountPath, "readOnly": false}))
	}
	for _, v := range j.pod.Spec.Volumes {
		kind := ""
		switch {
		case v.Name != mount.Name:
		case v.Secret != nil:
			kind = "a Secret"
		case v.ConfigMap != nil:
			kind = "a ConfigMap"
		case v.DownwardAPI != nil:
			kind = "of the downward API"
		case v.Projected != nil:
			kind = "projected"
		case v.Image != nil:
			kind = "an image"
		case v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly:
			kind = "a claim with readOnly: true"
		}
		if kind != "" {
			j.found(diagnosis.Volume, fmt.Sprintf("volume %+q at %s is %s, which cannot be written to", v.Name, mount.MountPath, kind),
				fmt.Sprintf("the volume at %s: an emptyDir", mount.MountPath), nil)
		}
	}
}

// mountAt returns the mount of a container that a directory is in: the deepest.
func mountAt(c corev1.Container, dir string) (mount corev1.VolumeMount, ok bool) {
	for _, m := range c.VolumeMounts {
		at := path.Clean(m.MountPath)
		if (dir == at || strings.HasPrefix(dir, strings.TrimSuffix(at, "/")+"/")) && len(at) > len(mount.MountPath) {
			mount, ok = m, true
		}
	}
	return mount, ok
}

// mounts changes one mount of podfqdn's container.
func (j *judge) mounts(mount object) fix {
	return j.patchOwner(j.with(object{}, "volumeMounts", []any{mount}))
}

// hostNetwork judges a Pod that has the node's files instead of its own, and needs
// variables instead.
func (j *judge) hostNetwork() {
	var set []corev1.EnvVar
	if !j.knows("PODFQDN_FQDN") {
		set = j.untold(!j.claim.dashed)
	}
	if !j.knows("POD_IPS") && !j.knows("POD_IP") {
		set = append(set, field("POD_IPS", "status.podIPs"))
	}
	if len(set) == 0 || j.wire.FQDN != "" { // it could tell
		return
	}
	change := object{}
	if j.pod.Spec.DNSPolicy != corev1.DNSClusterFirstWithHostNet && !j.knows("PODFQDN_NAMESERVERS") {
		change["dnsPolicy"] = corev1.DNSClusterFirstWithHostNet
	}
	c := j.found(diagnosis.HostNetwork,
		"the Pod has hostNetwork: true, so it has the node's files, not its own, and podfqdn cannot determine its name",
		fmt.Sprintf("the variables %s of container %+q", named(set), j.Container), j.patchOwner(j.with(change, "env", set)))
	if len(j.podfqdn.EnvFrom) > 0 { // a ConfigMap may have them
		c.Guess, c.mend = true, nil
	}
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
	why := "the Pod has no spec.subdomain, so it has no name in DNS"
	if j.owner.kind == "StatefulSet" {
		why = fmt.Sprintf("StatefulSet %+q has no serviceName, so its Pods have no spec.subdomain, and no name in DNS", j.owner.name)
	} else if j.claim.service != "" {
		why = fmt.Sprintf("the Pod has no spec.subdomain: PODFQDN_SERVICE=%+q tells podfqdn, but not DNS", j.claim.service)
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
	j.found(diagnosis.NoHostname, "the Pod has no spec.hostname, so DNS publishes it only by its address", change, mend)
}
