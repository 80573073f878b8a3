//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// peered is podfqdn in the Pods of a set that wait for each other's names: the
// examples, and what happens to a set.
func peered(t *testing.T, w world) {
	w.parallel(t, "a majority, and two are gone for good", quorum)
	w.parallel(t, "one after the other", ordered)
	w.parallel(t, "one after the other, and a majority", deadlocked)
	w.parallel(t, "all of a Job", everyRank)
	w.parallel(t, "of another Service", journals)
	w.parallel(t, "ordinals from 1 on", fromOne)
	w.parallel(t, "more replicas", scaledUp)
	w.parallel(t, "variables by fileKeyRef", func(s *space) { s.byFileKeyRef("3", 3, "POD_PEERS") })
	w.parallel(t, "variables by fileKeyRef, and a thousand peers", func(s *space) { s.byFileKeyRef("db-{0..999}", 1000) })
}

// members returns the names of a set's members from first to last.
func (s *space) members(base, service string, first, last int) (names []string) {
	for n := first; n <= last; n++ {
		names = append(names, s.fqdn(fmt.Sprintf("%s-%d", base, n), service))
	}
	return names
}

// each returns a format with each of the names in place of %s.
func each(names []string, format, separator string) string {
	var all []string
	for _, name := range names {
		all = append(all, fmt.Sprintf(format, name))
	}
	return strings.Join(all, separator)
}

func quorum(s *space) {
	s.example("peers-quorum.yaml", "replicas: 3", "replicas: 5", "PODFQDN_PEERS, value: '3'", "PODFQDN_PEERS, value: '5'")
	s.kubectl("rollout", "status", "statefulset/zk", "--timeout=3m")
	config := func(n int) string {
		text := fmt.Sprintf("# %s is server %d of these.\ndataDir=/data\n", s.fqdn(fmt.Sprintf("zk-%d", n), "zk"), n+1)
		for i, name := range s.members("zk", "zk", 0, 4) {
			text += fmt.Sprintf("server.%d=%s:2888:3888;2181\n", i+1, name)
		}
		return text
	}
	for n, pod := range s.pods("zk", 5) {
		if got, want := s.becomes(pod, 0, "/my-server", "--config=/etc/my-server/zoo.cfg").Config, config(n); got != want {
			s.Errorf("%s reads\n%s\nwant\n%s", pod, got, want)
		}
	}
	s.kubectl("scale", "statefulset/zk", "--replicas=3")
	s.pods("zk", 3)
	old := s.until("zk-1", "it is there", func(*corev1.Pod) bool { return true }).UID
	s.kubectl("delete", "pod/zk-1")
	s.until("zk-1", "another runs", func(p *corev1.Pod) bool { return p.UID != old && runs(p, "app") })
	if got := s.begins("zk-1", 0).Config; got != config(1) {
		s.Errorf("when it is back it reads\n%s", got)
	}
	s.well("zk-1")
}

func ordered(s *space) {
	s.example("peers-ordered.yaml")
	s.kubectl("rollout", "status", "statefulset/rabbit", "--timeout=3m")
	seeds := each(s.members("rabbit", "rabbit", 0, 2), "rabbit@%s", ",")
	for _, pod := range s.pods("rabbit", 3) {
		s.becomes(pod, 0, "/my-server", "--listen=:8080", "--advertise="+s.fqdn(pod, "rabbit"), "--seeds="+seeds)
		s.well(pod)
	}
}

// set creates a StatefulSet db of Pods with variables.
func (s *space) set(replicas int32, change func(*appsv1.StatefulSetSpec), variables ...string) {
	s.Helper()
	s.headless("db", "db")
	p := with(s.podOf("db"), variables...)
	p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, ServiceName: "db", PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector: &metav1.LabelSelector{MatchLabels: p.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels}, Spec: p.Spec},
		},
	}
	if change != nil {
		change(&set.Spec)
	}
	if _, err := s.kube.AppsV1().StatefulSets(s.name).Create(s.Context(), set, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
}

