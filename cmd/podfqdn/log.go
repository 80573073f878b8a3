package main

import (
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger writes one line an event: JSON, or for people on a terminal.
func newLogger(cfg config, w io.Writer) *zap.Logger {
	format := zap.NewProductionEncoderConfig()
	format.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	format.EncodeDuration = func(d time.Duration, line zapcore.PrimitiveArrayEncoder) {
		line.AppendString(d.Round(time.Millisecond).String()) // shorter ones have a µ
	}
	encoder := zapcore.NewJSONEncoder(format)
	if cfg.LogFormat == "console" || cfg.LogFormat != "json" && isTerminal(w) {
		format.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoder = zapcore.NewConsoleEncoder(format)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(w), cfg.LogLevel))
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// printable escapes what a terminal or a log viewer may act on: control
// characters, and all that is not ASCII. Line ends between sentences become
// "; ".
func printable(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		quoted := strconv.QuoteToASCII(line)
		quoted = quoted[1 : len(quoted)-1]
		// What was quoted before must not be so twice.
		lines[i] = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(quoted)
	}
	return strings.Join(lines, "; ")
}
