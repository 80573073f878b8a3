// Command writer opens a volume and publishes in it, as podfqdn does when DNS has agreed, on one thread and without
// DNS: what happens to each of its calls is decided from outside, except for those between two marks, with which it
// looks for another Pod's identity where podfqdn would ask DNS.
//
//	writer DIR [LINE]
//	writer DIR SRC
//
// LINE is one more in identity.env. SRC is the path of a directory that is rendered into DIR, which is all then. The exit
// code is 0 or 13, or 3 if another Pod's identity can be read; then the reason is on stderr.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/identity/render"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// The thread that strace follows is the main one.
func init() { runtime.LockOSThread() }

func main() {
	do := run
	if len(os.Args) > 2 && filepath.IsAbs(os.Args[2]) {
		do = rendered
	}
	if err := do(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(13)
	}
}

var claim = podtest.Claim(podtest.DB0.Files("cluster.local", "10.244.0.17"), identity.Given{}, identity.Policy{})

// rendered renders a source, as podfqdn does.
func rendered(dir string, src []string) error {
	var pairs render.Pairs
	if err := pairs.UnmarshalText([]byte(src[0] + ":" + dir)); err != nil {
		return err
	}
	all, err := pairs.Requirements(claim, render.Others{})
	if err != nil {
		return err
	}
	r := all[0]
	_, _ = os.Stat("/podfqdn-faults-begin")
	v, err := volume.OpenTree(context.Background(), dir, r.Outlet.Signal, r.Outlet.Keeps)
	if err != nil {
		return err
	}
	names, err := r.Prepare()
	if err != nil {
		return err
	}
	if err := v.Expect(names); err != nil {
		return err
	}
	_, _ = os.Stat("/podfqdn-faults-asks")
	walk := identity.Walk{Claim: claim, Resolver: podtest.Agreeing(fatal{}, claim), Require: []func(context.Context, identity.Agreement, identity.Resolver) ([]identity.File, error){r.Require}}
	var proven identity.Turn
	for proven = range walk.Turns(context.Background()) {
	}
	if proven.Err != nil {
		return proven.Err
	}
	_, _ = os.Stat("/podfqdn-faults-asked")
	_, err = v.Publish(proven.Required[0])
	return err
}

// fatal is the T of a program.
type fatal struct{}

func (fatal) Helper()                      {}
func (fatal) Error(args ...any)            { panic(fmt.Sprint(args...)) }
func (fatal) Errorf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

func run(dir string, lines []string) error {
	generation, err := identity.Render(podtest.Proven(claim), identity.Addition{Environment: lines})
	if err != nil {
		return err
	}
	_, _ = os.Stat("/podfqdn-faults-begin") // the mark: what comes now may be broken
	v, err := volume.Open(context.Background(), dir, identity.Files(), func(files []identity.File) error {
		_, err := claim.Keeps(files)
		return err
	})
	if err != nil {
		return err
	}
	_, _ = os.Stat("/podfqdn-faults-asks")
	for _, name := range []string{"fqdn", "identity.json"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil && !strings.Contains(string(b), claim.Name().String()) {
			fmt.Fprintf(os.Stderr, "%s of another Pod can be read at the first question\n", name)
			os.Exit(3)
		}
	}
	_, _ = os.Stat("/podfqdn-faults-asked")
	_, err = v.Publish(generation)
	return err
}
