//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// begun is what package server says of its start.
type begun struct {
	PID, UID   int
	Since, Now time.Time
	Args, Env  []string
	Config     string
	log        string // all of its container's
}

// variable returns a variable's value; "" where it has none.
func (b begun) variable(name string) (value string) {
	for _, line := range b.Env {
		if rest, ok := strings.CutPrefix(line, name+"="); ok {
			value = rest
		}
	}
	return value
}

// application returns the status of the application's container.
func application(p *corev1.Pod) corev1.ContainerStatus {
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == "app" {
			return c
		}
	}
	return corev1.ContainerStatus{}
}

// begins waits until the application says what it was started with, after that
// many starts of its container.
func (s *space) begins(pod string, restarts int32) (b begun) {
	s.Helper()
	s.until(pod, "the application's container runs", func(p *corev1.Pod) bool {
		return application(p).State.Running != nil && application(p).RestartCount == restarts
	})
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		log, err := s.kube.CoreV1().Pods(s.name).GetLogs(pod, &corev1.PodLogOptions{Container: "app"}).DoRaw(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		b.log = string(log)
		for line := range strings.Lines(b.log) {
			if json.Unmarshal([]byte(line), &b) == nil && b.PID > 0 {
				return b
			}
		}
	}
	s.Fatalf("%s: the application does not begin: %s", pod, b.log)
	return b
}

// becomes checks that podfqdn has become the application, which has the
// arguments.
func (s *space) becomes(pod string, restarts int32, args ...string) begun {
	s.Helper()
	b := s.begins(pod, restarts)
	if b.PID != 1 || !slices.Equal(b.Args, args) {
		s.Errorf("%s: process %d has the arguments %q, want 1 and %q", pod, b.PID, b.Args, args)
	}
	return b
}

// executed is podfqdn exec: the examples, and what may be wrong with them.
func executed(t *testing.T, w world) {
	w.parallel(t, "from an image volume", fromAnImageVolume)
	w.parallel(t, "an image that is configured by variables", byVariables)
	w.parallel(t, "installed by an init container", installed)
	w.parallel(t, "a configuration file", byConfigurationFile)
	w.parallel(t, "probes that run podfqdn", probesOfPodfqdn)
	w.parallel(t, "a livenessProbe and no startupProbe", killedByProbe)
	w.parallel(t, "no volume", withoutAVolume)
	w.parallel(t, "podfqdn is not there", func(s *space) {
		s.example("exec.yaml", "        image:\n          reference: podfqdn:dev", "        emptyDir: {}", "replicas: 3", "replicas: 1")
		s.fails("db-0", 128, "StartError")
		s.finds("db-0", diagnosis.BinaryMissing, "it has no /podfqdn/podfqdn", `volume "podfqdn", which is mounted there, does not have it`, "PODFQDN_INSTALL")
	})
	w.parallel(t, "an image volume without podfqdn", func(s *space) {
		s.example("exec.yaml", "reference: podfqdn:dev", "reference: my-static-server:1.0", "replicas: 3", "replicas: 1")
		s.fails("db-0", 128, "StartError")
		if c := s.finds("db-0", diagnosis.BinaryMissing, "it has no /podfqdn/podfqdn", s.static); !c.Guess {
			s.Errorf("the runtime is blamed for another image: %+v", c)
		}
	})
	w.parallel(t, "deleted while it waits", deletedWhileItWaits)
}

func fromAnImageVolume(s *space) {
	s.example("exec.yaml")
	s.kubectl("rollout", "status", "statefulset/db", "--timeout=3m")
	for _, pod := range s.pods("db", 3) {
		fqdn := s.fqdn(pod, "db")
		b := s.becomes(pod, 0, "/my-server", "--listen=:8080", "--advertise="+fqdn+":8080")
		if b.variable("POD_FQDN") != fqdn {
			s.Errorf("%s has the variables %q", pod, b.Env)
		}
		if out, code := s.exec(pod, "app", "/podfqdn/podfqdn", "check"); code != 0 || strings.TrimSpace(out) != fqdn {
			s.Errorf("%s: podfqdn check ends with %d: %s", pod, code, out)
		}
		s.well(pod)
	}
	if e := s.doctor("db-0"); e.State != "running" || e.Container != "app" {
		s.Errorf("%s is %s", e.Container, e.State)
	}
	if out, _, code := s.plugin(s.kubeconfig, "doctor", "-n", s.name, "-l", "app=db"); code != 0 || len(regexp.MustCompile(`(?m)^`+s.name+` +db-\d +running `).FindAllString(out, -1)) != 3 {
		s.Errorf("exit code %d:\n%s", code, out)
	}
	s.crashes("db-0", 1)
	s.becomes("db-0", 1, "/my-server", "--listen=:8080", "--advertise="+s.fqdn("db-0", "db")+":8080")
	s.kubectl("wait", "--for=condition=Ready", "pod/db-0", "--timeout=3m")
	if e := s.doctor("db-0"); !e.Healthy || e.State != "running" || strings.Contains(fmt.Sprint(e), "gave up") {
		s.Errorf("the application's exit code 11 is explained: %+v", e)
	}
	s.asAnybody()
}

