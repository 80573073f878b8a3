package reference

import "strings"

// Slip is text that looks like a reference and is not one, so it stays as it is.
type Slip struct {
	Line    int    // from 1
	Written string // such as $(POD_FQND), without what follows the name
	Meant   string // the documented variable that it is a slip of
}

// maxSlips is how many Slips returns.
const maxSlips = 8

// Slips returns what stays in the text, and is a reference but for a slip in the
// name, for blanks, or for lower case; at most 8. What has one more "$" in front is
// left out, as it is meant to stay.
func (t Text) Slips() (all []Slip) {
	for from := 0; len(all) < maxSlips; {
		i := strings.Index(t.text[from:], "$(")
		if i < 0 {
			break
		}
		at := from + i
		from = at + len("$(")
		if _, ok := t.pieceAt(at); ok || at > 0 && t.text[at-1] == '$' {
			continue
		}
		rest := strings.TrimLeft(t.text[from:min(len(t.text), from+64)], " \t")
		name := rest[:span(rest, func(c byte) bool { return isName(c) || 'a' <= c && c <= 'z' })]
		if meant := Nearest(strings.ToUpper(name), t.documented); meant != "" {
			all = append(all, Slip{t.line(at), "$(" + name + ")", meant})
		}
	}
	return all
}

// Nearest returns the one of names that name is a slip of, "" for none: one letter that
// is wrong, too many or missing, or two that are swapped; two such slips in a name of
// more than nine letters.
func Nearest(name string, names []string) string {
	least := 1
	if len(name) > 9 {
		least = 2
	}
	best := ""
	for _, n := range names {
		if d := Distance(name, n); d < least || d == least && best == "" {
			best, least = n, d
		}
	}
	return best
}

// Distance counts the letters to add, leave out, change, or swap with the next one,
// to make b of a (optimal string alignment).
func Distance(a, b string) int {
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			change := row[j]
			if a[i] != b[j] {
				change++
			}
			next[j+1] = min(change, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
