// Package kube reads a Pod's name from the Kubernetes API, with the user's own
// rights, and says why DNS does not have it.
//
//	Client.See ── View ─┬─ Facts
//	                    └─ Causes ── judge ── fix ── command
//	Client.Exec ─ what the doctor in the Pod says ─┘
//
// DNS shows that a name is missing; only the API shows why: which label of which
// Service differs, which other Pod has the hostname, what the Corefile leaves
// out. Client.Exec asks podfqdn in the Pod for what only DNS can show.
//
// The package changes nothing in the cluster: each command is for the user to read
// and run. A missing right is reported once; the rest is still judged.
package kube
