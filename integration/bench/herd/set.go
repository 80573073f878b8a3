package herd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/podfqdn/podfqdn/integration/crowd"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// Set is a set of members that start together and wait for each other.
type Set struct {
	Client  string  // Podfqdn or Walks
	Members int     // of them
	Wait    string  // PODFQDN_PEERS_WAIT
	Share   float64 // of a core, for CoreDNS
	Last    float64 // when the last record appears, in seconds since the first start; the others do within spread
	Formed  bool    // all records are there before
	List    bool    // PODFQDN_PEERS lists the names, rather than counts them
	Starts  int     // how many of the members start: the first; 0: all
}

// spread is the seconds within which the records of members appear, one after another.
const spread = 0.5

func (s Set) String() string {
	text := fmt.Sprintf("%s of %d × %s, %g CPU", s.Wait, s.Members, s.Client, s.Share)
	switch {
	case s.Formed:
		text += ", all there"
	default:
		text += fmt.Sprintf(", the last after %g s", s.Last)
	}
	if s.List {
		text += ", a list"
	}
	return text
}

// Gathered is what became of a Set. Times are in milliseconds.
type Gathered struct {
	Set
	Failures  int
	Reasons   []string
	Late      Times   // from the last record's visibility, or the start where all was there, to publication
	Took      Times   // from the start to publication
	Questions float64 // a process, those that were sent again included,
	Repeated  float64 // how many they are
	Bytes     float64 // a process: of questions and answers, without the headers of UDP and IP
	Peak      int     // questions within one second
}

func (g Gathered) String() string {
	return fmt.Sprintf("%s: %d failed %q, late %v ms, took %v ms, %.1f questions and %.0f bytes a process, at most %d in a second", g.Set, g.Failures, g.Reasons, g.Late, g.Took, g.Questions, g.Bytes, g.Peak)
}

// patience is how long members wait: what a set asks altogether takes its time.
func (s Set) patience() time.Duration {
	return patience + time.Duration(s.Members*s.Members)*10*time.Millisecond
}

// members returns those of a set that start, with a directory below root for each that is a process.
func (s Set) members(root string) (pods []pod, err error) {
	peers := fmt.Sprint(s.Members)
	if s.List {
		peers = fmt.Sprintf("%s-{0..%d}", crowd.Set, s.Members-1)
	}
	if s.Starts == 0 {
		s.Starts = s.Members
	}
	for i := range s.Starts {
		p := pod{named: crowd.Member(i), peers: peers, wait: s.Wait}
		if s.Client == Podfqdn {
			err = errors.Join(err, p.lay(root))
		}
		pods = append(pods, p)
	}
	return pods, err
}

// gather measures one set.
func gather(ctx context.Context, podfqdn string, s Set) (g Gathered, err error) {
	g.Set = s
	ctx, cancel := context.WithTimeout(ctx, seconds(s.Last)+s.patience())
	defer cancel()
	root, err := os.MkdirTemp("", "podfqdn-set-")
	if err != nil {
		return g, err
	}
	defer os.RemoveAll(root)
	pods, err := s.members(root)
	if err != nil {
		return g, err
	}
	c, err := crowd.Serve(ctx, crowd.Order{Corefile: dnstest.Kubeadm}, s.Share)
	if err != nil {
		return g, err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	w, err := newWire(c.Addr, 0)
	if err != nil {
		return g, err
	}
	defer w.close()

	var last time.Time
	appeared := make(chan error, 1)
	first := time.Now()
	if s.Formed {
		_, err = c.Join(0, s.Members)
		appeared <- err
		w.reset()
	} else {
		go func() { appeared <- s.appear(ctx, c, first, &last) }()
	}
	o := &outcome{pods: pods}
	begin := walk
	if s.Client == Podfqdn {
		begin = process(podfqdn)
	}
	if err = o.startAll(ctx, begin, w.addr().String(), func(int) time.Time { return first }); err != nil {
		cancel()
	}
	o.waitAll()
	if err = errors.Join(err, <-appeared); err != nil {
		return g, err
	}
	w.close()
	g.judge(o, last)
	n := float64(len(pods))
	g.Questions, g.Repeated = float64(len(w.at))/n, float64(w.repeated)/n
	g.Bytes, g.Peak = float64(w.bytes)/n, densest(w.at, time.Second)
	return g, nil
}

// appear makes the records visible, and notes when the last one became so.
func (s Set) appear(ctx context.Context, c *crowd.CoreDNS, first time.Time, last *time.Time) error {
	for i, member := range rand.Perm(s.Members) { // Kubernetes promises no order
		at := spread * float64(i+1) / float64(s.Members)
		if i == s.Members-1 {
			at = s.Last
		}
		if err := until(ctx, first.Add(seconds(at))); err != nil {
			return err
		}
		var err error
		if *last, err = c.Join(member, member+1); err != nil {
			return err
		}
	}
	return nil
}

// judge takes down when the members published, of which the last became visible then.
func (g *Gathered) judge(o *outcome, last time.Time) {
	var late, took []float64
	for i, p := range o.pods {
		if err := o.failed[i]; err != nil {
			g.Failures++
			if g.Failures < 3 {
				g.Reasons = append(g.Reasons, fmt.Sprintf("%s: %v", p.FQDN(), err))
			}
			continue
		}
		from := o.started[i]
		took = append(took, milliseconds(o.ends[i].published.Sub(from)))
		if last.After(from) {
			from = last
		}
		late = append(late, max(milliseconds(o.ends[i].published.Sub(from)), 0))
	}
	slices.Sort(late)
	slices.Sort(took)
	g.Late, g.Took = timesOf(late), timesOf(took)
}
