// Package render writes the files of a directory, such as a mounted ConfigMap,
// into a volume, with the references to the Pod's proven values replaced: for a
// server that reads its name from a configuration file.
package render

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/reference"
)

// signal is the file that marks the rendered files as complete. It holds the lines of
// identity.env that they were rendered with.
const signal = "..rendered"

// Pairs are sources and the volumes that they are rendered into. The zero value has
// none.
type Pairs struct{ pairs []pair }

type pair struct{ src, dst string }

// UnmarshalText reads SRC:DST, of absolute paths; several with commas between them.
// "" is none.
func (p *Pairs) UnmarshalText(text []byte) error {
	p.pairs = nil
	if len(text) == 0 {
		return nil
	}
	for one := range strings.SplitSeq(string(text), ",") {
		src, dst, _ := strings.Cut(one, ":")
		if !filepath.IsAbs(src) || !filepath.IsAbs(dst) || strings.ContainsAny(dst, ":\x00") || strings.Contains(src, "\x00") {
			return errors.New("must be SRC:DST, two absolute paths, or several such pairs with commas between them")
		}
		p.pairs = append(p.pairs, pair{filepath.Clean(src), filepath.Clean(dst)})
	}
	return nil
}

// Others is what podfqdn publishes in addition.
type Others struct {
	Dirs      []string // where
	Variables []string // names that lines of identity.env may have, in addition to identity.Variables
	Additions []identity.Addition
}

// Requirements makes one Requirement of each pair. It reads nothing; but no source
// and no volume may lie in another directory that podfqdn publishes in, nor hold it.
// The error is a *identity.Refusal.
func (p Pairs) Requirements(claim identity.Claim, others Others) ([]*identity.Requirement, error) {
	if err := p.apart(others.Dirs); err != nil {
		return nil, err
	}
	var all []*identity.Requirement
	for _, one := range p.pairs {
		r := &rendering{
			pair: one, claim: claim, additions: others.Additions,
			documented: slices.Concat(identity.Variables(), others.Variables),
			has:        claim.Variables(),
			known:      map[string]string{},
		}
		for _, add := range others.Additions {
			for _, line := range add.Environment {
				name, value, _ := strings.Cut(line, "=")
				r.has, r.known[name] = append(r.has, name), strings.Trim(value, "'")
			}
		}
		all = append(all, &identity.Requirement{
			Name: "rendered files", Title: "Rendered files", From: "PODFQDN_RENDER", Wants: []string{one.src},
			Prepare: r.prepare, Once: true, Require: r.require,
			Check:  func(context.Context, identity.Resolver) error { _, err := r.prepare(); return err },
			Remark: r.remark,
			Outlet: identity.Outlet{Dir: one.dst, Signal: signal, Keeps: r.keeps, Published: r.published},
		})
	}
	return all, nil
}

// rendering is one pair, for one Pod. It is for one goroutine.
type rendering struct {
	pair
	claim           identity.Claim
	documented, has []string // variables
	additions       []identity.Addition
	known           map[string]string // what additions say: DNS is not needed for it
	slips           []string          // not returned by remark yet
	files           []file            // nil: not read, or not needed any more
}

// prepare reads the source and finds its references, and returns the files' names.
func (r *rendering) prepare() ([]string, error) {
	files, err := read(r.src)
	if err != nil {
		return nil, err
	}
	names := []string{signal}
	r.slips = nil
	for i, f := range files {
		at := filepath.Join(r.src, f.name)
		files[i].text, err = reference.Parse(f.raw, r.documented)
		if m, ok := errors.AsType[*reference.Malformed](err); ok {
			return nil, identity.Refuse(identity.Misconfigured, fmt.Errorf("%+q, line %d: %+q is not a reference: %s", at, m.Line, m.Reference, m.Why), m.Want)
		}
		for _, variable := range files[i].text.Needs() {
			if !slices.Contains(r.has, variable) {
				change := fmt.Sprintf("remove the reference, or write $$(%s) where $(%[1]s) has to stay", variable)
				switch variable {
				case identity.VariablePeers:
					change = "set PODFQDN_PEERS, such as 3, or " + change
				case "POD_ORDINAL":
					change = "in a StatefulSet or an Indexed Job set POD_ORDINAL from the label apps.kubernetes.io/pod-index; elsewhere " + change
				}
				return nil, identity.Refuse(identity.Misconfigured,
					fmt.Errorf("%+q, line %d: this Pod does not have %s", at, files[i].text.At(variable), variable), change)
			}
		}
		if err := files[i].text.Check(r.known); err != nil {
			return nil, r.unfit(f, err)
		}
		for _, slip := range files[i].text.Slips() {
			r.slips = append(r.slips, fmt.Sprintf("%+q, line %d: %s; did you mean $(%s)?", at, slip.Line, slip.Written, slip.Meant))
		}
		names = append(names, f.name)
	}
	r.files = files
	return names, nil
}

