package virtual

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

func init() {
	for name, value := range map[string]string{
		"rapid.checks":     "400",  // 3 s
		"rapid.nofailfile": "true", // the seed that rapid prints does as well
	} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
}

// TestEveryClusterKeepsTheRules makes up clusters, as many as -rapid.checks says. In each the walk keeps the rules of
// check, ends in time, and what it agrees on is what the application is told.
func TestEveryClusterKeepsTheRules(t *testing.T) {
	t.Parallel()
	first, tries := t, 1
	rapid.Check(t, func(rt *rapid.T) {
		c := scenarios.Draw(rt, "scenario")
		defer func() {
			if rt.Failed() && first != nil {
				// The walk's jitter is not drawn: it has several chances to fail again, and as rapid makes it smaller.
				first.Logf("the first of them: %#v", c)
				first, tries = nil, 10
			}
		}()
		for range tries {
			rapid.SyncTest(rt, func(rt *rapid.T) { c.play(failing{rt, first}) })
		}
	})
}

// failing fails with the same words each time. rapid recognizes a failure by them.
type failing struct {
	*rapid.T
	first *testing.T // hears all as it was found; nil once it has
}

func (f failing) Log(args ...any) {
	f.Helper()
	f.T.Log(args...)
	if f.first != nil {
		f.first.Helper()
		f.first.Log(args...)
	}
}

func (f failing) Errorf(format string, args ...any) {
	f.Helper()
	f.Log(fmt.Sprintf(format, args...))
	f.Fail()
}

func (f failing) Fatal(args ...any) {
	f.Helper()
	f.Log(args...)
	f.FailNow()
}

// scenario is a Pod, its cluster's DNS, and what happens there.
type scenario struct {
	Cache       int    // seconds for which all is cached; 0 is kubeadm's Corefile
	Node        bool   // NodeLocal DNSCache is in front
	Mesh        string // what a proxy in front of that does
	Refuses     bool   // the server refuses other types
	Withheld    bool   // AAAA is denied of every name
	Lies        *lying // denials that do not look so
	Lags        []time.Duration
	Loss        int // percent of all answers
	Slow        time.Duration
	Dual        bool
	Confirm     int
	Ignore      bool          // the reverse
	Record      time.Duration // when it comes
	Away, Back  time.Duration // when it goes once more, and comes again
	Holder      bool          // another Pod holds the name too, as the policy allows
	Predecessor time.Duration // when the record of one goes
	Others      []other
	Timeout     time.Duration
	Seed        uint64 // of the replica that each socket meets, and of the answers that are lost
}

// other asks as an application or a peer does.
type other struct {
	At      time.Duration
	Replica int
	Type    string
}

// lying is an empty NOERROR in place of NXDOMAIN, or one type that is refused, as lies has it.
type lying struct {
	At, Nth, SOA int
	InFront      bool
	Refuses      bool
}

func (l *lying) String() string { return fmt.Sprintf("%+v", *l) }

// GoString is how rapid prints a scenario.
func (c scenario) GoString() string { return fmt.Sprintf("%+v", c) }

// What a mesh may do.
const (
	dropsSOA = "drops the SOA"
	byName   = "keeps denials by name"
)

