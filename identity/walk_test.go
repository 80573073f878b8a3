package identity_test

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
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// turn is a Turn and when it came, since the walk began.
type turn struct {
	identity.Turn
	at time.Duration
}

// walk collects the turns of a walk that has so much time, and when it ended.
func walk(t *testing.T, w identity.Walk, deadline time.Duration) (turns []turn, end time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	start := time.Now()
	for next := range w.Turns(ctx) {
		turns = append(turns, turn{next, time.Since(start)})
	}
	return turns, time.Since(start)
}

func TestWalkPausesGrowByAQuarterUpToTheirCaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		s := podtest.Agreeing(t, claim).Script("exists: nxdomain zone=cluster.local")
		turns, end := walk(t, identity.Walk{Claim: claim, Resolver: s}, 5*time.Minute)
		if end != 5*time.Minute {
			t.Errorf("the walk ended after %s", end)
		}
		ceiling := func(waited time.Duration) time.Duration {
			p := 30*time.Millisecond + waited/4
			if waited > time.Minute {
				return min(p, 5*time.Second)
			}
			return min(p, time.Second)
		}
		var last, next time.Duration
		for i, turn := range turns {
			if turn.at != next || turn.Waited != turn.at {
				t.Fatalf("turn %d came after %s (waited %s), not after %s", i, turn.at, turn.Waited, next)
			}
			most := ceiling(turn.Waited)
			if turn.Pause > most || turn.Pause < most*4/5 {
				t.Errorf("turn %d after %s: a pause of %s, not of %s less at most a fifth", i, turn.Waited, turn.Pause, most)
			}
			if i > 0 && turn.Waited <= time.Minute && turn.Pause > last*5/4 {
				t.Errorf("turn %d after %s: a pause of %s, after one of at most %s", i, turn.Waited, turn.Pause, last)
			}
			last, next = most, turn.at+turn.Pause
		}
		if next < 5*time.Minute {
			t.Errorf("no turn after %s", next)
		}
		// Dense at first, and about a second and then five later on.
		if n := count(turns, 0, 150*time.Millisecond); n < 4 || n > 5 {
			t.Errorf("%d turns in the first 150ms", n)
		}
		if n := count(turns, 10*time.Second, 60*time.Second); n < 50 || n > 63 {
			t.Errorf("%d turns in the next 50s", n)
		}
		if n := count(turns, 65*time.Second, 300*time.Second); n < 47 || n > 59 {
			t.Errorf("%d turns in the last 235s", n)
		}
	})
}

func count(turns []turn, from, to time.Duration) (n int) {
	for _, turn := range turns {
		if turn.at >= from && turn.at < to {
			n++
		}
	}
	return n
}

// Pods that start together must not ask together.
func TestWalksDoNotKeepStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		pauses := make(map[time.Duration]bool)
		for range 20 {
			s := podtest.Agreeing(t, claim).Script("exists: nxdomain")
			turns, _ := walk(t, identity.Walk{Claim: claim, Resolver: s}, time.Second)
			pauses[turns[0].Pause] = true
		}
		if len(pauses) < 15 {
			t.Errorf("20 walks with %d different first pauses", len(pauses))
		}
	})
}

func TestWalkNeverAsksBeforeTheAnswerCanChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		s := podtest.Agreeing(t, claim).Script("A: 10.244.0.99 again=7s | 10.244.0.99 again=3s | 10.244.0.27")
		turns, end := walk(t, identity.Walk{Claim: claim, Resolver: s}, time.Hour)
		if len(turns) != 3 || turns[0].Pause != 7*time.Second || turns[1].Pause != 3*time.Second || turns[2].Err != nil || end != 10*time.Second {
			t.Errorf("turns %v, end %s", turns, end)
		}
	})
}

func TestWalkAsksAServerInTroubleMoreRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		s := podtest.Agreeing(t, claim).Script("exists: servfail\nexists kubernetes.default.svc.cluster.local: servfail\nA kubernetes.default.svc.cluster.local: servfail")
		turns, _ := walk(t, identity.Walk{Claim: claim, Resolver: s}, 10*time.Second)
		for i, turn := range turns {
			if turn.Pause < 200*time.Millisecond {
				t.Errorf("turn %d: a pause of %s", i, turn.Pause)
			}
		}
	})
}

// Some proxies know A, AAAA and PTR alone, and do not say so.
func TestWalkAsksPlainlyWhereNothingElseIsAnswered(t *testing.T) {
	for _, says := range []string{"servfail", "silent"} {
		synctest.Test(t, func(t *testing.T) {
			claim := db0(t, identity.Policy{}, ip4, "")
			s := podtest.Agreeing(t, claim).Script("exists: " + says + "\nexists kubernetes.default.svc.cluster.local: servfail\nA kubernetes.default.svc.cluster.local: 10.96.0.1\nA: nxdomain zone=cluster.local")
			s.Later(20*time.Second, "A: 10.244.0.27")
			turns, end := walk(t, identity.Walk{Claim: claim, Resolver: s}, time.Minute)
			if last := turns[len(turns)-1]; last.Err != nil || end > 22*time.Second {
				t.Errorf("%s: %v after %s", says, last.Err, end)
			}
			for _, turn := range turns[:len(turns)-1] {
				if _, plain := errors.AsType[*identity.Mismatch](turn.Err); !plain || turn.Waited > 14*time.Second && turn.Report.Findings()[len(turn.Report.Findings())-1].Kind != identity.Forward4 {
					t.Errorf("%s: after %s: %v, %v", says, turn.Waited, turn.Err, turn.Report)
				}
			}
		})
	}
}

