package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// backoff is between attempts to send one request; tests do not wait that long.
var backoff = remote.Backoff{Duration: time.Second, Factor: 3, Jitter: 0.1, Steps: 4}

// runPush uploads a release to the registry that it was built for.
func runPush(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("release push", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("release", "", "the release's `directory`")
	image := flags.String("image", "", "refuse a release that is not for this `repository`")
	version := flags.String("version", "", "refuse a release that does not have this `version`")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *dir == "" || flags.NArg() > 0 {
		fmt.Fprintf(stderr, "release push: want -release and no other argument, got %q\n", args)
		return 2
	}
	r, err := readReleased(*dir)
	if err == nil {
		err = r.isFor(*image, *version)
	}
	ctx, stop := untilSignal()
	defer stop()
	if err == nil {
		err = r.push(ctx, stderr)
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted: what was sent stays there: run make push again")
	}
	if err != nil {
		fmt.Fprintln(stderr, "release push:", err)
		return 1
	}
	return 0
}

// released is a release that was built, as far as a registry gets it.
type released struct {
	tag       name.Tag
	digest    v1.Hash // of index
	index     v1.ImageIndex
	platforms []v1.Descriptor // of the images in index
	referrers []referrer
}

// referrer is a manifest that is about another one, its subject.
type referrer struct {
	v1.Image
	digest  v1.Hash
	kind    string // the media type of what it holds
	subject v1.Hash
}

// readReleased reads the release in dir. It is whole: every blob has the bytes of
// its name.
func readReleased(dir string) (released, error) {
	file := filepath.Join(dir, "image.txt")
	line, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return released{}, fmt.Errorf("%s does not hold a release: run make release VERSION=v1.2.3 IMAGE=REGISTRY/podfqdn first", dir)
	}
	if err != nil {
		return released{}, err
	}
	var r released
	tag, digest, _ := strings.Cut(strings.TrimSpace(string(line)), "@")
	if r.tag, err = name.NewTag(tag, name.StrictValidation); err == nil {
		r.digest, err = v1.NewHash(digest)
	}
	if err != nil {
		return released{}, fmt.Errorf("%s has %q, not REGISTRY/podfqdn:VERSION@sha256:…: run make release again", file, line)
	}
	err = checkSums(dir)
	if err == nil {
		err = r.readLayout(filepath.Join(dir, "oci"))
	}
	if err != nil {
		return released{}, fmt.Errorf("%w: the release is not as it was built: run make release again", err)
	}
	return r, nil
}

func (r *released) readLayout(dir string) error {
	oci, err := layout.FromPath(dir)
	if err != nil {
		return err
	}
	all, err := oci.ImageIndex()
	if err != nil {
		return err
	}
	list, err := all.IndexManifest()
	if err != nil {
		return err
	}
	subjects := []v1.Hash{r.digest}
	for _, d := range list.Manifests {
		if err := intact(oci, d); err != nil {
			return err
		}
		if d.MediaType.IsIndex() {
			if d.Digest != r.digest {
				return fmt.Errorf("%s has the index %s, and image.txt names %s", dir, d.Digest, r.digest)
			}
			if version := d.Annotations["org.opencontainers.image.ref.name"]; version != r.tag.TagStr() {
				return fmt.Errorf("%s has version %s, and image.txt names %s", dir, version, r.tag.TagStr())
			}
			if r.index, err = all.ImageIndex(d.Digest); err != nil {
				return err
			}
			manifest, err := r.index.IndexManifest()
			if err != nil {
				return err
			}
			r.platforms = manifest.Manifests
			for _, p := range r.platforms {
				if p.Platform == nil {
					return fmt.Errorf("%s: the index %s does not say for which platform %s is", dir, d.Digest, p.Digest)
				}
				subjects = append(subjects, p.Digest)
			}
			continue
		}
		img, err := all.Image(d.Digest)
		if err != nil {
			return err
		}
		manifest, err := img.Manifest()
		if err != nil {
			return err
		}
		if manifest.Subject == nil || !slices.Contains(subjects, manifest.Subject.Digest) {
			return fmt.Errorf("%s: manifest %s is not about an image of %s", dir, d.Digest, r.digest)
		}
		r.referrers = append(r.referrers, referrer{img, d.Digest, manifest.ArtifactType, manifest.Subject.Digest})
	}
	if r.index == nil {
		return fmt.Errorf("%s does not have an index, and image.txt names %s", dir, r.digest)
	}
	return nil
}

