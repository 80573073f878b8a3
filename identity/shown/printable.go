package shown

import (
	"fmt"
	"strconv"
	"strings"
)

// Printable escapes what a terminal or a log viewer may act on: control characters,
// and everything that is not ASCII. Newlines between sentences become "; ". A text
// over 3 KiB is shortened in the middle.
func Printable(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		quoted := strconv.QuoteToASCII(line)
		quoted = quoted[1 : len(quoted)-1]
		// What is quoted already must not be quoted twice.
		lines[i] = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(quoted)
	}
	shown := strings.Join(lines, "; ")
	if len(shown) <= most {
		return shown
	}
	const (
		end   = most / 4        // it says what to change
		begin = most - end - 32 // the words between them are shorter
	)
	return fmt.Sprintf("%s [%d bytes left out] %s", shown[:begin], len(shown)-begin-end, shown[len(shown)-end:])
}

// most is how many bytes of one text are shown: the kubelet reads 4096 of a
// termination log, and a longer text was never meant for people.
const most = 3 << 10
