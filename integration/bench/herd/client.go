package herd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/peers"
	"github.com/podfqdn/podfqdn/identity/resolver"
)

// process is podfqdn init. A publication's time is that of its start signal.
func process(binary string) start {
	return func(ctx context.Context, p pod, server string) (func() (end, error), error) {
		timeout := patience
		if end, ok := ctx.Deadline(); ok {
			timeout = time.Until(end)
		}
		cmd := exec.CommandContext(ctx, binary, "init")
		cmd.Env = []string{
			"PODFQDN_ROOT=" + p.root, "PODFQDN_DIR=" + p.volume(), "PODFQDN_NAMESERVERS=" + server,
			"POD_NAME=" + p.Hostname(), "POD_IP=" + p.IP(), "POD_IPS=" + p.IP(),
			"PODFQDN_TIMEOUT=" + timeout.String(),
		}
		if p.peers != "" {
			cmd.Env = append(cmd.Env, "PODFQDN_PEERS="+p.peers, "PODFQDN_PEERS_WAIT="+p.wait)
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		return func() (end, error) {
			if err := cmd.Wait(); err != nil {
				return end{}, fmt.Errorf("%w: %s", err, p.read("../dev/termination-log"))
			}
			if fqdn, ip := p.read("fqdn"), p.read("ip"); fqdn != p.FQDN() || ip != p.IP() {
				return end{}, fmt.Errorf("published %s as %s", ip, fqdn)
			}
			return done(cmd, filepath.Join(p.volume(), "verified"))
		}, nil
	}
}

// script is what people write today. It writes a file when it is done.
const script = `until "$0" nslookup "$1" "$2"; do "$0" sleep 1; done; : >"$3"`

func busybox() (string, error) { return exec.LookPath("busybox") }

// loop is the script.
func loop(ctx context.Context, p pod, server string) (func() (end, error), error) {
	path, err := busybox()
	if err != nil {
		return nil, err
	}
	found := filepath.Join(p.volume(), "found")
	cmd := exec.CommandContext(ctx, path, "sh", "-c", script, path, p.FQDN(), server, found)
	// With what it has just started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() (end, error) {
		if err := cmd.Wait(); err != nil {
			return end{}, err
		}
		return done(cmd, found)
	}, nil
}

// done is the end of a process that has ended, and those it waited for, by the file or link that it left last.
func done(cmd *exec.Cmd, path string) (end, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return end{}, err
	}
	return end{info.ModTime(), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}

// walk is what podfqdn does between its claim and the publication.
func walk(ctx context.Context, p pod, server string) (func() (end, error), error) {
	facts, err := identity.Look(p.files(), identity.Given{Nameservers: server}, nil)
	if err != nil {
		return nil, err
	}
	claim, err := facts.Claim(identity.Policy{})
	if err != nil {
		return nil, err
	}
	w := identity.Walk{Claim: claim, Resolver: resolver.New(facts.Nameservers, facts.ResolvConf.UseVC)}
	if w.Require, err = p.require(claim); err != nil {
		return nil, err
	}
	var at time.Time
	result := make(chan error, 1)
	go func() {
		last := errors.New("no answer yet")
		for turn := range w.Turns(ctx) {
			at, last = time.Now(), turn.Err
			if last == nil {
				last = p.proven(turn.Agreement)
			}
		}
		result <- last
	}()
	return func() (end, error) {
		err := <-result
		return end{published: at}, err
	}, nil
}

// needs is what a walk calls for one requirement.
type needs = func(context.Context, identity.Agreement, identity.Resolver) ([]identity.File, error)

// require returns how the walk waits for the Pod's peers.
func (p pod) require(claim identity.Claim) ([]needs, error) {
	var c peers.Config
	if err := errors.Join(c.Members.UnmarshalText([]byte(p.peers)), c.Wait.UnmarshalText([]byte(p.wait))); err != nil || p.peers == "" {
		return nil, err
	}
	r, err := c.Requirement(claim, "")
	if err != nil {
		return nil, err
	}
	return []needs{r.Require}, nil
}

// proven fails unless the agreement is this Pod's.
func (p pod) proven(a identity.Agreement) error {
	if a.Name().String() != p.FQDN() || len(a.Addrs()) != 1 || a.Addrs()[0] != netip.MustParseAddr(p.IP()) {
		return fmt.Errorf("%s was proven to be %v", a.Name(), a.Addrs())
	}
	return nil
}
