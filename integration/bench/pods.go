package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	setSize = 6 // Pods of a set
	label   = "set"
	// waiting is how many sets may wait for DNS together.
	waiting = 6
	// settled is how long an init container has run when its Pod does nothing but wait.
	settled = 3 * time.Second
	// afresh is after how many repetitions cluster DNS is replaced. CoreDNS's
	// cache keeps what has expired, and when it is full it drops at random: then
	// the observer's questions would end what a loop waits for.
	afresh = 10
)

// count is what CoreDNS counted of one set.
type count struct {
	Setup     string
	Contender string
	Rep       int
	counters
}

// measure takes all samples and counts of one setup.
func (w *world) measure(ctx context.Context, s setup, contenders []contender, reps, counts int, r *report) error {
	began := time.Now()
	for from := 0; from < reps; from += afresh {
		if err := w.batch(ctx, s, contenders, from, min(reps, from+afresh), r); err != nil {
			return err
		}
	}
	if counts > 0 {
		servers, end, err := w.serve(ctx, s)
		if err != nil {
			return err
		}
		defer end()
		for rep := range counts {
			for _, c := range contenders {
				if rep > 0 && c.script != "" {
					continue // a loop's number is the same each time, and may take half a minute
				}
				n, err := w.counted(ctx, s, c, servers)
				if err != nil {
					return err
				}
				r.Counts = append(r.Counts, count{s.title, c.title, rep, n})
			}
		}
	}
	fmt.Fprintf(os.Stderr, "%s: %.0fs\n", s.title, time.Since(began).Seconds())
	return nil
}

// batch takes the samples of some repetitions, beginning with empty caches.
func (w *world) batch(ctx context.Context, s setup, contenders []contender, from, to int, r *report) error {
	servers, end, err := w.serve(ctx, s)
	if err != nil {
		return err
	}
	defer end()
	unobserve, err := w.observing(ctx, servers)
	if err != nil {
		return err
	}
	defer unobserve()
	samples, err := w.timed(ctx, s, contenders, from, to, len(servers))
	r.Samples = append(r.Samples, samples...)
	return err
}

// timed runs the sets of the repetitions, as the package's comment says.
func (w *world) timed(ctx context.Context, s setup, contenders []contender, from, to, servers int) (all []sample, err error) {
	var (
		quiet sync.Mutex // held while Pods start or end
		mu    sync.Mutex
		wg    sync.WaitGroup
		slots = make(chan struct{}, waiting)
	)
	for rep := from; rep < to; rep++ {
		for _, c := range contenders {
			slots <- struct{}{}
			quiet.Lock()
			waiting := len(slots) - 1
			set, failed := w.start(ctx, s, c, true)
			if failed == nil {
				failed = w.until(ctx, set, setSize, isSettled)
			}
			quiet.Unlock()
			wg.Go(func() {
				defer func() { <-slots }()
				if failed == nil && ctx.Err() == nil {
					// One that waits for ever is a sample, too: read says so.
					_ = w.until(ctx, set, setSize, isRunning)
				}
				quiet.Lock()
				defer quiet.Unlock()
				samples := w.read(ctx, s, c, set, servers)
				failed = errors.Join(failed, w.remove(ctx, set))
				mu.Lock()
				defer mu.Unlock()
				for _, sample := range samples {
					sample.Rep, sample.Waiting = rep, waiting
					all = append(all, sample)
				}
				err = errors.Join(err, failed)
			})
			if ctx.Err() != nil {
				break
			}
		}
	}
	wg.Wait()
	return all, errors.Join(err, ctx.Err())
}

// counted runs one set alone, whose application asks nothing.
func (w *world) counted(ctx context.Context, s setup, c contender, servers []string) (counters, error) {
	before, err := w.scrape(ctx, s, servers)
	if err != nil {
		return before, err
	}
	set, err := w.start(ctx, s, c, false)
	if err != nil {
		return before, err
	}
	if err := w.until(ctx, set, setSize, isRunning); err != nil {
		return before, err
	}
	after, err := w.scrape(ctx, s, servers)
	return after.since(before), errors.Join(err, w.remove(ctx, set))
}

