package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// of returns the times of a way with that number of Pods together, one list per round, each in the order of the Pods' ordinals.
func (r running) of(way string, pods int) [][]float64 {
	rounds := make([][]float64, r.Rounds)
	for i := range rounds {
		rounds[i] = make([]float64, pods)
	}
	for _, l := range r.Launches {
		if l.Way == way && l.Pods == pods && l.Round < r.Rounds { // the last round may not be whole
			rounds[l.Round][l.Pod] = l.Took
		}
	}
	return rounds
}

// minus returns what each Pod took more with one way than the Pod of the same ordinal in the same round with another.
func (r running) minus(way, other string, pods int) [][]float64 {
	differences := r.of(way, pods)
	for i, round := range r.of(other, pods) {
		for j, took := range round {
			differences[i][j] -= took
		}
	}
	return differences
}

// median is that of all numbers of all rounds.
func median(rounds [][]float64) float64 { return statsOf(slices.Concat(rounds...)).median }

// resamples are how often interval draws.
const resamples = 4000

// interval returns where 95 % of the medians lie of as many rounds drawn from these with replacement. Whole rounds are
// drawn: what Pods that start together take is not independent.
func interval(rounds [][]float64) (low, high float64) {
	chance := rand.New(rand.NewPCG(1, 2)) // the same numbers give the same interval
	medians := make([]float64, resamples)
	drawn := make([][]float64, len(rounds))
	for i := range medians {
		for j := range drawn {
			drawn[j] = rounds[chance.IntN(len(rounds))]
		}
		medians[i] = median(drawn)
	}
	slices.Sort(medians)
	return rank(medians, 0.025), rank(medians, 0.975)
}

// hundredths writes seconds with two decimals, as 0.13.
func hundredths(s float64) string {
	return strings.Replace(fmt.Sprintf("%.2f", s), "-0.00", "0.00", 1)
}

// difference writes the median, and the interval if there are rounds enough for one, as 0.13 [0.10, 0.15].
func difference(rounds [][]float64) string {
	text := hundredths(median(rounds))
	if len(rounds) < 5 {
		return text
	}
	low, high := interval(rounds)
	return fmt.Sprintf("%s [%s, %s]", text, hundredths(low), hundredths(high))
}

// title says how many Pods started at the same time.
func title(pods int) string {
	if pods == 1 {
		return "one Pod alone"
	}
	return fmt.Sprintf("%d Pods at once", pods)
}

// table is what the documents show: a row for each way.
func (r running) table() string {
	head := []string{"before the application"}
	for _, pods := range r.Together {
		head = append(head, title(pods), "minus nothing")
	}
	var rows [][]string
	for _, way := range r.Ways {
		row := []string{way.Title}
		for _, pods := range r.Together {
			t, more := statsOf(slices.Concat(r.of(way.Name, pods)...)), ""
			if way.Name != wayNothing {
				more = difference(r.minus(way.Name, wayNothing, pods))
			}
			row = append(row, fmt.Sprintf("%s (%s, %s)", hundredths(t.median), hundredths(t.p90), hundredths(t.worst)), more)
		}
		rows = append(rows, row)
	}
	return table(head, rows)
}

// comparisons are the differences that were to be reached.
var comparisons = []struct {
	way, other string
	want       string
	reached    func(seconds float64) bool
}{
	{wayExec, wayNothing, "at most 0.15", func(s float64) bool { return s <= 0.15 }},
	{wayInit, waySleep, "at most 0.10", func(s float64) bool { return s <= 0.10 }},
	{wayLoop, wayExec, "more than 1.5", func(s float64) bool { return s > 1.5 }},
}

// reach sets what was to be reached next to what was measured, with six Pods at once.
func (r running) reach() string {
	var rows [][]string
	for _, c := range comparisons {
		differences := r.minus(c.way, c.other, setSize)
		result := "reached"
		if !c.reached(median(differences)) {
			result = "NOT reached"
		}
		medians := median(r.of(c.way, setSize)) - median(r.of(c.other, setSize))
		rows = append(rows, []string{c.way + ", minus " + c.other, c.want, difference(differences) + ": " + result, hundredths(medians)})
	}
	return table([]string{title(setSize), "wanted", "median of the differences", "difference of the medians"}, rows)
}

// markdown writes the tables, and what they are of.
func (r running) markdown() string {
	var b strings.Builder
	b.WriteString("# From scheduled to running\n\n")
	for _, h := range r.Header {
		fmt.Fprintf(&b, "* %s: %s\n", h[0], h[1])
	}
	fmt.Fprintf(&b, `* load as each round began, over 1, 5 and 15 minutes: %s

Seconds from the moment at which a watch reported that the Pod has a node to its application's first instruction, by one clock. Rounds: %d. Each round starts every way once for each number of Pods, as a parallel StatefulSet, in random order, and each set only when the previous one is gone. Median (90th percentile, worst).

Minus nothing: how much longer a Pod took than the Pod of the same ordinal, in the same round, whose application starts at once. The median of these differences, and its 95 %% confidence interval from resampling whole rounds.

`, strings.Join(r.Load, "; "), r.Rounds)
	b.WriteString(r.table())
	if r.Rounds > 0 && slices.Contains(r.Together, setSize) {
		b.WriteString("\n## Reach\n\n" + r.reach())
	}
	return b.String()
}
