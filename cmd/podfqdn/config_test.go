package main

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheContractHasEveryVariableOnce(t *testing.T) {
	t.Parallel()
	var want []string
	for _, v := range variables() {
		value := "`" + v.value + "`"
		if v.value == "" {
			value = ""
		}
		row := fmt.Sprintf("| `%s` | %s | %s |", v.name, value, v.doc)
		want = append(want, strings.ReplaceAll(row, "|  |", "| |"))
	}
	var got []string
	for row := range strings.Lines(contract(t)) {
		if regexp.MustCompile("^\\| `POD(FQDN)?_[A-Z0-9_]+` \\|").MatchString(row) {
			got = append(got, strings.ReplaceAll(strings.TrimSpace(row), "|  |", "| |"))
		}
	}
	for _, row := range want {
		if !slices.Contains(got, row) {
			t.Errorf("docs/contract.md lacks\n%s", row)
		}
	}
	for i, row := range got {
		if !slices.Contains(want, row) {
			t.Errorf("docs/contract.md has, and the program does not have,\n%s", row)
		}
		if slices.Contains(got[:i], row) {
			t.Errorf("docs/contract.md has twice\n%s", row)
		}
	}
}

func TestHelpHasEveryExitCode(t *testing.T) {
	t.Parallel()
	want := exitCodes(t, ".")
	var b strings.Builder
	help(&b)
	_, text, _ := strings.Cut(b.String(), "exit codes:")
	text, _, _ = strings.Cut(text, "variables")
	if got := regexp.MustCompile(`\d+`).FindAllString(text, -1); !slices.Equal(got, want) {
		t.Errorf("help has exit codes %q, not %q", got, want)
	}
}

func contract(t *testing.T) string {
	text, err := os.ReadFile("../../docs/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryVariableIsDocumented(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, v := range variables() {
		if v.doc == "" || strings.ContainsAny(v.doc, "|\n") {
			t.Errorf("%s: %q cannot stand in a table", v.name, v.doc)
		}
		if seen[v.name] || !strings.HasPrefix(v.name, "POD_") && !strings.HasPrefix(v.name, prefix) {
			t.Errorf("%s is there twice, or none of podfqdn's", v.name)
		}
		seen[v.name] = true
	}
	var b strings.Builder
	help(&b)
	for name := range maps.Keys(seen) {
		if !regexp.MustCompile(`(?m)^  ` + name + ` `).MatchString(b.String()) {
			t.Errorf("help lacks %s", name)
		}
	}
}

func TestDefaultsAreThoseOfTheDesign(t *testing.T) {
	t.Parallel()
	c, unknown, err := readConfig(nil)
	if err != nil || unknown != nil {
		t.Fatal(unknown, err)
	}
	got := fmt.Sprintln(c.Dir, c.Policy, time.Duration(c.Timeout), c.Root, c.LogLevel, c.LogFormat)
	if want := "/identity {hostname only contains auto 2} 15m0s / info auto\n"; got != want {
		t.Errorf("got %s\nnot %s", got, want)
	}
}

func TestNearMissOfAVariable(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"PODFQDN_TIMOUT":           "PODFQDN_TIMEOUT",
		"PODFQDN_TIEMOUT":          "PODFQDN_TIMEOUT",
		"PODFQDN_TIMEOUTS":         "PODFQDN_TIMEOUT",
		"PODFQDN_timeout":          "",
		"PODFQDN_NAMESERVER":       "PODFQDN_NAMESERVERS",
		"PODFQDN_NAME_FROM":        "PODFQDN_NAME_FORM",
		"PODFQDN_NAMEFORM":         "PODFQDN_NAME_FORM",
		"PODFQDN_CLUSTERDOMAIN":    "PODFQDN_CLUSTER_DOMAIN",
		"PODFQDN_CLUSTER_DOMAINS":  "PODFQDN_CLUSTER_DOMAIN",
		"PODFQDN_SERVICES":         "PODFQDN_SERVICE",
		"PODFQDN_FQND":             "PODFQDN_FQDN",
		"PODFQDN_UID":              "POD_UID", // not PODFQDN_DIR
		"PODFQDN_IP":               "POD_IP",
		"PODFQDN_ORDINAL":          "POD_ORDINAL",
		"PODFQDN_NAMESPACE":        "POD_NAMESPACE",
		"PODFQDN_FAMILY":           "", // three letters
		"PODFQDN_LOG":              "",
		"PODFQDN_PERIOD":           "",
		"PODFQDN_FOO":              "", // not PODFQDN_ROOT
		"PODFQDN_HOST":             "PODFQDN_HOSTNAME",
		"PODFQDN_INTERVALL":        "PODFQDN_INTERVAL",
		"PODFQDN_SOMETHING_ELSE":   "",
		"PODFQDN_":                 "",
		"PODFQDN_HOSTNAME_PREFIX_": "",
	} {
		if got := nearest(name, variables()); got != want {
			t.Errorf("%s: did you mean %q? Rather %q", name, got, want)
		}
	}
}

