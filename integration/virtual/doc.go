// Package virtual tests the whole walk of a Pod, from the kubelet's files to an agreement, against the real CoreDNS with
// its real cache and kubernetes plugins, in virtual time: a wait of five minutes takes milliseconds, and assertions
// about time are exact.
//
// The walk is identity.Walk with identity/resolver; only the sockets are in memory. Every packet of every case is
// checked against the rules of the walk (see check).
package virtual
