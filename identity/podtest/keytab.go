package podtest

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
)

// Entry is an entry of a keytab, in format 2 (MIT krb5, doc/formats/keytab_file_format).
// Package kerberos writes keytabs too; its reader is held to this writer.
type Entry struct {
	Realm      string
	Components []string
	NameType   uint32
	Time       uint32 // since 1970, in seconds
	Version8   byte   // the key version, cut to a byte
	Enctype    uint16
	Key        []byte
	Tail       []byte // what follows the key, such as the whole key version
}

// Record returns the entry as the file has it, with its length before it.
func (e Entry) Record() []byte {
	var b []byte
	put := func(s []byte) { b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Components)))
	put([]byte(e.Realm))
	for _, c := range e.Components {
		put([]byte(c))
	}
	b = binary.BigEndian.AppendUint32(b, e.NameType)
	b = binary.BigEndian.AppendUint32(b, e.Time)
	b = append(b, e.Version8)
	b = binary.BigEndian.AppendUint16(b, e.Enctype)
	put(e.Key)
	b = append(b, e.Tail...)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// KeytabOf writes entries one after the other.
func KeytabOf(entries ...Entry) []byte {
	file := []byte{5, 2}
	for _, e := range entries {
		file = append(file, e.Record()...)
	}
	return file
}

// Keytab writes entries such as "HTTP/db-0@EXAMPLE.COM:3:18": a principal, its
// key version (1 where none is given) and its encryption type (18, AES of 256
// bits).
func Keytab(entries ...string) []byte {
	var all []Entry
	for _, entry := range entries {
		all = append(all, ParseEntry(entry))
	}
	return KeytabOf(all...)
}

// ParseEntry reads an entry as Keytab has it.
func ParseEntry(text string) Entry {
	principal, numbers, _ := strings.Cut(text, ":")
	name, realm, _ := strings.Cut(principal, "@")
	var version uint32 = 1
	e := Entry{Realm: realm, Components: strings.Split(name, "/"), NameType: 1, Time: 1_700_000_000, Enctype: 18, Key: Key(text)}
	for i, number := range strings.Split(numbers, ":") {
		fmt.Sscan(number, []any{&version, &e.Enctype}[i])
	}
	e.Version8, e.Tail = byte(version), binary.BigEndian.AppendUint32(nil, version)
	return e
}

// Key returns the key that Keytab writes for an entry: 32 bytes, printable, so
// that it looks the same however it is quoted.
func Key(entry string) []byte {
	sum := sha256.Sum256([]byte(entry))
	return []byte(base32.StdEncoding.EncodeToString(sum[:]))[:32]
}
