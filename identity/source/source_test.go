package source_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/identity/source"
)

// claimOf returns the claim of Pod db-0, or of a Pod whose whole name is given.
func claimOf(fqdn string) identity.Claim {
	return podtest.Claim(podtest.DB0.Files("cluster.local", "10.244.0.27"), identity.Given{FQDN: fqdn}, identity.Policy{})
}

func TestAPathIsAbsoluteAndItsWordsAreThoseOfThePod(t *testing.T) {
	for text, want := range map[string]string{
		"/tls":                         "/tls",
		"/{namespace}/{service}":       "/default/db",
		"/{hostname}.{ordinal}/{fqdn}": "/db-0.0/db-0.db.default.svc.cluster.local",
		"/{HOSTNAME}":                  "/DB-0",
		`/a\{b`:                        `/a\{b`,
		"/{fqdn":                       `"/{fqdn" has a { without }: the words are {fqdn}, {hostname}, {HOSTNAME}, {service}, {namespace} and {ordinal}`,
		"/fqdn}":                       `"/fqdn}" has a } without {: the words are {fqdn}, {hostname}, {HOSTNAME}, {service}, {namespace} and {ordinal}`,
		"/{\x1b}":                      `"/{\x1b}" has an unknown word, {\x1b}: the words are {fqdn}, {hostname}, {HOSTNAME}, {service}, {namespace} and {ordinal}`,
		"tls":                          "must be an absolute path",
		"{fqdn}/tls":                   "must be an absolute path",
		"/tls\x00":                     "must be an absolute path",
	} {
		var path source.Path
		got, err := "", path.UnmarshalText([]byte(text))
		if err == nil {
			got, err = path.Of(source.WordsOf(claimOf("")))
		}
		if err != nil {
			got = err.Error()
		}
		if got != want || path.IsZero() != (err != nil) {
			t.Errorf("%q:\ngot  %s\nwant %s", text, got, want)
		}
	}
	var none source.Path
	if err := none.UnmarshalText(nil); err != nil || !none.IsZero() {
		t.Errorf("%v, %v", none, err)
	}
}

func TestAWordThatStandsForNothingIsRefused(t *testing.T) {
	words := source.WordsOf(claimOf("kdc1.example.org"))
	for text, want := range map[string]string{
		"{service}": `{service} in "{service}" has no value, because kdc1.example.org is not a name of the form HOSTNAME.SERVICE.NAMESPACE.svc.CLUSTERDOMAIN: write it out, or use {fqdn} or {hostname}`,
	} {
		_, err := words.Expand(text)
		if refusal, ok := errors.AsType[*identity.Refusal](err); !ok || refusal.Kind != identity.Misconfigured || err.Error() != want {
			t.Errorf("%q:\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestOneReadThatHangsIsWaitedForAndNoOtherIsStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r source.Reading[int]
		started := 0
		read := func() int {
			started++
			time.Sleep(12 * time.Second)
			return started
		}
		for _, want := range []string{"5s", "5s"} {
			if _, err := r.Read(t.Context(), "/k", read); err == nil || err.Error() != `"/k" could not be read within `+want+`: check whether its file system hangs` {
				t.Error(err)
			}
		}
		soon, stop := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer stop()
		if _, err := r.Read(soon, "/k", read); err == nil || err.Error() != `"/k" could not be read within 1.4s: check whether its file system hangs` {
			t.Error(err)
		}
		<-soon.Done()
		if _, err := r.Read(soon, "/k", read); err != context.DeadlineExceeded {
			t.Error(err)
		}
		if found, err := r.Read(t.Context(), "/k", read); err != nil || found != 1 {
			t.Errorf("%d, %v", found, err)
		}
		time.Sleep(time.Minute)
		if found, err := r.Read(t.Context(), "/k", func() int { return 7 }); err != nil || found != 7 {
			t.Errorf("%d, %v", found, err)
		}
	})
}
