package cluster

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestKubernetesIsChosenByAnyPartOfItsVersion(t *testing.T) {
	for _, c := range []struct{ wanted, got string }{
		{"", "v1.37."}, {"1.37", "v1.37."}, {"v1.37", "v1.37."}, {"1.36", "v1.36."}, {"v1.36", "v1.36."},
	} {
		found, err := modules(".", c.wanted)
		if err != nil {
			t.Errorf("%q: %v", c.wanted, err)
			continue
		}
		got := map[string]string{}
		for _, m := range found {
			got[m.name] = m.version
		}
		if len(got) != 4 || !strings.HasPrefix(got[binKubernetes], c.got) {
			t.Errorf("%q chooses %v, want four components with Kubernetes %s", c.wanted, got, c.got)
		}
		if exact, err := modules(".", got[binKubernetes]); err != nil || len(exact) != 4 {
			t.Errorf("%q: %v, %v", got[binKubernetes], exact, err)
		}
	}
}

func TestAKubernetesThatIsNotHereIsRefusedWithThoseThatAre(t *testing.T) {
	for _, wanted := range []string{"1.3", "1.36.99", "2", "1.37.1.1", "latest"} {
		_, err := modules(".", wanted)
		if err == nil || !strings.Contains(err.Error(), "v1.36.") || !strings.Contains(err.Error(), "v1.37.") {
			t.Errorf("%q: %v, want a refusal that names both versions", wanted, err)
		}
	}
}

func TestAllOfKubernetesIsOfOneVersion(t *testing.T) {
	for _, wanted := range []string{"1.36", "1.37"} {
		found, err := modules(".", wanted)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range found {
			if m.name != binKubernetes {
				continue
			}
			b, err := os.ReadFile(filepath.Join(m.dir, "go.mod"))
			if err != nil {
				t.Fatal(err)
			}
			// v1.37.1 of the whole is v0.37.1 of each part.
			part := "v0" + strings.TrimPrefix(m.version, "v1")
			replaced := regexp.MustCompile(`(?m)^\s(k8s\.io/\S+) => (\S+) (\S+)$`).FindAllStringSubmatch(string(b), -1)
			if len(replaced) < 30 {
				t.Errorf("%s replaces %d parts, want all of them", m.dir, len(replaced))
			}
			for _, r := range replaced {
				if r[1] != r[2] || r[3] != part {
					t.Errorf("%s: %q, want %s", m.dir, r[0], part)
				}
			}
		}
	}
}

func TestTheVersionIsBuiltIntoKubernetes(t *testing.T) {
	flags := strings.Join(module{name: binKubernetes, version: "v1.36.3"}.flags(), "\n")
	for _, want := range []string{"component-base/version.gitVersion=v1.36.3 ", "client-go/pkg/version.gitMinor=36 ", "version.gitMajor=1 "} {
		if !strings.Contains(flags, want) {
			t.Errorf("flags lack %q:\n%s", want, flags)
		}
	}
}
