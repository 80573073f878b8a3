package kerberos_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/kerberos"
	"github.com/podfqdn/podfqdn/identity/podtest"
)

// spellings are the ways in which bytes come out of a printer.
func spellings(key []byte) []string {
	var decimal, hexadecimal []string
	for _, b := range key {
		decimal = append(decimal, fmt.Sprint(b))
		hexadecimal = append(hexadecimal, fmt.Sprintf("%#x", b))
	}
	quoted := fmt.Sprintf("%q", key)
	return []string{
		string(key), hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)), fmt.Sprintf("% x", key),
		base64.RawStdEncoding.EncodeToString(key[:len(key)/3*3]), base64.RawURLEncoding.EncodeToString(key[:len(key)/3*3]),
		strings.Join(decimal, " "), strings.Join(decimal, ","), strings.Join(hexadecimal, ", "), quoted[1 : len(quoted)-1],
	}
}

// pieces gives all spellings of each six bytes of a key.
func pieces(key []byte) (all []string) {
	for at := 0; at+6 <= len(key); at += 3 {
		all = append(all, spellings(key[at:at+6])...)
	}
	return all
}

// checkSilent wants no piece of a key in a text.
func checkSilent(t testing.TB, what, text string, key []byte) {
	t.Helper()
	checkPieces(t, what, text, pieces(key))
}

func checkPieces(t testing.TB, what, text string, pieces []string) {
	t.Helper()
	for _, s := range pieces {
		if strings.Contains(text, s) {
			t.Fatalf("%s shows a key: %q is in %q", what, s, text)
		}
	}
}

// printed gives what everything that prints makes of a value.
func printed(t *testing.T, v any) map[string]string {
	all := map[string]string{}
	for verb := 'A'; verb <= 'z'; verb++ {
		for _, flag := range []string{"", "+", "#", " ", "-", "0", "40.3", "+#"} {
			format := "%" + flag + string(verb)
			all[format] = fmt.Sprintf(format, v)
		}
	}
	all["Sprint"], all["Sprintln"] = fmt.Sprint(v), fmt.Sprintln(v)
	if text, err := json.Marshal(v); err == nil {
		all["json"] = string(text)
	}
	if text, err := xml.Marshal(v); err == nil {
		all["xml"] = string(text)
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(v); err == nil {
		all["gob"] = b.String()
	}
	for name, handler := range map[string]slog.Handler{"slog text": slog.NewTextHandler(&b, nil), "slog json": slog.NewJSONHandler(&b, nil)} {
		b.Reset()
		slog.New(handler).Info("x", "v", v, slog.Group("g", "v", v))
		all[name] = b.String()
	}
	for name, encoder := range map[string]zapcore.Encoder{
		"zap json":    zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()),
		"zap console": zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
	} {
		b.Reset()
		log := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&b), zapcore.DebugLevel))
		log.Info("x", zap.Any("a", v), zap.Reflect("r", v), zap.Any("p", &v))
		log.Sugar().Infow("x", "v", v)
		log.Sugar().Infof("%v %+v %#v", v, v, v)
		all[name] = b.String()
	}
	return all
}

func TestASecretPrintsAsRedacted(t *testing.T) {
	key := keyOf("a key that nobody may see", 1, 32)
	secret := kerberos.NewSecret(key)
	for what, text := range printed(t, secret) {
		checkSilent(t, what, text, key)
		// These verbs show a type or an address, %w is Errorf's, and the rest are none.
		if !strings.Contains(text, kerberos.Redacted) && !strings.ContainsAny(what[len(what)-1:], "Tpw[\\]^_`") {
			t.Errorf("%s: %q", what, text)
		}
	}
	if text, err := json.Marshal(map[string]any{"key": secret, "keys": []any{secret}}); string(text) != `{"key":"[redacted]","keys":["[redacted]"]}` {
		t.Errorf("%s, %v", text, err)
	}
}

// Where a printer meets a secret in an unexported field it does not ask its
// methods.
func TestNothingThatHoldsAKeyPrintsIt(t *testing.T) {
	made := aes256(db0, 3, func(m *podtest.Entry) {
		for i := range m.Key {
			m.Key[i] ^= 0x80 // a key is not text; encoding/xml would show a File that is
		}
	})
	entries := parsed(t, podtest.KeytabOf(made))
	type outer struct {
		Entry  kerberos.Entry
		inner  kerberos.Entry
		list   []kerberos.Entry
		secret any
	}
	key := pieces(made.Key)
	file := identity.File{Name: "keytab", Data: kerberos.WriteKeytab(entries), Mode: 0o440}
	for _, v := range []any{
		entries[0], &entries[0], entries, map[string]kerberos.Entry{"a": entries[0]},
		outer{entries[0], entries[0], entries, kerberos.NewSecret(entries[0].Key())},
	} {
		for what, text := range printed(t, v) {
			checkPieces(t, fmt.Sprintf("%s of %T", what, v), text, key)
		}
	}
	for _, v := range []any{file, &file, []identity.File{file}, map[string]any{"file": file}} {
		for what, text := range printed(t, v) {
			if what != "gob" && !strings.ContainsAny(what[len(what)-1:], "pw") {
				checkPieces(t, fmt.Sprintf("%s of %T", what, v), text, key)
			} // gob writes a file rather than shows it; %p, and %w where it does not belong, ask no method
		}
	}
	if got := fmt.Sprintf("%v, %x", file, []identity.File{file}); got != `"keytab" -r--r----- of 111 bytes, ["keytab" -r--r----- of 111 bytes]` {
		t.Error(got)
	}
}

func TestKerberosImportsTheStandardLibraryAndIdentityWithoutNet(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Standard}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		path, standard, _ := strings.Cut(strings.TrimSpace(line), " ")
		ours := slices.Contains([]string{"identity", "identity/source", "identity/kerberos"}, strings.TrimPrefix(path, "github.com/podfqdn/podfqdn/"))
		if standard != "true" && !ours || path == "net" || strings.HasPrefix(path, "net/") && path != "net/netip" {
			t.Errorf("it imports %s", path)
		}
	}
}
