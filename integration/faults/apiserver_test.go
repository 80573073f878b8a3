//go:build faults

package faults

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/net/http2"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// pki has the certificates of the API server and of its client.
type pki struct {
	ca, other                         []byte // certificates of authorities, in PEM
	good, outdated, misnamed, foreign tls.Certificate
	pool                              *x509.CertPool
	oldCert, oldKey                   []byte // of a user whose time is over, in PEM
}

func newPKI() (p *pki, err error) {
	p = &pki{pool: x509.NewCertPool()}
	type pair struct {
		cert *x509.Certificate
		key  *ecdsa.PrivateKey
	}
	sign := func(name string, by *pair, ips []net.IP, until time.Time) (*pair, tls.Certificate) {
		key, keyErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: ips,
			NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, IsCA: by == nil, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		if by == nil {
			by = &pair{template, key}
		}
		der, signErr := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
		cert, parseErr := x509.ParseCertificate(der)
		err = errors.Join(err, keyErr, signErr, parseErr)
		return &pair{cert, key}, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-24*time.Hour)
	here := []net.IP{net.IPv4(127, 0, 0, 1)}
	ca, _ := sign("ca", nil, nil, tomorrow)
	other, _ := sign("another ca", nil, nil, tomorrow)
	_, p.good = sign("api", ca, here, tomorrow)
	_, p.outdated = sign("api", ca, here, yesterday)
	_, p.misnamed = sign("api", ca, []net.IP{net.IPv4(192, 0, 2, 1)}, tomorrow)
	_, p.foreign = sign("api", other, here, tomorrow)
	old, _ := sign("somebody", ca, nil, yesterday)
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalECPrivateKey(old.key)
	if err != nil {
		return nil, err
	}
	encode := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	p.ca, p.other = encode("CERTIFICATE", ca.cert.Raw), encode("CERTIFICATE", other.cert.Raw)
	p.oldCert, p.oldKey = encode("CERTIFICATE", old.cert.Raw), encode("EC PRIVATE KEY", key)
	p.pool.AddCert(ca.cert)
	return p, nil
}

// api is the API server of a small cluster in which all is well, with one thing broken.
type api struct {
	testing.TB
	world  map[string][]byte // what it answers, by path
	pki    *pki
	faults []fault

	mu     sync.Mutex
	count  map[int]int
	pages  int
	healed bool
	last   map[string]bool // whether the last answer to a path was a broken one
	stray  []string        // the Authorization headers that reached another server
	breaks chan struct{}   // closed at the first broken answer
	broken sync.Once
}

// begin starts the API server, with what is wrong with it as a whole:
//
//	h2         it speaks HTTP/2
//	http       and no TLS
//	foreign    its certificate is another authority's
//	outdated   or has ended
//	misnamed   or is for another address
//	verify     it refuses a user's certificate at the handshake
//	mute       it takes connections, and says nothing
//	gone       nobody listens
//	hangs up   it ends each connection at once
//	goaway     it says GOAWAY to each request, by HTTP/2
//	noise      it speaks another protocol
func (s *api) begin(wrong ...string) (url string) {
	s.Helper()
	is := func(word string) bool { return slices.Contains(wrong, word) }
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	url = "https://" + listener.Addr().String()
	silence := log.New(io.Discard, "", 0)
	connections := func(serve func(net.Conn)) {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go serve(conn)
			}
		}()
		s.Cleanup(func() { listener.Close(); <-ended })
	}
	config := &tls.Config{Certificates: []tls.Certificate{s.pki.good}, ClientAuth: tls.RequestClientCert}
	for word, certificate := range map[string]tls.Certificate{"foreign": s.pki.foreign, "outdated": s.pki.outdated, "misnamed": s.pki.misnamed} {
		if is(word) {
			config.Certificates = []tls.Certificate{certificate}
		}
	}
	if is("verify") {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, s.pki.pool
	}
	switch {
	case is("gone"):
		listener.Close()
	case is("mute"):
		connections(func(conn net.Conn) {
			s.hurt("")
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		})
	case is("hangs up"):
		connections(func(conn net.Conn) { s.hurt(""); conn.Close() })
	case is("noise"):
		connections(func(conn net.Conn) {
			s.hurt("")
			_, _ = conn.Write([]byte("SSH-2.0-OpenSSH_9.2\x1b[31m\r\n"))
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		})
	case is("goaway"):
		config.NextProtos = []string{"h2"}
		listener = tls.NewListener(listener, config)
		connections(func(conn net.Conn) { defer conn.Close(); s.hurt(""); goAway(conn) })
	default:
		server := httptest.NewUnstartedServer(s)
		server.Listener.Close()
		server.Listener, server.TLS, server.EnableHTTP2, server.Config.ErrorLog = listener, config, is("h2"), silence
		if is("http") {
			server.Start()
		} else {
			server.StartTLS()
		}
		s.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	}
	return url
}

