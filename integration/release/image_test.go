package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// program returns the path of the smallest file that the kernel would take for
// a Linux program of machine: an ELF header, and the segments asked for.
func program(t *testing.T, machine elf.Machine, segments ...elf.ProgType) string {
	t.Helper()
	var b bytes.Buffer
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(len(segments)),
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	_ = binary.Write(&b, binary.LittleEndian, header)
	for _, s := range segments {
		_ = binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(s)})
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// archive runs the command and returns the path of what it wrote.
func archive(t *testing.T, binary, arch string, more ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image.tar")
	var stderr strings.Builder
	if code := run(append([]string{"image", "-o", out, "-binary", binary, "-arch", arch}, more...), &stderr); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
	return out
}

func load(t *testing.T, path string) v1.Image {
	t.Helper()
	tag := must(name.NewTag("podfqdn:dev"))(t)
	return must(tarball.ImageFromPath(path, &tag))(t)
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestTheSameBinaryGivesTheSameBytes(t *testing.T) {
	for arch, machine := range machines {
		binary := program(t, machine)
		first := must(os.ReadFile(archive(t, binary, arch)))(t)
		// A copy with another date, owner bits and name: none may show.
		later := filepath.Join(t.TempDir(), "other-name")
		if err := os.WriteFile(later, must(os.ReadFile(binary))(t), 0o700); err != nil {
			t.Fatal(err)
		}
		if second := must(os.ReadFile(archive(t, later, arch)))(t); !bytes.Equal(first, second) {
			t.Errorf("%s: two archives of one binary differ", arch)
		}
	}
}

func TestTheArchiveIsAWholeImageOfItsArchitecture(t *testing.T) {
	for arch, machine := range machines {
		img := load(t, archive(t, program(t, machine), arch, "-date", fmt.Sprint(day.Unix())))
		if err := validate.Image(img); err != nil {
			t.Errorf("%s: %v", arch, err)
		}
		config := must(img.ConfigFile())(t)
		if config.OS != "linux" || config.Architecture != arch {
			t.Errorf("platform %s/%s, want linux/%s", config.OS, config.Architecture, arch)
		}
		if !config.Created.Equal(day) || !config.History[0].Created.Equal(day) {
			t.Errorf("created %v, its layer %v, want %v", config.Created, config.History[0].Created, day)
		}
	}
}

func TestTheManifestNamesTheTagAndOnlyFilesOfTheArchive(t *testing.T) {
	path := archive(t, program(t, elf.EM_X86_64), "amd64", "-tag", "example.org/a/podfqdn:v1.2.3")
	files := map[string][]byte{}
	for h, content := range entries(t, must(os.ReadFile(path))(t)) {
		files[h.Name] = content
	}
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 1 || len(manifest[0].Layers) != 1 || len(files) != 3 {
		t.Fatalf("%d images in %d files, want one image of one layer in 3: %s", len(manifest), len(files), files["manifest.json"])
	}
	if want := []string{"example.org/a/podfqdn:v1.2.3"}; !slices.Equal(manifest[0].RepoTags, want) {
		t.Errorf("tags %q, want %q", manifest[0].RepoTags, want)
	}
	for _, f := range []string{manifest[0].Config, manifest[0].Layers[0]} {
		if len(files[f]) == 0 {
			t.Errorf("the manifest names %q, which is not in the archive", f)
		}
	}
}

func TestTheLayerHoldsTheBinaryAndNothingElse(t *testing.T) {
	binary := program(t, elf.EM_X86_64)
	layers := must(load(t, archive(t, binary, "amd64", "-date", fmt.Sprint(day.Unix()))).Layers())(t)
	if len(layers) != 1 {
		t.Fatalf("%d layers, want 1", len(layers))
	}
	layer := must(io.ReadAll(must(layers[0].Uncompressed())(t)))(t)
	var names []string
	for h, content := range entries(t, layer) {
		names = append(names, h.Name)
		if h.Typeflag != tar.TypeReg || h.Mode != 0o555 || h.Uid != 0 || h.Gid != 0 || h.Uname+h.Gname != "" || !h.ModTime.Equal(day) {
			t.Errorf("%+v: want a regular file of mode 0555 and owner 0:0 of %v", h, day)
		}
		if !bytes.Equal(content, must(os.ReadFile(binary))(t)) {
			t.Errorf("%s is not the binary", h.Name)
		}
	}
	if !slices.Equal(names, []string{"podfqdn"}) {
		t.Errorf("files %q, want podfqdn alone", names)
	}
}

func TestAProgramThatScratchCannotStartIsRefused(t *testing.T) {
	amd64 := program(t, elf.EM_X86_64)
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ binary, arch, want string }{
		{amd64, "arm64", "built for EM_X86_64, not for arm64"},
		{amd64, "386", `no image for architecture "386"`},
		{script, "amd64", "not a Linux program"},
		{program(t, elf.EM_X86_64, elf.PT_INTERP), "amd64", "dynamically linked"},
		{"/does/not/exist", "amd64", "no such file"},
	} {
		out := filepath.Join(t.TempDir(), "image.tar")
		var stderr strings.Builder
		code := run([]string{"image", "-o", out, "-binary", c.binary, "-arch", c.arch}, &stderr)
		if code != 1 || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%s for %s: exit %d, %q, want exit 1 and %q", c.binary, c.arch, code, stderr.String(), c.want)
		}
		if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s for %s: an archive was written", c.binary, c.arch)
		}
	}
}

