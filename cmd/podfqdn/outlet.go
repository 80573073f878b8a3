package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"

	"go.uber.org/zap"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// outlet is a volume that podfqdn publishes in.
type outlet struct {
	identity.Outlet
	vol    *volume.Volume
	stands atomic.Bool // what is published there is this Pod's and not withdrawn; without a volume: the need was met
}

// open takes the volume. What stands there stays if keeps accepts it.
func (o *outlet) open(ctx context.Context, keeps func([]identity.File) error) (err error) {
	if o.Signal == "" {
		o.vol, err = volume.Open(ctx, o.Dir, o.Names, keeps)
	} else {
		o.vol, err = volume.OpenTree(ctx, o.Dir, o.Signal, keeps)
	}
	if err != nil {
		return err
	}
	files, verified, err := o.read()
	if err != nil {
		return err
	}
	o.stands.Store(verified)
	if len(files) > 0 && o.Published != nil {
		o.Published(files)
	}
	forget(files)
	return nil
}

// read returns what is published, and whether it stands, which means that it was not
// withdrawn.
func (o *outlet) read() (files []identity.File, stands bool, err error) {
	if o.Signal == "" {
		return volume.Read(o.Dir)
	}
	return volume.ReadTree(o.Dir, o.Signal)
}

// holds reports whether what is this Pod's is published there. It takes no lock.
func (o *outlet) holds() bool {
	files, stands, err := o.read()
	defer forget(files)
	return err == nil && stands && o.Keeps(files) == nil
}

// forget overwrites what was read, which may be keys.
func forget(files []identity.File) {
	for _, f := range files {
		clear(f.Data)
	}
}

// dropped returns why open removed what it found; nil if it removed nothing.
func (o *outlet) dropped() error { return o.vol.Dropped() }

// publish makes the files of g what the volume shows.
func (o *outlet) publish(g identity.Generation) (changed bool, err error) {
	if changed, err = o.vol.Publish(g); err != nil {
		return changed, err
	}
	o.stands.Store(true)
	if o.Published != nil {
		o.Published(g.Files())
	}
	return changed, nil
}

// withdraw removes the start signal.
func (o *outlet) withdraw() error {
	err := o.vol.Withdraw()
	if err == nil {
		o.stands.Store(false)
	}
	return err
}

// close lets another writer in.
func (o *outlet) close() {
	if o.vol != nil {
		_ = o.vol.Close()
		o.vol = nil
	}
}

// need is a Requirement on the path, and the volume that its files are for.
type need struct {
	identity.Requirement
	outlet
	path   *path
	has    bool   // the files published with the name say that the need was met
	warned string // the warning that its source lacks something, while it does; else ""
	found  string // what was logged of it last
}

func newNeed(p *path, r *identity.Requirement) *need {
	return &need{Requirement: *r, outlet: outlet{Outlet: r.Outlet}, path: p}
}

// settled reports whether the need is met for as long as its files stand.
func (n *need) settled() bool { return n.Once && !n.path.afresh && n.stands.Load() }

// checked is Check, except that a change of a source after its files were published
// once matters only to the next Pod.
func (n *need) checked(ctx context.Context, dns identity.Resolver) error {
	if n.Once && (n.Dir == "" && n.has || n.Dir != "" && n.holds()) {
		return nil
	}
	return n.Check(ctx, dns)
}

// prepare reads what can be read before DNS is asked, and checks that it can be
// published.
func (n *need) prepare() error {
	if n.Prepare == nil || n.settled() {
		return nil
	}
	names, err := n.Prepare()
	if err != nil {
		return err
	}
	return n.vol.Expect(names)
}

// wants returns what is waited for, for the log.
func (n *need) wants() []zap.Field {
	if n.Label == "" {
		return nil
	}
	return []zap.Field{zap.Strings(n.Label, n.Wants)}
}

