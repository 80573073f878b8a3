package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/uuid"
	"github.com/package-url/packageurl-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"golang.org/x/mod/module"
)

const homepage = "https://github.com/podfqdn/podfqdn"

// A part is what an SBOM lists: an image, a program, a module that is linked into it, or Go's standard library.
type part struct {
	purl          string
	kind          cyclonedx.ComponentType
	name, version string
	download      string // where it comes from: a URL
	sha256        string // of a program's file, in hexadecimal
	sum           string // of a module, as in go.sum: a hash of the names and hashes of its files, not of an archive
	cpe           string // of the standard library, by which vulnerabilities are found
	texts         []text
	needs         []string // the purls of other parts, sorted
}

func (p part) licences() string {
	var ids []string
	for _, t := range p.texts {
		if t.licences != "" {
			ids = append(ids, strings.Split(t.licences, " AND ")...)
		}
	}
	return all(ids)
}

// The contents of a built file are its parts: first the program itself, then what is linked into it, sorted by purl.
type contents []part

// inspect returns the parts of binary, a file that go build made in the directory source or in a copy of it. Which
// modules these are, in which versions, and which Go, is read from binary; source, Go and the module cache only add
// licences, and what imports what. That the two do not agree is an error, and so is a licence that textsOf refuses.
func inspect(source string, binary []byte) (contents, error) {
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return nil, fmt.Errorf("not a program made by go build: %w", err)
	}
	linked, goroot, err := imports(source, info)
	if err != nil {
		return nil, err
	}

	purls := map[string]string{
		standard:       packageurl.NewPackageURL(packageurl.TypeGolang, "", "stdlib", goVersion(info), nil, "").String(),
		info.Main.Path: purlOfProgram(info),
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			return nil, fmt.Errorf("module %s is replaced by %s: a release consists of modules as they are published: remove the replace directive", m.Path, m.Replace.Path)
		}
		if l := linked[m.Path]; l == nil || l.version != m.Version {
			return nil, fmt.Errorf("module %s %s is in the program, but not in what its source imports: build it from this source", m.Path, m.Version)
		}
		purls[m.Path] = packageurl.NewPackageURL(packageurl.TypeGolang, path.Dir(m.Path), path.Base(m.Path), m.Version, nil, "").String()
	}
	for modulePath := range linked {
		if purls[modulePath] == "" {
			return nil, fmt.Errorf("module %s is imported by the source, but is not in the program: build it from this source", modulePath)
		}
	}

	sum := sha256.Sum256(binary)
	result := contents{{
		kind: cyclonedx.ComponentTypeApplication, name: path.Base(info.Path), version: info.Main.Version,
		purl: purls[info.Main.Path], sha256: hex.EncodeToString(sum[:]),
		download: "git+" + homepage + "@" + info.Main.Version,
	}, {
		kind: cyclonedx.ComponentTypeLibrary, name: "stdlib", version: goVersion(info), purl: purls[standard],
		// As Go's vulnerabilities are filed in the NVD.
		cpe:      "cpe:2.3:a:golang:go:" + goVersion(info) + ":*:*:*:*:*:*:*",
		download: "https://go.dev/dl/go" + goVersion(info) + ".src.tar.gz",
	}}
	if result[0].texts, err = linked[info.Main.Path].texts(); err != nil {
		return nil, fmt.Errorf("%s: %w", info.Main.Path, err)
	}
	// This file alone, so that a Go with other files around it gives the same bytes.
	licence, err := os.ReadFile(filepath.Join(goroot, "LICENSE"))
	if err != nil {
		return nil, fmt.Errorf("the Go in %s does not come with its licence, which has to be in a release: use the Go of go.dev: %w", goroot, err)
	}
	result[1].texts = []text{{file: "LICENSE", content: string(licence)}}
	if result[1].texts[0].licences, err = licencesIn(licence); err != nil {
		return nil, fmt.Errorf("%s/LICENSE: %w", goroot, err)
	}
	result[0].needs = linked[info.Main.Path].purls(purls)
	for _, m := range info.Deps {
		p := part{kind: cyclonedx.ComponentTypeLibrary, name: m.Path, version: m.Version, purl: purls[m.Path], sum: m.Sum, needs: linked[m.Path].purls(purls)}
		escaped, err := module.EscapePath(m.Path)
		if err != nil {
			return nil, err
		}
		p.download = fmt.Sprintf("https://proxy.golang.org/%s/@v/%s.zip", escaped, m.Version)
		if p.texts, err = linked[m.Path].texts(); err != nil {
			return nil, fmt.Errorf("%s %s: %w", m.Path, m.Version, err)
		}
		result = append(result, p)
	}
	slices.SortFunc(result[1:], func(a, b part) int { return strings.Compare(a.purl, b.purl) })
	return result, nil
}

