package dnstest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
)

// Fault decides what happens to a reply on its way to the client. n counts the replies of that network, "udp" or
// "tcp", from 0. It returns the packets to send instead, in order: none drops the reply, two of the same duplicate
// it. It is called on a goroutine of its own for each reply, so it may sleep to delay one, and others overtake it.
type Fault func(network string, n int, reply []byte) [][]byte

// Truncated is the reply with the TC bit and nothing but the question, as a server says "ask over TCP".
func Truncated(reply []byte) []byte {
	return alter(reply, func(m *dns.Msg) { m.Truncated, m.Answer, m.Ns, m.Extra = true, nil, nil, nil })
}

// WrongID is the reply to another client's question.
func WrongID(reply []byte) []byte { return alter(reply, func(m *dns.Msg) { m.Id++ }) }

func alter(reply []byte, f func(*dns.Msg)) []byte {
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		panic(err) // it is CoreDNS's own
	}
	f(m)
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// counter numbers the replies of each network.
type counter struct{ udp, tcp atomic.Int64 }

func (c *counter) next(network string) int {
	if network == "tcp" {
		return int(c.tcp.Add(1) - 1)
	}
	return int(c.udp.Add(1) - 1)
}

func (f Fault) apply(network string, n int, reply []byte) [][]byte {
	if f == nil {
		return [][]byte{reply}
	}
	return f(network, n, reply)
}

// Faulty is a bad network on loopback: a proxy before a DNS server, for UDP and TCP.
type Faulty struct {
	server netip.AddrPort
	fault  Fault
	sent   counter
	tcp    *net.TCPListener
	udp    *net.UDPConn
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   map[io.Closer]bool
}

// NewFaulty opens the proxy on a free port of the server's address.
func NewFaulty(server netip.AddrPort, fault Fault) (*Faulty, error) {
	tcp, udp, err := listen(server.Addr())
	if err != nil {
		return nil, err
	}
	f := &Faulty{server: server, fault: fault, tcp: tcp, udp: udp, open: map[io.Closer]bool{}}
	f.wg.Go(f.datagrams)
	f.wg.Go(f.streams)
	return f, nil
}

// Addr is where clients ask.
func (f *Faulty) Addr() netip.AddrPort { return f.tcp.Addr().(*net.TCPAddr).AddrPort() }

// Close ends the proxy and waits for faults that still sleep.
func (f *Faulty) Close() error {
	err := errors.Join(f.tcp.Close(), f.udp.Close())
	f.mu.Lock()
	f.closed = true
	for c := range f.open {
		c.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
	return err
}

// keep has Close close c too; it says false when that has come already.
func (f *Faulty) keep(c io.Closer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		c.Close()
		return false
	}
	f.open[c] = true
	return true
}

func (f *Faulty) datagrams() {
	servers := map[netip.AddrPort]*net.UDPConn{} // one socket for each client
	buf := make([]byte, dns.MaxMsgSize)
	for {
		n, client, err := f.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		server := servers[client]
		if server == nil {
			if server, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(f.server)); err != nil || !f.keep(server) {
				return
			}
			servers[client] = server
			f.wg.Go(func() {
				f.replies(server, "udp", func(p []byte) error {
					_, err := f.udp.WriteToUDPAddrPort(p, client)
					return err
				})
			})
		}
		server.Write(buf[:n])
	}
}

func (f *Faulty) streams() {
	for {
		client, err := f.tcp.AcceptTCP()
		if err != nil {
			return
		}
		server, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(f.server))
		if err != nil {
			client.Close()
			continue
		}
		if !f.keep(client) || !f.keep(server) {
			return
		}
		f.wg.Go(func() {
			io.Copy(server, client)
			server.CloseWrite()
		})
		f.wg.Go(func() {
			framed := dns.Conn{Conn: client}
			f.replies(server, "tcp", func(p []byte) error {
				_, err := framed.Write(p)
				return err
			})
			client.Close()
		})
	}
}

// replies takes what the server sends to the fault, and what that makes of it to the client.
func (f *Faulty) replies(server net.Conn, network string, send func([]byte) error) {
	framed := dns.Conn{Conn: server}
	buf := make([]byte, dns.MaxMsgSize)
	for {
		size, err := framed.Read(buf)
		if network == "tcp" && err != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a server that is down; it may come back
		}
		reply, n := bytes.Clone(buf[:size]), f.sent.next(network)
		f.wg.Go(func() {
			for _, p := range f.fault.apply(network, n, reply) {
				if send(p) != nil {
					return
				}
			}
		})
	}
}
