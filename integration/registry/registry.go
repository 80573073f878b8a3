// Package registry runs a container registry in the calling process, for tests: the
// CNCF's distribution, which most registries are made of.
package registry

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd" // what config.Auth names
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // what config.Storage names
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"
)

// New returns a registry that keeps everything in memory. Users, by name, have
// passwords; without any, everybody may do everything.
func New(t *testing.T, users map[string]string) http.Handler {
	t.Helper()
	logrus.SetOutput(io.Discard)
	config := &configuration.Configuration{Storage: configuration.Storage{
		"inmemory":    nil,
		"maintenance": {"uploadpurging": map[any]any{"enabled": false}},
	}}
	config.HTTP.Secret = "of the test"
	if len(users) > 0 {
		var lines bytes.Buffer
		for user, password := range users {
			hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&lines, "%s:%s\n", user, hash)
		}
		file := filepath.Join(t.TempDir(), "htpasswd")
		if err := os.WriteFile(file, lines.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		config.Auth = configuration.Auth{"htpasswd": {"realm": "test", "path": file}}
	}
	app := handlers.NewApp(context.Background(), config)
	t.Cleanup(func() { _ = app.Shutdown() })
	return app
}

// Credentials is docker's config.json for a user of the registry at host.
func Credentials(host, user, password string) []byte {
	b, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string][]byte{"auth": []byte(user + ":" + password)}}})
	if err != nil {
		panic(err) // strings only
	}
	return b
}

// Authority is a CA that nobody knows.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes a CA.
func NewAuthority(t *testing.T) Authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a CA of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, der := sign(t, template, template, nil)
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return Authority{certificate, key}
}

// PEM is the CA's certificate, as SSL_CERT_FILE has it.
func (a Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// Serve serves handler over TLS with a certificate of a, at the listener's address,
// until the test ends. It returns HOST:PORT.
func (a Authority) Serve(t *testing.T, listener net.Listener, handler http.Handler) string {
	t.Helper()
	address := listener.Addr().(*net.TCPAddr)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{address.IP},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	key, der := sign(t, template, a.certificate, a.key)
	server := &httptest.Server{
		Listener: listener,
		Config:   &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)},
		TLS:      &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return address.String()
}

// sign makes a key and its certificate; without a signer the key signs itself.
func sign(t *testing.T, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}