func byVariables(s *space) {
	s.example("exec-variables.yaml")
	for i, pod := range s.pods("kafka", 3) {
		b := s.becomes(pod, 0, "/my-server")
		if got, want := b.variable("ADVERTISED_LISTENERS"), "PLAINTEXT://"+s.fqdn(pod, "kafka")+":9092"; got != want {
			s.Errorf("%s has ADVERTISED_LISTENERS=%s, want %s", pod, got, want)
		}
		if got, want := b.variable("NODE_ID"), fmt.Sprint(i+1); got != want {
			s.Errorf("%s has NODE_ID=%s, want %s", pod, got, want)
		}
	}
}

func installed(s *space) {
	s.example("exec-install.yaml")
	s.kubectl("rollout", "status", "statefulset/db", "--timeout=3m")
	for _, pod := range s.pods("db", 3) {
		s.becomes(pod, 0, "/my-server", "--listen=:8080", "--advertise="+s.fqdn(pod, "db")+":8080")
		s.well(pod)
	}
	s.crashes("db-0", 1)
	s.becomes("db-0", 1, "/my-server", "--listen=:8080", "--advertise="+s.fqdn("db-0", "db")+":8080")
	s.asAnybody()
}

// asAnybody makes the StatefulSet's Pods again, for a user of the namespace's own,
// as some clusters have them, who is nobody in the images.
func (s *space) asAnybody() {
	s.Helper()
	s.kubectl("patch", "statefulset/db", "--patch", `{"spec":{"template":{"spec":{"securityContext":{"runAsUser":1000720000}}}}}`)
	for i := range 3 { // they are replaced one after the other, and each may take its time
		s.until(fmt.Sprintf("db-%d", 2-i), "it is replaced", func(p *corev1.Pod) bool {
			user := p.Spec.SecurityContext.RunAsUser
			return ready(p) && user != nil && *user == 1000720000
		})
	}
	s.kubectl("rollout", "status", "statefulset/db", "--timeout=3m")
	for _, pod := range s.pods("db", 3) {
		if b := s.becomes(pod, 0, "/my-server", "--listen=:8080", "--advertise="+s.fqdn(pod, "db")+":8080"); b.UID != 1000720000 {
			s.Errorf("%s runs as %d", pod, b.UID)
		}
	}
}

func byConfigurationFile(s *space) {
	s.example("render.yaml")
	s.kubectl("rollout", "status", "statefulset/db", "--timeout=3m")
	for i, pod := range s.pods("db", 3) {
		fqdn := s.fqdn(pod, "db")
		b := s.becomes(pod, 0, "/my-server", "--config=/etc/my-server/server.conf")
		if want := fmt.Sprintf("# podfqdn writes the name and the number of the Pod here; every other byte stays.\nlisten = :8080\nadvertise = %s:8080\nid = %d\n", fqdn, i); b.Config != want {
			s.Errorf("%s reads %q, want %q", pod, b.Config, want)
		}
		s.well(pod)
	}
}

