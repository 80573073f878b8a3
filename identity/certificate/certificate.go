package certificate

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"sync/atomic"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/source"
)

// variable is the variable that names the source, for errors.
const variable = "PODFQDN_TLS"

// Config is what the variables say of a certificate. Without TLS none is required.
type Config struct {
	TLS source.Path `env:"PODFQDN_TLS" doc:"a TLS certificate that must cover the proven name before the name is published: a directory with tls.crt, tls.key and perhaps ca.crt, as in a Secret, or one file with certificate and key; words in braces as in PODFQDN_KRB5_SOURCE"`
}

// Requirement makes the requirement of a claim, which nothing has proven yet, and
// reads nothing. It is nil without TLS. The source may not lie in published, a
// directory that everybody reads. The error is a *identity.Refusal.
func (c Config) Requirement(claim identity.Claim, published string) (*identity.Requirement, error) {
	if c.TLS.IsZero() {
		return nil, nil
	}
	at, err := c.TLS.Of(source.WordsOf(claim))
	if err != nil {
		if refusal, ok := errors.AsType[*identity.Refusal](err); ok {
			return nil, refusal
		}
		return nil, identity.Refuse(identity.Misconfigured, err, "change "+variable)
	}
	if source.Within(at, published) {
		return nil, identity.Refuse(identity.Misconfigured,
			fmt.Errorf("%s, %+q, lies in %+q, which everybody can read", variable, at, published),
			"mount the certificate and its key somewhere else")
	}
	return (&need{claim: claim, path: at}).requirement(), nil
}

// need is a certificate that the Pod waits for. It is for one goroutine; only expiry
// may be called from another.
type need struct {
	claim   identity.Claim
	path    string
	reading source.Reading[result]
	// torn is the time since which the key does not belong to the certificate; zero while
	// it does.
	torn time.Time
	leaf *x509.Certificate // the last that met the requirement; nil until then
	told string            // the certificate of which remark has warned

	expires atomic.Int64 // of the certificate that was read last, a Unix time; 0 before
}

// result is what came of reading the source: the leaf, if it could be read, and what
// is wrong with it or with the rest.
type result struct {
	leaf *x509.Certificate
	err  error
}

// readAndJudge is for a goroutine of its own: a file system may hang, and a
// mebibyte of names takes more than a moment.
func readAndJudge(path string, claim identity.Claim) result {
	files, err := read(path)
	if err != nil {
		return result{err: err}
	}
	return result{files.leaf, files.judge(claim, time.Now())}
}

// requirement returns what the path asks of a need.
func (n *need) requirement() *identity.Requirement {
	return &identity.Requirement{
		Name: "certificate", Title: "TLS certificate", From: variable, Label: "certificate", Wants: []string{n.path},
		Secret: true, Addition: identity.Addition{Word: "certificate"},
		Require: n.require, Check: func(ctx context.Context, _ identity.Resolver) error { return n.check(ctx) },
		Remark: n.remark, Found: n.found,
		Gauges: []identity.Gauge{{
			Name:  "podfqdn_certificate_expiry_timestamp_seconds",
			Help:  "When the TLS certificate that was read last expires, in seconds since 1970.",
			Value: n.expiry,
		}},
	}
}

// require returns no files for a Pod whose name was proven. The error is a
// *identity.Mismatch with the verdict Uncertified where the certificate is not there
// yet, or not as it has to be; a *identity.Refusal where only another Pod spec can
// help; and otherwise the end of ctx.
func (n *need) require(ctx context.Context, a identity.Agreement, _ identity.Resolver) ([]identity.File, error) {
	if a.Name() != n.claim.Name() {
		return nil, fmt.Errorf("this is the certificate for %s, and %+q was proven", n.claim.Name(), a.Name())
	}
	return nil, n.check(ctx)
}

// again is the pause before a source is read again: a person or the kubelet changes it.
const again = time.Second

// check is require without a proof.
func (n *need) check(ctx context.Context) error {
	err := n.settled(ctx)
	if _, final := errors.AsType[*identity.Refusal](err); err == nil || final || ctx.Err() != nil {
		return err
	}
	return identity.NotYet(identity.Uncertified, fmt.Errorf("%s: %w", n.claim.Name(), err), again)
}

// A certificate and its key that are written one after the other do not belong
// together for a moment: that is not reported before rotation has passed. They are read
// again after each pause, but not up to a deadline, which would only say that time is
// up.
const (
	rotation = 2 * time.Second
	pause    = 100 * time.Millisecond
)

// settled returns what is wrong with the source when no rotation is under way.
func (n *need) settled(ctx context.Context) error {
	for {
		err := n.look(ctx)
		if !errors.As(err, new(torn)) {
			n.torn = time.Time{}
			return err
		}
		if n.torn.IsZero() {
			n.torn = time.Now()
		}
		end, bounded := ctx.Deadline()
		if time.Since(n.torn) >= rotation || bounded && time.Until(end) < 2*pause {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// look reads the source once and judges it.
func (n *need) look(ctx context.Context) error {
	r, err := n.reading.Read(ctx, n.path, func() result { return readAndJudge(n.path, n.claim) })
	if err != nil {
		return err
	}
	if r.leaf != nil {
		n.expires.Store(r.leaf.NotAfter.Unix())
	}
	if r.err == nil {
		n.leaf = r.leaf
	}
	return r.err
}

// remark warns once of a certificate that expires soon: when less than a sixth of its
// lifetime is left, and less than 30 days. Those who renew when a third is left, as
// cert-manager does, are long overdue then.
func (n *need) remark() (message, details string) {
	if n.leaf == nil {
		return "", ""
	}
	left, lifetime := time.Until(n.leaf.NotAfter), n.leaf.NotAfter.Sub(n.leaf.NotBefore)
	if left >= lifetime/6 || left >= 30*24*time.Hour || n.told == n.found() {
		return "", ""
	}
	n.told = n.found()
	return "the certificate expires soon", fmt.Sprintf("%s, in %+q: check whether what renews it works", n.told, n.path)
}

// found describes the last certificate that met the requirement, in a line; "" until
// then.
func (n *need) found() string {
	if n.leaf == nil {
		return ""
	}
	return fmt.Sprintf("serial %s, expires %s", serial(n.leaf.SerialNumber), moment(n.leaf.NotAfter))
}

// serial shows a serial number with the digits of "openssl x509 -serial".
func serial(n *big.Int) string {
	if n.Sign() == 0 {
		return "0x00"
	}
	return fmt.Sprintf("0x%X", n.Bytes())
}

// moment shows a time to people.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// expiry returns when the certificate that was read last expires, as a Unix time.
func (n *need) expiry() (float64, bool) {
	at := n.expires.Load()
	return float64(at), at != 0
}
