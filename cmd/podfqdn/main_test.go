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
	shared := &identity.Mismatch{Finding: identity.Finding{Verdict: identity.Shared}}
	silent := &identity.Mismatch{Finding: identity.Finding{Verdict: identity.Unanswered}}
	keyless := &identity.Mismatch{Finding: identity.Finding{Verdict: identity.Keyless}}
	missing := &identity.Mismatch{Finding: identity.Finding{Verdict: identity.Missing}}
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("what nobody foresaw"), 1},
		{configError{errors.New("x")}, 10},
		{errors.Join(configError{errors.New("x")}, volumeError{errors.New("y")}), 10},
		{&identity.Refusal{}, 10},
		{fmt.Errorf("wrapped: %w", &identity.Refusal{}), 10},
		{volumeError{errors.New("x")}, 13},
		{&gaveUp{}, 11},
		{&gaveUp{last: missing}, 11},
		{&gaveUp{last: shared, said: shared}, 12},
		{&gaveUp{last: missing, said: shared}, 12}, // missing stands for a lost packet here
		{&gaveUp{last: keyless, said: keyless}, 14},
		{&gaveUp{last: silent, said: keyless}, 11}, // DNS was asked again, so the keys had come
		{&gaveUp{cause: interrupted{syscall.SIGINT}}, 130},
		{&gaveUp{cause: interrupted{syscall.SIGTERM}, last: shared, said: shared}, 143},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%T: %d, not %d", c.err, got, c.want)
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
