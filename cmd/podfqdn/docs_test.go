package main

import (
	"go/ast"
	"io/fs"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/health"
	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/identity/podtest/surface"
	"github.com/podfqdn/podfqdn/identity/reference"
)

func TestTheContractHasEveryVerdict(t *testing.T) {
	t.Parallel()
	var want []string
	for _, v := range append(identity.Verdicts(), identity.Absent) {
		want = append(want, string(v))
	}
	for verdict, cells := range documented(t, "## Verdicts", want...) {
		code := "`" + strconv.Itoa(exitDeadline) + "`"
		switch identity.Verdict(verdict) {
		case identity.Agrees:
			code = "`" + strconv.Itoa(exitOK) + "`"
		case identity.Shared:
			code = "`" + strconv.Itoa(exitShared) + "`"
		case identity.Absent:
			code = ""
		default:
			if of, ok := deadlineCodes[identity.Verdict(verdict)]; ok {
				code = "`" + strconv.Itoa(of) + "`"
			}
		}
		if cells[1] != code {
			t.Errorf("%s leads to exit code %s, not to %q", verdict, code, cells[1])
		}
	}
}

func TestTheContractHasEveryCause(t *testing.T) {
	t.Parallel()
	var want []string
	for _, kind := range diagnosis.Kinds() {
		want = append(want, string(kind))
	}
	for kind, cells := range documented(t, "## Causes", want...) {
		if !slices.Contains([]string{"Pod", "laptop", "both"}, cells[2]) {
			t.Errorf("%s is found from %q", kind, cells[2])
		}
	}
}

func TestTheContractHasEveryExitCode(t *testing.T) {
	t.Parallel()
	documented(t, "### podfqdn", exitCodes(t, ".")...)
	documented(t, "### kubectl podfqdn doctor", exitCodes(t, "../kubectl-podfqdn")...)
}

// everyRequirement returns all that a Pod may require in addition to its name.
func everyRequirement(t *testing.T) []*identity.Requirement {
	t.Helper()
	c, _, err := readConfig([]string{"PODFQDN_TLS=/tls", "PODFQDN_PEERS=2", "PODFQDN_KRB5_PRINCIPALS=HTTP/{fqdn}",
		"PODFQDN_KRB5_REALM=EXAMPLE.COM", "PODFQDN_KRB5_SOURCE=/keytabs", "PODFQDN_RENDER=/src:/dst"})
	if err != nil {
		t.Fatal(err)
	}
	p := path{cfg: c}
	claim := podtest.Claim(podtest.DB0.Files("cluster.local", "10.244.1.7"), identity.Given{}, identity.Policy{})
	required, err := p.requirements(claim)
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := c.Render.Requirements(claim, p.others(required))
	if err != nil || len(required) != len(c.kinds()) {
		t.Fatalf("%d of %d kinds: %v", len(required), len(c.kinds()), err)
	}
	return append(required, rendered...)
}

// seenMetrics returns the type of each metric, and the labels of those that have a
// sample.
func seenMetrics(t *testing.T) (types map[string]string, labels map[string][]string) {
	t.Helper()
	p := health.New(func() bool { return true }, "v1", "abc")
	// With an agreement, a question and a value in each gauge, each metric has a sample.
	for _, r := range everyRequirement(t) {
		for i := range r.Gauges {
			r.Gauges[i].Value = func() (float64, bool) { return 1, true }
		}
		p.Tell(r.Name, r.Gauges)
	}
	p.Turn(identity.Turn{Report: identity.Report{{Findings: []identity.Finding{{Answer: identity.Answer{Is: identity.NoData}}}}}})
	types, labels = map[string]string{}, map[string][]string{}
	for line := range strings.Lines(metrics(p)) {
		if declared, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(strings.TrimSpace(declared), " ")
			types[name] = kind
		} else if !strings.HasPrefix(line, "#") {
			name := regexp.MustCompile(`^\w+`).FindString(line)
			labels[name] = nil
			for _, label := range regexp.MustCompile(`[{,](\w+)="`).FindAllStringSubmatch(line, -1) {
				labels[name] = append(labels[name], label[1])
			}
		}
	}
	return types, labels
}

func TestTheContractHasEveryMetric(t *testing.T) {
	t.Parallel()
	types, labels := seenMetrics(t)
	for name, cells := range documented(t, "## Metrics", slices.Collect(maps.Keys(types))...) {
		if _, ok := labels[name]; !ok {
			t.Errorf("%s has no sample, so its labels are not seen", name)
		}
		if cells[0] != types[name] {
			t.Errorf("%s is a %s, not a %q", name, types[name], cells[0])
		}
		var got []string
		for _, label := range backquoted.FindAllStringSubmatch(cells[1], -1) {
			got = append(got, label[1])
		}
		if !slices.Equal(got, labels[name]) {
			t.Errorf("%s has the labels %q, not %q", name, labels[name], got)
		}
	}
}

