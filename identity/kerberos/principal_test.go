package kerberos_test

import (
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity/kerberos"
)

func TestParsePrincipalFollowsLibkrb5(t *testing.T) {
	for _, test := range []struct{ in, want, realm, err string }{
		{in: "user", want: "user"},
		{in: "user@EXAMPLE.COM", want: "user@EXAMPLE.COM", realm: "EXAMPLE.COM"},
		{in: db0, want: db0, realm: "EXAMPLE.COM"},
		{in: "a/b/c/d@R", want: "a/b/c/d@R", realm: "R"},
		{in: `a\/b@R`, want: `a\/b@R`, realm: "R"},
		{in: `user\@home@R`, want: `user\@home@R`, realm: "R"},
		{in: `a\\b`, want: `a\\b`},
		{in: `a\nb\tc\bd\0e`, want: `a\nb\tc\bd\0e`},
		{in: "a\nb\tc\bd", want: `a\nb\tc\bd`},
		{in: `\x\,\{`, want: `x,{`},
		{in: `a@R\/S`, want: `a@R\/S`, realm: `R\/S`},
		{in: "caf\u00e9@R", want: "caf\u00e9@R", realm: "R"},
		{in: "\xff@R", want: "\xff@R", realm: "R"},

		{err: "it has an empty component"},
		{in: "@R", err: "it has an empty component"},
		{in: "HTTP/@R", err: "it has an empty component"},
		{in: "HTTP//h", err: "it has an empty component"},
		{in: "/h", err: "it has an empty component"},
		{in: "user@", err: "its realm is empty: leave the @ out for the default realm"},
		{in: "user@R@S", err: `it has a second @: write \@ for one that is part of a name`},
		{in: "user@R/S", err: "it has a slash in its realm"},
		{in: `user\`, err: "it ends with a backslash"},
		{in: "us\x00er", err: "it has a NUL in it"},
		{in: strings.Repeat("a", 1<<15), err: "it has a component of more than 32767 bytes"},
		{in: "a@" + strings.Repeat("R", 1<<15), err: "its realm has more than 32767 bytes"},
	} {
		p, err := kerberos.ParsePrincipal(test.in)
		message := ""
		if err != nil {
			_, message, _ = strings.Cut(err.Error(), " is not a principal such as SERVICE/HOST@REALM: ")
		}
		if p.String() != test.want || p.Realm() != test.realm || message != test.err {
			t.Errorf("%.40q:\ngot  %q in %q, %s\nwant %q in %q, %s", test.in, p, p.Realm(), message, test.want, test.realm, test.err)
		}
	}
}

func TestPrincipalsAreTheSameWhereLibkrb5SaysSo(t *testing.T) {
	parse := func(s string) kerberos.Principal {
		p, err := kerberos.ParsePrincipal(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if parse(`a\x/b@R`) != parse(`ax/\b@R`) && parse(`ax@R`) != parse(`a\x@R`) {
		t.Error("escapes that mean nothing tell principals apart")
	}
	for _, other := range []string{"http/h@R", "HTTP/H@R", "HTTP/h@r", "HTTP/h", `HTTP\/h@R`, "HTTP/h/x@R"} {
		if parse("HTTP/h@R") == parse(other) {
			t.Errorf("HTTP/h@R is %s", other)
		}
	}
}
