package main

import (
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// struckOut are words that a tired reader stumbles over, and what to write instead.
var struckOut = []struct {
	word  *regexp.Regexp
	write string
}{
	{regexp.MustCompile(`\banew\b`), "again"},
	{regexp.MustCompile(`\blest\b`), "so that … not"},
	{regexp.MustCompile(`\bthereof\b`), "of it"},
	{regexp.MustCompile(`\bin vain\b`), "without success"},
	{regexp.MustCompile(`\bwhoever\b`), "whatever, anyone who"},
	{regexp.MustCompile(`\bfolders?\b`), "directory"},
	{regexp.MustCompile(`\bset-ups?\b`), "setup"},
	{regexp.MustCompile(`\bbeside\b`), "next to, at the same time as"},
	{regexp.MustCompile(`\bto be (had|found)\b`), "found, available"},
	{regexp.MustCompile(`\bhas not (a|an|any|the|its)\b`), "does not have"},
	{regexp.MustCompile(`\b(is|are|was|were) no\b`), "is not a"},
}

// Idiomatic all the same.
var idiomatic = regexp.MustCompile(`\bthere (is|are|was|were) no\b|\b(is|are|was|were) no (longer|more|one|less|fewer)\b`)

// complaints returns what is wrong with a text: the words, and what to write.
func complaints(text string) (all []string) {
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	text = idiomatic.ReplaceAllString(text, "")
	for _, s := range struckOut {
		for _, at := range s.word.FindAllStringIndex(text, -1) {
			around := text[max(0, at[0]-30):min(len(text), at[1]+30)]
			all = append(all, "…"+around+"…: write "+s.write)
		}
	}
	return all
}

// prose returns what people read of a file: the comments and strings of Go, and
// the whole of other texts.
func prose(name string, text []byte) (all []string) {
	if !strings.HasSuffix(name, ".go") {
		return strings.Split(string(text), "\n\n")
	}
	var s scanner.Scanner
	files := token.NewFileSet()
	s.Init(files.AddFile(name, files.Base(), len(text)), text, nil, scanner.ScanComments)
	comment := ""
	for {
		_, kind, literal := s.Scan()
		switch kind {
		case token.COMMENT: // lines that follow each other are one sentence
			comment += " " + strings.TrimPrefix(literal, "//")
			continue
		case token.STRING:
			all = append(all, literal)
		}
		if comment != "" {
			all, comment = append(all, comment), ""
		}
		if kind == token.EOF {
			return all
		}
	}
}

func TestNoTextHasAWordThatReadersStumbleOver(t *testing.T) {
	t.Parallel()
	read := 0
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if slices.Contains([]string{".git", "bin", "dist", "fuzz"}, name) {
				return fs.SkipDir
			}
			return nil
		}
		if name == "voice_test.go" || !slices.Contains([]string{".go", ".md", ".yaml", ".txtar", ".txt", ".json", ""}, filepath.Ext(name)) || name == "LICENSE" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read++
		for _, p := range prose(name, text) {
			for _, c := range complaints(p) {
				t.Errorf("%s: %s", path, c)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read < 400 {
		t.Errorf("%d files were read", read)
	}
}

func TestAWordThatReadersStumbleOverIsSeen(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"read anew", "lest it fails", "the parts thereof", "asked in vain", "whoever asks", "a folder", "two set-ups",
		"the volume beside it", "where keys are to be had", "is to be found nowhere", "it has not the variables", "db is no Service", "they are no names",
		"a sentence that is\nno English", // wrapped
	} {
		if got := complaints(text); len(got) != 1 {
			t.Errorf("%q: %q", text, got)
		}
	}
	for _, text := range []string{
		"there is no Service", "it is no longer there", "besides, it has not answered", "a setup", "all there is", "there are no more than two",
	} {
		if got := complaints(text); len(got) != 0 {
			t.Errorf("%q: %q", text, got)
		}
	}
	source := "package p\n\n// a name is\n// no address\nvar folder = \"a folder\" // beside\n"
	var all []string
	for _, p := range prose("p.go", []byte(source)) {
		all = append(all, complaints(p)...)
	}
	if len(all) != 3 {
		t.Errorf("%q", all)
	}
}

// README is read in five minutes: two screens, whatever is added to the product.
func TestReadmeFitsOnTwoScreens(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	words, lines := measure(string(text))
	if words > 900 || lines > 60 {
		t.Errorf("README.md has %d words and %d lines of code; 900 and 60 is the most: move something to docs", words, lines)
	}
	if words, lines := measure("# A\n\n| b c | `d e` |\n|---|---|\n\n```sh\none\ntwo\n```\nf-g: [h](i.md)\n"); words != 7 || lines != 2 {
		t.Errorf("%d words and %d lines in the sample", words, lines)
	}
}

// measure returns the words of a document's prose and tables, and the lines of its
// code. A word has a letter or a digit.
func measure(document string) (words, lines int) {
	code := false
	for line := range strings.Lines(document) {
		switch {
		case strings.HasPrefix(line, "```"):
			code = !code
		case code:
			lines++
		default:
			for _, w := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n|", r) }) {
				if strings.ContainsFunc(w, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }) {
					words++
				}
			}
		}
	}
	return words, lines
}
