// Command cmd brings a cluster up, and takes it down:
//
//	go run ./cluster/cmd up [-id ID] [-k8s VERSION] [IMAGE.tar …]
//	go run ./cluster/cmd env [-id ID]
//	go run ./cluster/cmd leftovers [-id ID]
//	go run ./cluster/cmd down [-id ID]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/podfqdn/podfqdn/integration/cluster"
	"github.com/podfqdn/podfqdn/integration/cluster/node"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// errUsage has been explained already.
var errUsage = errors.New("usage")

// run is the program: 0 is done, 1 is not, 2 is a wrong command line.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := command(ctx, args, stdin, stdout, stderr)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	fmt.Fprintln(stderr, "cluster:", err)
	return 1
}

func command(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("cluster "+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	id := flags.String("id", "dev", "the cluster's `name`")
	switch name {
	case "up":
		version := flags.String("k8s", os.Getenv("K8S"), "`version` of Kubernetes, as 1.36 or 1.36.3; the newest if empty (K8S)")
		if flags.Parse(args) != nil {
			return errUsage
		}
		start := time.Now()
		c, err := cluster.Up(ctx, cluster.Options{ID: *id, Kubernetes: *version, Images: flags.Args(), Log: stderr})
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "cluster %s is up with Kubernetes %s after %.1fs; this is its environment:\n", c.ID, c.Version, time.Since(start).Seconds())
		_, err = io.WriteString(stdout, c.Env())
		return err
	case "env":
		if flags.Parse(args) != nil {
			return errUsage
		}
		c, err := cluster.Open(*id)
		if err != nil {
			return err
		}
		_, err = io.WriteString(stdout, c.Env())
		return err
	case "down":
		if flags.Parse(args) != nil {
			return errUsage
		}
		start := time.Now()
		if err := cluster.Down(*id); err != nil {
			return err
		}
		fmt.Fprintf(stderr, "cluster %s is down after %.1fs\n", *id, time.Since(start).Seconds())
		return nil
	case "leftovers":
		if flags.Parse(args) != nil {
			return errUsage
		}
		left, err := cluster.Leftovers(*id)
		if err != nil {
			return err
		}
		if len(left) > 0 {
			fmt.Fprintln(stdout, strings.Join(left, "\n"))
			return fmt.Errorf("%d things are left of cluster %s", len(left), *id)
		}
		return nil
	case "node": // what `up` starts in the cluster's namespaces
		if len(args) != 1 {
			return errors.New("node: want the plan's path")
		}
		return node.Run(args[0], stdin, log.New(stdout, "", log.Ltime))
	}
	fmt.Fprintln(stderr, "usage: cluster up|down|env|leftovers [-id ID] [-k8s VERSION] [IMAGE.tar …]")
	return errUsage
}
