// Package podtest is a kit for tests: the files that the kubelet makes for a Pod,
// a DNS server that follows a script, a corpus of Pods, and keytabs.
package podtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"

	"github.com/podfqdn/podfqdn/identity"
)

// Pod is the part of a Pod's spec from which the kubelet makes names.
type Pod struct {
	Name, Namespace     string
	Hostname, Subdomain string
	AsFQDN              bool   // setHostnameAsFQDN
	Override            string // hostnameOverride
	HostNetwork         bool
}

// DB0 is the first Pod of StatefulSet "db" in namespace "default".
var DB0 = Pod{Name: "db-0", Namespace: "default", Hostname: "db-0", Subdomain: "db"}

// Forbidden reports whether the API refuses such a Pod
// (pkg/apis/core/validation, validatePodHostName).
func (p Pod) Forbidden() bool { return p.Override != "" && (p.AsFQDN || p.HostNetwork) }

// Names returns the hostname and the domain, as the kubelet does
// (pkg/kubelet/kubelet_pods.go, GeneratePodHostNameAndDomain).
func (p Pod) Names(clusterDomain string) (hostname, domain string) {
	if p.Override == "" && p.Subdomain != "" {
		domain = p.Subdomain + "." + p.Namespace + ".svc." + clusterDomain
	}
	return Truncated(cmp.Or(p.Override, p.Hostname, p.Name)), domain
}

// Truncated cuts a hostname as the kubelet does (truncatePodHostnameIfNeeded, of
// the same file).
func Truncated(hostname string) string {
	if len(hostname) > 63 {
		return strings.TrimRight(hostname[:63], "-.")
	}
	return hostname
}

// Files returns the files that the kubelet and the runtime make for such a Pod
// (managedHostsFileContent, nodeHostsFileContent; GetNodenameForKernel).
func (p Pod) Files(clusterDomain string, ips ...string) fstest.MapFS {
	hostname, domain := p.Names(clusterDomain)
	names := hostname
	if domain != "" {
		names = hostname + "." + domain + "\t" + hostname
	}
	hosts := Hosts(names, ips...)
	if p.AsFQDN && domain != "" {
		hostname += "." + domain
	}
	if p.HostNetwork {
		hosts = "# Kubernetes-managed hosts file (host network).\n127.0.0.1\tlocalhost\n192.168.7.21\tnode-7\n"
		hostname = "node-7"
	}
	return fstest.MapFS{
		"etc/hosts":    {Data: []byte(hosts)},
		"etc/hostname": {Data: []byte(hostname + "\n")},
		"etc/resolv.conf": {Data: []byte(fmt.Sprintf(
			"search %[1]s.svc.%[2]s svc.%[2]s %[2]s\nnameserver 10.96.0.10\noptions ndots:5\n", p.Namespace, clusterDomain))},
		"var/run/secrets/kubernetes.io/serviceaccount/namespace": {Data: []byte(p.Namespace)},
		"dev/termination-log": {},
	}
}

// Lay writes files below a directory, replacing those that are there.
func Lay(root string, files fstest.MapFS) error {
	for name, file := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, file.Data, 0o644)); err != nil {
			return err
		}
	}
	return nil
}

// Managed is the first line of every hosts file that the kubelet writes, except a copy
// of the node's.
const Managed = "# Kubernetes-managed hosts file.\n"

// Hosts returns the hosts file that the kubelet writes (managedHostsFileContent):
// names, with a tab between, for each of the addresses.
func Hosts(names string, ips ...string) string {
	hosts := Managed +
		"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
	for _, ip := range ips {
		hosts += ip + "\t" + names + "\n"
	}
	return hosts
}

// Claim returns what a Pod with these files and variables claims. It panics if Look
// or Claim refuses.
func Claim(root fstest.MapFS, given identity.Given, p identity.Policy) identity.Claim {
	facts, err := identity.Look(root, given, nil)
	if err != nil {
		panic(err)
	}
	claim, err := facts.Claim(p)
	if err != nil {
		panic(err)
	}
	return claim
}

// Proven returns the agreement on a claim, from a DNS whose answers all agree with it.
// It panics if there is none.
func Proven(c identity.Claim) identity.Agreement {
	agreement, _, err := identity.Verify(context.Background(), Agreeing(program{}, c), c, 0)
	if err != nil {
		panic(err)
	}
	return agreement
}

// program is the T of a program that is not a test.
type program struct{}

func (program) Helper()                      {}
func (program) Error(args ...any)            { panic(fmt.Sprint(args...)) }
func (program) Errorf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
