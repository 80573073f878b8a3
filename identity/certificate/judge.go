package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podfqdn/podfqdn/identity"
)

// torn says that the key does not belong to the certificate, as in the middle of a
// rotation.
type torn struct{ error }

// judge returns why a server at the claim's name cannot use these files now: the first
// thing that is wrong, in the order in which a person would mend it. It is a torn if
// the key does not belong to the leaf.
func (f *files) judge(claim identity.Claim, now time.Time) error {
	if err := f.paired(); err != nil {
		return torn{err}
	}
	if err := f.covers(claim); err != nil {
		return err
	}
	if err := f.valid(now); err != nil {
		return err
	}
	return f.chains(now)
}

// paired returns an error if the key does not belong to the leaf.
func (f *files) paired() error {
	if same(f.leaf.PublicKey, f.key) {
		return nil
	}
	if f.bundle {
		return fmt.Errorf("the private key in %+q does not belong to a certificate in it: write there what was issued together", f.keyAt)
	}
	if i := slices.IndexFunc(f.chain, func(c *x509.Certificate) bool { return same(c.PublicKey, f.key) }); i >= 0 {
		return fmt.Errorf("the private key in %+q belongs to certificate %d in %+q, but servers use the first: move it to the beginning of the file", f.keyAt, i+2, f.certAt)
	}
	kinds := ""
	if a, b := kindOf(f.key), kindOf(f.leaf.PublicKey); a != b {
		kinds = fmt.Sprintf(" (%s, and the certificate is for %s)", a, b)
	}
	return fmt.Errorf("the private key in %+q does not belong to the certificate in %+q%s: write there what was issued together", f.keyAt, f.certAt, kinds)
}

// kindOf names the kind of a public key.
func kindOf(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA of %d bits", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA on " + key.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "another kind of key"
}

// covers returns an error with the nearest of the leaf's DNS names if none covers the
// claim's name.
func (f *files) covers(claim identity.Claim) error {
	name := claim.Name().String()
	if f.leaf.VerifyHostname(name) == nil {
		return nil
	}
	_, parent, _ := strings.Cut(name, ".")
	return fmt.Errorf("the certificate in %+q %s: add %s or *.%s to its DNS names", f.certAt, miss(f.leaf, name, claim.Zone().String()), name, parent)
}

// valid returns an error if the leaf is not valid now. The sentence leaves out the
// present time, so that it stays the same.
func (f *files) valid(now time.Time) error {
	switch {
	case now.Before(f.leaf.NotBefore):
		return fmt.Errorf("the certificate in %+q is not valid before %s: if that is past already, the clock of this node is slow", f.certAt, moment(f.leaf.NotBefore))
	case now.After(f.leaf.NotAfter):
		return fmt.Errorf("the certificate in %+q expired at %s: renew it; if that is still to come, the clock of this node is fast", f.certAt, moment(f.leaf.NotAfter))
	}
	return nil
}

// chains returns why the leaf does not chain to one of the roots; nil without roots.
func (f *files) chains(now time.Time) error {
	if len(f.roots) == 0 {
		return nil
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range f.roots {
		roots.AddCert(c)
	}
	for _, c := range f.chain {
		between.AddCert(c)
	}
	_, err := f.leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err == nil {
		return nil
	}
	return fmt.Errorf("the certificate in %+q does not chain to %s: %s", f.certAt, fileCA, f.gap(now, err))
}

// gap says where the chain from the leaf to a root ends, and what to change. err is
// package x509's error, for a reason that gap does not know.
func (f *files) gap(now time.Time, err error) string {
	var have []string
	for _, c := range f.roots {
		have = append(have, person(c.Subject))
	}
	who := func(c *x509.Certificate) string {
		if c == f.leaf {
			return "it"
		}
		return person(c.Subject)
	}
	at, seen := f.leaf, []*x509.Certificate{f.leaf}
	for {
		issuers := slices.DeleteFunc(slices.Concat(f.roots, f.chain), func(c *x509.Certificate) bool {
			return !bytes.Equal(c.RawSubject, at.RawIssuer)
		})
		if len(issuers) == 0 {
			return fmt.Sprintf("%s was issued by %s, which is neither in %s (%s) nor in the chain: add it",
				who(at), person(at.Issuer), fileCA, identity.List(have))
		}
		signed := slices.DeleteFunc(slices.Clone(issuers), func(c *x509.Certificate) bool { return at.CheckSignatureFrom(c) != nil })
		if len(signed) == 0 {
			return fmt.Sprintf("%s was not signed by the key of %s that is there: issue it again, or add the CA that signed it", who(at), person(at.Issuer))
		}
		next := signed[0]
		switch {
		case now.After(next.NotAfter):
			return fmt.Sprintf("%s, which issued %s, expired at %s: renew it", person(next.Subject), who(at), moment(next.NotAfter))
		case now.Before(next.NotBefore):
			return fmt.Sprintf("%s, which issued %s, is not valid before %s: wait, or issue it again", person(next.Subject), who(at), moment(next.NotBefore))
		}
		switch {
		case slices.ContainsFunc(f.roots, next.Equal):
			return reason(err)
		case slices.ContainsFunc(seen, next.Equal):
			return fmt.Sprintf("%s, at the end of its chain, is not in %s (%s): add it", person(next.Subject), fileCA, identity.List(have))
		}
		at, seen = next, append(seen, next)
	}
}

// reason is what package x509 says of a chain, in a word.
func reason(err error) string {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok {
		return plain(err)
	}
	switch invalid.Reason {
	case x509.NotAuthorizedToSign:
		return person(invalid.Cert.Subject) + " is not a CA certificate: issue it as one"
	case x509.TooManyIntermediates:
		return "a CA on the way allows fewer between itself and the certificate (pathlen): issue it again"
	case x509.CANotAuthorizedForThisName, x509.UnconstrainedName, x509.NameConstraintsWithoutSANs, x509.NameMismatch:
		return "a CA on the way may not issue for this name (its name constraints): issue it again"
	}
	return plain(err)
}

// person shows to whom a certificate was issued.
func person(n pkix.Name) string {
	const most = 120
	quoted := fmt.Sprintf("%+q", n.String())
	if len(quoted) > most {
		quoted = quoted[:most] + `..."`
	}
	return quoted
}
