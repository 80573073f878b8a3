package identity

import "context"

// Requirement is what a Pod needs in addition to its name before its application
// starts, such as the keys of its Kerberos principals. A package makes one from a
// Claim without reading anything; the path calls Require once DNS agrees.
type Requirement struct {
	Name  string   // in logs: "keys"
	Title string   // in the doctor's facts: "Kerberos keys"
	From  string   // the variable that names their source
	Label string   // what Wants are: "principals"; "" if there is nothing to wait for
	Wants []string // what is needed
	// Secret: the process must hide its memory before it calls Require.
	Secret bool

	// Prepare reads what Require needs, before DNS is asked, and returns the names of
	// the files that will be published. The error is a *Refusal. It may be nil.
	Prepare func() (names []string, err error)
	// Once: only "init" calls Prepare and Require again if the files are there.
	Once bool
	// Require returns the files to publish for a Pod whose name was proven; the
	// caller clears them. It asks DNS by the Resolver, so that its questions are
	// counted. The error is a *Mismatch, which NotYet makes from a reason; a *Refusal
	// if only another Pod spec can help; or the end of ctx.
	Require func(context.Context, Agreement, Resolver) ([]File, error)
	// Check returns the error that Require would return, for a doctor, which has
	// no proof and publishes nothing.
	Check func(context.Context, Resolver) error
	// Found describes what Require found when it last succeeded, for the log, such as
	// the serial number of a certificate. It may be nil.
	Found func() string
	// Remark returns one warning since Require was last called, a message and its
	// details; "" and "" if there are no more. It may be nil.
	Remark func() (message, details string)

	Outlet Outlet  // where the files go; without a Dir Require returns none
	Gauges []Gauge // what a sidecar reports of it to Prometheus
	Addition
}

// Addition is what a Requirement adds to the published identity. It is known before
// anything is proven.
type Addition struct {
	Environment []string // lines of identity.env, each NAME='value' without quotes in the value
	Files       []File   // with names that are not in the package's Files
	Word        string   // what was required, in identity.json's verified.required: "certificate"; or ""
}

// Gauge is a number for Prometheus. Value is called from another goroutine; ok is
// false while there is none.
type Gauge struct {
	Name, Help string
	Value      func() (value float64, ok bool)
}

// Outlet is a volume to publish in, and what it may have.
type Outlet struct {
	Dir   string
	Names []string // all that it may ever show
	// Signal makes it a tree: of files with slashes in their names, which are not known
	// beforehand. It names the hidden file among them that serves as "verified"; it
	// begins with "..". "" means that it is not a tree.
	Signal string
	// Keeps returns why the files of an earlier generation are not this Pod's, or not
	// complete; nil if they may stay. It must be set if Dir is.
	Keeps func([]File) error
	// Published is called with the files that are published now, by this process or an
	// earlier one. It may be nil.
	Published func([]File)
	// OnDisk is the *Refusal if Dir is not in memory; nil if it need not be.
	OnDisk error
}