// goAway takes a connection of HTTP/2, and ends it at the first request, which it has not looked at.
func goAway(conn net.Conn) {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(conn, preface); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	if framer.WriteSettings() != nil {
		return
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		if _, ok := frame.(*http2.HeadersFrame); ok {
			_ = framer.WriteGoAway(0, http2.ErrCodeNo, []byte("\x1b[31m"))
			return
		}
	}
}

// hurt takes note of a broken answer to a path.
func (s *api) hurt(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[path] = true
	s.broken.Do(func() { close(s.breaks) })
}

// ops returns what to do to the answer to a path.
func (s *api) ops(path string) (ops []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.kind != "any" && !strings.HasSuffix(path, "/"+f.kind) {
			continue
		}
		n := s.count[i]
		s.count[i]++
		if n >= f.first && n <= f.last && !s.healed {
			ops = append(ops, f.ops...)
		}
	}
	if s.last[path] = len(ops) > 0; len(ops) > 0 {
		s.broken.Do(func() { close(s.breaks) })
	}
	return ops
}

// reply is what is to be answered.
type reply struct {
	code    int
	header  http.Header
	body    []byte
	after   func() // comes behind the body
	drips   bool
	endless bool
	length  int // said of the body
	// Of an exec:
	stdout, stderr []byte
	end            []byte // on the error stream; none if nil
	silent         bool   // and then nothing
	torn           bool   // and then the connection ends
	ways           string // "websocket" and "spdy": what is spoken
}

// status is an answer of an API server's that is not an object.
func status(code int, reason, message string) []byte {
	b, _ := json.Marshal(map[string]any{
		"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure",
		"message": message, "reason": reason, "code": code,
	})
	return b
}

var good = []byte(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}`)

func exited(code string) []byte {
	return []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"` + code + `"}]}}`)
}

// quotedText returns the text of "TEXT", "TEXT"*N or the same after a word.
func quotedText(s string) ([]byte, error) {
	n := 1
	if i := strings.LastIndex(s, `"*`); i > 0 {
		var err error
		if n, err = strconv.Atoi(s[i+2:]); err != nil {
			return nil, err
		}
		s = s[:i+1]
	}
	text, err := strconv.Unquote(s)
	return bytes.Repeat([]byte(text), n), err
}

