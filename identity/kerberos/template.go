package kerberos

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/source"
)

// Templates are the principals that a Pod wants the keys of, each perhaps with
// words in braces for what differs from Pod to Pod. The zero value is none.
type Templates struct{ texts []string }

// IsZero reports whether no principal is wanted.
func (t Templates) IsZero() bool { return len(t.texts) == 0 }

// UnmarshalText reads principals with commas between them, such as
// "HTTP/{fqdn},hdfs/{fqdn}@EXAMPLE.COM", as ParsePrincipal would; a comma that
// is part of a name has a backslash in front of it, and so has a brace or a space.
// An empty text is none.
func (t *Templates) UnmarshalText(text []byte) error {
	*t = Templates{}
	if len(text) == 0 {
		return nil
	}
	var texts []string
	for _, part := range splitUnescaped(string(text), ',') {
		part = strings.TrimLeft(part, " ")
		for strings.HasSuffix(part, " ") && !strings.HasSuffix(part, `\ `) {
			part = part[:len(part)-1]
		}
		if part == "" {
			return errors.New("a principal in the list is empty: remove a comma, or write the principal")
		}
		if len(splitUnescaped(part, ' ')) > 1 {
			return fmt.Errorf("%+q has a space in it: put a comma between two principals", part)
		}
		if _, err := resolve(part, source.Example(), "EXAMPLE.COM"); err != nil {
			return err
		}
		texts = append(texts, part)
	}
	t.texts = texts
	return nil
}

// splitUnescaped splits at each sep that has no backslash in front of it.
func splitUnescaped(text string, sep byte) (parts []string) {
	start := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case sep:
			parts = append(parts, text[start:i])
			start = i + 1
		}
	}
	return append(parts, text[start:])
}

// resolve makes one principal from a template.
func resolve(template string, words source.Words, realm Realm) (Principal, error) {
	if !printable(template) {
		return Principal{}, fmt.Errorf("%+q is not a principal: only printable ASCII is allowed (RFC 4120, 5.2.1)", template)
	}
	text, err := words.Expand(template)
	if err != nil {
		return Principal{}, err
	}
	p, err := ParsePrincipal(text)
	if err != nil {
		return Principal{}, err
	}
	if p.realm == "" && realm == "" {
		return Principal{}, identity.Refuse(identity.Misconfigured, fmt.Errorf("the principal %s has no realm", p), "set PODFQDN_KRB5_REALM, or write the realm after an @")
	}
	p.realm = cmp.Or(p.realm, string(realm))
	if err := checkRealm(p.realm); err != nil {
		return Principal{}, fmt.Errorf("%s: %w", p, err)
	}
	return p, nil
}

// principals makes the principals from the templates, each once, in the order
// given.
func (t Templates) principals(words source.Words, realm Realm) (all []Principal, err error) {
	for _, text := range t.texts {
		p, err := resolve(text, words, realm)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all, nil
}

// Realm is a Kerberos realm, such as EXAMPLE.COM: of the kind that RFC 4120,
// 6.1, calls domain style, so that it can stand in a krb5.conf. "" is none.
type Realm string

// UnmarshalText reads a realm; case counts.
func (r *Realm) UnmarshalText(text []byte) error {
	*r = ""
	if len(text) == 0 {
		return nil
	}
	if err := checkRealm(string(text)); err != nil {
		return err
	}
	*r = Realm(text)
	return nil
}

func checkRealm(realm string) error {
	bad := func(c rune) bool {
		return c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}
	if i := strings.IndexFunc(realm, bad); i >= 0 {
		c := []rune(realm[i:])[0]
		return fmt.Errorf("the realm %+q has %+q in it: letters, digits, dots, hyphens and underscores are allowed", realm, string(c))
	}
	return nil
}
