package peers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/peers"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// member is the script of a member that is there.
func member(n int) string {
	name := fmt.Sprintf("zk-%d%s", n, domain)
	return fmt.Sprintf("exists %s: nodata\nA %s: 10.244.2.%d\nPTR 10.244.2.%d: %s", name, name, n, n, name)
}

// apiServer is the script of what every cluster has.
const (
	kubernetes = "kubernetes.default.svc.cluster.local"
	apiServer  = "A " + kubernetes + ": 10.96.0.1\nAAAA " + kubernetes + ": nodata\n"
)

// absent is the script of one that is not.
func absent(n int) string {
	return fmt.Sprintf("exists zk-%d%s: nxdomain zone=cluster.local", n, domain)
}

// set is a Pod zk-0 that waits for the members of its set.
type set struct {
	*testing.T
	claim  identity.Claim
	server *podtest.Server
	r      *identity.Requirement
}

func newSet(t *testing.T, members, wait, script string) *set {
	t.Helper()
	return newSetOf(t, pod(t, "zk-0", identity.Given{}), members, wait, script)
}

func newSetOf(t *testing.T, claim identity.Claim, members, wait, script string) *set {
	t.Helper()
	c, err := config(t, members, wait)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Requirement(claim, "/identity")
	if err != nil {
		t.Fatal(err)
	}
	return &set{t, claim, podtest.Agreeing(t, claim).Script(script), r}
}

// require asks once, and returns what was asked.
func (s *set) require() (asked string, err error) {
	s.server.Rounds = nil
	files, err := s.r.Require(s.Context(), podtest.Proven(s.claim), s.server)
	if len(files) > 0 {
		s.Errorf("it has files: %v", files)
	}
	return strings.ReplaceAll(s.server.Asked(), domain, ""), err
}

// until requires until the members are there, or an hour has passed.
func (s *set) until() (waited time.Duration, last error) {
	s.Helper()
	start := time.Now()
	for time.Since(start) < time.Hour {
		_, err := s.require()
		m, ok := errors.AsType[*identity.Mismatch](err)
		if !ok {
			if err != nil {
				s.Fatal(err)
			}
			return time.Since(start), last
		}
		if m.Verdict != identity.Peerless || m.Again() <= 0 {
			s.Fatalf("%v: %v, again in %s", err, m.Verdict, m.Again())
		}
		last = err
		time.Sleep(m.Again())
	}
	return time.Since(start), last
}

func TestMembersThatAreThereAreAskedForOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, "3", "all", member(1)+"\n"+member(2))
		asked, err := s.require()
		if want := "exists zk-1, sibling, A zk-1, PTR 10.244.2.1 | exists zk-2, A zk-2, PTR 10.244.2.2"; err != nil || asked != want {
			t.Errorf("asked %s, not %s: %v", asked, want, err)
		}
		if asked, err := s.require(); asked != "" || err != nil {
			t.Errorf("asked %s again, %v", asked, err)
		}
		if found := s.r.Found(); found != "3 of 3 needed members" {
			t.Errorf("it found %s", found)
		}
	})
}

func TestAsManyAsAreNeededAreAskedFor(t *testing.T) {
	t.Parallel()
	all := member(1) + "\n" + member(2) + "\n" + member(3) + "\n" + member(4)
	for wait, want := range map[string]string{
		"none":     "",
		"1":        "",
		"2":        "zk-1",
		"majority": "zk-1 zk-2",
		"all":      "zk-1 zk-2 zk-3 zk-4",
		"lower":    "",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSet(t, "5", wait, all)
			asked, err := s.require()
			var names []string
			for word := range strings.FieldsSeq(strings.ReplaceAll(asked, ",", "")) {
				if strings.HasPrefix(word, "zk-") && !slices.Contains(names, word) {
					names = append(names, word)
				}
			}
			if got := strings.Join(names, " "); err != nil || got != want {
				t.Errorf("%s: asked for %q, not %q: %v", wait, got, want, err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := newSetOf(t, pod(t, "zk-3", identity.Given{}), "5", "lower", member(0)+"\n"+member(1)+"\n"+absent(2))
		_, err := s.require()
		want := "zk-3" + domain + ": 2 of 3 needed members are in DNS; missing: zk-2" + domain + " (10.96.0.10 says NXDOMAIN)"
		if err == nil || err.Error() != want {
			t.Errorf("%v\nnot %s", err, want)
		}
	})
}

// A name that is not there leaves no denial that an application would meet.
func TestANameThatIsMissingIsAskedForByProbeTypesAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, "3", "all", member(1)+"\n"+absent(2))
		s.server.Later(10*time.Second, member(2))
		asked, err := s.require()
		if want := "exists zk-1, sibling, A zk-1, PTR 10.244.2.1 | exists zk-2"; asked != want {
			t.Errorf("asked %s, not %s", asked, want)
		}
		want := "zk-0" + domain + ": 2 of 3 needed members are in DNS; missing: zk-2" + domain + " (10.96.0.10 says NXDOMAIN)"
		if err == nil || err.Error() != want {
			t.Errorf("%v\nnot %s", err, want)
		}
		u, ok := errors.AsType[*identity.Unreached](err)
		if !ok || len(u.Names) != 1 || u.Names[0].String() != "zk-2"+domain {
			t.Errorf("%v", u)
		}
		if waited, _ := s.until(); waited < 9*time.Second || waited > 12*time.Second {
			t.Errorf("waited %s", waited)
		}
	})
}

