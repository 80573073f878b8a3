//go:build e2e

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podfqdn/podfqdn/integration/cluster"
	"github.com/podfqdn/podfqdn/integration/kerberos"
	"github.com/podfqdn/podfqdn/integration/programs"
)

var (
	imageFlag  = flag.String("image", "podfqdn:dev", "podfqdn's `image`")
	loadFlag   = flag.String("load", "", "the `archive` with podfqdn's image, to be loaded into a cluster of package cluster")
	toolsFlag  = flag.String("tools", "", "an `image` with a shell, nslookup and tar that runs without root; a cluster of package cluster has one")
	onlyFlag   = flag.Int("only", 0, "the `number` of the one scenario to show; 0 is all")
	pluginFlag = flag.String("plugin", "", "the `path` of kubectl-podfqdn")
	domainFlag = flag.String("domain", "cluster.local", "the cluster's `domain`; a cluster of package cluster knows it")
)

// scenarios returns all scenarios, with their numbers in the table at the end.
func scenarios() []scenario {
	return []scenario{
		{number: 1, title: "one Deployment per instance", run: instances},
		{number: 2, title: "two bare Pods", run: barePods},
		{number: 3, title: "a Deployment without hostnames", run: withoutHostnames},
		{number: 4, title: "one hostname for all replicas", run: oneHostname},
		{number: 5, title: "a StatefulSet", run: statefulSets},
		{number: 6, title: "a Service that publishes ready Pods only", run: readyOnly},
		{number: 7, title: "Services that are wrong or unusual", run: services},
		{number: 8, title: "a second Service selects the Pod", run: secondService},
		{number: 9, title: "a Pod comes back while DNS has its old address cached", run: comesBack, alone: true},
		{number: 10, title: "the sandbox is killed", run: sandbox, alone: true},
		{number: 11, title: "cluster DNS in trouble", run: trouble, alone: true},
		{number: 12, title: "address families", run: families},
		{number: 13, title: "unusual Pod specs", run: specs},
		{number: 14, title: "readers of the volume", run: volumes},
		{number: 15, title: "a three-member etcd", run: etcd},
		{number: 16, title: "a sidecar", run: sidecars},
		{number: 17, title: "kubectl podfqdn doctor", run: doctors},
		{number: 18, title: "kubectl podfqdn doctor, and cluster DNS in trouble", run: doctorsAlone, alone: true},
		{number: 19, title: "sidecars while DNS has lost the cluster", run: clusterLost, alone: true},
		{number: 20, title: "Kerberos", run: kerberized},
		{number: 21, title: "names that look like others", run: lookalikes},
		{number: 22, title: "kubectl podfqdn doctor, all that it says", run: doctorsSay},
		{number: 23, title: "podfqdn exec", run: executed},
		{number: 24, title: "podfqdn exec while cluster DNS is down", run: executedAlone, alone: true},
		{number: 25, title: "peers", run: peered},
		{number: 26, title: "podfqdn wait", run: waited},
		{number: 27, title: "peers with each other's PTR records", run: swapped, alone: true},
		{number: 28, title: "a certificate", run: certified},
		{number: 29, title: "a release, pushed to a registry and pulled from it", run: released},
	}
}

// scenario is one of them. Those that run alone reach into the node.
type scenario struct {
	number int
	title  string
	run    func(*testing.T, world)
	alone  bool
}

// world is a cluster to run scenarios in.
type world struct {
	kubeconfig string
	config     *rest.Config
	kube       *kubernetes.Clientset
	own        *cluster.Cluster // nil: a cluster of the user's, whose nodes are out of reach
	domain     string
	image      string // podfqdn's
	server     string // the application's: a shell that ends when told to
	etcd       string // with a shell and etcd
	krb5       string // the application's, with MIT krb5
	static     string // the application's, with nothing but package server as /my-server; "" in a cluster of the user's
}

// theWorld is the one that make e2e starts.
var theWorld world

