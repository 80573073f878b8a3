package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podfqdn/podfqdn/integration/cluster"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

const (
	clusterDNS = "10.96.0.10"
	// front is the address of a server on the node that stands before cluster
	// DNS: the one that NodeLocal DNSCache takes.
	front   = "169.254.20.10"
	system  = "kube-system"
	busybox = "/bin/busybox"
)

// setup is one way in which Pods are served with DNS.
type setup struct {
	title    string
	replicas int
	corefile []string // pairs: a text of kubeadm's, and what replaces it
	front    func(w *world) (command []string, err error)
	metrics  bool // the front is a CoreDNS, and reports what it was asked
}

// cacheAll has cluster names cached, too, as kubeadm did before 1.32.
var cacheAll = []string{"cache 30 {\n       disable success cluster.local\n       disable denial cluster.local\n    }\n", "cache 30\n"}

// allSetups are all of them; the short form takes the first two.
var allSetups = func() (all []setup) {
	plain := func(n int) []setup {
		replicas := fmt.Sprintf(", %d replica", n)
		if n > 1 {
			replicas += "s"
		}
		return []setup{
			{title: "kubeadm 1.37" + replicas, replicas: n},
			{title: "cache 30" + replicas, replicas: n, corefile: cacheAll},
			{title: "ttl 5, cache 30" + replicas, replicas: n, corefile: append([]string{"ttl 30\n", "ttl 5\n"}, cacheAll...)},
			{title: "NodeLocal" + replicas, replicas: n, front: nodeLocal, metrics: true},
		}
	}
	all = append(plain(1), plain(2)...)
	return append(all,
		setup{title: "unbound, 1 replica", replicas: 1, front: unbound},
		setup{title: "mesh proxy, 1 replica", replicas: 1, front: meshProxy})
}()

// nameserver is what the Pods ask.
func (s setup) nameserver() string {
	if s.front != nil {
		return front
	}
	return clusterDNS
}

// require reports what is missing here for the setups.
func require(setups []setup) error {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "1"}) {
		return errors.New("this program runs in Pods without a C library: build it with CGO_ENABLED=0")
	}
	for _, s := range setups {
		if strings.HasPrefix(s.title, "unbound") {
			if _, err := exec.LookPath("unbound"); err != nil {
				return errors.New("the setup with unbound needs the program unbound: apt-get install unbound (or measure with -short)")
			}
		}
	}
	return nil
}

func nodeLocal(w *world) ([]string, error) {
	file, err := w.file("nodelocal.Corefile", dnstest.NodeLocal(w.own.Domain, clusterDNS, "bind "+front, "prometheus :9253"))
	return []string{w.own.Binary("coredns"), "-conf", file}, err
}

func unbound(w *world) ([]string, error) {
	program, err := exec.LookPath("unbound")
	if err != nil {
		return nil, err
	}
	// It denies private reverse zones of its own accord, but for nodefault.
	text := fmt.Sprintf(`server:
 interface: %s
 access-control: 0.0.0.0/0 allow
 username: ""
 chroot: ""
 directory: ""
 pidfile: ""
 use-syslog: no
 do-daemonize: no
 module-config: "iterator"
 local-zone: "10.in-addr.arpa." nodefault
 local-zone: "d.f.ip6.arpa." nodefault
`, front)
	for _, zone := range []string{w.own.Domain, "in-addr.arpa", "ip6.arpa"} {
		text += fmt.Sprintf("forward-zone:\n name: %q\n forward-addr: %s\n", zone, clusterDNS)
	}
	file, err := w.file("unbound.conf", text)
	return []string{program, "-d", "-c", file}, err
}

func meshProxy(w *world) ([]string, error) {
	return []string{w.program, "mesh", front + ":53", clusterDNS + ":53"}, nil
}

func (w *world) file(name, text string) (string, error) {
	path := filepath.Join(w.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// serve applies a setup and returns the addresses of the replicas of
// cluster DNS. What it starts ends with the func.
func (w *world) serve(ctx context.Context, s setup) (replicas []string, end func() string, err error) {
	text := w.corefile
	for change := range slices.Chunk(s.corefile, 2) {
		if !strings.Contains(text, change[0]) {
			return nil, nil, fmt.Errorf("the Corefile is not kubeadm's:\n%s", text)
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	if replicas, err = w.restart(ctx, text, s.replicas); err != nil {
		return nil, nil, err
	}
	end = func() string { return "" }
	if s.front != nil {
		command, err := s.front(w)
		if err != nil {
			return nil, nil, err
		}
		if end, err = w.background(ctx, command); err != nil {
			return nil, nil, err
		}
	}
	// Often, as the Service's rules may lag behind by one replica.
	good := 0
	err = eventually(ctx, "DNS answers at "+s.nameserver(), func() (bool, error) {
		good++
		if w.own.Command(ctx, busybox, "nslookup", "-timeout=1", "kubernetes.default.svc."+w.own.Domain, s.nameserver()).Run() != nil {
			good = 0
		}
		return good == 10, nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w\n%s", err, end())
	}
	return replicas, end, nil
}

// restart replaces all replicas of cluster DNS, so that no cache outlives it.
func (w *world) restart(ctx context.Context, corefile string, n int) (addrs []string, err error) {
	maps := w.kube.CoreV1().ConfigMaps(system)
	m, err := maps.Get(ctx, "coredns", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	m.Data["Corefile"] = corefile
	if _, err := maps.Update(ctx, m, metav1.UpdateOptions{}); err != nil {
		return nil, err
	}
	for _, count := range []int{0, n} {
		scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "coredns", Namespace: system}, Spec: autoscalingv1.ScaleSpec{Replicas: int32(count)}}
		if _, err := w.kube.AppsV1().Deployments(system).UpdateScale(ctx, "coredns", scale, metav1.UpdateOptions{}); err != nil {
			return nil, err
		}
		err := eventually(ctx, strconv.Itoa(count)+" replicas of cluster DNS", func() (bool, error) {
			list, err := w.kube.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
			if err != nil {
				return false, err
			}
			addrs = nil
			for _, p := range list.Items {
				for _, c := range p.Status.Conditions {
					if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
						addrs = append(addrs, p.Status.PodIP)
					}
				}
			}
			return len(list.Items) == count && len(addrs) == count, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return addrs, nil
}

// background runs a command in the node until the func is called, which gives
// what it printed. The shell waits for the end of its input, so the command
// ends with this process, too.
func (w *world) background(ctx context.Context, command []string) (end func() string, err error) {
	var printed strings.Builder
	cmd := w.own.Command(ctx, busybox, append([]string{"sh", "-c", `"$@" & read -r _; kill $!; wait`, "sh"}, command...)...)
	cmd.Stdout, cmd.Stderr = &printed, &printed
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() string {
		input.Close()
		_ = cmd.Wait() // its status is the kill's
		return printed.String()
	}, nil
}

// eventually polls until the condition holds.
func eventually(ctx context.Context, what string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*time.Minute, fmt.Errorf("%s: not after 3 minutes", what))
	defer cancel()
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ours returns the cluster of the kubeconfig.
func ours(kubeconfig string) (*cluster.Cluster, error) {
	if kubeconfig == "" {
		return nil, errors.New("KUBECONFIG is not set: make bench brings a cluster up")
	}
	c, err := cluster.Of(kubeconfig)
	if errors.Is(err, cluster.ErrForeign) {
		return nil, errors.New("KUBECONFIG is not a cluster of make bench, which must not change its DNS: unset it, and make bench brings one up")
	}
	return c, err
}