func TestWalkAsksNothingPlainlyOfAServerThatAnswersNothingOrKeys(t *testing.T) {
	const kubernetes = "kubernetes.default.svc.cluster.local"
	for _, says := range []string{
		"exists: servfail\nexists " + kubernetes + ": servfail\nA " + kubernetes + ": servfail",
		"exists: silent\nA " + kubernetes + ": silent",
		"exists: silent\nA " + kubernetes + ": nodata\nAAAA " + kubernetes + ": nxdomain zone=.",
		"exists: silent\nA " + kubernetes + ": nodata\nAAAA " + kubernetes + ": nodata",
		// Like a CoreDNS that has not reached its API server.
		"exists: servfail\nexists " + kubernetes + ": nodata\nA " + kubernetes + ": 10.96.0.1",
	} {
		synctest.Test(t, func(t *testing.T) {
			claim := db0(t, identity.Policy{}, ip4, "")
			s := podtest.Agreeing(t, claim).Script(says)
			if turns, _ := walk(t, identity.Walk{Claim: claim, Resolver: s}, time.Minute); turns[len(turns)-1].Err == nil {
				t.Error("it agreed")
			}
			asked := slices.Concat(s.Rounds...)
			if slices.Contains(asked, "A") || slices.Contains(asked, "AAAA") {
				t.Errorf("%s: asked %s", says, s.Asked())
			}
			// Rarely: after 2, 4, 8, 16 and 32 seconds.
			looked := 0
			for _, round := range s.Rounds {
				if slices.ContainsFunc(round, func(q string) bool { return strings.HasSuffix(q, " "+kubernetes) }) {
					looked++
				}
			}
			if looked < 3 || looked > 5 {
				t.Errorf("%s: looked %d times in a minute", says, looked)
			}
		})
	}
}

func TestWalkWaitsAsLongAsASlowServerTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		s := podtest.Agreeing(t, claim).Script("exists: nxdomain zone=cluster.local")
		slow := resolverFunc(func(ctx context.Context) (identity.Exchange, error) {
			time.Sleep(700 * time.Millisecond)
			return s.Open(ctx)
		})
		turns, _ := walk(t, identity.Walk{Claim: claim, Resolver: slow}, 10*time.Second)
		if len(turns) < 5 {
			t.Fatalf("%d turns", len(turns))
		}
		for i, turn := range turns {
			if turn.Pause < 700*time.Millisecond*4/5 || turn.Pause > time.Second {
				t.Errorf("turn %d: a pause of %s for a server that takes 700ms", i, turn.Pause)
			}
		}
	})
}

func TestWalkDoesNotMistakeAMissingKeyForTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened []time.Time
		s := resolverFunc(func(context.Context) (identity.Exchange, error) {
			now := time.Now()
			opened = append(opened, now)
			return spent{now.Add(-1), now.Add(800 * time.Millisecond)}, nil
		})
		walk(t, identity.Walk{Claim: db0(t, identity.Policy{}, ip4, ""), Resolver: s}, 30*time.Second)
		for i := 1; i < len(opened); i++ {
			if gap := opened[i].Sub(opened[i-1]); gap > time.Second {
				t.Errorf("turn %d came %s after the one before", i, gap)
			}
		}
		if len(opened) < 30 {
			t.Errorf("%d turns", len(opened))
		}
	})
}

// resolverFunc is a Resolver of one func.
type resolverFunc func(context.Context) (identity.Exchange, error)

func (f resolverFunc) Open(ctx context.Context) (identity.Exchange, error) { return f(ctx) }

// exchangeFunc is an Exchange of one func.
type exchangeFunc func(identity.Question) identity.Answer

func (f exchangeFunc) Ask(_ context.Context, q identity.Question) identity.Answer { return f(q) }
func (exchangeFunc) Close() error                                                 { return nil }

func TestWalkEndsWithTheFirstAgreement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := identity.Policy{Rounds: 2}
		claim := db0(t, policy, ip4, "")
		s := podtest.Agreeing(t, claim).Script("exists: nxdomain zone=cluster.local | nxdomain zone=cluster.local | nodata")
		s.Latency = time.Millisecond
		turns, end := walk(t, identity.Walk{Claim: claim, Resolver: s}, time.Hour)
		if got, want := s.Asked(), "exists | exists | exists, sibling, A, PTR 10.244.0.27 | exists, sibling, A, AAAA, PTR 10.244.0.27"; got != want {
			t.Errorf("asked\n%s, not\n%s", got, want)
		}
		if len(turns) != 3 {
			t.Fatalf("turns %v", turns)
		}
		last := turns[2]
		if last.Err != nil || last.Pause != 0 || last.Agreement.Name() != claim.Name() || show(last.Agreement.Addrs()) != ip4 || len(last.Report.Findings()) != 9 {
			t.Errorf("the last turn is %+v", last)
		}
		if want := turns[0].Pause + turns[1].Pause + 11*time.Millisecond; end != want || last.Waited != want || last.at != want {
			t.Errorf("it ended after %s, the turn after %s, not after %s", end, last.Waited, want)
		}
		for _, turn := range turns[:2] {
			var mismatch *identity.Mismatch
			if !errors.As(turn.Err, &mismatch) || mismatch.Verdict != identity.Missing || len(turn.Agreement.Addrs()) != 0 {
				t.Errorf("an earlier turn is %+v", turn)
			}
		}
	})
}

