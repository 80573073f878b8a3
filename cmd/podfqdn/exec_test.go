package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/reference"
)

func TestTheCommandIsFoundAsAShellWould(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"first/data": 0o644, "second/data": 0o755, "second/server": 0o755, "only/notes": 0o644} {
		put(t, filepath.Join(dir, name), []byte("#!/bin/sh\n"))
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "first/server"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		command, path string // DIR is the directory above
		file          string
		code          int
	}{
		"a path":                         {"DIR/second/server", "", "DIR/second/server", exitOK},
		"in the PATH":                    {"server", "DIR/none:DIR/second", "DIR/second/server", exitOK},
		"a directory of the same name":   {"server", "DIR/first:DIR/second", "DIR/second/server", exitOK},
		"not executable in the first":    {"data", "DIR/first:DIR/second", "DIR/second/data", exitOK},
		"executable nowhere":             {"notes", "DIR/only:DIR/none", "", exitNotExecutable},
		"nowhere":                        {"nothing", "DIR/first:DIR/second", "", exitNotFound},
		"no PATH":                        {"server", "", "", exitNotFound},
		"no such path":                   {"DIR/none/server", "DIR/second", "", exitNotFound},
		"below a file":                   {"DIR/second/server/x", "", "", exitNotExecutable},
		"a directory":                    {"DIR/second", "", "", exitNotExecutable},
		"the first PATH of two is taken": {"server", "DIR/second\x00PATH=DIR/none", "DIR/second/server", exitOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := strings.NewReplacer("DIR", dir).Replace
			file, err := find(in(c.command), strings.Split("HOME=/\x00PATH="+in(c.path), "\x00"))
			if exitCode(err) != c.code || err == nil && file != in(c.file) {
				t.Errorf("%q in %q: %q, %v", c.command, c.path, file, err)
			}
		})
	}
}

