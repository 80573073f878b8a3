package main

import (
	"fmt"
	"math"
	"slices"
)

// stats are what a table says of many numbers.
type stats struct {
	n                         int
	least, median, p90, worst float64
}

// statsOf returns those of any numbers; they stay as they are.
func statsOf(numbers []float64) stats {
	if len(numbers) == 0 {
		return stats{}
	}
	s := slices.Sorted(slices.Values(numbers))
	return stats{len(s), s[0], rank(s, 0.5), rank(s, 0.9), s[len(s)-1]}
}

// rank is the nearest-rank quantile of sorted numbers: one of them.
func rank(sorted []float64, q float64) float64 {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// seconds writes a duration as short as its size allows.
func seconds(s float64) string {
	if math.Abs(s) < 0.9995 {
		return fmt.Sprintf("%.0f ms", s*1000)
	}
	return fmt.Sprintf("%.1f s", s)
}

// cell is the entry of a table: median, 90th percentile and worst.
func (s stats) cell() string {
	if s.n == 0 {
		return "–"
	}
	return fmt.Sprintf("%s (%s, %s)", seconds(s.median), seconds(s.p90), seconds(s.worst))
}
