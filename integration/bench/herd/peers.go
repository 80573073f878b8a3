package herd

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// Peers is a run about members that wait for each other.
type Peers struct {
	Borne     []Borne
	Disturbed []Disturbed
	Gathered  []Gathered
	Loads     []string // of the machine, the averages of a minute, before each
}

// RunPeers measures what CoreDNS bears, what sets do to a client that has nothing to do with them, and how long they
// take. It takes half an hour.
func RunPeers(ctx context.Context, podfqdn string, log io.Writer) (p Peers, err error) {
	for _, members := range []int{30, 1000} {
		p.Loads = append(p.Loads, load())
		all, err := bear(ctx, members, []int{0, 250, 400, 500, 750, 1000, 0, 250, 400, 500, 750, 1000})
		if err != nil {
			return p, err
		}
		for _, b := range all {
			fmt.Fprintln(log, b)
		}
		p.Borne = append(p.Borne, all...)
	}
	for _, phase := range []string{nobody, coming, formed} {
		for _, wait := range []string{"majority", "all"} {
			p.Loads = append(p.Loads, load())
			both, err := disturb(ctx, Neighbour{Members: 1000, Wait: wait, Phase: phase, Share: share})
			if err != nil {
				return p, fmt.Errorf("%s of 1000, %s: %w", wait, phase, err)
			}
			for _, d := range both {
				fmt.Fprintln(log, d)
			}
			p.Disturbed = append(p.Disturbed, both...)
		}
	}
	for _, s := range sets() {
		p.Loads = append(p.Loads, load())
		g, err := gather(ctx, podfqdn, s)
		if err != nil {
			return p, fmt.Errorf("%s: %w", s, err)
		}
		fmt.Fprintln(log, g)
		p.Gathered = append(p.Gathered, g)
	}
	return p, nil
}

// sets are those whose time is measured.
func sets() (all []Set) {
	for _, members := range []int{3, 30} {
		for _, last := range []float64{spread, spread, spread, 5, 60} {
			all = append(all, Set{Client: Podfqdn, Members: members, Wait: "all", Share: share, Last: last})
		}
	}
	all = append(all,
		Set{Client: Podfqdn, Members: 30, Wait: "all", Share: 2, Last: spread},
		Set{Client: Walks, Members: 30, Wait: "all", Share: 2, Last: spread},
		Set{Client: Walks, Members: 100, Wait: "all", Share: share, Last: spread},
		Set{Client: Walks, Members: 300, Wait: "majority", Share: share, Last: spread})
	for _, members := range []int{3, 30, 300, 1000} {
		for _, list := range []bool{false, true} {
			if list || members < 1000 { // which would take the best part of an hour
				all = append(all, Set{Client: Podfqdn, Members: members, Wait: "majority", Share: share, Formed: true, List: list, Starts: 1})
			}
		}
	}
	return all
}

// Markdown shows the run as tables.
func (p Peers) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "CoreDNS has %g of a core, unless another share is given. Times are in milliseconds: median / 99 of 100 / worst. The load averages of a minute, before each measurement: %s.\n", share, strings.Join(p.Loads, ", "))
	client := []string{"client, with", "without", "99 of 100", "periods throttled, with / without"}
	cells := func(d Disturb) []string {
		return []string{d.With.String(), d.Without.String(), fmt.Sprintf("× %.2f", d.Ratio), fmt.Sprintf("%.0f %% / %.0f %%", 100*d.Throttled[0], 100*d.Throttled[1])}
	}
	var rows [][]string
	for _, r := range p.Borne {
		rows = append(rows, append([]string{thousands(r.Members), thousands(r.Asked), thousands(int(r.Answered))}, cells(r.Disturb)...))
	}
	table(&b, append([]string{"members that are there", "questions a second", "answered"}, client...), rows)
	rows = nil
	for _, d := range p.Disturbed {
		rows = append(rows, append([]string{thousands(d.Members), d.Wait, d.Phase + ", " + d.when(), thousands(int(d.Rate)), thousands(d.Peak), thousands(d.Published)}, cells(d.Disturb)...))
	}
	table(&b, append([]string{"members", "wait", "phase", "questions a second", "peak second", "published"}, client...), rows)
	p.times(&b)
	return b.String()
}

// times are those of sets.
func (p Peers) times(b *strings.Builder) {
	var together, newcomer [][]string
	for _, g := range p.Gathered {
		head := []string{g.Client, thousands(g.Members), g.Wait, fmt.Sprintf("%g", g.Share)}
		tail := []string{fmt.Sprint(g.Failures), fmt.Sprintf("%.1f", g.Questions), thousands(int(g.Bytes)), thousands(g.Peak)}
		if g.Formed {
			how := "a count"
			if g.List {
				how = "a list"
			}
			newcomer = append(newcomer, append(append(head, how, short(g.Took.Median)), tail[:3]...))
			continue
		}
		together = append(together, append(append(head, fmt.Sprintf("%g s", g.Last), g.Late.String()), tail...))
	}
	table(b, []string{"client", "members", "wait", "CoreDNS's share of a core", "last record after", "last record visible → published", "failures", "questions a process", "bytes", "peak second"}, together)
	table(b, []string{"client", "members, all there", "wait", "CoreDNS's share of a core", "PODFQDN_PEERS is", "start → published", "failures", "questions", "bytes"}, newcomer)
}
