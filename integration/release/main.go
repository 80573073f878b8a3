// Command release makes what users install, without a container engine: the
// container image, and what a release consists of. The same commit and the same
// Go always give the same bytes.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stderr))
}

// run runs the program with the given arguments, and returns the exit code: 1 if
// something failed, 2 after a wrong command line.
func run(args []string, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "image":
			return runImage(args[1:], stderr)
		case "build":
			return runBuild(args[1:], stderr)
		case "push":
			return runPush(args[1:], stderr)
		case "sign":
			return runSign(args[1:], stderr)
		}
	}
	fmt.Fprintf(stderr, "release: unknown command %q: use image, build, push or sign\n", args)
	return 2
}

// runImage writes the image as a docker archive, for docker load, podman load and
// ctr images import. It is the image of the Dockerfile; a test compares them.
func runImage(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("release image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("o", "", "write the archive to this `file`")
	binary := flags.String("binary", "", "podfqdn, built for Linux without cgo: its `path`")
	arch := flags.String("arch", "", "GOARCH of the image: "+architectures())
	tag := flags.String("tag", "podfqdn:dev", "`name:tag` of the image")
	version := flags.String("version", "unknown", "label org.opencontainers.image.version")
	revision := flags.String("revision", "unknown", "label org.opencontainers.image.revision")
	date := flags.Int64("date", 0, "every date in the image, in `seconds` since 1970: the commit's")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *out == "" || *binary == "" || *arch == "" || flags.NArg() > 0 {
		flags.Usage()
		return 2
	}
	if err := writeImage(*out, *binary, *arch, *tag, labels(*version, *revision), time.Unix(*date, 0).UTC()); err != nil {
		fmt.Fprintln(stderr, "release image:", err)
		return 1
	}
	return 0
}

func writeImage(out, binary, arch, tag string, labels map[string]string, date time.Time) error {
	ref, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	img, err := newImage(program, arch, labels, date)
	if err != nil {
		return fmt.Errorf("%s: %w", binary, err)
	}
	return tarball.WriteToFile(out, ref, img)
}

// runBuild writes the release of the commit that is checked out.
func runBuild(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("release build", flag.ContinueOnError)
	flags.SetOutput(stderr)
	version := flags.String("version", "", "the release's version, such as `v1.2.3`")
	image := flags.String("image", "", "the image's `repository`, such as registry.example.com/podfqdn")
	out := flags.String("o", "", "write the release to this `directory`, in place of the release that is in it")
	from := flags.String("source", ".", "a clone of podfqdn, or a `directory` in it, whose commit is released")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *out == "" || flags.NArg() > 0 {
		fmt.Fprintf(stderr, "release build: want -o and no other argument, got %q\n", args)
		return 2
	}
	// An interrupted build removes its temporary directories.
	ctx, stop := untilSignal()
	defer stop()
	if err := writeRelease(ctx, *out, *from, *version, *image, stderr); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("interrupted: %s is as it was", *out)
		}
		fmt.Fprintln(stderr, "release build:", err)
		return 1
	}
	return 0
}

// untilSignal returns a context that ends when somebody ends the program.
func untilSignal() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}
