package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// startRendering starts a sidecar with Kerberos that renders a file, over directories
// that hold what an earlier one left.
func startRendering(t *testing.T, dns answers, dir string, environ ...string) *kerberized {
	t.Helper()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	if err := os.Mkdir(dst, 0o755); err == nil {
		put(t, filepath.Join(src, "server.conf"), []byte("$(POD_FQDN) $(KRB5_KTNAME)\n"))
	}
	return startKerberized(t, dns, dir, append([]string{"PODFQDN_RENDER=" + src + ":" + dst}, environ...)...)
}

// shows sees what is rendered into a directory next to that of the identity; "" is
// nothing.
func (k *kerberized) shows(want string) {
	k.Helper()
	synctest.Wait()
	got, err := os.ReadFile(filepath.Join(filepath.Dir(k.dir), "dst", "server.conf"))
	if string(got) != want || want != "" && err != nil || want == "" && !errors.Is(err, os.ErrNotExist) {
		k.Errorf("%q is rendered, not %q: %v", got, want, err)
	}
}

func TestASidecarRendersOnceBeforeTheNameAndAfterTheKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := startRendering(t, agreed, dir)
		want := "db-0.db.default.svc.cluster.local " + first.keys + "/keytab\n"
		time.Sleep(10 * time.Second)
		first.holds(false)
		first.shows("")
		first.has(http0)
		time.Sleep(5 * time.Second)
		first.holds(true)
		first.shows(want)
		if info := strings.Join(first.said("info"), "\n"); !strings.Contains(info, "keys published: \nrendered files published: \npublished") {
			t.Errorf("said %s", info)
		}

		// The server has read it: a new version of the source changes nothing.
		source := filepath.Join(dir, "src", "server.conf")
		put(t, source, []byte("another\n"))
		time.Sleep(5 * time.Minute)
		first.holds(true)
		first.shows(want)
		first.end()

		// Nor does a source that cannot be rendered any more stop a sidecar that is
		// started again.
		put(t, source, []byte("$(POD_FQDN+1)\n"))
		second := startRendering(t, dead, dir)
		time.Sleep(2 * time.Second)
		second.holds(true)
		second.shows(want)
		second.turns(agreed)
		time.Sleep(5 * time.Minute)
		second.holds(true)
		second.shows(want)
		if warnings := strings.Join(second.said("warn"), "\n"); strings.Contains(warnings, "rendered") {
			t.Errorf("warned of %s", warnings)
		}
		second.end()
	})
}

func TestWhatWasRenderedGoesWithTheName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := startRendering(t, agreed, dir, "POD_UID=one")
		first.has(http0)
		time.Sleep(5 * time.Second)
		first.holds(true)
		first.end()
		second := startRendering(t, dead, dir, "POD_UID=another")
		time.Sleep(2 * time.Second)
		second.holds(false)
		second.shows("")
		second.end()
	})
}

func TestANameDoesNotStandWithoutWhatWasRendered(t *testing.T) {
	t.Parallel()
	for what, spoil := range map[string]func(dst string) error{
		"nothing is there": func(dst string) error { return os.Remove(filepath.Join(dst, "..data")) },
		"it is torn":       func(dst string) error { return os.Remove(filepath.Join(dst, "..data", "..rendered")) },
		"it is another's": func(dst string) error {
			return os.WriteFile(filepath.Join(dst, "..data", "..rendered"), []byte("POD_FQDN='web-0.web.default.svc.cluster.local'\n"), 0o644)
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				first := startRendering(t, agreed, dir)
				first.has(http0)
				time.Sleep(5 * time.Second)
				first.end()
				if err := spoil(filepath.Join(dir, "dst")); err != nil {
					t.Fatal(err)
				}
				second := startRendering(t, dead, dir)
				time.Sleep(5 * time.Second)
				second.holds(false)
				second.shows("")
				second.turns(agreed)
				time.Sleep(2 * time.Minute)
				second.holds(true)
				second.shows("db-0.db.default.svc.cluster.local " + second.keys + "/keytab\n")
				second.end()
			})
		})
	}
}

func TestWhatIsLostWhileTheNameIsWithdrawnIsRenderedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		k := startRendering(t, agreed, dir, "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=0")
		k.has(http0)
		time.Sleep(time.Minute)
		k.holds(true)
		k.turns(without)
		time.Sleep(5 * time.Minute)
		k.holds(false)
		if err := os.Remove(filepath.Join(dir, "dst", "..data")); err != nil {
			t.Fatal(err)
		}
		k.turns(agreed)
		time.Sleep(5 * time.Minute)
		k.holds(true)
		k.shows("db-0.db.default.svc.cluster.local " + k.keys + "/keytab\n")
		k.end()
	})
}
