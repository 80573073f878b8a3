package kerberos

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/source"
)

// The files of the contract.
const (
	fileKeytab     = "keytab"
	fileKeytabPath = "keytab-path"
	filePrincipals = "principals"
	fileConf       = "krb5.conf"
)

// Files lists every file name that Keys.Require may return, in order.
func Files() []string { return []string{fileKeytab, fileKeytabPath, fileConf, filePrincipals} }

// Config is what the variables say about Kerberos. Without Principals nothing is
// required; with them, Source and Dir are needed too.
type Config struct {
	Principals Templates `env:"PODFQDN_KRB5_PRINCIPALS" doc:"the principals whose keys this Pod needs, such as HTTP/{fqdn},…; also {hostname}, {HOSTNAME}, {service}, {namespace}, {ordinal}"`
	Realm      Realm     `env:"PODFQDN_KRB5_REALM" doc:"the realm of krb5.conf and of principals without one; otherwise that of the first principal"`
	Source     Source    `env:"PODFQDN_KRB5_SOURCE" doc:"a keytab or a directory of keytabs; its path may have the same words in braces"`
	Dir        string    `env:"PODFQDN_KRB5_DIR" envDefault:"/krb5" doc:"the volume for the keys, an emptyDir with medium: Memory"`
	Mount      string    `env:"PODFQDN_KRB5_MOUNT" doc:"where the application mounts that volume; otherwise the same path"`
	KDCs       KDCs      `env:"PODFQDN_KRB5_KDC" doc:"HOST[:PORT],… for krb5.conf; otherwise libkrb5 asks DNS"`
	Enctypes   Enctypes  `env:"PODFQDN_KRB5_ENCTYPES" doc:"the key types to publish, such as aes256-cts,…; otherwise all kinds of AES"`
	InPlace    InPlace   `env:"PODFQDN_KRB5_EXTRACT" envDefault:"true" doc:"false publishes the path of the keytab, but no keys"`
	Mode       Mode      `env:"PODFQDN_KRB5_KEYTAB_MODE" envDefault:"0440" doc:"the mode of the published keytab; its group is the volume's, which is the Pod's fsGroup"`
	AllowDisk  bool      `env:"PODFQDN_KRB5_ALLOW_DISK" envDefault:"false" doc:"true allows keys on a disk"`
}

// InPlace is true to publish the path of the source, which is a keytab, and to
// extract nothing.
type InPlace bool

// UnmarshalText reads whether to extract the keys: true means not in place.
func (p *InPlace) UnmarshalText(text []byte) error {
	extract, err := strconv.ParseBool(string(text))
	if err != nil {
		return errors.New("must be true or false")
	}
	*p = InPlace(!extract)
	return nil
}

// Requirement makes the principals of a claim, which nothing has proven yet, and
// reads no key. It is nil without principals. Nothing of it may lie in published,
// a directory that everybody reads. The error is a *identity.Refusal.
func (c Config) Requirement(claim identity.Claim, published string) (*identity.Requirement, error) {
	if c.Principals.IsZero() {
		return nil, nil
	}
	k, err := c.Keys(claim)
	if err != nil {
		return nil, err
	}
	if err := k.Apart(published); err != nil {
		return nil, err
	}
	r := &identity.Requirement{
		Name: "keys", Title: "Kerberos keys", From: "PODFQDN_KRB5_SOURCE", Label: "principals", Secret: true,
		Require: k.Require, Check: k.Check, Remark: k.remark, Addition: identity.Addition{Environment: k.Environment()},
		Outlet: identity.Outlet{Dir: c.Dir, Names: Files(), Keeps: k.Keeps, Published: k.Published},
	}
	for _, p := range k.principals {
		r.Wants = append(r.Wants, p.String())
	}
	if !bool(c.InPlace) && !c.AllowDisk {
		r.Outlet.OnDisk = identity.Refuse(identity.Misconfigured,
			fmt.Errorf("PODFQDN_KRB5_DIR, %+q, is on a disk, where keys would stay after the Pod", c.Dir),
			"make it an emptyDir with medium: Memory, or set PODFQDN_KRB5_ALLOW_DISK=true")
	}
	return r, nil
}

