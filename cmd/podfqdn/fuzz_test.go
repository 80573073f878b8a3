package main

import (
	"strings"
	"testing"
	"time"
)

// FuzzEnvironment: whatever the variables say, podfqdn has settings that keep
// their bounds, or sentences for people.
func FuzzEnvironment(f *testing.F) {
	f.Add("PODFQDN_TIMEOUT=5m\x00PODFQDN_LISTEN=:8080\x00PODFQDN_CONFIRM=2")
	f.Add("PODFQDN_KRB5_PRINCIPALS=HTTP/{fqdn}\x00PODFQDN_KRB5_SOURCE=/keytabs\x00PODFQDN_KRB5_MODE=0640")
	f.Add("PODFQDN_DIRS=/x\x00=x\x00PODFQDN_SERVICE_PORT_\x1b=1\x00KUBERNETES_SERVICE_HOST=10.96.0.1")
	f.Fuzz(func(t *testing.T, text string) {
		c, unknown, err := readConfig(strings.Split(text, "\x00"))
		if err != nil {
			if code := exitCode(err); code != exitRefused {
				t.Errorf("exit code %d: %v", code, err)
			}
			var said strings.Builder
			fail(&said, err)
			if strings.ContainsFunc(strings.TrimSuffix(said.String(), "\n"), unprintable) {
				t.Errorf("%q would reach a terminal", said.String())
			}
			return
		}
		if c.Timeout < 0 || c.Rounds < 1 || c.Rounds > 11 || time.Duration(c.Interval) < minInterval || c.Grace < 0 {
			t.Errorf("takes %+v", c)
		}
		for _, name := range unknown {
			if !strings.HasPrefix(name, prefix) {
				t.Errorf("%q is none of ours, and unknown", name)
			}
		}
	})
}