// If a requirement took long, DNS is asked twice in one turn.
func TestWalkReportsEveryQuestionOfATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		s := podtest.Agreeing(t, claim)
		slow := func(context.Context, identity.Agreement, identity.Resolver) ([]identity.File, error) {
			time.Sleep(2 * time.Second)
			return []identity.File{{Name: "x", Data: []byte("x"), Mode: 0o644}}, nil
		}
		turns, _ := walk(t, identity.Walk{Claim: claim, Resolver: s, Require: requires(slow)}, time.Hour)
		const once = "exists, sibling, A, AAAA, PTR 10.244.0.27"
		if s.Asked() != once+" | "+once {
			t.Errorf("asked %s", s.Asked())
		}
		if len(turns) != 1 || turns[0].Err != nil || len(turns[0].Required[0].Files()) != 1 {
			t.Fatalf("turns %v", turns)
		}
		if n := len(turns[0].Report.Findings()); n != 10 {
			t.Errorf("%d questions are reported, not 10", n)
		}
	})
}

// Nor do files tell of addresses that DNS has left out meanwhile.
func TestFilesAreRequiredForTheAddressesThatAreProvenLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, dual, "")
		s := podtest.Agreeing(t, claim)
		s.Later(time.Second, "AAAA: nodata")
		var files []string
		slow := func(_ context.Context, a identity.Agreement, _ identity.Resolver) ([]identity.File, error) {
			time.Sleep(2 * time.Second)
			files = append(files, show(a.Addrs()))
			return []identity.File{{Name: "x", Data: []byte(show(a.Addrs())), Mode: 0o644}}, nil
		}
		turns, _ := walk(t, identity.Walk{Claim: claim, Resolver: s, Require: requires(slow)}, time.Hour)
		if len(turns) != 1 || turns[0].Err != nil {
			t.Fatalf("turns %v", turns)
		}
		proven := show(turns[0].Agreement.Addrs())
		if got := string(turns[0].Required[0].Files()[0].Data); got != proven || len(files) != 2 || files[0] == proven {
			t.Errorf("%s is proven, and the files are of %q, the last of %s", proven, files, got)
		}
	})
}

// A verification for which no probe type is left is not a turn; its questions were
// asked all the same.
func TestATurnReportsWhatWasAskedSinceTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{Rounds: 2}, ip4, "")
		whole, start, rounds, asked := podtest.Agreeing(t, claim), time.Now(), 0, 0
		dns := resolverFunc(func(ctx context.Context) (identity.Exchange, error) {
			rounds++
			exchange, err := whole.Open(ctx)
			return exchangeFunc(func(q identity.Question) identity.Answer {
				if rounds%2 == 0 && time.Since(start) < 5*time.Second {
					return identity.Answer{Question: q, Again: time.Second}
				}
				asked++
				return exchange.Ask(ctx, q)
			}), err
		})
		turns, _ := walk(t, identity.Walk{Claim: claim, Resolver: dns}, time.Minute)
		if len(turns) != 1 || turns[0].Err != nil || rounds < 6 {
			t.Fatalf("%d rounds, turns %v", rounds, turns)
		}
		reported := 0
		for _, f := range append(turns[0].Unfinished.Findings(), turns[0].Report.Findings()...) {
			if f.Is != identity.Unasked {
				reported++
			}
		}
		if reported != asked {
			t.Errorf("%d questions were asked, %d reported", asked, reported)
		}
		if rounds := len(turns[0].Report); rounds != 2 { // the others say nothing about this turn
			t.Errorf("a turn of %d rounds", rounds)
		}
	})
}

