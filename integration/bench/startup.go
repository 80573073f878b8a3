package main

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/integration/cluster"
)

// The Pod that startup pretends to be.
const (
	stubName = "db-0.db.default.svc.cluster.local"
	stubAddr = "10.244.0.17"
)

// runs are how often a process is started; lateRuns, with a record that comes after lateBy.
const (
	runs     = 40
	lateRuns = 3
	lateBy   = 2 * time.Second
)

// footprint is what one program needs. Each number is one process.
type footprint struct {
	Program string
	First   []float64 // ms from the start to the first packet
	CPU     []float64 // ms, user and system, until the end
	RSS     []float64 // KiB at most
	Packets []float64 // where the record is there
	Later   []float64 // packets where the record comes two seconds later
	Binary  int64     // bytes
	Image   int64     // bytes of the layers, compressed
}

// startup measures podfqdn and busybox's nslookup on loopback.
func startup(ctx context.Context, o options) ([]footprint, error) {
	dir, err := os.MkdirTemp("", "podfqdn-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	tools, err := cluster.Tools()
	if err != nil {
		return nil, err
	}
	toolsTar := filepath.Join(dir, "tools.tar")
	if err := tools.Write(toolsTar); err != nil {
		return nil, err
	}
	root := filepath.Join(dir, "root")
	if err := podtest.Lay(root, podtest.DB0.Files("cluster.local", stubAddr)); err != nil {
		return nil, err
	}
	volume := filepath.Join(dir, "identity")
	ours := func(server *net.UDPAddr) ([]string, []string) {
		return []string{o.podfqdn, "init"}, []string{"PODFQDN_ROOT=" + root, "PODFQDN_DIR=" + volume, "PODFQDN_NAMESERVERS=" + server.String(), "PODFQDN_TIMEOUT=1m"}
	}
	theirs := func(server *net.UDPAddr) ([]string, []string) {
		return []string{busybox, "nslookup", "-port=" + strconv.Itoa(server.Port), stubName, server.IP.String()}, nil
	}
	fresh := func() error { return errors.Join(os.RemoveAll(volume), os.Mkdir(volume, 0o777)) }
	all := []footprint{{Program: podfqdn}, {Program: "busybox nslookup"}}
	for range runs {
		for i, command := range []func(*net.UDPAddr) ([]string, []string){ours, theirs} {
			if err := errors.Join(fresh(), all[i].measure(ctx, command), fresh(), all[i].weigh(ctx, command)); err != nil {
				return nil, err
			}
		}
	}
	for range lateRuns {
		s, err := newStub(lateBy)
		if err == nil {
			args, env := ours(s.addr)
			err = errors.Join(fresh(), quietly(ctx, args, env).Run())
			all[0].Later = append(all[0].Later, float64(s.close()))
		}
		if err != nil {
			return nil, err
		}
	}
	for i, files := range [][2]string{{o.podfqdn, o.load}, {busybox, toolsTar}} {
		info, err := os.Stat(files[0])
		if err != nil {
			return nil, err
		}
		all[i].Binary = info.Size()
		if all[i].Image, err = compressed(files[1]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// quietly prepares a process that has nothing of this one's.
func quietly(ctx context.Context, args, env []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append([]string{"PATH=/bin"}, env...)
	return cmd
}

// measure runs it once for its time, its CPU and its packets.
func (f *footprint) measure(ctx context.Context, command func(*net.UDPAddr) ([]string, []string)) error {
	s, err := newStub(0)
	if err != nil {
		return err
	}
	args, env := command(s.addr)
	cmd := quietly(ctx, args, env)
	start := time.Now()
	err = cmd.Run()
	packets := s.close()
	if err != nil {
		return fmt.Errorf("%s: %w", f.Program, err)
	}
	f.First = append(f.First, s.first.Sub(start).Seconds()*1000)
	f.CPU = append(f.CPU, (cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()).Seconds()*1000)
	f.Packets = append(f.Packets, float64(packets))
	return nil
}

// weigh runs it once for its memory. A process that another starts by vfork,
// as Go does, begins with that one's maximum; so a small one has to start it.
func (f *footprint) weigh(ctx context.Context, command func(*net.UDPAddr) ([]string, []string)) error {
	s, err := newStub(0)
	if err != nil {
		return err
	}
	defer s.close()
	args, env := command(s.addr)
	var report strings.Builder
	cmd := quietly(ctx, append([]string{busybox, "time", "-f", "%M"}, args...), env)
	cmd.Stderr = &report
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", f.Program, err)
	}
	lines := strings.Split(strings.TrimSpace(report.String()), "\n")
	n, err := strconv.Atoi(lines[len(lines)-1])
	// busybox takes the kernel's KiB for pages.
	f.RSS = append(f.RSS, float64(n*1024/os.Getpagesize()))
	return err
}

// stub is a DNS server that knows one name from some time on.
type stub struct {
	conn    *net.UDPConn
	addr    *net.UDPAddr
	known   time.Time
	first   time.Time // a packet came
	packets int
	done    sync.WaitGroup
}

func newStub(after time.Duration) (*stub, error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	s := &stub{conn: conn, addr: conn.LocalAddr().(*net.UDPAddr), known: time.Now().Add(after)}
	s.done.Go(s.serve)
	return s, nil
}

// close ends it and returns the number of packets that it got.
func (s *stub) close() int {
	s.conn.Close()
	s.done.Wait()
	return s.packets
}

func (s *stub) serve() {
	buf := make([]byte, dns.MaxMsgSize)
	for {
		n, client, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if s.packets++; s.packets == 1 {
			s.first = time.Now()
		}
		q := new(dns.Msg)
		if q.Unpack(buf[:n]) != nil || len(q.Question) != 1 {
			continue
		}
		if b, err := s.reply(q).Pack(); err == nil {
			_, _ = s.conn.WriteToUDPAddrPort(b, client) // one that has ended needs no answer
		}
	}
}

// reply answers as CoreDNS does.
func (s *stub) reply(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	asked := q.Question[0]
	hdr := dns.RR_Header{Name: asked.Name, Rrtype: asked.Qtype, Class: dns.ClassINET, Ttl: 30}
	switch {
	case time.Now().Before(s.known), asked.Name != dns.Fqdn(stubName) && asked.Qtype != dns.TypePTR:
		m.Rcode = dns.RcodeNameError
	case asked.Qtype == dns.TypeA:
		m.Answer = []dns.RR{&dns.A{Hdr: hdr, A: net.ParseIP(stubAddr)}}
	case asked.Qtype == dns.TypePTR:
		m.Answer = []dns.RR{&dns.PTR{Hdr: hdr, Ptr: dns.Fqdn(stubName)}}
	}
	if len(m.Answer) == 0 {
		zone := dns.RR_Header{Name: "cluster.local.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 30}
		m.Ns = []dns.RR{&dns.SOA{Hdr: zone, Ns: "ns.dns.cluster.local.", Mbox: "hostmaster.cluster.local.", Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: 30}}
	}
	return m
}

// compressed returns the size of an image's layers after gzip, as a registry keeps them.
func compressed(archive string) (int64, error) {
	image, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return 0, err
	}
	layers, err := image.Layers()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, layer := range layers {
		n, err := zipped(layer)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func zipped(layer v1.Layer) (int64, error) {
	r, err := layer.Uncompressed()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	var n written
	w := gzip.NewWriter(&n)
	_, err = io.Copy(w, r)
	return int64(n), errors.Join(err, w.Close())
}

// written counts bytes.
type written int64

func (w *written) Write(p []byte) (int, error) {
	*w += written(len(p))
	return len(p), nil
}
