package examples

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/podfqdn/podfqdn/identity"
)

const root = "../.."

// manifest is the objects of one file.
type manifest struct {
	name     string
	services map[string]*corev1.Service
	configs  map[string]*corev1.ConfigMap
	claims   []string // for storage
	pods     []pod
	parts    []corev1.PodSpec // of no whole Pod
	monitors []*monitoringv1.PodMonitor
	rules    []*monitoringv1.PrometheusRule
	policies []*networkingv1.NetworkPolicy
}

// pod is a Pod, or the template of one.
type pod struct {
	owner    string // "Deployment etcd-0"
	labels   map[string]string
	selector map[string]string // of the owner; nil for a bare Pod
	governs  string            // the owner's serviceName
	size     int32             // how many the owner has; 0 for a bare Pod
	ordered  bool              // each is made when the one before is Ready
	spec     corev1.PodSpec
}

// waits reports whether podfqdn only waits for other names in it: it has none of its own.
func (p pod) waits() bool {
	c := p.spec.InitContainers
	return len(c) > 0 && len(c[0].Args) > 0 && c[0].Args[0] == "wait"
}

// documents parses YAML strictly: a field that Kubernetes does not know is an error, and so is a kind that no test checks.
func documents(t *testing.T, name, text string) manifest {
	t.Helper()
	m := manifest{name: name, services: map[string]*corev1.Service{}, configs: map[string]*corev1.ConfigMap{}}
	for _, doc := range regexp.MustCompile(`(?m)^---$`).Split(text, -1) {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, doc)
		}
		strict := func(into any) {
			t.Helper()
			if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, doc)
			}
		}
		switch kind.Kind {
		case "Service":
			s := new(corev1.Service)
			strict(s)
			m.services[s.Name] = s
		case "Pod":
			var p corev1.Pod
			strict(&p)
			m.pods = append(m.pods, pod{"Pod " + p.Name, p.Labels, nil, "", 0, false, p.Spec})
		case "Deployment":
			var d appsv1.Deployment
			strict(&d)
			m.pods = append(m.pods, pod{"Deployment " + d.Name, d.Spec.Template.Labels, d.Spec.Selector.MatchLabels, "", count(d.Spec.Replicas), false, d.Spec.Template.Spec})
		case "StatefulSet":
			var s appsv1.StatefulSet
			strict(&s)
			m.pods = append(m.pods, pod{"StatefulSet " + s.Name, s.Spec.Template.Labels, s.Spec.Selector.MatchLabels, s.Spec.ServiceName,
				count(s.Spec.Replicas), s.Spec.PodManagementPolicy != appsv1.ParallelPodManagement, s.Spec.Template.Spec})
		case "Job":
			var j batchv1.Job
			strict(&j)
			if j.Spec.CompletionMode != nil && *j.Spec.CompletionMode == batchv1.IndexedCompletion {
				// As the Job's controller does for each of its Pods.
				j.Spec.Template.Spec.Hostname = j.Name + "-0"
			}
			m.pods = append(m.pods, pod{"Job " + j.Name, j.Spec.Template.Labels, nil, "", min(count(j.Spec.Completions), count(j.Spec.Parallelism)), false, j.Spec.Template.Spec})
		case "ConfigMap":
			c := new(corev1.ConfigMap)
			strict(c)
			m.configs[c.Name] = c
		case "PersistentVolumeClaim":
			var c corev1.PersistentVolumeClaim
			strict(&c)
			m.claims = append(m.claims, c.Name)
		case "PodMonitor":
			m.monitors = append(m.monitors, new(monitoringv1.PodMonitor))
			strict(m.monitors[len(m.monitors)-1])
		case "PrometheusRule":
			m.rules = append(m.rules, new(monitoringv1.PrometheusRule))
			strict(m.rules[len(m.rules)-1])
		case "NetworkPolicy":
			m.policies = append(m.policies, new(networkingv1.NetworkPolicy))
			strict(m.policies[len(m.policies)-1])
		case "":
			// A part of a Pod, of its spec or of a container, as in the README.
			var part struct {
				Spec corev1.PodSpec
				corev1.PodSpec
				Env                         []corev1.EnvVar
				StartupProbe, LivenessProbe *corev1.Probe
			}
			strict(&part)
			if part.Spec.Containers != nil {
				m.parts = append(m.parts, part.Spec)
			}
		default:
			t.Errorf("%s: no test checks a %s", name, kind.Kind)
		}
	}
	return m
}

