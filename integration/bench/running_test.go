package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// launched is what six rounds could have measured: with init each Pod takes 2 s more than with nothing, in the last
// round 3 s, and each round and Pod has its own pace.
func launched() running {
	r := running{Header: [][2]string{{"command", "make bench"}}, Rounds: 6, Together: []int{1, 2}, Load: []string{"0.10 0.20 0.30"}}
	for _, w := range allWays {
		if w.Name == wayNothing || w.Name == wayInit {
			r.Ways = append(r.Ways, w)
		}
	}
	for round := range r.Rounds {
		for _, pods := range r.Together {
			for pod := range pods {
				pace := 0.1*float64(round) + float64(pod)
				more := 2.0
				if round == 5 {
					more = 3
				}
				r.Launches = append(r.Launches, launch{wayInit, pods, round, pod, pace + more}, launch{wayNothing, pods, round, pod, pace})
			}
		}
	}
	// A round that was interrupted does not count.
	r.Launches = append(r.Launches, launch{wayInit, 1, 6, 0, 100})
	return r
}

func TestPodsAreComparedWithinTheirRound(t *testing.T) {
	for _, pods := range []int{1, 2} {
		differences := launched().minus(wayInit, wayNothing, pods)
		if len(differences) != 6 {
			t.Fatalf("%d rounds, want 6", len(differences))
		}
		for round, all := range differences {
			want := 2.0
			if round == 5 {
				want = 3
			}
			if len(all) != pods {
				t.Errorf("round %d: %d differences of %d Pods", round, len(all), pods)
			}
			for _, d := range all {
				if d < want-1e-9 || d > want+1e-9 {
					t.Errorf("round %d: %v, want %v", round, d, want)
				}
			}
		}
	}
}

func TestIntervalHoldsTheMedian(t *testing.T) {
	var rounds [][]float64
	for i := range 20 {
		rounds = append(rounds, []float64{float64(i), float64(i) + 0.5})
	}
	low, high := interval(rounds)
	if m := median(rounds); low >= m || m >= high || low < 2 || high > 17.5 {
		t.Errorf("[%v, %v] for a median of %v", low, high, m)
	}
	if again, _ := interval(rounds); again != low {
		t.Errorf("the same numbers give %v and %v", low, again)
	}
	if low, high := interval([][]float64{{3}, {3}, {3}}); low != 3 || high != 3 {
		t.Errorf("where all are 3: [%v, %v]", low, high)
	}
}

func TestDifferenceOfFewRoundsHasNoInterval(t *testing.T) {
	for want, rounds := range map[string][][]float64{
		"0.13":                 {{0.126}},
		"0.00":                 {{-0.001}},
		"-0.20 [-0.20, -0.20]": {{-0.2}, {-0.2}, {-0.2}, {-0.2}, {-0.2}},
	} {
		if got := difference(rounds); got != want {
			t.Errorf("%v: %q, want %q", rounds, got, want)
		}
	}
}

func TestRunningTable(t *testing.T) {
	text := launched().markdown()
	for _, want := range []string{
		"* load as each round began, over 1, 5 and 15 minutes: 0.10 0.20 0.30\n",
		"| before the application | one Pod alone | minus nothing | 2 Pods at once | minus nothing |\n| --- | ---: | ---: | ---: | ---: |\n",
		"| nothing | 0.20 (0.50, 0.50) |  | 0.50 (1.40, 1.50) |  |\n",
		"| `podfqdn init` as init container | 2.20 (3.50, 3.50) | 2.00 [2.00, 2.00] | 3.00 (3.50, 4.50) | 2.00 [2.00, 2.00] |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	if strings.Contains(text, "reached") {
		t.Error("it reports what was reached, but six Pods were never started at once")
	}
}

func TestRunningPlotIsXML(t *testing.T) {
	for name, r := range map[string]running{"launched": launched(), "empty": {}} {
		circles := 0
		for d := xml.NewDecoder(strings.NewReader(r.plot())); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
				circles++
			}
		}
		if want := map[string]int{"launched": 2 + 4}[name]; circles != want {
			t.Errorf("%s: %d circles, want %d", name, circles, want)
		}
	}
}

