package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// answers is what DNS says to each question.
type answers func(q identity.Question) identity.Answer

// without is a DNS that knows the cluster, and not the Pod.
func without(q identity.Question) identity.Answer {
	if q.Name.String() == "kubernetes.default.svc.cluster.local" && q.Kind == identity.Forward4 {
		return found("10.96.0.1")
	}
	return denied
}

// lost is a DNS that has lost the cluster, as by a bad Corefile.
func lost(identity.Question) identity.Answer { return denied }

// broken is a DNS that cannot say.
func broken(identity.Question) identity.Answer { return servfail }

// dead is DNS that never answers.
func dead(identity.Question) identity.Answer {
	return identity.Answer{Is: identity.Silent, Shown: shown.Answer{Wire: "nothing within 1s"}}
}

// elsewhere is a DNS that gives the name another address.
func elsewhere(q identity.Question) identity.Answer {
	switch q.Kind {
	case identity.Exists:
		return agreed(q)
	case identity.Forward4:
		if a := without(q); a.Is == identity.Found {
			return a
		}
		return found("10.244.9.9")
	}
	return denied
}

// besides is a DNS that gives the name another address, too, as after kubectl
// debug --copy-to.
func besides(q identity.Question) identity.Answer {
	if q.Kind == identity.Forward4 {
		return found("10.244.1.7", "10.244.9.9")
	}
	return agreed(q)
}

// everything is a DNS that gives every name one address, as captive portals do.
func everything(q identity.Question) identity.Answer {
	if q.Kind == identity.Forward6 {
		return agreed(q)
	}
	return found("10.9.9.9")
}

// sidecar is one in virtual time, over a real volume.
type sidecar struct {
	*testing.T
	says    atomic.Pointer[answers]
	dir     string
	log     bytes.Buffer
	asked   atomic.Int64 // questions
	p       *path
	environ []string
	kill    context.CancelCauseFunc
	err     error
	done    chan struct{}
}

// start starts one in the bubble of the test.
func start(t *testing.T, dir string, dns answers, environ ...string) *sidecar {
	t.Helper()
	s := prepared(t, dir, dns, environ...)
	s.begin()
	return s
}

// prepared is one that has not begun.
func prepared(t *testing.T, dir string, dns answers, environ ...string) *sidecar {
	t.Helper()
	s := &sidecar{T: t, dir: dir, done: make(chan struct{})}
	s.says.Store(&dns)
	says := func(_ time.Duration, q identity.Question) identity.Answer {
		s.asked.Add(1)
		return (*s.says.Load())(q)
	}
	s.p = &path{stderr: &s.log, dns: answering{time.Now(), says}}
	s.environ = slices.Concat(podFiles(t, "10.244.1.7"), []string{"PODFQDN_DIR=" + dir}, environ)
	return s
}

// begin lets it begin.
func (s *sidecar) begin() {
	ctx, kill := context.WithCancelCause(s.Context())
	s.kill = kill
	go func() {
		defer close(s.done)
		s.err = s.p.run(ctx, "sidecar", nil, s.environ)
	}()
}

// turns has DNS say something else from now on.
func (s *sidecar) turns(to answers) { s.says.Store(&to) }

// end sends SIGTERM, and gives the exit code.
func (s *sidecar) end() int {
	s.Helper()
	began := time.Now()
	s.kill(interrupted(syscall.SIGTERM))
	<-s.done
	if took := time.Since(began); took > time.Second {
		s.Errorf("ended %s after SIGTERM", took)
	}
	return exitCode(s.err)
}

// holds sees whether the identity stands, for readers as for the probes.
func (s *sidecar) holds(want bool) {
	s.Helper()
	synctest.Wait()
	if _, err := os.Stat(filepath.Join(s.dir, "verified")); (err == nil) != want {
		s.Errorf("verified: %v, but it is to stand: %t", err, want)
	}
	w := httptest.NewRecorder()
	s.p.health.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	if code := w.Code; (code == 200) != want || strings.Count(w.Body.String(), "\n") != 1 {
		s.Errorf("/readyz gives %d, %q, but it is to stand: %t\n%s", code, w.Body, want, s.log.Bytes())
	}
}

// said gives the lines of the log at a level, "message: reason".
func (s *sidecar) said(level string) (all []string) {
	s.Helper()
	synctest.Wait()
	for line := range bytes.Lines(s.log.Bytes()) {
		var l struct{ Level, Msg, Reason, What string }
		if err := json.Unmarshal(line, &l); err != nil {
			s.Fatal(err)
		}
		if l.Level == level {
			all = append(all, l.Msg+": "+l.Reason+l.What)
		}
	}
	return all
}

