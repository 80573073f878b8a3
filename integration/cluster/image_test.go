package cluster

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestAnArchiveIsAWholeImage(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p"), []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "image.tar")
	image := Image{
		Ref: "podfqdn.test/x:1", User: "1:2", Entrypoint: []string{"/usr/bin/p"},
		Files: map[string]string{"usr/bin/p": filepath.Join(dir, "p")},
		Links: map[string]string{"usr/bin/q": "p", "bin/r": "/usr/bin/p"},
	}
	if err := image.Write(file); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(image.Ref)
	if err != nil {
		t.Fatal(err)
	}
	read, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(read); err != nil {
		t.Error(err)
	}
	config, err := read.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "1:2" || !slices.Equal(config.Config.Entrypoint, image.Entrypoint) {
		t.Errorf("config %+v", config.Config)
	}
	layers, err := read.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	layer, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(layer); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name+h.Linkname)
	}
	want := []string{"usr/", "usr/bin/", "usr/bin/p", "bin/", "bin/r/usr/bin/p", "usr/bin/qp", "tmp/"}
	if !slices.Equal(names, want) {
		t.Errorf("layer holds %q, want %q", names, want)
	}
}

func TestAnImageWithoutTagIsRefused(t *testing.T) {
	if err := (Image{Ref: "podfqdn.test/x"}).Write(filepath.Join(t.TempDir(), "x.tar")); err == nil {
		t.Error("written: the kubelet would try to pull its latest")
	}
}