// remark returns one slip of a reference.
func (r *rendering) remark() (message, details string) {
	if len(r.slips) == 0 {
		return "", ""
	}
	details, r.slips = r.slips[0], r.slips[1:]
	return "a reference stays as it is", details
}

// require returns the rendered files for a Pod whose name was proven. The error is a
// *identity.Refusal.
func (r *rendering) require(_ context.Context, a identity.Agreement, _ identity.Resolver) ([]identity.File, error) {
	if a.Name() != r.claim.Name() {
		return nil, fmt.Errorf("these are the files for %s, and %+q was proven", r.claim.Name(), a.Name())
	}
	if r.files == nil {
		if _, err := r.prepare(); err != nil {
			return nil, err
		}
	}
	published, err := identity.Render(a, r.additions...)
	if err != nil {
		return nil, err
	}
	values := identity.Environment(published.Files())
	rendered := []identity.File{{Name: signal, Data: lines(published), Mode: 0o644}}
	left := maxBytes
	for _, f := range r.files {
		size, err := f.text.Size(values)
		if err != nil {
			return nil, r.unfit(f, err)
		}
		if left -= size; left < 0 {
			return nil, refuse(r.src, fmt.Errorf("has more than %d MiB when it is rendered", maxBytes>>20), fewer)
		}
		text, _ := f.text.Bytes(values)
		rendered = append(rendered, identity.File{Name: f.name, Data: text, Mode: f.mode})
	}
	return rendered, nil
}

// unfit is the refusal of a reference whose value does not fit it.
func (r *rendering) unfit(f file, err error) error {
	if unfit, ok := errors.AsType[*reference.Unfit](err); ok {
		return identity.Refuse(identity.Misconfigured, fmt.Errorf("%+q, line %d: %w", filepath.Join(r.src, f.name), unfit.Line, err), unfit.Want)
	}
	return err
}

// lines returns a copy of a generation's identity.env.
func lines(g identity.Generation) []byte {
	for _, f := range g.Files() {
		if f.Name == fileEnv {
			return bytes.Clone(f.Data)
		}
	}
	return nil
}

const fileEnv = "identity.env"

// keeps returns why files were not rendered for this Pod, with the addresses that it
// has now; nil if they were.
func (r *rendering) keeps(files []identity.File) error {
	i := slices.IndexFunc(files, func(f identity.File) bool { return f.Name == signal })
	if i < 0 {
		return errors.New("nothing was rendered")
	}
	values := identity.Environment([]identity.File{{Name: fileEnv, Data: files[i].Data}})
	if name := values["POD_FQDN"]; name != r.claim.Name().String() {
		return fmt.Errorf("they are for another name, %+q", name)
	}
	for text := range strings.SplitSeq(values["POD_IPS"], ",") {
		if addr, err := netip.ParseAddr(text); err != nil || !slices.Contains(r.claim.Own(), addr) {
			return fmt.Errorf("they are for another address, %+q", text)
		}
	}
	return nil
}

// published forgets the source: what was rendered stays.
func (r *rendering) published([]identity.File) { r.files = nil }

// apart refuses sources and volumes that are not apart from each other and from dirs.
// Two sources may be the same.
func (p Pairs) apart(dirs []string) error {
	for i, one := range p.pairs {
		taken := slices.Clone(dirs)
		for j, other := range p.pairs {
			if i != j {
				taken = append(taken, other.dst)
			}
		}
		for _, dir := range taken {
			if err := cmp.Or(apart(one.src, dir), apart(one.dst, dir)); err != nil {
				return err
			}
		}
		if err := apart(one.src, one.dst); err != nil {
			return err
		}
	}
	return nil
}

// apart refuses a path that is, or lies in, or holds a directory in which podfqdn
// publishes.
func apart(path, dir string) error {
	if !within(path, dir) && !within(dir, path) {
		return nil
	}
	return identity.Refuse(identity.Misconfigured,
		fmt.Errorf("PODFQDN_RENDER: %+q and %+q overlap, and podfqdn publishes in the second", path, dir),
		"give each a separate volume")
}

// within reports whether path is dir or lies in it, by their names or by what these
// lead to.
func within(path, dir string) bool {
	outer, err := os.Stat(dir)
	there := err == nil
	paths := []string{path}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		paths = append(paths, real)
	}
	for _, path := range paths {
		for at := path; ; at = filepath.Dir(at) {
			if at == filepath.Clean(dir) {
				return true
			}
			if info, err := os.Stat(at); there && err == nil && os.SameFile(info, outer) {
				return true
			}
			if at == filepath.Dir(at) {
				break
			}
		}
	}
	return false
}
