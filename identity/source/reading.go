package source

import (
	"context"
	"fmt"
	"time"
)

// patience is how long a read may take. A read that hangs is reported notice earlier
// than a deadline, which would only say that time is up. One that takes less than least
// does not hang: then the earlier reason is the better one.
const (
	patience = 5 * time.Second
	notice   = 100 * time.Millisecond
	least    = time.Second
)

// Reading reads a source in a single goroutine of its own: a file system that hangs,
// as NFS does, blocks that and nothing else. The zero value is ready; it is for one
// goroutine.
type Reading[T any] struct{ done chan T }

// Read returns what read returns. While an earlier read hangs, Read waits for that and
// does not call read. The error says that the path hangs, or is the end of ctx.
func (r *Reading[T]) Read(ctx context.Context, path string, read func() T) (found T, err error) {
	if r.done == nil {
		done := make(chan T, 1)
		go func() { done <- read() }()
		r.done = done
	}
	wait := patience
	if end, ok := ctx.Deadline(); ok && time.Until(end) > least+notice {
		wait = min(wait, time.Until(end)-notice)
	}
	select {
	case found = <-r.done:
		r.done = nil
		return found, nil
	case <-ctx.Done():
		return found, context.Cause(ctx)
	case <-time.After(wait):
		return found, fmt.Errorf("%+q could not be read within %s: check whether its file system hangs", path, wait.Round(notice))
	}
}
