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

// end returns how a container ended last; nil where it has not.
func (c part) end() *corev1.ContainerStateTerminated {
	return cmp.Or(c.status.State.Terminated, c.status.LastTerminationState.Terminated)
}

// file judges a command that names podfqdn where it is not, and reports whether
// it does. runc says `exec: "/podfqdn/podfqdn": stat /podfqdn/podfqdn: no such
// file or directory`, and of a name without a slash that it is not found in
// $PATH; crun says much the same.
func (j *judge) file() bool {
	file, _ := j.podfqdn.runs()
	said := strings.ToLower(j.Reason)
	absent := strings.Contains(said, "no such file or directory") || strings.Contains(said, "not found")
	if file == "" || !absent || !strings.Contains(said, strings.ToLower(file)) || !j.unstarted() && j.State != Pending {
		return false
	}
	why := fmt.Sprintf("container %+q was not started, as it has no %s", j.Container, file)
	mount, ok := mountAt(j.podfqdn.Container, path.Clean(file))
	i := slices.IndexFunc(j.pod.Spec.Volumes, func(v corev1.Volume) bool { return ok && v.Name == mount.Name })
	const install = "or install podfqdn from an init container, by PODFQDN_INSTALL, for which any Kubernetes will do"
	switch {
	case !strings.Contains(file, "/"):
		j.found(diagnosis.BinaryMissing, why+" in its $PATH", fmt.Sprintf("the command of container %+q: the whole path of podfqdn in the volume that brings it", j.Container), nil)
	case i < 0:
		j.found(diagnosis.BinaryMissing, why+", and no volume there; where its manifest has an image volume, this Kubernetes has dropped it: they are on from 1.35",
			fmt.Sprintf("volumeMounts of container %+q: an image volume of podfqdn's image at %s, %s", j.Container, path.Dir(file), install), nil)
	case j.pod.Spec.Volumes[i].Image == nil:
		j.found(diagnosis.BinaryMissing, fmt.Sprintf("%s: volume %+q, which is mounted there, does not have it", why, mount.Name), j.installed(mount), nil)
	default:
		image := j.pod.Spec.Volumes[i].Image.Reference
		inside := path.Join("/", mount.SubPath, strings.TrimPrefix(path.Clean(file), path.Clean(mount.MountPath)))
		c := j.found(diagnosis.BinaryMissing, fmt.Sprintf("%s: volume %+q, which is mounted there, is the image %+q, and the container runtime of node %+q has mounted an empty directory in its place", why, mount.Name, image, j.pod.Spec.NodeName),
			"the container runtime: containerd before 2.1 does not mount image volumes, nor do some later builds; "+install, nil)
		if c.Guess = inside != "/podfqdn" || !ours(image); c.Guess {
			c.Change = fmt.Sprintf("the command of container %+q: podfqdn's own image has it as /podfqdn, so it is %s; or %s", j.Container, path.Join(mount.MountPath, "podfqdn"), c.Change)
		}
	}
	return true
}

// installed says what to change where a volume that is not an image does not have
// podfqdn.
func (j *judge) installed(mount corev1.VolumeMount) string {
	for _, c := range parts(j.pod) {
		if installs(c.Container, mount.Name) {
			return fmt.Sprintf("the command of container %+q: container %+q installs podfqdn in volume %+q as podfqdn", j.Container, c.Name, mount.Name)
		}
	}
	return fmt.Sprintf("the variable PODFQDN_INSTALL of podfqdn's init container, which mounts volume %+q too: no container installs podfqdn in it", mount.Name)
}

// mountIdentity judges a container of podfqdn exec without a volume to publish in,
// and gives it one: an emptyDir, which lives as long as the Pod.
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

// publisher judges a container of podfqdn exec that only reads, and for which
// nobody writes.
func (j *judge) publisher() {
	dir, _, known := j.told("PODFQDN_DIR")
	if !j.podfqdn.wraps() || j.knows("PODFQDN_DIR") && !known {
		return
	}
	dir = path.Clean(cmp.Or(dir, "/identity"))
	mount, ok := mountAt(j.podfqdn.Container, dir)
	writes := func(c part) bool {
		return c.made() && slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == mount.Name && !m.ReadOnly })
	}
	if !ok || !mount.ReadOnly || slices.ContainsFunc(parts(j.pod), writes) {
		return
	}
	j.found(diagnosis.Volume, fmt.Sprintf("container %+q mounts volume %+q read-only at %s, and so waits for another container to publish there; no container of podfqdn's mounts it to write", j.Container, mount.Name, mount.MountPath),
		fmt.Sprintf("volumeMounts of container %+q: readOnly: false for volume %+q; or an init container of podfqdn's that mounts it", j.Container, mount.Name),
		j.mounts(object{"name": mount.Name, "mountPath": mount.MountPath, "readOnly": false}))
}

