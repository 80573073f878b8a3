package loopback

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// sidecar is the binary at work.
type sidecar struct {
	*pod
	cmd     *exec.Cmd
	address string

	mu  sync.Mutex
	log bytes.Buffer
	out chan struct{} // closed when the log ends
}

// sidecar starts the binary with probes on a free port, and ends it with the test.
func (p *pod) sidecar(environ ...string) *sidecar {
	p.t.Helper()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	s := &sidecar{pod: p, address: taken.Addr().String(), out: make(chan struct{})}
	taken.Close()
	p.lay()
	s.cmd = exec.Command(binary, "sidecar")
	s.cmd.Env = append(p.environ(), append([]string{"PODFQDN_LISTEN=" + s.address, "PODFQDN_CONFIRM=0", "PODFQDN_INTERVAL=5s"}, environ...)...)
	logs, err := s.cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(s.out)
		for lines := bufio.NewScanner(logs); lines.Scan(); {
			s.mu.Lock()
			s.log.WriteString(lines.Text() + "\n")
			s.mu.Unlock()
		}
	}()
	p.t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			s.end(syscall.SIGKILL)
		}
		if p.t.Failed() {
			p.t.Log(s.log.String())
		}
	})
	return s
}

// end sends a signal, and returns the exit code and how long the end took.
func (s *sidecar) end(signal syscall.Signal) (code int, took time.Duration) {
	s.t.Helper()
	start := time.Now()
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Error(err)
	}
	<-s.out
	_ = s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode(), time.Since(start)
}

// get returns what a path answers.
func (s *sidecar) get(path string) (status int, body string) {
	s.t.Helper()
	r, err := http.Get("http://" + s.address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	return r.StatusCode, string(b)
}

// ready waits until /readyz returns a status, with a word in its line.
func (s *sidecar) ready(status int, word string) {
	s.t.Helper()
	var got int
	var body string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got, body = s.get("/readyz"); got == status && strings.Contains(body, word) {
			if strings.Count(body, "\n") != 1 {
				s.t.Errorf("/readyz says %q", body)
			}
			return
		}
	}
	s.t.Fatalf("/readyz answers %d, %q, not %d, %q", got, body, status, word)
}

// counts waits until a metric has come to a number.
func (s *sidecar) counts(metric string, want float64) {
	s.t.Helper()
	var text string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		_, text = s.get("/metrics")
		for line := range strings.Lines(text) {
			if value, ok := strings.CutPrefix(line, metric+" "); ok {
				if got, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && got >= want {
					return
				}
			}
		}
	}
	s.t.Fatalf("%s did not come to %v:\n%s", metric, want, text)
}

// verified checks whether the start signal stands.
func (s *sidecar) verified(want bool) {
	s.t.Helper()
	_, err := os.Stat(filepath.Join(s.dir(), "verified"))
	if (err == nil) != want {
		s.t.Errorf("verified: %v", err)
	}
	check := exec.Command(binary, "check")
	check.Env = s.environ()
	if out, err := check.CombinedOutput(); (err == nil) != want {
		s.t.Errorf("check says %q", out)
	}
}

func TestASidecarIsReadyFromTheFirstAgreementOn(t *testing.T) {
	t.Parallel()
	c := cluster()
	s := newPod(t, serve(t, dnstest.CoreDNS{Cluster: c}).Addr()).sidecar()
	s.ready(503, db0+": ")
	s.verified(false)
	if status, body := s.get("/livez"); status != 200 || body != "ok\n" {
		t.Errorf("/livez answers %d, %q", status, body)
	}
	publish(c, ip)
	s.ready(200, "ok")
	s.verified(true)
	for path, want := range map[string]int{"/": 404, "/readyz/": 404, "/debug/pprof/": 404} {
		if status, _ := s.get(path); status != want {
			t.Errorf("%s answers %d, not %d", path, status, want)
		}
	}
	c.Withdraw(endpoint(ip))
	s.counts(`podfqdn_verifications_total{verdict="missing"}`, 4) // before it was there, and now
	s.ready(200, "ok")
	s.verified(true)
	if code, took := s.end(syscall.SIGTERM); code != 0 || took > time.Second {
		t.Errorf("exit code %d, %s after SIGTERM", code, took)
	}
	s.verified(true)
	if text := s.read("../dev/termination-log"); text != "" {
		t.Errorf("the termination log says %q", text)
	}
}

func TestASidecarThatIsEndedTooEarlyLeavesItsReason(t *testing.T) {
	t.Parallel()
	s := newPod(t, serve(t, dnstest.CoreDNS{Cluster: cluster()}).Addr()).sidecar()
	s.ready(503, db0+": ")
	if code, took := s.end(syscall.SIGTERM); code != 128+15 || took > time.Second {
		t.Errorf("exit code %d, %s after SIGTERM", code, took)
	}
	if text := s.read("../dev/termination-log"); !strings.HasPrefix(text, "ended by SIGTERM after ") || !strings.Contains(text, db0+": ") {
		t.Errorf("the termination log says %q", text)
	}
	s.verified(false)
}

