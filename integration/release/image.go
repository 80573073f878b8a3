package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is every date in the image: a later one would make each build differ.
var epoch = time.Unix(0, 0).UTC()

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

func labels(version, revision string) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "podfqdn",
		"org.opencontainers.image.description": "Proves a Pod's name in DNS, forward and reverse, before the application starts",
		"org.opencontainers.image.source":      "https://github.com/podfqdn/podfqdn",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     version,
		"org.opencontainers.image.revision":    revision,
	}
}

// runsInScratch reports why an image of arch (a GOARCH) that holds nothing but
// program could not start it: the kernel says only "no such file" there.
func runsInScratch(program []byte, arch string) error {
	machine, ok := machines[arch]
	if !ok {
		return fmt.Errorf("no image for architecture %q: want amd64 or arm64", arch)
	}
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return fmt.Errorf("not a Linux program: %w", err)
	}
	if f.Machine != machine {
		return fmt.Errorf("built for %v, not for %s (%v)", f.Machine, arch, machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("dynamically linked: build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// build makes the image of the Dockerfile around program, for linux/arch.
func build(program []byte, arch string, labels map[string]string) (v1.Image, error) {
	layer, err := layerOf(program)
	if err != nil {
		return nil, err
	}
	img, err := mutate.Append(empty.Image, mutate.Addendum{
		// Not compressed: so the bytes hang on no compressor's version.
		Layer:   static.NewLayer(layer, types.DockerUncompressedLayer),
		History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "COPY /podfqdn /podfqdn"},
	})
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: epoch}
	config.OS, config.Architecture = "linux", arch
	config.Config = v1.Config{
		User:       "65532:65532",
		Entrypoint: []string{"/podfqdn"},
		Cmd:        []string{"init"},
		Labels:     labels,
		// What BuildKit writes for FROM scratch.
		WorkingDir: "/",
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}
	return mutate.ConfigFile(img, config)
}

func layerOf(program []byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: "podfqdn", Mode: 0o555, Size: int64(len(program)), ModTime: epoch})
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
