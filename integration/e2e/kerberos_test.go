//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podfqdn/podfqdn/identity/kerberos"
)

// kerberosRealm is that of examples/kerberos.yaml.
const kerberosRealm = "EXAMPLE.COM"

// The keytabs that a KDC here writes: one with the keys of both Pods of the
// example and of a stranger, and another stranger's own.
const (
	keytabAll = "all.keytab"
	keytabOwn = "own.keytab"
)

// What a client's krb5.conf says of rdns: it makes a server's principal of the
// name that forward DNS has for it, or of what PTR then says of its address.
const (
	byName = "false" // as published
	byPTR  = "true"
)

var strangers = []string{"host/web-2.web.elsewhere.svc.cluster.local", "HTTP/www.example.com"}

func kerberized(t *testing.T, w world) {
	if w.krb5 == "" {
		notShown(t, "needs a cluster that make e2e brings up: an image with MIT krb5, and the node")
	}
	w.parallel(t, "the example", func(s *space) {
		s.realm()
		s.deliver(keytabAll, keytabOwn)
		s.kerberos()
		for _, pod := range s.begin() {
			if got, want := s.shell(pod, `cat /proc/[0-9]*/environ | tr '\0' '\n' | grep ^KRB5_ | sort -u`), "KRB5_CLIENT_KTNAME=/krb5/keytab\nKRB5_CONFIG=/krb5/krb5.conf\nKRB5_KTNAME=/krb5/keytab\n"; got != want {
				s.Errorf("%s: the application's environment has\n%swant\n%s", pod, got, want)
			}
			// Another user than podfqdn, which is 65532, in the group of both.
			if got, want := s.shell(pod, "id -u; stat -L -c '%a %u %g' /krb5/keytab"), "65533\n440 65532 2000\n"; got != want {
				s.Errorf("%s: user, and the keytab's mode, user and group: %q, want %q", pod, got, want)
			}
		}
		s.accept("web-0")
		s.accepted("web-1", "web-0", byPTR, 2)
		s.leaksNothing()
	})
	w.parallel(t, "a second Service's PTR", secondPTR)
	w.parallel(t, "a rotation", rotation)
	w.parallel(t, "keys that come late", func(s *space) {
		s.realm()
		s.deliver(keytabOwn)
		s.kerberos()
		pods := s.pods("web", 2)
		for _, pod := range pods {
			s.waits(pod, "has no key for "+s.principal(pod), strangers[1]+"@"+kerberosRealm)
			s.publishedNothing(pod)
		}
		s.deliver(keytabAll, keytabOwn)
		for _, pod := range pods {
			s.holdsKeys(pod, 2)
			if files := s.onNode(pod, "krb5"); !strings.Contains(files, "/keytab\n") {
				s.Errorf("%s: the node has %q", pod, files)
			}
		}
		s.accept("web-0")
		s.accepted("web-1", "web-0", byPTR, 2)
	})
	w.parallel(t, "keys that do not come", func(s *space) {
		s.realm()
		s.deliver(keytabOwn)
		s.kerberos("env:\n", "env:\n        - {name: PODFQDN_TIMEOUT, value: 45s}\n")
		for _, pod := range s.pods("web", 2) {
			s.gaveUp(pod, 14, "gave up after 45s", "has no key for "+s.principal(pod), strangers[1]+"@"+kerberosRealm)
			s.publishedNothing(pod)
		}
	})
}