func TestNoVariableIsANearMissOfAnother(t *testing.T) {
	t.Parallel()
	for _, v := range variables() {
		if _, _, err := readConfig([]string{v.name + "=" + v.value}); err != nil {
			t.Errorf("%s=%s: %v", v.name, v.value, err)
		}
	}
}

func TestVariablesThatKubernetesInjects(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"PODFQDN_SERVICE_HOST":              true,
		"PODFQDN_SERVICE_PORT":              true,
		"PODFQDN_SERVICE_PORT_HTTPS":        true,
		"PODFQDN_SERVICE_PORT_DNS_TCP":      true,
		"PODFQDN_PORT":                      true,
		"PODFQDN_PORT_8080_TCP":             true,
		"PODFQDN_PORT_8080_TCP_PROTO":       true,
		"PODFQDN_PORT_53_UDP_PORT":          true,
		"PODFQDN_PORT_132_SCTP_ADDR":        true,
		"PODFQDN_X_SERVICE_HOST":            true,
		"PODFQDN_X_Y_SERVICE_PORT_METRICS":  true,
		"PODFQDN_X_PORT_80_TCP_ADDR":        true,
		"PODFQDN_SERVICE":                   false,
		"PODFQDN_SERVICES_HOST":             false,
		"PODFQDN_SERVICE_HOSTS":             false,
		"PODFQDN_PORTS":                     false,
		"PODFQDN_PORT_HTTP":                 false,
		"PODFQDN_PORT_80_HTTP":              false,
		"PODFQDN_PORT_80_TCP_SOMETHING":     false,
		"PODFQDN_SERVICE_PORT_":             false,
		"PODFQDN_TIMEOUT":                   false,
		"PODFQDNX_SERVICE_HOST":             false,
		"NOT_PODFQDN_SERVICE_HOST":          false,
		"PODFQDN_SERVICE_HOST\nPODFQDN_DIR": false,
	} {
		if got := injected.MatchString(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute,
		"15m": 15 * time.Minute, "250ms": 250 * time.Millisecond, "1.5s": 1500 * time.Millisecond,
	} {
		var d duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%q: %v, %v", text, time.Duration(d), err)
		}
	}
	for _, text := range []string{"", "90", "-1s", "-0.1ms", "1 m", " 1m", "1m ", "1d", "m", "∞", "1m\n", "forever"} {
		var d duration
		if err := d.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "with a unit") || d != 0 {
			t.Errorf("%q: %v, %v", text, time.Duration(d), err)
		}
	}
}

func TestAllMistakesAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, unknown, err := readConfig([]string{
		"PODFQDN_DIR=/x", "PODFQDN_TIMEOUT=5", "PODFQDN_CONFIRM=99", "PODFQDN_FORWARD=x", "PODFQDN_DIRS=/y", "PODFQDN_UNHEARD_OF=1",
	})
	if err == nil || exitCode(err) != exitRefused {
		t.Fatalf("%v", err)
	}
	if got := strings.Split(err.Error(), "\n"); len(got) != 4 {
		t.Errorf("not four mistakes: %q", got)
	}
	if !slices.Equal(unknown, []string{"PODFQDN_UNHEARD_OF"}) {
		t.Errorf("unknown: %q", unknown)
	}
}

func TestLogLevelsAreThoseOfItsRow(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"debug", "info", "warn", "error"} {
		if _, _, err := readConfig([]string{"PODFQDN_LOG_LEVEL=" + level}); err != nil {
			t.Error(err)
		}
	}
	// At any of these the reason of a failure would not be logged.
	for _, level := range []string{"dpanic", "panic", "fatal"} {
		if _, _, err := readConfig([]string{"PODFQDN_LOG_LEVEL=" + level}); err == nil {
			t.Errorf("%s is taken for a level", level)
		}
	}
}

func TestTheIntervalLeavesKeysFree(t *testing.T) {
	t.Parallel()
	for environ, want := range map[string]string{
		"PODFQDN_INTERVAL=10s":                    "",
		"PODFQDN_INTERVAL=9s":                     "PODFQDN_INTERVAL=9s: must be at least 10s with PODFQDN_CONFIRM=1",
		"PODFQDN_INTERVAL=0":                      "PODFQDN_INTERVAL=0s: must be at least 10s with PODFQDN_CONFIRM=1",
		"PODFQDN_INTERVAL=5s,PODFQDN_CONFIRM=0":   "",
		"PODFQDN_INTERVAL=60s,PODFQDN_CONFIRM=10": "",
		"PODFQDN_INTERVAL=x":                      `PODFQDN_INTERVAL="x": must be a time with a unit, such as 90s, 15m or 1h30m, or 0`,
		"PODFQDN_WITHDRAW=yes":                    `PODFQDN_WITHDRAW="yes": must be true or false`,
	} {
		got := ""
		if _, _, err := readConfig(strings.Split(environ, ",")); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, not %q", environ, got, want)
		}
	}
}
