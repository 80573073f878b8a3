package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/podfqdn/podfqdn/identity"
)

// Path is an absolute path, perhaps with words in braces. The zero value is not a path.
type Path struct{ template string }

// UnmarshalText reads a path; "" is none.
func (p *Path) UnmarshalText(text []byte) error {
	*p = Path{}
	if len(text) == 0 {
		return nil
	}
	if _, err := Example().Expand(string(text)); err != nil {
		return err
	}
	if !filepath.IsAbs(string(text)) || strings.Contains(string(text), "\x00") {
		return errors.New("must be an absolute path")
	}
	p.template = string(text)
	return nil
}

// IsZero reports whether there is none.
func (p Path) IsZero() bool { return p.template == "" }

// Of returns the path of the Pod that has these words. The error is one of Expand.
func (p Path) Of(w Words) (string, error) { return w.Expand(p.template) }

// Explain returns err with what to change so that a path can be read; holds is "keys"
// or "certificate". A wrong file mode comes from the Pod's spec, and time does not mend
// it: then the error is a *identity.Refusal.
func Explain(path string, err error, holds string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%+q does not exist: mount what holds the %s there, or add it to the Secret", path, holds)
	case errors.Is(err, fs.ErrPermission):
		return identity.Refuse(identity.Misconfigured, denied(path), "set the Pod's fsGroup, or a defaultMode or runAsUser that allows reading it")
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		err = errno
	}
	return fmt.Errorf("%+q cannot be read: %w", path, err)
}

// denied says which user was denied which file.
func denied(path string) error {
	groups, _ := os.Getgroups()
	who := fmt.Sprintf("uid %d, gid %d, groups %v may not read %+q", os.Geteuid(), os.Getegid(), groups, path)
	for at := path; ; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err == nil {
			stat := info.Sys().(*syscall.Stat_t)
			what := "which"
			if at != path {
				what = fmt.Sprintf("as %+q", at)
			}
			return fmt.Errorf("%s, %s has uid %d, gid %d and mode %04o", who, what, stat.Uid, stat.Gid, info.Mode().Perm())
		}
		if at == filepath.Dir(at) {
			return errors.New(who)
		}
	}
}

// Within reports whether a path, or what it leads to, is a directory or lies in it.
func Within(path, dir string) bool {
	outer, err := os.Stat(dir)
	if err != nil {
		return false // nothing is in what is not there
	}
	paths := []string{path}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		paths = append(paths, real)
	}
	for _, path := range paths {
		for at := filepath.Clean(path); ; at = filepath.Dir(at) {
			if info, err := os.Stat(at); err == nil && os.SameFile(info, outer) {
				return true
			}
			if at == filepath.Dir(at) {
				break
			}
		}
	}
	return false
}