// deadlocked is the set whose first Pod waits for the second, which is made when
// the first is Ready.
func deadlocked(s *space) {
	s.set(3, func(spec *appsv1.StatefulSetSpec) { spec.PodManagementPolicy = appsv1.OrderedReadyPodManagement },
		"PODFQDN_PEERS=3", "PODFQDN_PEERS_WAIT=majority")
	line := s.says("db-0", "not yet", "podManagementPolicy: OrderedReady", "with Parallel")
	var told struct{ TS time.Time }
	began := s.until("db-0", "podfqdn waits", func(p *corev1.Pod) bool { return podfqdn(p).State.Running != nil })
	if err := json.Unmarshal([]byte(lineOf(s.log("db-0"), "podManagementPolicy")), &told); err != nil {
		s.Fatalf("%v: %s", err, line)
	}
	if took := told.TS.Sub(podfqdn(began).State.Running.StartedAt.Time); took > 30*time.Second {
		s.Errorf("it was said after %s: %s", took, line)
	}
	c := s.finds("db-0", diagnosis.PeersDeadlock, "OrderedReady", "podManagementPolicy: Parallel")
	if c.Guess {
		s.Errorf("the API decides it, and it is a guess: %+v", c)
	}
	s.does(c)
	s.peers = s.members("db", "db", 0, 2)
	for _, pod := range s.pods("db", 3) {
		s.published(pod, s.fqdn(pod, "db"))
		s.well(pod)
	}
}

// lineOf returns the first line of a log that has the words.
func lineOf(log, words string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, words) {
			return line
		}
	}
	return ""
}

func everyRank(s *space) {
	s.example("peers-all.yaml")
	s.kubectl("wait", "--for=condition=Complete", "job/mpi", "--timeout=3m")
	log := s.kubectl("logs", "--selector=batch.kubernetes.io/job-completion-index=0", "--container=app")
	names := s.members("mpi", "mpi", 0, 2)
	if want := "I am " + names[0] + "\n" + strings.Join(names, "\n") + "\n"; log != want {
		s.Errorf("the launcher says %q, want %q", log, want)
	}
}

func journals(s *space) {
	s.example("peers-of-another-service.yaml")
	s.kubectl("rollout", "status", "statefulset/nn", "--timeout=3m")
	edits := "qjournal://" + each(s.members("jn", "journal", 0, 2), "%s:8485", ";") + "/mycluster"
	for _, pod := range s.pods("namenode", 2) {
		s.becomes(pod, 0, "/my-server", "--rpc-address="+s.fqdn(pod, "namenode")+":8020", "--shared-edits="+edits)
		s.well(pod)
	}
}

func fromOne(s *space) {
	first := func(spec *appsv1.StatefulSetSpec) { spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 1} }
	s.set(3, first, "PODFQDN_PEERS=3")
	s.ended("db-3", 10, "its ordinal 3 is not in 0..2", "if spec.ordinals.start is not 0, to the range of ordinals, such as 1..3")
	s.kubectl("delete", "statefulset/db", "service/db")
	for n := 1; n <= 3; n++ {
		s.kubectl("wait", "--for=delete", fmt.Sprintf("pod/db-%d", n), "--timeout=1m")
	}
	s.set(3, first, "PODFQDN_PEERS=1..3", "PODFQDN_PEERS_WAIT=all")
	s.peers = s.members("db", "db", 1, 3)
	for _, pod := range s.pods("db", 3) {
		s.published(pod, s.fqdn(pod, "db"))
		s.well(pod)
	}
}

// scaledUp has more members, of which only the new ones are told.
func scaledUp(s *space) {
	s.set(3, nil, "PODFQDN_PEERS=3", "PODFQDN_PEERS_WAIT=majority")
	s.peers = s.members("db", "db", 0, 2)
	before := map[string]*corev1.Pod{}
	for _, pod := range s.pods("db", 3) {
		before[pod] = s.published(pod, s.fqdn(pod, "db"))
	}
	s.kubectl("patch", "statefulset/db", "--patch", `{"spec":{"replicas":5,"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":3}},
		"template":{"spec":{"initContainers":[{"name":"podfqdn","env":[{"name":"PODFQDN_PEERS","value":"5"}]}]}}}}`)
	s.pods("db", 5)
	all := s.members("db", "db", 0, 4)
	for _, pod := range []string{"db-3", "db-4"} {
		s.peers = all
		s.published(pod, s.fqdn(pod, "db"))
	}
	for pod, old := range before {
		s.peers = all[:3]
		if now := s.published(pod, s.fqdn(pod, "db")); now.UID != old.UID || application(now).RestartCount > 0 {
			s.Errorf("%s does not run on", pod)
		}
		s.well(pod)
	}
}

