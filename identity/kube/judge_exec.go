package kube

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// unstarted reports whether podfqdn's container ended before its first
// instruction.
func (j *judge) unstarted() bool {
	end := j.podfqdn.end()
	return j.State == Failed && end != nil && unstartable(end)
}

// end returns how a container last ended; nil if it has not.
func (c part) end() *corev1.ContainerStateTerminated {
	return cmp.Or(c.status.State.Terminated, c.status.LastTerminationState.Terminated)
}

// commandless adds that podfqdn exec did not find the command that it should
// become, or may not execute it. It checks that before it asks DNS (docs/contract.md,
// exit codes).
func (j *judge) commandless() {
	why, again := strings.CutPrefix(j.Reason, "before that: ")
	end := j.podfqdn.end()
	if !j.podfqdn.wraps() || end == nil || !strings.HasPrefix(end.Message, signed) || j.code != 126 && j.code != 127 || j.State != Failed && !again {
		return
	}
	j.found(diagnosis.Misconfigured, why, fmt.Sprintf("the command after podfqdn exec in container %+q: name a file that the container has and may execute", j.Container), nil)
}

// file judges a command that names podfqdn at a path where it is not, and reports
// whether there is one. runc says `exec: "/podfqdn/podfqdn": stat /podfqdn/podfqdn: no such
// file or directory`, and of a name without a slash that it is not found in
// $PATH; crun says much the same.
func (j *judge) file() bool {
	file, _ := j.podfqdn.runs()
	said := strings.ToLower(j.Reason)
	absent := strings.Contains(said, "no such file or directory") || strings.Contains(said, "not found")
	denied := strings.Contains(said, "permission denied") || strings.Contains(said, "is a directory")
	if file == "" || !strings.Contains(said, strings.ToLower(file)) || !j.unstarted() && j.State != Pending {
		return false
	}
	why := fmt.Sprintf("container %+q was not started, as it has no %s", j.Container, file)
	mount, mounted := mountAt(j.podfqdn.Container, path.Clean(file))
	switch words := slices.Concat(j.podfqdn.Command, j.podfqdn.Args); {
	case denied && mounted && path.Clean(file) == path.Clean(mount.MountPath):
		j.found(diagnosis.BinaryMissing, fmt.Sprintf("container %+q was not started: %s is the directory where volume %+q is mounted", j.Container, file, mount.Name),
			fmt.Sprintf("the command of container %+q: write %s", j.Container, path.Join(file, "podfqdn")), nil)
	case !absent:
		return false
	case strings.ContainsAny(words[0], " \t\n"):
		j.found(diagnosis.BinaryMissing, fmt.Sprintf("container %+q was not started: the command is one string with blanks, %+q", j.Container, words[0]),
			fmt.Sprintf("the command of container %+q: write it as a list: %s", j.Container, list(strings.Fields(words[0]))), nil)
	case !strings.Contains(file, "/"):
		j.found(diagnosis.BinaryMissing, why+" in its $PATH", fmt.Sprintf("the command of container %+q: the whole path of podfqdn in the volume that brings it", j.Container), nil)
	case j.broughtElsewhere(why, file, mount):
	default:
		j.notInVolume(why, file, mount)
	}
	return true
}

// overItself judges a volume that is mounted over podfqdn's file in its own image,
// and reports whether one is: runc says that it is not a directory.
func (j *judge) overItself() bool {
	mount, _ := mountAt(j.podfqdn.Container, "/podfqdn")
	if !ours(j.podfqdn.Image) || path.Clean(mount.MountPath) != "/podfqdn" || !strings.Contains(strings.ToLower(j.Reason), "not a directory") || !j.unstarted() && j.State != Pending {
		return false
	}
	change := fmt.Sprintf("volumeMounts of container %+q: another path for volume %+q, such as /tools", j.Container, mount.Name)
	if path.Clean(j.value("PODFQDN_INSTALL")) == "/podfqdn" {
		change += ", and the same in PODFQDN_INSTALL; the application's container may keep its own"
	}
	j.found(diagnosis.Volume, fmt.Sprintf("container %+q was not started: volume %+q is mounted at /podfqdn, which is podfqdn's own file in its image", j.Container, mount.Name), change, nil)
	return true
}

// list returns words as a list of YAML.
func list(words []string) string {
	line, err := json.Marshal(words)
	if err != nil {
		panic(err) // they came as JSON
	}
	return string(line)
}