// goVersion returns the version of Go as in 1.26.0.
func goVersion(info *buildinfo.BuildInfo) string {
	version, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ")
	return version
}

// purlOfProgram tells the platforms apart: their programs may be in one SBOM.
func purlOfProgram(info *buildinfo.BuildInfo) string {
	platform := packageurl.QualifiersFromMap(map[string]string{"goos": setting(info, "GOOS"), "goarch": setting(info, "GOARCH")})
	inModule := strings.TrimPrefix(strings.TrimPrefix(info.Path, info.Main.Path), "/")
	return packageurl.NewPackageURL(packageurl.TypeGolang, path.Dir(info.Main.Path), path.Base(info.Main.Path), info.Main.Version, platform, inModule).String()
}

func setting(info *buildinfo.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// standard stands for Go's standard library where a module's path is expected.
const standard = "std"

// A linked module is one with packages that are in a program.
type linked struct {
	version  string
	root     string
	packages []string // their directories in it
	needs    []string // the paths of the modules that these packages import, itself among them
}

func (l *linked) texts() ([]text, error) {
	return textsOf(os.DirFS(l.root), l.packages)
}

func (l *linked) purls(byPath map[string]string) (purls []string) {
	for _, need := range l.needs {
		purls = append(purls, byPath[need])
	}
	slices.Sort(purls)
	return slices.Compact(purls)
}

// imports returns the modules of which the program that info tells about consists, by their paths, as go list finds
// them in source; and the root of the Go that made it.
func imports(source string, info *buildinfo.BuildInfo) (modules map[string]*linked, goroot string, err error) {
	run := func(args ...string) ([]byte, error) {
		cmd := exec.Command("go", args...)
		cmd.Dir = source
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
		for _, key := range []string{"GOOS", "GOARCH", "CGO_ENABLED"} {
			cmd.Env = append(cmd.Env, key+"="+setting(info, key))
		}
		out, err := cmd.Output()
		if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
			err = fmt.Errorf("go %s: %w: %s", args[0], err, bytes.TrimSpace(failed.Stderr))
		}
		return out, err
	}

	out, err := run("env", "-json", "GOROOT", "GOVERSION")
	if err != nil {
		return nil, "", err
	}
	var env struct{ GOROOT, GOVERSION string }
	if err := json.Unmarshal(out, &env); err != nil {
		return nil, "", err
	}
	if env.GOVERSION != info.GoVersion {
		return nil, "", fmt.Errorf("the program was built by %s, and this is %s, whose licence may differ: use the Go that built it", info.GoVersion, env.GOVERSION)
	}

	out, err = run("list", "-deps", "-json=ImportPath,Dir,Standard,Imports,Module", info.Path)
	if err != nil {
		return nil, "", err
	}
	type listed struct {
		ImportPath, Dir string
		Standard        bool
		Imports         []string
		Module          *struct{ Path, Version, Dir string }
	}
	var packages []listed
	home := map[string]string{"C": standard} // of a package: its module
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return nil, "", err
		}
		if p.Standard {
			home[p.ImportPath] = standard
			continue
		}
		home[p.ImportPath] = p.Module.Path
		packages = append(packages, p)
	}
	modules = map[string]*linked{}
	for _, p := range packages {
		m := modules[p.Module.Path]
		if m == nil {
			m = &linked{version: p.Module.Version, root: p.Module.Dir}
			modules[p.Module.Path] = m
		}
		inModule, err := filepath.Rel(m.root, p.Dir)
		if err != nil {
			return nil, "", err
		}
		m.packages = append(m.packages, filepath.ToSlash(inModule))
		for _, imported := range p.Imports {
			if home[imported] != p.Module.Path {
				m.needs = append(m.needs, home[imported])
			}
		}
	}
	return modules, env.GOROOT, nil
}

// sboms returns the bills of materials of programs, in CycloneDX 1.6 and in SPDX 2.3, both in JSON. They describe
// image, an image or an index of images that has the programs in it (REGISTRY/podfqdn@sha256:…), or if image is ""
// the one program itself. date is the commit's. The same input gives the same bytes.
func sboms(image string, date time.Time, programs ...contents) (cdx, spdx []byte, err error) {
	parts := union(programs)
	if image != "" {
		described, err := partOfImage(image, programs)
		if err != nil {
			return nil, nil, err
		}
		parts = append([]part{described}, parts...)
	}
	if cdx, err = asCycloneDX(parts, date.UTC()); err != nil {
		return nil, nil, err
	}
	if spdx, err = asSPDX(parts, date.UTC()); err != nil {
		return nil, nil, err
	}
	return cdx, spdx, nil
}