// TestTheDocumentShowsWhatWasMeasured compares docs/starting.md with the results.
func TestTheDocumentShowsWhatWasMeasured(t *testing.T) {
	results, err := os.ReadFile("results/running.md")
	if err != nil {
		t.Fatal(err)
	}
	_, from, _ := strings.Cut(string(results), "| before the application |")
	measured, _, _ := strings.Cut(from, "\n\n")
	document, err := os.ReadFile("../../docs/starting.md")
	if err != nil {
		t.Fatal(err)
	}
	if rows := strings.Count(measured, "\n"); rows < 1+len(allWays) {
		t.Errorf("results/running.md has %d lines of a table for %d ways", rows, len(allWays))
	}
	if !strings.Contains(string(document), measured) {
		t.Errorf("docs/starting.md does not have the table of results/running.md:%s", measured)
	}
}

// TestTheDocumentsShowTheTimeToTheName compares docs/measurements.md and README.md with the results.
func TestTheDocumentsShowTheTimeToTheName(t *testing.T) {
	results, err := os.ReadFile("results/bench.md")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../../docs/measurements.md")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	times := func(heading, column string) (title []string, cells map[string]string) {
		_, section, _ := strings.Cut(string(results), "\n## "+heading+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		cells = map[string]string{}
		at := 0
		for line := range strings.Lines(section) {
			row := strings.Split(strings.TrimSpace(line), " | ")
			if at == 0 {
				at = slices.IndexFunc(row, func(cell string) bool { return strings.TrimSuffix(cell, " |") == column })
				at = max(at, 0)
				continue
			}
			if m := regexp.MustCompile(`^(.+?) \(.+?, (.+?)\)`).FindStringSubmatch(row[min(at, len(row)-1)]); m != nil {
				name := strings.TrimPrefix(row[0], "| ")
				title, cells[name] = append(title, name), m[1]+" ("+m[2]+")"
			}
		}
		return title, cells
	}
	setups, loop := times("Container start to publication", "nslookup NAME")
	_, both := times("Container start to publication", "both, compared")
	_, podfqdn := times("Container start to publication", "podfqdn")
	_, late := times("Record visible at the last replica to publication", "podfqdn")
	if len(setups) != len(allSetups) {
		t.Fatalf("results/bench.md has the setups %q", setups)
	}
	for _, s := range setups {
		row := fmt.Sprintf("| %s | %s | %s | %s | %s |\n", s, loop[s], both[s], podfqdn[s], late[s])
		if !strings.Contains(string(document), row) {
			t.Errorf("docs/measurements.md lacks\n%s", row)
		}
	}
	median := func(cell string) string { before, _, _ := strings.Cut(cell, " ("); return before }
	for _, s := range []string{"cache 30, 1 replica", "kubeadm 1.37, 1 replica"} {
		if !strings.Contains(string(readme), median(loop[s])) || !strings.Contains(string(readme), median(podfqdn[s])) {
			t.Errorf("README.md does not have %s and %s of %s", loop[s], podfqdn[s], s)
		}
	}
}

// TestEachWayStartsTheSameApplication holds what is compared to one image and one program.
func TestEachWayStartsTheSameApplication(t *testing.T) {
	names := map[string]bool{}
	for _, w := range allWays {
		spec := w.spec(nil)
		if names[w.Name] {
			t.Errorf("%s is there twice", w.Name)
		}
		names[w.Name] = true
		app := spec.Containers[0]
		if len(spec.Containers) != 1 || app.Image != imageBench || app.Command[len(app.Command)-1] != "app" {
			t.Errorf("%s: %+v", w.Name, spec.Containers)
		}
		volumes := map[string]bool{}
		for _, v := range spec.Volumes {
			volumes[v.Name] = true
		}
		for _, c := range append(spec.InitContainers, app) {
			for _, m := range c.VolumeMounts {
				if !volumes[m.Name] {
					t.Errorf("%s: container %s mounts %s, which the Pod does not have", w.Name, c.Name, m.Name)
				}
			}
		}
	}
	for _, c := range comparisons {
		if !names[c.way] || !names[c.other] {
			t.Errorf("%s is compared with %s: one of them is not measured", c.way, c.other)
		}
	}
}
