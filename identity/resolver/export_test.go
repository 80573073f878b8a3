package resolver

import (
	"context"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
)

// Read returns what becomes of a packet that comes back for q.
func Read(raw []byte, q *dns.Msg) (identity.Answer, bool) {
	msg, ok := answers(raw, q, map[uint16]time.Time{q.Id: {}})
	if !ok {
		return identity.Answer{}, false
	}
	a, life := read(msg)
	a.Again, a.Shown = life.left, a.shown
	return a.Answer, true
}

// Why returns why a question over an exchange has no answer.
func Why(ctx context.Context, e identity.Exchange, name string, qtype uint16) error {
	_, err := e.(*exchange).exchange(ctx, name, qtype)
	return err
}

// ProbeTypes returns the names of the probe types.
func ProbeTypes() (names []string) {
	for _, t := range probeTypes {
		names = append(names, dns.TypeToString[t])
	}
	return names
}
