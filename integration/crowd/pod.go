package crowd

import (
	"fmt"
	"net/netip"

	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// PerService is how many Pods stand behind one headless Service.
const PerService = 100

// Services is how many Services this number of Pods has.
func Services(pods int) int { return (pods + PerService - 1) / PerService }

// service is the name of a Service.
func service(number int) string { return fmt.Sprintf("db%d", number) }

// Pod is one of a crowd, by its number from 0 on.
type Pod int

// Service is the number of the Pod's Service.
func (p Pod) Service() int { return int(p) / PerService }

// Hostname is the Pod's spec.hostname, such as db2-17.
func (p Pod) Hostname() string { return fmt.Sprintf("db%d-%d", p.Service(), int(p)%PerService) }

// Zone is what stands behind the hostname in the Pod's name.
func (p Pod) Zone() string { return service(p.Service()) + ".default.svc.cluster.local" }

// FQDN is the Pod's name, without the root dot.
func (p Pod) FQDN() string { return p.Hostname() + "." + p.Zone() }

// IP is the Pod's address, of IPv4.
func (p Pod) IP() string {
	return netip.AddrFrom4([4]byte{10, 244, byte(p >> 8), byte(p)}).String()
}

func (p Pod) endpoint() dnstest.Endpoint {
	return dnstest.Endpoint{Namespace: "default", Service: service(p.Service()), Hostname: p.Hostname(), IP: p.IP()}
}
