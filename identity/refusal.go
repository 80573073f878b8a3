package identity

import "fmt"

// Refusal says in one sentence why there is no name to wait for and which
// field or variable to set. It is final: nothing that DNS may do later
// changes it.
type Refusal struct{ err error }

func (r *Refusal) Error() string { return r.err.Error() }

func (r *Refusal) Unwrap() error { return r.err }

func refuse(format string, args ...any) error {
	return &Refusal{fmt.Errorf(format, args...)}
}
