// Package e2e holds podfqdn to what its documents say, in real Pods of a real
// Kubernetes: `make e2e`.
//
// Each scenario has namespaces of its own and asserts on what a user would
// see: the files in /identity, the exit code and the termination message of
// the init container, its log. What is applied are the files of examples/,
// unchanged but for the images; a variation names the lines that it changes.
//
// The scenarios run side by side. Those that change cluster DNS or kill a
// sandbox run alone, after the others; they need a cluster of package cluster
// and are named as not shown on any other.
package e2e
