package main

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// nameserver is authoritative for the zones whose SOA it holds, on UDP and TCP
// of one loopback port. It caches nothing and refuses all other names.
type nameserver struct {
	addr string
	udp  net.PacketConn
	tcp  net.Listener

	sync.Mutex // guards what follows
	zone       []dns.RR
	rcodes     map[dns.Question]int // answers in place of the zone's
	silent     bool
	asked      []string      // names in the order of their questions
	more       chan struct{} // closed by the next question
}

func newNameserver(zone string) (*nameserver, error) {
	records, err := parseRecords(zone)
	if err != nil {
		return nil, err
	}
	s := &nameserver{zone: records, rcodes: make(map[dns.Question]int), more: make(chan struct{})}
	for range 20 { // a port that is free for both
		if s.udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		s.addr = s.udp.LocalAddr().String()
		if s.tcp, err = net.Listen("tcp", s.addr); err == nil {
			go (&dns.Server{PacketConn: s.udp, Handler: s}).ActivateAndServe()
			go (&dns.Server{Listener: s.tcp, Handler: s}).ActivateAndServe()
			return s, nil
		}
		s.udp.Close()
	}
	return nil, err
}

func (s *nameserver) close() {
	s.udp.Close()
	s.tcp.Close()
}

// parseRecords reads records as a zone file has them.
func parseRecords(text string) (records []dns.RR, err error) {
	p := dns.NewZoneParser(strings.NewReader(text), ".", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		records = append(records, rr)
	}
	return records, p.Err()
}

// questions gives how many there were about name, or at all, and what the next
// one closes.
func (s *nameserver) questions(name string) (count int, more <-chan struct{}) {
	s.Lock()
	defer s.Unlock()
	for _, asked := range s.asked {
		if name == "" || asked == dns.Fqdn(name) {
			count++
		}
	}
	return count, s.more
}

// wait blocks until so many questions about name were asked.
func (s *nameserver) wait(name string, want int) error {
	limit := time.After(30 * time.Second)
	for {
		count, more := s.questions(name)
		if count >= want {
			return nil
		}
		select {
		case <-more:
		case <-limit:
			return fmt.Errorf("%d questions about %q, not %d", count, name, want)
		}
	}
}

func (s *nameserver) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.Lock()
	defer s.Unlock()
	question := q.Question[0]
	s.asked = append(s.asked, question.Name)
	close(s.more)
	s.more = make(chan struct{})
	if s.silent {
		return
	}
	reply := new(dns.Msg).SetReply(q)
	s.answer(reply, question)
	if opt := q.IsEdns0(); opt != nil && w.LocalAddr().Network() == "udp" {
		reply.Truncate(int(opt.UDPSize()))
	}
	w.WriteMsg(reply)
}

// answer tells NXDOMAIN from no data, each with the SOA of the nearest zone.
func (s *nameserver) answer(reply *dns.Msg, q dns.Question) {
	var soa dns.RR
	reply.Rcode = dns.RcodeNameError
	for _, rr := range s.zone {
		h := rr.Header()
		if h.Rrtype == dns.TypeSOA && dns.IsSubDomain(h.Name, q.Name) &&
			(soa == nil || dns.IsSubDomain(soa.Header().Name, h.Name)) {
			soa = rr
		}
		if dns.IsSubDomain(q.Name, h.Name) {
			reply.Rcode = dns.RcodeSuccess
		}
		if h.Name == q.Name && h.Rrtype == q.Qtype {
			reply.Answer = append(reply.Answer, rr)
		}
	}
	if rcode, ok := s.rcodes[q]; ok {
		reply.Rcode, reply.Answer = rcode, nil
	}
	if soa == nil {
		reply.Rcode = dns.RcodeRefused
	} else if reply.Authoritative = true; len(reply.Answer) == 0 {
		reply.Ns = []dns.RR{soa}
	}
}
