package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// answering is a Resolver whose server says what the function says, after so
// long since the first question.
type answering struct {
	start time.Time
	says  func(since time.Duration, q identity.Question) identity.Answer
}

func (a answering) Open(context.Context) (identity.Exchange, error) { return a, nil }
func (a answering) Close() error                                    { return nil }
func (a answering) Ask(_ context.Context, q identity.Question) identity.Answer {
	time.Sleep(400 * time.Microsecond)
	asked := q
	if q.Kind == identity.Sibling {
		asked.Kind = identity.Exists
	}
	answer := a.says(time.Since(a.start), asked)
	if q.Kind == identity.Sibling && answer.Is == identity.NoData {
		answer = denied // as everybody but a liar
	}
	answer.Question, answer.Server = q, netip.MustParseAddrPort("10.96.0.10:53")
	return answer
}

// Answers to every question.
var (
	denied   = identity.Answer{Is: identity.Denied, Shown: shown.Answer{Wire: "NXDOMAIN"}}
	servfail = identity.Answer{Is: identity.Failed, Shown: shown.Answer{Wire: "SERVFAIL"}}
)

// found is an answer of addresses.
func found(addrs ...string) identity.Answer {
	a := identity.Answer{Is: identity.Found, Shown: shown.Answer{Rcode: "NOERROR", Wire: strings.Join(addrs, " and ")}}
	for _, addr := range addrs {
		a.Addrs = append(a.Addrs, netip.MustParseAddr(addr))
	}
	return a
}

// agreed is what a server says that knows the Pod of wait.
func agreed(q identity.Question) identity.Answer {
	switch q.Kind {
	case identity.Forward4:
		return identity.Answer{Is: identity.Found, Addrs: []netip.Addr{netip.MustParseAddr("10.244.1.7")}, Shown: shown.Answer{Wire: "10.244.1.7"}}
	case identity.Reverse:
		return identity.Answer{Is: identity.Found, Names: []identity.Name{identity.WireName("db-0.db.default.svc.cluster.local.")}}
	}
	return identity.Answer{Is: identity.NoData, Shown: shown.Answer{Wire: "no data"}}
}

// podFiles makes the files of Pod db-0, and returns the variables that lead there.
func podFiles(t *testing.T, ips ...string) []string {
	t.Helper()
	root := t.TempDir()
	for name, file := range podtest.DB0.Files("cluster.local", ips...) {
		put(t, filepath.Join(root, name), file.Data)
	}
	return []string{"PODFQDN_ROOT=" + root}
}

// told is a line of the log about the wait.
type told struct {
	Level, Msg, Reason, Hint, Waited string
	Asked, Answered, Again, Doctor   string
	GivesUp                          string `json:"gives_up"`

	at time.Duration
}

// wait lets a Pod wait in virtual time, and gives what was told and the end.
func wait(t *testing.T, timeout time.Duration, says func(since time.Duration, q identity.Question) identity.Answer) ([]told, error) {
	t.Helper()
	var (
		lines []told
		end   error
	)
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		dns := answering{time.Now(), func(since time.Duration, q identity.Question) identity.Answer {
			a := says(since, q)
			if strings.HasPrefix(q.Name.String(), "kubernetes.") && a.Is != identity.Silent && a.Is != identity.Failed {
				return found("10.96.0.1")
			}
			return a
		}}
		p := path{stderr: &log, dns: dns}
		end = p.run(t.Context(), "init", nil, append(podFiles(t, "10.244.1.7"), "PODFQDN_DIR="+t.TempDir(), "PODFQDN_TIMEOUT="+timeout.String()))
		for line := range bytes.Lines(log.Bytes()) {
			if strings.ContainsFunc(string(bytes.TrimSpace(line)), unprintable) {
				t.Errorf("not plain ASCII: %+q", line)
			}
			var l told
			if err := json.Unmarshal(line, &l); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if l.Msg != "not yet" {
				continue
			}
			var err error
			if l.at, err = time.ParseDuration(l.Waited); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			lines = append(lines, l)
		}
	})
	return lines, end
}

