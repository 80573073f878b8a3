package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/podfqdn/podfqdn/integration/programs"
	registrytest "github.com/podfqdn/podfqdn/integration/registry"
)

// push runs the command as a user without credentials, unless the test gave him some,
// and returns the exit code and what it printed.
func push(t *testing.T, dir string, more ...string) (int, string) {
	t.Helper()
	backoff.Duration = time.Millisecond
	trusted(t)
	var stderr strings.Builder
	code := run(append([]string{"push", "-release", dir}, more...), &stderr)
	return code, stderr.String()
}

// withoutCredentials hides those of the user who runs the test.
func withoutCredentials(t *testing.T) (home string) {
	t.Helper()
	home = t.TempDir()
	for _, name := range []string{"DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	return home
}

// isComplete checks that the registry has all of the release in dir: the images by the
// tag, and the SBOMs as a list of referrers shows them.
func isComplete(t *testing.T, dir string, kinds ...types.MediaType) {
	t.Helper()
	r := must(readReleased(dir))(t)
	index := must(remote.Index(r.tag))(t)
	if digest := must(index.Digest())(t); digest != r.digest {
		t.Errorf("%s is %s, want %s", r.tag, digest, r.digest)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("%s: %v", r.tag, err)
	}
	subjects := []v1.Hash{r.digest}
	for _, p := range r.platforms {
		subjects = append(subjects, p.Digest)
	}
	for _, subject := range subjects {
		list := must(must(remote.Referrers(r.tag.Digest(subject.String())))(t).IndexManifest())(t)
		var found []types.MediaType
		for _, d := range list.Manifests {
			manifest := must(must(remote.Image(r.tag.Digest(d.Digest.String())))(t).Manifest())(t)
			layer := must(remote.Layer(r.tag.Digest(manifest.Layers[0].Digest.String())))(t)
			content := must(layer.Compressed())(t)
			var document struct{ About, Kind string }
			if err := json.NewDecoder(content).Decode(&document); err != nil || document.About != subject.String() || document.Kind != manifest.ArtifactType {
				t.Errorf("%s about %s is %v, %v", manifest.ArtifactType, subject, document, err)
			}
			found = append(found, types.MediaType(manifest.ArtifactType))
		}
		if slices.Sort(found); !slices.Equal(found, slices.Sorted(slices.Values(kinds))) {
			t.Errorf("the referrers of %s are %q, want %q", subject, found, kinds)
		}
	}
}

func TestAPushBringsTheImagesTheSBOMsAndOneTag(t *testing.T) {
	for kind, newRegistry := range registries {
		t.Run(kind, func(t *testing.T) {
			withoutCredentials(t)
			repository := serve(t, trusted(t), newRegistry(t)) + "/team/podfqdn"
			dir := makeRelease(t, repository, "v1.2.3", cyclonedxType, spdxType)
			code, output := push(t, dir)
			if code != 0 {
				t.Fatalf("exit %d: %s", code, output)
			}
			isComplete(t, dir, cyclonedxType, spdxType)
			var tags []string
			for _, tag := range must(remote.List(must(name.NewRepository(repository))(t)))(t) {
				if !strings.HasPrefix(tag, "sha256-") { // lists of referrers, where the registry has no API for them
					tags = append(tags, tag)
				}
			}
			if !slices.Equal(tags, []string{"v1.2.3"}) {
				t.Errorf("tags %q, want v1.2.3 alone", tags)
			}
			if !strings.Contains(output, " is complete: ") || strings.Contains(output, "was there") {
				t.Errorf("the first push says %s", output)
			}
		})
	}
}

func TestASecondPushSendsNothing(t *testing.T) {
	for kind, newRegistry := range registries {
		t.Run(kind, func(t *testing.T) {
			withoutCredentials(t)
			seen := &recorder{Handler: newRegistry(t)}
			dir := makeRelease(t, serve(t, trusted(t), seen)+"/podfqdn", "v1.2.3", cyclonedxType, spdxType)
			if code, output := push(t, dir); code != 0 {
				t.Fatal(output)
			}
			seen.sent = nil
			code, output := push(t, dir)
			if code != 0 || len(seen.sent) > 0 || !strings.Contains(output, "is complete: 0 bytes sent") {
				t.Errorf("exit %d, sent %v: %s", code, seen.sent, output)
			}
		})
	}
}

// recorder counts what a registry took, and cuts the connection once it has answered
// so many requests: before the next one reaches the registry, or after.
type recorder struct {
	http.Handler
	sync.Mutex
	requests, limit int // no limit: 0
	late            bool
	sent            map[string]int // by digest or tag
}

func (c *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.Lock()
	defer c.Unlock()
	c.requests++
	cut := c.limit > 0 && c.requests > c.limit
	// Only one request is lost after it was served; all after it do not arrive.
	if cut && !(c.late && c.requests == c.limit+1) {
		panic(http.ErrAbortHandler)
	}
	answer := httptest.NewRecorder()
	c.Handler.ServeHTTP(answer, r)
	if what, blob := r.URL.Query().Get("digest"), path.Base(r.URL.Path); r.Method == http.MethodPut && answer.Code == http.StatusCreated {
		if what == "" {
			what = blob
		}
		if c.sent == nil {
			c.sent = map[string]int{}
		}
		c.sent[what]++
	}
	if cut {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func TestAPushThatWasInterruptedAnywhereGoesOnAndSendsNothingTwice(t *testing.T) {
	for kind, newRegistry := range registries {
		for _, late := range []bool{false, true} {
			if kind == "distribution" && !late {
				continue // as without referrers, and slower
			}
			t.Run(fmt.Sprintf("%s, the last request lost %v", kind, late), func(t *testing.T) {
				withoutCredentials(t)
				limit := 1
				for isInterrupted(t, kind, &recorder{Handler: newRegistry(t), late: late, limit: limit}) {
					limit++
				}
				if limit < 30 {
					t.Errorf("a push takes %d requests, want more: was anything cut?", limit)
				}
			})
		}
	}
}

// isInterrupted pushes a release to a registry which cuts the connection, and reports
// whether that was in the middle. It checks what is there then, and that the next push
// completes it and sends nothing twice.
func isInterrupted(t *testing.T, kind string, seen *recorder) bool {
	t.Helper()
	address := "127.0.0.1:0"
	// Each push has a server of its own, which ends when it has done all it was asked for.
	serve := func() *httptest.Server {
		server := httptest.NewUnstartedServer(seen)
		server.Listener.Close()
		server.Listener = must(net.Listen("tcp", address))(t)
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.Start()
		address = server.Listener.Addr().String()
		return server
	}
	end := func(server *httptest.Server) {
		server.CloseClientConnections()
		server.Close()
		remote.DefaultTransport.(*http.Transport).CloseIdleConnections()
	}
	server := serve()
	dir := makeRelease(t, address+"/podfqdn", "v1.2.3", spdxType)
	release := must(readReleased(dir))(t)
	code, output := push(t, dir)
	end(server)
	if code == 0 {
		return false
	}
	if want := "release push: "; code != 1 || !strings.HasPrefix(output, want) || !strings.Contains(output, "run make push again") {
		t.Fatalf("cut after %d requests: exit %d: %s", seen.limit, code, output)
	}

	limit := seen.limit
	seen.limit = 0
	server = serve()
	defer end(server)
	if _, err := remote.Head(release.tag); err == nil {
		isComplete(t, dir, spdxType)
	}
	if code, output := push(t, dir); code != 0 {
		t.Fatalf("cut after %d requests, then again: exit %d: %s", limit, code, output)
	}
	isComplete(t, dir, spdxType)
	listed := map[string]bool{} // manifests that a list, which is a tag, has to name
	for _, r := range release.referrers {
		listed[r.digest.String()] = kind != "with referrers"
	}
	seen.Lock()
	defer seen.Unlock()
	for what, times := range seen.sent {
		list := strings.HasPrefix(what, "sha256-")
		if times > 1 && !list && !(listed[what] && times == 2) {
			t.Errorf("cut after %d requests: %s was sent %d times", limit, what, times)
		}
	}
	return true
}

func TestATagThatIsThereWithAnotherDigestIsRefusedBeforeAnythingIsSent(t *testing.T) {
	for kind, newRegistry := range registries {
		t.Run(kind, func(t *testing.T) {
			withoutCredentials(t)
			seen := &recorder{Handler: newRegistry(t)}
			repository := serve(t, trusted(t), seen) + "/podfqdn"
			first := makeRelease(t, repository, "v1.2.3")
			if code, output := push(t, first); code != 0 {
				t.Fatal(output)
			}
			seen.sent = nil
			code, output := push(t, makeRelease(t, repository, "v1.2.3"))
			if code != 1 || !strings.Contains(output, "a release does not change: make release with the next VERSION") || strings.Count(output, "\n") != 1 {
				t.Errorf("exit %d: %s", code, output)
			}
			if len(seen.sent) > 0 {
				t.Errorf("sent %v", seen.sent)
			}
			isComplete(t, first)
			if code, output := push(t, makeRelease(t, repository, "v1.2.4")); code != 0 {
				t.Errorf("the next version: exit %d: %s", code, output)
			}
		})
	}
}

func TestATagThatAppearsDuringThePushIsNotReplaced(t *testing.T) {
	withoutCredentials(t)
	var other string
	inner := registries["with referrers"](t)
	host := serve(t, trusted(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.HasPrefix(path.Base(r.URL.Path), "sha256:") && other != "" {
			mine := other
			other = ""
			if code, output := push(t, mine); code != 0 {
				t.Error(output)
			}
		}
		inner.ServeHTTP(w, r)
	}))
	mine := makeRelease(t, host+"/podfqdn", "v1.2.3")
	first := makeRelease(t, host+"/podfqdn", "v1.2.3")
	other = first
	code, output := push(t, mine)
	if code != 1 || !strings.Contains(output, "a release does not change") {
		t.Errorf("exit %d: %s", code, output)
	}
	isComplete(t, first)
}

// The real program, as docker's library reads its environment only once.
func TestCredentialsAreThoseOfDockerAndPodman(t *testing.T) {
	bin := t.TempDir()
	if err := programs.Own(bin, "."); err != nil {
		t.Fatal(err)
	}
	ca := registrytest.NewAuthority(t)
	caFile := filepath.Join(bin, "ca.pem")
	if err := os.WriteFile(caFile, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	handlers := map[string]func(t *testing.T) http.Handler{
		"basic authentication": func(t *testing.T) http.Handler { return asking("ci", "s3cret", registries["with referrers"](t)) },
		"distribution":         func(t *testing.T) http.Handler { return registrytest.New(t, map[string]string{"ci": "s3cret"}) },
	}
	for kind, newRegistry := range handlers {
		host := serve(t, ca, newRegistry(t))
		for i, c := range []struct {
			where    string
			password string
			want     string // in what is printed
		}{
			{"nowhere", "", "wants credentials, and neither docker's config.json nor podman's auth.json has any for it: run docker login " + host + ", or podman login " + host},
			{".docker/config.json", "s3cret", "is complete"},
			{"$DOCKER_CONFIG/config.json", "s3cret", "is complete"},
			{"$REGISTRY_AUTH_FILE/auth.json", "s3cret", "is complete"},
			{"$XDG_RUNTIME_DIR/containers/auth.json", "s3cret", "is complete"},
			{".docker/config.json", "wrong", "does not accept the credentials in docker's config.json or podman's auth.json: run docker login " + host},
		} {
			t.Run(kind+", "+c.where+", "+c.password, func(t *testing.T) {
				home := t.TempDir()
				env := []string{"HOME=" + home, "SSL_CERT_FILE=" + caFile}
				file := filepath.Join(home, c.where)
				if variable, rest, ok := strings.Cut(strings.TrimPrefix(c.where, "$"), "/"); ok && c.where[0] == '$' {
					file = filepath.Join(home, "there", rest)
					value := filepath.Join(home, "there")
					if variable == "REGISTRY_AUTH_FILE" {
						value = file
					}
					env = append(env, variable+"="+value)
				}
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, registrytest.Credentials(host, "ci", c.password), 0o600); err != nil {
					t.Fatal(err)
				}
				program := exec.Command(filepath.Join(bin, "release"), "push", "-release", makeRelease(t, host+"/podfqdn", fmt.Sprintf("v1.2.%d", i), spdxType))
				program.Env = env
				out, err := program.CombinedOutput()
				output := string(out)
				if !strings.Contains(output, c.want) || (err == nil) != (c.want == "is complete") {
					t.Errorf("%v, %q, want %q", err, output, c.want)
				}
				if strings.Contains(output, c.password) && c.password != "" {
					t.Error("the password is printed")
				}
			})
		}
	}
}

func TestARegistryOfAnUnknownCAIsRefusedWithWhatToSet(t *testing.T) {
	withoutCredentials(t)
	trusted(t)
	code, output := push(t, makeRelease(t, serve(t, registrytest.NewAuthority(t), registries["with referrers"](t))+"/podfqdn", "v1.2.3"))
	if code != 1 || !strings.Contains(output, "set SSL_CERT_FILE to the file of its CA's certificate") || strings.Count(output, "\n") != 1 {
		t.Errorf("exit %d: %s", code, output)
	}
}

func TestARegistryThatForbidsThePushIsTheReason(t *testing.T) {
	withoutCredentials(t)
	inner := registries["with referrers"](t)
	host := serve(t, trusted(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.Error(w, "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"read only\\u001b[31m\"}]}", http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	code, output := push(t, makeRelease(t, host+"/podfqdn", "v1.2.3"))
	if code != 1 || !strings.Contains(output, "does not let these credentials push to podfqdn") || !strings.Contains(output, "read only") || strings.Contains(output, "\x1b") {
		t.Errorf("exit %d: %q", code, output)
	}
}

func TestAReleaseThatIsNotAsItWasBuiltIsRefusedBeforeAnythingIsSent(t *testing.T) {
	withoutCredentials(t)
	asked := 0
	repository := serve(t, trusted(t), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ })) + "/podfqdn"
	blobs := must(filepath.Glob(filepath.Join(makeRelease(t, repository, "v1.2.3", spdxType), "oci", "blobs", "sha256", "*")))(t)
	if len(blobs) != 14 {
		t.Fatalf("the release has %d blobs, want 14: an index, two images of three, three SBOMs of two, and one that these share", len(blobs))
	}
	changes := map[string]func(path string, content []byte) error{
		"longer": func(path string, content []byte) error { return os.WriteFile(path, append(content, '\n'), 0o600) },
		"changed": func(path string, content []byte) error {
			content[len(content)/2] ^= 1
			return os.WriteFile(path, content, 0o600)
		},
		"missing": func(path string, _ []byte) error { return os.Remove(path) },
	}
	for how, change := range changes {
		for i := range blobs {
			dir := makeRelease(t, repository, "v1.2.3", spdxType)
			file := must(filepath.Glob(filepath.Join(dir, "oci", "blobs", "sha256", "*")))(t)[i]
			content := must(os.ReadFile(file))(t)
			if err := os.Chmod(file, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := change(file, content); err != nil {
				t.Fatal(err)
			}
			code, output := push(t, dir)
			if code != 1 || !strings.Contains(output, "the release is not as it was built: run make release again") || !strings.Contains(output, filepath.Base(file)) {
				t.Errorf("%s %s: exit %d: %s", file, how, code, output)
			}
		}
	}
	if asked > 0 {
		t.Errorf("the registry was asked %d times", asked)
	}
}

func TestADirectoryThatIsNotAReleaseIsRefused(t *testing.T) {
	withoutCredentials(t)
	trusted(t)
	good := makeRelease(t, "registry.invalid/podfqdn", "v1.2.3")
	line := string(must(os.ReadFile(filepath.Join(good, "image.txt")))(t))
	_, digest, _ := strings.Cut(strings.TrimSpace(line), "@")
	for _, c := range []struct{ line, want string }{
		{"", "not REGISTRY/podfqdn:VERSION@sha256:…: run make release again"},
		{"registry.invalid/podfqdn@" + digest, "not REGISTRY/podfqdn:VERSION@sha256:…"},
		{"registry.invalid/podfqdn:v1.2.3", "not REGISTRY/podfqdn:VERSION@sha256:…"},
		{"registry.invalid/podfqdn:v1.2.3@sha256:" + strings.Repeat("0", 64), "and image.txt names sha256:0000"},
		{strings.Replace(line, ":v1.2.3@", ":v1.2.4@", 1), "has version v1.2.3, and image.txt names v1.2.4"},
	} {
		save(t, filepath.Join(good, "image.txt"), c.line)
		must(writeSums(good))(t)
		if code, output := push(t, good); code != 1 || !strings.Contains(output, c.want) {
			t.Errorf("%q: exit %d, %q, want %q", c.line, code, output, c.want)
		}
	}
	if code, output := push(t, t.TempDir()); code != 1 || !strings.Contains(output, "does not hold a release: run make release") {
		t.Errorf("an empty directory: exit %d: %s", code, output)
	}
}

func TestAnotherImageThanTheReleasesIsRefused(t *testing.T) {
	withoutCredentials(t)
	repository := serve(t, trusted(t), registries["with referrers"](t)) + "/podfqdn"
	dir := makeRelease(t, repository, "v1.2.3")
	for _, other := range []string{"registry.example.com/podfqdn", repository + "2", "podfqdn:dev"} {
		code, output := push(t, dir, "-image", other)
		if code != 1 || !strings.Contains(output, "the release is for "+repository) {
			t.Errorf("%s: exit %d: %s", other, code, output)
		}
	}
	if code, output := push(t, dir, "-image", repository); code != 0 {
		t.Errorf("its own image: exit %d: %s", code, output)
	}
}

func TestOnlyWhatWasPushedIsSigned(t *testing.T) {
	withoutCredentials(t)
	dir := makeRelease(t, serve(t, trusted(t), registrytest.New(t, nil))+"/podfqdn", "v1.2.3")
	sign := func() (int, string) {
		var stderr strings.Builder
		code := run([]string{"sign", "-release", dir, "-cosign", "false", "-key", "cosign.key"}, &stderr)
		return code, stderr.String()
	}
	t.Setenv("COSIGN_PASSWORD", "") // put back at the end
	os.Unsetenv("COSIGN_PASSWORD")
	if code, output := sign(); code != 2 || !strings.Contains(output, "set COSIGN_PASSWORD") {
		t.Errorf("without a password: exit %d: %s", code, output)
	}
	t.Setenv("COSIGN_PASSWORD", "")
	if code, output := sign(); code != 1 || !strings.Contains(output, "is not in the registry: run make push first") {
		t.Errorf("exit %d: %s", code, output)
	}
	if code, output := push(t, dir); code != 0 {
		t.Fatal(output)
	}
	save(t, filepath.Join(dir, "SHA256SUMS"), strings.Repeat("0", 64)+"  image.txt\n")
	if code, output := sign(); code != 1 || !strings.Contains(output, "image.txt has the sum ") || !strings.Contains(output, "run make release again") {
		t.Errorf("other sums: exit %d: %s", code, output)
	}
}

// For an address of a private network go-containerregistry tries again without TLS.
func TestNothingIsSentInTheClear(t *testing.T) {
	for address, want := range map[string]bool{"http://10.0.0.5/v2/": false, "http://registry.example.com/v2/": false, "http://127.0.0.1:5000/v2/": true, "http://localhost:5000/v2/": true, "https://10.0.0.5/v2/": true} {
		reached := false
		c := counter{RoundTripper: roundTrip(func(*http.Request) (*http.Response, error) { reached = true; return nil, errors.New("no network here") })}
		_, err := c.RoundTrip(must(http.NewRequest(http.MethodGet, address, nil))(t))
		if reached != want || !want && !strings.Contains(err.Error(), "push to a registry with TLS") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
