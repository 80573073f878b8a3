//go:build release

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// buildah is what a command needs to build images with Debian's buildah, as root, without a daemon
// and without network.
type buildah struct {
	dir    string // all that buildah writes is in it
	golang string // an image that stands in for golang, by digest
}

func newBuildah(t *testing.T) buildah {
	t.Helper()
	b := buildah{dir: t.TempDir()}
	for _, dir := range []string{"lib", "run", "tmp", "golang/rootfs/tmp"} {
		if err := os.MkdirAll(filepath.Join(b.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Its programs, git too, its Go and its modules are this machine's, mounted into the containers of a build.
	goEnv := func(name string) string { return strings.TrimSpace(b.run(t, "../..", "go", "env", name)) }
	b.run(t, "../..", "go", "mod", "download")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("containers.conf", fmt.Sprintf("[containers]\nvolumes = [%q, %q, %q, %q]\n", "/usr:/usr:ro",
		goEnv("GOROOT")+":/usr-go:ro", goEnv("GOMODCACHE")+"/cache/download:/modules:ro", goEnv("GOCACHE")+":/cache"))
	for _, dir := range []string{"bin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(b.dir, "golang/rootfs", dir)); err != nil {
			t.Fatal(err)
		}
	}
	write("golang/Dockerfile", "FROM scratch\nCOPY rootfs /\n"+
		"ENV PATH=/usr-go/bin:/usr/bin GOPATH=/go GOTOOLCHAIN=local GOPROXY=file:///modules GOCACHE=/cache\n")
	b.run(t, b.dir, "buildah", "build", "--quiet", "--tag", "localhost/golang", "golang")
	b.golang = "localhost/golang@" + strings.TrimSpace(b.run(t, b.dir, "buildah", "inspect", "--type", "image", "--format", "{{.FromImageDigest}}", "localhost/golang"))
	return b
}

// command returns a command that runs in the directory dir, and to which b.dir's lib and run are /var/lib and /run.
func (b buildah) command(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", `mount --bind "$0/lib" /var/lib && mount --bind "$0/run" /run && exec "$@"`, b.dir}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+b.dir+"/tmp", "STORAGE_DRIVER=vfs", "BUILDAH_ISOLATION=chroot", "CONTAINERS_CONF="+b.dir+"/containers.conf")
	return cmd
}

// run runs a command and returns what it writes to standard output.
func (b buildah) run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := b.command(dir, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s%s", args, err, out, stderr.String())
	}
	return string(out)
}

// The same commit, by make image and by make image-tar. The commit is HEAD of a clone; the files that
// decide how it is built are those of the working tree.
func TestTheDockerfileBuildsTheSameProgramIntoTheSameImage(t *testing.T) {
	b := newBuildah(t)
	source := filepath.Join(t.TempDir(), "podfqdn")
	b.run(t, ".", "git", "clone", "--quiet", "../..", source)
	for _, file := range []string{"Dockerfile", ".dockerignore", "Makefile"} {
		b.run(t, ".", "cp", filepath.Join("../..", file), source)
	}
	b.run(t, source, "make", "image-tar", "IMAGE=podfqdn:dev")
	archives := must(filepath.Glob(filepath.Join(source, "dist", "podfqdn-*.tar")))(t)
	if len(archives) != 1 {
		t.Fatalf("make image-tar wrote %q, want one archive", archives)
	}
	tag := must(name.NewTag("podfqdn:dev"))(t)
	want := must(tarball.ImageFromPath(archives[0], &tag))(t)

	b.run(t, source, "make", "image", "ENGINES=buildah", "GO_IMAGE="+b.golang, "IMAGE=localhost/podfqdn:dev")
	out := t.TempDir()
	b.run(t, source, "buildah", "push", "--quiet", "localhost/podfqdn:dev", "oci:"+out)
	index := must(must(layout.ImageIndexFromPath(out))(t).IndexManifest())(t)
	if len(index.Manifests) != 1 {
		t.Fatalf("%d images, want one", len(index.Manifests))
	}
	got := must(must(layout.FromPath(out))(t).Image(index.Manifests[0].Digest))(t)

	gotConfig, wantConfig := runtimeConfig(t, got), runtimeConfig(t, want)
	if gotConfig != wantConfig {
		t.Errorf("the Dockerfile's image is\n%s\nand should be\n%s", gotConfig, wantConfig)
	}
	gotHeader, gotProgram := onlyFile(t, got)
	wantHeader, wantProgram := onlyFile(t, want)
	if gotHeader != wantHeader {
		t.Errorf("its file is %s and should be %s", gotHeader, wantHeader)
	}
	if !bytes.Equal(gotProgram, wantProgram) {
		t.Errorf("its program has other bytes, %d of them; make image-tar has %d", len(gotProgram), len(wantProgram))
	}

	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "podfqdn"), gotProgram, 0o555); err != nil {
		t.Fatal(err)
	}
	version := exec.Command("/podfqdn", "version")
	version.Dir, version.Env = "/", []string{}
	version.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	printed, err := version.CombinedOutput()
	revision := must(got.ConfigFile())(t).Config.Labels["org.opencontainers.image.revision"]
	if err != nil || len(revision) != 40 || !strings.Contains(string(printed), revision[:12]) {
		t.Errorf("in its image, podfqdn version prints %q (%v), want commit %s", printed, err, revision)
	}
	t.Logf("%s", printed)
}

func TestABaseThatIsNotThereIsNamed(t *testing.T) {
	b := newBuildah(t)
	out, err := b.command("../..", "make", "image", "ENGINES=buildah", "GO_IMAGE=localhost/golang:missing").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "localhost/golang:missing") {
		t.Errorf("%v, and the base's name is not in %s", err, out)
	}
}

func TestWithoutAnEngineTheWayThatNeedsNoneIsNamed(t *testing.T) {
	out, err := exec.Command("make", "-C", "../..", "image", "ENGINES=an-engine-that-is-missing").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "an-engine-that-is-missing; make image-tar needs no engine") {
		t.Errorf("%v: %s", err, out)
	}
}

// runtimeConfig returns what a container runtime reads of an image's configuration.
func runtimeConfig(t *testing.T, img v1.Image) string {
	t.Helper()
	file := must(img.ConfigFile())(t)
	c := file.Config
	// Buildah's own, which BuildKit does not have. Buildah leaves out "/", where a container starts anyway.
	delete(c.Labels, "io.buildah.version")
	if c.WorkingDir == "" {
		c.WorkingDir = "/"
	}
	// Created is not in it: buildah before 1.41, which Debian 12 has, writes the time of the build.
	return fmt.Sprintf("%s/%s, %+v", file.OS, file.Architecture, c)
}

// onlyFile returns the file that is all of an image: what its header says, and its bytes.
func onlyFile(t *testing.T, img v1.Image) (header string, content []byte) {
	t.Helper()
	layers := must(img.Layers())(t)
	if len(layers) != 1 {
		t.Fatalf("%d layers, want one", len(layers))
	}
	r := must(layers[0].Uncompressed())(t)
	defer r.Close()
	var all bytes.Buffer
	must(all.ReadFrom(r))(t)
	n := 0
	for h, bytes := range entries(t, all.Bytes()) {
		header, content = fmt.Sprintf("%q, %v, owner %d:%d, %d bytes, of %v", h.Name, h.FileInfo().Mode(), h.Uid, h.Gid, h.Size, h.ModTime.UTC()), bytes
		n++
	}
	if n != 1 {
		t.Fatalf("%d files in the layer, want one", n)
	}
	return header, content
}
