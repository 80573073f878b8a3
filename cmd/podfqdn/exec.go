package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/kerberos"
	"github.com/podfqdn/podfqdn/identity/reference"
	"github.com/podfqdn/podfqdn/identity/volume"
)

// application is the command that "exec" becomes.
type application struct {
	file    string            // what execve(2) is given
	args    []text            // the first is the command's name, as given
	environ []text            // of NAME=value the value
	values  map[string]string // the published lines of identity.env; nil while nothing is
	kept    []string          // lines that stay, and that podfqdn here cannot prove again: of keys
}

// text is an argument of the application, or the value of a variable, and what to
// call it.
type text struct {
	assign string // "NAME=" of a variable; or a whole line that assigns nothing
	reference.Text
	where string
}

// publishable are the variables that may be published, and nothing else in a volume
// is for the application's environment: LD_PRELOAD, for one.
func publishable() []string { return slices.Concat(identity.Variables(), kerberos.Variables()) }

// take has the application use what is published in files.
func (a *application) take(files []identity.File) {
	known := publishable()
	a.values = identity.Environment(files)
	maps.DeleteFunc(a.values, func(name, _ string) bool { return !slices.Contains(known, name) })
}

const usage = "write podfqdn exec -- COMMAND [ARG...]"

// newApplication finds the command of args by the PATH in environ, and the
// references in both. The error is all that is wrong with them.
func newApplication(args, environ []string) (*application, error) {
	switch {
	case len(args) > 0 && args[0] == "--":
		args = args[1:]
	case len(args) > 0 && strings.HasPrefix(args[0], "-"):
		return nil, misconfigured(fmt.Sprintf("exec has no option %+q", args[0]), usage+"; settings are variables, see podfqdn help")
	}
	if len(args) == 0 {
		return nil, misconfigured("exec needs a command", usage)
	}
	a := &application{}
	known := publishable()
	var mistakes []error
	parse := func(where, assign, s string) text {
		t, err := reference.Parse(s, known)
		if bad, ok := errors.AsType[*reference.Malformed](err); ok {
			if strings.Contains(s, "\n") {
				where += fmt.Sprintf(", line %d,", bad.Line)
			}
			mistakes = append(mistakes, misconfigured(fmt.Sprintf("%s has %+q, which is not a reference: %s", where, bad.Reference, bad.Why), bad.Want))
		}
		return text{assign, t, where}
	}
	for i, arg := range args {
		a.args = append(a.args, parse(fmt.Sprintf("argument %d of the command", i), "", arg))
	}
	for _, line := range environ {
		name, value, assigns := strings.Cut(line, "=")
		if assigns {
			name += "="
		}
		a.environ = append(a.environ, parse("variable "+strings.TrimSuffix(name, "="), name, value))
	}
	if len(a.args[0].Needs()) > 0 {
		mistakes = append(mistakes, misconfigured(fmt.Sprintf("the command %+q has a reference", args[0]), "write its path as it is, since only arguments, variables and rendered files may have references"))
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	var err error
	a.file, err = find(args[0], environ)
	return a, err
}

// find returns where a command is, as execvp(3) would find it: names without a
// slash in the PATH of environ. The error has the exit codes of sh(1).
func find(name string, environ []string) (file string, err error) {
	if name == "" {
		return "", exit{exitNotFound, errors.New("the command is empty: " + usage)}
	}
	if strings.Contains(name, "/") {
		return name, executable(name)
	}
	path := ""
	for _, line := range environ {
		if dirs, ok := strings.CutPrefix(line, "PATH="); ok {
			path = dirs
			break
		}
	}
	var found error // but not executable
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(cmp.Or(dir, "."), name)
		err := executable(file)
		if err == nil {
			return file, nil
		}
		if exitCode(err) == exitNotExecutable && !errors.Is(err, syscall.ENOTDIR) {
			found = cmp.Or(found, err)
		}
	}
	return "", cmp.Or(found, error(exit{exitNotFound, fmt.Errorf("the command %+q is not in PATH=%+q: write its whole path", name, path)}))
}

