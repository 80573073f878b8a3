// Package reference finds the references to a Pod's proven values in a text,
// such as $(POD_FQDN) in an argument or in a configuration file, and puts the
// values there.
//
//	$(NAME)                      the value of a documented variable, a line of identity.env
//	$(POD_ORDINAL+N)             the sum; N has 1 to 6 decimal digits
//	$(POD_PEERS:FORMAT)          FORMAT once for each peer, with commas between
//	$(POD_PEERS[SEP]:FORMAT)     with SEP between
//	$(POD_PEERS[SEP])            the peers' names with SEP between
//	$$(NAME)                     $(NAME), as written, as any of these: the one "$" in
//	                             front is taken away
//
// The value of POD_PEERS is names with commas between them. FORMAT has one or more of
//
//	{fqdn}         the peer's name
//	{hostname}     its first label
//	{ordinal}      the number behind the hostname's last hyphen
//	{ordinal+N}    the sum, as above
//
// and every other byte of it stays, except what must be a slip: a brace in front of a
// letter begins a word, and only these words exist. In front of anything else, and
// after a "$", a brace stays. FORMAT has no parenthesis and no line's end: the
// first ")" ends it. SEP is any bytes but "]", and may be empty; in it \n is a line's
// end, \t a tab and \\ a backslash, and no other backslash may be there.
//
// The form is that of the kubelet, which replaces references in a container's
// command, arguments and variables and leaves names that it does not know as they
// are; all that stands in front of the first ")" is a name to it, so that a format
// comes through it as it is. Unlike there every other byte stays: "$$" too, which log4j2, make and
// passwords have for reasons of their own. So a text without a reference to a
// documented variable is the same afterwards, whatever it is.
package reference

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ordinal is the variable that takes +N.
const ordinal = "POD_ORDINAL"

// maxDigits is how many digits N may have.
const maxDigits = 6

// smaller is what to do where a sum is not an int32.
const smaller = "write a smaller number"

// Text is a text with its references found. The zero value is the empty text.
type Text struct {
	text       string
	documented []string
	first      []place // the first reference to each variable
}

// place is where a variable is referred to.
type place struct {
	variable string
	at       int // of the "$"
}

// Malformed is a reference to a documented variable that has none of the forms.
type Malformed struct {
	Line      int    // from 1
	Reference string // as written, or its beginning where it has no end or is long
	Why       string // "only POD_ORDINAL takes +N"
	Want      string // "write $(POD_FQDN)"
}

func (m *Malformed) Error() string {
	return fmt.Sprintf("line %d: %+q is not a reference: %s: %s", m.Line, m.Reference, m.Why, m.Want)
}

// Parse finds the references to the variables in documented, such as POD_FQDN, in
// text, which need not be UTF-8. The error is a *Malformed, the first in text.
func Parse(text string, documented []string) (Text, error) {
	t := Text{text: text, documented: documented}
	for p := range t.pieces() {
		switch {
		case p.why != "":
			return Text{}, t.malformed(p)
		case p.variable != "" && !t.needs(p.variable):
			t.first = append(t.first, place{p.variable, p.from})
		}
	}
	return t, nil
}

// String returns the text as it was parsed.
func (t Text) String() string { return t.text }

// Needs returns the variables that the text refers to, each once, in the order of
// their first reference.
func (t Text) Needs() []string {
	var names []string
	for _, f := range t.first {
		names = append(names, f.variable)
	}
	return names
}

// needs reports whether a reference to variable was found.
func (t Text) needs(variable string) bool {
	return slices.ContainsFunc(t.first, func(f place) bool { return f.variable == variable })
}

// At returns the line of the first reference to variable, from 1; 0 if there is
// none.
func (t Text) At(variable string) int {
	for _, f := range t.first {
		if f.variable == variable {
			return t.line(f.at)
		}
	}
	return 0
}

// Unfit is a reference whose variable has no value, or one that does not fit.
type Unfit struct {
	Line int    // from 1
	Why  string // "POD_FQDN has no value"
	Want string // "leave the reference out"
}

func (u *Unfit) Error() string { return u.Why }

// Check returns the error that Expand would return, an *Unfit, as far as it can be
// told from some of the values: a variable that has none yet is passed over.
func (t Text) Check(values map[string]string) error {
	v := filling{values: values}
	for p := range t.pieces() {
		if _, known := values[p.variable]; !known {
			continue
		}
		if _, err := t.size(p, &v); err != nil {
			return err
		}
	}
	return nil
}

// Size returns how many bytes Expand would return, or its error.
func (t Text) Size(values map[string]string) (int, error) {
	return t.sizes(&filling{values: values})
}

// Expand returns the text with each reference replaced by its value. What a value
// says is not looked at again. The error is an *Unfit: a variable has no value, or
// its value is not a number for +N, or a peer does not have what the format needs.
func (t Text) Expand(values map[string]string) (string, error) {
	text, err := t.Bytes(values)
	return string(text), err
}

// Bytes is Expand for a text that may be large.
func (t Text) Bytes(values map[string]string) ([]byte, error) {
	v := &filling{values: values}
	size, err := t.sizes(v)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, size)
	end := 0 // of the last piece
	for p := range t.pieces() {
		b = append(b, t.text[end:p.from]...)
		if p.listed {
			b = v.list.append(b, p)
		} else {
			value, _, _ := p.value(values)
			b = append(b, value...)
		}
		end = p.to
	}
	return append(b, t.text[end:]...), nil
}

