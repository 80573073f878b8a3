package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/podfqdn/podfqdn/integration/cluster/node"
)

// Options say what to bring up.
type Options struct {
	ID         string    // up to 32 of a-z, 0-9 and -; clusters of different ids never meet
	Kubernetes string    // 1.36 or 1.36.3: one that has a module below build; empty is the newest
	Domain     string    // of the cluster; empty is cluster.local
	Images     []string  // archives to import before the first Pod; more by Load
	Log        io.Writer // progress, and what the components said last before a failure; nil discards it
}

// Cluster is a running cluster.
type Cluster struct {
	ID      string
	Version string // of Kubernetes: v1.37.1
	Domain  string // as cluster.local
	dir     string
	record
}

// stageTimeout is for what takes seconds, on a machine that does other things too.
const stageTimeout = 3 * time.Minute

// Up brings a cluster up: two CoreDNS Pods are ready and answer by their
// Service's address when it returns. It needs root, the programs that its
// error names, and, the first time, some ten minutes to compile.
//
// After an error nothing runs, but the directory with the components' logs
// stands until Down. When ctx ends it has gone, too.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	if o.Log == nil {
		o.Log = io.Discard
	}
	dir, err := dirOf(o.ID)
	if err != nil {
		return nil, err
	}
	o.Domain = cmp.Or(o.Domain, defaultDomain)
	if !validDomain.MatchString(o.Domain) {
		return nil, fmt.Errorf("cluster domain %q: want labels of a-z, 0-9 and -, separated by dots", o.Domain)
	}
	if err := require(dir); err != nil {
		return nil, err
	}
	programs, err := build(ctx, o.Kubernetes, o.Log)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("cluster %s exists already, or is left over (%s): take it down first", o.ID, dir)
		}
		return nil, err
	}
	unlock, err := lock(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c := &Cluster{ID: o.ID, Domain: o.Domain, dir: dir, record: record{Domain: o.Domain, Programs: map[string]string{}}}
	for name, p := range programs {
		c.Programs[name] = p.bin
		if name == binKubernetes {
			c.Version, c.Kubernetes = p.version, p.version
		}
	}
	if err := c.up(ctx, o, programs); err != nil {
		if ctx.Err() != nil {
			// An interrupted run does not show logs.
			unlock()
			return nil, errors.Join(context.Cause(ctx), c.Down())
		}
		c.lastWords(o.Log)
		return nil, errors.Join(err, c.Node.end())
	}
	return c, nil
}

func (c *Cluster) up(ctx context.Context, o Options, programs map[string]program) error {
	stage := stages(o.Log)
	images, err := c.images(ctx, programs)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := os.Mkdir(filepath.Join(c.dir, "log"), 0o755); err != nil {
		return err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := writeConfig(c.dir, c.ID, c.Domain, port, programs, images); err != nil {
		return err
	}
	stage("images and configuration")

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := c.start(listener.(*net.TCPListener), cancel); err != nil {
		return err
	}
	if err := c.eventually(ctx, "get", "--raw", "/readyz"); err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	stage("API server ready")
	for _, image := range o.Images {
		if err := c.Load(ctx, image); err != nil {
			return err
		}
		stage("image " + image)
	}
	dns, err := configFile("coredns.yaml", c.Domain)
	if err != nil {
		return err
	}
	if _, err := c.KubectlInput(ctx, dns, "apply", "-f", "-"); err != nil {
		return err
	}
	if err := c.eventually(ctx, "wait", "--for=condition=Ready", "node/"+nodeName, "--timeout=1s"); err != nil {
		return err
	}
	stage("node ready")
	if err := c.eventually(ctx, "--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=1s"); err != nil {
		return err
	}
	stage("CoreDNS ready")
	if err := eventually(ctx, func(ctx context.Context) error {
		lookup := c.Command(ctx, busybox, "nslookup", "kubernetes.default.svc."+c.Domain, dnsService)
		if out, err := lookup.CombinedOutput(); err != nil {
			return fmt.Errorf("nslookup: %w\n%s", err, out)
		}
		return nil
	}); err != nil {
		return err
	}
	stage("CoreDNS answers")
	return nil
}

// stages returns a func that writes what is done and the seconds since the last.
func stages(log io.Writer) func(string) {
	last := time.Now()
	return func(done string) {
		fmt.Fprintf(log, "%s: %.1fs\n", done, time.Since(last).Seconds())
		last = time.Now()
	}
}

// images writes the cluster's own images and returns the archives, as the node
// sees them.
func (c *Cluster) images(ctx context.Context, programs map[string]program) ([]string, error) {
	bin := filepath.Join(c.dir, "bin")
	if err := buildOwn(ctx, bin, "cmd", "pause"); err != nil {
		return nil, err
	}
	tools, err := Tools()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.dir, "images")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	var archives []string
	for _, image := range []Image{
		{Ref: ImagePause, User: "65535:65535", Entrypoint: []string{"/pause"}, Files: map[string]string{"pause": filepath.Join(bin, "pause")}},
		{Ref: ImageCoreDNS, Entrypoint: []string{"/coredns"}, Files: map[string]string{"coredns": filepath.Join(programs[binCoreDNS].bin, "coredns")}},
		tools,
	} {
		file := strconv.Itoa(len(archives)) + ".tar"
		if err := image.Write(filepath.Join(dir, file)); err != nil {
			return nil, err
		}
		archives = append(archives, node.State+"/images/"+file)
	}
	return archives, nil
}

