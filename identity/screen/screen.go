// Package screen shows people what was found out: the verdict first, and last,
// where the eye is when the prompt is back, what to do.
package screen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/podfqdn/podfqdn/identity"
)

// Screen is written to, part by part.
type Screen struct {
	W      io.Writer
	Colour bool
}

// New gives a Screen that has colours where w is a terminal and nobody objects
// by NO_COLOR (https://no-color.org).
func New(w io.Writer) Screen { return Screen{w, IsTerminal(w) && os.Getenv("NO_COLOR") == ""} }

// IsTerminal reports whether somebody reads what is written to w.
func IsTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Printable escapes what a terminal or a log viewer may act on: control
// characters, and all that is not ASCII. Line ends between sentences become
// "; ".
func Printable(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		quoted := strconv.QuoteToASCII(line)
		quoted = quoted[1 : len(quoted)-1]
		// What was quoted before must not be so twice.
		lines[i] = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(quoted)
	}
	shown := strings.Join(lines, "; ")
	if len(shown) <= most {
		return shown
	}
	const (
		end   = most / 4        // which says what to change
		begin = most - end - 32 // the words between them are less
	)
	return fmt.Sprintf("%s [%d bytes left out] %s", shown[:begin], len(shown)-begin-end, shown[len(shown)-end:])
}

// most is how many bytes of one text are shown: the kubelet reads 4096 of a
// termination log, and what is longer was never meant for people.
const most = 3 << 10

// JSON gives v for programs, indented, and in ASCII: a program reads the same,
// and a terminal finds nothing to act on where somebody looks.
func JSON(v any) ([]byte, error) {
	return ascii(v, func(r rune) (escaped string) {
		for _, unit := range utf16.AppendRune(nil, r) {
			escaped += fmt.Sprintf(`\u%04x`, unit)
		}
		return escaped
	})
}

// YAML gives v in YAML's flow style, which is that of JSON but for characters
// that take two escapes there.
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

// paint gives text in a colour.
func (s Screen) paint(colour, text string) string {
	if !s.Colour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// Diagnosis shows all of one.
func (s Screen) Diagnosis(d identity.Diagnosis) {
	if d.Healthy {
		s.Verdict(true, "DNS agrees on "+d.FQDN)
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

// Verdict shows in a line how it is, and why.
func (s Screen) Verdict(healthy bool, why string) {
	if healthy {
		fmt.Fprintf(s.W, "%s: %s\n", s.paint(green, "healthy"), Printable(why))
	} else {
		fmt.Fprintf(s.W, "%s: %s\n", s.paint(red, "not healthy"), Printable(why))
	}
}

// Lines shows what has a line each; nothing where there is none.
func (s Screen) Lines(title string, lines ...string) {
	if len(lines) == 0 {
		return
	}
	s.title(title)
	for _, line := range lines {
		fmt.Fprintf(s.W, "  %s\n", Printable(line))
	}
}

// Facts shows what was seen, and where.
func (s Screen) Facts(title string, facts []identity.Seen) {
	s.title(title)
	wide := 0
	for _, f := range facts {
		wide = max(wide, min(len(Printable(f.Name)), 60))
	}
	for _, f := range facts {
		value := s.paint(red, "none")
		if f.Value != "" {
			value = Printable(f.Value)
		}
		fmt.Fprintf(s.W, "  %-*s  %s  %s\n", wide, Printable(f.Name), value, s.paint(faint, "("+Printable(f.From)+")"))
	}
}

// Questions shows what each server was asked.
func (s Screen) Questions(d identity.Diagnosis) {
	var servers []string
	for _, q := range d.Questions {
		if !slices.Contains(servers, q.Server) {
			servers = append(servers, q.Server)
			s.title("asked of " + strings.TrimSuffix(q.Server, ":53"))
			s.questions(d, q.Server)
		}
	}
}

// Causes shows what to change, the most likely first; told is what the reader
// has been told already.
func (s Screen) Causes(causes []identity.Cause, told string) {
	if len(causes) == 0 {
		return
	}
	s.title("causes, the most likely first")
	for i, c := range causes {
		kind := s.paint(bold, Printable(string(c.Kind)))
		if c.Guess {
			kind = s.paint(amber, "perhaps ") + kind
		}
		fmt.Fprintf(s.W, "  %d. %s\n", i+1, kind)
		for _, line := range []struct{ what, text string }{{"why", c.Why}, {"change", c.Change}, {"run", c.Command}} {
			if line.text != "" && line.text != told {
				fmt.Fprintf(s.W, "     %-8s%s\n", line.what, Printable(line.text))
			}
		}
	}
}

func (s Screen) title(text string) { fmt.Fprintf(s.W, "\n%s\n", s.paint(bold, Printable(text))) }

// questions shows what one server was asked, the same with the same answer once.
func (s Screen) questions(d identity.Diagnosis, server string) {
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
			r.cells[i] = Printable(r.cells[i])
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
		fmt.Fprintln(s.W, line.String())
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