// counts gives a line of /metrics.
func (s *sidecar) counts(metric string) string {
	s.Helper()
	w := httptest.NewRecorder()
	s.p.health.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if value, ok := strings.CutPrefix(line, metric+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	s.Fatalf("there is no %s in\n%s", metric, w.Body)
	return ""
}

func TestWhatWasPublishedStandsWhateverDNSSays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dns     answers
		verdict identity.Verdict
		warning string
		lost    bool // for WITHDRAW
	}{
		"silent":              {dead, identity.Unanswered, "db-0.db.default.svc.cluster.local: 10.96.0.10 says nothing within 1s", false},
		"in trouble":          {broken, identity.Unanswered, "db-0.db.default.svc.cluster.local: 10.96.0.10 says SERVFAIL", false},
		"a bad Corefile":      {lost, identity.Missing, "db-0.db.default.svc.cluster.local: 10.96.0.10 says NXDOMAIN", false},
		"a debug copy":        {besides, identity.Shared, "db-0.db.default.svc.cluster.local: 10.96.0.10 says 10.244.1.7 and 10.244.9.9; another Pod holds this name: 10.244.9.9", false},
		"a wildcard":          {everything, identity.Stale, "db-0.db.default.svc.cluster.local: 10.96.0.10 says 10.9.9.9; this Pod is 10.244.1.7", false},
		"without this Pod":    {without, identity.Missing, "db-0.db.default.svc.cluster.local: 10.96.0.10 says NXDOMAIN", true},
		"with another's name": {elsewhere, identity.Stale, "db-0.db.default.svc.cluster.local: 10.96.0.10 says 10.244.9.9; this Pod is 10.244.1.7", true},
	} {
		for _, withdraw := range []string{"false", "true"} {
			t.Run(name+", WITHDRAW="+withdraw, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := start(t, t.TempDir(), agreed, "PODFQDN_WITHDRAW="+withdraw, "PODFQDN_GRACE=2m")
					time.Sleep(time.Minute)
					s.holds(true)

					s.turns(c.dns)
					time.Sleep(2*time.Minute - time.Second)
					s.holds(true)
					// INTERVAL until it is seen; from then on GRACE, INTERVAL and a round.
					time.Sleep(2*time.Minute + 2*time.Second)
					taken := c.lost && withdraw == "true"
					s.holds(!taken)
					time.Sleep(7 * time.Minute)
					s.holds(!taken)
					want := []string{"DNS no longer agrees: what is published stays: " + c.warning}
					if taken {
						want = append(want, "withdrawn: "+c.warning)
					}
					if got := s.said("warn"); !slices.Equal(got, want) {
						t.Errorf("warned of %q, not of %q", got, want)
					}
					if n := s.counts(`podfqdn_verifications_total{verdict="` + string(c.verdict) + `"}`); len(n) > 2 || n < "10" {
						t.Errorf("%s times %s in ten minutes", n, c.verdict)
					}
					if got, want := s.counts("podfqdn_withdrawals_total"), map[bool]string{false: "0", true: "1"}[taken]; got != want {
						t.Errorf("%s withdrawals, not %s", got, want)
					}

					s.turns(agreed)
					time.Sleep(time.Minute + time.Second)
					s.holds(true)
					if got := s.said("info"); got[len(got)-1] != "forward and reverse DNS agree again: " && got[len(got)-2] != "forward and reverse DNS agree again: " {
						t.Errorf("said %q", got)
					}
					if code := s.end(); code != exitOK {
						t.Errorf("exit code %d: %v", code, s.err)
					}
				})
			})
		}
	}
}

func TestADisagreementThatEndsBeforeItsGraceTakesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, t.TempDir(), agreed, "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=5m")
		for range 10 {
			time.Sleep(time.Minute)
			s.turns(without)
			time.Sleep(4 * time.Minute)
			s.holds(true)
			s.turns(besides) // who has ours too has ours
			time.Sleep(time.Minute)
		}
		s.holds(true)
		s.end()
	})
}

func TestSilenceIsNoAnswerToTheGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, t.TempDir(), agreed, "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=5m")
		time.Sleep(time.Minute)
		s.turns(without)
		time.Sleep(2 * time.Minute)
		s.turns(dead)
		time.Sleep(time.Hour)
		s.holds(true)
		s.turns(lost)
		time.Sleep(time.Hour)
		s.holds(true)
		s.turns(without)
		time.Sleep(time.Minute + time.Second)
		s.holds(false)
		s.end()
	})
}

// A cache may show the cluster for as long as its answer's TTL after a bad
// Corefile has hidden all of it.
func TestAWitnessIsNotBelievedWhileACacheMayHaveItFromBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cached := func(q identity.Question) identity.Answer {
			a := without(q)
			a.TTL = 10 * time.Minute
			return a
		}
		s := start(t, t.TempDir(), agreed, "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=1m")
		time.Sleep(time.Minute)
		s.turns(cached)
		time.Sleep(10 * time.Minute)
		s.holds(true)
		s.turns(lost)
		time.Sleep(time.Hour)
		s.holds(true)
		s.turns(cached) // so it is still there
		time.Sleep(time.Minute + time.Second)
		s.holds(false)
		s.end()
	})
}

