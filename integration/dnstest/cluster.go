package dnstest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/coredns/coredns/plugin/kubernetes"
	"github.com/coredns/coredns/plugin/kubernetes/object"
	core "k8s.io/api/core/v1"
)

// Endpoint is one address of one EndpointSlice that CoreDNS knows: a Pod that is ready, or whose Service publishes
// addresses that are not.
type Endpoint struct {
	Namespace, Service string
	Hostname           string // as the slice says it; "" is a Pod without spec.hostname, published under its dashed address
	IP                 string
	Pod                string // whose it is; the name of a Pod without hostname where the Corefile has endpoint_pod_names
}

// Cluster is what the API server told CoreDNS. The zero value is an empty cluster, in sync, ready for use. A namespace
// exists when it has a Service. All methods are safe while the cluster is served; a change is seen by the next
// question.
//
// Methods panic on an address that does not parse.
type Cluster struct {
	mu       sync.RWMutex
	services []*object.Service
	byIndex  map[string][]*object.Endpoints // one a published endpoint, oldest first
	byIP     map[string][]*object.Endpoints
	unsynced bool
	modified int64
}

// Service adds a Service, replacing the one of that name. Without a clusterIP it is headless.
func (c *Cluster) Service(namespace, name string, clusterIPs ...string) {
	s := &object.Service{
		Name: name, Namespace: namespace, Index: object.ServiceKey(name, namespace),
		Type: core.ServiceTypeClusterIP, ClusterIPs: []string{core.ClusterIPNone},
		Ports: []core.ServicePort{{Port: -1}}, // what the plugin itself stores for a Service without ports
	}
	if len(clusterIPs) > 0 {
		s.ClusterIPs = nil
		for _, ip := range clusterIPs {
			s.ClusterIPs = append(s.ClusterIPs, canonical(ip))
		}
	}
	c.change(func() { c.services = append(slices.DeleteFunc(c.services, named(s.Index)), s) })
}

// Delete removes a Service. Its endpoints stay until they are withdrawn, as they do in a cluster until the garbage
// collector comes by.
func (c *Cluster) Delete(namespace, name string) {
	c.change(func() { c.services = slices.DeleteFunc(c.services, named(object.ServiceKey(name, namespace))) })
}

// Publish adds endpoints. The order of publication is the order of several PTR records of one address; in a cluster
// that order is random, because the plugin's index iterates over a map. An endpoint whose Service and address are
// published already is replaced and becomes the youngest.
func (c *Cluster) Publish(endpoints ...Endpoint) {
	c.change(func() {
		if c.byIndex == nil {
			c.byIndex, c.byIP = map[string][]*object.Endpoints{}, map[string][]*object.Endpoints{}
		}
		for _, e := range endpoints {
			c.withdraw(e)
			s := e.slice()
			c.byIndex[s.Index] = append(c.byIndex[s.Index], s)
			c.byIP[s.IndexIP[0]] = append(c.byIP[s.IndexIP[0]], s)
		}
	})
}

// PublishSlice adds endpoints of one Service in one EndpointSlice, as a cluster has up to 100 of them, and replaces the
// slice of that name. They must not be published otherwise, and stay for good.
func (c *Cluster) PublishSlice(name string, endpoints ...Endpoint) {
	slice := endpoints[0].slice()
	slice.Name, slice.IndexIP, slice.Subsets[0].Addresses = name, nil, nil
	for _, e := range endpoints {
		one := e.slice()
		slice.IndexIP = append(slice.IndexIP, one.IndexIP...)
		slice.Subsets[0].Addresses = append(slice.Subsets[0].Addresses, one.Subsets[0].Addresses...)
	}
	put := func(all []*object.Endpoints) []*object.Endpoints {
		return append(slices.DeleteFunc(all, func(s *object.Endpoints) bool { return s.Name == name }), slice)
	}
	c.change(func() {
		if c.byIndex == nil {
			c.byIndex, c.byIP = map[string][]*object.Endpoints{}, map[string][]*object.Endpoints{}
		}
		c.byIndex[slice.Index] = put(c.byIndex[slice.Index])
		for _, ip := range slice.IndexIP {
			c.byIP[ip] = put(c.byIP[ip])
		}
	})
}

