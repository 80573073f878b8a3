package build

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestTheLineHasWhatGoStamped(t *testing.T) {
	t.Parallel()
	const commit = "9cf766650a1d1b7e0a8d5e3d3c2f4b6a7c8d9e0f"
	tail := " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	for want, info := range map[string]*debug.BuildInfo{
		"podfqdn v1.2.3 " + commit: {
			Main:     debug.Module{Version: "v1.2.3"},
			Settings: []debug.BuildSetting{{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: commit}},
		},
		"podfqdn v1.2.4-0.20260102030405-9cf766650a1d+dirty " + commit: {
			Main:     debug.Module{Version: "v1.2.4-0.20260102030405-9cf766650a1d+dirty"},
			Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.modified", Value: "true"}},
		},
		"podfqdn v1.2.3":  {Main: debug.Module{Version: "v1.2.3"}}, // go install of a module
		"podfqdn (devel)": {},
	} {
		version, revision := read(info)
		if got := line("podfqdn", version, revision); got != want+tail {
			t.Errorf("%q, not %q", got, want+tail)
		}
	}
}

func TestALineBeginsWithTheProgram(t *testing.T) {
	t.Parallel()
	if got := Line("kubectl podfqdn"); !strings.HasPrefix(got, "kubectl podfqdn ") || strings.Contains(got, "\n") {
		t.Errorf("%q", got)
	}
}
