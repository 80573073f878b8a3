package herd

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/integration/crowd"
)

// pod is one Pod of the herd.
type pod struct {
	crowd.Pod
	root string // of its files; "" for a walk
}

// names are those by which DNS is asked about this Pod.
func (p pod) names() []string {
	reverse, err := dns.ReverseAddr(p.IP())
	if err != nil {
		panic(err) // it is an address
	}
	return []string{dns.Fqdn(p.FQDN()), reverse, strings.ReplaceAll(p.IP(), ".", "-") + "." + p.Zone() + "."}
}

// files are what a kubelet gives the Pod.
func (p pod) files() map[string]string {
	return map[string]string{
		"etc/hosts":           "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n" + p.IP() + "\t" + p.FQDN() + "\t" + p.Hostname() + "\n",
		"etc/resolv.conf":     "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
		"dev/termination-log": "",
	}
}

// lay writes the Pod's files into a folder of its own below dir.
func (p *pod) lay(dir string) error {
	p.root = filepath.Join(dir, p.Hostname())
	if err := os.MkdirAll(p.volume(), 0o777); err != nil {
		return err
	}
	for name, text := range p.files() {
		path := filepath.Join(p.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (p pod) volume() string { return filepath.Join(p.root, "identity") }

// read gives a file of the volume, or what kept it from being read: what is compared or shown either way.
func (p pod) read(name string) string {
	text, err := os.ReadFile(filepath.Join(p.volume(), name))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
