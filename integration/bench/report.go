package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/podfqdn/podfqdn/integration/bench/herd"
	"github.com/podfqdn/podfqdn/integration/cluster"
)

// report is all that one run measured: bench.json.
type report struct {
	Header     [][2]string
	Reps       int
	Setups     []string
	Contenders []string
	Startup    []footprint
	Samples    []sample
	Counts     []count
	Herd       herd.Result
}

// header says what was measured, and where.
func header(ctx context.Context, c *cluster.Cluster, o options) ([][2]string, error) {
	var kernel syscall.Utsname
	var memory syscall.Sysinfo_t
	if err := syscall.Uname(&kernel); err != nil {
		return nil, err
	}
	if err := syscall.Sysinfo(&memory); err != nil {
		return nil, err
	}
	release := ""
	for _, char := range kernel.Release {
		if char != 0 {
			release += string(rune(char))
		}
	}
	model := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	// Pods without requests come last where the machine has other things to do.
	load := "unknown"
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(b), " ")
	}
	built, err := buildinfo.ReadFile(o.podfqdn)
	if err != nil {
		return nil, err
	}
	commit := "unknown"
	for _, s := range built.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			commit += ", modified"
		}
	}
	versions := "Kubernetes " + c.Version
	if b, err := buildinfo.ReadFile(c.Binary("coredns")); err == nil {
		versions += ", CoreDNS " + b.Main.Version
	}
	for _, program := range [][]string{{busybox}, {"unbound", "-V"}} {
		if out, err := exec.CommandContext(ctx, program[0], program[1:]...).Output(); err == nil {
			line, _, _ := strings.Cut(string(out), "\n")
			versions += ", " + strings.TrimSuffix(strings.Replace(line, "Version", "unbound", 1), " multi-call binary.")
		}
	}
	command := fmt.Sprintf("make bench REPS=%d", o.reps)
	switch {
	case o.short:
		command = "make bench BENCH=short"
	case o.only != "":
		command += " BENCH=" + o.only
	}
	return [][2]string{
		{"command", command},
		{"machine", fmt.Sprintf("%s, %d cores, %.0f GiB, Linux %s", model, runtime.NumCPU(), float64(memory.Totalram)*float64(memory.Unit)/(1<<30), release)},
		{"load before", load},
		{"date", time.Now().UTC().Format(time.DateOnly)},
		{"versions", versions + ", " + built.GoVersion},
		{"commit", commit},
	}, nil
}

// of returns the samples of a contender in a setup; empty is all.
func (r report) of(setup, contender string) (samples []sample) {
	for _, s := range r.Samples {
		if (setup == "" || s.Setup == setup) && (contender == "" || s.Contender == contender) {
			samples = append(samples, s)
		}
	}
	return samples
}

func took(samples []sample) (all []float64) {
	for _, s := range samples {
		if s.Error == "" {
			all = append(all, s.Took)
		}
	}
	return all
}

// late returns how long after its record a Pod published, of those whose record was
// seen to appear. One that came before the container counts from its start.
func late(samples []sample) (all []float64) {
	for _, s := range samples {
		if s.Late != nil && !s.Before {
			all = append(all, min(*s.Late, s.Took))
		}
	}
	return all
}

// there returns the time from the container's start to publication of those whose record was there when it was first
// looked for: how much earlier, nobody saw.
func there(samples []sample) (all []float64) {
	for _, s := range samples {
		if s.Before && s.Error == "" {
			all = append(all, s.Took)
		}
	}
	return all
}

// failures returns how many of the applications' plain questions failed, of how many.
func failures(samples []sample) (failed, asked int) {
	for _, s := range samples {
		if s.Error == "" {
			failed += len(s.Failed)
			asked += 3
		}
	}
	return failed, asked
}

// ratio is how much longer the first contender, the usual loop, takes than podfqdn.
func (r report) ratio(setup string) float64 {
	loop, ours := statsOf(took(r.of(setup, r.Contenders[0]))), statsOf(took(r.of(setup, podfqdn)))
	if loop.n == 0 || ours.n == 0 {
		return 0
	}
	return loop.median / ours.median
}

