package node

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAForwardedRequestMayEndBeforeItsAnswer(t *testing.T) {
	inside, outside := listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")
	go func() {
		c, err := inside.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		request, _ := io.ReadAll(c) // to its end
		_, _ = c.Write([]byte("answer to " + string(request)))
	}()
	go forward(outside, inside.Addr().String())
	c, err := net.Dial("tcp", outside.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("request")); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "answer to request" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAWaitEndsWithTheSocketOrWithTheLastReason(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errors.New("out of time"))
	defer cancel()
	err := await(ctx, socket)
	if err == nil || !strings.Contains(err.Error(), "out of time") || !strings.Contains(err.Error(), socket) {
		t.Errorf("no socket: %v, want the time and the socket", err)
	}
	listen(t, "unix", socket)
	if err := await(t.Context(), socket); err != nil {
		t.Error(err)
	}
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
