//go:build e2e

package e2e

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/remotecommand"
	watchtools "k8s.io/client-go/tools/watch"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/podfqdn/podfqdn/identity"
)

// patience is how long anything may take that takes seconds on a quiet machine.
const patience = 3 * time.Minute

// space is one test's namespace.
type space struct {
	*testing.T
	world
	name  string
	peers []string // that Pods in it publish; nil for none
}

// space makes a namespace that enforces a level of Pod Security. A test that
// fails says what was in it.
func (w world) space(t *testing.T, level string) *space {
	t.Helper()
	return w.create(t, level, metav1.ObjectMeta{GenerateName: fmt.Sprintf("e2e-%d-", of(t).number)})
}

// called makes a namespace of this name, which a cluster of the user's may have
// already.
func (w world) called(t *testing.T, name string) *space {
	t.Helper()
	return w.create(t, "restricted", metav1.ObjectMeta{Name: name})
}

func (w world) create(t *testing.T, level string, as metav1.ObjectMeta) *space {
	t.Helper()
	ctx := t.Context()
	namespaces := w.kube.CoreV1().Namespaces()
	as.Labels = map[string]string{"pod-security.kubernetes.io/enforce": level}
	made, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: as}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		notShown(t, "the namespace "+as.Name+" exists already")
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &space{T: t, world: w, name: made.Name}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if t.Failed() {
			s.tell(ctx)
		}
		if err := namespaces.Delete(ctx, s.name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	// A Pod that is created before its account is refused.
	s.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=1m")
	return s
}

// restricted makes a namespace as a careful cluster has them.
func (w world) restricted(t *testing.T) *space { t.Helper(); return w.space(t, "restricted") }

// parallel runs a part of a test at the same time as the others, in a namespace of its own.
func (w world) parallel(t *testing.T, name string, f func(*space)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		f(w.restricted(t))
	})
}

// tell logs what is in the namespace.
func (s *space) tell(ctx context.Context) {
	for _, args := range [][]string{
		{"get", "pods,services,endpointslices", "--output=wide"},
		{"logs", "--selector=app", "--all-containers", "--prefix", "--tail=12", "--ignore-errors"},
		{"events"},
	} {
		cmd := s.command(ctx, args...)
		out, _ := cmd.CombinedOutput()
		s.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
	}
}

func (s *space) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "kubectl", append([]string{"--kubeconfig", s.kubeconfig, "--namespace", s.name}, args...)...)
}

// kubectl runs it, as a user would, and returns what it printed.
func (s *space) kubectl(args ...string) string {
	s.Helper()
	return s.kubectlInput("", args...)
}