// count returns a number of Pods; the default is 1.
func count(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func files(t *testing.T) (all []manifest) {
	t.Helper()
	paths, err := filepath.Glob(root + "/examples/*.yaml")
	if err != nil || len(paths) < 3 {
		t.Fatalf("examples: %q, %v", paths, err)
	}
	for _, path := range paths {
		m := documents(t, filepath.Base(path), read(t, path))
		if len(m.pods) == 0 && len(m.monitors) == 0 && len(m.policies) == 0 {
			t.Errorf("%s has neither a Pod nor a PodMonitor nor a NetworkPolicy", path)
		}
		all = append(all, m)
	}
	return all
}

// shown returns the manifests of a document, as if they were one file.
func shown(t *testing.T, name string) string {
	t.Helper()
	var texts []string
	for _, b := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(read(t, root+"/"+name), -1) {
		texts = append(texts, b[1])
	}
	return strings.Join(texts, "---\n")
}

// readme is what the README shows, as if it were one file.
func readme(t *testing.T) manifest {
	t.Helper()
	m := documents(t, "README.md", shown(t, "README.md"))
	if len(m.pods) == 0 || len(m.services) == 0 {
		t.Errorf("the README shows %d Pods and %d Services", len(m.pods), len(m.services))
	}
	return m
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func contains(labels, selector map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

// each runs a check on every Pod that is shown anywhere.
func each(t *testing.T, check func(t *testing.T, m manifest, p pod)) {
	for _, m := range append(files(t), readme(t)) {
		for _, p := range m.pods {
			t.Run(m.name+" "+p.owner, func(t *testing.T) { check(t, m, p) })
		}
	}
}

// named is each for the Pods whose names podfqdn proves.
func named(t *testing.T, check func(t *testing.T, m manifest, p pod)) {
	each(t, func(t *testing.T, m manifest, p pod) {
		if !p.waits() {
			check(t, m, p)
		}
	})
}

func TestEverySelectorMatchesItsTemplate(t *testing.T) {
	each(t, func(t *testing.T, m manifest, p pod) {
		if p.selector != nil && !contains(p.labels, p.selector) {
			t.Errorf("selector %v, labels %v", p.selector, p.labels)
		}
		for _, other := range m.pods {
			if other.owner != p.owner && p.selector != nil && contains(other.labels, p.selector) {
				t.Errorf("the selector %v matches the Pods of %s too", p.selector, other.owner)
			}
		}
	})
}

func TestEveryGoverningServiceMakesTheNameThatIsClaimed(t *testing.T) {
	named(t, func(t *testing.T, m manifest, p pod) {
		init := publisher(t, p)
		service := p.governs + p.spec.Subdomain
		form := "hostname"
		for _, env := range init.Env {
			switch env.Name {
			case "PODFQDN_SERVICE":
				service = env.Value
			case "PODFQDN_NAME_FORM":
				form = env.Value
			}
		}
		s := m.services[service]
		if s == nil {
			t.Fatalf("no Service %q", service)
		}
		if s.Spec.ClusterIP != corev1.ClusterIPNone || !s.Spec.PublishNotReadyAddresses || !contains(p.labels, s.Spec.Selector) {
			t.Errorf("Service %q is not headless, does not publish early, or does not select %v: %+v", service, p.labels, s.Spec)
		}
		if named := p.governs != "" || p.spec.Hostname != "" && p.spec.Subdomain == service; named != (form == "hostname") {
			t.Errorf("hostname %q, subdomain %q, serviceName %q, but PODFQDN_NAME_FORM=%s", p.spec.Hostname, p.spec.Subdomain, p.governs, form)
		}
	})
}

func TestTheIdentityIsWrittenByOneAndReadByTheOthers(t *testing.T) {
	named(t, func(t *testing.T, m manifest, p pod) {
		i := slices.IndexFunc(p.spec.Volumes, func(v corev1.Volume) bool { return v.Name == "identity" })
		if i < 0 || p.spec.Volumes[i].EmptyDir == nil {
			t.Fatalf("no emptyDir identity: %+v", p.spec.Volumes)
		}
		writer := publisher(t, p)
		if m := mount(t, writer); m.MountPath != "/identity" || m.ReadOnly || m.SubPath != "" {
			t.Errorf("podfqdn mounts the identity as %+v", m)
		}
		for _, c := range p.spec.Containers {
			if refersTo(t, c, "POD_FQDN") || rendered(t, m, p, c) {
				continue // and mounts nothing of podfqdn's
			}
			if app := mount(t, c); app.MountPath != "/identity" || app.ReadOnly == (c.Name == writer.Name) || app.SubPath != "" {
				t.Errorf("%s has %+v", c.Name, app)
			}
			words, reads := slices.Concat(c.Command, c.Args), "$(cat /identity/fqdn)"
			if executes(c) {
				reads = "$(POD_FQDN)"
				for _, env := range c.Env {
					words = append(words, env.Value)
				}
			}
			if command := strings.Join(words, " "); !strings.Contains(command, reads) {
				t.Errorf("%s does not read the name: %s", c.Name, command)
			}
		}
	})
}

// rendered reports whether a container mounts a volume in which podfqdn's init
// container renders a ConfigMap with the name.
func rendered(t *testing.T, m manifest, p pod, c corev1.Container) bool {
	t.Helper()
	if len(p.spec.InitContainers) == 0 {
		return false
	}
	init := p.spec.InitContainers[0]
	i := slices.IndexFunc(init.Env, func(e corev1.EnvVar) bool { return e.Name == "PODFQDN_RENDER" })
	if i < 0 {
		return false
	}
	from, to, _ := strings.Cut(init.Env[i].Value, ":")
	at := func(path string) (volume corev1.Volume) {
		for _, v := range init.VolumeMounts {
			if v.MountPath == path {
				volume = p.spec.Volumes[slices.IndexFunc(p.spec.Volumes, func(o corev1.Volume) bool { return o.Name == v.Name })]
			}
		}
		return volume
	}
	source, target := at(from), at(to)
	if source.ConfigMap == nil || m.configs[source.ConfigMap.Name] == nil || target.EmptyDir == nil {
		t.Fatalf("%s is rendered from %+v to %+v", init.Env[i].Value, source, target)
	}
	if text := fmt.Sprint(m.configs[source.ConfigMap.Name].Data); !strings.Contains(text, "$(POD_FQDN)") {
		t.Errorf("the ConfigMap does not have the name: %s", text)
	}
	read := false
	for _, v := range c.VolumeMounts {
		if v.Name == source.Name {
			t.Errorf("%s mounts the ConfigMap that is not rendered", c.Name)
		}
		if read = read || v.Name == target.Name; v.Name == target.Name && !v.ReadOnly {
			t.Errorf("%s has %+v", c.Name, v)
		}
	}
	return read
}

// refersTo reports whether a container has a variable that the kubelet reads from
// a key of identity.env. Every such variable of it must be one that can be read.
func refersTo(t *testing.T, c corev1.Container, key string) (refers bool) {
	t.Helper()
	for _, env := range c.Env {
		if env.ValueFrom == nil || env.ValueFrom.FileKeyRef == nil {
			continue
		}
		ref := env.ValueFrom.FileKeyRef
		if ref.VolumeName != "identity" || ref.Path != "identity.env" || !slices.Contains(identity.Variables(), ref.Key) {
			t.Errorf("%s: %s refers to %+v", c.Name, env.Name, ref)
		}
		refers = refers || ref.Key == key
	}
	return refers
}

func TestKeysOfKerberosAreInMemoryAndTheirSourceInOneContainerOnly(t *testing.T) {
	some := false
	named(t, func(t *testing.T, m manifest, p pod) {
		init := publisher(t, p)
		volumes := map[string]string{} // of podfqdn, by their path
		for _, v := range init.VolumeMounts {
			volumes[v.MountPath] = v.Name
		}
		i := slices.IndexFunc(init.Env, func(e corev1.EnvVar) bool { return e.Name == "PODFQDN_KRB5_SOURCE" })
		if i < 0 {
			return
		}
		some = true
		source, keys := volumes[init.Env[i].Value], volumes["/krb5"]
		if source == "" || keys == "" {
			t.Fatalf("podfqdn mounts %v", volumes)
		}
		for _, v := range p.spec.Volumes {
			if v.Name == keys && (v.EmptyDir == nil || v.EmptyDir.Medium != corev1.StorageMediumMemory || v.EmptyDir.SizeLimit.IsZero()) {
				t.Errorf("the keys' volume is %+v", v)
			}
		}
		if p.spec.SecurityContext == nil || p.spec.SecurityContext.FSGroup == nil {
			t.Error("without fsGroup the application cannot read a keytab of mode 0440")
		}
		for _, c := range slices.Concat(p.spec.InitContainers[min(1, len(p.spec.InitContainers)):], p.spec.Containers) {
			read := false
			for _, v := range c.VolumeMounts {
				if v.Name == source {
					t.Errorf("%s mounts the keys of all Pods", c.Name)
				}
				read = read || v.Name == keys && v.MountPath == "/krb5" && v.ReadOnly
			}
			if !read {
				t.Errorf("%s does not mount its keys to read them: %+v", c.Name, c.VolumeMounts)
			}
		}
	})
	if !some {
		t.Error("no Pod has Kerberos")
	}
}

func TestACertificateIsReadWhereTheApplicationReadsIt(t *testing.T) {
	some := false
	named(t, func(t *testing.T, m manifest, p pod) {
		init := publisher(t, p)
		i := slices.IndexFunc(init.Env, func(e corev1.EnvVar) bool { return e.Name == "PODFQDN_TLS" })
		if i < 0 {
			return
		}
		some = true
		of := func(c corev1.Container) string {
			j := slices.IndexFunc(c.VolumeMounts, func(v corev1.VolumeMount) bool {
				return v.MountPath == init.Env[i].Value && v.ReadOnly && v.SubPath == ""
			})
			if j < 0 {
				t.Fatalf("%s mounts nothing at %s to read it: %+v", c.Name, init.Env[i].Value, c.VolumeMounts)
			}
			return c.VolumeMounts[j].Name
		}
		volume := p.spec.Volumes[slices.IndexFunc(p.spec.Volumes, func(v corev1.Volume) bool { return v.Name == of(init) })]
		if volume.Secret == nil || volume.Secret.DefaultMode == nil || *volume.Secret.DefaultMode != 0o440 {
			t.Errorf("the certificate's volume is %+v", volume)
		}
		if p.spec.SecurityContext == nil || p.spec.SecurityContext.FSGroup == nil {
			t.Error("without fsGroup nobody but root can read a key of mode 0440")
		}
		for _, c := range p.spec.Containers {
			if of(c) != volume.Name {
				t.Errorf("%s reads another certificate", c.Name)
			}
		}
	})
	if !some {
		t.Error("no Pod has a certificate")
	}
}

// Each of a set must be able to start with the peers that it waits for.
func TestPeersAreAsManyAsThereAreAndCanBeWaitedFor(t *testing.T) {
	seen := map[string]bool{}
	named(t, func(t *testing.T, m manifest, p pod) {
		set := map[string]string{}
		for _, env := range publisher(t, p).Env {
			set[env.Name] = env.Value
		}
		many, wait := set["PODFQDN_PEERS"], set["PODFQDN_PEERS_WAIT"]
		if many == "" {
			return
		}
		seen[wait] = true
		if n, err := strconv.Atoi(many); err == nil && int32(n) != p.size {
			t.Errorf("PODFQDN_PEERS=%d, and %s has %d Pods", n, p.owner, p.size)
		} else if err == nil && p.ordered != (wait == "lower") {
			t.Errorf("PODFQDN_PEERS_WAIT=%s, and its Pods start one after the other: %t", wait, p.ordered)
		}
	})
	for _, wait := range []string{"majority", "all", "lower"} {
		if !seen[wait] {
			t.Errorf("no Pod has PODFQDN_PEERS_WAIT=%s", wait)
		}
	}
}

// A Pod that only waits for names has three lines for it, and nothing else of podfqdn's.
func TestAPodThatOnlyWaitsNeedsNothing(t *testing.T) {
	some := false
	each(t, func(t *testing.T, m manifest, p pod) {
		if !p.waits() {
			return
		}
		some = true
		c := p.spec.InitContainers[0]
		c.SecurityContext, c.Resources = nil, corev1.ResourceRequirements{} // which any container has
		if want := (corev1.Container{Name: c.Name, Image: c.Image, Args: c.Args}); !reflect.DeepEqual(c, want) || len(p.spec.Volumes) > 0 || p.spec.Hostname+p.spec.Subdomain+p.governs != "" {
			t.Errorf("it has %+v and the volumes %+v", c, p.spec.Volumes)
		}
	})
	if !some {
		t.Error("no Pod waits for other names")
	}
}

func TestEveryClaimForStorageIsUsed(t *testing.T) {
	for _, m := range files(t) {
		var used []string
		for _, p := range m.pods {
			for _, v := range p.spec.Volumes {
				if v.PersistentVolumeClaim != nil {
					used = append(used, v.PersistentVolumeClaim.ClaimName)
				}
			}
		}
		slices.Sort(used)
		slices.Sort(m.claims)
		if !slices.Equal(used, m.claims) {
			t.Errorf("%s has the claims %q, and its Pods use %q", m.name, m.claims, used)
		}
	}
}

func mount(t *testing.T, c corev1.Container) corev1.VolumeMount {
	t.Helper()
	i := slices.IndexFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "identity" })
	if i < 0 {
		t.Fatalf("%s does not mount identity", c.Name)
	}
	return c.VolumeMounts[i]
}

// The documents show parts of Pods, each of which has all that podfqdn exec needs.
func TestADocumentShowsWhatCanBeCopied(t *testing.T) {
	paths, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(paths) < 8 {
		t.Fatalf("docs: %q, %v", paths, err)
	}
	var parts []corev1.PodSpec
	for _, path := range paths {
		name := "docs/" + filepath.Base(path)
		parts = append(parts, documents(t, name, shown(t, name)).parts...)
	}
	some := 0
	for _, spec := range parts {
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			for _, v := range c.VolumeMounts {
				if !slices.ContainsFunc(spec.Volumes, func(o corev1.Volume) bool { return o.Name == v.Name }) {
					t.Errorf("container %s mounts %s, and there is no such volume", c.Name, v.Name)
				}
			}
			if executes(c) {
				some++
				if at := mount(t, c).MountPath; at != "/identity" {
					t.Errorf("container %s mounts identity at %s", c.Name, at)
				}
			}
		}
	}
	if some < 2 {
		t.Errorf("%d containers of podfqdn exec are shown", some)
	}
}

