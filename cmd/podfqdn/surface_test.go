package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/health"
	"github.com/podfqdn/podfqdn/identity/kerberos"
	"github.com/podfqdn/podfqdn/identity/peers"
	"github.com/podfqdn/podfqdn/identity/podtest/surface"
	"github.com/podfqdn/podfqdn/identity/reference"
	"github.com/podfqdn/podfqdn/identity/render"
	"github.com/podfqdn/podfqdn/identity/source"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// docs/v1.txt is compared with what the code has, so that a change of what users rely
// on is seen and decided. identity and the plugin have a part of it each.
func TestV1KeepsWhatItPromises(t *testing.T) {
	t.Parallel()
	list, err := os.ReadFile("../../docs/v1.txt")
	if err != nil {
		t.Fatal(err)
	}
	items := slices.Concat(promisedCommands(t), promisedExits(t), promisedWords(), promisedFiles(t), promisedVariables(t),
		promisedReferences(t), promisedMetrics(t), promisedPaths(t), promisedReasons(t), promisedDoctor(t), promisedImage(t), promisedKeys(t))
	for _, difference := range surface.Differences(string(list), "podfqdn", items) {
		t.Error(difference)
	}
}

// promisedCommands are the words that run knows, and the flags of each.
func promisedCommands(t *testing.T) (items []string) {
	for _, file := range sources(t, ".") {
		ast.Inspect(file, func(n ast.Node) bool {
			f, ok := n.(*ast.FuncDecl)
			if !ok {
				return true
			}
			command, found := "", 0
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CaseClause:
					for _, e := range n.List {
						if word := surface.Literal(e); f.Name.Name == "run" && word != "" {
							items = append(items, "command "+word)
						}
					}
				case *ast.CallExpr:
					var words []string
					for _, e := range n.Args {
						if _, ok := e.(*ast.BasicLit); ok {
							words = append(words, surface.Literal(e))
						}
					}
					switch of, name := called(n); {
					case of == "flag" && name == "NewFlagSet":
						command = words[0]
					case of == "flags" && len(words) > 2: // name, default and usage
						name := "-" + words[0]
						if len(words[0]) > 1 {
							name = "-" + name
						}
						found++
						items = append(items, fmt.Sprintf("command %s, flag %s, default %s", command, name, words[1]))
					}
				}
				return true
			})
			if command != "" && found == 0 {
				t.Errorf("no flag of %s is seen: its FlagSet must be in a variable flags", command)
			}
			return false
		})
	}
	return items
}

// called returns the variable or the package, and the function, of a call.
func called(call *ast.CallExpr) (of, name string) {
	if s, ok := call.Fun.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name, s.Sel.Name
		}
	}
	return "", ""
}

// promisedExits are the exit codes, with the constants' names and the signals'.
func promisedExits(t *testing.T) (items []string) {
	for _, c := range constants(t, ".") {
		if name, ok := strings.CutPrefix(c.Name, "exit"); ok && name != "Signal" {
			meaning := strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(name, "$1 $2"))
			items = append(items, fmt.Sprintf("exit code %s: %s", written(t, c), meaning))
		}
	}
	for signal, name := range signalNames {
		items = append(items, fmt.Sprintf("exit code %d: %s", exitCode(interrupted(signal)), name))
	}
	return items
}

// promisedWords are those of a diagnosis: verdicts, each with its exit code, causes
// and kinds of questions.
func promisedWords() (items []string) {
	for _, v := range identity.Verdicts() {
		code := exitDeadline
		switch v {
		case identity.Agrees:
			code = exitOK
		case identity.Shared:
			code = exitShared
		}
		if of, ok := deadlineCodes[v]; ok {
			code = of
		}
		items = append(items, fmt.Sprintf("verdict %s, exit code %d", v, code))
	}
	items = append(items, "verdict "+string(identity.Absent))
	for _, kind := range diagnosis.Kinds() {
		items = append(items, "cause "+string(kind))
	}
	for kind := identity.Exists; kind <= identity.Reverse; kind++ {
		items = append(items, "question "+kind.String())
	}
	return items
}

// promisedFiles are the files that may appear in the volumes, where they are mounted
// by default, the variables of identity.env, and the words for what was required.
func promisedFiles(t *testing.T) (items []string) {
	c, _, err := readConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{c.Dir: append(identity.Files(), volume.Verified)}
	for _, r := range everyRequirement(t) {
		for _, f := range r.Files {
			names[c.Dir] = append(names[c.Dir], f.Name)
		}
		if r.Outlet.Signal == "" && r.Outlet.Dir != "" {
			names[r.Outlet.Dir] = append(r.Outlet.Names, volume.Verified)
		}
		if r.Word != "" {
			items = append(items, fmt.Sprintf("verified.required of identity.json, word %q", r.Word))
		}
	}
	items = append(items, "file "+installed+" in PODFQDN_INSTALL")
	for dir, names := range names {
		for _, name := range names {
			items = append(items, "file "+filepath.Join(dir, name))
		}
	}
	for _, name := range publishable() {
		items = append(items, "identity.env, variable "+name)
	}
	return items
}