// intact reports a blob that d names, itself or through other manifests, and that
// does not have the bytes or the size of its name.
func intact(oci layout.Path, d v1.Descriptor) error {
	blob, err := oci.Blob(d.Digest)
	if err != nil {
		return err
	}
	defer blob.Close()
	digest, size, err := v1.SHA256(blob)
	if err != nil {
		return err
	}
	if digest != d.Digest || size != d.Size {
		return fmt.Errorf("%s: blob %s of %d bytes has %d bytes with the digest %s", oci, d.Digest, d.Size, size, digest)
	}
	var named []v1.Descriptor
	switch {
	case d.MediaType.IsIndex():
		content, err := oci.Bytes(d.Digest)
		if err != nil {
			return err
		}
		manifest, err := v1.ParseIndexManifest(bytes.NewReader(content))
		if err != nil {
			return err
		}
		named = manifest.Manifests
	case d.MediaType.IsImage():
		content, err := oci.Bytes(d.Digest)
		if err != nil {
			return err
		}
		manifest, err := v1.ParseManifest(bytes.NewReader(content))
		if err != nil {
			return err
		}
		named = append(manifest.Layers, manifest.Config)
	}
	for _, n := range named {
		if err := intact(oci, n); err != nil {
			return err
		}
	}
	return nil
}

// isFor reports that the release is for another repository than image, or has another
// version; both are empty if the user named none.
func (r released) isFor(image, version string) error {
	if image != "" {
		if repo, err := name.NewRepository(image); err != nil || repo != r.tag.Repository {
			return fmt.Errorf("the release is for %s, and its manifests say so, not for %s: run make push without IMAGE, or make release with this IMAGE first", r.tag.Repository, image)
		}
	}
	if version != "" && version != r.tag.TagStr() {
		return fmt.Errorf("the release is %s, not %s: run make push without VERSION, or make release with this VERSION first", r.tag.TagStr(), version)
	}
	return nil
}

// through returns how the registry is reached.
func through(c *counter) []remote.Option {
	return []remote.Option{remote.WithTransport(c), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithRetryBackoff(backoff)}
}

// push uploads r. Nothing is there before what it names is, and the tag comes
// last: who pulls by tag sees all of the release or nothing.
func (r released) push(ctx context.Context, log io.Writer) error {
	sent := &counter{RoundTripper: remote.DefaultTransport}
	options := through(sent)
	puller, err := remote.NewPuller(options...)
	if err != nil {
		return err
	}
	pusher, err := remote.NewPusher(options...)
	if err != nil {
		return err
	}
	repo := r.tag.Repository
	// step does one thing, and tells whether it had to send anything.
	step := func(what string, digest v1.Hash, do func() error) error {
		before := sent.bytes.Load()
		if err := do(); err != nil {
			return r.explain(fmt.Sprintf("%s %s", what, digest), err)
		}
		if n := sent.bytes.Load() - before; n > 0 {
			fmt.Fprintf(log, "release push: sent %s %s, %d bytes\n", what, digest, n)
		} else {
			fmt.Fprintf(log, "release push: %s %s was there\n", what, digest)
		}
		return nil
	}

	// A registry may answer for a repository that does not exist yet as if it were
	// forbidden; who may not push is told so by the first blob.
	there, err := r.isTagged(ctx, puller)
	if status := statusOf(err); err != nil && status != http.StatusUnauthorized && status != http.StatusForbidden {
		return r.explain("tag "+r.tag.TagStr(), err)
	}
	for _, p := range r.platforms {
		img, err := r.index.Image(p.Digest)
		if err != nil {
			return err
		}
		if err := step("image "+p.Platform.String(), p.Digest, func() error {
			return pusher.Push(ctx, repo.Digest(p.Digest.String()), img)
		}); err != nil {
			return err
		}
	}
	if err := step("index", r.digest, func() error {
		return pusher.Push(ctx, repo.Digest(r.digest.String()), r.index)
	}); err != nil {
		return err
	}
	for _, about := range r.referrers {
		if err := step(about.kind+" of "+about.subject.String()+",", about.digest, func() error {
			return about.push(ctx, repo, pusher, puller)
		}); err != nil {
			return err
		}
	}
	if !there {
		// Somebody else may have pushed in the meantime.
		if there, err = r.isTagged(ctx, puller); err != nil {
			return r.explain("tag "+r.tag.TagStr(), err)
		}
	}
	if err := step("tag "+r.tag.TagStr(), r.digest, func() error {
		if there {
			return nil
		}
		return pusher.Put(ctx, r.tag, r.index)
	}); err != nil {
		return err
	}
	// A registry cannot refuse a tag that somebody else has just pushed.
	if there, err = r.isTagged(ctx, puller); err == nil && !there {
		err = fmt.Errorf("%s does not have it, after it took it", r.tag.RegistryStr())
	}
	if err != nil {
		return r.explain("tag "+r.tag.TagStr(), err)
	}
	fmt.Fprintf(log, "release push: %s@%s is complete: %d bytes sent\n", r.tag, r.digest, sent.bytes.Load())
	return nil
}

