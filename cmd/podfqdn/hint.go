package main

import (
	"fmt"

	"github.com/podfqdn/podfqdn/identity"
)

// hint says what to look at when DNS goes on not agreeing: one clause, with
// the field to change.
func hint(m *identity.Mismatch, c identity.Claim) string {
	service, namespace := c.Service()
	switch m.Verdict {
	case identity.Missing:
		switch {
		case m.Is == identity.NoData:
			return "the name has no address of this family: set the Service's ipFamilyPolicy, or PODFQDN_FAMILIES"
		case service == "":
			return "see that somebody publishes this name in DNS"
		case c.Dashed():
			return fmt.Sprintf("see that a headless Service %q in namespace %q selects this Pod and has publishNotReadyAddresses: true; where the Pod has spec.hostname, leave PODFQDN_NAME_FORM out", service, namespace)
		}
		return fmt.Sprintf("see that a headless Service %q in namespace %q selects this Pod and has publishNotReadyAddresses: true", service, namespace)
	case identity.Shared:
		return "give each Pod a hostname of its own and a Deployment strategy: Recreate, or set PODFQDN_FORWARD=contains if several Pods may hold this name"
	case identity.Stale:
		return "this is the address of an earlier Pod, and passes when the Service and the caches have forgotten it"
	case identity.Unnamed:
		return "set spec.hostname, or PODFQDN_NAME_FORM=address"
	case identity.Poisoned:
		return "this passes when the cached denial runs out; do not ask for the name before podfqdn has published it"
	case identity.ForeignServer:
		return "set dnsPolicy: ClusterFirst (with hostNetwork: ClusterFirstWithHostNet), or PODFQDN_NAMESERVERS and PODFQDN_CLUSTER_DOMAIN"
	case identity.Unanswered:
		if m.Is == identity.Failed || m.Is == identity.Refused {
			return "the nameserver answers, but cannot say: see the log of cluster DNS, and whether its API server and its upstream are there"
		}
		return "see that cluster DNS runs and that no NetworkPolicy keeps this Pod from it on port 53, UDP and TCP"
	case identity.Unsettled:
		return "the replicas of cluster DNS do not know the same yet"
	case identity.ReverseExtra:
		return fmt.Sprintf("another Service selects this Pod too and adds %s: narrow its selector, or set PODFQDN_REVERSE=contains", m.Others)
	case identity.ReverseOther:
		return "cluster DNS knows this address by another name only: see that spec.subdomain is the name of a Service that selects this Pod"
	case identity.ReverseForeign:
		return "an upstream resolver answered: the Corefile's kubernetes plugin must serve in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore"
	case identity.ReverseMissing:
		return "the Corefile's kubernetes plugin must serve in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore; a denial cached too early passes within half a minute"
	case identity.ReverseRefused:
		return "a DNS policy refuses PTR: allow in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore"
	}
	return "run podfqdn with PODFQDN_LOG_LEVEL=debug"
}
