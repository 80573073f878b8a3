// Package examples checks what people copy, examples/*.yaml and the README, against Kubernetes, Prometheus and podfqdn.
package examples
