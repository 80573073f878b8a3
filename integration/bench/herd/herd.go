package herd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/podfqdn/podfqdn/integration/crowd"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// Options say with what to measure, and how much.
type Options struct {
	Podfqdn string    // path of the binary
	Short   bool      // what fits into 40 seconds
	Log     io.Writer // a line for each herd; may be nil
}

// The clients.
const (
	Podfqdn = "podfqdn"  // the binary, one process a Pod
	Walks   = "walk"     // identity.Walk and its resolver, one goroutine a Pod
	Loop    = "nslookup" // busybox: until nslookup NAME SERVER; do sleep 1; done
)

// The Corefiles.
const (
	Kubeadm = "kubeadm"  // caches nothing of the cluster zone
	Cached  = "cache 30" // caches all for up to 30 seconds
)

func (s Setting) corefile() string {
	if s.Corefile == Cached {
		return dnstest.Cached
	}
	return dnstest.Kubeadm
}

// visibleAfter is when the records appear, since the first Pod's start. The loop asks each second: after 2.5 its wait is
// the mean one, where 2 would have it ask at the right moment by chance.
func (s Setting) visibleAfter() time.Duration {
	if s.Client == Loop {
		return 2500 * time.Millisecond
	}
	return 2 * time.Second
}

// patience is how long Pods wait after the last has started.
const patience = 2 * time.Minute

// Those that wait for ever do so for waitFor; the cache is looked at before.
const (
	lookAfter = time.Minute
	waitFor   = 80 * time.Second
)

// Setting is what makes one herd differ from another.
type Setting struct {
	Client      string  `json:"client"`
	Pods        int     `json:"pods"`
	Corefile    string  `json:"corefile"`
	Share       float64 `json:"share"`        // of a core, for CoreDNS
	LoseEach    int     `json:"lose_each"`    // each so manieth answer is lost; 0: none
	OverSeconds float64 `json:"over_seconds"` // the starts are spread over; 0: as fast as the machine can
	Ready       bool    `json:"ready"`        // the records are there before the first start
	Never       bool    `json:"never"`        // the records never come
}

// share of a core: twice what kubeadm requests for CoreDNS (cpu: 100m).
const share = 0.2

// settings are the herds of a run, small ones first.
func settings(short bool) (all []Setting) {
	add := func(client, corefile string, loseEach int, pods ...int) {
		for _, n := range pods {
			all = append(all, Setting{Client: client, Pods: n, Corefile: corefile, Share: share, LoseEach: loseEach})
		}
	}
	ready := Setting{Client: Podfqdn, Pods: 100, Corefile: Kubeadm, Share: share, Ready: true}
	if short {
		add(Podfqdn, Kubeadm, 0, 1, 10, 100)
		add(Podfqdn, Kubeadm, 5, 100)
		add(Loop, Kubeadm, 0, 10, 100)
		return append(all, ready)
	}
	add(Podfqdn, Kubeadm, 0, 1, 10, 100, 1000)
	add(Podfqdn, Cached, 0, 1, 10, 100, 1000)
	add(Walks, Kubeadm, 0, 10, 100, 1000)
	add(Podfqdn, Kubeadm, 100, 100, 1000)
	add(Podfqdn, Kubeadm, 5, 100, 1000)
	add(Walks, Kubeadm, 5, 100, 1000)
	add(Loop, Kubeadm, 0, 1, 10, 100, 1000)
	add(Loop, Cached, 0, 1, 10, 100, 1000)
	add(Loop, Kubeadm, 5, 100)
	all = append(all, ready,
		Setting{Client: Walks, Pods: 1000, Corefile: Cached, Share: share, Never: true},
		Setting{Client: Loop, Pods: 100, Corefile: Cached, Share: share, Never: true})
	// The same Pods before ever slower servers.
	for _, s := range []float64{1, share, 0.1} {
		all = append(all, Setting{Client: Walks, Pods: 10000, Corefile: Kubeadm, Share: s, OverSeconds: 60})
	}
	return all
}

// Run measures one herd after another.
func Run(ctx context.Context, o Options) (r Result, err error) {
	all := settings(o.Short)
	if _, err := busybox(); err != nil {
		r.Skipped = "the nslookup loop: " + err.Error()
		all = slices.DeleteFunc(all, func(s Setting) bool { return s.Client == Loop })
	}
	for _, s := range all {
		h, err := run(ctx, o.Podfqdn, s)
		if err != nil {
			return r, fmt.Errorf("herd of %d, %s: %w", s.Pods, s.Client, err)
		}
		if o.Log != nil {
			fmt.Fprintln(o.Log, h)
		}
		r.Herds = append(r.Herds, h)
	}
	return r, nil
}

