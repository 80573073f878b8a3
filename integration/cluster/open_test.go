package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestAKubeconfigTellsItsCluster(t *testing.T) {
	dir := t.TempDir()
	cache := filepath.Join(dir, "cache")
	t.Setenv("XDG_CACHE_HOME", cache)
	// This process stands for the node.
	node, err := processOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	write := func(path string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := func(to, path string) string {
		t.Helper()
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cluster := func(id string, r record) string {
		t.Helper()
		dir, err := dirOf(id)
		if err != nil {
			t.Fatal(err)
		}
		path := write((&Cluster{dir: dir}).Kubeconfig())
		if err := r.write(dir); err != nil {
			t.Fatal(err)
		}
		return path
	}
	up := cluster("up", record{Node: node, Kubernetes: "v1.37.1", Domain: "example.internal"})
	earlier := cluster("earlier", record{Node: node})
	ended := cluster("ended", record{Node: process{PID: node.PID, Start: node.Start - 1}})
	t.Chdir(dir)

	for _, path := range []string{up, "cache/podfqdn/cluster/up/kubeconfig", up[:len(up)-len("kubeconfig")] + "./../up/kubeconfig", link(up, "config"), link(cache, "other") + "/podfqdn/cluster/up/kubeconfig"} {
		c, err := Of(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if c.ID != "up" || c.Kubeconfig() != up || c.Version != "v1.37.1" || c.Domain != "example.internal" {
			t.Errorf("%s: %+v", path, c)
		}
	}
	if c, err := Of(earlier); err != nil || c.Domain != "cluster.local" {
		t.Errorf("a record without a domain: %+v, %v", c, err)
	}
	gone := filepath.Join(cache, "podfqdn/cluster/gone/kubeconfig")
	for _, path := range []string{ended, gone} {
		if c, err := Of(path); err == nil || errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v, %v, want that it is down", path, c, err)
		}
	}
	for _, path := range []string{"", "missing", up + ":" + earlier, filepath.Dir(up), write("up/kubeconfig"), write(filepath.Join(filepath.Dir(up), "other")), write(".kube/config")} {
		if c, err := Of(path); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v, %v, want %v", path, c, err, ErrForeign)
		}
	}
}
