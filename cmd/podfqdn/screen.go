package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
)

// screen shows a diagnosis to people: the verdict first, and last, where the
// eye is when the prompt is back, what to do.
type screen struct {
	io.Writer
	colour bool
}

// Colours by their escape sequences (ECMA-48 SGR).
const (
	bold  = "1"
	red   = "31"
	green = "32"
	amber = "33"
	faint = "2"
)

// paint gives text in a colour.
func (s screen) paint(colour, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s screen) show(d identity.Diagnosis) {
	if d.Healthy {
		fmt.Fprintf(s, "%s: DNS agrees on %s\n", s.paint(green, "healthy"), printable(d.FQDN))
	} else {
		fmt.Fprintf(s, "%s: %s\n", s.paint(red, "not healthy"), printable(d.Reason))
	}
	s.title("seen in the Pod")
	wide := 0
	for _, f := range d.Facts {
		wide = max(wide, len(f.Name))
	}
	for _, f := range d.Facts {
		value := s.paint(red, "none")
		if f.Value != "" {
			value = printable(f.Value)
		}
		fmt.Fprintf(s, "  %-*s  %s  %s\n", wide, f.Name, value, s.paint(faint, "("+printable(f.From)+")"))
	}
	if d.FQDN != "" {
		var addrs []string
		for _, addr := range d.Addresses {
			addrs = append(addrs, addr.String())
		}
		s.title("so it claims")
		fmt.Fprintf(s, "  %s  %s\n", d.FQDN, strings.Join(addrs, " "))
	}
	var servers []string
	for _, q := range d.Questions {
		if !slices.Contains(servers, q.Server) {
			servers = append(servers, q.Server)
			s.title("asked of " + q.Server)
			s.questions(d, q.Server)
		}
	}
	if len(d.Causes) == 0 {
		return
	}
	s.title("causes, the most likely first")
	for i, c := range d.Causes {
		kind := s.paint(bold, string(c.Kind))
		if c.Guess {
			kind = s.paint(amber, "perhaps ") + kind
		}
		fmt.Fprintf(s, "  %d. %s\n", i+1, kind)
		for _, line := range []struct{ what, text string }{{"why", c.Why}, {"change", c.Change}, {"run", c.Command}} {
			if line.text == "" || line.text == d.Reason {
				continue // the first line says it
			}
			fmt.Fprintf(s, "     %-8s%s\n", line.what, printable(line.text))
		}
	}
}

func (s screen) title(text string) { fmt.Fprintf(s, "\n%s\n", s.paint(bold, text)) }

// questions shows what one server was asked, the same with the same answer once.
func (s screen) questions(d identity.Diagnosis, server string) {
	home := "" // whose denials need no zone beside them
	if i := slices.IndexFunc(d.Facts, func(f identity.Seen) bool { return f.Name == "cluster domain" }); i >= 0 {
		home = d.Facts[i].Value
	}
	type row struct {
		cells []string
		times int
		good  bool
	}
	var rows []row
	for _, q := range d.Questions {
		if q.Server != server {
			continue
		}
		kind, answer := q.Kind, q.Answer
		if answer == "no data" && q.Kind == identity.Exists.String() {
			answer = "exists"
		}
		if q.Witness {
			kind = "witness"
		}
		r := row{cells: []string{kind, q.Type, q.Subject, answer, string(q.Verdict), "", signs(q, home)}, times: 1,
			good: q.Witness || q.Verdict == identity.Agrees || q.Verdict == "absent"}
		same := slices.IndexFunc(rows, func(o row) bool {
			return o.cells[0] == kind && o.cells[2] == q.Subject && o.cells[3] == answer && (kind != "witness" || o.cells[1] == q.Type)
		})
		if same >= 0 {
			rows[same].times++
		} else {
			rows = append(rows, r)
		}
	}
	wide := make([]int, 7)
	for _, r := range rows {
		if r.times > 1 {
			r.cells[5] = fmt.Sprintf("x%d", r.times)
		}
		for i := range r.cells {
			r.cells[i] = printable(r.cells[i])
			wide[i] = max(wide[i], min(len(r.cells[i]), 60))
		}
	}
	for _, r := range rows {
		var line strings.Builder
		for i, cell := range r.cells {
			if wide[i] == 0 {
				continue
			}
			switch pad := strings.Repeat(" ", max(wide[i]-len(cell), 0)); {
			case i == 4 && !r.good:
				cell = s.paint(red, cell) + pad
			case i == 6:
				cell = s.paint(faint, cell)
			default:
				cell += pad
			}
			line.WriteString("  " + cell)
		}
		fmt.Fprintln(s, line.String())
	}
}

// signs tells where an answer came from, as far as it can be seen: a TTL that
// has counted down is a cache's, and without "aa" (it is authoritative) somebody
// else was asked.
func signs(q identity.Asked, home string) string {
	if q.Rcode == "" {
		return fmt.Sprintf("%6.1f ms", q.Milliseconds)
	}
	s := fmt.Sprintf("%6.1f ms  ttl %d", q.Milliseconds, q.TTL)
	if q.Cached {
		s += " from a cache"
	}
	if q.Authoritative {
		s += "  aa"
	}
	if q.Zone != "" && q.Zone != home {
		s += "  zone " + q.Zone
	}
	if q.NSID != "" {
		s += "  by " + q.NSID
	}
	return s
}
