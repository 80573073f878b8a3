package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/miekg/dns"
)

// errTimeout tells that nothing valid came in time.
var errTimeout = errors.New("timeout")

// errTCP tells that the failure is that of the question by TCP.
var errTCP = errors.New("by TCP")

// exchange sends one question and gives the first message that answers it, by
// TCP where UDP's is truncated, and without EDNS0 where the server does not
// know it.
func (e *exchange) exchange(ctx context.Context, name string, qtype uint16) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, e.r.patience)
	defer cancel()
	msg, err := e.query(ctx, name, qtype)
	if err == nil && !e.r.noEDNS[e.server] &&
		(msg.Rcode == dns.RcodeFormatError || msg.Rcode == dns.RcodeBadVers) {
		e.r.noEDNS[e.server] = true
		msg, err = e.query(ctx, name, qtype)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", errTimeout, err)
	}
	return msg, err
}

// query is one attempt at exchange.
func (e *exchange) query(ctx context.Context, name string, qtype uint16) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	if !e.r.noEDNS[e.server] {
		q.SetEdns0(udpSize, false)
	}
	if e.udp != nil {
		reply, err := talk(ctx, e.udp, datagrams{e.udp, e.r.buffer}, q, e.resend())
		if err != nil || !reply.Truncated {
			return reply, err
		}
	}
	if e.tcp == nil {
		conn, err := e.r.Dial(ctx, "tcp", e.server.String())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errTCP, err)
		}
		e.tcp = conn
	}
	reply, err := talk(ctx, e.tcp, stream{e.tcp, e.r.buffer}, q, 0)
	if err == nil && reply.Truncated {
		err = errors.New("truncated too") // what is missing may be another Pod
	}
	if err != nil {
		// What else comes on this stream may belong to a lost question.
		e.tcp.Close()
		e.tcp = nil
		return nil, fmt.Errorf("%w: %w", errTCP, err)
	}
	return reply, nil
}

// framing is how messages stand on a connection.
type framing interface {
	write(packed []byte) error
	read() ([]byte, error) // valid until the next read
}

// resend tells after how long without an answer a question is sent once more.
// A server that has answered last time is there: then a packet was lost, and
// the question need not cost a whole patience. 0 is never, for one that has
// not.
func (e *exchange) resend() time.Duration {
	rtt, heard := e.r.rtts[e.server]
	if !heard {
		return 0
	}
	return max(minResend, 8*rtt)
}

// talk sends q, if need be once more after again, and reads until a message
// answers it or ctx ends. Everything else is discarded: late answers to earlier
// questions, forgeries, noise.
func talk(ctx context.Context, conn net.Conn, f framing, q *dns.Msg, again time.Duration) (*dns.Msg, error) {
	packed, err := q.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack the question: %w", err)
	}
	deadline, _ := ctx.Deadline()
	first := deadline
	if again > 0 && again < time.Until(deadline) {
		first = time.Now().Add(again)
	}
	if err := conn.SetDeadline(first); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		conn.SetDeadline(time.Unix(1, 0))
		close(ended)
	})
	defer func() {
		if !stop() {
			<-ended // or it might end the next question
		}
	}()
	if err := f.write(packed); err != nil {
		return nil, err
	}
	for {
		raw, err := f.read()
		if first != deadline && errors.Is(err, os.ErrDeadlineExceeded) {
			first = deadline
			if err := conn.SetDeadline(deadline); err != nil {
				return nil, err
			}
			// The end of ctx may have set its own deadline a moment ago.
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err := f.write(packed); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if reply, ok := answers(raw, q); ok {
			return reply, nil
		}
	}
}

// answers unpacks raw if it is an answer to q: a response of the same ID and
// opcode, whose one question is q's, in class IN (RFC 5452 §9.1). A server that
// does not understand the question may leave it out (RFC 1035 §4.1.1 allows
// FORMERR from the header alone).
func answers(raw []byte, q *dns.Msg) (*dns.Msg, bool) {
	reply := new(dns.Msg)
	if err := reply.Unpack(raw); err != nil {
		return nil, false
	}
	if !reply.Response || reply.Id != q.Id || reply.Opcode != q.Opcode {
		return nil, false
	}
	if reply.Rcode == dns.RcodeFormatError && len(reply.Question) == 0 {
		return reply, true
	}
	if len(reply.Question) != 1 {
		return nil, false
	}
	got, want := reply.Question[0], q.Question[0]
	return reply, got.Qtype == want.Qtype && got.Qclass == want.Qclass &&
		dns.CanonicalName(got.Name) == dns.CanonicalName(want.Name)
}

// datagrams: one message a packet.
type datagrams struct {
	net.Conn
	buffer []byte
}

func (d datagrams) write(packed []byte) error {
	_, err := d.Write(packed)
	return err
}

func (d datagrams) read() ([]byte, error) {
	n, err := d.Read(d.buffer)
	return d.buffer[:n], err
}

// stream: each message behind its length (RFC 1035 §4.2.2).
type stream struct {
	net.Conn
	buffer []byte
}

func (s stream) write(packed []byte) error {
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(packed)))
	_, err := s.Write(append(framed, packed...))
	return err
}

func (s stream) read() ([]byte, error) {
	if _, err := io.ReadFull(s, s.buffer[:2]); err != nil {
		return nil, err
	}
	raw := s.buffer[:binary.BigEndian.Uint16(s.buffer)]
	_, err := io.ReadFull(s, raw)
	return raw, err
}
