//go:build faults

package faults

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// pluginToken is the token that an exec plugin of a kubeconfig prints.
const pluginToken = "eyJhbGciOiJub25lIn0.canary-of-a-plugin"

// laptop is one case of testdata/api.txtar: a run of kubectl podfqdn before an API server that answers from the objects
// of the same archive. Its lines:
//
//	run ARGS…                   the command line; doctor db-0; it knows ${WITH_PASSWORD}, the server's URL
//	plain                       without --request-timeout
//	long                        only with -long
//	config "TEXT"               the whole kubeconfig; none stands for no such file
//	user JSON, cluster JSON     parts of it; both know ${SERVER}, ${CA}, ${OTHER_CA}, ${TOKEN}, ${DIR}, ${CERT}, ${KEY}
//	file NAME "TEXT"            what can be run as ${DIR}/NAME
//	server WORD                 what is wrong with the server as a whole, see begin
//	break PATH WHICH: OP; OP…   what happens to answers to paths that end in PATH, or to any, see op; WHICH is "always", N or N-M
//	interrupt                   by the user, when something breaks
//	ends CODE [WORDS…]          the exit code, and what is said
//	says WORDS…                 that is said too
//	never WORDS…                that is not
//	within TIME                 how long it may take, all requests together; the 2s of its --request-timeout
//	whole                       what comes is an answer all the same, and what it says is so
type laptop struct {
	*api
	args             []string
	config           string
	user, cluster    string
	wrong            []string
	code             int
	says, never      []string
	within           time.Duration
	interrupt, whole bool
	plain            bool
	dir              string
}

func (l *laptop) line(line string) (err error) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "run":
		l.args = strings.Fields(rest)
	case "plain":
		l.plain = true
	case "long": // it is looked for before
	case "config":
		var text []byte
		text, err = quotedText(rest)
		l.config = string(text)
	case "user":
		l.user = rest
	case "cluster":
		l.cluster = rest
	case "file":
		name, text, _ := strings.Cut(rest, " ")
		b, err := quotedText(text)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(l.dir, name), []byte(l.expand(string(b), "")), 0o755)
	case "server":
		l.wrong = append(l.wrong, rest)
	case "break":
		var f fault
		f, err = parseBreak(rest)
		l.faults = append(l.faults, f)
	case "interrupt":
		l.interrupt = true
	case "ends":
		code, words, _ := strings.Cut(rest, " ")
		l.says = append(l.says, words)
		l.code, err = strconv.Atoi(code)
	case "says":
		l.says = append(l.says, rest)
	case "never":
		l.never = append(l.never, rest)
	case "within":
		l.within, err = time.ParseDuration(rest)
	case "whole":
		l.whole = true
	default:
		err = fmt.Errorf("%q", line)
	}
	return err
}

func parseBreak(rest string) (f fault, err error) {
	head, ops, _ := strings.Cut(rest, ": ")
	fields := strings.Fields(head)
	if len(fields) != 2 || ops == "" {
		return f, fmt.Errorf("%q", rest)
	}
	f = fault{kind: fields[0], last: 1 << 30}
	if fields[1] != "always" {
		from, to, both := strings.Cut(fields[1], "-")
		if f.first, err = strconv.Atoi(from); err != nil {
			return f, err
		}
		if f.last = f.first; both {
			if f.last, err = strconv.Atoi(to); err != nil {
				return f, err
			}
		}
	}
	for op := range strings.SplitSeq(ops, "; ") {
		f.ops = append(f.ops, strings.TrimSpace(op))
	}
	return f, nil
}

// expand puts what is different each time into a kubeconfig.
func (l *laptop) expand(text, url string) string {
	encode := base64.StdEncoding.EncodeToString
	return strings.NewReplacer("${SERVER}", url, "${WITH_PASSWORD}", strings.Replace(url, "://", "://me:"+secretPassword+"@", 1), "${DIR}", l.dir, "${TOKEN}", token, "${PLUGIN_TOKEN}", pluginToken,
		"${CA}", encode(l.pki.ca), "${OTHER_CA}", encode(l.pki.other), "${CERT}", encode(l.pki.oldCert), "${KEY}", encode(l.pki.oldKey)).Replace(text)
}

const (
	goodUser    = `{"token": "${TOKEN}"}`
	goodCluster = `{"server": "${SERVER}", "certificate-authority-data": "${CA}"}`
)

// kubeconfig returns one in JSON, which is YAML.
func kubeconfig(user, cluster string) string {
	return `{"apiVersion": "v1", "kind": "Config", "current-context": "test", "preferences": {},
"contexts": [{"name": "test", "context": {"cluster": "test", "user": "somebody", "namespace": "default"}}],
"users": [{"name": "somebody", "user": ` + user + `}],
"clusters": [{"name": "test", "cluster": ` + cluster + `}]}`
}

