package virtual

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// scenarios is how many clusters TestEveryClusterKeepsTheRules makes up.
const scenarios = 300

// TestEveryClusterKeepsTheRules makes up clusters: cached or not, one to three replicas that learn late, a network that
// loses packets, a record that comes within a minute, flickers or follows a predecessor's, and others who ask too early.
// In each the walk keeps the rules of check, ends in time, and what it agrees on is what the application is told.
func TestEveryClusterKeepsTheRules(t *testing.T) {
	const batches = 4
	for batch := range batches {
		t.Run(fmt.Sprint(batch), func(t *testing.T) {
			t.Parallel()
			for seed := batch; seed < scenarios; seed += batches {
				synctest.Test(t, func(t *testing.T) { scenario(t, uint64(seed)) })
			}
		})
	}
}

func scenario(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	chance := func(percent int) bool { return random.IntN(100) < percent }
	within := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
	var what []string
	say := func(format string, args ...any) { what = append(what, fmt.Sprintf(format, args...)) }

	s := newStage(t)
	ttl, cached := []int{5, 30, 120}[random.IntN(3)], 0
	if s.corefile = dnstest.Kubeadm; chance(70) {
		cached = ttl
		s.corefile = corefile(ttl, ttl)
	}
	say("seed %d, ttl %d, cached %d", seed, ttl, cached)
	if chance(30) {
		s.ips = []string{ip, ip6}
		say("dual-stack")
	}
	if chance(20) {
		s.policy.Confirm = random.IntN(4)
		say("confirm %d", s.policy.Confirm)
	}
	var lag time.Duration
	for i := range random.IntN(3) {
		s.lags = append(s.lags, within(5*time.Second))
		lag = max(lag, s.lags[i+1])
	}
	say("lags %v", s.lags)
	s.choose = func(int) int { return random.IntN(len(s.lags)) }
	drop := 0
	if chance(60) {
		drop = random.IntN(31)
		s.loss = func() bool { return random.IntN(100) < drop }
		say("%d%% of all answers are lost", drop)
	}
	if slow := within(30 * time.Millisecond); chance(50) {
		s.fault = func(_ string, _ int, reply []byte) [][]byte { time.Sleep(slow); return [][]byte{reply} }
		say("answers take %v", slow)
	}
	s.open()

	record := within(time.Minute)
	if chance(20) {
		record = within(300 * time.Millisecond)
	}
	s.publish(record)
	say("record at %v", record)
	settled := record
	if chance(20) { // the predecessor's record goes before, with or after ours
		gone := record + within(4*time.Second) - 2*time.Second
		s.at(0, func(c *dnstest.Cluster) { c.Publish(endpoints("db-0", old)...) })
		s.at(max(gone, time.Millisecond), func(c *dnstest.Cluster) { c.Withdraw(endpoints("db-0", old)...) })
		settled = max(settled, gone)
		say("predecessor until %v", gone)
	}
	if chance(20) { // it goes once more
		away := record + within(300*time.Millisecond)
		back := away + within(3*time.Second)
		s.at(away, func(c *dnstest.Cluster) { c.Withdraw(endpoints("db-0", s.ips...)...) })
		s.publish(back)
		settled = max(settled, back)
		say("away from %v to %v", away, back)
	}
	for range random.IntN(4) { // others ask, early or late
		when, i := within(record+3*time.Second), random.IntN(len(s.replicas))
		name, qtype := db0, []uint16{dns.TypeA, dns.TypeAAAA, dns.TypePTR}[random.IntN(3)]
		if qtype == dns.TypePTR {
			name = reverse(s.ips[0])
		}
		s.somebody(when, i, name, qtype)
		settled = max(settled, when) // a denial may begin to be cached then
		say("somebody asks replica %d for %s at %v", i, dns.Type(qtype), when)
	}
	settled += lag
	// One lost answer costs a round; these are as many as a proof takes.
	luck := math.Pow(1-float64(drop)/100, float64((1+s.policy.Confirm)*(1+2*len(s.ips))+1))
	if s.timeout = 15 * time.Minute; chance(15) {
		s.timeout = within(30 * time.Second)
		say("deadline %v", s.timeout)
	}

	o := s.walk()
	// What was cached at last lives on for the TTL; PTR, which upstream denies, for at least 30 s.
	latest := settled + time.Duration(max(30, 2*cached))*time.Second
	latest += latest/4 + 20*time.Second
	switch {
	case o.err == nil && o.at < record:
		t.Errorf("agreed at %v, before the record", o.at)
	case o.err == nil && s.loss == nil && o.at > latest:
		t.Errorf("agreed only at %v, not by %v", o.at, latest)
	case o.err != nil && o.at != s.timeout:
		t.Errorf("ended at %v, before the deadline: %v", o.at, o.err)
	case o.err != nil && s.timeout == 15*time.Minute && luck > 0.1:
		t.Errorf("no agreement: %v", o.err)
	}
	if t.Failed() {
		t.Fatalf("%s\n%s", strings.Join(what, "; "), o.story())
	}
}
