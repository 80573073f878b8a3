package herd

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// perService is how many Pods stand behind one headless Service.
const perService = 100

// services is how many Services so many Pods have.
func services(pods int) int { return (pods + perService - 1) / perService }

// service is the name of a Service.
func service(number int) string { return fmt.Sprintf("db%d", number) }

// pod is one Pod of the herd.
type pod struct {
	number int
	root   string // of its files; "" for a walk
}

func (p pod) service() int { return p.number / perService }

func (p pod) hostname() string { return fmt.Sprintf("db%d-%d", p.service(), p.number%perService) }

func (p pod) zone() string { return service(p.service()) + ".default.svc.cluster.local" }

func (p pod) fqdn() string { return p.hostname() + "." + p.zone() }

func (p pod) ip() string {
	return netip.AddrFrom4([4]byte{10, 244, byte(p.number >> 8), byte(p.number)}).String()
}

func (p pod) endpoint() dnstest.Endpoint {
	return dnstest.Endpoint{Namespace: "default", Service: service(p.service()), Hostname: p.hostname(), IP: p.ip()}
}

// names are those by which DNS is asked about this Pod.
func (p pod) names() []string {
	reverse, err := dns.ReverseAddr(p.ip())
	if err != nil {
		panic(err) // it is an address
	}
	return []string{dns.Fqdn(p.fqdn()), reverse, strings.ReplaceAll(p.ip(), ".", "-") + "." + p.zone() + "."}
}

// files are what a kubelet gives the Pod.
func (p pod) files() map[string]string {
	return map[string]string{
		"etc/hosts":           "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n" + p.ip() + "\t" + p.fqdn() + "\t" + p.hostname() + "\n",
		"etc/resolv.conf":     "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
		"dev/termination-log": "",
	}
}

// lay writes the Pod's files into a folder of its own below dir.
func (p *pod) lay(dir string) error {
	p.root = filepath.Join(dir, p.hostname())
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
