package kube

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// variables are podfqdn's, as docs/contract.md lists them.
var variables = []string{
	"PODFQDN_DIR", "POD_NAME", "POD_NAMESPACE", "POD_UID", "POD_IP", "POD_IPS", "POD_ORDINAL",
	"PODFQDN_FQDN", "PODFQDN_HOSTNAME", "PODFQDN_SERVICE", "PODFQDN_CLUSTER_DOMAIN", "PODFQDN_NAMESERVERS",
	"PODFQDN_NAME_FORM", "PODFQDN_FORWARD", "PODFQDN_REVERSE", "PODFQDN_FAMILIES", "PODFQDN_CONFIRM",
	"PODFQDN_TIMEOUT", "PODFQDN_INTERVAL", "PODFQDN_WITHDRAW", "PODFQDN_GRACE", "PODFQDN_LISTEN",
	"PODFQDN_KRB5_PRINCIPALS", "PODFQDN_KRB5_REALM", "PODFQDN_KRB5_SOURCE", "PODFQDN_KRB5_DIR", "PODFQDN_KRB5_MOUNT",
	"PODFQDN_KRB5_KDC", "PODFQDN_KRB5_ENCTYPES", "PODFQDN_KRB5_EXTRACT", "PODFQDN_KRB5_KEYTAB_MODE", "PODFQDN_KRB5_ALLOW_DISK",
	"PODFQDN_PEERS", "PODFQDN_PEERS_WAIT", "PODFQDN_TLS",
	"PODFQDN_INSTALL", "PODFQDN_RENDER", "PODFQDN_ROOT", "PODFQDN_LOG_LEVEL", "PODFQDN_LOG_FORMAT",
}

// deciding are the variables that say what the Pod's spec and status say too.
var deciding = []string{"PODFQDN_FQDN", "PODFQDN_HOSTNAME", "PODFQDN_SERVICE", "POD_NAMESPACE", "PODFQDN_CLUSTER_DOMAIN", "PODFQDN_NAMESERVERS", "POD_IP", "POD_IPS", "POD_NAME", "POD_UID"}

// elsewhere names the places that may set a variable and are not read.
const elsewhere = "a ConfigMap, a Secret or the image"

// told returns what a variable of podfqdn's container is set to, and from which
// field, "" for a value that is written out. One that is set elsewhere is known
// only where podfqdn doctor in the Pod says what it found.
func (v *View) told(name string) (value, from string, known bool) {
	if value, from, known = v.resolve(name, len(v.podfqdn.Env)); known {
		return value, from, true
	}
	for _, f := range v.heard {
		if f.From == name {
			return f.Value, elsewhere, true
		}
	}
	return "", from, false
}

// set returns the place of a variable among the first n of podfqdn's container,
// -1 for none: the last of one name counts.
func (v *View) set(name string, n int) int {
	for i, e := range slices.Backward(v.podfqdn.Env[:n]) {
		if e.Name == name {
			return i
		}
	}
	return -1
}

// resolve is told for the first n variables: the kubelet expands $(NAME) by those
// that come first.
func (v *View) resolve(name string, n int) (value, from string, known bool) {
	i := v.set(name, n)
	if i < 0 {
		return "", "", false
	}
	switch e := v.podfqdn.Env[i]; {
	case e.ValueFrom == nil:
		value, known = v.expand(e.Value, i)
	case e.ValueFrom.FieldRef != nil:
		from = e.ValueFrom.FieldRef.FieldPath
		value, known = v.fieldOf(from)
	}
	return value, from, known
}

// expand replaces $(NAME) as the kubelet does, and $$ by $ (k8s.io/kubernetes,
// third_party/forked/golang/expansion). What is not set stays as it is; a NAME
// whose value is not known makes the whole unknown.
func (v *View) expand(text string, n int) (value string, known bool) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		name, after, closed := strings.Cut(strings.TrimPrefix(rest, "("), ")")
		switch {
		case strings.HasPrefix(rest, "$"):
			b.WriteString("$")
			text = rest[1:]
		case strings.HasPrefix(rest, "(") && closed:
			part, _, ok := v.resolve(name, n)
			switch {
			case ok:
			case v.set(name, n) >= 0, len(v.podfqdn.EnvFrom) > 0, strings.Contains(name, "_SERVICE_"), strings.Contains(name, "_PORT"):
				return "", false
			default:
				part = "$(" + name + ")"
			}
			b.WriteString(part)
			text = after
		default:
			b.WriteString("$")
			text = rest
		}
	}
}