// executes reports whether a container is started by podfqdn exec.
func executes(c corev1.Container) bool {
	return len(c.Command) > 3 && slices.Equal(c.Command[:3], []string{"/podfqdn/podfqdn", "exec", "--"})
}

// publisher returns the container that publishes: podfqdn's own, or, where there
// is none, the application's, which podfqdn exec starts.
func publisher(t *testing.T, p pod) corev1.Container {
	t.Helper()
	if len(p.spec.InitContainers) > 0 {
		return initContainer(t, p)
	}
	if len(p.spec.Containers) != 1 || !executes(p.spec.Containers[0]) {
		t.Fatalf("no container of %s is podfqdn's", p.owner)
	}
	return p.spec.Containers[0]
}

// podfqdn exec runs from an image volume, or from where an init container
// installs it; and if it waits in the application's container, a startupProbe
// holds back the livenessProbe.
func TestPodfqdnExecIsThereAndIsNotKilledByAProbe(t *testing.T) {
	brought, installed, guarded := 0, 0, 0
	each(t, func(t *testing.T, m manifest, p pod) {
		for _, c := range p.spec.Containers {
			if !executes(c) {
				continue
			}
			i := slices.IndexFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/podfqdn" && m.ReadOnly && m.SubPath == "" })
			if i < 0 {
				t.Fatalf("%s has nothing at /podfqdn: %+v", c.Name, c.VolumeMounts)
			}
			name := c.VolumeMounts[i].Name
			volume := p.spec.Volumes[slices.IndexFunc(p.spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })]
			if len(p.spec.InitContainers) == 0 {
				brought++
				if volume.Image == nil || volume.Image.Reference != "podfqdn:dev" {
					t.Errorf("volume %s is %+v", name, volume)
				}
				if c.LivenessProbe != nil {
					guarded++
					if s := c.StartupProbe; s == nil || s.PeriodSeconds != 1 || s.FailureThreshold < 15*60 {
						t.Errorf("%s has a livenessProbe, and the startupProbe %+v", c.Name, s)
					}
				}
				continue
			}
			installed++
			init := initContainer(t, p)
			i = slices.IndexFunc(init.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == name && !m.ReadOnly })
			if volume.EmptyDir == nil || i < 0 || !slices.ContainsFunc(init.Env, func(e corev1.EnvVar) bool {
				return e.Name == "PODFQDN_INSTALL" && e.Value == init.VolumeMounts[i].MountPath
			}) {
				t.Errorf("nothing is installed in volume %s, %+v", name, volume)
			} else if init.VolumeMounts[i].MountPath == "/podfqdn" {
				t.Error("a directory is mounted at /podfqdn, which is a file in podfqdn's image")
			}
		}
	})
	if brought == 0 || installed == 0 || guarded == 0 {
		t.Errorf("%d Pods have an image volume, %d an installed podfqdn, %d both probes", brought, installed, guarded)
	}
}

