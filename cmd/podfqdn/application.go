package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/reference"
)

// application is the command that "exec" becomes.
type application struct {
	file    string            // what execve(2) is given
	args    []text            // the first is the command's name, as given
	environ []text            // of NAME=value the value
	values  map[string]string // the published lines of identity.env; nil while nothing is
	lines   map[string]string // those of values that really are lines: a long POD_PEERS is not
	peers   identity.File     // the published list of peers; zero without one
	kept    identity.Addition // what stays, and podfqdn here cannot prove again: of keys, and peers

	required []*identity.Requirement
	unmet    *identity.Requirement // one that what is published was not published with; or nil
}

// text is an argument of the application, or the value of a variable, and what to
// call it.
type text struct {
	assign string // "NAME=" of a variable; or a whole line that assigns nothing
	reference.Text
	where string
}

// publishable are the variables that may be published, and nothing else in a volume
// is for the application's environment: LD_PRELOAD, for one.
func publishable() []string { return slices.Concat(identity.Variables(), requiredVariables()) }

// take makes the application use what is published in files.
func (a *application) take(files []identity.File) {
	known := publishable()
	unknown := func(name, _ string) bool { return !slices.Contains(known, name) }
	a.values = identity.Environment(files)
	maps.DeleteFunc(a.values, unknown)
	a.lines = identity.Environment(slices.DeleteFunc(slices.Clone(files), func(f identity.File) bool { return f.Name == identity.FilePeers }))
	maps.DeleteFunc(a.lines, unknown)
	a.peers = identity.File{}
	if i := slices.IndexFunc(files, func(f identity.File) bool { return f.Name == identity.FilePeers }); i >= 0 {
		a.peers = files[i]
		a.peers.Data = slices.Clone(files[i].Data) // which is overwritten
	}
	a.unmet = nil
	for _, r := range a.required {
		if r.Lacks(files) != "" {
			a.unmet = r
			break
		}
	}
}

const usage = "write podfqdn exec -- COMMAND [ARG...]"

// newApplication finds the command of args by the PATH in environ, and the
// references in both. The error is all that is wrong with them.
func newApplication(args, environ []string) (*application, error) {
	switch {
	case len(args) > 0 && args[0] == "--":
		args = args[1:]
	case len(args) > 0 && strings.HasPrefix(args[0], "-"):
		return nil, misconfigured(fmt.Sprintf("exec has no option %+q", args[0]), usage+"; settings are variables, see podfqdn help")
	}
	if len(args) == 0 {
		return nil, misconfigured("exec needs a command", usage)
	}
	a := &application{}
	known := publishable()
	var mistakes []error
	parse := func(where, assign, s string) text {
		t, err := reference.Parse(s, known)
		if bad, ok := errors.AsType[*reference.Malformed](err); ok {
			if strings.Contains(s, "\n") {
				where += fmt.Sprintf(", line %d,", bad.Line)
			}
			mistakes = append(mistakes, misconfigured(fmt.Sprintf("%s has %+q, which is not a reference: %s", where, bad.Reference, bad.Why), bad.Want))
		}
		return text{assign, t, where}
	}
	for i, arg := range args {
		a.args = append(a.args, parse(fmt.Sprintf("argument %d of the command", i), "", arg))
	}
	for _, line := range environ {
		name, value, assigns := strings.Cut(line, "=")
		if assigns {
			name += "="
		}
		a.environ = append(a.environ, parse("variable "+strings.TrimSuffix(name, "="), name, value))
	}
	if len(a.args[0].Needs()) > 0 {
		mistakes = append(mistakes, misconfigured(fmt.Sprintf("the command %+q has a reference", args[0]), "write its path as it is, since only arguments, variables and rendered files may have references"))
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	var err error
	a.file, err = find(args[0], environ)
	return a, err
}

// find returns the file of a command, as execvp(3) would find it: a name without a
// slash is looked up in the PATH of environ. The error has the exit codes of sh(1).
func find(name string, environ []string) (file string, err error) {
	if name == "" {
		return "", exit{exitNotFound, errors.New("the command is empty: " + usage)}
	}
	if strings.Contains(name, "/") {
		return name, executable(name)
	}
	path := ""
	for _, line := range environ {
		if dirs, ok := strings.CutPrefix(line, "PATH="); ok {
			path = dirs
			break
		}
	}
	var found error // but not executable
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(cmp.Or(dir, "."), name)
		err := executable(file)
		if err == nil {
			return file, nil
		}
		if exitCode(err) == exitNotExecutable && !errors.Is(err, syscall.ENOTDIR) {
			found = cmp.Or(found, err)
		}
	}
	return "", cmp.Or(found, error(exit{exitNotFound, fmt.Errorf("the command %+q is not in PATH=%+q: write its whole path", name, path)}))
}