// answer is how a run of kubectl podfqdn ended.
type answer struct {
	code           int
	took           time.Duration
	stdout, stderr string
}

// run runs kubectl podfqdn with a kubeconfig, and checks what must be true whatever is wrong.
func (l *laptop) run(config, url string) answer {
	l.Helper()
	path := filepath.Join(l.dir, "kubeconfig")
	if config == "none" {
		path = filepath.Join(l.dir, "nowhere")
	} else if err := os.WriteFile(path, []byte(l.expand(config, url)), 0o600); err != nil {
		l.Fatal(err)
	}
	// What hangs is a failure, and not the end of all tests.
	ctx, cancel := context.WithTimeout(l.Context(), l.within+time.Minute)
	defer cancel()
	var args []string
	for _, arg := range l.args {
		args = append(args, l.expand(arg, url))
	}
	if !l.plain {
		args = append(args, "--request-timeout=2s")
	}
	cmd := exec.CommandContext(ctx, kubectlPodfqdn, args...)
	cmd.Env = []string{"KUBECONFIG=" + path, "HOME=" + l.dir, "PATH=" + os.Getenv("PATH")}
	cmd.Env = append(cmd.Env, counted...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, time.Second
	start := time.Now()
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	if l.interrupt && !l.healed {
		go func() {
			select {
			case <-l.breaks:
				_ = cmd.Process.Signal(os.Interrupt)
			case <-ctx.Done():
			}
		}()
	}
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		l.Error(err)
	}
	a := answer{code: cmd.ProcessState.ExitCode(), took: time.Since(start), stdout: stdout.String(), stderr: stderr.String()}
	l.invariants(a)
	return a
}

var (
	// unescaped is what no output for programs may hold either: terminals act on it.
	unescaped = regexp.MustCompile(`[\x00-\x09\x0b-\x1f\x7f\x{80}-\x{9f}\x{202a}-\x{202e}\x{2066}-\x{2069}]`)
	// causes are the titles of causes.
	causes = regexp.MustCompile(`(?m)^  \d+\. .*$`)
	// blind is said of what could not be seen.
	blind = regexp.MustCompile(`(?m)^what could not be seen$|^the view from the wire\n  none: |"(lacks|trouble|noWire)": |^(lacks|trouble|noWire):`)
)

func (l *laptop) invariants(a answer) {
	l.Helper()
	out := a.stdout + a.stderr
	switch a.code {
	case 0, 11:
		if a.stderr != "" || a.stdout == "" {
			l.Errorf("exit code %d, and stderr says: %q", a.code, a.stderr)
		}
	case 1, 10, 130:
		if a.stdout != "" || !strings.HasPrefix(a.stderr, "kubectl podfqdn: ") || strings.Count(a.stderr, "\n") != 1 {
			l.Errorf("exit code %d, and not one sentence: %q%q", a.code, a.stdout, a.stderr)
		}
	default:
		l.Errorf("exit code %d is not a documented one: %s", a.code, out)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	half := false
	for _, broken := range l.last {
		half = half || broken
	}
	// What the broken answer was to tell is not known.
	if half && !l.whole && (a.code == 0 || a.code == 11) {
		if !blind.MatchString(a.stdout) {
			l.Errorf("told from half an answer, and nobody says what was not seen:\n%s", a.stdout)
		}
		for _, cause := range causes.FindAllString(a.stdout, -1) {
			if !strings.Contains(cause, ". perhaps ") {
				l.Errorf("a cause from half an answer, which is not marked as a guess:\n%s", a.stdout)
			}
		}
	}
	if a.took > l.within+time.Second {
		l.Errorf("I4: it took %s with a patience of %s", a.took, l.within)
	}
	if strings.Contains(out, "goroutine ") {
		l.Errorf("it panicked")
	}
	structured := slices.Contains(l.args, "json") || slices.Contains(l.args, "yaml")
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if !structured && !plain.MatchString(line) || unescaped.MatchString(line) {
			l.Errorf("I5: %q", line)
		}
	}
	for _, secret := range []string{token, pluginToken, string(l.pki.oldKey), secretPassword} {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
			if part := leaked(out, form); part != "" {
				l.Errorf("I5: %q of a secret is in the output: %s", part, out)
			}
		}
	}
	for _, authorization := range l.stray {
		l.Errorf("I5: another server was asked with the Authorization %q", authorization)
	}
	if slices.Contains(l.args, "json") && (a.code == 0 || a.code == 11) && !json.Valid([]byte(a.stdout)) {
		l.Errorf("no JSON: %q", a.stdout)
	}
}