// remark returns a warning about keys without a version, and then one about files of
// the directory that were not read.
func (k *Keys) remark() (message, details string) {
	if len(k.unversioned) > 0 {
		message, details = "a key has version 0", identity.Enumerate(k.unversioned)+
			": libkrb5 accepts it for tickets of every version, but other programs do not: make keys with the version that the KDC has"
		k.unversioned = nil
		return message, details
	}
	if len(k.skipped) == 0 || k.remarked {
		return "", ""
	}
	k.remarked = true
	if n := len(k.skipped) - 1; n > 0 {
		details = fmt.Sprintf("; and %d more", n)
	}
	return "a file of the source was not read", k.skipped[0] + details
}

// Keys finds the keys of one Pod. It is for one goroutine.
type Keys struct {
	config     Config
	claim      identity.Claim
	principals []Principal
	source     keytabs
	skipped    []string
	published  []Entry // without keys
	reading    source.Reading[reading]

	// What remark has not returned yet: the principals that have a key of version 0;
	// remarked says whether it has returned skipped.
	unversioned []Principal
	remarked    bool
}

// reading is what came of reading the source.
type reading struct {
	entries []Entry
	skipped []string
	err     error
}

// Keys makes the principals of a claim, which nothing has proven yet, and reads
// no key. The error is a *identity.Refusal.
func (c Config) Keys(claim identity.Claim) (*Keys, error) {
	refuse := func(why error, change string) (*Keys, error) {
		if refusal, ok := errors.AsType[*identity.Refusal](why); ok {
			return nil, refusal
		}
		return nil, identity.Refuse(identity.Misconfigured, why, change)
	}
	words := source.WordsOf(claim)
	principals, err := c.Principals.principals(words, c.Realm)
	if err != nil {
		return refuse(err, "change PODFQDN_KRB5_PRINCIPALS")
	}
	if len(principals) == 0 {
		return refuse(errors.New("there are no principals"), "set PODFQDN_KRB5_PRINCIPALS, such as HTTP/{fqdn}")
	}
	if c.Source.IsZero() {
		return refuse(fmt.Errorf("there is no source of keys for %s", principals[0]), "set PODFQDN_KRB5_SOURCE to a keytab or a directory of keytabs")
	}
	at, err := c.Source.Of(words)
	if err != nil {
		return refuse(err, "change PODFQDN_KRB5_SOURCE")
	}
	c.Realm = cmp.Or(c.Realm, Realm(principals[0].realm))
	c.Mount = cmp.Or(c.Mount, c.Dir)
	if err := checkPath(c.Mount); err != nil {
		return refuse(err, "change PODFQDN_KRB5_DIR, or set PODFQDN_KRB5_MOUNT")
	}
	if c.InPlace {
		if err := checkPath(at); err != nil {
			return refuse(err, "change PODFQDN_KRB5_SOURCE")
		}
	}
	return &Keys{config: c, claim: claim, principals: principals, source: keytabs{path: at}}, nil
}

// Principals returns the principals that are wanted, in the order given.
func (k *Keys) Principals() []Principal { return slices.Clone(k.principals) }

// Apart refuses a source that lies in Dir or in another directory that is
// published, as everybody's keys would be; and a Dir that lies in that, which
// everybody mounts. The error is a *identity.Refusal.
func (k *Keys) Apart(published string) error {
	for _, dir := range []string{k.config.Dir, published} {
		if source.Within(k.source.path, dir) {
			return identity.Refuse(identity.Misconfigured,
				fmt.Errorf("PODFQDN_KRB5_SOURCE, %+q, lies in %+q, which the application reads", k.source.path, dir),
				"mount the source somewhere else, and in podfqdn's container only")
		}
	}
	if source.Within(k.config.Dir, published) {
		return identity.Refuse(identity.Misconfigured,
			fmt.Errorf("PODFQDN_KRB5_DIR, %+q, lies in %+q, which everybody can read", k.config.Dir, published),
			"give the keys a separate volume")
	}
	return nil
}

