package identity

import "fmt"

// Refusal says in one sentence why there is no name to wait for and which
// field or variable to set. It is final: nothing that DNS may do later
// changes it.
type Refusal struct {
	Kind   CauseKind
	Change string // the sentence's last clause: what to set
	why    error  // its beginning
}

func (r *Refusal) Error() string { return r.why.Error() + ": " + r.Change }

func (r *Refusal) Unwrap() error { return r.why }

// Refuse gives the Refusal of one of the Walk's adapters: why, and what to set.
func Refuse(kind CauseKind, why error, change string) *Refusal {
	return &Refusal{Kind: kind, Change: change, why: why}
}

// refuse begins a Refusal with what was seen; mend ends it.
func refuse(kind CauseKind, format string, args ...any) *Refusal {
	return &Refusal{Kind: kind, why: fmt.Errorf(format, args...)}
}

// mend says what to change.
func (r *Refusal) mend(format string, args ...any) error {
	r.Change = fmt.Sprintf(format, args...)
	return r
}
