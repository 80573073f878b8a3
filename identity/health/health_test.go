package health

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// serving returns a Health and the address that it answers on.
func serving(t *testing.T) (*Health, string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	p := New(func() bool { return false }, "v1", "abc")
	end, err := p.Serve(Address(address), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	return p, address
}

// dialled is a connection to them on which this was sent.
func dialled(t *testing.T, address, request string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// Who asks for much and reads nothing must not hold up the walk, nor the
// kubelet's probe.
func TestAReaderThatDoesNotReadBlocksNobody(t *testing.T) {
	t.Parallel()
	p, address := serving(t)
	// As long as an answer gets in time.
	p.first, p.last = time.Hour, time.Now()
	for _, v := range identity.Verdicts() {
		p.turns[v] = 1e9
	}
	for _, kind := range []string{"A", "AAAA", "PTR", "existence"} {
		for _, code := range []string{"none", "NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED", "NOTIMP", "FORMERR", "other"} {
			p.questions[question{kind, code}] = 1e9
		}
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	// Until the reader takes no more: then an answer cannot be written.
	_ = conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
	many := strings.Repeat("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 1000)
	for {
		if _, err := io.WriteString(conn, many); err != nil {
			break
		}
	}
	start := time.Now()
	p.Turn(identity.Turn{Err: nil})
	r, err := http.Get("http://" + address + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	// It would be held up for the five seconds that an answer may take to be written.
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("a turn and a probe took %s", took)
	}
}

// A body that is promised and never sent must not hold a connection for ever.
func TestABodyThatNeverComesEndsTheConnection(t *testing.T) {
	t.Parallel()
	_, address := serving(t)
	for _, method := range []string{"GET", "POST"} {
		conn := dialled(t, address, fmt.Sprintf("%s /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", method))
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		in := bufio.NewReader(conn)
		if _, err := io.Copy(io.Discard, in); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// A thousand idle connections are more than the memory of a sidecar.
func TestAConnectionEndsWithItsAnswer(t *testing.T) {
	t.Parallel()
	_, address := serving(t)
	conn := dialled(t, address, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = conn.SetReadDeadline(time.Now().Add(4 * time.Second))
	if answer, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(answer), "ok\n") {
		t.Errorf("got %q, %v", answer, err)
	}
}

// Nobody can make a metric grow by what DNS says.
func TestNothingFromDNSBecomesALabel(t *testing.T) {
	p := New(func() bool { return false }, "v1", "abc")
	for i := range 1000 {
		answer := identity.Answer{Question: identity.Question{Kind: identity.Kind(i % 4)}, Is: identity.Failed,
			Shown: shown.Answer{Rcode: fmt.Sprintf("RCODE%d\n\x1b", i), Wire: fmt.Sprint(i)}}
		p.Turn(identity.Turn{Report: identity.Report{{Findings: []identity.Finding{{Answer: answer, Others: fmt.Sprint(i)}}}}})
	}
	text := string(p.text())
	p.Turn(identity.Turn{Report: identity.Report{{Findings: []identity.Finding{{Answer: identity.Answer{Is: identity.Failed}}}}}})
	if text := string(p.text()); !strings.Contains(text, `{type="existence",rcode="none"} 1`) {
		t.Errorf("a question without an answer:\n%s", text)
	}
	if n := strings.Count(text, "podfqdn_dns_questions_total{"); n != 4 || !strings.Contains(text, `{type="A",rcode="other"} 250`) {
		t.Errorf("%d lines of questions:\n%s", n, text)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	for text, open := range map[string]bool{
		"off": false, ":8053": true, "0.0.0.0:8053": true, "[::]:8053": true,
		"127.0.0.1:8053": false, "[::1]:8053": false, "10.244.1.7:1": false,
	} {
		var l Address
		if err := l.UnmarshalText([]byte(text)); err != nil || l.open() != open || (l == "") != (text == "off") {
			t.Errorf("%q: %q, open to everybody: %t, %v", text, l, l.open(), err)
		}
	}
	for _, text := range []string{"", "on", "8053", ":", ":0", ":65536", ":-1", ":http", "localhost:8053", "127.0.0.1", "::1:8053", "[127.0.0.1:8053", " :8053", ":8053\n"} {
		var l Address
		if err := l.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "such as :8053") || l != "" {
			t.Errorf("%q: %q, %v", text, l, err)
		}
	}
}

// A Pod that waits for its keys has the agreement of DNS, which metrics keep apart.
func TestDNSAgreesWhereOnlyARequirementIsMissing(t *testing.T) {
	t.Parallel()
	h := New(func() bool { return false }, "v1", "abc")
	h.Tell("keys", nil)
	shows := func(want string, is bool) {
		t.Helper()
		if got := strings.Contains(string(h.text()), want); got != is {
			t.Errorf("%q: %t, not %t, in\n%s", want, got, is, h.text())
		}
	}
	h.Turn(identity.Turn{Err: identity.NotYet(identity.Missing, io.EOF, 0), Report: make(identity.Report, 1)})
	shows("podfqdn_first_agreement_seconds", false)
	shows(`podfqdn_requirement_missing{kind="keys"} 0`, true)
	h.Turn(identity.Turn{Err: identity.NotYet(identity.Keyless, io.EOF, 0)}) // DNS was not asked again
	shows("podfqdn_first_agreement_seconds", false)
	h.Missing("keys", true)
	h.Turn(identity.Turn{Err: identity.NotYet(identity.Keyless, io.EOF, 0), Report: make(identity.Report, 1)})
	shows("podfqdn_first_agreement_seconds", true)
	shows("podfqdn_last_agreement_timestamp_seconds", true)
	shows(`podfqdn_requirement_missing{kind="keys"} 1`, true)
}
