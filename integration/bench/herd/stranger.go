package herd

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// stranger is a client that has nothing to do with a set. It asks two servers alternately for kubernetes.default, each
// every 10 ms on average, whether or not they have answered, so that what holds one of them up shows in full.
type stranger struct {
	mu   sync.Mutex
	took [2][]waited
}

// waited is when the stranger asked, and for how long it waited.
type waited struct {
	at   time.Time
	took float64 // milliseconds
}

// lost is how long an answer that never came took.
const lost = 2 * time.Second

func (s *stranger) run(ctx context.Context, servers [2]netip.AddrPort) {
	var asked sync.WaitGroup
	defer asked.Wait()
	for i := 0; ctx.Err() == nil; i++ {
		time.Sleep(time.Duration(rand.ExpFloat64() * float64(5*time.Millisecond)))
		which := i % 2
		asked.Go(func() {
			m := new(dns.Msg).SetQuestion("kubernetes.default.svc.cluster.local.", dns.TypeA)
			start := time.Now()
			c := dns.Client{Timeout: lost}
			took := lost
			if _, _, err := c.Exchange(m, servers[which].String()); err == nil {
				took = time.Since(start)
			}
			s.mu.Lock()
			s.took[which] = append(s.took[which], waited{start, took.Seconds() * 1e3})
			s.mu.Unlock()
		})
	}
}

// between returns how long the answers of each server took to what was asked between two moments.
func (s *stranger) between(from, to time.Time) (times [2]Times) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, all := range s.took {
		var took []float64
		for _, q := range all {
			if !q.at.Before(from) && q.at.Before(to) {
				took = append(took, q.took)
			}
		}
		slices.Sort(took)
		times[i] = timesOf(took)
	}
	return times
}
