//go:build faults

package faults

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// member is db-N, whose address follows that of db-0.
func member(n int) dnstest.Endpoint {
	addr := netip.MustParseAddr(ip)
	for range n {
		addr = addr.Next()
	}
	return dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: fmt.Sprintf("db-%d", n), IP: addr.String()}
}

// about reports whether a question is about one of these members: its name, or its address.
func about(members ...int) func(dns.Question) bool {
	var names []string
	for _, n := range members {
		arpa, err := dns.ReverseAddr(member(n).IP)
		if err != nil {
			panic(err)
		}
		names = append(names, fmt.Sprintf("db-%d.db.default.svc.cluster.local.", n), arpa)
	}
	return func(q dns.Question) bool { return slices.Contains(names, strings.ToLower(q.Name)) }
}

// newSet is db-0 of three members, all of which are published, and its DNS, which breaks what is asked about the peers.
func newSet(t *testing.T, wait string) (*life, *breaker) {
	t.Helper()
	l := newLife(t, "peers")
	l.cluster.Publish(member(0), member(1), member(2))
	l.environ = append(l.environ, "PODFQDN_PEERS=3", "PODFQDN_PEERS_WAIT="+wait)
	l.only = about(1, 2)
	return l, l.breaker
}

// hasPeers checks that the peers of the run are published, or that none are.
func (l *life) hasPeers(e end, want string) {
	l.Helper()
	if !l.stands() {
		return
	}
	if got := l.read("identity/peers"); got != want {
		l.Errorf("exit code %d, and the peers are %q, not %q", e.code, got, want)
	}
}

