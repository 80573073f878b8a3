package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The plot's measures, in its own units.
const (
	plotLeft, plotTop, plotWidth = 190, 74, 680
	plotStep                     = 13 // between the lines of one set-up
)

// colours of the contenders, the last of which is podfqdn. They are told from
// each other, and from white and from black.
var colours = []string{"#d97706", "#dc2626", "#9333ea", "#6b7280", "#0891b2"}

// plot draws the time to identity: for each set-up a line for each contender,
// from the shortest time to the longest, with a dot at the median.
func (r report) plot() string {
	low, high := 1.0, 1.0
	for _, t := range took(r.Samples) {
		low, high = min(low, t), max(high, t)
	}
	// Whole decades; a time of nothing has no place on such a scale.
	from, to := math.Floor(math.Log10(max(low, 0.001))), math.Ceil(math.Log10(high*1.01))
	x := func(t float64) float64 {
		return plotLeft + plotWidth*(math.Log10(max(t, math.Pow(10, from)))-from)/(to-from)
	}
	group := plotStep*len(r.Contenders) + plotStep
	bottom := plotTop + group*len(r.Setups)

	var b strings.Builder
	text := func(x, y float64, anchor, class, s string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`+"\n", x, y, anchor, class, html.EscapeString(s))
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="Time to identity by set-up of cluster DNS">
<style>
text { font: 12px system-ui, sans-serif; fill: #1f2937 } .title { font-size: 16px; font-weight: 600 } .grid { stroke: #d1d5db } .back { fill: #ffffff }
@media (prefers-color-scheme: dark) { text { fill: #e5e7eb } .grid { stroke: #374151 } .back { fill: #0d1117 } }
</style>
<rect class="back" width="100%%" height="100%%"/>
`, plotLeft+plotWidth+40, bottom+56)
	text(plotLeft, 24, "start", "title", "Time to identity: container start to publication")
	for i, c := range r.Contenders {
		at := float64(plotLeft + i*plotWidth/len(r.Contenders))
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="46" r="5" fill="%s"/>`+"\n", at+5, r.colour(i))
		text(at+14, 50, "start", "", c)
	}
	for decade := from; decade <= to; decade++ {
		t := math.Pow(10, decade)
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n", x(t), x(t), plotTop-8, bottom)
		text(x(t), float64(bottom)+18, "middle", "", strings.Replace(seconds(t), ".0 s", " s", 1))
	}
	text(plotLeft+plotWidth/2, float64(bottom)+42, "middle", "", "time, logarithmic: dot at the median, line from shortest to longest")
	for i, setup := range r.Setups {
		y := float64(plotTop + i*group)
		text(plotLeft-12, y+float64(group-plotStep)/2+4, "end", "", setup)
		for j, c := range r.Contenders {
			t := statsOf(took(r.of(setup, c)))
			if t.n == 0 {
				continue
			}
			at := y + float64(j*plotStep) + plotStep/2
			fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="%s" stroke-width="2"/>`+"\n", x(t.least), x(t.worst), at, at, r.colour(j))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="5" fill="%s"><title>%s</title></circle>`+"\n", x(t.median), at, r.colour(j),
				html.EscapeString(fmt.Sprintf("%s, %s: %s", setup, c, t.cell())))
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// colour gives that of the contender i: podfqdn has its own, however many there are.
func (r report) colour(i int) string {
	if i == len(r.Contenders)-1 {
		return colours[len(colours)-1]
	}
	return colours[i]
}
