// Command app is an application whose first act is to write the time, in nanoseconds since 1970 by the machine's clock,
// as a line on stdout. Then it waits for SIGTERM. It imports little, so that it comes to that act at once.
package main

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	first := time.Now()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	_, _ = os.Stdout.WriteString(strconv.FormatInt(first.UnixNano(), 10) + "\n") // if this fails, the reader reports that the line is missing
	<-stop
}
