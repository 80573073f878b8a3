package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/identity"
)

func TestMainIsFourLines(t *testing.T) {
	t.Parallel()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "main.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == "main" {
			if lines := set.Position(f.Body.Rbrace).Line - set.Position(f.Body.Lbrace).Line - 1; lines > 4 {
				t.Errorf("main has %d lines", lines)
			}
			return
		}
	}
	t.Error("main.go has no main")
}

func TestDependencies(t *testing.T) {
	t.Parallel()
	allowed := []string{
		"github.com/podfqdn/podfqdn",
		"github.com/caarlos0/env/v11",
		"github.com/miekg/dns", "golang.org/x/net", "golang.org/x/sys",
		"go.uber.org/zap", "go.uber.org/multierr",
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.Module.Path}} {{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		module, pkg, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !slices.Contains(allowed, module) {
			t.Errorf("%s of %s", pkg, module)
		}
		seen++
	}
	if seen < 5 {
		t.Errorf("go list gave %q", out)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	of := func(v identity.Verdict) *identity.Mismatch {
		return &identity.Mismatch{Finding: identity.Finding{Verdict: v}}
	}
	shared, silent, keyless, missing := of(identity.Shared), of(identity.Unanswered), of(identity.Keyless), of(identity.Missing)
	gaveUp := func(last, said *identity.Mismatch, cause error) error {
		n := narrator{said: said}
		if last != nil {
			n.last.Err = last
		}
		return n.end(cause, time.Minute, time.Second)
	}
	deadline := context.DeadlineExceeded
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("what nobody foresaw"), 1},
		{misconfigured("x", "y"), 10},
		{errors.Join(misconfigured("x", "y"), errors.New("z")), 10},
		{&identity.Refusal{}, 10},
		{fmt.Errorf("wrapped: %w", &identity.Refusal{}), 10},
		{volumeError(errors.New("x")), 13},
		{volumeError(fmt.Errorf("wrapped: %w", interrupted(syscall.SIGTERM))), 143},
		{volumeError(misconfigured("x", "y")), 10},
		{gaveUp(nil, nil, deadline), 11},
		{gaveUp(missing, nil, deadline), 11},
		{gaveUp(shared, shared, deadline), 12},
		{gaveUp(missing, shared, deadline), 12}, // missing stands for a lost packet here
		{gaveUp(keyless, keyless, deadline), 14},
		{gaveUp(of(identity.Peerless), nil, deadline), 15},
		{gaveUp(of(identity.Peerless), of(identity.Peerless), interrupted(syscall.SIGTERM)), 143},
		{gaveUp(of(identity.Uncertified), nil, deadline), 16},
		{gaveUp(silent, keyless, deadline), 11}, // DNS was asked again, so the keys had come
		{gaveUp(nil, nil, interrupted(syscall.SIGINT)), 130},
		{gaveUp(shared, shared, interrupted(syscall.SIGTERM)), 143},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: %d, not %d", c.err, got, c.want)
		}
	}
}

func TestHelpNeedsNothing(t *testing.T) {
	t.Parallel()
	var out, errs strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code := run(ctx, []string{"help"}, []string{"PODFQDN_TIMEOUT=x"}, &out, &errs); code != 0 || out.Len() == 0 || errs.Len() > 0 {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
	if code := run(ctx, []string{"version"}, nil, io.Discard, &errs); code != 0 || errs.Len() > 0 {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
}
