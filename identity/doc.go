// Package identity proves a Pod's name before anything relies on it.
//
// There is one path. The commands init and sidecar walk all of it; check and doctor
// walk a part:
//
//	Look ─► Facts ─ Claim ──► Verify ──► Agreement ─ Render ─► Generation
//	(seen)        (believed)  (DNS)      (proven)              (the files)
//	                             └► *Mismatch: not yet, and why ─► round again
//
// Left of [Verify] nothing is believed: the kubelet writes a name into
// /etc/hosts whether or not DNS will ever publish it. Right of it nothing is
// doubted: only Verify makes an [Agreement], and only an Agreement can be
// rendered. "Not yet" ([Mismatch]) is not the same as "never" ([Refusal]). A
// [Walk] verifies until DNS agrees; a [Requirement] is what must be met in addition.
// check and doctor come later, when other programs may have written into the Pod's
// files: they use [Recall].
//
// Package diagnosis explains to people why there is no Agreement. It decides
// nothing.
//
// An Agreement proves this: the Pod's own DNS servers, asked over the Pod's own
// path, at that moment, answered with the Pod's address for its name and with
// its name for its address. It is a start signal, not a lease, a fence or an
// authentication.
//
// The package opens no socket: DNS comes through [Resolver], files through
// fs.FS. It imports the standard library only, without net. The Go packages of
// podfqdn are not a public API: its files, variables and exit codes are.
package identity
