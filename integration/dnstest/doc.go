// Package dnstest runs cluster DNS inside the calling process: the real CoreDNS, from a Corefile, with its real
// kubernetes plugin. Only the API server is missing: in its place is a [Cluster] that the caller changes while it is
// served.
//
// There are two ways to reach the same [CoreDNS]. [CoreDNS.Serve] listens on loopback, UDP and TCP on one port, for
// programs and for real time. [CoreDNS.Replica] opens no socket: its Dial returns connections in memory, so that whole
// waits run in the virtual time of testing/synctest, with the real cache plugin. Both see a question through the same
// entry of CoreDNS, so truncation, EDNS and the order of plugins are CoreDNS's own.
//
// Only what controls time and failure is not real: a [Fault] between server and client, an
// [Upstream] in place of the node's resolver, and a [Trace] in front that records the questions.
package dnstest
