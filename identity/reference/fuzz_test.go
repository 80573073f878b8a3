package reference_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/podfqdn/podfqdn/identity/reference"
)

// seeds are texts in which other programs have dollars of their own.
var seeds = []string{
	"", "$", "$(", "$()", "$$", "pa$$word", "$(POD_FQDN)", "$$(POD_FQDN)", "$$$(POD_FQDN)", "$(POD_ORDINAL+1)",
	"$(POD_ORDINAL+)", "$(POD_FQDN:x)", "$(POD_$(POD_IP))", "\xff$(POD_IP)\xfe",
	// log4j2
	`<PatternLayout pattern="%d ${hostName} $${env:POD_FQDN} $${date:MM-dd} $$${sys:x}"/>`,
	`filePattern="logs/$${date:yyyy-MM}/app-%d{MM-dd-yyyy}-%i.log.gz"`,
	// make
	"OBJS = $(SRCS:.c=.o)\nall: $(OBJS)\n\tfor i in $(POD_IPS); do echo $$i $$(hostname) $$$$; done\n\techo $@ $< $(@D)\n",
	"NAME := $(shell hostname -f)\n$(eval $(call rule,$(POD_FQDN)))\n",
	// sh
	`exec server --name="$(hostname -f)" --pid=$$ --id=$((${HOSTNAME##*-}+1)) "${POD_FQDN:-none}" $(POD_FQDN=x; echo $POD_FQDN)`,
	"case $(POD_ORDINAL) in 0) echo $(( $(POD_ORDINAL+1) * 100 ));; esac\n",
	// nginx, systemd, sed
	`server_name $host $hostname; rewrite ^/(.*)$ https://$(POD_FQDN)/$1;`,
	`ExecStart=/bin/sh -c 'echo $$POD $(POD_IP)'`, `s/^\(.*\)$/\1$(POD_IP)/`,
	// lists
	"$(POD_PEERS)", "$$(POD_PEERS:{fqdn})", `$(POD_PEERS[\n]:server.{ordinal+1}={fqdn}:2888:3888;2181)`, "$(POD_PEERS[;])",
	`$(POD_PEERS[)$(POD_IP-]:{hostname})`, "$(POD_PEERS[]:{ordinal})", `$(POD_PEERS[\\\t]:{{fqdn}})`, `$(POD_PEERS[\]:{fqdn})`,
	"$(POD_PEERS:$(POD_FQDN))", `$(POD_PEERS:{"id": {ordinal}, "host": "${fqdn}"})`, "$(POD_PEERS:{fqnd})", "$(POD_PEERS:{ordinal+1)",
	"$(POD_PEERS:x)", "$(POD_PEERS:{fqdn}\n)", "$(POD_PEERS[\n]:{fqdn}{)", "$(POD_PEERS[,])$(POD_PEERS[,]x)",
}

// The same once more, in the words of package regexp: opening is how a reference
// begins, form is a whole one, but for what its format has in braces, and brace
// is that.
var (
	opening = regexp.MustCompile(`\$\((?:POD_FQDN|POD_IPS?|POD_ORDINAL|POD_PEERS)[-+\[:)]`)
	form    = regexp.MustCompile(`^\$\((?:(POD_FQDN|POD_IPS?|POD_ORDINAL|POD_PEERS)|POD_ORDINAL\+([0-9]{1,6})|` +
		`POD_PEERS(?:\[((?:[^\]\\]|\\[nt\\])*)\])?(:[^()\r\n]*)?)\)`)
	brace = regexp.MustCompile(`\$\{|\{(?:(fqdn|hostname|ordinal)|ordinal\+([0-9]{1,6}))\}|\{[A-Za-z]`)
)

// replaced returns what Expand makes of a text, and the text with each reference
// escaped; ok is false if a reference in it is malformed.
func replaced(text string) (expanded, escaped string, ok bool) {
	for {
		at := opening.FindStringIndex(text)
		if at == nil {
			return expanded + text, escaped + text, true
		}
		before, rest := text[:at[0]], text[at[0]:]
		found := form.FindStringSubmatch(rest)
		if found == nil {
			return "", "", false
		}
		value, ok := meant(found)
		if !ok {
			return "", "", false
		}
		escaped += before + "$" + found[0]
		if strings.HasSuffix(before, "$") {
			before, value = strings.TrimSuffix(before, "$"), found[0]
		}
		expanded += before + value
		text = rest[len(found[0]):]
	}
}

// meant is the value of what form has found.
func meant(found []string) (string, bool) {
	switch {
	case found[1] != "":
		return values[found[1]], true
	case found[2] != "":
		n, _ := strconv.Atoi(found[2])
		return strconv.Itoa(2 + n), true
	}
	sep, format := ",", "{fqdn}"
	if strings.HasPrefix(found[0], "$(POD_PEERS[") {
		sep = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`).Replace(found[3])
	}
	if found[4] != "" {
		format = found[4][1:]
	}
	var all []string
	for i, fqdn := range strings.Split(values["POD_PEERS"], ",") {
		words := 0
		all = append(all, brace.ReplaceAllStringFunc(format, func(word string) string {
			parts := brace.FindStringSubmatch(word)
			switch {
			case word == "${":
				return word
			case parts[1] == "fqdn":
				word = fqdn
			case parts[1] == "hostname":
				word = fqdn[:strings.Index(fqdn, ".")]
			case parts[1] == "ordinal":
				word = strconv.Itoa(9 + i)
			case parts[2] != "":
				n, _ := strconv.Atoi(parts[2])
				word = strconv.Itoa(9 + i + n)
			default:
				words = -1 << 20
			}
			words++
			return word
		}))
		if words <= 0 {
			return "", false
		}
	}
	return strings.Join(all, sep), true
}

func FuzzText(f *testing.F) {
	for _, text := range seeds {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := reference.Parse(text, documented)
		want, escaped, ok := replaced(text)
		if ok != (err == nil) {
			t.Fatalf("%q: well-formed is %v: %v", text, ok, err)
		}
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("%q: the error is %q", text, err)
			}
			return
		}
		got, err := parsed.Expand(values)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if got != want {
			t.Fatalf("%q becomes %q, want %q", text, got, want)
		}
		if !opening.MatchString(text) && got != text {
			t.Fatalf("%q without a reference becomes %q", text, got)
		}
		size, err := parsed.Size(values)
		if size != len(got) || err != nil {
			t.Fatalf("%q: Size is %d, and there are %d bytes (%v)", text, size, len(got), err)
		}
		if err := parsed.Check(values); err != nil {
			t.Fatalf("%q: %v", text, err)
		}

		// Escape, then expand: the text.
		again, err := reference.Parse(escaped, documented)
		if err != nil {
			t.Fatalf("%q: %v", escaped, err)
		}
		if needs := again.Needs(); len(needs) > 0 {
			t.Fatalf("%q needs %q", escaped, needs)
		}
		if back, err := again.Expand(nil); back != text || err != nil {
			t.Fatalf("%q, escaped as %q, becomes %q (%v)", text, escaped, back, err)
		}
	})
}
