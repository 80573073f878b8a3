// Command bench measures the time to identity in real Pods: podfqdn next to
// what people use without it, in the same cluster and the same run.
//
//	cluster run -id bench -- bin/bench [-short] [-only running] [-reps N] [-o DIRECTORY] -load dist/podfqdn-ARCH.tar -podfqdn bin/podfqdn -app bin/app
//
// It first measures what a user waits for: the time from the moment a Pod has
// a node to its application's first instruction, for each way to wait and for
// none (see measureRunning). Then it measures podfqdn's part of that, the time
// to identity.
//
// Six Pods of a StatefulSet start together; that is one repetition of one
// contender in one setup of cluster DNS. Sets start one after another, the
// contenders in turn, and nothing is started or removed while a set starts.
// But while its Pods merely wait for DNS, others may start: the 30 seconds of
// a cached denial are waited out together. A waiting Pod asks one question a
// second, and every contender has as many sets waiting at the same time; how
// many is in the JSON file with every measurement.
//
// Both ends of a Pod's time are lines of its log, with the timestamps that the
// container runtime adds. A process outside the Pods asks each replica of
// cluster DNS when the record appears (see observe). Packets are counted in
// separate repetitions, one set at a time and unobserved.
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
	dir     string
	load    string
	podfqdn string
	app     string
	only    string
}

// onlyRunning is the one value of -only.
const onlyRunning = "running"

func main() {
	if len(os.Args) > 1 && modes[os.Args[1]] != nil {
		exit(modes[os.Args[1]](os.Args[2:]))
	}
	var o options
	flag.BoolVar(&o.short, "short", false, "each way once, two setups, two contenders, two repetitions")
	flag.IntVar(&o.reps, "reps", 20, "repetitions of each contender in each setup")
	flag.StringVar(&o.dir, "o", "", "the `directory` for bench.md, bench.json and bench.svg, and for running's")
	flag.StringVar(&o.load, "load", "", "the `archive` with podfqdn's image")
	flag.StringVar(&o.podfqdn, "podfqdn", "", "the podfqdn `binary`")
	flag.StringVar(&o.app, "app", "", "the `binary` of the application, ./bench/app")
	flag.StringVar(&o.only, "only", "", "running: only from scheduled to running")
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
	if o.load == "" || o.podfqdn == "" || o.app == "" || flag.NArg() > 0 {
		return errors.New("want -load ARCHIVE, -podfqdn BINARY and -app BINARY, and no more arguments")
	}
	if o.reps < 1 {
		return errors.New("-reps: want at least 1")
	}
	if o.only != "" && o.only != onlyRunning {
		return fmt.Errorf("-only %q: want %s", o.only, onlyRunning)
	}
	setups := allSetups
	if o.short {
		setups = []setup{allSetups[0], allSetups[1]}
	}
	if o.only == "" {
		if err := require(setups); err != nil {
			return err
		}
	}
	w, err := open(ctx, os.Getenv("KUBECONFIG"), o)
	if err != nil {
		return err
	}
	defer w.close()
	head, err := header(ctx, w.own, o)
	if err != nil {
		return err
	}
	// First, as the machine is idle still, and cluster DNS as kubeadm has it.
	failed := w.running(ctx, o, head, out)
	if o.only == onlyRunning || ctx.Err() != nil {
		return failed
	}
	return errors.Join(failed, w.identity(ctx, o, setups, head, out))
}

// running measures the time from scheduled to running.
func (w *world) running(ctx context.Context, o options, head [][2]string, out io.Writer) error {
	r, err := w.measureRunning(ctx, o)
	r.Header = head
	return errors.Join(err, write(o.dir, "running", r.markdown(), r.plot(), r, out))
}

// identity measures the time to identity, and the herd.
func (w *world) identity(ctx context.Context, o options, setups []setup, head [][2]string, out io.Writer) (failed error) {
	contenders, counts := allContenders, (o.reps+4)/5
	if o.short {
		contenders, o.reps, counts = short(allContenders), min(o.reps, 2), 0
	}
	r := report{Header: head, Reps: o.reps}
	var err error
	if r.Startup, err = startup(ctx, o); err != nil {
		return err
	}
	for _, c := range contenders {
		r.Contenders = append(r.Contenders, c.title)
	}
	for _, s := range setups {
		r.Setups = append(r.Setups, s.title)
		if err := w.measure(ctx, s, contenders, o.reps, counts, &r); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", s.title, err))
		}
		// What was measured so far is worth its time.
		failed = errors.Join(failed, r.write(o.dir, io.Discard))
		if ctx.Err() != nil {
			break
		}
	}
	var herdErr error
	r.Herd, herdErr = herd.Run(ctx, herd.Options{Podfqdn: o.podfqdn, Short: o.short, Log: os.Stderr})
	failed = errors.Join(failed, herdErr, r.broken())
	return errors.Join(failed, r.write(o.dir, out))
}

func (r report) write(dir string, out io.Writer) error {
	return write(dir, "bench", r.markdown(), r.plot(), r, out)
}

// write puts the text to out, and with the plot and every number into the
// directory, as files of that name.
func write(dir, name, text, plot string, numbers any, out io.Writer) error {
	if _, err := io.WriteString(out, text); err != nil || dir == "" {
		return err
	}
	all, err := json.MarshalIndent(numbers, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for suffix, content := range map[string]string{".md": text, ".json": string(all) + "\n", ".svg": plot} {
		if err := os.WriteFile(filepath.Join(dir, name+suffix), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