// broughtElsewhere judges a command that names podfqdn where it is not, and a
// volume of the Pod that has it: it is mounted at another path, or not at all.
func (j *judge) broughtElsewhere(why, file string, mount corev1.VolumeMount) bool {
	if mount.Name != "" && brings(j.pod, mount.Name) {
		return false
	}
	i := slices.IndexFunc(j.pod.Spec.Volumes, func(v corev1.Volume) bool { return brings(j.pod, v.Name) })
	if i < 0 {
		return false
	}
	volume := j.pod.Spec.Volumes[i].Name
	if at := slices.IndexFunc(j.podfqdn.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume }); at >= 0 {
		dir := j.podfqdn.VolumeMounts[at].MountPath
		j.found(diagnosis.BinaryMissing, fmt.Sprintf("%s: volume %+q is mounted at %s", why, volume, dir),
			fmt.Sprintf("the command of container %+q: write %s", j.Container, path.Join(dir, "podfqdn")), nil)
		return true
	}
	dir := path.Dir(file)
	change := fmt.Sprintf("volumeMounts of container %+q: volume %+q at %s", j.Container, volume, dir)
	mend := j.mounts(object{"name": volume, "mountPath": dir, "readOnly": true})
	if dir == "/" || path.Base(file) != "podfqdn" { // nothing can be mounted at /
		dir, mend = either(dir == "/", "/podfqdn", dir), nil
		change = fmt.Sprintf("volumeMounts of container %+q: volume %+q at %s; and its command: write %s", j.Container, volume, dir, path.Join(dir, "podfqdn"))
	}
	j.found(diagnosis.BinaryMissing, fmt.Sprintf("%s: volume %+q is not mounted in it", why, volume), change, mend)
	return true
}

// notInVolume judges a command that names podfqdn where no volume brings it. It
// blames the cluster only if the spec is right.
func (j *judge) notInVolume(why, file string, mount corev1.VolumeMount) {
	const install = "or install podfqdn from an init container with PODFQDN_INSTALL, which works on any Kubernetes"
	i := slices.IndexFunc(j.pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })
	switch {
	case i < 0:
		why += ", and no volume is mounted there"
		if !j.imageVolumes() {
			why += "; if its manifest has an image volume, this Kubernetes has dropped it: image volumes are on from 1.35"
		}
		j.found(diagnosis.BinaryMissing, why, fmt.Sprintf("volumeMounts of container %+q: an image volume of podfqdn's image at %s, %s", j.Container, path.Dir(file), install), nil)
		return
	case j.pod.Spec.Volumes[i].Image == nil:
		j.found(diagnosis.BinaryMissing, fmt.Sprintf("%s: volume %+q, which is mounted there, does not have it", why, mount.Name), j.installed(mount), nil)
		return
	}
	image := j.pod.Spec.Volumes[i].Image.Reference
	why = fmt.Sprintf("%s: volume %+q, which is mounted there, is the image %+q", why, mount.Name, image)
	runtime := "the container runtime: containerd before 2.1 does not mount image volumes, nor do some later builds; " + install
	there := path.Join(mount.MountPath, "podfqdn")
	own := fmt.Sprintf("podfqdn's own image has it as /podfqdn, so write %s", there)
	switch exact := path.Clean(file) == there; {
	case ours(image) && exact && mount.SubPath == "":
		j.found(diagnosis.BinaryMissing, fmt.Sprintf("%s, and the container runtime of node %+q has mounted an empty directory in its place", why, j.pod.Spec.NodeName), runtime, nil)
	case ours(image) && mount.SubPath == "":
		j.found(diagnosis.BinaryMissing, why, fmt.Sprintf("the command of container %+q: %s", j.Container, own), nil)
	default:
		change := fmt.Sprintf("the volume, or the command of container %+q: %s", j.Container, own)
		why += ", which may lack it there"
		if exact {
			why, change = why+"; or the container runtime has mounted an empty directory in its place", change+"; or "+runtime
		}
		j.found(diagnosis.BinaryMissing, why, change, nil).Guess = true
	}
}

// imageVolumes reports whether the Pod has an image volume: this Kubernetes knows
// them then.
func (j *judge) imageVolumes() bool {
	return slices.ContainsFunc(j.pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Image != nil })
}

// installed returns what to change if a volume that is not an image does not have
// podfqdn.
func (j *judge) installed(mount corev1.VolumeMount) string {
	for _, c := range parts(j.pod) {
		if installs(c.Container, mount.Name) {
			return fmt.Sprintf("the command of container %+q: container %+q installs podfqdn in volume %+q as podfqdn", j.Container, c.Name, mount.Name)
		}
	}
	change := fmt.Sprintf("the variable PODFQDN_INSTALL of podfqdn's init container, which mounts volume %+q too: no container installs podfqdn in it", mount.Name)
	if !j.imageVolumes() {
		change += "; if the manifest has an image volume there, this Kubernetes does not support it"
	}
	return change
}

// mountIdentity judges a container of podfqdn exec without a volume to publish in,
// and proposes an emptyDir, which lives as long as the Pod.
func (j *judge) mountIdentity(dir string) {
	why := fmt.Sprintf("container %+q has no volume at %s, where podfqdn publishes", j.Container, dir)
	change := fmt.Sprintf("volumeMounts of container %+q: an emptyDir at %s", j.Container, dir)
	spec := j.with(object{}, "volumeMounts", []any{object{"name": "identity", "mountPath": dir}})
	i := slices.IndexFunc(j.pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "identity" })
	switch {
	case i < 0:
		spec["volumes"] = []any{object{"name": "identity", "emptyDir": object{}}}
	case j.pod.Spec.Volumes[i].EmptyDir == nil:
		j.found(diagnosis.Volume, why, change, nil)
		return
	}
	j.found(diagnosis.Volume, why, change, j.patchOwner(spec))
}