func probesOfPodfqdn(s *space) {
	const before, after = "httpGet: {path: /healthz, port: 8080}", "exec: {command: [/podfqdn/podfqdn, "
	s.example("exec.yaml", "replicas: 3", "replicas: 1", "  selector:\n    app: db\n---", "  selector:\n    app: another\n---",
		before+"\n          periodSeconds: 1\n", after+"check]}\n          periodSeconds: 1\n",
		"        livenessProbe:\n          "+before+"\n", "        livenessProbe:\n          "+after+"exec, --, /my-server, named, $(POD_FQDN)]}\n          periodSeconds: 1\n          timeoutSeconds: 10\n")
	p := s.until("db-0", "podfqdn waits", func(p *corev1.Pod) bool { return application(p).State.Running != nil })
	time.Sleep(time.Until(application(p).State.Running.StartedAt.Add(5 * time.Second))) // longer than the livenessProbe would
	if e := s.doctor("db-0"); e.State != "waiting" {
		s.Errorf("%s is %s", e.Container, e.State)
	}
	s.kubectl("patch", "service/db", "--patch", `{"spec":{"selector":{"app":"db"}}}`)
	s.kubectl("rollout", "status", "statefulset/db", "--timeout=3m")
	b := s.becomes("db-0", 0, "/my-server", "--listen=:8080", "--advertise="+s.fqdn("db-0", "db")+":8080")
	time.Sleep(time.Until(b.Now.Add(6 * time.Second))) // the livenessProbe has been asked for as long as it has patience
	s.becomes("db-0", 0, b.Args...)
	s.well("db-0")
}

func withoutAVolume(s *space) {
	s.example("exec.yaml", "        - name: identity\n          mountPath: /identity\n", "", "replicas: 3", "replicas: 1")
	end := s.fails("db-0", 13, "")
	for _, words := range []string{"podfqdn: /identity is not a volume: ", "volumes: [{name: identity, emptyDir: {}}]", "volumeMounts: [{name: identity, mountPath: /identity}]"} {
		if !strings.Contains(end.Message, words) {
			s.Errorf("the termination message lacks %q: %s", words, end.Message)
		}
	}
	s.does(s.finds("db-0", diagnosis.Volume, `container "app" has no volume at /identity`))
	s.kubectl("rollout", "status", "statefulset/db", "--timeout=3m")
	s.becomes("db-0", 0, "/my-server", "--listen=:8080", "--advertise="+s.fqdn("db-0", "db")+":8080")
}

// crashes ends the application with 11, which is an exit code of podfqdn's too.
func (s *space) crashes(pod string, restarts int32) {
	s.Helper()
	_, _, _ = s.tryExec(pod, "app", "/my-server", "crash") // it ends with the container
	p := s.until(pod, "the application has crashed", func(p *corev1.Pod) bool { return application(p).RestartCount == restarts })
	if end := application(p).LastTerminationState.Terminated; end == nil || end.ExitCode != 11 || end.Message != "" {
		s.Errorf("%s: the application ended by %+v", pod, end)
	}
}

// fails waits until the application's container has ended with a code, for a
// reason of the kubelet's.
func (s *space) fails(pod string, code int32, reason string) (end *corev1.ContainerStateTerminated) {
	s.Helper()
	s.until(pod, "its container has ended", func(p *corev1.Pod) bool {
		if end = application(p).LastTerminationState.Terminated; end == nil {
			end = application(p).State.Terminated
		}
		return end != nil
	})
	if end.ExitCode != code || reason != "" && end.Reason != reason {
		s.Errorf("%s ended with %d, %s, want %d, %s: %s", pod, end.ExitCode, end.Reason, code, reason, end.Message)
	}
	s.Logf("%s: exit code %d, %s: %s", pod, end.ExitCode, end.Reason, end.Message)
	return end
}

