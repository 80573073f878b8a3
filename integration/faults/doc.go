// Package faults breaks what podfqdn stands on, one thing at a time, and holds the binary to what must be true
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
// For kubectl podfqdn, which publishes nothing, I1 is that no half an answer makes a Pod healthy or sick: what was not
// seen is said, and what follows from less is a guess.
//
// For podfqdn exec I1 is, too, that the application begins with this Pod's name, or not at all; and for the program that init
// installs I2 is that it is the one of before or this one, whole, and can be executed.
//
// They are checked after every single case, as far as it has them: a doctor and a check publish nothing and may ask while
// another Pod's identity is there, so that of I1 to I3 the volume is as it was; the writer of the files' cases knows no DNS, so
// that its only I1 is what it was given; a process that was killed has no exit code to hold I1 to, and what it had not begun to
// remove still stands. What else a case must come to, it says itself. Where a case is data it
// stands in an archive below testdata: its name, what breaks, and how the run ends.
package faults
