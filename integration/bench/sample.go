package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	podfqdn      = "podfqdn"
	imagePodfqdn = "podfqdn:dev"
)

// The lines of logs that count, but for podfqdn's own.
const (
	lineStart = "bench: start"
	lineDone  = "bench: done"
	lineProbe = "bench: probe "
)

// contender is a way to wait for the own name.
type contender struct {
	key, title string
	script     string // none: podfqdn
}

// allContenders are all of them, by the keys of the tables.
var allContenders = []contender{
	{"a", "nslookup NAME", `until nslookup "$FQDN"; do sleep 1; done`},
	{"b", "nslookup ADDRESS", `until nslookup "$POD_IP" | grep -q "$FQDN"; do sleep 1; done`},
	{"c", "both, compared", `until nslookup "$FQDN" | grep -q "^Address: $POD_IP$" && nslookup "$POD_IP" | grep -q "name = $FQDN$"; do sleep 1; done`},
	{"d", "Go LookupHost", `exec bench lookup "$FQDN"`},
	{"e", podfqdn, ""},
}

// short returns the contenders of the short form.
func short(all []contender) []contender { return []contender{all[0], all[len(all)-1]} }

// done is in the last line that counts.
func (c contender) done() string {
	if c.script == "" {
		return `"msg":"published"`
	}
	return lineDone
}

func (c contender) container() corev1.Container {
	if c.script == "" {
		return corev1.Container{Name: "wait", Image: imagePodfqdn, VolumeMounts: []corev1.VolumeMount{{Name: "identity", MountPath: "/identity"}}}
	}
	script := c.script
	if !strings.HasPrefix(script, "exec") {
		script = "echo '" + lineStart + "'; { " + script + "; } >/dev/null 2>&1; echo '" + lineDone + "'"
	}
	return corev1.Container{Name: "wait", Image: imageBench, Command: []string{"sh", "-c", script}}
}

// sample is what was measured of one Pod. Times are in seconds.
type sample struct {
	Setup     string
	Contender string
	Rep       int
	Pod       string
	Took      float64  // container start to publication
	Late      *float64 // record visible at the last replica to publication; none if that was not seen
	Before    bool     // the record was there at the observer's first question: Late may be more
	Failed    []string // of the application's three plain questions
	Asked     float64  // publication to the answers to these
	Waiting   int      // sets that waited for DNS at the same time
	Error     string   // it never published
	Log       string   // of an unusual one
}

// unusual is a lateness that is worth a log.
const unusual = 300 * time.Millisecond

// read makes the samples of a set, of the logs of its Pods.
func (w *world) read(ctx context.Context, s setup, c contender, set string, servers int) (all []sample) {
	for _, p := range w.of(set) {
		m := sample{Setup: s.title, Contender: c.title, Pod: p.Name}
		waited, err := w.log(ctx, p.Name, "wait", c.done())
		if err == nil {
			var asked []line
			if asked, err = w.log(ctx, p.Name, "app", lineProbe); err == nil {
				start, done, answered := waited[0].at, find(waited, c.done()).at, find(asked, lineProbe)
				m.Took, m.Asked = done.Sub(start).Seconds(), answered.at.Sub(done).Seconds()
				err = json.Unmarshal([]byte(strings.TrimPrefix(answered.text, lineProbe)), &m.Failed)
				if at, before, ok := w.visible(w.fqdn(set, p.Name), servers); ok {
					late := done.Sub(at).Seconds()
					m.Late, m.Before = &late, before
				}
			}
		}
		if err != nil {
			m.Error = err.Error()
		}
		if c.script == "" && (err != nil || len(m.Failed) > 0 || m.Late != nil && *m.Late > unusual.Seconds()) {
			for _, l := range waited {
				m.Log += l.at.Format("05.000 ") + l.text + "\n"
			}
		}
		all = append(all, m)
	}
	return all
}

// line is one of a log, with the container runtime's time.
type line struct {
	at   time.Time
	text string
}

func find(lines []line, text string) (found line) {
	for _, l := range lines {
		if strings.Contains(l.text, text) {
			found = l
		}
	}
	return found
}

// log reads a container's log until it holds a text; not for long, as the
// container has written it or never will.
func (w *world) log(ctx context.Context, pod, container, text string) (lines []line, err error) {
	for range 50 {
		b, err := w.kube.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, Timestamps: true}).DoRaw(ctx)
		if err != nil {
			return nil, err
		}
		if lines, err = parse(b); err != nil {
			return nil, err
		}
		if find(lines, text).text != "" {
			return lines, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return lines, fmt.Errorf("%s of Pod %s does not say %q", container, pod, text)
}

func parse(b []byte) (lines []line, err error) {
	for l := range bytes.Lines(b) {
		stamp, text, _ := strings.Cut(strings.TrimSuffix(string(l), "\n"), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line{at, text})
	}
	return lines, nil
}
