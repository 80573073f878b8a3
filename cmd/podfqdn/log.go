package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/podfqdn/podfqdn/identity/screen"
)

// newLogger writes one line an event: JSON, or for people on a terminal.
func newLogger(cfg config, w io.Writer) *zap.Logger {
	format := zap.NewProductionEncoderConfig()
	format.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	format.EncodeDuration = func(d time.Duration, line zapcore.PrimitiveArrayEncoder) {
		line.AppendString(d.Round(time.Millisecond).String()) // shorter ones have a µ
	}
	encoder := zapcore.NewJSONEncoder(format)
	if cfg.LogFormat == "console" || cfg.LogFormat != "json" && screen.IsTerminal(w) {
		format.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoder = zapcore.NewConsoleEncoder(format)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(w), cfg.LogLevel))
}

// writeTerminationLog leaves the reason in the Pod's status. The kubelet makes
// the file (kuberuntime_container.go, terminationMessagePath); where there is
// none, as outside a Pod, none is made. A FIFO is not waited for.
func writeTerminationLog(root string, reason error) error {
	file, err := os.OpenFile(filepath.Join(root, "dev/termination-log"), os.O_WRONLY|os.O_TRUNC|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, screen.Printable(reason.Error()))
	return errors.Join(err, file.Close())
}
