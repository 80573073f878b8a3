package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// source is a clone of one commit, in which the commit has one tag: the version.
// Go stamps version, commit and date into what it builds there, whatever branches
// and tags the user's clone has.
type source struct {
	dir      string
	version  string
	revision string    // the commit in full
	date     time.Time // the commit's, in UTC
}

// checkout clones the commit that is checked out in the clone around from into
// dir, which does not exist yet.
func checkout(ctx context.Context, from, dir, version string) (source, error) {
	root, err := git(ctx, from, []string{"rev-parse", "--show-toplevel"})
	if errors.Is(err, exec.ErrNotFound) {
		return source{}, errors.New("a release is made from a commit, by git, which is not in PATH: install git")
	}
	if err != nil {
		return source{}, fmt.Errorf("a release is made from a commit, and %s is not in a clone: %w", from, err)
	}
	// Files without a commit are not in the release: someone may have forgotten one.
	dirty, err := git(ctx, root, []string{"status", "--porcelain", "--untracked-files=normal"})
	if err != nil {
		return source{}, err
	}
	if dirty != "" {
		lines := strings.Split(dirty, "\n")
		return source{}, fmt.Errorf("a release is made from a commit, and what is in %s differs from it: commit it, or stash it with git stash -u: %s", root, strings.Join(lines[:min(len(lines), 10)], ", "))
	}
	// No template, which may have hooks; no checkout yet, which would follow the user's configuration.
	if _, err := git(ctx, root, []string{"clone", "--quiet", "--shared", "--no-tags", "--no-checkout", "--template=", root, dir}); err != nil {
		return source{}, err
	}
	s := source{dir: dir, version: version}
	if _, err := s.git(ctx, "checkout", "--quiet", "--detach"); err != nil {
		return source{}, err
	}
	if _, err := s.git(ctx, "tag", version); err != nil {
		return source{}, err
	}
	if s.revision, err = s.git(ctx, "rev-parse", "HEAD"); err != nil {
		return source{}, err
	}
	date, err := s.git(ctx, "log", "-1", "--format=%ct")
	if err != nil {
		return source{}, err
	}
	seconds, err := strconv.ParseInt(date, 10, 64)
	s.date = time.Unix(seconds, 0).UTC()
	if err != nil {
		return source{}, err
	}
	return s, s.verify(ctx)
}

// verify reports a module in the cache that is not as it was published: go build
// compares it with go.sum only when it is downloaded.
func (s source) verify(ctx context.Context) error {
	for _, args := range [][]string{{"mod", "download"}, {"mod", "verify"}} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = s.dir
		cmd.Env = append(environment(), "GOFLAGS=-mod=readonly", "GOWORK=off")
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(output))
		}
	}
	return nil
}

// program builds a command of the source, such as ./cmd/podfqdn, and returns the
// executable file, and what is in it. Nothing in the user's environment or settings
// changes a byte of it.
func (s source) program(ctx context.Context, command, goos, goarch string) ([]byte, contents, error) {
	what := fmt.Sprintf("%s for %s/%s", command, goos, goarch)
	out := filepath.Join(s.dir, "bin", filepath.Base(command))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w -buildid=", "-o", out, command)
	cmd.Dir = s.dir
	cmd.Env = append(environment(), "GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch,
		"GOAMD64=v1", "GOARM64=v8.0", "GOPPC64=power8", "GORISCV64=rva20u64", "GOFIPS140=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("go build %s: %w: %s", what, err, bytes.TrimSpace(output))
	}
	program, err := os.ReadFile(out)
	if err != nil {
		return nil, nil, err
	}
	if err := s.made(program); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", what, err)
	}
	content, err := inspect(s.dir, program)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", what, err)
	}
	return program, content, nil
}

// made reports why program is not of this source, by what Go has stamped into it.
func (s source) made(program []byte) error {
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return err
	}
	settings := map[string]string{}
	for _, setting := range info.Settings {
		settings[setting.Key] = setting.Value
	}
	for _, stamp := range []struct{ what, got, want string }{
		{"version", info.Main.Version, s.version},
		{"vcs.revision", settings["vcs.revision"], s.revision},
		{"vcs.modified", settings["vcs.modified"], "false"},
		{"GOEXPERIMENT", settings["GOEXPERIMENT"], ""}, // go env -w can set it
	} {
		if stamp.got != stamp.want {
			return fmt.Errorf("go build stamps %s %q into it: want %q", stamp.what, stamp.got, stamp.want)
		}
	}
	return nil
}

// git runs git in the clone, without the user's configuration and attributes, which
// may have other ends of lines or signed tags.
func (s source) git(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"-c", "core.attributesFile=" + os.DevNull}, args...)
	return git(ctx, s.dir, args, "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_ATTR_NOSYSTEM=1")
}

// git runs git in dir and returns what it printed.
func git(ctx context.Context, dir string, args []string, env ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(environment(), env...)
	output, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("git %s: %s", strings.Join(args, " "), bytes.TrimSpace(failed.Stderr))
	}
	return strings.TrimRight(string(output), "\n"), err
}

// environment returns the user's, without what leads git to another repository,
// such as GIT_DIR in a hook, and without experiments of Go.
func environment() (env []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GIT_") && !strings.HasPrefix(v, "GOEXPERIMENT=") {
			env = append(env, v)
		}
	}
	return env
}