// Witnesses explain and decide nothing.
func TestWitnessesAreAskedRarelyAndReportedWithTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		s := podtest.Agreeing(t, claim).Script("exists: nxdomain zone=cluster.local\nA kubernetes.default.svc.cluster.local: 10.96.0.1")
		s.Later(100*time.Second, "exists: nodata")
		s.Later(200*time.Second, "exists: nxdomain zone=cluster.local")
		var asked []time.Duration
		start := time.Now()
		about := identity.Finding{Witness: true, Verdict: "about something else"}
		w := identity.Walk{Claim: claim, Resolver: s, Every: time.Minute, Witnesses: func(ctx context.Context, m *identity.Mismatch) identity.Round {
			if end, ok := ctx.Deadline(); !ok || time.Until(end) != time.Second || m.Verdict != identity.Missing {
				t.Errorf("asked about %s, for %s", m.Verdict, time.Until(end))
			}
			asked = append(asked, time.Since(start))
			return identity.Round{Findings: []identity.Finding{about}}
		}}
		turns, _ := walk(t, w, 3*time.Hour)
		before := slices.IndexFunc(asked, func(at time.Duration) bool { return at > 200*time.Second })
		for i, at := range asked[:before] { // after 3 s, and when the wait has doubled
			least := 3 * time.Second
			if i > 0 {
				least = 2 * asked[i-1]
			}
			if at < least || at > least+6*time.Second {
				t.Errorf("asked after %v", asked)
			}
		}
		if before < 4 || before > 6 || len(asked) != before+3 {
			t.Errorf("asked after %v", asked)
		}
		for i, at := range asked[before:] { // once an hour, as long as DNS disagrees
			if least := time.Duration(i)*time.Hour + 200*time.Second; at < least || at > least+4*time.Minute {
				t.Errorf("asked after %v", asked)
			}
		}
		reported := 0
		for _, turn := range turns {
			if found := turn.Report.Findings(); found[len(found)-1].Verdict == about.Verdict {
				reported++
			}
		}
		if reported != len(asked) {
			t.Errorf("asked after %v, reported %d times", asked, reported)
		}
	})
}

// A requirement that says no more than that something is missing has its turns.
func TestARequirementWithoutAReasonIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		for _, missing := range []error{
			&identity.Mismatch{Finding: identity.Finding{Verdict: identity.Keyless}},
			identity.NotYet(identity.Keyless, nil, 0),
		} {
			require := func(context.Context, identity.Agreement, identity.Resolver) ([]identity.File, error) {
				return nil, missing
			}
			turns, _ := walk(t, identity.Walk{Claim: claim, Resolver: podtest.Agreeing(t, claim), Require: requires(require)}, time.Minute)
			if len(turns) < 10 || turns[0].Err.Error() != "no reason is given for keyless" {
				t.Errorf("%d turns", len(turns))
			}
		}
	})
}

func TestWalkEndsWhenItsReaderStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		s := podtest.Agreeing(t, claim).Script("exists: nxdomain")
		start := time.Now()
		for range (identity.Walk{Claim: claim, Resolver: s}).Turns(t.Context()) {
			break
		}
		if len(s.Rounds) != 1 || time.Since(start) != 0 {
			t.Errorf("asked %s in %s", s.Asked(), time.Since(start))
		}
	})
}

// A deadline in the middle of a question is not an answer of DNS.
func TestWalkYieldsNoTurnThatItsDeadlineCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		s := podtest.Agreeing(t, claim)
		s.Latency = time.Second
		turns, end := walk(t, identity.Walk{Claim: claim, Resolver: s}, 2500*time.Millisecond)
		if len(turns) != 0 || end != 2500*time.Millisecond || s.Asked() != "exists, sibling, A" {
			t.Errorf("%d turns, end after %s, asked %s", len(turns), end, s.Asked())
		}
	})
}

const neverNamed = name4 + ": DNS publishes this Pod as " + dash4 + ", as for a Pod without spec.hostname: set spec.hostname, or PODFQDN_NAME_FORM=address if a name that changes with the address will do"

func TestWalkEndsWhenTheDashedNameIsThereTwiceASecondApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		s := podtest.Agreeing(t, claim).Script("exists: nxdomain zone=cluster.local\nexists " + dash4 + ": nodata")
		turns, end := walk(t, identity.Walk{Claim: claim, Resolver: s}, time.Hour)
		seen := sightings(turns)
		if len(seen) != 2 || seen[0] < 500*time.Millisecond || seen[1]-seen[0] < time.Second || end > 3*time.Second {
			t.Errorf("seen after %v, end after %s", seen, end)
		}
		last := turns[len(turns)-1]
		if last.Err == nil || last.Err.Error() != neverNamed || last.Pause != 0 || last.at != end {
			t.Errorf("got  %v after %s\nwant %s", last.Err, last.at, neverNamed)
		}
		checkRefusal(t, last.Err)
		for _, turn := range turns[:len(turns)-1] {
			var refusal *identity.Refusal
			if errors.As(turn.Err, &refusal) {
				t.Errorf("refused early: %v", turn.Err)
			}
		}
	})
}

// A predecessor without hostname may have left its address to this Pod, and
// its record for a moment.
func TestWalkGoesOnWhenTheDashedNameIsThereOnce(t *testing.T) {
	for _, ours := range []time.Duration{time.Second, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			claim := db0(t, identity.Policy{}, ip4, "")
			s := podtest.Agreeing(t, claim).Script("exists: nxdomain\nexists " + dash4 + ": nodata")
			s.Later(time.Second, "exists "+dash4+": nxdomain zone=cluster.local")
			s.Later(ours, "exists: nodata")
			turns, end := walk(t, identity.Walk{Claim: claim, Resolver: s}, time.Hour)
			if seen := sightings(turns); len(seen) != 1 || turns[len(turns)-1].Err != nil || end < ours || end > ours*5/4+30*time.Millisecond {
				t.Errorf("seen after %v, end after %s with %v", seen, end, turns[len(turns)-1].Err)
			}
		})
	}
}

