// Package build says which build of podfqdn a program is: the version and the
// commit that Go stamped into it, so nobody has to pass them by linker flags.
package build

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Info returns the module's version, such as v1.2.3, with +dirty behind it if the
// tree was not the commit's, or (devel) if there is none; and the commit, "" without
// one.
func Info() (version, revision string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return read(info)
}

func read(info *debug.BuildInfo) (version, revision string) {
	version = "(devel)"
	if info.Main.Version != "" {
		version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return version, revision
}

// Line returns what the command version of a program prints, without a newline:
// "podfqdn v1.2.3 COMMIT go1.26.0 linux/amd64", without COMMIT if it is not known.
func Line(program string) string {
	version, revision := Info()
	return line(program, version, revision)
}

func line(program, version, revision string) string {
	if revision != "" {
		version += " " + revision
	}
	return fmt.Sprintf("%s %s %s %s/%s", program, version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
