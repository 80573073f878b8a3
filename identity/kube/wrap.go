package kube

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// A container of `podfqdn exec` is the application's: podfqdn waits in it, and
// then becomes the application, with the same process id. The API does not show
// which of the two it is; a probe does, and a termination message.

// signed is how podfqdn exec begins its termination message, so that its exit code
// is not taken for the application's.
const signed = "podfqdn:"

// inShell is how a shell is told to run podfqdn: its path, and the command.
var inShell = regexp.MustCompile(`(?:^|[\s;&|("'])((?:[^\s;&|("']*/)?podfqdn) (init|sidecar|exec|wait)\b`)

// runs returns podfqdn's file and command, where a container's command, or its
// arguments without one, begin with podfqdn, or tell a shell to run it; "" and
// "" where they do not.
func (c part) runs() (file, command string) {
	words := slices.Concat(c.Command, c.Args)
	if len(words) > 0 && path.Base(words[0]) == "podfqdn" {
		if len(words) > 1 {
			command = words[1]
		}
		return words[0], command
	}
	if len(words) > 1 && (words[1] == "exec" || words[1] == "wait") && c.brought {
		return words[0], words[1]
	}
	for _, word := range words {
		if found := inShell.FindStringSubmatch(word); found != nil {
			return found[1], found[2]
		}
	}
	return "", ""
}

// wraps reports whether podfqdn becomes the application in the container.
func (c part) wraps() bool {
	_, command := c.runs()
	return command == "exec" || len(c.Command) == 0 && len(c.Args) > 0 && c.Args[0] == "exec" && ours(c.Image)
}

// passedOn reports whether podfqdn exec is in a container's args alone, which are
// arguments of its image's ENTRYPOINT: one such as tini runs them, and a server's
// own does not.
func (c part) passedOn() bool {
	file, _ := c.runs()
	return file != "" && c.wraps() && len(c.Command) == 0 && !ours(c.Image)
}

// ours reports whether an image is podfqdn's by its name, from any registry.
func ours(image string) bool {
	name, _, _ := strings.Cut(path.Base(image), "@")
	name, _, _ = strings.Cut(name, ":")
	return strings.Contains(name, "podfqdn")
}

// brings reports whether podfqdn's file is in a volume of the Pod: an image volume
// of its image, or one that an init container installs it in.
func brings(p *corev1.Pod, volume string) bool {
	if slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == volume && v.Image != nil && ours(v.Image.Reference) }) {
		return true
	}
	return slices.ContainsFunc(slices.Concat(p.Spec.InitContainers, p.Spec.Containers), func(c corev1.Container) bool {
		return installs(c, volume)
	})
}

// installs reports whether podfqdn in a container puts its file into a volume.
func installs(c corev1.Container, volume string) bool {
	return slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
		m, ok := mountAt(c, path.Clean(e.Value))
		return e.Name == "PODFQDN_INSTALL" && ok && m.Name == volume
	})
}

// passed reports whether podfqdn has become the application in a container that
// runs, and whether that is known: a probe shows it, or that it runs for longer
// than podfqdn waits.
func (c part) passed() (passed, known bool) {
	switch {
	case c.StartupProbe != nil:
		return deref(c.status.Started, false), true
	case c.ReadinessProbe != nil:
		return c.status.Ready, true
	case c.outwaits():
		return true, true
	}
	return true, false
}

// outwaits reports whether a container runs for longer than podfqdn exec waits in it,
// and a minute.
func (c part) outwaits() bool {
	now := c.status.State.Running
	unread := len(c.EnvFrom) > 0 || slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
		return e.Name == "PODFQDN_TIMEOUT" && (e.ValueFrom != nil || strings.Contains(e.Value, "$("))
	})
	return c.wraps() && !unread && c.patience() < day && now != nil && since(now.StartedAt) > c.patience()+time.Minute
}

// unsure reports whether nothing shows if podfqdn waits in a container that runs,
// or the application runs that it became.
func (v *View) unsure() bool {
	_, known := v.podfqdn.passed()
	return v.State == Running && v.podfqdn.wraps() && !known && v.holds != diagnosis.Verified
}

// speaks reports whether podfqdn itself ended a container, and not the
// application that it became there.
func (c part) speaks(end *corev1.ContainerStateTerminated) bool {
	return !c.wraps() || strings.HasPrefix(end.Message, signed) || unstartable(end)
}

// unstartable reports whether a container ended before its first instruction:
// containerd and CRI-O say StartError, others ContainerCannotRun.
func unstartable(end *corev1.ContainerStateTerminated) bool {
	return end.Reason == "StartError" || end.Reason == "ContainerCannotRun"
}

// patience returns how long podfqdn in a container waits before it gives up by
// itself, a day at most.
func (c part) patience() time.Duration {
	wait := 15 * time.Minute // as podfqdn has it
	for _, e := range c.Env {
		if told, err := time.ParseDuration(e.Value); e.Name == "PODFQDN_TIMEOUT" && err == nil {
			wait = told
		}
	}
	if wait <= 0 || wait > day { // or for ever
		return day
	}
	return wait
}

