package kerberos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/podfqdn/podfqdn/identity"
)

// The files of the contract.
const (
	fileKeytab     = "keytab"
	fileKeytabPath = "keytab-path"
	filePrincipals = "principals"
	fileConf       = "krb5.conf"
)

// Files lists every name that Keys.Require may give, in order.
func Files() []string { return []string{fileKeytab, fileKeytabPath, fileConf, filePrincipals} }

// Config is what a person says of a Pod's Kerberos. All fields but these three
// may be left zero: Principals, Source and Dir.
type Config struct {
	Principals Templates
	Realm      Realm // of principals without one, and krb5.conf's; else that of the first principal
	Source     Source
	KDCs       KDCs
	Enctypes   Enctypes
	InPlace    bool   // extract nothing: publish the path of the source, which is a keytab
	Mode       Mode   // of the extracted keytab; 0 is 0440
	Dir        string // where the files are published
	Mount      string // where the application sees Dir; "" if there too
}

// Keys are those of one Pod, to be had. It is for one goroutine.
type Keys struct {
	config     Config
	claim      identity.Claim
	principals []Principal
	source     source
	skipped    []string
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
	values := wordsOf(claim)
	principals, err := c.Principals.principals(values, c.Realm)
	if err != nil {
		return refuse(err, "change PODFQDN_KRB5_PRINCIPALS")
	}
	if len(principals) == 0 {
		return refuse(errors.New("there are no principals to have keys of"), "set PODFQDN_KRB5_PRINCIPALS, such as HTTP/{fqdn}")
	}
	if c.Source.IsZero() {
		return refuse(fmt.Errorf("there is no source of keys for %s", principals[0]), "set PODFQDN_KRB5_SOURCE to a keytab or a folder of keytabs")
	}
	at, err := expand(c.Source.template, values)
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
	return &Keys{config: c, claim: claim, principals: principals, source: source{path: at}}, nil
}

// Principals gives the principals that are wanted, in the order given.
func (k *Keys) Principals() []Principal { return slices.Clone(k.principals) }

// Apart refuses a source that lies in one of these folders, which are
// published: everybody's keys would be.
func (k *Keys) Apart(folders ...string) error {
	for _, folder := range folders {
		if err := k.source.apart(folder); err != nil {
			return err
		}
	}
	return nil
}

// again is how long looking at a source again is in vain: a person or the
// kubelet, once a minute, changes it.
const again = time.Second

// Require looks for the keys of a Pod whose name was proven, and gives the
// files to publish, in the order of their names; when they are published the
// caller clears them with Clear.
//
// The error is a *identity.Mismatch with the verdict Keyless where the source
// does not have them yet, a *identity.Refusal where only another Pod spec can
// help, and otherwise the end of ctx.
func (k *Keys) Require(ctx context.Context, a identity.Agreement) ([]identity.File, error) {
	if a.Name() != k.claim.Name() {
		return nil, fmt.Errorf("these are the keys of %s, and %+q was proven", k.claim.Name(), a.Name())
	}
	files, err := k.files(ctx)
	if _, final := errors.AsType[*identity.Refusal](err); err == nil || final || ctx.Err() != nil {
		return files, err
	}
	question := identity.Question{Kind: identity.Exists, Name: a.Name()}
	return nil, &identity.Mismatch{Finding: identity.Finding{
		Answer:  identity.Answer{Question: question, Err: err, Again: again},
		Verdict: identity.Keyless,
	}}
}

func (k *Keys) files(ctx context.Context) ([]identity.File, error) {
	entries, skipped, err := k.source.read(ctx, k.principals)
	defer forget(entries)
	k.skipped = skipped
	if err != nil {
		return nil, err
	}
	folder := k.source.seen.folder != ""
	if k.config.InPlace && folder {
		return nil, identity.Refuse(identity.Misconfigured,
			fmt.Errorf("PODFQDN_KRB5_EXTRACT=false publishes the path of one keytab, and %+q is a folder", k.source.path),
			"name a keytab in it, such as with {hostname}")
	}
	picked, err := Select(entries, k.principals, k.config.Enctypes)
	if missing, ok := errors.AsType[*Missing](err); ok {
		missing.Source, missing.Skipped = k.source.path, skipped
	}
	if err != nil {
		return nil, err
	}
	const readable = 0o644
	var lines []byte
	for _, p := range k.principals {
		lines = append(lines, p.String()+"\n"...)
	}
	principals := identity.File{Name: filePrincipals, Data: lines, Mode: readable}
	if k.config.InPlace {
		return []identity.File{{Name: fileKeytabPath, Data: []byte(k.source.path), Mode: readable}, principals}, nil
	}
	text := conf{k.claim.Name(), k.claim.Zone(), string(k.config.Realm), k.config.KDCs}.String()
	return []identity.File{
		{Name: fileKeytab, Data: writeKeytab(picked), Mode: fs.FileMode(cmp.Or(k.config.Mode, 0o440))},
		{Name: fileConf, Data: []byte(text), Mode: readable},
		principals,
	}, nil
}

// Changed reports whether the source is another than when Require looked last:
// its "..data", or a file's inode, size or time. It reads no file, and so misses
// one that is written over in place, to the same size, within a tick of the
// file system's clock of the last look.
func (k *Keys) Changed() bool { return k.source.changed() }

// Skipped gives the files of a folder that could not be read when Require
// looked last, each as a sentence: worth a warning.
func (k *Keys) Skipped() []string { return slices.Clone(k.skipped) }

// Environment gives the variables with which libkrb5 finds what was published,
// as lines for identity.env, NAME='value'. Nothing in a value can end it.
func (k *Keys) Environment() []string {
	keytab := path.Join(k.config.Mount, fileKeytab)
	if k.config.InPlace {
		keytab = k.source.path
	}
	lines := []string{
		"KRB5_KTNAME='" + keytab + "'",
		"KRB5_CLIENT_KTNAME='" + keytab + "'",
	}
	if !k.config.InPlace {
		lines = append(lines, "KRB5_CONFIG='"+path.Join(k.config.Mount, fileConf)+"'")
	}
	return lines
}

// Clear clears the keytab among files.
func Clear(files []identity.File) {
	for _, f := range files {
		if f.Name == fileKeytab {
			clear(f.Data)
		}
	}
}