// secondPTR shows why krb5.conf says rdns = false, and what PODFQDN_REVERSE=only
// is for.
func secondPTR(s *space) {
	s.realm()
	s.deliver(keytabAll, keytabOwn)
	s.kerberos()
	s.begin()
	s.accept("web-0")
	s.accepted("web-1", "web-0", byPTR, 2)

	// A client takes the first PTR, and which that is with CoreDNS is chance: the
	// order is that of a Go map (client-go, tools/cache, ByIndex), and stays in a
	// replica's cache for 30 seconds. One Service more would come first in one of
	// eight, with seven it is the right one that does. A client that is let in
	// asks again; so does one that the two replicas told different names, since
	// libkrb5 asks again for each message, and then holds the server for another.
	var wrong []string
	for i := range 7 {
		wrong = append(wrong, fmt.Sprintf("wrong-%d", i))
		s.headless(wrong[i], "", func(spec *corev1.ServiceSpec) {
			spec.Selector = map[string]string{"statefulset.kubernetes.io/pod-name": "web-0"}
		})
	}
	refused := regexp.MustCompile(`Server host/[0-9-]+\.wrong-\d\.` + regexp.QuoteMeta(s.name+".svc."+s.domain+"@"+kerberosRealm) + ` not found in Kerberos database`)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Second) {
		out, code := s.ask("web-1", "web-0", byPTR)
		if said := refused.FindString(out); code != 0 && said != "" {
			s.Log(said)
			break
		}
		if code != 0 && !strings.Contains(out, "An invalid name was supplied") {
			s.Fatalf("exit code %d, without %s:\n%s", code, refused, out)
		}
		if time.Now().After(deadline) {
			s.Fatalf("with %d wrong PTRs the client is not refused:\n%s", len(wrong), out)
		}
	}
	s.accepted("web-1", "web-0", byName, 2)

	// One of them is enough for podfqdn to say so. web-1 is created again first, and
	// no other Service selects it.
	s.kubectl(append([]string{"delete", "service"}, wrong[1:]...)...)
	s.kubectl("patch", "statefulset/web", "--patch",
		`{"spec":{"template":{"spec":{"initContainers":[{"name":"podfqdn","env":[{"name":"PODFQDN_REVERSE","value":"only"}]}]}}}}`)
	only := func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Spec.InitContainers[0].Env, func(e corev1.EnvVar) bool { return e.Name == "PODFQDN_REVERSE" })
	}
	s.until("web-0", "it is created again", only)
	s.holdsKeys("web-1", 2)
	s.waits("web-0", "."+wrong[0]+"."+s.name, "only "+s.fqdn("web-0", "web")+" is allowed")
	s.publishedNothing("web-0")
	s.kubectl("delete", "service/"+wrong[0])
	s.holdsKeys("web-0", 2)
}

// rotation shows a sidecar, whose Pods outlive their keys.
func rotation(s *space) {
	s.realm()
	s.deliver(keytabAll, keytabOwn)
	s.kerberos("image: podfqdn:dev\n", `image: podfqdn:dev
        args: [sidecar]
        restartPolicy: Always
        startupProbe:
          httpGet: {path: /readyz, port: 8053}
          periodSeconds: 1
          failureThreshold: 600
`, "env:\n", `env:
        - {name: PODFQDN_LISTEN, value: ":8053"}
        - {name: PODFQDN_INTERVAL, value: 10s}
`)
	s.begin()
	s.accept("web-0")
	s.accepted("web-1", "web-0", byPTR, 2)

	s.admin("ktadd", "-k", "/kdc/"+keytabAll, s.principal("web-0"))
	s.deliver(keytabAll, keytabOwn)
	for deadline := time.Now().Add(patience); len(s.versions("web-0")) == 1; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			s.Fatalf("the new key is not published:\n%s", s.log("web-0"))
		}
	}
	s.holdsKeys("web-0", 3, 2)
	s.holdsKeys("web-1", 2)
	// The server is the one from before. So is the client's first ticket, and the
	// second one is new.
	if out, code := s.run("web-1", "web-0", byPTR, ""); code != 0 || !strings.Contains(out, "Signature verified.") || !strings.Contains(out, "kvno = 2\n") {
		s.Errorf("with a ticket from before: exit code %d:\n%s", code, out)
	}
	s.accepted("web-1", "web-0", byPTR, 3)

	before := s.get("web-0", "/metrics")
	if n := metric(before, "podfqdn_keys_missing_total"); n != 0 {
		s.Errorf("the source lacked keys %v times:\n%s", n, before)
	}
	s.deliver(keytabOwn)
	s.says("web-0", "the published keys stay", "has no key for "+s.principal("web-0"), strangers[1]+"@"+kerberosRealm)
	s.holdsKeys("web-0", 3, 2)
	if p := s.until("web-0", "it is there", func(*corev1.Pod) bool { return true }); !ready(p) || !s.verified("web-0") {
		s.Errorf("what is to stand does not: %+v", p.Status)
	}
	if after := s.get("web-0", "/metrics"); metric(after, "podfqdn_keys_missing_total") == 0 {
		s.Errorf("nothing counts that keys are missing:\n%s", after)
	}
	s.accepted("web-1", "web-0", byPTR, 3)
}

