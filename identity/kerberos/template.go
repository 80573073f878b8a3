package kerberos

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
)

// words are what may stand in braces, in Templates and in a Source.
// HOSTNAME is in upper case, as in the computer accounts of Active Directory.
var words = []string{"fqdn", "hostname", "HOSTNAME", "service", "namespace", "ordinal"}

// wordList is for people.
const wordList = "{fqdn}, {hostname}, {HOSTNAME}, {service}, {namespace} and {ordinal}"

// wordsOf gives what they stand for. A name of another form than Kubernetes
// gives has neither Service nor namespace, and not every Pod has an ordinal.
func wordsOf(claim identity.Claim) map[string]string {
	fqdn := claim.Name().String()
	hostname, _, _ := strings.Cut(fqdn, ".")
	service, namespace := claim.Service()
	return map[string]string{"fqdn": fqdn, "hostname": hostname, "HOSTNAME": strings.ToUpper(hostname), "service": service, "namespace": namespace, "ordinal": claim.Ordinal()}
}

// expand replaces the words in braces. What a backslash stands before, and the
// backslash, stay as they are.
func expand(text string, values map[string]string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\\':
			end := min(i+2, len(text))
			b.WriteString(text[i:end])
			i = end - 1
		case '}':
			return "", fmt.Errorf("%+q has a } without {: the words are %s", text, wordList)
		case '{':
			length := strings.IndexByte(text[i:], '}')
			if length < 0 {
				return "", fmt.Errorf("%+q has a { without }: the words are %s", text, wordList)
			}
			word := text[i+1 : i+length]
			if !slices.Contains(words, word) {
				return "", fmt.Errorf("%+q has an unknown word, {%s}: the words are %s", text, asciiOf(word), wordList)
			}
			value := values[word]
			if value == "" {
				return "", absent(word, text, values)
			}
			b.WriteString(value)
			i += length
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// absent refuses a word that stands for nothing in this Pod.
func absent(word, text string, values map[string]string) error {
	why, change := values["fqdn"]+" is no name of the form HOSTNAME.SERVICE.NAMESPACE.svc.CLUSTERDOMAIN", "write it out, or use {fqdn} or {hostname}"
	if word == "ordinal" {
		why = fmt.Sprintf("the hostname %+q does not end with an ordinal, as db-0 does", values["hostname"])
		change = "set POD_ORDINAL from metadata.labels['apps.kubernetes.io/pod-index'], or write it out"
	}
	return identity.Refuse(identity.Misconfigured, fmt.Errorf("{%s} in %+q stands for nothing, as %s", word, text, why), change)
}

// asciiOf is %+q without the quotes.
func asciiOf(s string) string {
	quoted := fmt.Sprintf("%+q", s)
	return quoted[1 : len(quoted)-1]
}

// example is a Pod to try templates on before there is one.
var example = map[string]string{"fqdn": "db-0.db.default.svc.cluster.local", "hostname": "db-0", "HOSTNAME": "DB-0", "service": "db", "namespace": "default", "ordinal": "0"}

// Templates are the principals that a Pod wants the keys of, each perhaps with
// words in braces for what differs from Pod to Pod. The zero value is none.
type Templates struct{ texts []string }

// IsZero reports whether no principal is wanted.
func (t Templates) IsZero() bool { return len(t.texts) == 0 }

// UnmarshalText reads principals with commas between them, such as
// "HTTP/{fqdn},hdfs/{fqdn}@EXAMPLE.COM", as ParsePrincipal would; a comma that
// is part of a name has a backslash before it, and so has a brace or a space.
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
			return errors.New("a principal in the list is empty: take a comma out, or write the principal")
		}
		if len(splitUnescaped(part, ' ')) > 1 {
			return fmt.Errorf("%+q has a space in it: put a comma between two principals", part)
		}
		if _, err := resolve(part, example, "EXAMPLE.COM"); err != nil {
			return err
		}
		texts = append(texts, part)
	}
	t.texts = texts
	return nil
}

// splitUnescaped splits at each sep that no backslash stands before.
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

// resolve makes one principal of a template.
func resolve(template string, values map[string]string, realm Realm) (Principal, error) {
	if !printable(template) {
		return Principal{}, fmt.Errorf("%+q is no principal: only printable ASCII is allowed in one (RFC 4120, 5.2.1)", template)
	}
	text, err := expand(template, values)
	if err != nil {
		return Principal{}, err
	}
	p, err := ParsePrincipal(text)
	if err != nil {
		return Principal{}, err
	}
	if p.realm == "" && realm == "" {
		return Principal{}, identity.Refuse(identity.Misconfigured, fmt.Errorf("the principal %s has no realm", p), "set PODFQDN_KRB5_REALM, or write it behind an @")
	}
	p.realm = cmp.Or(p.realm, string(realm))
	if err := checkRealm(p.realm); err != nil {
		return Principal{}, fmt.Errorf("%s: %w", p, err)
	}
	return p, nil
}

// principals makes the principals of the templates, each once, in the order
// given.
func (t Templates) principals(values map[string]string, realm Realm) (all []Principal, err error) {
	for _, text := range t.texts {
		p, err := resolve(text, values, realm)
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
