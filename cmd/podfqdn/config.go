package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"go.uber.org/zap/zapcore"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/certificate"
	"github.com/podfqdn/podfqdn/identity/health"
	"github.com/podfqdn/podfqdn/identity/kerberos"
	"github.com/podfqdn/podfqdn/identity/peers"
	"github.com/podfqdn/podfqdn/identity/reference"
	"github.com/podfqdn/podfqdn/identity/render"
)

// config is every variable that podfqdn knows.
type config struct {
	Dir string `env:"PODFQDN_DIR" envDefault:"/identity" doc:"the volume to publish in"`
	identity.Given
	identity.Policy
	Timeout   duration       `env:"PODFQDN_TIMEOUT" envDefault:"15m" doc:"init, exec, wait: how long to wait for DNS and for everything else that is required; 0 means for ever"`
	Interval  duration       `env:"PODFQDN_INTERVAL" envDefault:"60s" doc:"sidecar: the longest pause between two verifications; at least 5s per round"`
	Withdraw  bool           `env:"PODFQDN_WITHDRAW" envDefault:"false" doc:"sidecar: true removes verified and readiness when DNS no longer knows this Pod"`
	Grace     duration       `env:"PODFQDN_GRACE" envDefault:"5m" doc:"sidecar: how long DNS has to say so before they are removed"`
	Listen    health.Address `env:"PODFQDN_LISTEN" envDefault:"off" doc:"sidecar: [ADDRESS]:PORT for /livez, /readyz and /metrics, or off"`
	Kerberos  kerberos.Config
	Peers     peers.Config
	TLS       certificate.Config
	Install   string       `env:"PODFQDN_INSTALL" doc:"init, sidecar: a separate volume to copy this program into, so that other containers can run it from there"`
	Render    render.Pairs `env:"PODFQDN_RENDER" doc:"SRC:DST,…: writes the text files of the directory SRC, such as a ConfigMap, into the volume DST, with references such as $(POD_FQDN) replaced"`
	Root      string       `env:"PODFQDN_ROOT" envDefault:"/" doc:"for tests: the directory that holds etc/, var/ and dev/; PODFQDN_DIR is not relative to it"`
	LogLevel  level        `env:"PODFQDN_LOG_LEVEL" envDefault:"info" doc:"debug, info, warn or error; exec uses warn if this is not set"`
	LogFormat logFormat    `env:"PODFQDN_LOG_FORMAT" envDefault:"auto" doc:"console, json, or auto: console on a terminal, otherwise json"`
}

// minInterval is the least PODFQDN_INTERVAL for each round of a verification.
// If the server refuses probe types, each round uses one up, the first round two, and
// an answer may be cached for two minutes.
const minInterval = 5 * time.Second

// see reads the variables and looks at the Pod, as every command but check does first.
// It reports the mistakes in both together, each a *identity.Refusal. unknown lists the
// variables that begin like podfqdn's and are not.
func see(command string, args, environ []string) (c config, f identity.Facts, unknown []string, err error) {
	c, unknown, err = configure(command, args, environ)
	f, lookErr := identity.Look(os.DirFS(c.Root), c.Given, c.interfaces())
	return c, f, unknown, errors.Join(err, lookErr)
}

// configure reads the variables of a command that takes no argument.
func configure(command string, args, environ []string) (c config, unknown []string, err error) {
	c, unknown, err = readConfig(environ)
	told := func(line string) bool {
		return strings.HasPrefix(line, "PODFQDN_LOG_LEVEL=") && !strings.HasSuffix(line, "=")
	}
	if command == "exec" && !slices.ContainsFunc(environ, told) {
		c.LogLevel.Level = zapcore.WarnLevel // it speaks in the application's log
	}
	if len(args) > 0 {
		refused := misconfigured(fmt.Sprintf("%s takes no argument, got %+q", command, args[0]), "settings are variables, see podfqdn help")
		err = errors.Join(refused, err)
	}
	return c, unknown, err
}

// interfaces returns a function that reads the addresses of the interfaces; nil for
// a Pod in a directory, which has none.
func (c config) interfaces() func() ([]netip.Addr, error) {
	if c.Root != "/" {
		return nil
	}
	return interfaceAddrs
}

