package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// module is a directory below build: one component at one version.
type module struct {
	name    string // of the component, one of the bin… constants
	path    string // of the module that the component is released as
	dir     string
	version string // v1.2.3
}

// program is a component that is built.
type program struct {
	module
	bin string // the directory of its binaries
}

// releases are the modules whose version is a component's.
var releases = map[string]string{
	binKubernetes: "k8s.io/kubernetes",
	binEtcd:       "go.etcd.io/etcd/server/v3",
	binContainerd: "github.com/containerd/containerd/v2",
	binCoreDNS:    "github.com/coredns/coredns",
}

// renamed are binaries that `go build` names after a directory.
var renamed = map[string]string{"server": "etcd"}

// source is the import path of this package.
const source = "github.com/podfqdn/podfqdn/integration/cluster"

// sourceDir returns this package's directory: the modules below it belong to no
// package and can't be embedded.
func sourceDir(ctx context.Context) (string, error) {
	out, err := goCommand(ctx, "", "list", "-f", "{{.Dir}}", source)
	if err != nil {
		return "", fmt.Errorf("find the sources of %s (run this from the directory integration): %w", source, err)
	}
	return strings.TrimSpace(out), nil
}

// modules returns the components for Kubernetes in the version wanted: 1.37,
// 1.37.1 or v1.37.1; empty is the one of build/kubernetes.
func modules(dir, wanted string) ([]module, error) {
	dirs, err := filepath.Glob(filepath.Join(dir, "build", "*", "go.mod"))
	if err != nil {
		return nil, err
	}
	var found []module
	var have []string
	for _, file := range dirs {
		m := module{dir: filepath.Dir(file)}
		base := filepath.Base(m.dir)
		m.name, _, _ = strings.Cut(base, "-")
		m.path = releases[m.name]
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if m.version = required(content, m.path); m.version == "" {
			return nil, fmt.Errorf("%s does not require %q", file, m.path)
		}
		if m.name == binKubernetes {
			have = append(have, m.version)
			if wanted == "" && base != binKubernetes || !matches(m.version, wanted) {
				continue
			}
		}
		found = append(found, m)
	}
	if !slices.ContainsFunc(found, func(m module) bool { return m.name == binKubernetes }) {
		return nil, fmt.Errorf("no Kubernetes %q here: have %s", wanted, strings.Join(have, ", "))
	}
	if len(found) != len(releases) {
		return nil, fmt.Errorf("%d components below %s/build match Kubernetes %q, want %d", len(found), dir, wanted, len(releases))
	}
	return found, nil
}

// required returns the version of the module path that gomod requires.
func required(gomod []byte, path string) string {
	m := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(path) + ` (v\S+)`).FindSubmatch(gomod)
	if m == nil {
		return ""
	}
	return string(m[1])
}

// matches reports whether version (v1.37.1) is what was wanted: 1.37, 1.37.1,
// each with or without v, or anything.
func matches(version, wanted string) bool {
	version, wanted = strings.TrimPrefix(version, "v"), strings.TrimPrefix(wanted, "v")
	return wanted == "" || version == wanted || strings.HasPrefix(version, wanted+".")
}

// cacheDir is podfqdn's directory in the user's cache.
func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "podfqdn"), err
}

// build returns the components in the versions wanted, compiling those that the
// cache lacks. Each is a line of log.
func build(ctx context.Context, kubernetes string, log io.Writer) (map[string]program, error) {
	dir, err := sourceDir(ctx)
	if err != nil {
		return nil, err
	}
	wanted, err := modules(dir, kubernetes)
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	cache = filepath.Join(cache, "bin")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	built := map[string]program{}
	for _, m := range wanted {
		key, err := m.key(ctx)
		if err != nil {
			return nil, err
		}
		p := program{module: m, bin: filepath.Join(cache, key)}
		if err := p.build(ctx, log); err != nil {
			return nil, fmt.Errorf("build %s %s: %w", m.name, m.version, err)
		}
		built[m.name] = p
	}
	return built, nil
}