func initContainer(t *testing.T, p pod) corev1.Container {
	t.Helper()
	if len(p.spec.InitContainers) == 0 || p.spec.InitContainers[0].Name != "podfqdn" {
		t.Fatalf("the first init container of %s is not podfqdn", p.owner)
	}
	c := p.spec.InitContainers[0]
	// What starts after a sidecar waits for its startupProbe only.
	args := []string(nil)
	if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways && c.StartupProbe != nil {
		args = []string{"sidecar"}
	}
	if c.Image == "" || len(c.Command) > 0 || !slices.Equal(c.Args, args) {
		t.Errorf("podfqdn runs %q %q of %q, with restartPolicy %v and startupProbe %v", c.Command, c.Args, c.Image, c.RestartPolicy, c.StartupProbe)
	}
	return c
}

// restricted returns what Pod Security "restricted" would say of a container (k8s.io/pod-security-admission, policy).
func restricted(p corev1.PodSpec, c corev1.Container) (against []string) {
	own, all := c.SecurityContext, p.SecurityContext
	if own == nil {
		own = new(corev1.SecurityContext)
	}
	if all == nil {
		all = new(corev1.PodSecurityContext)
	}
	demand := func(ok bool, what string) {
		if !ok {
			against = append(against, what)
		}
	}
	isTrue := func(b *bool) bool { return b != nil && *b }
	isFalse := func(b *bool) bool { return b != nil && !*b }
	demand(isTrue(own.RunAsNonRoot) || own.RunAsNonRoot == nil && isTrue(all.RunAsNonRoot), "runAsNonRoot")
	demand(isFalse(own.AllowPrivilegeEscalation), "allowPrivilegeEscalation")
	demand(!isTrue(own.Privileged), "privileged")
	drop, add := []corev1.Capability(nil), []corev1.Capability(nil)
	if own.Capabilities != nil {
		drop, add = own.Capabilities.Drop, own.Capabilities.Add
	}
	demand(slices.Contains(drop, "ALL") && len(add) == 0, "capabilities")
	profile := own.SeccompProfile
	if profile == nil {
		profile = all.SeccompProfile
	}
	demand(profile != nil && (profile.Type == corev1.SeccompProfileTypeRuntimeDefault || profile.Type == corev1.SeccompProfileTypeLocalhost), "seccompProfile")
	demand(own.ProcMount == nil && own.SELinuxOptions == nil && all.SELinuxOptions == nil && len(all.Sysctls) == 0, "procMount, seLinuxOptions, sysctls")
	demand(!p.HostNetwork && !p.HostPID && !p.HostIPC, "host namespaces")
	for _, port := range c.Ports {
		demand(port.HostPort == 0, "hostPort")
	}
	for _, v := range p.Volumes {
		demand(v.HostPath == nil, "hostPath")
	}
	return against
}