func TestWhatIsGivenBackHasNoAddressLess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, t.TempDir(), dual, "POD_IPS=10.244.1.7,fd00:10:244::7", "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=0")
		time.Sleep(time.Minute)
		s.turns(without)
		time.Sleep(3 * time.Minute)
		s.holds(false)
		s.turns(agreed) // on the first family alone
		time.Sleep(time.Minute + time.Second)
		s.holds(true)
		if got, _ := os.ReadFile(filepath.Join(s.dir, "ips")); string(got) != "10.244.1.7\nfd00:10:244::7\n" {
			t.Errorf("ips holds %q", got)
		}
		s.end()
	})
}

func TestASidecarThatIsStartedAgainGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := start(t, dir, agreed)
		time.Sleep(time.Second)
		first.holds(true)
		first.end()
		second := start(t, dir, dead, "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=0")
		time.Sleep(time.Minute)
		second.holds(true)
		second.turns(without)
		time.Sleep(2*time.Minute + time.Second)
		second.holds(false)
		if code := second.end(); code != exitOK {
			t.Errorf("exit code %d", code)
		}
		third := start(t, dir, without)
		time.Sleep(time.Hour)
		third.holds(false)
		if code := third.end(); code != exitSignal+int(syscall.SIGTERM) {
			t.Errorf("exit code %d: %v", code, third.err)
		}
		fourth := start(t, dir, agreed)
		time.Sleep(time.Second)
		fourth.holds(true)
		fourth.end()
	})
}

// Another container of the Pod may be of a newer version, which publishes more.
func TestASidecarTakesNothingBackThatANewerVersionHasPublished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := start(t, dir, agreed, "POD_UID=1")
		time.Sleep(time.Second)
		first.holds(true)
		first.end()
		current := filepath.Join(dir, "..data")
		for name, edit := range map[string]func(string) string{
			"peers":         func(string) string { return "db-1\n" },
			"identity.env":  func(text string) string { return text + "POD_PEERS='db-1'\n" },
			"identity.json": func(text string) string { return strings.Replace(text, "{", `{"peers": ["db-1"],`, 1) },
		} {
			text, _ := os.ReadFile(filepath.Join(current, name))
			if err := os.WriteFile(filepath.Join(current, name), []byte(edit(string(text))), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("..data/peers", filepath.Join(dir, "peers")); err != nil {
			t.Fatal(err)
		}
		before, err := os.Readlink(current)
		if err != nil {
			t.Fatal(err)
		}
		second := start(t, dir, agreed)
		for range 2 { // withdrawn in between, and published again
			time.Sleep(10 * time.Minute)
			second.holds(true)
			if err := os.Remove(filepath.Join(dir, "verified")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Minute)
		second.holds(true)
		if after, err := os.Readlink(current); after != before || err != nil {
			t.Errorf("another generation is published: %v", err)
		}
		if peers, err := os.ReadFile(filepath.Join(dir, "peers")); string(peers) != "db-1\n" {
			t.Errorf("peers: %q, %v", peers, err)
		}
		if got := second.said("warn"); len(got) > 0 {
			t.Errorf("warned of %q", got)
		}
		second.end()
	})
}

func TestASidecarHasNoDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, t.TempDir(), lost, "PODFQDN_TIMEOUT=1m")
		time.Sleep(24 * time.Hour)
		s.holds(false)
		s.turns(agreed)
		time.Sleep(6 * time.Second)
		s.holds(true)
		s.end()
	})
}

// dual is a DNS that has the second family of a Pod, too.
func dual(q identity.Question) identity.Answer {
	if q.Kind == identity.Forward6 {
		return found("fd00:10:244::7")
	}
	return agreed(q)
}

func TestAFamilyThatComesLaterIsPublishedAndNoneIsTakenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, t.TempDir(), agreed, "POD_IPS=10.244.1.7,fd00:10:244::7")
		ips := func(want string) {
			t.Helper()
			synctest.Wait()
			if got, _ := os.ReadFile(filepath.Join(s.dir, "ips")); string(got) != want {
				t.Errorf("ips holds %q, not %q", got, want)
			}
		}
		time.Sleep(time.Minute)
		ips("10.244.1.7\n")
		s.turns(dual)
		time.Sleep(time.Minute + time.Second)
		ips("10.244.1.7\nfd00:10:244::7\n")
		s.turns(agreed)
		time.Sleep(10 * time.Minute)
		ips("10.244.1.7\nfd00:10:244::7\n")
		if got := s.said("warn"); len(got) != 1 || !strings.Contains(got[0], "fd00:10:244::7") {
			t.Errorf("warned of %q", got)
		}
		s.end()
	})
}

