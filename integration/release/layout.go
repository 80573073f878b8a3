package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// writeImages writes the image of every architecture and their index, as an OCI
// image layout, image.txt, the index's name, and what is in each image and in all.
// The layout: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
func (r release) writeImages(ctx context.Context) error {
	about := labels(r.source.version, r.source.revision)
	notes := maps.Clone(about)
	notes["org.opencontainers.image.created"] = r.source.date.Format(time.RFC3339)

	type part struct {
		arch    string
		img     v1.Image
		content contents
	}
	var parts []part
	index := mutate.Annotations(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), notes).(v1.ImageIndex)
	for _, arch := range slices.Sorted(maps.Keys(machines)) {
		start := time.Now()
		program, content, err := r.source.program(ctx, "./cmd/podfqdn", "linux", arch)
		if err != nil {
			return err
		}
		img, err := newImage(program, arch, about, r.source.date)
		if err != nil {
			return fmt.Errorf("image for %s: %w", arch, err)
		}
		img = mutate.Annotations(img, notes).(v1.Image)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: plain{img}, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		parts = append(parts, part{arch, img, content})
		layers, err := img.Layers()
		if err != nil {
			return err
		}
		size, err := layers[0].Size()
		if err != nil {
			return err
		}
		r.done(start, "image linux/%s, %d bytes, %d compressed", arch, len(program), size)
	}
	start := time.Now()
	_, err := layout.Write(r.oci(), mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add:        index,
		Descriptor: v1.Descriptor{Annotations: map[string]string{"org.opencontainers.image.ref.name": r.source.version}},
	}))
	if err != nil {
		return err
	}
	all := make([]contents, len(parts))
	for i, p := range parts {
		all[i] = p.content
	}
	if err := r.describe(index, "podfqdn", all...); err != nil {
		return err
	}
	for _, p := range parts {
		if err := r.describe(p.img, "podfqdn-linux-"+p.arch, p.content); err != nil {
			return err
		}
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	r.done(start, "index, and the SBOMs of index and images")
	return r.write("image.txt", fmt.Appendf(nil, "%s:%s@%s\n", r.image, r.source.version, digest))
}

func (r release) oci() string { return filepath.Join(r.dir, "oci") }

// describe writes the SBOMs of an image or an index, which has programs of these
// contents in it, and attaches them to it.
func (r release) describe(subject partial.Describable, name string, programs ...contents) error {
	digest, err := subject.Digest()
	if err != nil {
		return err
	}
	cyclonedx, spdx, err := sboms(r.image+"@"+digest.String(), r.source.date, programs...)
	if err != nil {
		return err
	}
	if err := r.writeSBOMs(name, cyclonedx, spdx); err != nil {
		return err
	}
	if err := r.attach(subject, name+".cdx.json", "application/vnd.cyclonedx+json", cyclonedx); err != nil {
		return err
	}
	return r.attach(subject, name+".spdx.json", "application/spdx+json", spdx)
}

func (r release) writeSBOMs(name string, cyclonedx, spdx []byte) error {
	if err := r.write(name+".cdx.json", cyclonedx); err != nil {
		return err
	}
	return r.write(name+".spdx.json", spdx)
}

// plain is an image that is not an artifact: otherwise the index says that it is
// an artifact of its configuration's type.
type plain struct{ v1.Image }

func (plain) ArtifactType() (string, error) { return "", nil }

// attach adds to the layout a document that is about subject, a
// manifest: in OCI's words, a referrer.
// The form: https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#guidelines-for-artifact-usage
func (r release) attach(subject partial.Describable, name string, kind types.MediaType, document []byte) error {
	to, err := partial.Descriptor(subject)
	if err != nil {
		return err
	}
	oci := layout.Path(r.oci())
	add := func(kind types.MediaType, content []byte) (v1.Descriptor, error) {
		digest, size, err := v1.SHA256(bytes.NewReader(content))
		if err != nil {
			return v1.Descriptor{}, err
		}
		return v1.Descriptor{MediaType: kind, Digest: digest, Size: size}, oci.WriteBlob(digest, io.NopCloser(bytes.NewReader(content)))
	}
	config, err := add(types.OCIEmptyJSON, []byte("{}"))
	if err != nil {
		return err
	}
	layer, err := add(kind, document)
	if err != nil {
		return err
	}
	layer.Annotations = map[string]string{"org.opencontainers.image.title": name} // the file that oras pull writes
	content, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  string(kind),
		Config:        config,
		Layers:        []v1.Descriptor{layer},
		Subject:       &v1.Descriptor{MediaType: to.MediaType, Digest: to.Digest, Size: to.Size},
		Annotations:   map[string]string{"org.opencontainers.image.created": r.source.date.Format(time.RFC3339)},
	})
	if err != nil {
		return err
	}
	manifest, err := add(types.OCIManifestSchema1, content)
	if err != nil {
		return err
	}
	manifest.ArtifactType = string(kind)
	return oci.AppendDescriptor(manifest)
}
