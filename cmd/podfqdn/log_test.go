package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"go.uber.org/zap"
)

func TestEachEventIsOneLineWithThreeFieldsOfItsOwn(t *testing.T) {
	t.Parallel()
	cfg, _, _ := readConfig(nil)
	var b bytes.Buffer
	log := newLogger(cfg, &b)
	log.Debug("not shown")
	log.Error("shown", zap.String("reason", "a\nb"))
	if bytes.Count(b.Bytes(), []byte("\n")) != 1 {
		t.Fatalf("%s", b.Bytes())
	}
	var fields map[string]any
	if err := json.Unmarshal(b.Bytes(), &fields); err != nil {
		t.Fatal(err)
	}
	if len(fields) != 4 || fields["level"] != "error" || fields["msg"] != "shown" || fields["reason"] != "a; b" || fields["ts"] == nil {
		t.Errorf("%v", fields)
	}
}
