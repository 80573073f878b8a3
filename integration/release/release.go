package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/mod/semver"
)

// release is one that is being written.
type release struct {
	source   source
	image    string // the repository, as the user gave it
	dir      string // what is written
	progress io.Writer
}

// writeRelease writes the release of the commit that is checked out in the clone
// around from into the directory out: all of it, or nothing. Until then the release
// that is in out stays.
func writeRelease(ctx context.Context, out, from, version, image string, progress io.Writer) error {
	if err := checkVersion(version); err != nil {
		return err
	}
	if err := checkImage(image); err != nil {
		return err
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := checkOut(out); err != nil {
		return err
	}
	parent := filepath.Dir(out)
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return err
	}
	// Next to out, so that it can be renamed.
	work, err := os.MkdirTemp(parent, ".release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	clone, err := checkout(ctx, from, filepath.Join(work, "source"), version)
	if err != nil {
		return err
	}
	r := release{source: clone, image: image, dir: filepath.Join(work, "release"), progress: progress}
	for _, part := range []func(context.Context) error{r.writeImages, r.writePlugins, r.writeExamples} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	start := time.Now()
	files, err := writeSums(r.dir)
	if err != nil {
		return err
	}
	r.done(start, "%s of %d files", sumsFile, files)
	old := filepath.Join(work, "old")
	if err := os.Rename(out, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(r.dir, out); err != nil {
		_ = os.Rename(old, out) // it is removed with work otherwise
		return err
	}
	return nil
}

func checkVersion(version string) error {
	if semver.Build(version) != "" {
		return fmt.Errorf("version %q: a tag of an image cannot have a +: use -, as in v1.2.3-rc.1", version)
	}
	if version == "" || semver.Canonical(version) != version {
		return fmt.Errorf("version %q: want vMAJOR.MINOR.PATCH, as in make release VERSION=v1.2.3 IMAGE=registry.example.com/podfqdn", version)
	}
	return nil
}

func checkImage(image string) error {
	if _, err := name.NewRepository(image, name.StrictValidation); err != nil {
		return fmt.Errorf("image %q: want a registry and a repository, in small letters, without a scheme, a tag or a digest, as in make release VERSION=v1.2.3 IMAGE=registry.example.com/podfqdn", image)
	}
	return nil
}

// checkOut reports why out is not a directory to remove: something in it is not of a
// release.
func checkOut(out string) error {
	files, err := os.ReadDir(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	sums, err := readSums(out)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range files {
		if _, listed := sums[f.Name()]; !listed && !(len(sums) > 0 && slices.Contains([]string{sumsFile, sumsFile + ".sig", "oci"}, f.Name())) {
			return fmt.Errorf("%s has %s, which is not a file of a release, and a new release would replace it: move it, or give another directory", out, f.Name())
		}
	}
	return nil
}

// sumsFile is the list of what a release consists of, in the form of sha256sum.
const sumsFile = "SHA256SUMS"

// readSums returns what the list in the release's directory dir says: the SHA-256 of
// each file, in hexadecimal.
func readSums(dir string) (map[string]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return nil, err
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(text)) {
		sum, name, found := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !found || !fs.ValidPath(name) {
			return nil, fmt.Errorf("%s has the line %q, not SUM  FILE", filepath.Join(dir, sumsFile), line)
		}
		sums[name] = sum
	}
	return sums, nil
}

// checkSums reports a file of the release in dir that is not as it was built.
func checkSums(dir string) error {
	sums, err := readSums(dir)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		if sum := fmt.Sprintf("%x", sha256.Sum256(content)); sum != sums[name] {
			return fmt.Errorf("%s: %s has the sum %s, and %s lists %s", dir, name, sum, sumsFile, sums[name])
		}
	}
	for _, name := range []string{"image.txt", "oci/index.json"} {
		if sums[name] == "" {
			return fmt.Errorf("%s: %s does not list %s", dir, sumsFile, name)
		}
	}
	return nil
}

// reference returns the image's name with its digest, as image.txt has it.
func (r release) reference() (string, error) {
	line, err := os.ReadFile(filepath.Join(r.dir, "image.txt"))
	return strings.TrimSpace(string(line)), err
}

// write writes a file of the release. There are no directories: the forge, from
// where users have these files, does not have any either, and SHA256SUMS names them.
func (r release) write(name string, content []byte) error {
	if err := os.MkdirAll(r.dir, 0o777); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(r.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Close())
}

// done tells that a part of the release is done, and how long it took.
func (r release) done(start time.Time, format string, args ...any) {
	fmt.Fprintf(r.progress, "release build: %s: %.1f s\n", fmt.Sprintf(format, args...), time.Since(start).Seconds())
}

// writeSums writes SHA256SUMS into the release's directory dir, for sha256sum -c: a
// line for each file. oci/index.json has the digests of all else that is in oci.
func writeSums(dir string) (files int, err error) {
	var sums strings.Builder
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path == sumsFile || strings.HasPrefix(path, "oci/") && path != "oci/index.json" {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
		files++
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), path)
		return err
	})
	if err != nil {
		return 0, err
	}
	return files, os.WriteFile(filepath.Join(dir, sumsFile), []byte(sums.String()), 0o666)
}
