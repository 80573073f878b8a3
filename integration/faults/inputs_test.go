//go:build faults

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// input is one case of testdata/inputs.txtar, whose lines it carries out:
//
//	file NAME "TEXT"        the file holds this, with Go's escapes; "TEXT"*N repeats it N times
//	none NAME               there is no such file
//	dir NAME                a directory is there
//	link NAME TARGET        a symbolic link does
//	later TIME NAME "TEXT"  while podfqdn runs
//	env "NAME=VALUE"        a variable
//	ends CODE [WORDS…]      the exit code, and what the reason says
type input struct {
	*pod
	code  int
	says  string
	later []func()
}

func (in *input) line(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	name, arg, _ := strings.Cut(rest, " ")
	path := filepath.Join(in.root, name)
	text := func(quoted string) (string, error) {
		quoted, times, many := strings.Cut(quoted, `"*`)
		n := 1
		if many {
			quoted += `"`
			var err error
			if n, err = strconv.Atoi(times); err != nil {
				return "", err
			}
		}
		s, err := strconv.Unquote(quoted)
		return strings.Repeat(s, n), err
	}
	switch word {
	case "file":
		s, err := text(arg)
		in.write(name, s)
		return err
	case "none":
		return os.RemoveAll(path)
	case "dir":
		return os.MkdirAll(path, 0o755)
	case "link":
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.Symlink(arg, path)
	case "later":
		after, err := time.ParseDuration(name)
		if err != nil {
			return err
		}
		name, quoted, _ := strings.Cut(arg, " ")
		s, err := text(quoted)
		in.later = append(in.later, func() {
			time.Sleep(after)
			// In place, as the kubelet does.
			if err := os.WriteFile(filepath.Join(in.root, name), []byte(s), 0o644); err != nil {
				in.Error(err)
			}
		})
		return err
	case "env":
		s, err := text(rest)
		in.environ = append(in.environ, s)
		return err
	case "ends":
		var err error
		code, says, _ := strings.Cut(rest, " ")
		in.says = says
		in.code, err = strconv.Atoi(code)
		return err
	}
	return fmt.Errorf("%q", line)
}

func TestInputs(t *testing.T) {
	t.Parallel()
	cluster := new(dnstest.Cluster)
	cluster.Service("default", "kubernetes", "10.96.0.1")
	cluster.Service("default", "db")
	cluster.Publish(dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: ip})
	archive, err := txtar.ParseFile("testdata/inputs.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range archive.Files {
		t.Run(file.Name, func(t *testing.T) {
			t.Parallel()
			in := &input{pod: newPod(t, "inputs")}
			in.timeout = 5 * time.Second
			b := &breaker{pod: in.pod, count: map[string]int{}}
			in.serve(dnstest.CoreDNS{Cluster: cluster, Front: b.plugin})
			for line := range strings.Lines(string(file.Data)) {
				if line = strings.TrimSuffix(line, "\n"); line != "" {
					if err := in.line(line); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, f := range in.later {
				go f()
			}
			e := in.init()
			if e.code != in.code || !strings.Contains(e.reason, in.says) {
				t.Errorf("ended with %d, %q, not with %d, %q\n%s", e.code, e.reason, in.code, in.says, e.log)
			}
			in.environ = nil
			for _, name := range []string{"etc", "var"} {
				if err := os.RemoveAll(filepath.Join(in.root, name)); err != nil {
					t.Fatal(err)
				}
			}
			in.files()
			in.recovers()
		})
	}
}
