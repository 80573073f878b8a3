package herd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity/podtest"
)

// pod is one Pod of the herd.
type pod struct {
	named
	root        string // of its files; "" for a walk
	peers, wait string // PODFQDN_PEERS and PODFQDN_PEERS_WAIT; "" for none
}

// named is a crowd.Pod or a crowd.Member.
type named interface {
	Hostname() string
	Zone() string // of the Service
	FQDN() string
	IP() string
}

// names are those by which DNS is asked about this Pod.
func (p pod) names() []string {
	reverse, err := dns.ReverseAddr(p.IP())
	if err != nil {
		panic(err) // it is an address
	}
	return []string{dns.Fqdn(p.FQDN()), reverse, strings.ReplaceAll(p.IP(), ".", "-") + "." + p.Zone() + "."}
}

// files returns what a kubelet gives the Pod.
func (p pod) files() fstest.MapFS {
	service, _, _ := strings.Cut(p.Zone(), ".")
	return podtest.Pod{Name: p.Hostname(), Namespace: "default", Hostname: p.Hostname(), Subdomain: service}.Files("cluster.local", p.IP())
}

// lay writes the Pod's files into a directory of its own below dir.
func (p *pod) lay(dir string) error {
	p.root = filepath.Join(dir, p.Hostname())
	return errors.Join(os.MkdirAll(p.volume(), 0o777), podtest.Lay(p.root, p.files()))
}

func (p pod) volume() string { return filepath.Join(p.root, "identity") }

// read returns a file of the volume, or what kept it from being read: what is compared or shown either way.
func (p pod) read(name string) string {
	text, err := os.ReadFile(filepath.Join(p.volume(), name))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