// Two sightings count only where nothing contradicts them between.
func TestWalkForgetsASightingThatWasContradicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		s := podtest.Agreeing(t, claim).Script("exists: nxdomain\nexists " + dash4 + ": nodata")
		s.Later(time.Second, "exists "+dash4+": nxdomain")
		s.Later(3*time.Second, "exists "+dash4+": nodata")
		turns, end := walk(t, identity.Walk{Claim: claim, Resolver: s}, time.Hour)
		seen := sightings(turns)
		if len(seen) != 3 || seen[0] > time.Second || seen[1] < 3*time.Second || seen[2]-seen[1] < time.Second || end != seen[2] {
			t.Errorf("seen after %v, end after %s", seen, end)
		}
	})
}

// sightings returns when the dashed name was seen.
func sightings(turns []turn) (at []time.Duration) {
	for _, turn := range turns {
		for _, f := range turn.Report.Findings() {
			if f.Verdict == identity.Unnamed {
				at = append(at, turn.at)
			}
		}
	}
	return at
}

// spent is a resolver whose probe types are used up until a moment of the walk, and
// that denies the name otherwise.
type spent struct{ from, until time.Time }

func (s spent) Open(context.Context) (identity.Exchange, error) { return s, nil }
func (s spent) Close() error                                    { return nil }
func (s spent) Ask(_ context.Context, q identity.Question) identity.Answer {
	if now := time.Now(); now.After(s.from) && now.Before(s.until) {
		return identity.Answer{Question: q, Is: identity.Unasked, Again: time.Until(s.until)}
	}
	return identity.Answer{Question: q, Is: identity.Denied}
}

func TestWalkYieldsNoTurnWithoutAFreeProbeType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		keys := spent{start.Add(time.Second), start.Add(20 * time.Second)}
		turns, _ := walk(t, identity.Walk{Claim: db0(t, identity.Policy{}, ip4, ""), Resolver: keys}, 30*time.Second)
		for _, turn := range turns {
			if mismatch, ok := errors.AsType[*identity.Mismatch](turn.Err); !ok || mismatch.Verdict != identity.Missing || turn.at > time.Second && turn.at < 20*time.Second {
				t.Errorf("after %s: %v", turn.at, turn.Err)
			}
		}
		if n := count(turns, 20*time.Second, 21*time.Second); n == 0 {
			t.Error("nobody looked when a key was free again")
		}
	})
}

func TestAWalkThatGoesOnRestsAtMostItsIntervalAndHalfOfItAtLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		s := podtest.Agreeing(t, claim).Script("exists: nxdomain | nodata")
		turns, end := walk(t, identity.Walk{Claim: claim, Resolver: s, Every: time.Minute}, time.Hour)
		if end != time.Hour || len(turns) < 61 || len(turns) > 121 {
			t.Errorf("%d turns until %s", len(turns), end)
		}
		pauses := make(map[time.Duration]bool)
		for i, turn := range turns[1:] {
			if turn.Err != nil || turn.Pause < 30*time.Second || turn.Pause > time.Minute {
				t.Errorf("turn %d: a pause of %s, %v", i+1, turn.Pause, turn.Err)
			}
			pauses[turn.Pause] = true
		}
		if turns[0].Pause > time.Second || len(pauses) < 50 {
			t.Errorf("a first pause of %s, and then %d different ones", turns[0].Pause, len(pauses))
		}
	})
}

// The name of a Pod that runs is not to be refused any more, and what DNS says
// of other names is not asked.
func TestAfterAnAgreementThereIsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		asked := 0
		gone := resolverFunc(func(context.Context) (identity.Exchange, error) {
			return exchangeFunc(func(q identity.Question) identity.Answer {
				if q.Kind != identity.Sibling && q.Name != claim.Name() && q.Name.String() != "kubernetes.default.svc.cluster.local" {
					asked++
					return identity.Answer{Question: q, Is: identity.NoData}
				}
				return identity.Answer{Question: q, Is: identity.Denied}
			}), nil
		})
		turns, end := walk(t, identity.Walk{Claim: claim, Resolver: gone, Every: time.Minute, Agreed: true}, time.Hour)
		if end != time.Hour || len(turns) < 60 || asked > 0 {
			t.Errorf("%d turns until %s, %d questions about other names", len(turns), end, asked)
		}
		for _, turn := range turns {
			if turn.Lost {
				t.Fatal("lost, by the word of a server that does not know the cluster")
			}
		}
		// Without an agreement it is refused.
		turns, _ = walk(t, identity.Walk{Claim: claim, Resolver: gone, Every: time.Minute}, time.Hour)
		var refusal *identity.Refusal
		if last := turns[len(turns)-1]; !errors.As(last.Err, &refusal) || last.at > time.Minute {
			t.Errorf("ended with %v after %s", last.Err, last.at)
		}
	})
}

// twoFamilies is a claim of two addresses.
const ip4And6 = ip4 + "," + ip6

