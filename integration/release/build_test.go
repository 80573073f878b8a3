package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"sigs.k8s.io/yaml"
)

const repository = "registry.example.com/tools/podfqdn"

// small is a repository with what a release is made of, whose programs do nothing:
// so they are built for every architecture in seconds. Its last commit is of day.
func small(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	krew := `spec:
  version: v0.0.0
  platforms:
  - selector: {matchLabels: {os: linux, arch: amd64}}
    uri: https://example.com/v0.0.0/kubectl-podfqdn-linux-amd64.tar.gz
    sha256: "0000000000000000000000000000000000000000000000000000000000000000"
    bin: kubectl-podfqdn
  - selector: {matchLabels: {os: windows, arch: amd64}}
    uri: https://example.com/v0.0.0/kubectl-podfqdn-windows-amd64.tar.gz
    sha256: "0000000000000000000000000000000000000000000000000000000000000000"
    bin: kubectl-podfqdn.exe
`
	licence := must(os.ReadFile("../../LICENSE"))(t)
	for name, content := range map[string]string{
		"go.mod":                          "module github.com/podfqdn/podfqdn\n\ngo 1.26.0\n",
		"LICENSE":                         string(licence),
		".gitignore":                      "/bin/\n",
		"cmd/podfqdn/main.go":             "package main\n\nfunc main() {}\n",
		"cmd/kubectl-podfqdn/main.go":     "package main\n\nfunc main() {}\n",
		"cmd/kubectl-podfqdn/krew.yaml":   krew,
		"examples/pod.yaml":               "spec:\n  containers:\n  - {name: a, image: podfqdn:dev}\n",
		"examples/volume.yaml":            "image:\n  reference: podfqdn:dev # make image\n",
		"examples/not-a-manifest.txt":     "podfqdn:dev\n",
		"identity/testdata/unrelated.txt": "podfqdn:dev\n",
	} {
		save(t, filepath.Join(dir, name), content)
	}
	command(t, dir, "git", "init", "--quiet")
	command(t, dir, "git", "add", "--all")
	commit(t, dir)
	return dir
}

func save(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, dir string) {
	t.Helper()
	date := day.Format("2006-01-02T15:04:05Z")
	command(t, dir, "env", "GIT_COMMITTER_DATE="+date, "GIT_AUTHOR_DATE="+date,
		"git", "-c", "user.name=A Test", "-c", "user.email=test@example.com", "commit", "--quiet", "--all", "--message", "a commit")
}

func command(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, output)
	}
	return strings.TrimSpace(string(output))
}

// built runs release build in a directory of its own, and returns where the release is.
func built(t *testing.T, source string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "dist", "release")
	var stderr strings.Builder
	if code := run([]string{"build", "-source", source, "-version", "v1.2.3", "-image", repository, "-o", out}, &stderr); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
	t.Log(stderr.String())
	return out
}

