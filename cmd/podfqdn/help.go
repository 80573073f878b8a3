package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// help prints how podfqdn is used; its table is config's.
func help(w io.Writer) {
	fmt.Fprint(w, `podfqdn: a Pod's name, proven before the application starts

usage: podfqdn COMMAND

  init     wait until forward and reverse DNS agree on this Pod's name, publish it, exit 0
  sidecar  the same, then keep verifying, and serve probes and metrics
  exec     wait like init, or until another container has published, then become a command:
           podfqdn exec -- COMMAND [ARG...], in its own container
  wait     wait until the names of other servers are in DNS, and exit 0; this Pod needs no name:
           podfqdn wait [--for all|majority|N] NAME...
  check    exit 0 if the volume holds this Pod's verified name, and print it
  doctor   say why DNS does not agree, and what to change; -o json for programs
  help     print this
  version  print the version, the commit and the Go that built it

exit codes: 0 published · 1 unexpected · 10 configuration or Pod spec · 11 deadline (check: not verified; doctor: not healthy)
            12 deadline, another Pod holds the name · 13 volume
            deadline, DNS agrees, missing: 14 Kerberos keys · 15 peers · 16 a certificate
            exec, before the command begins: 126 it cannot be executed · 127 it was not found
            130, 143 signal before publication

variables, all optional:

`)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range variables() {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", v.name, v.value, v.doc)
	}
	table.Flush()
}
