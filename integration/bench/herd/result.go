package herd

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/integration/crowd"
)

// Result is a run.
type Result struct {
	Herds   []Herd `json:"herds"`
	Skipped string `json:"skipped,omitempty"` // what could not be measured here, and why
}

// Herd is what became of one herd. Times are in milliseconds.
type Herd struct {
	Setting
	Held string `json:"held"` // how CoreDNS was kept from taking all of the machine

	StartedWithin float64   `json:"started_within"` // from the first start to the last
	StartedLater  int       `json:"started_later"`  // how many found their record there already
	Failures      int       `json:"failures"`
	Reasons       []string  `json:"reasons,omitempty"` // of the first few failures
	Late          Times     `json:"late"`              // from the record's visibility, or the start if that was later, to publication
	EachLate      []float64 `json:"each_late,omitempty"`
	CPU           float64   `json:"cpu_per_pod"` // processor time of a Pod's processes, the mean; 0 for walks

	Questions     int      `json:"questions"` // packets
	Repeated      int      `json:"repeated"`  // of these, what a client sent again
	PerPod        float64  `json:"questions_per_pod"`
	MostPerPod    int      `json:"most_questions_of_a_pod"`
	PeakSecond    int      `json:"peak_second"`    // questions within one second
	PeakTenth     int      `json:"peak_tenth"`     // questions within a tenth of a second
	Lost          int      `json:"lost"`           // answers that the proxy kept
	Unanswered    int      `json:"unanswered"`     // questions that CoreDNS gave no answer to
	Answer        Times    `json:"answer"`         // how long CoreDNS's answers took
	Seconds       []Second `json:"seconds"`        // since the first start
	Denials       int      `json:"denials"`        // in CoreDNS's cache after a minute, of those that wait for ever
	Evictions     int      `json:"evictions"`      // what left CoreDNS's cache to make room until then
	RateAtMinute  float64  `json:"rate_at_minute"` // questions a second in the ten before that
	RateAtTheLast float64  `json:"rate_at_last"`   // and in the last ten of all
}

// Times are of many: half of them are at most Median, 99 of 100 at most P99. All are 0 where there is none.
type Times struct {
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
	Worst  float64 `json:"worst"`
}

// Second is one of a herd's life.
type Second struct {
	Questions  int     `json:"questions"`
	Unanswered int     `json:"unanswered"`
	Answer     float64 `json:"answer"` // median of the answers to this second's questions
}

// judge takes down what became of the Pods.
func (h *Herd) judge(o *outcome) {
	h.StartedWithin = milliseconds(o.started[len(o.started)-1].Sub(o.started[0]))
	if h.Never {
		return
	}
	var cpu time.Duration
	for i, p := range o.pods {
		from := o.visible[crowd.Pod(i).Service()]
		if o.started[i].After(from) {
			from = o.started[i]
			h.StartedLater++
		}
		if err := o.failed[i]; err != nil {
			h.Failures++
			if len(h.Reasons) < 5 {
				h.Reasons = append(h.Reasons, fmt.Sprintf("%s: %v", p.FQDN(), err))
			}
			continue
		}
		// The clock of a file system may be a tick behind.
		h.EachLate = append(h.EachLate, max(milliseconds(o.ends[i].published.Sub(from)), 0))
		cpu += o.ends[i].cpu
	}
	if n := len(h.EachLate); n > 0 {
		h.CPU = milliseconds(cpu / time.Duration(n))
	}
	slices.Sort(h.EachLate)
	h.Late = timesOf(h.EachLate)
}

// count takes down what went over the wire.
func (h *Herd) count(w *wire, pods []pod) {
	h.Questions, h.Repeated, h.Lost, h.Unanswered = len(w.at), w.repeated, w.lost, len(w.at)-len(w.answers)
	h.PerPod = float64(h.Questions) / float64(h.Pods)
	h.PeakSecond, h.PeakTenth = densest(w.at, time.Second), densest(w.at, time.Second/10)
	for _, p := range pods {
		n := 0
		for _, owner := range p.names() {
			n += w.names[packed(owner)]
		}
		h.MostPerPod = max(h.MostPerPod, n)
	}
	if len(w.at) == 0 {
		return
	}
	h.Seconds = make([]Second, int(w.at[len(w.at)-1]/time.Second)+1)
	took := make([][]float64, len(h.Seconds))
	var all []float64
	for _, at := range w.at {
		h.Seconds[at/time.Second].Questions++
	}
	for _, a := range w.answers {
		ms := milliseconds(a.took)
		all = append(all, ms)
		took[a.asked/time.Second] = append(took[a.asked/time.Second], ms)
	}
	slices.Sort(all)
	h.Answer = timesOf(all)
	for i := range h.Seconds {
		slices.Sort(took[i])
		h.Seconds[i].Unanswered = h.Seconds[i].Questions - len(took[i])
		h.Seconds[i].Answer = timesOf(took[i]).Median
	}
	if h.Never {
		h.RateAtMinute = h.rate(lookAfter-10*time.Second, lookAfter)
		h.RateAtTheLast = h.rate(waitFor-10*time.Second, waitFor)
	}
}

// rate is how many questions a second came between two moments.
func (h *Herd) rate(from, to time.Duration) float64 {
	n := 0
	for i, s := range h.Seconds {
		if at := time.Duration(i) * time.Second; at >= from && at < to {
			n += s.Questions
		}
	}
	return float64(n) / (to - from).Seconds()
}

// densest is how many of ordered moments lie within one window.
func densest(at []time.Duration, window time.Duration) (most int) {
	first := 0
	for i := range at {
		for at[i]-at[first] >= window {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// packed is a name as it stands in a packet, without the root.
func packed(owner string) string {
	b := make([]byte, 256)
	n, err := dns.PackDomainName(owner, b, 0, nil, false)
	if err != nil {
		panic(err) // it is a Pod's
	}
	return string(b[:n-1])
}

// timesOf reads them off sorted ones.
func timesOf(sorted []float64) Times {
	if len(sorted) == 0 {
		return Times{}
	}
	at := func(part float64) float64 { return sorted[int(math.Ceil(part*float64(len(sorted))))-1] }
	return Times{Median: at(0.5), P99: at(0.99), Worst: at(1)}
}

// milliseconds to a tenth: more would be noise.
func milliseconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e4) / 10 }