// start starts the node and cancels with its reason when it ends.
func (c *Cluster) start(listener *net.TCPListener, cancel context.CancelCauseFunc) error {
	tracking, err := makeCgroups(c.ID)
	if err != nil {
		return err
	}
	handed, err := listener.File()
	if err != nil {
		return err
	}
	defer handed.Close()
	log, err := os.Create(c.nodeLog())
	if err != nil {
		return err
	}
	defer log.Close()
	waiting, release, err := os.Pipe()
	if err != nil {
		return err
	}
	defer release.Close()

	cmd := exec.Command(filepath.Join(c.dir, "bin", "cmd"), "node", filepath.Join(c.dir, "config", "plan.json"))
	// Nothing of the caller's: a proxy's address, say, would be believed.
	cmd.Env = []string{marker + "=" + c.ID, "HOME=" + node.State + "/tmp", "TMPDIR=" + node.State + "/tmp"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = waiting, log, log
	cmd.ExtraFiles = []*os.File{handed} // node.Listener
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // the terminal's interrupt is for Up alone
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	if err := os.Mkdir(filepath.Join(c.dir, "tmp"), 0o1777); err != nil {
		return err
	}
	err = cmd.Start()
	waiting.Close()
	if err != nil {
		return fmt.Errorf("start the node: %w", err)
	}
	go func() {
		err := cmd.Wait()
		cancel(fmt.Errorf("the node ended: %w: %s", err, c.tailOf(c.nodeLog(), 1)))
	}()
	if c.Node, err = processOf(cmd.Process.Pid); err != nil {
		return err
	}
	if err := enter(tracking, c.Node.PID); err != nil {
		return err
	}
	if err := c.record.write(c.dir); err != nil {
		return err
	}
	_, err = release.Write([]byte("\n"))
	return err
}

// eventually runs kubectl until it succeeds.
func (c *Cluster) eventually(ctx context.Context, args ...string) error {
	return eventually(ctx, func(ctx context.Context) error {
		_, err := c.Kubectl(ctx, args...)
		return err
	})
}

// eventually tries until it succeeds, and ends with the last failure.
func eventually(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stageTimeout, fmt.Errorf("gave up after %v", stageTimeout))
	defer cancel()
	for last := error(nil); ; {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), last)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Open returns the cluster id that is up.
func Open(id string) (*Cluster, error) {
	dir, err := dirOf(id)
	if err != nil {
		return nil, err
	}
	r, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	if !r.Node.alive() {
		return nil, fmt.Errorf("cluster %s is not up", id)
	}
	return &Cluster{ID: id, Version: r.Kubernetes, Domain: cmp.Or(r.Domain, defaultDomain), dir: dir, record: r}, nil
}

// ErrForeign is Of's error for the kubeconfig of something else.
var ErrForeign = errors.New("not the kubeconfig of a cluster of this package")

// Of returns the cluster that is up and whose Kubeconfig the path is, through
// whatever links. The error is ErrForeign if the path is not a cluster's of this
// package and this user.
func Of(kubeconfig string) (*Cluster, error) {
	path, err := filepath.Abs(kubeconfig)
	if err != nil {
		return nil, err
	}
	path = resolve(path)
	id := filepath.Base(filepath.Dir(path))
	dir, err := dirOf(id)
	if err != nil || path != resolve((&Cluster{dir: dir}).Kubeconfig()) {
		return nil, fmt.Errorf("%q: %w", kubeconfig, ErrForeign)
	}
	return Open(id)
}

// resolve returns path without symbolic links, or as it is if there is nothing:
// a cluster that is down has a path, too.
func resolve(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	return path
}

// Down is Down for c.
func (c *Cluster) Down() error { return Down(c.ID) }

// Kubeconfig is the path of an administrator's, good anywhere on this machine.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// Logs is the directory of the components' logs, one file each, and node.log.
func (c *Cluster) Logs() string { return filepath.Join(c.dir, "log") }

func (c *Cluster) containerd() string { return filepath.Join(c.dir, "containerd.sock") }

// kubectlCache is kubectl's; its default is in the home directory, where it would stay.
func (c *Cluster) kubectlCache() string { return filepath.Join(c.dir, "kubectl") }

