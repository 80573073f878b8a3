// Package examples holds what people copy, examples/*.yaml and the README, to what Kubernetes takes and podfqdn knows.
package examples
