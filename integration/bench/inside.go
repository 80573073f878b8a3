package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// lookup waits as a Go program would: until net.LookupHost knows the name.
func lookup(args []string) error {
	fmt.Println(lineStart)
	for {
		if addrs, err := net.LookupHost(args[0]); err == nil {
			fmt.Println("LookupHost says", addrs)
			fmt.Println(lineDone)
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// idle is an application that asks nothing.
func idle([]string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	return nil
}

// probe is an application whose first act is to ask for its own name: A, AAAA
// and PTR of the Pod with the name args[0] and the address args[1], once each.
func probe(args []string) error {
	name, addr := dns.Fqdn(args[0]), args[1]
	reverse, err := dns.ReverseAddr(addr)
	if err != nil {
		return err
	}
	config, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	server := net.JoinHostPort(config.Servers[0], config.Port)
	failed := []string{}
	for _, q := range []struct {
		name  string
		qtype uint16
		want  string // none: it is enough that the name exists
	}{{name, dns.TypeA, addr}, {name, dns.TypeAAAA, ""}, {reverse, dns.TypePTR, name}} {
		if err := answers(server, q.name, q.qtype, q.want); err != nil {
			failed = append(failed, fmt.Sprintf("%s %v", dns.Type(q.qtype), err))
		}
	}
	line, err := json.Marshal(failed)
	if err != nil {
		return err
	}
	fmt.Println(lineProbe + string(line))
	return idle(nil)
}

// answers asks once, as a stub resolver does, and reports what is wrong.
func answers(server, name string, qtype uint16, want string) error {
	client := dns.Client{Timeout: 5 * time.Second}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, qtype), server)
	if err != nil {
		return err
	}
	if reply.Rcode != dns.RcodeSuccess {
		return errors.New(dns.RcodeToString[reply.Rcode])
	}
	var values []string
	for _, rr := range reply.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			values = append(values, rr.A.String())
		case *dns.PTR:
			values = append(values, strings.ToLower(rr.Ptr))
		}
	}
	if want != "" && !slices.Contains(values, want) {
		return fmt.Errorf("%q", values)
	}
	return nil
}

// sighting is when a replica of cluster DNS knew a name.
type sighting struct {
	Name    string
	Replica string
	At      time.Time // when the question was sent that was first answered so
	Before  bool      // it was the first question: the replica may have known it earlier
}

// pace is between two questions of observe; keyTTL is how long a denial may be cached.
const (
	pace   = 10 * time.Millisecond
	keyTTL = 30 * time.Second
)

// observe reads names from its input, asks each of the replicas for each until
// it exists, and writes the sightings. A cache keeps an entry for each name,
// type and CD and DO bit: these questions are of types for private use, and
// none is asked twice within keyTTL, so every answer is of that moment and no
// other question ever meets a cached one.
func observe(replicas []string) error {
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	names := bufio.NewScanner(os.Stdin)
	for names.Scan() {
		name := names.Text()
		for _, replica := range replicas {
			go func() {
				s, err := watch(name, net.JoinHostPort(replica, "53"))
				if err != nil {
					fmt.Fprintln(os.Stderr, "observe:", err)
					return
				}
				s.Replica = replica
				mu.Lock()
				defer mu.Unlock()
				_ = out.Encode(s) // fails only if the reader has ended
			}()
		}
	}
	return names.Err()
}

// watch asks one server for one name until it exists.
func watch(name, server string) (sighting, error) {
	conn, err := dns.Dial("udp", server)
	if err != nil {
		return sighting{}, err
	}
	defer conn.Close()
	const types = 65534 - 65280 + 1
	var spent [4 * types]time.Time
	for n := 0; ; n++ {
		key := n % len(spent)
		time.Sleep(time.Until(spent[key].Add(keyTTL)))
		q := new(dns.Msg).SetQuestion(dns.Fqdn(name), uint16(65280+key%types))
		q.CheckingDisabled = key/types&1 == 1
		if key/types&2 == 2 {
			q.SetEdns0(dns.DefaultMsgSize, true)
		}
		sent := time.Now()
		spent[key] = sent
		_ = conn.SetDeadline(sent.Add(time.Second))
		if err := conn.WriteMsg(q); err == nil {
			for {
				reply, err := conn.ReadMsg()
				if err != nil {
					break
				}
				if reply.Id == q.Id {
					if reply.Rcode == dns.RcodeSuccess {
						return sighting{Name: name, At: sent, Before: n == 0}, nil
					}
					break
				}
			}
		}
		time.Sleep(time.Until(sent.Add(pace)))
	}
}

// mesh listens on args[0] and forwards to args[1] as the DNS proxies of some
// meshes do: without EDNS, DO and CD, without the SOA of a denial, and with a
// cache that keeps NXDOMAIN for the whole name.
func mesh(args []string) error {
	var mu sync.Mutex
	denied := map[string]time.Time{}
	handle := func(w dns.ResponseWriter, q *dns.Msg) {
		reply := new(dns.Msg).SetReply(q)
		defer func() { _ = w.WriteMsg(reply) }()
		name := strings.ToLower(q.Question[0].Name)
		mu.Lock()
		known := time.Since(denied[name]) < keyTTL
		mu.Unlock()
		if known {
			reply.Rcode = dns.RcodeNameError
			return
		}
		plain := new(dns.Msg).SetQuestion(q.Question[0].Name, q.Question[0].Qtype)
		client := dns.Client{Net: w.LocalAddr().Network()}
		answer, _, err := client.Exchange(plain, args[1])
		if err != nil {
			reply.Rcode = dns.RcodeServerFailure
			return
		}
		reply.Rcode, reply.Truncated, reply.Answer = answer.Rcode, answer.Truncated, answer.Answer
		if reply.Rcode == dns.RcodeNameError {
			mu.Lock()
			denied[name] = time.Now()
			mu.Unlock()
		}
	}
	addr, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	ended := make(chan error)
	for _, network := range []string{"udp", "tcp"} {
		s := &dns.Server{Addr: addr.String(), Net: network, Handler: dns.HandlerFunc(handle)}
		go func() { ended <- s.ListenAndServe() }()
	}
	return <-ended
}
