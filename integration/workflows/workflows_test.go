package workflows

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
)

// texts returns the workflows by file name.
func texts(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../.github/workflows/*")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, path := range paths {
		texts[filepath.Base(path)] = read(t, path)
	}
	if got, want := slices.Sorted(maps.Keys(texts)), []string{"ci.yaml", "release.yaml"}; !slices.Equal(got, want) {
		t.Fatalf("workflows %q, want %q", got, want)
	}
	return texts
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// complaints returns what actionlint says of a workflow, without shellcheck.
func complaints(t *testing.T, name, text string) (all []string) {
	t.Helper()
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	errs, err := linter.Lint(name, []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range errs {
		all = append(all, e.Error())
	}
	return all
}

func TestTheWorkflowsAreValid(t *testing.T) {
	for name, text := range texts(t) {
		for _, c := range complaints(t, name, text) {
			t.Error(c)
		}
	}
}

func TestAMistakeInAWorkflowIsSeen(t *testing.T) {
	text := texts(t)["release.yaml"]
	for right, wrong := range map[string]string{
		"runs-on: ubuntu-24.04":           "runs-on: ubuntu-42.04",
		"timeout-minutes: 60":             "timeout: 60",
		"${{ github.token }}":             "${{ github.tokn }}",
		"${{ secrets.COSIGN_PASSWORD }}":  "${{ secrets.COSIGN_PASSWORD }",
		"contents: write":                 "content: write",
		"tags: [\"v[":                     "tag: [\"v[",
		"- run: docker login ghcr.io":     "- runs: docker login ghcr.io",
		"- uses: actions/checkout@3d3c42": "- uses: checkout@3d3c42",
	} {
		broken := strings.Replace(text, right, wrong, 1)
		if broken == text {
			t.Errorf("release.yaml does not have %q", right)
		}
		if len(complaints(t, "release.yaml", broken)) == 0 {
			t.Errorf("nobody complains about %q", wrong)
		}
	}
}

// login is the one command that is not make's: it needs the token of the run.
const login = `docker login ghcr.io --username "$GITHUB_ACTOR" --password-stdin <<<"$GH_TOKEN"`

// What a workflow does can be done, and is tested, without the forge.
func TestAWorkflowRunsMakeAndTheChecksOnly(t *testing.T) {
	targets := regexp.MustCompile(`(?m)^[a-z0-9-]+:.*## `).FindAllString(read(t, "../../Makefile"), -1)
	for i, target := range targets {
		targets[i], _, _ = strings.Cut(target, ":")
	}
	for name, text := range texts(t) {
		for _, exec := range steps(t, name, text) {
			run, ok := exec.(*actionlint.ExecRun)
			if !ok || run.Run.Value == ".ci/run" || run.Run.Value == login {
				continue
			}
			words := strings.Fields(run.Run.Value)
			if words[0] != "make" || strings.ContainsAny(run.Run.Value, ";|&`\n") || strings.Contains(run.Run.Value, "$(") {
				t.Errorf("%s runs %q: make it a target of the Makefile, and run make", name, run.Run.Value)
				continue
			}
			for _, word := range words[1:] {
				if !strings.Contains(word, "=") && !slices.Contains(targets, word) {
					t.Errorf("%s runs make %s, which the Makefile does not have", name, word)
				}
			}
		}
	}
	if _, err := os.Stat("../../.ci/run"); err != nil {
		t.Error(err)
	}
}

// A tag can be moved to another commit, a commit cannot.
func TestAnActionIsNamedByItsCommitAndTwoWorkflowsUseTheSame(t *testing.T) {
	form := regexp.MustCompile(`(?m)uses: (\S+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$`)
	commits := map[string]string{}
	for name, text := range texts(t) {
		named := form.FindAllStringSubmatch(text, -1)
		for _, m := range named {
			if had := commits[m[1]]; had != "" && had != m[2]+" "+m[3] {
				t.Errorf("%s: %s is %s %s here, and %s elsewhere", name, m[1], m[2], m[3], had)
			}
			commits[m[1]] = m[2] + " " + m[3]
		}
		used := 0
		for _, exec := range steps(t, name, text) {
			if _, ok := exec.(*actionlint.ExecAction); ok {
				used++
			}
		}
		if used == 0 || used != len(named) {
			t.Errorf("%s: %d of its %d actions are named by commit and version", name, len(named), used)
		}
	}
}

// The newest patch release of the module's Go: fixes of the standard library are in what is built.
func TestTheWorkflowsUseTheGoOfTheModule(t *testing.T) {
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../../go.mod"))
	if want == nil {
		t.Fatal("go.mod has no version of Go")
	}
	for name, text := range texts(t) {
		for _, exec := range steps(t, name, text) {
			action, ok := exec.(*actionlint.ExecAction)
			if !ok || !strings.HasPrefix(action.Uses.Value, "actions/setup-go@") {
				continue
			}
			got := map[string]string{}
			for _, input := range []string{"go-version", "check-latest"} {
				if i := action.Inputs[input]; i != nil {
					got[input] = i.Value.Value
				}
			}
			if !maps.Equal(got, map[string]string{"go-version": want[1], "check-latest": "true"}) {
				t.Errorf("%s sets up Go with %v, go.mod has %s", name, got, want[1])
			}
		}
	}
}

func TestAChangeThatIsProposedCannotWrite(t *testing.T) {
	workflow := parse(t, "ci.yaml", texts(t)["ci.yaml"])
	scopes := map[string]string{}
	for name, scope := range workflow.Permissions.Scopes {
		scopes[name] = scope.Value.Value
	}
	if !maps.Equal(scopes, map[string]string{"contents": "read"}) {
		t.Errorf("permissions of ci.yaml: %v, want contents: read alone", scopes)
	}
	if strings.Contains(texts(t)["ci.yaml"], "secrets.") {
		t.Error("ci.yaml reads a secret")
	}
}

func parse(t *testing.T, name, text string) *actionlint.Workflow {
	t.Helper()
	workflow, errs := actionlint.Parse([]byte(text))
	if len(errs) > 0 {
		t.Fatalf("%s: %v", name, errs)
	}
	return workflow
}

// steps returns what a workflow does, in all of its jobs.
func steps(t *testing.T, name, text string) (all []actionlint.Exec) {
	t.Helper()
	for _, job := range parse(t, name, text).Jobs {
		for _, step := range job.Steps {
			all = append(all, step.Exec)
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s does nothing", name)
	}
	return all
}
