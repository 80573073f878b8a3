package podtest

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing/fstest"

	"golang.org/x/tools/txtar"

	"github.com/podfqdn/podfqdn/identity"
)

// Case is one archive of identity/testdata/pods: a whole Pod, and what it
// claims.
//
//	env         NAME=value lines, as in Given's struct tags
//	policy      name-form=… and families=…; default without
//	interfaces  their addresses; looking at them without need fails
//	etc/…, proc/…, var/…  the Pod's files; <CR> stands for a carriage return
//	claim       the whole claim, one fact a line, or
//	refusal     the sentence
type Case struct {
	Given      identity.Given
	Policy     identity.Policy
	interfaces []netip.Addr
	looked     bool // there is a section interfaces
	Root       fstest.MapFS
	Claim      string
	Refusal    string
	Comment    string
}

// Corpus reads the Pods of a directory, by name. The error says which one cannot
// be read, or that there is none.
func Corpus(dir string) (map[string]Case, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no Pods in %s: %v", dir, err)
	}
	pods := make(map[string]Case)
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			return nil, err
		}
		p, err := readPod(archive)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		pods[strings.TrimSuffix(filepath.Base(path), ".txtar")] = p
	}
	return pods, nil
}

func readPod(archive *txtar.Archive) (Case, error) {
	p := Case{Root: fstest.MapFS{}, Comment: string(archive.Comment)}
	for _, file := range archive.Files {
		var err error
		switch file.Name {
		case "env":
			p.Given, err = readGiven(string(file.Data))
		case "policy":
			p.Policy, err = readPolicy(string(file.Data))
		case "interfaces":
			p.looked = true
			for line := range strings.Lines(string(file.Data)) {
				p.interfaces = append(p.interfaces, netip.MustParseAddr(strings.TrimSpace(line)))
			}
		case "claim":
			p.Claim = string(file.Data)
		case "refusal":
			p.Refusal = string(file.Data)
		case "etc/hosts", "etc/resolv.conf", "etc/hostname", "proc/sys/kernel/hostname", "var/run/secrets/kubernetes.io/serviceaccount/namespace":
			data := bytes.ReplaceAll(file.Data, []byte("<CR>"), []byte("\r"))
			p.Root[file.Name] = &fstest.MapFile{Data: data, Mode: 0o644}
		default:
			err = errors.New("it is not a section of a Pod")
		}
		if err != nil {
			return Case{}, fmt.Errorf("section %s: %w", file.Name, err)
		}
	}
	if (p.Claim == "") == (p.Refusal == "") {
		return Case{}, errors.New("it needs a claim or a refusal")
	}
	return p, nil
}

// readGiven reads NAME=value lines by the struct's tags.
func readGiven(text string) (given identity.Given, err error) {
	fields := make(map[string]reflect.Value)
	for i := range reflect.TypeFor[identity.Given]().NumField() {
		name := reflect.TypeFor[identity.Given]().Field(i).Tag.Get("env")
		fields[name] = reflect.ValueOf(&given).Elem().Field(i)
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if _, ok := fields[name]; !ok {
			return given, fmt.Errorf("%q is not a variable", name)
		}
		fields[name].SetString(value)
	}
	return given, nil
}

func readPolicy(text string) (p identity.Policy, err error) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "name-form":
			err = p.NameForm.UnmarshalText([]byte(value))
		case "families":
			err = p.Families.UnmarshalText([]byte(value))
		default:
			err = errors.New("it is not a setting")
		}
		if err != nil {
			return p, fmt.Errorf("%q: %w", line, err)
		}
	}
	return p, nil
}

// Look returns the Facts that the Pod would see.
func (p Case) Look(t T) (identity.Facts, error) {
	return identity.Look(p.Root, p.Given, func() ([]netip.Addr, error) {
		if !p.looked {
			t.Error("the interfaces were looked at without need")
		}
		return p.interfaces, nil
	})
}
