package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// isReadOnly reports whether a directory is mounted read-only (statfs(2)). It needs no
// lock, so it keeps nobody waiting.
func isReadOnly(dir string) bool {
	const readOnly = 1 // ST_RDONLY
	var stat syscall.Statfs_t
	return syscall.Statfs(dir, &stat) == nil && stat.Flags&readOnly != 0
}

// mounted refuses a directory that is not on a volume, as the mount table of the
// process says, since what a container keeps in its own layer is lost when it is
// started again. Without a table it refuses nothing. name is the volume's name in the
// suggested change.
func mounted(root fs.FS, dir, name string) error {
	table, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return nil
	}
	where := filepath.Clean(dir)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		where = real
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 5 { // proc_pid_mountinfo(5)
			continue
		}
		point := unescape.Replace(fields[4])
		if point != "/" && (where == point || strings.HasPrefix(where, point+"/")) {
			return nil
		}
	}
	return fmt.Errorf("%s is not a volume: add volumes: [{name: %s, emptyDir: {}}] to the Pod, and volumeMounts: [{name: %s, mountPath: %s}] to this container", dir, name, name, dir)
}
