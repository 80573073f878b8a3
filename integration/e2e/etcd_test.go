//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// members are those of examples/etcd.yaml.
var members = []string{"etcd-0", "etcd-1", "etcd-2"}

func etcd(t *testing.T, w world) {
	if w.etcd == "" {
		notShown(t, "needs an image with etcd and etcdctl that runs without root")
	}
	w.parallel(t, "as it stands", func(s *space) {
		defer func() {
			if s.Failed() {
				out, _ := s.command(s.Context(), "logs", "--selector=app=etcd", "--container=etcd", "--prefix", "--tail=12").CombinedOutput()
				s.Logf("etcd says\n%s", out)
			}
		}()
		s.certificates()
		s.volumes()
		s.example("etcd.yaml")
		pods := map[string]*corev1.Pod{}
		for _, name := range members {
			s.kubectl("rollout", "status", "deployment/"+name, "--timeout=2m")
			pods[name] = s.member(name)
		}
		s.healthy(pods["etcd-0"].Name)
		s.etcdctl(pods["etcd-0"].Name, s.client("etcd-0"), "put", "before", "1")

		lost := pods["etcd-1"]
		s.kubectl("delete", "pod/"+lost.Name)
		s.kubectl("rollout", "status", "deployment/etcd-1", "--timeout=2m")
		back := s.member("etcd-1")
		if back.Name == lost.Name || back.Status.PodIP == lost.Status.PodIP {
			s.Errorf("%s at %s is gone, but there is %s at %s", lost.Name, lost.Status.PodIP, back.Name, back.Status.PodIP)
		}
		pods["etcd-1"] = back
		s.healthy(back.Name)
		s.etcdctl(pods["etcd-0"].Name, s.client("etcd-0"), "put", "after", "2")
		for key, want := range map[string]string{"before": "1\n", "after": "2\n"} {
			// When all have agreed, its own copy has it too.
			for _, consistency := range []string{"l", "s"} {
				got := s.etcdctl(back.Name, s.client("etcd-1"), "get", "--print-value-only", "--consistency="+consistency, key)
				if got != want {
					s.Errorf("%s has the %s value %q by consistency %s, want %q", back.Name, key, got, consistency, want)
				}
			}
		}

		s.refusesTheAddressOfAStranger(pods)
	})
}

func (s *space) client(member string) string { return "https://" + s.fqdn(member, "etcd") + ":2379" }

func (s *space) peer(member string) string { return "https://" + s.fqdn(member, "etcd") + ":2380" }

// etcdctl is the command, with the certificate of the Pod that it runs in.
func etcdctl(endpoints string, args ...string) []string {
	return append([]string{"etcdctl", "--cacert=/tls/ca.crt", "--cert=/tls/tls.crt", "--key=/tls/tls.key", "--endpoints=" + endpoints}, args...)
}

// etcdctl runs it in a member's Pod, and returns what it printed.
func (s *space) etcdctl(pod, endpoints string, args ...string) string {
	s.Helper()
	out, code := s.exec(pod, "etcd", etcdctl(endpoints, args...)...)
	if code != 0 {
		s.Fatalf("%s: etcdctl %q ends with %d: %s", pod, args, code, out)
	}
	return out
}

// member waits until the Pod of a member is ready, and checks the name that
// it has proven and that etcd was given: its container mounts no identity.
func (s *space) member(name string) *corev1.Pod {
	s.Helper()
	pods := s.pods("etcd", len(members))
	i := slices.IndexFunc(pods, func(pod string) bool { return strings.HasPrefix(pod, name+"-") })
	if i < 0 {
		s.Fatalf("no Pod of %s: %q", name, pods)
	}
	p := s.until(pods[i], "etcd is ready", func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.Name == "etcd" && c.Ready })
	})
	log, fqdn := s.log(p.Name), s.fqdn(name, "etcd")
	addrs, published := s.addresses(p, fqdn), false
	for line := range strings.Lines(log) {
		var entry struct {
			Msg, FQDN string
			IPs       []string
		}
		if err := json.Unmarshal([]byte(line), &entry); err == nil && entry.Msg == "published" {
			published = entry.FQDN == fqdn && slices.Equal(entry.IPs, addrs)
		}
	}
	if !published {
		s.Errorf("%s: podfqdn does not log that it published %s and %v:\n%s", p.Name, fqdn, addrs, log)
	}
	if environ, _ := s.exec(p.Name, "etcd", "cat", "/proc/1/environ"); !slices.Contains(strings.Split(environ, "\x00"), "POD_FQDN="+fqdn) {
		s.Errorf("%s: etcd's environment lacks POD_FQDN=%s: %q", p.Name, fqdn, environ)
	}
	waited, err := waitOf(log)
	if err != nil {
		s.Errorf("%s: %v", p.Name, err)
	}
	results.waited(s.T, waited)
	s.Logf("%s: %s %v after %v", p.Name, fqdn, addrs, waited)
	return p
}

// healthy checks that all members are, and that each advertises its name.
func (s *space) healthy(pod string) {
	s.Helper()
	var clients []string
	for _, name := range members {
		clients = append(clients, s.client(name))
	}
	s.etcdctl(pod, strings.Join(clients, ","), "endpoint", "health")

	type member struct {
		Name                 string
		PeerURLs, ClientURLs []string
	}
	var list struct{ Members []member }
	out := s.etcdctl(pod, s.client("etcd-0"), "member", "list", "--write-out=json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	if len(list.Members) != len(members) {
		s.Errorf("%d members: %s", len(list.Members), out)
	}
	for _, name := range members {
		want := member{name, []string{s.peer(name)}, []string{s.client(name)}}
		if !slices.ContainsFunc(list.Members, func(m member) bool { return reflect.DeepEqual(m, want) }) {
			s.Errorf("no member %+v: %s", want, out)
		}
	}
}

