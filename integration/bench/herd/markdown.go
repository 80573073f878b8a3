package herd

import (
	"fmt"
	"slices"
	"strings"
)

// String is one line for people who wait.
func (h Herd) String() string {
	if h.Never {
		return fmt.Sprintf("%s: %d denials cached, %d thrown out, %.0f questions a second", h.Setting, h.Denials, h.Evictions, h.RateAtMinute)
	}
	return fmt.Sprintf("%s: %d failed, late %v ms, %.1f questions a Pod, at most %d in a second", h.Setting, h.Failures, h.Late, h.PerPod, h.PeakSecond)
}

func (s Setting) String() string {
	text := fmt.Sprintf("%d × %s, %s, %g CPU", s.Pods, s.Client, s.Corefile, s.Share)
	if s.LoseEach > 0 {
		text += ", loses " + s.loss()
	}
	if s.OverSeconds > 0 {
		text += fmt.Sprintf(", within %g s", s.OverSeconds)
	}
	if s.Ready {
		text += ", record there"
	}
	if s.Never {
		text += ", record never comes"
	}
	return text
}

func (t Times) String() string {
	return fmt.Sprintf("%s / %s / %s", short(t.Median), short(t.P99), short(t.Worst))
}

// short shows milliseconds: tenths only where they matter.
func short(ms float64) string {
	if ms < 10 {
		return fmt.Sprintf("%.1f", ms)
	}
	return thousands(int(ms + 0.5))
}

// thousands sets the commas.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func (s Setting) loss() string {
	if s.LoseEach == 0 {
		return "none"
	}
	return fmt.Sprintf("%g %%", 100/float64(s.LoseEach))
}

// Markdown shows the run as tables.
func (r Result) Markdown() string {
	var b strings.Builder
	if len(r.Herds) > 0 {
		fmt.Fprintf(&b, "CoreDNS has %s, unless another share is given. Times are in milliseconds: median / 99 of 100 / worst.\n", r.Herds[0].Held)
	}
	if r.Skipped != "" {
		fmt.Fprintf(&b, "\nNot measured: %s.\n", r.Skipped)
	}
	r.together(&b)
	r.growth(&b)
	r.slower(&b)
	r.waiting(&b)
	return b.String()
}

// some are the herds that a table is about.
func (r Result) some(keep func(Herd) bool) (some []Herd) {
	for _, h := range r.Herds {
		if keep(h) {
			some = append(some, h)
		}
	}
	return some
}

// table writes one, unless it is empty.
func table(b *strings.Builder, head []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	line := func(cells []string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	b.WriteString("\n")
	line(head)
	line(slices.Repeat([]string{"---"}, len(head)))
	for _, row := range rows {
		line(row)
	}
}

// together: Pods that start at once.
func (r Result) together(b *strings.Builder) {
	var rows [][]string
	for _, h := range r.some(func(h Herd) bool { return h.OverSeconds == 0 && !h.Never }) {
		record, cpu := fmt.Sprintf("after %g s", h.visibleAfter().Seconds()), "–"
		if h.Ready {
			record = "there"
		}
		if h.Client != Walks {
			cpu = short(h.CPU)
		}
		rows = append(rows, []string{
			h.Client, h.Corefile, h.loss(), thousands(h.Pods), fmt.Sprintf("%s (%s)", short(h.StartedWithin), thousands(h.StartedLater)), record, fmt.Sprint(h.Failures),
			h.Late.String(), fmt.Sprintf("%.1f (%d)", h.PerPod, h.MostPerPod),
			thousands(h.PeakSecond) + " / " + thousands(10*h.PeakTenth), thousands(h.Repeated), thousands(h.Unanswered), h.Answer.String(), cpu,
		})
	}
	table(b, []string{
		"client", "Corefile", "answers lost", "Pods", "started within (after the record)", "record", "failures", "record visible → published",
		"questions a Pod (most)", "peak a second, over 1 s / 0.1 s", "sent again", "CoreDNS did not answer", "an answer took",
		"processor time a Pod",
	}, rows)
}

// growth: what ten times the Pods cost.
func (r Result) growth(b *strings.Builder) {
	var rows [][]string
	of := func(f func(Herd) float64, h, before Herd) string {
		if f(before) == 0 {
			return "–"
		}
		return fmt.Sprintf("× %.1f", f(h)/f(before))
	}
	for i, h := range r.Herds[min(1, len(r.Herds)):] {
		before := r.Herds[i]
		same := before.Setting
		same.Pods = h.Pods
		if same != h.Setting || before.Pods < 10 { // one Pod's time is chance
			continue
		}
		rows = append(rows, []string{
			h.Client, h.Corefile, h.loss(), thousands(before.Pods) + " → " + thousands(h.Pods),
			of(func(h Herd) float64 { return float64(h.Questions) }, h, before),
			of(func(h Herd) float64 { return float64(h.PeakSecond) }, h, before),
			of(func(h Herd) float64 { return h.Late.Median }, h, before),
			of(func(h Herd) float64 { return h.Late.P99 }, h, before),
		})
	}
	table(b, []string{"client", "Corefile", "answers lost", "Pods", "questions", "peak second", "median time", "time of 99 of 100"}, rows)
}

// slower: many Pods within a minute, before ever slower servers.
func (r Result) slower(b *strings.Builder) {
	var rows [][]string
	for _, h := range r.some(func(h Herd) bool { return h.OverSeconds > 0 }) {
		rows = append(rows, []string{
			fmt.Sprintf("%s in %g s", thousands(h.Pods), h.OverSeconds), fmt.Sprintf("%g", h.Share), fmt.Sprint(h.Failures),
			h.Late.String(), fmt.Sprintf("%.1f (%d)", h.PerPod, h.MostPerPod), thousands(h.PeakSecond),
			thousands(h.Questions / max(len(h.Seconds), 1)), thousands(h.Repeated), thousands(h.Unanswered), h.Answer.String(),
		})
	}
	table(b, []string{
		"Pods", "CoreDNS's share of a core", "failures", "record visible → published", "questions a Pod (most)", "peak second",
		"mean a second", "sent again", "CoreDNS did not answer", "an answer took",
	}, rows)
}

// waiting: what Pods cost whose record never comes.
func (r Result) waiting(b *strings.Builder) {
	var rows [][]string
	for _, h := range r.some(func(h Herd) bool { return h.Never }) {
		rows = append(rows, []string{
			h.Client, h.Corefile, thousands(h.Pods), thousands(h.Denials), thousands(h.Evictions), thousands(int(h.RateAtMinute)),
			thousands(int(h.RateAtTheLast)), thousands(h.PeakSecond), h.Answer.String(),
		})
	}
	table(b, []string{
		"client", "Corefile", "Pods that wait for ever", "denials in CoreDNS's cache after 60 s", "thrown out until then",
		"questions a second, 50–60 s", "70–80 s", "peak second", "an answer took",
	}, rows)
}
