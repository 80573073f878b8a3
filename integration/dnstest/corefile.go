package dnstest

import (
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"sync"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/acl"
	_ "github.com/coredns/coredns/plugin/bufsize"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/hosts"
	"github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/nsid"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/template"
)

// Kubeadm is the Corefile that kubeadm writes since Kubernetes 1.32: nothing of the cluster zone is cached, reverse
// answers are.
const Kubeadm = `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
`

// Cached is the Corefile of kubeadm up to Kubernetes 1.31 and of the kube-up addon still in 1.37: all is cached for
// up to 30 seconds, denials too.
var Cached = strings.Replace(Kubeadm, ` {
       disable success cluster.local
       disable denial cluster.local
    }`, "", 1)

// NodeLocal returns the Corefile of NodeLocal DNSCache (kubernetes/dns, nodelocaldns.yaml) in front of a server: denials
// of names below the cluster domain are kept for 5 s, whatever the server says. Each zone gets more directives too.
func NodeLocal(domain, server string, more ...string) string {
	text := ""
	for _, zone := range []struct{ name, cache string }{
		{domain, "cache {\n success 9984 30\n denial 9984 5\n }"},
		{"in-addr.arpa", "cache 30"},
		{"ip6.arpa", "cache 30"},
	} {
		text += fmt.Sprintf("%s:53 {\n errors\n %s\n forward . %s {\n force_tcp\n }\n %s\n}\n", zone.name, zone.cache, server, strings.Join(more, "\n "))
	}
	return text
}

// serverType is a Caddy server type next to CoreDNS's own "dns": the plugin registry has one entry for each type and
// name, so here "kubernetes" can be the plugin without a client, and no global list of CoreDNS's is touched.
const serverType = "dnstest"

// directives are what a Corefile may say here, in the order of CoreDNS's plugin.cfg, which is the order in which the
// plugins see a question. A nil setup reads the directive and starts nothing: those watch over a process, which this
// is not.
var directives = []struct {
	name  string
	setup func(*caddy.Controller) error
}{
	{"reload", nil},
	{"nsid", stock("nsid")},
	{"bufsize", stock("bufsize")},
	{"ready", nil},
	{"health", nil},
	{"prometheus", nil},
	{"errors", stock("errors")},
	{"log", nil},
	{"acl", stock("acl")},
	{"loadbalance", stock("loadbalance")},
	{"cache", stock("cache")},
	{"rewrite", stock("rewrite")},
	{"template", stock("template")},
	{"hosts", stock("hosts")},
	{"kubernetes", setupKubernetes},
	{"loop", nil},
	{"forward", setupForward},
}

// setup is one reading of a Corefile. Caddy's setup functions have no argument for the program around them, hence the
// one variable and its lock.
type setup struct {
	*CoreDNS
	host, port string
	resolver   string        // replaces /etc/resolv.conf; "" when there are no sockets
	context    caddy.Context // what CoreDNS made of the Corefile
	seen       map[*dnsserver.Config]bool
}

var reading struct {
	sync.Mutex
	*setup
}

func (s *setup) read(f func(caddy.Input) error) error {
	register()
	blocks, err := caddyfile.Parse("Corefile", strings.NewReader(s.Corefile), caddy.ValidDirectives(serverType))
	if err != nil {
		return err
	}
	for _, b := range blocks {
		if len(b.Tokens) == 0 { // nothing would move it from its port of all addresses
			return fmt.Errorf("dnstest: the server block %q is empty", b.Keys)
		}
	}
	s.seen = map[*dnsserver.Config]bool{}
	reading.Lock()
	defer reading.Unlock()
	reading.setup = s
	defer func() { reading.setup = nil }()
	return f(caddy.CaddyfileInput{Filepath: "Corefile", Contents: []byte(s.Corefile), ServerTypeName: serverType})
}

var register = sync.OnceFunc(func() {
	caddy.Quiet, dnsserver.Quiet = true, true
	// CoreDNS's text log is the standard library's, which belongs to the program; its JSON log has an output of its
	// own, but takes the standard logger along when it is chosen.
	w, flags, prefix := log.Writer(), log.Flags(), log.Prefix()
	if err := clog.Configure("json", io.Discard); err != nil {
		panic(err)
	}
	log.SetOutput(w)
	log.SetFlags(flags)
	log.SetPrefix(prefix)

	var names []string
	for _, d := range directives {
		names = append(names, d.name)
		caddy.RegisterPlugin(d.name, caddy.Plugin{ServerType: serverType, Action: func(c *caddy.Controller) error {
			reading.begin(c)
			if d.setup == nil {
				return nil
			}
			return d.setup(c)
		}})
	}
	caddy.RegisterServerType(serverType, caddy.ServerType{
		Directives: func() []string { return names },
		NewContext: func(*caddy.Instance) caddy.Context {
			// CoreDNS keeps the constructor to itself; this is the exported way to an empty one.
			reading.context = caddy.NewTestController("dns", "").Context()
			return reading.context
		},
	})
})

// begin runs before every directive and does something before the first of each server block: it moves the block from
// the port of the Corefile to ours, and puts the trace in front of all plugins.
func (s *setup) begin(c *caddy.Controller) {
	config := dnsserver.GetConfig(c)
	if s.seen[config] {
		return
	}
	s.seen[config] = true
	config.ListenHosts = []string{s.host}
	for i := range c.ServerBlockKeys {
		key := *c
		key.ServerBlockKeyIndex = i
		dnsserver.GetConfig(&key).Port = s.port
	}
	if s.Trace != nil {
		config.AddPlugin(func(next plugin.Handler) plugin.Handler { return s.Trace.Wrap(s.Name, next) })
	}
	if s.Front != nil {
		config.AddPlugin(s.Front)
	}
}

// stock is CoreDNS's own setup of a directive.
func stock(name string) func(*caddy.Controller) error {
	return func(c *caddy.Controller) error {
		action, err := caddy.DirectiveAction("dns", name)
		if err != nil {
			return err
		}
		return action(c)
	}
}

// setupKubernetes is the plugin's own setup but for the connection.
func setupKubernetes(c *caddy.Controller) error {
	cluster := reading.Cluster
	if cluster == nil {
		return plugin.Error("kubernetes", errors.New("no Cluster"))
	}
	c.Next()
	k, err := kubernetes.ParseStanza(c)
	if err != nil {
		return plugin.Error("kubernetes", err)
	}
	k.APIConn = (*api)(cluster)
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		k.Next = next
		return k
	})
	return nil
}

// setupForward is the plugin's own setup, with the upstream server in the place of the node's resolv.conf. Without
// sockets the plugin cannot forward; then the upstream itself stands there, whatever the addresses are.
func setupForward(c *caddy.Controller) error {
	if reading.resolver == "" {
		upstream := reading.Upstream
		dnsserver.GetConfig(c).AddPlugin(func(plugin.Handler) plugin.Handler { return upstream })
		return nil
	}
	var tokens []caddyfile.Token
	for c.Next() {
		text := strings.ReplaceAll(c.Val(), "/etc/resolv.conf", reading.resolver)
		tokens = append(tokens, caddyfile.Token{File: c.File(), Line: c.Line(), Text: text})
	}
	c.Dispenser = caddyfile.NewDispenserTokens(c.File(), tokens)
	return stock("forward")(c)
}