// killedByProbe is a Pod whose name DNS does not know yet, and whose livenessProbe
// does not wait for that.
func killedByProbe(s *space) {
	s.example("exec.yaml", "replicas: 3", "replicas: 1", "  selector:\n    app: db\n---", "  selector:\n    app: another\n---",
		"        startupProbe: # holds back the livenessProbe, which would kill podfqdn while it waits\n          httpGet: {path: /healthz, port: 8080}\n          periodSeconds: 1\n          failureThreshold: 960 # PODFQDN_TIMEOUT, 15m, plus a minute for the server itself\n", "",
		"        livenessProbe:\n", "        livenessProbe:\n          periodSeconds: 5\n          failureThreshold: 2\n")
	end := s.fails("db-0", 143, "")
	if !regexp.MustCompile(`^podfqdn: ended by SIGTERM after .*NXDOMAIN`).MatchString(end.Message) {
		s.Errorf("the termination message is %q", end.Message)
	}
	e := s.doctor("db-0")
	i := slices.IndexFunc(e.Causes, func(c diagnosis.Cause) bool { return c.Kind == diagnosis.KilledByProbe })
	if i < 1 || e.Causes[0].Kind != diagnosis.SelectorMismatch || e.Causes[i].Guess {
		s.Fatalf("%+v", e.Causes)
	}
	s.has(e.Causes[i].Why, `the livenessProbe of container "app" kills podfqdn while it waits`)
	s.has(e.Causes[i].Change, `startupProbe: {"httpGet":{"path":"/healthz","port":8080,"scheme":"HTTP"},"timeoutSeconds":1,"periodSeconds":1,"failureThreshold":910}`)
	s.has(e.IfNothing, "the kubelet kills and restarts it")
	// With the startupProbe it waits for as long as it takes.
	old := s.until("db-0", "it is there", func(*corev1.Pod) bool { return true }).UID
	s.does(e.Causes[i])
	p := s.until("db-0", "it has a startupProbe and waits", func(p *corev1.Pod) bool {
		return p.UID != old && p.Spec.Containers[0].StartupProbe != nil && application(p).State.Running != nil
	})
	time.Sleep(time.Until(application(p).State.Running.StartedAt.Add(15 * time.Second)))
	s.does(e.Causes[0])
	s.kubectl("rollout", "status", "statefulset/db", "--timeout=3m")
	s.becomes("db-0", 0, "/my-server", "--listen=:8080", "--advertise="+s.fqdn("db-0", "db")+":8080")
	s.well("db-0")
}

// deletedWhileItWaits deletes a Pod whose wait cannot succeed: the wait does not delay its end.
func deletedWhileItWaits(s *space) {
	s.example("exec.yaml", "replicas: 3", "replicas: 1", "  selector:\n    app: db\n---", "  selector:\n    app: another\n---",
		"      labels:\n        app: db\n", "      labels:\n        app: db\n      finalizers: [podfqdn.test/seen]\n") // so that its end is seen
	s.until("db-0", "podfqdn waits", func(p *corev1.Pod) bool { return application(p).State.Running != nil })
	e := s.doctor("db-0")
	if e.State != "waiting" || e.Wire == nil || len(e.Causes) == 0 || e.Causes[0].Kind != diagnosis.SelectorMismatch {
		s.Errorf("%+v", e)
	}
	pods := s.kube.CoreV1().Pods(s.name)
	s.kubectl("scale", "statefulset/db", "--replicas=0")
	p := s.until("db-0", "its container has ended", func(p *corev1.Pod) bool {
		return p.DeletionTimestamp != nil && application(p).State.Terminated != nil
	})
	end := application(p).State.Terminated
	asked := p.DeletionTimestamp.Add(-time.Duration(*p.DeletionGracePeriodSeconds) * time.Second)
	if took := end.FinishedAt.Sub(asked); end.ExitCode != 143 || !strings.HasPrefix(end.Message, "podfqdn: ended by SIGTERM after ") || p.DeletionTimestamp.Before(&end.FinishedAt) {
		s.Errorf("it ended with %d after %v: %s", end.ExitCode, took, end.Message)
	} else {
		s.Logf("it ended with %d after %v of %ds", end.ExitCode, took, *p.DeletionGracePeriodSeconds)
	}
	if _, err := pods.Patch(s.Context(), "db-0", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		s.Error(err)
	}
}

// executedAlone is an application that crashes while nobody answers for DNS: its
// name stands in the volume.
func executedAlone(t *testing.T, w world) {
	s := w.restricted(t)
	s.example("exec.yaml", "replicas: 3", "replicas: 1")
	s.kubectl("rollout", "status", "statefulset/db", "--timeout=3m")
	args := []string{"/my-server", "--listen=:8080", "--advertise=" + s.fqdn("db-0", "db") + ":8080"}
	s.becomes("db-0", 0, args...)
	t.Cleanup(s.restart)
	s.scale(0)
	for restarts := int32(1); restarts <= 2; restarts++ { // at once, and then after a pause of the kubelet's
		s.crashes("db-0", restarts)
		b := s.becomes("db-0", restarts, args...)
		if took := b.Now.Sub(b.Since); took > 5*time.Second { // a tenth of a second where the machine is idle
			t.Errorf("the application began %v after podfqdn did", took)
		} else {
			t.Logf("the application began %v after podfqdn did", took)
		}
		if strings.Count(b.log, "\n") != 1 {
			t.Errorf("podfqdn has something to say:\n%s", b.log)
		}
	}
	s.kubectl("wait", "--for=condition=Ready", "pod/db-0", "--timeout=3m")
}
