// Package herd measures Pods that start together: real podfqdn processes, or walks of the same resolver in one
// process, next to the loop around nslookup, all against one CoreDNS in a process of its own that has a share of a core.
// Their records become visible two seconds after the first of them has started.
//
// Between the Pods and CoreDNS stands a small proxy: it counts the questions, times the answers, and loses each kth of
// them. So the figures of all clients are taken at the same place, at CoreDNS's door.
//
// Sets of members that wait for each other are measured in the same way: how long they take and what they ask, see Set;
// and how long a client then waits that has nothing to do with them, see Neighbour.
//
// A program that imports this package starts itself again as that CoreDNS, see package crowd.
package herd