// losing is how a DNS answers over a number of sockets, for a time.
type losing func(since time.Duration, socket int, q identity.Question) (answer string)

// says returns a Resolver that answers in the words of a script.
func (l losing) resolver(t *testing.T, latency time.Duration) identity.Resolver {
	start, socket := time.Now(), -1
	return resolverFunc(func(context.Context) (identity.Exchange, error) {
		socket++
		return exchangeFunc(func(q identity.Question) identity.Answer {
			time.Sleep(latency)
			a := identity.Answer{Question: q, Server: podtest.Nameserver}
			text := l(time.Since(start), socket, q)
			if q.Name.String() == "kubernetes.default.svc.cluster.local" {
				text = "10.96.0.1"
			}
			if err := podtest.Read(&a, text); err != nil {
				t.Error(err)
			}
			return a
		}), nil
	})
}

// whole is what a DNS says that has both families; gone is one that has neither.
func whole(q identity.Question) string {
	return map[identity.Kind]string{identity.Exists: "nodata", identity.Forward4: ip4, identity.Forward6: ip6, identity.Reverse: name4}[q.Kind]
}

func gone(identity.Question) string { return "nxdomain zone=cluster.local" }

func TestAPodIsNotLostWhileAnAnswerHasIt(t *testing.T) {
	const grace = 5 * time.Minute
	// blips returns another DNS except for a moment at the beginning and one an hour later.
	blips := func(between func(socket int, q identity.Question) string) losing {
		return func(since time.Duration, socket int, q identity.Question) string {
			if since < 30*time.Second || since > time.Hour && since < time.Hour+2*time.Minute {
				return gone(q)
			}
			return between(socket, q)
		}
	}
	for what, c := range map[string]struct {
		confirm int
		dns     losing
	}{
		"one of two replicas has it": {1, func(_ time.Duration, socket int, q identity.Question) string {
			if socket%2 == 1 {
				return gone(q)
			}
			return whole(q)
		}},
		"one of eleven rounds has it not": {10, func(_ time.Duration, socket int, q identity.Question) string {
			if socket%11 == 10 {
				return gone(q)
			}
			return whole(q)
		}},
		"its PTR cannot be asked between": {0, blips(func(_ int, q identity.Question) string {
			if q.Kind == identity.Reverse {
				return "servfail"
			}
			return whole(q)
		})},
		"its other family is poisoned between": {0, blips(func(_ int, q identity.Question) string {
			if q.Kind == identity.Forward6 {
				return "nxdomain zone=cluster.local"
			}
			return whole(q)
		})},
		"two replicas have different families between": {1, blips(func(socket int, q identity.Question) string {
			if q.Kind == identity.Forward6 && socket%2 == 1 {
				return "nodata"
			}
			return whole(q)
		})},
		"another has one of its two families": {0, func(_ time.Duration, _ int, q identity.Question) string {
			if q.Kind == identity.Forward4 {
				return "10.244.9.9"
			}
			return whole(q)
		}},
		"another has one, and nobody answers for the other": {0, func(_ time.Duration, _ int, q identity.Question) string {
			switch q.Kind {
			case identity.Forward4:
				return "10.244.9.9"
			case identity.Forward6:
				return "servfail"
			}
			return whole(q)
		}},
		"it is poisoned, which somebody else's question does": {0, func(_ time.Duration, _ int, q identity.Question) string {
			if q.Kind == identity.Forward4 || q.Kind == identity.Forward6 {
				return gone(q)
			}
			return whole(q)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				policy := identity.Policy{Rounds: identity.Rounds(1 + c.confirm)}
				w := identity.Walk{Claim: db0(t, policy, ip4And6, ""), Resolver: c.dns.resolver(t, time.Millisecond),
					Every: time.Minute, Agreed: true, Grace: grace}
				turns, _ := walk(t, w, 3*time.Hour)
				for _, turn := range turns {
					if turn.Lost {
						t.Fatalf("lost after %s: %v", turn.at, turn.Err)
					}
				}
			})
		})
	}
}

// By which Service a cluster is known cannot be said where its zone is unknown.
func TestAPodIsNotLostIfTheClusterDomainIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "unknown:kdc1.example.org")
		s := podtest.Agreeing(t, claim).Script("exists: nxdomain zone=example.org")
		turns, end := walk(t, identity.Walk{Claim: claim, Resolver: s, Every: time.Minute, Agreed: true, Grace: 5 * time.Minute}, time.Hour)
		if len(turns) < 60 || end != time.Hour || turns[0].Err == nil {
			t.Errorf("%d turns until %s, the first %v", len(turns), end, turns[0].Err)
		}
		if slices.ContainsFunc(turns, func(turn turn) bool { return turn.Lost }) || strings.Contains(s.Asked(), "kubernetes") {
			t.Errorf("lost, or asked whether it is: %s", s.Asked())
		}
	})
}

