package kerberos

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/podfqdn/podfqdn/identity"
)

// Enctype is an encryption type by its number (IANA, Kerberos Encryption Type
// Numbers; krb5.h, ENCTYPE_*).
type Enctype int16

// enctype is what is known of an encryption type: its name as klist shows it, other
// names of libkrb5 for it, the bytes of a key (0: not known), and why it is
// not allowed ("": it may be).
type enctype struct {
	number Enctype
	names  []string
	bytes  int
	weak   string
}

const (
	weakDES  = "DES can be broken within a day (RFC 6649)"
	weak3DES = "triple DES is deprecated (RFC 8429)"
	weakRC4  = "RC4 is deprecated (RFC 8429)"
)

var enctypes = []enctype{
	{17, []string{"aes128-cts-hmac-sha1-96", "aes128-cts", "aes128-sha1"}, 16, ""},
	{18, []string{"aes256-cts-hmac-sha1-96", "aes256-cts", "aes256-sha1"}, 32, ""},
	{19, []string{"aes128-cts-hmac-sha256-128", "aes128-sha2"}, 16, ""},
	{20, []string{"aes256-cts-hmac-sha384-192", "aes256-sha2"}, 32, ""},
	{25, []string{"camellia128-cts-cmac", "camellia128-cts"}, 16, ""},
	{26, []string{"camellia256-cts-cmac", "camellia256-cts"}, 32, ""},
	{23, []string{"arcfour-hmac", "rc4-hmac", "arcfour-hmac-md5", "rc4"}, 16, weakRC4},
	{24, []string{"arcfour-hmac-exp", "rc4-hmac-exp", "arcfour-hmac-md5-exp"}, 16, weakRC4},
	{16, []string{"des3-cbc-sha1", "des3-hmac-sha1", "des3-cbc-sha1-kd", "des3"}, 24, weak3DES},
	{5, []string{"des3-cbc-sha"}, 24, weak3DES},
	{6, []string{"des3-cbc-raw"}, 24, weak3DES},
	{1, []string{"des-cbc-crc", "des"}, 8, weakDES},
	{2, []string{"des-cbc-md4"}, 8, weakDES},
	{3, []string{"des-cbc-md5"}, 8, weakDES},
	{4, []string{"des-cbc-raw"}, 8, weakDES},
	{8, []string{"des-hmac-sha1"}, 8, weakDES},
}

// find returns what is known of it; ok is false for an unknown number.
func (e Enctype) find() (enctype, bool) {
	i := slices.IndexFunc(enctypes, func(known enctype) bool { return known.number == e })
	if i < 0 {
		return enctype{}, false
	}
	return enctypes[i], true
}

// String returns the name as klist shows it, or the number.
func (e Enctype) String() string {
	if known, ok := e.find(); ok {
		return known.names[0]
	}
	return fmt.Sprintf("etype %d", int16(e))
}

// Enctypes are the encryption types whose keys a Pod gets. The zero value
// is AES of 128 and of 256 bits, with SHA-1 (RFC 3962) or SHA-2 (RFC 8009).
type Enctypes struct{ list []Enctype }

var aes = []Enctype{17, 18, 19, 20}

// UnmarshalText reads names of libkrb5 with commas between them, such as
// "aes256-cts,aes128-cts". RC4, DES and triple DES are refused.
func (e *Enctypes) UnmarshalText(text []byte) error {
	*e = Enctypes{}
	if len(text) == 0 {
		return nil
	}
	var list []Enctype
	for name := range strings.SplitSeq(string(text), ",") {
		name = strings.Trim(name, " ")
		i := slices.IndexFunc(enctypes, func(known enctype) bool { return slices.Contains(known.names, strings.ToLower(name)) })
		switch {
		case name == "":
			return errors.New("an encryption type in the list is empty: remove a comma")
		case i < 0:
			return fmt.Errorf("%+q is not a known encryption type: use aes256-cts, aes128-cts, aes256-sha2 or aes128-sha2", name)
		case enctypes[i].weak != "":
			return fmt.Errorf("%s is refused because %s: use AES", name, enctypes[i].weak)
		}
		list = append(list, enctypes[i].number)
	}
	e.list = list
	return nil
}

// String lists them.
func (e Enctypes) String() string {
	list := e.list
	if len(list) == 0 {
		list = aes
	}
	return identity.Enumerate(list)
}

// allow reports whether keys of this type may be published.
func (e Enctypes) allow(number Enctype) bool {
	if len(e.list) == 0 {
		return slices.Contains(aes, number)
	}
	return slices.Contains(e.list, number)
}
