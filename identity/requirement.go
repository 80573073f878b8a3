package identity

import "context"

// Requirement is what a Pod needs in addition to its name before its application
// starts, such as the keys of its Kerberos principals. A package makes one from
// a Claim and reads nothing then; the path asks it once DNS agrees.
type Requirement struct {
	Name  string   // in logs: "keys"
	Title string   // in the doctor's facts: "Kerberos keys"
	From  string   // which variable names their source
	Label string   // what Wants are: "principals"; "" where there is nothing to wait for
	Wants []string // what is needed
	// Secret: the process must hide its memory before it asks.
	Secret bool

	// Prepare reads what Require needs, before DNS is asked, and returns the names
	// that will be published. The error is a *Refusal. It may be nil.
	Prepare func() (names []string, err error)
	// Once: only "init" calls Prepare and Require again where the files stand.
	Once bool
	// Require returns the files to publish for a Pod whose name was proven; the
	// caller clears them. What it asks DNS it asks the Resolver, so that it is
	// counted. The error is a *Mismatch, which NotYet makes of a reason of its own; a
	// *Refusal where only another Pod spec can help; or the end of ctx.
	Require func(context.Context, Agreement, Resolver) ([]File, error)
	// Check returns the error that Require would return, for a doctor, which has
	// no proof and publishes nothing.
	Check func(context.Context, Resolver) error
	// Found says what Require found when it was met last, for the log, such as the
	// serial number of a certificate. It may be nil.
	Found func() string
	// Remark returns one thing that is worth a warning since Require was called last, a
	// message and its details; "" and "" where there is no more. It may be nil.
	Remark func() (message, details string)

	Outlet Outlet  // where the files go; without a Dir there are none, and Require returns none
	Gauges []Gauge // what a sidecar tells Prometheus of it
	Addition
}

// Addition is what a Requirement adds to the published identity. It is known before
// anything is proven.
type Addition struct {
	Environment []string // lines of identity.env, each NAME='value' with a value that no quote ends
	Files       []File   // with names of their own among those of Files
	Word        string   // what was required, in identity.json's verified.required: "certificate"; or ""
}

// Gauge is a number for Prometheus. Value is called from another goroutine; ok is
// false as long as there is none.
type Gauge struct {
	Name, Help string
	Value      func() (value float64, ok bool)
}

// Outlet is a volume to publish in, and what may stand there.
type Outlet struct {
	Dir   string
	Names []string // all that it may ever show
	// Signal makes it a tree: of files with slashes in their names, which nobody
	// knows beforehand. It is the hidden file among them that stands in place of
	// "verified"; its name begins with "..". "" for no tree.
	Signal string
	// Keeps returns why the files of an earlier generation are not this Pod's, or
	// not whole; nil if they may stay. With a Dir it must be set.
	Keeps func([]File) error
	// Published learns which files are published now, by this process or an
	// earlier one; nil if nobody wants to know.
	Published func([]File)
	// OnDisk is the *Refusal if Dir is not in memory; nil if it need not be.
	OnDisk error
}
