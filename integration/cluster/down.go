package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// marker is the environment variable that every component inherits.
const marker = "PODFQDN_CLUSTER"

// Down ends the cluster id and removes all that it made, however far Up came.
// It is not an error if there is nothing. It ends no process but the node that Up
// recorded, and with that the kernel ends what runs below it.
func Down(id string) error {
	dir, err := dirOf(id)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return removeCgroups(id, time.Second)
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), 5*time.Second, errors.New("is `up` still running?"))
	defer cancel()
	unlock, err := lock(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := readRecord(dir)
	if err != nil {
		return err
	}
	if err := r.Node.end(); err != nil {
		return fmt.Errorf("cluster %s: %w", id, err)
	}
	if err := removeCgroups(id, 10*time.Second); err != nil {
		return err
	}
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		// Whatever it is, its content isn't ours to remove.
		return fmt.Errorf("cluster %s: still mounted: %s", id, strings.Join(mounts, ", "))
	}
	return os.RemoveAll(dir)
}

// Leftovers lists, one a line, what there is of the cluster id on this
// machine: processes, mounts, cgroups and directories. It is empty after Down.
func Leftovers(id string) ([]string, error) {
	dir, err := dirOf(id)
	if err != nil {
		return nil, err
	}
	left, err := processesOf(id, dir)
	if err != nil {
		return nil, err
	}
	mounts, err := mountsBelow(dir)
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		left = append(left, "mount "+m)
	}
	dirs, err := cgroups(id)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		if filepath.Base(dir) == cgroupName(id) {
			left = append(left, "cgroup "+dir)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		left = append(left, "directory "+dir)
	}
	return left, nil
}

// processesOf finds the cluster's processes by each mark that they can have,
// without its record: the environment, the cgroup, the program, and the
// namespaces of those that have any of these.
func processesOf(id, dir string) ([]string, error) {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	marked := map[string]bool{}
	namespaces := map[string]bool{}
	for _, process := range processes {
		if !bears(process, id, dir) {
			continue
		}
		marked[process] = true
		for _, ns := range []string{"pid", "net", "mnt"} {
			if link, err := os.Readlink(filepath.Join(process, "ns", ns)); err == nil {
				namespaces[link] = true
			}
		}
	}
	for _, ns := range []string{"pid", "net", "mnt"} {
		// Every process shares those of this one.
		if link, err := os.Readlink("/proc/self/ns/" + ns); err == nil {
			delete(namespaces, link)
		}
	}
	var found []string
	for _, process := range processes {
		within := marked[process]
		for _, ns := range []string{"pid", "net", "mnt"} {
			link, err := os.Readlink(filepath.Join(process, "ns", ns))
			within = within || err == nil && namespaces[link]
		}
		pid, err := strconv.Atoi(filepath.Base(process))
		if !within || err != nil || pid == os.Getpid() {
			continue
		}
		if _, err := processOf(pid); err != nil {
			continue
		}
		command, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		name, _, _ := strings.Cut(string(command), "\x00")
		found = append(found, fmt.Sprintf("process %d %s", pid, name))
	}
	return found, nil
}

func bears(process, id, dir string) bool {
	environ, _ := os.ReadFile(filepath.Join(process, "environ"))
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		if string(v) == marker+"="+id {
			return true
		}
	}
	lines, _ := os.ReadFile(filepath.Join(process, "cgroup"))
	for line := range strings.Lines(string(lines)) {
		// number:controllers:path, cgroups(7)
		if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 && below(parts[2], "/"+cgroupName(id)) {
			return true
		}
	}
	path, err := os.Readlink(filepath.Join(process, "exe"))
	return err == nil && below(path, dir)
}

// below reports whether path is dir or lies in it.
func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// mountsBelow returns the mount points in dir that this process sees.
func mountsBelow(dir string) ([]string, error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(mountinfo)) {
		if f := strings.Fields(line); len(f) > 4 && below(unescape(f[4]), dir) {
			found = append(found, f[4])
		}
	}
	return found, nil
}

// unescape undoes the octal of a mountinfo field, proc(5).
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
