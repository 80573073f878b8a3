package certificate_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/certificate"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// block returns a PEM block.
func block(kind string, der []byte, headers map[string]string) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der, Headers: headers})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// issue issues a certificate that is valid in virtual time and in ours.
func issue(c podtest.Certificate) *podtest.Issued {
	c.NotBefore, c.NotAfter = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	return c.Issue()
}

func TestAKeyOfEveryKindAndFormIsRead(t *testing.T) {
	small := must(rsa.GenerateKey(rand.Reader, 2048))
	curve := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	pkcs8 := func(key any) []byte { return block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)), nil) }
	for name, test := range map[string]struct {
		key  crypto.Signer
		text []byte
	}{
		"RSA, PKCS#8":     {small, pkcs8(small)},
		"RSA, PKCS#1":     {small, block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small), nil)},
		"ECDSA, PKCS#8":   {curve, pkcs8(curve)},
		"ECDSA, SEC 1":    {curve, block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(curve)), nil)},
		"Ed25519, PKCS#8": {edwards, pkcs8(edwards)},
		"behind parameters and words": {curve, slices.Concat([]byte("Bag Attributes\n"), block("EC PARAMETERS", []byte{6, 5, 43, 129, 4, 0, 34}, nil),
			block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(curve)), nil))},
		"with CR and LF": {edwards, bytes.ReplaceAll(pkcs8(edwards), []byte("\n"), []byte("\r\n"))},
	} {
		leaf := podtest.Certificate{Key: test.key}.Issue()
		m := mount(t, map[string][]byte{"tls.crt": leaf.PEM(), "tls.key": test.text})
		if err := requirement(t, m.Dir, claimOf("")).Check(t.Context(), nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestABundleIsReadInWhateverOrder(t *testing.T) {
	root := podtest.Certificate{CommonName: "root", CA: true}.Issue()
	between := podtest.Certificate{CommonName: "between", CA: true, Issuer: root}.Issue()
	leaf := podtest.Certificate{Issuer: between}.Issue()
	parts := [][]byte{leaf.KeyPEM(), leaf.PEM(), between.PEM(), root.PEM()}
	for _, order := range [][]int{{0, 1, 2, 3}, {1, 0}, {3, 2, 1, 0}, {2, 0, 1}, {1, 2, 3, 0}} {
		var all []byte
		for _, i := range order {
			all = append(all, parts[i]...)
		}
		path := write(t, filepath.Join(t.TempDir(), "credentialbundle.pem"), all)
		r := requirement(t, path, claimOf(""))
		if files, err := r.Require(t.Context(), podtest.Proven(claimOf("")), nil); err != nil || files != nil {
			t.Errorf("%v: %v, %v", order, files, err)
		}
	}
}

// named is one sentence about a Secret.
type named struct {
	files map[string][]byte
	want  string // %[1]s is the directory
}

func (n named) check(t *testing.T) {
	t.Helper()
	m := mount(t, n.files)
	want := n.want
	if strings.Contains(want, "%[1]") {
		want = fmt.Sprintf(want, m.Dir)
	}
	r := requirement(t, m.Dir, claimOf(""))
	start := time.Now()
	checkNotYet(t, r.Check(t.Context(), nil), want)
	if took := time.Since(start); took > 0 && !strings.Contains(want, "does not belong to") && !strings.Contains(want, "servers use the first") {
		t.Errorf("it took %s", took)
	}
	if files, err := r.Require(t.Context(), podtest.Proven(claimOf("")), nil); files != nil || (err == nil) != (want == "") {
		t.Errorf("%v, %v", files, err)
	}
}

// check checks each sentence, in a Pod of its own and in virtual time.
func check(t *testing.T, tests map[string]named) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test.check) })
	}
}

