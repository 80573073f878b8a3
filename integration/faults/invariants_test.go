//go:build faults

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// recorder is a test that notes what it is told.
type recorder struct {
	testing.TB
	told []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.told = append(r.told, fmt.Sprintf(format, args...))
}
func (r *recorder) Failed() bool { return false }

// A check that cannot fail is none.
func TestTheInvariantsAreSeenToBreak(t *testing.T) {
	t.Parallel()
	now := time.Now()
	publish := func(p *pod, fqdn, ips string) {
		addr := strings.TrimSpace(ips)
		p.write("identity/..gen-new/identity.json", `{"fqdn": "`+fqdn+`", "ip": "`+addr+`", "ips": ["`+addr+`"]}`)
		env := "POD_FQDN='" + fqdn + "'\nPOD_IP='" + addr + "'\nPOD_IPS='" + addr + "'\n"
		for name, text := range map[string]string{"fqdn": fqdn, "ip": addr, "ips": ips, "identity.env": env, "verified": ""} {
			p.write("identity/..gen-new/"+name, text)
			_ = os.Symlink("..data/"+name, filepath.Join(p.dir(), name))
		}
		_ = os.Remove(filepath.Join(p.dir(), "..data"))
		if err := os.Symlink("..gen-new", filepath.Join(p.dir(), "..data")); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		happens func(*pod, *end)
		want    string // "" if nothing is wrong
	}{
		"nothing":                    {func(*pod, *end) {}, ""},
		"another name":               {func(p *pod, _ *end) { publish(p, "db-1.db.default.svc.cluster.local", ip+"\n") }, `I1: published "db-1.`},
		"another address":            {func(p *pod, _ *end) { publish(p, db0, foreign+"\n") }, `I1: published "db-0.`},
		"published, and it failed":   {func(_ *pod, e *end) { e.code = 11 }, "I1: exit code 11, published true"},
		"nothing published":          {func(p *pod, _ *end) { os.Remove(filepath.Join(p.dir(), "verified")) }, "I1: exit code 0, published false"},
		"A never said so":            {func(p *pod, _ *end) { delete(p.truth.agreed, dns.TypeA) }, "I1: published at"},
		"PTR said so a while ago":    {func(p *pod, _ *end) { p.truth.agreed[dns.TypePTR] = now.Add(-time.Minute) }, "I1: published at"},
		"half a generation":          {func(p *pod, _ *end) { os.Remove(filepath.Join(p.dir(), "..gen-new", "ips")) }, "I2: "},
		"a mix":                      {func(p *pod, _ *end) { p.write("identity/..gen-new/ip", foreign) }, "I2: "},
		"leftovers at the question":  {func(p *pod, _ *end) { p.truth.asked = false; p.question(db0 + ".") }, "I3: "},
		"too late":                   {func(_ *pod, e *end) { e.took = 3 * time.Second }, "I4: "},
		"a panic":                    {func(_ *pod, e *end) { e.code = 2 }, "it panicked"},
		"an escape in the log":       {func(_ *pod, e *end) { e.log = "\x1b[31m\n" }, "I5: "},
		"an escape in the reason":    {func(_ *pod, e *end) { e.reason = "a\x07" }, "I5: "},
		"the token in the log":       {func(_ *pod, e *end) { e.log = "x" + token + "\n" }, "I5: "},
		"another alphabet in a line": {func(_ *pod, e *end) { e.log = "\u00e9\n" }, "I5: "},
	} {
		t.Run(name, func(t *testing.T) {
			p := lay(t)
			publish(p, db0, ip+"\n")
			p.truth = truth{asked: true, agreed: map[uint16]time.Time{dns.TypeA: now, dns.TypePTR: now}}
			e := end{took: time.Second / 2}
			r := &recorder{TB: t}
			p.TB = r
			c.happens(p, &e)
			if err := whole(p.dir()); err != nil {
				p.Errorf("I2: %v", err)
			}
			p.invariants(e)
			told := strings.Join(r.told, "\n")
			if (told == "") != (c.want == "") || !strings.Contains(told, c.want) {
				t.Errorf("told %q, not %q", told, c.want)
			}
		})
	}
}
