//go:build faults

package faults

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/integration/crowd"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// herd is Pods that start together, and the one CoreDNS with a fifth of a core that all of them ask.
type herd struct {
	size      int
	questions int           // each so manieth is lost on its way; 0: none
	answers   int           // the same
	twice     bool          // each packet comes twice
	timeout   time.Duration // 0: a minute
	// meanwhile is what happens while all wait, before their records are there.
	meanwhile func(*testing.T, *herd)

	pods   []*pod
	by     map[string]*pod // by the names that DNS is asked for
	server *crowd.CoreDNS
	road   *road
	healed atomic.Bool
	lost   atomic.Int64

	mu    sync.Mutex
	waits map[*pod]bool   // those that have asked
	all   chan struct{}   // closed when all have
	names map[string]bool // that were asked for and are nobody's
}

// room is how many processes there is memory for at once: each takes some 8 MiB.
var room = struct {
	sync.Mutex
	free chan struct{}
}{free: make(chan struct{}, 300)}

func enter(n int) (leave func()) {
	n = min(n, cap(room.free))
	room.Lock() // or two would wait for each other
	defer room.Unlock()
	for range n {
		room.free <- struct{}{}
	}
	return func() {
		for range n {
			<-room.free
		}
	}
}

// asked is told of each question, before it may be lost.
func (h *herd) asked(q *dns.Msg) {
	name := strings.ToLower(q.Question[0].Name)
	p := h.by[name]
	h.mu.Lock()
	defer h.mu.Unlock()
	if p == nil {
		h.names[name] = true
		return
	}
	p.question(p.fqdn + ".")
	if h.waits[p] {
		return
	}
	if h.waits[p] = true; len(h.waits) == h.size {
		close(h.all)
	}
}

// loses reports whether the nth packet of those of which each so manieth is lost is one of these.
func (h *herd) loses(n, each int) bool {
	if each == 0 || n%each != 0 || h.healed.Load() {
		return false
	}
	h.lost.Add(1)
	return true
}

// copies is how often a packet comes.
func (h *herd) copies() int {
	if h.twice && !h.healed.Load() {
		return 2
	}
	return 1
}

// road is the way of UDP between a herd and its CoreDNS, with one socket on either side, however many Pods there are:
// it tells their questions apart by IDs of its own.
type road struct {
	herd        *herd
	front, back *net.UDPConn
	done        sync.WaitGroup

	mu   sync.Mutex
	open [1 << 16]asked // by the ID that CoreDNS sees
}

// asked is a question, and which socket it came from.
type asked struct {
	client netip.AddrPort
	q      *dns.Msg
}

// pave opens the road. Its port is not one that the sockets of Pods could be given meanwhile: theirs are of 127.0.0.1.
func (h *herd) pave(t *testing.T, at string) {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.ListenUDP("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(h.server.Addr))
	if err != nil {
		front.Close()
		t.Fatal(err)
	}
	const buffer = 4 << 20 // none is lost here but those that are to be
	if err := errors.Join(front.SetReadBuffer(buffer), back.SetReadBuffer(buffer)); err != nil {
		t.Fatal(err)
	}
	h.road = &road{herd: h, front: front, back: back}
	h.road.done.Go(h.road.there)
	h.road.done.Go(h.road.home)
}

func (r *road) close() {
	r.front.Close()
	r.back.Close()
	r.done.Wait()
}

func (r *road) there() {
	packet := make([]byte, dns.MaxMsgSize)
	var next uint16
	for n := 1; ; n++ {
		size, client, err := r.front.ReadFromUDPAddrPort(packet)
		if err != nil {
			return
		}
		q := new(dns.Msg)
		if q.Unpack(packet[:size]) != nil || len(q.Question) != 1 {
			continue
		}
		r.herd.asked(q)
		if r.herd.loses(n, r.herd.questions) {
			continue
		}
		next++
		r.mu.Lock()
		r.open[next] = asked{client, q}
		r.mu.Unlock()
		binary.BigEndian.PutUint16(packet, next)
		for range r.herd.copies() {
			_, _ = r.back.Write(packet[:size]) // to one that is down
		}
	}
}

func (r *road) home() {
	packet := make([]byte, dns.MaxMsgSize)
	for n := 1; ; n++ {
		size, err := r.back.Read(packet)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || size < 2 {
			continue
		}
		r.mu.Lock()
		to := r.open[binary.BigEndian.Uint16(packet)]
		r.mu.Unlock()
		if to.q == nil || r.herd.loses(n, r.herd.answers) {
			continue
		}
		binary.BigEndian.PutUint16(packet, to.q.Id)
		if p := r.herd.by[strings.ToLower(to.q.Question[0].Name)]; p != nil {
			p.answer(to.q, packet[:size])
		}
		for range r.herd.copies() {
			_, _ = r.front.WriteToUDPAddrPort(packet[:size], to.client)
		}
	}
}

// share of a core, which CoreDNS has.
const share = 0.2

func (h *herd) serve(t *testing.T) {
	t.Helper()
	server, err := crowd.Serve(t.Context(), crowd.Order{Corefile: dnstest.Kubeadm, Pods: h.size}, share)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%g of a core by its cgroup", share); server.Held != want {
		t.Errorf("CoreDNS has %s: how long Pods wait for one with %s would not be seen", server.Held, want)
	}
	h.server = server
}