func TestAVolumeThatVanishesUnderASidecarIsWarnedAboutOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "identity")
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		s := start(t, dir, agreed)
		time.Sleep(time.Second)
		// What others remove comes back.
		if err := errors.Join(os.Remove(filepath.Join(dir, "verified")), os.Remove(filepath.Join(dir, "fqdn"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s.holds(true)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if got := s.said("warn"); len(got) != 1 || !strings.Contains(got[0], "cannot update the volume") {
			t.Errorf("warned of %q", got)
		}
		if n := s.counts("podfqdn_volume_errors_total"); n < "10" || len(n) != 2 {
			t.Errorf("%s errors in ten minutes", n)
		}
		if code := s.end(); code != exitOK {
			t.Errorf("exit code %d", code)
		}
	})
}

// Nor where an earlier process has written it, and this one has no proof of all of it.
func TestASidecarThatIsStartedAgainTakesNoFamilyBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		const both = "POD_IPS=10.244.1.7,fd00:10:244::7"
		first := start(t, dir, dual, both)
		time.Sleep(time.Second)
		first.holds(true)
		first.end()
		second := start(t, dir, agreed, both)
		time.Sleep(10 * time.Minute)
		second.holds(true)
		if got, _ := os.ReadFile(filepath.Join(dir, "ips")); string(got) != "10.244.1.7\nfd00:10:244::7\n" {
			t.Errorf("ips holds %q", got)
		}
		if got := second.said("warn"); len(got) != 1 || !strings.Contains(got[0], "DNS no longer returns fd00:10:244::7 for the name") {
			t.Errorf("warned of %q", got)
		}
		second.end()
	})
}

func TestWhatCannotBeWithdrawnStandsAndIsTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, t.TempDir(), agreed, "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=0")
		time.Sleep(time.Minute)
		signal := filepath.Join(s.dir, "verified")
		if err := errors.Join(os.Remove(signal), os.Mkdir(signal, 0o755)); err != nil {
			t.Fatal(err)
		}
		s.turns(without)
		time.Sleep(3 * time.Minute)
		s.holds(true)
		if n := s.counts("podfqdn_volume_errors_total"); n == "0" {
			t.Error("nothing was tried")
		}
		if err := os.Remove(signal); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		s.holds(false)
		s.end()
	})
}

// Those for people too, when DNS does not agree.
func TestEveryQuestionIsCounted(t *testing.T) {
	t.Parallel()
	for what, dns := range map[string]answers{"without the Pod": without, "shared": besides, "silent": dead, "in trouble": broken} {
		synctest.Test(t, func(t *testing.T) {
			s := start(t, t.TempDir(), dns)
			time.Sleep(30 * time.Second)
			s.turns(agreed)
			time.Sleep(20 * time.Second)
			s.holds(true) // and rests
			w := httptest.NewRecorder()
			s.p.health.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			var counted int64
			for line := range strings.Lines(w.Body.String()) {
				if _, rest, ok := strings.Cut(line, "podfqdn_dns_questions_total{"); ok {
					_, number, _ := strings.Cut(rest, "} ")
					n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
					if err != nil {
						t.Fatal(err)
					}
					counted += n
				}
			}
			if asked := s.asked.Load(); asked < 20 || counted != asked {
				t.Errorf("%s: %d questions were asked, %d counted", what, asked, counted)
			}
			s.end()
		})
	}
}

// What was found out about one trouble explains no later one.
func TestAHintIsOfItsOwnTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := start(t, t.TempDir(), func(q identity.Question) identity.Answer {
			since := time.Since(begin)
			first, second := since > 10*time.Minute && since < 12*time.Minute, since > 40*time.Minute && since < 42*time.Minute
			switch q.Name.String() {
			case "kubernetes.default.svc.cluster.local":
				return found("10.96.0.1")
			case "db.default.svc.cluster.local":
				if !first {
					return found("10.244.5.5")
				}
			}
			switch {
			case first:
				return denied
			case second && q.Kind == identity.Forward4: // the same verdict in other words
				return agreed(identity.Question{Kind: identity.Exists})
			}
			return agreed(q)
		})
		time.Sleep(time.Hour)
		s.end()
		var hints []string
		for line := range strings.Lines(s.log.String()) {
			var told struct{ Hint string }
			if err := json.Unmarshal([]byte(line), &told); err != nil {
				t.Fatal(err)
			}
			if told.Hint != "" {
				hints = append(hints, told.Hint)
			}
		}
		const empty = "no address"
		if len(hints) != 2 || !strings.Contains(hints[0], empty) || strings.Contains(hints[1], empty) {
			t.Errorf("hints %q", hints)
		}
	})
}