func TestAMemberCountsOnlyIfItsAddressLeadsBackToIt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ script, why string }{
		"another Pod's address": {"PTR 10.244.2.1: zk-2" + domain, "10.244.2.1: 10.96.0.10 says zk-2" + domain + ", not zk-1" + domain},
		"no PTR":                {"PTR 10.244.2.1: nxdomain zone=10.in-addr.arpa", "10.244.2.1: 10.96.0.10 says NXDOMAIN to PTR, not zk-1" + domain},
		"no address":            {"A zk-1" + domain + ": nodata\nAAAA zk-1" + domain + ": nodata", "10.96.0.10 says no data to AAAA"},
		"a cached denial":       {"A zk-1" + domain + ": nxdomain zone=cluster.local", "the name exists, but 10.96.0.10 says NXDOMAIN to A"},
		"no answer to PTR":      {"PTR 10.244.2.1: servfail", "10.244.2.1: 10.96.0.10 says SERVFAIL to PTR"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSet(t, "2", "all", member(1)+"\nAAAA zk-1"+domain+": nodata\n"+apiServer+test.script)
			_, err := s.require()
			if err == nil || !strings.HasSuffix(err.Error(), "("+test.why+")") {
				t.Errorf("%s: %v\nnot %s", name, err, test.why)
			}
			s.server.Script(member(1) + "\nAAAA zk-1" + domain + ": nodata")
			if waited, _ := s.until(); waited > 5*time.Second {
				t.Errorf("%s: waited %s", name, waited)
			}
		})
	}
	// One of several addresses is enough, and so is one of the other family, also where
	// the first has no PTR record, or no name has an address of it.
	sixth := "AAAA zk-1" + domain + ": fd00::1\nPTR fd00::1: zk-1" + domain + "\nAAAA " + kubernetes + ": fd00::a"
	for _, script := range []string{
		"PTR 10.244.2.1: nxdomain zone=10.in-addr.arpa\n" + sixth,
		"A zk-1" + domain + ": nxdomain zone=cluster.local\nA " + kubernetes + ": nxdomain zone=cluster.local\n" + sixth,
		"A zk-1" + domain + ": servfail\nA " + kubernetes + ": servfail\n" + sixth,
		"A zk-1" + domain + ": 10.244.2.9 10.244.2.1\nPTR 10.244.2.9: nxdomain zone=10.in-addr.arpa",
		"A zk-1" + domain + ": nodata\nAAAA zk-1" + domain + ": fd00::1\nPTR fd00::1: zk-1" + domain + " other.example.com",
	} {
		synctest.Test(t, func(t *testing.T) {
			if _, err := newSet(t, "2", "all", member(1)+"\n"+script).require(); err != nil {
				t.Errorf("%s: %v", script, err)
			}
		})
	}
}

func TestReverseIsIgnoredWhereThePolicySaysSoOrTheNameIsNotOfTheCluster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		claim := podtest.Claim(podtest.Pod{Name: "zk-0", Hostname: "zk-0", Subdomain: "zk", Namespace: "default"}.Files("cluster.local", "10.244.1.7"),
			identity.Given{}, identity.Policy{Reverse: identity.ReverseIgnore})
		s := newSetOf(t, claim, "2", "all", member(1))
		if asked, err := s.require(); err != nil || strings.Contains(asked, "PTR") {
			t.Errorf("%s, %v", asked, err)
		}
		s = newSet(t, "db.eu.example.com", "all", "exists db.eu.example.com: nodata\nA db.eu.example.com: 192.0.2.1")
		if asked, err := s.require(); err != nil || strings.Contains(asked, "PTR") {
			t.Errorf("%s, %v", asked, err)
		}
	})
}

