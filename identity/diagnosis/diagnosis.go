// Package diagnosis explains, for people, why the path of package identity led to
// no agreement. Nothing on the path imports it, so nothing is decided by it.
//
//	Witnesses, Examine ─ Report ─┐
//	Facts, Claim, error ─────────┴─ Causes ─► Diagnosis ─► Screen, JSON
package diagnosis

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// Diagnosis is the result of podfqdn doctor. It is exactly what -o json prints, so it
// is a public interface: fields are added, never changed.
type Diagnosis struct {
	Schema    int              `json:"schema"` // 1
	Healthy   bool             `json:"healthy"`
	FQDN      string           `json:"fqdn,omitempty"` // as claimed
	Addresses []netip.Addr     `json:"addresses,omitempty"`
	Facts     []Seen           `json:"facts"`
	Questions []Asked          `json:"questions"`
	Verdict   identity.Verdict `json:"verdict,omitempty"`  // of the first question that did not agree
	Reason    string           `json:"reason,omitempty"`   // why it is not healthy: one sentence
	Causes    []Cause          `json:"causes,omitempty"`   // the most likely first
	Warnings  []string         `json:"warnings,omitempty"` // what may trouble applications although DNS agrees
}

// Seen is one fact and where it comes from.
type Seen struct {
	Name  string `json:"name"` // "hostname", "governing Service", "nameserver", ...
	Value string `json:"value"`
	From  string `json:"from"`
}

// Asked is one question to one server and what came of it.
type Asked struct {
	Server        string           `json:"server"`            // ADDRESS:PORT
	Kind          string           `json:"kind"`              // "existence", "sibling", "A", "AAAA", "PTR"
	Type          string           `json:"type"`              // as asked on the wire: "LOC", "A", ...
	Subject       string           `json:"subject"`           // a name without root dot, or an address
	Witness       bool             `json:"witness,omitempty"` // about another name than the Pod's, for comparison
	Rcode         string           `json:"rcode,omitempty"`   // "" if no answer came
	Authoritative bool             `json:"authoritative"`
	TTL           int              `json:"ttl"`                // in seconds; of a denial, its SOA's
	Full          int              `json:"full_ttl,omitempty"` // of a denial, in seconds: the longest that its SOA allows
	Cached        bool             `json:"cached,omitempty"`   // the TTL was seen to count down
	Zone          string           `json:"zone,omitempty"`     // the owner of a denial's SOA
	Answer        string           `json:"answer"`             // addresses or names, or why there is none
	Owners        []string         `json:"owners,omitempty"`   // whose records the answer has, if none is the name's
	NSID          string           `json:"nsid,omitempty"`     // which of several replicas answered (RFC 5001), if it says so
	Milliseconds  float64          `json:"ms"`
	Verdict       identity.Verdict `json:"verdict,omitempty"` // none for a witness; "absent" is a family that the name need not have
}

// exists reports whether a server has shown by a probe type that a name exists.
func (a Asked) exists() bool { return a.Kind == identity.Exists.String() && a.Rcode == "NOERROR" }

// Cause is why DNS does not agree, and what to change.
type Cause struct {
	Kind    Kind   `json:"kind"`
	Why     string `json:"why"`               // one sentence, with what was seen
	Change  string `json:"change"`            // the field to change: one clause
	Command string `json:"command,omitempty"` // a command that makes the change, to be copied; none if no single command does
	Guess   bool   `json:"guess,omitempty"`   // what was seen has other possible causes

	told bool // Why repeats the Mismatch
}

// String returns the cause as one clause to follow a reason: what was seen, unless the
// reason says it already, and what to change.
func (c Cause) String() string {
	if c.told {
		return c.Change
	}
	return c.Why + ": " + c.Change
}

// Kind is a Cause in one word, for programs.
type Kind string

