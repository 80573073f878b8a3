package podtest

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

// Certificate describes a certificate to issue. The zero value is that of Pod db-0,
// signed by its own ECDSA key, and valid for 90 days from an hour ago.
type Certificate struct {
	Names      []string // among the subject alternative names; nil for db-0's
	CommonName string
	Serial     int64 // 0 for 0x0A1B2C
	NotBefore  time.Time
	NotAfter   time.Time
	CA         bool
	Issuer     *Issued       // nil for itself
	Key        crypto.Signer // nil for a new one
	Padding    int           // bytes of an unknown extension
	Change     func(*x509.Certificate)
}

// Issued is a certificate and its key.
type Issued struct {
	*x509.Certificate
	Key crypto.Signer
}

// Issue issues a certificate. It panics if package x509 refuses it.
func (c Certificate) Issue() *Issued {
	now := time.Now().Truncate(time.Second)
	if c.NotBefore.IsZero() {
		c.NotBefore = now.Add(-time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = c.NotBefore.Add(90 * 24 * time.Hour)
	}
	if c.Names == nil && !c.CA {
		c.Names = []string{"db-0.db.default.svc.cluster.local"}
	}
	if c.Key == nil {
		c.Key = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(cmp.Or(c.Serial, 0x0A1B2C)), Subject: pkix.Name{CommonName: c.CommonName},
		DNSNames: c.Names, NotBefore: c.NotBefore, NotAfter: c.NotAfter, BasicConstraintsValid: true, IsCA: c.CA,
	}
	if c.CA {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	if c.Padding > 0 {
		template.ExtraExtensions = []pkix.Extension{{Id: []int{1, 3, 6, 1, 4, 1, 99999, 1}, Value: make([]byte, c.Padding)}}
	}
	if c.Change != nil {
		c.Change(template)
	}
	issuer := c.Issuer
	if issuer == nil {
		issuer = &Issued{template, c.Key}
	}
	der := must(x509.CreateCertificate(rand.Reader, template, issuer.Certificate, c.Key.Public(), issuer.Key))
	return &Issued{must(x509.ParseCertificate(der)), c.Key}
}

// PEM returns the certificate.
func (i *Issued) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Raw})
}

// KeyPEM returns the key, in PKCS#8.
func (i *Issued) KeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(i.Key))})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
