// Package source is for what a person mounts for podfqdn to read, such as a Secret
// with keys: its path, with words in braces for what differs from Pod to Pod; the
// error if it cannot be read; and a read that hangs.
package source