var scenarios = rapid.Custom(func(t *rapid.T) scenario {
	oneIn := func(n int, what string) bool { return rapid.IntRange(0, n-1).Draw(t, what) == n-1 }
	within := func(d time.Duration, what string) time.Duration {
		return d * time.Duration(rapid.IntRange(0, 999).Draw(t, what)) / 1000
	}
	c := scenario{
		Cache: rapid.SampledFrom([]int{0, 5, 30, 120}).Draw(t, "cache"), Node: oneIn(5, "node"), Refuses: oneIn(12, "refuses"),
		Lags: []time.Duration{0}, Dual: oneIn(3, "dual"), Confirm: 1, Ignore: oneIn(8, "ignore"),
		Record: within(time.Minute, "record"), Timeout: 15 * time.Minute, Seed: rapid.Uint64().Draw(t, "seed"),
	}
	if oneIn(6, "mesh") {
		c.Mesh = rapid.SampledFrom([]string{dropsSOA, byName}).Draw(t, "kind")
	}
	// Who keeps denials by name has no name then that anybody asked for AAAA.
	c.Withheld = c.Mesh != byName && oneIn(8, "withheld")
	for range rapid.IntRange(0, 2).Draw(t, "replicas") {
		c.Lags = append(c.Lags, within(5*time.Second, "lag"))
	}
	if oneIn(3, "lies") {
		c.Lies = &lying{
			At: rapid.IntRange(-1, len(c.Lags)-1).Draw(t, "who"), Nth: -1, InFront: rapid.Bool().Draw(t, "in front"),
			SOA: rapid.SampledFrom([]int{0, -1, 1, 5, 30, 120}).Draw(t, "soa"),
		}
		if !oneIn(3, "hides") {
			c.Lies.Nth, c.Lies.Refuses = rapid.IntRange(0, probeTypes-1).Draw(t, "type"), rapid.Bool().Draw(t, "refuses it")
		}
	}
	if oneIn(3, "loss") {
		c.Loss = rapid.IntRange(1, 30).Draw(t, "percent")
	}
	if oneIn(2, "slow") {
		c.Slow = within(30*time.Millisecond, "rtt")
	}
	if oneIn(4, "confirm") {
		c.Confirm = rapid.SampledFrom([]int{0, 1, 2, 3, 10}).Draw(t, "rounds")
	}
	if oneIn(4, "early") {
		c.Record = within(300*time.Millisecond, "record")
	}
	switch { // not both: where another keeps the name there, a cache may prove a record that is away
	case oneIn(10, "holder"):
		c.Holder = true
	case oneIn(8, "flicker"):
		c.Away = c.Record + within(300*time.Millisecond, "away")
		c.Back = c.Away + within(3*time.Second, "back") + time.Millisecond
	}
	if !c.Holder && oneIn(8, "predecessor") {
		c.Predecessor = max(c.Record+within(4*time.Second, "gone")-2*time.Second, time.Millisecond)
	}
	if oneIn(4, "others") {
		for range rapid.IntRange(1, 3).Draw(t, "how many") {
			c.Others = append(c.Others, other{
				within(c.Record+3*time.Second, "at"),
				rapid.IntRange(0, len(c.Lags)-1).Draw(t, "replica"),
				rapid.SampledFrom([]string{"A", "AAAA", "PTR"}).Draw(t, "type"),
			})
		}
	}
	if c.Mesh == byName && c.mayHide() {
		c.Others = nil // a denial of theirs that a cache kept would be one of the name, and nobody could see it
	}
	if oneIn(8, "deadline") {
		c.Timeout = within(30*time.Second, "timeout")
	}
	return c
})

// stage sets it up.
func (c scenario) stage(t failing) *stage {
	s := newStage(t)
	if c.Cache > 0 {
		s.corefile = corefile(c.Cache, c.Cache)
	}
	s.withheld = c.Withheld
	if c.Withheld {
		s.corefile = strings.Replace(s.corefile, "kubernetes", "template ANY AAAA . {\n rcode NXDOMAIN\n }\n kubernetes", 1)
	}
	if c.Mesh != "" {
		s.front = func(behind plugin.Handler) plugin.Handler {
			return &mesh{behind: behind, byName: c.Mesh == byName, denied: map[string]denial{}}
		}
	}
	s.node, s.plain, s.lags = c.Node, c.Refuses, c.Lags
	if l := c.Lies; l != nil {
		s.lies = &lies{at: l.At, nth: l.Nth, soa: l.SOA, inFront: l.InFront, refuses: l.Refuses}
	}
	random := rand.New(rand.NewPCG(c.Seed, 1))
	s.choose = func(int) int { return random.IntN(len(s.lags)) }
	if c.Loss > 0 {
		s.loss = func() bool { return random.IntN(100) < c.Loss }
	}
	if c.Slow > 0 {
		s.fault = func(_ string, _ int, reply []byte) [][]byte { time.Sleep(c.Slow); return [][]byte{reply} }
	}
	theirs := []string{old}
	if c.Dual {
		s.ips, theirs = []string{ip, ip6}, []string{old, old6}
	}
	s.timeout, s.policy.Rounds = c.Timeout, identity.Rounds(1+c.Confirm)
	if c.Ignore {
		s.policy.Reverse = identity.ReverseIgnore
	}
	if c.Holder {
		s.policy.Forward = identity.ForwardContains
	}

	if c.Holder || c.Predecessor > 0 {
		s.at(0, func(c *dnstest.Cluster) { c.Publish(endpoints("db-0", theirs...)...) })
	}
	if c.Predecessor > 0 {
		s.at(c.Predecessor, func(c *dnstest.Cluster) { c.Withdraw(endpoints("db-0", theirs...)...) })
	}
	s.publish(c.Record)
	if c.Back > 0 {
		s.at(c.Away, func(c *dnstest.Cluster) { c.Withdraw(endpoints("db-0", s.ips...)...) })
		s.publish(c.Back)
	}
	for _, other := range c.Others {
		name := db0
		if other.Type == "PTR" {
			name = reverse(ip)
		}
		s.somebody(other.At, other.Replica, name, dns.StringToType[other.Type])
	}
	return s
}