// op changes a reply:
//
//	status CODE REASON "MESSAGE"   an API server's refusal
//	code CODE                      of HTTP
//	header NAME "VALUE"
//	body "TEXT"                    Go's escapes; "TEXT"*N repeats it N times
//	replace "OLD" "NEW"            in the body
//	of PATH                        the body is what belongs to another path
//	raw "TEXT"                     all that comes by HTTP
//	cut N                          this many bytes of the body, which says that it is longer
//	torn N                         the same without a length
//	late                           the headers come when nobody waits any more
//	drips                          the body comes a byte at a time
//	endless                        it comes again and again
//	reset                          the connection does not outlive the request
//	elsewhere                      a redirect to another server, without TLS
//	pages                          there is always another page
//	stdout "TEXT", stderr "TEXT"   what the doctor in the Pod says
//	exit CODE                      and how it ends
//	end "TEXT"                     the same on the wire
//	silent                         and then nothing
//	tear                           and then the connection ends, and nobody says how the doctor did
//	only WAY                       websocket or spdy: the other is refused
func (s *api) op(a *reply, op string, w http.ResponseWriter, r *http.Request) (err error) {
	word, rest, _ := strings.Cut(op, " ")
	switch word {
	case "status":
		code, rest, _ := strings.Cut(rest, " ")
		reason, message, _ := strings.Cut(rest, " ")
		if a.code, err = strconv.Atoi(code); err != nil {
			return err
		}
		text, err := quotedText(message)
		a.body = status(a.code, reason, string(text))
		return err
	case "code":
		a.code, err = strconv.Atoi(rest)
	case "header":
		name, value, _ := strings.Cut(rest, " ")
		text, err := quotedText(value)
		a.header.Set(name, string(text))
		return err
	case "body":
		a.body, err = quotedText(rest)
	case "replace":
		old, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return err
		}
		from, err := quotedText(old)
		if err != nil {
			return err
		}
		to, err := quotedText(strings.TrimSpace(rest[len(old):]))
		if !bytes.Contains(a.body, from) {
			return fmt.Errorf("%s: it is not there: %s", op, a.body)
		}
		a.body = bytes.ReplaceAll(a.body, from, to)
		return err
	case "of":
		if a.body = s.world[rest]; a.body == nil {
			return fmt.Errorf("there is no %s", rest)
		}
	case "cut", "torn":
		n, err := strconv.Atoi(rest)
		if err != nil || n > len(a.body) {
			return fmt.Errorf("%s of %d: %w", op, len(a.body), err)
		}
		if word == "cut" {
			a.length = len(a.body)
		}
		a.body = a.body[:n]
		a.after = func() { panic(http.ErrAbortHandler) }
	case "late":
		<-r.Context().Done()
	case "raw":
		text, err := quotedText(rest)
		if err != nil {
			return err
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return err
		}
		_, _ = conn.Write(text)
		_, _ = io.Copy(io.Discard, conn) // until the client has enough
		conn.Close()
		panic(http.ErrAbortHandler)
	case "drips":
		a.drips = true
	case "endless":
		a.endless = true
	case "reset":
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			if conn, ok := conn.(*tls.Conn); ok {
				_ = conn.NetConn().(*net.TCPConn).SetLinger(0)
				conn.NetConn().Close()
			}
		}
		panic(http.ErrAbortHandler)
	case "elsewhere":
		stray := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.stray = append(s.stray, r.Header.Get("Authorization"))
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(s.world[r.URL.Path])
		}))
		s.Cleanup(stray.Close)
		a.code, a.body = http.StatusFound, nil
		a.header.Set("Location", stray.URL+r.URL.RequestURI())
	case "pages":
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pages++
		a.body = bytes.Replace(a.body, []byte(`"metadata":{}`), fmt.Appendf(nil, `"metadata":{"continue":"%d"}`, s.pages), 1)
	case "stdout":
		a.stdout, err = quotedText(rest)
	case "stderr":
		a.stderr, err = quotedText(rest)
	case "exit":
		a.end = exited(rest)
	case "end":
		a.end, err = quotedText(rest)
	case "silent":
		a.silent = true
	case "tear":
		a.torn, a.end = true, nil
	case "only":
		a.ways = rest
	default:
		err = fmt.Errorf("%q", op)
	}
	return err
}

// ServeHTTP answers as an API server does, but for what is to break.
func (s *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Before that nobody says that the client has gone.
	_, _ = io.Copy(io.Discard, r.Body)
	path := r.URL.Path
	a := &reply{code: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, length: -1, ways: "websocket spdy"}
	object, found := s.world[path]
	a.body, a.stdout, a.end = object, object, good
	execs := strings.HasSuffix(path, "/exec")
	if r.Method == http.MethodPost && !execs {
		a.code = http.StatusCreated
	}
	known := r.Header.Get("Authorization") == "Bearer "+token
	for _, cert := range r.TLS.PeerCertificates {
		known = known || time.Now().Before(cert.NotAfter)
	}
	switch {
	case !known:
		a.code, a.body = http.StatusUnauthorized, status(http.StatusUnauthorized, "Unauthorized", "Unauthorized")
		execs = false
		s.hurt(path)
	case !found:
		name := filepath.Base(path)
		a.code, a.body = http.StatusNotFound, status(http.StatusNotFound, "NotFound", strconv.Quote(name)+" not found")
		execs = false
	}
	for _, op := range s.ops(path) {
		if err := s.op(a, op, w, r); err != nil {
			s.Errorf("%s: %v", op, err)
		}
	}
	maps.Copy(w.Header(), a.header)
	if execs && a.code == http.StatusOK {
		s.exec(a, w, r)
		return
	}
	if a.length >= 0 {
		w.Header().Set("Content-Length", strconv.Itoa(a.length))
	}
	w.WriteHeader(a.code)
	flush := func() { _ = http.NewResponseController(w).Flush() }
	switch {
	case a.drips:
		for _, b := range a.body {
			_, err := w.Write([]byte{b})
			flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
			if err != nil {
				return
			}
		}
	case a.endless:
		for r.Context().Err() == nil {
			if _, err := w.Write(a.body); err != nil {
				return
			}
		}
	default:
		_, _ = w.Write(a.body)
	}
	flush()
	if a.after != nil {
		a.after()
	}
}

