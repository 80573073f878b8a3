// Package kube reads a Pod's name from the Kubernetes API, with the user's own
// rights, and says why DNS does not have it.
//
//	Client.See ── View ─┬─ Facts
//	                    └─ Causes ── judge ── fix ── command
//	Client.Exec ─ what the doctor in the Pod says ─┘
//
// DNS says that a name is missing; only the API says why: which label of which
// Service differs, which other Pod has the hostname, what the Corefile leaves
// out. What only the wire can tell, Client.Exec asks podfqdn in the Pod.
//
// Nothing in the cluster is changed: each command is for the user to read and to
// run. A missing right is reported once; the rest is still judged.
package kube
