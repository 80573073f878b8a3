package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
	"github.com/package-url/packageurl-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdxlib"
	"github.com/xeipuuv/gojsonschema"

	"github.com/podfqdn/podfqdn/integration/programs"
)

const (
	root   = "../.."
	digest = "sha256:4a1c4b21597c1b4415bdbecb28a3296c6b5e23ca4f9feeb599860a1dac6a0108"
	image  = "registry.example.com:5000/tools/podfqdn@" + digest
)

var commitDate = time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))

// An example is a built program and what inspect says of it.
type example struct {
	binary   []byte
	info     *buildinfo.BuildInfo
	contents contents
}

// examples builds podfqdn for two architectures, and the plugin, once.
var examples = sync.OnceValues(func() (map[string]example, error) {
	found := map[string]example{}
	for _, e := range []struct{ arch, command string }{{"amd64", "podfqdn"}, {"arm64", "podfqdn"}, {"amd64", "kubectl-podfqdn"}} {
		dir, err := os.MkdirTemp("", "podfqdn-test-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		os.Setenv("GOOS", "linux")
		os.Setenv("GOARCH", e.arch)
		err = programs.Product(dir, "./cmd/"+e.command)
		os.Unsetenv("GOOS")
		os.Unsetenv("GOARCH")
		if err != nil {
			return nil, err
		}
		var x example
		if x.binary, err = os.ReadFile(filepath.Join(dir, e.command)); err != nil {
			return nil, err
		}
		if x.info, err = buildinfo.Read(bytes.NewReader(x.binary)); err != nil {
			return nil, err
		}
		if x.contents, err = inspect(root, x.binary); err != nil {
			return nil, err
		}
		found[e.command+" "+e.arch] = x
	}
	return found, nil
})

// described is both documents about some of the examples, as read by their libraries.
type described struct {
	text      [2][]byte
	cyclonedx cyclonedx.BOM
	spdx      *spdx.Document
	examples  []example
}

// descriptions returns the documents of a release: of an image, of the index, and of the plugin.
func descriptions(t *testing.T) map[string]described {
	t.Helper()
	examples := must(examples())(t)
	result := map[string]described{}
	for title, d := range map[string]struct {
		image string
		of    []string
	}{
		"image":  {image, []string{"podfqdn amd64"}},
		"index":  {image, []string{"podfqdn amd64", "podfqdn arm64"}},
		"plugin": {"", []string{"kubectl-podfqdn amd64"}},
	} {
		var r described
		var all []contents
		for _, name := range d.of {
			r.examples = append(r.examples, examples[name])
			all = append(all, examples[name].contents)
		}
		var err error
		if r.text[0], r.text[1], err = sboms(d.image, commitDate, all...); err != nil {
			t.Fatal(err)
		}
		if err := cyclonedx.NewBOMDecoder(bytes.NewReader(r.text[0]), cyclonedx.BOMFileFormatJSON).Decode(&r.cyclonedx); err != nil {
			t.Fatal(err)
		}
		r.spdx = must(spdxjson.Read(bytes.NewReader(r.text[1])))(t)
		result[title] = r
	}
	return result
}

// modules returns what must be listed: the modules of all programs, with their versions, and Go.
func (d described) modules() []string {
	found := map[string]bool{}
	for _, e := range d.examples {
		found["stdlib "+strings.TrimPrefix(e.info.GoVersion, "go")] = true
		for _, m := range e.info.Deps {
			found[m.Path+" "+m.Version] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func TestTheModulesAreThoseInTheProgramAndNoOthers(t *testing.T) {
	for title, d := range descriptions(t) {
		var fromCycloneDX, fromSPDX []string
		for _, c := range *d.cyclonedx.Components {
			if c.Type == cyclonedx.ComponentTypeLibrary {
				fromCycloneDX = append(fromCycloneDX, c.Name+" "+c.Version)
			}
		}
		for _, p := range d.spdx.Packages {
			if p.PrimaryPackagePurpose == "LIBRARY" {
				fromSPDX = append(fromSPDX, p.PackageName+" "+p.PackageVersion)
			}
		}
		slices.Sort(fromCycloneDX)
		slices.Sort(fromSPDX)
		if want := d.modules(); !slices.Equal(fromCycloneDX, want) || !slices.Equal(fromSPDX, want) {
			t.Errorf("%s: CycloneDX\n%q\nSPDX\n%q\nwant\n%q", title, fromCycloneDX, fromSPDX, want)
		}
	}
}

func TestTheSumsOfModulesAreThoseOfGoAndAreNotCalledHashesOfFiles(t *testing.T) {
	d := descriptions(t)["plugin"]
	want := map[string]string{}
	for _, m := range d.examples[0].info.Deps {
		want[m.Path] = m.Sum
	}
	if len(want) < 20 {
		t.Fatalf("%d modules in the plugin", len(want))
	}
	for _, c := range *d.cyclonedx.Components {
		if sum := want[c.Name]; sum != "" && (*c.Properties)[0] != (cyclonedx.Property{Name: "go.sum", Value: sum}) || c.Hashes != nil {
			t.Errorf("CycloneDX %s: properties %v, hashes %v, want %s as a property", c.Name, c.Properties, c.Hashes, sum)
		}
	}
	for _, p := range d.spdx.Packages[1:] {
		if sum := want[p.PackageName]; sum != "" && p.PackageSourceInfo != "go.sum: "+sum || p.PackageChecksums != nil {
			t.Errorf("SPDX %s: %q, checksums %v, want %s", p.PackageName, p.PackageSourceInfo, p.PackageChecksums, sum)
		}
	}
}

func TestTheHashOfAProgramIsThatOfItsFile(t *testing.T) {
	for title, d := range descriptions(t) {
		var want, fromCycloneDX, fromSPDX []string
		for _, e := range d.examples {
			sum := sha256.Sum256(e.binary)
			want = append(want, hex.EncodeToString(sum[:]))
		}
		for _, c := range append(*d.cyclonedx.Components, *d.cyclonedx.Metadata.Component) {
			if c.Hashes != nil {
				fromCycloneDX = append(fromCycloneDX, (*c.Hashes)[0].Value)
			}
		}
		for _, p := range d.spdx.Packages {
			if p.PackageChecksums != nil {
				fromSPDX = append(fromSPDX, p.PackageChecksums[0].Value)
			}
		}
		if !slices.Equal(fromCycloneDX, want) || !slices.Equal(fromSPDX, want) {
			t.Errorf("%s: CycloneDX %q, SPDX %q, want %q", title, fromCycloneDX, fromSPDX, want)
		}
	}
}

func TestAnSBOMOfAnImageNamesItByDigestAndSaysWhichProgramsAreInIt(t *testing.T) {

	for title, programs := range map[string]int{"image": 1, "index": 2} {
		d := descriptions(t)[title]
		purl := must(packageurl.FromString(d.cyclonedx.Metadata.Component.PackageURL))(t)
		if purl.Name != "podfqdn" || purl.Version != digest || purl.Qualifiers.Map()["repository_url"] != "registry.example.com:5000/tools/podfqdn" {
			t.Errorf("%s: purl %s", title, purl)
		}
		if got := d.spdx.Packages[0].PackageExternalReferences[0].Locator; got != purl.String() {
			t.Errorf("%s: CycloneDX describes %s, SPDX %s", title, purl, got)
		}
		if needs := *(*d.cyclonedx.Dependencies)[0].Dependencies; len(needs) != programs {
			t.Errorf("%s: programs %q, want %d", title, needs, programs)
		}
	}
}

func TestEverythingInTheProgramHasALicenceAndItsText(t *testing.T) {
	for title, d := range descriptions(t) {
		for _, c := range append(*d.cyclonedx.Components, *d.cyclonedx.Metadata.Component) {
			if c.Licenses == nil || len(*c.Licenses) == 0 {
				t.Errorf("%s: CycloneDX says nothing of the licence of %s", title, c.Name)
				continue
			}
			for _, l := range *c.Licenses {
				if !slices.Contains(accepted, l.License.ID) || len(l.License.Text.Content) < 500 {
					t.Errorf("%s: CycloneDX: %s has licence %q with %d bytes of text", title, c.Name, l.License.ID, len(l.License.Text.Content))
				}
			}
		}
		for _, p := range d.spdx.Packages {
			for id := range strings.SplitSeq(p.PackageLicenseDeclared, " AND ") {
				if !slices.Contains(accepted, id) {
					t.Errorf("%s: SPDX: %s has licence %q", title, p.PackageName, id)
				}
			}
			if len(p.PackageAttributionTexts) == 0 {
				t.Errorf("%s: SPDX: %s comes without a text", title, p.PackageName)
			}
		}
		if bytes.Contains(d.text[1], []byte("NOASSERTION")) {
			t.Errorf("%s: SPDX leaves something open", title)
		}
	}
}

// Each was read in the module's files by a person.
func TestTheLicencesAreTheOnesThatTheModulesHave(t *testing.T) {
	want := map[string]string{
		"kubectl-podfqdn":              "Apache-2.0",
		"stdlib":                       "BSD-3-Clause",
		"github.com/davecgh/go-spew":   "ISC",
		"github.com/fxamacker/cbor/v2": "MIT",
		"github.com/gorilla/websocket": "BSD-2-Clause",
		"github.com/moby/spdystream":   "Apache-2.0 AND BSD-3-Clause", // spdy/LICENSE
		"k8s.io/apimachinery":          "Apache-2.0 AND BSD-3-Clause", // third_party/forked/golang/LICENSE
		"k8s.io/client-go":             "Apache-2.0",
		"sigs.k8s.io/yaml":             "Apache-2.0 AND BSD-3-Clause AND MIT",
	}
	d := descriptions(t)["plugin"]
	for _, p := range d.spdx.Packages {
		if licence, ok := want[p.PackageName]; ok && p.PackageLicenseDeclared != licence {
			t.Errorf("%s: %q, want %q", p.PackageName, p.PackageLicenseDeclared, licence)
		}
		delete(want, p.PackageName)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}

func TestEveryRelationIsBetweenPartsThatAreListedAndReachesAll(t *testing.T) {
	for title, d := range descriptions(t) {
		needs := map[string][]string{}
		for _, dependency := range *d.cyclonedx.Dependencies {
			needs[dependency.Ref] = nil // Go's standard library needs nothing
			if dependency.Dependencies != nil {
				needs[dependency.Ref] = *dependency.Dependencies
			}
		}
		reached := map[string]bool{}
		var reach func(string)
		reach = func(ref string) {
			if _, listed := needs[ref]; !listed {
				t.Errorf("%s: %s is needed and not listed", title, ref)
			}
			if !reached[ref] {
				reached[ref] = true
				for _, need := range needs[ref] {
					reach(need)
				}
			}
		}
		reach(d.cyclonedx.Metadata.Component.BOMRef)
		if len(reached) != len(needs) || len(needs) != len(*d.cyclonedx.Components)+1 {
			t.Errorf("%s: %d parts are needed, %d have relations, %d are listed", title, len(reached), len(needs), len(*d.cyclonedx.Components)+1)
		}
		if err := spdxlib.ValidateDocument(d.spdx); err != nil {
			t.Errorf("%s: SPDX: %v", title, err)
		}
		relations := 1 // DESCRIBES
		for _, to := range needs {
			relations += len(to)
		}
		if len(d.spdx.Relationships) != relations {
			t.Errorf("%s: SPDX has %d relationships, CycloneDX %d", title, len(d.spdx.Relationships), relations)
		}
	}
}

func TestAModuleNeedsWhatItsLinkedPackagesImport(t *testing.T) {
	image := descriptions(t)["image"]
	for _, dependency := range *image.cyclonedx.Dependencies {
		if !strings.HasPrefix(dependency.Ref, "pkg:golang/go.uber.org/zap@") {
			continue
		}
		// zap's tests import more, and its go.mod requires more.
		if needs := *dependency.Dependencies; len(needs) == 2 && strings.HasPrefix(needs[0], "pkg:golang/go.uber.org/multierr@") && strings.HasPrefix(needs[1], "pkg:golang/stdlib@") {
			return
		}
		t.Fatalf("zap needs %q, want multierr and stdlib", *dependency.Dependencies)
	}
	t.Error("zap is not listed")
}

func TestTheDocumentsAreValidByTheirSchema(t *testing.T) {
	// cyclonedx-go brings the schema of the specification, with the list of SPDX's identifiers.
	dir := strings.TrimSpace(string(must(exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output())(t)))
	file := func(name string) gojsonschema.JSONLoader {
		return gojsonschema.NewBytesLoader(must(os.ReadFile(filepath.Join(dir, "schema", name)))(t))
	}
	loader := gojsonschema.NewSchemaLoader()
	// It finds them by the names they have in themselves.
	if err := loader.AddSchemas(file("spdx.schema.json"), file("jsf-0.82.schemax.json")); err != nil {
		t.Fatal(err)
	}
	schema := must(loader.Compile(file("bom-1.6.schema.json")))(t)
	for title, d := range descriptions(t) {
		result := must(schema.Validate(gojsonschema.NewBytesLoader(d.text[0])))(t)
		for _, e := range result.Errors() {
			t.Errorf("%s: CycloneDX: %v", title, e)
		}
		if d.cyclonedx.SpecVersion != cyclonedx.SpecVersion1_6 || d.spdx.SPDXVersion != "SPDX-2.3" {
			t.Errorf("%s: CycloneDX %v and %s", title, d.cyclonedx.SpecVersion, d.spdx.SPDXVersion)
		}
	}
}

func TestTheSameProgramsGiveTheSameBytesAndOtherInputAnotherIdentifier(t *testing.T) {
	first, second := descriptions(t), descriptions(t)
	identifiers := map[string]bool{}
	for title := range first {
		if !bytes.Equal(first[title].text[0], second[title].text[0]) || !bytes.Equal(first[title].text[1], second[title].text[1]) {
			t.Errorf("%s: not the same bytes", title)
		}
		for _, id := range []string{first[title].cyclonedx.SerialNumber, first[title].spdx.DocumentNamespace} {
			if identifiers[id] || !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
				t.Errorf("%s: identifier %s: not a UUID of version 8, or not this document's alone", title, id)
			}
			identifiers[id] = true
		}
		if date := first[title].cyclonedx.Metadata.Timestamp; date != "2026-03-04T04:06:07Z" || first[title].spdx.CreationInfo.Created != date {
			t.Errorf("%s: dates %s and %s, want the commit's in UTC", title, date, first[title].spdx.CreationInfo.Created)
		}
	}

	again := must(inspect(root, first["plugin"].examples[0].binary))(t)
	text, _, err := sboms("", commitDate, again)
	if err != nil || !bytes.Equal(text, first["plugin"].text[0]) {
		t.Errorf("inspected twice: not the same bytes (%v)", err)
	}
}

func TestAProgramThatIsNotFromThisSourceIsRefused(t *testing.T) {
	own := must(os.Executable())(t)
	for name, c := range map[string]struct {
		binary []byte
		want   string
	}{
		"a script":          {[]byte("#!/bin/sh\n"), "not a program made by go build"},
		"this test program": {must(os.ReadFile(own))(t), "go list"},
	} {
		if _, err := inspect(root, c.binary); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}

	// Another source: the program's module, with nothing in it that the program needs.
	other := t.TempDir()
	for file, content := range map[string]string{
		"go.mod":              "module github.com/podfqdn/podfqdn\n\ngo 1.26.0\n",
		"LICENSE":             "whatever",
		"cmd/podfqdn/main.go": "package main\n\nfunc main() {}\n",
	} {
		file = filepath.Join(other, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := inspect(other, must(examples())(t)["podfqdn amd64"].binary)
	if err == nil || !strings.Contains(err.Error(), "is in the program, but not in what its source imports") {
		t.Errorf("another source: %v", err)
	}
}

func TestALicenceThatIsNotCertainOrNotAcceptedIsRefused(t *testing.T) {
	apache := string(must(os.ReadFile(root + "/LICENSE"))(t))
	mit := must(examples())(t)["podfqdn amd64"].contents
	at := slices.IndexFunc(mit, func(p part) bool { return p.name == "go.uber.org/zap" })
	short := mit[at].texts[0].content
	for _, c := range []struct {
		files map[string]string
		want  string
	}{
		{map[string]string{"main.go": "package main"}, "no licence file in the module's root"},
		{map[string]string{"pkg/LICENSE": short}, "no licence file in the module's root"},
		{map[string]string{"LICENSE": "You may use this on Sundays."}, "LICENSE: its licence is not certain: 0 %"},
		{map[string]string{"LICENSE": short + strings.Repeat("Nobody may sell it to a bank. ", 20)}, "LICENSE: its licence is not certain"},
		{map[string]string{"LICENSE": apache, "pkg/COPYING": "Ask first."}, "pkg/COPYING: its licence is not certain"},
		{map[string]string{"LICENSE": "See https://www.apache.org/licenses/LICENSE-2.0"}, "LICENSE: its licence is not certain"},
		{map[string]string{"LICENSE": gplNotice}, "LICENSE: licence GPL"},
	} {
		module := fstest.MapFS{"pkg/x.go": {}}
		for name, content := range c.files {
			module[name] = &fstest.MapFile{Data: []byte(content)}
		}
		if _, err := textsOf(module, []string{"pkg"}); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", slices.Collect(maps.Keys(c.files)), err, c.want)
		}
	}
}

const gplNotice = `This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later version.

This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied warranty
of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE. See the GNU General Public License for more details.
`

func TestOnlyLicencesOfWhatIsLinkedCount(t *testing.T) {
	apache := must(os.ReadFile(root + "/LICENSE"))(t)
	module := fstest.MapFS{
		"LICENSE":          {Data: apache},
		"NOTICE.txt":       {Data: []byte("This product includes software.")},
		"license.go":       {Data: []byte("package x")},
		"a/b/LICENSE":      {Data: apache},
		"a/b/x.go":         {},
		"test/gpl/COPYING": {Data: []byte(gplNotice)},
	}
	got := must(textsOf(module, []string{"a/b"}))(t)
	want := []text{{"LICENSE", "Apache-2.0", string(apache)}, {"NOTICE.txt", "", "This product includes software."}, {"a/b/LICENSE", "Apache-2.0", string(apache)}}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestTheNoticesHaveEachModuleWithItsTexts(t *testing.T) {
	plugin := must(examples())(t)["kubectl-podfqdn amd64"]
	got := string(notices(plugin.contents))
	for _, m := range plugin.info.Deps {
		if !strings.Contains(got, "\n"+m.Path+" "+m.Version+"\n") {
			t.Errorf("nothing of %s", m.Path)
		}
	}
	// A copyright of the BSD, of the MIT licence, of a notice, and of Go itself.
	for _, copyright := range []string{"Copyright (c) 2012 Alex Ogier", "Copyright (c) 2019-present Faye Amacker", "Copyright 2014-2021 Docker Inc.", "Copyright 2009 The Go Authors"} {
		if !strings.Contains(got, copyright) {
			t.Errorf("not in the notices: %s", copyright)
		}
	}
	if !bytes.Equal(notices(plugin.contents), []byte(got)) {
		t.Error("not the same bytes twice")
	}
}
