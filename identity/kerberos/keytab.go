package kerberos

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// A keytab of format 0x0502 is those two bytes and records, each preceded by its
// length as a signed 32-bit number: a negative one is that of a hole,
// 0 ends the file. All numbers are big-endian. A record is
//
//	components (16 bits), realm, component..., name type (32 bits),
//	time (32), key version (8), encryption type (16), key
//
// where realm, components and key are preceded by their length (16 bits); and
// then, since krb5 1.14, the key version with 32 bits, unless they are 0. There
// may be more bytes, from an earlier record in the same place.
//
// MIT krb5, doc/formats/keytab_file_format.rst and, where that is silent,
// src/lib/krb5/keytab/kt_file.c, krb5_ktfileint_internal_read_entry: which
// takes a file that is cut off for one that ends; here it is an error.
const (
	formatByte = 5
	format1    = 1 // in the byte order of the machine that wrote it, with 8-bit key versions
	format2    = 2
)

// Entry is one key of a keytab. It prints without the key.
type Entry struct {
	Principal Principal
	Version   uint32 // of the key; 0 fits every ticket, in libkrb5
	Enctype   Enctype
	Time      uint32 // when it was written, in seconds since 1970

	key    secret
	record secret // as it stands in the file, trailing bytes too; nil if the key is not wanted
}

// String names the key; a principal that is not printable as it stands is quoted.
func (e Entry) String() string {
	principal := e.Principal.String()
	if !printable(principal) {
		principal = strconv.QuoteToASCII(principal)
	}
	return fmt.Sprintf("%s, version %d, %s", principal, e.Version, e.Enctype)
}

// clone returns the entry with bytes of its own.
func (e Entry) clone() Entry {
	record, key := e.record.bytes(), e.key.bytes()
	own := make([]byte, len(record)+len(key))
	copy(own[copy(own, record):], key)
	e.record, e.key = newSecret(own[:len(record)]), newSecret(own[len(record):])
	return e
}

// forget clears the entry's bytes.
func (e Entry) forget() {
	clear(e.record.bytes())
	clear(e.key.bytes())
}

// errNoKeytab says that a file does not begin like a keytab, and errBase64 that it is
// one in base64.
var (
	errNoKeytab = errors.New("is not a keytab: a keytab begins with the bytes 0x05 0x02")
	errBase64   = errors.New("is a keytab in base64: put the decoded bytes there (kubectl create secret --from-file encodes a file by itself; a template has to decode what it copies)")
)

// base64Begins is how the base64 of a keytab of format 0x0502 begins: the bytes
// 0x05, 0x02 and the first one of a length below 2^30.
const base64Begins = "BQI"

// maxFirst is how many bytes of a file show what it is.
const maxFirst = 16

// looksBase64 reports whether a file that begins so is a keytab in base64; a template
// may leave blanks or quotes in front of it.
func looksBase64(first []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(first, " \t\r\n\"'"), []byte(base64Begins))
}

// malformed is why a file cannot be read to its end as a keytab. It says
// where and what, and shows nothing that was read there: where a file is damaged, a
// length or a name may be bytes of a key.
type malformed struct {
	at   int // bytes from the beginning of the file
	what string
}

func (m malformed) Error() string { return fmt.Sprintf("is damaged at byte %d: %s", m.at, m.what) }

// ParseKeytab reads a keytab of format 0x0502 to its end, without holes. The
// entries share memory with data. After an error there are none, and the
// error, behind the name of a file, is a sentence.
func ParseKeytab(data []byte) ([]Entry, error) {
	switch {
	case len(data) == 0:
		return nil, errors.New("is empty")
	case looksBase64(data[:min(len(data), maxFirst)]):
		return nil, errBase64
	case data[0] != formatByte:
		return nil, errNoKeytab
	case len(data) == 1:
		return nil, malformed{1, "the file ends within its format"}
	case data[1] == format1:
		return nil, errors.New("is a keytab of format 0x0501, which depends on the machine that wrote it: read it there with ktutil (rkt) and write it again (wkt)")
	case data[1] != format2:
		return nil, errNoKeytab
	}
	var entries []Entry
	for at := 2; at < len(data); {
		if len(data)-at < 4 {
			return nil, malformed{at, "the file ends within a length"}
		}
		length := int64(int32(binary.BigEndian.Uint32(data[at:])))
		if length == 0 {
			break
		}
		at += 4
		if max(length, -length) > int64(len(data)-at) {
			return nil, malformed{at - 4, "the file ends within an entry or a hole"}
		}
		if length < 0 {
			at += int(-length)
			continue
		}
		end := at + int(length)
		r := reader{file: data[:end], at: at}
		entry := r.entry()
		if r.err != nil {
			return nil, r.err
		}
		entries = append(entries, entry)
		at = end
	}
	return entries, nil
}

// reader reads one record. After its first error it returns only zeros.
type reader struct {
	file []byte // to the end of the record
	at   int
	err  error
}

func (r *reader) entry() Entry {
	start := r.at
	count := r.number(2, "the count of its components")
	if count == 0 || count > maxPart {
		r.fail("the count of its components is out of range")
	}
	realm := r.part("its realm")
	var components [][]byte
	for range count {
		if r.err != nil {
			return Entry{}
		}
		components = append(components, r.part("a component"))
	}
	r.number(4, "its name type")
	e := Entry{
		Time:    r.number(4, "its time"),
		Version: r.number(1, "its key version"),
		Enctype: Enctype(r.number(2, "its encryption type")),
		key:     newSecret(r.part("its key")),
		record:  newSecret(r.file[start:len(r.file):len(r.file)]),
	}
	if r.err != nil {
		return Entry{}
	}
	if len(r.file)-r.at >= 4 {
		if version := r.number(4, ""); version != 0 {
			e.Version = version
		}
	}
	e.Principal = newPrincipal(components, realm)
	return e
}

// part reads bytes that are preceded by their length. libkrb5 reads none that are
// empty, or longer than a signed length allows.
func (r *reader) part(what string) []byte {
	length := int(r.number(2, "the length of "+what))
	if r.err == nil && (length == 0 || length > maxPart) {
		r.fail("the length of " + what + " is out of range")
	}
	return r.take(length, what)
}

// number reads a number of the given size in bytes.
func (r *reader) number(bytes int, what string) (n uint32) {
	for _, b := range r.take(bytes, what) {
		n = n<<8 | uint32(b)
	}
	return n
}

func (r *reader) take(n int, what string) []byte {
	if r.err == nil && n > len(r.file)-r.at {
		r.fail("an entry ends within " + what)
	}
	if r.err != nil {
		return nil
	}
	r.at += n
	return r.file[r.at-n : r.at : r.at]
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = malformed{r.at, what}
	}
}

// writeKeytab returns a keytab of the entries, each as it stood in its file. It
// is made in one piece, so that no copy of a key is left behind.
func writeKeytab(entries []Entry) []byte {
	size := 2
	for _, e := range entries {
		size += 4 + len(e.record.bytes())
	}
	data := append(make([]byte, 0, size), formatByte, format2)
	for _, e := range entries {
		data = binary.BigEndian.AppendUint32(data, uint32(len(e.record.bytes())))
		data = append(data, e.record.bytes()...)
	}
	return data
}
