package kube

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// rights returns every right that this package's source names, as "list services."
// Where a resource is set afterwards, each that is set anywhere counts.
func rights(t *testing.T) (all []string) {
	t.Helper()
	groups := map[string]string{"": "", "appsv1": appsv1.GroupName, "discoveryv1": discoveryv1.GroupName, "networkingv1": networkingv1.GroupName}
	paths, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	text := func(e ast.Expr) string {
		if literal, ok := e.(*ast.BasicLit); ok {
			s, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		return ""
	}
	var later []string // resources of the group apps
	for _, path := range paths {
		if !strings.HasSuffix(path.Name(), ".go") || strings.HasSuffix(path.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if to, ok := n.Lhs[0].(*ast.SelectorExpr); ok && to.Sel.Name == "Resource" && text(n.Rhs[0]) != "" {
					later = append(later, text(n.Rhs[0]))
				}
			case *ast.CompositeLit:
				if kind, ok := n.Type.(*ast.Ident); !ok || kind.Name != "Right" {
					return true
				}
				var verb, group, resource string
				for _, field := range n.Elts {
					pair := field.(*ast.KeyValueExpr)
					switch pair.Key.(*ast.Ident).Name {
					case "Verb":
						verb = text(pair.Value)
					case "Resource":
						resource = text(pair.Value)
					case "Group":
						of := pair.Value.(*ast.SelectorExpr).X.(*ast.Ident).Name
						name, known := groups[of]
						if !known {
							t.Errorf("%s: the group of %s is not known here", path.Name(), of)
						}
						group = name
					}
				}
				if verb != "" && resource != "" {
					all = append(all, verb+" "+resource+"."+group)
				}
			}
			return true
		})
	}
	for _, resource := range later {
		all = append(all, "get "+resource+"."+appsv1.GroupName)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestTheClusterRoleOfTheDocumentHasEveryRight(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(document), "```yaml\n")
	text, _, _ := strings.Cut(rest, "```")
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict([]byte(text), &role); err != nil {
		t.Fatal(err)
	}
	granted := map[string]bool{}
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				granted[verb+" "+resource+"."+rule.APIGroups[0]] = false
			}
		}
	}
	needed := rights(t)
	if len(needed) < 12 {
		t.Errorf("only %q are needed", needed)
	}
	for _, right := range needed {
		if _, ok := granted[right]; !ok {
			t.Errorf("SECURITY.md does not grant %s", right)
		}
		granted[right] = true
	}
	// An exec over a WebSocket is a GET, for which older servers ask for "get".
	granted["get pods/exec."] = true
	for right, used := range granted {
		if !used {
			t.Errorf("SECURITY.md grants %s, which is not used", right)
		}
	}
}