// day is the longest wait that this package reckons with.
const day = 24 * time.Hour

// limitOf returns how long after its start the kubelet kills a container whose
// probe fails from the first time on; 0 for no probe.
func limitOf(p *corev1.Probe) time.Duration {
	if p == nil {
		return 0
	}
	seconds := int64(p.InitialDelaySeconds) + int64(cmp.Or(p.PeriodSeconds, 10))*int64(cmp.Or(p.FailureThreshold, 3))
	return time.Duration(min(seconds, int64(day/time.Second))) * time.Second
}

// impatient returns the probe for which the kubelet kills podfqdn while it waits in
// the application's container, and what it is called; nil for none. A startupProbe
// keeps the livenessProbe back.
func (c part) impatient() (*corev1.Probe, string) {
	switch {
	case !c.wraps():
	case c.StartupProbe == nil && c.LivenessProbe != nil:
		return c.LivenessProbe, "livenessProbe"
	case c.StartupProbe != nil && limitOf(c.StartupProbe) < c.patience():
		return c.StartupProbe, "startupProbe"
	}
	return nil, ""
}

// mayHaveWaited reports whether the kubelet may have killed podfqdn, and not the
// application, where nothing is said of it: 137 is SIGKILL, 143 is SIGTERM. What
// lived for longer than its probe has patience, and a minute to end, was the
// application.
func (c part) mayHaveWaited(end *corev1.ContainerStateTerminated) bool {
	probe, _ := c.impatient()
	killed := (end.ExitCode == 137 || end.ExitCode == 143) && end.Reason != "OOMKilled"
	return probe != nil && killed && end.FinishedAt.Sub(end.StartedAt.Time) < limitOf(probe)+time.Minute
}

// goesOn reads a container that runs, of podfqdn or of what it became.
func (u *Use) goesOn(p *corev1.Pod, c part) {
	passed, known := c.passed()
	u.State, u.For = either(passed, Running, Waiting), since(c.status.State.Running.StartedAt)
	_, waits := (&View{Use: *u, pod: p, podfqdn: c}).unwritten()
	switch {
	case waits && !c.probed():
		u.State = Waiting
	case !known:
		u.Reason = "no probe shows whether podfqdn waits or the application runs"
	}
}

// previously adds how podfqdn ended last to a container in which it waits again.
func (u *Use) previously(c part) {
	if last := c.status.LastTerminationState.Terminated; u.State == Waiting && last != nil && last.ExitCode != 0 && c.speaks(last) {
		u.Reason, u.code = "before that: "+said(last), last.ExitCode
	}
}

// Hear takes in what podfqdn doctor found in the container itself: podfqdn exec
// becomes the application only behind what is published.
func (v *View) Hear(wire *diagnosis.Diagnosis) {
	i := slices.IndexFunc(wire.Facts, func(f diagnosis.Seen) bool { return f.Name == diagnosis.FactVolume })
	if i < 0 || !v.podfqdn.wraps() {
		return
	}
	v.holds = wire.Facts[i].Value
	if v.State != Running && v.State != Waiting {
		return
	}
	probed := v.podfqdn.probed()
	switch {
	case v.holds == diagnosis.NothingPublished:
		v.Healthy = false
		if !probed && !v.podfqdn.passedOn() { // else nothing shows that podfqdn is there

			v.State, v.Reason = Waiting, ""
			v.previously(v.podfqdn)
		}
	case v.holds == diagnosis.Verified && !probed: // it goes on at once
		v.State, v.Reason, v.Healthy = Running, "", true
	}
}

// unwritten returns the mount in which podfqdn exec waits for another container
// to publish, where no container can.
func (v *View) unwritten() (mount corev1.VolumeMount, ok bool) {
	dir, _, known := v.told("PODFQDN_DIR")
	if !v.podfqdn.wraps() || v.knows("PODFQDN_DIR") && !known {
		return mount, false
	}
	mount, ok = mountAt(v.podfqdn.Container, path.Clean(cmp.Or(dir, "/identity")))
	writes := func(c part) bool { // it may be podfqdn's, whatever it is called
		return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == mount.Name && !m.ReadOnly })
	}
	return mount, ok && mount.ReadOnly && !slices.ContainsFunc(parts(v.pod), writes)
}

// handedOver reads how the application ended that podfqdn had become.
func (u *Use) handedOver(c part, end *corev1.ContainerStateTerminated) {
	u.For = since(end.FinishedAt)
	if c.mayHaveWaited(end) {
		u.State, u.code = Failed, end.ExitCode
		u.Reason = fmt.Sprintf("it was killed (exit code %d): nothing shows whether podfqdn waited or the application ran", end.ExitCode)
		return
	}
	u.State = Published
	if end.ExitCode != 0 {
		u.Reason = fmt.Sprintf("the application that podfqdn became ended with %d (%s)", end.ExitCode, end.Reason)
	}
}

// said returns podfqdn's termination message as one line.
func said(end *corev1.ContainerStateTerminated) string {
	return strings.TrimSpace(strings.TrimPrefix(oneLine(end.Message), signed))
}
