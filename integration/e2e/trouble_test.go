//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const system = "kube-system"

// scale brings cluster DNS to n replicas, and returns their addresses when there
// are just these.
func (s *space) scale(n int) (addrs []string) {
	s.Helper()
	s.kubectl("--namespace", system, "scale", "deployment/coredns", fmt.Sprintf("--replicas=%d", n))
	s.kubectl("--namespace", system, "rollout", "status", "deployment/coredns", "--timeout=2m")
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		list, err := s.kube.CoreV1().Pods(system).List(s.Context(), metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
		if err != nil {
			s.Fatal(err)
		}
		if len(list.Items) == n {
			for _, p := range list.Items {
				addrs = append(addrs, p.Status.PodIP)
			}
			return addrs
		}
		if time.Now().After(deadline) {
			s.Fatalf("cluster DNS has %d Pods, want %d", len(list.Items), n)
		}
	}
}

// cached gives cluster DNS the `cache 30` that kubeadm wrote before 1.32, for
// the time of the test, and returns the addresses of its n replicas.
func (s *space) cached(n int) []string {
	s.Helper()
	return s.corefile(n, "cache 30 {\n       disable success cluster.local\n       disable denial cluster.local\n    }\n", "cache 30\n")
}

// corefile replaces a text in kubeadm's Corefile for the time of the test, and
// returns the addresses of the n replicas of cluster DNS that know it.
func (s *space) corefile(n int, today, instead string) []string {
	s.Helper()
	maps := s.kube.CoreV1().ConfigMaps(system)
	before, err := maps.Get(s.Context(), "coredns", metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	if !strings.Contains(before.Data["Corefile"], today) {
		s.Fatalf("the Corefile is not kubeadm's:\n%s", before.Data["Corefile"])
	}
	after := before.DeepCopy()
	after.Data["Corefile"] = strings.Replace(before.Data["Corefile"], today, instead, 1)
	set := func(ctx context.Context, m *corev1.ConfigMap) {
		m.ResourceVersion = ""
		if _, err := maps.Update(ctx, m, metav1.UpdateOptions{}); err != nil {
			s.Fatal(err)
		}
	}
	set(s.Context(), after)
	s.scale(0)
	s.Cleanup(func() {
		set(context.WithoutCancel(s.Context()), before)
		s.restart()
	})
	return s.scale(n)
}

// restart replaces the two replicas of cluster DNS. It works in a Cleanup too.
func (s *space) restart() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), patience)
	defer cancel()
	for _, args := range [][]string{
		{"scale", "deployment/coredns", "--replicas=2"},
		{"rollout", "restart", "deployment/coredns"},
		{"rollout", "status", "deployment/coredns", "--timeout=2m"},
	} {
		if out, err := s.command(ctx, append([]string{"--namespace", system}, args...)...).CombinedOutput(); err != nil {
			s.Errorf("kubectl %q: %v: %s", args, err, out)
		}
	}
}

func comesBack(t *testing.T, w world) {
	s := w.restricted(t)
	replicas := s.cached(2)
	s.example("statefulset.yaml")
	old := s.published("db-0", s.fqdn("db-0", "db"))
	s.published("db-1", s.fqdn("db-1", "db"))
	for _, replica := range replicas {
		if got, out := s.tryLookup("db-1", "a", s.fqdn("db-0", "db"), replica); !slices.Equal(got, []string{old.Status.PodIP}) {
			s.Fatalf("%s says %s", replica, out)
		}
	}
	s.kubectl("delete", "pod/db-0")
	p := s.until("db-0", "it has another address", func(p *corev1.Pod) bool {
		return p.UID != old.UID && p.Status.PodIP != "" && p.Status.PodIP != old.Status.PodIP
	})
	s.says("db-0", "not yet", "says "+old.Status.PodIP, "this Pod is "+p.Status.PodIP)
	s.published("db-0", s.fqdn("db-0", "db"))
	for line := range strings.Lines(s.log("db-0")) {
		if strings.Contains(line, `"msg":"published"`) && (strings.Contains(line, `"`+old.Status.PodIP+`"`) || !strings.Contains(line, `"`+p.Status.PodIP+`"`)) {
			s.Errorf("published the old address %s: %s", old.Status.PodIP, line)
		}
	}
}

func sandbox(t *testing.T, w world) {
	s := w.restricted(t)
	s.headless("db", "db")
	p := with(named(s.podOf("db"), "db-0", "db"), "PODFQDN_LOG_LEVEL=debug")
	p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	s.start(p)
	first := s.published("db", s.fqdn("db-0", "db"))

	// Without cluster DNS nothing can be published, so what is gone is gone
	// before any answer.
	s.scale(0)
	t.Cleanup(s.restart)
	if err := w.own.KillSandbox(t.Context(), s.name, "db"); err != nil {
		t.Fatal(err)
	}
	s.until("db", "podfqdn runs again, with another address", func(p *corev1.Pod) bool {
		return p.Status.PodIP != "" && p.Status.PodIP != first.Status.PodIP && podfqdn(p).RestartCount > 0 && podfqdn(p).State.Running != nil
	})
	s.waits("db", "check that cluster DNS runs")
	s.unpublished("db")
	log := s.log("db")
	removed, asked := strings.Index(log, "an earlier identity was removed"), strings.Index(log, `"msg":"asked"`)
	if removed < 0 || asked < 0 || asked < removed {
		t.Errorf("want that the earlier identity is removed before DNS is asked:\n%s", log)
	}
	if out, code := s.exec("db", "observer", "test", "-e", "/identity/verified"); code == 0 {
		t.Errorf("verified is still there: %s", out)
	}
	s.scale(2)
	if second := s.published("db", s.fqdn("db-0", "db")); second.UID != first.UID || second.Status.PodIP == first.Status.PodIP {
		t.Errorf("Pod %s with %s, was %s with %s", second.UID, second.Status.PodIP, first.UID, first.Status.PodIP)
	}
}