// byFileKeyRef has the kubelet read the variables of a Pod that publishes n peers:
// all, and more.
func (s *space) byFileKeyRef(many string, n int, more ...string) {
	s.headless("db", "db")
	p := with(named(s.podOf("db"), "db-0", "db"), "PODFQDN_PEERS="+many)
	other := *p.Spec.Containers[0].DeepCopy()
	other.Name, other.VolumeMounts = "other", nil
	all := slices.Concat(keys, more)
	for _, key := range all {
		other.Env = append(other.Env, corev1.EnvVar{Name: key, ValueFrom: &corev1.EnvVarSource{
			FileKeyRef: &corev1.FileKeySelector{VolumeName: "identity", Path: "identity.env", Key: key},
		}})
	}
	p.Spec.Containers = append(p.Spec.Containers, other)
	s.start(p)
	s.peers = s.members("db", "db", 0, n-1)
	s.published("db", s.fqdn("db-0", "db"))
	s.until("db", "the other container runs", func(p *corev1.Pod) bool { return runs(p, "other") })
	show := "printf '%s\\n' \"$" + strings.Join(all, `" "$`) + `"`
	sourced := s.shell("db", ". /identity/identity.env; "+show)
	referred, _ := s.exec("db", "other", "sh", "-c", show)
	if sourced != referred || strings.Count(sourced, "\n") != len(all) || !strings.HasPrefix(sourced, s.fqdn("db-0", "db")+"\n") {
		s.Errorf("a shell reads %q, fileKeyRef sets %q", sourced, referred)
	}
	if peers := strings.Join(s.peers, ",") + "\n"; strings.HasSuffix(referred, "\n"+peers) != (len(more) > 0) {
		s.Errorf("fileKeyRef sets %.300q", referred)
	}
}

// waited is podfqdn in Pods that have no name of their own, and need that of a
// Service which comes later.
func waited(t *testing.T, w world) {
	s := w.restricted(t)
	s.example("wait.yaml")
	pods := s.pods("web", 2)
	log := func(pod string) string {
		return s.kubectl("logs", "pod/"+pod, "--container=wait")
	}
	for _, pod := range pods {
		s.until(pod, "podfqdn waits", func(p *corev1.Pod) bool { return runs(p, "wait") })
		for deadline := time.Now().Add(patience); !strings.Contains(log(pod), "not yet"); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				s.Fatalf("%s does not say why it waits:\n%s", pod, log(pod))
			}
		}
		if line := lineOf(log(pod), "not yet"); !strings.Contains(line, "db."+s.name+".svc."+s.domain) || !strings.Contains(line, "NXDOMAIN") {
			s.Errorf("%s says %s", pod, line)
		}
	}
	s.headless("db", "nobody", func(spec *corev1.ServiceSpec) {
		spec.ClusterIP, spec.Ports = "", []corev1.ServicePort{{Port: 5432}}
	})
	begin := time.Now()
	s.kubectl("rollout", "status", "deployment/web", "--timeout=3m")
	for _, pod := range pods {
		t.Logf("%s", log(pod))
		var found struct{ TS time.Time } // by podfqdn's own clock: how long the kubelet takes afterwards is not its doing
		if err := json.Unmarshal([]byte(lineOf(log(pod), `"found"`)), &found); err != nil {
			s.Fatal(err)
		}
		if took := found.TS.Sub(begin); took > 30*time.Second {
			s.Errorf("%s found it %s after the Service was there", pod, took)
		}
	}
}

// swapped is two members whose addresses have each other's names: neither is where
// its name says, as far as DNS goes.
func swapped(t *testing.T, w world) {
	s := w.restricted(t)
	s.set(3, nil, "PODFQDN_PEERS=3", "PODFQDN_PEERS_WAIT=all")
	s.kubectl("patch", "service/db", "--patch", `{"spec":{"selector":{"app":"nobody"}}}`) // until the PTR records are known
	address := func(pod string) string {
		return s.until(pod, "it has an address", func(p *corev1.Pod) bool { return p.Status.PodIP != "" }).Status.PodIP
	}
	one, two := s.fqdn("db-1", "db"), s.fqdn("db-2", "db")
	if strings.Contains(address("db-1"), ":") {
		t.Fatalf("db-1 has the address %s first", address("db-1"))
	}
	zones := "kubernetes " + w.domain + " in-addr.arpa ip6.arpa {"
	ptr := func(addr, name string) string {
		b := strings.Split(addr, ".")
		slices.Reverse(b)
		return fmt.Sprintf("template IN PTR in-addr.arpa {\n       match ^%s\\.in-addr\\.arpa\\.$\n       answer \"{{ .Name }} 5 IN PTR %s.\"\n       fallthrough\n    }\n    ", strings.Join(b, `\.`), name)
	}
	s.corefile(2, zones, ptr(address("db-1"), two)+ptr(address("db-2"), one)+zones)
	s.kubectl("patch", "service/db", "--patch", `{"spec":{"selector":{"app":"db"}}}`)
	line := s.says("db-0", "not yet", "1 of 3 needed members are in DNS; missing: db-1 and db-2 of ", "says "+two+", not "+one)
	t.Logf("%s", line)
	s.waits("db-1", "says "+two)
}
