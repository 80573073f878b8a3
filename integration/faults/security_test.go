//go:build faults

package faults

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What SECURITY.md says a threat is shown by is there.
func TestTheThreatsNameWhatExists(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n## Threats")
	if !found {
		t.Fatal("SECURITY.md has no table of threats")
	}
	var tests, cases strings.Builder
	files := map[string]bool{}
	err = filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		switch name := entry.Name(); {
		case strings.HasSuffix(name, "_test.go"):
			b, err := os.ReadFile(path)
			tests.Write(b)
			files[name] = true
			return err
		case strings.HasSuffix(name, ".txtar"):
			b, err := os.ReadFile(path)
			cases.Write(b)
			files[name] = true
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(table, -1) {
		if named++; !strings.Contains(tests.String(), "func "+name+"(") {
			t.Errorf("there is no %s", name)
		}
	}
	for _, name := range regexp.MustCompile(`[a-z-]+\*?(\.txtar|_test\.go)`).FindAllString(table, -1) {
		named++
		there := false
		for file := range files {
			match, err := filepath.Match(name, file)
			there = there || match && err == nil
		}
		if !there {
			t.Errorf("there is no %s", name)
		}
	}
	for _, quoted := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(table, -1) {
		named++
		begin, open := strings.CutSuffix(quoted[1], "…")
		if want := "-- " + begin; !strings.Contains(cases.String(), want+" --") && !(open && strings.Contains(cases.String(), want)) {
			t.Errorf("there is no case %q", quoted[1])
		}
	}
	scenarios, err := os.ReadFile("../e2e/suite_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, numbers := range regexp.MustCompile(`\be2e ([\d, ]*\d)`).FindAllStringSubmatch(table, -1) {
		for number := range strings.SplitSeq(numbers[1], ", ") {
			if named++; !strings.Contains(string(scenarios), "{number: "+number+",") {
				t.Errorf("there is no scenario %s", number)
			}
		}
	}
	if named < 25 {
		t.Errorf("only %d are named", named)
	}
}