// files returns the content of every file below dir, by its path.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			all[path] = string(must(os.ReadFile(filepath.Join(dir, path)))(t))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// differences returns the paths of files that only one release has, or that differ.
func differences(a, b map[string]string) (paths []string) {
	for path := range a {
		if other, ok := b[path]; !ok || other != a[path] {
			paths = append(paths, path)
		}
	}
	for path := range b {
		if _, ok := a[path]; !ok {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

func TestTheSameCommitGivesTheSameRelease(t *testing.T) {
	source := small(t)
	first := files(t, built(t, source))
	// Another directory, in which other versions are tagged, in another time zone, by a
	// user whose git has other ends of lines and whose Go has other processors in mind.
	other := filepath.Join(t.TempDir(), "another", "clone")
	command(t, ".", "git", "clone", "--quiet", source, other)
	command(t, other, "git", "tag", "v9.9.9")
	command(t, source, "git", "tag", "v1.2.3-rc.1")
	config := filepath.Join(t.TempDir(), "gitconfig")
	save(t, config, "[core]\n\tautocrlf = true\n[tag]\n\tgpgSign = true\n")
	t.Setenv("GIT_CONFIG_GLOBAL", config)
	t.Setenv("XDG_CONFIG_HOME", filepath.Dir(config))
	save(t, filepath.Join(filepath.Dir(config), "git", "attributes"), "* text eol=crlf\n")
	t.Setenv("TZ", "Pacific/Kiritimati")
	t.Setenv("GOAMD64", "v3")
	t.Setenv("GOFLAGS", "-tags=netgo")
	t.Setenv("GOEXPERIMENT", "jsonv2")
	second := files(t, built(t, filepath.Join(other, "cmd")))
	if d := differences(first, second); d != nil {
		t.Errorf("these files differ: %q", d)
	}
	if len(first) < 30 {
		t.Errorf("%d files were compared", len(first))
	}
}

// Go compares a module with go.sum when it is downloaded, and believes its cache from then on.
func TestAModuleThatWasChangedInTheCacheIsRefused(t *testing.T) {
	dir := t.TempDir()
	module := command(t, "../..", "go", "list", "-m", "-f", "{{.Path}} {{.Version}}", "golang.org/x/time")
	save(t, filepath.Join(dir, "go.mod"), "module example.com/m\n\ngo 1.26.0\n\nrequire "+module+"\n")
	save(t, filepath.Join(dir, "go.sum"), string(must(os.ReadFile("../../go.sum"))(t)))
	t.Setenv("GOPROXY", "file://"+filepath.Join(command(t, ".", "go", "env", "GOMODCACHE"), "cache", "download"))
	cache := t.TempDir()
	t.Setenv("GOMODCACHE", cache)
	command(t, dir, "go", "mod", "download", "-modcacherw") // for the test to remove it
	s := source{dir: dir}
	if err := s.verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(cache, strings.Replace(module, " ", "@", 1), "rate", "rate.go"), "package rate\n")
	if err := s.verify(t.Context()); err == nil || !strings.Contains(err.Error(), "dir has been modified") {
		t.Errorf("%v", err)
	}
}

func TestAReleaseIsAnIndexWithSBOMsArchivesExamplesAndSums(t *testing.T) {
	source := small(t)
	revision := command(t, source, "git", "rev-parse", "HEAD")
	out := built(t, source)
	all := files(t, out)

	var names []string
	for name := range all {
		if !strings.HasPrefix(name, "oci/") || name == "oci/index.json" {
			names = append(names, name)
		}
	}
	want := []string{"SHA256SUMS", "oci/index.json", "image.txt", "krew.yaml", "pod.yaml", "volume.yaml",
		"kubectl-podfqdn-linux-amd64.tar.gz", "kubectl-podfqdn-windows-amd64.tar.gz"}
	for _, described := range []string{"podfqdn", "podfqdn-linux-amd64", "podfqdn-linux-arm64", "podfqdn-linux-ppc64le", "podfqdn-linux-riscv64",
		"podfqdn-linux-s390x", "kubectl-podfqdn-linux-amd64", "kubectl-podfqdn-windows-amd64"} {
		want = append(want, described+".cdx.json", described+".spdx.json")
	}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("files\n%q, want\n%q", names, want)
	}

	t.Run("sums", func(t *testing.T) {
		sums := map[string]string{}
		for line := range strings.Lines(all["SHA256SUMS"]) {
			sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
			sums[name] = sum
		}
		if len(sums) != len(want)-1 {
			t.Errorf("%d sums of %d files", len(sums), len(want)-1)
		}
		for name, sum := range sums {
			if got := sha256.Sum256([]byte(all[name])); fmt.Sprintf("%x", got) != sum {
				t.Errorf("%s: sum %s, want %x", name, sum, got)
			}
		}
	})

	t.Run("layout", func(t *testing.T) { checkLayout(t, out, revision) })

	t.Run("examples", func(t *testing.T) {
		image := strings.TrimSpace(all["image.txt"])
		if got, want := all["pod.yaml"], "spec:\n  containers:\n  - {name: a, image: "+image+"}\n"; got != want {
			t.Errorf("pod.yaml: %q, want %q", got, want)
		}
		if got, want := all["volume.yaml"], "image:\n  reference: "+image+"\n"; got != want {
			t.Errorf("volume.yaml: %q, want %q", got, want)
		}
	})

	t.Run("krew", func(t *testing.T) {
		var manifest krew
		if err := yaml.Unmarshal([]byte(all["krew.yaml"]), &manifest); err != nil {
			t.Fatal(err)
		}
		if manifest.Spec.Version != "v1.2.3" || len(manifest.Spec.Platforms) != 2 {
			t.Fatalf("%s", all["krew.yaml"])
		}
		for _, p := range manifest.Spec.Platforms {
			archive := all[filepath.Base(p.URI)]
			if sum := sha256.Sum256([]byte(archive)); fmt.Sprintf("%x", sum) != p.SHA256 || !strings.Contains(p.URI, "/v1.2.3/") {
				t.Errorf("%s has the sum %x, krew.yaml says %s", p.URI, sum, p.SHA256)
			}
			content := must(gzip.NewReader(strings.NewReader(archive)))(t)
			var inside bytes.Buffer
			must(inside.ReadFrom(content))(t)
			var names []string
			for h := range entries(t, inside.Bytes()) {
				names = append(names, fmt.Sprintf("%s %o", h.Name, h.Mode))
				if !h.ModTime.Equal(day) || h.Uid != 0 || h.Gid != 0 {
					t.Errorf("%s in %s: of %v, owner %d:%d", h.Name, p.URI, h.ModTime, h.Uid, h.Gid)
				}
			}
			if want := []string{"LICENSE 644", "THIRD_PARTY_LICENSES 644", p.Bin + " 755"}; !slices.Equal(names, want) {
				t.Errorf("%s has %q, want %q", p.URI, names, want)
			}
		}
	})
}

// checkLayout checks the images of a release of this commit, their index, and what is attached to them.
func checkLayout(t *testing.T, out, revision string) {
	t.Helper()
	index := must(layout.ImageIndexFromPath(filepath.Join(out, "oci")))(t)
	manifest := must(index.IndexManifest())(t)
	first := manifest.Manifests[0]
	if got := first.Annotations["org.opencontainers.image.ref.name"]; got != "v1.2.3" {
		t.Errorf("the first manifest is called %q, want v1.2.3", got)
	}
	line := string(must(os.ReadFile(filepath.Join(out, "image.txt")))(t))
	if want := repository + ":v1.2.3@" + first.Digest.String() + "\n"; line != want {
		t.Errorf("image.txt is %q, want %q", line, want)
	}

	all := must(index.ImageIndex(first.Digest))(t)
	if err := validate.Index(all); err != nil {
		t.Error(err)
	}
	subjects := map[v1.Hash]string{first.Digest: "the index"}
	images := must(all.IndexManifest())(t)
	checkNotes(t, "the index", images.Annotations, revision)
	for _, d := range images.Manifests {
		if d.ArtifactType != "" || d.MediaType != "application/vnd.oci.image.manifest.v1+json" {
			t.Errorf("%v: %s of type %q", d.Platform, d.MediaType, d.ArtifactType)
		}
		subjects[d.Digest] = d.Platform.String()
		img := must(all.Image(d.Digest))(t)
		checkNotes(t, d.Platform.String(), must(img.Manifest())(t).Annotations, revision)
		config := must(img.ConfigFile())(t)
		if config.Platform().String() != d.Platform.String() {
			t.Errorf("the index says %v, the image is for %v", d.Platform, config.Platform())
		}
	}
	if want := []string{"linux/amd64", "linux/arm64", "linux/ppc64le", "linux/riscv64", "linux/s390x", "the index"}; !slices.Equal(slices.Sorted(maps.Values(subjects)), want) {
		t.Errorf("there are %v", subjects)
	}

	attached := map[string]int{}
	for _, d := range manifest.Manifests[1:] {
		if len(d.Annotations) != 0 {
			t.Errorf("%s has annotations, by which it may be taken for an image: %v", d.Digest, d.Annotations)
		}
		img := must(index.Image(d.Digest))(t)
		if err := validate.Image(img); err != nil {
			t.Errorf("%s: %v", d.Digest, err)
		}
		m := must(img.Manifest())(t)
		document := must(must(img.Layers())(t)[0].Uncompressed())(t)
		var content map[string]any
		if err := json.NewDecoder(document).Decode(&content); err != nil {
			t.Errorf("%s: %v", d.Digest, err)
		}
		if m.ArtifactType == "" || m.ArtifactType != d.ArtifactType || m.ArtifactType != string(m.Layers[0].MediaType) {
			t.Errorf("%s is a %q in a %q, and index.json says %q", d.Digest, m.Layers[0].MediaType, m.ArtifactType, d.ArtifactType)
		}
		name := m.Layers[0].Annotations["org.opencontainers.image.title"]
		if got := must(os.ReadFile(filepath.Join(out, name)))(t); sum(got) != m.Layers[0].Digest.Hex {
			t.Errorf("%s: what is attached is not %s", d.Digest, name)
		}
		attached[subjects[m.Subject.Digest]+" "+m.ArtifactType]++
	}
	want := map[string]int{}
	for _, subject := range subjects {
		want[subject+" application/vnd.cyclonedx+json"]++
		want[subject+" application/spdx+json"]++
	}
	if !maps.Equal(attached, want) {
		t.Errorf("attached are %v, want %v", attached, want)
	}
}

func sum(content []byte) string { return fmt.Sprintf("%x", sha256.Sum256(content)) }

func checkNotes(t *testing.T, what string, notes map[string]string, revision string) {
	t.Helper()
	want := labels("v1.2.3", revision)
	created := notes["org.opencontainers.image.created"]
	want["org.opencontainers.image.created"] = created
	if !maps.Equal(notes, want) || !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`).MatchString(created) {
		t.Errorf("%s has the annotations %v", what, notes)
	}
}

// Nothing but the image changes in the examples.
func TestExamplesNameTheImageByDigest(t *testing.T) {
	const image = repository + ":v1.2.3@sha256:4a1c4b21597c1b4415bdbecb28a3296c6b5e23ca4f9feeb599860a1dac6a0108"
	r := release{source: source{dir: "../.."}, dir: t.TempDir(), progress: t.Output()}
	save(t, filepath.Join(r.dir, "image.txt"), image+"\n")
	if err := r.writeExamples(t.Context()); err != nil {
		t.Fatal(err)
	}
	paths := must(filepath.Glob("../../examples/*.yaml"))(t)
	images := 0
	for _, path := range paths {
		before := string(must(os.ReadFile(path))(t))
		after := string(must(os.ReadFile(filepath.Join(r.dir, filepath.Base(path))))(t))
		if strings.Contains(after, "podfqdn:dev") {
			t.Errorf("%s: podfqdn:dev is still there", path)
		}
		objects, pinned := strings.Split(before, "\n---\n"), strings.Split(after, "\n---\n")
		if len(objects) != len(pinned) {
			t.Fatalf("%s: %d documents have become %d", path, len(objects), len(pinned))
		}
		for i := range objects {
			var want, got any
			if err := yaml.UnmarshalStrict([]byte(objects[i]), &want); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if err := yaml.UnmarshalStrict([]byte(pinned[i]), &got); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			want = replace(want, func(key, value string) string {
				if (key == "image" || key == "reference") && value == "podfqdn:dev" {
					images++
					return image
				}
				return value
			})
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: document %d is\n%v, want\n%v", path, i, got, want)
			}
		}
		if got, want := strings.ReplaceAll(after, image, "podfqdn:dev"), strings.ReplaceAll(before, " # make image", ""); got != want {
			t.Errorf("%s: more than the image has changed", path)
		}
	}
	if len(paths) < 20 || images < 20 {
		t.Errorf("%d examples with %d images", len(paths), images)
	}
}

// replace returns a value of YAML with its strings replaced; key is a string's name in the map that it is in.
func replace(value any, by func(key, value string) string) any {
	switch v := value.(type) {
	case map[string]any:
		for key, inside := range v {
			if s, ok := inside.(string); ok {
				v[key] = by(key, s)
			} else {
				v[key] = replace(inside, by)
			}
		}
	case []any:
		for i := range v {
			v[i] = replace(v[i], by)
		}
	}
	return value
}

func TestAnExampleWhoseImageIsNotSeenIsRefused(t *testing.T) {
	r := release{source: source{dir: t.TempDir()}, dir: t.TempDir(), progress: t.Output()}
	save(t, filepath.Join(r.dir, "image.txt"), "image\n")
	save(t, filepath.Join(r.source.dir, "examples", "pod.yaml"), "args: [podfqdn:dev]\n")
	if err := r.writeExamples(t.Context()); err == nil || !strings.Contains(err.Error(), "pod.yaml: podfqdn:dev is in a place") {
		t.Error(err)
	}
}

func TestAReleaseThatCannotBeMadeIsRefusedInOneSentence(t *testing.T) {
	source := small(t)
	dirty := filepath.Join(t.TempDir(), "dirty")
	command(t, ".", "git", "clone", "--quiet", source, dirty)
	save(t, filepath.Join(dirty, "LICENSE"), "mine\n")
	save(t, filepath.Join(dirty, "forgotten.go"), "package main\n")
	broken := filepath.Join(t.TempDir(), "broken")
	command(t, ".", "git", "clone", "--quiet", source, broken)
	save(t, filepath.Join(broken, "cmd/podfqdn/main.go"), "package main\n\nfunc main() { nothing() }\n")
	commit(t, broken)
	precious := t.TempDir()
	save(t, filepath.Join(precious, "thesis.txt"), "")
	outside := t.TempDir()

	for _, c := range []struct{ title, source, version, image, out, want string }{
		{"no version", source, "", repository, "", `version "": want vMAJOR.MINOR.PATCH, as in make release VERSION=v1.2.3`},
		{"git describe", source, "9cf7666-dirty", repository, "", `version "9cf7666-dirty": want vMAJOR.MINOR.PATCH`},
		{"no patch", source, "v1.2", repository, "", `version "v1.2": want vMAJOR.MINOR.PATCH`},
		{"no v", source, "1.2.3", repository, "", `version "1.2.3": want vMAJOR.MINOR.PATCH`},
		{"build", source, "v1.2.3+1", repository, "", `version "v1.2.3+1": a tag of an image cannot have a +`},
		{"no image", source, "v1.2.3", "", "", `image "": want a registry and a repository, in small letters, without a scheme, a tag or a digest, as in make release VERSION=v1.2.3 IMAGE=registry.example.com/podfqdn`},
		{"tag", source, "v1.2.3", "podfqdn:dev", "", `image "podfqdn:dev": want a registry and a repository`},
		{"tag in a registry", source, "v1.2.3", repository + ":v1.2.3", "", "without a scheme, a tag or a digest"},
		{"digest", source, "v1.2.3", repository + "@sha256:" + strings.Repeat("0", 64), "", "without a scheme, a tag or a digest"},
		{"no registry", source, "v1.2.3", "tools/podfqdn", "", `image "tools/podfqdn": want a registry`},
		{"dirty", dirty, "v1.2.3", repository, "", "differs from it: commit it, or stash it with git stash -u:  M LICENSE, ?? forgotten.go"},
		{"outside", outside, "v1.2.3", repository, "", outside + " is not in a clone"},
		{"no such directory", "/does/not/exist", "v1.2.3", repository, "", "/does/not/exist is not in a clone"},
		{"does not compile", broken, "v1.2.3", repository, "", "go build ./cmd/podfqdn for linux/amd64: exit status 1: # github.com/podfqdn/podfqdn/cmd/podfqdn"},
		{"version of another module", source, "v2.0.0", repository, "", `want "v2.0.0"`},
		{"not a release", source, "v1.2.3", repository, precious, precious + " has thesis.txt, which is not a file of a release"},
	} {
		t.Run(c.title, func(t *testing.T) {
			dist := t.TempDir()
			out := c.out
			if out == "" {
				out = filepath.Join(dist, "release")
			}
			var stderr strings.Builder
			code := run([]string{"build", "-source", c.source, "-version", c.version, "-image", c.image, "-o", out}, &stderr)
			if code != 1 || !strings.Contains(stderr.String(), c.want) || !strings.HasPrefix(stderr.String(), "release build: ") {
				t.Errorf("exit %d, %q, want exit 1 and %q", code, stderr.String(), c.want)
			}
			if left := must(os.ReadDir(dist))(t); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	must(os.Stat(filepath.Join(precious, "thesis.txt")))(t)

	t.Run("without git", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		var stderr strings.Builder
		if code := run([]string{"build", "-source", source, "-version", "v1.2.3", "-image", repository, "-o", filepath.Join(t.TempDir(), "release")}, &stderr); code != 1 || !strings.Contains(stderr.String(), "git, which is not in PATH") {
			t.Errorf("exit %d, %q", code, stderr.String())
		}
	})
	t.Run("the old release stays until the new one is there", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "release")
		save(t, filepath.Join(out, "image.txt"), "old\n")
		must(writeSums(out))(t)
		before := files(t, out)
		build := func(source string) (int, string) {
			var stderr strings.Builder
			code := run([]string{"build", "-source", source, "-version", "v1.2.3", "-image", repository, "-o", out}, &stderr)
			return code, stderr.String()
		}
		if code, output := build(broken); code != 1 || differences(before, files(t, out)) != nil {
			t.Errorf("exit %d, %q: the old release has changed", code, output)
		}
		save(t, filepath.Join(out, "cosign.key"), "secret")
		if code, output := build(source); code != 1 || !strings.Contains(output, "has cosign.key, which is not a file of a release") {
			t.Errorf("exit %d, %q", code, output)
		}
		if err := os.Remove(filepath.Join(out, "cosign.key")); err != nil {
			t.Fatal(err)
		}
		if code, output := build(source); code != 0 || files(t, out)["image.txt"] == "old\n" {
			t.Errorf("exit %d, %q", code, output)
		}
		if left := must(os.ReadDir(filepath.Dir(out)))(t); len(left) != 1 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// In a hook git sets GIT_DIR, by which git in another directory would change the user's repository.
func TestTheUsersRepositoryIsLeftAsItIs(t *testing.T) {
	source := small(t)
	before := files(t, source)
	t.Setenv("GIT_DIR", filepath.Join(source, ".git"))
	t.Setenv("GIT_WORK_TREE", source)
	t.Setenv("GIT_INDEX_FILE", filepath.Join(source, ".git", "index"))
	dir := filepath.Join(t.TempDir(), "clone")
	clone := must(checkout(t.Context(), source, dir, "v1.2.3"))(t)
	if clone.version != "v1.2.3" || len(clone.revision) != 40 || !clone.date.Equal(day) {
		t.Errorf("%+v", clone)
	}
	if d := differences(before, files(t, source)); d != nil {
		t.Errorf("changed: %q", d)
	}
}