// A server that hides whether a name exists is asked plainly, at growing intervals.
func TestAServerThatDeniesNothingIsAskedPlainlyNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		name := "zk-1" + domain
		s := newSet(t, "2", "all", "exists "+name+": nodata\nsibling: nodata\nA "+name+": nodata\nAAAA "+name+": nodata")
		s.server.Later(5*time.Minute, member(1))
		plain := 0
		start := time.Now()
		for time.Since(start) < time.Hour {
			asked, err := s.require()
			if strings.Contains(asked, "A zk-1") {
				plain++
			}
			m, ok := errors.AsType[*identity.Mismatch](err)
			if !ok {
				break
			}
			time.Sleep(m.Again())
		}
		if waited := time.Since(start); plain < 5 || plain > 12 || waited > 11*time.Minute {
			t.Errorf("asked plainly %d times in %s", plain, waited)
		}
	})
}

// Who could wait longer, as another was missing in front of it, cannot any more once
// that is there.
func TestTheNextIsAskedForAsSoonAsOneIsThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, "4", "all", absent(1)+"\n"+absent(2)+"\n"+absent(3))
		for n := 1; n <= 3; n++ {
			s.server.Later(time.Duration(100*n)*time.Millisecond, member(n))
		}
		if waited, last := s.until(); waited > 600*time.Millisecond {
			t.Errorf("all are there after 300ms, and it waits for %s: %v", waited, last)
		}
	})
}

// All members of a set ask no more than a thousand questions a second together.
func TestALargeSetAsksSlowly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, "1000", "all", "")
		for n := range 1000 {
			s.server.Script(absent(n))
		}
		questions, start := 0, time.Now()
		var last error
		for time.Since(start) < time.Minute {
			asked, err := s.require()
			questions += len(strings.FieldsFunc(asked, func(r rune) bool { return r == ',' || r == '|' }))
			m, ok := errors.AsType[*identity.Mismatch](err)
			if !ok {
				t.Fatal(err)
			}
			last = err
			time.Sleep(m.Again())
		}
		if questions < 18 || questions > 24 { // 4, and 0.3 a second
			t.Errorf("%d questions in a minute", questions)
		}
		if text := last.Error(); len(text) > 700 || !strings.Contains(text, "more not asked for yet") {
			t.Errorf("%d bytes: %s", len(text), text)
		}
	})
}

func TestTheEndOfTheContextEndsTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, "2", "all", absent(1))
		over := errors.New("over")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(over)
		if _, err := s.r.Require(ctx, podtest.Proven(s.claim), s.server); !errors.Is(err, over) {
			t.Error(err)
		}
		if _, err := s.r.Require(t.Context(), podtest.Proven(pod(t, "zk-1", identity.Given{})), s.server); err == nil {
			t.Error("another Pod's peers were waited for")
		}
	})
}

// The doctor, which has no proof, says the same.
func TestCheckReturnsWhatRequireWould(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, "300", "all", "")
		for n := range 300 {
			s.server.Script(absent(n))
		}
		err := s.r.Check(t.Context(), s.server)
		m, ok := errors.AsType[*identity.Mismatch](err)
		if !ok || m.Verdict != identity.Peerless || !strings.Contains(err.Error(), "1 of 300 needed members are in DNS; missing: zk-1") {
			t.Error(err)
		}
	})
}