// The causes that the Pod can determine, and, marked "API", those that only the API
// can.
const (
	NoService            Kind = "service-missing"
	SelectorMismatch     Kind = "selector-mismatch"        // API says which label
	NotReadyHidden       Kind = "not-ready-hidden"         // publishNotReadyAddresses is missing
	ReadinessDeadlock    Kind = "readiness-deadlock"       // the same, and readiness waits for DNS; API
	SubdomainMismatch    Kind = "subdomain-mismatch"       // not the Service's name
	NoSubdomain               = Kind(identity.NoSubdomain) // a StatefulSet's serviceName
	NoHostname                = Kind(identity.NoHostname)
	HostnameShared       Kind = "hostname-shared"            // by another Pod
	RollingUpdate        Kind = "rolling-update"             // the same, and it passes or deadlocks; API
	Terminating          Kind = "terminating-predecessor"    // the same; API
	DebugCopy            Kind = "debug-copy"                 // the same; API
	SecondService        Kind = "second-service"             // adds a PTR
	ClusterDomain             = Kind(identity.ClusterDomain) // the kubelet's is not CoreDNS's
	NoReverseZone        Kind = "reverse-zone-missing"       // the Corefile does not serve it
	DNSRefusesPTR        Kind = "reverse-refused"            // REFUSED for arpa
	DNSSilent            Kind = "dns-silent"                 // port 53: a policy, or nothing listens
	DNSFails             Kind = "dns-fails"                  // SERVFAIL and the like
	CachedDenial         Kind = "denial-cached"              // until when is in Why
	FamilyWithheld       Kind = "family-withheld"            // A or AAAA is denied on purpose
	ReverseNeedsHostname Kind = "reverse-needs-hostname"     // as in CoreDNS 1.11.4 and 1.12.0
	StaleRecord          Kind = "record-stale"               // an earlier Pod's
	NotInSlice           Kind = "endpointslice-lag"          // API
	NotInDNS             Kind = "dns-lag"                    // in the slice, not in DNS; API
	ReplicasDisagree     Kind = "replicas-disagree"          // one knows what another does not
	SingleFamily         Kind = "single-family"              // dual-stack Pod, single-stack Service
	NameForm             Kind = "name-form"                  // PODFQDN_NAME_FORM=address, and DNS has another name
	RecordRenamed        Kind = "record-renamed"             // the answer has another name's records
	ZoneOverridden       Kind = "zone-overridden"            // something in front of cluster DNS answers for it
	ReverseOverridden    Kind = "reverse-overridden"         // the same for an address
	ReverseFiltered      Kind = "reverse-filtered"           // PTR is denied without a SOA, or empty
	DNSCaptured          Kind = "dns-captured"               // for a sidecar that is not running yet
	KeysMissing          Kind = "keys-missing"               // of Kerberos, and DNS agrees
	PeersMissing         Kind = "peers-missing"              // in DNS, which agrees on this Pod
	PeersDeadlock        Kind = "peers-deadlock"             // this Pod waits for Pods that are made only when it is Ready; a fact only from the API
	CertificateMissing   Kind = "certificate-missing"        // or not for this name, and DNS agrees
	HostNetwork               = Kind(identity.HostNetwork)
	HostnameOverride          = Kind(identity.HostnameOverride)
	ForeignDNS                = Kind(identity.ForeignDNS)    // the nameserver does not know the cluster
	Misconfigured             = Kind(identity.Misconfigured) // a variable
	Unexplained          Kind = "unexplained"
	NotHeadless          Kind = "service-not-headless" // the governing Service has a cluster address; API
	Volume               Kind = "volume"               // missing, read-only, full or in use; API
	KilledByProbe        Kind = "killed-by-probe"      // a livenessProbe ends podfqdn exec while it waits; API
	BinaryMissing        Kind = "binary-missing"       // where a container's command says that podfqdn is; API
	Unschedulable        Kind = "unschedulable"        // no node takes the Pod; API
	TemplateChanged      Kind = "template-changed"     // the StatefulSet's, and it does not replace this Pod; API
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{
		NoService, SelectorMismatch, NotReadyHidden, ReadinessDeadlock, SubdomainMismatch,
		NoSubdomain, NoHostname, HostnameShared, RollingUpdate, Terminating,
		DebugCopy, SecondService, ClusterDomain, NoReverseZone, DNSRefusesPTR,
		DNSSilent, DNSFails, CachedDenial, FamilyWithheld, ReverseNeedsHostname, StaleRecord, NotInSlice,
		NotInDNS, ReplicasDisagree, SingleFamily, NameForm, RecordRenamed,
		ZoneOverridden, ReverseOverridden, ReverseFiltered, DNSCaptured, KeysMissing, PeersMissing, PeersDeadlock, CertificateMissing, HostNetwork,
		HostnameOverride, ForeignDNS, Misconfigured, Unexplained,
		NotHeadless, Volume, KilledByProbe, BinaryMissing, Unschedulable, TemplateChanged,
	}
}

