package main

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/podfqdn/podfqdn/integration/bench/herd"
)

// maxBinary is what the binary in the Pod may have, in bytes.
const maxBinary = 9 << 20

// broken returns what is wrong on any machine; times are not part of it.
func (r report) broken() (err error) {
	for _, f := range r.Startup {
		if f.Program != podfqdn {
			continue
		}
		there, later := statsOf(f.Packets).worst, statsOf(f.Later).worst
		if there != 8 || later > 27 {
			err = errors.Join(err, fmt.Errorf("%.0f packets for an existing record and %.0f after a wait of 2 s: want 8, and 27 at most", there, later))
		}
		if f.Binary > maxBinary {
			err = errors.Join(err, fmt.Errorf("the binary has %d bytes: want %d at most", f.Binary, maxBinary))
		}
	}
	if failed, asked := failures(r.of("", podfqdn)); failed > 0 || asked == 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d first questions of the application failed after podfqdn", failed, asked))
	}
	for _, h := range r.Herd.Herds {
		if h.Client != herd.Loop && !h.Never && h.Failures > 0 && h.Share >= 0.2 {
			err = errors.Join(err, fmt.Errorf("%v: %d Pods published nothing", h.Setting, h.Failures))
		}
	}
	return err
}

// reach compares what was to be reached with what was measured.
func (r report) reach() (rows [][]string) {
	add := func(what, most, measured string, ok bool) {
		if ok {
			measured += ": reached"
		} else {
			measured += ": NOT reached"
		}
		rows = append(rows, []string{what, most, measured})
	}
	best, worst := math.Inf(1), 0.0 // ratios
	for _, setup := range r.Setups {
		ours := r.of(setup, podfqdn)
		if t := statsOf(late(ours)); t.n > 0 {
			add("record visible at the last replica to publication, median and worst: "+setup, "60 ms, 300 ms",
				seconds(t.median)+", "+seconds(t.worst), t.median <= 0.060 && t.worst <= 0.300)
		}
		if t := statsOf(took(ours)); t.n > 0 {
			most := 0.15
			if strings.HasSuffix(setup, "replicas") {
				most = 0.4
			}
			add("container start to publication, median: "+setup, seconds(most), seconds(t.median), t.median <= most)
			best, worst = min(best, r.ratio(setup)), max(worst, r.ratio(setup))
		}
	}
	if worst > 0 {
		add("faster than the first contender, in its best and its worst setup", "at least 4×, 150×",
			fmt.Sprintf("%.1f×, %.1f×", best, worst), best >= 4 && worst >= 150)
	}
	failed, asked := failures(r.of("", podfqdn))
	add("plain questions of the application that failed", "0", fmt.Sprintf("%d of %d", failed, asked), failed == 0)
	for _, f := range r.Startup {
		if f.Program != podfqdn {
			continue
		}
		there, later := statsOf(f.Packets).worst, statsOf(f.Later).worst
		add("packets: record there; after a wait of 2 s", "8; 27", fmt.Sprintf("%.0f; %.0f", there, later), there <= 8 && later <= 27)
		first, memory := statsOf(f.First).median, statsOf(f.RSS).median
		add("process start to first packet; resident at most; binary", fmt.Sprintf("5 ms; 8 MiB; %s", mib(maxBinary)),
			fmt.Sprintf("%.1f ms; %.1f MiB; %s", first, memory/1024, mib(f.Binary)), first <= 5 && memory <= 8<<10 && f.Binary <= maxBinary)
	}
	return rows
}