func TestTheContractHasEveryFieldOfADiagnosis(t *testing.T) {
	t.Parallel()
	for heading, object := range map[string]reflect.Type{
		"## podfqdn doctor -o json": reflect.TypeFor[diagnosis.Diagnosis](),
		"### facts":                 reflect.TypeFor[diagnosis.Seen](),
		"### questions":             reflect.TypeFor[diagnosis.Asked](),
		"### causes":                reflect.TypeFor[diagnosis.Cause](),
	} {
		all := jsonFields{}
		for i := range object.NumField() {
			all.add(object.Field(i).Tag)
		}
		all.compare(t, heading)
	}
}

// The plugin's structs are read from its source: this command does not import
// the Kubernetes API, not even in its tests.
func TestTheContractHasEveryFieldOfTheOtherDoctor(t *testing.T) {
	t.Parallel()
	const plugin, kube = "../kubectl-podfqdn", "../../identity/kube"
	pod := structIn(t, kube, "Use")
	for name, optional := range structIn(t, plugin, "report") {
		pod[name] = optional
	}
	pod.compare(t, "## kubectl podfqdn doctor -o json")
	structIn(t, plugin, "list").compare(t, "### A table of Pods")
	structIn(t, kube, "Right").compare(t, "### lacks")

	var states []string
	for _, c := range constants(t, kube) {
		if c.Type == "State" {
			states = append(states, written(t, c))
		}
	}
	documented(t, "### state", states...)
}

// The messages are composed, so each is looked for in what the tests expect.
func TestEveryMessageOfTheDocumentIsExpectedByATest(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/when-it-hangs.md")
	if err != nil {
		t.Fatal(err)
	}
	var expected strings.Builder
	for _, root := range []string{".", "../../identity", "../../integration/e2e"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".txtar") {
				return err
			}
			text, err := os.ReadFile(path)
			expected.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, section, _ := strings.Cut(string(text), "\n## Messages\n")
	section, _, _ = strings.Cut(section, "\n## ")
	seen := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(line, " | ")
		if len(cells) != 3 || !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, message := range backquoted.FindAllStringSubmatch(cells[0], -1) {
			if strings.HasPrefix(message[1], "PODFQDN_") {
				continue // what the Pod has, not what it says
			}
			for part := range strings.SplitSeq(message[1], "…") {
				if seen++; !strings.Contains(expected.String(), strings.TrimSpace(part)) {
					t.Errorf("no test expects %q of %q", part, message[1])
				}
			}
		}
	}
	if seen < 25 {
		t.Errorf("%d messages were found", seen)
	}
}

var backquoted = regexp.MustCompile("`([^`]+)`")

// documented returns the rows of the table below a heading of
// docs/contract.md: the word in the first cell, and the cells behind it. Each
// of the words that are wanted has one row, and nothing else has.
func documented(t *testing.T, heading string, want ...string) map[string][]string {
	t.Helper()
	_, section, found := strings.Cut(contract(t), "\n"+heading+"\n")
	if !found || len(want) == 0 {
		t.Fatalf("nothing to compare below %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	rows := map[string][]string{}
	columns := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 3 {
			continue // not of the table
		}
		cells = cells[1 : len(cells)-1]
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if columns == 0 {
			columns = len(cells)
		}
		if len(cells) != columns {
			t.Fatalf("%s: %d cells, not %d: %s", heading, len(cells), columns, line)
		}
		if !strings.HasPrefix(cells[0], "`") {
			continue // the table's head
		}
		word := strings.Trim(cells[0], "`")
		if _, twice := rows[word]; twice {
			t.Errorf("%s: %q is there twice", heading, word)
		}
		if !slices.Contains(want, word) {
			t.Errorf("%s: the code does not have %q", heading, word)
		}
		if cells[1] == "" && cells[columns-1] == "" {
			t.Errorf("%s: %q is not explained", heading, word)
		}
		rows[word] = cells[1:]
	}
	for _, word := range want {
		if _, ok := rows[word]; !ok {
			t.Errorf("%s: there is no row for %q", heading, word)
		}
	}
	return rows
}

// exitCodes returns the values of the constants exit… of a command. exitSignal
// stands for one code for each signal that ends the process.
func exitCodes(t *testing.T, dir string) (codes []string) {
	t.Helper()
	for _, c := range constants(t, dir) {
		if !strings.HasPrefix(c.Name, "exit") {
			continue
		}
		code := written(t, c)
		if c.Name != "exitSignal" {
			codes = append(codes, code)
			continue
		}
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			codes = append(codes, strconv.Itoa(exitCode(interrupted(signal))))
		}
	}
	return codes
}

