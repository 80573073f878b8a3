package identity

import "fmt"

// Refusal says in one sentence why there is no name to wait for and which
// field or variable to set. It is final: nothing that DNS may do later
// changes it.
type Refusal struct {
	Kind   RefusalKind
	Change string // the end of the sentence: what to set
	why    error  // its beginning: what was seen
}

func (r *Refusal) Error() string { return r.Why() + ": " + r.Change }

// Why returns the sentence's beginning: what was seen.
func (r *Refusal) Why() string { return r.why.Error() }

func (r *Refusal) Unwrap() error { return r.why }

// RefusalKind is a Refusal in one word, for programs.
type RefusalKind string

const (
	Misconfigured    RefusalKind = "configuration" // a variable, or one of the Pod's files
	NoHostname       RefusalKind = "hostname-missing"
	NoSubdomain      RefusalKind = "subdomain-missing" // a StatefulSet's serviceName
	HostNetwork      RefusalKind = "host-network"
	HostnameOverride RefusalKind = "hostname-override"
	ClusterDomain    RefusalKind = "cluster-domain" // unknown
	ForeignDNS       RefusalKind = "dns-policy"     // there is no nameserver to ask
)

// Refuse makes a Refusal of why, which says what was seen, and of change, which
// says what to set.
func Refuse(kind RefusalKind, why error, change string) *Refusal {
	return &Refusal{Kind: kind, Change: change, why: why}
}

// seen is a Refusal that does not say yet what to change.
type seen struct {
	kind RefusalKind
	why  error
}

// refuse begins a Refusal with what was seen; mend ends it.
func refuse(kind RefusalKind, format string, args ...any) seen {
	return seen{kind, fmt.Errorf(format, args...)}
}

// mend says what to change.
func (s seen) mend(format string, args ...any) error {
	return Refuse(s.kind, s.why, fmt.Sprintf(format, args...))
}
