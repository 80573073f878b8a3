// Command peers measures sets of members that wait for each other, see package herd. It needs no cluster.
//
//	peers -podfqdn BINARY [-o FILE]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/podfqdn/podfqdn/integration/bench/herd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	podfqdn := flag.String("podfqdn", "", "the podfqdn `binary`")
	out := flag.String("o", "peers.md", "the `file` for the tables")
	flag.Parse()
	if *podfqdn == "" || flag.NArg() > 0 {
		return errors.New("want -podfqdn BINARY, and no more arguments")
	}
	p, err := herd.RunPeers(ctx, *podfqdn, os.Stderr)
	// What was measured is shown even so.
	text := "# Peers\n\n* command: make bench BENCH=peers\n\n" + p.Markdown()
	return errors.Join(err, os.WriteFile(*out, []byte(text), 0o644))
}
