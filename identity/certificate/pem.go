package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// blocks is what the PEM blocks of a file are (RFC 7468).
type blocks struct {
	certs []*x509.Certificate
	key   crypto.PublicKey // of the first private key; nil without
	blank bool             // there is nothing in the file
	guess string           // what a file without PEM looks like; "" if like nothing known
}

// parse reads the blocks of a file; private keys only if they are asked for. No error
// has anything of the file in it but what a certificate says of itself.
func (b *blocks) parse(data []byte, withKey bool) error {
	rest, n := data, 0
	for {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		// What pem.Decode skips begins with the same words, and is damaged.
		if begun(rest[:len(rest)-len(after)]) > 1 {
			clear(block.Bytes)
			return damaged(n + 1)
		}
		rest = after
		n++
		if err := b.add(block, n, withKey); err != nil {
			return err
		}
	}
	if begun(rest) > 0 {
		return damaged(n + 1)
	}
	if n == 0 {
		b.blank, b.guess = len(bytes.TrimSpace(data)) == 0, guess(data)
	}
	return nil
}

func damaged(n int) error {
	return fmt.Errorf("PEM block %d is damaged or cut off: write the file again, as it was issued", n)
}

// begun counts the lines that begin a block.
func begun(data []byte) (n int) {
	const begin = "-----BEGIN "
	n = bytes.Count(data, []byte("\n"+begin))
	if bytes.HasPrefix(data, []byte(begin)) {
		n++
	}
	return n
}

// add takes the nth block.
func (b *blocks) add(block *pem.Block, n int, withKey bool) error {
	if block.Type == "CERTIFICATE" || block.Type == "X509 CERTIFICATE" { // the second of old OpenSSL
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("PEM block %d is not a certificate that can be read (%s): issue it again", n, plain(err))
		}
		b.certs = append(b.certs, cert)
		return nil
	}
	defer clear(block.Bytes)
	if !withKey || b.key != nil || !strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return nil
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return fmt.Errorf("PEM block %d is an encrypted private key: write it without a passphrase, such as by openssl pkey", n)
	}
	key := parseKey(block.Bytes)
	if key == nil {
		return fmt.Errorf("PEM block %d is not a private key that can be read: it has to be an RSA, ECDSA or Ed25519 key in PKCS#8, PKCS#1 or SEC 1", n)
	}
	b.key = key
	return nil
}

// parseKey returns the public half of a private key, in the forms that package
// crypto/tls takes; nil if it is in none. Their errors are not for people to see.
func parseKey(der []byte) crypto.PublicKey {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return publicOf(key)
	}
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return publicOf(key)
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return publicOf(key)
	}
	return nil
}

// publicOf returns the public half of a private key, and clears what it can of the
// rest; package crypto keeps copies of its own that nobody can reach.
func publicOf(key any) crypto.PublicKey {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		wipe(key.D, key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv)
		wipe(key.Primes...)
		return &rsa.PublicKey{N: key.N, E: key.E}
	case *ecdsa.PrivateKey:
		public := key.PublicKey
		wipe(key.D) //lint:ignore SA1019 nobody uses it any more
		return &public
	case ed25519.PrivateKey:
		public := slices.Clone(key[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
		clear(key)
		return ed25519.PublicKey(public)
	}
	return nil // such as one for X25519, which cannot sign
}

// wipe overwrites numbers.
func wipe(numbers ...*big.Int) {
	for _, n := range numbers {
		if n != nil {
			clear(n.Bits())
		}
	}
}

// plain is an error of package x509 without what it quotes.
func plain(err error) string {
	text, _, _ := strings.Cut(err.Error(), `"`)
	return strings.TrimRight(strings.TrimPrefix(text, "x509: "), ": ")
}

// none returns the error that a file has no such thing, with what it looks like
// instead.
func (b *blocks) none(at, thing string) error {
	switch {
	case b.blank:
		return fmt.Errorf("%+q is empty: it must have a PEM %s", at, thing)
	case b.guess != "":
		return fmt.Errorf("%+q has no PEM %s, but looks like %s", at, thing, b.guess)
	}
	return fmt.Errorf("%+q has no PEM %s in it: write one, which begins with -----BEGIN", at, thing)
}

// guess says what a file without PEM blocks looks like, from its first bytes; "" if
// like nothing known.
func guess(data []byte) string {
	begins := func(text string) bool { return bytes.HasPrefix(data, []byte(text)) }
	switch {
	case begins("LS0tLS1CRUdJTi"): // -----BEGIN
		return "PEM in base64: a Secret's data has it once, its stringData not at all"
	case begins("\x30\x82"), begins("\x30\x81"), begins("\x30\x83"):
		return "DER or PKCS#12: convert it to PEM, such as by openssl"
	case begins("\xfe\xed\xfe\xed"):
		return "a Java keystore: convert it to PEM"
	case bytes.Contains(data, []byte("-----BEGIN ")):
		return "PEM with something in front of -----BEGIN on its line, such as blanks or a byte order mark: remove it"
	}
	return ""
}

// bundle takes what one file has, in whatever order. Its leaf is the certificate that
// the key is that of, else the first that is not a CA's.
func (b *blocks) bundle(at string) (*files, error) {
	switch {
	case len(b.certs) == 0:
		return nil, b.none(at, "certificate")
	case b.key == nil:
		return nil, fmt.Errorf("%+q has no PEM private key: add it, or name the directory that has %s and %s", at, fileCert, fileKey)
	}
	i := slices.IndexFunc(b.certs, func(c *x509.Certificate) bool { return same(c.PublicKey, b.key) })
	if i < 0 {
		i = max(0, slices.IndexFunc(b.certs, func(c *x509.Certificate) bool { return !c.IsCA }))
	}
	return &files{
		certAt: at, keyAt: at, leaf: b.certs[i], chain: slices.Delete(slices.Clone(b.certs), i, i+1), key: b.key, bundle: true,
	}, nil
}

// same reports whether two public keys are.
func same(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