// A doctor ends while somebody waits for it, and is not a load for cluster DNS: it asks for
// each member once, no more than 200 questions a second, and says how far it came.
func TestCheckOfALargeSetEndsInTime(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script func(n int) string
		says   string
		within time.Duration
	}{
		"nobody is there":   {absent, "1 of 1000 needed members are in DNS; missing: zk-1, zk-2, zk-3, zk-4, zk-5 and 994 more of zk.default.svc.cluster.local (zk-1: 10.96.0.10 says NXDOMAIN)", 10 * time.Second},
		"all are there":     {func(n int) string { return strings.ReplaceAll(member(n), "10.244.2.", "fd00::") }, "", 15 * time.Second},
		"nobody is in time": {absent, "more not asked for yet", 15 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSet(t, "1000", "all", "")
			for n := range 1000 {
				s.server.Script(test.script(n))
			}
			if name == "nobody is in time" {
				s.server.Latency = time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			start := time.Now()
			err := s.r.Check(ctx, s.server)
			took, asked := time.Since(start), 0
			for _, round := range s.server.Rounds {
				asked += len(round)
			}
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) || took > test.within {
				t.Errorf("%s: after %s: %v", name, took, err)
			}
			if float64(asked) > 200*took.Seconds()+4 { // those of the last member
				t.Errorf("%s: %d questions in %s", name, asked, took)
			}
		})
	}
}

func TestNamesOfAnyKind(t *testing.T) {
	t.Parallel()
	zone, _ := identity.ParseName("cluster.local")
	kubelets := []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com"}
	for written, want := range map[string]string{
		"other":             "other.default.svc.cluster.local",
		"other.elsewhere":   "other.elsewhere.default.svc.cluster.local other.elsewhere.svc.cluster.local other.elsewhere",
		"zk-0.zk.other":     "zk-0.zk.other.svc.cluster.local zk-0.zk.other",
		"other.default.svc": "other.default.svc.cluster.local",
		"zk-9" + domain:     "zk-9" + domain,
		"db.eu.example.com": "db.eu.example.com",
		"example.com.":      "example.com",
	} {
		synctest.Test(t, func(t *testing.T) {
			roll, err := peers.Named([]string{written}, peers.Wait{}, identity.Name{}, kubelets, identity.ReverseContains)
			if err != nil {
				t.Fatal(err)
			}
			s := podtest.Agreeing(t, pod(t, "zk-0", identity.Given{}))
			for name := range strings.FieldsSeq(want) {
				s.Script("exists " + name + ": nxdomain zone=cluster.local")
			}
			_ = roll.Look(t.Context(), s)
			if got := strings.ReplaceAll(strings.ReplaceAll(s.Asked(), "exists ", ""), " | ", " "); got != want {
				t.Errorf("%s stands for %s, not %s", written, got, want)
			}
		})
	}
	if _, err := peers.Named([]string{"other"}, peers.Wait{}, zone, nil, 0); err == nil || !strings.Contains(err.Error(), "does not say in which namespace: write the whole name") {
		t.Error(err)
	}
	if _, err := peers.Named([]string{"zk-{0..999}", "other"}, peers.Wait{}, zone, kubelets, 0); err == nil || err.Error() != "there are more than 1000 names: wait for fewer" {
		t.Error(err)
	}
}

// The authoritative server of a name outside the cluster may fail for types that it
// does not know.
func TestANameOutsideTheClusterIsAskedPlainlyWhereItsServerFailsForOtherTypes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		script := "exists db.eu.example.com: servfail\nA db.eu.example.com: 192.0.2.1\nexists " + kubernetes + ": nodata\n" + apiServer
		if waited, _ := newSet(t, "db.eu.example.com", "all", script).until(); waited > 10*time.Second {
			t.Errorf("waited %s", waited)
		}
		// One of the cluster's own may not have been heard of yet.
		script = "exists zk-1" + domain + ": servfail\nA zk-1" + domain + ": 10.244.2.1\nexists " + kubernetes + ": nodata\n" + apiServer
		if waited, _ := newSet(t, "2", "all", script).until(); waited < time.Hour {
			t.Errorf("waited %s", waited)
		}
	})
}

