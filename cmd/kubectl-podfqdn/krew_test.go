package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestTheKrewManifestNamesWhatAReleaseIsToBuild(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("krew.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		APIVersion, Kind string
		Metadata         struct{ Name string }
		Spec             struct {
			Version, Homepage, ShortDescription, Description string
			Platforms                                        []struct {
				Selector         struct{ MatchLabels struct{ OS, Arch string } }
				URI, SHA256, Bin string
			}
		}
	}
	if err := yaml.UnmarshalStrict(text, &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || manifest.Kind != "Plugin" || manifest.Metadata.Name != "podfqdn" {
		t.Errorf("it is %s %s %s", manifest.APIVersion, manifest.Kind, manifest.Metadata.Name)
	}
	if n := len(manifest.Spec.ShortDescription); n == 0 || n > 50 {
		t.Errorf("the short description has %d characters; krew shows 50", n)
	}
	want := []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}
	var got []string
	for _, p := range manifest.Spec.Platforms {
		os, arch := p.Selector.MatchLabels.OS, p.Selector.MatchLabels.Arch
		got = append(got, os+"/"+arch)
		bin := "kubectl-podfqdn"
		if os == "windows" {
			bin += ".exe"
		}
		uri := fmt.Sprintf("https://github.com/podfqdn/podfqdn/releases/download/%s/kubectl-podfqdn-%s-%s.tar.gz", manifest.Spec.Version, os, arch)
		if p.URI != uri || p.Bin != bin || p.SHA256 != strings.Repeat("0", 64) {
			t.Errorf("%s/%s: %s from %s, sum %s", os, arch, p.Bin, p.URI, p.SHA256)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the manifest has %q, want %q", got, want)
	}
}