// What DNS says of the peers decides when the name is published, and never what is.
func TestPeers(t *testing.T) {
	t.Parallel()
	const one, two, both = "db-1.db.default.svc.cluster.local", "db-2.db.default.svc.cluster.local", "missing: db-1 and db-2 of db.default.svc.cluster.local"
	// Where one of these is said a Pod is there, or nobody knows: nobody may suspect that it was never made.
	present := []string{"to PTR", ", not db-", "nothing", "SERVFAIL", "as it does for names that do not exist"}
	gone := func(n int) func(*life) { return func(l *life) { l.cluster.Withdraw(member(n)) } }
	at := func(n int, addr string) dnstest.Endpoint {
		return dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: fmt.Sprintf("db-%d", n), IP: addr}
	}
	for name, c := range map[string]struct {
		wait    string // all
		dns     func(*life)
		faults  []string
		only    []int       // of which the faults are; both peers
		later   func(*life) // after half a second
		code    int
		says    []string
		timeout time.Duration
	}{
		"nothing is wrong":                  {},
		"one is missing":                    {dns: gone(2), code: 15, says: []string{"2 of 3 needed members are in DNS; missing: " + two, "says NXDOMAIN"}},
		"one is missing, of a majority":     {wait: "majority", dns: gone(2)},
		"both are missing, of a majority":   {wait: "majority", dns: func(l *life) { gone(1)(l); gone(2)(l) }, code: 15, says: []string{both}},
		"one is missing, and comes":         {dns: gone(2), later: func(l *life) { l.cluster.Publish(member(2)) }, timeout: 20 * time.Second},
		"none is of a lower ordinal":        {wait: "lower", dns: func(l *life) { gone(1)(l); gone(2)(l) }},
		"nobody is waited for":              {wait: "none", dns: func(l *life) { gone(1)(l); gone(2)(l) }},
		"this Pod alone is enough":          {wait: "1", dns: func(l *life) { gone(1)(l); gone(2)(l) }},
		"silence about both":                {faults: []string{"fault any any always: drop"}, code: 15, says: []string{both, "nothing within"}, timeout: 12 * time.Second},
		"silence about one, of a majority":  {wait: "majority", faults: []string{"fault any any always: drop"}, only: []int{1}, timeout: 20 * time.Second},
		"silence about both, and not later": {faults: []string{"fault any any 0-3: drop"}, timeout: 40 * time.Second},
		"answers to PTR are lost":           {faults: []string{"fault PTR any always: drop"}, code: 15, says: []string{both, "nothing within"}, timeout: 12 * time.Second},

		"a peer at this Pod's own address": {faults: []string{"fault A any always: says " + ip}, only: []int{1}, code: 15, says: []string{one, db0}},
		"a peer at another Pod's address": {dns: func(l *life) {
			l.cluster.Publish(at(9, foreign))
		}, faults: []string{"fault A any always: says " + foreign}, only: []int{1}, code: 15, says: []string{one, "says db-9.db.default.svc.cluster.local"}},
		"a peer at an address of nobody":     {faults: []string{"fault A any always: says 10.244.7.7"}, only: []int{1}, code: 15, says: []string{one, "says NXDOMAIN to PTR"}},
		"each at the other's address":        {dns: func(l *life) { l.swap() }, code: 15, says: []string{both, "says " + two + ", not " + one}},
		"each at the other's, of two":        {wait: "2", dns: func(l *life) { l.swap() }, code: 15, says: []string{both, "says " + two + ", not " + one}},
		"each at the other's, and not later": {dns: func(l *life) { l.swap() }, later: func(l *life) { l.heal() }, timeout: 20 * time.Second},
		"every name exists":                  {dns: wildcard, code: 15, says: []string{both, "10.244.7.7", "says NXDOMAIN to PTR"}, timeout: 10 * time.Second},
		"a PTR of the peer and of another":   {faults: []string{"fault PTR any always: says x.example.," + one + "."}, only: []int{1}},
		"a peer whose address was another's": {dns: func(l *life) { l.cluster.Publish(at(1, foreign)) }}, // and one of them leads back

		"truncated, and whole over TCP":   {faults: []string{"fault any udp always: tc"}},
		"truncated over TCP too":          {faults: []string{"fault any any always: tc"}, code: 15, says: []string{both}, timeout: 7 * time.Second},
		"SERVFAIL for one":                {faults: []string{"fault any any always: rcode SERVFAIL"}, only: []int{1}, code: 15, says: []string{one, "says SERVFAIL"}, timeout: 3 * time.Second},
		"SERVFAIL for one, of a majority": {wait: "majority", faults: []string{"fault any any always: rcode SERVFAIL"}, only: []int{1}, timeout: 20 * time.Second},
		"REFUSED to PTR of one":           {faults: []string{"fault PTR any always: rcode REFUSED"}, only: []int{1}, code: 15, says: []string{one, "says REFUSED"}},
		"an escape in a PTR":              {faults: []string{`fault PTR any always: says \027[31m.example.`}, only: []int{1}, code: 15, says: []string{one}},
		"a hundred PTRs without its own":  {faults: []string{"fault PTR any always: says " + many(100) + "x.example."}, only: []int{1}, code: 15, says: []string{one, "more"}},
		"a loop of CNAMEs":                {faults: []string{"fault A any always: cname loop"}, only: []int{1}, code: 15, says: []string{one}},

		"NXDOMAIN is hidden, and both are there":          {dns: hides, timeout: 20 * time.Second},
		"NXDOMAIN is hidden, and one is missing":          {dns: gone(2), faults: []string{"fault any any always: nodata cluster.local."}, only: []int{2}, code: 15, says: []string{two, "no data"}},
		"NXDOMAIN is hidden from all, and one is missing": {dns: func(l *life) { gone(2)(l); hides(l) }, code: 15, says: []string{two}, timeout: 3 * time.Second},
		"NXDOMAIN is hidden, and one comes": {dns: func(l *life) { gone(2)(l); hides(l) }, later: func(l *life) { l.cluster.Publish(member(2)) },
			timeout: 60 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, b := newSet(t, map[bool]string{true: "all", false: c.wait}[c.wait == ""])
			if c.only != nil {
				b.only = about(c.only...)
			}
			if c.dns != nil {
				c.dns(l)
			}
			says(b, c.faults...)
			l.timeout = max(c.timeout, time.Second)
			if c.later != nil {
				go func() {
					time.Sleep(500 * time.Millisecond)
					c.later(l)
				}()
			}
			e := l.init()
			if l.hasPeers(e, three); e.code != c.code {
				t.Errorf("ended with %d, %q, not with %d\n%s", e.code, e.reason, c.code, e.log)
			}
			for _, words := range c.says {
				if !strings.Contains(e.reason, words) {
					t.Errorf("%q is not said: %s", words, e.reason)
				}
			}
			seen := slices.ContainsFunc(present, func(words string) bool { return strings.Contains(e.reason, words) })
			if e.code == 15 && strings.Contains(e.reason, "podManagementPolicy") == seen {
				t.Errorf("the Pods are said not to be there, or nobody says so: %s", e.reason)
			}
			if e.code == 15 && !strings.HasPrefix(e.reason, "gave up after "+l.timeout.String()+": "+db0+": ") {
				t.Errorf("the reason is %q", e.reason)
			}
			b.heal()
			l.cluster.Withdraw(at(1, foreign), at(9, foreign))
			l.cluster.Publish(member(0), member(1), member(2))
			l.recovers()
			l.hasPeers(e, three)
		})
	}
}

