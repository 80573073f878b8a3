// Command demo shows podfqdn at work without a cluster: the real CoreDNS, with
// its real kubernetes plugin, on loopback; the files that a kubelet gives a
// Pod, in a directory; and the real binary. The Pod's record appears two seconds
// after the Pod.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// recordAfter is when the Service publishes the Pod.
const recordAfter = 2 * time.Second

// pod is what a kubelet writes for db-0 of the StatefulSet db.
var pod = podtest.DB0.Files("cluster.local", "10.244.0.17")

func main() {
	binary := flag.String("podfqdn", "", "the podfqdn binary to show")
	flag.Parse()
	if err := run(*binary, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(binary string, out io.Writer) error {
	if binary == "" {
		return errors.New("which binary? use -podfqdn PATH")
	}
	root, err := os.MkdirTemp("", "podfqdn-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	volume := filepath.Join(root, "identity")
	if err := errors.Join(os.Mkdir(volume, 0o777), podtest.Lay(root, pod)); err != nil {
		return err
	}

	var cluster dnstest.Cluster
	cluster.Service("default", "db")
	var trace dnstest.Trace
	server, err := dnstest.CoreDNS{Cluster: &cluster, Trace: &trace}.Serve("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer server.Stop()

	fmt.Fprintf(out, "CoreDNS with kubeadm's Corefile listens on %s and does not know the Pod yet.\n", server.Addr())
	fmt.Fprint(out, "The Pod is db-0 of the StatefulSet db, and has the files that a kubelet writes:\n\n")
	for _, name := range []string{"etc/hosts", "etc/resolv.conf"} {
		show(out, "/"+name, string(pod[name].Data))
	}
	fmt.Fprint(out, "podfqdn init begins. Its only variables say where this demo's files and server are.\n\n")

	line := timeline{out: out, start: time.Now()}
	trace.Reset()
	command := exec.Command(binary, "init")
	command.Env = []string{
		"PODFQDN_ROOT=" + root,
		"PODFQDN_DIR=" + volume,
		"PODFQDN_NAMESERVERS=" + server.Addr().String(),
		"PODFQDN_LOG_FORMAT=json",
		"PODFQDN_TIMEOUT=1m",
	}
	logs, err := command.StderrPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	publish := time.AfterFunc(recordAfter, func() {
		cluster.Publish(dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: "10.244.0.17"})
		line.say("cluster", "the record appears: db-0 is 10.244.0.17")
	})
	defer publish.Stop()
	scanner := bufio.NewScanner(logs)
	for scanner.Scan() {
		line.log(scanner.Bytes())
	}
	if err := errors.Join(scanner.Err(), command.Wait()); err != nil {
		return fmt.Errorf("podfqdn init: %w", err)
	}

	queries := trace.Queries()
	fmt.Fprintf(out, "\nCoreDNS was asked %d questions; the first three and the last eight:\n\n", len(queries))
	for i, q := range queries {
		switch {
		case i < 3 || i >= len(queries)-8:
			fmt.Fprintf(out, "  %6.2fs  %-10s %-36s %s\n", q.At.Seconds(), dns.Type(q.Type), q.Name, dns.RcodeToString[q.Rcode])
		case i == 3:
			fmt.Fprint(out, "     ...\n")
		}
	}
	fmt.Fprint(out, "\nWhat the application finds in /identity:\n\n")
	entries, err := os.ReadDir(volume)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(volume, entry.Name()))
		if err != nil {
			return err
		}
		show(out, entry.Name(), string(text))
	}
	return nil
}

// show prints a file: its name, and its lines next to it.
func show(out io.Writer, name, text string) {
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		fmt.Fprintf(out, "  %-17s %s\n", name, strings.ReplaceAll(line, "\t", "  "))
		name = ""
	}
	if strings.Count(text, "\n") > 1 {
		fmt.Fprintln(out)
	}
}

// timeline prints what happens, and when.
type timeline struct {
	out   io.Writer
	start time.Time
	mu    sync.Mutex
}

func (t *timeline) say(who, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "  %6.2fs  %-8s %s\n", time.Since(t.start).Seconds(), who, what)
}

// log shows one of podfqdn's log lines.
func (t *timeline) log(line []byte) {
	var event struct{ Msg, Reason, Hint, FQDN string }
	if err := json.Unmarshal(line, &event); err != nil {
		t.say("podfqdn", string(line))
		return
	}
	what := event.Msg
	for _, more := range []string{event.FQDN, event.Reason, event.Hint} {
		if more != "" {
			what += ": " + more
		}
	}
	t.say("podfqdn", what)
}