func TestWhatIsNotPEMIsSaid(t *testing.T) {
	leaf := issue(podtest.Certificate{})
	cert, key := leaf.PEM(), leaf.KeyPEM()
	legacy := block("RSA PRIVATE KEY", []byte("0123456789abcdef"), map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"})
	dh := must(x509.MarshalPKCS8PrivateKey(must(ecdh.X25519().GenerateKey(rand.Reader))))
	both := func(cert, key []byte) map[string][]byte { return map[string][]byte{"tls.crt": cert, "tls.key": key} }
	check(t, map[string]named{
		"nothing":                  {nil, `"%[1]s" is empty: what issues the certificate has not put tls.crt and tls.key there yet`},
		"no key":                   {map[string][]byte{"tls.crt": cert}, `"%[1]s" has no tls.key, but tls.crt: name its files tls.crt and tls.key, or set PODFQDN_TLS to one file with certificate and key`},
		"other names":              {map[string][]byte{"a\x1b": nil, "bundle.pem": key}, `"%[1]s" has no tls.crt, but "a\x1b" and bundle.pem: name its files tls.crt and tls.key, or set PODFQDN_TLS to one file with certificate and key`},
		"empty":                    {both([]byte("\n"), key), `"%[1]s/tls.crt" is empty: it must have a PEM certificate`},
		"empty key":                {both(cert, nil), `"%[1]s/tls.key" is empty: it must have a PEM private key`},
		"text":                     {both([]byte("hello"), key), `"%[1]s/tls.crt" has no PEM certificate in it: write one, which begins with -----BEGIN`},
		"base64":                   {both([]byte(base64.StdEncoding.EncodeToString(cert)), key), `"%[1]s/tls.crt" has no PEM certificate, but looks like PEM in base64: a Secret's data has it once, its stringData not at all`},
		"DER":                      {both(leaf.Raw, key), `"%[1]s/tls.crt" has no PEM certificate, but looks like DER or PKCS#12: convert it to PEM, such as by openssl`},
		"a keystore":               {both(cert, []byte("\xfe\xed\xfe\xed\x00")), `"%[1]s/tls.key" has no PEM private key, but looks like a Java keystore: convert it to PEM`},
		"a byte order mark":        {both(cert, slices.Concat([]byte("\xef\xbb\xbf"), key)), `"%[1]s/tls.key" has no PEM private key, but looks like PEM with something in front of -----BEGIN on its line, such as blanks or a byte order mark: remove it`},
		"indented":                 {both(bytes.ReplaceAll(slices.Concat([]byte("\n"), cert), []byte("\n"), []byte("\n  ")), key), `"%[1]s/tls.crt" has no PEM certificate, but looks like PEM with something in front of -----BEGIN on its line, such as blanks or a byte order mark: remove it`},
		"a key nobody asks for":    {both(slices.Concat(legacy, cert), key), ``},
		"swapped":                  {both(key, cert), `"%[1]s/tls.crt" has no PEM certificate in it: write one, which begins with -----BEGIN`},
		"no private key":           {both(cert, block("PUBLIC KEY", []byte("x"), nil)), `"%[1]s/tls.key" has no PEM private key in it: write one, which begins with -----BEGIN`},
		"cut off":                  {both(cert[:len(cert)-5], key), `"%[1]s/tls.crt": PEM block 1 is damaged or cut off: write the file again, as it was issued`},
		"damaged behind":           {both(slices.Concat(cert, cert[:40]), key), `"%[1]s/tls.crt": PEM block 2 is damaged or cut off: write the file again, as it was issued`},
		"damaged before":           {both(slices.Concat(cert, cert[:40], []byte("\n"), cert), key), `"%[1]s/tls.crt": PEM block 2 is damaged or cut off: write the file again, as it was issued`},
		"no certificate":           {both(slices.Concat(cert, block("CERTIFICATE", leaf.Raw[:len(leaf.Raw)-9], nil)), key), `"%[1]s/tls.crt": PEM block 2 is not a certificate that can be read (malformed certificate): issue it again`},
		"no key at all":            {both(cert, block("PRIVATE KEY", []byte("x"), nil)), `"%[1]s/tls.key": PEM block 1 is not a private key that can be read: it has to be an RSA, ECDSA or Ed25519 key in PKCS#8, PKCS#1 or SEC 1`},
		"a key of SSH":             {both(cert, block("OPENSSH PRIVATE KEY", []byte("openssh-key-v1\x00"), nil)), `"%[1]s/tls.key": PEM block 1 is not a private key that can be read: it has to be an RSA, ECDSA or Ed25519 key in PKCS#8, PKCS#1 or SEC 1`},
		"a key that signs nothing": {both(cert, block("PRIVATE KEY", dh, nil)), `"%[1]s/tls.key": PEM block 1 is not a private key that can be read: it has to be an RSA, ECDSA or Ed25519 key in PKCS#8, PKCS#1 or SEC 1`},
		"encrypted":                {both(cert, block("ENCRYPTED PRIVATE KEY", []byte("x"), nil)), `"%[1]s/tls.key": PEM block 1 is an encrypted private key: write it without a passphrase, such as by openssl pkey`},
		"encrypted, as of old":     {both(cert, legacy), `"%[1]s/tls.key": PEM block 1 is an encrypted private key: write it without a passphrase, such as by openssl pkey`},
		"a bad CA":                 {map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": key}, `"%[1]s/ca.crt" has no PEM certificate in it: write one, which begins with -----BEGIN`},
		"no CA":                    {map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": nil}, ``},
		"too large together":       {both(slices.Concat(cert, make([]byte, 3<<20)), slices.Concat(key, make([]byte, 2<<20))), `"%[1]s/tls.key" is too large: certificates and key may have 4 MiB together`},
		"too large":                {both(cert, slices.Concat(key, make([]byte, 4<<20))), `"%[1]s/tls.key" is too large: certificates and key may have 4 MiB together`},
	})
}

func TestACertificateOfAMebibyteIsRead(t *testing.T) {
	leaf := podtest.Certificate{Padding: 1 << 20}.Issue()
	m := mount(t, pair(leaf, leaf))
	if err := requirement(t, m.Dir, claimOf("")).Check(t.Context(), nil); err != nil {
		t.Error(err)
	}
	var names []string
	for i := range 30_000 {
		names = append(names, fmt.Sprintf("db-%d.web.default.svc.other.example", i))
	}
	set(t, m, pair(podtest.Certificate{Names: append(names, strings.Repeat("a.", 100_000)+"b")}.Issue()))
	start := time.Now()
	checkNotYet(t, requirement(t, m.Dir, claimOf("")).Check(t.Context(), nil),
		fmt.Sprintf(`the certificate in "%s/tls.crt" has only db-0.web.default.svc.other.example, db-1.web.default.svc.other.example, db-2.web.default.svc.other.example, db-3.web.default.svc.other.example, db-4.web.default.svc.other.example and 29996 more: add %s or *.db.default.svc.cluster.local to its DNS names`, m.Dir, db0))
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestTheNearestMissIsNamed(t *testing.T) {
	for _, names := range [][]string{
		{db0}, {strings.ToUpper(db0)}, {"*.db.default.svc.cluster.local"}, {"a.example", "*.DB.default.svc.cluster.local"},
	} {
		t.Run(names[0], func(t *testing.T) {
			synctest.Test(t, named{files: pair(issue(podtest.Certificate{Names: names}))}.check)
		})
	}
	for _, test := range []struct {
		names []string
		want  string
	}{
		{[]string{"a.example", "*.db.default.svc"}, "has *.db.default.svc, which lacks the cluster domain cluster.local"},
		{[]string{"db.default.svc.cluster.local", "db-0.db.default.svc"}, "has db-0.db.default.svc, which lacks the cluster domain cluster.local"},
		{[]string{"db-0"}, "has db-0, which lacks .db.default.svc.cluster.local at its end"},
		{[]string{"db-0.db"}, "has db-0.db, which lacks .default.svc.cluster.local at its end"},
		{[]string{db0 + "."}, "has " + db0 + "., with a dot at its end, which programs do not accept"},
		{[]string{"db.default.svc.cluster.local"}, "has db.default.svc.cluster.local, which lacks the hostname db-0"},
		{[]string{"default.svc.cluster.local"}, "has default.svc.cluster.local, which lacks db-0.db at its beginning"},
		{[]string{"*.default.svc.cluster.local"}, "has *.default.svc.cluster.local, where * stands for one label, not for db-0.db"},
		{[]string{"*.cluster.local"}, "has *.cluster.local, where * stands for one label, not for db-0.db.default.svc"},
		{[]string{"db-9.web.default.svc.cluster.local", "db-1.db.default.svc.cluster.local"}, "has db-1.db.default.svc.cluster.local, with db-1 in place of db-0"},
		{[]string{"db-*.db.default.svc.cluster.local"}, "has db-*.db.default.svc.cluster.local, with db-* in place of db-0"},
		{[]string{"*.db.defualt.svc.cluster.local"}, "has *.db.defualt.svc.cluster.local, with defualt in place of default"},
		{[]string{"db-0.db.default.svc.corp.example"}, "has db-0.db.default.svc.corp.example, with corp.example in place of cluster.local"},
		{[]string{"db-0.\x1b.default.svc.cluster.local"}, `has "db-0.\x1b.default.svc.cluster.local", with "\x1b" in place of db`},
		{[]string{"www.example.com", "example.com"}, "has only www.example.com and example.com"},
		{[]string{"localhost"}, "has only localhost"},
		{[]string{"cluster.local"}, "has only cluster.local"},
		{[]string{strings.Repeat("a", 300)}, "has only " + strings.Repeat("a", 253) + "..."},
	} {
		t.Run(test.names[0], func(t *testing.T) {
			synctest.Test(t, named{pair(issue(podtest.Certificate{Names: test.names})),
				`the certificate in "%[1]s/tls.crt" ` + test.want + `: add ` + db0 + ` or *.db.default.svc.cluster.local to its DNS names`}.check)
		})
	}
}

func TestACommonNameIsNotLookedAt(t *testing.T) {
	change := func(of func(*x509.Certificate)) map[string][]byte {
		return pair(issue(podtest.Certificate{Names: []string{}, Change: of}))
	}
	end := `: add ` + db0 + ` or *.db.default.svc.cluster.local to its DNS names`
	check(t, map[string]named{
		"alone":    {pair(issue(podtest.Certificate{Names: []string{}, CommonName: db0})), `the certificate in "%[1]s/tls.crt" has ` + db0 + ` only as its common name (CN), which programs do not look at` + end},
		"wildcard": {pair(issue(podtest.Certificate{Names: []string{"a.example"}, CommonName: "*.db.default.svc.cluster.local"})), `the certificate in "%[1]s/tls.crt" has *.db.default.svc.cluster.local only as its common name (CN), which programs do not look at` + end},
		"nothing":  {change(nil), `the certificate in "%[1]s/tls.crt" has no DNS names` + end},
		"a URI":    {change(func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "a"}} }), `the certificate in "%[1]s/tls.crt" has no DNS names, only a URI` + end},
		"an IP":    {change(func(c *x509.Certificate) { c.IPAddresses = []net.IP{{10, 244, 0, 27}} }), `the certificate in "%[1]s/tls.crt" has no DNS names, only IP addresses` + end},
	})
}

func TestAKeyOfAnotherCertificateIsSaid(t *testing.T) {
	ca := issue(podtest.Certificate{CommonName: "ca", CA: true})
	leaf, other := issue(podtest.Certificate{Issuer: ca}), issue(podtest.Certificate{})
	kind := issue(podtest.Certificate{Key: must(rsa.GenerateKey(rand.Reader, 2048))})
	check(t, map[string]named{
		"another":      {map[string][]byte{"tls.crt": leaf.PEM(), "tls.key": other.KeyPEM()}, `the private key in "%[1]s/tls.key" does not belong to the certificate in "%[1]s/tls.crt": write there what was issued together`},
		"another kind": {map[string][]byte{"tls.crt": leaf.PEM(), "tls.key": kind.KeyPEM()}, `the private key in "%[1]s/tls.key" does not belong to the certificate in "%[1]s/tls.crt" (RSA of 2048 bits, and the certificate is for ECDSA on P-256): write there what was issued together`},
		"CA first":     {map[string][]byte{"tls.crt": slices.Concat(ca.PEM(), leaf.PEM()), "tls.key": leaf.KeyPEM()}, `the private key in "%[1]s/tls.key" belongs to certificate 2 in "%[1]s/tls.crt", but servers use the first: move it to the beginning of the file`},
	})
}

func TestABundleThatIsNotWholeIsSaid(t *testing.T) {
	ca := issue(podtest.Certificate{CommonName: "ca", CA: true})
	leaf, other := issue(podtest.Certificate{Issuer: ca}), issue(podtest.Certificate{})
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"no key":         {leaf.PEM(), `%[1]q has no PEM private key: add it, or name the directory that has tls.crt and tls.key`},
		"no certificate": {leaf.KeyPEM(), `%[1]q has no PEM certificate in it: write one, which begins with -----BEGIN`},
		"another key":    {slices.Concat(ca.PEM(), leaf.PEM(), other.KeyPEM()), `the private key in %[1]q does not belong to a certificate in it: write there what was issued together`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := write(t, filepath.Join(t.TempDir(), "b.pem"), test.data)
				checkNotYet(t, requirement(t, path, claimOf("")).Check(t.Context(), nil), fmt.Sprintf(test.want, path))
			})
		})
	}
}

func TestACertificateIsValidNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is midnight of 2000-01-01
		from := time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)
		m := mount(t, pair(podtest.Certificate{NotBefore: from, NotAfter: from.Add(time.Hour)}.Issue()))
		r := requirement(t, m.Dir, claimOf(""))
		checkNotYet(t, r.Check(t.Context(), nil), fmt.Sprintf(`the certificate in "%s/tls.crt" is not valid before 2000-01-01T01:00:00Z: if that is past already, the clock of this node is slow`, m.Dir))
		time.Sleep(time.Until(from))
		checkNotYet(t, r.Check(t.Context(), nil), "")
		time.Sleep(time.Hour)
		checkNotYet(t, r.Check(t.Context(), nil), "")
		time.Sleep(time.Second)
		checkNotYet(t, r.Check(t.Context(), nil), fmt.Sprintf(`the certificate in "%s/tls.crt" expired at 2000-01-01T02:00:00Z: renew it; if that is still to come, the clock of this node is fast`, m.Dir))
	})
}

func TestACertificateChainsToTheCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := time.Now().Add(9000 * time.Hour)
		root := podtest.Certificate{CommonName: "root", CA: true, NotAfter: long}.Issue()
		again := podtest.Certificate{CommonName: "root", CA: true}.Issue()
		other := podtest.Certificate{CommonName: "other", CA: true}.Issue()
		old := podtest.Certificate{CommonName: "old", CA: true, NotAfter: time.Now().Add(-time.Minute)}.Issue()
		young := podtest.Certificate{CommonName: "young", CA: true, NotBefore: time.Now().Add(time.Hour)}.Issue()
		none := podtest.Certificate{CommonName: "none", Issuer: root}.Issue()
		narrow := podtest.Certificate{CommonName: "narrow", CA: true, Issuer: root, Change: func(c *x509.Certificate) {
			c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"example.com"}, true
		}}.Issue()
		between := podtest.Certificate{CommonName: "between", CA: true, Issuer: root}.Issue()
		by := func(issuer *podtest.Issued) *podtest.Issued {
			return podtest.Certificate{CommonName: "leaf", Issuer: issuer, Change: func(c *x509.Certificate) {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			}}.Issue()
		}
		with := func(files map[string][]byte, more *podtest.Issued) map[string][]byte {
			files["tls.crt"] = append(files["tls.crt"], more.PEM()...)
			return files
		}
		self := podtest.Certificate{}.Issue()
		begin := `the certificate in "%[1]s/tls.crt" does not chain to ca.crt: `
		check := func(name string, files map[string][]byte, want string) {
			t.Log(name)
			if want != "" {
				want = begin + want
			}
			named{files, want}.check(t)
		}
		check("signed by itself", pair(self, self), "")
		check("by the root", pair(by(root), root), "")
		check("one of two", pair(by(root), other, root), "")
		check("an intermediate", with(pair(by(between), root), between), "")
		check("an intermediate as root", pair(by(between), between), "")
		check("no intermediate", pair(by(between), root), `it was issued by "CN=between", which is neither in ca.crt ("CN=root") nor in the chain: add it`)
		check("no root", with(pair(by(between), other), between), `"CN=between" was issued by "CN=root", which is neither in ca.crt ("CN=other") nor in the chain: add it`)
		check("another root", with(pair(by(between), other), root), `it was issued by "CN=between", which is neither in ca.crt ("CN=other") nor in the chain: add it`)
		check("a new root", pair(by(root), again), `it was not signed by the key of "CN=root" that is there: issue it again, or add the CA that signed it`)
		check("an old root", pair(by(old), old), `"CN=old", which issued it, expired at 1999-12-31T23:59:00Z: renew it`)
		check("a young root", pair(by(young), young), `"CN=young", which issued it, is not valid before 2000-01-01T01:00:00Z: wait, or issue it again`)
		check("not a CA", with(pair(by(none), root), none), `it was not signed by the key of "CN=none" that is there: issue it again, or add the CA that signed it`)
		check("of other names", with(pair(by(narrow), root), narrow), `a CA on the way may not issue for this name (its name constraints): issue it again`)
		check("a root next to the leaf", with(pair(by(other), root), other), `"CN=other", at the end of its chain, is not in ca.crt ("CN=root"): add it`)
	})
}

func TestARotationIsNoReasonForTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := podtest.Certificate{}.Issue(), podtest.Certificate{}.Issue()
		dir := t.TempDir()
		write(t, filepath.Join(dir, "tls.crt"), after.PEM())
		write(t, filepath.Join(dir, "tls.key"), before.KeyPEM())
		want := fmt.Sprintf(`the private key in "%[1]s/tls.key" does not belong to the certificate in "%[1]s/tls.crt": write there what was issued together`, dir)
		r := requirement(t, dir, claimOf(""))
		timed := func(ctx context.Context, took time.Duration, want string) {
			t.Helper()
			start := time.Now()
			checkNotYet(t, r.Check(ctx, nil), want)
			if got := time.Since(start); got != took {
				t.Errorf("it took %s, not %s", got, took)
			}
		}
		time.AfterFunc(1450*time.Millisecond, func() { write(t, filepath.Join(dir, "tls.key"), after.KeyPEM()) })
		timed(t.Context(), 1500*time.Millisecond, "")
		write(t, filepath.Join(dir, "tls.crt"), before.PEM())
		timed(t.Context(), 2*time.Second, want)
		timed(t.Context(), 0, want) // it has lasted
		write(t, filepath.Join(dir, "tls.key"), before.KeyPEM())
		timed(t.Context(), 0, "")
		write(t, filepath.Join(dir, "tls.crt"), after.PEM())
		soon, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		timed(soon, 900*time.Millisecond, want) // rather than that time is up
		write(t, filepath.Join(dir, "tls.crt"), before.PEM())
		timed(t.Context(), 0, "")
		write(t, filepath.Join(dir, "tls.crt"), after.PEM())
		signal := errors.New("a signal")
		ctx, kill := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { kill(signal) })
		if err := r.Check(ctx, nil); err != signal {
			t.Error(err)
		}
	})
}

