// Command application is what podfqdn becomes: the first thing that it does is to listen for SIGTERM, at which it ends with
// 0. It says "ready" then. At SIGUSR1 it ends with 3: SIGTERM had been sent before, and it never arrived.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	term, asked := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	signal.Notify(asked, syscall.SIGUSR1)
	fmt.Println("ready")
	select {
	case <-term:
	case <-asked:
		select {
		case <-term:
		case <-time.After(50 * time.Millisecond):
			os.Exit(3)
		}
	}
}
