package diagnosis

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
)

// peerless explains that names of other Pods are not in DNS. The answer for the first
// of them decides what to check; nothing in DNS shows whether a Pod runs.
func (s scene) peerless() []Cause {
	const fewer = "; or set PODFQDN_PEERS_WAIT to wait for fewer"
	u, ok := errors.AsType[*identity.Unreached](s.m)
	if !ok || len(u.Names) == 0 {
		return []Cause{s.cause(PeersMissing, false, "", "nothing yet: many names are asked for one after another, to limit what all members of the set ask together")}
	}
	change, absent := "check whether these Pods run, which DNS does not show, and whether their Service has publishNotReadyAddresses: true"+fewer, true
	if !u.Names[0].Under(s.c.Zone()) {
		change = "check whether the name is right, and whether its own zone, which is not the cluster's, has it" + fewer
	}
	if first, ok := errors.AsType[*identity.Mismatch](s.m.Unwrap()); ok {
		absent = first.Verdict == identity.Missing
		switch first.Verdict {
		case identity.ReverseMissing, identity.ReverseRefused:
			change = "find out why its address has no PTR record: podfqdn doctor in that Pod explains it; or set PODFQDN_REVERSE=ignore" + fewer
		case identity.ReverseOther, identity.ReverseForeign:
			change = "find out why the PTR record has another name: podfqdn doctor in that Pod explains it; or set PODFQDN_REVERSE=ignore" + fewer
		case identity.Unanswered:
			change = "find out why cluster DNS does not answer: read its log" + fewer
		case identity.Poisoned:
			change = "this passes if a cache keeps the denial from before the record existed" + fewer
		}
	}
	missing := s.cause(PeersMissing, false, "", change)
	if !absent || !s.ordered(u.Names) {
		return []Cause{missing}
	}
	return []Cause{s.cause(PeersDeadlock, true, "all missing peers have higher ordinals: under podManagementPolicy: OrderedReady, the default, they are created only when this Pod is Ready",
		"if so, create the StatefulSet again with Parallel, or set PODFQDN_PEERS_WAIT=lower if the first Pod may start alone; otherwise check whether these Pods run, and whether PODFQDN_PEERS is spec.replicas"), missing}
}

// ordered reports whether all names are of the Pod's own set, with higher ordinals
// than its own.
func (s scene) ordered(names []identity.Name) bool {
	base, own, ok := member(s.c.Name())
	if !ok || s.c.Dashed() {
		return false
	}
	return !slices.ContainsFunc(names, func(name identity.Name) bool {
		set, ordinal, ok := member(name)
		return !ok || set != base || ordinal <= own
	})
}

// member returns the ordinal in a name, and the name without it, which the members
// of a set have in common; ok is false if it is not the name of a StatefulSet's Pod.
func member(name identity.Name) (set string, ordinal int, ok bool) {
	hostname, domain, _ := strings.Cut(name.String(), ".")
	i := strings.LastIndexByte(hostname, '-')
	text := hostname[i+1:]
	n, err := strconv.ParseInt(text, 10, 32)
	if i < 1 || err != nil || n < 0 || strconv.FormatInt(n, 10) != text {
		return "", 0, false
	}
	return hostname[:i] + "." + domain, int(n), true
}