func TestAPodIsLostWhenDNSHasAnsweredWithoutItForItsGrace(t *testing.T) {
	const every, grace = time.Minute, 5 * time.Minute
	for what, c := range map[string]struct {
		ips     string
		confirm int
		latency time.Duration
		dns     func(q identity.Question) string
		begins  func(q identity.Question) string // for two minutes before that, or nil
	}{
		"denied":         {ip4, 1, time.Millisecond, gone, nil},
		"denied, slowly": {ip4, 10, 2 * time.Second, gone, nil},
		// As by caches, of which some forget it earlier.
		"denied one type after the other": {ip4, 0, time.Millisecond, gone, func(q identity.Question) string {
			if q.Kind == identity.Forward4 {
				return gone(q)
			}
			return whole(q)
		}},
		"another's": {ip4And6, 1, time.Millisecond, func(q identity.Question) string {
			return map[identity.Kind]string{identity.Exists: "nodata", identity.Forward4: "10.244.9.9", identity.Forward6: "fd00::99"}[q.Kind]
		}, nil},
		"another's of another family": {ip4, 0, time.Millisecond, func(q identity.Question) string {
			return map[identity.Kind]string{identity.Exists: "nodata", identity.Forward4: "nodata", identity.Forward6: "fd00::99"}[q.Kind]
		}, nil},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				policy := identity.Policy{Rounds: identity.Rounds(1 + c.confirm)}
				var first time.Duration // the first answer to its name without it
				dns := losing(func(since time.Duration, socket int, q identity.Question) string {
					if since < 10*time.Minute {
						return whole(q)
					}
					if first == 0 && q.Name.String() == name4 && (q.Kind == identity.Exists || q.Kind == identity.Forward4) {
						first = since
					}
					if c.begins != nil && since < 12*time.Minute {
						return c.begins(q)
					}
					return c.dns(q)
				})
				w := identity.Walk{Claim: db0(t, policy, c.ips, ""), Resolver: dns.resolver(t, c.latency),
					Every: every, Agreed: true, Grace: grace}
				turns, _ := walk(t, w, time.Hour)
				for _, turn := range turns {
					if turn.Lost {
						if after := turn.at - first; after < grace || after > grace+every+10*c.latency {
							t.Errorf("lost %s after the first answer without it", after)
						}
						return
					}
				}
				t.Error("never lost")
			})
		})
	}
}

// hiding has every name, but no record until a time: it says when the name's address was asked for.
func hiding(t *testing.T, record, ttl time.Duration) (identity.Resolver, func() []time.Duration) {
	var asked []time.Duration
	return losing(func(since time.Duration, _ int, q identity.Question) string {
		if q.Kind == identity.Forward4 && q.Name.String() == name4 {
			asked = append(asked, since)
		}
		switch {
		case q.Kind == identity.Forward4 && since < record:
			return fmt.Sprint("nodata again=", ttl)
		case q.Kind == identity.Sibling || q.Kind == identity.Forward6:
			return "nodata"
		}
		return whole(q)
	}).resolver(t, time.Millisecond), func() []time.Duration { return asked }
}

func TestAServerThatHidesIsAskedPlainlyAtGrowingIntervals(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			const record = 10 * time.Minute
			dns, asked := hiding(t, record, ttl)
			turns, end := walk(t, identity.Walk{Claim: db0(t, identity.Policy{}, ip4, ""), Resolver: dns}, time.Hour)
			last := turns[len(turns)-1]
			if last.Err != nil || end < record || end > 2*record+10*time.Second {
				t.Errorf("%v after %s", last.Err, end)
			}
			var before, interval time.Duration
			for _, at := range asked() {
				if at < time.Second || before > 0 && (at-before < max(ttl, interval) || at > 2*before+ttl+10*time.Second) {
					t.Errorf("ttl %s: asked %v", ttl, asked())
					break
				}
				if before > 0 {
					interval = at - before
				}
				before = at
			}
			for _, turn := range turns[:len(turns)-1] {
				if m, ok := errors.AsType[*identity.Mismatch](turn.Err); !ok || m.Verdict != identity.Hidden || !strings.HasSuffix(m.Error(), ", as it does for names that do not exist") {
					t.Fatal(turn.Err)
				}
			}
		})
	}
}

func TestAfterAnAgreementADenialOfAServerThatHidesIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns, asked := hiding(t, 20*time.Minute, 2*time.Minute)
		w := identity.Walk{Claim: db0(t, identity.Policy{}, ip4, ""), Resolver: dns, Every: 10 * time.Second, Agreed: true, Grace: 5 * time.Minute}
		turns, _ := walk(t, w, time.Hour)
		for i, at := range asked() {
			if i > 0 && asked()[i-1] < 20*time.Minute && (at-asked()[i-1] < 2*time.Minute || at-asked()[i-1] > 2*time.Minute+20*time.Second) {
				t.Errorf("asked at %v", asked()[:i+1])
				break
			}
		}
		lost := slices.IndexFunc(turns, func(turn turn) bool { return turn.Lost })
		if lost < 0 || turns[lost].at < 5*time.Minute || turns[lost].at > 7*time.Minute+20*time.Second || turns[len(turns)-1].Err != nil {
			t.Errorf("lost in turn %d, at the end %v", lost, turns[len(turns)-1].Err)
		}
	})
}

