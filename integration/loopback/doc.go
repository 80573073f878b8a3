// Package loopback tests the real podfqdn binary, and the same walk in process under the race detector, over real
// sockets on loopback: against the real CoreDNS, behind networks that lose, delay, repeat and forge packets, and against
// servers that fail.
package loopback
