package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"go.uber.org/zap"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/kerberos"
	"github.com/podfqdn/podfqdn/identity/screen"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// Kerberos is every variable about it. Without principals it is off.
type Kerberos struct {
	Principals kerberos.Templates `env:"PODFQDN_KRB5_PRINCIPALS" doc:"those whose keys this Pod needs, such as HTTP/{fqdn},…; also {hostname}, {service}, {namespace}"`
	Realm      kerberos.Realm     `env:"PODFQDN_KRB5_REALM" doc:"of principals without one, and of krb5.conf; else that of the first principal"`
	Source     kerberos.Source    `env:"PODFQDN_KRB5_SOURCE" doc:"a keytab or a folder of keytabs; its path may have the same words in braces"`
	KeysDir    string             `env:"PODFQDN_KRB5_DIR" envDefault:"/krb5" doc:"the volume for the keys, an emptyDir with medium: Memory"`
	KeysMount  string             `env:"PODFQDN_KRB5_MOUNT" doc:"where the application mounts that volume; else the same path"`
	KDCs       kerberos.KDCs      `env:"PODFQDN_KRB5_KDC" doc:"HOST[:PORT],… for krb5.conf; else libkrb5 asks DNS"`
	Enctypes   kerberos.Enctypes  `env:"PODFQDN_KRB5_ENCTYPES" doc:"the key types to take, such as aes256-cts,…; else AES of every kind"`
	Extract    bool               `env:"PODFQDN_KRB5_EXTRACT" envDefault:"true" doc:"false publishes the path of the keytab, and no key"`
	KeytabMode kerberos.Mode      `env:"PODFQDN_KRB5_KEYTAB_MODE" envDefault:"0440" doc:"the published keytab's; its group is the volume's, the Pod's fsGroup"`
	AllowDisk  bool               `env:"PODFQDN_KRB5_ALLOW_DISK" envDefault:"false" doc:"true lets keys onto a disk"`
}

// keyring gets this Pod's keys and publishes them. nil is a Pod without
// Kerberos.
type keyring struct {
	config Kerberos
	keys   *kerberos.Keys
	log    *zap.Logger
	warn   func(msg, what string)
	probes *probes

	vol    *volume.Volume
	stands bool // keys are published
}

// newKeyring reads no key.
func (k *keeper) newKeyring() (*keyring, error) {
	c := k.cfg.Kerberos
	if c.Principals.IsZero() {
		return nil, nil
	}
	keys, err := c.keys(k.claim, k.cfg.Dir)
	if err != nil {
		return nil, err
	}
	return &keyring{config: c, keys: keys, log: k.log, warn: k.warn, probes: k.probes}, nil
}

// keys gives those that a claim needs. dir is where everybody reads.
func (c Kerberos) keys(claim identity.Claim, dir string) (*kerberos.Keys, error) {
	if err := hideMemory(); err != nil {
		return nil, err
	}
	keys, err := kerberos.Config{
		Principals: c.Principals, Realm: c.Realm, Source: c.Source, KDCs: c.KDCs, Enctypes: c.Enctypes,
		InPlace: !c.Extract, Mode: c.KeytabMode, Dir: c.KeysDir, Mount: c.KeysMount,
	}.Keys(claim)
	if err != nil {
		return nil, err
	}
	return keys, keys.Apart(dir)
}

// hideMemory keeps keys out of core files, and this process's memory from
// others of the same user.
func hideMemory() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("setrlimit RLIMIT_CORE: %w", err)
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return fmt.Errorf("prctl PR_SET_DUMPABLE: %w", errno)
	}
	return nil
}

// open takes the volume. What stands there is kept if the identity that it
// belongs to stands as well. Otherwise that is withdrawn first: it is the start
// signal for both.
func (r *keyring) open(ctx context.Context, identified bool, withdraw func() error) error {
	keep := func(files []identity.File) error {
		why := errors.New("no identity stands beside it")
		if identified {
			why = r.keys.Keeps(files)
		}
		if r.stands = why == nil; !r.stands {
			return errors.Join(why, withdraw())
		}
		r.keys.Published(files)
		return nil
	}
	vol, err := volume.Open(ctx, r.config.KeysDir, kerberos.Files(), keep)
	if err != nil {
		return err
	}
	r.vol = vol
	if err := vol.Dropped(); err != nil {
		r.warn("earlier keys were removed", err.Error())
	}
	memory, err := vol.InMemory()
	if err == nil && !memory && r.config.Extract && !r.config.AllowDisk {
		err = identity.Refuse(identity.Misconfigured,
			fmt.Errorf("PODFQDN_KRB5_DIR, %+q, is on a disk, where keys would stay after the Pod", r.config.KeysDir),
			"make it an emptyDir with medium: Memory, or set PODFQDN_KRB5_ALLOW_DISK=true")
	}
	return err
}

// close lets another writer in.
func (r *keyring) close() {
	if r != nil && r.vol != nil {
		_ = r.vol.Close()
	}
}

// require is the Walk's. Once keys are published, nothing that becomes of the
// source takes them away.
func (r *keyring) require(ctx context.Context, a identity.Agreement) ([]identity.File, error) {
	files, err := r.keys.Require(ctx, a)
	if files := r.keys.Skipped(); len(files) > 0 {
		what := files[0]
		if n := len(files) - 1; n > 0 {
			what += fmt.Sprintf("; and %d more", n)
		}
		r.warn("a file of the source is not read", what)
	}
	if err == nil || !r.stands || ctx.Err() != nil {
		return files, err
	}
	r.probes.keysMissed()
	r.warn("the published keys stay", err.Error())
	return nil, nil
}

// publish puts the keys of a turn into their volume, or sees that those of an
// earlier turn are there.
func (r *keyring) publish(turn identity.Turn) error {
	switch {
	case r == nil:
		return nil
	case len(turn.Required.Files()) == 0:
		return r.standing()
	}
	defer turn.Required.Clear()
	changed, err := r.vol.Publish(turn.Required)
	if err != nil {
		return err
	}
	r.keys.Published(turn.Required.Files())
	if changed || !r.stands {
		r.log.Info("keys published",
			zap.Stringers("principals", r.keys.Principals()),
			zap.String("dir", screen.Printable(r.config.KeysDir)),
			zap.Bool("changed", changed))
	}
	r.stands = true
	return nil
}

// standing tells why the keys do not stand any more; nil if they do.
func (r *keyring) standing() error {
	files, _, err := volume.Read(r.config.KeysDir)
	if err == nil {
		err = r.keys.Keeps(files)
	}
	for _, f := range files {
		clear(f.Data)
	}
	if err != nil {
		return fmt.Errorf("the keys in %+q do not stand any more: %w", r.config.KeysDir, err)
	}
	return nil
}

// environment gives the lines for identity.env.
func (r *keyring) environment() []string {
	if r == nil {
		return nil
	}
	return r.keys.Environment()
}