func TestPodSecurityRestrictedAdmitsEveryPod(t *testing.T) {
	each(t, func(t *testing.T, m manifest, p pod) {
		for _, c := range slices.Concat(p.spec.InitContainers, p.spec.Containers) {
			if against := restricted(p.spec, c); len(against) > 0 {
				t.Errorf("%s lacks %q", c.Name, against)
			}
			if m.name == "README.md" && c.Name != "podfqdn" {
				continue // the application is anybody's
			}
			if sc := c.SecurityContext; sc == nil || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem {
				t.Errorf("%s can write to its root file system", c.Name)
			}
		}
		for _, c := range slices.Concat(p.spec.InitContainers, p.spec.Containers) {
			if sc := c.SecurityContext; sc != nil && (sc.RunAsUser != nil || sc.RunAsGroup != nil) {
				t.Errorf("%s sets a user", c.Name) // some clusters assign users to each namespace
			}
		}
		if sc := p.spec.SecurityContext; sc != nil && (sc.RunAsUser != nil || sc.RunAsGroup != nil) {
			t.Error("the Pod sets a user")
		}
	})
}

func TestEveryContainerOfAnExampleSaysWhatItNeeds(t *testing.T) {
	for _, m := range files(t) {
		for _, p := range m.pods {
			for _, c := range slices.Concat(p.spec.InitContainers, p.spec.Containers) {
				r := c.Resources
				if r.Requests.Cpu().IsZero() || r.Requests.Memory().IsZero() || r.Limits.Memory().IsZero() {
					t.Errorf("%s %s: %s has requests %v and limits %v", m.name, p.owner, c.Name, r.Requests, r.Limits)
				}
			}
			if p.spec.AutomountServiceAccountToken == nil || *p.spec.AutomountServiceAccountToken {
				t.Errorf("%s %s mounts a token, which podfqdn does not need", m.name, p.owner)
			}
		}
	}
}

