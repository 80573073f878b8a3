package cluster

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func TestTheDomainIsReplacedWhereverItStands(t *testing.T) {
	var holding []string
	if err := fs.WalkDir(files, "config", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, path)
		if strings.Contains(string(b), defaultDomain) {
			holding = append(holding, strings.TrimPrefix(path, "config/"))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	// Those that pass configFile on their way.
	if want := []string{"coredns.yaml", "kubelet.yaml"}; !slices.Equal(holding, want) {
		t.Errorf("%q hold the domain, want %q", holding, want)
	}
	for _, name := range holding {
		original, err := configFile(name, defaultDomain)
		if err != nil {
			t.Fatal(err)
		}
		replaced, err := configFile(name, "example.internal")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(replaced, defaultDomain) || strings.Count(replaced, "example.internal") != strings.Count(original, defaultDomain) {
			t.Errorf("%s:\n%s", name, replaced)
		}
	}
	for _, s := range plan("", "x", "example.internal", nil, nil).Steps {
		if strings.Contains(strings.Join(s.Args, " "), defaultDomain) {
			t.Errorf("%q", s.Args)
		}
	}
}

func TestADomainThatNoNameEndsInIsRefused(t *testing.T) {
	for _, domain := range []string{".", "a.", ".a", "a..b", "Cluster.local", "a b", "-a", "a-", "a.-b", "a\n", "a_b"} {
		_, err := Up(t.Context(), Options{ID: "x", Domain: domain})
		if err == nil || !strings.Contains(err.Error(), "cluster domain") {
			t.Errorf("%q: %v, want a refusal", domain, err)
		}
	}
	for _, domain := range []string{"a", "cluster.local", "k8s-1.example.internal", "10.test"} {
		if !validDomain.MatchString(domain) {
			t.Errorf("%q is refused", domain)
		}
	}
}
