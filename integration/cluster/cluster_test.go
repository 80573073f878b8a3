//go:build cluster

package cluster

import (
	"bufio"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// These bring clusters up and need root:
//
//	go test -tags cluster -timeout 30m -v ./cluster

// id returns a cluster id of this run and test, and checks that nothing is left in the end.
func id(t *testing.T, name string) string {
	t.Helper()
	id := fmt.Sprintf("%s-%d", name, os.Getpid())
	t.Cleanup(func() {
		start := time.Now()
		if err := Down(id); err != nil {
			t.Error(err)
		}
		t.Logf("down after %.1fs", time.Since(start).Seconds())
		assertGone(t, id)
	})
	return id
}

func assertGone(t *testing.T, id string) {
	t.Helper()
	left, err := Leftovers(id)
	if err != nil {
		t.Error(err)
	}
	for _, l := range left {
		t.Errorf("left of %s: %s", id, l)
	}
}

// machine is what a cluster might change outside of itself.
func machine(t *testing.T) []string {
	t.Helper()
	run := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		return string(out)
	}
	state := []string{
		"mounts: " + run("cat", "/proc/self/mounts"),
		"links: " + run("ip", "-oneline", "link"),
		"addresses: " + run("ip", "-oneline", "address"),
		"routes: " + run("ip", "route") + run("ip", "-6", "route"),
		"network namespaces: " + run("ip", "netns"),
		"rules: " + run("iptables-save"),
		"hostname: " + run("hostname"),
		"IPC: " + run("cat", "/proc/sysvipc/shm"),
	}
	for _, name := range plan("", "x", defaultDomain, nil, nil).Veiled {
		state = append(state, name+": "+run("cat", "/proc/sys/"+name))
	}
	for _, dir := range []string{"/etc", "/opt", "/run", "/run/lock", "/usr/libexec", "/var/lib", "/var/log", "/sys/fs/cgroup"} {
		state = append(state, dir+": "+run("ls", "-A", dir))
	}
	// A counter of its own that changes with every packet.
	comment := regexp.MustCompile(`(?m)^#.*$|\[\d+:\d+\]`)
	for i := range state {
		state[i] = comment.ReplaceAllString(state[i], "")
	}
	return state
}

func up(t *testing.T, o Options) *Cluster {
	t.Helper()
	start := time.Now()
	o.Kubernetes, o.Log = os.Getenv("K8S"), lines(t.Logf)
	c, err := Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("up after %.1fs", time.Since(start).Seconds())
	return c
}

// lines is a writer of t's log.
type lines func(string, ...any)

