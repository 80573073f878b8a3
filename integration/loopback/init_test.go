package loopback

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

func TestARecordThatIsThereTakesEightPacketsAndIsPublishedWhole(t *testing.T) {
	t.Parallel()
	var trace dnstest.Trace
	s := serve(t, dnstest.CoreDNS{Cluster: cluster(ip), Trace: &trace})
	p := newPod(t, s.Addr())
	p.init().published(t)
	if got, want := types(&trace), "PROBE SIBLING A PTR PROBE A AAAA PTR"; got != want {
		t.Errorf("asked %q, not %q", got, want)
	}
	q := trace.Queries()
	for i := range q {
		if first := i / 4 * 4; q[i].Client != q[first].Client || q[i].DO || q[i].CD {
			t.Errorf("question %d is %v from %v", i, q[i], q[i].Client)
		}
	}
	if q[0].Client == q[4].Client {
		t.Error("both rounds came from one socket")
	}
	for name, want := range map[string]string{
		"fqdn": db0, "hostname": "db-0", "service": "db", "namespace": "default", "cluster-domain": "cluster.local",
		"ip": ip, "ips": ip + "\n", "ordinal": "0", "verified": "",
		"identity.env": "POD_FQDN='" + db0 + "'\nPOD_HOSTNAME='db-0'\nPOD_SERVICE='db'\nPOD_NAMESPACE='default'\n" +
			"POD_CLUSTER_DOMAIN='cluster.local'\nPOD_IP='" + ip + "'\nPOD_IPS='" + ip + "'\nPOD_ORDINAL='0'\n",
	} {
		if got := p.read(name); got != want {
			t.Errorf("%s holds %q, not %q", name, got, want)
		}
	}
	var record struct {
		FQDN     string
		Verified struct {
			Forward, Reverse, Families string
			Rounds                     int
		}
	}
	if err := json.Unmarshal([]byte(p.read("identity.json")), &record); err != nil || record.FQDN != db0 ||
		record.Verified.Forward != "only" || record.Verified.Reverse != "contains" || record.Verified.Families != "auto" || record.Verified.Rounds != 2 {
		t.Errorf("identity.json holds %+v, %v", record, err)
	}
	check := exec.Command(binary, "check")
	check.Env = p.environ()
	if out, err := check.Output(); err != nil || strings.TrimSpace(string(out)) != db0 {
		t.Errorf("check says %q, %v", out, err)
	}

	t.Run("and once more changes nothing", func(t *testing.T) {
		before := generation(t, p)
		p.init().published(t)
		if after := generation(t, p); after != before {
			t.Errorf("generation %s, then %s", before, after)
		}
	})
}

func generation(t *testing.T, p *pod) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(p.dir(), "..gen-*"))
	if err != nil || len(all) != 1 {
		t.Errorf("generations %q, %v", all, err)
	}
	return strings.Join(all, " ")
}

func TestALateRecordIsPublishedSoonAfterIt(t *testing.T) {
	t.Parallel()
	eachWay(t, "", func(t *testing.T, run func(*pod) end) {
		c := cluster()
		s := serve(t, dnstest.CoreDNS{Cluster: c, Corefile: dnstest.Cached})
		time.AfterFunc(700*time.Millisecond, func() { publish(c, ip) })
		e := run(newPod(t, s.Addr()))
		e.published(t)
		e.told(t, db0+": "+s.Addr().String()+" says NXDOMAIN")
	})
}

func TestBothFamiliesAreProven(t *testing.T) {
	t.Parallel()
	var trace dnstest.Trace
	s := serve(t, dnstest.CoreDNS{Cluster: cluster(ip, ip6), Trace: &trace})
	p := newPod(t, s.Addr())
	p.ips = []string{ip, ip6}
	p.init().published(t)
	if got, want := types(&trace), "PROBE SIBLING A AAAA PTR PTR PROBE A AAAA PTR PTR"; got != want {
		t.Errorf("asked %q, not %q", got, want)
	}
	if got := p.read("ips"); got != ip+"\n"+ip6+"\n" {
		t.Errorf("ips holds %q", got)
	}
}