// factDomain names the fact that shows which denials are the cluster's own.
const factDomain = "cluster domain"

// Facts lists what was seen in the Pod. An absent fact is listed too if the name needs
// it; From then says where it would come from.
func Facts(f identity.Facts) []Seen {
	var seen []Seen
	add := func(name, value, from string) { seen = append(seen, Seen{name, value, from}) }
	needed := func(name string, fact identity.Fact, nor string) {
		if fact.Value == "" {
			fact.From = "neither " + nor
			if f.FQDN.Value != "" {
				return // the name does not need it
			}
		}
		add(name, fact.Value, fact.From)
	}
	optional := func(name, value, from string) {
		if value != "" {
			add(name, value, from)
		}
	}
	const hosts, conf = "/etc/hosts", "/etc/resolv.conf"
	optional("whole name", f.FQDN.Value, f.FQDN.From)
	needed("hostname", f.Hostname, "PODFQDN_HOSTNAME nor "+hosts)
	needed("governing Service", f.Service, "PODFQDN_SERVICE nor spec.subdomain in "+hosts)
	needed("namespace", f.Namespace, "POD_NAMESPACE nor "+hosts+" nor /var/run/secrets/kubernetes.io/serviceaccount/namespace")
	needed(factDomain, f.ClusterDomain, "PODFQDN_CLUSTER_DOMAIN nor "+hosts+" nor the search list")
	optional("hostnameOverride", f.Override.Value, f.Override.From)
	if f.HostNetwork {
		add("hostNetwork", "true", hosts)
	}
	from := f.AddrsFrom
	if len(f.Addrs) == 0 {
		from = "neither POD_IPS nor POD_IP nor " + hosts
	}
	add("addresses", join(f.Addrs), from)
	if f.Stray.IsValid() {
		add("another address", f.Stray.String(), hosts)
	}
	optional("Pod", f.PodName, "POD_NAME")
	optional("UID", f.UID, "POD_UID")
	optional("ordinal", f.Ordinal.Value, f.Ordinal.From)
	from = conf
	if f.FromVariable {
		from = "PODFQDN_NAMESERVERS"
	}
	var servers []string
	for _, s := range f.Nameservers {
		servers = append(servers, identity.ShowServer(s))
	}
	add("nameservers", strings.Join(servers, " "), from)
	optional("ignored", strings.Join(f.ResolvConf.Ignored, " "), conf)
	add("search", strings.Join(f.ResolvConf.Search, " "), conf)
	options := fmt.Sprintf("ndots:%d", f.ResolvConf.Ndots)
	if f.ResolvConf.UseVC {
		options += " use-vc"
	}
	add("options", options, conf)
	if f.Kubernetes.IsValid() {
		add("API server", f.Kubernetes.String(), "KUBERNETES_SERVICE_HOST")
	}
	return seen
}

func join[T fmt.Stringer](items []T) string {
	var words []string
	for _, item := range items {
		words = append(words, item.String())
	}
	return strings.Join(words, " ")
}

// Questions lists the questions to one server about a claim, for people and programs;
// also that the server could not be reached.
func Questions(r identity.Report, server netip.AddrPort, c identity.Claim) []Asked {
	var all []Asked
	for _, round := range r {
		if round.Err != nil {
			all = append(all, Asked{Server: server.String(), Kind: identity.Exists.String(), Subject: c.Name().String(),
				Answer: round.Err.Error(), Verdict: identity.Unanswered})
		}
		for _, f := range round.Findings {
			s := shown.Of(f.Answer)
			all = append(all, Asked{
				Server: server.String(), Kind: f.Kind.String(), Type: s.Type, Subject: f.Subject(), Witness: f.Witness,
				Rcode: s.Rcode, Authoritative: s.AA, TTL: int(f.TTL / time.Second), Full: int(s.Full / time.Second), Cached: s.Cached, Zone: f.Zone.String(),
				Answer: s.Wire, Owners: s.Owners, NSID: s.NSID, Milliseconds: float64(s.Took.Microseconds()) / 1000, Verdict: f.Verdict,
			})
		}
	}
	return all
}
