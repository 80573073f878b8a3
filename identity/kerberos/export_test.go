package kerberos

import "context"

// Redacted is what printers show of a secret.
const Redacted = redacted

// NewSecret gives a secret as an Entry has it.
func NewSecret(b []byte) any { return newSecret(b) }

// Key gives a copy of the entry's key, nil where it has none.
func (e Entry) Key() []byte { return append([]byte(nil), e.key.bytes()...) }

// Record gives a copy of the entry as it stands in its file.
func (e Entry) Record() []byte { return append([]byte(nil), e.record.bytes()...) }

// WriteKeytab gives a keytab of entries.
var WriteKeytab = writeKeytab

// ClearKeys clears the keys of entries where they stand.
func ClearKeys(entries []Entry) {
	for _, e := range entries {
		clear(e.key.bytes())
	}
}

// Allow reports whether keys of this type may be published.
func (e Enctypes) Allow(number Enctype) bool { return e.allow(number) }

// Forget clears the bytes of entries.
var Forget = forget

// Conf gives the krb5.conf.
func (k *Keys) Conf() string {
	return conf{k.claim.Name(), k.claim.Zone(), string(k.config.Realm), k.config.KDCs}.String()
}

// Hang has the source hang until end is called.
func (k *Keys) Hang() (end func()) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	ended := make(chan struct{})
	_, _ = k.reading.Read(gone, k.source.path, func() reading {
		<-ended
		entries, skipped, err := k.source.read(context.Background(), k.principals)
		return reading{entries, skipped, err}
	})
	return func() { close(ended) }
}

// MaxBytes and MaxFiles are what is read of a source.
const (
	MaxBytes = maxBytes
	MaxFiles = maxFiles
	Tries    = tries
)

// Reader reads the sources of a path.
type Reader struct{ keytabs }

// NewReader gives one.
func NewReader(path string) *Reader { return &Reader{keytabs{path: path}} }

// Read reads the source.
func (r *Reader) Read(ctx context.Context, want ...Principal) ([]Entry, []string, error) {
	return r.read(ctx, want)
}

// Changed reports whether it is another than when it was read.
func (r *Reader) Changed() bool {
	now, _ := r.stat()
	return !now.Equal(r.seen)
}

// Look sees the source as it is now; ReadLooked reads what was seen then.
func (r *Reader) Look() (func(context.Context, ...Principal) ([]Entry, []string, error), error) {
	l, err := r.stat()
	return func(ctx context.Context, want ...Principal) ([]Entry, []string, error) {
		entries, skipped, _, err := readAll(ctx, l, want)
		return entries, skipped, err
	}, err
}