// refusesTheAddressOfAStranger checks that etcd's address check is on: etcd-1's
// certificate is good for a peer's connection from etcd-1's Pod and from no
// other, and no member's connection was ever refused.
func (s *space) refusesTheAddressOfAStranger(pods map[string]*corev1.Pod) {
	s.Helper()
	// What answers is an HTTP server, which etcdctl does not speak with.
	if out, _ := s.exec(pods["etcd-1"].Name, "etcd", etcdctl(s.peer("etcd-0"), "endpoint", "health")...); !strings.Contains(out, "HTTP/1.1") {
		s.Errorf("etcd-0 does not answer etcd-1 as a peer: %s", out)
	}

	p := s.podOf("stranger")
	p.Labels = nil
	asClient := p.Spec.Containers[0]
	asClient.Image, asClient.VolumeMounts = s.etcd, []corev1.VolumeMount{{Name: "tls", MountPath: "/tls", ReadOnly: true}}
	asPeer := asClient
	asClient.Name, asClient.Command = "client", etcdctl(s.client("etcd-0"), "endpoint", "health")
	asPeer.Name, asPeer.Command = "peer", etcdctl(s.peer("etcd-0"), "endpoint", "health")
	p.Spec.InitContainers, p.Spec.Containers = nil, []corev1.Container{asClient, asPeer}
	p.Spec.Volumes = []corev1.Volume{{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "etcd-1-tls"}}}}
	s.start(p)
	p = s.until("stranger", "both containers have ended", func(p *corev1.Pod) bool {
		runs := func(c corev1.ContainerStatus) bool { return c.State.Terminated == nil }
		return len(p.Status.ContainerStatuses) == 2 && !slices.ContainsFunc(p.Status.ContainerStatuses, runs)
	})
	for _, c := range p.Status.ContainerStatuses {
		if good := c.State.Terminated.ExitCode == 0; good != (c.Name == "client") {
			s.Errorf("the stranger as a %s ends with %d: %s", c.Name, c.State.Terminated.ExitCode, s.kubectl("logs", "stranger", "--container="+c.Name))
		}
	}

	refused := fmt.Sprintf("tls: %q does not match any of DNSNames [%q]", p.Status.PodIP, s.fqdn("etcd-1", "etcd"))
	seen := false
	for _, name := range members {
		for line := range strings.Lines(s.kubectl("logs", pods[name].Name, "--container=etcd")) {
			var entry struct{ Msg, Error string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Msg != "rejected connection on peer endpoint" {
				continue
			}
			switch {
			case name == "etcd-0" && strings.HasPrefix(entry.Error, refused):
				if !seen {
					s.Logf("%s: %s: %s", name, entry.Msg, entry.Error)
				}
				seen = true
			case strings.Contains(entry.Error, "does not match"):
				s.Errorf("%s has refused another: %s", name, line)
			}
		}
	}
	if !seen {
		s.Errorf("etcd-0 does not log that %s", refused)
	}
}

// certificates makes a CA, and for each member a Secret with a certificate whose
// only SAN is the member's name.
func (s *space) certificates() {
	s.Helper()
	a := s.authority()
	for i, name := range members {
		s.secret(name+"-tls", a.issue(s, int64(2+i), s.fqdn(name, "etcd")))
	}
}

// authority issues certificates.
type authority struct {
	ca   *x509.Certificate
	cert []byte
	key  *ecdsa.PrivateKey
}

func (s *space) authority() authority {
	s.Helper()
	a := authority{ca: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: s.name},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	a.cert, a.key = s.certificate(a.ca, a.ca, nil)
	return a
}

// issue issues a certificate for names with a new key: the data of a Secret.
func (a authority) issue(s *space, serial int64, names ...string) map[string][]byte {
	s.Helper()
	cert, key := s.certificate(&x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.ca, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.Fatal(err)
	}
	return map[string][]byte{
		"ca.crt":  a.cert,
		"tls.crt": cert,
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}
}

// secret creates a Secret, or replaces it.
func (s *space) secret(name string, data map[string][]byte) {
	s.Helper()
	secrets := s.kube.CoreV1().Secrets(s.name)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeTLS, Data: data}
	_, err := secrets.Create(s.Context(), secret, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(s.Context(), secret, metav1.UpdateOptions{})
	}
	if err != nil {
		s.Fatal(err)
	}
}

// certificate issues one, in PEM, with a new key; without a signer it is its own.
func (s *space) certificate(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		s.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key
}

// volumes makes those that the members claim, where nothing else does. They
// and their directories go with the claims: Kubernetes reclaims a hostPath if it
// is below a directory tmp.
func (s *space) volumes() {
	s.Helper()
	if s.own == nil {
		return
	}
	for _, name := range members {
		dir := path.Join("/var/lib/e2e/tmp", s.name+"-"+name)
		if out, err := s.own.Command(s.Context(), "sh", "-c", "mkdir -p $0 && chmod 0777 $0", dir).CombinedOutput(); err != nil {
			s.Fatalf("%v: %s", err, out)
		}
		_, err := s.kube.CoreV1().PersistentVolumes().Create(s.Context(), &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: s.name + "-" + name},
			Spec: corev1.PersistentVolumeSpec{
				ClaimRef:                      &corev1.ObjectReference{Namespace: s.name, Name: name},
				AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("4Gi")},
				PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
				PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			s.Fatal(err)
		}
	}
}
