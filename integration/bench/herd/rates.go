package herd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/integration/crowd"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// Borne is what a number of questions per second, about the members of a set that are all there, do to the client that has
// nothing to do with them. They come at random, a third each of a probe type, A and PTR.
type Borne struct {
	Disturb
	Members  int
	Asked    int     // questions a second
	Answered float64 // of them
}

// Disturb is how long the client waited for the CoreDNS that others ask too, and for one that nobody else asks. Times
// are in milliseconds.
type Disturb struct {
	With, Without Times
	Ratio         float64    // of the 99th percentiles
	Throttled     [2]float64 // the part of its periods of 100 ms in which each CoreDNS had used up its share
}

func (b Borne) String() string {
	return fmt.Sprintf("%d questions a second about %d members: %.0f answered; %s", b.Asked, b.Members, b.Answered, b.Disturb)
}

func (d Disturb) String() string {
	return fmt.Sprintf("client %v ms, without %v ms, 99th percentile × %.2f; throttled %.2f", d.With, d.Without, d.Ratio, d.Throttled)
}

// pair is two CoreDNS with the same share of a core, and the client that asks both.
type pair struct {
	servers [2]*crowd.CoreDNS
	s       stranger
}

// newPair starts both; they end by stop.
func newPair(share float64) (p *pair, err error) {
	p = new(pair)
	for i := range p.servers {
		if p.servers[i], err = crowd.Serve(context.Background(), crowd.Order{Corefile: dnstest.Kubeadm}, share); err != nil {
			return nil, errors.Join(err, p.stop())
		}
	}
	return p, nil
}

func (p *pair) stop() (err error) {
	for _, c := range p.servers {
		if c != nil {
			err = errors.Join(err, c.Stop())
		}
	}
	return err
}

// ask has the client ask until ctx ends.
func (p *pair) ask(ctx context.Context) {
	p.s.run(ctx, [2]netip.AddrPort{p.servers[0].Addr, p.servers[1].Addr})
}

// mark is a moment, and what the servers had been throttled by then.
type mark struct {
	at        time.Time
	throttled [2][2]int
}

func (p *pair) mark() (m mark, err error) {
	m.at = time.Now()
	for i, c := range p.servers {
		var e error
		m.throttled[i][0], m.throttled[i][1], e = c.Throttled()
		err = errors.Join(err, e)
	}
	return m, err
}

// between returns what the client met between two moments.
func (p *pair) between(from, to mark) (d Disturb) {
	times := p.s.between(from.at, to.at)
	d.With, d.Without = times[0], times[1]
	d.Ratio = d.With.P99 / d.Without.P99
	for i := range d.Throttled {
		a, b := from.throttled[i], to.throttled[i]
		d.Throttled[i] = float64(b[0]-a[0]) / float64(max(b[1]-a[1], 1))
	}
	return d
}

// borne is for how long one rate is asked at.
const borne = 10 * time.Second

// bear measures rates, one after another.
func bear(ctx context.Context, members int, rates []int) (all []Borne, err error) {
	p, err := newPair(share)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if _, err := p.servers[0].Join(0, members); err != nil {
		return nil, err
	}
	for _, rate := range rates {
		b := Borne{Members: members, Asked: rate}
		from, err := p.mark()
		if err != nil {
			return all, err
		}
		ctx, cancel := context.WithTimeout(ctx, borne)
		var client sync.WaitGroup
		client.Go(func() { p.ask(ctx) })
		answered, err := flood(ctx, p.servers[0].Addr, members, rate)
		client.Wait()
		cancel()
		if err != nil {
			return all, err
		}
		to, err := p.mark()
		if err != nil {
			return all, err
		}
		b.Disturb, b.Answered = p.between(from, to), float64(answered)/borne.Seconds()
		all = append(all, b)
	}
	return all, nil
}

// flood asks at this rate per second until ctx ends, and returns how many were answered.
func flood(ctx context.Context, server netip.AddrPort, members, rate int) (int64, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return 0, err
	}
	var answered atomic.Int64
	var reads sync.WaitGroup
	reads.Go(func() {
		packet := make([]byte, 1<<16)
		for {
			if _, err := conn.Read(packet); errors.Is(err, net.ErrClosed) {
				return
			}
			answered.Add(1)
		}
	})
	start := time.Now()
	for sent := 0; ctx.Err() == nil; {
		if float64(sent) >= time.Since(start).Seconds()*float64(rate) {
			time.Sleep(time.Duration(rand.ExpFloat64() * float64(time.Millisecond)))
			continue
		}
		m := crowd.Member(rand.IntN(members))
		reverse, err := dns.ReverseAddr(m.IP())
		if err != nil {
			panic(err) // it is an address
		}
		q := new(dns.Msg)
		switch sent % 3 {
		case 0:
			q.SetQuestion(dns.Fqdn(m.FQDN()), dns.TypeLOC)
		case 1:
			q.SetQuestion(dns.Fqdn(m.FQDN()), dns.TypeA)
		case 2:
			q.SetQuestion(reverse, dns.TypePTR)
		}
		packet, err := q.Pack()
		if err != nil {
			panic(err) // it is a question
		}
		conn.Write(packet)
		sent++
	}
	conn.Close()
	reads.Wait()
	return answered.Load(), nil
}