// interfaceAddrs returns the addresses of the network interfaces.
func interfaceAddrs() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, a := range all {
		if network, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(network.IP); ok {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs, nil
}

// misconfigured returns a mistake in the variables: what is there, and what is wanted.
func misconfigured(got, want string) error {
	return identity.Refuse(identity.Misconfigured, errors.New(got), want)
}

// readConfig reads the variables, and reports all mistakes at once, each a
// *identity.Refusal.
func readConfig(environ []string) (c config, unknown []string, err error) {
	values := env.ToMap(environ)
	delete(values, "") // which package env uses for every field without a name
	c.Kubernetes = values["KUBERNETES_SERVICE_HOST"]
	known := variables()
	var mistakes []error
	wrong := map[string]bool{} // variables that could not be read
	err = env.ParseWithOptions(&c, env.Options{Environment: values})
	var all env.AggregateError
	if err != nil && !errors.As(err, &all) {
		return c, nil, err
	}
	for _, err := range all.Errors {
		var parse env.ParseError
		if !errors.As(err, &parse) {
			return c, nil, err
		}
		i := slices.IndexFunc(known, func(v variable) bool { return v.field == parse.Name && v.of == parse.Type })
		name := known[i].name
		wrong[name] = true
		mistakes = append(mistakes, misconfigured(fmt.Sprintf("%s=%+q", name, values[name]), meaning(parse.Err).Error()))
	}
	if !c.Kerberos.Source.IsZero() && c.Kerberos.Principals.IsZero() && !wrong["PODFQDN_KRB5_PRINCIPALS"] {
		mistakes = append(mistakes, misconfigured("PODFQDN_KRB5_SOURCE has no effect alone", "set PODFQDN_KRB5_PRINCIPALS too, such as HTTP/{fqdn}"))
	}
	if err := c.checkInstall(); err != nil {
		mistakes = append(mistakes, err)
	}
	rounds := max(c.Rounds, 1)
	if least := minInterval * time.Duration(rounds); !wrong["PODFQDN_CONFIRM"] && !wrong["PODFQDN_INTERVAL"] && time.Duration(c.Interval) < least {
		mistakes = append(mistakes, misconfigured(fmt.Sprintf("PODFQDN_INTERVAL=%s", time.Duration(c.Interval)), fmt.Sprintf("must be at least %s with PODFQDN_CONFIRM=%d", least, rounds-1)))
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !strings.HasPrefix(name, prefix) || injected.MatchString(name) ||
			slices.ContainsFunc(known, func(v variable) bool { return v.name == name }) {
			continue
		}
		if near := nearest(name, known); near != "" {
			mistakes = append(mistakes, misconfigured(name+" is not a variable of podfqdn", "did you mean "+near+"?"))
		} else {
			unknown = append(unknown, name)
		}
	}
	return c, unknown, errors.Join(mistakes...)
}

// meaning puts into words what package strconv says.
func meaning(err error) error {
	if number, ok := errors.AsType[*strconv.NumError](err); ok {
		if number.Func == "ParseBool" {
			return errors.New("must be true or false")
		}
		return errors.New("must be a whole number")
	}
	return err
}

const prefix = "PODFQDN_"

// injected are the variables that Kubernetes sets for a Service whose name is
// podfqdn or begins with "podfqdn-".
var injected = regexp.MustCompile(`^PODFQDN_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// variable is one line of help.
type variable struct {
	name, field, value, doc string
	of                      reflect.Type // the field's
}

// variables lists config's fields, and those of the packages' configs in it.
func variables() []variable { return variablesOf(reflect.TypeFor[config]()) }

func variablesOf(t reflect.Type) (list []variable) {
	for i := range t.NumField() {
		f := t.Field(i)
		if name := f.Tag.Get("env"); name != "" {
			list = append(list, variable{name, f.Name, f.Tag.Get("envDefault"), f.Tag.Get("doc"), f.Type})
		} else if f.Type.Kind() == reflect.Struct {
			list = append(list, variablesOf(f.Type)...)
		}
	}
	return list
}

// nearest returns the known variable that name is probably a slip of: its beginning,
// or two letters changed, added or left out, or PODFQDN_ for POD_; "" if there is none.
func nearest(name string, known []variable) string {
	short := strings.TrimPrefix(name, prefix)
	best, least := "", min(3, len(short)/2+1) // of a short word two letters are too many
	pod := "POD_" + short
	var begins []string
	for _, v := range known {
		if v.name == pod {
			return pod
		}
		if len(short) > 3 && strings.HasPrefix(v.name, name) {
			begins = append(begins, v.name)
		}
		if d := reference.Distance(name, v.name); d < least {
			best, least = v.name, d
		}
	}
	if len(begins) == 1 {
		return begins[0]
	}
	return best
}

// duration is a time.Duration that a person writes with its unit; 0 needs none.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed < 0 {
		return errors.New("must be a time with a unit, such as 90s, 15m or 1h30m, or 0")
	}
	*d = duration(parsed)
	return nil
}

// level is the least that is logged.
type level struct{ zapcore.Level }

func (l *level) UnmarshalText(text []byte) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, string(text)) {
		return errors.New("must be debug, info, warn or error")
	}
	return l.Level.UnmarshalText(text)
}

// logFormat is how log lines look.
type logFormat string

func (f *logFormat) UnmarshalText(text []byte) error {
	*f = logFormat(cmp.Or(string(text), "auto"))
	if !slices.Contains([]logFormat{"auto", "console", "json"}, *f) {
		return errors.New("must be auto, console or json")
	}
	return nil
}
