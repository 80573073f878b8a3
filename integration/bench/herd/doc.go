// Package herd measures Pods that start together: real podfqdn processes, or walks of the same resolver in one
// process, next to the loop around nslookup, all against one CoreDNS in a process of its own that has a share of a core.
// Their records become visible two seconds after the first of them has started.
//
// A small proxy between the Pods and CoreDNS counts the questions, times the answers, and loses each kth of them. So all
// clients are measured in the same place, in front of CoreDNS.
//
// Sets of members that wait for each other are measured in the same way: how long they take and what they ask, see Set;
// and how long a client that has nothing to do with them waits at that time, see Neighbour.
//
// A program that imports this package starts itself again as that CoreDNS, see package crowd.
package herd
