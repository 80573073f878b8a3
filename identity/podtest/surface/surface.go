// Package surface holds podfqdn to docs/v1.txt, the list of all that v1 promises,
// one item a line. Tests build the same lines from the code, by what is exported, by
// reflection, by the syntax tree where nothing else shows it, and by running it.
package surface

import (
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Parts are how the lines begin, in front of a comma; a test builds each part.
var Parts = []string{"identity.json", "kubectl podfqdn", "podfqdn"}

// Differences compares a part of the list, the text of docs/v1.txt, with the items
// that the code has. It returns a sentence for each difference, and for a list that is
// not sorted or has a line of no part.
func Differences(list, part string, items []string) (all []string) {
	lines := strings.Split(strings.TrimSuffix(list, "\n"), "\n")
	var promised []string
	for i, line := range lines {
		if i > 0 && line <= lines[i-1] {
			all = append(all, fmt.Sprintf("docs/v1.txt is not sorted, or says it twice: %s", line))
		}
		begins, _, _ := strings.Cut(line, ", ")
		if !slices.Contains(Parts, begins) {
			all = append(all, fmt.Sprintf("docs/v1.txt: no test looks for this, as it begins like no part: %s", line))
		}
		if begins == part {
			promised = append(promised, line)
		}
	}
	var has []string
	for _, item := range items {
		has = append(has, part+", "+item)
	}
	for _, line := range promised {
		if !slices.Contains(has, line) {
			all = append(all, fmt.Sprintf("v1 promises it: %s: bring it back; only a new major version may change it or take it away", line))
		}
	}
	for _, line := range has {
		if !slices.Contains(promised, line) {
			all = append(all, fmt.Sprintf("v1 does not promise it yet: %s: if it is to stay, add this line to docs/v1.txt, and one for users to CHANGELOG.md", line))
		}
	}
	return all
}

// Fields returns what a type is in JSON, a line for each field, such as
// "field causes[].guess boolean, optional". A type in named is not taken apart: its
// name stands for it.
func Fields(of reflect.Type, named map[reflect.Type]string) []string {
	return fields("field ", of, named)
}

func fields(prefix string, of reflect.Type, named map[reflect.Type]string) (all []string) {
	for i := range of.NumField() {
		f := of.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			all = append(all, fields(prefix, f.Type, named)...)
			continue
		}
		if !f.IsExported() || name == "-" {
			continue
		}
		kind, inner := typed(f.Type, named)
		line := prefix + name + " " + kind
		if slices.Contains(strings.Split(options, ","), "string") {
			line += " in a string"
		}
		if strings.Contains(options, "omit") {
			line += ", optional"
		}
		all = append(all, line)
		if inner != nil {
			if strings.HasPrefix(kind, "array") {
				name += "[]"
			}
			all = append(all, fields(prefix+name+".", inner, named)...)
		}
	}
	return all
}

// typed returns the words for a type in JSON, and the struct in it that is to be
// taken apart; nil for none.
func typed(t reflect.Type, named map[reflect.Type]string) (words string, inner reflect.Type) {
	text, custom := reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[json.Marshaler]()
	switch {
	case named[t] != "":
		return named[t], nil
	case t.Kind() == reflect.Pointer:
		return typed(t.Elem(), named)
	case reflect.PointerTo(t).Implements(custom):
		panic(fmt.Sprintf("surface: %s writes its JSON itself: say in named what it is", t))
	case reflect.PointerTo(t).Implements(text) || t.Kind() == reflect.String:
		return "string", nil
	case t.Kind() == reflect.Bool:
		return "boolean", nil
	case t.Kind() == reflect.Slice:
		of, inner := typed(t.Elem(), named)
		return "array of " + of, inner
	case t.Kind() == reflect.Struct:
		return "object", t
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64:
		return "number", nil
	}
	panic(fmt.Sprintf("surface: no words for the type %s", t))
}

// Constant is a constant that a package declares outside functions.
type Constant struct {
	File, Name string
	Type       string // "" if it is not written down
	Value      string // a string without its quotes; "" for one that is not written out
}

// Constants returns those of the package in a directory, without its tests, in the
// order of the files' names and of their lines.
func Constants(dir string) (all []Constant, err error) {
	files, err := Sources(dir)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		for _, decl := range files[path].Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			for _, spec := range group.Specs {
				all = append(all, constant(path, spec.(*ast.ValueSpec)))
			}
		}
	}
	return all, err
}

func constant(path string, spec *ast.ValueSpec) Constant {
	c := Constant{File: filepath.Base(path), Name: spec.Names[0].Name}
	if kind, ok := spec.Type.(*ast.Ident); ok {
		c.Type = kind.Name
	}
	if len(spec.Values) == 1 {
		c.Value = Literal(spec.Values[0])
	}
	return c
}

// Literal returns the value of an expression that is written out, a string without
// its quotes; "" for any other.
func Literal(e ast.Expr) string {
	literal, ok := e.(*ast.BasicLit)
	if !ok {
		return ""
	}
	if text, err := strconv.Unquote(literal.Value); err == nil && literal.Kind == token.STRING {
		return text
	}
	return literal.Value
}

// Sources parses the files of the package in a directory, by path, without its tests.
func Sources(dir string) (map[string]*ast.File, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	files := map[string]*ast.File{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		if files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, 0); err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no Go files", dir)
	}
	return files, nil
}