func TestWhatWasFoundIsToldAndASoonEndIsRemarkedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		day := 24 * time.Hour
		of := func(serial int64, lifetime, left time.Duration) map[string][]byte {
			return pair(podtest.Certificate{Serial: serial, NotBefore: now.Add(left - lifetime), NotAfter: now.Add(left)}.Issue())
		}
		m := mount(t, nil)
		r := requirement(t, m.Dir, claimOf(""))
		if r.Name != "certificate" || r.Title != "TLS certificate" || r.From != "PODFQDN_TLS" || !r.Secret || r.Word != "certificate" || r.Outlet.Dir != "" || r.Environment != nil {
			t.Errorf("%+v", r)
		}
		gauge := r.Gauges[0]
		if value, ok := gauge.Value(); ok || r.Found() != "" || gauge.Name != "podfqdn_certificate_expiry_timestamp_seconds" {
			t.Errorf("%v, %q, %q before anything was read", value, r.Found(), gauge.Name)
		}
		for _, step := range []struct {
			files  map[string][]byte
			found  string
			remark string
		}{
			{of(0x0A1B2C, 90*day, 60*day), "serial 0x0A1B2C, expires 2000-03-01T00:00:00Z", ""},
			{of(256, 90*day, 16*day), "serial 0x0100, expires 2000-01-17T00:00:00Z", ""},
			{of(2, 90*day, 14*day), "serial 0x02, expires 2000-01-15T00:00:00Z", `serial 0x02, expires 2000-01-15T00:00:00Z, in "` + m.Dir + `": check whether what renews it works`},
			{of(3, 3650*day, 40*day), "serial 0x03, expires 2000-02-10T00:00:00Z", ""},
			{of(4, 3650*day, 29*day), "serial 0x04, expires 2000-01-30T00:00:00Z", `serial 0x04, expires 2000-01-30T00:00:00Z, in "` + m.Dir + `": check whether what renews it works`},
			{of(5, 24*time.Hour, 5*time.Hour), "serial 0x05, expires 2000-01-01T05:00:00Z", ""},
		} {
			set(t, m, step.files)
			checkNotYet(t, r.Check(t.Context(), nil), "")
			if found := r.Found(); found != step.found {
				t.Errorf("found %q, not %q", found, step.found)
			}
			message, details := r.Remark()
			if details != step.remark || (message == "the certificate expires soon") != (step.remark != "") {
				t.Errorf("%q, %q, not %q", message, details, step.remark)
			}
			checkNotYet(t, r.Check(t.Context(), nil), "")
			if message, details := r.Remark(); message != "" {
				t.Errorf("again %q, %q", message, details)
			}
		}
		if value, ok := gauge.Value(); !ok || value != float64(now.Add(5*time.Hour).Unix()) {
			t.Errorf("%v, %t", value, ok)
		}
		// An expired one is told to Prometheus, and is not what was found.
		set(t, m, of(6, 90*day, -day))
		if err := r.Check(t.Context(), nil); err == nil || r.Found() != "serial 0x05, expires 2000-01-01T05:00:00Z" {
			t.Errorf("%v, %q", err, r.Found())
		}
		if value, ok := gauge.Value(); !ok || value != float64(now.Add(-day).Unix()) {
			t.Errorf("%v, %t", value, ok)
		}
	})
}

