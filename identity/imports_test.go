package identity_test

import (
	"go/parser"
	"go/token"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What knows neither sockets nor other people's code cannot ask a public
// resolver, nor /etc/hosts, unnoticed.
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

// depends lists what a package is made of.
func depends(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", pkg).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

const module = "github.com/podfqdn/podfqdn/"

// In the Pod there is no token, and nothing that could use one.
func TestOnlyKubeKnowsTheKubernetesAPI(t *testing.T) {
	for _, pkg := range append(adapters(t), ".", "./diagnosis", "../cmd/podfqdn") {
		for _, dep := range depends(t, pkg) {
			if strings.HasPrefix(dep, "k8s.io/") || strings.HasPrefix(dep, module+"identity/kube") {
				t.Errorf("%s imports %s", pkg, dep)
			}
		}
	}
}

// The explanation is for people: nothing that decides can see it.
func TestNothingOnThePathImportsTheDiagnosis(t *testing.T) {
	for _, pkg := range append(adapters(t), ".", "./shown") {
		if slices.Contains(depends(t, pkg), module+"identity/diagnosis") {
			t.Errorf("%s imports package diagnosis", pkg)
		}
	}
	if !slices.Contains(depends(t, "../cmd/podfqdn"), module+"identity/diagnosis") {
		t.Error("the command does not explain anything: this test would see nothing")
	}
	file, err := parser.ParseFile(token.NewFileSet(), "../cmd/podfqdn/path.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range file.Imports {
		if strings.Contains(spec.Path.Value, "/diagnosis") || strings.Contains(spec.Path.Value, "/shown") {
			t.Errorf("path.go imports %s", spec.Path.Value)
		}
	}
}

// adapters lists the packages of the path that are not package identity itself.
func adapters(t *testing.T) (list []string) {
	t.Helper()
	out, err := exec.Command("go", "list", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	others := []string{"", "/shown", "/reference", "/source", "/diagnosis", "/kube", "/podtest", "/podtest/surface"}
	for _, pkg := range strings.Fields(string(out)) {
		name := strings.TrimPrefix(pkg, module+"identity")
		if !slices.Contains(others, name) {
			list = append(list, "."+name)
		}
	}
	if len(list) < 4 {
		t.Errorf("only %q", list)
	}
	return list
}

// Adapters meet in the command alone.
func TestAdaptersDoNotImportEachOther(t *testing.T) {
	for _, pkg := range adapters(t) {
		for _, other := range adapters(t) {
			if other != pkg && slices.Contains(depends(t, pkg), module+"identity"+strings.TrimPrefix(other, ".")) {
				t.Errorf("%s imports %s", pkg, other)
			}
		}
	}
}