// publisher judges a container of podfqdn exec whose volume is read-only and has no
// writer.
func (j *judge) publisher() {
	mount, ok := j.unwritten()
	if !ok || j.holds != "" && j.holds != diagnosis.NothingPublished {
		return
	}
	j.found(diagnosis.Volume, fmt.Sprintf("container %+q mounts volume %+q read-only at %s, so it waits for another container to publish there, but no container mounts it for writing", j.Container, mount.Name, mount.MountPath),
		fmt.Sprintf("volumeMounts of container %+q: readOnly: false for volume %+q; or add an init container of podfqdn's that mounts it", j.Container, mount.Name),
		j.mounts(object{"name": mount.Name, "mountPath": mount.MountPath, "readOnly": false}))
}

// unpublished adds why podfqdn exec has published nothing although DNS agrees.
func (j *judge) unpublished() {
	j.publisher()
	j.entrypoint(true)
	if len(j.causes) == 0 && j.holds == diagnosis.NothingPublished {
		j.found(diagnosis.Unexplained, fmt.Sprintf("DNS agrees now, but nothing is published for container %+q: podfqdn has not asked since, or does not run in it", j.Container),
			fmt.Sprintf("nothing, if it is published when you look again; otherwise check what container %+q runs and logs", j.Container), nil).Guess = true
	}
}

// entrypoint judges podfqdn exec in args alone: where the ENTRYPOINT does not run
// it, nothing is published, or the server does not know its arguments and ends.
func (j *judge) entrypoint(dnsAgrees bool) {
	end := j.podfqdn.end()
	ran := end != nil && j.podfqdn.speaks(end)
	crashed := end != nil && end.ExitCode != 0 && j.podfqdn.status.State.Running == nil
	if !j.podfqdn.passedOn() || ran || !crashed && j.holds != diagnosis.NothingPublished {
		return
	}
	c := j.found(diagnosis.Misconfigured, fmt.Sprintf("container %+q has podfqdn exec in args but no command: the image's ENTRYPOINT gets it as arguments", j.Container),
		fmt.Sprintf("container %+q: move it to command: command: %s", j.Container, list(j.podfqdn.Args)), nil)
	c.Guess = !dnsAgrees
}

// killedByProbe adds that the kubelet has killed podfqdn in the application's
// container for a probe: SIGTERM ended it while it waited, and the container was
// started again. It comes behind what keeps DNS from agreeing, and in front of
// what may.
func (j *judge) killedByProbe() {
	probe, name := j.podfqdn.impatient()
	end, restarts := j.podfqdn.end(), j.podfqdn.status.RestartCount
	if probe == nil || j.proven() || end == nil || end.ExitCode != 143 || !strings.HasPrefix(end.Message, signed) || restarts == 0 {
		return
	}
	j.found(diagnosis.KilledByProbe, fmt.Sprintf("the %s of container %+q kills podfqdn while it waits: the container was restarted %d times, and SIGTERM last ended podfqdn %s after its start",
		name, j.Container, restarts, end.FinishedAt.Sub(end.StartedAt.Time).Round(time.Second)), j.longer(probe), j.patchOwner(j.with(object{}, "startupProbe", j.longProbe(probe))))
	j.advance()
}

// probeMayKill adds that the kubelet may kill podfqdn, or may have, if nothing shows
// that it did. It comes last, because that is not why podfqdn waits.
func (j *judge) probeMayKill() {
	probe, name := j.podfqdn.impatient()
	end, limit := j.podfqdn.end(), limitOf(probe)
	was := j.State == Failed && end != nil && !j.podfqdn.speaks(end)
	waits := j.State == Waiting || j.State == Running && j.wire.Reason != ""
	young := waits && j.For < limit // what runs for longer is not killed
	if probe == nil || j.proven() || !was && !young || slices.ContainsFunc(j.causes, func(c cause) bool { return c.Kind == diagnosis.KilledByProbe }) {
		return
	}
	has := either(name == "livenessProbe", "a livenessProbe and no startupProbe", "a startupProbe that is shorter than PODFQDN_TIMEOUT")
	j.found(diagnosis.KilledByProbe, fmt.Sprintf("container %+q has %s: the kubelet kills podfqdn in it about %s after its start, if DNS takes that long", j.Container, has, limit), j.longer(probe), nil).Guess = true
}

// longProbe returns a startupProbe that makes the same check as a probe, which
// the image can answer, and has the patience of podfqdn, and that of the probe for
// the application behind it.
func (j *judge) longProbe(probe *corev1.Probe) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: probe.ProbeHandler, TimeoutSeconds: probe.TimeoutSeconds, PeriodSeconds: 1,
		FailureThreshold: int32((j.podfqdn.patience() + limitOf(probe)) / time.Second),
	}
}

// longer returns what to change for a probe, with the lines to add.
func (j *judge) longer(probe *corev1.Probe) string {
	lines, err := json.Marshal(j.longProbe(probe))
	if err != nil {
		panic(err) // it came as JSON
	}
	return fmt.Sprintf("container %+q: a startupProbe that outlasts podfqdn's wait and holds the livenessProbe back: startupProbe: %s", j.Container, lines)
}