func TestACertificateIsForTheNameThatItWasAskedFor(t *testing.T) {
	m := mount(t, pair(podtest.Certificate{}.Issue()))
	r := requirement(t, m.Dir, claimOf(""))
	for _, other := range []identity.Agreement{{}, podtest.Proven(claimOf("kdc1.example.org"))} {
		if _, err := r.Require(t.Context(), other, nil); err == nil || errors.As(err, new(*identity.Mismatch)) {
			t.Error(err)
		}
	}
}

func TestAPathThatDoesNotFitThePodIsRefused(t *testing.T) {
	published := t.TempDir()
	inside := filepath.Join(published, "tls")
	if err := os.Symlink(inside, filepath.Join(t.TempDir(), "link")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ path, fqdn, want string }{
		{"/tls/{service}", "kdc1.example.org", `{service} in "/tls/{service}" has no value, because kdc1.example.org is not a name of the form HOSTNAME.SERVICE.NAMESPACE.svc.CLUSTERDOMAIN: write it out, or use {fqdn} or {hostname}`},
		{inside, "", fmt.Sprintf("PODFQDN_TLS, %q, lies in %q, which everybody can read: mount the certificate and its key somewhere else", inside, published)},
	} {
		var c certificate.Config
		if err := c.TLS.UnmarshalText([]byte(test.path)); err != nil {
			t.Fatal(err)
		}
		r, err := c.Requirement(claimOf(test.fqdn), published)
		checkRefusal(t, err, test.want)
		if r != nil {
			t.Error("a requirement")
		}
	}
	if r, err := (certificate.Config{}).Requirement(claimOf(""), published); r != nil || err != nil {
		t.Errorf("%v, %v without a path", r, err)
	}
	m := mount(t, nil)
	for name, files := range map[string]map[string][]byte{"db-0": pair(podtest.Certificate{}.Issue()), "db-1": nil} {
		for file, data := range files {
			write(t, filepath.Join(m.Dir, "all", name, file), data)
		}
	}
	if err := requirement(t, m.Dir+"/all/{hostname}", claimOf("")).Check(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