// fieldOf returns a field of the Pod as the downward API would.
func (v *View) fieldOf(path string) (value string, known bool) {
	p := v.pod
	key := func(all map[string]string, kind string) (string, bool) {
		name, ok := strings.CutPrefix(path, "metadata."+kind+"['")
		return all[strings.TrimSuffix(name, "']")], ok
	}
	fields := map[string]string{
		"metadata.name": p.Name, "metadata.namespace": p.Namespace, "metadata.uid": string(p.UID),
		"spec.nodeName": p.Spec.NodeName, "spec.serviceAccountName": p.Spec.ServiceAccountName,
		"status.hostIP": p.Status.HostIP, "status.hostIPs": join(p.Status.HostIPs, ",", func(ip corev1.HostIP) string { return ip.IP }),
		"status.podIP": p.Status.PodIP, "status.podIPs": join(p.Status.PodIPs, ",", func(ip corev1.PodIP) string { return ip.IP }),
	}
	if value, ok := fields[path]; ok {
		return value, value != ""
	}
	if value, ok := key(p.Labels, "labels"); ok {
		return value, true
	}
	return key(p.Annotations, "annotations")
}

// addrsIn returns the addresses of a list of ADDRESS or ADDRESS:PORT; podfqdn
// refuses a word that is neither.
func addrsIn(value string) (addrs []netip.Addr) {
	for _, word := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(", \t\n", r) }) {
		if addr, err := netip.ParseAddr(strings.Trim(word, "[]")); err == nil {
			addrs = append(addrs, addr.WithZone("").Unmap())
		} else if server, err := netip.ParseAddrPort(word); err == nil {
			addrs = append(addrs, server.Addr().WithZone("").Unmap())
		}
	}
	return addrs
}

// slip is a variable that podfqdn does not read, and the one that was perhaps
// meant: the same where it is in another container.
type slip struct{ container, name, meant string }

// slips returns the variables of podfqdn's container whose names are close to
// one of podfqdn's, and do not begin as those do: podfqdn itself looks no
// further than its prefix.
func (v *View) slips() (all []slip) {
	for _, e := range v.podfqdn.Env {
		if slices.Contains(variables, e.Name) || strings.HasPrefix(e.Name, "PODFQDN_") {
			continue
		}
		if meant := meant(e.Name); meant != "" && !slices.ContainsFunc(v.podfqdn.Env, func(e corev1.EnvVar) bool { return e.Name == meant }) {
			all = append(all, slip{v.Container, e.Name, meant})
		}
	}
	for _, c := range parts(v.pod) {
		for _, e := range c.Env {
			// An application may read where the files are.
			if strings.HasPrefix(e.Name, "PODFQDN_") && e.Name != "PODFQDN_DIR" && slices.Contains(variables, e.Name) && c.Name != v.Container && !c.made() && !v.knows(e.Name) {
				all = append(all, slip{c.Name, e.Name, e.Name})
			}
		}
	}
	return all
}

// meant returns the variable that a name is a slip of; "" if it is none: the
// case and the signs between the words do not count, nor do two letters of the
// prefix.
func meant(name string) string {
	short := squeezed(name)
	for _, known := range variables {
		rest, ours := strings.CutPrefix(squeezed(known), "PODFQDN")
		prefix, ends := strings.CutSuffix(short, rest)
		switch {
		case short == squeezed(known):
			return known
		case ours && ends && (prefix == "POD" || prefix == "FQDN" || near("PODFQDN", prefix)):
			return known
		}
	}
	return ""
}

func squeezed(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToUpper(s))
}

// near reports whether two letters at most are added, left out or changed
// (Levenshtein).
func near(a, b string) bool {
	row := make([]int, len(b)+1)
	for i := range row {
		row[i] = i
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for k := range len(b) {
			change := diagonal + either(a[i] == b[k], 0, 1)
			diagonal = row[k+1]
			row[k+1] = min(change, row[k]+1, row[k+1]+1)
		}
	}
	return row[len(b)] <= 2
}
