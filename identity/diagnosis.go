package identity

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Diagnosis is what podfqdn doctor found out. It prints exactly this with
// -o json, so it is a public interface: fields are added, never changed.
type Diagnosis struct {
	Schema    int          `json:"schema"` // 1
	Healthy   bool         `json:"healthy"`
	FQDN      string       `json:"fqdn,omitempty"` // as claimed
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Facts     []Seen       `json:"facts"`
	Questions []Asked      `json:"questions"`
	Verdict   Verdict      `json:"verdict,omitempty"` // of the first question that did not agree
	Reason    string       `json:"reason,omitempty"`  // why it is not healthy: one sentence
	Causes    []Cause      `json:"causes,omitempty"`  // the most likely first
}

// Seen is one fact and where it comes from.
type Seen struct {
	Name  string `json:"name"` // "hostname", "governing Service", "nameserver", ...
	Value string `json:"value"`
	From  string `json:"from"`
}

// Asked is one question to one server and what came of it.
type Asked struct {
	Server        string  `json:"server"`            // ADDRESS:PORT
	Kind          string  `json:"kind"`              // "existence", "A", "AAAA", "PTR"
	Type          string  `json:"type"`              // as asked on the wire: "TXT", "A", ...
	Subject       string  `json:"subject"`           // a name without root dot, or an address
	Witness       bool    `json:"witness,omitempty"` // another name than the Pod's, for comparison
	Rcode         string  `json:"rcode,omitempty"`   // "" if no answer came
	Authoritative bool    `json:"authoritative"`
	TTL           int     `json:"ttl"`              // in seconds; of a denial, its SOA's
	Cached        bool    `json:"cached,omitempty"` // the TTL had counted down
	Zone          string  `json:"zone,omitempty"`   // whose SOA vouches for a denial
	Answer        string  `json:"answer"`           // addresses or names, or why there is none
	NSID          string  `json:"nsid,omitempty"`   // who of several replicas answered (RFC 5001), where it says so
	Milliseconds  float64 `json:"ms"`
	Verdict       Verdict `json:"verdict,omitempty"` // none of a witness; "absent" is a family that the name need not have
}

// Cause is why DNS does not agree, and what to change.
type Cause struct {
	Kind    CauseKind `json:"kind"`
	Why     string    `json:"why"`               // one sentence, with what was seen
	Change  string    `json:"change"`            // the field to change: one clause
	Command string    `json:"command,omitempty"` // does it, to be copied; none where no single command does
	Guess   bool      `json:"guess,omitempty"`   // what was seen has other possible causes

	told bool // Why is the Mismatch over again
}

// String gives the cause as one clause for behind a reason: what was seen, as
// far as the reason does not say it, and what to change.
func (c Cause) String() string {
	if c.told {
		return c.Change
	}
	return c.Why + ": " + c.Change
}

// CauseKind is a Cause in one word, for programs.
type CauseKind string

// What can be told in the Pod, and, where "API" is said, only by the API.
const (
	NoService         CauseKind = "service-missing"
	SelectorMismatch  CauseKind = "selector-mismatch"  // API says which label
	NotReadyHidden    CauseKind = "not-ready-hidden"   // publishNotReadyAddresses is missing
	ReadinessDeadlock CauseKind = "readiness-deadlock" // the same, and readiness waits for DNS; API
	SubdomainMismatch CauseKind = "subdomain-mismatch" // not the Service's name
	NoSubdomain       CauseKind = "subdomain-missing"  // a StatefulSet's serviceName
	NoHostname        CauseKind = "hostname-missing"
	HostnameShared    CauseKind = "hostname-shared"         // by another Pod
	RollingUpdate     CauseKind = "rolling-update"          // the same, and it passes or deadlocks; API
	Terminating       CauseKind = "terminating-predecessor" // the same; API
	DebugCopy         CauseKind = "debug-copy"              // the same; API
	SecondService     CauseKind = "second-service"          // adds a PTR
	ClusterDomain     CauseKind = "cluster-domain"          // the kubelet's is not CoreDNS's
	NoReverseZone     CauseKind = "reverse-zone-missing"    // the Corefile does not serve it
	DNSRefusesPTR     CauseKind = "reverse-refused"         // REFUSED for arpa
	DNSSilent         CauseKind = "dns-silent"              // port 53: a policy, or nobody there
	DNSFails          CauseKind = "dns-fails"               // SERVFAIL and the like
	CachedDenial      CauseKind = "denial-cached"           // until when is in Why
	StaleRecord       CauseKind = "record-stale"            // an earlier Pod's
	NotInSlice        CauseKind = "endpointslice-lag"       // API
	NotInDNS          CauseKind = "dns-lag"                 // in the slice, not in DNS; API
	ReplicasDisagree  CauseKind = "replicas-disagree"       // one knows what another does not
	SingleFamily      CauseKind = "single-family"           // dual-stack Pod, single-stack Service
	KeysMissing       CauseKind = "keys-missing"            // of Kerberos, and DNS agrees
	HostNetwork       CauseKind = "host-network"
	HostnameOverride  CauseKind = "hostname-override"
	ForeignDNS        CauseKind = "dns-policy"    // the nameserver does not know the cluster
	Misconfigured     CauseKind = "configuration" // a variable
	Unexplained       CauseKind = "unexplained"
)

// Seen lists the facts for people: what is absent is there too where a name
// cannot be made without it, and From says then where it would come from.
func (f Facts) Seen() []Seen {
	var seen []Seen
	add := func(name, value, from string) { seen = append(seen, Seen{name, value, from}) }
	needed := func(name string, fact Fact, nor string) {
		if fact.Value == "" {
			fact.From = "neither " + nor
			if f.FQDN.Value != "" {
				return // nothing is made of it
			}
		}
		add(name, fact.Value, fact.From)
	}
	optional := func(name, value, from string) {
		if value != "" {
			add(name, value, from)
		}
	}
	hosts, conf := "/"+hostsPath, "/"+resolvConfPath
	optional("whole name", f.FQDN.Value, f.FQDN.From)
	needed("hostname", f.Hostname, "PODFQDN_HOSTNAME nor "+hosts)
	needed("governing Service", f.Service, "PODFQDN_SERVICE nor spec.subdomain in "+hosts)
	needed("namespace", f.Namespace, "POD_NAMESPACE nor "+hosts+" nor /"+namespacePath)
	needed("cluster domain", f.ClusterDomain, "PODFQDN_CLUSTER_DOMAIN nor "+hosts+" nor the search list")
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
	from = conf
	if f.FromVariable {
		from = "PODFQDN_NAMESERVERS"
	}
	var servers []string
	for _, s := range f.Nameservers {
		servers = append(servers, showServer(s))
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

// Asked gives the report for people and programs. server is whom it is about,
// also where none could be reached.
func (r Report) Asked(server netip.AddrPort) []Asked {
	var all []Asked
	for _, f := range r {
		a := Asked{
			Server: server.String(), Kind: f.Kind.String(), Type: f.Type, Subject: f.subject(), Witness: f.Witness,
			Rcode: f.Rcode, Authoritative: f.AA, TTL: int(f.TTL / time.Second), Cached: f.Cached, Zone: f.Zone.String(),
			Answer: f.Wire, NSID: f.NSID, Milliseconds: float64(f.Took.Microseconds()) / 1000, Verdict: f.Verdict,
		}
		if a.Answer == "" && f.Err != nil {
			a.Answer = f.Err.Error()
		}
		all = append(all, a)
	}
	return all
}