func (s *space) kubectlInput(input string, args ...string) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	cmd := s.command(ctx, args...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		s.Fatalf("kubectl %s: %v: %s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// example applies a file of examples/, with the images replaced by those that
// are here, and each of changes, pairs of old and new text, made everywhere.
func (s *space) example(name string, changes ...string) {
	s.Helper()
	b, err := os.ReadFile("../../examples/" + name)
	if err != nil {
		s.Fatal(err)
	}
	text := string(b)
	for change := range slices.Chunk(changes, 2) {
		if !strings.Contains(text, change[0]) {
			s.Fatalf("examples/%s lacks %q", name, change[0])
		}
		text = strings.ReplaceAll(text, change[0], change[1])
	}
	images := regexp.MustCompile(`(?m)^( *(?:- )?(?:image|reference): )(\S+)`)
	text = images.ReplaceAllStringFunc(text, func(line string) string {
		m := images.FindStringSubmatch(line)
		switch repository, _, _ := strings.Cut(m[2], ":"); repository {
		case "podfqdn":
			return m[1] + s.image
		case "etcd":
			return m[1] + s.etcd
		case "my-server":
			return m[1] + s.server
		case "my-static-server":
			if s.static == "" {
				notShown(s.T, "needs an image without a shell on the node")
			}
			return m[1] + s.static
		}
		s.Fatalf("examples/%s: unknown image %s", name, m[2])
		return ""
	})
	s.kubectlInput(text, "apply", "--filename=-")
}

// podOf is the object of a Pod that publishes in a volume, with an application
// and, first of all, an observer of the volume. It has the label app and no
// name for DNS; the caller sets what else it needs.
func (s *space) podOf(app string) *corev1.Pod {
	no, yes, always, grace := false, true, corev1.ContainerRestartPolicyAlways, int64(5)
	shell := func(name, script string) corev1.Container {
		return corev1.Container{
			Name: name, Image: s.server, Command: []string{"sh", "-c", script},
			VolumeMounts:    []corev1.VolumeMount{{Name: "identity", MountPath: "/identity", ReadOnly: true}},
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
		}
	}
	observer := shell("observer", `trap 'echo "left: $(find /identity -type f)"; exit' TERM; sleep 1000000 & wait`)
	observer.RestartPolicy = &always
	podfqdn := shell("podfqdn", "")
	podfqdn.Image, podfqdn.Command = s.image, nil
	podfqdn.VolumeMounts[0].ReadOnly = false
	podfqdn.SecurityContext.ReadOnlyRootFilesystem = &yes
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: app, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: &grace,
			AutomountServiceAccountToken:  &no,
			SecurityContext:               &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			InitContainers:                []corev1.Container{observer, podfqdn},
			Containers:                    []corev1.Container{shell("app", "exec sleep 1000000")},
			Volumes:                       []corev1.Volume{{Name: "identity", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
	}
}

// named sets what makes the name.
func named(p *corev1.Pod, hostname, subdomain string) *corev1.Pod {
	p.Spec.Hostname, p.Spec.Subdomain = hostname, subdomain
	return p
}

// with sets variables of podfqdn, each NAME=VALUE or NAME=>FIELDPATH.
func with(p *corev1.Pod, variables ...string) *corev1.Pod {
	for i, c := range p.Spec.InitContainers {
		if c.Name != "podfqdn" {
			continue
		}
		for _, v := range variables {
			name, value, _ := strings.Cut(v, "=")
			env := corev1.EnvVar{Name: name, Value: value}
			if path, ok := strings.CutPrefix(value, ">"); ok {
				env = corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
			}
			p.Spec.InitContainers[i].Env = append(p.Spec.InitContainers[i].Env, env)
		}
	}
	return p
}

// start creates Pods.
func (s *space) start(pods ...*corev1.Pod) {
	s.Helper()
	for _, p := range pods {
		if _, err := s.kube.CoreV1().Pods(s.name).Create(s.Context(), p, metav1.CreateOptions{}); err != nil {
			s.Fatal(err)
		}
	}
}

// headless creates a headless Service that selects app and publishes early.
func (s *space) headless(name, app string, change ...func(*corev1.ServiceSpec)) {
	s.Helper()
	if err := s.tryHeadless(name, app, change...); err != nil {
		s.Fatal(err)
	}
}

// until waits until a Pod is as wanted, and returns it.
func (s *space) until(pod, what string, wanted func(*corev1.Pod) bool) *corev1.Pod {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	var last *corev1.Pod
	list := cache.NewListWatchFromClient(s.kube.CoreV1().RESTClient(), "pods", s.name, fields.OneTermEqualSelector("metadata.name", pod))
	_, err := watchtools.UntilWithSync(ctx, list, &corev1.Pod{}, nil, func(e watch.Event) (bool, error) {
		p, ok := e.Object.(*corev1.Pod)
		if ok && e.Type != watch.Deleted {
			last = p
		}
		return ok && e.Type != watch.Deleted && wanted(p), nil
	})
	if err != nil {
		state := "never seen"
		if last != nil {
			b, _ := json.Marshal(last.Status)
			state = string(b)
		}
		s.Fatalf("%s: gave up waiting until %s: %v: %s", pod, what, err, state)
	}
	return last
}

// pods waits until n Pods of an app exist that are not being deleted, and
// returns their names.
func (s *space) pods(app string, n int) []string {
	s.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		list, err := s.kube.CoreV1().Pods(s.name).List(s.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
		if err != nil {
			s.Fatal(err)
		}
		var names []string
		for _, p := range list.Items {
			if p.DeletionTimestamp == nil {
				names = append(names, p.Name)
			}
		}
		if len(names) == n {
			return names
		}
		if time.Now().After(deadline) {
			s.Fatalf("%d Pods of %s: %q, want %d", len(names), app, names, n)
		}
	}
}

// container returns the state of podfqdn's container.
func podfqdn(p *corev1.Pod) corev1.ContainerStatus {
	for _, c := range p.Status.InitContainerStatuses {
		if c.Name == "podfqdn" {
			return c
		}
	}
	return corev1.ContainerStatus{}
}

// runs reports whether a container of the Pod runs.
func runs(p *corev1.Pod, name string) bool {
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if c.Name == name {
			return c.State.Running != nil
		}
	}
	return false
}

// exec runs a command in a container; code is its exit code.
func (s *space) exec(pod, container string, command ...string) (stdout string, code int) {
	s.Helper()
	stdout, code, err := s.tryExec(pod, container, command...)
	if err != nil {
		s.Fatalf("%s %s: %q: %v", pod, container, command, err)
	}
	return stdout, code
}

func (s *space) tryExec(pod, container string, command ...string) (stdout string, code int, err error) {
	request := s.kube.CoreV1().RESTClient().Post().Namespace(s.name).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(s.config, "GET", request.URL().String())
	if err != nil {
		return "", 0, err
	}
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	var out, stderr bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &stderr})
	var exit utilexec.CodeExitError
	if errors.As(err, &exit) {
		return out.String() + stderr.String(), exit.Code, nil
	}
	return out.String(), 0, err
}

