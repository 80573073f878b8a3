// Command cmd brings a cluster up, and takes it down:
//
//	go run ./cluster/cmd up [-id ID] [-k8s VERSION] [-domain DOMAIN] [IMAGE.tar …]
//	go run ./cluster/cmd env [-id ID]
//	go run ./cluster/cmd leftovers [-id ID]
//	go run ./cluster/cmd down [-id ID]
//
// Or both, and between them a command in the environment that `env` prints:
//
//	go run ./cluster/cmd run [-id ID] [-k8s VERSION] [-domain DOMAIN] [IMAGE.tar …] -- COMMAND ARG…
//
// It exits as the command does: with 128 and the signal's number if one
// killed it. An interrupt is passed on to the command's process group. Its
// own 1 says that the cluster failed to come up, and then the logs stand until
// `down`, or to go down.
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
	"slices"
	"strings"
	"time"

	"github.com/podfqdn/podfqdn/integration/cluster"
	"github.com/podfqdn/podfqdn/integration/cluster/node"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), interrupts...)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// errUsage has been explained already.
var errUsage = errors.New("usage")

// run is the program: 0 is done, 1 is not, 2 is a wrong command line, and any
// may be that of the command `run`.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := command(ctx, args, stdin, stdout, stderr)
	var status exitStatus
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return 2
	case errors.As(err, &status):
		return int(status)
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
	case "up", "run":
		o := cluster.Options{Log: stderr}
		flags.StringVar(&o.Kubernetes, "k8s", os.Getenv("K8S"), "`version` of Kubernetes, as 1.36 or 1.36.3; the newest if empty (K8S)")
		flags.StringVar(&o.Domain, "domain", "", "the cluster's `domain`; cluster.local if empty")
		var within []string
		if i := slices.Index(args, "--"); name == "run" && i >= 0 {
			args, within = args[:i], args[i+1:]
		}
		if flags.Parse(args) != nil {
			return errUsage
		}
		o.ID, o.Images = *id, flags.Args()
		if name == "run" {
			if len(within) == 0 {
				fmt.Fprintln(stderr, "cluster run: want -- and a command")
				return errUsage
			}
			return runWithin(ctx, o, within, stdin, stdout, stderr)
		}
		c, err := up(ctx, o, "this is its environment:")
		if err != nil {
			return err
		}
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
		return down(*id, stderr)
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
	fmt.Fprintln(stderr, "usage: cluster up|run|down|env|leftovers [-id ID] [-k8s VERSION] [-domain DOMAIN] [IMAGE.tar …] [-- COMMAND ARG…]")
	return errUsage
}

// up writes a line when the cluster is up, and in it what comes next.
func up(ctx context.Context, o cluster.Options, next string) (*cluster.Cluster, error) {
	start := time.Now()
	c, err := cluster.Up(ctx, o)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(o.Log, "cluster %s is up with Kubernetes %s after %.1fs; %s\n", c.ID, c.Version, time.Since(start).Seconds(), next)
	return c, nil
}

// down writes a line when the cluster is down.
func down(id string, log io.Writer) error {
	start := time.Now()
	if err := cluster.Down(id); err != nil {
		return err
	}
	fmt.Fprintf(log, "cluster %s is down after %.1fs\n", id, time.Since(start).Seconds())
	return nil
}
