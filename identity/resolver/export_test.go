package resolver

import (
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
)

// Read is what becomes of a packet that comes back for q.
func Read(raw []byte, q *dns.Msg) (identity.Answer, bool) {
	msg, ok := answers(raw, q, map[uint16]time.Time{q.Id: {}})
	if !ok {
		return identity.Answer{}, false
	}
	a, life := read(msg)
	a.Again = life.left
	return a, true
}
