package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// machines has a line for each architecture (a GOARCH) that there is an image for.
var machines = map[string]elf.Machine{
	"amd64":   elf.EM_X86_64,
	"arm64":   elf.EM_AARCH64,
	"ppc64le": elf.EM_PPC64,
	"riscv64": elf.EM_RISCV,
	"s390x":   elf.EM_S390,
}

func architectures() string {
	return strings.Join(slices.Sorted(maps.Keys(machines)), ", ")
}

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
		return fmt.Errorf("no image for architecture %q: want one of %s", arch, architectures())
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

// newImage makes the image of the Dockerfile around program, for linux/arch, or
// reports why program would not start in it. Every date in it is date.
func newImage(program []byte, arch string, labels map[string]string, date time.Time) (v1.Image, error) {
	if err := runsInScratch(program, arch); err != nil {
		return nil, err
	}
	content, err := tarOf(date, file{"podfqdn", 0o555, program})
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: date}, CreatedBy: "COPY /podfqdn /podfqdn"},
	})
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: date}
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

// file is a file of an archive.
type file struct {
	name    string
	mode    int64
	content []byte
}

// tarOf returns a tar archive of files, which belong to root and are of date.
func tarOf(date time.Time, files ...file) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: date}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