func (log lines) Write(b []byte) (int, error) {
	log("%s", strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

func TestAClusterRunsPodsAndLeavesNoTrace(t *testing.T) {
	before := machine(t)
	t.Cleanup(func() { // after the cluster is down
		for i, after := range machine(t) {
			if after != before[i] {
				t.Errorf("changed:\n%s\nbefore:\n%s", after, before[i])
			}
		}
	})
	c := up(t, Options{ID: id(t, "whole")})
	ctx := t.Context()
	kubectl := func(args ...string) string {
		t.Helper()
		out, err := c.Kubectl(ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}

	t.Run("the versions are the released ones", func(t *testing.T) {
		out := kubectl("version")
		if n := strings.Count(out, "Version: "+c.Version+"\n"); n != 2 {
			t.Errorf("kubectl and the API server are not both %s:\n%s", c.Version, out)
		}
		if out := kubectl("get", "nodes", "--output=jsonpath={.items[*].status.nodeInfo.kubeletVersion}"); out != c.Version {
			t.Errorf("the kubelet is %s", out)
		}
	})
	t.Run("two CoreDNS Pods are ready, with kubeadm's Corefile", func(t *testing.T) {
		if out := kubectl("--namespace=kube-system", "get", "deployment/coredns", "--output=jsonpath={.status.readyReplicas}"); out != "2" {
			t.Errorf("%q replicas are ready", out)
		}
		got := kubectl("--namespace=kube-system", "get", "configmap/coredns", "--output=jsonpath={.data.Corefile}")
		if want := kubeadmCorefile(t); got != want {
			t.Errorf("Corefile:\n%s\nkubeadm's:\n%s", got, want)
		}
	})
	t.Run("a Pod of each kind of address resolves a Service's name", func(t *testing.T) {
		kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
		start := time.Now()
		pod(t, c, "lookup", "nslookup kubernetes.default.svc.cluster.local && id -u && sleep 3600")
		t.Logf("Pod ready after %.1fs", time.Since(start).Seconds())
		if out := kubectl("logs", "lookup"); !strings.Contains(out, apiService) || !strings.HasSuffix(out, "\n65532\n") {
			t.Errorf("nslookup and id printed %q, want %s and the image's user", out, apiService)
		}
		if out := kubectl("get", "pod", "lookup", "--output=jsonpath={.status.podIPs[*].ip}"); !strings.HasPrefix(out, "10.244.0.") || !strings.Contains(out, " fd00:10:244:") {
			t.Errorf("addresses %q, want IPv4 and IPv6", out)
		}
		if out := kubectl("exec", "lookup", "--", "wget", "-qO-", "http://"+dnsService+":9153/metrics"); !strings.Contains(out, "coredns_build_info") {
			t.Errorf("the Service of CoreDNS answers %.100q", out)
		}
	})
	t.Run("a private zone's unknown address is denied for hours by the upstream", func(t *testing.T) {
		out, err := c.Kubectl(ctx, "exec", "lookup", "--", "nslookup", "-type=ptr", "9.9.244.10.in-addr.arpa")
		if err == nil || !strings.Contains(err.Error()+out, "NXDOMAIN") {
			t.Errorf("%s %v, want NXDOMAIN", out, err)
		}
	})
	t.Run("no packet leaves", func(t *testing.T) {
		for _, address := range []string{"198.51.100.1", "2001:db8:1::1"} {
			out, err := c.Command(ctx, "ip", "route", "get", address).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "unreachable") {
				t.Errorf("the node has a route to %s: %s", address, out)
			}
		}
	})
	t.Run("Pod Security is enforced", func(t *testing.T) {
		kubectl("create", "namespace", "strict")
		kubectl("label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted")
		kubectl("--namespace=strict", "wait", "--for=create", "serviceaccount/default", "--timeout=30s")
		_, err := c.Kubectl(ctx, "--namespace=strict", "run", "x", "--image="+ImageTools)
		if err == nil || !strings.Contains(err.Error(), "restricted") {
			t.Errorf("a Pod that is not restricted: %v", err)
		}
	})
	t.Run("a killed sandbox is made again with another address", func(t *testing.T) {
		const address = "--output=jsonpath={.status.podIP}"
		first, uid := kubectl("get", "pod", "lookup", address), kubectl("get", "pod", "lookup", "--output=jsonpath={.metadata.uid}")
		if err := c.KillSandbox(ctx, "default", "lookup"); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for {
			if now := kubectl("get", "pod", "lookup", address); now != first && now != "" {
				break
			}
			if time.Since(start) > time.Minute {
				t.Fatalf("still %s", first)
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("another address after %.1fs", time.Since(start).Seconds())
		if now := kubectl("get", "pod", "lookup", "--output=jsonpath={.metadata.uid}"); now != uid {
			t.Errorf("UID %s, was %s", now, uid)
		}
	})
	t.Run("an image can be loaded later", func(t *testing.T) {
		image, err := Tools()
		if err != nil {
			t.Fatal(err)
		}
		image.Ref = "podfqdn.test/later:1"
		file := filepath.Join(t.TempDir(), "later.tar")
		if err := image.Write(file); err != nil {
			t.Fatal(err)
		}
		if err := c.Load(ctx, file); err != nil {
			t.Fatal(err)
		}
		if out, err := c.Ctr(ctx, "images", "list", "--quiet"); err != nil || !strings.Contains(out, image.Ref) {
			t.Errorf("%v, images %s", err, out)
		}
	})
	t.Run("an id is taken once", func(t *testing.T) {
		_, err := Up(ctx, Options{ID: c.ID})
		if err == nil || !strings.Contains(err.Error(), "take it down first") {
			t.Errorf("a second cluster of that id: %v", err)
		}
		run := exec.Command(command(t), "run", "-id", c.ID, "--", "echo", "ran")
		out, err := run.CombinedOutput()
		if code := run.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(out), "take it down first") || strings.Contains(string(out), "ran\n") {
			t.Errorf("`run` of that id: %v\n%s", err, out)
		}
		if _, err := Open(c.ID); err != nil {
			t.Errorf("and the first: %v", err)
		}
	})
	t.Run("a second cluster is killed half-way and taken down", func(t *testing.T) {
		for _, program := range []string{"etcd", "kubelet", "containerd-shim-runc-v2"} {
			killedOnce(t, program)
		}
		kubectl("exec", "lookup", "--", "nslookup", "kubernetes.default.svc.cluster.local")
	})
	t.Run("it ends with its first component", func(t *testing.T) {
		// The first of its namespace sees only the cluster's.
		out, err := c.Command(ctx, "kill", strings.TrimSpace(pidof(t, c, "kube-scheduler"))).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for deadline := time.Now().Add(30 * time.Second); c.Node.alive(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the node runs on without kube-scheduler")
			}
		}
		if b, err := os.ReadFile(c.nodeLog()); err != nil || !strings.Contains(string(b), "kube-scheduler ended") {
			t.Errorf("%v, node.log:\n%s", err, b)
		}
		if _, err := Open(c.ID); err == nil {
			t.Error("it counts as up")
		}
	})
}

func pidof(t *testing.T, c *Cluster, name string) string {
	t.Helper()
	out, err := c.Command(t.Context(), busybox, "pidof", name).Output()
	if err != nil {
		t.Fatalf("no %s in the node: %v", name, err)
	}
	return string(out)
}

// pod runs script in the tools image and waits until it runs.
func pod(t *testing.T, c *Cluster, name, script string) {
	t.Helper()
	// A shell that is the first process ignores the kubelet's SIGTERM.
	const impatient = `{"spec": {"terminationGracePeriodSeconds": 1}}`
	if _, err := c.Kubectl(t.Context(), "run", name, "--image="+ImageTools, "--overrides="+impatient, "--", "sh", "-c", script); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kubectl(t.Context(), "wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s"); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 30*time.Second; time.Sleep(100 * time.Millisecond) {
		if out, err := c.Kubectl(t.Context(), "logs", name); err == nil && strings.Contains(out, "65532") {
			return
		}
	}
	out, err := c.Kubectl(t.Context(), "logs", name)
	t.Fatalf("%s printed %q, %v", name, out, err)
}

// killedOnce kills `up` with SIGKILL once program runs in its cluster.
func killedOnce(t *testing.T, program string) {
	t.Helper()
	id := id(t, "killed-"+program[:4])
	c := exec.Command(command(t), "up", "-id", id, "-k8s", os.Getenv("K8S"))
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	runs := func(left string) bool {
		return strings.HasPrefix(left, "process ") && strings.HasSuffix(left, program)
	}
	var left []string
	for !slices.ContainsFunc(left, runs) {
		select {
		case err := <-ended:
			t.Fatalf("up ended before %s ran: %v", program, err)
		case <-time.After(20 * time.Millisecond):
		}
		var err error
		if left, err = Leftovers(id); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Errorf("up had finished before it was killed")
	}
	if err := Down(id); err != nil {
		t.Error(err)
	}
	assertGone(t, id)
	t.Logf("killed once %s ran: %d things existed, none after down", program, len(left))
}

// command builds the command once and returns its path.
func command(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := buildOwn(context.Background(), dir, "cmd"); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "cmd")
}

func TestAnInterruptedUpTakesItselfDown(t *testing.T) {
	id := id(t, "interrupted")
	c := exec.Command(command(t), "up", "-id", id, "-k8s", os.Getenv("K8S"))
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for printed := bufio.NewScanner(stderr); printed.Scan(); {
		if strings.HasPrefix(printed.Text(), "images and configuration") {
			_ = c.Process.Signal(os.Interrupt)
		}
	}
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	assertGone(t, id)
}

func TestRunIsUpACommandAndDown(t *testing.T) {
	id := id(t, "run")
	const script = "kubectl get --raw /readyz && ctr containers list --quiet | wc -l && cat && exit 7"
	c := exec.Command(command(t), "run", "-id", id, "-k8s", os.Getenv("K8S"), "--", "sh", "-c", script)
	// As the developer's own cluster, which is not the one that is meant.
	c.Env = append(os.Environ(), "KUBECONFIG=/nonexistent", "CONTAINERD_ADDRESS=/nonexistent")
	c.Stdin = strings.NewReader("input")
	var stdout, stderr strings.Builder
	c.Stdout, c.Stderr = &stdout, &stderr
	_ = c.Run()
	if code := c.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit %d, want the command's 7", code)
	}
	// CoreDNS twice, and a sandbox for each.
	if stdout.String() != "ok4\ninput" {
		t.Errorf("the command printed %q", stdout.String())
	}
	said := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	if last := said[len(said)-1]; !strings.HasPrefix(last, "cluster "+id+" is down after ") || strings.Contains(stderr.String(), "---- ") {
		t.Errorf("stderr:\n%s\nwant the time of down at the end, and no logs", stderr.String())
	}
	assertGone(t, id)
}