// again is the pause before a source is read again: a person changes it, or the
// kubelet, once a minute.
const again = time.Second

// Require looks for the keys of a Pod whose name was proven, and returns the
// files to publish, in the order of their names; the caller clears them when
// they are published.
//
// The error is a *identity.Mismatch with the verdict Keyless where the source
// does not have them yet, a *identity.Refusal where only another Pod spec can
// help, and otherwise the end of ctx.
func (k *Keys) Require(ctx context.Context, a identity.Agreement, _ identity.Resolver) ([]identity.File, error) {
	if a.Name() != k.claim.Name() {
		return nil, fmt.Errorf("these are the keys of %s, and %+q was proven", k.claim.Name(), a.Name())
	}
	files, err := k.files(ctx)
	return files, k.notYet(ctx, err)
}

// Check returns the error that Require would return, for a caller that has no
// proof of the name and publishes nothing.
func (k *Keys) Check(ctx context.Context, _ identity.Resolver) error {
	files, err := k.files(ctx)
	for _, f := range files {
		clear(f.Data)
	}
	return k.notYet(ctx, err)
}

// notYet turns an error that time or a person may mend into a Mismatch.
func (k *Keys) notYet(ctx context.Context, err error) error {
	if _, final := errors.AsType[*identity.Refusal](err); err == nil || final || ctx.Err() != nil {
		return err
	}
	return identity.NotYet(identity.Keyless, fmt.Errorf("%s: %w", k.claim.Name(), err), again)
}

// read reads the source, for as long as it does not hang.
func (k *Keys) read(ctx context.Context) ([]Entry, []string, error) {
	r, err := k.reading.Read(ctx, k.source.path, func() reading {
		entries, skipped, err := k.source.read(ctx, k.principals)
		return reading{entries, skipped, err}
	})
	return r.entries, r.skipped, cmp.Or(err, r.err)
}

