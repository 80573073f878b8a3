package herd

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// wire is the path between the Pods and CoreDNS: a proxy for UDP with one socket on either side, however many Pods
// there are, that tells their questions apart by IDs of its own.
type wire struct {
	front, back *net.UDPConn
	loseEach    int
	done        sync.WaitGroup

	mu       sync.Mutex
	start    time.Time
	open     [1 << 16]asked // by the ID that CoreDNS sees
	next     uint16
	at       []time.Duration // of each question, since start
	answers  []answer        // in the order in which they came
	sent     map[question]bool
	repeated int
	lost     int
	bytes    int                       // of questions and answers, as they stand in a packet of UDP
	names    map[string]int            // questions by name, as it stands in the packet
	last     map[netip.AddrPort]string // the name that a client asked for last, to which a random one next to it counts
}

// asked is a question that has no answer yet.
type asked struct {
	socketID
	at time.Duration
}

// socketID is the socket to answer, and under which ID.
type socketID struct {
	client netip.AddrPort
	id     uint16
}

// question is the same for what a client sends again: no client here asks twice for the same from one socket.
type question struct {
	client netip.AddrPort
	text   string // behind the header
}

// answer is one that CoreDNS gave: when it was asked for, and how long that took.
type answer struct{ asked, took time.Duration }

// buffer is what bursts wait in here, so that none is lost before it is counted. CoreDNS's own socket has what Linux
// gives it.
const buffer = 4 << 20

func newWire(server netip.AddrPort, loseEach int) (*wire, error) {
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	back, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return nil, errors.Join(err, front.Close())
	}
	w := &wire{front: front, back: back, loseEach: loseEach}
	w.reset()
	if err := errors.Join(front.SetReadBuffer(buffer), back.SetReadBuffer(buffer)); err != nil {
		return nil, errors.Join(err, front.Close(), back.Close())
	}
	w.done.Go(w.questions)
	w.done.Go(w.replies)
	return w, nil
}

// addr is where Pods ask.
func (w *wire) addr() netip.AddrPort { return w.front.LocalAddr().(*net.UDPAddr).AddrPort() }

// reset begins to count.
func (w *wire) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start, w.at, w.answers, w.repeated, w.lost, w.bytes = time.Now(), nil, nil, 0, 0, 0
	w.sent, w.names, w.last = map[question]bool{}, map[string]int{}, map[netip.AddrPort]string{}
}

// close ends the proxy; what it counted stays. It may be called again.
func (w *wire) close() {
	w.front.Close()
	w.back.Close()
	w.done.Wait()
}

func (w *wire) questions() {
	packet := make([]byte, 1<<16)
	for {
		n, client, err := w.front.ReadFromUDPAddrPort(packet)
		if err != nil {
			return
		}
		if n <= header {
			continue
		}
		w.mu.Lock()
		now := time.Since(w.start)
		w.next++
		q := socketID{client, binary.BigEndian.Uint16(packet)}
		same := question{client, string(packet[header:n])}
		if w.sent[same] {
			w.repeated++
		}
		w.sent[same], w.open[w.next] = true, asked{q, now}
		binary.BigEndian.PutUint16(packet, w.next)
		w.at = append(w.at, now)
		w.bytes += n
		if owner := name(packet[header:n]); !strings.Contains(owner, "podfqdn-") {
			w.last[client] = owner
		}
		w.names[w.last[client]]++
		w.mu.Unlock()
		w.back.Write(packet[:n])
	}
}

func (w *wire) replies() {
	packet := make([]byte, 1<<16)
	for {
		n, err := w.back.Read(packet)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if n <= header {
			continue
		}
		w.mu.Lock()
		slot := &w.open[binary.BigEndian.Uint16(packet)]
		q := *slot
		w.bytes += n
		*slot = asked{}
		w.answers = append(w.answers, answer{q.at, time.Since(w.start) - q.at})
		lose := w.loseEach > 0 && len(w.answers)%w.loseEach == 0
		if lose {
			w.lost++
		}
		w.mu.Unlock()
		if lose || !q.client.IsValid() {
			continue
		}
		binary.BigEndian.PutUint16(packet, q.id)
		w.front.WriteToUDPAddrPort(packet[:n], q.client)
	}
}

// header is the length of what stands before the name of a question.
const header = 12

// name cuts the first name out of a packet without its header.
func name(b []byte) string {
	end := 0
	for end < len(b) && b[end] != 0 {
		end += int(b[end]) + 1
	}
	return string(b[:min(end, len(b))])
}
