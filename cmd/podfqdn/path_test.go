package main

import (
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// readyz gives what /readyz says.
func (s *sidecar) readyz() string {
	s.Helper()
	synctest.Wait()
	w := httptest.NewRecorder()
	s.p.health.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	return strings.TrimSpace(w.Body.String())
}

func TestAMistakeInTheVariablesLeavesTheVolumeAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := start(t, dir, agreed)
		time.Sleep(time.Second)
		first.holds(true)
		first.end()
		// What the variables say of another name is a mistake with WITHDRAW.
		root := t.TempDir()
		put(t, filepath.Join(root, "etc/resolv.conf"), []byte("nameserver 10.96.0.10\n"))
		second := path{stderr: io.Discard, dns: first.p.dns}
		err := second.run(t.Context(), "sidecar", nil, []string{
			"PODFQDN_ROOT=" + root, "PODFQDN_DIR=" + dir, "POD_IPS=10.244.1.7", "PODFQDN_FQDN=db-0.example.org", "PODFQDN_WITHDRAW=true"})
		if exitCode(err) != exitRefused || !strings.Contains(err.Error(), "PODFQDN_CLUSTER_DOMAIN") {
			t.Errorf("ended with %v", err)
		}
		if _, verified, err := volume.Read(dir); !verified || err != nil {
			t.Errorf("what was published does not stand any more: %v", err)
		}
	})
}

func TestNotReadyForTheVolumesSakeIsSaidSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := start(t, dir, agreed, "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=1m")
		time.Sleep(time.Second)
		s.turns(without)
		time.Sleep(5 * time.Minute)
		s.holds(false)
		if err := os.Mkdir(filepath.Join(dir, "verified"), 0o755); err != nil {
			t.Fatal(err)
		}
		s.turns(agreed)
		time.Sleep(2 * time.Minute)
		if got := s.readyz(); !strings.Contains(got, "only a symlink by podfqdn") {
			t.Errorf("/readyz says %q", got)
		}
		if err := os.Remove(filepath.Join(dir, "verified")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		s.holds(true)
		s.end()
	})
}

// What others remove comes back, also while DNS has lost a family.
func TestWhatIsPublishedIsSeenToWhileAFamilyIsMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, t.TempDir(), dual, "POD_IPS=10.244.1.7,fd00:10:244::7")
		time.Sleep(time.Second)
		s.holds(true)
		s.turns(agreed)
		time.Sleep(2 * time.Minute)
		if err := errors.Join(os.Remove(filepath.Join(s.dir, "verified")), os.Remove(filepath.Join(s.dir, "ips"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		s.holds(true)
		if got, _ := os.ReadFile(filepath.Join(s.dir, "ips")); string(got) != "10.244.1.7\nfd00:10:244::7\n" {
			t.Errorf("ips holds %q", got)
		}
		s.end()
	})
}

func TestADisagreementThatComesAndGoesDoesNotFloodTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		flaps := time.Now()
		s := start(t, t.TempDir(), func(q identity.Question) identity.Answer {
			if time.Since(flaps)%(2*time.Minute) > time.Minute {
				return without(q)
			}
			return agreed(q)
		})
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := strings.Count(s.log.String(), "\n"); n > 100 {
			t.Errorf("%d lines in a day", n)
		}
		s.end()
	})
}

func TestWhatWasWithdrawnIsNotSaidToStand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, t.TempDir(), agreed, "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=1m")
		time.Sleep(time.Second)
		s.turns(without)
		time.Sleep(5 * time.Minute)
		s.holds(false)
		s.turns(elsewhere)
		time.Sleep(2 * time.Minute)
		said := s.said("warn")
		if i := slices.IndexFunc(said, func(line string) bool { return strings.HasPrefix(line, "withdrawn") }); i < 0 || len(said) < i+2 || strings.Contains(said[i+1], "stays") {
			t.Errorf("said %q", said)
		}
		s.end()
	})
}
