package cluster

import (
	"slices"
	"testing"
)

func TestHierarchiesAreReadOfEachVersion(t *testing.T) {
	const (
		other   = "22 1 0:21 / /proc rw,relatime shared:5 - proc proc rw\n"
		unified = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
		mixed   = "31 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n" +
			"32 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
			"33 25 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n" +
			"34 25 0:30 / /sys/fs/cgroup/pids rw shared:10 master:2 - cgroup cgroup rw,pids\n"
	)
	for _, c := range []struct {
		mountinfo string
		want      []hierarchy
	}{
		{other, nil},
		{other + unified, []hierarchy{{mount: "/sys/fs/cgroup", v2: true}}},
		{other + mixed, []hierarchy{
			{mount: "/sys/fs/cgroup/unified", v2: true},
			{mount: "/sys/fs/cgroup/cpu,cpuacct"},
			{mount: "/sys/fs/cgroup/cpuset", sets: true},
			{mount: "/sys/fs/cgroup/pids", pids: true},
		}},
	} {
		if got := hierarchies([]byte(c.mountinfo)); !slices.Equal(got, c.want) {
			t.Errorf("%s\ngives %+v, want %+v", c.mountinfo, got, c.want)
		}
	}
}

func TestOneClustersMarkIsNotAnothers(t *testing.T) {
	for path, want := range map[string]bool{"/podfqdn-ci": true, "/podfqdn-ci/node": true, "/podfqdn-ci-2/node": false, "/": false, "/x/podfqdn-ci": false} {
		if got := below(path, "/podfqdn-ci"); got != want {
			t.Errorf("%s below /podfqdn-ci: %v", path, got)
		}
	}
}