// union returns the programs, and then each other part once, sorted by purl.
func union(programs []contents) (parts []part) {
	others := map[string]part{}
	for _, p := range programs {
		parts = append(parts, p[0])
		for _, o := range p[1:] {
			// On another platform other packages of a module may be linked.
			had := others[o.purl]
			o.needs = append(o.needs[:len(o.needs):len(o.needs)], had.needs...)
			slices.Sort(o.needs)
			o.needs = slices.Compact(o.needs)
			o.texts = append(o.texts[:len(o.texts):len(o.texts)], had.texts...)
			slices.SortFunc(o.texts, func(a, b text) int { return strings.Compare(a.file, b.file) })
			o.texts = slices.Compact(o.texts)
			others[o.purl] = o
		}
	}
	for _, purl := range slices.Sorted(maps.Keys(others)) {
		parts = append(parts, others[purl])
	}
	return parts
}

func partOfImage(image string, programs []contents) (part, error) {
	digest, err := name.NewDigest(image)
	if err != nil {
		return part{}, err
	}
	repository := digest.Context()
	p := part{
		kind: cyclonedx.ComponentTypeContainer, name: path.Base(repository.RepositoryStr()), version: programs[0][0].version,
		download: fmt.Sprintf("%s://%s/v2/%s/manifests/%s", repository.Scheme(), repository.RegistryStr(), repository.RepositoryStr(), digest.DigestStr()),
		texts:    programs[0][0].texts,
	}
	p.purl = packageurl.NewPackageURL(packageurl.TypeOCI, "", p.name, digest.DigestStr(),
		packageurl.QualifiersFromMap(map[string]string{"repository_url": repository.Name(), "tag": p.version}), "").String()
	for _, program := range programs {
		p.needs = append(p.needs, program[0].purl)
	}
	slices.Sort(p.needs)
	return p, nil
}

// identifier returns a UUID of version 8 (RFC 9562) that stands for a document and changes with it.
func identifier(document []byte) string {
	return uuid.NewHash(sha256.New(), uuid.Nil, document, 8).URN()
}

// asCycloneDX describes the first part as consisting of the others.
func asCycloneDX(parts []part, date time.Time) ([]byte, error) {
	var components []cyclonedx.Component
	var dependencies []cyclonedx.Dependency
	for _, p := range parts {
		c := cyclonedx.Component{BOMRef: p.purl, Type: p.kind, Name: p.name, Version: p.version, PackageURL: p.purl, CPE: p.cpe}
		if p.kind != cyclonedx.ComponentTypeLibrary {
			c.Supplier = &cyclonedx.OrganizationalEntity{Name: "podfqdn", URL: &[]string{homepage}}
		}
		if p.sha256 != "" {
			c.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: p.sha256}}
		}
		if p.sum != "" {
			c.Properties = &[]cyclonedx.Property{{Name: "go.sum", Value: p.sum}}
		}
		c.ExternalReferences = &[]cyclonedx.ExternalReference{{Type: cyclonedx.ERTypeDistribution, URL: p.download}}
		var licences cyclonedx.Licenses
		var copyrights []cyclonedx.Copyright
		for _, t := range p.texts {
			if t.licences == "" {
				copyrights = append(copyrights, cyclonedx.Copyright{Text: t.content})
				continue
			}
			for id := range strings.SplitSeq(t.licences, " AND ") {
				licences = append(licences, cyclonedx.LicenseChoice{License: &cyclonedx.License{
					ID: id, Acknowledgement: cyclonedx.LicenseAcknowledgementDeclared,
					Text: &cyclonedx.AttachedText{ContentType: "text/plain", Content: t.content},
				}})
			}
		}
		c.Licenses = &licences
		if copyrights != nil {
			c.Evidence = &cyclonedx.Evidence{Copyright: &copyrights}
		}
		components = append(components, c)
		dependency := cyclonedx.Dependency{Ref: p.purl}
		if p.needs != nil {
			dependency.Dependencies = &p.needs
		}
		dependencies = append(dependencies, dependency)
	}

	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{
		Timestamp: date.Format(time.RFC3339),
		Component: &components[0],
		Tools: &cyclonedx.ToolsChoice{Components: &[]cyclonedx.Component{
			{Type: cyclonedx.ComponentTypeApplication, Name: "podfqdn release", Version: parts[0].version},
		}},
	}
	others := components[1:]
	bom.Components = &others
	bom.Dependencies = &dependencies
	encode := func() ([]byte, error) {
		var b bytes.Buffer
		err := cyclonedx.NewBOMEncoder(&b, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cyclonedx.SpecVersion1_6)
		return b.Bytes(), err
	}
	document, err := encode()
	if err != nil {
		return nil, err
	}
	bom.SerialNumber = identifier(document)
	return encode()
}

