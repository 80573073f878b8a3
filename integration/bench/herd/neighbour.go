package herd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/podfqdn/podfqdn/integration/crowd"
)

// Neighbour is a set of walks that wait for each other in front of one CoreDNS, next to a client that has nothing to do
// with them.
type Neighbour struct {
	Members int
	Wait    string  // PODFQDN_PEERS_WAIT
	Phase   string  // of the set's life
	Share   float64 // of a core, for CoreDNS
}

// The phases of a set's life.
const (
	// nobody: each is told that it is the first member, and no other member ever comes.
	nobody = "no other member is there"
	// coming: the records of members come soon after each has started.
	coming = "they come one after another"
	// formed: all records are there before.
	formed = "all are there"
)

const (
	startWithin = 20.0                   // seconds, of all walks of a Neighbour, one after another
	soon        = 150 * time.Millisecond // from a Pod's start to its record
	observed    = 40 * time.Second       // for which the client asks, since the first start
)

// Disturbed is what the client met, and what the set asked.
type Disturbed struct {
	Neighbour
	Disturb
	Starting  bool    // as long as walks were started, rather than after that
	Rate      float64 // the set's questions a second, the mean
	Peak      int     // and within one second
	Published int     // how many members had, at the end
}

func (d Disturbed) when() string {
	if d.Starting {
		return "they start"
	}
	return "all have started"
}

func (d Disturbed) String() string {
	return fmt.Sprintf("%s of %d, %s, %s: %.0f questions a second, at most %d; %s; %d published", d.Wait, d.Members, d.Phase, d.when(), d.Rate, d.Peak, d.Disturb, d.Published)
}

// disturb measures one set: while its walks start, and after that.
func disturb(ctx context.Context, n Neighbour) (both []Disturbed, err error) {
	ctx, cancel := context.WithTimeout(ctx, observed)
	defer cancel()
	p, err := newPair(n.Share)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	w, err := newWire(p.servers[0].Addr, 0)
	if err != nil {
		return nil, err
	}
	defer w.close()
	visible := map[string]int{nobody: 1, formed: n.Members}[n.Phase]
	if _, err := p.servers[0].Join(0, visible); err != nil {
		return nil, err
	}

	var client sync.WaitGroup
	client.Go(func() { p.ask(ctx) })
	w.reset()
	marks := make([]mark, 3)
	marks[0], err = p.mark()
	first := marks[0].at
	due := func(i int) time.Time { return first.Add(seconds(startWithin * float64(i) / float64(n.Members))) }
	joined := make(chan error, 1)
	go func() {
		if n.Phase != coming {
			joined <- nil
			return
		}
		joined <- join(ctx, p.servers[0], n.Members, func(i int) time.Time { return due(i).Add(soon) })
	}()
	o := &outcome{pods: n.pods()}
	err = errors.Join(err, o.startAll(ctx, walk, w.addr().String(), due), <-joined)
	var errs [2]error
	marks[1], errs[0] = p.mark()
	client.Wait()
	marks[2], errs[1] = p.mark()
	o.waitAll()
	w.close()
	for i := range 2 {
		d := Disturbed{Neighbour: n, Disturb: p.between(marks[i], marks[i+1]), Starting: i == 0}
		d.count(w, o, marks[i].at.Sub(first), marks[i+1].at.Sub(first), marks[i+1].at)
		both = append(both, d)
	}
	return both, errors.Join(err, errs[0], errs[1])
}

// pods returns the members of a set, or as many first ones.
func (n Neighbour) pods() (pods []pod) {
	for i := range n.Members {
		p := pod{named: crowd.Member(i), peers: fmt.Sprint(n.Members), wait: n.Wait}
		if n.Phase == nobody {
			p.named = crowd.Member(0)
		}
		pods = append(pods, p)
	}
	return pods
}

// count takes down what went over the wire between two moments, since its start, and who had published at the end.
func (d *Disturbed) count(w *wire, o *outcome, from, to time.Duration, end time.Time) {
	var at []time.Duration
	for _, a := range w.at {
		if a >= from && a < to {
			at = append(at, a)
		}
	}
	d.Rate, d.Peak = float64(len(at))/(to-from).Seconds(), densest(at, time.Second)
	for i, e := range o.ends {
		if o.failed[i] == nil && e.published.Before(end) {
			d.Published++
		}
	}
}

// join makes the records of members visible, one after another, each when it is due.
func join(ctx context.Context, c *crowd.CoreDNS, members int, due func(member int) time.Time) error {
	for i := range members {
		if err := until(ctx, due(i)); err != nil {
			return err
		}
		if _, err := c.Join(i, i+1); err != nil {
			return err
		}
	}
	return nil
}

// load returns the machine's load average of the last minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}
