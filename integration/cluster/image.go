package cluster

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The images that every cluster holds. A Pod names them as they stand; their
// tags aren't "latest", so that no pull is tried.
const (
	ImagePause   = "podfqdn.test/pause:1"
	ImageCoreDNS = "podfqdn.test/coredns:1"
	// ImageTools has a shell and busybox's other commands, and runs as user 65532.
	ImageTools = "podfqdn.test/tools:1"
)

// Image is an image of one layer, built without a registry or an engine.
type Image struct {
	Ref        string // with its tag
	User       string // numeric; empty is root
	Entrypoint []string
	Files      map[string]string // path in the image: file here, which is copied with mode 0755
	Links      map[string]string // path in the image: where the symbolic link points
}

// Tools is the image ImageTools. More may be put into its Files by a test
// that needs a shell in addition to a program of its own.
func Tools() (Image, error) {
	out, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return Image{}, fmt.Errorf("%s --list: %w", busybox, err)
	}
	image := Image{Ref: ImageTools, User: "65532:65532", Files: map[string]string{"bin/busybox": busybox}, Links: map[string]string{}}
	for _, applet := range strings.Fields(string(out)) {
		if applet != "busybox" {
			image.Links[path.Join("bin", applet)] = "busybox"
		}
	}
	return image, nil
}

// Write writes i to file as an archive, in the form of `docker save`.
func (i Image) Write(file string) error {
	tag, err := name.NewTag(i.Ref, name.StrictValidation)
	if err != nil {
		return err
	}
	layer, err := i.layer()
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Ref, err)
	}
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(layer, types.DockerUncompressedLayer))
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{User: i.User, Entrypoint: i.Entrypoint, Env: []string{"PATH=/bin"}}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return err
	}
	return tarball.WriteToFile(file, tag, image)
}

func (i Image) layer() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	made := map[string]bool{".": true}
	var mkdir func(string) error
	mkdir = func(dir string) error {
		if made[dir] {
			return nil
		}
		if err := mkdir(path.Dir(dir)); err != nil {
			return err
		}
		made[dir] = true
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755})
	}
	for _, file := range slices.Sorted(maps.Keys(i.Files)) {
		content, err := os.ReadFile(i.Files[file])
		if err != nil {
			return nil, err
		}
		if err := mkdir(path.Dir(file)); err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: file, Mode: 0o755, Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	for _, link := range slices.Sorted(maps.Keys(i.Links)) {
		if err := mkdir(path.Dir(link)); err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: link, Linkname: i.Links[link], Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	// Programs that want a place for a file of theirs want this one.
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
