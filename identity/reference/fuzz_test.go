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
}

// form is a reference or its escape, in the words of package regexp.
var form = regexp.MustCompile(`\$?\$\((?:(POD_FQDN|POD_IPS?|POD_ORDINAL)|POD_ORDINAL\+([0-9]{1,6}))\)`)

// odd is how a malformed reference begins, and the sum, which is not one.
var odd = regexp.MustCompile(`\$\((?:POD_FQDN|POD_IPS?|POD_ORDINAL)[-+\[:]`)

func isMalformed(text string) bool {
	for _, at := range odd.FindAllStringIndex(text, -1) {
		if found := form.FindStringIndex(text[at[0]:]); found == nil || found[0] != 0 {
			return true
		}
	}
	return false
}

// replaced is Expand once more, in another way.
func replaced(text string) string {
	return form.ReplaceAllStringFunc(text, func(found string) string {
		if strings.HasPrefix(found, "$$") {
			return found[1:]
		}
		parts := form.FindStringSubmatch(found)
		if parts[2] == "" {
			return values[parts[1]]
		}
		n, _ := strconv.Atoi(parts[2])
		return strconv.Itoa(2 + n)
	})
}

func FuzzText(f *testing.F) {
	for _, text := range seeds {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := reference.Parse(text, documented)
		if malformed := isMalformed(text); malformed != (err != nil) {
			t.Fatalf("%q: malformed is %v: %v", text, malformed, err)
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
		if want := replaced(text); got != want {
			t.Fatalf("%q becomes %q, want %q", text, got, want)
		}
		if !form.MatchString(text) && got != text {
			t.Fatalf("%q without a reference becomes %q", text, got)
		}
		size, err := parsed.Size(values)
		if size != len(got) || err != nil {
			t.Fatalf("%q: Size is %d, and there are %d bytes (%v)", text, size, len(got), err)
		}

		// Escape, then expand: the text.
		escaped := form.ReplaceAllStringFunc(text, func(found string) string {
			if strings.HasPrefix(found, "$$") {
				return "$" + found
			}
			return "$" + found
		})
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
