package main

import (
	"io"
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