func TestAnIPv6PodAsksAnIPv6Server(t *testing.T) {
	t.Parallel()
	eachWay(t, "", func(t *testing.T, run func(*pod) end) {
		var trace dnstest.Trace
		s := serveOn(t, dnstest.CoreDNS{Cluster: cluster(ip6), Trace: &trace}, "[::1]:0")
		p := newPod(t, s.Addr())
		p.ips = []string{ip6}
		run(p).published(t)
		if got, want := types(&trace), "PROBE SIBLING AAAA PTR PROBE A AAAA PTR"; got != want {
			t.Errorf("asked %q, not %q", got, want)
		}
	})
}

func TestUseVCAsksByTCPOnly(t *testing.T) {
	t.Parallel()
	eachWay(t, "", func(t *testing.T, run func(*pod) end) {
		var trace dnstest.Trace
		s := serve(t, dnstest.CoreDNS{Cluster: cluster(ip), Trace: &trace})
		p := newPod(t, s.Addr())
		p.options = "options use-vc\n"
		run(p).published(t)
		if got, want := types(&trace), "PROBE* SIBLING* A* PTR* PROBE* A* AAAA* PTR*"; got != want {
			t.Errorf("asked %q, not %q", got, want)
		}
		q := trace.Queries()
		if q[0].Client != q[3].Client || q[4].Client != q[7].Client || q[0].Client == q[4].Client {
			t.Error("not one connection a round")
		}
	})
}

func TestATruncatedAnswerIsFetchedByTCP(t *testing.T) {
	t.Parallel()
	eachWay(t, "", func(t *testing.T, run func(*pod) end) {
		var trace dnstest.Trace
		c := cluster(ip)
		for i := range 200 {
			publish(c, fmt.Sprintf("10.244.1.%d", i))
		}
		s := serve(t, dnstest.CoreDNS{Cluster: c, Trace: &trace})
		p := newPod(t, s.Addr())
		p.policy.Forward = identity.ForwardContains
		e := run(p)
		e.published(t)
		if got, want := types(&trace), "PROBE SIBLING A A* PTR PROBE A A* AAAA PTR"; got != want {
			t.Errorf("asked %q, not %q", got, want)
		}
		if e.log != "" && !strings.Contains(e.log, `"msg":"tolerated"`) {
			t.Errorf("no warning: %s", e.log)
		}
	})
}

func TestPTR(t *testing.T) {
	t.Parallel()
	vip := dnstest.Endpoint{Namespace: "default", Service: "vip", IP: ip}
	const other = "10-244-0-17.vip.default.svc.cluster.local"
	own := dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: ip}
	ptr := func(what string) string { return ip + ": 127.0.0.1:PORT says " + what + ", not " + db0 }
	const withoutArpa = ".:53 {\n kubernetes cluster.local\n forward . /etc/resolv.conf\n cache 30\n}"
	for _, test := range []struct {
		name     string
		corefile string
		upstream string
		publish  []dnstest.Endpoint
		reverse  identity.ReverseRule
		want     string // the last reason; "" is an agreement
	}{
		{name: "missing", corefile: withoutArpa, publish: []dnstest.Endpoint{own}, want: ptr("NXDOMAIN to PTR")},
		{name: "missing, ignored", corefile: withoutArpa, publish: []dnstest.Endpoint{own}, reverse: identity.ReverseIgnore},
		{name: "foreign", corefile: withoutArpa, upstream: "17.0.244.10.in-addr.arpa. 30 PTR ip-10-244-0-17.ec2.internal.",
			publish: []dnstest.Endpoint{own}, want: ptr("ip-10-244-0-17.ec2.internal")},
		{name: "own first", publish: []dnstest.Endpoint{own, vip}},
		{name: "own last", publish: []dnstest.Endpoint{vip, own}},
		{name: "own first, only", publish: []dnstest.Endpoint{own, vip}, reverse: identity.ReverseOnly,
			want: ip + ": 127.0.0.1:PORT says " + other + " and " + db0 + "; only " + db0 + " is allowed"},
		{name: "own last, only", publish: []dnstest.Endpoint{vip, own}, reverse: identity.ReverseOnly,
			want: ip + ": 127.0.0.1:PORT says " + other + " and " + db0 + "; only " + db0 + " is allowed"},
		{name: "other", corefile: withoutArpa, upstream: "17.0.244.10.in-addr.arpa. 30 PTR " + other + ".",
			publish: []dnstest.Endpoint{own}, want: ptr(other)},
	} {
		eachWay(t, test.name, func(t *testing.T, run func(*pod) end) {
			c := cluster()
			c.Service("default", "vip", "10.96.0.9")
			c.Publish(test.publish...)
			conf := dnstest.CoreDNS{Cluster: c, Corefile: test.corefile}
			if test.upstream != "" {
				conf.Upstream = dnstest.Upstream(test.upstream)
			}
			s := serve(t, conf)
			p := newPod(t, s.Addr())
			p.policy.Reverse = test.reverse
			if test.want == "" {
				run(p).published(t)
				return
			}
			p.timeout = 1500 * time.Millisecond
			e := run(p)
			e.stopped(t, strings.ReplaceAll(test.want, "PORT", strconv.Itoa(int(s.Addr().Port()))))
			if e.log != "" && (e.code != 11 || !strings.HasPrefix(e.reason, "gave up after 1.5s: ")) {
				t.Errorf("exit code %d, %q", e.code, e.reason)
			}
		})
	}
}

