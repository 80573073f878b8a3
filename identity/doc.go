// Package identity proves a Pod's name before anything relies on it.
//
// There is one path. The commands init and sidecar walk it; check and doctor go a
// part of the way:
//
//	Look ─► Facts ─ Claim ──► Verify ──► Agreement ─ Render ─► Generation
//	(seen)        (believed)  (DNS)      (proven)              (the files)
//	                             └► *Mismatch: not yet, and why ─► round again
//
// Left of [Verify] nothing is believed: the kubelet writes a name into
// /etc/hosts whether or not DNS will ever publish it. Right of it nothing is
// doubted: only Verify makes an [Agreement], and only an Agreement can be
// rendered. "Not yet" ([Mismatch]) is not the same as "never" ([Refusal]). A
// [Walk] verifies until DNS agrees; a [Requirement] is what has to be there too.
// check and doctor come later, when others may have written into the Pod's files:
// they [Recall].
//
// Why there is no Agreement is explained by package diagnosis, for people.
// Nothing is decided by it.
//
// An Agreement proves this: the Pod's own DNS servers, asked over the Pod's own
// path, at that moment, answered with the Pod's address for its name and with
// its name for its address. It is a start signal, not a lease, a fence or an
// authentication.
//
// The package knows no socket: DNS comes through [Resolver], files through
// fs.FS. It imports the standard library only, without net. The Go packages of
// podfqdn are not a public API: its files, variables and exit codes are.
package identity