// packets returns the means per Pod of what cluster DNS counted.
func (r report) packets(setup, contender string) (requests, denials float64, ok bool) {
	n := 0.0
	for _, c := range r.Counts {
		if c.Setup == setup && c.Contender == contender {
			for _, k := range c.Requests {
				requests += k
			}
			denials += c.Denials
			n += setSize
		}
	}
	return requests / n, denials / n, n > 0
}

// table writes one in Markdown.
func table(head []string, rows [][]string) string {
	var b strings.Builder
	row := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	row(head)
	row(append([]string{"---"}, strings.Split(strings.Repeat("---: ", len(head)-1), " ")[:len(head)-1]...))
	for _, cells := range rows {
		row(cells)
	}
	return b.String()
}

// grid is a table of setups by contenders.
func (r report) grid(cell func(setup, contender string) string) string {
	var rows [][]string
	for _, setup := range r.Setups {
		row := []string{setup}
		for _, c := range r.Contenders {
			row = append(row, cell(setup, c))
		}
		rows = append(rows, row)
	}
	return table(append([]string{"cluster DNS"}, r.Contenders...), rows)
}

// markdown writes all tables.
func (r report) markdown() string {
	var b strings.Builder
	b.WriteString("# Time to identity\n\n")
	for _, h := range r.Header {
		fmt.Fprintf(&b, "* %s: %s\n", h[0], h[1])
	}
	fmt.Fprintf(&b, "\n%d Pods of a StatefulSet start together, %d times. Median (90th percentile, worst) of the Pods.\n", setSize, r.Reps)
	b.WriteString("\n## Container start to publication\n\n" + r.grid(func(setup, contender string) string {
		samples := r.of(setup, contender)
		all := took(samples)
		cell := statsOf(all).cell()
		if never := len(samples) - len(all); never > 0 {
			cell += fmt.Sprintf(", never: %d", never)
		}
		if ratio := r.ratio(setup); contender == podfqdn && ratio > 0 {
			cell += fmt.Sprintf(", %.1f× faster than the first", ratio)
		}
		return cell
	}))
	b.WriteString("\nGo's LookupHost sends no question: the kubelet has written the name into /etc/hosts. It proves nothing.\n")
	b.WriteString("\n## Record visible at the last replica to publication\n\nFrom the start of the container, if that came later. Negative: published before the last replica knew the name.\n\n" + r.grid(func(setup, contender string) string {
		return statsOf(late(r.of(setup, contender))).cell()
	}))
	already := there(r.of("", podfqdn))
	fmt.Fprintf(&b, "\nOf Pods whose record was seen to appear. For %d of podfqdn's %d it was there when the observer first asked: these published after %s from the start of the container.\n",
		len(already), len(r.of("", podfqdn)), statsOf(already).cell())
	b.WriteString("\n## The application's first plain A, AAAA and PTR that failed\n\n" + r.grid(func(setup, contender string) string {
		failed, asked := failures(r.of(setup, contender))
		return fmt.Sprintf("%d of %d", failed, asked)
	}))
	if len(r.Counts) > 0 {
		b.WriteString("\n## Packets, and entries in the caches for denials, per Pod\n\nWhere unbound or the mesh proxy stands before cluster DNS: what came through.\n\n" + r.grid(func(setup, contender string) string {
			requests, denials, ok := r.packets(setup, contender)
			if !ok {
				return "–"
			}
			return fmt.Sprintf("%.1f, %.1f", requests, denials)
		}))
	}
	b.WriteString("\n## Start-up\n\nMedians of " + fmt.Sprint(runs) + ", the record being there.\n\n")
	var rows [][]string
	for _, f := range r.Startup {
		rows = append(rows, []string{f.Program, fmt.Sprintf("%.1f ms", statsOf(f.First).median), fmt.Sprintf("%.1f ms", statsOf(f.CPU).median),
			fmt.Sprintf("%.1f MiB", statsOf(f.RSS).median/1024), mib(f.Binary), mib(f.Image), fmt.Sprint(statsOf(f.Packets).worst)})
	}
	b.WriteString(table([]string{"", "process start to first packet", "CPU", "resident at most", "binary", "image, compressed", "packets at most"}, rows))
	b.WriteString("\n## Reach\n\n" + table([]string{"", "at most", "measured"}, r.reach()))
	if len(r.Herd.Herds) > 0 {
		b.WriteString("\n## Many Pods together\n\n" + r.Herd.Markdown())
	}
	return b.String()
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
