// Package programs builds the programs that tests run.
package programs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

// Product builds commands of the product in a directory, as they are shipped: without the race detector. what
// lists packages of the repository, such as ./cmd/podfqdn, after more flags of go build.
func Product(dir string, what ...string) error {
	root, err := run("list", "-m", "-f", "{{.Dir}}", "github.com/podfqdn/podfqdn")
	if err != nil {
		return err
	}
	_, err = run(append([]string{"-C", strings.TrimSpace(root), "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", dir + "/"}, what...)...)
	return err
}

// Past returns podfqdn as a commit of this repository has it, given in full, from the
// user's cache; it is built there once for each version of Go.
func Past(commit string) (path string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "podfqdn-test")
	path = filepath.Join(dir, "podfqdn-"+commit+"-"+runtime.Version())
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	root, err := run("list", "-m", "-f", "{{.Dir}}", "github.com/podfqdn/podfqdn")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	source, err := os.MkdirTemp(dir, "source-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(source)
	archive := exec.Command("sh", "-c", `git -C "$1" archive --format=tar -o "$2/all.tar" "$3" && tar -x -f "$2/all.tar" -C "$2"`, "sh", strings.TrimSpace(root), source, commit)
	if out, err := archive.CombinedOutput(); err != nil {
		return "", fmt.Errorf("git archive %s: %w: %s: the tests need the history of this repository: make it a full clone (git fetch --unshallow)", commit, err, bytes.TrimSpace(out))
	}
	if _, err := run("-C", source, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", source+"/bin/", "./cmd/podfqdn"); err != nil {
		return "", err
	}
	return path, os.Rename(filepath.Join(source, "bin", "podfqdn"), path)
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