// executable returns why a file cannot be executed, as far as can be told before
// it is.
func executable(file string) error {
	const executeOK = 1 // X_OK of access(2)
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if link, err := os.Readlink(file); err == nil {
			return exit{exitNotFound, fmt.Errorf("the command %+q is a link to %+q, which does not exist", file, link)}
		}
		return exit{exitNotFound, fmt.Errorf("the command %+q does not exist in this container", file)}
	case err != nil:
		return exit{exitNotExecutable, fmt.Errorf("the command %+q: %w", file, cause(err))}
	case info.IsDir():
		return exit{exitNotExecutable, fmt.Errorf("the command %+q is a directory", file)}
	}
	if err := syscall.Access(file, executeOK); err != nil {
		return exit{exitNotExecutable, fmt.Errorf("the command %+q has mode %v and cannot be executed by uid %d: %w", file, info.Mode(), os.Getuid(), err)}
	}
	return nil
}

// cause leaves out what package os says around an error of the kernel's.
func cause(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

// lacks returns the first reference to a variable that is not among names, "" if
// there is none, and where it stands.
func (a *application) lacks(names []string) (variable, where string) {
	for _, t := range slices.Concat(a.args, a.environ) {
		for _, name := range t.Needs() {
			if !slices.Contains(names, name) {
				return name, t.where
			}
		}
	}
	return "", ""
}

// complete reports whether what is published has all that the application needs.
func (a *application) complete() bool {
	variable, _ := a.lacks(slices.Collect(maps.Keys(a.values)))
	return a.values != nil && variable == ""
}

// expand returns the application's arguments and variables with the published
// values. An inherited variable of the same name gives way; those whose value
// differs are in differ.
func (a *application) expand() (args, environ, differ []string, err error) {
	for _, t := range a.args {
		arg, wrong := t.Expand(a.values)
		args, err = append(args, arg), errors.Join(err, t.wrong(wrong))
	}
	inherited := map[string]bool{}
	for _, t := range a.environ {
		value, wrong := t.Expand(a.values)
		err = errors.Join(err, t.wrong(wrong))
		name, assigns := strings.CutSuffix(t.assign, "=")
		if published, ok := a.values[name]; ok && assigns {
			if inherited[name] = true; value != "" && value != published {
				differ = append(differ, name)
			}
			value = published
		}
		environ = append(environ, t.assign+value)
	}
	for _, name := range slices.Sorted(maps.Keys(a.values)) {
		if !inherited[name] {
			environ = append(environ, name+"="+a.values[name])
		}
	}
	return args, environ, differ, err
}

// wrong is a refusal of what Expand returns; nil for nil.
func (t text) wrong(err error) error {
	if err == nil {
		return nil
	}
	return misconfigured(fmt.Sprintf("%s: %v", t.where, err), "write a smaller number")
}

// recall makes the application, and reports whether this Pod's identity stands in
// the volume with all that it needs. It asks DNS nothing, takes no lock and writes
// nothing, so that it does for an exec probe, and for an application that is
// started again while cluster DNS is down.
func (p *path) recall(args, environ []string) (stands bool, err error) {
	cfg, _, wrong := configure("exec", nil, environ)
	p.cfg, p.log = cfg, newLogger(cfg, p.stderr)
	if !cfg.Kerberos.Principals.IsZero() {
		wrong = errors.Join(wrong, misconfigured("PODFQDN_KRB5_PRINCIPALS is set for exec, which never reads keys in the application's container",
			"set it for podfqdn init or podfqdn sidecar in a container of its own, and mount what that publishes here"))
	}
	if cfg.Install != "" {
		wrong = errors.Join(wrong, misconfigured("PODFQDN_INSTALL is set for exec", "set it for podfqdn init in a container of its own"))
	}
	app, err := newApplication(args, environ)
	if err := errors.Join(wrong, err); err != nil {
		return false, err
	}
	p.app = app
	for _, t := range slices.Concat(app.args, app.environ) {
		for _, slip := range t.Slips() {
			p.log.Warn("a reference stays as it is", zap.String("where", t.where), zap.String("reference", slip.Written), zap.String("did_you_mean", "$("+slip.Meant+")"))
		}
	}
	if err := mounted(os.DirFS(cfg.Root), cfg.Dir, "identity"); err != nil {
		return false, exit{exitVolume, err}
	}
	_, h, err := hold("exec", nil, environ)
	if err != nil || !h.stands() {
		return false, nil // what is wrong is said by who looks next
	}
	app.take(h.files)
	return app.complete() && p.rendered(h.claim), nil
}

// rendered reports whether all that is to be rendered stands for a claim.
func (p *path) rendered(claim identity.Claim) bool {
	all, err := p.cfg.Render.Requirements(claim, p.others())
	for _, r := range all {
		if o := (outlet{Outlet: r.Outlet}); !o.holds() {
			return false
		}
	}
	return err == nil
}

// noOrdinal is why a variable that is made of a label is empty, and what to do.
const noOrdinal = "this Pod does not have the label apps.kubernetes.io/pod-index, which only StatefulSets and Indexed Jobs set; write the number, or leave it out"

// blank reports whether a variable is set and empty.
func (a *application) blank(variable string) bool {
	return slices.ContainsFunc(a.environ, func(t text) bool { return t.assign == variable+"=" && t.String() == "" })
}

// available refuses an application that needs what this Pod's identity does not
// have. Keys for Kerberos come from another container.
func (p *path) available() error {
	variable, where := p.app.lacks(slices.Concat(p.claim.Variables(), kerberos.Variables()))
	if variable == "" {
		return nil
	}
	change := "leave the reference out"
	switch {
	case variable == "POD_ORDINAL" && p.app.blank(variable):
		return misconfigured(where+" refers to POD_ORDINAL, which is set and empty", noOrdinal)
	case variable == "POD_ORDINAL":
		change = "in a StatefulSet or an Indexed Job set POD_ORDINAL from the label apps.kubernetes.io/pod-index; elsewhere leave the reference out"
	}
	return misconfigured(fmt.Sprintf("%s refers to %s, which %s does not have", where, variable, p.claim.Name()), change)
}

// ready reports whether the application may begin without another proof, since
// what it needs stands in the volume, published by whichever container.
func (p *path) ready() (bool, error) {
	switch {
	case p.name.vol == nil && !p.rendered(p.claim):
		return false, misconfigured(fmt.Sprintf("PODFQDN_RENDER is set for exec, and another container publishes in %s", p.cfg.Dir),
			"set PODFQDN_RENDER for the container that runs podfqdn init or podfqdn sidecar, and mount what it renders here too")
	case p.name.vol == nil || p.name.stands.Load():
		return true, nil
	}
	has := p.claim.Variables()
	for _, name := range kerberos.Variables() {
		if value, ok := p.app.values[name]; ok {
			has = append(has, name)
			p.app.kept = append(p.app.kept, name+"='"+value+"'")
		}
	}
	p.app.values = nil
	return false, p.unpublished(has)
}

// unpublished refuses an application that needs a variable that is not among names,
// which are all that is published.
func (p *path) unpublished(names []string) error {
	variable, where := p.app.lacks(names)
	if variable == "" {
		return nil
	}
	return misconfigured(fmt.Sprintf("%s refers to %s, which no container of this Pod publishes in %s", where, variable, p.cfg.Dir),
		"change the container that runs podfqdn init or podfqdn sidecar so that it does")
}

// await takes the name's volume for "exec". Where another process has it, or where
// it is mounted read-only, others publish: then it takes nothing, asks DNS nothing,
// and waits until this Pod's identity stands there. Nor does it need the volume for
// itself once that stands, but to render what nobody else has rendered: for that it
// tries for a moment, since another application gives the volume back as it begins.
func (p *path) await(ctx context.Context, keeps func([]identity.File) error) error {
	const pause, moment = 20 * time.Millisecond, 2 * time.Second
	began, told := time.Now(), hintAfter
	var stood time.Time // since when the identity does
	readOnly := isReadOnly(p.cfg.Dir)
	for {
		why, waits := fmt.Errorf("%s is mounted read-only here, and no other container has published this Pod's identity there", p.cfg.Dir), true
		hint := "have podfqdn init or podfqdn sidecar in a container that mounts the volume to write, or leave readOnly out here"
		if !readOnly {
			now, cancel := context.WithDeadline(ctx, time.Now()) // for one try
			why = p.name.open(now, keeps)
			if cancel(); why == nil {
				return nil
			}
			if waits = errors.As(why, new(*volume.Busy)); waits {
				why = fmt.Errorf("another podfqdn has %s and has not published this Pod's identity there yet", p.cfg.Dir)
				hint = "look at the log of the container that runs it"
			}
		}
		stands, because := p.meets(keeps)
		if stands && stood.IsZero() {
			stood = time.Now()
		}
		lacks := errors.As(because, new(*identity.Refusal))
		switch {
		case stands && (!waits || readOnly || time.Since(stood) >= moment || p.rendered(p.claim)):
			return nil
		case !waits:
			return why
		case lacks && readOnly:
			return because
		case lacks:
			why = because
		case because != nil:
			why = fmt.Errorf("%w: %w", why, because)
		}
		waited := time.Since(began)
		if waited >= told {
			told = following(waited)
			level := zap.InfoLevel
			if waited >= warnAfter {
				level = zap.WarnLevel
			}
			fields := []zap.Field{zap.String("reason", why.Error()), zap.Duration("waited", waited), zap.String("hint", hint)}
			if ends, ok := ctx.Deadline(); ok {
				fields = append(fields, zap.String("gives_up", ends.UTC().Format(time.RFC3339)))
			}
			p.log.Log(level, "not yet", fields...)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return p.inVain(ctx, time.Since(began), why, hint)
		}
	}
}

// meets reports whether this Pod's identity stands in the volume with all that the
// application needs, which it has then. The error is why not, where something is
// there: a *identity.Refusal if it is this Pod's and lacks something.
func (p *path) meets(keeps func([]identity.File) error) (bool, error) {
	files, verified, err := volume.Read(p.cfg.Dir)
	if err != nil || len(files) == 0 {
		return false, err
	}
	if foreign := keeps(files); foreign != nil {
		return false, fmt.Errorf("what stands there is not this Pod's: %w", foreign)
	}
	if !verified {
		return false, nil
	}
	p.app.take(files)
	if p.app.complete() {
		return true, nil
	}
	return false, p.unpublished(slices.Collect(maps.Keys(p.app.values)))
}

// isReadOnly reports whether a directory is mounted so (statfs(2)). Nobody has to
// be kept from its lock to find that out.
func isReadOnly(dir string) bool {
	const readOnly = 1 // ST_RDONLY
	var stat syscall.Statfs_t
	return syscall.Statfs(dir, &stat) == nil && stat.Flags&readOnly != 0
}

// inVain is why await ended without an identity.
func (p *path) inVain(ctx context.Context, waited time.Duration, why error, hint string) error {
	if signal, ok := errors.AsType[exit](context.Cause(ctx)); ok {
		return exit{signal.code, fmt.Errorf("ended by %w after %s: %w", signal, waited.Round(10*time.Millisecond), why)}
	}
	return exit{exitDeadline, fmt.Errorf("gave up after %s: %w: %s", time.Duration(p.cfg.Timeout), why, hint)}
}

// become replaces this process by the application. It returns only if it could
// not, or if a signal was there first, which the application would never meet.
func (p *path) become(ctx context.Context) error {
	args, environ, differ, err := p.app.expand()
	if err != nil {
		return err
	}
	if len(differ) > 0 {
		p.log.Warn("published values replace other ones", zap.Strings("variables", differ))
	}
	if p.app.values["POD_ORDINAL"] == "" && p.app.blank("POD_ORDINAL") {
		p.log.Warn("POD_ORDINAL is set and empty, so that the kubelet has put nothing in place of $(POD_ORDINAL)", zap.String("because", noOrdinal))
	}
	_ = p.log.Sync()
	if signal, ok := errors.AsType[exit](settled(ctx)); ok {
		return exit{signal.code, fmt.Errorf("ended by %w before the application began", signal)}
	}
	err = syscall.Exec(p.app.file, args, environ)
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		err = errors.New("it is not a program for this machine, and has no #! line")
	case errors.Is(err, syscall.E2BIG):
		err = errors.New("its arguments and variables are too large: the kernel takes at most 128 KiB of each, and a quarter of the stack limit of all")
	case errors.Is(err, syscall.ENOENT):
		err = errors.New("it exists, but the interpreter of its #! line, or its dynamic loader, does not")
	}
	return exit{exitNotExecutable, fmt.Errorf("the command %+q cannot be executed: %w", p.app.file, err)}
}

// mounted refuses a directory that is not on a volume, as the mount table of the
// process says, since what a container keeps in its own layer is lost when it is
// started again. Where there is no table nobody knows. name is what to call it.
func mounted(root fs.FS, dir, name string) error {
	table, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return nil
	}
	where := filepath.Clean(dir)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		where = real
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 5 { // proc_pid_mountinfo(5)
			continue
		}
		point := unescape.Replace(fields[4])
		if point != "/" && (where == point || strings.HasPrefix(where, point+"/")) {
			return nil
		}
	}
	return fmt.Errorf("%s is not a volume: add volumes: [{name: %s, emptyDir: {}}] to the Pod, and volumeMounts: [{name: %s, mountPath: %s}] to this container", dir, name, name, dir)
}
