package reference

import (
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
)

// peers is the variable that takes a separator and a format.
const peers = "POD_PEERS"

// The words of a format.
const (
	wordFQDN     = "fqdn"
	wordHostname = "hostname"
	wordOrdinal  = "ordinal"
)

const allWords = "write {fqdn}, {hostname}, {ordinal} or {ordinal+1}"

// readList reads what stands between the name POD_PEERS and the parenthesis:
// [SEP], :FORMAT, or both. It returns the rest from the parenthesis on, unless it
// gives p a reason.
func (p *piece) readList(rest string) string {
	p.listed, p.sep, p.format = true, ",", "{"+wordFQDN+"}"
	if after, ok := strings.CutPrefix(rest, "["); ok {
		p.sep, rest, ok = strings.Cut(after, "]")
		switch {
		case !ok:
			p.why = `a "]" must close the "["`
			return rest
		case !isSeparator(p.sep):
			p.why, p.want = `a separator has no escapes but \n, \t and \\`, `write \\ for a backslash`
			return rest
		case strings.HasPrefix(rest, ")"):
			return rest
		case !strings.HasPrefix(rest, ":"):
			p.why = `a ":" and a format, or a parenthesis, must follow the "]"`
			return rest
		}
	}
	rest = rest[len(":"):]
	end := strings.IndexAny(rest, "()\r\n")
	switch {
	case end < 0 || rest[end] == '\r' || rest[end] == '\n':
		p.why, p.want = "a parenthesis must close it on the same line", `write a newline as the separator [\n]`
	case rest[end] == '(':
		p.why, p.want = `a format cannot have a "("`, "write what needs parentheses without a format"
	default:
		p.format, rest = rest[:end], rest[end:]
		p.why, p.want = wrongFormat(p.format)
	}
	return rest
}

// wrongFormat returns what is wrong with a format, and what to write; "" for
// nothing. One without a word would say the same for each peer.
func wrongFormat(format string) (why, want string) {
	words := 0
	for part := range parts(format) {
		if part.why != "" {
			return part.why, part.want
		}
		if part.word != "" {
			words++
		}
	}
	if words == 0 {
		return "a format needs a word in braces", allWords
	}
	return "", ""
}