// forms say what a variable's value is, by the type that reads it. One that is not
// here takes words alone.
var forms = map[reflect.Type]string{
	reflect.TypeFor[string]():             "a text",
	reflect.TypeFor[bool]():               "true or false",
	reflect.TypeFor[kerberos.InPlace]():   "true or false",
	reflect.TypeFor[duration]():           "a duration",
	reflect.TypeFor[identity.Rounds]():    "a number",
	reflect.TypeFor[peers.Wait]():         "a number or a word",
	reflect.TypeFor[peers.Members]():      "members",
	reflect.TypeFor[health.Address]():     "an address and a port",
	reflect.TypeFor[source.Path]():        "a path with words in braces",
	reflect.TypeFor[kerberos.Source]():    "a path with words in braces",
	reflect.TypeFor[kerberos.Templates](): "principals with words in braces",
	reflect.TypeFor[kerberos.Realm]():     "a realm",
	reflect.TypeFor[kerberos.KDCs]():      "hosts with or without a port",
	reflect.TypeFor[kerberos.Enctypes]():  "key types",
	reflect.TypeFor[kerberos.Mode]():      "a mode",
	reflect.TypeFor[render.Pairs]():       "pairs of directories",
}

// promisedVariables are podfqdn's own with their defaults, and of one that takes
// certain words these, as far as its help names them; and the words in braces.
func promisedVariables(t *testing.T) (items []string) {
	takes := func(name, value string) bool {
		_, _, err := readConfig([]string{name + "=" + value})
		return err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s=%+q", name, value))
	}
	for _, v := range variables() {
		if strings.HasPrefix(v.doc, "for tests: ") {
			continue
		}
		form, known := forms[v.of]
		item := "variable " + v.name + ", " + cmp.Or(form, "a word")
		if v.value != "" {
			item += ", default " + v.value
		}
		items = append(items, item)
		if form == "true or false" || takes(v.name, "nonsense") {
			continue
		}
		words := map[string]bool{}
		for _, word := range regexp.MustCompile(`\b[a-z]\w+`).FindAllString(v.doc, -1) {
			words[word] = takes(v.name, word)
		}
		taken := 0
		for word, ok := range words {
			if ok {
				taken++
				items = append(items, "variable "+v.name+" takes "+word)
			}
		}
		if !known && taken == 0 {
			t.Errorf("%s takes none of the words in its help: say in forms what a %s is", v.name, v.of)
		}
	}
	for word := range source.Example() {
		items = append(items, "word in braces {"+word+"}")
	}
	return items
}

// promisedReferences are the forms that a reference to a variable may have, and what
// becomes of those that are not its value alone.
func promisedReferences(t *testing.T) (items []string) {
	known, values := publishable(), samples(t)
	try := func(name, form string) {
		written := "$(" + name + form + ")"
		parsed, err := reference.Parse(written, known)
		if err != nil {
			return
		}
		if form != "" {
			value, err := parsed.Expand(values)
			if err != nil {
				t.Errorf("%s: %v", written, err)
			}
			written += fmt.Sprintf(" becomes %q", value)
		}
		items = append(items, "reference "+written)
	}
	words := []string{""}
	for _, c := range constants(t, "../../identity/reference") {
		if strings.HasPrefix(c.Name, "word") {
			words = append(words, written(t, c))
		}
	}
	for _, name := range known {
		for _, form := range []string{"", "+1", `[\n]`, `[\t]`, `[\\]`, "[]"} {
			try(name, form)
		}
		for _, word := range words {
			for _, form := range []string{":<{%s}>", ":<{%s+1}>", "[;]:<{%s}>"} {
				try(name, fmt.Sprintf(form, word))
			}
		}
	}
	written := "$$(POD_FQDN)"
	parsed, err := reference.Parse(written, known)
	if err != nil {
		t.Fatal(err)
	}
	value, err := parsed.Expand(values)
	if err != nil {
		t.Fatal(err)
	}
	return append(items, fmt.Sprintf("reference %s becomes %q", written, value))
}

