package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// krew is as much of the plugin's krew manifest as says what to build.
type krew struct {
	Spec struct {
		Version   string
		Platforms []struct {
			Selector         struct{ MatchLabels struct{ OS, Arch string } }
			URI, SHA256, Bin string
		}
	}
}

// writePlugins writes an archive and its SBOMs for each platform of
// cmd/kubectl-podfqdn/krew.yaml, and krew.yaml with the version and the archives' sums.
func (r release) writePlugins(ctx context.Context) error {
	text, err := os.ReadFile(filepath.Join(r.source.dir, "cmd", "kubectl-podfqdn", "krew.yaml"))
	if err != nil {
		return err
	}
	licence, err := os.ReadFile(filepath.Join(r.source.dir, "LICENSE"))
	if err != nil {
		return err
	}
	var manifest krew
	if err := yaml.Unmarshal(text, &manifest); err != nil {
		return err
	}
	filled := strings.ReplaceAll(string(text), manifest.Spec.Version, r.source.version)
	for _, p := range manifest.Spec.Platforms {
		start := time.Now()
		platform := p.Selector.MatchLabels
		program, content, err := r.source.program(ctx, "./cmd/kubectl-podfqdn", platform.OS, platform.Arch)
		if err != nil {
			return err
		}
		files, err := tarOf(r.source.date, file{"LICENSE", 0o644, licence}, file{"THIRD_PARTY_LICENSES", 0o644, notices(content)}, file{p.Bin, 0o755, program})
		if err != nil {
			return err
		}
		var archive bytes.Buffer
		w, err := gzip.NewWriterLevel(&archive, gzip.BestCompression)
		if err != nil {
			return err
		}
		if _, err := w.Write(files); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		name := fmt.Sprintf("kubectl-podfqdn-%s-%s", platform.OS, platform.Arch)
		cyclonedx, spdx, err := sboms("", r.source.date, content)
		if err != nil {
			return err
		}
		if err := r.writeSBOMs(name, cyclonedx, spdx); err != nil {
			return err
		}
		name += ".tar.gz"
		if err := r.write(name, archive.Bytes()); err != nil {
			return err
		}
		before, after, found := strings.Cut(filled, "/"+name+"\n")
		if !found || !strings.Contains(after, p.SHA256) {
			return fmt.Errorf("krew.yaml: %s/%s: want a uri that ends in %s, and a sha256 after it", platform.OS, platform.Arch, name)
		}
		filled = before + "/" + name + "\n" + strings.Replace(after, p.SHA256, fmt.Sprintf("%x", sha256.Sum256(archive.Bytes())), 1)
		r.done(start, "%s, %d bytes, %d compressed", name, len(program), archive.Len())
	}
	return r.write("krew.yaml", []byte(filled))
}