func trouble(t *testing.T, w world) {
	t.Run("down, and up later", func(t *testing.T) {
		s := w.restricted(t)
		s.headless("db", "db")
		t.Cleanup(s.restart)
		s.scale(0)
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "check that cluster DNS runs")
		s.scale(2)
		s.published("db", s.fqdn("db-0", "db"))
	})
	t.Run("restarted in the middle", func(t *testing.T) {
		s := w.restricted(t)
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "NXDOMAIN")
		s.restart()
		s.headless("db", "db")
		s.published("db", s.fqdn("db-0", "db"))
	})
	t.Run("with cache 30", func(t *testing.T) {
		s := w.restricted(t)
		replicas := s.cached(3)
		t.Run("a peer asked too early", func(t *testing.T) {
			s := w.restricted(t)
			s.headless("peer", "peer")
			s.start(named(s.podOf("peer"), "peer", "peer"))
			s.published("peer", s.fqdn("peer", "peer"))
			for _, replica := range replicas {
				for _, kind := range []string{"a", "aaaa"} {
					if got, out := s.tryLookup("peer", kind, s.fqdn("db-0", "db"), replica); len(got) > 0 || !strings.Contains(out, "NXDOMAIN") {
						t.Fatalf("%s says %s", replica, out)
					}
				}
			}
			start := time.Now()
			s.headless("db", "db")
			s.start(named(s.podOf("db"), "db-0", "db"))
			s.waits("db", "the name exists")
			s.published("db", s.fqdn("db-0", "db"))
			if took := time.Since(start); took > time.Minute {
				t.Errorf("published after %v; the denials were to live for 30 s", took)
			}
		})
		t.Run("one replica of three lags", func(t *testing.T) {
			lags(t, w, replicas)
		})
	})
}

// cutOff keeps replicas of cluster DNS from the API server, until free is
// called.
func (s *space) cutOff(replicas ...string) (free func()) {
	s.Helper()
	filter := func(ctx context.Context, action string) {
		for _, addr := range replicas {
			// Both ways: what is on its way to the replica is acknowledged by nobody, but it arrives.
			for _, rule := range [][]string{
				{"INPUT", "--source", addr, "--protocol", "tcp", "--dport", "6443", "--jump", "DROP"},
				{"OUTPUT", "--destination", addr, "--protocol", "tcp", "--sport", "6443", "--jump", "DROP"},
			} {
				if out, err := s.own.Command(ctx, "iptables", append([]string{"-w", action}, rule...)...).CombinedOutput(); err != nil {
					s.Errorf("iptables %s %q: %v: %s", action, rule, err, out)
				}
			}
		}
	}
	filter(s.Context(), "-I")
	free = sync.OnceFunc(func() { filter(context.WithoutCancel(s.Context()), "-D") })
	s.Cleanup(free)
	return free
}

// lags keeps one replica from the API server: it goes on answering with what
// it knew. Pods that start now must be right, and must leave no denial in its
// cache: when it has caught up, the first plain questions are answered.
func lags(t *testing.T, w world, replicas []string) {
	s := w.restricted(t)
	lagging := replicas[0]
	s.headless("db", "db")
	s.headless("peer", "peer")
	s.start(named(s.podOf("peer"), "peer", "peer"))
	s.published("peer", s.fqdn("peer", "peer"))

	free := s.cutOff(lagging)

	addrs := map[string]string{}
	for i := range 6 {
		p := named(s.podOf("db"), fmt.Sprintf("db-%d", i), "db")
		p.Name = p.Spec.Hostname
		s.start(p)
	}
	for i := range 6 {
		name := fmt.Sprintf("db-%d", i)
		addrs[name] = s.published(name, s.fqdn(name, "db")).Status.PodIP
	}
	// Of the types that nslookup knows, each is a cache key that nobody has asked.
	types := []string{"txt", "mx", "ns", "soa", "cname", "srv", "any"}
	said := ""
	exists := func() bool {
		if len(types) == 0 {
			t.Fatalf("%s does not catch up: %s", lagging, said)
		}
		_, said = s.tryLookup("peer", types[0], s.fqdn("db-0", "db"), lagging)
		types = types[1:]
		return !strings.Contains(said, "NXDOMAIN")
	}
	if exists() {
		t.Fatalf("%s does not lag: %s", lagging, said)
	}
	free()
	for start := time.Now(); !exists(); time.Sleep(5 * time.Second) {
		t.Logf("%s lags still after %v", lagging, time.Since(start).Round(time.Second))
	}
	for name, addr := range addrs {
		if got, out := s.tryLookup("peer", "a", s.fqdn(name, "db"), lagging); !slices.Equal(got, []string{addr}) {
			t.Errorf("%s is not told %s: %s", name, addr, out)
		}
		if got, out := s.tryLookup("peer", "ptr", addr, lagging); !slices.Equal(got, []string{s.fqdn(name, "db")}) {
			t.Errorf("%s is not told %s: %s", addr, name, out)
		}
	}
}
