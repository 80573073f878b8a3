package kerberos_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/podfqdn/podfqdn/identity/kerberos"
)

func TestTemplatesThatNoPodCanHaveAreRefusedAtOnce(t *testing.T) {
	for text, want := range map[string]string{
		"HTTP/{fqn}":                 `"HTTP/{fqn}" has an unknown word, {fqn}: the words are {fqdn}, {hostname}, {HOSTNAME}, {service}, {namespace} and {ordinal}`,
		"HTTP/{}":                    `"HTTP/{}" has an unknown word, {}: the words are {fqdn}, {hostname}, {HOSTNAME}, {service}, {namespace} and {ordinal}`,
		"HTTP/{fqdn":                 `"HTTP/{fqdn" has a { without }: the words are {fqdn}, {hostname}, {HOSTNAME}, {service}, {namespace} and {ordinal}`,
		"HTTP/fqdn}":                 `"HTTP/fqdn}" has a } without {: the words are {fqdn}, {hostname}, {HOSTNAME}, {service}, {namespace} and {ordinal}`,
		"HTTP/{\"\x1b}":              `"HTTP/{\"\x1b}" is not a principal: only printable ASCII is allowed (RFC 4120, 5.2.1)`,
		"HTTP/{fqdn},":               `a principal in the list is empty: remove a comma, or write the principal`,
		",HTTP/{fqdn}":               `a principal in the list is empty: remove a comma, or write the principal`,
		" ":                          `a principal in the list is empty: remove a comma, or write the principal`,
		"HTTP/{fqdn} hdfs/{fqdn}":    `"HTTP/{fqdn} hdfs/{fqdn}" has a space in it: put a comma between two principals`,
		"HTTP/":                      `"HTTP/" is not a principal such as SERVICE/HOST@REALM: it has an empty component`,
		"HTTP/{fqdn}@":               `"HTTP/db-0.db.default.svc.cluster.local@" is not a principal such as SERVICE/HOST@REALM: its realm is empty: leave the @ out for the default realm`,
		`HTTP/{fqdn}\`:               `"HTTP/db-0.db.default.svc.cluster.local\\" is not a principal such as SERVICE/HOST@REALM: it ends with a backslash`,
		"HTTP/{fqdn}@EXAMPLE COM":    `"HTTP/{fqdn}@EXAMPLE COM" has a space in it: put a comma between two principals`,
		"HTTP/{fqdn}@EXAMPLE=COM":    `HTTP/db-0.db.default.svc.cluster.local@EXAMPLE=COM: the realm "EXAMPLE=COM" has "=" in it: letters, digits, dots, hyphens and underscores are allowed`,
		`HTTP/{fqdn}@A\nB`:           `HTTP/db-0.db.default.svc.cluster.local@A\nB: the realm "A\\nB" has "\\" in it: letters, digits, dots, hyphens and underscores are allowed`,
		"HTTP/caf\u00e9@R":           `"HTTP/caf\u00e9@R" is not a principal: only printable ASCII is allowed (RFC 4120, 5.2.1)`,
		"HTTP/{fqdn}\n[libdefaults]": `"HTTP/{fqdn}\n[libdefaults]" is not a principal: only printable ASCII is allowed (RFC 4120, 5.2.1)`,
	} {
		var templates kerberos.Templates
		err := templates.UnmarshalText([]byte(text))
		if err == nil || err.Error() != want || !templates.IsZero() {
			t.Errorf("%q:\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestTemplatesBecomeThePrincipalsOfThePod(t *testing.T) {
	config := kerberos.Config{Realm: "EXAMPLE.COM", Dir: "/krb5"}
	texts := `HTTP/{fqdn}, hdfs/{fqdn}@OTHER.EXAMPLE ,kafka/boot.example.org,{service}/{hostname}.{namespace},a\,b,a\ b/\{x\},HTTP/{fqdn},{hostname}-{hostname}/x,{HOSTNAME}$,broker{ordinal}`
	if err := config.Principals.UnmarshalText([]byte(texts)); err != nil {
		t.Fatal(err)
	}
	if err := config.Source.UnmarshalText([]byte("/keytabs/{namespace}/{hostname}.keytab")); err != nil {
		t.Fatal(err)
	}
	keys, err := config.Keys(claimOf(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"HTTP/db-0.db.default.svc.cluster.local@EXAMPLE.COM",
		"hdfs/db-0.db.default.svc.cluster.local@OTHER.EXAMPLE",
		"kafka/boot.example.org@EXAMPLE.COM",
		"db/db-0.default@EXAMPLE.COM",
		"a,b@EXAMPLE.COM",
		"a b/{x}@EXAMPLE.COM",
		"db-0-db-0/x@EXAMPLE.COM",
		"DB-0$@EXAMPLE.COM",
		"broker0@EXAMPLE.COM",
	}
	var got []string
	for _, p := range keys.Principals() {
		got = append(got, p.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What the variables say is right by itself, and not for this Pod.
func TestAConfigThatDoesNotFitThePodIsRefused(t *testing.T) {
	for _, test := range []struct {
		principals, realm, source, fqdn, dir, mount string
		inPlace                                     bool
		want                                        string
	}{
		{source: "/k", want: "there are no principals: set PODFQDN_KRB5_PRINCIPALS, such as HTTP/{fqdn}"},
		{principals: "a/b@R", want: "there is no source of keys for a/b@R: set PODFQDN_KRB5_SOURCE to a keytab or a directory of keytabs"},
		{principals: "HTTP/{fqdn}", source: "/k",
			want: "the principal HTTP/db-0.db.default.svc.cluster.local has no realm: set PODFQDN_KRB5_REALM, or write the realm after an @"},
		{principals: "{service}/{fqdn}", realm: "R", source: "/k", fqdn: "kdc1.example.org",
			want: `{service} in "{service}/{fqdn}" has no value, because kdc1.example.org is not a name of the form HOSTNAME.SERVICE.NAMESPACE.svc.CLUSTERDOMAIN: write it out, or use {fqdn} or {hostname}`},
		{principals: "a/b@R", source: "/k/{namespace}", fqdn: "kdc1.example.org",
			want: `{namespace} in "/k/{namespace}" has no value, because kdc1.example.org is not a name of the form HOSTNAME.SERVICE.NAMESPACE.svc.CLUSTERDOMAIN: write it out, or use {fqdn} or {hostname}`},
		{principals: "broker{ordinal}@R", source: "/k", fqdn: "kdc1.example.org",
			want: `{ordinal} in "broker{ordinal}@R" has no value, because the hostname "kdc1" does not end with an ordinal, as db-0 does: set POD_ORDINAL from metadata.labels['apps.kubernetes.io/pod-index'], or write it out`},
		{principals: "a/b@R", source: "/k/{ordinal}", fqdn: "kdc1.example.org",
			want: `{ordinal} in "/k/{ordinal}" has no value, because the hostname "kdc1" does not end with an ordinal, as db-0 does: set POD_ORDINAL from metadata.labels['apps.kubernetes.io/pod-index'], or write it out`},
		{principals: "a/b@R", source: "/k", dir: "krb5",
			want: `"krb5" is not an absolute path of letters, digits, dots, hyphens and underscores only: change PODFQDN_KRB5_DIR, or set PODFQDN_KRB5_MOUNT`},
		{principals: "a/b@R", source: "/k", mount: "/krb5'\nX='",
			want: `"/krb5'\nX='" is not an absolute path of letters, digits, dots, hyphens and underscores only: change PODFQDN_KRB5_DIR, or set PODFQDN_KRB5_MOUNT`},
		{principals: "a/b@R", source: "/k:l", inPlace: true,
			want: `"/k:l" is not an absolute path of letters, digits, dots, hyphens and underscores only: change PODFQDN_KRB5_SOURCE`},
	} {
		config := kerberos.Config{Realm: kerberos.Realm(test.realm), Dir: "/krb5", Mount: test.mount, InPlace: kerberos.InPlace(test.inPlace)}
		if test.dir != "" {
			config.Dir = test.dir
		}
		if err := config.Principals.UnmarshalText([]byte(test.principals)); err != nil {
			t.Fatal(err)
		}
		if err := config.Source.UnmarshalText([]byte(test.source)); err != nil {
			t.Fatal(err)
		}
		_, err := config.Keys(claimOf(t, test.fqdn))
		checkRefusal(t, err, test.want)
	}
}

func TestSettingsThatAreNoneAreRefused(t *testing.T) {
	var (
		realm    kerberos.Realm
		source   kerberos.Source
		kdcs     kerberos.KDCs
		enctypes kerberos.Enctypes
		mode     kerberos.Mode
	)
	type setting interface{ UnmarshalText([]byte) error }
	const noKDC = " is not a KDC: write NAME, NAME:PORT, ADDRESS, ADDRESS:PORT or [IPv6]:PORT"
	const noMode = "must be an octal mode with which the owner may read and nobody else may write, such as 0440 or 0600"
	for _, test := range []struct {
		into       setting
		text, want string
	}{
		{&realm, "EXAMPLE.COM", ""},
		{&realm, "", ""},
		{&realm, "a_b-c.1", ""},
		{&realm, "EXAMPLE.COM}", `the realm "EXAMPLE.COM}" has "}" in it: letters, digits, dots, hyphens and underscores are allowed`},
		{&realm, "A\n[realms]", `the realm "A\n[realms]" has "\n" in it: letters, digits, dots, hyphens and underscores are allowed`},
		{&realm, "R\u00c9", `the realm "R\u00c9" has "\u00c9" in it: letters, digits, dots, hyphens and underscores are allowed`},
		{&source, "", ""},
		{&source, "/keytabs/{hostname}", ""},
		{&source, "keytabs", "must be an absolute path"},
		{&source, "/a\x00b", "must be an absolute path"},
		{&source, "/{pod}", `"/{pod}" has an unknown word, {pod}: the words are {fqdn}, {hostname}, {HOSTNAME}, {service}, {namespace} and {ordinal}`},
		{&kdcs, "", ""},
		{&kdcs, "kdc1.example.com, 10.1.2.3:88,[fd00::1]:750,fd00::2,[fd00::3],KDC2.example.com.:88,10.1.2.4", ""},
		{&kdcs, "kdc1,", `""` + noKDC},
		{&kdcs, "kdc1:0", `"kdc1:0"` + noKDC},
		{&kdcs, "kdc1:", `"kdc1:"` + noKDC},
		{&kdcs, "kdc1:65536", `"kdc1:65536"` + noKDC},
		{&kdcs, "kdc1\n}", `"kdc1\n}"` + noKDC},
		{&kdcs, "kdc 1", `"kdc 1"` + noKDC},
		{&kdcs, "[10.1.2.3]:88", `"[10.1.2.3]:88"` + noKDC},
		{&kdcs, "[kdc1]:88", `"[kdc1]:88"` + noKDC},
		{&kdcs, "fe80::1%eth0", `"fe80::1%eth0"` + noKDC},
		{&kdcs, "[fd00::1", `"[fd00::1"` + noKDC},
		{&kdcs, "tcp/kdc1", `"tcp/kdc1"` + noKDC},
		{&enctypes, "", ""},
		{&enctypes, "aes256-cts, AES128-SHA2,camellia256-cts-cmac", ""},
		{&enctypes, "aes256-cts,", "an encryption type in the list is empty: remove a comma"},
		{&enctypes, "aes256\n", `"aes256\n" is not a known encryption type: use aes256-cts, aes128-cts, aes256-sha2 or aes128-sha2`},
		{&enctypes, "aes256-cts,rc4-hmac", "rc4-hmac is refused because RC4 is deprecated (RFC 8429): use AES"},
		{&enctypes, "arcfour-hmac-exp", "arcfour-hmac-exp is refused because RC4 is deprecated (RFC 8429): use AES"},
		{&enctypes, "des3-cbc-sha1", "des3-cbc-sha1 is refused because triple DES is deprecated (RFC 8429): use AES"},
		{&enctypes, "des-cbc-crc", "des-cbc-crc is refused because DES can be broken within a day (RFC 6649): use AES"},
		{&mode, "0440", ""},
		{&mode, "600", ""},
		{&mode, "0444", ""},
		{&mode, "0640", ""},
		{&mode, "0240", noMode},
		{&mode, "0460", noMode},
		{&mode, "0540", noMode},
		{&mode, "4440", noMode},
		{&mode, "r--", noMode},
		{&mode, "", noMode},
	} {
		message := ""
		if err := test.into.UnmarshalText([]byte(test.text)); err != nil {
			message = err.Error()
		}
		if message != test.want {
			t.Errorf("%T %q:\ngot  %s\nwant %s", test.into, test.text, message, test.want)
		}
	}
}
