//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func lookalikes(t *testing.T, w world) {
	for namespace, services := range map[string][]string{
		"svc":   {"svc", "cluster", "local"},
		"local": {"cluster"},
		"com":   {"example"},
	} {
		t.Run("a namespace "+namespace, func(t *testing.T) {
			t.Parallel()
			s := w.called(t, namespace)
			for _, service := range services {
				s.headless(service, service)
				s.start(named(s.podOf(service), "svc", service))
			}
			for _, service := range services {
				s.published(service, s.fqdn("svc", service))
			}
		})
	}
	w.parallel(t, "Services like a TLD and like the API server", func(s *space) {
		for service, hostname := range map[string]string{"com": "example", "kubernetes": "default"} {
			s.headless(service, service)
			s.start(named(s.podOf(service), hostname, service))
		}
		s.published("com", s.fqdn("example", "com"))
		s.published("kubernetes", s.fqdn("default", "kubernetes"))
	})
	w.parallel(t, "Services with variables like podfqdn's", func(s *space) {
		// A kubelet reports those that have an address.
		for _, name := range []string{"podfqdn", "podfqdn-listen", "podfqdn-krb5", "pod", "kubernetes"} {
			s.headless(name, "nobody", func(spec *corev1.ServiceSpec) {
				spec.ClusterIP = ""
				spec.Ports = []corev1.ServicePort{{Name: "dir", Port: 80}, {Name: "timeout", Port: 81}}
			})
		}
		s.headless("db", "db")
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.published("db", s.fqdn("db-0", "db"))
		// The observer started before podfqdn.
		variables, _ := s.exec("db", "observer", "sh", "-c", "env")
		for _, name := range []string{"PODFQDN_SERVICE_HOST", "PODFQDN_PORT", "PODFQDN_SERVICE_PORT_TIMEOUT", "PODFQDN_LISTEN_PORT_80_TCP_ADDR", "PODFQDN_KRB5_SERVICE_PORT_DIR", "POD_SERVICE_HOST"} {
			if !strings.Contains("\n"+variables, "\n"+name+"=") {
				s.Errorf("there is no variable %s:\n%s", name, variables)
			}
		}
		if log := s.log("db"); strings.Contains(log, `"level":"warn"`) {
			s.Errorf("podfqdn minds a Service's variables:\n%s", log)
		}
	})
	t.Run("a namespace db, where short names lead", func(t *testing.T) {
		t.Parallel()
		other := w.called(t, "db")
		other.headless("db", "db")
		other.start(named(other.podOf("db"), "db", "db"))
		other.published("db", other.fqdn("db", "db"))

		// The search list makes Service db-0 there of db-0.db, as long as that is nothing here.
		s := w.restricted(t)
		s.start(with(named(s.podOf("db"), "db-0", "db"), "PODFQDN_LOG_LEVEL=debug"))
		s.waits("db", "NXDOMAIN")
		if conf, _ := s.exec("db", "observer", "cat", "/etc/resolv.conf"); !strings.Contains(conf, " svc."+s.domain+" ") {
			s.Errorf("no search list leads there:\n%s", conf)
		}
		other.plant("db-0", "", s.address("db"))
		s.eventually("db", "db-0.db.svc."+s.domain, s.address("db"))
		for n := s.asked("db"); s.asked("db") < n+2; time.Sleep(200 * time.Millisecond) {
			if p := s.until("db", "it is there", func(*corev1.Pod) bool { return true }); podfqdn(p).State.Running == nil {
				s.Fatalf("podfqdn takes another's Service for its own:\n%s", s.log("db"))
			}
		}
		s.headless("db", "db")
		s.published("db", s.fqdn("db-0", "db"))
	})
	// both has a PTR of another namespace first, and then the Pod's own.
	both := func(t *testing.T, rule string) (s, other *space) {
		t.Parallel()
		other, s = w.restricted(t), w.restricted(t)
		s.start(with(named(s.podOf("db"), "db-0", "db"), "PODFQDN_REVERSE="+rule))
		s.waits("db", "NXDOMAIN")
		other.plant("db", "db-0", s.address("db"))
		s.eventually("db", other.fqdn("db-0", "db"), s.address("db"))
		s.headless("db", "db")
		return s, other
	}
	t.Run("a PTR from another namespace", func(t *testing.T) {
		s, other := both(t, "contains")
		s.published("db", s.fqdn("db-0", "db"))
		s.says("db", "tolerated", other.fqdn("db-0", "db"))
	})
	t.Run("a PTR from another namespace that may not be", func(t *testing.T) {
		s, other := both(t, "only")
		s.waits("db", other.fqdn("db-0", "db"), "only "+s.fqdn("db-0", "db")+" is allowed")
	})
}

// plant makes a headless Service that selects nobody, and says of an address
// of whomever that it is behind it.
func (s *space) plant(service, hostname, addr string) {
	s.Helper()
	s.headless(service, "nobody", func(spec *corev1.ServiceSpec) { spec.Selector = nil })
	endpoint := discoveryv1.Endpoint{Addresses: []string{addr}}
	if hostname != "" {
		endpoint.Hostname = &hostname
	}
	family := discoveryv1.AddressTypeIPv4
	if strings.Contains(addr, ":") {
		family = discoveryv1.AddressTypeIPv6
	}
	_, err := s.kube.DiscoveryV1().EndpointSlices(s.name).Create(s.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: family, Endpoints: []discoveryv1.Endpoint{endpoint},
	}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal(err)
	}
}

// asked returns how many questions podfqdn has put, as it logs them, and sees
// that all of them were about the Pod's address or the whole of its name, or
// that by which DNS knows a Pod without hostname, or a random one in addition;
// and, where it looks for a cause, about the whole names of the governing Service
// and the API server's.
func (s *space) asked(pod string) (n int) {
	s.Helper()
	service := s.fqdn("", "db")
	own := regexp.MustCompile(fmt.Sprintf(`"finding":"(%s|[a-z0-9*-]+%s|(?:db|\*)%s|kubernetes\.default\.svc\.%s): `,
		s.address(pod), regexp.QuoteMeta(service), regexp.QuoteMeta(strings.TrimPrefix(service, ".db")), regexp.QuoteMeta(s.domain)))
	for line := range strings.Lines(s.log(pod)) {
		if !strings.Contains(line, `"msg":"asked"`) {
			continue
		}
		if n++; !own.MatchString(line) {
			s.Errorf("asked for another name: %s", line)
		}
	}
	return n
}

// address returns that of a Pod.
func (s *space) address(pod string) string {
	s.Helper()
	return s.until(pod, "it has an address", func(p *corev1.Pod) bool { return p.Status.PodIP != "" }).Status.PodIP
}

// eventually waits until cluster DNS gives a name this address, as the
// observer of a Pod sees it.
func (s *space) eventually(pod, name, addr string) {
	s.Helper()
	kind := "a"
	if strings.Contains(addr, ":") {
		kind = "aaaa"
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		out, _ := s.exec(pod, "observer", "nslookup", "-type="+kind, name)
		if slices.Contains(strings.Fields(out), addr) {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s does not become %s: %s", name, addr, out)
		}
	}
}
