package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
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
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"
)

// host is an address of this machine for which no client falls back to plain HTTP,
// as go-containerregistry does for 127.0.0.1 and localhost.
const host = "127.0.0.2"

// authority is a CA that a test made.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a CA of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))(t)
	return authority{must(x509.ParseCertificate(der))(t), key}
}

// pem is the CA's certificate as SSL_CERT_FILE has it.
func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// server returns a configuration for a server at the address host.
func (a authority) server(t *testing.T) *tls.Config {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.ParseIP(host)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	der := must(x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key))(t)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

var trustOnce sync.Once
var ours authority

// trusted is the CA that this process trusts by SSL_CERT_FILE, which Go reads once.
func trusted(t *testing.T) authority {
	t.Helper()
	trustOnce.Do(func() {
		ours = newAuthority(t)
		file := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(file, ours.pem(), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("SSL_CERT_FILE", file)
		must(x509.SystemCertPool())(t)
	})
	return ours
}

// serve serves a registry over TLS, and returns its host and port.
func serve(t *testing.T, ca authority, handler http.Handler) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Listener.Close()
	server.Listener = must(net.Listen("tcp", host+":0"))(t)
	server.TLS = ca.server(t)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// The registries: one with the referrers API, one without, and the one that most
// registries are made of, which is without, too.
var registries = map[string]func(t *testing.T) http.Handler{
	"with referrers": func(*testing.T) http.Handler {
		return registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	},
	"without referrers": func(*testing.T) http.Handler {
		return registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	},
	"distribution": func(t *testing.T) http.Handler { return distribution(t, nil) },
}

// distribution is the CNCF's registry, which keeps all in memory. Users, if there are
// any, are in a file as htpasswd -B makes it.
func distribution(t *testing.T, users map[string]string) http.Handler {
	t.Helper()
	logrus.SetOutput(io.Discard)
	config := &configuration.Configuration{Storage: configuration.Storage{"inmemory": nil, "maintenance": {"uploadpurging": map[any]any{"enabled": false}}}}
	config.HTTP.Secret = "of the test"
	if users != nil {
		var lines bytes.Buffer
		for user, password := range users {
			fmt.Fprintf(&lines, "%s:%s\n", user, must(bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost))(t))
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

// asking wants a user and a password, as basic authentication has it.
func asking(user, password string, inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// kinds are the media types of the SBOMs in a release that a test makes.
var kinds = []types.MediaType{"application/vnd.cyclonedx+json", "application/spdx+json"}

// makeRelease writes a release of two small images for a repository, in the form that
// release build has, and returns its directory.
func makeRelease(t *testing.T, repository, version string) string {
	t.Helper()
	dir := t.TempDir()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	subjects := []v1.Descriptor{{}}
	for _, arch := range []string{"amd64", "arm64"} {
		img := mutate.MediaType(must(random.Image(1000, 1))(t), types.OCIManifestSchema1)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		subjects = append(subjects, v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: must(img.Digest())(t), Size: must(img.Size())(t)})
	}
	digest := must(index.Digest())(t)
	subjects[0] = v1.Descriptor{MediaType: types.OCIImageIndex, Digest: digest, Size: must(index.Size())(t)}
	oci := must(layout.Write(filepath.Join(dir, "oci"), empty.Index))(t)
	if err := oci.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": version})); err != nil {
		t.Fatal(err)
	}
	blob := func(kind types.MediaType, content []byte) v1.Descriptor {
		digest, size, _ := v1.SHA256(bytes.NewReader(content))
		if err := oci.WriteBlob(digest, io.NopCloser(bytes.NewReader(content))); err != nil {
			t.Fatal(err)
		}
		return v1.Descriptor{MediaType: kind, Digest: digest, Size: size}
	}
	for _, subject := range subjects {
		for _, kind := range kinds {
			content := must(json.Marshal(v1.Manifest{
				SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: string(kind),
				Config:  blob(types.OCIEmptyJSON, []byte("{}")),
				Layers:  []v1.Descriptor{blob(kind, fmt.Appendf(nil, `{"about":%q,"kind":%q}`, subject.Digest, kind))},
				Subject: &subject,
			}))(t)
			if err := oci.AppendDescriptor(blob(types.OCIManifestSchema1, content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("image.txt", fmt.Sprintf("%s:%s@%s\n", repository, version, digest))
	write("SHA256SUMS", fmt.Sprintf("%x  image.txt\n", sha256.Sum256(must(os.ReadFile(filepath.Join(dir, "image.txt")))(t))))
	return dir
}
