// Package identity proves a Pod's name before anything relies on it.
//
// There is one path, and every command of podfqdn walks it:
//
//	Look ─► Facts ─ Claim ──► Verify ──► Agreement ─ Render ─► Generation
//	(seen)        (believed)  (DNS)      (proven)              (the files)
//	                             └► *Mismatch: not yet, and why ─► round again
//
// Left of Verify nothing is believed: the kubelet writes a name into
// /etc/hosts whether or not DNS will ever publish it. Right of it nothing is
// doubted: only Verify makes an Agreement, and only an Agreement can be
// rendered. "Not yet" (*Mismatch) is another thing than "never" (*Refusal).
//
// Where the path leads to no Agreement, Diagnose tells why, for people: nothing
// is decided by it.
//
// What an Agreement proves is this: the Pod's own DNS servers, asked over the
// Pod's own path, at that moment, answered with the Pod's address for its name
// and with its name for its address. It is a start signal. It is no lease, no
// fence and no authentication.
//
// The package knows no socket: DNS comes through Resolver, files through
// fs.FS. It imports the standard library only, and not net.
package identity