func TestATerminatedRunEndsItsCommandAndTheCluster(t *testing.T) {
	id := id(t, "terminated")
	// timeout(1) sends its signal twice: to the program, and to the group.
	c := exec.Command("timeout", "--verbose", "10m", command(t), "run", "-id", id, "-k8s", os.Getenv("K8S"), "--",
		"sh", "-c", "sleep 1000 & echo $!; wait")
	c.Stderr = lines(t.Logf)
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	printed := bufio.NewScanner(stdout)
	if !printed.Scan() {
		t.Error("the command never ran")
	}
	sleeps, err := strconv.Atoi(printed.Text())
	if err != nil {
		t.Fatal(err)
	}
	p, err := processOf(sleeps)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit %d, want that of a command that was terminated", code)
	}
	if p.alive() {
		t.Errorf("the command's process %d still runs", p.PID)
	}
	assertGone(t, id)
}

func TestAClusterHasTheDomainThatIsAskedFor(t *testing.T) {
	c := up(t, Options{ID: id(t, "domain"), Domain: "example.internal"})
	opened, err := Of(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if c.Domain != "example.internal" || opened.Domain != c.Domain || opened.ID != c.ID {
		t.Errorf("%s has the domain %q, and %s that was opened %q", c.ID, c.Domain, opened.ID, opened.Domain)
	}
	pod(t, c, "lookup", "cat /etc/resolv.conf; nslookup kubernetes.default.svc.example.internal && id -u && sleep 3600")
	out, err := c.Kubectl(t.Context(), "logs", "lookup")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"search default.svc.example.internal svc.example.internal example.internal\n", apiService + "\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	out, err = c.Kubectl(t.Context(), "exec", "lookup", "--", "nslookup", "kubernetes.default.svc."+defaultDomain)
	if err == nil || !strings.Contains(err.Error()+out, "NXDOMAIN") {
		t.Errorf("%s: %s %v, want NXDOMAIN", defaultDomain, out, err)
	}
	account, err := c.Kubectl(t.Context(), "get", "--raw", "/.well-known/openid-configuration")
	if err != nil || !strings.Contains(account, `"issuer":"https://kubernetes.default.svc.example.internal"`) {
		t.Errorf("accounts: %s %v", account, err)
	}
}

func TestAFailedUpEndsAllAndKeepsTheLogs(t *testing.T) {
	id := id(t, "failed")
	var log strings.Builder
	missing := filepath.Join(t.TempDir(), "missing.tar")
	_, err := Up(t.Context(), Options{ID: id, Kubernetes: os.Getenv("K8S"), Images: []string{missing}, Log: &log})
	if err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("%v, want an error that names %s", err, missing)
	}
	if !strings.Contains(log.String(), "kube-apiserver.log") {
		t.Errorf("the API server's last lines are not in:\n%s", log.String())
	}
	left, err := Leftovers(id)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := dirOf(id)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(left, "directory "+dir) || slices.ContainsFunc(left, func(l string) bool { return strings.HasPrefix(l, "process ") }) {
		t.Errorf("left: %q, want the directory and no process", left)
	}
}

