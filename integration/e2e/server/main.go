// Command server is an application without a shell: it says as JSON what it was
// started with, on stdout, and listens until it is told to end.
//
//	server [--listen=ADDRESS] [--config=FILE] [ARG...]
//	server crash        the server at :8080 ends with exit code 11, as podfqdn does
//	server named NAME   a probe: it fails if NAME is not the name of a Pod
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// started is what the server was started with.
type started struct {
	PID    int
	UID    int
	Since  time.Time // the start of the process: podfqdn's, if podfqdn has become it
	Now    time.Time
	Args   []string
	Env    []string
	Config string // the content of --config
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "crash" {
		_, _ = http.Get("http://127.0.0.1:8080/crash") // it ends before it answers
		return
	}
	if len(os.Args) == 3 && os.Args[1] == "named" {
		if !strings.Contains(os.Args[2], ".svc.") {
			fmt.Println(os.Args[2])
			os.Exit(1)
		}
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	now, listen := time.Now(), ":8080"
	s := started{PID: os.Getpid(), UID: os.Getuid(), Now: now, Args: os.Args, Env: os.Environ()}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "--listen":
			listen = value
		case "--config":
			b, err := os.ReadFile(value)
			if err != nil {
				return err
			}
			s.Config = string(b)
		}
	}
	var err error
	if s.Since, err = since(now); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(s); err != nil {
		return err
	}
	// The first process of a container ignores a signal that it does not handle.
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		os.Exit(0)
	}()
	http.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) { os.Exit(11) })
	return http.ListenAndServe(listen, nil)
}

// since returns when this process was created, which execve(2) does not change
// (proc_pid_stat(5), starttime), to a hundredth of a second.
func since(now time.Time) (time.Time, error) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return time.Time{}, err
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return time.Time{}, err
	}
	_, fields, _ := strings.Cut(string(stat), ") ")
	var ticks, seconds float64
	if _, err := fmt.Sscan(strings.Fields(fields)[19], &ticks); err != nil {
		return time.Time{}, err
	}
	if _, err := fmt.Sscan(string(uptime), &seconds); err != nil {
		return time.Time{}, err
	}
	return now.Add(-time.Duration((seconds - ticks/100) * float64(time.Second))), nil
}
