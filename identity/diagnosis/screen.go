package diagnosis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// Screen shows a Diagnosis to people: the verdict first, and what to do last, just
// above the prompt. It writes each part as it is given, and escapes all of it.
type Screen struct {
	W      io.Writer
	Colour bool
}

// NewScreen returns a Screen that has colours if w is a terminal and NO_COLOR is not
// set (https://no-color.org).
func NewScreen(w io.Writer) Screen { return Screen{w, IsTerminal(w) && os.Getenv("NO_COLOR") == ""} }

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// JSON returns v as indented JSON, in ASCII: programs read the same value, and a
// terminal gets no control sequences.
func JSON(v any) ([]byte, error) {
	return ascii(v, func(r rune) (escaped string) {
		for _, unit := range utf16.AppendRune(nil, r) {
			escaped += fmt.Sprintf(`\u%04x`, unit)
		}
		return escaped
	})
}

// YAML returns v in YAML's flow style, which is JSON except for characters that take
// two escapes there.
func YAML(v any) ([]byte, error) {
	return ascii(v, func(r rune) string { return fmt.Sprintf(`\U%08x`, r) })
}

func ascii(v any, escape func(rune) string) ([]byte, error) {
	var b, plain bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	for _, r := range b.String() {
		if r < 0x7f {
			plain.WriteRune(r)
		} else {
			plain.WriteString(escape(r))
		}
	}
	return plain.Bytes(), nil
}

// Colours by their escape sequences (ECMA-48 SGR).
const (
	bold  = "1"
	red   = "31"
	green = "32"
	amber = "33"
	faint = "2"
)

