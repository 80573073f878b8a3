package main

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The ways' names.
const (
	wayNothing = "nothing"
	waySleep   = "sleep 0.15"
	wayLoop    = "until nslookup"
	wayInit    = "init"
	waySidecar = "sidecar"
	wayBoth    = "init, then sidecar"
	wayExec    = "exec, image volume"
	wayTools   = "exec, installed"
	wayPair    = "sidecar and exec"
)

// way is what a Pod does before its application's first instruction.
type way struct {
	Name  string
	Title string // in Markdown
	spec  func(env []corev1.EnvVar) corev1.PodSpec
}

// allWays are all of them, in the order of the tables.
var allWays = []way{
	{wayNothing, "nothing", func([]corev1.EnvVar) corev1.PodSpec { return before() }},
	{waySleep, "an init container that sleeps 0.15 s", func([]corev1.EnvVar) corev1.PodSpec {
		return before(corev1.Container{Name: "wait", Image: imageBench, Command: []string{"sleep", "0.15"}})
	}},
	{wayLoop, "`until nslookup $FQDN; do sleep 1; done` as init container", func(env []corev1.EnvVar) corev1.PodSpec {
		return before(corev1.Container{Name: "wait", Image: imageBench, Env: env, Command: []string{"sh", "-c", `until nslookup "$FQDN"; do sleep 1; done`}})
	}},
	{wayInit, "`podfqdn init` as init container", func([]corev1.EnvVar) corev1.PodSpec { return before(initContainer()) }},
	{waySidecar, "`podfqdn sidecar` with a startup probe every second", func([]corev1.EnvVar) corev1.PodSpec { return before(sidecar()) }},
	{wayBoth, "`podfqdn init`, and then such a sidecar", func([]corev1.EnvVar) corev1.PodSpec { return before(initContainer(), sidecar()) }},
	{wayExec, "`podfqdn exec` in the application's container, from an image volume", func([]corev1.EnvVar) corev1.PodSpec { return execFromImage() }},
	{wayTools, "`podfqdn init` with `PODFQDN_INSTALL`, and `podfqdn exec` in the application's container", func([]corev1.EnvVar) corev1.PodSpec { return execInstalled() }},
	{wayPair, "`podfqdn sidecar` without a startup probe, and `podfqdn exec` in the application's container", func([]corev1.EnvVar) corev1.PodSpec { return sidecarAndExec() }},
}

// before returns a Pod that starts these containers before its application, which reads the volume that they write.
func before(containers ...corev1.Container) corev1.PodSpec {
	spec := corev1.PodSpec{
		InitContainers: containers,
		Containers:     []corev1.Container{{Name: "app", Image: imageBench, Command: []string{"app"}}},
	}
	for _, c := range containers {
		if c.Image == imagePodfqdn {
			app := &spec.Containers[0]
			app.VolumeMounts = []corev1.VolumeMount{{Name: "identity", MountPath: "/identity", ReadOnly: true}}
			spec.Volumes = []corev1.Volume{emptyDir("identity")}
		}
	}
	return spec
}

// initContainer is podfqdn's, as in the README.
func initContainer() corev1.Container {
	return corev1.Container{Name: "init", Image: imagePodfqdn, VolumeMounts: []corev1.VolumeMount{{Name: "identity", MountPath: "/identity"}}}
}

// sidecar is podfqdn's, as in examples/sidecar.yaml.
func sidecar() corev1.Container {
	always := corev1.ContainerRestartPolicyAlways
	return corev1.Container{
		Name: "sidecar", Image: imagePodfqdn, Args: []string{"sidecar"}, RestartPolicy: &always,
		Env: []corev1.EnvVar{{Name: "PODFQDN_LISTEN", Value: ":8053"}},
		StartupProbe: &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromInt32(8053)}},
			PeriodSeconds: 1, FailureThreshold: 3600,
		},
		VolumeMounts: []corev1.VolumeMount{{Name: "identity", MountPath: "/identity"}},
	}
}

// execFromImage returns a Pod whose application's container proves the name itself.
func execFromImage() corev1.PodSpec {
	spec := before()
	spec.Volumes = []corev1.Volume{emptyDir("identity"), imageVolume()}
	app := &spec.Containers[0]
	app.Command = []string{"/podfqdn/podfqdn", "exec", "--", "app"}
	app.VolumeMounts = []corev1.VolumeMount{{Name: "identity", MountPath: "/identity"}, {Name: "podfqdn", MountPath: "/podfqdn", ReadOnly: true}}
	return spec
}

// execInstalled returns a Pod whose init container proves the name, and leaves podfqdn to the application's.
func execInstalled() corev1.PodSpec {
	wait := initContainer()
	wait.Env = []corev1.EnvVar{{Name: "PODFQDN_INSTALL", Value: "/tools"}}
	wait.VolumeMounts = append(wait.VolumeMounts, corev1.VolumeMount{Name: "tools", MountPath: "/tools"})
	spec := before(wait)
	spec.Volumes = append(spec.Volumes, emptyDir("tools"))
	app := &spec.Containers[0]
	app.Command = []string{"/tools/podfqdn", "exec", "--", "app"}
	app.VolumeMounts = append(app.VolumeMounts, corev1.VolumeMount{Name: "tools", MountPath: "/tools", ReadOnly: true})
	return spec
}

// sidecarAndExec returns a Pod whose application's container waits for what the sidecar publishes: the kubelet does not.
func sidecarAndExec() corev1.PodSpec {
	publisher := sidecar()
	publisher.StartupProbe = nil
	spec := before(publisher)
	spec.Volumes = append(spec.Volumes, imageVolume())
	app := &spec.Containers[0]
	app.Command = []string{"/podfqdn/podfqdn", "exec", "--", "app"}
	app.VolumeMounts = append(app.VolumeMounts, corev1.VolumeMount{Name: "podfqdn", MountPath: "/podfqdn", ReadOnly: true})
	return spec
}

// imageVolume has podfqdn's image as its content.
func imageVolume() corev1.Volume {
	return corev1.Volume{Name: "podfqdn", VolumeSource: corev1.VolumeSource{
		Image: &corev1.ImageVolumeSource{Reference: imagePodfqdn, PullPolicy: corev1.PullIfNotPresent},
	}}
}