func TestTheDeadlineEndsWithTheLastReason(t *testing.T) {
	t.Parallel()
	hint := `; check that a headless Service "db" in namespace "default" selects this Pod and has publishNotReadyAddresses: true`
	for name, test := range map[string]struct {
		ips  []string
		code int
		want string
	}{
		"missing": {nil, 11, " says NXDOMAIN" + hint},
		"stale":   {[]string{"10.244.0.16"}, 11, " says 10.244.0.16; this Pod is 10.244.0.17; this may be the address of an earlier Pod; if so, it passes when the Service and the caches have dropped it"},
		"shared":  {[]string{ip, "10.244.0.16"}, 12, " says 10.244.0.16 and 10.244.0.17; another Pod holds this name: 10.244.0.16; give each Pod its own hostname, and a Deployment strategy: Recreate; or set PODFQDN_FORWARD=contains if several Pods may share this name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, dnstest.CoreDNS{Cluster: cluster(test.ips...)})
			p := newPod(t, s.Addr())
			p.timeout = 1200 * time.Millisecond
			e := p.init()
			if want := "gave up after 1.2s: " + db0 + ": " + s.Addr().String() + test.want; e.reason != want || e.code != test.code {
				t.Errorf("exit %d: %q\nnot %d: %q", e.code, e.reason, test.code, want)
			}
			if e.took < p.timeout {
				t.Errorf("gave up after %v", e.took)
			}
		})
	}
}

func TestASignalInTheWaitEndsItWithTheLastReason(t *testing.T) {
	t.Parallel()
	for signal, code := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGINT: 130} {
		name := map[syscall.Signal]string{syscall.SIGTERM: "SIGTERM", syscall.SIGINT: "SIGINT"}[signal]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, dnstest.CoreDNS{Cluster: cluster()})
			e := newPod(t, s.Addr()).initUntil("not yet", signal)
			e.stopped(t, ": "+db0+": "+s.Addr().String()+" says NXDOMAIN; check that ")
			if e.code != code || !strings.HasPrefix(e.reason, "ended by "+name+" after ") {
				t.Errorf("exit %d: %q", e.code, e.reason)
			}
			if e.took > 30*time.Second {
				t.Errorf("ended after %v", e.took)
			}
		})
	}
}

// BenchmarkInit is podfqdn init where the record is there already. Each run is a new process.
func BenchmarkInit(b *testing.B) {
	var trace dnstest.Trace
	s := serve(b, dnstest.CoreDNS{Cluster: cluster(ip), Trace: &trace})
	var first []time.Duration
	packets := 0
	for b.Loop() {
		cmd := newPod(b, s.Addr()).command()
		trace.Reset()
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		q := trace.Queries()
		first, packets = append(first, q[0].At), max(packets, len(q))
	}
	cmd := newPod(b, s.Addr()).command()
	measured := exec.Command(maxrss, cmd.Args...)
	measured.Env = cmd.Env
	kib, err := measured.Output()
	if err != nil {
		b.Fatal(err)
	}
	memory, err := strconv.ParseFloat(string(kib), 64)
	if err != nil {
		b.Fatal(err)
	}
	slices.Sort(first)
	b.ReportMetric(float64(first[len(first)/2].Microseconds())/1000, "ms-to-first-packet")
	b.ReportMetric(memory, "KiB-rss")
	b.ReportMetric(float64(packets), "packets")
}