// shell runs a script in the application's container, and returns what it printed.
func (s *space) shell(pod, script string) string {
	s.Helper()
	out, code := s.exec(pod, "app", "sh", "-c", script)
	if code != 0 {
		s.Fatalf("%s: %s: exit code %d: %s", pod, script, code, out)
	}
	return out
}

// log returns what podfqdn said.
func (s *space) log(pod string) string {
	s.Helper()
	b, err := s.kube.CoreV1().Pods(s.name).GetLogs(pod, &corev1.PodLogOptions{Container: "podfqdn"}).DoRaw(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return string(b)
}

// says waits until podfqdn logs a line that has each of the words, while it runs.
func (s *space) says(pod string, words ...string) string {
	s.Helper()
	s.until(pod, "podfqdn runs", func(p *corev1.Pod) bool { return podfqdn(p).State.Running != nil || podfqdn(p).State.Terminated != nil })
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	stream, err := s.kube.CoreV1().Pods(s.name).GetLogs(pod, &corev1.PodLogOptions{Container: "podfqdn", Follow: true}).Stream(ctx)
	if err != nil {
		s.Fatal(err)
	}
	defer stream.Close()
	var all []string
	for lines := bufio.NewScanner(stream); lines.Scan(); {
		line := strings.ReplaceAll(lines.Text(), `\"`, `"`) // as it was before it became JSON
		all = append(all, line)
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return line
		}
	}
	s.Fatalf("%s: podfqdn does not say %q in one line:\n%s", pod, words, strings.Join(all, "\n"))
	return ""
}

// waits checks that podfqdn gives a reason and goes on waiting, and that
// nothing is published.
func (s *space) waits(pod string, words ...string) {
	s.Helper()
	s.says(pod, append([]string{"not yet"}, words...)...)
	if out, code := s.exec(pod, "podfqdn", "/podfqdn", "check"); code != 11 {
		s.Errorf("%s: podfqdn check ends with %d while it waits: %s", pod, code, out)
	}
}

// ended waits until podfqdn has ended with an exit code other than 0, and
// checks its message and that nothing is published.
func (s *space) ended(pod string, code int32, words ...string) {
	s.Helper()
	s.gaveUp(pod, code, words...)
	s.unpublished(pod)
}

// gaveUp is ended for a Pod without an observer.
func (s *space) gaveUp(pod string, code int32, words ...string) {
	s.Helper()
	var end *corev1.ContainerStateTerminated
	p := s.until(pod, "podfqdn has ended", func(p *corev1.Pod) bool {
		if end = podfqdn(p).State.Terminated; end == nil {
			end = podfqdn(p).LastTerminationState.Terminated
		}
		return end != nil
	})
	if end.ExitCode != code {
		s.Errorf("%s: exit code %d, want %d", pod, end.ExitCode, code)
	}
	for _, w := range words {
		if !strings.Contains(end.Message, w) {
			s.Errorf("%s: the termination message lacks %q: %s", pod, w, end.Message)
		}
	}
	if !strings.HasSuffix(end.Message, strings.TrimSpace(end.Message)) || strings.Count(end.Message, "\n") > 0 {
		s.Errorf("%s: the termination message is not one line: %q", pod, end.Message)
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Waiting == nil && c.State.Terminated == nil || c.LastTerminationState.Terminated != nil || c.Started != nil && *c.Started {
			s.Errorf("%s: %s has started: %+v", pod, c.Name, c)
		}
	}
	s.Logf("%s: exit code %d: %s", pod, end.ExitCode, end.Message)
}

