package crowd

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// period of a quota: Linux's default, and the kubelet's.
const period = 100 * time.Millisecond

// makeGroup makes a cgroup whose processes have a share of a core.
func makeGroup(share float64) (dir string, err error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer mounts.Close()
	err = errors.New("no cgroup hierarchy with the cpu controller is mounted")
	quota := strconv.Itoa(int(share * float64(period.Microseconds())))
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		mount, kind := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(kind) < 3 {
			continue
		}
		file, text := "cpu.cfs_quota_us", quota
		switch {
		case kind[0] == "cgroup" && slices.Contains(strings.Split(kind[2], ","), "cpu"):
		case kind[0] == "cgroup2":
			file, text = "cpu.max", fmt.Sprintf("%s %d", quota, period.Microseconds())
			// Where it is given already, or cannot be, the file shows it.
			_ = os.WriteFile(filepath.Join(mount[4], "cgroup.subtree_control"), []byte("+cpu"), 0)
		default:
			continue
		}
		if dir, err = os.MkdirTemp(mount[4], "podfqdn-crowd-"); err != nil {
			continue
		}
		if err = os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err == nil {
			return dir, nil
		}
		err = errors.Join(err, syscall.Rmdir(dir))
	}
	return "", err
}

// enter moves a process into a cgroup.
func enter(dir string, pid int) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// removeGroup removes a cgroup, which the kernel keeps busy for a moment after its last process has ended.
func removeGroup(dir string) (err error) {
	for range 100 {
		if err = syscall.Rmdir(dir); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("remove cgroup %s: %w", dir, err)
}

// Throttled returns in how many periods of 100 ms CoreDNS wanted to run, and in how many of them it was made to wait for
// the next, as it had used up its share; since it entered its cgroup. Both are 0 where it has none.
func (c *CoreDNS) Throttled() (throttled, periods int, err error) {
	if c.group == "" {
		return 0, 0, nil
	}
	text, err := os.ReadFile(filepath.Join(c.group, "cpu.stat"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		fmt.Sscanf(line, "nr_periods %d", &periods)
		fmt.Sscanf(line, "nr_throttled %d", &throttled)
	}
	return throttled, periods, nil
}