// variables are those that podfqdn help lists.
var variables = sync.OnceValues(func() (map[string]bool, error) {
	cmd := exec.Command("go", "-C", root, "run", "./cmd/podfqdn", "help")
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "CGO_ENABLED=0", "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("podfqdn help: %w", err)
	}
	all := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^  (POD_\w+|PODFQDN_\w+)\s`).FindAllStringSubmatch(string(out), -1) {
		all[line[1]] = true
	}
	return all, nil
})

func TestEveryVariableThatIsShownExists(t *testing.T) {
	known, err := variables()
	if err != nil {
		t.Fatal(err)
	}
	if len(known) < 10 {
		t.Fatalf("podfqdn help lists %v", slices.Sorted(maps.Keys(known)))
	}
	named(t, func(t *testing.T, m manifest, p pod) {
		for _, env := range publisher(t, p).Env { // the application's own are in it too
			if !known[env.Name] && (strings.HasPrefix(env.Name, "PODFQDN_") || !executes(publisher(t, p))) {
				t.Errorf("podfqdn has no variable %s", env.Name)
			}
		}
	})
	texts := map[string]string{}
	for _, pattern := range []string{"/*.md", "/docs/*.md", "/examples/*.yaml"} {
		paths, err := filepath.Glob(root + pattern)
		if err != nil || len(paths) < 3 {
			t.Fatalf("%s: %q, %v", pattern, paths, err)
		}
		for _, path := range paths {
			texts[path] = read(t, path)
		}
	}
	for path, text := range texts {
		for _, name := range regexp.MustCompile(`\bPODFQDN_[A-Z_]+\b`).FindAllString(text, -1) {
			if !known[name] {
				t.Errorf("%s: podfqdn has no variable %s", path, name)
			}
		}
	}
}
