// Package node is what runs inside a cluster's namespaces: the first process
// of its PID namespace. It makes the mounts and links, starts the components
// one after the other, lends the API server to the listener that it was
// handed, and reaps. It ends when a component ends: half a node is worse than
// none, and its end is the end of all that runs below it.
package node

import "time"

// Root is where the node finds its directories, whatever their names are outside:
// fixed paths keep the configuration files fixed too, and Unix sockets below
// the 108 bytes that the kernel allows them.
const Root = "/run/podfqdn"

// State is the cluster's own directory, as the node sees it.
const State = Root + "/state"

// Listener is the file descriptor of the listener for the API server.
const Listener = 3

// Plan is all that a node does, in order. Paths are as the node sees them,
// except those of Dirs.
type Plan struct {
	Hostname string
	Dirs     map[string]string // name below Root: directory outside
	Over     map[string]string // directory that stands on every Linux: directory below State that covers it
	Sysctls  map[string]string // path below /proc/sys, in the node's network namespace: value
	Veiled   []string          // paths below /proc/sys that belong to the machine: the node writes to a copy
	Path     []string          // directories below Root, before the system's own PATH
	Steps    []Step
	Target   string // host:port that connections to Listener go to
}

// Step is one program.
type Step struct {
	Name string   // of the log file too
	Args []string // the program's name first
	// Once: it has to end with status 0 before the next step. Without it the
	// program has to run for as long as the node.
	Once bool
	// Needs is asked until it answers, before the program is started: an
	// https URL that says 200, or a Unix socket's path. Empty: nothing.
	Needs   string
	Timeout time.Duration // for Needs, and again for Once
}
