package kerberos

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// maxPart is the longest component or realm that libkrb5 reads from a keytab:
// its length is a signed 16-bit number there.
const maxPart = 1<<15 - 1

// Principal is the name of a service or a user, such as
// HTTP/db-0.db.default.svc.cluster.local@EXAMPLE.COM. Two are the same, as
// libkrb5 compares them (krb5_principal_compare), exactly when they are ==:
// case counts, the name type does not. The zero value is not a principal.
type Principal struct {
	name  string // the components, as String shows them
	realm string // as String shows it; "" if none was given
}

// ParsePrincipal reads COMPONENT/COMPONENT@REALM as libkrb5 does
// (krb5_parse_name): a backslash takes the meaning from the /, @ or backslash
// behind it, and \n, \t, \b and \0 are the control characters. An empty
// component or realm is refused, since no keytab can hold it.
func ParsePrincipal(s string) (Principal, error) {
	p, err := parsePrincipal(s)
	if err != nil {
		return Principal{}, fmt.Errorf("%+q is not a principal such as SERVICE/HOST@REALM: %w", s, err)
	}
	return p, nil
}

func parsePrincipal(s string) (Principal, error) {
	parts, inRealm := [][]byte{nil}, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == 0:
			return Principal{}, errors.New("it has a NUL in it")
		case c == '/' && inRealm:
			return Principal{}, errors.New("it has a slash in its realm")
		case c == '@' && inRealm:
			return Principal{}, errors.New(`it has a second @: write \@ for one that is part of a name`)
		case c == '/' || c == '@':
			parts, inRealm = append(parts, nil), c == '@'
			continue
		case c == '\\':
			if i++; i == len(s) {
				return Principal{}, errors.New("it ends with a backslash")
			}
			c = unescaped(s[i])
		}
		last := &parts[len(parts)-1]
		*last = append(*last, c)
	}
	var realm []byte
	if inRealm {
		parts, realm = parts[:len(parts)-1], parts[len(parts)-1]
	}
	for _, part := range parts {
		if len(part) == 0 {
			return Principal{}, errors.New("it has an empty component")
		}
		if len(part) > maxPart {
			return Principal{}, fmt.Errorf("it has a component of more than %d bytes", maxPart)
		}
	}
	switch {
	case inRealm && len(realm) == 0:
		return Principal{}, errors.New("its realm is empty: leave the @ out for the default realm")
	case len(realm) > maxPart:
		return Principal{}, fmt.Errorf("its realm has more than %d bytes", maxPart)
	}
	return newPrincipal(parts, realm), nil
}

// unescaped returns what a backslash and c stand for.
func unescaped(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case '0':
		return 0
	}
	return c
}

// escape writes a component or a realm as libkrb5 does (krb5_unparse_name).
var escape = strings.NewReplacer(`\`, `\\`, "/", `\/`, "@", `\@`, "\n", `\n`, "\t", `\t`, "\b", `\b`, "\x00", `\0`)

// newPrincipal makes a principal from its parts, without escapes; no component is
// empty.
func newPrincipal(components [][]byte, realm []byte) Principal {
	// An escaped component has no bare slash in it, so that this is as good as
	// a list of them, and can be compared.
	var name []string
	for _, part := range components {
		name = append(name, escape.Replace(string(part)))
	}
	return Principal{strings.Join(name, "/"), escape.Replace(string(realm))}
}

// String returns the principal as libkrb5 shows it, with escapes; without @ if
// it has no realm. ParsePrincipal reads it again.
func (p Principal) String() string {
	if p.realm == "" {
		return p.name
	}
	return p.name + "@" + p.realm
}

// Realm returns the realm, "" if none was given.
func (p Principal) Realm() string { return p.realm }

// host splits SERVICE/HOST; ok is false if the name has another form.
func (p Principal) host() (service, host string, ok bool) {
	service, host, ok = strings.Cut(p.name, "/")
	return service, host, ok && !strings.ContainsAny(p.name, `\`) && !strings.Contains(host, "/")
}

// printable reports whether all of it can be shown to people as it stands.
// What is not may be the name of nothing: key bytes, where a file was written
// over.
func printable[T ~string | ~[]byte](s T) bool {
	return !bytes.ContainsFunc([]byte(s), func(c rune) bool { return c < ' ' || c > '~' })
}
