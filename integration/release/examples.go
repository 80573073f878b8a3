package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// own is podfqdn's image in a manifest, as a container's image or as a volume's,
// with the comment that says how to build it.
var own = regexp.MustCompile(`\b(image|reference): podfqdn:dev\b( +# make image)?`)

// writeExamples writes the examples with the release's image by digest.
func (r release) writeExamples(context.Context) error {
	start := time.Now()
	image, err := r.reference()
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(r.source.dir, "examples", "*.yaml"))
	if err != nil {
		return err
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := filepath.Base(path)
		pinned := own.ReplaceAllString(string(text), "${1}: "+image)
		if strings.Contains(pinned, "podfqdn:dev") {
			return fmt.Errorf("%s: podfqdn:dev is in a place where it is not an image: only image and reference are replaced", name)
		}
		if err := r.write(name, []byte(pinned)); err != nil {
			return err
		}
	}
	r.done(start, "%d examples", len(files))
	return nil
}
