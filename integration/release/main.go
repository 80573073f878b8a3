// Command release makes what users install, without a container engine: the
// container image, and what a release consists of. The same commit and the same
// Go always give the same bytes.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stderr))
}

// run runs the program with the given arguments, and returns the exit code: 1 if
// something failed, 2 after a wrong command line.
func run(args []string, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "image" {
		return runImage(args[1:], stderr)
	}
	fmt.Fprintf(stderr, "release: unknown command %q: use image\n", args)
	return 2
}

// runImage writes the image as a docker archive, for docker load, podman load and
// ctr images import. It is the image of the Dockerfile; a test compares them.
func runImage(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("release image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("o", "", "write the archive to this `file`")
	binary := flags.String("binary", "", "podfqdn, built for Linux without cgo: its `path`")
	arch := flags.String("arch", "", "GOARCH of the image: amd64 or arm64")
	tag := flags.String("tag", "podfqdn:dev", "`name:tag` of the image")
	version := flags.String("version", "unknown", "label org.opencontainers.image.version")
	revision := flags.String("revision", "unknown", "label org.opencontainers.image.revision")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *out == "" || *binary == "" || *arch == "" || flags.NArg() > 0 {
		flags.Usage()
		return 2
	}
	if err := write(*out, *binary, *arch, *tag, labels(*version, *revision)); err != nil {
		fmt.Fprintln(stderr, "release image:", err)
		return 1
	}
	return 0
}

func write(out, binary, arch, tag string, labels map[string]string) error {
	ref, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	if err := runsInScratch(program, arch); err != nil {
		return fmt.Errorf("%s: %w", binary, err)
	}
	img, err := build(program, arch, labels)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(out, ref, img)
}