// check returns why the volume cannot be read, or why keeps refuses what is
// there.
func (o *outlet) check(keeps func([]identity.File) error) (unread, refused error) {
	files, _, err := o.read()
	if err != nil {
		return err, nil
	}
	defer forget(files)
	return nil, keeps(files)
}

// onDisk refuses a volume that is not in memory although it has to be.
func (n *need) onDisk() error {
	memory, err := n.vol.InMemory()
	if err == nil && !memory {
		err = n.OnDisk
	}
	return err
}

// require returns the files of a Walk. Once they are published, or the need was
// met, nothing that becomes of its source takes that back.
func (n *need) require(ctx context.Context, a identity.Agreement, dns identity.Resolver) ([]identity.File, error) {
	if n.settled() {
		return nil, nil
	}
	files, err := n.Require(ctx, a, dns)
	for n.Remark != nil {
		message, details := n.Remark()
		if message == "" {
			break
		}
		n.path.warn(message, details)
	}
	if err == nil && n.Dir == "" {
		n.stands.Store(true)
	}
	if err == nil && n.Found != nil {
		if found := n.Found(); found != n.found {
			n.path.log.Info(n.Name+" found", zap.String("what", found))
			n.found = found
		}
	}
	if ctx.Err() == nil {
		n.path.health.Missing(n.Name, err != nil)
	}
	if err == nil && n.warned != "" {
		n.path.log.Info("the source has the " + n.Name + " again")
		n.path.warned.forget(n.warned)
		n.warned = ""
	}
	if err == nil || !n.stands.Load() || ctx.Err() != nil {
		return files, err
	}
	n.path.health.Missed(n.Name)
	message := "the published " + n.Name + " stay"
	if n.Dir == "" {
		message = "what is published stays" // and nothing of this is
	}
	n.path.warn(message, err.Error())
	n.warned = message + err.Error()
	return nil, nil
}

// publish puts the files of a turn into their volume, or checks that those of an
// earlier turn are there.
func (n *need) publish(g identity.Generation) error {
	if n.Dir == "" {
		return nil
	}
	if len(g.Files()) == 0 {
		unread, refused := n.check(n.Keeps)
		if err := cmp.Or(unread, refused); err != nil {
			// For a name that comes back they are made again. One that stands is not
			// put at risk by what their source has become.
			if n.Once && !n.path.name.stands.Load() {
				n.stands.Store(false)
			}
			return fmt.Errorf("the %s in %+q are no longer as they were published: %w", n.Name, n.Dir, err)
		}
		return nil
	}
	stood := n.stands.Load()
	changed, err := n.outlet.publish(g)
	if err == nil && (changed || !stood) {
		n.path.log.Info(n.Name+" published", append(n.wants(), zap.String("dir", n.Dir), zap.Bool("changed", changed))...)
	}
	return err
}

// coreLimit is the limit before hideMemory; showMemory restores it.
var coreLimit *syscall.Rlimit

// hideMemory keeps keys out of core files, and this process's memory from
// others of the same user.
func hideMemory() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil {
		return fmt.Errorf("getrlimit RLIMIT_CORE: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{Max: limit.Max}); err != nil {
		return fmt.Errorf("setrlimit RLIMIT_CORE: %w", err)
	}
	if coreLimit == nil {
		coreLimit = &limit
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return fmt.Errorf("prctl PR_SET_DUMPABLE: %w", errno)
	}
	return nil
}

// showMemory undoes what an application would inherit from hideMemory: the limit on
// core files. This process's memory stays hidden until execve.
func showMemory() {
	if coreLimit != nil {
		_ = syscall.Setrlimit(syscall.RLIMIT_CORE, coreLimit) // which it was before
	}
}

// volumeError gives err the exit code for volumes, unless it has one of its own: a
// signal, or a Refusal.
func volumeError(err error) error {
	if errors.As(err, new(exit)) || errors.As(err, new(*identity.Refusal)) {
		return err
	}
	return exit{exitVolume, err}
}
