package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
// around from into the directory out: all of it, or nothing.
func writeRelease(ctx context.Context, out, from, version, image string, progress io.Writer) error {
	if err := checkVersion(version); err != nil {
		return err
	}
	if err := checkImage(image); err != nil {
		return err
	}
	if err := checkOut(out); err != nil {
		return err
	}
	parent := filepath.Dir(filepath.Clean(out))
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
	// Now, so that nobody takes an old release for one that could not be made.
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	r := release{source: clone, image: image, dir: filepath.Join(work, "release"), progress: progress}
	for _, part := range []func(context.Context) error{r.writeImages, r.writePlugins, r.writeExamples, r.writeSums} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return os.Rename(r.dir, out)
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
		return fmt.Errorf("image %q: want a registry and a repository, without a tag or digest, as in make release VERSION=v1.2.3 IMAGE=registry.example.com/podfqdn", image)
	}
	return nil
}

// checkOut reports why out is not a directory to remove.
func checkOut(out string) error {
	files, err := os.ReadDir(out)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(files) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(out, "image.txt")); err != nil {
		return fmt.Errorf("%s has files and is not a release, which would replace it: give another directory", out)
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

// writeSums writes SHA256SUMS, which sha256sum -c reads: a line for each file of
// the release. image.txt has the digest of what is in oci.
func (r release) writeSums(context.Context) error {
	start := time.Now()
	var sums strings.Builder
	files := 0
	err := fs.WalkDir(os.DirFS(r.dir), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == "oci":
			return fs.SkipDir
		case entry.IsDir():
			return nil
		}
		content, err := os.ReadFile(filepath.Join(r.dir, filepath.FromSlash(path)))
		files++
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), path)
		return err
	})
	if err != nil {
		return err
	}
	r.done(start, "SHA256SUMS of %d files", files)
	return r.write("SHA256SUMS", []byte(sums.String()))
}