func TestAMalformedReferenceIsSaidWithItsLine(t *testing.T) {
	t.Parallel()
	_, err := newApplication([]string{"/bin/sh", "one\ntwo\n$(POD_IP:3)"}, []string{"OPTS=$(POD_ORDINAL+x)"})
	if exitCode(err) != exitRefused {
		t.Fatal(err)
	}
	for _, want := range []string{`argument 1 of the command, line 3, has "$(POD_IP:3)"`, `variable OPTS has "$(POD_ORDINAL+x)"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: there is no %s", err, want)
		}
	}
}

func TestAPeerThatDoesNotFitAReferenceIsSaidBeforeDNSIsAsked(t *testing.T) {
	t.Parallel()
	parse := func(s string) reference.Text {
		parsed, err := reference.Parse(s, publishable())
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	a := &application{
		args:    []text{{"", parse("/bin/zk"), "argument 0"}, {"", parse("$(POD_FQDN) $(POD_PEERS:{ordinal})"), "argument 1 of the command"}},
		environ: []text{{"SERVERS=", parse("$(POD_PEERS:{ordinal+1}={fqdn})"), "variable SERVERS"}},
	}
	peers := func(value string) []*identity.Requirement {
		return []*identity.Requirement{{}, {Addition: identity.Addition{Environment: []string{"KRB5_CONFIG='/k'", "POD_PEERS='" + value + "'"}}}}
	}
	if err := a.fits(); err != nil {
		t.Error(err)
	}
	if a.required = peers("zk-0.zk,zk-1.zk"); a.fits() != nil {
		t.Error(a.fits())
	}
	a.required = peers("zk-0.zk,jn.example.com")
	err := a.fits()
	if exitCode(err) != exitRefused {
		t.Fatal(err)
	}
	for _, want := range []string{
		`argument 1 of the command: POD_PEERS has peer "jn.example.com", which has no ordinal for {ordinal}: `,
		`variable SERVERS: POD_PEERS has peer "jn.example.com", which has no ordinal for {ordinal+1}: `,
		"name peers such as zk-0, or leave {ordinal+1} out",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: there is no %s", err, want)
		}
	}
}

func TestAListThatIsTooLongForAVariableIsInReferencesAlone(t *testing.T) {
	t.Parallel()
	a, err := newApplication([]string{"/proc/self/exe", "$(POD_PEERS[;]:{ordinal})"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	env := identity.File{Name: "identity.env", Data: []byte("POD_FQDN='zk-0.zk'\n")}
	peers := identity.File{Name: "peers", Data: []byte("zk-0.zk\nzk-1.zk\n")}
	a.take([]identity.File{env, peers})
	args, environ, _, err := a.expand()
	if err != nil || args[1] != "0;1" || !slices.Equal(environ, []string{"POD_FQDN=zk-0.zk"}) {
		t.Errorf("%q %q %v", args, environ, err)
	}
	env.Data = append(env.Data, "POD_PEERS='zk-0.zk,zk-1.zk'\n"...)
	a.take([]identity.File{env, peers})
	if _, environ, _, err = a.expand(); err != nil || !slices.Equal(environ, []string{"POD_FQDN=zk-0.zk", "POD_PEERS=zk-0.zk,zk-1.zk"}) {
		t.Errorf("%q %v", environ, err)
	}
}

func TestOnlyAMountIsAVolume(t *testing.T) {
	t.Parallel()
	table := fstest.MapFS{"proc/self/mountinfo": {Data: []byte(`2411 2200 0:433 / / rw,relatime - overlay overlay rw
2412 2411 0:436 / /proc rw - proc proc rw
2413 2411 0:44 / /no\040where/in\134side rw - tmpfs tmpfs rw
2414 2411 254:1 /x /no/identity rw - ext4 /dev/vda1 rw
2415 2411 254:1 /x
`)}}
	for dir, want := range map[string]bool{
		"/no/identity":         true,
		"/no/identity/":        true,
		"/no/identity/below":   true,
		"/no/identity-2":       false,
		"/no":                  false,
		"/no where/in\\side":   true,
		"/no where/in\\side/x": true,
		"/no where":            false,
	} {
		if err := mounted(table, dir, "identity"); (err == nil) != want {
			t.Errorf("%q: %v", dir, err)
		}
	}
	if err := mounted(fstest.MapFS{}, "/no/identity-2", "identity"); err != nil {
		t.Errorf("without a table: %v", err)
	}
}

// published has an application use these lines of identity.env.
func (a *application) published(lines string) {
	a.take([]identity.File{{Name: "identity.env", Data: []byte(lines)}})
}

func TestTheEnvironmentIsPassedOnByteForByteButForReferencesInValues(t *testing.T) {
	for name, test := range map[string]struct{ environ, want, differ []string }{
		"other bytes":                        {environ: []string{"A=\xff$$\n\x01", "=b=c", "A=again", "", "no sign", "\xfe"}},
		"a reference in a value":             {environ: []string{"A==$(POD_FQDN)"}, want: []string{"A==db-0"}},
		"a reference in a name":              {environ: []string{"$(POD_FQDN)=x"}},
		"a reference that is not a variable": {environ: []string{"x$(POD_FQDN)", "x$(POD_FQDN+1)"}},
		"a name that assigns nothing":        {environ: []string{"POD_FQDN"}},
		"a Service called pod-fqdn": {environ: []string{"POD_FQDN_PORT=tcp://10.96.0.7:80", "POD_FQDN_SERVICE_HOST=10.96.0.7", "A=$(POD_FQDN_PORT) $(POD_FQDN)"},
			want: []string{"POD_FQDN_PORT=tcp://10.96.0.7:80", "POD_FQDN_SERVICE_HOST=10.96.0.7", "A=$(POD_FQDN_PORT) db-0"}},
		"a published value":       {environ: []string{"POD_FQDN=mine", "POD_FQDN=db-0", "POD_FQDN="}, want: []string{"POD_FQDN=db-0", "POD_FQDN=db-0", "POD_FQDN=db-0"}, differ: []string{"POD_FQDN"}},
		"the same as a reference": {environ: []string{"POD_FQDN=$(POD_FQDN)"}, want: []string{"POD_FQDN=db-0"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := newApplication([]string{"/proc/self/exe"}, test.environ)
			if err != nil {
				t.Fatal(err)
			}
			// A writer to the volume decides on no other variable.
			a.published("POD_FQDN='db-0'\nLD_PRELOAD='/identity/x.so'\n")
			_, environ, differ, err := a.expand()
			want := test.want
			if want == nil {
				want = test.environ
			}
			if !slices.ContainsFunc(test.environ, func(line string) bool { return strings.HasPrefix(line, "POD_FQDN=") }) {
				want = append(slices.Clone(want), "POD_FQDN=db-0")
			}
			if err != nil || !slices.Equal(environ, want) || !slices.Equal(differ, test.differ) {
				t.Errorf("got %+q, which differ in %q, %v; not %+q", environ, differ, err, want)
			}
		})
	}
}
