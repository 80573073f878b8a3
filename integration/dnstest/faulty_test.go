package dnstest

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// everyFault runs a test through the proxy and in memory.
func everyFault(t *testing.T, fault Fault, test func(t *testing.T, dial Dialer, server string)) {
	t.Helper()
	t.Run("proxy", func(t *testing.T) {
		s := serve(t, CoreDNS{Cluster: cluster()}, "127.0.0.1:0")
		f, err := NewFaulty(s.Addr(), fault)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		test(t, new(net.Dialer).DialContext, f.Addr().String())
	})
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := replica(t, CoreDNS{Cluster: cluster()})
			r.Fault = fault
			test(t, r.Dial, "10.96.0.10:53")
		})
	})
}

// socket is a connection on which several questions are asked.
type socket struct {
	t *testing.T
	*dns.Conn
}

func open(t *testing.T, dial Dialer, network, server string) socket {
	t.Helper()
	c, err := dial(context.Background(), network, server)
	if err != nil {
		t.Fatal(err)
	}
	return socket{t, &dns.Conn{Conn: c, UDPSize: dns.MaxMsgSize}}
}

func (s socket) ask(id, typ uint16) {
	s.t.Helper()
	m := new(dns.Msg).SetQuestion(db0, typ)
	m.Id = id
	if err := s.WriteMsg(m); err != nil {
		s.t.Fatal(err)
	}
}

// next is the reply that comes within a time, nil if none does.
func (s socket) next(within time.Duration) (*dns.Msg, error) {
	s.t.Helper()
	s.SetReadDeadline(time.Now().Add(within))
	m, err := s.ReadMsg()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, nil
	}
	return m, err
}

func (s socket) expect(id, typ uint16) {
	s.t.Helper()
	m, err := s.next(5 * time.Second)
	if err != nil || m == nil || m.Id != id || m.Question[0].Qtype != typ {
		s.t.Fatalf("got %v, %v; want the reply %d %s", m, err, id, dns.Type(typ))
	}
}

func TestDroppedRepliesDoNotArrive(t *testing.T) {
	drop := func(_ string, n int, reply []byte) [][]byte {
		if n == 0 {
			return nil
		}
		return [][]byte{reply}
	}
	everyFault(t, drop, func(t *testing.T, dial Dialer, server string) {
		for _, network := range []string{"udp", "tcp"} {
			s := open(t, dial, network, server)
			s.ask(1, dns.TypeA)
			if m, err := s.next(50 * time.Millisecond); m != nil || err != nil {
				t.Fatal(m, err)
			}
			s.ask(2, dns.TypeA)
			s.expect(2, dns.TypeA)
			s.Close()
		}
	})
}

func TestDuplicatesGarbageAndForeignIDsArriveInOrder(t *testing.T) {
	fault := func(_ string, _ int, reply []byte) [][]byte {
		return [][]byte{{0xff}, []byte("no DNS message at all"), WrongID(reply), Truncated(reply), reply, reply}
	}
	everyFault(t, fault, func(t *testing.T, dial Dialer, server string) {
		for _, network := range []string{"udp", "tcp"} {
			s := open(t, dial, network, server)
			s.ask(7, dns.TypeA)
			for range 2 {
				if m, err := s.next(5 * time.Second); err == nil {
					t.Fatal("garbage that parses:", m)
				}
			}
			s.expect(8, dns.TypeA)
			if m, err := s.next(5 * time.Second); err != nil || !m.Truncated || m.Id != 7 || len(m.Answer) != 0 {
				t.Fatal(m, err)
			}
			s.expect(7, dns.TypeA)
			s.expect(7, dns.TypeA)
			s.Close()
		}
	})
}

func TestADelayedReplyIsOvertaken(t *testing.T) {
	const delay = 200 * time.Millisecond
	slow := func(_ string, _ int, reply []byte) [][]byte {
		if reply[1] == 1 { // the ID
			time.Sleep(delay)
		}
		return [][]byte{reply}
	}
	everyFault(t, slow, func(t *testing.T, dial Dialer, server string) {
		s := open(t, dial, "udp", server)
		defer s.Close()
		start := time.Now()
		s.ask(1, dns.TypeA)
		s.ask(2, dns.TypeAAAA)
		s.expect(2, dns.TypeAAAA)
		s.expect(1, dns.TypeA)
		if d := time.Since(start); d < delay {
			t.Errorf("the late reply came after %v", d)
		}
	})
}

func TestACloseEndsUnreadReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		r := replica(t, CoreDNS{Cluster: cluster()})
		for _, network := range []string{"udp", "tcp"} {
			s := open(t, r.Dial, network, "10.96.0.10:53")
			for id := range uint16(5) {
				s.ask(id, dns.TypeA)
			}
			synctest.Wait()
			s.Close()
		}
	})
}

func TestAnIdleTCPConnectionIsClosedByTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, replica(t, CoreDNS{Cluster: cluster()}).Dial, "tcp", "10.96.0.10:53")
		defer s.Close()
		start := time.Now()
		if m, err := s.next(time.Minute); err == nil {
			t.Fatal("a reply to nothing", m)
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

func TestADatagramThatDoesNotFitLosesItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := replica(t, CoreDNS{Cluster: cluster()}).Dial(t.Context(), "udp", "10.96.0.10:53")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		q, err := new(dns.Msg).SetQuestion(db0, dns.TypeA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second read begins with the second reply
			if _, err := c.Write(q); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 20)
			if n, err := c.Read(b); n != len(b) || err != nil || b[0] != q[0] || b[1] != q[1] {
				t.Fatal(n, err, b)
			}
		}
		c.Write([]byte{1, 2, 3}) // garbage is not answered and ends nothing
		c.Write(q)
		if n, _, err := c.(net.PacketConn).ReadFrom(make([]byte, 512)); n < 40 || err != nil {
			t.Fatal(n, err)
		}
	})
}
