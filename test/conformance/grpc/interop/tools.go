//go:build tools

// Package interop pins gRPC's own client and server for tests of interoperation; tools/build-interop.ts builds them.
package interop

import (
	_ "google.golang.org/grpc/interop/client"
	_ "google.golang.org/grpc/interop/http2"
	_ "google.golang.org/grpc/interop/server"
)
