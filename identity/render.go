package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The files that do not have one value, and the one that an earlier version lacks.
const (
	fileIPs  = "ips"
	fileJSON = "identity.json"
	fileEnv  = "identity.env"

	fileOrdinal     = "ordinal"
	variableOrdinal = "POD_ORDINAL"

	// Of package peers, which adds them by an Addition.
	FilePeers     = "peers"
	VariablePeers = "POD_PEERS"
)

// maxLine bounds a line of identity.env: the kubelet's fileKeyRef reads lines of up to
// 64 KiB (bufio.Scanner in pkg/kubelet/util/env) and stops at a longer one; execve(2)
// takes variables of up to 128 KiB.
const maxLine = 32 << 10

// value is a file, and its line of identity.env, which has commas where the file
// has lines.
type value struct {
	file, variable string
	of             func(record) string // "" if there is neither
}

// values are the contract's, in the order of identity.env; a newer version only
// adds to them, at the end.
var values = []value{
	{"fqdn", "POD_FQDN", func(r record) string { return r.FQDN }},
	{"hostname", "POD_HOSTNAME", func(r record) string { return r.Hostname }},
	{"service", "POD_SERVICE", func(r record) string { return r.Service }},
	{"namespace", "POD_NAMESPACE", func(r record) string { return r.Namespace }},
	{"cluster-domain", "POD_CLUSTER_DOMAIN", func(r record) string { return r.ClusterDomain }},
	{"ip", "POD_IP", func(r record) string { return r.IP.String() }},
	{fileIPs, "POD_IPS", record.ips},
	{fileOrdinal, variableOrdinal, func(r record) string { return r.ordinal }},
}

// Files lists, in order, every name that a Generation may have; Requirements add
// theirs.
func Files() []string {
	names := []string{fileJSON, fileEnv}
	for _, v := range values {
		names = append(names, v.file)
	}
	slices.Sort(names)
	return names
}

// Variables lists the names of the lines that Render itself may write to
// identity.env, in their order there: POD_FQDN first. Those of a Requirement
// follow them.
func Variables() []string {
	var names []string
	for _, v := range values {
		names = append(names, v.variable)
	}
	return names
}

// Variables lists those of the package's Variables that identity.env has once the
// claim is proven, in the same order: for example, POD_SERVICE is absent if the name
// has no Service. The zero Claim has none.
func (c Claim) Variables() []string {
	if len(c.addrs) == 0 {
		return nil
	}
	var names []string
	for _, v := range values {
		if v.of(c.record(c.addrs)) != "" {
			names = append(names, v.variable)
		}
	}
	return names
}

// Environment returns the lines NAME='value' of identity.env among the files of a
// generation, by name and without quotes. If a name is there twice, the first line
// counts, as for the kubelet. The map is empty if there is no identity.env, or if one
// of its lines has another form. It has POD_PEERS even if that was too long for a line.
func Environment(files []File) map[string]string {
	all := map[string]string{}
	i := slices.IndexFunc(files, func(f File) bool { return f.Name == fileEnv })
	if i < 0 || !assigns(files[i].Data) {
		return all
	}
	for line := range strings.Lines(string(files[i].Data)) {
		name, value, _ := strings.Cut(line, "='")
		if _, twice := all[name]; !twice {
			all[name] = strings.TrimSuffix(value, "'\n")
		}
	}
	i = slices.IndexFunc(files, func(f File) bool { return f.Name == FilePeers })
	if _, there := all[VariablePeers]; !there && i >= 0 {
		all[VariablePeers] = strings.ReplaceAll(strings.TrimSuffix(string(files[i].Data), "\n"), "\n", ",")
	}
	return all
}

// schemaVersion is the version of identity.json.
const schemaVersion = 1

