// Package faults breaks what podfqdn depends on, one thing at a time, and checks that the binary keeps what must be true
// whatever breaks:
//
//	I1  at the rename that publishes, name and addresses are the Pod's, and forward and reverse had just agreed
//	I2  a reader sees one whole generation or none
//	I3  what another Pod left is gone before the first question to DNS; while a sidecar with PODFQDN_WITHDRAW runs, verified
//	    goes PODFQDN_GRACE, an interval and a round after the first answer without the Pod at the latest, and silence takes
//	    nothing
//	I4  the process ends within its deadline and a second
//	I5  no key, no token and no unescaped foreign text in any output
//	I6  a run after the fault succeeds, and nobody has cleaned up
//
// For kubectl podfqdn, which publishes nothing, I1 is that half an answer makes no Pod healthy or sick: the report says what
// was not seen, and a conclusion from less is a guess.
//
// For podfqdn exec I1 also says that the application begins with this Pod's name, or not at all. For the program that init
// installs I2 says that it is the previous one or this one, whole, and can be executed.
//
// Every one that applies is checked after every case. A doctor and a check publish nothing and may ask while another Pod's
// identity is there, so for them I1 to I3 say that the volume is unchanged. The writer of the files' cases knows no DNS, so
// its only I1 is what it was given. A killed process has no exit code to compare with I1, and what it had not begun to
// remove is still there. A case says itself what else must come of it. A case that is data is in an archive below testdata:
// its name, what breaks, and how the run ends.
package faults