// unpublished checks that the volume holds no file: by the observer, or by what
// it saw last when the Pod is over.
func (s *space) unpublished(pod string) {
	s.Helper()
	p := s.until(pod, "the observer can be asked", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodFailed || p.Spec.RestartPolicy == corev1.RestartPolicyAlways && runs(p, "observer")
	})
	left := ""
	if p.Status.Phase == corev1.PodFailed {
		b, err := s.kube.CoreV1().Pods(s.name).GetLogs(pod, &corev1.PodLogOptions{Container: "observer"}).DoRaw(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		var told bool
		if left, told = strings.CutPrefix(string(b), "left: "); !told {
			s.Fatalf("%s: the observer said %q", pod, b)
		}
	} else {
		left, _ = s.exec(pod, "observer", "find", "/identity", "-type", "f")
	}
	if strings.TrimSpace(left) != "" {
		s.Errorf("%s: the volume holds %q", pod, left)
	}
}

// published waits until podfqdn has ended well and the application runs, and
// checks every file that it finds: the name, and the addresses, which are, if
// none are given, those of the Pod in the families of its Service.
func (s *space) published(pod, fqdn string, addrs ...string) *corev1.Pod {
	s.Helper()
	p := s.until(pod, "it has published and the application runs", func(p *corev1.Pod) bool {
		if end := podfqdn(p).State.Terminated; end != nil && end.ExitCode != 0 {
			s.Fatalf("%s: podfqdn ended with %d: %s", pod, end.ExitCode, end.Message)
		}
		return podfqdn(p).State.Terminated != nil && runs(p, "app")
	})
	if message := podfqdn(p).State.Terminated.Message; message != "" {
		s.Errorf("%s: a good end leaves a message: %s", pod, message)
	}
	if len(addrs) == 0 {
		addrs = s.addresses(p, fqdn)
	}
	s.holds(pod, "app", fqdn, addrs...)
	waited, err := waitOf(s.log(pod))
	if err != nil {
		s.Errorf("%s: %v", pod, err)
	}
	results.waited(s.T, waited)
	s.Logf("%s: %s %v after %v", pod, fqdn, addrs, waited)
	return p
}

