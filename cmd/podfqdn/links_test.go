package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// documents are the texts for people, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(paths) < 8 {
		t.Fatalf("docs: %q, %v", paths, err)
	}
	paths = append(paths, "../../README.md", "../../SECURITY.md", "../../CONTRIBUTING.md", "../../CHANGELOG.md")
	texts := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[path] = string(text)
	}
	return texts
}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	texts := documents(t)
	reached := map[string]bool{"../../README.md": true}
	for path, text := range texts {
		links := regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1)
		for _, link := range links {
			file, anchor, hasAnchor := strings.Cut(link[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			to := path
			if file != "" {
				to = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %s: there is no such file", path, link[1])
				continue
			}
			reached[to] = true
			if hasAnchor && !slices.Contains(anchors(texts[to]), anchor) {
				t.Errorf("%s: %s: there is no such heading", path, link[1])
			}
		}
	}
	for path := range texts {
		if !reached[path] {
			t.Errorf("no document leads to %s", path)
		}
	}
}

// anchors returns those of a document's headings, as the usual forges make them.
func anchors(text string) (all []string) {
	seen := map[string]int{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsNumber(r):
				return unicode.ToLower(r)
			}
			return -1
		}, heading[1])
		n := seen[anchor]
		seen[anchor]++
		if n > 0 {
			anchor += "-" + strconv.Itoa(n)
		}
		all = append(all, anchor)
	}
	return all
}

func TestAnchorsAreTheForges(t *testing.T) {
	t.Parallel()
	got := anchors("# When it hangs\n\n## podfqdn doctor -o json\n### `exec`: a b…\n## causes\n## Causes\n")
	if want := []string{"when-it-hangs", "podfqdn-doctor--o-json", "exec-a-b", "causes", "causes-1"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
