package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
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

func TestTheEnvironmentIsPassedOnAsItIs(t *testing.T) {
	t.Parallel()
	environ := []string{"A=1", "", "=C:", "LONE", "A=2", "B=\xff\xfe", "PASSWORD=pa$$word$(x)${y}", "EMPTY=", "POD_IP=10.1.1.1", "POD_FQDN="}
	a, err := newApplication([]string{"--", "/bin/sh", "\xff", "$$", "$(POD_FQDN):1"}, environ)
	if err != nil {
		t.Fatal(err)
	}
	a.values = map[string]string{"POD_FQDN": "db-0.db", "POD_IP": "10.1.1.2", "POD_IPS": "10.1.1.2,fd00::1"}
	args, got, differ, err := a.expand()
	if want := []string{"/bin/sh", "\xff", "$$", "db-0.db:1"}; err != nil || !slices.Equal(args, want) {
		t.Errorf("arguments %q: %v", args, err)
	}
	want := slices.Clone(environ)
	want[8], want[9] = "POD_IP=10.1.1.2", "POD_FQDN=db-0.db"
	if want = append(want, "POD_IPS=10.1.1.2,fd00::1"); !slices.Equal(got, want) {
		t.Errorf("variables\n%q, not\n%q", got, want)
	}
	if !slices.Equal(differ, []string{"POD_IP"}) {
		t.Errorf("of those that differ it says %q", differ)
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
		if err := mounted(table, dir); (err == nil) != want {
			t.Errorf("%q: %v", dir, err)
		}
	}
	if err := mounted(fstest.MapFS{}, "/no/identity-2"); err != nil {
		t.Errorf("without a table: %v", err)
	}
}
