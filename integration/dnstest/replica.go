package dnstest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/miekg/dns"
)

// Replica is a CoreDNS without sockets. It starts no goroutine of its own, only one for each open connection and one
// for each question, so it may live inside a testing/synctest bubble; those of a connection end when the client
// closes it.
type Replica struct {
	// Fault acts on the replies; nil leaves them alone. Set it before the first Dial.
	Fault Fault

	name   string
	server *dnsserver.Server
	sent   counter
}

// Replica reads the Corefile and builds the server. Every forward in it leads to Upstream, whatever its addresses.
func (c CoreDNS) Replica() (*Replica, error) {
	c = c.complete()
	set := &setup{CoreDNS: &c, host: "127.0.0.1", port: "53"}
	err := set.read(func(in caddy.Input) error { return caddy.ValidateAndExecuteDirectives(in, nil, true) })
	if err != nil {
		return nil, err
	}
	servers, err := set.context.MakeServers()
	if err != nil {
		return nil, err
	}
	if len(servers) != 1 {
		return nil, errors.New("dnstest: the Corefile makes no server, or several")
	}
	return &Replica{name: c.Name, server: servers[0].(*dnsserver.Server)}, nil
}

// Name is CoreDNS.Name. With ServeDNS it makes the replica a plugin.Handler, and so the Upstream of another, as
// cluster DNS is behind a node-local cache.
func (r *Replica) Name() string { return r.name }

// ServeDNS answers a question as the server behind a socket would.
func (r *Replica) ServeDNS(ctx context.Context, w dns.ResponseWriter, m *dns.Msg) (int, error) {
	r.server.ServeDNS(context.WithValue(ctx, dnsserver.Key{}, r.server), w, m)
	return dns.RcodeSuccess, nil
}

// Dialer is how a resolver opens a connection: network is "udp" or "tcp", server is "host:port".
type Dialer func(ctx context.Context, network, server string) (net.Conn, error)

// Balance is a Dialer over several replicas, as a Service is: for the nth connection, counted from 0, choose says
// which.
func Balance(choose func(n int) *Replica) Dialer {
	var n atomic.Int64
	return func(ctx context.Context, network, server string) (net.Conn, error) {
		return choose(int(n.Add(1)-1)).Dial(ctx, network, server)
	}
}

// RoundRobin gives every new connection to the next replica.
func RoundRobin(replicas ...*Replica) Dialer {
	return Balance(func(n int) *Replica { return replicas[n%len(replicas)] })
}

// ports numbers the clients in memory: each connection has a port of its own, as a new socket has.
var ports atomic.Uint32

// Dial opens a connection to the replica. It is a Dialer: server, which must be an address and a port, is only what
// RemoteAddr says. On "udp" one Write is one datagram and the connection is a net.PacketConn too.
func (r *Replica) Dial(ctx context.Context, network, server string) (net.Conn, error) {
	remote, err := netip.ParseAddrPort(server)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	local := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(1024+ports.Add(1)%60000))
	client, end := net.Pipe()
	switch network {
	case "udp", "udp4", "udp6":
		l, s := net.UDPAddrFromAddrPort(local), net.UDPAddrFromAddrPort(remote)
		go r.serve(&dns.Conn{Conn: datagrams{memory{end, s, l}}, UDPSize: dns.MaxMsgSize}, "udp")
		return datagrams{memory{client, l, s}}, nil
	case "tcp", "tcp4", "tcp6":
		l, s := net.TCPAddrFromAddrPort(local), net.TCPAddrFromAddrPort(remote)
		go r.serve(&dns.Conn{Conn: memory{end, s, l}}, "tcp")
		return memory{client, l, s}, nil
	}
	return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
}

// serve answers until the client closes. Every question has a goroutine, as behind a socket.
func (r *Replica) serve(c *dns.Conn, network string) {
	w := &reply{Conn: c, r: r, network: network, queue: make(chan []byte, 128)}
	var questions sync.WaitGroup
	defer func() {
		c.Close() // ends a reply that nobody reads
		questions.Wait()
		close(w.queue)
	}()
	go func() {
		for p := range w.queue {
			if _, err := c.Write(p); err != nil {
				return
			}
		}
	}()
	for {
		if network == "tcp" {
			c.SetReadDeadline(time.Now().Add(r.server.IdleTimeout))
		}
		m, err := c.ReadMsg()
		switch {
		case err == nil && len(m.Question) == 1 && !m.Response:
			questions.Go(func() { r.ServeDNS(context.Background(), w, m) })
		case m == nil && !errors.Is(err, dns.ErrShortRead):
			return // closed; garbage is an ErrShortRead, or comes with what could be read of it
		}
	}
}

// reply is a connection as CoreDNS writes to it. Replies wait in a queue, as in a socket's buffer, and are lost when it
// is full: two of them blocked in one pipe would hold each other up by a mutex, for which virtual time does not wait.
type reply struct {
	*dns.Conn
	r       *Replica
	network string
	queue   chan []byte
}

func (w *reply) WriteMsg(m *dns.Msg) error {
	packet, err := m.Pack()
	if err != nil {
		return err
	}
	_, err = w.Write(packet)
	return err
}

func (w *reply) Write(packet []byte) (int, error) {
	for _, p := range w.r.Fault.apply(w.network, w.r.sent.next(w.network), packet) {
		select {
		case w.queue <- p:
		default:
		}
	}
	return len(packet), nil
}

func (*reply) TsigStatus() error   { return nil }
func (*reply) TsigTimersOnly(bool) {}
func (*reply) Hijack()             {}

// memory is one end of a pipe, with addresses that distinguish UDP from TCP, as CoreDNS does by their type.
type memory struct {
	net.Conn
	local, remote net.Addr
}

func (m memory) LocalAddr() net.Addr  { return m.local }
func (m memory) RemoteAddr() net.Addr { return m.remote }

// datagrams is a pipe with message boundaries: what does not fit the reader's buffer is lost.
type datagrams struct{ memory }

func (d datagrams) Read(b []byte) (int, error) {
	if len(b) == dns.MaxMsgSize {
		return d.Conn.Read(b) // nothing is larger
	}
	buf := make([]byte, dns.MaxMsgSize)
	n, err := d.Conn.Read(buf)
	return copy(b, buf[:n]), err
}

func (d datagrams) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := d.Read(b)
	return n, d.remote, err
}

func (d datagrams) WriteTo(b []byte, _ net.Addr) (int, error) { return d.Write(b) }
