package cluster

import (
	"embed"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/podfqdn/podfqdn/integration/cluster/node"
)

// The addresses of every cluster. What the files below config say of them
// has to agree.
const (
	node4, node6 = "192.0.2.2", "2001:db8::2"
	podRange     = "10.244.0.0/16,fd00:10:244::/56"
	service4     = "10.96.0.0/16"
	service6     = "fd00:10:96::/112"
	apiService   = "10.96.0.1"
	dnsService   = "10.96.0.10"
	apiServer    = "127.0.0.1:6443"
	nodeName     = "node1"
)

// defaultDomain is the one that the files below config are written for.
const defaultDomain = "cluster.local"

var validDomain = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// files are the configuration files, as they stand in the node but for the
// domain. coredns.yaml is applied to the API server.
//
//go:embed config
var files embed.FS

// The components' directories below node.Root.
const (
	binKubernetes = "kubernetes"
	binEtcd       = "etcd"
	binContainerd = "containerd"
	binCoreDNS    = "coredns"
)

// writeConfig puts into dir all that the node and its components read.
// port is the API server's on 127.0.0.1, outside.
func writeConfig(dir, id, domain string, port int, programs map[string]program, images []string) error {
	if err := os.CopyFS(dir, files); err != nil {
		return err
	}
	config := filepath.Join(dir, "config")
	kubelet, err := configFile("kubelet.yaml", domain)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(config, "kubelet.yaml"), []byte(kubelet), 0o644); err != nil {
		return err
	}
	if err := writePKI(config, dir, domain, port); err != nil {
		return err
	}
	b, err := json.MarshalIndent(plan(dir, id, domain, programs, images), "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(config, "plan.json"), b, 0o600)
}

// plan is what the node does. images are archives, named as the node sees them.
func plan(dir, id, domain string, programs map[string]program, images []string) node.Plan {
	config := node.State + "/config"
	pki := config + "/pki/"
	p := node.Plan{
		Hostname: nodeName,
		Dirs:     map[string]string{"state": dir},
		Over: map[string]string{
			"/var/lib": "lib",     // kubelet and CNI keep what they know here, each under a fixed name
			"/var/log": "var-log", // the kubelet's links to the containers' logs
		},
		Sysctls: map[string]string{
			"net/ipv4/ip_forward":          "1",
			"net/ipv6/conf/all/forwarding": "1",
		},
		// The kubelet sets these for the whole machine.
		Veiled: []string{
			"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
			"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
		},
		Target: apiServer,
	}
	for name, built := range programs {
		p.Dirs[name] = built.bin
		p.Path = append(p.Path, name)
	}
	add := func(s node.Step) {
		s.Timeout = 2 * time.Minute
		p.Steps = append(p.Steps, s)
	}
	start := func(args ...string) { add(node.Step{Name: args[0], Args: args}) }
	needAPI := func(args ...string) {
		add(node.Step{Name: args[0], Args: args, Needs: "https://" + apiServer + "/readyz"})
	}

	for _, args := range [][]string{
		{"link", "set", "lo", "up"},

		// A bridge without ports: an interface that leads to no network. Every
		// kernel that can run the Pods' network has bridges.
		{"link", "add", "node0", "type", "bridge"},
		{"address", "add", node4 + "/24", "dev", "node0"},
		{"address", "add", node6 + "/64", "dev", "node0", "nodad"},
		{"link", "set", "node0", "up"},
		// Without a route the node's own connections to a Service fail
		// before kube-proxy's rules see them.
		{"route", "add", service4, "dev", "node0"},
		{"route", "add", service6, "dev", "node0"},
	} {
		add(node.Step{Name: "ip", Args: append([]string{"ip"}, args...), Once: true})
	}

	start("etcd", "--data-dir", node.State+"/etcd", "--unsafe-no-fsync",
		"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
		"--listen-peer-urls", "http://127.0.0.1:2380")
	// The control plane's flags are kubeadm's:
	// cmd/kubeadm/app/phases/controlplane/manifests.go.
	start("kube-apiserver",
		"--advertise-address="+node4,
		"--allow-privileged=true",
		"--authorization-mode=Node,RBAC",
		"--client-ca-file="+pki+"ca.crt",
		"--enable-admission-plugins=NodeRestriction",
		"--etcd-servers=http://127.0.0.1:2379",
		"--kubelet-client-certificate="+pki+"apiserver-kubelet-client.crt",
		"--kubelet-client-key="+pki+"apiserver-kubelet-client.key",
		"--kubelet-preferred-address-types=InternalIP",
		"--proxy-client-cert-file="+pki+"front-proxy-client.crt",
		"--proxy-client-key-file="+pki+"front-proxy-client.key",
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-client-ca-file="+pki+"front-proxy-ca.crt",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--secure-port=6443",
		"--service-account-issuer=https://kubernetes.default.svc."+domain,
		"--service-account-key-file="+pki+"sa.pub",
		"--service-account-signing-key-file="+pki+"sa.key",
		"--service-cluster-ip-range="+service4+","+service6,
		"--tls-cert-file="+pki+"apiserver.crt",
		"--tls-private-key-file="+pki+"apiserver.key")
	start("coredns", "-conf", config+"/upstream.Corefile")
	start("containerd", "--config", config+"/containerd.toml")
	socket := node.State + "/containerd.sock"
	for _, image := range images {
		add(node.Step{Name: "ctr", Once: true, Needs: socket,
			Args: []string{"ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", image}})
	}

	controllers := config + "/controller-manager.conf"
	needAPI("kube-controller-manager",
		"--allocate-node-cidrs=true",
		"--authentication-kubeconfig="+controllers,
		"--authorization-kubeconfig="+controllers,
		"--bind-address=127.0.0.1",
		"--client-ca-file="+pki+"ca.crt",
		"--cluster-cidr="+podRange,
		"--cluster-signing-cert-file="+pki+"ca.crt",
		"--cluster-signing-key-file="+pki+"ca.key",
		"--controllers=*,bootstrapsigner,tokencleaner",
		// As the kubelet's: its default lies in /usr, and is made if missing.
		"--flex-volume-plugin-dir=/var/lib/volume-plugins",
		"--kubeconfig="+controllers,
		"--leader-elect=false",
		"--requestheader-client-ca-file="+pki+"front-proxy-ca.crt",
		"--root-ca-file="+pki+"ca.crt",
		"--service-account-private-key-file="+pki+"sa.key",
		"--service-cluster-ip-range="+service4+","+service6,
		"--use-service-account-credentials=true")
	scheduler := config + "/scheduler.conf"
	needAPI("kube-scheduler",
		"--authentication-kubeconfig="+scheduler,
		"--authorization-kubeconfig="+scheduler,
		"--bind-address=127.0.0.1",
		"--kubeconfig="+scheduler,
		"--leader-elect=false")
	needAPI("kubelet",
		"--config="+config+"/kubelet.yaml",
		// Two kubelets on one cgroup would each remove the other's Pods.
		"--cgroup-root=/"+cgroupName(id),
		"--kubeconfig="+config+"/kubelet.conf",
		"--node-ip="+node4+","+node6)
	needAPI("kube-proxy",
		"--kubeconfig="+config+"/kube-proxy.conf",
		"--proxy-mode=iptables",
		"--cluster-cidr="+podRange,
		// That table is the machine's.
		"--conntrack-max-per-core=0")
	return p
}

// configFile is the file of that name below config, for a cluster of the domain.
func configFile(name, domain string) (string, error) {
	b, err := fs.ReadFile(files, "config/"+name)
	return strings.ReplaceAll(string(b), defaultDomain, domain), err
}
