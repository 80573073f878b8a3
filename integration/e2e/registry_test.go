//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podfqdn/podfqdn/integration/programs"
	"github.com/podfqdn/podfqdn/integration/registry"
)

// store is a registry on the node, with TLS and a user, and the command that pushes
// to it.
type store struct {
	host    string
	release string // the program
	env     []string
}

// released is podfqdn's image as a release has it: pushed, and pulled by the kubelet.
func released(t *testing.T, w world) {
	if w.own == nil {
		notShown(t, "needs a cluster that make e2e brings up: it runs a registry on the node")
	}
	listener, err := w.own.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ca := registry.NewAuthority(t)
	r := store{host: ca.Serve(t, listener, registry.New(t, map[string]string{"ci": "s3cret"}))}
	if err := w.own.Trust(r.host, ca.PEM()); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	for name, content := range map[string][]byte{"ca.pem": ca.PEM(), "config.json": registry.Credentials(r.host, "ci", "s3cret")} {
		if err := os.WriteFile(filepath.Join(home, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "DOCKER_CONFIG=" + home, "SSL_CERT_FILE=" + filepath.Join(home, "ca.pem")}
	if err := programs.Own(home, "../release"); err != nil {
		t.Fatal(err)
	}
	r.release = filepath.Join(home, "release")

	t.Run("parts", func(t *testing.T) { // the registry ends after them
		w.parallel(t, "an init container", func(s *space) {
			s.pulls(r)
			s.headless("db", "app")
			pod := named(s.podOf("app"), "db-0", "db")
			pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
			s.start(pod)
			p := s.published("app", s.fqdn("db-0", "db"))
			if got := podfqdn(p).ImageID; !strings.HasSuffix(s.image, got[strings.LastIndex(got, "@")+1:]) {
				t.Errorf("the init container's image is %s, want %s", got, s.image)
			}
		})
		w.parallel(t, "an image volume", func(s *space) {
			s.pulls(r)
			s.example("exec.yaml", "    spec:\n      automountServiceAccountToken", "    spec:\n      imagePullSecrets: [{name: pull}]\n      automountServiceAccountToken", "replicas: 3", "replicas: 1")
			fqdn := s.fqdn("db-0", "db")
			s.becomes("db-0", 0, "/my-server", "--listen=:8080", "--advertise="+fqdn+":8080")
			if out, code := s.exec("db-0", "app", "/podfqdn/podfqdn", "check"); code != 0 || strings.TrimSpace(out) != fqdn {
				t.Errorf("podfqdn check ends with %d: %s", code, out)
			}
		})
		w.parallel(t, "no credentials", func(s *space) {
			s.pulls(r)
			s.headless("db", "app")
			s.start(named(s.podOf("app"), "db-0", "db"))
			s.isRefused("app")
		})
	})
}

// pulls pushes podfqdn's image to a repository of the test's own, by release push,
// and makes the test's Pods use it by tag and digest, with the Secret "pull".
func (s *space) pulls(r store) {
	s.Helper()
	img, err := tarball.ImageFromPath(*loadFlag, nil)
	if err != nil {
		s.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		s.Fatal(err)
	}
	// An image of its own, as a release's is: the kubelet keeps from Pods without a Secret what
	// was pulled with one (KEP-2535), by the image's ID, under whatever name it is there too.
	own := config.DeepCopy()
	own.Config.Labels["org.opencontainers.image.version"] = "v1.2.3"
	own.Config.Labels["podfqdn.test/space"] = s.name
	if img, err = mutate.ConfigFile(img, own); err != nil {
		s.Fatal(err)
	}
	platform := &v1.Platform{OS: config.OS, Architecture: config.Architecture}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: mutate.MediaType(img, types.OCIManifestSchema1), Descriptor: v1.Descriptor{Platform: platform},
	})
	digest, err := index.Digest()
	if err != nil {
		s.Fatal(err)
	}
	dir := s.TempDir()
	oci, err := layout.Write(filepath.Join(dir, "oci"), empty.Index)
	if err != nil {
		s.Fatal(err)
	}
	if err := oci.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1.2.3"})); err != nil {
		s.Fatal(err)
	}
	s.image = fmt.Sprintf("%s/%s/podfqdn:v1.2.3@%s", r.host, s.name, digest)
	if err := os.WriteFile(filepath.Join(dir, "image.txt"), []byte(s.image+"\n"), 0o600); err != nil {
		s.Fatal(err)
	}
	sums := exec.CommandContext(s.Context(), "sh", "-c", "sha256sum image.txt oci/index.json >SHA256SUMS")
	sums.Dir = dir
	if err := sums.Run(); err != nil {
		s.Fatal(err)
	}
	// The registry's address leads to it in the node's network only.
	push := exec.CommandContext(s.Context(), "nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", s.own.Node.PID), "--", r.release, "push", "-release", dir)
	push.Env = r.env
	out, err := push.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "is complete: ") {
		s.Fatalf("release push: %v: %s", err, out)
	}
	s.Logf("%s", out)
	s.kubectl("create", "secret", "docker-registry", "pull", "--docker-server="+r.host, "--docker-username=ci", "--docker-password=s3cret")
}

// isRefused checks that the kubelet says that the registry wants credentials for
// podfqdn's image.
func (s *space) isRefused(pod string) {
	s.Helper()
	refusal := regexp.MustCompile(`(?i)401 Unauthorized|no basic auth credentials|authorization failed`)
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		events, err := s.kube.CoreV1().Events(s.name).List(s.Context(), metav1.ListOptions{FieldSelector: "reason=Failed,involvedObject.name=" + pod})
		if err != nil {
			s.Fatal(err)
		}
		for _, e := range events.Items {
			last = e.Message
			if strings.Contains(last, s.image) && refusal.MatchString(last) {
				s.Logf("%s", last)
				return
			}
		}
	}
	s.Fatalf("%s: the last event is %q, want one that says that %s is refused", pod, last, s.image)
}