// livenessKilled adds that the kubelet has killed podfqdn in the application's
// container for its livenessProbe: SIGTERM ended it while it waited, and the
// container was started again. It comes after what keeps DNS from agreeing,
// and in front of what may.
func (j *judge) livenessKilled() {
	end := j.podfqdn.end()
	if !j.podfqdn.unguarded() || j.proven() || end == nil || end.ExitCode != 143 || !strings.HasPrefix(end.Message, signed) || j.podfqdn.status.RestartCount == 0 {
		return
	}
	j.found(diagnosis.KilledByProbe, fmt.Sprintf("the livenessProbe of container %+q kills podfqdn while it waits: the container was started again %d times, and the last time SIGTERM ended podfqdn %s after its start",
		j.Container, j.podfqdn.status.RestartCount, end.FinishedAt.Sub(end.StartedAt.Time)), j.startupProbe(), j.patchOwner(j.with(object{}, "startupProbe", j.longProbe())))
	last := len(j.causes) - 1
	killed := j.causes[last]
	if i := slices.IndexFunc(j.causes, func(c cause) bool { return c.Guess }); i >= 0 {
		j.causes = slices.Insert(j.causes[:last:last], i, killed)
	}
}

// livenessMayKill adds that the kubelet may kill podfqdn, or may have, where
// nothing shows that it did: at last, as that is not why podfqdn waits.
func (j *judge) livenessMayKill() {
	end := j.podfqdn.end()
	was := j.State == Failed && end != nil && killed(end)
	waits := j.State == Waiting || j.State == Running && j.wire.Reason != ""
	// What runs for longer is not killed.
	young := waits && j.For < limitOf(j.podfqdn.LivenessProbe)
	if !j.podfqdn.unguarded() || j.proven() || !was && !young || slices.ContainsFunc(j.causes, func(c cause) bool { return c.Kind == diagnosis.KilledByProbe }) {
		return
	}
	j.found(diagnosis.KilledByProbe, fmt.Sprintf("container %+q has a livenessProbe and no startupProbe: the kubelet kills podfqdn in it about %s after its start, if DNS takes so long", j.Container, limitOf(j.podfqdn.LivenessProbe)),
		j.startupProbe(), nil).Guess = true
}

// day is as long as anything is waited for here.
const day = 24 * time.Hour

// limitOf returns how long after its start the kubelet kills a container whose
// livenessProbe fails from the first time on; 0 for no probe.
func limitOf(p *corev1.Probe) time.Duration {
	if p == nil {
		return 0
	}
	seconds := int64(p.InitialDelaySeconds) + int64(cmp.Or(p.PeriodSeconds, 10))*int64(cmp.Or(p.FailureThreshold, 3))
	return time.Duration(min(seconds, int64(day/time.Second))) * time.Second
}

// longProbe returns a startupProbe that fails as long as the livenessProbe does,
// and has the patience of podfqdn, and that of the livenessProbe for the
// application behind it. It is the same check, which the image can answer.
func (j *judge) longProbe() *corev1.Probe {
	liveness := j.podfqdn.LivenessProbe
	wait, err := time.ParseDuration(j.value("PODFQDN_TIMEOUT"))
	switch {
	case err != nil:
		wait = 15 * time.Minute // as podfqdn itself has it
	case wait <= 0 || wait > day: // or for ever
		wait = day
	}
	return &corev1.Probe{
		ProbeHandler: liveness.ProbeHandler, PeriodSeconds: 1, TimeoutSeconds: liveness.TimeoutSeconds,
		FailureThreshold: int32((wait + limitOf(liveness)) / time.Second),
	}
}

// startupProbe says what to change for a livenessProbe, with the lines.
func (j *judge) startupProbe() string {
	lines, err := json.Marshal(j.longProbe())
	if err != nil {
		panic(err) // it came as JSON
	}
	return fmt.Sprintf("container %+q: a startupProbe, which keeps the livenessProbe back while podfqdn waits and the application starts: startupProbe: %s", j.Container, lines)
}
