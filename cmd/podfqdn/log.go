package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// newLogger returns a logger that writes one line per event: JSON, or console text on
// a terminal.
func newLogger(cfg config, w io.Writer) *zap.Logger {
	format := zap.NewProductionEncoderConfig()
	format.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	format.EncodeDuration = func(d time.Duration, line zapcore.PrimitiveArrayEncoder) {
		line.AppendString(d.Round(time.Millisecond).String()) // shorter ones have a µ
	}
	encoder := zapcore.NewJSONEncoder(format)
	if cfg.LogFormat == "console" || cfg.LogFormat != "json" && diagnosis.IsTerminal(w) {
		format.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoder = zapcore.NewConsoleEncoder(format)
	}
	return zap.New(plain{zapcore.NewCore(encoder, zapcore.AddSync(w), cfg.LogLevel)})
}

// plain escapes the text in every field of a log line: much of it is other
// people's.
type plain struct{ zapcore.Core }

func (p plain) With(fields []zapcore.Field) zapcore.Core { return plain{p.Core.With(escaped(fields))} }

func (p plain) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if p.Enabled(e.Level) {
		return to.AddCore(e, p)
	}
	return to
}

func (p plain) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return p.Core.Write(e, escaped(fields))
}

// escaped returns fields that a terminal or a log viewer cannot act on. Lists are
// of names, addresses and principals, which hold nothing of the kind.
func escaped(fields []zapcore.Field) []zapcore.Field {
	safe := make([]zapcore.Field, len(fields))
	for i, f := range fields {
		switch f.Type {
		case zapcore.StringType:
			f = zap.String(f.Key, shown.Printable(f.String))
		case zapcore.StringerType, zapcore.ErrorType:
			f = zap.String(f.Key, shown.Printable(fmt.Sprint(f.Interface)))
		}
		safe[i] = f
	}
	return safe
}

// writeTerminationLog leaves the reason in the Pod's status. The kubelet makes
// the file (kuberuntime_container.go, terminationMessagePath); if there is none, as
// outside a Pod, none is made. A FIFO does not block it.
func writeTerminationLog(root string, reason error) error {
	file, err := os.OpenFile(filepath.Join(root, "dev/termination-log"), os.O_WRONLY|os.O_TRUNC|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, shown.Printable(reason.Error()))
	return errors.Join(err, file.Close())
}