// addresses returns those of a Pod that the Service in its name publishes.
func (s *space) addresses(p *corev1.Pod, fqdn string) (addrs []string) {
	s.Helper()
	service, err := s.kube.CoreV1().Services(s.name).Get(s.Context(), strings.Split(fqdn, ".")[1], metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	for _, ip := range p.Status.PodIPs {
		family := corev1.IPv4Protocol
		if strings.Contains(ip.IP, ":") {
			family = corev1.IPv6Protocol
		}
		if slices.Contains(service.Spec.IPFamilies, family) {
			addrs = append(addrs, ip.IP)
		}
	}
	if len(addrs) == 0 {
		s.Fatalf("%s: no address of %v is of %v", p.Name, p.Status.PodIPs, service.Spec.IPFamilies)
	}
	return addrs
}

// holds checks that the volume holds exactly the contract's files, and that
// all of them say the same.
func (s *space) holds(pod, container, fqdn string, addrs ...string) {
	s.Helper()
	files, err := s.files(pod, container)
	if err != nil {
		s.Fatal(err)
	}
	labels := strings.SplitN(strings.TrimSuffix(fqdn, "."+s.domain), ".", 4)
	if len(labels) != 4 || labels[3] != "svc" {
		s.Fatalf("%q is not a name of HOSTNAME.SERVICE.NAMESPACE.svc.%s", fqdn, s.domain)
	}
	document := struct {
		SchemaVersion                          int
		FQDN, Hostname, Service, Namespace, IP string
		ClusterDomain                          string
		IPs                                    []string
		Verified                               json.RawMessage
	}{}
	if err := json.Unmarshal([]byte(files["identity.json"]), &document); err != nil {
		s.Errorf("%s: identity.json: %v", pod, err)
	}
	for what, got := range map[string]string{
		"schema version": fmt.Sprint(document.SchemaVersion), "fqdn": document.FQDN, "hostname": document.Hostname, "service": document.Service,
		"namespace": document.Namespace, "cluster domain": document.ClusterDomain, "ip": document.IP, "ips": strings.Join(document.IPs, " "),
	} {
		want := map[string]string{
			"schema version": "1", "fqdn": fqdn, "hostname": labels[0], "service": labels[1],
			"namespace": labels[2], "cluster domain": s.domain, "ip": addrs[0], "ips": strings.Join(addrs, " "),
		}[what]
		if got != want {
			s.Errorf("%s: identity.json has the %s %q, want %q", pod, what, got, want)
		}
	}
	want := map[string]string{
		"fqdn": fqdn, "hostname": labels[0], "service": labels[1], "namespace": labels[2], "cluster-domain": s.domain,
		"ip": addrs[0], "ips": strings.Join(addrs, "\n") + "\n", "verified": "", "identity.json": files["identity.json"],
		"identity.env": fmt.Sprintf("POD_FQDN='%s'\nPOD_HOSTNAME='%s'\nPOD_SERVICE='%s'\nPOD_NAMESPACE='%s'\nPOD_CLUSTER_DOMAIN='%s'\nPOD_IP='%s'\nPOD_IPS='%s'\n",
			fqdn, labels[0], labels[1], labels[2], s.domain, addrs[0], strings.Join(addrs, ",")),
	}
	if number := numbered.FindStringSubmatch(labels[0]); number != nil && labels[0] != identity.Dashed(netip.MustParseAddr(addrs[0])) {
		want["ordinal"] = number[1]
		want["identity.env"] += "POD_ORDINAL='" + number[1] + "'\n"
	}
	if len(s.peers) > 0 {
		want["peers"] = strings.Join(s.peers, "\n") + "\n"
		if line := "POD_PEERS='" + strings.Join(s.peers, ",") + "'"; len(line) <= 32<<10 {
			want["identity.env"] += line + "\n"
		}
	}
	if !maps.Equal(files, want) {
		s.Errorf("%s: published\n%q\nwant\n%q", pod, files, want)
	}
}

// numbered is a hostname with an ordinal.
var numbered = regexp.MustCompile(`-(0|[1-9][0-9]*)$`)

// files reads the contract's files, byte for byte.
func (s *space) files(pod, container string) (map[string]string, error) {
	return s.untar(pod, container, "cd /identity && tar -chf - *")
}

// untar returns the files in an archive that a script writes.
func (s *space) untar(pod, container, script string) (map[string]string, error) {
	archive, code, err := s.tryExec(pod, container, "sh", "-c", script)
	if err != nil || code != 0 {
		return nil, fmt.Errorf("%s: tar ends with %d: %v: %.200s", pod, code, err, archive)
	}
	files := map[string]string{}
	for r := tar.NewReader(strings.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		files[h.Name] = string(b)
	}
}

// waitOf reads from podfqdn's log how long it waited.
func waitOf(log string) (time.Duration, error) {
	for line := range strings.Lines(log) {
		var entry struct{ Msg, Waited string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "published" {
			return time.ParseDuration(entry.Waited)
		}
	}
	return 0, fmt.Errorf("podfqdn does not log that it published:\n%s", log)
}

// fqdn returns the name of a Pod in this namespace.
func (s *space) fqdn(hostname, service string) string {
	return strings.Join([]string{hostname, service, s.name, "svc", s.domain}, ".")
}

// lookup asks cluster DNS from the application's container for a name or an
// address, and returns the answers sorted.
func (s *space) lookup(pod, kind, name string) []string {
	s.Helper()
	answers, out := s.tryLookup(pod, kind, name)
	if len(answers) == 0 {
		s.Fatalf("%s: nslookup -type=%s %s: %s", pod, kind, name, out)
	}
	return answers
}

// tryLookup is lookup where nothing may be found, and where a server may be
// named; out is what nslookup says.
func (s *space) tryLookup(pod, kind, name string, server ...string) (answers []string, out string) {
	s.Helper()
	if arpa, err := dns.ReverseAddr(name); err == nil {
		name = strings.TrimSuffix(arpa, ".")
	}
	out, _ = s.exec(pod, "app", append([]string{"nslookup", "-type=" + kind, name}, server...)...)
	// Behind the server's own address.
	_, said, _ := strings.Cut(out, "\n\n")
	for _, m := range regexp.MustCompile(`(?m)^Address: (\S+)$|name = (\S+)$`).FindAllStringSubmatch(said, -1) {
		answers = append(answers, m[1]+m[2])
	}
	slices.Sort(answers)
	return answers, out
}
