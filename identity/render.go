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

// The files that are not of one value.
const (
	fileIPs  = "ips"
	fileJSON = "identity.json"
	fileEnv  = "identity.env"
)

// value is a file of one value, and its line of identity.env.
type value struct {
	file, variable string
	of             func(record) string
}

// values are the contract's, in the order of identity.env; a newer schema only
// adds to them.
var values = []value{
	{"fqdn", "POD_FQDN", func(r record) string { return r.FQDN }},
	{"hostname", "POD_HOSTNAME", func(r record) string { return r.Hostname }},
	{"service", "POD_SERVICE", func(r record) string { return r.Service }},
	{"namespace", "POD_NAMESPACE", func(r record) string { return r.Namespace }},
	{"cluster-domain", "POD_CLUSTER_DOMAIN", func(r record) string { return r.ClusterDomain }},
	{"ip", "POD_IP", func(r record) string { return r.IP.String() }},
}

// Files lists every name that a Generation may hold, in order.
func Files() []string {
	names := []string{fileIPs, fileJSON, fileEnv}
	for _, v := range values {
		names = append(names, v.file)
	}
	slices.Sort(names)
	return names
}

// schemaVersion is that of identity.json.
const schemaVersion = 1

// record is identity.json. It holds no time, no server and nothing else that
// two proofs of the same identity may differ in.
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
	} `json:"verified"`
}

// Render writes an Agreement down, with more lines for identity.env, each
// NAME='value' with a value that no quote ends. The zero Agreement is refused.
func Render(a Agreement, environment ...string) (Generation, error) {
	if len(a.addrs) == 0 {
		return Generation{}, errors.New("nothing was proven, so nothing can be published")
	}
	r := record{
		SchemaVersion: schemaVersion,
		FQDN:          a.claim.name.String(),
		Hostname:      a.claim.parts.hostname,
		Service:       a.claim.parts.service,
		Namespace:     a.claim.parts.namespace,
		ClusterDomain: a.claim.parts.clusterDomain,
		IP:            a.addrs[0],
		IPs:           a.addrs,
		PodUID:        a.claim.uid,
	}
	r.Verified.Forward = a.claim.policy.Forward.String()
	r.Verified.Reverse = a.claim.policy.Reverse.String()
	r.Verified.Families = a.claim.policy.Families.String()
	r.Verified.Rounds = a.claim.Rounds()
	files := r.files()
	env := &files[len(files)-1].Data
	for _, line := range environment {
		*env = append(*env, line+"\n"...)
	}
	slices.SortFunc(files, byName)
	return Generation{files}, nil
}

func byName(a, b File) int { return strings.Compare(a.Name, b.Name) }

// files gives the contract's files for a record. One value has no newline
// behind it, as in the volumes of ConfigMaps and of the downward API; of
// several, each line ends. identity.env is the last.
func (r record) files() []File {
	const readable = 0o644
	var files []File
	var env bytes.Buffer
	for _, v := range values {
		text := v.of(r)
		if text == "" {
			continue // the kubelet takes an empty value for a missing one
		}
		files = append(files, File{v.file, []byte(text), readable})
		fmt.Fprintf(&env, "%s='%s'\n", v.variable, text)
	}
	var lines []string
	for _, ip := range r.IPs {
		lines = append(lines, ip.String())
	}
	files = append(files, File{fileIPs, []byte(strings.Join(lines, "\n") + "\n"), readable})
	fmt.Fprintf(&env, "POD_IPS='%s'\n", strings.Join(lines, ","))

	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(err) // a struct of strings, numbers and valid addresses
	}
	return append(files,
		File{fileJSON, append(text, '\n'), readable},
		File{fileEnv, env.Bytes(), readable})
}

// Keeps returns the addresses, primary first, of the files of an earlier
// generation, if they are this Pod's identity and whole. It does not prove them
// again. The error says why they are not.
func (c Claim) Keeps(files []File) ([]netip.Addr, error) {
	content := map[string][]byte{}
	for _, f := range files {
		content[f.Name] = f.Data
	}
	if content[fileJSON] == nil {
		return nil, fmt.Errorf("it has no %s", fileJSON)
	}
	var r record
	if err := json.Unmarshal(content[fileJSON], &r); err != nil {
		return nil, fmt.Errorf("its %s cannot be read: %w", fileJSON, err)
	}
	switch {
	case r.SchemaVersion != schemaVersion:
		return nil, fmt.Errorf("it has schema version %d, not %d", r.SchemaVersion, schemaVersion)
	case r.PodUID != c.uid:
		return nil, fmt.Errorf("it is of another Pod, %+q", r.PodUID)
	case r.FQDN != c.name.String():
		return nil, fmt.Errorf("it is of another name, %+q", r.FQDN)
	case len(r.IPs) == 0 || r.IP != r.IPs[0]:
		return nil, fmt.Errorf("its %s names no primary address", fileJSON)
	}
	for _, ip := range r.IPs {
		if !slices.Contains(c.own, ip) {
			return nil, fmt.Errorf("it is of another address, %s", ip)
		}
	}
	for _, want := range r.files() {
		// A doctor, for one, may not have all the variables of the writer, and so
		// does not know the lines that Render was given.
		more, begins := bytes.CutPrefix(content[want.Name], want.Data)
		if !begins || len(more) > 0 && (want.Name != fileEnv || !assigns(more)) {
			return nil, fmt.Errorf("its file %s is torn", want.Name)
		}
	}
	return r.IPs, nil
}

// assigns reports whether each line is NAME='value'.
func assigns(lines []byte) bool {
	for line := range bytes.Lines(lines) {
		name, value, _ := bytes.Cut(line, []byte("='"))
		if len(name) == 0 || !bytes.HasSuffix(value, []byte("'\n")) || bytes.Count(value, []byte("'")) != 1 {
			return false
		}
	}
	return true
}
