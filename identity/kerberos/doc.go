// Package kerberos gives a Pod the keys of its own Kerberos principals, and
// nobody else's.
//
// Clients make a server's principal from the server's name in DNS. So a Pod's
// principals are written as templates, "HTTP/{fqdn}", and are made from the
// name that the Pod claims; and their keys are published only with an
// Agreement, when DNS has proven that name.
//
//	Templates ─ Keys ─► Principals ─┐
//	Source ─ read ─► entries ───────┴ Select ─► keytab, principals, krb5.conf
//	                                   └► *identity.Mismatch: not yet, and why
//
// The keys come from a keytab or a directory of keytabs, which may hold those of
// every Pod. Their content can be mended while the Pod waits, since the kubelet
// brings a changed Secret into a running container: so anything that is wrong
// with it is "not yet". What only another Pod spec can mend, a variable or a
// file's mode, is an *identity.Refusal.
//
// Entries are copied byte for byte. Key bytes live in slices that are cleared
// after use, behind a type that no printer can look into. No error shows a
// byte of a keytab but the printable names of principals in files that could
// be read to their end.
//
// The package reads keytabs and no tickets: it does not check whether the KDC has
// the same keys.
package kerberos
