package crowd

import (
	"fmt"
	"net/netip"

	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// Set is the headless Service of an Order's Members, in the namespace default.
const Set = "set"

// perSlice is how many members Kubernetes puts into one EndpointSlice.
const perSlice = 100

// Member is one of the Pods of the Service Set, however many there are, by its ordinal.
type Member int

// Hostname is the member's spec.hostname, such as set-17.
func (m Member) Hostname() string { return fmt.Sprintf("%s-%d", Set, int(m)) }

// Zone is what stands behind the hostname in the member's name.
func (Member) Zone() string { return Set + ".default.svc.cluster.local" }

// FQDN is the member's name, without the root dot.
func (m Member) FQDN() string { return m.Hostname() + "." + m.Zone() }

// IP is the member's address, of IPv4.
func (m Member) IP() string {
	return netip.AddrFrom4([4]byte{10, 245, byte(m >> 8), byte(m)}).String()
}

func (m Member) endpoint() dnstest.Endpoint {
	return dnstest.Endpoint{Namespace: "default", Service: Set, Hostname: m.Hostname(), IP: m.IP()}
}
