module github.com/podfqdn/podfqdn

go 1.26.0

require (
	github.com/caarlos0/env/v11 v11.4.2
	github.com/miekg/dns v1.1.73
	github.com/rogpeppe/go-internal v1.16.0
	go.uber.org/zap v1.28.0
	golang.org/x/tools v0.48.0
)

require (
	go.uber.org/multierr v1.10.0 // indirect
	golang.org/x/net v0.57.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)