// record is identity.json. It has no time, no server and nothing else that may
// differ between two proofs of the same identity.
type record struct {
	SchemaVersion int          `json:"schemaVersion"`
	FQDN          string       `json:"fqdn"`
	Hostname      string       `json:"hostname"`
	Service       string       `json:"service,omitempty"`
	Namespace     string       `json:"namespace,omitempty"`
	ClusterDomain string       `json:"clusterDomain,omitempty"`
	IP            netip.Addr   `json:"ip"`
	IPs           []netip.Addr `json:"ips"`
	PodUID        string       `json:"podUID,omitempty"`
	Verified      struct {
		Forward  string `json:"forward"`
		Reverse  string `json:"reverse"`
		Families string `json:"families"`
		Rounds   int    `json:"rounds"`
		// Required are the Words of what was required in addition.
		Required []string `json:"required,omitempty"`
	} `json:"verified"`

	// ordinal is only in its file and in identity.env: an earlier version takes an
	// identity.json with an unknown field for torn, and a container of that version,
	// in the same Pod, would withdraw the identity.
	ordinal string
}

// record returns the record of a claim whose addrs were proven.
func (c Claim) record(addrs []netip.Addr) record {
	r := record{
		SchemaVersion: schemaVersion,
		FQDN:          c.name.String(),
		Hostname:      c.parts.hostname,
		Service:       c.parts.service,
		Namespace:     c.parts.namespace,
		ClusterDomain: c.parts.clusterDomain,
		IP:            addrs[0],
		IPs:           addrs,
		PodUID:        c.uid,
		ordinal:       c.ordinal,
	}
	r.Verified.Forward = c.policy.Forward.String()
	r.Verified.Reverse = c.policy.Reverse.String()
	r.Verified.Families = c.policy.Families.String()
	r.Verified.Rounds = c.Rounds()
	return r
}

// ips returns the addresses, separated by commas.
func (r record) ips() string {
	var all []string
	for _, ip := range r.IPs {
		all = append(all, ip.String())
	}
	return strings.Join(all, ",")
}

// Render returns the files of an Agreement, with what Requirements add to them. It
// leaves a line of more than 32 KiB out of identity.env. The error is for the zero
// Agreement.
func Render(a Agreement, more ...Addition) (Generation, error) {
	if len(a.addrs) == 0 {
		return Generation{}, errors.New("nothing was proven, so nothing can be published")
	}
	r := a.claim.record(a.addrs)
	for _, m := range more {
		if m.Word != "" {
			r.Verified.Required = append(r.Verified.Required, m.Word)
		}
	}
	files := r.files()
	env := &files[len(files)-1].Data
	for _, m := range more {
		for _, line := range m.Environment {
			if len(line) <= maxLine {
				*env = append(*env, line+"\n"...)
			}
		}
	}
	for _, m := range more {
		files = append(files, m.Files...)
	}
	slices.SortFunc(files, byName)
	return Generation{files}, nil
}

// Lacks returns the first thing that m adds and a published generation does not have: a
// variable, a file or a word; "" if it has all.
func (m Addition) Lacks(files []File) string {
	lines := Environment(files)
	for _, line := range m.Environment {
		name, value, _ := strings.Cut(line, "=")
		if lines[name] != strings.Trim(value, "'") {
			return name
		}
	}
	for _, want := range m.Files {
		if !slices.ContainsFunc(files, func(f File) bool { return Holds(f, want) }) {
			return want.Name
		}
	}
	var r record
	if i := slices.IndexFunc(files, func(f File) bool { return f.Name == fileJSON }); i >= 0 {
		_ = json.Unmarshal(files[i].Data, &r) // a torn one has nothing
	}
	if m.Word != "" && !slices.Contains(r.Verified.Required, m.Word) {
		return m.Word
	}
	return ""
}

func byName(a, b File) int { return strings.Compare(a.Name, b.Name) }

// files returns the contract's files for a record. A single value has no newline at
// its end, as in the volumes of ConfigMaps and of the downward API; with several, each
// line has one. identity.env is the last.
func (r record) files() []File {
	const readable = 0o644
	var files []File
	var env bytes.Buffer
	for _, v := range values {
		text := v.of(r)
		if text == "" {
			continue // the kubelet takes an empty value for a missing one
		}
		fmt.Fprintf(&env, "%s='%s'\n", v.variable, text)
		if v.file == fileIPs {
			text = strings.ReplaceAll(text, ",", "\n") + "\n"
		}
		files = append(files, File{v.file, []byte(text), readable})
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(err) // a struct of strings, numbers and valid addresses
	}
	return append(files,
		File{fileJSON, append(text, '\n'), readable},
		File{fileEnv, env.Bytes(), readable})
}