// show makes the records visible.
func (h *herd) show(t *testing.T) time.Time {
	t.Helper()
	at, err := h.server.Show(0, crowd.Services(h.size))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// each does something with all Pods at once, each in a test of its own.
func (h *herd) each(t *testing.T, what string, f func(*pod)) (ended <-chan struct{}) {
	var wg sync.WaitGroup
	for _, p := range h.pods {
		wg.Go(func() {
			t.Run(what+" "+p.fqdn, func(t *testing.T) {
				p.TB = t
				f(p)
			})
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	return done
}

// memory returns a directory for the files of this number of Pods: in memory, as an emptyDir may be, for a disk takes its time with
// thousands at once. A container has 64 MiB of that, and a Pod needs 100 KiB.
func memory(t *testing.T, n int) string {
	t.Helper()
	if n > cap(room.free) {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "podfqdn-faults-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// run has the herd start before its records are there, and once more when nothing is wrong any more, if something was.
func (h *herd) run(t *testing.T) (slowest time.Duration) {
	defer enter(h.size)()
	ran.add("scale")
	h.by, h.waits, h.all, h.names = map[string]*pod{}, map[*pod]bool{}, make(chan struct{}), map[string]bool{}
	root := memory(t, h.size)
	for i := range h.size {
		as := crowd.Pod(i)
		p := layAs(t, filepath.Join(root, as.Hostname()), as.FQDN(), as.IP())
		p.timeout = cmp.Or(h.timeout, time.Minute)
		// One machine runs and reads them all; and A is the third last answer of a round, whose packets may be lost: each
		// is waited for up to five seconds.
		p.look, p.fresh = max(p.look, time.Duration(h.size)*time.Millisecond/5), p.fresh+10*time.Second
		reverse, err := dns.ReverseAddr(p.ip)
		if err != nil {
			t.Fatal(err)
		}
		h.pods, h.by[p.fqdn+"."], h.by[reverse] = append(h.pods, p), p, p
	}
	h.serve(t)
	defer func() {
		if err := h.server.Stop(); err != nil {
			t.Error(err)
		}
	}()
	h.pave(t, "127.0.0.2:0")
	defer func() { h.road.close() }()
	for _, p := range h.pods {
		p.servers = []netip.AddrPort{h.road.front.LocalAddr().(*net.UDPAddr).AddrPort()}
	}

	ended := h.each(t, "start", func(p *pod) {
		if e := p.init(); e.code != 0 {
			p.Errorf("exit code %d: %s", e.code, e.reason)
		}
	})
	defer func() { <-ended }() // also after a Fatal
	select {
	case <-h.all:
	case <-ended:
		t.Fatal("nobody waits any more, and not all have asked")
	}
	if h.meanwhile != nil {
		h.meanwhile(t, h)
	}
	visible := h.show(t)
	<-ended
	whose := map[string]string{}
	for _, p := range h.pods {
		info, err := os.Lstat(filepath.Join(p.dir(), "..data"))
		if err != nil {
			continue // it is told
		}
		slowest = max(slowest, info.ModTime().Sub(visible))
		for _, name := range []string{"fqdn", "ip"} {
			said := p.read("identity/" + name)
			if other := whose[said]; other != "" {
				t.Errorf("I1: %s and %s both published %s", other, p.fqdn, said)
			}
			whose[said] = p.fqdn
		}
	}

	h.fullyQualified(t)
	if h.questions+h.answers > 0 || h.twice || h.meanwhile != nil {
		h.healed.Store(true)
		<-h.each(t, "again", func(p *pod) {
			p.truth.Lock()
			p.truth.agreed = nil
			p.truth.Unlock()
			p.recovers()
		})
	}
	return slowest
}

// fullyQualified checks that no search list was used: except for the Pods' names, which are whole, only those of the witnesses
// were asked for, and that by which DNS publishes a Pod without hostname.
func (h *herd) fullyQualified(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.names, "kubernetes.default.svc.cluster.local.")
	for i := range h.size {
		p := crowd.Pod(i)
		delete(h.names, p.Zone()+".")
		delete(h.names, strings.ReplaceAll(p.IP(), ".", "-")+"."+p.Zone()+".")
	}
	random := regexp.MustCompile(`^podfqdn-[a-z2-7]{20}\.(db[0-9]+\.)?default\.svc\.cluster\.local\.$`)
	maps.DeleteFunc(h.names, func(name string, _ bool) bool { return random.MatchString(name) })
	if len(h.names) > 0 {
		t.Errorf("asked for %+q", slices.Sorted(maps.Keys(h.names)))
	}
}

// stopped has CoreDNS do nothing for a while.
func stopped(t *testing.T, h *herd) {
	if err := h.server.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
	if err := h.server.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// restarted has another CoreDNS in its place, which takes as long as it takes: meanwhile the port is closed.
func restarted(t *testing.T, h *herd) {
	at := h.road.front.LocalAddr().String()
	h.road.close()
	if err := h.server.Stop(); err != nil {
		t.Fatal(err)
	}
	h.serve(t)
	h.pave(t, at)
}

// tell runs a herd and says how it went.
func (h *herd) tell(t *testing.T, what string) {
	slowest := h.run(t)
	if h.questions+h.answers > 0 && h.lost.Load() == 0 {
		t.Error("no packet was lost")
	}
	fmt.Printf("%d × podfqdn, %s: the last published %.1f s after its record, %d packets lost, CoreDNS with %s\n",
		h.size, what, slowest.Seconds(), h.lost.Load(), h.server.Held)
}

// together runs what can happen to this number of Pods, in parallel.
func together(t *testing.T, n int) {
	some := func(what string, h *herd) {
		t.Run(fmt.Sprintf("%d, %s", n, what), func(t *testing.T) {
			t.Parallel()
			h.size = n
			h.tell(t, what)
		})
	}
	for _, each := range []int{2, 3, 10} {
		if each > 3*n {
			continue // none would be lost
		}
		if n < 100 || *long {
			some(fmt.Sprintf("of %d questions one is lost", each), &herd{questions: each})
			some(fmt.Sprintf("of %d answers one is lost", each), &herd{answers: each})
		}
		if each == 10 || *long {
			both := &herd{questions: each, answers: each}
			if each < 10 {
				both.timeout = 15 * time.Minute // podfqdn's own
			}
			some(fmt.Sprintf("of %d questions and of %[1]d answers one is lost", each), both)
		}
	}
	some("every packet comes twice", &herd{twice: true})
	some("CoreDNS is stopped for 5 s", &herd{meanwhile: stopped})
	some("CoreDNS is restarted", &herd{meanwhile: restarted})
}

// Not in parallel with other tests: this number of processes would make those late.
func TestScale(t *testing.T) {
	sizes := []int{1, 10, 100, 300}
	if *long {
		sizes = append(sizes, 1000)
	}
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) { (&herd{size: n}).tell(t, "nothing is wrong") })
	}
	t.Run("together", func(t *testing.T) { together(t, 100) })
}

func TestScaleOfAFew(t *testing.T) {
	t.Parallel()
	together(t, 10)
	together(t, 1)
}