// asSPDX describes the first part as consisting of the others.
func asSPDX(parts []part, date time.Time) ([]byte, error) {
	document := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName: parts[0].name + "-" + parts[0].version,
		CreationInfo: &spdx.CreationInfo{
			Created: date.Format(time.RFC3339),
			Creators: []common.Creator{
				{CreatorType: "Organization", Creator: "podfqdn"},
				{CreatorType: "Tool", Creator: "podfqdn release-" + parts[0].version},
			},
		},
	}
	relate := func(from, kind, to string) {
		document.Relationships = append(document.Relationships, &spdx.Relationship{
			RefA: common.MakeDocElementID("", from), Relationship: kind, RefB: common.MakeDocElementID("", to),
		})
	}
	relate("DOCUMENT", common.TypeRelationshipDescribe, spdxID(parts[0].purl))
	purposes := map[cyclonedx.ComponentType]string{
		cyclonedx.ComponentTypeContainer: "CONTAINER", cyclonedx.ComponentTypeApplication: "APPLICATION", cyclonedx.ComponentTypeLibrary: "LIBRARY",
	}
	for _, p := range parts {
		entry := &spdx.Package{
			PackageSPDXIdentifier: common.ElementID(spdxID(p.purl)), PackageName: p.name, PackageVersion: p.version,
			PackageDownloadLocation: p.download, PrimaryPackagePurpose: purposes[p.kind],
			PackageLicenseDeclared: p.licences(), PackageLicenseConcluded: p.licences(),
			PackageExternalReferences: []*spdx.PackageExternalReference{
				{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: p.purl},
			},
		}
		if p.kind != cyclonedx.ComponentTypeLibrary {
			entry.PackageSupplier = &common.Supplier{SupplierType: "Organization", Supplier: "podfqdn"}
			entry.PackageHomePage = homepage
		}
		if p.sha256 != "" {
			entry.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: p.sha256}}
		}
		if p.sum != "" {
			entry.PackageSourceInfo = "go.sum: " + p.sum
		}
		if p.cpe != "" {
			entry.PackageExternalReferences = append(entry.PackageExternalReferences,
				&spdx.PackageExternalReference{Category: common.CategorySecurity, RefType: common.TypeSecurityCPE23Type, Locator: p.cpe})
		}
		for _, t := range p.texts {
			entry.PackageAttributionTexts = append(entry.PackageAttributionTexts, t.content)
		}
		document.Packages = append(document.Packages, entry)
		kind := common.TypeRelationshipDependsOn
		if p.kind == cyclonedx.ComponentTypeContainer {
			kind = common.TypeRelationshipContains
		}
		for _, need := range p.needs {
			relate(spdxID(p.purl), kind, spdxID(need))
		}
	}
	encode := func() ([]byte, error) {
		var b bytes.Buffer
		err := spdxjson.Write(document, &b, spdxjson.Indent("  "), spdxjson.EscapeHTML(false))
		return b.Bytes(), err
	}
	unnamed, err := encode()
	if err != nil {
		return nil, err
	}
	document.DocumentNamespace = identifier(unnamed)
	return encode()
}

// spdxID returns the identifier of a part in an SPDX document, of letters, digits, dots and hyphens.
func spdxID(purl string) string {
	return regexp.MustCompile(`[^A-Za-z0-9.]+`).ReplaceAllString(strings.TrimPrefix(purl, "pkg:"), "-")
}

// notices returns the licences and notices of all that is linked into a program, as one text for people: what the
// licences demand that comes with a copy. The program's own licence is a file of its own.
func notices(c contents) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s contains the following software.\n", c[0].name)
	for _, linked := range c[1:] {
		fmt.Fprintf(&b, "\n%s\n%s %s\n%s\n", strings.Repeat("=", 80), linked.name, linked.version, linked.licences())
		for _, t := range linked.texts {
			fmt.Fprintf(&b, "\n%s:\n\n%s\n", t.file, strings.Trim(t.content, "\n"))
		}
	}
	return b.Bytes()
}