func (c scenario) play(t failing) {
	o := c.stage(t).walk()
	checked := !t.Failed()
	switch {
	case o.err == nil && o.at < c.Record:
		t.Errorf("agreed before the record")
	case o.err == nil && c.Loss == 0 && o.at > c.settled():
		t.Errorf("agreed, but not by %v", c.settled())
	case o.err == nil && c.undisturbed() && o.at > c.bound(o):
		t.Errorf("agreed, but not by %v", c.bound(o))
	case o.err != nil && o.at != c.Timeout:
		t.Errorf("ended before its deadline")
	case o.err != nil && c.Timeout == 15*time.Minute && c.luck() > 0.5:
		t.Errorf("no agreement")
	}
	o.checkEarly(c)
	if c.hides() && !c.Refuses {
		o.checkBlind()
	}
	for _, v := range o.verdicts() {
		if v == identity.Hidden && !c.mayHide() || c.hides() && !c.Refuses && (v == identity.Missing || v == identity.Poisoned || v == identity.Unnamed) {
			t.Errorf("the reason is %s", v)
		}
	}
	if checked && t.Failed() {
		t.Log(o.story())
	}
}

// mayHide reports whether some replica denies nothing, hides whether all are alike in that.
func (c scenario) mayHide() bool { return c.Lies != nil && c.Lies.Nth < 0 }
func (c scenario) hides() bool   { return c.mayHide() && !c.differ() }

// differ reports whether one replica lies and another does not.
func (c scenario) differ() bool { return c.Lies != nil && c.Lies.At >= 0 && len(c.Lags) > 1 }

// checkEarly fails if a plain question reached a replica that denies what does not exist, before it had the name. What
// only one replica lies about, the others do not show: where the record is there at the first look, each round but the
// first takes on trust what another replica showed.
func (o outcome) checkEarly(c scenario) {
	o.Helper()
	by, tried := map[int]uint16{}, map[int]bool{}
	for _, p := range o.packets {
		replica := o.lastOf[p.socket]
		known := c.Record
		if c.Holder || c.Predecessor > 0 {
			known = 0
		}
		switch {
		case p.sibling():
			tried[p.socket] = true
		case p.private():
			by[p.socket] = p.qtype
		case c.Refuses, o.lies.hides(replica), p.name == "kubernetes.default.svc.cluster.local.", p.at >= known+c.Lags[replica]:
		case !tried[p.socket] && p.socket <= c.Confirm && c.differ() && o.lies.about(replica, by[p.socket]):
		default:
			o.Errorf("a plain question to a replica before it has the name: %v", p)
		}
	}
}

// checkBlind fails if a server that hides whether a name exists is asked again while a cache may keep its denial, or as
// soon as the time before: CoreDNS keeps for 30 s what has no SOA, and no cluster's DNS anything for more than two minutes.
func (o outcome) checkBlind() {
	o.Helper()
	last, shown := map[string]*packet{}, map[int]bool{} // by socket: the name by an address of it, of any Pod
	for _, p := range o.packets {
		shown[p.socket] = shown[p.socket] || !p.private() && p.qtype != dns.TypePTR && p.reply != nil && len(p.reply.Answer) > 0
	}
	for _, p := range o.packets {
		// A family that the Pod lacks is denied for good.
		if p.private() || p.name == "kubernetes.default.svc.cluster.local." || p.qtype == dns.TypeAAAA && len(o.ips) == 1 {
			continue
		}
		key := dns.Type(p.qtype).String() + p.name
		before := last[key]
		last[key] = p
		if before == nil || before.socket == p.socket || before.reply == nil || len(before.reply.Answer) > 0 || p.qtype != dns.TypePTR && shown[before.socket] {
			continue
		}
		ttl := before.ttl()
		if len(before.reply.Ns) == 0 {
			ttl = 30 * time.Second
		}
		if p.at < before.until+min(ttl, 2*time.Minute) || p.at < 2*before.at || before.at < time.Second {
			o.Errorf("asked blindly within %v: %v, then %v", ttl, before, p)
		}
	}
}

// known is when the last replica knows the record.
func (c scenario) known() time.Duration { return c.Record + slices.Max(c.Lags) }

// round is how many questions a round asks, but for those about siblings.
func (c scenario) round() int {
	families := 1
	if c.Dual {
		families = 2
	}
	if c.Ignore {
		return 1 + families
	}
	return 1 + 2*families
}