func (c *Cluster) nodeLog() string { return filepath.Join(c.Logs(), "node.log") }

// Binary returns the path of a program that the cluster was built with: kubectl,
// ctr, etcd, etcdctl, coredns and so on.
func (c *Cluster) Binary(name string) string {
	for _, dir := range c.Programs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return name
}

// Kubectl runs the cluster's own kubectl as its administrator and returns
// what it printed; the error holds what it printed on stderr.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.KubectlInput(ctx, "", args...)
}

// KubectlInput is Kubectl with input for `-f -`.
func (c *Cluster) KubectlInput(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Binary("kubectl"), args...)
	cmd.Env = append(os.Environ(), c.Environ()...)
	cmd.Stdin = strings.NewReader(input)
	return output(cmd, "kubectl")
}

// Load imports an archive (of `docker save`, or of Image.Write) as an image.
func (c *Cluster) Load(ctx context.Context, archive string) error {
	_, err := c.Ctr(ctx, "images", "import", archive)
	return err
}

// Ctr runs containerd's ctr on the namespace of the kubelet's containers.
func (c *Cluster) Ctr(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"--address", c.containerd(), "--namespace", "k8s.io"}, args...)
	return output(exec.CommandContext(ctx, c.Binary("ctr"), args...), "ctr")
}

// KillSandbox kills the pause process of a Pod: the kubelet makes a new
// sandbox, with a new address, and starts the Pod's containers again.
func (c *Cluster) KillSandbox(ctx context.Context, namespace, pod string) error {
	out, err := c.Ctr(ctx, "containers", "list", "--quiet", fmt.Sprintf(
		`labels."io.cri-containerd.kind"==sandbox,labels."io.kubernetes.pod.namespace"==%q,labels."io.kubernetes.pod.name"==%q`, namespace, pod))
	if err != nil {
		return err
	}
	killed := 0
	for _, id := range strings.Fields(out) {
		// Those that stopped earlier have no task any more.
		if _, err := c.Ctr(ctx, "tasks", "kill", "--signal", "SIGKILL", id); err == nil {
			killed++
		}
	}
	if killed != 1 {
		return fmt.Errorf("killed %d of the sandboxes %q of Pod %s/%s, want 1", killed, strings.Fields(out), namespace, pod)
	}
	return nil
}

// Command prepares a command in the node's network, mount and PID namespaces.
func (c *Cluster) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append(c.enter(), append([]string{"--", name}, args...)...)...)
}

func (c *Cluster) enter() []string {
	return []string{"--target", strconv.Itoa(c.Node.PID), "--mount", "--net", "--pid", "--ipc", "--uts"}
}

// Environ returns what makes kubectl and ctr meet the cluster, each as
// KEY=VALUE; PATH goes on with this process's own.
func (c *Cluster) Environ() []string { return c.environ(os.Getenv("PATH")) }

// Env returns it as shell commands.
func (c *Cluster) Env() string {
	var b strings.Builder
	for _, kv := range c.environ("$PATH") {
		fmt.Fprintf(&b, "export %s\n", kv)
	}
	fmt.Fprintf(&b, "# Kubernetes %s; logs are in %s\n", c.Version, c.Logs())
	fmt.Fprintf(&b, "# a shell in the node: nsenter %s\n", strings.Join(c.enter(), " "))
	return b.String()
}

func (c *Cluster) environ(path string) []string {
	directories := slices.Sorted(maps.Values(c.Programs))
	return []string{
		"KUBECONFIG=" + c.Kubeconfig(),
		"KUBECACHEDIR=" + c.kubectlCache(),
		"CONTAINERD_ADDRESS=" + c.containerd(),
		"CONTAINERD_NAMESPACE=k8s.io",
		"PATH=" + strings.Join(append(directories, path), ":"),
	}
}

// lastWords writes the end of every component's log, and what the API server
// tells of Pods and events if it still does.
func (c *Cluster) lastWords(w io.Writer) {
	logs, _ := filepath.Glob(filepath.Join(c.Logs(), "*.log"))
	for _, log := range logs {
		fmt.Fprintf(w, "---- the end of %s\n%s\n", log, c.tailOf(log, 8))
	}
	if !c.Node.alive() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, args := range [][]string{{"get", "pods", "--all-namespaces", "--output=wide"}, {"events", "--all-namespaces"}} {
		out, err := c.Kubectl(ctx, args...)
		fmt.Fprintf(w, "---- kubectl %s\n%s", strings.Join(args, " "), tail([]byte(out), 20)+"\n")
		if err != nil {
			fmt.Fprintln(w, err)
		}
	}
}

func (c *Cluster) tailOf(file string, lines int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return tail(b, lines)
}

// output runs cmd, which ends with this process, and returns its stdout.
func output(cmd *exec.Cmd, name string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := runBound(cmd, syscall.SIGKILL); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(cmd.Args[1:], " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