func TestTheSameReasonIsToldAtGrowingIntervals(t *testing.T) {
	t.Parallel()
	lines, err := wait(t, 2*time.Minute, func(time.Duration, identity.Question) identity.Answer { return denied })
	const reason = "db-0.db.default.svc.cluster.local: 10.96.0.10 says NXDOMAIN"
	if want := `gave up after 2m0s: ` + reason + `; Service "db" has no address in DNS either: check that a headless Service "db" in namespace "default" selects this Pod and has publishNotReadyAddresses: true`; err == nil || err.Error() != want {
		t.Errorf("ended with %v,\nnot %s", err, want)
	}
	if code := exitCode(err); code != exitDeadline {
		t.Errorf("exit code %d", code)
	}
	// At once, after three seconds, and whenever the wait has doubled, and after
	// half a minute, each at the next turn. Turns are up to a second apart, five after a minute.
	due := time.Duration(0)
	for i, l := range lines {
		if l.Reason != reason {
			t.Errorf("line %d: reason %s", i, l.Reason)
		}
		late := 2 * time.Second
		if due > time.Minute {
			late = 6 * time.Second
		}
		if l.at < due || l.at > due+late {
			t.Errorf("line %d after %s, not %s", i, l.at, due)
		}
		if hinted := l.Hint != ""; hinted != (i > 0) {
			t.Errorf("line %d after %s: hint %q", i, l.at, l.Hint)
		}
		if due = max(3*time.Second, 2*l.at-time.Millisecond); l.at < 30*time.Second {
			due = min(due, 30*time.Second)
		}
		if facts := l.Asked == "10.96.0.10 for existence of db-0.db.default.svc.cluster.local" && l.Answered == "NXDOMAIN" && l.Again != ""; facts != (i > 0) {
			t.Errorf("line %d after %s: %+v", i, l.at, l)
		}
		late = 0
		if l.at >= 30*time.Second {
			late++
		}
		if warned := l.Level == "warn" && l.Doctor == "kubectl podfqdn doctor -n default POD" && l.GivesUp == "2000-01-01T00:02:00Z"; warned != (late > 0) || !warned && (l.Level != "info" || l.Doctor+l.GivesUp != "") {
			t.Errorf("line %d after %s: %+v", i, l.at, l)
		}
	}
	if due < 2*time.Minute-6*time.Second {
		t.Errorf("nothing was told after %s: %v", due, lines)
	}
}