func TestMain(m *testing.M) {
	flag.Parse()
	w, err := open(context.Background(), os.Getenv("KUBECONFIG"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	theWorld = w
	code := m.Run()
	results.print()
	if len(results.rows) == 0 {
		fmt.Fprintln(os.Stderr, "e2e: no scenario was run")
		code = 1
	}
	os.Exit(code)
}

func TestScenarios(t *testing.T) {
	t.Run("together", func(t *testing.T) {
		for _, s := range scenarios() {
			if !s.alone && s.chosen() {
				t.Run(s.name(), func(t *testing.T) { t.Parallel(); s.show(t) })
			}
		}
	})
	t.Run("alone", func(t *testing.T) {
		for _, s := range scenarios() {
			if s.alone && s.chosen() {
				t.Run(s.name(), s.show)
			}
		}
	})
}

func (s scenario) name() string { return fmt.Sprintf("%d %s", s.number, s.title) }

func (s scenario) chosen() bool { return *onlyFlag == 0 || *onlyFlag == s.number }

func (s scenario) show(t *testing.T) {
	if s.alone && theWorld.own == nil {
		notShown(t, "needs a cluster that make e2e brings up: it changes cluster DNS or reaches into the node")
	}
	start := time.Now()
	t.Cleanup(func() { // after its parallel parts
		state := "ok"
		if t.Failed() {
			state = "FAILED"
		}
		results.shown(s, state, time.Since(start))
	})
	s.run(t, theWorld)
}

// notShown ends a test of what a cluster of the user's cannot show. A cluster of
// package cluster shows everything.
func notShown(t *testing.T, why string) {
	t.Helper()
	if theWorld.own != nil {
		t.Fatalf("not shown: %s", why)
	}
	results.lacks(of(t), why)
	t.Skip(why)
}

// open reaches the cluster of a kubeconfig, and puts the test's own images
// into it if it is one of package cluster.
func open(ctx context.Context, kubeconfig string) (world, error) {
	if kubeconfig == "" {
		return world{}, errors.New("KUBECONFIG is not set: make e2e brings a cluster up; or set it to your own")
	}
	w := world{kubeconfig: kubeconfig, domain: *domainFlag, image: *imageFlag, server: *toolsFlag}
	var err error
	if w.config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
		return world{}, err
	}
	w.config.QPS = -1 // the server has a queue of its own
	if w.kube, err = kubernetes.NewForConfig(w.config); err != nil {
		return world{}, err
	}
	w.own, err = cluster.Of(kubeconfig)
	switch {
	case errors.Is(err, cluster.ErrForeign):
		if w.server == "" {
			return world{}, errors.New("-tools is not set: this cluster needs an image with a shell, nslookup and tar that runs without root (make e2e TOOLS=…)")
		}
		nodes, err := w.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return world{}, err
		}
		fmt.Printf("a cluster of %d nodes, not one of this suite's own\n", len(nodes.Items))
		return w, nil
	case err != nil:
		return world{}, err
	}
	w.domain = w.own.Domain
	fmt.Printf("cluster %s, Kubernetes %s, domain %s\n", w.own.ID, w.own.Version, w.domain)
	return w, w.load(ctx)
}

// load loads podfqdn's image, and makes those of the applications.
func (w *world) load(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "podfqdn-e2e-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// The first process of a container ignores SIGTERM unless it says what to
	// do then: each sleep would outlive its Pod's deletion by 30 seconds. So
	// the shell is the second.
	sh := filepath.Join(dir, "sh")
	if err := os.WriteFile(sh, []byte(`#!/bin/busybox sh
/bin/busybox sh "$@" &
trap 'kill -TERM $!' TERM
while :; do
	wait $!
	code=$?
	kill -0 $! 2>/dev/null || exit $code
done
`), 0o755); err != nil {
		return err
	}
	w.server, w.etcd, w.krb5 = "podfqdn.test/server:1", "podfqdn.test/etcd:1", "podfqdn.test/krb5:1"
	krb5, err := kerberos.Files()
	if err != nil {
		return err
	}
	krb5["bin/sh"] = sh
	if err := w.own.Load(ctx, *loadFlag); err != nil {
		return err
	}
	for ref, files := range map[string]map[string]string{
		w.server: {"bin/sh": sh},
		w.etcd:   {"bin/etcd": w.own.Binary("etcd"), "bin/etcdctl": w.own.Binary("etcdctl")},
		w.krb5:   krb5,
	} {
		image, err := cluster.Tools()
		if err != nil {
			return err
		}
		image.Ref = ref
		if ref == w.krb5 {
			image.User = "65533:65533" // another than podfqdn's
		}
		for name, file := range files {
			delete(image.Links, name)
			image.Files[name] = file
		}
		archive := filepath.Join(dir, "image.tar")
		if err := image.Write(archive); err != nil {
			return err
		}
		if err := w.own.Load(ctx, archive); err != nil {
			return err
		}
	}
	return w.loadStatic(ctx, dir)
}

