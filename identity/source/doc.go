// Package source is what all that a person mounts for podfqdn to read has in common,
// such as a Secret with keys: its path, with words in braces for what differs from
// Pod to Pod; the sentence where it cannot be read; and a read that hangs.
package source