func (c *Cluster) withdraw(e Endpoint) {
	index, ip := object.EndpointsKey(e.Service, e.Namespace), canonical(e.IP)
	is := func(s *object.Endpoints) bool { return s.Index == index && s.IndexIP[0] == ip }
	if slices.ContainsFunc(c.byIP[ip], is) {
		c.byIndex[index] = slices.DeleteFunc(c.byIndex[index], is)
		c.byIP[ip] = slices.DeleteFunc(c.byIP[ip], is)
	}
}

// Withdraw removes endpoints by Service and address; the hostname is not looked at.
func (c *Cluster) Withdraw(endpoints ...Endpoint) {
	c.change(func() {
		for _, e := range endpoints {
			c.withdraw(e)
		}
	})
}

// Sync says whether CoreDNS has heard all from the API server. While it has not, a name that it does not know is
// answered with SERVFAIL, unless the zone falls through.
func (c *Cluster) Sync(synced bool) { c.change(func() { c.unsynced = !synced }) }

func (c *Cluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.modified = time.Now().Unix()
}

func (e Endpoint) slice() *object.Endpoints {
	ip := canonical(e.IP)
	return &object.Endpoints{
		Name: e.Service + "-" + ip, Namespace: e.Namespace,
		Index: object.EndpointsKey(e.Service, e.Namespace), IndexIP: []string{ip},
		Subsets: []object.EndpointSubset{{
			Addresses: []object.EndpointAddress{{IP: ip, Hostname: e.Hostname, TargetRefName: e.Pod}},
			Ports:     []object.EndpointPort{{Port: -1}}, // without any port the plugin would publish no address
		}},
	}
}

func named(key string) func(*object.Service) bool {
	return func(s *object.Service) bool { return s.Index == key }
}

// canonical: the plugin compares addresses as text.
func canonical(ip string) string { return netip.MustParseAddr(ip).String() }

// api is the Cluster as the plugin asks it: its connection to the API server.
type api Cluster

// pick copies: what it returns is read after the lock is gone.
func pick[T any](a *api, all *[]T, keep func(T) bool) (some []T) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, o := range *all {
		if keep(o) {
			some = append(some, o)
		}
	}
	return some
}

func (a *api) ServiceList() []*object.Service {
	return pick(a, &a.services, func(*object.Service) bool { return true })
}

func (a *api) SvcIndex(key string) []*object.Service {
	return pick(a, &a.services, named(key))
}

func (a *api) SvcIndexReverse(ip string) []*object.Service {
	return pick(a, &a.services, func(s *object.Service) bool { return slices.Contains(s.ClusterIPs, ip) })
}

func (a *api) EndpointsList() (all []*object.Endpoints) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, some := range a.byIndex {
		all = append(all, some...)
	}
	return all
}

func (a *api) EpIndex(key string) []*object.Endpoints {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Clone(a.byIndex[key])
}

func (a *api) EpIndexReverse(ip string) []*object.Endpoints {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Clone(a.byIP[ip])
}

func (a *api) GetNamespaceByName(name string) (*object.Namespace, error) {
	if len(pick(a, &a.services, func(s *object.Service) bool { return s.Namespace == name })) == 0 {
		return nil, errors.New("namespace not found")
	}
	return &object.Namespace{Name: name}, nil
}

func (a *api) HasSynced() bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return !a.unsynced
}

func (a *api) Modified(kubernetes.ModifiedMode) int64 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.modified
}

func (*api) ServiceImportList() []*object.ServiceImport       { return nil }
func (*api) SvcExtIndexReverse(string) []*object.Service      { return nil }
func (*api) SvcImportIndex(string) []*object.ServiceImport    { return nil }
func (*api) PodIndex(string) []*object.Pod                    { return nil }
func (*api) McEpIndex(string) []*object.MultiClusterEndpoints { return nil }
func (*api) Run()                                             {}
func (*api) Stop() error                                      { return nil }
func (*api) GetNodeByName(context.Context, string) (*core.Node, error) {
	return nil, errors.New("no nodes here")
}
