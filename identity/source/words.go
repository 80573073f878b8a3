package source

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
)

// Words maps the words in braces to their values in a Pod; "" for one that the Pod
// does not have.
type Words map[string]string

// words lists all of them. HOSTNAME is in upper case, as in the computer accounts
// of Active Directory.
var words = []string{"fqdn", "hostname", "HOSTNAME", "service", "namespace", "ordinal"}

// wordList is for people.
const wordList = "{fqdn}, {hostname}, {HOSTNAME}, {service}, {namespace} and {ordinal}"

// WordsOf returns the words of a claim. A name that does not have the form of
// Kubernetes has neither Service nor namespace, and not every Pod has an ordinal.
func WordsOf(claim identity.Claim) Words {
	fqdn := claim.Name().String()
	hostname, _, _ := strings.Cut(fqdn, ".")
	service, namespace := claim.Service()
	return Words{"fqdn": fqdn, "hostname": hostname, "HOSTNAME": strings.ToUpper(hostname), "service": service, "namespace": namespace, "ordinal": claim.Ordinal()}
}

// Example returns the words of a Pod to try a text on before there is one.
func Example() Words {
	return Words{"fqdn": "db-0.db.default.svc.cluster.local", "hostname": "db-0", "HOSTNAME": "DB-0", "service": "db", "namespace": "default", "ordinal": "0"}
}

// Expand replaces the words in braces. A backslash and the character after it stay as
// they are. The error says what is wrong with the text; it is a *identity.Refusal if a
// word has no value in this Pod.
func (w Words) Expand(text string) (string, error) {
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
			value := w[word]
			if value == "" {
				return "", w.absent(word, text)
			}
			b.WriteString(value)
			i += length
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// absent refuses a word that has no value in this Pod.
func (w Words) absent(word, text string) error {
	why, change := w["fqdn"]+" is not a name of the form HOSTNAME.SERVICE.NAMESPACE.svc.CLUSTERDOMAIN", "write it out, or use {fqdn} or {hostname}"
	if word == "ordinal" {
		why = fmt.Sprintf("the hostname %+q does not end with an ordinal, as db-0 does", w["hostname"])
		change = "set POD_ORDINAL from metadata.labels['apps.kubernetes.io/pod-index'], or write it out"
	}
	return identity.Refuse(identity.Misconfigured, fmt.Errorf("{%s} in %+q has no value, because %s", word, text, why), change)
}

// asciiOf is %+q without the quotes.
func asciiOf(s string) string {
	quoted := fmt.Sprintf("%+q", s)
	return quoted[1 : len(quoted)-1]
}
