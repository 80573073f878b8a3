// Package certificate holds a Pod back until the TLS certificate that its server is
// going to use covers the name that DNS has proven.
//
// The certificate, its chain and its key are read where the application will read
// them, as one version, and nothing of them is copied anywhere:
//
//	Path ─ read ─► leaf, chain, roots, public key ─ judge ─► nil
//	                                                └► *identity.Mismatch: not yet, and why
//
// Whatever is wrong with the files is "not yet": a Secret that changes reaches the
// running container. What only another Pod spec can mend, a variable, a file's mode
// or a FIFO in its place, is an *identity.Refusal.
//
// Of the private key only its public half leaves the function that reads it; bytes
// and numbers of the rest are cleared where Go gives them out. An error has words of
// this package, paths, and what a certificate says of itself, which is public: of a
// file's other bytes it shows none.
package certificate
