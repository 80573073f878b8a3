// Package e2e checks podfqdn against its documents, in real Pods of a real
// Kubernetes: `make e2e`.
//
// Each scenario has namespaces of its own and asserts on what a user would
// see: the files in /identity, the exit code and the termination message of
// the init container, its log. It applies the files of examples/ with only
// the images changed; a variation names the lines that it changes.
//
// The scenarios run in parallel. Those that change cluster DNS or kill a
// sandbox run alone, after the others; they need a cluster of package cluster
// and are reported as not shown on any other.
package e2e