// secretPassword is in a case's URL.
const secretPassword = "canary-of-a-password"

// leaked returns a part of a secret that is in a text; all secrets begin and end with a known text.
func leaked(text, secret string) string {
	const enough = 16
	secret = strings.NewReplacer("-----BEGIN EC PRIVATE KEY-----", "", "-----END EC PRIVATE KEY-----", "", "\n", "").Replace(secret)
	for i := range len(secret) - enough + 1 {
		if strings.Contains(text, secret[i:i+enough]) {
			return secret[i : i+enough]
		}
	}
	return ""
}

// readAPI returns the objects of testdata/api.txtar by their paths, and the cases.
func readAPI(t testing.TB) (world map[string][]byte, cases []txtar.File) {
	archive, err := txtar.ParseFile("testdata/api.txtar")
	if err != nil {
		t.Fatal(err)
	}
	world = map[string][]byte{}
	for _, file := range archive.Files {
		if !strings.HasPrefix(file.Name, "/") {
			cases = append(cases, file)
			continue
		}
		if !json.Valid(file.Data) {
			t.Fatalf("%s is not JSON", file.Name)
		}
		world[file.Name] = file.Data
	}
	return world, cases
}

func newLaptop(t testing.TB, world map[string][]byte, pki *pki) *laptop {
	return &laptop{
		api:  &api{TB: t, world: world, pki: pki, count: map[int]int{}, last: map[string]bool{}, breaks: make(chan struct{})},
		args: []string{"doctor", "db-0"}, user: goodUser, cluster: goodCluster, within: 2 * time.Second, dir: t.TempDir(),
	}
}

func TestAPI(t *testing.T) {
	world, cases := readAPI(t)
	pki, err := newPKI()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range cases {
		if !*long && slices.Contains(strings.Split(string(file.Data), "\n"), "long") {
			continue
		}
		t.Run(file.Name, func(t *testing.T) {
			t.Parallel()
			l := newLaptop(t, world, pki)
			for line := range strings.Lines(string(file.Data)) {
				if line = strings.TrimSuffix(line, "\n"); line != "" {
					if err := l.line(line); err != nil {
						t.Fatal(err)
					}
				}
			}
			ran.add("API")
			config := l.config
			if config == "" {
				config = kubeconfig(l.user, l.cluster)
			}
			a := l.run(config, l.begin(l.wrong...))
			if a.code != l.code {
				t.Errorf("ended with %d, not with %d", a.code, l.code)
			}
			for _, words := range l.says {
				if !strings.Contains(a.stdout+a.stderr, words) {
					t.Errorf("%q is not said", words)
				}
			}
			for _, words := range l.never {
				if strings.Contains(a.stdout+a.stderr, words) {
					t.Errorf("%q is said", words)
				}
			}
			if t.Failed() {
				t.Logf("exit code %d after %s\n%s%s", a.code, a.took, a.stdout, a.stderr)
			}
			if len(l.faults) > 0 {
				select {
				case <-l.breaks:
				default:
					t.Error("nothing broke")
				}
			}

			// And when nothing is wrong any more (I6).
			l.mu.Lock()
			l.healed = true
			clear(l.last)
			l.stray = nil
			l.mu.Unlock()
			l.args, l.plain, l.within = []string{"doctor", "db-0"}, true, 10*time.Second
			if a := l.run(kubeconfig(goodUser, goodCluster), l.begin()); a.code != 0 || !strings.HasPrefix(a.stdout, "healthy: Pod db-0 ") {
				t.Errorf("I6: exit code %d\n%s%s", a.code, a.stdout, a.stderr)
			}
		})
	}
}