// start begins a Pod that is to ask server; wait returns its end, or why nothing was published.
type start func(ctx context.Context, p pod, server string) (wait func() (end, error), err error)

// end is when a Pod had published, and the processor time that its processes took.
type end struct {
	published time.Time
	cpu       time.Duration
}

// run measures one herd.
func run(ctx context.Context, podfqdn string, s Setting) (h Herd, err error) {
	h.Setting = s
	ctx, cancel := context.WithTimeout(ctx, seconds(s.OverSeconds)+patience)
	defer cancel()
	pods := make([]pod, s.Pods)
	for i := range pods {
		pods[i].named = crowd.Pod(i)
	}
	begin := walk
	switch s.Client {
	case Podfqdn:
		begin = process(podfqdn)
	case Loop:
		begin = loop
	}
	if s.Client != Walks {
		root, err := os.MkdirTemp("", "podfqdn-herd-")
		if err != nil {
			return h, err
		}
		defer os.RemoveAll(root)
		for i := range pods {
			if err := pods[i].lay(root); err != nil {
				return h, err
			}
		}
	}

	c, err := crowd.Serve(ctx, crowd.Order{Corefile: s.corefile(), Pods: s.Pods}, s.Share)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	h.Held = c.Held
	w, err := newWire(c.Addr, s.LoseEach)
	if err != nil {
		return h, err
	}
	defer w.close()

	o := &outcome{pods: pods, visible: make([]time.Time, crowd.Services(s.Pods))}
	if s.Ready {
		if err := o.show(c, 0, len(o.visible)); err != nil {
			return h, err
		}
	}
	herd, leave := ctx, func() {}
	if s.Never {
		herd, leave = context.WithTimeout(ctx, waitFor)
	}
	defer leave()

	w.reset()
	first := time.Now()
	due := func(pod int) time.Time {
		return first.Add(seconds(s.OverSeconds * float64(pod) / float64(s.Pods)))
	}
	aside := make(chan error, 1)
	go func() {
		switch {
		case s.Ready:
			aside <- nil
		case s.Never:
			err := until(herd, first.Add(lookAfter))
			if err == nil {
				h.Denials, h.Evictions, err = c.Cache(ctx)
			}
			aside <- err
		default:
			aside <- o.showAll(ctx, c, s, due)
		}
	}()
	if err = o.startAll(herd, begin, w.addr().String(), due); err != nil {
		cancel()
	}
	o.waitAll()
	if err = errors.Join(err, <-aside); err != nil {
		return h, err
	}
	w.close()
	h.judge(o)
	h.count(w, pods)
	return h, nil
}

// outcome is when what became of whom.
type outcome struct {
	pods    []pod
	visible []time.Time // of each Service
	started []time.Time
	waits   []func() (end, error)
	ends    []end
	failed  []error
}

// show makes the records of some Services visible.
func (o *outcome) show(c *crowd.CoreDNS, from, to int) error {
	at, err := c.Show(from, to)
	for i := from; i < to; i++ {
		o.visible[i] = at
	}
	return err
}

// showAll makes all records visible: together, or where the Pods start one by one each Service's when it is due.
func (o *outcome) showAll(ctx context.Context, c *crowd.CoreDNS, s Setting, due func(pod int) time.Time) error {
	step := len(o.visible)
	if s.OverSeconds > 0 {
		step = 1
	}
	for from := 0; from < len(o.visible); from += step {
		if err := until(ctx, due(from*crowd.PerService).Add(s.visibleAfter())); err != nil {
			return err
		}
		if err := o.show(c, from, from+step); err != nil {
			return err
		}
	}
	return nil
}

func (o *outcome) startAll(ctx context.Context, begin start, server string, due func(pod int) time.Time) error {
	for i, p := range o.pods {
		if err := until(ctx, due(i)); err != nil {
			return err
		}
		o.started = append(o.started, time.Now())
		wait, err := begin(ctx, p, server)
		if err != nil {
			return err
		}
		o.waits = append(o.waits, wait)
	}
	return nil
}

func (o *outcome) waitAll() {
	for _, wait := range o.waits {
		e, err := wait()
		o.ends, o.failed = append(o.ends, e), append(o.failed, err)
	}
}

// until waits for a moment.
func until(ctx context.Context, t time.Time) error {
	select {
	case <-time.After(time.Until(t)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
