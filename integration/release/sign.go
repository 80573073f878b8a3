package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// runSign signs a release that was pushed, by cosign: every manifest in the
// registry, and the file SHA256SUMS.
func runSign(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("release sign", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("release", "", "the release's `directory`")
	cosign := flags.String("cosign", "", "the `path` of cosign")
	key := flags.String("key", "", "the private `key`, as cosign --key takes it; COSIGN_PASSWORD opens it")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *dir == "" || *cosign == "" || flags.NArg() > 0 {
		flags.Usage()
		return 2
	}
	if *key == "" {
		fmt.Fprintln(stderr, "release sign: no key: make sign KEY=cosign.key; cosign generate-key-pair makes one")
		return 2
	}
	// A key of a KMS does not have one.
	if _, set := os.LookupEnv("COSIGN_PASSWORD"); !set && (!strings.Contains(*key, "://") || strings.HasPrefix(*key, "env://")) {
		fmt.Fprintln(stderr, "release sign: no password for the key: set COSIGN_PASSWORD, to nothing if the key does not have one")
		return 2
	}
	r, err := readReleased(*dir)
	if err == nil {
		err = r.sign(context.Background(), *dir, *cosign, *key, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "release sign:", err)
		return 1
	}
	return 0
}

// withKeyOnly are the flags for a signature that a key alone makes and verifies: no
// transparency log, and nothing that is asked for its roots or its services. The
// format is the older one, which cosign verify of versions 2 and 3 finds by itself.
var withKeyOnly = []string{"--yes", "--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=false"}

// sign signs what the registry has of r, by digest, and SHA256SUMS in dir.
func (r released) sign(ctx context.Context, dir, cosign, key string, output io.Writer) error {
	puller, err := remote.NewPuller(through(&counter{RoundTripper: remote.DefaultTransport})...)
	if err != nil {
		return err
	}
	there, err := r.isTagged(ctx, puller)
	if err != nil {
		return r.explain("tag "+r.tag.TagStr(), err)
	}
	if !there {
		return fmt.Errorf("%s is not in the registry: run make push first", r.tag)
	}
	digests := []string{r.digest.String()}
	for _, p := range r.platforms {
		digests = append(digests, p.Digest.String())
	}
	for _, about := range r.referrers {
		digests = append(digests, about.digest.String())
	}
	manifests := append([]string{"sign", "--key", key}, withKeyOnly...)
	for _, digest := range digests {
		if _, err := puller.Head(ctx, r.tag.Digest(digest)); err != nil {
			return r.explain(digest, err)
		}
		manifests = append(manifests, r.tag.Digest(digest).String())
	}
	sums := filepath.Join(dir, sumsFile)
	blob := append([]string{"sign-blob", "--key", key, "--output-signature", sums + ".sig"}, withKeyOnly...)
	for _, args := range [][]string{manifests, append(blob, sums)} {
		command := exec.CommandContext(ctx, cosign, args...)
		command.Stdout, command.Stderr = output, output
		if err := command.Run(); err != nil {
			return fmt.Errorf("cosign %s: %w", args[0], err)
		}
	}
	fmt.Fprintf(output, "release sign: signed %d manifests of %s and %s\n", len(digests), r.tag, sums)
	return nil
}
