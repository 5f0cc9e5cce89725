//go:build tools

// Package ghz pins the benchmark's gRPC client; tools/build-ghz.ts builds it.
package ghz

import _ "github.com/bojand/ghz/cmd/ghz"
