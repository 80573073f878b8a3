package kerberos

import (
	"fmt"
	"io"
)

// redacted is what every printer shows of a secret.
const redacted = "[redacted]"

// secret is bytes that hold a key. It is a func, as no printer can look into
// one: where package fmt meets it in an unexported field, and does not ask its
// methods, it shows an address; so do those that go by reflection.
type secret func() []byte

func newSecret(b []byte) secret { return func() []byte { return b } }

// bytes returns the bytes themselves, for copying and clearing only.
func (s secret) bytes() []byte {
	if s == nil {
		return nil
	}
	return s()
}

// Format answers every verb of package fmt.
func (secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String is for callers that do not go through fmt.
func (secret) String() string { return redacted }

// MarshalText answers encoding/json, encoding/xml, log/slog and zap.
func (secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// GobEncode answers encoding/gob.
func (secret) GobEncode() ([]byte, error) { return []byte(redacted), nil }