// isSeparator reports whether each backslash of a separator has a meaning.
func isSeparator(sep string) bool {
	for i := 0; i < len(sep); i++ {
		if sep[i] != '\\' {
			continue
		}
		if i++; i == len(sep) || strings.IndexByte(`nt\`, sep[i]) < 0 {
			return false
		}
	}
	return true
}

// separated returns how many bytes a separator is.
func separated(sep string) int {
	size := 0
	for i := 0; i < len(sep); i++ {
		if sep[i] == '\\' {
			i++
		}
		size++
	}
	return size
}

// appendSeparator appends the bytes that a separator stands for.
func appendSeparator(b []byte, sep string) []byte {
	for i := 0; i < len(sep); i++ {
		c := sep[i]
		if c == '\\' {
			i++
			switch c = sep[i]; c {
			case 'n':
				c = '\n'
			case 't':
				c = '\t'
			}
		}
		b = append(b, c)
	}
	return b
}

// part is a word of a format, or what stands between two.
type part struct {
	text      string // as written
	word      string // "" between words
	plus      int64
	why, want string // of a word that is none
}

// parts yields the parts of a format in order. Nothing follows one with a reason.
func parts(format string) iter.Seq[part] {
	return func(yield func(part) bool) {
		begin := 0 // of what is between words
		for i := 0; i+1 < len(format); i++ {
			if format[i] != '{' || !isLetter(format[i+1]) || i > 0 && format[i-1] == '$' {
				continue
			}
			word := readWord(format[i:])
			if begin < i && !yield(part{text: format[begin:i]}) || !yield(word) || word.why != "" {
				return
			}
			begin = i + len(word.text)
			i = begin - 1
		}
		if begin < len(format) {
			yield(part{text: format[begin:]})
		}
	}
}

// readWord reads the word at the brace that format begins with.
func readWord(format string) part {
	const most = 16 // of what is shown of a word
	rest := format[len("{"):]
	name := rest[:span(rest, isLetter)]
	rest = rest[len(name):]
	if name != wordFQDN && name != wordHostname && name != wordOrdinal {
		p := part{why: fmt.Sprintf("%q does not begin a word of a format", "{"+name[:min(len(name), most)])}
		if near := Nearest(strings.ToLower(name), []string{wordFQDN, wordHostname, wordOrdinal}); near != "" {
			p.want = "did you mean {" + near + "}?"
		} else {
			p.want = allWords + "; put a blank after a brace that is meant literally"
		}
		return p
	}
	p := part{word: name}
	if strings.HasPrefix(rest, "+") {
		if name != wordOrdinal {
			return part{why: "only {" + wordOrdinal + "} takes +N", want: "write {" + name + "}"}
		}
		digits := rest[1:][:span(rest[1:], isDigit)]
		rest = rest[1+len(digits):]
		if len(digits) == 0 || len(digits) > maxDigits || !strings.HasPrefix(rest, "}") {
			return part{why: fmt.Sprintf("1 to %d digits and a brace must follow the + of {%s", maxDigits, wordOrdinal), want: "write {ordinal} or {ordinal+1}"}
		}
		p.plus, _ = strconv.ParseInt(digits, 10, 64)
	}
	if !strings.HasPrefix(rest, "}") {
		return part{why: "a brace must close {" + name, want: allWords}
	}
	p.text = format[:len(format)-len(rest)+1]
	return p
}

// peer is a line of the list.
type peer struct {
	fqdn    string
	label   int   // how long the hostname is
	ordinal int64 // -1 for none
}

// list is the peers, and how long all their names are.
type list struct {
	peers         []peer
	fqdns, labels int
}

// readPeers reads the value of POD_PEERS.
func readPeers(value string) *list {
	l := &list{peers: make([]peer, 0, 1+strings.Count(value, ","))}
	for fqdn := range strings.SplitSeq(value, ",") {
		hostname, _, _ := strings.Cut(fqdn, ".")
		l.peers = append(l.peers, peer{fqdn, len(hostname), ordinalOf(hostname)})
		l.fqdns += len(fqdn)
		l.labels += len(hostname)
	}
	return l
}

// ordinalOf returns the number behind the last hyphen of a hostname, as a
// StatefulSet writes it, an int32 without leading zeros; -1 for none.
func ordinalOf(hostname string) int64 {
	text := hostname[strings.LastIndexByte(hostname, '-')+1:]
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || text == hostname || text[0] == '0' && text != "0" {
		return -1
	}
	return int64(n)
}

// size returns how many bytes p becomes. The sums are made once for all references,
// but for numbers, each of which may have another length.
func (l *list) size(p piece) (size int, why, want string) {
	size = (len(l.peers) - 1) * separated(p.sep)
	for part := range parts(p.format) {
		switch part.word {
		case "":
			size += len(l.peers) * len(part.text)
		case wordFQDN:
			size += l.fqdns
		case wordHostname:
			size += l.labels
		case wordOrdinal:
			for _, peer := range l.peers {
				n := peer.ordinal + part.plus
				if peer.ordinal < 0 {
					return 0, fmt.Sprintf("%s has peer %+q, which has no ordinal for %s: its hostname does not end with a hyphen and a number", peers, peer.fqdn, part.text),
						"name peers such as zk-0, or leave " + part.text + " out"
				}
				if n > math.MaxInt32 {
					return 0, fmt.Sprintf("%s has peer %+q, whose ordinal plus %d is more than %d", peers, peer.fqdn, part.plus, math.MaxInt32), smaller
				}
				size += digits(n)
			}
		}
	}
	return size, "", ""
}

// append appends what p becomes, of which size had nothing to say.
func (l *list) append(b []byte, p piece) []byte {
	for i, peer := range l.peers {
		if i > 0 {
			b = appendSeparator(b, p.sep)
		}
		for part := range parts(p.format) {
			switch part.word {
			case "":
				b = append(b, part.text...)
			case wordFQDN:
				b = append(b, peer.fqdn...)
			case wordHostname:
				b = append(b, peer.fqdn[:peer.label]...)
			case wordOrdinal:
				b = strconv.AppendInt(b, peer.ordinal+part.plus, 10)
			}
		}
	}
	return b
}

// digits returns how many decimal digits n has, which is not negative.
func digits(n int64) int {
	size := 1
	for ; n > 9; n /= 10 {
		size++
	}
	return size
}

func isLetter(c byte) bool { return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' }
