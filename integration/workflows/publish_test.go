package workflows

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const changelog = `# Changelog

## Unreleased

* Not yet.

## v1.2.3 - 2027-01-02

### Fixed

* A defect.

## v1.2.30

* Later.

## v2.0.0-rc.1

* All is new.
`

// published runs make publish for a release of version, with a stand-in for gh. It returns the arguments that gh
// was called with, one a line, the notes that it was given, and what make wrote.
func published(t *testing.T, version string, change func(files map[string]string)) (args, notes, output string) {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"CHANGELOG.md":                changelog,
		"dist/release/image.txt":      "registry.example.com:5000/podfqdn:" + version + "@sha256:" + strings.Repeat("0", 64) + "\n",
		"dist/release/oci/index.json": "{}",
		"dist/release/a.cdx.json":     "",
		"dist/release/SHA256SUMS.sig": "signature",
		"dist/release/cosign.key":     "a secret that was left there",
		"bin/gh":                      "#!/bin/sh\nprintf '%s\\n' \"$@\" >gh.args\ncp \"$(sed -n '/^--notes-file$/{n;p}' gh.args)\" gh.notes\n",
	}
	for _, name := range []string{"a.cdx.json", "image.txt", "oci/index.json"} {
		files["dist/release/SHA256SUMS"] += fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(files["dist/release/"+name])), name)
	}
	change(files)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	makefile, err := filepath.Abs("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("make", "-f", makefile, "publish")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+dir+"/bin:"+os.Getenv("PATH"))
	out, _ := cmd.CombinedOutput()
	gh := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, "dist/release", name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(text)
	}
	return gh("gh.args"), gh("gh.notes"), string(out)
}

func asBuilt(map[string]string) {}

func TestAReleaseThatIsNotSignedOrNotAsItWasBuiltIsNotPublished(t *testing.T) {
	for want, change := range map[string]func(map[string]string){
		"dist/release is not signed: make sign":             func(files map[string]string) { delete(files, "dist/release/SHA256SUMS.sig") },
		"dist/release is not as it was built: make release": func(files map[string]string) { files["dist/release/a.cdx.json"] = "{}" },
	} {
		if args, _, output := published(t, "v1.2.3", change); args != "" || !strings.Contains(output, want) {
			t.Errorf("gh was called with\n%s, want none of it and %q:\n%s", args, want, output)
		}
	}
}

func TestAReleaseIsPublishedWithItsFilesAndItsSectionOfTheChangelog(t *testing.T) {
	args, notes, output := published(t, "v1.2.3", asBuilt)
	if want := strings.Join([]string{
		"release", "create", "v1.2.3", "--verify-tag", "--title", "v1.2.3", "--notes-file", "../notes.md",
		"a.cdx.json", "image.txt", "SHA256SUMS", "SHA256SUMS.sig", "",
	}, "\n"); args != want {
		t.Errorf("gh was called with\n%s, want\n%s%s", args, want, output)
	}
	if want := "\n### Fixed\n\n* A defect.\n\n"; notes != want {
		t.Errorf("notes %q, want %q", notes, want)
	}
}

func TestAVersionBeforeAReleaseIsPublishedAsSuch(t *testing.T) {
	args, _, output := published(t, "v2.0.0-rc.1", asBuilt)
	if !strings.Contains(args, "\n--prerelease\n") {
		t.Errorf("gh was called with\n%s%s", args, output)
	}
}

func TestAReleaseThatTheChangelogDoesNotDescribeIsNotPublished(t *testing.T) {
	args, _, output := published(t, "v1.2.4", asBuilt)
	if want := `make publish: CHANGELOG.md does not say what v1.2.4 changes: write its section, "## v1.2.4"`; args != "" || !strings.Contains(output, want) {
		t.Errorf("gh was called with\n%s, want none of it and %q:\n%s", args, want, output)
	}
}

func TestWithoutAReleasePublishNamesWhatIsMissing(t *testing.T) {
	args, _, output := published(t, "", asBuilt)
	if want := "make publish: dist/release does not have a release: make release push sign"; args != "" || !strings.Contains(output, want) {
		t.Errorf("gh was called with\n%s, want none of it and %q:\n%s", args, want, output)
	}
}
