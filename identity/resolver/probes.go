package resolver

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
)

// probeTypes are record types that are assigned, ordinary and unused for Pods,
// so that asking for one shows whether a name exists (NXDOMAIN or no data)
// without touching what any application asks: DNS caches keep an entry for
// each name and type. Private-use types would look like tunnelling. Types that some
// servers treat specially are left out: TXT, which CoreDNS up to
// 1.10.0 answers with an empty NOERROR for names that do not exist
// (coredns/coredns#5736), MX, and HTTPS and SVCB, which filters know.
var probeTypes = [...]uint16{
	dns.TypeLOC, dns.TypeCAA, dns.TypeNAPTR, dns.TypeHINFO, dns.TypeSSHFP,
	dns.TypeTLSA, dns.TypeMINFO, dns.TypeNINFO, dns.TypeTALINK, dns.TypeAMTRELAY,
	dns.TypeRP, dns.TypeAFSDB, dns.TypeCERT, dns.TypeURI, dns.TypeSMIMEA,
	dns.TypeOPENPGPKEY, dns.TypeKX, dns.TypeX25, dns.TypeISDN, dns.TypeRT,
	dns.TypePX, dns.TypeGPOS, dns.TypeEUI48, dns.TypeEUI64, dns.TypeAPL,
	dns.TypeHIP, dns.TypeNID, dns.TypeL32, dns.TypeL64, dns.TypeLP,
	dns.TypeSPF, dns.TypeDHCID, dns.TypeIPSECKEY, dns.TypeCSYNC,
}

// minTTL is the shortest time for which CoreDNS's cache keeps anything.
const minTTL = 5 * time.Second

// probes are the probe types for one name. None is used again while a cache may
// hold its answer.
type probes struct {
	first time.Time            // when the first was used
	free  map[uint16]time.Time // when each may be used again
	down  countdown

	last  uint16   // the one that was used last
	order []uint16 // probeTypes in the order of their use
}

// newProbes returns the probe types for a name, to be taken in an order.
func newProbes(order []uint16) *probes {
	return &probes{free: make(map[uint16]time.Time), order: order}
}

// shuffled returns the probe types, in a different order in each process: otherwise
// a process that is started again would get the answers to its predecessor from a
// cache. All names have the same order, so that what one of them shows of a type is
// known for the next. With bystander, the types come first that the other process uses
// last.
func shuffled(bystander bool) []uint16 {
	first, last := slices.Clone(probeTypes[:len(probeTypes)/2]), slices.Clone(probeTypes[len(probeTypes)/2:])
	for _, half := range [][]uint16{first, last} {
		rand.Shuffle(len(half), func(i, j int) { half[i], half[j] = half[j], half[i] })
	}
	if bystander {
		return slices.Concat(last, first)
	}
	return slices.Concat(first, last)
}

// take returns a type that is free at now, or how long until two are free, as the
// first may lie. With same it returns the type that was used last.
func (p *probes) take(now time.Time, same bool) (qtype uint16, wait time.Duration) {
	if p.first.IsZero() {
		p.first = now
	}
	if same && p.last != 0 {
		return p.last, 0
	}
	for _, t := range p.order {
		if !p.free[t].After(now) {
			p.last = t
			return t, 0
		}
	}
	return 0, p.waits(now)[1]
}

// spend records that the answer to a type may be cached for ttl from now.
func (p *probes) spend(qtype uint16, now time.Time, ttl time.Duration) {
	p.free[qtype] = now.Add(ttl)
}

// waits returns how long until each type is free, the shortest first; 0 means now.
func (p *probes) waits(now time.Time) []time.Duration {
	waits := make([]time.Duration, len(probeTypes))
	for i, t := range probeTypes {
		waits[i] = max(p.free[t].Sub(now), 0)
	}
	slices.Sort(waits)
	return waits
}

// left counts the types that are free at now.
func (p *probes) left(now time.Time) int {
	waits := p.waits(now)
	if i := slices.IndexFunc(waits, func(w time.Duration) bool { return w > 0 }); i >= 0 {
		return i
	}
	return len(waits)
}

// spacing returns how long to wait before the next probe. The types that are left are
// spread over the time until others are free again, so that the wait so far grows by
// the same ratio with each. The delay then stays in proportion to the wait, however
// long a denial is cached.
func (p *probes) spacing(now time.Time) time.Duration {
	waits, free := p.waits(now), p.left(now)
	switch free {
	case 0:
		return waits[1]
	case len(waits):
		return 0
	}
	waited := max(now.Sub(p.first), time.Millisecond).Seconds()
	ratio := math.Pow(1+waits[free].Seconds()/waited, 1/float64(free))
	// Rounded up, or it would come a nanosecond before another is free.
	return time.Duration(math.Ceil((ratio - 1) * waited * float64(time.Second)))
}

// even returns how long to wait before the next probe if two thirds of the types are
// to be used evenly within identity.Soon, and the others with spacing.
func (p *probes) even(now time.Time, spacing time.Duration) time.Duration {
	const most = len(probeTypes) * 2 / 3
	if now.Sub(p.first) < identity.Soon && p.left(now) > len(probeTypes)-most {
		return min(spacing, identity.Soon/time.Duration(most))
	}
	return spacing
}

// countdown watches the denials of probe types that were free. If their TTLs count
// down as one, some cache on the way keeps a denial by the name alone (RFC 8020
// permits it; dnsmasq does). Then a new probe type does not help, and asking before
// the denial's end is useless.
type countdown struct {
	at   time.Time // of the first denial in a row
	left time.Duration
	seen int

	shown time.Time // when a probe last showed the name
}

// denied returns how long the denial will last; 0 if that is unknown. A denial from
// before the last probe that showed the name belongs to its type alone, such as one
// that an earlier process caused.
func (c *countdown) denied(now time.Time, life lifetime) time.Duration {
	// TTLs are whole seconds, rounded either way.
	if now.Add(life.left - life.full).Add(time.Second).Before(c.shown) {
		*c = countdown{shown: c.shown}
		return 0
	}
	if off := c.left - now.Sub(c.at) - life.left; c.seen == 0 || off.Abs() > time.Second {
		*c = countdown{at: now, left: life.left, shown: c.shown}
	}
	c.seen++
	if c.seen < 3 || c.left-life.left < 2*time.Second {
		return 0
	}
	return life.left
}
