package cluster

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/podfqdn/podfqdn/integration/cluster/node"
)

// Listen listens at the node's IPv4 address, on a port that is free there, for a
// server in the calling process.
func (c *Cluster) Listen() (net.Listener, error) {
	type result struct {
		net.Listener
		error
	}
	listening := make(chan result)
	go func() {
		// A socket stays in the network in which it was made. The thread is not
		// unlocked: it ends with the goroutine, as nothing else may run there.
		runtime.LockOSThread()
		network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.Node.PID))
		if err != nil {
			listening <- result{nil, err}
			return
		}
		defer network.Close()
		if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
			listening <- result{nil, fmt.Errorf("enter the network of cluster %s: %w", c.ID, err)}
			return
		}
		listener, err := net.Listen("tcp", node4+":0")
		listening <- result{listener, err}
	}()
	r := <-listening
	return r.Listener, r.error
}

// Trust makes containerd trust the registry at host (HOST:PORT) by its CA's
// certificate, in PEM. It takes effect at once.
// The form: https://github.com/containerd/containerd/blob/v2.4.2/docs/hosts.md
func (c *Cluster) Trust(host string, ca []byte) error {
	below := filepath.Join("certs.d", host)
	dir := filepath.Join(c.dir, below)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), ca, 0o644); err != nil {
		return err
	}
	hosts := fmt.Sprintf("server = %q\n[host.%[1]q]\n  ca = %q\n", "https://"+host, filepath.Join(node.State, below, "ca.crt"))
	return os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(hosts), 0o644)
}