// swap has the address of each of the peers say the other's name.
func (l *life) swap() {
	l.Helper()
	says(l.breaker, "fault PTR any always: swap db-1. db-2.")
}

// wildcard answers every name with one address, which has no name.
func wildcard(l *life) {
	own := about(0)
	l.breaker.only = func(q dns.Question) bool {
		return !own(q) && !strings.HasPrefix(q.Name, "kubernetes.") && !strings.HasSuffix(q.Name, ".arpa.")
	}
	says(l.breaker, "fault any any always: says 10.244.7.7")
}

// hides says of every name that it exists and has no data, where it should say NXDOMAIN.
func hides(l *life) {
	l.breaker.only = nil
	says(l.breaker, "fault any any always: hide")
}

// A list of a thousand names is asked for once, and published whole; the line that is too long for the kubelet is left out.
func TestAThousandPeers(t *testing.T) {
	t.Parallel()
	l := newLife(t, "peers")
	var want strings.Builder
	for n := range 1000 {
		l.cluster.Publish(member(n))
		fmt.Fprintf(&want, "db-%d.db.default.svc.cluster.local\n", n)
	}
	l.environ = append(l.environ, "PODFQDN_PEERS=db-{0..999}", "PODFQDN_PEERS_WAIT=all")
	l.timeout = time.Minute
	e := l.init()
	if l.hasPeers(e, want.String()); e.code != 0 {
		t.Fatalf("ended with %d: %s", e.code, e.reason)
	}
	if env := l.read("identity/identity.env"); strings.Contains(env, "POD_PEERS") || !strings.Contains(env, "POD_ORDINAL='0'\n") {
		t.Errorf("identity.env is %.200q", env)
	}
	l.breaker.mu.Lock()
	asked := l.asked
	l.breaker.mu.Unlock()
	t.Logf("%d questions in %s", asked, e.took)
	if most := 3*1000 + 50; asked > most {
		t.Errorf("%d questions, and not %d at most", asked, most)
	}
	// What it has published is an application's, which is given all of them.
	r := l.start(exec.Command(podfqdn, "exec", "--", "/usr/bin/test", "$(POD_PEERS)", "=", strings.ReplaceAll(strings.TrimSpace(want.String()), "\n", ",")))
	if e := r.wait(); e.code != 0 {
		t.Errorf("exec ended with %d: %s", e.code, e.reason)
	}
	l.recovers()
}

// A kill, or a signal, at each change of the volume leaves no generation with half of the peers.
func TestAnEndAtEachChangeWithPeers(t *testing.T) {
	t.Parallel()
	for call, most := range map[string]int{"mkdirat": 2, "symlinkat": 13, "renameat": 1, "unlinkat": 6} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			hit := 0
			for i := range most {
				for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
					l, _ := newSet(t, "all")
					text := map[syscall.Signal]string{syscall.SIGTERM: "SIGTERM", syscall.SIGKILL: "SIGKILL"}[signal]
					reader := l.reader()
					e := l.start(straced("init", l.dir(), fmt.Sprintf("%s:signal=%s:when=%d", call, text, i+1), l.root+"/trace")).wait()
					if reader(); e.code < 0 || strings.Contains(l.read("trace"), "--- "+text) {
						hit++
					}
					switch {
					case e.code < 0:
						l.killed(e)
					case e.code == 0, e.code == 128+int(signal):
						l.check(e)
					default:
						t.Errorf("exit code %d: %s", e.code, e.reason)
					}
					if e.code == 0 {
						l.hasPeers(e, three)
					}
					l.again()
					if l.hasPeers(e, three); t.Failed() {
						t.Fatalf("%s at %s %d", text, call, i+1)
					}
				}
			}
			if hit == 0 {
				t.Errorf("no %s was met", call)
			}
		})
	}
}