// filling holds the values that replace references. The list is read when it is needed.
type filling struct {
	values map[string]string
	list   *list
}

// sizes returns the size of the whole text.
func (t Text) sizes(v *filling) (int, error) {
	size := len(t.text)
	for p := range t.pieces() {
		n, err := t.size(p, v)
		if err != nil {
			return 0, err
		}
		size += n - (p.to - p.from)
	}
	return size, nil
}

// size returns how many bytes stand in place of p. The error is an *Unfit.
func (t Text) size(p piece, v *filling) (size int, err error) {
	value, why, want := p.value(v.values)
	size = len(value)
	if p.listed && why == "" {
		if v.list == nil {
			v.list = readPeers(value)
		}
		size, why, want = v.list.size(p)
	}
	if why != "" {
		return 0, &Unfit{t.line(p.from), why, want}
	}
	return size, nil
}

// piece is a part of the text that does not stay: a reference, or the "$" in front
// of one. A malformed reference has a reason.
type piece struct {
	from, to  int
	variable  string // "" for a "$"
	sum       bool   // +N, with plus
	plus      int64
	listed    bool   // of POD_PEERS, with a separator or a format
	sep       string // as written
	format    string
	why, want string // want may be empty
}

// pieces yields the pieces of the text in order. They are found each time:
// a text of some MiB can have a million.
func (t Text) pieces() iter.Seq[piece] {
	return func(yield func(piece) bool) {
		for from := 0; ; {
			i := strings.Index(t.text[from:], "$(")
			if i < 0 {
				return
			}
			p, ok := t.pieceAt(from + i)
			from = max(from+i+len("$("), p.to)
			if !ok {
				continue
			}
			if p.from > 0 && t.text[p.from-1] == '$' && p.why == "" {
				p = piece{from: p.from - 1, to: p.from}
			}
			if !yield(p) {
				return
			}
		}
	}
}

// pieceAt reads the reference at the "$(" at from; ok is false if it is not one.
func (t Text) pieceAt(from int) (p piece, ok bool) {
	rest := t.text[from+len("$("):]
	name := rest[:span(rest, isName)]
	rest = rest[len(name):]
	if rest == "" || !slices.Contains(t.documented, name) {
		return piece{}, false
	}
	p = piece{from: from, variable: name}
	switch c := rest[0]; {
	case c == ')':
	case c == '+' && name == ordinal:
		digits := rest[1:][:span(rest[1:], isDigit)]
		rest = rest[1+len(digits):]
		if len(digits) == 0 || len(digits) > maxDigits || !strings.HasPrefix(rest, ")") {
			p.why = fmt.Sprintf("1 to %d digits and a parenthesis must follow the +", maxDigits)
			break
		}
		p.sum = true
		p.plus, _ = strconv.ParseInt(digits, 10, 64)
	case (c == ':' || c == '[') && name == peers:
		rest = p.readList(rest)
	case c == '+':
		p.why = "only " + ordinal + " takes +N"
	case c == ':':
		p.why = "only " + peers + " takes a format"
	case c == '[':
		p.why = "only " + peers + " takes a separator"
	case c == '-':
		p.why = fmt.Sprintf("%s takes no %q", name, c)
	default:
		return piece{}, false
	}
	p.to = len(t.text) - len(rest) + 1
	return p, true
}

// value returns the variable's value, or the sum, and "" in place of a "$". Where it
// cannot be, it says why, and what to do.
func (p piece) value(values map[string]string) (value, why, want string) {
	if p.variable == "" {
		return "", "", ""
	}
	value, ok := values[p.variable]
	if !ok {
		return "", p.variable + " has no value", "leave the reference out"
	}
	if !p.sum {
		return value, "", ""
	}
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return "", fmt.Sprintf("%s is %+q: +%d needs a whole number from 0 to %d", p.variable, value, p.plus, math.MaxInt32), "write $(" + ordinal + ")"
	}
	sum := int64(n) + p.plus
	if sum > math.MaxInt32 {
		return "", fmt.Sprintf("%s is %s: with +%d it is more than %d", p.variable, value, p.plus, math.MaxInt32), smaller
	}
	return strconv.FormatInt(sum, 10), "", ""
}

// malformed says what is wrong with p.
func (t Text) malformed(p piece) *Malformed {
	const most = 64
	written := t.text[p.from:]
	// What has no end may have anything behind it, such as a password.
	start := len("$("+p.variable) + 1
	end := start + 1 + strings.IndexAny(written[start:], ")$ \t\r\n\"'")
	if end <= start || end > most || written[end-1] != ')' {
		end = start
	}
	want := p.want
	if want == "" {
		want = "write $(" + p.variable + ")"
		switch p.variable {
		case ordinal:
			want += " or $(" + ordinal + "+1)"
		case peers:
			want += ", $(" + peers + ":{fqdn}:9092) or $(" + peers + "[;]:{fqdn}:9092)"
		}
	}
	return &Malformed{t.line(p.from), written[:end], p.why, want}
}

func (t Text) line(at int) int { return 1 + strings.Count(t.text[:at], "\n") }

// span returns how many bytes at the beginning of s are of a kind.
func span(s string, of func(byte) bool) int {
	for i := range len(s) {
		if !of(s[i]) {
			return i
		}
	}
	return len(s)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isName(c byte) bool { return isDigit(c) || isLetter(c) || c == '_' }
