package dnstest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/reuseport"
	"github.com/miekg/dns"
)

// CoreDNS describes a cluster's DNS server. It may be copied; every Serve and every Replica is a CoreDNS of its own,
// with its own cache.
type CoreDNS struct {
	// Corefile is the configuration; Kubeadm if empty. Its port is ignored, /etc/resolv.conf in it means Upstream.
	// It may use nsid, bufsize, errors, loadbalance, cache, kubernetes and forward; health, ready, prometheus, log,
	// loop and reload are accepted and do nothing.
	Corefile string
	Cluster  *Cluster       // what the kubernetes plugin knows
	Upstream plugin.Handler // answers what falls through; nil is Upstream(), which denies all
	Trace    *Trace         // where questions are written down; may be nil, may be shared
	Name     string         // what the Trace calls this server
	Front    plugin.Plugin  // put before all plugins but the trace; may be nil
}

func (c CoreDNS) complete() CoreDNS {
	if c.Corefile == "" {
		c.Corefile = Kubeadm
	}
	if c.Upstream == nil {
		c.Upstream = Upstream()
	}
	return c
}

// Server is a CoreDNS on loopback.
type Server struct {
	conf     CoreDNS
	addr     netip.AddrPort
	instance *caddy.Instance
	upstream *resolver
}

// Serve starts CoreDNS on a loopback address, "127.0.0.1:0" or "[::1]:0", UDP and TCP on one port; port 0 takes a free
// one. It answers when Serve returns.
func (c CoreDNS) Serve(address string) (*Server, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	if !addr.Addr().IsLoopback() {
		return nil, fmt.Errorf("dnstest: %q is not a loopback address", address)
	}
	s := &Server{conf: c.complete(), addr: addr}
	release := func() error { return nil }
	if addr.Port() == 0 {
		if release, err = s.reserve(); err != nil {
			return nil, err
		}
	}
	if err := s.start(release); err != nil {
		return nil, err
	}
	return s, nil
}

// Addr is where the server listens; it stays the same when the server is stopped and started again.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Start starts a stopped server on its old port, with an empty cache.
func (s *Server) Start() error {
	if s.instance != nil {
		return errors.New("dnstest: server runs already")
	}
	return s.start(func() error { return nil })
}

// start releases the reserved port when CoreDNS has it.
func (s *Server) start(release func() error) (err error) {
	if s.upstream, err = resolve(s.addr.Addr(), s.conf.Upstream); err == nil {
		set := &setup{CoreDNS: &s.conf, host: s.addr.Addr().String(), port: strconv.Itoa(int(s.addr.Port())),
			resolver: s.upstream.addr}
		err = set.read(func(in caddy.Input) (err error) {
			s.instance, err = caddy.Start(in)
			return err
		})
	}
	if err = errors.Join(err, release()); err == nil {
		err = errors.Join(s.ready("udp"), s.ready("tcp"))
	}
	if err != nil {
		return errors.Join(err, s.Stop())
	}
	return nil
}

// Stop ends the server; questions then meet a closed port. Nothing of it is left when Stop returns but the idle
// connections of the forward plugin, which ends them in a finalizer.
func (s *Server) Stop() error {
	var errs []error
	if s.instance != nil {
		errs = s.instance.ShutdownCallbacks()
		errs = append(errs, s.instance.Stop())
		s.instance.Wait()
		s.instance = nil
	}
	if s.upstream != nil {
		errs = append(errs, s.upstream.stop())
		s.upstream = nil
	}
	// A child of this process that is between fork and exec has the sockets too, and would swallow questions.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return errors.Join(errs...)
}

// ready waits until the server answers: one that is stopped before it has begun to read would not stop. The question
// has an EDNS version that does not exist, which CoreDNS refuses before any plugin, and so no cache or trace sees it.
func (s *Server) ready(network string) error {
	m := new(dns.Msg).SetQuestion("ready.", dns.TypeA)
	m.SetEdns0(dns.DefaultMsgSize, false)
	m.IsEdns0().SetVersion(1)
	client := dns.Client{Net: network, Timeout: 5 * time.Second}
	var err error
	for range 6 { // a machine that compiles at the same time loses packets
		if _, _, err = client.Exchange(m, s.addr.String()); err == nil {
			return nil
		}
	}
	return err
}

// reserve finds a port that is free for UDP and TCP, and keeps it until it is released. CoreDNS listens with
// SO_REUSEPORT: two servers that found the same port would share it without a word. As long as this listener stands
// nobody is given the port by chance, and CoreDNS can still have it.
func (s *Server) reserve() (release func() error, err error) {
	for range 100 {
		var l net.Listener
		if l, err = reuseport.Listen("tcp", s.addr.String()); err != nil {
			return nil, err
		}
		addr := l.Addr().(*net.TCPAddr).AddrPort()
		var p net.PacketConn
		if p, err = reuseport.ListenPacket("udp", addr.String()); err == nil {
			s.addr = addr
			return func() error {
				// A child of this process that is between fork and exec has both sockets too, and the kernel would go on
				// giving questions to them.
				syscall.ForkLock.RLock()
				defer syscall.ForkLock.RUnlock()
				return errors.Join(l.Close(), p.Close())
			}, nil
		}
		l.Close()
	}
	return nil, err
}

// listen opens a TCP listener and a UDP socket on the same port of host.
func listen(host netip.Addr) (tcp *net.TCPListener, udp *net.UDPConn, err error) {
	for range 100 {
		if tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(host, 0))); err != nil {
			return nil, nil, err
		}
		if udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(tcp.Addr().(*net.TCPAddr).AddrPort())); err == nil {
			return tcp, udp, nil
		}
		tcp.Close()
	}
	return nil, nil, err
}