// promisedMetrics are the metrics with their types and labels, and the kinds of
// requirements that are one of the labels' values.
func promisedMetrics(t *testing.T) (items []string) {
	types, labels := seenMetrics(t)
	for name, kind := range types {
		items = append(items, "metric "+name+" "+kind)
		for _, label := range slices.Compact(labels[name]) {
			items = append(items, "metric "+name+", label "+label)
		}
	}
	for _, r := range everyRequirement(t) {
		items = append(items, fmt.Sprintf("metric podfqdn_requirement_missing, kind %q", r.Name))
	}
	return items
}

// promisedPaths are the HTTP paths of a sidecar, and their status while the identity
// stands and while it does not.
func promisedPaths(t *testing.T) (items []string) {
	for _, file := range sources(t, "../../identity/health") {
		ast.Inspect(file, func(n ast.Node) bool {
			e, _ := n.(ast.Expr)
			method, path, ok := strings.Cut(surface.Literal(e), " ")
			if !ok || !strings.HasPrefix(path, "/") {
				return true
			}
			var codes []int
			for _, stands := range []bool{true, false} {
				w := httptest.NewRecorder()
				health.New(func() bool { return stands }, "v1", "abc").Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
				codes = append(codes, w.Code)
			}
			items = append(items, fmt.Sprintf("HTTP %s %s: %d, and %d while the name is not published", method, path, codes[0], codes[1]))
			return true
		})
	}
	return items
}

// promisedReasons are how the termination message begins where a command refuses.
func promisedReasons(t *testing.T) (items []string) {
	const reason = `PODFQDN_TIMEOUT="x"`
	for _, args := range [][]string{{"init"}, {"sidecar"}, {"exec", "--", "/bin/true"}, {"wait", "db-0.db"}} {
		root := t.TempDir()
		message := filepath.Join(root, "dev/termination-log")
		put(t, message, nil)
		if code := run(t.Context(), args, []string{"PODFQDN_ROOT=" + root, "PODFQDN_DIR=" + root, "PODFQDN_TIMEOUT=x"}, io.Discard, io.Discard); code != exitRefused {
			t.Errorf("%s ends with %d", args[0], code)
		}
		text, err := os.ReadFile(message)
		before, _, found := strings.Cut(string(text), reason)
		if err != nil || !found {
			t.Errorf("the termination message of %s is %q, %v", args[0], text, err)
		}
		items = append(items, fmt.Sprintf("termination message of %s: %sREASON", args[0], before))
	}
	return items
}

// promisedDoctor are the fields of podfqdn doctor -o json, and its schema.
func promisedDoctor(t *testing.T) (items []string) {
	for _, field := range surface.Fields(reflect.TypeFor[diagnosis.Diagnosis](), nil) {
		items = append(items, "doctor -o json, "+field)
	}
	var out strings.Builder
	run(t.Context(), []string{"doctor", "-o", "json"}, []string{"PODFQDN_ROOT=" + t.TempDir()}, &out, io.Discard)
	var d diagnosis.Diagnosis
	if err := json.Unmarshal([]byte(out.String()), &d); err != nil {
		t.Fatal(err)
	}
	return append(items, fmt.Sprintf("doctor -o json, schema %d", d.Schema))
}

// promisedImage is what the Dockerfile says of the image; integration/release is held
// to the same.
func promisedImage(t *testing.T) (items []string) {
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, last, _ := strings.Cut(string(text), "\nFROM scratch\n")
	for _, found := range regexp.MustCompile(`(?m)^(USER|ENTRYPOINT|CMD|COPY|EXPOSE|WORKDIR|ENV|VOLUME|STOPSIGNAL) .*$`).FindAllString(last, -1) {
		word, rest, _ := strings.Cut(found, " ")
		if word == "COPY" {
			parts := strings.Fields(rest)
			word, rest = "file", parts[len(parts)-1]
		}
		items = append(items, "image, "+word+" "+rest)
	}
	return items
}

// promisedKeys are the labels and annotations that podfqdn itself has in Kubernetes,
// by the texts in its sources that can be nothing else.
func promisedKeys(t *testing.T) (items []string) {
	key := regexp.MustCompile(`^(\w[\w-]*\.)*podfqdn(\.[a-z][\w-]*)*/[A-Za-z][\w.-]*$`)
	for _, dir := range []string{".", "../kubectl-podfqdn", "../../identity", "../../identity/*"} {
		packages, err := filepath.Glob(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range packages {
			if found, _ := filepath.Glob(filepath.Join(dir, "*.go")); len(found) == 0 {
				continue
			}
			for _, file := range sources(t, dir) {
				ast.Inspect(file, func(n ast.Node) bool {
					if e, ok := n.(ast.Expr); ok && key.MatchString(surface.Literal(e)) {
						items = append(items, "label or annotation "+surface.Literal(e))
					}
					return true
				})
			}
		}
	}
	slices.Sort(items)
	return slices.Compact(items)
}