// realm starts a KDC, in a Pod of its own, and makes the keytabs.
func (s *space) realm() {
	s.Helper()
	s.server = s.krb5 // of which the KDC is a part, as are the applications
	s.Cleanup(func() {
		if s.Failed() {
			out, _ := s.command(context.WithoutCancel(s.Context()), "logs", "kdc", "--tail=30").CombinedOutput()
			s.Logf("the KDC says\n%s", out)
		}
	})
	s.headless("kdc", "", func(spec *corev1.ServiceSpec) { spec.Selector = map[string]string{"realm": "kdc"} })
	p := s.podOf("kdc")
	p.Labels = map[string]string{"realm": "kdc"} // not one of those with podfqdn
	p.Spec.InitContainers = nil
	p.Spec.Volumes = []corev1.Volume{{Name: "kdc", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}}
	c := &p.Spec.Containers[0]
	c.VolumeMounts = []corev1.VolumeMount{{Name: "kdc", MountPath: "/kdc"}}
	c.Env = []corev1.EnvVar{{Name: "KRB5_CONFIG", Value: "/kdc/krb5.conf"}}
	c.Command = []string{"sh", "-c", `cat >/kdc/krb5.conf <<end
[libdefaults]
    default_realm = ` + kerberosRealm + `
[realms]
    ` + kerberosRealm + ` = {
        database_name = /kdc/principal
        key_stash_file = /kdc/stash
        acl_file = /kdc/acl
        kdc_listen = 8888
        kdc_tcp_listen = 8888
    }
[logging]
    kdc = STDERR
end
kdb5_util create -s -P of-no-use-after-this-test && exec krb5kdc -n`}
	c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8888)}}, PeriodSeconds: 1}
	s.start(p)
	s.until("kdc", "it answers", ready)

	all := []string{s.principal("web-0"), s.principal("web-1"), strangers[0]}
	for _, principal := range append(all, strangers[1]) {
		s.admin("addprinc", "-randkey", principal)
	}
	s.admin(append([]string{"ktadd", "-k", "/kdc/" + keytabAll}, all...)...)
	s.admin("ktadd", "-k", "/kdc/"+keytabOwn, strangers[1])
	if keys := s.keys(); len(keys) != 4 {
		s.Fatalf("the keytabs have keys of %q", slices.Sorted(maps.Keys(keys)))
	}
}

// principal is a Pod's, of the example.
func (s *space) principal(pod string) string {
	return "host/" + s.fqdn(pod, "web") + "@" + kerberosRealm
}

// admin has the KDC's kadmin.local do one thing.
func (s *space) admin(args ...string) {
	s.Helper()
	if out, code := s.exec("kdc", "app", append([]string{"kadmin.local", "-p", "e2e"}, args...)...); code != 0 {
		s.Fatalf("kadmin.local %q ends with %d: %s", args, code, out)
	}
}

// keys returns all keys of the realm's keytabs, as klist reads them, by principal.
func (s *space) keys() map[string][][]byte {
	s.Helper()
	keys := map[string][][]byte{}
	for _, keytab := range []string{keytabAll, keytabOwn} {
		out, code := s.exec("kdc", "app", "klist", "-ekK", "/kdc/"+keytab)
		if code != 0 {
			s.Fatalf("klist %s ends with %d: %s", keytab, code, out)
		}
		for _, m := range regexp.MustCompile(`(?m)^ *\d+ (\S+) \([a-z0-9-]+\)  \(0x([0-9a-f]+)\)$`).FindAllStringSubmatch(out, -1) {
			key, err := hex.DecodeString(m[2])
			if err != nil || len(key) < 16 {
				s.Fatalf("a key of %s has %d bytes, %v", m[1], len(key), err)
			}
			keys[m[1]] = append(keys[m[1]], key)
		}
	}
	return keys
}

// deliver puts these keytabs, and no others, into the Secret, as a person would.
func (s *space) deliver(keytabs ...string) {
	s.Helper()
	dir := s.TempDir()
	for _, name := range keytabs {
		keytab, code := s.exec("kdc", "app", "cat", "/kdc/"+name)
		if code != 0 {
			s.Fatalf("cat %s ends with %d", name, code)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(keytab), 0o600); err != nil {
			s.Fatal(err)
		}
	}
	secret := s.kubectl("create", "secret", "generic", "keytabs", "--from-file="+dir, "--dry-run=client", "--output=yaml")
	s.kubectlInput(secret, "apply", "--filename=-")
	// The kubelet looks at a Pod's volumes once a minute, and when the Pod changes.
	for _, pod := range strings.Fields(s.kubectl("get", "pods", "--selector=app=web", "--output=name")) {
		s.kubectl("annotate", "--overwrite", pod, "delivered="+fmt.Sprint(time.Now().UnixNano()))
	}
}

// kerberos applies the example, with this KDC instead of a company's, and with
// more changes.
func (s *space) kerberos(changes ...string) {
	s.Helper()
	s.example("kerberos.yaml", append([]string{"kdc.example.com", "kdc." + s.name + ".svc." + s.domain + ":8888"}, changes...)...)
}