func TestAMissingRightOrToolIsOneSentence(t *testing.T) {
	binary := command(t)
	// Where another user may run it.
	for dir := binary; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	nobody := exec.Command(binary, "up", "-id", "missing")
	nobody.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	toolless := exec.Command(binary, "up", "-id", "missing")
	toolless.Env = append(os.Environ(), "PATH="+t.TempDir())
	for _, c := range []struct {
		cmd  *exec.Cmd
		want []string
	}{
		{nobody, []string{"needs root", "user 65534"}},
		{exec.Command("setpriv", "--bounding-set=-net_admin", binary, "up", "-id", "missing"), []string{"CAP_NET_ADMIN"}},
		{toolless, []string{"nsenter", "apt-get install util-linux"}},
	} {
		c.cmd.Env = append(c.cmd.Environ(), "HOME="+t.TempDir())
		out, err := c.cmd.CombinedOutput()
		if code := c.cmd.ProcessState.ExitCode(); code != 1 {
			t.Errorf("%v: exit %d, %v", c.cmd.Args, code, err)
		}
		if strings.Count(string(out), "\n") != 1 || slices.ContainsFunc(c.want, func(w string) bool { return !strings.Contains(string(out), w) }) {
			t.Errorf("%v says %q, want one line with %q", c.cmd.Args, out, c.want)
		}
	}
}

// kubeadmCorefile reads it off the source of kubeadm that goes with
// build/kubernetes.
func kubeadmCorefile(t *testing.T) string {
	t.Helper()
	dir, err := goCommand(t.Context(), "build/kubernetes", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(dir), "cmd/kubeadm/app/phases/addons/dns/manifests.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && v.Names[0].Name == "CoreDNSConfigMap" {
			text, err = strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		}
		return err == nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := template.Must(template.New("").Parse(text)).Execute(&b, map[string]string{"DNSDomain": defaultDomain}); err != nil {
		t.Fatal(err)
	}
	_, corefile, ok := strings.Cut(b.String(), "Corefile: |\n")
	if !ok {
		t.Fatalf("no Corefile in %q", text)
	}
	return regexp.MustCompile(`(?m)^    `).ReplaceAllString(corefile, "")
}
