package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// The plot's measures, in its own units.
const (
	plotLeft, plotTop, plotWidth = 190, 74, 680
	plotStep                     = 13 // between the lines of one setup
)

// colours of the contenders, the last of which is podfqdn. They are told from
// each other, and from white and from black.
var colours = []string{"#d97706", "#dc2626", "#9333ea", "#6b7280", "#0891b2"}

// drawing is an SVG that is being written, of a plot with one horizontal axis.
type drawing struct{ strings.Builder }

// begin writes what every plot has, and the colours for a reader whose page is dark.
func (d *drawing) begin(bottom int, label, title string) {
	fmt.Fprintf(d, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">
<style>
text { font: 12px system-ui, sans-serif; fill: #1f2937 } .title { font-size: 16px; font-weight: 600 } .grid { stroke: #d1d5db } .back { fill: #ffffff }
@media (prefers-color-scheme: dark) { text { fill: #e5e7eb } .grid { stroke: #374151 } .back { fill: #0d1117 } }
</style>
<rect class="back" width="100%%" height="100%%"/>
`, plotLeft+plotWidth+40, bottom+56, html.EscapeString(label))
	d.text(plotLeft, 24, "start", "title", title)
}

func (d *drawing) text(x, y float64, anchor, class, s string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`+"\n", x, y, anchor, class, html.EscapeString(s))
}

// key writes the meaning of the colour i of n, in a line below the title.
func (d *drawing) key(i, n int, colour, meaning string) {
	at := float64(plotLeft + i*plotWidth/n)
	fmt.Fprintf(d, `<circle cx="%.1f" cy="46" r="5" fill="%s"/>`+"\n", at+5, colour)
	d.text(at+14, 50, "start", "", meaning)
}

// tick writes a line across the plot, and below it what it stands for.
func (d *drawing) tick(x float64, bottom int, s string) {
	fmt.Fprintf(d, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n", x, x, plotTop-8, bottom)
	d.text(x, float64(bottom)+18, "middle", "", s)
}

// spread draws a line from the least to the worst, with a dot at the median.
func (d *drawing) spread(t stats, x func(float64) float64, y float64, colour, what string) {
	fmt.Fprintf(d, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="%s" stroke-width="2"/>`+"\n", x(t.least), x(t.worst), y, y, colour)
	fmt.Fprintf(d, `<circle cx="%.1f" cy="%.1f" r="5" fill="%s"><title>%s</title></circle>`+"\n", x(t.median), y, colour, html.EscapeString(what))
}

// end writes what the axis is, and returns all.
func (d *drawing) end(bottom int, axis string) string {
	d.text(plotLeft+plotWidth/2, float64(bottom)+42, "middle", "", axis+": dot at the median, line from shortest to longest")
	d.WriteString("</svg>\n")
	return d.String()
}

// plot draws the time to identity: for each setup a line for each contender,
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

	var d drawing
	d.begin(bottom, "Time to identity by setup of cluster DNS", "Time to identity: container start to publication")
	for i, c := range r.Contenders {
		d.key(i, len(r.Contenders), r.colour(i), c)
	}
	for decade := from; decade <= to; decade++ {
		t := math.Pow(10, decade)
		d.tick(x(t), bottom, strings.Replace(seconds(t), ".0 s", " s", 1))
	}
	for i, setup := range r.Setups {
		y := float64(plotTop + i*group)
		d.text(plotLeft-12, y+float64(group-plotStep)/2+4, "end", "", setup)
		for j, c := range r.Contenders {
			if t := statsOf(took(r.of(setup, c))); t.n > 0 {
				d.spread(t, x, y+float64(j*plotStep)+plotStep/2, r.colour(j), fmt.Sprintf("%s, %s: %s", setup, c, t.cell()))
			}
		}
	}
	return d.end(bottom, "time, logarithmic")
}

// plot draws the time from scheduled to running: for each way a line for one Pod alone, and one for six at once.
func (r running) plot() string {
	longest := 1.0
	for _, l := range r.Launches {
		longest = max(longest, l.Took)
	}
	to := math.Ceil(longest)
	x := func(t float64) float64 { return plotLeft + plotWidth*t/to }
	group := plotStep*len(r.Together) + plotStep
	bottom := plotTop + group*len(r.Ways)

	var d drawing
	d.begin(bottom, "Time from scheduled to running, by what the Pod does before its application", "From scheduled to the application's first instruction")
	for i, pods := range r.Together {
		d.key(i, len(r.Together), colours[len(colours)-1-i], title(pods))
	}
	for t := 0.0; t <= to; t++ {
		d.tick(x(t), bottom, fmt.Sprintf("%.0f s", t))
	}
	for i, way := range r.Ways {
		y := float64(plotTop + i*group)
		d.text(plotLeft-12, y+float64(group-plotStep)/2+4, "end", "", way.Name)
		for j, pods := range r.Together {
			if t := statsOf(slices.Concat(r.of(way.Name, pods)...)); t.n > 0 {
				d.spread(t, x, y+float64(j*plotStep)+plotStep/2, colours[len(colours)-1-j], fmt.Sprintf("%s, %s: %s", way.Name, title(pods), t.cell()))
			}
		}
	}
	return d.end(bottom, "time")
}

// colour gives that of the contender i: podfqdn has its own, however many there are.
func (r report) colour(i int) string {
	if i == len(r.Contenders)-1 {
		return colours[len(colours)-1]
	}
	return colours[i]
}
