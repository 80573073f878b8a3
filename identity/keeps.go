package identity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// Keeps returns the addresses, primary first, in the files of an earlier generation,
// if they are this Pod's identity and complete. It does not prove them again. It
// compares the name, the addresses, and the UID if both sides have one. The error
// says why the files cannot be kept.
//
// The containers of a Pod may run several versions of podfqdn. A generation is
// complete even if it lacks what later versions added, or has files, lines of
// identity.env or fields of identity.json that this version does not know.
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
	case r.PodUID != "" && c.uid != "" && r.PodUID != c.uid:
		return nil, fmt.Errorf("it belongs to another Pod, %+q", r.PodUID)
	case r.FQDN != c.name.String():
		return nil, fmt.Errorf("it is for another name, %+q", r.FQDN)
	case len(r.IPs) == 0 || r.IP != r.IPs[0]:
		return nil, fmt.Errorf("its %s has no primary address", fileJSON)
	}
	for _, ip := range r.IPs {
		if !slices.Contains(c.own, ip) {
			return nil, fmt.Errorf("it is for another address, %s", ip)
		}
	}
	if r.ordinal = string(content[fileOrdinal]); r.ordinal != "" && !isOrdinal(r.ordinal) {
		return nil, fmt.Errorf("its file %s is torn", fileOrdinal)
	}
	for _, want := range r.files() {
		// A doctor, for example, may not have all the writer's variables, and so does
		// not know the lines that Render was given.
		if !Holds(File{want.Name, content[want.Name], want.Mode}, want) {
			return nil, fmt.Errorf("its file %s is torn", want.Name)
		}
	}
	lines := Environment(files)
	if peers, there := content[FilePeers]; there && lines[VariablePeers] != strings.ReplaceAll(strings.TrimSuffix(string(peers), "\n"), "\n", ",") {
		return nil, fmt.Errorf("its file %s is torn", FilePeers)
	}
	for _, v := range values { // what is known and absent is absent everywhere
		if _, there := content[v.file]; there != (v.of(r) != "") || lines[v.variable] != v.of(r) {
			return nil, fmt.Errorf("its file %s is torn", v.file)
		}
	}
	return r.IPs, nil
}

// Holds reports whether the file standing contains all of want, which this version
// would write in its place: the same bytes and permissions; but identity.json may
// have more fields, and identity.env more lines with other names, which another
// version, or a writer with more requirements, has added.
func Holds(standing, want File) bool {
	if standing.Name != want.Name || standing.Mode != want.Mode {
		return false
	}
	has, wanted := standing.Data, want.Data
	switch want.Name {
	case fileJSON:
		var object, fields map[string]any
		if json.Unmarshal(has, &object) == nil && json.Unmarshal(wanted, &fields) == nil {
			return bytes.HasSuffix(has, []byte("}\n")) && within(fields, object)
		}
	case fileEnv:
		all, lines := Environment([]File{standing}), Environment([]File{want})
		for name, value := range lines {
			if other, there := all[name]; !there || other != value {
				return false
			}
		}
		// If a name is there twice, a shell takes the last line, and fileKeyRef the first.
		return len(lines) > 0 && bytes.Count(has, []byte{'\n'}) == len(all)
	}
	return bytes.Equal(has, wanted)
}

// within reports whether has is the value want, or an object with all its fields.
func within(want, has any) bool {
	fields, isObject := want.(map[string]any)
	if !isObject {
		return reflect.DeepEqual(want, has)
	}
	object, isObject := has.(map[string]any)
	for name, value := range fields {
		if other, there := object[name]; !there || !within(value, other) {
			return false
		}
	}
	return isObject
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
