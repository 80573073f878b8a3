package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// launch is what was measured of one Pod.
type launch struct {
	Way   string // its name
	Pods  int    // that started together
	Round int
	Pod   int // its ordinal
	// Took is in seconds, from the moment at which a watch said that the Pod has a node, to its application's first
	// instruction. Both are times of this machine's clock.
	Took float64
}

// running is what one run measured of the time from scheduled to running: running.json.
type running struct {
	Header   [][2]string
	Rounds   int
	Together []int // how many Pods started at the same time
	Ways     []way
	Load     []string // of each round, as it began: /proc/loadavg's three
	Launches []launch
}

// rest is how long nothing happens after the end of a set. Up to a second is added by chance: the kubelet looks at its
// containers once a second, and a set that started at the end of another would always meet it at the same moment.
const rest = 500 * time.Millisecond

// measureRunning launches each way once for each number of Pods, in each round, in an order that chance makes. The same
// is done before the first round, of which nothing is taken down: what is read from a disk then is in memory afterwards.
// The short form is one round of sets, and nothing before.
func (w *world) measureRunning(ctx context.Context, o options) (r running, err error) {
	rounds, warm := o.reps, 1
	r.Together, r.Ways = []int{1, setSize}, allWays
	if o.short {
		rounds, warm, r.Together = 1, 0, []int{setSize}
	}
	chance := rand.New(rand.NewPCG(1, 2))
	for round := -warm; round < rounds; round++ {
		load, began := loadNow(), time.Now()
		for _, i := range chance.Perm(len(r.Ways) * len(r.Together)) {
			launches, err := w.launch(ctx, r.Ways[i/len(r.Together)], r.Together[i%len(r.Together)], chance)
			if err != nil {
				return r, err
			}
			for _, l := range launches {
				if l.Round = round; round >= 0 {
					r.Launches = append(r.Launches, l)
				}
			}
		}
		fmt.Fprintf(os.Stderr, "running, round %d of %d: %.0fs, load %s\n", round+1, rounds, time.Since(began).Seconds(), load)
		if round >= 0 {
			r.Rounds, r.Load = round+1, append(r.Load, load)
		}
	}
	return r, nil
}

// launch runs one set until its applications have started and its end is past.
func (w *world) launch(ctx context.Context, way way, pods int, chance *rand.Rand) (launches []launch, err error) {
	set := "r" + strconv.FormatInt(time.Now().UnixMilli(), 36)
	if err := w.create(ctx, set, int32(pods), way.spec(w.env(set))); err != nil {
		return nil, fmt.Errorf("%s: %w", way.Title, err)
	}
	err = w.until(ctx, set, pods, isRunning)
	for _, p := range w.of(set) {
		if err != nil {
			break
		}
		var l launch
		if l, err = w.launched(ctx, p); err == nil {
			l.Way, l.Pods = way.Name, pods
			launches = append(launches, l)
		}
	}
	if err = errors.Join(err, w.remove(ctx, set)); err != nil {
		return nil, fmt.Errorf("%s: %w", way.Title, err)
	}
	select {
	case <-ctx.Done():
		return launches, context.Cause(ctx)
	case <-time.After(rest + time.Duration(chance.Int64N(int64(time.Second)))):
		return launches, nil
	}
}

// launched reads when the Pod's application began.
func (w *world) launched(ctx context.Context, p *corev1.Pod) (launch, error) {
	lines, err := w.log(ctx, p.Name, "app", "")
	if err != nil {
		return launch{}, err
	}
	if len(lines) == 0 {
		return launch{}, fmt.Errorf("the application of Pod %s says nothing, want a time in nanoseconds", p.Name)
	}
	first, err := strconv.ParseInt(lines[0].text, 10, 64)
	if err != nil {
		return launch{}, fmt.Errorf("the application of Pod %s says %q, want a time in nanoseconds", p.Name, lines[0].text)
	}
	ordinal, err := strconv.Atoi(p.Name[strings.LastIndexByte(p.Name, '-')+1:])
	if err != nil {
		return launch{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	bound, ok := w.bound[p.Name]
	if !ok {
		return launch{}, fmt.Errorf("the watch did not say when Pod %s got a node", p.Name)
	}
	return launch{Pod: ordinal, Took: time.Unix(0, first).Sub(bound).Seconds()}, nil
}

// loadNow returns the machine's load over 1, 5 and 15 minutes.
func loadNow() string {
	b, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(b))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}
