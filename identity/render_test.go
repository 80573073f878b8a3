package identity_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// agreed proves a claim before a server on which everything agrees.
func agreed(t testing.TB, c identity.Claim) identity.Agreement {
	t.Helper()
	agreement, _, err := identity.Verify(t.Context(), podtest.Agreeing(t, c), c, identity.Instead)
	if err != nil {
		t.Fatal(err)
	}
	return agreement
}

// rendered returns the files of a claim that was proven.
func rendered(t testing.TB, c identity.Claim) []identity.File {
	t.Helper()
	generation, err := identity.Render(agreed(t, c))
	if err != nil {
		t.Fatal(err)
	}
	return generation.Files()
}

// contract are the Pods whose files are in testdata/contract, each in its own
// directory.
var contract = []struct {
	dir, ips, fqdn string
	policy         identity.Policy
}{
	{"statefulset", ip4, "", identity.Policy{Rounds: 2}},
	{"dual-stack", ip6 + "," + ip4, "", identity.Policy{Rounds: 3, Families: identity.FamiliesAll, Forward: identity.ForwardContains, Reverse: identity.ReverseOnly}},
	{"foreign-name", ip4, "kdc1.example.org", identity.Policy{Rounds: 2, Reverse: identity.ReverseIgnore}},
}

// The golden files are the contract with everybody who reads the volume: they
// change with the schema version only.
func TestRenderWritesTheFilesOfTheContract(t *testing.T) {
	for _, test := range contract {
		t.Run(test.dir, func(t *testing.T) {
			dir := filepath.Join("testdata", "contract", test.dir)
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			var want []identity.File
			for _, entry := range entries {
				data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, identity.File{Name: entry.Name(), Data: data, Mode: 0o644})
			}
			got := rendered(t, db0(t, test.policy, test.ips, test.fqdn))
			if !slices.EqualFunc(got, want, sameFile) {
				t.Errorf("got\n%s\nwant\n%s", list(got), list(want))
			}
			for _, f := range got {
				if !slices.Contains(identity.Files(), f.Name) {
					t.Errorf("%s is not a file of the contract", f.Name)
				}
			}
		})
	}
}

func sameFile(a, b identity.File) bool {
	return a.Name == b.Name && a.Mode == b.Mode && bytes.Equal(a.Data, b.Data)
}

func list(files []identity.File) string {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "%s %s %q\n", f.Name, f.Mode, f.Data)
	}
	return b.String()
}

func TestFilesOfOneValueEndWithoutANewline(t *testing.T) {
	for _, test := range contract {
		for _, f := range rendered(t, db0(t, test.policy, test.ips, test.fqdn)) {
			lines := f.Name == "ips" || f.Name == "identity.json" || f.Name == "identity.env"
			if bytes.HasSuffix(f.Data, []byte("\n")) != lines || len(f.Data) == 0 {
				t.Errorf("%s: %s is %q", test.dir, f.Name, f.Data)
			}
		}
	}
}

