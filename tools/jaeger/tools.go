//go:build tools

// Package jaeger pins the Jaeger that test/collector runs; tools/build-jaeger.ts builds it.
package jaeger

import _ "github.com/jaegertracing/jaeger/cmd/all-in-one"
