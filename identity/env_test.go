package identity_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
)

// kubeletEnv returns the value of a key of an env file as the kubelet reads it
// for fileKeyRef (KEP-3721; pkg/kubelet/util/env/env_util.go): "" where the
// key is absent, which the kubelet takes for missing.
func kubeletEnv(text []byte, key string) (string, error) {
	lines := bufio.NewScanner(bytes.NewReader(text)) // with its limit of 64 KiB a line
	for lines.Scan() {
		line := strings.TrimLeft(lines.Text(), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		switch {
		case !ok:
			return "", errors.New("no equals sign")
		case name == "" || strings.TrimRight(name, " \t") != name:
			return "", errors.New("no name before the equals sign")
		case strings.TrimLeft(value, " \t") != value: // as in a shell, an empty value
			if name == key {
				return "", nil
			}
			continue
		}
		value, ok = strings.CutPrefix(value, "'")
		if !ok {
			return "", errors.New("no single quote")
		}
		rest := ""
		for {
			before, after, closed := strings.Cut(value, "'")
			if closed {
				value, rest = before, strings.TrimLeft(after, " \t")
				break
			}
			if !lines.Scan() {
				return "", errors.New("no closing quote")
			}
			value += "\n" + lines.Text()
		}
		if rest != "" && rest[0] != '#' {
			return "", errors.New("something behind the closing quote")
		}
		if name == key {
			return value, nil // the first one counts
		}
	}
	return "", lines.Err()
}

// The port is held to the kubelet's rules first.
func TestTheGrammarOfEnvFilesIsTheKubelets(t *testing.T) {
	for _, test := range []struct{ text, want, err string }{
		{text: "", want: ""},
		{text: "K='v'", want: "v"},
		{text: "K='v'\n", want: "v"},
		{text: "K='v'\r\n", want: "v"},
		{text: " \t K='v' # why\n", want: "v"},
		{text: "# K='x'\n\n \t\nK='v'\n", want: "v"},
		{text: "K='a'\nK='b'\n", want: "a"},
		{text: "J='x'\nK='v'\nbroken", want: "v"},
		{text: "K='a=b\"$x` '\n", want: "a=b\"$x` "},
		{text: "K='a\n b\n'\n", want: "a\n b\n"},
		{text: "K=''\n", want: ""},
		{text: "K= 'v'\n", want: ""},
		{text: "J= x\nK='v'\n", want: "v"},
		{text: "export K='v'\n", want: ""},
		{text: "broken\nK='v'\n", err: "no equals sign"},
		{text: "='v'\n", err: "no name before the equals sign"},
		{text: "K ='v'\n", err: "no name before the equals sign"},
		{text: "K=v\n", err: "no single quote"},
		{text: "K=\"v\"\n", err: "no single quote"},
		{text: "K=\n", err: "no single quote"},
		{text: "K='v\n", err: "no closing quote"},
		{text: "K='a''b'\n", err: "something behind the closing quote"},
		{text: "K='v';\n", err: "something behind the closing quote"},
		{text: "K='" + strings.Repeat("v", 1<<16) + "'\n", err: "bufio.Scanner: token too long"},
	} {
		got, err := kubeletEnv([]byte(test.text), "K")
		message := ""
		if err != nil {
			message = err.Error()
		}
		if got != test.want || message != test.err {
			t.Errorf("%.40q: got %q, %s", test.text, got, message)
		}
	}
}

// environment returns the variables that identity.env must hold, by the other
// files of a generation.
func environment(files []identity.File) map[string]string {
	variables := make(map[string]string)
	for name, variable := range map[string]string{
		"fqdn": "POD_FQDN", "hostname": "POD_HOSTNAME", "service": "POD_SERVICE", "namespace": "POD_NAMESPACE",
		"cluster-domain": "POD_CLUSTER_DOMAIN", "ip": "POD_IP", "ips": "POD_IPS", "ordinal": "POD_ORDINAL",
	} {
		value := strings.ReplaceAll(strings.TrimSuffix(string(file(files, name)), "\n"), "\n", ",")
		if value != "" {
			variables[variable] = value
		}
	}
	return variables
}

// checkEnv holds identity.env to the kubelet's grammar: every variable with
// the value of its file, the others absent, and nothing that is not plain.
func checkEnv(t testing.TB, files []identity.File) {
	t.Helper()
	text := file(files, "identity.env")
	variables := environment(files)
	for _, variable := range append(identity.Variables(), "PATH") {
		got, err := kubeletEnv(text, variable)
		if err != nil || got != variables[variable] {
			t.Errorf("%s is %q, %v, not %q, in\n%s", variable, got, err, variables[variable], text)
		}
	}
	if n := bytes.Count(text, []byte("\n")); n != len(variables) {
		t.Errorf("%d lines for %d variables", n, len(variables))
	}
}

func TestTheKubeletAcceptsIdentityEnv(t *testing.T) {
	for _, test := range contract {
		t.Run(test.dir, func(t *testing.T) {
			checkEnv(t, rendered(t, db0(t, test.policy, test.ips, test.fqdn)))
		})
	}
}

func TestAShellReadsIdentityEnv(t *testing.T) {
	for _, test := range contract {
		t.Run(test.dir, func(t *testing.T) {
			files := rendered(t, db0(t, test.policy, test.ips, test.fqdn))
			path := filepath.Join(t.TempDir(), "identity.env")
			if err := os.WriteFile(path, file(files, "identity.env"), 0o600); err != nil {
				t.Fatal(err)
			}
			variables := environment(files)
			script := `set -eu; . "$1"; shift; for name; do eval "printf '%s=%s\n' $name \"\$$name\""; done`
			names := slices.Sorted(maps.Keys(variables))
			cmd := exec.Command("sh", append([]string{"-c", script, "sh", path}, names...)...)
			cmd.Env = []string{}
			got, err := cmd.CombinedOutput()
			var want strings.Builder
			for _, name := range names {
				fmt.Fprintf(&want, "%s=%s\n", name, variables[name])
			}
			if err != nil || string(got) != want.String() {
				t.Errorf("%v, got\n%swant\n%s", err, got, want.String())
			}
		})
	}
}