// begin waits until both Pods have the first version of their keys, and gives
// their names.
func (s *space) begin() []string {
	s.Helper()
	pods := s.pods("web", 2)
	for _, pod := range pods {
		s.holdsKeys(pod, 2)
		waited, err := waitOf(s.log(pod))
		if err != nil {
			s.Errorf("%s: %v", pod, err)
		}
		results.waited(s.T, waited)
	}
	return pods
}

// holdsKeys waits until a Pod's application runs, and checks every file that it
// finds in /krb5 and what of /identity tells of it. The keytab has keys of the
// Pod's own principal only, of these versions, the newest first.
func (s *space) holdsKeys(pod string, versions ...uint32) {
	s.Helper()
	s.until(pod, "it has published and the application runs", func(p *corev1.Pod) bool {
		if end := podfqdn(p).State.Terminated; end != nil && end.ExitCode != 0 {
			s.Fatalf("%s: podfqdn ended with %d: %s", pod, end.ExitCode, end.Message)
		}
		return runs(p, "app")
	})
	name, err := s.files(pod, "app")
	if err != nil {
		s.Fatal(err)
	}
	const variables = "KRB5_KTNAME='/krb5/keytab'\nKRB5_CLIENT_KTNAME='/krb5/keytab'\nKRB5_CONFIG='/krb5/krb5.conf'\n"
	if _, verified := name["verified"]; !verified || name["fqdn"] != s.fqdn(pod, "web") || !strings.HasSuffix(name["identity.env"], variables) {
		s.Errorf("%s: /identity holds %q", pod, name)
	}
	krb5, err := s.untar(pod, "app", "cd /krb5 && tar -chf - *")
	if err != nil {
		s.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(krb5)), []string{"keytab", "krb5.conf", "principals", "verified"}; !slices.Equal(got, want) {
		s.Errorf("%s: /krb5 holds %q, want %q", pod, got, want)
	}
	if krb5["principals"] != s.principal(pod)+"\n" {
		s.Errorf("%s: principals are %q", pod, krb5["principals"])
	}
	if got := s.versions(pod); !slices.Equal(got, versions) {
		s.Errorf("%s: the keytab has the key versions %d, want %d", pod, got, versions)
	}
}

// versions returns the key versions of a Pod's keytab, in their order there, and
// checks that all its entries are the Pod's own: two of each version, as the KDC
// makes keys of two types.
func (s *space) versions(pod string) (versions []uint32) {
	s.Helper()
	keytab, code := s.exec(pod, "app", "cat", "/krb5/keytab")
	entries, err := kerberos.ParseKeytab([]byte(keytab))
	if code != 0 || err != nil {
		s.Fatalf("%s: the keytab: exit code %d, %v", pod, code, err)
	}
	for _, e := range entries {
		if e.Principal.String() != s.principal(pod) {
			s.Errorf("%s has a key of %s", pod, e)
		}
		versions = append(versions, e.Version)
	}
	if all := len(versions); all != 2*len(slices.Compact(slices.Clone(versions))) {
		s.Errorf("%s: %d entries: %v", pod, all, entries)
	}
	return slices.Compact(versions)
}

// publishedNothing checks that neither volume of a Pod holds a file.
func (s *space) publishedNothing(pod string) {
	s.Helper()
	for _, volume := range []string{"identity", "krb5"} {
		if files := s.onNode(pod, volume); files != "" {
			s.Errorf("%s: %s holds %q", pod, volume, files)
		}
	}
}

// onNode lists the files of a Pod's volume, as the node sees them: the example
// has no container that could be asked.
func (s *space) onNode(pod, volume string) string {
	s.Helper()
	p := s.until(pod, "it is there", func(p *corev1.Pod) bool { return p.UID != "" })
	dir := "/var/lib/kubelet/pods/" + string(p.UID) + "/volumes/kubernetes.io~empty-dir/" + volume
	out, err := s.own.Command(s.Context(), "find", dir, "-type", "f").CombinedOutput()
	if err != nil {
		s.Fatalf("%s: find %s: %v: %s", pod, dir, err, out)
	}
	return string(out)
}

// accept starts a server in a Pod, in the environment of its application. It
// takes every principal that its keytab has keys of.
func (s *space) accept(pod string) {
	s.Helper()
	s.shell(pod, `set -a; . /identity/identity.env
gss-server host </dev/null >/var/tmp/gss-server.log 2>&1 &
until grep -q '^ *[0-9]*: 00000000:115C [0-9A-F:]* 0A ' /proc/net/tcp; do # it listens on port 4444
	kill -0 $! || { cat /var/tmp/gss-server.log; exit 1; }
	sleep 0.1
done`)
}

