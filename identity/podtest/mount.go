package podtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Mount is a Secret or a ConfigMap as the kubelet mounts it: each change is a directory
// of its own and one rename (pkg/volume/util/atomic_writer.go).
type Mount struct {
	Dir  string
	Mode os.FileMode // of the files; 0 for 0644
	turn int
}

// Set replaces the files of the mount.
func (m *Mount) Set(files map[string][]byte) error {
	m.turn++
	name := fmt.Sprintf("..2026_01_02_03_04_05.%d", m.turn)
	before, _ := os.Readlink(filepath.Join(m.Dir, "..data"))
	mode := m.Mode
	if mode == 0 {
		mode = 0o644
	}
	err := os.MkdirAll(filepath.Join(m.Dir, name), 0o755)
	for file, data := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(m.Dir, name, file), data, mode))
		_ = os.Symlink(filepath.Join("..data", file), filepath.Join(m.Dir, file))
	}
	if err != nil {
		return err
	}
	next := filepath.Join(m.Dir, "..data_tmp")
	if err := errors.Join(os.Symlink(name, next), os.Rename(next, filepath.Join(m.Dir, "..data"))); err != nil {
		return err
	}
	if before == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(m.Dir, before))
}