// isTagged reports whether the registry has r's tag. The error is a refusal if
// the tag names something else.
func (r released) isTagged(ctx context.Context, puller *remote.Puller) (bool, error) {
	there, err := puller.Head(ctx, r.tag)
	switch {
	case statusOf(err) == http.StatusNotFound:
		return false, nil
	case err != nil:
		return false, err
	case there.Digest != r.digest:
		return false, refusal(fmt.Sprintf("%s is there with the digest %s, and this release has %s: a release does not change: make release with the next VERSION", r.tag, there.Digest, r.digest))
	}
	return true, nil
}

// push uploads f, if its subject's list of referrers does not have it.
func (f referrer) push(ctx context.Context, repo name.Repository, pusher *remote.Pusher, puller *remote.Puller) error {
	if listed, err := f.isListed(repo, puller); listed || err != nil {
		return err
	}
	ref := repo.Digest(f.digest.String())
	if err := pusher.Push(ctx, ref, f); err != nil {
		return err
	}
	// Where the list is a tag that the client writes, an interrupted push may have sent
	// the manifest only, and Push leaves alone what is there.
	// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
	if listed, err := f.isListed(repo, puller); listed || err != nil {
		return err
	}
	return pusher.Put(ctx, ref, f)
}

// isListed reports whether f is in the registry's list of its subject's referrers.
func (f referrer) isListed(repo name.Repository, puller *remote.Puller) (bool, error) {
	list, err := remote.Referrers(repo.Digest(f.subject.String()), remote.Reuse(puller))
	if err != nil {
		return false, err
	}
	manifest, err := list.IndexManifest()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(manifest.Manifests, func(d v1.Descriptor) bool { return d.Digest == f.digest }), nil
}

// refusal is an error that says all there is to say.
type refusal string

func (r refusal) Error() string { return string(r) }

// explain says in one sentence what a failure of the registry was about, and what to
// change. What was sent stays there, and is not sent again.
func (r released) explain(what string, err error) error {
	var said refusal
	if errors.As(err, &said) {
		return said
	}
	host := r.tag.RegistryStr()
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("the certificate of %s is not from an authority that this machine knows: set SSL_CERT_FILE to the file of its CA's certificate", host)
	}
	var request *url.Error
	if errors.As(err, &request) {
		request.URL, _, _ = strings.Cut(request.URL, "?") // it may have a signature or a token
	}
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return fmt.Errorf("%s: %w: what was sent stays there: run make push again", what, err)
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized:
		credentials, err := authn.DefaultKeychain.Resolve(r.tag.Repository)
		if err != nil {
			return err
		}
		if credentials == authn.Anonymous {
			return fmt.Errorf("%s wants credentials, and neither docker's config.json nor podman's auth.json has any for it: run docker login %s, or podman login %s", host, host, host)
		}
		return fmt.Errorf("%s does not accept the credentials in docker's config.json or podman's auth.json: run docker login %s, or podman login %s", host, host, host)
	case http.StatusForbidden:
		return fmt.Errorf("%s: %s does not let these credentials push to %s (it says %q): ask for the right to push, or log in as somebody who has it", what, host, r.tag.RepositoryStr(), answer)
	}
	return fmt.Errorf("%s: %s answers with status %d and %q: what was sent stays there: run make push again", what, host, answer.StatusCode, answer)
}

// statusOf returns the status with which the registry refused a request; 0 if
// that is not what err is.
func statusOf(err error) int {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// counter counts the bytes of blobs and manifests that are sent.
type counter struct {
	http.RoundTripper
	bytes atomic.Int64
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if host := r.URL.Hostname(); r.URL.Scheme != "https" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return nil, refusal(fmt.Sprintf("%s answers without TLS only, and credentials and images would be sent in the clear: push to a registry with TLS, or to one on localhost", r.URL.Host))
	}
	if r.Method == http.MethodPatch || r.Method == http.MethodPut {
		c.bytes.Add(max(0, r.ContentLength))
	}
	return c.RoundTripper.RoundTrip(r)
}