// loadStatic makes the image of package server, which has nothing else, and no shell.
func (w *world) loadStatic(ctx context.Context, dir string) error {
	w.static = "podfqdn.test/static:1"
	if err := programs.Own(dir, "./server"); err != nil {
		return err
	}
	image := cluster.Image{Ref: w.static, User: "65534:65534", Entrypoint: []string{"/my-server"}, Files: map[string]string{"my-server": filepath.Join(dir, "server")}}
	archive := filepath.Join(dir, "static.tar")
	if err := image.Write(archive); err != nil {
		return err
	}
	return w.own.Load(ctx, archive)
}

// board is what the table at the end says.
type board struct {
	sync.Mutex
	rows []row
}

type row struct {
	scenario
	state string
	lacks string // what this cluster could not show
	took  time.Duration
	waits []time.Duration
}

var results board

// row returns the row of a scenario, which the caller has locked.
func (b *board) row(name string) *row {
	for i := range b.rows {
		if b.rows[i].name() == name {
			return &b.rows[i]
		}
	}
	all := scenarios()
	i := slices.IndexFunc(all, func(s scenario) bool { return s.name() == name })
	b.rows = append(b.rows, row{scenario: all[i]})
	return &b.rows[len(b.rows)-1]
}

// shown records how a scenario went.
func (b *board) shown(s scenario, state string, took time.Duration) {
	b.Lock()
	defer b.Unlock()
	r := b.row(s.name())
	r.state, r.took = state, took
}

// lacks records that a scenario, or a part of it, was not shown.
func (b *board) lacks(s scenario, why string) {
	b.Lock()
	defer b.Unlock()
	b.row(s.name()).lacks = why
}

// waited records how long podfqdn waited for DNS in one Pod of a scenario.
func (b *board) waited(t *testing.T, wait time.Duration) {
	b.Lock()
	defer b.Unlock()
	r := b.row(of(t).name())
	r.waits = append(r.waits, wait)
}

// print writes the table, in the order of the scenarios.
func (b *board) print() {
	b.Lock()
	defer b.Unlock()
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "\nscenario\ttime\t\tPods\twaited for DNS, shortest to longest")
	for _, s := range scenarios() {
		i := slices.IndexFunc(b.rows, func(r row) bool { return r.name() == s.name() })
		if i < 0 {
			continue // not chosen
		}
		r := b.rows[i]
		waits := ""
		if len(r.waits) > 0 {
			waits = fmt.Sprintf("%v to %v", slices.Min(r.waits), slices.Max(r.waits))
		}
		if r.lacks != "" {
			r.state, waits = "", waits+" NOT SHOWN: "+r.lacks
		}
		fmt.Fprintf(out, "%2d %s\t%.1fs\t%s\t%d\t%s\n", r.number, r.title, r.took.Seconds(), r.state, len(r.waits), waits)
	}
	out.Flush()
}

// of returns the scenario that a test is a part of.
func of(t *testing.T) scenario {
	for _, s := range scenarios() {
		if strings.Contains(t.Name()+"/", "/"+strings.ReplaceAll(s.name(), " ", "_")+"/") {
			return s
		}
	}
	t.Fatalf("%s is not part of a scenario", t.Name())
	return scenario{}
}
