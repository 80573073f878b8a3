package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"

	registrytest "github.com/podfqdn/podfqdn/integration/registry"
)

// host is an address of this machine for which no client falls back to plain HTTP,
// as go-containerregistry does for 127.0.0.1 and localhost.
const host = "127.0.0.2"

var trustOnce sync.Once
var ours registrytest.Authority

// trusted is the CA that this process trusts by SSL_CERT_FILE, which Go reads once.
func trusted(t *testing.T) registrytest.Authority {
	t.Helper()
	trustOnce.Do(func() {
		ours = registrytest.NewAuthority(t)
		file := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(file, ours.PEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("SSL_CERT_FILE", file)
		must(x509.SystemCertPool())(t)
	})
	return ours
}

// serve serves a registry over TLS, and returns its host and port.
func serve(t *testing.T, ca registrytest.Authority, handler http.Handler) string {
	t.Helper()
	return ca.Serve(t, must(net.Listen("tcp", host+":0"))(t), handler)
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
	"distribution": func(t *testing.T) http.Handler { return registrytest.New(t, nil) },
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

// The kinds of SBOMs.
const (
	cyclonedxType types.MediaType = "application/vnd.cyclonedx+json"
	spdxType      types.MediaType = "application/spdx+json"
)

// makeRelease writes a release of two small images for a repository, in the form that
// release build has, with SBOMs of these kinds, and returns its directory.
func makeRelease(t *testing.T, repository, version string, kinds ...types.MediaType) string {
	t.Helper()
	dir := t.TempDir()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	subjects := []v1.Descriptor{{}}
	for _, arch := range []string{"amd64", "arm64"} {
		img := must(random.Image(1000, 1))(t)
		config := must(img.ConfigFile())(t).DeepCopy()
		config.OS, config.Architecture = "linux", arch
		img = mutate.MediaType(must(mutate.ConfigFile(img, config))(t), types.OCIManifestSchema1)
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
	save(t, filepath.Join(dir, "image.txt"), fmt.Sprintf("%s:%s@%s\n", repository, version, digest))
	must(writeSums(dir))(t)
	return dir
}