// keysOf is a requirement that is met after so long; it counts how often it is
// asked, and keeps what it has given.
type keysOf struct {
	claim identity.Claim
	after time.Time
	never error
	asked int
	given []identity.File
}

func (k *keysOf) require(_ context.Context, a identity.Agreement, _ identity.Resolver) ([]identity.File, error) {
	k.asked++
	switch {
	case k.never != nil:
		return nil, k.never
	case a.Name() != k.claim.Name():
		return nil, errors.New("of whom?")
	case time.Now().Before(k.after):
		return nil, identity.NotYet(identity.Keyless, errors.New("no key"), time.Second)
	}
	k.given = []identity.File{{Name: "keytab", Data: []byte("key"), Mode: 0o440}, {Name: "conf", Data: []byte("text"), Mode: 0o644}}
	return k.given, nil
}

// requires makes a Walk's Require of one.
func requires(one func(context.Context, identity.Agreement, identity.Resolver) ([]identity.File, error)) []func(context.Context, identity.Agreement, identity.Resolver) ([]identity.File, error) {
	return []func(context.Context, identity.Agreement, identity.Resolver) ([]identity.File, error){one}
}

func TestWalkAsksForWhatIsRequiredOnlyOnceDNSAgrees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		keys := &keysOf{claim: claim}
		s := podtest.Agreeing(t, claim).Script("exists: nxdomain")
		turns, _ := walk(t, identity.Walk{Claim: claim, Resolver: s, Require: requires(keys.require)}, 10*time.Second)
		if len(turns) < 5 || keys.asked > 0 {
			t.Errorf("asked %d times for keys in %d turns", keys.asked, len(turns))
		}
		turns, _ = walk(t, identity.Walk{Claim: claim, Resolver: podtest.Agreeing(t, claim), Require: requires(keys.require)}, 10*time.Second)
		files := turns[0].Required[0].Files()
		if len(turns) != 1 || keys.asked != 1 || len(files) != 2 || files[0].Name != "conf" || string(files[1].Data) != "key" {
			t.Fatalf("asked %d times in %d turns for %v", keys.asked, len(turns), files)
		}
		turns[0].Required[0].Clear()
		if string(files[1].Data) != "\x00\x00\x00" {
			t.Errorf("%q is left of a key", files[1].Data)
		}
	})
}

func TestWalkAsksDNSOnceMoreIfWhatIsRequiredCameLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for wait, rounds := range map[time.Duration]int{0: 1, 20 * time.Second: 2} {
			claim := db0(t, identity.Policy{}, ip4, "")
			s := podtest.Agreeing(t, claim)
			keys := &keysOf{claim: claim, after: time.Now().Add(wait)}
			turns, end := walk(t, identity.Walk{Claim: claim, Resolver: s, Require: requires(keys.require)}, time.Minute)
			last := turns[len(turns)-1]
			if last.Err != nil || len(last.Required[0].Files()) != 2 || end < wait || end > wait+2*time.Second {
				t.Errorf("after %s: %v after %s", wait, last.Err, end)
			}
			asked := 0
			for _, turn := range turns {
				for _, f := range turn.Report.Findings() {
					if f.Kind == identity.Exists {
						asked++
					}
				}
			}
			if asked != rounds {
				t.Errorf("%d rounds of questions to DNS, not %d, for keys after %s", asked, rounds, wait)
			}
		}
	})
}

// What is not handed on is cleared.
func TestWalkClearsWhatIsRequiredIfDNSDisagreesByThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := db0(t, identity.Policy{}, ip4, "")
		s := podtest.Agreeing(t, claim).Script("A: " + ip4 + " | 10.244.0.99 again=1h")
		keys := &keysOf{claim: claim, after: time.Now().Add(10 * time.Second)}
		turns, _ := walk(t, identity.Walk{Claim: claim, Resolver: s, Require: requires(keys.require)}, time.Minute)
		last := turns[len(turns)-1]
		if m, ok := errors.AsType[*identity.Mismatch](last.Err); !ok || m.Verdict != identity.Stale || len(last.Required) > 0 || last.Agreement.Name() == claim.Name() {
			t.Errorf("%v, %v", last.Err, last.Required)
		}
		if len(keys.given) != 2 || string(keys.given[0].Data) != "\x00\x00\x00" && string(keys.given[1].Data) != "\x00\x00\x00" {
			t.Errorf("left: %q", keys.given)
		}
	})
}

func TestARefusalOfWhatIsRequiredEndsAnyWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, every := range []time.Duration{0, time.Minute} {
			claim := db0(t, identity.Policy{}, ip4, "")
			keys := &keysOf{claim: claim, never: identity.Refuse(identity.Misconfigured, errors.New("mode 0000"), "set fsGroup")}
			turns, _ := walk(t, identity.Walk{Claim: claim, Resolver: podtest.Agreeing(t, claim), Every: every, Require: requires(keys.require)}, time.Hour)
			if len(turns) != 1 || turns[0].Err != keys.never || turns[0].Agreement.Name() == claim.Name() {
				t.Errorf("%d turns, the last with %v", len(turns), turns[len(turns)-1].Err)
			}
		}
	})
}
