package crowd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/coredns/coredns/plugin/metrics"

	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// variable makes a program that imports this package a CoreDNS; its value is an order.
const variable = "PODFQDN_CROWD_COREDNS"

// Order is what a CoreDNS is to serve.
type Order struct {
	Corefile string // its text
	Pods     int    // their Services are not there before Show
}

func init() {
	text := os.Getenv(variable)
	if text == "" {
		return
	}
	if err := child(text); err != nil {
		fmt.Fprintln(os.Stderr, "coredns:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// What a line of input to a child makes visible: the records of Services, or of members of the Set.
const (
	services = "services"
	members  = "members"
)

// child serves until its input ends. It says where it listens and where its metrics are; then a line of input, WHAT FROM
// TO, makes records visible, and it says when.
func child(text string) error {
	var o Order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	var cluster dnstest.Cluster
	cluster.Service("default", "kubernetes", "10.96.0.1")
	cluster.Service("default", Set)
	endpoints := make([]dnstest.Endpoint, o.Pods)
	for i := range endpoints {
		endpoints[i] = Pod(i).endpoint()
	}
	cluster.Publish(endpoints...)
	s, err := dnstest.CoreDNS{Corefile: o.Corefile, Cluster: &cluster}.Serve("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer s.Stop()
	m := metrics.New("127.0.0.1:0")
	if err := m.OnStartup(); err != nil {
		return err
	}
	fmt.Println(s.Addr(), metrics.ListenAddr)
	var joined []dnstest.Endpoint // of members
	for {
		var what string
		var from, to int
		_, err := fmt.Scanln(&what, &from, &to)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// A name is published by its Service and its endpoint; here the endpoint is there first, as many Services can be
		// made in no time.
		now := time.Now().UnixNano()
		for i := from; i < to; i++ {
			if what == members {
				joined = append(joined, Member(i).endpoint())
				slice := (len(joined) - 1) / perSlice
				cluster.PublishSlice(fmt.Sprint(Set, slice), joined[slice*perSlice:]...)
			} else {
				cluster.Service("default", service(i))
			}
		}
		fmt.Println(now)
	}
}

// CoreDNS is one in a process of its own.
type CoreDNS struct {
	Addr netip.AddrPort
	Held string // how it is kept from taking all of the machine

	metrics string // where they are
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	group   string // its cgroup; "" if none
}

// Serve starts one and leaves it a share of a core. It ends with ctx at the latest.
func Serve(ctx context.Context, o Order, share float64) (c *CoreDNS, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	c = new(CoreDNS)
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	args, env := []string{self}, append(os.Environ(), variable+"="+string(text))
	var denied error
	if c.group, denied = makeGroup(share); denied == nil {
		c.Held = fmt.Sprintf("%g of a core by its cgroup", share)
	} else {
		c.Held = fmt.Sprintf("GOMAXPROCS=1 and nice 19, not %g of a core: %v", share, denied)
		args, env = append([]string{"nice", "-n", "19"}, args...), append(env, "GOMAXPROCS=1")
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Stderr = env, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return c, err
	}
	c.out = bufio.NewReader(out)
	if c.in, err = cmd.StdinPipe(); err != nil {
		return c, err
	}
	if err := cmd.Start(); err != nil {
		return c, err
	}
	c.cmd = cmd
	var addr string
	if _, err := fmt.Fscanln(c.out, &addr, &c.metrics); err != nil {
		return c, fmt.Errorf("CoreDNS did not say where it listens: %w", err)
	}
	if c.Addr, err = netip.ParseAddrPort(addr); err != nil {
		return c, err
	}
	// Not before: what it does first is not what is measured.
	if c.group != "" {
		err = enter(c.group, cmd.Process.Pid)
	}
	return c, err
}

// Show makes the records of some Services visible and gives a moment just before that.
func (c *CoreDNS) Show(from, to int) (time.Time, error) { return c.show(services, from, to) }

// Join makes the records of some Members visible that are not yet, and gives a moment just before that.
func (c *CoreDNS) Join(from, to int) (time.Time, error) { return c.show(members, from, to) }

func (c *CoreDNS) show(what string, from, to int) (time.Time, error) {
	var nano int64
	if _, err := fmt.Fprintln(c.in, what, from, to); err != nil {
		return time.Time{}, err
	}
	if _, err := fmt.Fscanln(c.out, &nano); err != nil {
		return time.Time{}, fmt.Errorf("CoreDNS did not say that the records are visible: %w", err)
	}
	return time.Unix(0, nano), nil
}

// Cache returns how many denials CoreDNS's cache holds, and how many it has thrown out to make room.
func (c *CoreDNS) Cache(ctx context.Context) (denials, evictions int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.metrics+"/metrics", nil)
	if err != nil {
		return 0, 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		for name, sum := range map[string]*int{"coredns_cache_entries{": &denials, "coredns_cache_evictions_total{": &evictions} {
			if !strings.HasPrefix(lines.Text(), name) || !strings.Contains(lines.Text(), `type="denial"`) {
				continue
			}
			var n float64 // Prometheus writes large numbers with an exponent
			if _, err := fmt.Sscan(lines.Text()[strings.LastIndexByte(lines.Text(), ' ')+1:], &n); err != nil {
				return 0, 0, err
			}
			*sum += int(n)
		}
	}
	return denials, evictions, lines.Err()
}

// Signal sends the process a signal, such as SIGSTOP.
func (c *CoreDNS) Signal(s os.Signal) error { return c.cmd.Process.Signal(s) }

// Stop ends it; nothing of it is left.
func (c *CoreDNS) Stop() (err error) {
	if c.in != nil {
		c.in.Close()
	}
	if c.cmd != nil {
		// It has nothing to save, and with a small share would take long to end by itself.
		c.cmd.Process.Kill()
		c.cmd.Wait()
	}
	if c.group != "" {
		err = removeGroup(c.group)
	}
	return err
}
