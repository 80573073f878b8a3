//go:build faults

package faults

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/integration/programs"
)

// The wall clock of a node is set by an hour, forth and back: nothing is decided by it. See the command clock, which knows
// the registers of one architecture.
func TestTheWallClockJumps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clock := filepath.Join(dir, "clock")
	if err := programs.Own(dir, "./clock"); err != nil {
		t.Fatal(err)
	}
	for _, hour := range []string{"1h", "-1h"} {
		// wrong is podfqdn whose clock is wrong from the start, or from SIGUSR1 on.
		wrong := func(command string) *exec.Cmd { return exec.Command(clock, hour, "0", podfqdn, command) }
		jumping := func(command string) *exec.Cmd { return exec.Command(clock, "0", hour, podfqdn, command) }
		by, err := time.ParseDuration(hour)
		if err != nil {
			t.Fatal(err)
		}
		// shows sees that the clock was wrong by the times in the log: some of them, or all.
		shows := func(t *testing.T, e end, all bool) {
			t.Helper()
			off, lines := 0, 0
			for line := range strings.Lines(e.log) {
				_, ts, _ := strings.Cut(line, `"ts":"`)
				ts, _, _ = strings.Cut(ts, `"`)
				at, err := time.Parse(time.RFC3339Nano, ts)
				if err != nil {
					t.Fatal(err)
				}
				lines++
				if d := time.Until(at) - by; d.Abs() < 10*time.Minute {
					off++
				}
			}
			if off == 0 || all && off < lines {
				t.Errorf("in %d of %d lines the time is wrong:\n%s", off, lines, e.log)
			}
		}
		cases := map[string]func(t *testing.T, l *life){
			"wrong from the start": func(t *testing.T, l *life) {
				l.cluster.Publish(ours())
				e := l.start(wrong("init")).wait()
				l.check(e)
				if shows(t, e, true); e.code != 0 {
					t.Errorf("exit code %d: %s", e.code, e.reason)
				}
			},
			"as it waits, and DNS comes to agree": func(t *testing.T, l *life) {
				r := l.start(jumping("init"))
				r.says("not yet")
				r.signal(syscall.SIGUSR1)
				l.when("existence", 6, func() { l.cluster.Publish(ours()) })()
				late := time.Now()
				e := r.wait()
				l.check(e)
				if shows(t, e, false); e.code != 0 || time.Since(late) > 10*time.Second {
					t.Errorf("exit code %d %s after DNS had agreed: %s", e.code, time.Since(late), e.reason)
				}
			},
			"as it waits, to its deadline": func(t *testing.T, l *life) {
				l.timeout = 3 * time.Second
				r := l.start(jumping("init"))
				r.says("not yet")
				r.signal(syscall.SIGUSR1)
				e := r.wait()
				l.check(e)
				if shows(t, e, false); e.code != 11 || e.took < l.timeout || !strings.HasPrefix(e.reason, "gave up after 3s: "+db0+": ") {
					t.Errorf("exit code %d after %s: %s", e.code, e.took, e.reason)
				}
			},
			"as it waits for keys": func(t *testing.T, l *life) {
				l.kerberos(http1)
				l.cluster.Publish(ours())
				r := l.start(jumping("init"))
				r.says("has no key for")
				r.signal(syscall.SIGUSR1)
				l.source(http1, http0)
				e := r.wait()
				l.check(e)
				if shows(t, e, false); e.code != 0 {
					t.Errorf("exit code %d: %s", e.code, e.reason)
				}
				l.hasKeys(http0)
			},
			"between two runs": func(t *testing.T, l *life) {
				l.kerberos(http0, http1)
				l.cluster.Publish(ours())
				if e := l.init(); e.code != 0 {
					t.Errorf("exit code %d: %s", e.code, e.reason)
				}
				before := listing(t, l.dir(), l.keys)
				e := l.start(wrong("init")).wait()
				l.check(e)
				if after := listing(t, l.dir(), l.keys); e.code != 0 || after != before {
					t.Errorf("exit code %d; the volumes held\n%sand hold\n%s", e.code, before, after)
				}
				shows(t, e, true)
			},
			"since another Pod left its files": func(t *testing.T, l *life) {
				l.cluster.Publish(ours())
				at := time.Now().Add(by)
				err := filepath.WalkDir(l.root, func(path string, entry fs.DirEntry, err error) error {
					if err == nil && entry.Type() != fs.ModeSymlink {
						err = os.Chtimes(path, at, at)
					}
					return err
				})
				l.do(errors.Join(err, os.Mkdir(filepath.Join(l.dir(), "..gen-LEFT"), 0o755), os.Chtimes(filepath.Join(l.dir(), "..gen-LEFT"), at, at)))
				e := l.init()
				l.secrets(e)
				if _, err := os.Stat(filepath.Join(l.dir(), "..gen-LEFT")); e.code != 0 || err == nil {
					t.Errorf("exit code %d, and what was left is there: %t", e.code, err == nil)
				}
			},
			"while a sidecar looks on": func(t *testing.T, l *life) {
				l.cluster.Publish(ours())
				r := l.start(jumping("sidecar"), "PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=1m", "PODFQDN_INTERVAL=5s", "PODFQDN_CONFIRM=0")
				r.says(`"msg":"published"`)
				r.signal(syscall.SIGUSR1)
				// DNS errs for less than GRACE.
				l.cluster.Withdraw(ours())
				r.says("DNS no longer agrees")
				l.cluster.Publish(ours())
				r.says("agree again")
				if !l.stands() {
					t.Error("it has withdrawn")
				}
				r.signal(syscall.SIGTERM)
				e := r.wait()
				l.check(e)
				if shows(t, e, false); e.code != 0 {
					t.Errorf("exit code %d: %s", e.code, e.reason)
				}
			},
			"while DNS knows the Pod no more": func(t *testing.T, l *life) {
				l.cluster.Publish(ours())
				l.timeout = time.Minute
				r := l.start(jumping("sidecar"), withdrawing...)
				l.withdraws(r, func() { r.signal(syscall.SIGUSR1) })
				r.signal(syscall.SIGTERM)
				e := r.wait()
				l.check(e)
				if shows(t, e, false); e.code != 0 {
					t.Errorf("exit code %d: %s", e.code, e.reason)
				}
			},
		}
		for name, run := range cases {
			t.Run(name+", "+hour, func(t *testing.T) {
				t.Parallel()
				l := newLife(t, "life")
				reader := l.reader()
				run(t, l)
				reader()
				l.again()
			})
		}
	}
}
