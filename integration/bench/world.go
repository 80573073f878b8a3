package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podfqdn/podfqdn/integration/cluster"
)

const (
	namespace  = "bench"
	imageBench = "podfqdn.test/bench:1" // a shell, busybox's commands, this program and app
)

// world is the cluster to measure in.
type world struct {
	own      *cluster.Cluster
	kube     *kubernetes.Clientset
	program  string // this one
	dir      string // of temporary files
	corefile string // kubeadm's
	pods     cache.SharedInformer
	end      context.CancelFunc

	mu      sync.Mutex
	observe func(name string)              // of the current setup, or nil
	seen    map[string]map[string]sighting // name, replica
	bound   map[string]time.Time           // Pod; when the watch said that it has a node
}

// open reaches the cluster, and loads and makes the images.
func open(ctx context.Context, kubeconfig string, o options) (w *world, err error) {
	w = &world{}
	if w.own, err = ours(kubeconfig); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // the server has a queue of its own
	if w.kube, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if w.program, err = os.Executable(); err != nil {
		return nil, err
	}
	if w.dir, err = os.MkdirTemp("", "podfqdn-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(w.dir)
		}
	}()
	image, err := cluster.Tools()
	if err != nil {
		return nil, err
	}
	image.Ref, image.Files["bin/bench"], image.Files["bin/app"] = imageBench, w.program, o.app
	tar := filepath.Join(w.dir, "image.tar")
	if err := image.Write(tar); err != nil {
		return nil, err
	}
	for _, tar := range []string{o.load, tar} {
		if err := w.own.Load(ctx, tar); err != nil {
			return nil, err
		}
	}
	if out, err := w.own.Command(ctx, "ip", "address", "replace", front+"/32", "dev", "node0").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("ip address: %w: %s", err, out)
	}
	m, err := w.kube.CoreV1().ConfigMaps(system).Get(ctx, "coredns", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	w.corefile = m.Data["Corefile"]
	_, err = w.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	err = eventually(ctx, "an account for Pods", func() (bool, error) {
		_, err := w.kube.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
	if err != nil {
		return nil, err
	}
	return w, w.follow(ctx)
}

// follow keeps a copy of all Pods, and notices those that get a node or an address.
func (w *world) follow(ctx context.Context) error {
	ctx, w.end = context.WithCancel(ctx)
	w.bound = map[string]time.Time{}
	source := cache.NewListWatchFromClient(w.kube.CoreV1().RESTClient(), "pods", namespace, fields.Everything())
	w.pods = cache.NewSharedInformer(source, &corev1.Pod{}, 0)
	if _, err := w.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(p any) { w.notice(&corev1.Pod{}, p.(*corev1.Pod)) },
		UpdateFunc: func(before, after any) { w.notice(before.(*corev1.Pod), after.(*corev1.Pod)) },
	}); err != nil {
		return err
	}
	go w.pods.Run(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), w.pods.HasSynced) {
		return context.Cause(ctx)
	}
	return nil
}

// notice takes down when a Pod got a node, and has one observed that got an
// address: no record is there before.
func (w *world) notice(before, after *corev1.Pod) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if before.Spec.NodeName == "" && after.Spec.NodeName != "" {
		w.bound[after.Name] = now
	}
	if before.Status.PodIP == "" && after.Status.PodIP != "" && w.observe != nil {
		w.observe(w.fqdn(after.Labels[label], after.Name))
	}
}

// close gives cluster DNS back as it was.
func (w *world) close() {
	w.end()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := w.restart(ctx, w.corefile, 2); err != nil {
		fmt.Fprintln(os.Stderr, "bench: cluster DNS is not restored:", err)
	}
	os.RemoveAll(w.dir)
}

func (w *world) fqdn(set, pod string) string {
	return fmt.Sprintf("%s.%s.%s.svc.%s", pod, set, namespace, w.own.Domain)
}

// observing starts the observer of the replicas, which ends with the func.
func (w *world) observing(ctx context.Context, replicas []string) (end func(), err error) {
	cmd := w.own.Command(ctx, w.program, append([]string{"observe"}, replicas...)...)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.seen = map[string]map[string]sighting{}
	w.observe = func(name string) { fmt.Fprintln(input, name) }
	w.mu.Unlock()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			var s sighting
			if json.Unmarshal(lines.Bytes(), &s) != nil {
				continue
			}
			w.mu.Lock()
			if w.seen[s.Name] == nil {
				w.seen[s.Name] = map[string]sighting{}
			}
			w.seen[s.Name][s.Replica] = s
			w.mu.Unlock()
		}
	}()
	return func() {
		w.mu.Lock()
		w.observe = nil
		w.mu.Unlock()
		input.Close()
		<-read
		_ = cmd.Wait()
	}, nil
}

// visible returns when the last of n replicas knew the name; before: that one
// was asked too late to tell. ok is false if not all have been seen to.
func (w *world) visible(name string, n int) (at time.Time, before, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.seen[name] {
		if s.At.After(at) {
			at, before = s.At, s.Before
		}
	}
	return at, before, len(w.seen[name]) == n
}

// counters are what CoreDNS counts.
type counters struct {
	Requests map[string]float64 // by type
	Denials  float64            // entries in the caches for them
}

// scrape adds up the counters of cluster DNS, or, where the Pods ask a CoreDNS
// on the node, its requests and the denials of both.
func (w *world) scrape(ctx context.Context, s setup, replicas []string) (counters, error) {
	sum := counters{Requests: map[string]float64{}}
	var urls []string
	for _, r := range replicas {
		urls = append(urls, r+":9153")
	}
	if s.metrics {
		urls = append(urls, "127.0.0.1:9253")
	}
	for i, url := range urls {
		out, err := w.own.Command(ctx, busybox, "wget", "-q", "-O", "-", "http://"+url+"/metrics").Output()
		if err != nil {
			return sum, fmt.Errorf("metrics of %s: %w", url, err)
		}
		sum.add(string(out), !s.metrics || i == len(urls)-1)
	}
	return sum, nil
}

// add adds what a text in Prometheus's format says.
func (c *counters) add(text string, requests bool) {
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, "{")
		labels, number, _ := strings.Cut(rest, "} ")
		value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil {
			continue
		}
		switch {
		case name == "coredns_cache_entries" && strings.Contains(labels, `type="denial"`):
			c.Denials += value
		case name == "coredns_dns_requests_total" && requests:
			_, qtype, _ := strings.Cut(labels, `type="`)
			qtype, _, _ = strings.Cut(qtype, `"`)
			c.Requests[qtype] += value
		}
	}
}

// since returns what c counted after before.
func (c counters) since(before counters) counters {
	d := counters{Requests: map[string]float64{}, Denials: c.Denials - before.Denials}
	for qtype, n := range c.Requests {
		if n -= before.Requests[qtype]; n != 0 {
			d.Requests[qtype] = n
		}
	}
	return d
}
