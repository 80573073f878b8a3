package certificate_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/identity/certificate"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// run is how much of a key a text may not show.
const run = 16

// checkSilent wants no run of what is in a key file in a text: not of its own bytes,
// nor of what its blocks hold, in base64, hex or as it is.
func checkSilent(t testing.TB, text string, file []byte) {
	t.Helper()
	spellings := []string{string(file)}
	for rest := file; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			continue // which is public
		}
		for shift := range 3 {
			spellings = append(spellings, base64.StdEncoding.EncodeToString(block.Bytes[min(shift, len(block.Bytes)):]))
		}
		spellings = append(spellings, string(block.Bytes), hex.EncodeToString(block.Bytes), strings.ToUpper(hex.EncodeToString(block.Bytes)), new(big.Int).SetBytes(block.Bytes).String())
	}
	for i := 0; i+run <= len(text); i++ {
		if piece := text[i : i+run]; !strings.ContainsAny(piece, " ") && slices.ContainsFunc(spellings, func(s string) bool { return strings.Contains(s, piece) }) {
			t.Fatalf("%q has %q of the file", text, piece)
		}
	}
}

// keyFiles returns a key of every kind and form, and such as cannot be read.
func keyFiles() (all [][]byte) {
	small := must(rsa.GenerateKey(rand.Reader, 2048))
	curve := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	for _, key := range []any{small, curve, edwards} {
		all = append(all, block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)), nil))
	}
	return append(all,
		block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small), nil),
		block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(curve)), nil),
		block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small), map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}),
		block("CERTIFICATE", must(x509.MarshalPKCS8PrivateKey(small)), nil),
		block("ENCRYPTED PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(curve)), nil))
}

// Whatever becomes of a key's file, what is said of it has nothing of it.
func TestNoErrorHasAnythingOfAKey(t *testing.T) {
	claim := claimOf("")
	leaf := podtest.Certificate{}.Issue()
	said := map[string]bool{}
	for _, key := range keyFiles() {
		check := func(file []byte) {
			err := certificate.Check(claim, slices.Concat(leaf.PEM(), file), nil)
			if err != nil {
				said[regexp.MustCompile(`\d+`).ReplaceAllString(err.Error(), "N")] = true
				checkSilent(t, err.Error(), file)
			}
		}
		for i := 0; i < min(len(key), 400); i += 1 + i/40*12 { // behind the first line not every byte
			for _, c := range []byte{key[i] ^ 1, '\n', '"', 0, '-'} {
				changed := bytes.Clone(key)
				changed[i] = c
				check(changed)
			}
			check(key[:i])
			check(key[i:])
			check(slices.Concat([]byte("-----BEGIN "), key[i:]))
		}
		check(bytes.ReplaceAll(key, []byte("\n"), nil))
		check(bytes.ReplaceAll(key, []byte("KEY-----\n"), []byte("KEY ")))
	}
	if len(said) < 5 {
		t.Errorf("only %v", said)
	}
}

// printers are of what a path, a log or a debugger may print.
func TestNothingThatIsKeptHasAPrivateKey(t *testing.T) {
	for _, key := range keyFiles()[:5] {
		signer := must(tlsKey(key))
		leaf := podtest.Certificate{Key: signer}.Issue()
		m := mount(t, map[string][]byte{"tls.crt": leaf.PEM(), "tls.key": key})
		found, err := certificate.Read(m.Dir)
		if err != nil {
			t.Fatal(err)
		}
		r := requirement(t, m.Dir, claimOf(""))
		if err := r.Check(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		secrets := numbers(signer)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			text := fmt.Sprintf(verb, found) + fmt.Sprintf(verb, r) + r.Found()
			for _, secret := range secrets {
				if strings.Contains(text, secret) {
					t.Errorf("%s shows %.20s... of a key", verb, secret)
				}
			}
		}
	}
}

