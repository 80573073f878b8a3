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

// errTimeout reports that nothing valid came in time.
var errTimeout = errors.New("timeout")

// errTCP reports that the question by TCP failed.
var errTCP = errors.New("by TCP")

// exchange sends one question and returns the first message that answers it: by TCP
// if the one by UDP is truncated, and without EDNS0 if the server does not know it.
func (e *exchange) exchange(ctx context.Context, name string, qtype uint16) (*dns.Msg, error) {
	e.patience = e.r.patience
	if _, heard := e.r.rtts[e.server]; heard {
		e.patience = maxPatience // as the question is sent again meanwhile
	}
	if e.r.bystander {
		e.patience = bystanderPatience
	}
	ctx, cancel := context.WithTimeout(ctx, e.patience)
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
		if e.r.bystander {
			q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID}}
		}
	}
	if e.udp != nil {
		reply, rtt, err := talk(ctx, e.udp, datagrams{e.udp, e.r.buffer}, q, e.resend())
		if err == nil {
			e.r.rtts[e.server] = rtt
		}
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
	reply, _, err := talk(ctx, e.tcp, stream{e.tcp, e.r.buffer}, q, 0)
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

// framing is how messages are delimited on a connection.
type framing interface {
	write(packed []byte) error
	read() ([]byte, error) // valid until the next read
}

// resend returns after how long without an answer a question is sent again; the next
// time is twice as long, and so on. A server that answered last time is there, so
// only a packet was lost, and the round goes on from that question. It returns 0,
// never, for a server that did not answer last time.
func (e *exchange) resend() time.Duration {
	rtt, heard := e.r.rtts[e.server]
	switch {
	case e.r.bystander:
		return bystanderPatience / 4
	case !heard:
		return 0
	}
	return max(minResend, 4*rtt)
}

// talk sends q, if necessary again after the time again, and reads until a message
// answers it or ctx ends. Everything else is discarded: late answers to earlier
// questions, forgeries, noise. Each packet has its own ID, so that rtt is that of
// the packet that was answered.
func talk(ctx context.Context, conn net.Conn, f framing, q *dns.Msg, again time.Duration) (reply *dns.Msg, rtt time.Duration, err error) {
	packed, err := q.Pack()
	if err != nil {
		return nil, 0, fmt.Errorf("pack the question: %w", err)
	}
	deadline, _ := ctx.Deadline()
	lost := deadline // when the packet counts as lost
	if again > 0 {
		lost = earlier(time.Now().Add(again), deadline)
	}
	if err := conn.SetDeadline(lost); err != nil {
		return nil, 0, err
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
	sent := map[uint16]time.Time{q.Id: time.Now()}
	if err := f.write(packed); err != nil {
		return nil, 0, err
	}
	for {
		raw, err := f.read()
		if lost != deadline && errors.Is(err, os.ErrDeadlineExceeded) {
			again *= 2
			lost = earlier(time.Now().Add(again), deadline)
			if err := conn.SetDeadline(lost); err != nil {
				return nil, 0, err
			}
			// The end of ctx may have set a deadline of its own a moment ago.
			if ctx.Err() != nil {
				return nil, 0, ctx.Err()
			}
			// A server that drops questions for an NSID must not count as silent.
			if opt := q.IsEdns0(); opt != nil && opt.Option != nil {
				opt.Option = nil
				if packed, err = q.Pack(); err != nil {
					return nil, 0, fmt.Errorf("pack the question: %w", err)
				}
			}
			id := dns.Id()
			sent[id] = time.Now()
			binary.BigEndian.PutUint16(packed, id)
			if err := f.write(packed); err != nil {
				return nil, 0, err
			}
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if reply, ok := answers(raw, q, sent); ok {
			// A process that was stopped may find an answer that came long ago.
			if time.Now().After(deadline) {
				return nil, 0, os.ErrDeadlineExceeded
			}
			return reply, time.Since(sent[reply.Id]), nil
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// answers unpacks raw if it is an answer to q: a response under an ID that it
// was sent under, of the same opcode, whose one question is q's, in class IN
// (RFC 5452 §9.1). A server that does not understand the question may leave it
// out (RFC 1035 §4.1.1 allows FORMERR from the header alone).
func answers(raw []byte, q *dns.Msg, sent map[uint16]time.Time) (*dns.Msg, bool) {
	reply := new(dns.Msg)
	if err := reply.Unpack(raw); err != nil {
		return nil, false
	}
	if _, asked := sent[reply.Id]; !asked || !reply.Response || reply.Opcode != q.Opcode {
		return nil, false
	}
	if reply.Rcode == dns.RcodeFormatError && len(reply.Question) == 0 {
		return reply, true
	}
	// Package dns accepts a message that ends between two records: what is missing
	// may be another Pod.
	if !reply.Truncated {
		for i, section := range [][]dns.RR{reply.Answer, reply.Ns, reply.Extra} {
			if int(binary.BigEndian.Uint16(raw[6+2*i:])) != len(section) {
				return nil, false
			}
		}
	}
	if len(reply.Question) != 1 {
		return nil, false
	}
	got, want := reply.Question[0], q.Question[0]
	return reply, got.Qtype == want.Qtype && got.Qclass == want.Qclass &&
		dns.CanonicalName(got.Name) == dns.CanonicalName(want.Name)
}

// datagrams has one message in each packet.
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

// stream has each message after its length (RFC 1035 §4.2.2).
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