func TestASidecarTakesBackWhatDNSHasLost(t *testing.T) {
	t.Parallel()
	c := cluster(ip)
	c.Service("default", "kubernetes", "10.96.0.1")
	s := newPod(t, serve(t, dnstest.CoreDNS{Cluster: c, Corefile: corefile}).Addr()).sidecar("PODFQDN_WITHDRAW=true", "PODFQDN_GRACE=1s")
	s.ready(200, "ok")
	// A DNS that has lost the cluster with the Pod is not a witness.
	c.Delete("default", "kubernetes")
	c.Withdraw(endpoint(ip))
	s.counts(`podfqdn_verifications_total{verdict="missing"}`, 3)
	s.ready(200, "ok")
	s.verified(true)
	c.Service("default", "kubernetes", "10.96.0.1")
	s.ready(503, db0+": ")
	s.verified(false)
	if got := s.read("fqdn"); got != db0 {
		t.Errorf("fqdn holds %q", got)
	}
	publish(c, ip)
	s.ready(200, "ok")
	s.verified(true)
	s.counts("podfqdn_withdrawals_total", 1)
}

func TestMetricsAreAsPrometheusWantsThem(t *testing.T) {
	t.Parallel()
	c := cluster()
	s := newPod(t, serve(t, dnstest.CoreDNS{Cluster: c}).Addr()).sidecar()
	lint := func() (names []string) {
		t.Helper()
		status, text := s.get("/metrics")
		if status != 200 {
			t.Fatalf("/metrics answers %d", status)
		}
		problems, err := promlint.New(strings.NewReader(text)).Lint()
		if err != nil || len(problems) > 0 {
			t.Errorf("%v, %v in\n%s", problems, err, text)
		}
		for line := range strings.Lines(text) {
			if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
				names = append(names, strings.TrimSpace(name))
			}
		}
		return names
	}
	s.ready(503, db0)
	before := lint()
	publish(c, ip)
	s.ready(200, "ok")
	after := lint()
	if want := []string{
		"podfqdn_build_info gauge", "podfqdn_verified gauge", "podfqdn_first_agreement_seconds gauge",
		"podfqdn_last_agreement_timestamp_seconds gauge", "podfqdn_verifications_total counter",
		"podfqdn_dns_questions_total counter", "podfqdn_withdrawals_total counter", "podfqdn_volume_errors_total counter",
		"podfqdn_keys_missing_total counter",
	}; !slices.Equal(after, want) || len(before) != len(want)-2 {
		t.Errorf("%q and then %q, not %q", before, after, want)
	}
	s.counts("podfqdn_verified", 1)
	s.counts(`podfqdn_dns_questions_total{type="PTR",rcode="NOERROR"}`, 1)
	s.counts(`podfqdn_dns_questions_total{type="existence",rcode="NXDOMAIN"}`, 1)
}

func TestASidecarThatCannotListenSaysSoBeforeItAsksAnything(t *testing.T) {
	t.Parallel()
	var trace dnstest.Trace
	server := serve(t, dnstest.CoreDNS{Cluster: cluster(ip), Trace: &trace})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for address, sentence := range map[string]string{
		taken.Addr().String(): "PODFQDN_LISTEN=" + taken.Addr().String() + ": address already in use: choose a port that no other container of this Pod uses",
		"8053":                `PODFQDN_LISTEN="8053": must be off, :PORT or ADDRESS:PORT, such as :8053`,
	} {
		s := newPod(t, server.Addr()).sidecar("PODFQDN_LISTEN=" + address)
		<-s.out
		_ = s.cmd.Wait()
		if code := s.cmd.ProcessState.ExitCode(); code != 10 {
			t.Errorf("%s: exit code %d", address, code)
		}
		if got := s.read("../dev/termination-log"); got != sentence {
			t.Errorf("%s: %q, not %q", address, got, sentence)
		}
	}
	t.Run("hostNetwork", func(t *testing.T) {
		for _, address := range []string{":8053", "0.0.0.0:8053", "[::]:8053"} {
			p := newPod(t, server.Addr())
			p.hostNetwork = true
			s := p.sidecar("PODFQDN_LISTEN="+address, "POD_IPS="+ip, "PODFQDN_FQDN="+db0)
			<-s.out
			_ = s.cmd.Wait()
			if code, got := s.cmd.ProcessState.ExitCode(), s.read("../dev/termination-log"); code != 10 ||
				got != "PODFQDN_LISTEN="+address+": with hostNetwork: true this is every address of the node: set one address, such as 127.0.0.1:8053, and the same host in the probes" {
				t.Errorf("%s: exit code %d, %q", address, code, got)
			}
		}
	})
	if asked := types(&trace); asked != "" {
		t.Errorf("asked %q", asked)
	}
}
