// Package kube is a Pod's name as the Kubernetes API tells it, to a user with
// the user's own rights.
//
// DNS says that a name is missing; only the API says why: which label of which
// Service differs, which other Pod has the hostname, what the Corefile leaves
// out. Client.Look reads it, View.Causes concludes, and Client.Exec brings the
// view from the wire, which podfqdn in the Pod has and a laptop has not.
//
// Nothing in the cluster is changed: what would mend it is a command for the
// user to read and to run. A right that is missing is noted once, and what can
// be told without it is told.
package kube
