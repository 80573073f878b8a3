package certificate_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/certificate"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

const db0 = "db-0.db.default.svc.cluster.local"

// claimOf returns the claim of Pod db-0, or of a Pod whose whole name is given.
func claimOf(fqdn string) identity.Claim {
	return podtest.Claim(podtest.DB0.Files("cluster.local", "10.244.0.27"), identity.Given{FQDN: fqdn}, identity.Policy{})
}

// requirement makes the requirement of a Pod.
func requirement(t testing.TB, path string, claim identity.Claim) *identity.Requirement {
	t.Helper()
	var c certificate.Config
	if err := c.TLS.UnmarshalText([]byte(path)); err != nil {
		t.Fatal(err)
	}
	r, err := c.Requirement(claim, "/identity")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// write writes a file, in directories that it makes.
func write(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
	return path
}

// mount mounts a Secret.
func mount(t testing.TB, files map[string][]byte) *podtest.Mount {
	t.Helper()
	m := &podtest.Mount{Dir: t.TempDir()}
	set(t, m, files)
	return m
}

func set(t testing.TB, m *podtest.Mount, files map[string][]byte) {
	t.Helper()
	if err := m.Set(files); err != nil {
		t.Fatal(err)
	}
}

// pair returns a Secret with a certificate and its key, and a CA's if there is one.
func pair(leaf *podtest.Issued, more ...*podtest.Issued) map[string][]byte {
	files := map[string][]byte{"tls.crt": leaf.PEM(), "tls.key": leaf.KeyPEM()}
	for _, ca := range more {
		files["ca.crt"] = append(files["ca.crt"], ca.PEM()...)
	}
	return files
}

// checkRefusal wants a refusal with this sentence.
func checkRefusal(t testing.TB, err error, want string) {
	t.Helper()
	refusal, ok := errors.AsType[*identity.Refusal](err)
	if !ok || refusal.Kind != identity.Misconfigured || err.Error() != want {
		t.Errorf("%T\ngot  %v\nwant %s", err, err, want)
	}
}

// checkNotYet wants "not yet" with this sentence behind the Pod's name; nil for "".
func checkNotYet(t testing.TB, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	mismatch, ok := errors.AsType[*identity.Mismatch](err)
	if !ok || mismatch.Verdict != identity.Uncertified || mismatch.Again() <= 0 || err.Error() != db0+": "+want {
		t.Errorf("%T\ngot  %v\nwant %s", err, err, want)
	}
}
