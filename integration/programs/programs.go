// Package programs builds the programs that tests run.
package programs

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Main builds programs in a directory, runs a package's tests, removes the directory and returns the exit code.
func Main(m *testing.M, build func(dir string) error) int {
	dir, err := os.MkdirTemp("", "podfqdn-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Product builds commands of the product in a directory, as they are shipped: without the race detector. What is built
// are packages of the repository, such as ./cmd/podfqdn, behind more flags of go build.
func Product(dir string, what ...string) error {
	root, err := run("list", "-m", "-f", "{{.Dir}}", "github.com/podfqdn/podfqdn")
	if err != nil {
		return err
	}
	_, err = run(append([]string{"-C", strings.TrimSpace(root), "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", dir + "/"}, what...)...)
	return err
}

// Own builds a command of the tests' own in a directory: a package below the one under test, such as ./writer.
func Own(dir, what string) error {
	_, err := run("build", "-buildvcs=false", "-o", dir+"/", what)
	return err
}

func run(args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "CGO_ENABLED=0", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
