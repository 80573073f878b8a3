package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestPrintable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                              "",
		"plain, with 'quotes' and \"\"": "plain, with 'quotes' and \"\"",
		"one\ntwo":                      "one; two",
		"\x1b[31mred\x1b[0m":            `\x1b[31mred\x1b[0m`,
		"\x00\a\b\t\v\f\r\x7f":          `\x00\a\b\t\v\f\r\x7f`,
		"é \u202e \u009b \U0001F600":    `\u00e9 \u202e \u009b \U0001f600`,
		"\xff\xfe":                      `\xff\xfe`,
		"\u2028":                        `\u2028`,
	} {
		if got := printable(text); got != want {
			t.Errorf("%+q: %s, not %s", text, got, want)
		}
	}
	for _, foreign := range []string{"é", "\x1b", `"`, `\`, "\n", `\n`, `\"`, "a\"\x1b\\"} {
		quoted := fmt.Sprintf("%+q is no name", foreign)
		if got := printable(quoted); got != quoted {
			t.Errorf("what was quoted as %s is shown as %s", quoted, got)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[31m\"é\\\n\xff")
	f.Fuzz(func(t *testing.T, text string) {
		got := printable(text)
		if strings.ContainsFunc(got, unprintable) {
			t.Errorf("%+q", got)
		}
		if again := printable(got); again != got {
			t.Errorf("%s becomes %s", got, again)
		}
	})
}

func TestEachEventIsOneLineWithThreeFieldsOfItsOwn(t *testing.T) {
	t.Parallel()
	cfg, _, _ := readConfig(nil)
	var b bytes.Buffer
	log := newLogger(cfg, &b)
	log.Debug("not shown")
	log.Error("shown", zap.String("reason", "a\nb"))
	if bytes.Count(b.Bytes(), []byte("\n")) != 1 {
		t.Fatalf("%s", b.Bytes())
	}
	var fields map[string]any
	if err := json.Unmarshal(b.Bytes(), &fields); err != nil {
		t.Fatal(err)
	}
	if len(fields) != 4 || fields["level"] != "error" || fields["msg"] != "shown" || fields["reason"] != "a\nb" || fields["ts"] == nil {
		t.Errorf("%v", fields)
	}
}
