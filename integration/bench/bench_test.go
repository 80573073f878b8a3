package main

import (
	"encoding/xml"
	"errors"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestStats(t *testing.T) {
	numbers := []float64{9, 1, 8, 2, 7, 3, 6, 4, 5, 10}
	want := stats{n: 10, least: 1, median: 5, p90: 9, worst: 10}
	if got := statsOf(numbers); got != want || numbers[0] != 9 {
		t.Errorf("%+v, want %+v; the numbers are %v", got, want, numbers)
	}
	if got := statsOf([]float64{3}); got != (stats{1, 3, 3, 3, 3}) {
		t.Errorf("of one: %+v", got)
	}
	if got := statsOf(nil).cell(); got != "–" {
		t.Errorf("of none: %q", got)
	}
	for s, want := range map[float64]string{0.0126: "13 ms", -0.02: "-20 ms", 0.9996: "1.0 s", 30.13: "30.1 s"} {
		if got := seconds(s); got != want {
			t.Errorf("%v: %q, want %q", s, got, want)
		}
	}
}

// made is a report of two setups, in one of which a loop never ended.
func made() report {
	late := 0.02
	r := report{
		Header: [][2]string{{"command", "bin/bench -short"}}, Reps: 1,
		Setups: []string{"kubeadm, 1 replica", "<cache> & 30, 2 replicas"}, Contenders: []string{"loop", podfqdn},
		Startup: []footprint{{Program: podfqdn, First: []float64{4}, CPU: []float64{5}, RSS: []float64{7000}, Packets: []float64{8}, Later: []float64{28}, Binary: 6 << 20, Image: 2 << 20}},
		Counts:  []count{{Setup: "kubeadm, 1 replica", Contender: podfqdn, counters: counters{map[string]float64{"A": 12, "other": 30}, 6}}},
	}
	for _, s := range r.Setups {
		r.Samples = append(r.Samples, sample{Setup: s, Contender: "loop", Took: 30, Late: &late, Failed: []string{"A NXDOMAIN"}},
			sample{Setup: s, Contender: "loop", Error: "never"}, sample{Setup: s, Contender: podfqdn, Took: 0.1, Late: &late})
	}
	return r
}

func TestMarkdown(t *testing.T) {
	text := made().markdown()
	for _, want := range []string{
		"* command: bin/bench -short\n",
		"| cluster DNS | loop | podfqdn |\n| --- | ---: | ---: |\n",
		"| kubeadm, 1 replica | 30.0 s (30.0 s, 30.0 s), never: 1 | 100 ms (100 ms, 100 ms), 300.0× faster than the first |\n",
		"| kubeadm, 1 replica | 1 of 3 | 0 of 3 |\n",
		"| kubeadm, 1 replica | – | 7.0, 1.0 |\n",
		"| podfqdn | 4.0 ms | 5.0 ms | 6.8 MiB | 6.0 MiB | 2.0 MiB | 8 |\n",
		"| container start to publication, median: <cache> & 30, 2 replicas | 400 ms | 100 ms: reached |\n",
		"| packets: record there; after a wait of 2 s | 8; 27 | 8; 28: NOT reached |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestPlotIsXML(t *testing.T) {
	for name, r := range map[string]report{"made": made(), "empty": {}} {
		circles := 0
		for d := xml.NewDecoder(strings.NewReader(r.plot())); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
				circles++
			}
		}
		if want := map[string]int{"made": 2 + 4}[name]; circles != want {
			t.Errorf("%s: %d circles, want %d", name, circles, want)
		}
	}
}

func TestCounters(t *testing.T) {
	const text = `# HELP coredns_dns_requests_total Counter of DNS requests.
coredns_dns_requests_total{family="1",proto="udp",server="dns://:53",type="A",view="",zone="."} 12
coredns_dns_requests_total{family="1",proto="tcp",server="dns://:53",type="A",view="",zone="."} 1e+01
coredns_dns_requests_total{family="1",proto="udp",server="dns://:53",type="PTR",view="",zone="."} 3
coredns_cache_entries{server="dns://:53",type="denial",view="",zones="."} 5
coredns_cache_entries{server="dns://:53",type="success",view="",zones="."} 7
go_goroutines 30
`
	var before, after counters
	for _, c := range []*counters{&before, &after} {
		c.Requests = map[string]float64{}
		c.add(text, true)
	}
	after.add(strings.Replace(text, "12", "4", 1), true)
	after.add(text, false)
	want := counters{map[string]float64{"A": 14, "PTR": 3}, 10}
	if got := after.since(before); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestParse(t *testing.T) {
	lines, err := parse([]byte("2026-01-02T03:04:05.5Z " + lineStart + "\n2026-01-02T03:04:05.75Z " + lineDone + "\n"))
	if err != nil || len(lines) != 2 || find(lines, lineDone).at.Sub(lines[0].at) != 250*time.Millisecond {
		t.Errorf("%v, %v", lines, err)
	}
	if _, err := parse([]byte("unable to retrieve container logs\n")); err == nil {
		t.Error("no error for a line without a time")
	}
}

// TestWatch shows that the observer sees the record at once, and asks nothing twice.
func TestWatch(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	known := time.Now().Add(100 * time.Millisecond)
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		keys = append(keys, q.Question[0].String())
		reply := new(dns.Msg).SetReply(q)
		if time.Now().Before(known) {
			reply.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(reply)
	})}
	go server.ActivateAndServe()
	s, err := watch("db-0.example", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Shutdown(); err != nil {
		t.Fatal(err)
	}
	// The question may have been under way when the record came.
	if s.Before || s.At.Before(known.Add(-pace)) || s.At.After(known.Add(10*pace)) {
		t.Errorf("%+v, want about %v", s, known)
	}
	slices.Sort(keys)
	if len(keys) < 3 || len(slices.Compact(keys)) != len(keys) {
		t.Errorf("asked %d questions: %q", len(keys), keys)
	}
}
