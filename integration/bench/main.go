// Command bench measures the time to identity in real Pods: podfqdn beside
// what people use without it, in the same cluster and the same run.
//
//	cluster run -id bench -- bin/bench [-short] [-reps N] [-o FOLDER] -load dist/podfqdn-ARCH.tar -podfqdn bin/podfqdn
//
// Six Pods of a StatefulSet start together; that is one repetition of one
// contender in one set-up of cluster DNS. Sets start one after another, the
// contenders by turns, and nothing is started or removed while a set starts.
// But while its Pods merely wait for DNS, others may start: the 30 seconds of
// a cached denial are waited out together. What waits asks one question a
// second, and as many sets wait beside one contender as beside another; how
// many is in the JSON file with every measurement.
//
// Both ends of a Pod's time are lines of its log, with the timestamps that the
// container runtime gives them. When its record appears is seen from outside,
// by a process that asks each replica of cluster DNS (see observe). Packets are
// counted in repetitions of their own, one set at a time and unobserved.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/podfqdn/podfqdn/integration/bench/herd"
)

// modes are what this program is inside of Pods and of the node.
var modes = map[string]func(args []string) error{
	"lookup":  lookup,
	"probe":   probe,
	"idle":    idle,
	"observe": observe,
	"mesh":    mesh,
}

// options are the flags.
type options struct {
	short   bool
	reps    int
	folder  string
	load    string
	podfqdn string
}

func main() {
	if len(os.Args) > 1 && modes[os.Args[1]] != nil {
		exit(modes[os.Args[1]](os.Args[2:]))
	}
	var o options
	flag.BoolVar(&o.short, "short", false, "two set-ups, two contenders, two repetitions")
	flag.IntVar(&o.reps, "reps", 20, "repetitions of each contender in each set-up")
	flag.StringVar(&o.folder, "o", "", "the `folder` for bench.md, bench.json and bench.svg")
	flag.StringVar(&o.load, "load", "", "the `archive` with podfqdn's image")
	flag.StringVar(&o.podfqdn, "podfqdn", "", "the podfqdn `binary`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, o, os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, o options, out io.Writer) error {
	if o.load == "" || o.podfqdn == "" || flag.NArg() > 0 {
		return errors.New("want -load ARCHIVE and -podfqdn BINARY, and no more arguments")
	}
	if o.reps < 1 {
		return errors.New("-reps: want at least 1")
	}
	setups, contenders, counts := allSetups, allContenders, (o.reps+4)/5
	if o.short {
		setups, contenders, o.reps, counts = []setup{allSetups[0], allSetups[1]}, short(allContenders), min(o.reps, 2), 0
	}
	if err := require(setups); err != nil {
		return err
	}
	w, err := open(ctx, os.Getenv("KUBECONFIG"), o.load)
	if err != nil {
		return err
	}
	defer w.close()
	r := report{Reps: o.reps}
	if r.Header, err = header(ctx, w.own, o); err != nil {
		return err
	}
	// First, as the machine is idle still.
	if r.Startup, err = startup(ctx, o); err != nil {
		return err
	}
	for _, c := range contenders {
		r.Contenders = append(r.Contenders, c.title)
	}
	var failed error
	for _, s := range setups {
		r.Setups = append(r.Setups, s.title)
		if err := w.measure(ctx, s, contenders, o.reps, counts, &r); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", s.title, err))
		}
		// What was measured so far is worth its time.
		failed = errors.Join(failed, r.write(o.folder, io.Discard))
		if ctx.Err() != nil {
			break
		}
	}
	var herdErr error
	r.Herd, herdErr = herd.Run(ctx, herd.Options{Podfqdn: o.podfqdn, Short: o.short, Log: os.Stderr})
	failed = errors.Join(failed, herdErr, r.broken())
	return errors.Join(failed, r.write(o.folder, out))
}

// write puts the text to out, and with every number and the plot into the folder.
func (r report) write(folder string, out io.Writer) error {
	text := r.markdown()
	if _, err := io.WriteString(out, text); err != nil || folder == "" {
		return err
	}
	all, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, content := range map[string]string{"bench.md": text, "bench.json": string(all) + "\n", "bench.svg": r.plot()} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