// show escapes text and colours it; "" leaves it plain. All output goes through it.
func (s Screen) show(colour, text string) string {
	if text = shown.Printable(text); !s.Colour || colour == "" || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// cell shows text in a colour, padded with blanks to a width.
func (s Screen) cell(colour, text string, width int) string {
	return s.show(colour, text) + strings.Repeat(" ", max(width-wide(text), 0))
}

// wide returns how many columns text takes.
func wide(text string) int { return len(shown.Printable(text)) }

// maxWide bounds the columns that are aligned.
const maxWide = 60

// Diagnosis shows a whole Diagnosis.
func (s Screen) Diagnosis(d Diagnosis) {
	if d.Healthy {
		s.Verdict(true, "DNS agrees on "+d.FQDN)
		s.Lines("but", d.Warnings...)
	} else {
		s.Verdict(false, d.Reason)
	}
	s.Facts("seen in the Pod", d.Facts)
	if d.FQDN != "" {
		var addrs []string
		for _, addr := range d.Addresses {
			addrs = append(addrs, addr.String())
		}
		s.Lines("so it claims", d.FQDN+"  "+strings.Join(addrs, " "))
	}
	s.Questions(d)
	s.Causes(d.Causes, d.Reason)
}

// Verdict shows one line: healthy or not, and why.
func (s Screen) Verdict(healthy bool, why string) {
	verdict := s.show(red, "not healthy")
	if healthy {
		verdict = s.show(green, "healthy")
	}
	fmt.Fprintf(s.W, "%s: %s\n", verdict, s.show("", why))
}

// Lines shows a title and lines below it; nothing if there are no lines.
func (s Screen) Lines(title string, lines ...string) {
	if len(lines) == 0 {
		return
	}
	s.title(title)
	for _, line := range lines {
		fmt.Fprintf(s.W, "  %s\n", s.show("", line))
	}
}

// Facts shows what was seen, and where.
func (s Screen) Facts(title string, facts []Seen) {
	s.title(title)
	width := 0
	for _, f := range facts {
		width = max(width, min(wide(f.Name), maxWide))
	}
	for _, f := range facts {
		value := s.show("", f.Value)
		if f.Value == "" {
			value = s.show(red, "none")
		}
		fmt.Fprintf(s.W, "  %s  %s  %s\n", s.cell("", f.Name, width), value, s.show(faint, "("+f.From+")"))
	}
}

// Questions shows what each server was asked.
func (s Screen) Questions(d Diagnosis) {
	var servers []string
	for _, q := range d.Questions {
		if !slices.Contains(servers, q.Server) {
			servers = append(servers, q.Server)
			s.title("asked of " + strings.TrimSuffix(q.Server, ":53"))
			s.questions(d, q.Server)
		}
	}
}

// Causes shows what to change, the most likely cause first. It omits told, a sentence
// that was shown before.
func (s Screen) Causes(causes []Cause, told string) {
	if len(causes) == 0 {
		return
	}
	s.title("causes, the most likely first")
	for i, c := range causes {
		perhaps := ""
		if c.Guess {
			perhaps = s.show(amber, "perhaps ")
		}
		fmt.Fprintf(s.W, "  %d. %s%s\n", i+1, perhaps, s.show(bold, string(c.Kind)))
		for _, line := range []struct{ what, text string }{{"why", c.Why}, {"change", c.Change}, {"run", c.Command}} {
			if line.text != "" && line.text != told {
				fmt.Fprintf(s.W, "     %-8s%s\n", line.what, s.show("", line.text))
			}
		}
	}
}

func (s Screen) title(text string) { fmt.Fprintf(s.W, "\n%s\n", s.show(bold, text)) }

// row is one question for the screen, and how often it was asked.
type row struct {
	kind, probe, subject, answer, verdict string

	signs string
	times int
	good  bool
}

// same reports whether two rows need one line only.
func (r row) same(o row) bool {
	return r.kind == o.kind && r.subject == o.subject && r.answer == o.answer && (r.kind != "witness" || r.probe == o.probe)
}

// cells returns the columns.
func (r row) cells() []string {
	times := ""
	if r.times > 1 {
		times = fmt.Sprintf("x%d", r.times)
	}
	return []string{r.kind, r.probe, r.subject, r.answer, r.verdict, times, r.signs}
}

// questions shows the questions to one server, each with the same answer once.
func (s Screen) questions(d Diagnosis, server string) {
	home := "" // the cluster domain, whose denials are shown without a zone
	if i := slices.IndexFunc(d.Facts, func(f Seen) bool { return f.Name == factDomain }); i >= 0 {
		home = d.Facts[i].Value
	}
	var rows []row
	for _, q := range d.Questions {
		if q.Server != server {
			continue
		}
		r := row{q.Kind, q.Type, q.Subject, q.Answer, string(q.Verdict), signs(q, home), 1,
			q.Witness || q.Verdict == identity.Agrees || q.Verdict == identity.Absent}
		hidden := func(other Asked) bool { // by the same type, the server says the same of a name that cannot exist
			return other.Kind == identity.Sibling.String() && other.Server == server && other.Type == q.Type && other.Rcode == q.Rcode
		}
		if q.exists() && !slices.ContainsFunc(d.Questions, hidden) {
			r.answer = "exists"
		}
		if q.Witness {
			r.kind = "witness"
		}
		if same := slices.IndexFunc(rows, r.same); same >= 0 {
			rows[same].times++
		} else {
			rows = append(rows, r)
		}
	}
	width := make([]int, 7)
	for _, r := range rows {
		for i, cell := range r.cells() {
			width[i] = max(width[i], min(wide(cell), maxWide))
		}
	}
	for _, r := range rows {
		colours := make([]string, 7)
		if colours[6] = faint; !r.good {
			colours[4] = red
		}
		cells := r.cells()
		for i, cell := range cells[:6] {
			if width[i] > 0 {
				fmt.Fprintf(s.W, "  %s", s.cell(colours[i], cell, width[i]))
			}
		}
		fmt.Fprintf(s.W, "  %s\n", s.show(colours[6], cells[6]))
	}
}

// signs shows where an answer may have come from: a TTL that counts down is a cache's,
// one below its full length may be, and without "aa" (authoritative) another server
// was asked.
func signs(q Asked, home string) string {
	if q.Rcode == "" {
		return fmt.Sprintf("%6.1f ms", q.Milliseconds)
	}
	s := fmt.Sprintf("%6.1f ms  ttl %d", q.Milliseconds, q.TTL)
	if q.Full > q.TTL {
		s += fmt.Sprintf(" of %d", q.Full)
	}
	if q.Cached {
		s += " from a cache"
	}
	if q.Authoritative {
		s += "  aa"
	}
	if q.Zone != "" && q.Zone != home {
		s += "  zone " + q.Zone
	}
	if len(q.Owners) > 0 {
		s += "  records of " + strings.Join(q.Owners, " ")
	}
	if q.NSID != "" {
		s += "  by " + q.NSID
	}
	return s
}