// A server outside the cluster that gives an address to every name says nothing of
// NAME.NAMESPACE, which a person means to be of the cluster.
func TestAServerThatAnswersForEveryNameOutsideIsNotTheService(t *testing.T) {
	t.Parallel()
	zone, _ := identity.ParseName("cluster.local")
	synctest.Test(t, func(t *testing.T) {
		roll, err := peers.Named([]string{"other.elsewhere"}, peers.Wait{}, zone, []string{"default.svc.cluster.local"}, identity.ReverseContains)
		if err != nil {
			t.Fatal(err)
		}
		s := podtest.Agreeing(t, pod(t, "zk-0", identity.Given{})).Script(strings.Join([]string{
			"exists other.elsewhere.default.svc.cluster.local: nxdomain zone=cluster.local", "exists other.elsewhere.svc.cluster.local: nxdomain zone=cluster.local",
			"exists other.elsewhere: nodata", "sibling: nodata", "A other.elsewhere: 198.51.100.1"}, "\n"))
		s.Later(10*time.Minute, "sibling: nxdomain zone=cluster.local\nexists other.elsewhere.svc.cluster.local: nodata\nA other.elsewhere.svc.cluster.local: 10.96.0.7")
		start := time.Now()
		for roll.There() == 0 && time.Since(start) < time.Hour {
			if m, ok := errors.AsType[*peers.Missing](roll.Look(t.Context(), s)); ok {
				time.Sleep(m.Again)
			}
		}
		if waited := time.Since(start); waited < 10*time.Minute || waited > 11*time.Minute {
			t.Errorf("it was there after %s", waited)
		}
	})
}

// Where more are missing than may be, those that are too many are asked for rarely.
func TestOnlySoManyAsMayDecideAreAskedForOften(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var script []string
		for n := 1; n <= 20; n++ {
			script = append(script, absent(n))
		}
		s := newSet(t, "21", "majority", strings.Join(script, "\n"))
		all := ""
		for start := time.Now(); time.Since(start) < 4*time.Second; {
			asked, err := s.require()
			all += asked + ", "
			m, _ := errors.AsType[*identity.Mismatch](err)
			time.Sleep(m.Again())
		}
		if first, last := strings.Count(all, "zk-1,"), strings.Count(all, "zk-20,"); first < 5 || last != 1 {
			t.Errorf("asked for the first %d times, for the last %d times", first, last)
		}
	})
}

func TestALookEndsAfterASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var script []string
		for n := 1; n <= 20; n++ {
			script = append(script, absent(n))
		}
		s := newSet(t, "21", "all", strings.Join(script, "\n"))
		s.server.Latency = 300 * time.Millisecond
		start := time.Now()
		if _, err := s.require(); time.Since(start) > 1500*time.Millisecond || err == nil || !strings.Contains(err.Error(), "more not asked for yet") {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestPeersAreThoseOfTheNameThatWasProven(t *testing.T) {
	t.Parallel()
	s := newSet(t, "2", "all", member(1))
	if _, err := s.r.Require(t.Context(), podtest.Proven(pod(t, "zk-1", identity.Given{})), s.server); err == nil || !strings.Contains(err.Error(), `these are the peers of zk-0`) {
		t.Error(err)
	}
}

// A name may have any number of addresses, of which a few are asked back.
func TestAFewAddressesAreAskedBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		script := "exists zk-1" + domain + ": nodata\nAAAA zk-1" + domain + ": nodata\nA zk-1" + domain + ":"
		for n := range 9 {
			script += fmt.Sprintf(" 10.244.3.%d", n)
		}
		for n := range 9 {
			script += fmt.Sprintf("\nPTR 10.244.3.%d: nxdomain zone=10.in-addr.arpa", n)
		}
		if asked, err := newSet(t, "2", "all", script).require(); strings.Count(asked, "PTR") != 4 || err == nil {
			t.Errorf("asked %s: %v", asked, err)
		}
	})
}

// A spelling whose server is in trouble does not hold up the next.
func TestTheSpellingThatMayComeFirstSetsThePace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		zone, _ := identity.ParseName("cluster.local")
		roll, err := peers.Named([]string{"other.elsewhere"}, peers.Wait{}, zone, []string{"default.svc.cluster.local"}, identity.ReverseContains)
		if err != nil {
			t.Fatal(err)
		}
		s := podtest.Agreeing(t, pod(t, "zk-0", identity.Given{})).Script("exists other.elsewhere.default.svc.cluster.local: servfail\n" +
			"exists " + kubernetes + ": servfail\nA " + kubernetes + ": servfail\nAAAA " + kubernetes + ": servfail\n" +
			"exists other.elsewhere.svc.cluster.local: nxdomain zone=cluster.local\nexists other.elsewhere: nxdomain zone=.")
		for start := time.Now(); time.Since(start) < 30*time.Second; {
			m, ok := errors.AsType[*peers.Missing](roll.Look(t.Context(), s))
			if !ok || m.Again > 1100*time.Millisecond {
				t.Fatalf("after %s: %v", time.Since(start), m.Again)
			}
			time.Sleep(m.Again)
		}
	})
}
