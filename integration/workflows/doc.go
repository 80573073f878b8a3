// Package workflows checks the forge's workflows, .github/workflows, and what
// they call that has no other test. It is empty but for its tests.
package workflows