// numbers returns what is secret of a key, as printers would show it.
func numbers(key any) (all []string) {
	var secret []*big.Int
	switch key := key.(type) {
	case *rsa.PrivateKey:
		secret = append(slices.Clone(key.Primes), key.D)
	case *ecdsa.PrivateKey:
		secret = append(secret, new(big.Int).SetBytes(must(key.Bytes())))
	case ed25519.PrivateKey:
		secret = append(secret, new(big.Int).SetBytes(key.Seed()))
		all = append(all, strings.Trim(fmt.Sprint([]byte(key.Seed())), "[]"))
	}
	for _, n := range secret {
		all = append(all, n.String(), n.Text(16))
	}
	return all
}

type signer = crypto.Signer

func tlsKey(file []byte) (signer, error) {
	block, _ := pem.Decode(file)
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		return key.(signer), nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	return x509.ParseECPrivateKey(block.Bytes)
}

// Each has seeds in testdata/fuzz in addition to those that it adds.
func TestEveryFuzzTargetHasSeeds(t *testing.T) {
	for _, target := range []string{"FuzzKey", "FuzzCertificate"} {
		seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
		if err != nil || len(seeds) == 0 {
			t.Errorf("%s has no seeds: %v", target, err)
		}
	}
}

func checkPrintable(t testing.TB, err error) {
	t.Helper()
	if text := err.Error(); text == "" || len(text) > 4000 || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
		t.Errorf("%q would reach a terminal", text)
	}
}

// Whatever is in the file of a key: it is read or refused, and no error has a run of it.
func FuzzKey(f *testing.F) {
	for _, key := range keyFiles() {
		f.Add(key)
	}
	claim := claimOf("")
	leaf := podtest.Certificate{}.Issue().PEM()
	f.Fuzz(func(t *testing.T, file []byte) {
		if err := certificate.Check(claim, slices.Concat(leaf, file), nil); err != nil {
			checkPrintable(t, err)
			checkSilent(t, err.Error(), file)
		}
	})
}

// Whatever certificates there are: they are judged, in words that a log can show.
func FuzzCertificate(f *testing.F) {
	ca := podtest.Certificate{CommonName: "ca", CA: true}.Issue()
	for _, c := range []podtest.Certificate{
		{}, {Issuer: ca}, {Issuer: ca, Names: []string{"*.db.default.svc"}}, {CommonName: db0, Names: []string{}},
		{Names: []string{"\x1b.example", ".", "*", "*."}}, {NotAfter: time.Now().Add(-time.Minute)},
	} {
		leaf := c.Issue()
		f.Add(slices.Concat(leaf.PEM(), leaf.KeyPEM()), ca.PEM())
	}
	claims := []string{"", "db-0.example"}
	f.Fuzz(func(t *testing.T, bundle, ca []byte) {
		for _, fqdn := range claims {
			if err := certificate.Check(claimOf(fqdn), bundle, ca); err != nil {
				checkPrintable(t, err)
			}
		}
	})
}

// The digits are those by which openssl knows a certificate.
func TestASerialNumberIsWrittenAsOpenSSLDoes(t *testing.T) {
	known := must(os.ReadFile("testdata/openssl/serial")) // openssl x509 -in tls.crt -noout -serial
	block, _ := pem.Decode(must(os.ReadFile("testdata/openssl/tls.crt")))
	found := certificate.Serial(must(x509.ParseCertificate(block.Bytes)).SerialNumber)
	if got, want := "serial="+strings.TrimPrefix(found, "0x")+"\n", string(known); got != want {
		t.Errorf("%q, not %q", got, want)
	}
}

func TestTheNumbersOfAKeyAreCleared(t *testing.T) {
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	public := key.PublicKey
	numbers := append([]*big.Int{key.D, key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv}, key.Primes...)
	if got, ok := certificate.PublicOf(key).(*rsa.PublicKey); !ok || !got.Equal(&public) {
		t.Errorf("its public half is %v", got)
	}
	for i, n := range numbers {
		for _, word := range n.Bits() {
			if word != 0 {
				t.Errorf("number %d is still there", i)
				break
			}
		}
	}
}