// A cached answer is not asked for again before it has run out; what is waited for
// is told meanwhile.
func TestAWaitForACacheIsToldToo(t *testing.T) {
	t.Parallel()
	lines, err := wait(t, 15*time.Minute, func(since time.Duration, q identity.Question) identity.Answer {
		if q.Kind == identity.Forward4 && since < 100*time.Second {
			left := 100*time.Second - since
			a := found("10.244.9.9")
			a.TTL, a.Again, a.Shown = left.Round(time.Second), left, shown.Answer{Wire: "10.244.9.9", Type: "A", Cached: true, At: time.Now()}
			return a
		}
		return agreed(q)
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lines {
		got = append(got, fmt.Sprintf("%s: %s, again in %s", l.at.Round(time.Second), l.Level, l.Again))
		if l.Asked != "10.96.0.10 for A of db-0.db.default.svc.cluster.local" || l.Answered != "10.244.9.9, ttl 1m40s, from a cache" ||
			!strings.HasPrefix(l.Hint, "the answer is cached until 00:01:40 UTC: this may be the address of an earlier Pod") {
			t.Errorf("%+v", l)
		}
	}
	if want := []string{"0s: info", "3s: info", "6s: info", "12s: info", "24s: info", "30s: warn", "1m0s: warn"}; len(got) != len(want) {
		t.Errorf("%q", got)
	} else {
		for i := range want {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("%q, not %q", got[i], want[i])
			}
		}
	}
}

// A denial has many causes: which, the witnesses show. They are asked at once where
// the next turn is far away.
func TestWhatIsKnownToLastIsExplainedAtOnce(t *testing.T) {
	t.Parallel()
	lines, err := wait(t, 50*time.Second, func(since time.Duration, q identity.Question) identity.Answer {
		a := denied
		a.Again = max(0, 40*time.Second-since)
		return a
	})
	if err == nil {
		t.Fatal("agreed on nothing")
	}
	for _, l := range lines {
		if !strings.HasPrefix(l.Hint, `Service "db" has no address in DNS either`) || l.Again == "" {
			t.Errorf("%+v", l)
		}
	}
	if len(lines) < 6 {
		t.Errorf("%+v", lines)
	}
}

func TestConnectionsThatAreRefusedFromTheFirstOnAreACaptureOfDNS(t *testing.T) {
	t.Parallel()
	for _, answers := range []bool{false, true} {
		_, err := wait(t, time.Minute, func(since time.Duration, q identity.Question) identity.Answer {
			if answers && since < time.Second {
				return denied
			}
			return identity.Answer{Is: identity.Silent, Shown: shown.Answer{Wire: "nothing (connection refused)"}}
		})
		if got := strings.Contains(err.Error(), "DNS for a sidecar that is not running yet"); got == answers {
			t.Errorf("answered before: %v, and %v", answers, err)
		}
	}
}

func TestANewReasonIsToldAtOnce(t *testing.T) {
	t.Parallel()
	lines, err := wait(t, time.Minute, func(since time.Duration, q identity.Question) identity.Answer {
		switch {
		case since < 1500*time.Millisecond:
			return denied
		case since < 20*time.Second:
			return servfail
		}
		return agreed(q)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) < 3 || !strings.HasSuffix(lines[0].Reason, "NXDOMAIN") || !strings.HasSuffix(lines[1].Reason, "SERVFAIL") {
		t.Fatalf("%v", lines)
	}
	if lines[1].at < 1500*time.Millisecond || lines[1].at > 2*time.Second || lines[1].Hint != "" {
		t.Errorf("%v", lines[1])
	}
	for _, l := range lines[2:] {
		if !strings.HasSuffix(l.Reason, "SERVFAIL") || !strings.HasPrefix(l.Hint, "cluster DNS answers with an error") {
			t.Errorf("%v", l)
		}
	}
}

func TestReasonsThatAlternateAreNotToldEachTurn(t *testing.T) {
	t.Parallel()
	turns := 0
	lines, err := wait(t, time.Minute, func(_ time.Duration, q identity.Question) identity.Answer {
		turns++
		if turns%2 == 0 {
			return servfail
		}
		return identity.Answer{Is: identity.Silent, Shown: shown.Answer{Wire: "nothing within 1s"}}
	})
	if err == nil {
		t.Fatal("agreed on nothing")
	}
	// Both at once, and both again after each of 3, 6, 12, 24, 48 s.
	if turns < 10 || len(lines) > 12 || len(lines) < 7 {
		t.Errorf("%d turns, %d lines: %v", turns, len(lines), lines)
	}
}

func TestARefusalEndsTheWait(t *testing.T) {
	t.Parallel()
	lines, err := wait(t, 15*time.Minute, func(_ time.Duration, q identity.Question) identity.Answer {
		if strings.HasPrefix(q.Name.String(), "10-244-1-7.") {
			return identity.Answer{Is: identity.NoData, Shown: shown.Answer{Wire: "no data"}}
		}
		return denied
	})
	const want = "db-0.db.default.svc.cluster.local: DNS publishes this Pod as 10-244-1-7.db.default.svc.cluster.local, as for a Pod without spec.hostname: set spec.hostname, or PODFQDN_NAME_FORM=address if a name that changes with the address will do"
	var refusal *identity.Refusal
	if !errors.As(err, &refusal) || err.Error() != want || exitCode(err) != exitRefused {
		t.Errorf("exit code %d: %v", exitCode(err), err)
	}
	if last := lines[len(lines)-1]; last.at > 2*time.Second {
		t.Errorf("the last line came after %s: %v", last.at, last)
	}
}

func TestADeadlineOfNothingIsWaitedForADay(t *testing.T) {
	t.Parallel()
	asked := time.Duration(0)
	_, err := wait(t, 0, func(since time.Duration, q identity.Question) identity.Answer {
		if asked = since; since < 24*time.Hour {
			return denied
		}
		return agreed(q)
	})
	if err != nil || asked < 24*time.Hour {
		t.Errorf("ended after %s with %v", asked, err)
	}
}

func TestAQuestionThatTheDeadlineCutsOffIsNoReason(t *testing.T) {
	t.Parallel()
	asked := 0
	_, err := wait(t, 700*time.Millisecond, func(since time.Duration, q identity.Question) identity.Answer {
		if asked++; since > 500*time.Millisecond {
			time.Sleep(time.Second)
			return identity.Answer{Is: identity.Silent, Shown: shown.Answer{Wire: "nothing within 1s"}}
		}
		if q.Kind == identity.Forward4 {
			return identity.Answer{Is: identity.Found, Shown: shown.Answer{Wire: "10.244.1.7 and 10.244.9.9"},
				Addrs: []netip.Addr{netip.MustParseAddr("10.244.1.7"), netip.MustParseAddr("10.244.9.9")}}
		}
		return agreed(q)
	})
	if exitCode(err) != exitShared || asked < 3 {
		t.Errorf("after %d questions exit code %d: %v", asked, exitCode(err), err)
	}
}

func TestTheDeadlineEndsWithTheLastReason(t *testing.T) {
	t.Parallel()
	const name = "db-0.db.default.svc.cluster.local"
	var (
		ours   = netip.MustParseAddr("10.244.1.7")
		others = netip.MustParseAddr("10.244.9.9")
	)
	for _, c := range []struct {
		what   string
		kind   identity.Kind // all other questions are answered well
		answer identity.Answer
		code   int
		reason string
	}{
		{"missing", identity.Exists, denied, 11,
			name + `: 10.96.0.10 says NXDOMAIN; Service "db" has no address in DNS either: check that a headless Service "db" in namespace "default" selects this Pod and has publishNotReadyAddresses: true`},
		{"foreign-server", identity.Exists, identity.Answer{Is: identity.Denied, Zone: identity.WireName("."), Shown: shown.Answer{Wire: "NXDOMAIN"}}, 11,
			name + `: 10.96.0.10 says NXDOMAIN from zone ".", not the cluster's; 10.96.0.10 knows the cluster but lets unknown names fall through; Service "db" has no address in DNS either: check that a headless Service "db" in namespace "default" selects this Pod and has publishNotReadyAddresses: true`},
		{"poisoned", identity.Forward4, denied, 11,
			name + `: the name exists, but 10.96.0.10 says NXDOMAIN to A; this passes if a cache keeps the denial from before the record existed; if it comes back, something denies A on purpose`},
		{"stale", identity.Forward4, identity.Answer{Is: identity.Found, Addrs: []netip.Addr{others}, Shown: shown.Answer{Wire: "10.244.9.9"}}, 11,
			name + `: 10.96.0.10 says 10.244.9.9; this Pod is 10.244.1.7; this may be the address of an earlier Pod; if so, it passes when the Service and the caches have dropped it`},
		{"shared", identity.Forward4, identity.Answer{Is: identity.Found, Addrs: []netip.Addr{ours, others}, Shown: shown.Answer{Wire: "10.244.1.7 and 10.244.9.9"}}, 12,
			name + `: 10.96.0.10 says 10.244.1.7 and 10.244.9.9; another Pod holds this name: 10.244.9.9; give each Pod its own hostname, and a Deployment strategy: Recreate; or set PODFQDN_FORWARD=contains if several Pods may share this name`},
		{"unanswered", identity.Forward4, servfail, 11,
			name + `: 10.96.0.10 says SERVFAIL to A; cluster DNS answers with an error: read its log, and check whether it reaches the API server and its upstream`},
		{"reverse-missing", identity.Reverse, denied, 11,
			`10.244.1.7: 10.96.0.10 says NXDOMAIN to PTR, not ` + name + `; check whether the Corefile's kubernetes plugin serves in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore`},
		{"reverse-refused", identity.Reverse, identity.Answer{Is: identity.Refused, Shown: shown.Answer{Wire: "REFUSED"}}, 11,
			`10.244.1.7: 10.96.0.10 says REFUSED to PTR, not ` + name + `; check whether a DNS policy refuses PTR or the Corefile does not serve it: allow in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore`},
		{"reverse-other", identity.Reverse, identity.Answer{Is: identity.Found, Names: []identity.Name{identity.WireName("x.all.default.svc.cluster.local.")}, Shown: shown.Answer{Wire: "x.all.default.svc.cluster.local"}}, 11,
			`10.244.1.7: 10.96.0.10 says x.all.default.svc.cluster.local, not ` + name + `; this may be the name of an earlier Pod with this address; if so, it passes when the caches have dropped it`},
		{"reverse-foreign", identity.Reverse, identity.Answer{Is: identity.Found, Names: []identity.Name{identity.WireName("vm.example.")}, Shown: shown.Answer{Wire: "vm.example"}}, 11,
			`10.244.1.7: 10.96.0.10 says vm.example, not ` + name + `; an upstream resolver may have answered: check whether the Corefile's kubernetes plugin serves in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore`},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			_, err := wait(t, 15*time.Minute, func(_ time.Duration, q identity.Question) identity.Answer {
				switch {
				case strings.HasPrefix(q.Name.String(), "10-244-1-7."):
					return denied
				case q.Kind == c.kind:
					return c.answer
				}
				return agreed(q)
			})
			if want := "gave up after 15m0s: " + c.reason; err == nil || err.Error() != want {
				t.Errorf("%v,\nnot %s", err, want)
			}
			if code := exitCode(err); code != c.code {
				t.Errorf("exit code %d, not %d", code, c.code)
			}
		})
	}
}

