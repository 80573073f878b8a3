// Command maxrss runs a program and prints the most memory that it had resident, in KiB. A process that starts another
// by vfork, as Go does, lends it its own maximum: this one has less than anything worth measuring.
package main

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

func main() {
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	err := cmd.Run()
	os.Stdout.WriteString(strconv.FormatInt(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss, 10))
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		os.Exit(125)
	}
}