// A check that cannot fail is none.
func TestWhatMustBeTrueOfThePluginIsSeenToBreak(t *testing.T) {
	t.Parallel()
	pki, err := newPKI()
	if err != nil {
		t.Fatal(err)
	}
	half := func(l *laptop, stdout string) answer {
		l.last["/api"] = true
		return answer{stdout: stdout}
	}
	for name, c := range map[string]struct {
		happens func(*laptop) answer
		want    string // "" if nothing is wrong
	}{
		"nothing":                        {func(*laptop) answer { return answer{stdout: "healthy: x\n"} }, ""},
		"one sentence":                   {func(*laptop) answer { return answer{code: 10, stderr: "kubectl podfqdn: no\n"} }, ""},
		"half an answer, and it is said": {func(l *laptop) answer { return half(l, "healthy: x\n\nwhat could not be seen\n  x\n") }, ""},
		"the same in JSON":               {func(l *laptop) answer { return half(l, `{"lacks": []}`) }, ""},
		"half an answer, and a guess":    {func(l *laptop) answer { return half(l, "what could not be seen\n  1. perhaps x\n") }, ""},
		"an answer that is whole":        {func(l *laptop) answer { l.whole = true; return half(l, "healthy: x\n") }, ""},
		"half an answer":                 {func(l *laptop) answer { return half(l, "healthy: x\n") }, "told from half an answer"},
		"half an answer, and a cause":    {func(l *laptop) answer { return half(l, "what could not be seen\n  1. x\n") }, "a cause from half an answer"},
		"the same in the second place":   {func(l *laptop) answer { return half(l, "what could not be seen\n  1. perhaps x\n  2. x\n") }, "a cause from half an answer"},
		"another exit code":              {func(*laptop) answer { return answer{code: 2, stderr: "kubectl podfqdn: x\n"} }, "exit code 2"},
		"killed":                         {func(*laptop) answer { return answer{code: -1} }, "exit code -1"},
		"a panic":                        {func(*laptop) answer { return answer{code: 1, stderr: "kubectl podfqdn: goroutine 1\n"} }, "it panicked"},
		"two lines":                      {func(*laptop) answer { return answer{code: 1, stderr: "E1122 x\nkubectl podfqdn: x\n"} }, "not one sentence"},
		"nobody's line":                  {func(*laptop) answer { return answer{code: 10, stderr: "x\n"} }, "not one sentence"},
		"a report and a failure":         {func(*laptop) answer { return answer{code: 1, stdout: "x\n", stderr: "kubectl podfqdn: x\n"} }, "not one sentence"},
		"a line next to the report":      {func(*laptop) answer { return answer{stdout: "x\n", stderr: "W1122 x\n"} }, "and stderr says"},
		"nothing said":                   {func(*laptop) answer { return answer{} }, "and stderr says"},
		"too late":                       {func(*laptop) answer { return answer{stdout: "x\n", took: 4 * time.Second} }, "I4: "},
		"an escape":                      {func(*laptop) answer { return answer{stdout: "\x1b[31m\n"} }, "I5: "},
		"another alphabet":               {func(*laptop) answer { return answer{stdout: "\u00e9\n"} }, "I5: "},
		"an escape on stderr":            {func(*laptop) answer { return answer{code: 1, stderr: "kubectl podfqdn: \x07\n"} }, "I5: "},
		"an escape in JSON":              {func(l *laptop) answer { l.args = []string{"json"}; return answer{stdout: "\"\u009b\"\n"} }, "I5: "},
		"a mark of direction in JSON":    {func(l *laptop) answer { l.args = []string{"json"}; return answer{stdout: "\"\u202e\"\n"} }, "I5: "},
		"no JSON":                        {func(l *laptop) answer { l.args = []string{"json"}; return answer{stdout: "x\n"} }, "no JSON"},
		"the token":                      {func(*laptop) answer { return answer{stdout: token + "\n"} }, "I5: "},
		"half the token":                 {func(*laptop) answer { return answer{stdout: token[:20] + "\n"} }, "I5: "},
		"the token in base64":            {func(*laptop) answer { return answer{stdout: base64.StdEncoding.EncodeToString([]byte(token)) + "\n"} }, "I5: "},
		"an exec plugin's token":         {func(*laptop) answer { return answer{stdout: pluginToken + "\n"} }, "I5: "},
		"the key": {func(l *laptop) answer {
			return answer{stdout: strings.ReplaceAll(string(l.pki.oldKey), "\n", "") + "\n"}
		}, "I5: "},
		"the key as a kubeconfig has it": {func(l *laptop) answer { return answer{stdout: base64.StdEncoding.EncodeToString(l.pki.oldKey) + "\n"} }, "I5: "},
		"a password":                     {func(*laptop) answer { return answer{stdout: secretPassword + "\n"} }, "I5: "},
		"the token for somebody else":    {func(l *laptop) answer { l.stray = []string{"Bearer " + token}; return answer{stdout: "x\n"} }, "another server was asked"},
		"a request for somebody else":    {func(l *laptop) answer { l.stray = []string{""}; return answer{stdout: "x\n"} }, "another server was asked"},
		"interrupted, and a report too":  {func(*laptop) answer { return answer{code: 130, stdout: "x\n"} }, "not one sentence"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLaptop(t, nil, pki)
			r := &recorder{TB: t}
			l.TB = r
			l.invariants(c.happens(l))
			told := strings.Join(r.told, "\n")
			if (told == "") != (c.want == "") || !strings.Contains(told, c.want) {
				t.Errorf("told %q, not %q", told, c.want)
			}
		})
	}
}