func (k *Keys) files(ctx context.Context) ([]identity.File, error) {
	entries, skipped, err := k.read(ctx)
	defer forget(entries)
	k.skipped, k.remarked, k.unversioned = skipped, false, nil
	if err != nil {
		return nil, err
	}
	if k.config.InPlace && k.source.seen.Dir != "" {
		return nil, identity.Refuse(identity.Misconfigured,
			fmt.Errorf("PODFQDN_KRB5_EXTRACT=false publishes the path of one keytab, but %+q is a directory", k.source.path),
			"name a keytab in it, for example with {hostname}")
	}
	picked, err := Select(entries, k.principals, k.config.Enctypes)
	if err == nil {
		err = k.behind(picked)
	}
	if missing, ok := errors.AsType[*Missing](err); ok {
		missing.Source, missing.Skipped, missing.Passed = k.source.path, skipped, k.source.passed
	}
	for _, e := range picked {
		if e.Version == 0 && !slices.Contains(k.unversioned, e.Principal) {
			k.unversioned = append(k.unversioned, e.Principal)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case bool(k.config.InPlace):
		return k.texts(), nil
	}
	keytab := identity.File{Name: fileKeytab, Data: writeKeytab(picked), Mode: fs.FileMode(cmp.Or(k.config.Mode, 0o440))}
	return append([]identity.File{keytab}, k.texts()...), nil
}

// behind is a *Missing if the source has gone back to older keys than those that
// are published: somebody restored an earlier Secret, or the newest of several
// files is damaged. A smaller version that was written later is not older.
func (k *Keys) behind(picked []Entry) error {
	missing := &Missing{Found: k.principals}
	for _, p := range k.principals {
		// The first of each is the newest.
		of := func(e Entry) bool { return e.Principal == p }
		i, j := slices.IndexFunc(picked, of), slices.IndexFunc(k.published, of)
		if j < 0 {
			continue
		}
		has, had := picked[i], k.published[j]
		if has.Version != had.Version && has.Time <= had.Time && moreRecent(had.Version, had.Time, has.Version, has.Time) {
			missing.Lacks = append(missing.Lacks, Lack{p, fmt.Sprintf("its newest version is %d, and version %d is published", has.Version, had.Version)})
		}
	}
	if len(missing.Lacks) == 0 {
		return nil
	}
	return missing
}

// Published records the files that are published now, from Require or accepted by
// Keeps. After that, Require reports a source that has only older keys as lacking
// keys.
func (k *Keys) Published(files []identity.File) {
	for _, f := range files {
		if f.Name == fileKeytab {
			k.published, _ = ParseKeytab(f.Data)
		}
	}
	for i := range k.published {
		k.published[i].key, k.published[i].record = nil, nil
	}
}

// texts returns the files that hold no key, in the order of their names.
func (k *Keys) texts() []identity.File {
	const readable = 0o644
	var lines []byte
	for _, p := range k.principals {
		lines = append(lines, p.String()+"\n"...)
	}
	first := identity.File{Name: fileKeytabPath, Data: []byte(k.source.path), Mode: readable}
	if !k.config.InPlace {
		text := conf{k.claim.Name(), k.claim.Zone(), string(k.config.Realm), k.config.KDCs}.String()
		first = identity.File{Name: fileConf, Data: []byte(text), Mode: readable}
	}
	return []identity.File{first, {Name: filePrincipals, Data: lines, Mode: readable}}
}

// Keeps returns why the files of an earlier generation are not, or not wholly, what
// Require returns for this Pod; nil if they are. Only the source shows whether the
// keys are the newest, and another version of this program may have written the
// krb5.conf in other words.
func (k *Keys) Keeps(files []identity.File) error {
	content := map[string][]byte{}
	for _, f := range files {
		content[f.Name] = f.Data
	}
	for _, want := range k.texts() {
		if same := bytes.Equal(content[want.Name], want.Data); !same && (want.Name != fileConf || len(content[fileConf]) == 0) {
			return fmt.Errorf("its %s is not what this Pod's would be", want.Name)
		}
	}
	if k.config.InPlace {
		return nil
	}
	entries, err := ParseKeytab(content[fileKeytab])
	if err != nil {
		return fmt.Errorf("its keytab %w", err)
	}
	for _, p := range k.principals {
		if !slices.ContainsFunc(entries, func(e Entry) bool { return e.Principal == p }) {
			return fmt.Errorf("its keytab has no key for %s", p)
		}
	}
	for _, e := range entries {
		if !slices.Contains(k.principals, e.Principal) {
			return errors.New("its keytab has keys of other principals")
		}
	}
	return nil
}

// Skipped returns the files of a directory that could not be read when Require
// looked last, each as a sentence: worth a warning.
func (k *Keys) Skipped() []string { return slices.Clone(k.skipped) }

// The variables with which libkrb5 finds what was published.
const (
	variableKeytab       = "KRB5_KTNAME"
	variableClientKeytab = "KRB5_CLIENT_KTNAME"
	variableConf         = "KRB5_CONFIG"
)

// Variables lists the names of the lines that Keys.Environment may return, in order.
func Variables() []string {
	return []string{variableKeytab, variableClientKeytab, variableConf}
}

// Environment returns the variables with which libkrb5 finds what was published,
// as lines for identity.env, NAME='value'. Nothing in a value can end it.
func (k *Keys) Environment() []string {
	keytab := path.Join(k.config.Mount, fileKeytab)
	if k.config.InPlace {
		keytab = k.source.path
	}
	lines := []string{
		variableKeytab + "='" + keytab + "'",
		variableClientKeytab + "='" + keytab + "'",
	}
	if !k.config.InPlace {
		lines = append(lines, variableConf+"='"+path.Join(k.config.Mount, fileConf)+"'")
	}
	return lines
}