// executable returns why a file cannot be executed, as far as is known before trying.
func executable(file string) error {
	const executeOK = 1 // X_OK of access(2)
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if link, err := os.Readlink(file); err == nil {
			return exit{exitNotFound, fmt.Errorf("the command %+q is a link to %+q, which does not exist", file, link)}
		}
		return exit{exitNotFound, fmt.Errorf("the command %+q does not exist in this container", file)}
	case err != nil:
		return exit{exitNotExecutable, fmt.Errorf("the command %+q: %w", file, cause(err))}
	case info.IsDir():
		return exit{exitNotExecutable, fmt.Errorf("the command %+q is a directory", file)}
	}
	if err := syscall.Access(file, executeOK); err != nil {
		return exit{exitNotExecutable, fmt.Errorf("the command %+q has mode %v and cannot be executed by uid %d: %w", file, info.Mode(), os.Getuid(), err)}
	}
	return nil
}

// cause leaves out what package os says around an error of the kernel's.
func cause(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

// lacks returns the first reference to a variable that is not among names, "" if
// there is none, and where it stands.
func (a *application) lacks(names []string) (variable, where string) {
	for _, t := range slices.Concat(a.args, a.environ) {
		for _, name := range t.Needs() {
			if !slices.Contains(names, name) {
				return name, t.where
			}
		}
	}
	return "", ""
}

// complete reports whether what is published has all that the application needs.
func (a *application) complete() bool {
	variable, _ := a.lacks(slices.Collect(maps.Keys(a.values)))
	return a.values != nil && variable == "" && a.unmet == nil
}

// expand returns the application's arguments and variables with the published
// values. What is too long for identity.env is too long for a variable, and is in
// references alone. An inherited variable of the same name gives way; those whose value
// differs are in differ.
func (a *application) expand() (args, environ, differ []string, err error) {
	for _, t := range a.args {
		arg, wrong := t.Expand(a.values)
		args, err = append(args, arg), errors.Join(err, t.wrong(wrong))
	}
	inherited := map[string]bool{}
	for _, t := range a.environ {
		value, wrong := t.Expand(a.values)
		err = errors.Join(err, t.wrong(wrong))
		name, assigns := strings.CutSuffix(t.assign, "=")
		if published, ok := a.lines[name]; ok && assigns {
			if inherited[name] = true; value != "" && value != published {
				differ = append(differ, name)
			}
			value = published
		}
		environ = append(environ, t.assign+value)
	}
	for _, name := range slices.Sorted(maps.Keys(a.lines)) {
		if !inherited[name] {
			environ = append(environ, name+"="+a.lines[name])
		}
	}
	return args, environ, differ, err
}

// fits returns why a reference does not fit the value that it will have, as far as
// that follows from the configuration and so is known before DNS is asked; nil if
// all do.
func (a *application) fits() error {
	known := map[string]string{}
	for _, add := range additions(a.required) {
		for _, line := range add.Environment {
			name, value, _ := strings.Cut(line, "=")
			known[name] = strings.Trim(value, "'")
		}
	}
	var mistakes []error
	for _, t := range slices.Concat(a.args, a.environ) {
		mistakes = append(mistakes, t.wrong(t.Check(known)))
	}
	return errors.Join(mistakes...)
}

// wrong is a refusal of what Expand or Check returns; nil for nil.
func (t text) wrong(err error) error {
	if unfit, ok := errors.AsType[*reference.Unfit](err); ok {
		return misconfigured(fmt.Sprintf("%s: %v", t.where, err), unfit.Want)
	}
	return err
}

// noOrdinal is why a variable that is made of a label is empty, and what to do.
const noOrdinal = "this Pod does not have the label apps.kubernetes.io/pod-index, which only StatefulSets and Indexed Jobs set; write the number, or leave it out"

// blank reports whether a variable is set and empty.
func (a *application) blank(variable string) bool {
	return slices.ContainsFunc(a.environ, func(t text) bool { return t.assign == variable+"=" && t.String() == "" })
}
