package identity_test

import (
	"os/exec"
	"strings"
	"testing"
)

// What knows neither sockets nor other people's code cannot ask a public
// resolver, nor /etc/hosts, behind anybody's back.
func TestIdentityImportsTheStandardLibraryWithoutNet(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Standard}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Split(strings.TrimSpace(string(out)), "\n")
	if last := deps[len(deps)-1]; last != "github.com/podfqdn/podfqdn/identity false" {
		t.Errorf("the last is %q", last)
	}
	for _, dep := range deps[:len(deps)-1] {
		path, standard, _ := strings.Cut(dep, " ")
		if standard != "true" || path == "net" || strings.HasPrefix(path, "net/") && path != "net/netip" {
			t.Errorf("it imports %s", path)
		}
	}
}

// In the Pod there is no token, and nothing that could use one.
func TestOnlyKubeKnowsTheKubernetesAPI(t *testing.T) {
	for _, pkg := range []string{".", "./resolver", "./volume", "./screen", "../cmd/podfqdn"} {
		out, err := exec.Command("go", "list", "-deps", pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		for dep := range strings.Lines(string(out)) {
			if strings.HasPrefix(dep, "k8s.io/") || strings.HasPrefix(dep, "github.com/podfqdn/podfqdn/identity/kube") {
				t.Errorf("%s imports %s", pkg, dep)
			}
		}
	}
}