// start makes a set whose Pods wait as the contender does, of a name that nobody has asked for.
func (w *world) start(ctx context.Context, s setup, c contender, probes bool) (set string, err error) {
	set = c.key + strconv.FormatInt(time.Now().UnixMilli(), 36)
	env := w.env(set)
	app := corev1.Container{Name: "app", Image: imageBench, Env: env, Command: []string{"bench", "probe", "$(FQDN)", "$(POD_IP)"}}
	if !probes {
		app.Command = []string{"bench", "idle"}
	}
	wait := c.container()
	if c.script != "" { // podfqdn finds out by itself
		wait.Env = env
	}
	ndots, search := "5", "svc."+w.own.Domain
	return set, w.create(ctx, set, setSize, corev1.PodSpec{
		InitContainers: []corev1.Container{wait},
		Containers:     []corev1.Container{app},
		Volumes:        []corev1.Volume{emptyDir("identity")},
		// As the kubelet would write it, but for the nameserver.
		DNSPolicy: corev1.DNSNone,
		DNSConfig: &corev1.PodDNSConfig{
			Nameservers: []string{s.nameserver()},
			Searches:    []string{namespace + "." + search, search, w.own.Domain},
			Options:     []corev1.PodDNSConfigOption{{Name: "ndots", Value: &ndots}},
		},
	})
}

// env returns the variables from which a loop or a plain application knows its Pod.
func (w *world) env(set string) []corev1.EnvVar {
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
	}
	return []corev1.EnvVar{field("POD_NAME", "metadata.name"), field("POD_IP", "status.podIP"), {Name: "FQDN", Value: w.fqdn(set, "$(POD_NAME)")}}
}

func emptyDir(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

// create makes a governing Service and a StatefulSet, all of whose Pods start together.
func (w *world) create(ctx context.Context, set string, pods int32, spec corev1.PodSpec) error {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: set},
		Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, PublishNotReadyAddresses: true, Selector: map[string]string{label: set}},
	}
	if _, err := w.kube.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return err
	}
	no, grace := false, int64(1)
	spec.AutomountServiceAccountToken, spec.EnableServiceLinks, spec.TerminationGracePeriodSeconds = &no, &no, &grace
	_, err := w.kube.AppsV1().StatefulSets(namespace).Create(ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: set},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &pods, ServiceName: set, PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{label: set}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{label: set}}, Spec: spec},
		},
	}, metav1.CreateOptions{})
	return err
}

// of returns the Pods of a set.
func (w *world) of(set string) (pods []*corev1.Pod) {
	for _, o := range w.pods.GetStore().List() {
		if p := o.(*corev1.Pod); p.Labels[label] == set {
			pods = append(pods, p)
		}
	}
	return pods
}

// until waits until this number of Pods of a set meet a condition.
func (w *world) until(ctx context.Context, set string, pods int, is func(*corev1.Pod) bool) error {
	return eventually(ctx, set, func() (bool, error) {
		n := 0
		for _, p := range w.of(set) {
			for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
				if s.RestartCount > 0 {
					return false, fmt.Errorf("container %s of Pod %s was started again", s.Name, p.Name)
				}
			}
			if is(p) {
				n++
			}
		}
		return n == pods, nil
	})
}

// isRunning reports whether the application runs.
func isRunning(p *corev1.Pod) bool {
	s := p.Status.ContainerStatuses
	return len(s) > 0 && s[0].State.Running != nil
}

// isSettled reports whether a Pod does not start any more: it runs, or waits.
func isSettled(p *corev1.Pod) bool {
	if s := p.Status.InitContainerStatuses; len(s) > 0 && s[0].State.Running != nil {
		return time.Since(s[0].State.Running.StartedAt.Time) > settled
	}
	return isRunning(p)
}

// remove deletes a set and waits for the end of its Pods.
func (w *world) remove(ctx context.Context, set string) error {
	err := errors.Join(
		w.kube.AppsV1().StatefulSets(namespace).Delete(ctx, set, metav1.DeleteOptions{}),
		w.kube.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: label + "=" + set}),
		w.kube.CoreV1().Services(namespace).Delete(ctx, set, metav1.DeleteOptions{}))
	if err != nil {
		return err
	}
	return eventually(ctx, set+" is gone", func() (bool, error) { return len(w.of(set)) == 0, nil })
}
