// Package crowd is many Pods by number, and the one CoreDNS that knows them: in a process of its own, with a share of
// a core.
//
// A program that imports this package starts itself again as that CoreDNS.
package crowd