// jsonFields are the names of a struct's fields in JSON, and whether each is left
// out when it is empty.
type jsonFields map[string]bool

func (f jsonFields) add(tag reflect.StructTag) {
	name, options, _ := strings.Cut(tag.Get("json"), ",")
	if name != "" && name != "-" {
		f[name] = strings.Contains(options, "omit")
	}
}

// compare holds the table below a heading to the fields.
func (f jsonFields) compare(t *testing.T, heading string) {
	t.Helper()
	var want []string
	for name := range f {
		want = append(want, name)
	}
	for name, cells := range documented(t, heading, want...) {
		if optional := strings.HasSuffix(cells[0], ", optional"); optional != f[name] {
			t.Errorf("%s: %q is optional: %t, not %t", heading, name, f[name], optional)
		}
	}
}

// structIn reads the fields of a struct from the source of a package, without
// those of structs that are embedded.
func structIn(t *testing.T, dir, name string) jsonFields {
	t.Helper()
	all := jsonFields{}
	for _, file := range sources(t, dir) {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != name {
				return true
			}
			if object, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range object.Fields.List {
					if field.Tag != nil {
						all.add(reflect.StructTag(strings.Trim(field.Tag.Value, "`")))
					}
				}
			}
			return false
		})
	}
	if len(all) == 0 {
		t.Fatalf("%s has no struct %s with fields for JSON", dir, name)
	}
	return all
}

// sources parses the files of a package, without its tests.
func sources(t *testing.T, dir string) map[string]*ast.File {
	t.Helper()
	files, err := surface.Sources(dir)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// constants returns the constants of a package.
func constants(t *testing.T, dir string) []surface.Constant {
	t.Helper()
	all, err := surface.Constants(dir)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// written returns the value of a constant that is written out.
func written(t *testing.T, c surface.Constant) string {
	t.Helper()
	if c.Value == "" {
		t.Fatalf("constant %s is not written out", c.Name)
	}
	return c.Value
}

// metrics returns what Prometheus is told.
func metrics(h *health.Health) string {
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// A constant that is left out of its list would be documented nowhere.
func TestTheListsOfVerdictsAndCausesAreWhole(t *testing.T) {
	t.Parallel()
	for path, listed := range map[string]int{
		"../../identity/verdict.go":             len(identity.Verdicts()) + 1, // and absent
		"../../identity/diagnosis/diagnosis.go": len(diagnosis.Kinds()),
	} {
		declared := 0
		for _, c := range constants(t, filepath.Dir(path)) {
			if c.File == filepath.Base(path) && ast.IsExported(c.Name) {
				declared++
			}
		}
		if declared != listed {
			t.Errorf("%s declares %d, and %d are listed", path, declared, listed)
		}
	}
}

// samples returns the values of db-0, whose peers are db-0 and db-1.
func samples(t *testing.T) map[string]string {
	t.Helper()
	claim := podtest.Claim(podtest.DB0.Files("cluster.local", "10.244.1.7"), identity.Given{}, identity.Policy{})
	generation, err := identity.Render(podtest.Proven(claim))
	if err != nil {
		t.Fatal(err)
	}
	values := identity.Environment(generation.Files())
	values["POD_PEERS"] = "db-0.db.default.svc.cluster.local,db-1.db.default.svc.cluster.local"
	return values
}

// The document of references is what they do.
func TestTheDocumentOfReferencesIsTrue(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/starting.md")
	if err != nil {
		t.Fatal(err)
	}
	section, _, _ := strings.Cut(string(text), "## Render a configuration file\n")
	known := publishable()
	_, list, _ := strings.Cut(section, "of a line of `identity.env`:\n")
	list, _, _ = strings.Cut(list, "`$(")
	var got []string
	for _, name := range backquoted.FindAllStringSubmatch(list, -1) {
		got = append(got, name[1])
	}
	if !slices.Equal(got, known) {
		t.Errorf("it lists %q, not %q", got, known)
	}
	values := samples(t)
	rows := regexp.MustCompile("(?m)^\\| `(.*)` \\| `(.*)` \\|$").FindAllStringSubmatch(section, -1)
	if len(rows) < 6 {
		t.Errorf("only %d rows", len(rows))
	}
	for _, row := range rows {
		parsed, err := reference.Parse(row[1], known)
		if err != nil {
			t.Errorf("%s: %v", row[1], err)
			continue
		}
		if got, err := parsed.Expand(values); got != row[2] || err != nil {
			t.Errorf("%s becomes %s, not %s: %v", row[1], got, row[2], err)
		}
	}
	for _, wrong := range regexp.MustCompile("such as `(\\$.*)`\\.").FindAllStringSubmatch(section, -1) {
		if _, err := reference.Parse(wrong[1], known); err == nil {
			t.Errorf("%s is a reference", wrong[1])
		}
	}
}