// stream is what an exec speaks by: the messages of one way, and how it ends.
type stream struct {
	write func(name string, b []byte)
	close func()
	tear  func()
	gone  <-chan struct{} // closed when the client is
}

// exec says what a Pod's container is to say.
func (s *api) exec(a *reply, w http.ResponseWriter, r *http.Request) {
	file := "/podfqdn"
	if strings.HasSuffix(r.URL.Path, "/pods/wrap-0/exec") { // its application's container has podfqdn in a volume
		file = "/podfqdn/podfqdn"
	}
	if want := []string{file, "doctor", "-o", "json"}; !slices.Equal(r.URL.Query()["command"], want) {
		s.Errorf("in the Pod %q is run", r.URL.Query()["command"])
	}
	way, open := "spdy", openSPDY
	if websocket.IsWebSocketUpgrade(r) {
		way, open = "websocket", openWebSocket
	}
	if !strings.Contains(a.ways, way) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(status(http.StatusBadRequest, "BadRequest", "Upgrade request required"))
		return
	}
	conn, err := open(w, r)
	if err != nil {
		s.Errorf("%s: %v", way, err)
		return
	}
	defer conn.tear()
	for {
		conn.write("stdout", a.stdout)
		select {
		case <-conn.gone:
			return
		default:
		}
		if !a.endless {
			break
		}
	}
	conn.write("stderr", a.stderr)
	switch {
	case a.silent:
		<-conn.gone
	case !a.torn:
		conn.write("error", a.end)
		conn.close()
	}
}

// openWebSocket speaks v5.channel.k8s.io: the first byte of a message is its stream's.
func openWebSocket(w http.ResponseWriter, r *http.Request) (*stream, error) {
	upgrader := websocket.Upgrader{Subprotocols: []string{"v5.channel.k8s.io"}}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil, err
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			if _, _, err := conn.NextReader(); err != nil {
				return
			}
		}
	}()
	return &stream{
		write: func(name string, b []byte) {
			id := map[string]byte{"stdout": 1, "stderr": 2, "error": 3}[name]
			for part := range slices.Chunk(b, 16<<10) {
				if conn.WriteMessage(websocket.BinaryMessage, append([]byte{id}, part...)) != nil {
					return
				}
			}
		},
		close: func() {
			_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
			<-gone
		},
		tear: func() { conn.UnderlyingConn().Close() },
		gone: gone,
	}, nil
}

// openSPDY speaks v4.channel.k8s.io: the client makes a stream for each.
func openSPDY(w http.ResponseWriter, r *http.Request) (*stream, error) {
	if _, err := httpstream.Handshake(r, w, []string{"v4.channel.k8s.io"}); err != nil {
		return nil, err
	}
	made := make(chan httpstream.Stream, 3)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		made <- s
		return nil
	})
	if conn == nil {
		return nil, errors.New("it was not upgraded")
	}
	gone := make(chan struct{})
	go func() { defer close(gone); <-conn.CloseChan() }()
	streams := map[string]httpstream.Stream{}
	for len(streams) < 3 {
		select {
		case s := <-made:
			streams[s.Headers().Get("streamType")] = s
		case <-gone:
			return nil, errors.New("the client made no streams")
		}
	}
	return &stream{
		write: func(name string, b []byte) { _, _ = streams[name].Write(b) },
		close: func() {
			for _, s := range streams {
				_ = s.Close()
			}
			<-gone
		},
		tear: func() { conn.Close() },
		gone: gone,
	}, nil
}