func TestFilesListsTheContractInOrder(t *testing.T) {
	want := []string{"cluster-domain", "fqdn", "hostname", "identity.env", "identity.json", "ip", "ips", "namespace", "ordinal", "service"}
	if got := identity.Files(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestVariablesListsTheLinesOfTheContractInOrder(t *testing.T) {
	want := []string{"POD_FQDN", "POD_HOSTNAME", "POD_SERVICE", "POD_NAMESPACE", "POD_CLUSTER_DOMAIN", "POD_IP", "POD_IPS", "POD_ORDINAL"}
	if got := identity.Variables(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// Who reads a reference before there is a proof goes by the claim.
func TestAClaimKnowsTheVariablesThatItsIdentityWillHave(t *testing.T) {
	for _, test := range contract {
		claim := db0(t, test.policy, test.ips, test.fqdn)
		files := rendered(t, claim)
		var lines []string
		for line := range strings.Lines(string(file(files, "identity.env"))) {
			name, _, _ := strings.Cut(line, "=")
			lines = append(lines, name)
		}
		if got := claim.Variables(); !slices.Equal(got, lines) {
			t.Errorf("%s: got %q, and identity.env has %q", test.dir, got, lines)
		}
		if got := identity.Environment(files); !maps.Equal(got, environment(files)) {
			t.Errorf("%s: got %q", test.dir, got)
		}
	}
	if got := (identity.Claim{}).Variables(); len(got) > 0 {
		t.Errorf("the zero Claim has %q", got)
	}
}

func TestEnvironmentReturnsTheLinesOfIdentityEnv(t *testing.T) {
	for _, test := range []struct {
		text string
		want map[string]string
	}{
		{"", map[string]string{}},
		{"A='1'\nB='x y=\"$z'\n", map[string]string{"A": "1", "B": `x y="$z`}},
		{"A='1'\nA='2'\n", map[string]string{"A": "1"}},
		{"A=''\n", map[string]string{"A": ""}},
		{"A='1'\nB='2", map[string]string{}},
		{"A='1'\nB=2\n", map[string]string{}},
		{"A='1'\n='2'\n", map[string]string{}},
		{"A='1' 'x'\n", map[string]string{}},
	} {
		files := []identity.File{{Name: "fqdn", Data: []byte("db-0")}, {Name: "identity.env", Data: []byte(test.text)}}
		if got := identity.Environment(files); !maps.Equal(got, test.want) || got == nil {
			t.Errorf("%q: got %q", test.text, got)
		}
	}
	if got := identity.Environment(nil); len(got) > 0 || got == nil {
		t.Errorf("got %q of no files", got)
	}
}

func TestRenderRefusesTheZeroAgreement(t *testing.T) {
	generation, err := identity.Render(identity.Agreement{})
	const want = "nothing was proven, so nothing can be published"
	if err == nil || err.Error() != want || len(generation.Files()) != 0 {
		t.Errorf("got %v, %v", generation.Files(), err)
	}
}

func TestRenderReturnsTheSameBytesForTheSameAgreement(t *testing.T) {
	policy := identity.Policy{Rounds: 2}
	first := rendered(t, db0(t, policy, dual, ""))
	for range 10 {
		if again := rendered(t, db0(t, policy, dual, "")); !slices.EqualFunc(first, again, sameFile) {
			t.Fatalf("first\n%s\nthen\n%s", list(first), list(again))
		}
	}
}

// Only what was proven is written: of two addresses the one that agreed.
func TestRenderLeavesOutWhatWasNotProven(t *testing.T) {
	policy := identity.Policy{}
	claim := db0(t, policy, dual, "")
	agreement, _, err := identity.Verify(t.Context(), podtest.Agreeing(t, claim).Script("A: nodata"), claim, identity.Instead)
	if err != nil {
		t.Fatal(err)
	}
	generation, err := identity.Render(agreement)
	if err != nil {
		t.Fatal(err)
	}
	if got := file(generation.Files(), "ips"); string(got) != ip6+"\n" {
		t.Errorf("ips is %q", got)
	}
	if got := file(generation.Files(), "ip"); string(got) != ip6 {
		t.Errorf("ip is %q", got)
	}
	if _, err := claim.Keeps(generation.Files()); err != nil {
		t.Errorf("and is not kept: %v", err)
	}
}

// file returns the content of one of the files.
func file(files []identity.File, name string) []byte {
	for _, f := range files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

func TestKeepsAcceptsWhatWasRendered(t *testing.T) {
	for _, test := range contract {
		claim := db0(t, test.policy, test.ips, test.fqdn)
		files := rendered(t, claim)
		if _, err := claim.Keeps(files); err != nil {
			t.Errorf("%s: %v", test.dir, err)
		}
		// With any other files, in any order.
		files = append(files, identity.File{Name: "krb5.keytab"})
		slices.Reverse(files)
		if _, err := claim.Keeps(files); err != nil {
			t.Errorf("%s reversed: %v", test.dir, err)
		}
	}
}

func TestKeepsSaysWhyAGenerationIsNotThisPods(t *testing.T) {
	policy := identity.Policy{Rounds: 2}
	claim := db0(t, policy, dual, "")
	// edit returns the files with one value of identity.json changed.
	edit := func(name string, value any) []identity.File {
		files := slices.Clone(rendered(t, claim))
		i := slices.IndexFunc(files, func(f identity.File) bool { return f.Name == "identity.json" })
		var all map[string]any
		if err := json.Unmarshal(files[i].Data, &all); err != nil {
			t.Fatal(err)
		}
		all[name] = value
		data, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		files[i].Data = append(data, '\n')
		return files
	}
	with := func(name string, data string) []identity.File {
		files := slices.Clone(rendered(t, claim))
		i := slices.IndexFunc(files, func(f identity.File) bool { return f.Name == name })
		files[i].Data = []byte(data)
		return files
	}
	without := func(name string) []identity.File {
		return slices.DeleteFunc(slices.Clone(rendered(t, claim)), func(f identity.File) bool { return f.Name == name })
	}
	env := string(file(rendered(t, claim), "identity.env"))
	for _, test := range []struct {
		name  string
		files []identity.File
		want  string
	}{
		{"nothing", nil, "it has no identity.json"},
		{"no identity.json", without("identity.json"), "it has no identity.json"},
		{"an empty identity.json", with("identity.json", ""), "its identity.json cannot be read: unexpected end of JSON input"},
		{"a cut identity.json", with("identity.json", `{"schemaVersion": 1`), "its identity.json cannot be read: unexpected end of JSON input"},
		{"another schema", edit("schemaVersion", 2), "it has schema version 2, not 1"},
		{"another UID", edit("podUID", "7d3a51"), `it belongs to another Pod, "7d3a51"`},
		{"another name", edit("fqdn", "db-1.db.default.svc.cluster.local"), `it is for another name, "db-1.db.default.svc.cluster.local"`},
		{"no addresses", edit("ips", []string{}), "its identity.json has no primary address"},
		{"another primary address", edit("ip", ip6), "its identity.json has no primary address"},
		{"another address", rendered(t, db0(t, policy, "10.244.0.99", "")), "it is for another address, 10.244.0.99"},
		{"another second address", edit("ips", []string{ip4, "fd00::99"}), "it is for another address, fd00::99"},
		{"no address at all", edit("ips", []string{ip4, ""}), "it is for another address, invalid IP"},
		{"an address with a scope", edit("ips", []string{ip4, ip6 + "%eth0"}), "it is for another address, " + ip6 + "%eth0"},
		{"a torn fqdn", with("fqdn", "db-0.db"), "its file fqdn is torn"},
		{"an fqdn with a newline", with("fqdn", name4+"\n"), "its file fqdn is torn"},
		{"no namespace", without("namespace"), "its file namespace is torn"},
		{"a cut identity.env", with("identity.env", "POD_FQDN='"), "its file identity.env is torn"},
		{"no line of identity.env", with("identity.env", env+"KRB5_KTNAME"), "its file identity.env is torn"},
		{"half a line of it", with("identity.env", env+"KRB5_KTNAME='/krb5/"), "its file identity.env is torn"},
		{"a quote in it", with("identity.env", env+"KRB5_KTNAME='/krb5/' 'x'\n"), "its file identity.env is torn"},
		{"a line twice, of which a shell takes the last", with("identity.env", env+"POD_FQDN='db-1.db.default.svc.cluster.local'\n"), "its file identity.env is torn"},
		{"an identity.json without its last byte", with("identity.json", strings.TrimSuffix(string(file(rendered(t, claim), "identity.json")), "\n")), "its file identity.json is torn"},
		{"an identity.json without a field", edit("verified", map[string]any{"forward": "only"}), "its file identity.json is torn"},
		{"a field in upper case", with("identity.json", strings.Replace(string(file(rendered(t, claim), "identity.json")), "hostname", "HOSTNAME", 1)), "its file identity.json is torn"},
		{"no ordinal", without("ordinal"), "its file ordinal is torn"},
		{"an empty ordinal", with("ordinal", ""), "its file ordinal is torn"},
		{"another ordinal", with("ordinal", "1"), "its file identity.env is torn"},
		{"an ordinal with a newline", with("ordinal", "0\n"), "its file ordinal is torn"},
		{"no line of the ordinal", with("identity.env", strings.ReplaceAll(env, "POD_ORDINAL='0'\n", "")), "its file identity.env is torn"},
		{"an ordinal that is none", append(with("identity.env", strings.ReplaceAll(env, "POD_ORDINAL='0'", "POD_ORDINAL='00'")), identity.File{Name: "ordinal", Data: []byte("00")}), "its file ordinal is torn"},
		{"another Service", edit("service", "db-vip"), "its file service is torn"},
		{"a Service of the files alone", edit("service", nil), "its file service is torn"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := claim.Keeps(test.files); err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

// The writer may have been another version, or have been told more or less.
func TestKeepsAcceptsWhatAnotherVersionWrote(t *testing.T) {
	claim := db0(t, identity.Policy{}, dual, "")
	for name, edit := range map[string]func(name, text string) string{
		"an older one, without ordinal": func(name, text string) string {
			if name == "ordinal" {
				return ""
			}
			return strings.ReplaceAll(text, "POD_ORDINAL='0'\n", "")
		},
		"more fields": func(name, text string) string {
			if name != "identity.json" {
				return text
			}
			text = strings.Replace(text, `  "fqdn"`, `  "zones": {"a": [1, {"b": null}]},`+"\n"+`  "fqdn"`, 1)
			return strings.Replace(text, `    "rounds"`, `    "peers": 3,`+"\n"+`    "rounds"`, 1)
		},
		"another form": func(name, text string) string {
			if name != "identity.json" {
				return text
			}
			return strings.Join(strings.Fields(text), " ") + "\n"
		},
		"more lines": func(name, text string) string {
			if name != "identity.env" {
				return text
			}
			return strings.Replace(text, "POD_ORDINAL", "POD_ZONE='a'\nPOD_ORDINAL", 1) + "POD_PEERS='db-0,db-1'\n"
		},
		"no UID": func(name, text string) string {
			return regexp.MustCompile(`  "podUID": "[^"]*",\n`).ReplaceAllString(text, "")
		},
	} {
		files := slices.Clone(rendered(t, claim))
		for i := range files {
			files[i].Data = []byte(edit(files[i].Name, string(files[i].Data)))
		}
		files = slices.DeleteFunc(files, func(f identity.File) bool { return len(f.Data) == 0 })
		if slices.EqualFunc(files, rendered(t, claim), sameFile) {
			t.Errorf("%s: nothing is changed", name)
		}
		if addrs, err := claim.Keeps(files); err != nil || len(addrs) != 2 {
			t.Errorf("%s: %v, %v", name, addrs, err)
		}
	}
	if _, err := podtest.Claim(podtest.DB0.Files("cluster.local", ip4, ip6), identity.Given{}, identity.Policy{}).Keeps(rendered(t, claim)); err != nil {
		t.Errorf("by one that was not told its UID: %v", err)
	}
}

// What Holds accepts is not written again; so it has all that would be written.
func TestHoldsReportsWhetherAFileHasAllThatWouldBeWritten(t *testing.T) {
	for _, test := range []struct {
		name, standing, want string
		holds                bool
	}{
		{"fqdn", "a", "a", true},
		{"fqdn", "a", "b", false},
		{"fqdn", "ab", "a", false},
		{"identity.env", "A='1'\n", "A='1'\n", true},
		{"identity.env", "B='2'\nA='1'\nC='3'\n", "A='1'\nC='3'\n", true},
		{"identity.env", "A='1'\n", "A='1'\nB='2'\n", false},
		{"identity.env", "A='2'\n", "A='1'\n", false},
		{"identity.env", "A='2'\nA='1'\n", "A='1'\n", false},
		{"identity.env", "A='1'\nB", "A='1'\n", false},
		{"identity.env", "", "A='1'\n", false},
		{"identity.json", `{"a": 1, "b": {"c": [1], "d": 2}}` + "\n", `{"a": 1, "b": {"c": [1]}}`, true},
		{"identity.json", `{"b": {"c": [1]}, "a": 1}` + "\n", `{"a": 1, "b": {"c": [1]}}` + "\n", true},
		{"identity.json", `{"a": 1}` + "\n", `{"a": 2}` + "\n", false},
		{"identity.json", `{"a": 1}`, `{"a": 1}` + "\n", false},
		{"identity.json", `{"a": 1}` + "\n", `{"a": 1, "b": 2}` + "\n", false},
		{"identity.json", `{"a": [1, 2]}` + "\n", `{"a": [1]}` + "\n", false},
		{"identity.json", `{"a": {"b": 1}}` + "\n", `{"a": {"b": 2}}` + "\n", false},
		{"identity.json", `{"a": 1}` + "\n", `{"a": {}}` + "\n", false},
		{"identity.json", `{"a": 1`, `{"a": 1}` + "\n", false},
		{"identity.json", `[]` + "\n", `{"a": 1}` + "\n", false},
		{"identity.json", "null\n", `{"a": 1}` + "\n", false},
	} {
		of := func(text string) identity.File {
			return identity.File{Name: test.name, Data: []byte(text), Mode: 0o644}
		}
		if got := identity.Holds(of(test.standing), of(test.want)); got != test.holds {
			t.Errorf("%s: %q holds %q: %t", test.name, test.standing, test.want, got)
		}
	}
	f := identity.File{Name: "fqdn", Mode: 0o644}
	if identity.Holds(f, identity.File{Name: "fqdn", Mode: 0o600}) || identity.Holds(f, identity.File{Name: "ip", Mode: 0o644}) {
		t.Error("another mode or name is the same")
	}
}

// More lines are for others to know.
func TestKeepsAcceptsMoreLinesOfIdentityEnv(t *testing.T) {
	claim := db0(t, identity.Policy{}, ip4, "")
	agreement, _, err := identity.Verify(t.Context(), podtest.Agreeing(t, claim), claim, identity.Instead)
	if err != nil {
		t.Fatal(err)
	}
	generation, err := identity.Render(agreement, identity.Addition{Environment: []string{"KRB5_KTNAME='/krb5/keytab'", "KRB5_CONFIG='/krb5/krb5.conf'"}})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := identity.Render(agreement)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(file(generation.Files(), "identity.env")), string(file(plain.Files(), "identity.env"))+"KRB5_KTNAME='/krb5/keytab'\nKRB5_CONFIG='/krb5/krb5.conf'\n"; got != want {
		t.Errorf("identity.env is\n%s\nnot\n%s", got, want)
	}
	if _, err := claim.Keeps(generation.Files()); err != nil {
		t.Error(err)
	}
}

func TestFilesAreReadableByAll(t *testing.T) {
	policy := identity.Policy{}
	for _, f := range rendered(t, db0(t, policy, ip4, "")) {
		if f.Mode != fs.FileMode(0o644) {
			t.Errorf("%s has mode %s", f.Name, f.Mode)
		}
	}
}

func TestNoVerbShowsTheContentOfAGeneration(t *testing.T) {
	generation, err := identity.Render(agreed(t, db0(t, identity.Policy{}, ip4, "")), identity.Addition{Environment: []string{"KEY='canary'"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, generation); strings.Contains(got, "canary") || strings.Contains(got, "63616e617279") || !strings.Contains(got, "identity.env") {
			t.Errorf("%s shows %s", verb, got)
		}
	}
}