// accepted checks that a client that has logged in again and a server prove to
// each other who they are, with a ticket for the server's whole name and of this
// key version.
func (s *space) accepted(client, server, rdns string, version int) {
	s.Helper()
	out, code := s.ask(client, server, rdns)
	for _, want := range []string{"context flag: GSS_C_MUTUAL_FLAG", "Signature verified.", fmt.Sprintf("%s: kvno = %d\n", s.principal(server), version)} {
		if code != 0 || !strings.Contains(out, want) {
			s.Errorf("%s, rdns = %s: exit code %d, without %q:\n%s", client, rdns, code, want, out)
		}
	}
	tickets := regexp.MustCompile(`(?m)  (host/\S+)$`).FindAllStringSubmatch(out, -1)
	if code == 0 && (len(tickets) != 1 || tickets[0][1] != s.principal(server)) {
		s.Errorf("%s, rdns = %s: the tickets are not one for %s:\n%s", client, rdns, s.principal(server), out)
	}
}

// ask has a client in one Pod log in by its own keytab, and then does as run.
func (s *space) ask(client, server, rdns string) (out string, code int) {
	s.Helper()
	return s.run(client, server, rdns, `kinit -k "$(cat /krb5/principals)" || exit`)
}

// run has a client in one Pod call the server in another one by its short name,
// HOSTNAME.SERVICE, with the krb5.conf that was published but for the line rdns.
// It returns all that is said, the client's tickets and their key version too.
func (s *space) run(client, server, rdns, login string) (out string, code int) {
	s.Helper()
	return s.exec(client, "app", "sh", "-c", `exec 2>&1; set -a; . /identity/identity.env
sed 's/^\( *rdns\) = false$/\1 = `+rdns+`/' $KRB5_CONFIG >/var/tmp/krb5.conf
KRB5_CONFIG=/var/tmp/krb5.conf KRB5CCNAME=FILE:/var/tmp/ccache
grep -q '^ *rdns = `+rdns+`$' $KRB5_CONFIG && grep -q '^ *dns_canonicalize_hostname = true$' $KRB5_CONFIG || exit 99
`+login+`
gss-client `+server+`.web host@`+server+`.web hello && klist && kvno `+s.principal(server))
}

// leaksNothing looks in all that the applications can read, and in what
// Kubernetes tells of their Pods, for keys that are not theirs.
func (s *space) leaksNothing() {
	s.Helper()
	keys := s.keys()
	for _, pod := range s.pods("web", 2) {
		// With earlier generations.
		volumes, err := s.untar(pod, "app", "cd / && tar -cf - identity krb5")
		if err != nil {
			s.Fatal(err)
		}
		there := map[string]string{
			"the environment": s.shell(pod, "cat /proc/[0-9]*/environ"),
			"the logs":        s.kubectl("logs", pod, "--all-containers"),
			"the Pod":         s.kubectl("get", "pod", pod, "--output=json"),
			"the events":      s.kubectl("get", "events", "--output=json"),
		}
		for name, content := range volumes {
			there[name] = content
		}
		for principal, keys := range keys {
			for _, key := range keys {
				own := false
				for name, content := range there {
					switch {
					case !found(content, key):
					case principal == s.principal(pod) && strings.HasSuffix(name, "/keytab"):
						own = true
					default:
						s.Errorf("%s: %s has a key of %s", pod, name, principal)
					}
				}
				if own != (principal == s.principal(pod)) {
					s.Errorf("%s: a key of %s is found in its keytab: %v", pod, principal, own)
				}
				// The search would find it.
				for shift := range 3 {
					text := append(append(make([]byte, shift), key...), "behind"...)
					for _, hidden := range []string{string(text), fmt.Sprintf("%x", text), fmt.Sprintf("%X", text),
						base64.StdEncoding.EncodeToString(text), base64.URLEncoding.EncodeToString(text)} {
						if !found(hidden, key) {
							s.Fatalf("a key is not found in %d characters", len(hidden))
						}
					}
				}
			}
		}
	}
}

// found reports whether a text has bytes in it: as they are, in hexadecimal, or
// in base64, wherever they begin there.
func found(text string, bytes []byte) bool {
	forms := []string{string(bytes), fmt.Sprintf("%x", bytes), fmt.Sprintf("%X", bytes)}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			encoded := encoding.EncodeToString(append(make([]byte, shift), bytes...))
			// Without the characters that have bits of other bytes too.
			forms = append(forms, encoded[(8*shift+5)/6:8*(shift+len(bytes))/6])
		}
	}
	return slices.ContainsFunc(forms, func(form string) bool { return strings.Contains(text, form) })
}
