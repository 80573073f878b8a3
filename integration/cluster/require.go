package cluster

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	busybox    = "/bin/busybox"
	cniPlugins = "/usr/lib/cni"
)

// capabilities are what the node needs, and what every container is given by
// default, by their number in linux/capability.h.
var capabilities = map[string]uint{
	"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8,
	"NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_CHROOT": 18, "SYS_ADMIN": 21, "MKNOD": 27, "AUDIT_WRITE": 29, "SETFCAP": 31,
}

// tools are the programs that aren't built here, with the Debian package of each.
var tools = []struct{ name, deb string }{
	{"runc", "runc"},
	{"ip", "iproute2"},
	{"iptables", "iptables"},
	{"ip6tables", "iptables"},
	{"nsenter", "util-linux"},
	{"mount", "mount"},
	{cniPlugins + "/bridge", "containernetworking-plugins"},
	{cniPlugins + "/host-local", "containernetworking-plugins"},
	{cniPlugins + "/loopback", "containernetworking-plugins"},
	{busybox, "busybox-static"},
}

// require tells in one sentence what a cluster would lack here: a right, or
// programs together with the packages that have them. dir is where the
// cluster will lie.
func require(dir string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("a cluster needs root, for namespaces, mounts and cgroups: this is user %d", os.Geteuid())
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	if lacks := lackingCapabilities(status); len(lacks) > 0 {
		return fmt.Errorf("a cluster needs capabilities that this root lacks: %s", strings.Join(lacks, ", "))
	}
	var lacks, install []string
	for _, t := range tools {
		if _, err := lookPath(t.name); err == nil && (t.name != busybox || standsAlone(busybox)) {
			continue
		}
		lacks = append(lacks, filepath.Base(t.name))
		if !slices.Contains(install, t.deb) {
			install = append(install, t.deb)
		}
	}
	if len(lacks) > 0 {
		return fmt.Errorf("a cluster needs %s: apt-get install %s", strings.Join(lacks, ", "), strings.Join(install, " "))
	}
	return requireFilesystem(dir)
}

// lookPath finds a tool as root would, whose PATH may lack sbin.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err == nil || filepath.IsAbs(name) {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	return path, err
}

// lackingCapabilities returns the names of those that status, a
// /proc/PID/status, doesn't hold.
func lackingCapabilities(status []byte) []string {
	m := regexp.MustCompile(`(?m)^CapEff:\s*([0-9a-f]+)$`).FindSubmatch(status)
	if m == nil {
		return nil
	}
	held, err := strconv.ParseUint(string(m[1]), 16, 64)
	if err != nil {
		return nil
	}
	var lacks []string
	for name, bit := range capabilities {
		if held>>bit&1 == 0 {
			lacks = append(lacks, "CAP_"+name)
		}
	}
	slices.Sort(lacks)
	return lacks
}

// standsAlone reports whether the program at path runs in an image that holds nothing else.
func standsAlone(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// overlayfs is its f_type (statfs(2)).
const overlayfs = 0x794c7630

// requireFilesystem refuses a directory that containers can't be laid over.
func requireFilesystem(dir string) error {
	var s syscall.Statfs_t
	for {
		err := syscall.Statfs(dir, &s)
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("statfs %s: %w", dir, err)
		}
		dir = filepath.Dir(dir)
	}
	if s.Type == overlayfs {
		return fmt.Errorf("a cluster can't be in %s, which is an overlay itself: set XDG_CACHE_HOME to a directory of another file system", dir)
	}
	return nil
}
