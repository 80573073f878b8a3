package identity

import (
	"fmt"
	"net/netip"
	"reflect"
)

// ParseResolvConf reads the text of a resolv.conf.
var ParseResolvConf = parseResolvConf

// HostsLines returns the lines of a hosts file that say something about the Pod, as
// "ADDRESS NAME NAME…", and whether the file is a node's.
func HostsLines(text string) (lines []string, hostNetwork bool) {
	h := parseHosts(text)
	for _, line := range h.lines {
		s := line.addr.String()
		for _, name := range line.names {
			s += " " + name
		}
		lines = append(lines, s)
	}
	return lines, h.hostNetwork
}

// HostsRead returns what the first line of a hosts file says of the Pod.
func HostsRead(text string) string {
	for _, line := range parseHosts(text).own("") {
		p := line.says
		return fmt.Sprintf("hostname=%s service=%s namespace=%s domain=%s override=%s",
			p.hostname, p.service, p.namespace, p.domain, p.override)
	}
	return ""
}

// CheckOwn says why an address cannot be a Pod's.
func CheckOwn(addr netip.Addr) error { return checkOwn(addr) }

// Instead returns the names that DNS may publish instead of the one claimed.
func (c Claim) Instead() []Name { return c.instead }

// Record is the type of identity.json.
var Record = reflect.TypeFor[record]()

// SchemaVersion is that of identity.json.
const SchemaVersion = schemaVersion
