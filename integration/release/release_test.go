//go:build release

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// emulators run programs of other architectures on Linux; they are in Debian's qemu-user-static.
var emulators = map[string]string{
	"arm64":   "/usr/bin/qemu-aarch64-static",
	"ppc64le": "/usr/bin/qemu-ppc64le-static",
	"riscv64": "/usr/bin/qemu-riscv64-static",
	"s390x":   "/usr/bin/qemu-s390x-static",
	"amd64":   "/usr/bin/qemu-x86_64-static",
}

// The release is of HEAD, whatever has changed in the working tree since.
func TestTheReleaseIsTheSameFromEveryCloneAndRunsOnEveryArchitecture(t *testing.T) {
	source := filepath.Join(t.TempDir(), "clone")
	command(t, ".", "git", "clone", "--quiet", "../..", source)
	revision := command(t, source, "git", "rev-parse", "HEAD")
	out := built(t, source)

	t.Run("another clone, umask, time zone and tag", func(t *testing.T) {
		other := filepath.Join(t.TempDir(), "one", "more", "clone")
		command(t, ".", "git", "clone", "--quiet", source, other)
		command(t, other, "git", "tag", "v9.9.9")
		t.Setenv("TZ", "Pacific/Kiritimati")
		defer syscall.Umask(syscall.Umask(0o077))
		first, second := files(t, out), files(t, built(t, other))
		if d := differences(first, second); d != nil {
			t.Errorf("these files differ: %q", d)
		}
	})

	t.Run("layout", func(t *testing.T) { checkLayout(t, out, revision) })

	images := imagesOf(t, out)
	for _, arch := range []string{"amd64", "arm64", "ppc64le", "riscv64", "s390x"} {
		t.Run(arch, func(t *testing.T) {
			img := images[arch]
			if img == nil {
				t.Fatal("there is not an image for it")
			}
			config := must(img.ConfigFile())(t).Config
			if config.User != "65532:65532" || !slices.Equal(config.Entrypoint, []string{"/podfqdn"}) || !slices.Equal(config.Cmd, []string{"init"}) {
				t.Errorf("it runs %q %q as %s", config.Entrypoint, config.Cmd, config.User)
			}
			if config.Labels["org.opencontainers.image.version"] != "v1.2.3" || config.Labels["org.opencontainers.image.revision"] != revision {
				t.Errorf("labels %v", config.Labels)
			}
			program := onlyProgram(t, img)
			t.Logf("told: %s: a program of %d bytes, %d compressed", arch, len(program), must(must(img.Layers())(t)[0].Size())(t))
			path := filepath.Join(t.TempDir(), "podfqdn")
			if err := os.WriteFile(path, program, 0o755); err != nil {
				t.Fatal(err)
			}
			// The environment is empty, and there is no Pod around it.
			podfqdn := func(argument string) (output string, code int) {
				cmd := exec.Command(path, argument)
				if arch != runtime.GOARCH {
					cmd = exec.Command(emulators[arch], path, argument)
				}
				cmd.Env = []string{}
				text, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				if err != nil && !errors.As(err, &exit) {
					t.Fatal(err)
				}
				return string(text), cmd.ProcessState.ExitCode()
			}
			want := fmt.Sprintf("podfqdn v1.2.3 %s %s linux/%s\n", revision, runtime.Version(), arch)
			if got, code := podfqdn("version"); got != want || code != 0 {
				t.Errorf("podfqdn version: exit %d, %q, want %q", code, got, want)
			}
			if got, code := podfqdn("help"); code != 0 || !strings.Contains(got, "usage: podfqdn COMMAND") {
				t.Errorf("podfqdn help: exit %d, %q", code, got)
			}
			if got, code := podfqdn("init"); code != 10 || !strings.Contains(got, `"msg":"not published"`) {
				t.Errorf("podfqdn init outside a Pod: exit %d, %q, want exit 10", code, got)
			}
		})
	}

	t.Run("plugin", func(t *testing.T) {
		archive := must(os.Open(filepath.Join(out, "kubectl-podfqdn-linux-"+runtime.GOARCH+".tar.gz")))(t)
		defer archive.Close()
		content := must(io.ReadAll(must(gzip.NewReader(archive))(t)))(t)
		path := filepath.Join(t.TempDir(), "kubectl-podfqdn")
		for h, inside := range entries(t, content) {
			if h.Name == "kubectl-podfqdn" {
				if err := os.WriteFile(path, inside, h.FileInfo().Mode()); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := fmt.Sprintf("kubectl podfqdn v1.2.3 %s %s linux/%s", revision, runtime.Version(), runtime.GOARCH)
		if got := command(t, ".", path, "version"); got != want {
			t.Errorf("kubectl podfqdn version: %q, want %q", got, want)
		}
	})

	// Otherwise a build takes the objects of the one before from the cache.
	t.Run("the same programs from an empty cache", func(t *testing.T) {
		clone := must(checkout(t.Context(), source, filepath.Join(t.TempDir(), "clone"), "v1.2.3"))(t)
		t.Setenv("GOCACHE", t.TempDir())
		for _, arch := range []string{"amd64", "arm64"} {
			program, _, err := clone.program(t.Context(), "./cmd/podfqdn", "linux", arch)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(program, onlyProgram(t, images[arch])) {
				t.Errorf("%s: the program has other bytes", arch)
			}
		}
	})
}

// imagesOf returns the images of a release by their architecture.
func imagesOf(t *testing.T, out string) map[string]v1.Image {
	t.Helper()
	top := must(layout.ImageIndexFromPath(filepath.Join(out, "oci")))(t)
	index := must(top.ImageIndex(must(top.IndexManifest())(t).Manifests[0].Digest))(t)
	images := map[string]v1.Image{}
	for _, d := range must(index.IndexManifest())(t).Manifests {
		images[d.Platform.Architecture] = must(index.Image(d.Digest))(t)
	}
	return images
}

// onlyProgram returns /podfqdn of an image that has no other file.
func onlyProgram(t *testing.T, img v1.Image) (program []byte) {
	t.Helper()
	layers := must(img.Layers())(t)
	if len(layers) != 1 {
		t.Fatalf("%d layers, want one", len(layers))
	}
	content := must(io.ReadAll(must(layers[0].Uncompressed())(t)))(t)
	found := 0
	for h, inside := range entries(t, content) {
		found++
		if h.Name != "podfqdn" || h.Typeflag != tar.TypeReg || h.Mode != 0o555 || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s of mode %o, owner %d:%d: want podfqdn of mode 555 and owner 0:0", h.Name, h.Mode, h.Uid, h.Gid)
		}
		program = inside
	}
	if found != 1 {
		t.Errorf("%d files, want one", found)
	}
	return program
}
