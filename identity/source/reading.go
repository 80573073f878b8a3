package source

import (
	"context"
	"fmt"
	"time"
)

// patience is how long a source is waited for; but that it hangs is told notice
// before a deadline, which would only say that time is up. What takes less than least
// does not hang: there the reason from before is the better one.
const (
	patience = 5 * time.Second
	notice   = 100 * time.Millisecond
	least    = time.Second
)

// Reading reads a source in a goroutine of its own, of which there is one: a file
// system that hangs, as NFS does, holds that and nobody else. The zero value is
// ready; it is for one goroutine.
type Reading[T any] struct{ done chan T }

// Read returns what read returns. While an earlier one hangs, that is waited for, and
// read is not called. The error says that the path hangs, or is the end of ctx.
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