// build compiles p if the cache lacks it, and writes a line of log.
func (p program) build(ctx context.Context, log io.Writer) error {
	if !p.built() {
		fmt.Fprintf(log, "build %s %s: compiling, which takes minutes the first time\n", p.name, p.version)
		start := time.Now()
		cache := filepath.Dir(p.bin)
		// One at a time: two would compile the same for twice as long.
		unlock, err := lock(ctx, cache)
		if err != nil {
			return err
		}
		defer unlock()
		if err := sweep(cache); err != nil {
			return err
		}
		if !p.built() {
			if err := p.compile(ctx); err != nil {
				return err
			}
			fmt.Fprintf(log, "build %s %s: %.0fs\n", p.name, p.version, time.Since(start).Seconds())
			return nil
		}
	}
	fmt.Fprintf(log, "build %s %s: in the cache\n", p.name, p.version)
	return nil
}

// built reports whether p is in the cache: its directory has its name only when whole.
func (p program) built() bool {
	_, err := os.Stat(p.bin)
	return err == nil
}

// unfinished begins the name of a directory that is still being filled.
const unfinished = "unfinished-"

// sweep removes what a build left that was killed. The caller holds the lock.
func sweep(cache string) error {
	dirs, err := filepath.Glob(filepath.Join(cache, unfinished+"*"))
	for _, dir := range dirs {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// key names the directory of m's binaries after all that makes them what they are.
func (m module) key(ctx context.Context) (string, error) {
	toolchain, err := goCommand(ctx, m.dir, "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(m.dir, name))
		if err != nil {
			return "", err
		}
		sum.Write(b)
	}
	fmt.Fprint(sum, m.flags())
	return fmt.Sprintf("%s-%s-%s-%s-%.4x", m.name, m.version, strings.TrimSpace(toolchain), runtime.GOARCH, sum.Sum(nil)), nil
}

// flags are those of `go build`.
func (m module) flags() []string {
	ldflags := "-s -w"
	if m.name == binKubernetes {
		// What hack/lib/version.sh sets for a release; a module knows no git.
		major, minor, _ := strings.Cut(strings.TrimPrefix(m.version, "v"), ".")
		minor, _, _ = strings.Cut(minor, ".")
		for _, pkg := range []string{"k8s.io/client-go/pkg/version", "k8s.io/component-base/version"} {
			for _, kv := range []string{"gitVersion=" + m.version, "gitMajor=" + major, "gitMinor=" + minor, "gitTreeState=clean"} {
				ldflags += " -X " + pkg + "." + kv
			}
		}
	}
	// go.sum decides what is built, and nothing is looked up to amend it.
	return []string{"-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=" + ldflags}
}

// compile builds every tool of p's module into p.bin, whole or not at all.
func (p program) compile(ctx context.Context) error {
	dir, err := os.MkdirTemp(filepath.Dir(p.bin), unfinished)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	args := append([]string{"build", "-o", dir + "/"}, p.flags()...)
	if _, err := goCommand(ctx, p.dir, append(args, "tool")...); err != nil {
		return err
	}
	for from, to := range renamed {
		err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	return os.Rename(dir, p.bin)
}

// buildOwn compiles commands of this module, each named by its directory below
// this package's, into dir.
func buildOwn(ctx context.Context, dir string, names ...string) error {
	args := []string{"build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", dir + "/"}
	for _, name := range names {
		args = append(args, path.Join(source, name))
	}
	_, err := goCommand(ctx, "", args...)
	return err
}

// goCommand runs the go command in dir, and returns what it printed.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = dir
	// The caller's flags and workspace are for the caller's own code.
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	// An interrupt, as the go command then removes its work directory.
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second
	if err := runBound(c, syscall.SIGINT); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, tail(stderr.Bytes(), 20))
	}
	return stdout.String(), nil
}

// runBound runs c so that it doesn't outlive this process: it gets the signal
// when this one is killed.
func runBound(c *exec.Cmd, signal syscall.Signal) error {
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Pdeathsig = signal
	// The kernel counts the end of the thread that started it as the parent's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return c.Run()
}

// tail returns the last n lines of b.
func tail(b []byte, n int) string {
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
