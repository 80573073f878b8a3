//go:build release

package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

// A user is one who has the files of a release and cosign.
type user struct {
	dir string // of the files
	env []string
}

// commands are those that a section of docs/releases.md shows, one a line.
func commands(t *testing.T, section string) []string {
	t.Helper()
	document := string(must(os.ReadFile("../../docs/releases.md"))(t))
	_, text, _ := strings.Cut(document, "\n## "+section+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	m := regexp.MustCompile("(?s)\n```sh\n(.*?)```").FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("docs/releases.md shows no commands under %q", section)
	}
	return strings.Split(strings.TrimSpace(m[1]), "\n")
}

// runs runs a line in a shell, and returns its output and whether it ended well.
func (u user) runs(t *testing.T, line string) (string, bool) {
	t.Helper()
	shell := exec.Command("sh", "-ec", line)
	shell.Dir, shell.Env = u.dir, u.env
	out, err := shell.CombinedOutput()
	return string(out), err == nil
}

func TestASignedReleaseIsVerifiedAsTheDocumentSays(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "-C", "cosign", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", bin+"/cosign", "tool")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build cosign: %v: %s", err, out)
	}
	for kind, newRegistry := range registries {
		t.Run(kind, func(t *testing.T) {
			home := withoutCredentials(t)
			ca := trusted(t)
			if err := os.WriteFile(filepath.Join(home, "ca.pem"), ca.PEM(), 0o600); err != nil {
				t.Fatal(err)
			}
			// Whatever is asked for besides the registry comes here.
			var strangers atomic.Int64
			proxy := serve(t, ca, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strangers.Add(1) }))
			dir := makeRelease(t, serve(t, ca, newRegistry(t))+"/podfqdn", "v1.2.3", cyclonedxType, spdxType)
			if code, output := push(t, dir); code != 0 {
				t.Fatal(output)
			}
			u := user{dir, []string{
				"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + home, "SSL_CERT_FILE=" + filepath.Join(home, "ca.pem"),
				"HTTPS_PROXY=https://" + proxy, "HTTP_PROXY=https://" + proxy, "NO_PROXY=127.0.0.2", "COSIGN_PASSWORD=of the key",
			}}
			for _, key := range []string{"cosign", "other"} {
				if out, ok := u.runs(t, "cosign generate-key-pair --output-key-prefix "+key); !ok {
					t.Fatal(out)
				}
			}
			lines := commands(t, "Verify a release")
			if len(lines) != 3 {
				t.Fatalf("the document shows %q, want three commands", lines)
			}
			refused := func(what string, line string) {
				t.Helper()
				if out, ok := u.runs(t, line); ok {
					t.Errorf("%s: %s ends well: %s", what, line, out)
				}
			}
			refused("not signed", lines[0])
			refused("not signed", lines[1])

			for _, variable := range u.env {
				name, value, _ := strings.Cut(variable, "=")
				t.Setenv(name, value)
			}
			var stderr strings.Builder
			if code := run([]string{"sign", "-release", dir, "-cosign", filepath.Join(bin, "cosign"), "-key", filepath.Join(dir, "cosign.key")}, &stderr); code != 0 {
				t.Fatalf("exit %d: %s", code, stderr.String())
			}
			if !strings.Contains(stderr.String(), "signed 9 manifests of ") {
				t.Errorf("sign says %s", stderr.String())
			}
			for _, line := range lines {
				if out, ok := u.runs(t, line); !ok {
					t.Errorf("%s: %s", line, out)
				}
			}
			r := must(readReleased(dir))(t)
			digests := []string{}
			for _, p := range r.platforms {
				digests = append(digests, p.Digest.String())
			}
			for _, about := range r.referrers {
				digests = append(digests, about.digest.String())
			}
			for _, digest := range digests {
				if out, ok := u.runs(t, strings.ReplaceAll(lines[0], "$(cat image.txt)", r.tag.Digest(digest).String())); !ok {
					t.Errorf("%s: %s", digest, out)
				}
			}
			for _, line := range lines[:2] {
				refused("another key", strings.ReplaceAll(line, "cosign.pub", "other.pub"))
			}
			second := makeRelease(t, r.tag.Repository.Name(), "v1.2.4")
			if code, output := push(t, second); code != 0 {
				t.Fatal(output)
			}
			refused("another image", strings.ReplaceAll(lines[0], "$(cat image.txt)", string(must(os.ReadFile(filepath.Join(second, "image.txt")))(t))))
			sums := filepath.Join(dir, "SHA256SUMS")
			list := must(os.ReadFile(sums))(t)
			if err := os.WriteFile(sums, append(list, '\n'), 0o600); err != nil {
				t.Fatal(err)
			}
			refused("another list", lines[1])
			if err := os.WriteFile(sums, list, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "image.txt"), []byte("another\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			refused("another file", lines[2])
			if n := strangers.Load(); n > 0 {
				t.Errorf("cosign asked %d times for something that is not in the registry", n)
			}
		})
	}
}
