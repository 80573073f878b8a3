// Package dnstest runs cluster DNS inside the calling process: the real CoreDNS, from a Corefile, with its real
// kubernetes plugin. Only the API server is missing; what it would have said is a [Cluster] that the caller changes
// while it is served.
//
// The same [CoreDNS] can be had in two ways. [CoreDNS.Serve] listens on loopback, UDP and TCP on one port, for
// programs and for real time. [CoreDNS.Replica] opens no socket: its Dial returns connections in memory, so that whole
// waits run in the virtual time of testing/synctest, with the real cache plugin. Both see a question through the same
// entry of CoreDNS, so truncation, EDNS and the order of plugins are CoreDNS's own.
//
// What is not real is only what makes time and failure controllable: a [Fault] between server and client, an
// [Upstream] in the place of the node's resolver, and a [Trace] in front that writes down what was asked.
package dnstest