// siblings is how many a turn asks about siblings, by further types as one lies, and for the API server's Service to compare.
func (c scenario) siblings() int {
	n := 1
	if c.Lies != nil {
		n = 3
	}
	if c.Withheld {
		n += 2
	}
	return n * (1 + c.Confirm)
}

// questions is how many a proof asks at most, one after the other: nine, or twelve for two families.
func (c scenario) questions() int {
	n := (1+c.Confirm)*c.round() + c.siblings()
	if !c.Dual {
		n++ // the other family, in the last round
	}
	return n
}

// denied is for how long a denial is cached.
func (c scenario) denied() time.Duration {
	if c.Lies != nil && c.Lies.SOA > 0 {
		return time.Duration(max(c.Cache, c.Lies.SOA, 30)) * time.Second
	}
	if c.Cache > 0 {
		return time.Duration(c.Cache) * time.Second
	}
	return 30 * time.Second
}

// luck is how likely a turn is to lose no round to the network. A question is sent once more where the one before was
// answered.
func (c scenario) luck() float64 {
	p := float64(c.Loss) / 100
	return (1 - p) * math.Pow(1-p*p, float64(c.questions()-1))
}

// settled is when the walk has agreed whatever went before, if nothing is lost.
func (c scenario) settled() time.Duration {
	last := max(c.Record, c.Back, c.Predecessor)
	for _, other := range c.Others {
		last = max(last, other.At)
	}
	last += slices.Max(c.Lags)
	// What was cached then lives on; PTR, which upstream denies, for 30 s.
	last += max(c.denied(), 30*time.Second)
	if c.Node {
		last += 5 * time.Second // the least for which it keeps what was about to end behind it
	}
	if c.Mesh == byName {
		last += c.denied()
	}
	if c.mayHide() {
		last = 2*last + 2*time.Minute
	}
	// Then the walk looks as after any wait, or when there are probe types again.
	return last + max(share(4, last), c.denied(), 30*time.Second) + time.Duration(2*c.questions())*c.Slow
}

// undisturbed reports whether the record is seen as soon as it is looked for: nothing is lost, and no other
// answer be cached.
func (c scenario) undisturbed() bool {
	return c.Loss == 0 && c.Back == 0 && !c.mayHide() && !c.differ() && !c.Holder && c.Predecessor == 0 && c.Others == nil &&
		// Plain denials, and those that are kept by name, are waited out.
		!c.Refuses && c.Mesh != byName &&
		// Without SOA a denial counts as cached for the 30 s that are CoreDNS's default, and this is longer.
		!(c.Mesh == dropsSOA && c.Cache > 30)
}

const probeTypes = 34

// bound is when the walk has agreed if nothing delays it but its own rules: a quarter of the wait, 30 ms and the round
// trips after the record is known everywhere, or a little more where the probe types have to last.
func (c scenario) bound(o outcome) time.Duration {
	rtts := func(n int) time.Duration { return time.Duration(n) * c.Slow }
	// A question that was under way may yet be denied, and then each name asked for that DNS may publish instead.
	wait := c.known() + rtts(c.siblings()+len(o.ips))
	limit := time.Second
	if wait > time.Minute {
		limit = 5 * time.Second
	}
	// A turn is followed by as long a pause as it took. It may have agreed in all rounds but the last.
	pause := max(min(share(4, wait), limit), rtts(c.Confirm*c.round()+c.siblings()+1+len(o.ips)))

	life := c.denied()
	if c.Mesh == dropsSOA {
		life = 30 * time.Second
	}
	before := slices.DeleteFunc(slices.Clone(o.packets), func(p *packet) bool { return p.at > wait })
	var spent []time.Duration // when each probe type is free again that was not when the last turn before ended
	for _, p := range before {
		if p.private() && p.name == dns.Fqdn(o.name) && p.until+life > before[len(before)-1].until {
			spent = append(spent, p.until+life)
		}
	}
	left := probeTypes - len(spent)
	// How long the probe types have to last is told by an answer, and counts from the end of its turn.
	late := rtts(len(o.ips))
	switch {
	case len(spent) == 0:
	case left > 0:
		// Those that are left make the wait grow by one ratio until the next is free: less than a quarter where a denial
		// is cached for 30 s.
		ratio := math.Pow(float64(spent[0])/float64(wait), 1/float64(left))
		late += time.Microsecond // the ratio is not an exact number
		pause = max(pause, time.Duration((ratio-1)*float64(wait))+late)
	default:
		pause = max(pause, spent[1]-wait+late) // until two are free
	}
	return wait + pause + rtts(c.questions())
}