// A packet lost at the end says nothing about the name: what was known before
// is told too, and gives the exit code.
func TestSilenceAtTheEndDoesNotHideWhatWasKnown(t *testing.T) {
	const name = "db-0.db.default.svc.cluster.local"
	ours, others := netip.MustParseAddr("10.244.1.7"), netip.MustParseAddr("10.244.9.9")
	_, err := wait(t, 15*time.Minute, func(waited time.Duration, q identity.Question) identity.Answer {
		switch {
		case waited > 14*time.Minute:
			return identity.Answer{Is: identity.Silent, Shown: shown.Answer{Wire: "nothing within 1s"}}
		case q.Kind == identity.Forward4:
			return identity.Answer{Is: identity.Found, Addrs: []netip.Addr{ours, others}, Shown: shown.Answer{Wire: "10.244.1.7 and 10.244.9.9"}}
		}
		return agreed(q)
	})
	const want = "gave up after 15m0s: " + name + ": 10.96.0.10 says nothing within 1s; " +
		"check that cluster DNS runs and that no NetworkPolicy blocks this Pod from it on port 53, UDP and TCP; " +
		"before that: " + name + ": 10.96.0.10 says 10.244.1.7 and 10.244.9.9; another Pod holds this name: 10.244.9.9"
	if err == nil || err.Error() != want {
		t.Errorf("%v,\nnot %s", err, want)
	}
	if code := exitCode(err); code != 12 {
		t.Errorf("exit code %d, not 12", code)
	}
}
