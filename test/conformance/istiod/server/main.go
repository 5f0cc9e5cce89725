// istiod's xDS server over Istio configuration of a file, without Kubernetes: the generators of the
// Go module istio.io/istio, as its own tests start them. It serves plain gRPC and prints its address.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"

	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
)

// failer stands in for a test: what fails ends the program.
type failer struct{}

func (failer) Fail()                        { os.Exit(1) }
func (failer) FailNow()                     { os.Exit(1) }
func (failer) Fatal(args ...any)            { fmt.Fprintln(os.Stderr, args...); os.Exit(1) }
func (failer) Fatalf(f string, args ...any) { fmt.Fprintf(os.Stderr, f+"\n", args...); os.Exit(1) }
func (failer) Log(args ...any)              { fmt.Fprintln(os.Stderr, args...) }
func (failer) Logf(f string, args ...any)   { fmt.Fprintf(os.Stderr, f+"\n", args...) }
func (failer) TempDir() string              { return os.TempDir() }
func (failer) Helper()                      {}
func (failer) Cleanup(func())               {}
func (failer) Skip(...any)                  {}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	config := flag.String("config", "", "Istio configuration (YAML)")
	meshFile := flag.String("mesh", "", "mesh configuration (YAML)")
	flag.Parse()
	text, err := os.ReadFile(*config)
	if err != nil {
		failer{}.Fatal(err)
	}
	var settings *meshconfig.MeshConfig = mesh.DefaultMeshConfig()
	if *meshFile != "" {
		raw, err := os.ReadFile(*meshFile)
		if err != nil {
			failer{}.Fatal(err)
		}
		if settings, err = mesh.ApplyMeshConfigDefaults(string(raw)); err != nil {
			failer{}.Fatal(err)
		}
	}
	socket, err := net.Listen("tcp", *listen)
	if err != nil {
		failer{}.Fatal(err)
	}
	xds.NewFakeDiscoveryServer(failer{}, xds.FakeOptions{
		ConfigString:    string(text),
		MeshConfig:      settings,
		ListenerBuilder: func() (net.Listener, error) { return socket, nil },
	})
	fmt.Println(socket.Addr())
	// Whoever started us ends us by closing our input.
	_, _ = os.Stdin.Read(make([]byte, 1))
}
