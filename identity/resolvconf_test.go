package identity_test

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/podfqdn/podfqdn/identity"
)

// The expectations are glibc's (resolv/res_init.c, res_vinit_1 and
// res_setoptions), but for CR LF line ends, which glibc takes for a part of
// the last word.
func TestResolvConfIsReadAsGlibcReadsIt(t *testing.T) {
	servers := func(texts ...string) (servers []netip.AddrPort) {
		for _, text := range texts {
			servers = append(servers, netip.AddrPortFrom(netip.MustParseAddr(text), 53))
		}
		return servers
	}
	for _, test := range []struct {
		name, text string
		want       func(*identity.ResolvConf)
	}{
		{"nothing", "", func(c *identity.ResolvConf) {}},
		{"what containerd writes", "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
			func(c *identity.ResolvConf) {
				c.Search = []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"}
				c.Nameservers = servers("10.96.0.10")
				c.Ndots = 5
			}},
		{"three nameservers at most", "nameserver 10.0.0.1\nnameserver fd00::2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n",
			func(c *identity.ResolvConf) {
				c.Nameservers, c.Ignored = servers("10.0.0.1", "fd00::2", "10.0.0.3"), []string{"10.0.0.4"}
			}},
		{"a nameserver that is not an address does not count", "nameserver dns\nnameserver 10.0.0.1\nnameserver 10.0.0.300\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n",
			func(c *identity.ResolvConf) {
				c.Nameservers = servers("10.0.0.1", "10.0.0.2", "10.0.0.3")
				c.Ignored = []string{"dns", "10.0.0.300"}
			}},
		{"a scoped address", "nameserver fe80::1%eth0\n", func(c *identity.ResolvConf) { c.Nameservers = servers("fe80::1%eth0") }},
		{"the last search or domain line", "search a b\ndomain c d\n", func(c *identity.ResolvConf) { c.Search = []string{"c"} }},
		{"the last domain or search line", "domain c\nsearch a b\n", func(c *identity.ResolvConf) { c.Search = []string{"a", "b"} }},
		{"an empty search line changes nothing", "search a b\nsearch \nsearch\ndomain \t\n", func(c *identity.ResolvConf) { c.Search = []string{"a", "b"} }},
		{"words behind a nameserver", "nameserver 10.0.0.1 10.0.0.2\n", func(c *identity.ResolvConf) { c.Nameservers = servers("10.0.0.1") }},
		{"a nameserver line without a word", "nameserver\nnameserver \n", func(c *identity.ResolvConf) {}},
		{"leading blanks mean no keyword", " nameserver 10.0.0.1\n\tsearch a\n", func(c *identity.ResolvConf) {}},
		{"a longer keyword is another", "nameservers 10.0.0.1\nsearching a\n", func(c *identity.ResolvConf) {}},
		{"upper case is not a keyword", "NAMESERVER 10.0.0.1\n", func(c *identity.ResolvConf) {}},
		{"tabs", "nameserver\t10.0.0.1\nsearch\ta\tb\noptions\tndots:2\tuse-vc\n", func(c *identity.ResolvConf) {
			c.Nameservers, c.Search, c.Ndots, c.UseVC = servers("10.0.0.1"), []string{"a", "b"}, 2, true
		}},
		{"no final newline", "search a\nnameserver 10.0.0.1", func(c *identity.ResolvConf) {
			c.Nameservers, c.Search = servers("10.0.0.1"), []string{"a"}
		}},
		{"CR LF", "search a b\r\nnameserver 10.0.0.1\r\noptions ndots:2\r\n", func(c *identity.ResolvConf) {
			c.Nameservers, c.Search, c.Ndots = servers("10.0.0.1"), []string{"a", "b"}, 2
		}},
		{"comments", "#nameserver 10.0.0.1\n; nameserver 10.0.0.2\nsearch a # b\nnameserver 10.0.0.3 # c\n", func(c *identity.ResolvConf) {
			c.Nameservers, c.Search = servers("10.0.0.3"), []string{"a", "#", "b"}
		}},
		{"options add up, the last of each counts", "options ndots:3 rotate\noptions timeout:2 ndots:4\noptions attempts:1 use-vc\n", func(c *identity.ResolvConf) { c.Ndots, c.UseVC = 4, true }},
		{"options at their caps", "options ndots:15 timeout:30 attempts:5\n", func(c *identity.ResolvConf) { c.Ndots = 15 }},
		{"options above their caps", "options ndots:16 timeout:31 attempts:6\n", func(c *identity.ResolvConf) { c.Ndots = 15 }},
		{"options without a number", "options ndots timeout attempts\n", func(c *identity.ResolvConf) {}},
		{"a number with something behind", "options ndots:5x timeout:3s\n", func(c *identity.ResolvConf) { c.Ndots = 5 }},
		{"no number at all", "options ndots: timeout:x\n", func(c *identity.ResolvConf) { c.Ndots = 0 }},
		{"options that say nothing here", "options edns0 trust-ad single-request no-aaaa inet6 debug\nsortlist 10.0.0.0\nlookup file\n", func(c *identity.ResolvConf) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := identity.ResolvConf{Ndots: 1}
			test.want(&want)
			if got := identity.ParseResolvConf(test.text); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}
