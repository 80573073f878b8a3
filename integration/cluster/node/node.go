package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Run does the plan of the JSON file at path. It returns only with the error
// that ends the node: a step that failed, or a component that ended. Each
// step that is done is a line of logger.
//
// It does nothing before a line arrived on release: the sender writes it once
// it has a record of this process, so that none can exist without one.
func Run(path string, release io.Reader, logger *log.Logger) error {
	if _, err := release.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("never released: %w", err)
	}
	if os.Getpid() != 1 {
		return errors.New("not the first process of a PID namespace: only `cluster up` starts this")
	}
	var plan Plan
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &plan); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := plan.mount(); err != nil {
		return err
	}
	if err := syscall.Sethostname([]byte(plan.Hostname)); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	for name, value := range plan.Sysctls {
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0); err != nil {
			return err
		}
	}
	if err := os.Setenv("PATH", plan.path()); err != nil {
		return err
	}
	if err := lend(plan.Target); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(context.Background())
	r := newReaper(stop)
	started := time.Now()
	for _, s := range plan.Steps {
		if err := r.step(ctx, s); err != nil {
			return err
		}
		logger.Printf("%s %.1fs", s.Name, time.Since(started).Seconds())
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (p Plan) path() string {
	var dirs []string
	for _, d := range p.Path {
		dirs = append(dirs, filepath.Join(Root, d))
	}
	return strings.Join(append(dirs, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"), ":")
}

// mount covers what is the machine's with what is the node's.
func (p Plan) mount() error {
	// A slave, so that no mount of the node shows outside, but an unmount
	// outside isn't held up here; and shared below, as the kubelet wants it.
	for _, flag := range []uintptr{syscall.MS_SLAVE, syscall.MS_SHARED} {
		if err := syscall.Mount("", "/", "", syscall.MS_REC|flag, ""); err != nil {
			return fmt.Errorf("make / private to the node: %w", err)
		}
	}
	// Opened first: the mounts that follow may hide the directories' own paths.
	directories := map[string]*os.File{}
	for name, dir := range p.Dirs {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		directories[name] = f
	}
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for name, f := range directories {
		if err := bind(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), filepath.Join(Root, name)); err != nil {
			return err
		}
	}
	for over, name := range p.Over {
		dir := filepath.Join(State, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := bind(dir, over); err != nil {
			return err
		}
	}
	for _, name := range p.Veiled {
		if err := veil(filepath.Join("/proc/sys", name), filepath.Join(State, "sysctl", name)); err != nil {
			return err
		}
	}
	return os.MkdirAll("/run/lock", 0o755)
}

func bind(source, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount(source, target, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", target, err)
	}
	return nil
}

// veil covers the file at path with a copy of it.
func veil(path, copied string) error {
	value, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(copied), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(copied, value, 0o644); err != nil {
		return err
	}
	if err := syscall.Mount(copied, path, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("veil %s: %w", path, err)
	}
	return nil
}

// lend makes target reachable by the listener that the node was handed.
func lend(target string) error {
	handed := os.NewFile(Listener, "API server")
	listener, err := net.FileListener(handed)
	if err != nil {
		return fmt.Errorf("listener: %w", err)
	}
	// The copy isn't inherited by the components; the original would be.
	if err := handed.Close(); err != nil {
		return err
	}
	go forward(listener, target)
	return nil
}

// forward copies each connection to listener to a new one to target, an
// address of the node's own network namespace.
func forward(listener net.Listener, target string) {
	for {
		outside, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer outside.Close()
			inside, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			defer inside.Close()
			go func() {
				_, _ = io.Copy(inside, outside)
				// Half closed, as an upgraded stream may still be answered.
				_ = inside.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(outside, inside)
		}()
	}
}

// await asks until needed answers or ctx ends, and then says how it answered last.
func await(ctx context.Context, needed string) error {
	ask, err := question(needed)
	if err != nil {
		return err
	}
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func question(needed string) (func(context.Context) error, error) {
	if !strings.HasPrefix(needed, "https://") {
		return func(ctx context.Context) error {
			c, err := new(net.Dialer).DialContext(ctx, "unix", needed)
			if err != nil {
				return err
			}
			return c.Close()
		}, nil
	}
	ca, err := os.ReadFile(filepath.Join(State, "config/pki/ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	return func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, needed, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", needed, response.Status)
		}
		return nil
	}, nil
}