func TestTheDockerfileDescribesTheSameImage(t *testing.T) {
	stage := lastStage(t, "../../Dockerfile")
	content := must(os.ReadFile(program(t, elf.EM_X86_64)))(t)
	img := must(newImage(content, "amd64", labels(stage.args["VERSION"], stage.args["REVISION"]), day))(t)
	config := must(img.ConfigFile())(t).Config
	if config.User != stage.user {
		t.Errorf("user %q, Dockerfile %q", config.User, stage.user)
	}
	if !slices.Equal(config.Entrypoint, stage.entrypoint) || !slices.Equal(config.Cmd, stage.cmd) {
		t.Errorf("runs %q %q, Dockerfile %q %q", config.Entrypoint, config.Cmd, stage.entrypoint, stage.cmd)
	}
	if !maps.Equal(config.Labels, stage.labels) {
		t.Errorf("labels\n%v, Dockerfile\n%v", config.Labels, stage.labels)
	}
	if want := []string{"--from=build --chown=0:0 --chmod=0555 /podfqdn /podfqdn"}; !slices.Equal(stage.copies, want) {
		t.Errorf("COPY %q, want %q", stage.copies, want)
	}

	var stderr strings.Builder
	run([]string{"image", "-h"}, &stderr)
	for arg, value := range stage.args {
		if flag := "-" + strings.ToLower(arg) + " "; !regexp.MustCompile(flag + `[^\n]*\n[^\n]*\(default "` + value + `"\)`).MatchString(stderr.String()) {
			t.Errorf("ARG %s=%s: no flag %swith this default:\n%s", arg, value, flag, stderr.String())
		}
	}
}

func TestTheDockerfileBuildsWithTheGoOfTheModule(t *testing.T) {
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(must(os.ReadFile("../../go.mod"))(t))
	got := regexp.MustCompile(`(?m)^ARG GO_IMAGE=.*\bgolang:(\S+)`).FindSubmatch(must(os.ReadFile("../../Dockerfile"))(t))
	if want == nil || got == nil || !bytes.Equal(want[1], got[1]) {
		t.Errorf("go.mod %q, Dockerfile %q", want, got)
	}
}

// A tracked file that is missing in the build context makes the version end in +dirty.
func TestTheBuildContextLeavesOutWhatGitIgnoresAndNothingElse(t *testing.T) {
	patterns := func(file string) (lines []string) {
		for line := range strings.Lines(string(must(os.ReadFile(file))(t))) {
			if line = strings.Trim(line, "/ \n"); line != "" && line[0] != '#' {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		return lines
	}
	if docker, git := patterns("../../.dockerignore"), patterns("../../.gitignore"); !slices.Equal(docker, git) {
		t.Errorf(".dockerignore %q, .gitignore %q", docker, git)
	}
}

// entries returns the files of a tar archive with their content.
func entries(t *testing.T, archive []byte) iter.Seq2[*tar.Header, []byte] {
	return func(yield func(*tar.Header, []byte) bool) {
		for r := tar.NewReader(bytes.NewReader(archive)); ; {
			h, err := r.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !yield(h, must(io.ReadAll(r))(t)) {
				return
			}
		}
	}
}

type stage struct {
	user            string
	entrypoint, cmd []string
	args, labels    map[string]string
	copies          []string
}

// lastStage reads as much of the Dockerfile syntax as our Dockerfile uses, and
// fails on the rest.
func lastStage(t *testing.T, path string) (s stage) {
	t.Helper()
	text := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(string(must(os.ReadFile(path))(t)), "")
	_, text, _ = strings.Cut(text, "\nFROM scratch\n")
	if text == "" || strings.Contains(text, "\nFROM ") {
		t.Fatalf("%s: the last stage is not FROM scratch", path)
	}
	s.args, s.labels = map[string]string{}, map[string]string{}
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		var err error
		switch word {
		case "":
		case "ARG":
			arg, value, _ := strings.Cut(rest, "=")
			s.args[arg] = value
		case "LABEL":
			pair := regexp.MustCompile(`^\s*([^\s="]+)="([^"\\]*)"`)
			for m := pair.FindStringSubmatch(rest); m != nil; m = pair.FindStringSubmatch(rest) {
				s.labels[m[1]] = os.Expand(m[2], func(arg string) string { return s.args[arg] })
				rest = rest[len(m[0]):]
			}
			if rest = strings.TrimSpace(rest); rest != "" {
				err = fmt.Errorf("label %q", rest)
			}
		case "COPY":
			s.copies = append(s.copies, rest)
		case "USER":
			s.user = rest
		case "ENTRYPOINT":
			err = json.Unmarshal([]byte(rest), &s.entrypoint)
		case "CMD":
			err = json.Unmarshal([]byte(rest), &s.cmd)
		default:
			err = errors.New("unknown here")
		}
		if err != nil {
			t.Fatalf("%s: %s: %v", path, cmp.Or(word, line), err)
		}
	}
	return s
}
