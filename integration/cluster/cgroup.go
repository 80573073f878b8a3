package cluster

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hierarchy is one mounted cgroup file system.
type hierarchy struct {
	mount string
	v2    bool
	pids  bool // version 1, with the pids controller
	sets  bool // version 1, with the cpuset controller
}

// cgroupName is the name of the cluster's cgroup, at the top of every hierarchy.
func cgroupName(id string) string { return "podfqdn-" + id }

func (h hierarchy) dir(id string) string { return filepath.Join(h.mount, cgroupName(id)) }

// hierarchies reads them off a /proc/PID/mountinfo.
func hierarchies(mountinfo []byte) []hierarchy {
	var found []hierarchy
	for lines := bufio.NewScanner(bytes.NewReader(mountinfo)); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		mount, kind := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(kind) < 3 || kind[0] != "cgroup" && kind[0] != "cgroup2" {
			continue
		}
		options := strings.Split(kind[2], ",")
		h := hierarchy{
			mount: mount[4],
			v2:    kind[0] == "cgroup2",
			pids:  slices.Contains(options, "pids"),
			sets:  slices.Contains(options, "cpuset"),
		}
		if !slices.ContainsFunc(found, func(o hierarchy) bool { return o.mount == h.mount }) {
			found = append(found, h)
		}
	}
	return found
}

func mountedHierarchies() ([]hierarchy, error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return hierarchies(mountinfo), nil
}

// makeCgroups makes the cluster's cgroup in every hierarchy, for the kubelet
// to make the Pods' below, and returns the one that tells which processes are
// the cluster's: version 2 if it is mounted, as in a mixed setup no runtime
// moves a process there, else that of pids.
func makeCgroups(id string) (tracking string, err error) {
	all, err := mountedHierarchies()
	if err != nil {
		return "", err
	}
	for _, h := range all {
		dir := h.dir(id)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
		if h.v2 {
			delegate(h.mount)
			delegate(dir)
		}
		if h.sets {
			// Empty in a new one, and no process may enter it then.
			for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
				if err := copyFile(filepath.Join(h.mount, name), filepath.Join(dir, name)); err != nil {
					return "", err
				}
			}
		}
		if h.v2 || h.pids && tracking == "" {
			tracking = filepath.Join(dir, "node")
		}
	}
	if tracking == "" {
		return "", errors.New("neither a version 2 cgroup hierarchy nor one with the pids controller is mounted")
	}
	return tracking, os.Mkdir(tracking, 0o755)
}

// delegate gives the children of a version 2 cgroup its controllers: each by
// itself, as one that is in use elsewhere fails alone. The kubelet says which
// it misses.
func delegate(dir string) {
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, c := range strings.Fields(string(controllers)) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0)
}

// enter moves the process pid into the cgroup dir.
func enter(dir string, pid int) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// cgroups returns the cluster's directories in all hierarchies, parents first.
func cgroups(id string) ([]string, error) {
	all, err := mountedHierarchies()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, h := range all {
		err := filepath.WalkDir(h.dir(id), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

// removeCgroups removes them. The kernel keeps one busy for a moment after
// its last process has ended.
func removeCgroups(id string, within time.Duration) error {
	for deadline := time.Now().Add(within); ; time.Sleep(50 * time.Millisecond) {
		dirs, err := cgroups(id)
		if err != nil {
			return err
		}
		var failed error
		for _, dir := range slices.Backward(dirs) {
			if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
				failed = fmt.Errorf("remove cgroup %s: %w", dir, err)
			}
		}
		if failed == nil || time.Now().After(deadline) {
			return failed
		}
	}
}
