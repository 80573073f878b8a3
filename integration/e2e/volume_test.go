//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// keys are the names in identity.env.
var keys = []string{"POD_FQDN", "POD_HOSTNAME", "POD_SERVICE", "POD_NAMESPACE", "POD_CLUSTER_DOMAIN", "POD_IP", "POD_IPS", "POD_ORDINAL"}

func volumes(t *testing.T, w world) {
	w.parallel(t, "variables by fileKeyRef, as they stand", func(s *space) {
		s.example("variables.yaml")
		pod := "kafka-0"
		p := s.until(pod, "the application runs", func(p *corev1.Pod) bool { return runs(p, "app") })
		if out, code := s.exec(pod, "app", "ls", "/identity"); code == 0 {
			s.Errorf("the application mounts the volume: %s", out)
		}
		if got, want := s.shell(pod, `tr '\0' '\n' < /proc/1/environ`), "ADVERTISED_HOST="+s.fqdn("kafka-0", "kafka")+"\n"; !strings.Contains(got, want) {
			s.Errorf("%s: no %q in %q", p.Name, want, got)
		}
	})
	w.parallel(t, "a shell and fileKeyRef read the same", func(s *space) {
		s.headless("db", "db")
		p := named(s.podOf("db"), "db-0", "db")
		other := *p.Spec.Containers[0].DeepCopy()
		other.Name, other.VolumeMounts = "other", nil
		for _, key := range keys {
			other.Env = append(other.Env, corev1.EnvVar{Name: key, ValueFrom: &corev1.EnvVarSource{
				FileKeyRef: &corev1.FileKeySelector{VolumeName: "identity", Path: "identity.env", Key: key},
			}})
		}
		p.Spec.Containers = append(p.Spec.Containers, other)
		s.start(p)
		s.published("db", s.fqdn("db-0", "db"))
		s.until("db", "the other container runs", func(p *corev1.Pod) bool { return runs(p, "other") })
		show := "printf '%s\\n' \"$" + strings.Join(keys, `" "$`) + `"`
		sourced := s.shell("db", ". /identity/identity.env; "+show)
		referred, _ := s.exec("db", "other", "sh", "-c", show)
		if sourced != referred || strings.Count(sourced, "\n") != len(keys) || !strings.HasPrefix(sourced, s.fqdn("db-0", "db")+"\n") {
			s.Errorf("a shell reads %q, fileKeyRef sets %q", sourced, referred)
		}
	})
	for _, medium := range []corev1.StorageMedium{corev1.StorageMediumDefault, corev1.StorageMediumMemory} {
		for _, group := range []int64{0, 2000} {
			w.parallel(t, fmt.Sprintf("medium %q with fsGroup %d", medium, group), func(s *space) {
				s.headless("db", "db")
				p, user := named(s.podOf("db"), "db-0", "db"), int64(1234)
				p.Spec.Volumes[0].EmptyDir.Medium = medium
				if group != 0 {
					p.Spec.SecurityContext.FSGroup = &group
				}
				// Neither podfqdn's user nor its group.
				p.Spec.Containers[0].SecurityContext.RunAsUser, p.Spec.Containers[0].SecurityContext.RunAsGroup = &user, &user
				s.start(p)
				s.published("db", s.fqdn("db-0", "db"))
				if got := s.shell("db", "id -u; stat -f -c %T /identity"); (got == "1234\ntmpfs\n") != (medium == corev1.StorageMediumMemory) {
					s.Errorf("user and file system: %q", got)
				}
				if out, code := s.exec("db", "app", "sh", "-c", "echo x > /identity/x"); code == 0 {
					s.Errorf("the application can write: %s", out)
				}
				if got, want := s.shell("db", "stat -L -c %g /identity/fqdn"), fmt.Sprintln(group); group != 0 && got != want {
					s.Errorf("the files are of group %s", got)
				}
			})
		}
	}
}
