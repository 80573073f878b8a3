package main

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// accepted are the licences of which a release keeps the conditions: their texts and notices come with it. They are
// identifiers of https://spdx.org/licenses.
var accepted = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// certain is the least part, in percent, of a licence file that has to be the text of known licences. pkg.go.dev is
// content with 75. What is left are titles, and the lines that say to which files a licence applies.
const certain = 90

var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying)([-.].*)?$`)
	noticeFile  = regexp.MustCompile(`(?i)^(notice|copyright)([-.].*)?$`)
)

// A text is a file that has to come with a program.
type text struct {
	file     string // its path in the module
	licences string // identifiers of SPDX with AND between them; "" for a notice without a licence
	content  string
}

// textsOf returns the licences and notices of a module, sorted by file: those of the directories given, which are the
// packages that are linked, and of all directories above them. What is not linked does not count. A file whose
// licence is not certain, or not accepted, is an error, and so is a module without a licence at its root.
func textsOf(module fs.FS, packages []string) ([]text, error) {
	directories := map[string]bool{}
	for _, dir := range append([]string{"."}, packages...) {
		for ; !directories[dir]; dir = path.Dir(dir) {
			directories[dir] = true
		}
	}
	var texts []text
	licensed := false
	for dir := range directories {
		files, err := fs.ReadDir(module, dir)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			isLicence := licenceFile.MatchString(f.Name())
			if f.IsDir() || path.Ext(f.Name()) == ".go" || !isLicence && !noticeFile.MatchString(f.Name()) {
				continue
			}
			t := text{file: path.Join(dir, f.Name())}
			content, err := fs.ReadFile(module, t.file)
			if err != nil {
				return nil, err
			}
			t.content = string(content)
			if isLicence {
				if t.licences, err = licencesIn(content); err != nil {
					return nil, fmt.Errorf("%s: %w", t.file, err)
				}
				licensed = licensed || dir == "."
			}
			texts = append(texts, t)
		}
	}
	if !licensed {
		return nil, fmt.Errorf("no licence file in the module's root: do not link the module, or ask its authors for one")
	}
	slices.SortFunc(texts, func(a, b text) int { return strings.Compare(a.file, b.file) })
	return texts, nil
}

// licencesIn returns the licences whose texts a file consists of, as an expression of SPDX.
func licencesIn(content []byte) (string, error) {
	known := licensecheck.Scan(content)
	var ids []string
	for _, match := range known.Match {
		if match.IsURL { // it refers to a licence, and is not its text
			continue
		}
		if !slices.Contains(accepted, match.ID) {
			return "", fmt.Errorf("licence %s is not among those a release may contain (%s): do not link the module, or add the licence to accepted, in integration/release, with what it demands",
				match.ID, strings.Join(accepted, ", "))
		}
		ids = append(ids, match.ID)
	}
	if len(ids) == 0 || known.Percent < certain {
		return "", fmt.Errorf("its licence is not certain: %.0f %% of it is the text of known licences, want %d %%: do not link the module, or settle by hand what it says", known.Percent, certain)
	}
	return all(ids), nil
}

// all returns the expression of SPDX by which all of several licences apply. A file or a module that leaves the
// choice is described as if it did not.
func all(ids []string) string {
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), " AND ")
}
