// Package cluster brings up a real Kubernetes of one node, for tests that need
// a kubelet that starts a Pod and a CoreDNS that answers it.
//
// All of it — etcd, the control plane, containerd, kubelet, kube-proxy, every
// Pod — runs below one process, the node (package node), which is the first
// of a PID namespace and owns a mount, a network, an IPC and a UTS namespace.
// When that process is killed the kernel ends everything below it, at
// whatever stage: no shim, mount, link or rule outlives it. What is left are
// directories and cgroups, and both carry the cluster's id. So Down is the same
// after a good run, a failed one and one that was killed, and it needs to
// know one process id, which Up records (with its start time, so that a
// later process with the same number is never touched) before that process does
// anything.
//
// The network namespace has no route out. The API server is reached from
// outside by a listener on 127.0.0.1 that Up opens and hands to the node, so
// the kubeconfig works for kubectl and tests anywhere on the machine, and
// neither needs to enter a namespace.
//
// The components are compiled from the modules under build, one module each,
// so that each has the dependencies it was released with. Only Go modules
// are downloaded, and those are pinned by the go.sum next to each
// go.mod. runc and the CNI plugins are Debian's.
//
// The addresses are the same in every cluster, as no two clusters share a network:
//
//	node      192.0.2.2      2001:db8::2
//	Pods      10.244.0.0/24  fd00:10:244::/64
//	Services  10.96.0.0/16   fd00:10:96::/112
//	DNS       10.96.0.10     (its upstream, on the node, denies every name for three hours)
package cluster
