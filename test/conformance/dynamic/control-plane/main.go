// A control plane that is not Heddle's, for tests: go-control-plane's snapshot cache behind its ADS
// server. Each line on stdin is a snapshot for every node, in Envoy's JSON; each line on stdout tells
// what a client asked: a subscription, an acknowledgement or a refusal.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretservice "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// One key for all nodes.
type everyone struct{}

func (everyone) ID(*corev3.Node) string { return "everyone" }

type snapshotLine struct {
	Version   string            `json:"version"`
	Clusters  []json.RawMessage `json:"clusters"`
	Endpoints []json.RawMessage `json:"endpoints"`
	Listeners []json.RawMessage `json:"listeners"`
	Routes    []json.RawMessage `json:"routes"`
	Secrets   []json.RawMessage `json:"secrets"`
	// Configurations of filters, by name.
	Extensions []json.RawMessage `json:"extensions"`
}

type event struct {
	Kind    string   `json:"kind"`
	Node    string   `json:"node,omitempty"`
	Type    string   `json:"type,omitempty"`
	Version string   `json:"version,omitempty"`
	Nonce   string   `json:"nonce,omitempty"`
	Names   []string `json:"names,omitempty"`
	Removed []string `json:"removed,omitempty"`
	Error   string   `json:"error,omitempty"`
}

var printing sync.Mutex

func tell(e event) {
	printing.Lock()
	defer printing.Unlock()
	line, err := json.Marshal(e)
	if err != nil {
		fail(err)
	}
	fmt.Println(string(line))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	cert := flag.String("cert", "", "certificate (PEM); TLS where it is given")
	key := flag.String("key", "", "key of the certificate (PEM)")
	flag.Parse()

	snapshots := cache.NewSnapshotCache(true, everyone{}, nil)
	var options []grpc.ServerOption
	if *cert != "" {
		secure, err := credentials.NewServerTLSFromFile(*cert, *key)
		if err != nil {
			fail(err)
		}
		options = append(options, grpc.Creds(secure))
	}
	serving := grpc.NewServer(options...)
	xds := server.NewServer(context.Background(), snapshots, callbacks())
	discovery.RegisterAggregatedDiscoveryServiceServer(serving, xds)
	secretservice.RegisterSecretDiscoveryServiceServer(serving, xds)
	socket, err := net.Listen("tcp", *listen)
	if err != nil {
		fail(err)
	}
	go readSnapshots(snapshots)
	tell(event{Kind: "listening", Node: socket.Addr().String()})
	if err := serving.Serve(socket); err != nil {
		fail(err)
	}
}

func callbacks() server.Callbacks {
	return server.CallbackFuncs{
		StreamOpenFunc: func(context.Context, int64, string) error {
			tell(event{Kind: "opened"})
			return nil
		},
		DeltaStreamOpenFunc: func(context.Context, int64, string) error {
			tell(event{Kind: "opened"})
			return nil
		},
		StreamRequestFunc: func(_ int64, r *discovery.DiscoveryRequest) error {
			e := event{Kind: "sotw", Node: r.GetNode().GetId(), Type: r.TypeUrl, Version: r.VersionInfo, Nonce: r.ResponseNonce}
			e.Names, e.Error = r.ResourceNames, r.GetErrorDetail().GetMessage()
			tell(e)
			return nil
		},
		StreamDeltaRequestFunc: func(_ int64, r *discovery.DeltaDiscoveryRequest) error {
			e := event{Kind: "delta", Node: r.GetNode().GetId(), Type: r.TypeUrl, Nonce: r.ResponseNonce}
			e.Names, e.Removed = r.ResourceNamesSubscribe, r.ResourceNamesUnsubscribe
			e.Error = r.GetErrorDetail().GetMessage()
			tell(e)
			return nil
		},
	}
}

func readSnapshots(snapshots cache.SnapshotCache) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var line snapshotLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			fail(err)
		}
		snapshot, err := cache.NewSnapshot(line.Version, map[resource.Type][]types.Resource{
			resource.ClusterType:  read(line.Clusters, func() proto.Message { return &clusterv3.Cluster{} }),
			resource.EndpointType: read(line.Endpoints, func() proto.Message { return &endpointv3.ClusterLoadAssignment{} }),
			resource.ListenerType: read(line.Listeners, func() proto.Message { return &listenerv3.Listener{} }),
			resource.RouteType:    read(line.Routes, func() proto.Message { return &routev3.RouteConfiguration{} }),
			resource.ExtensionConfigType: read(line.Extensions, func() proto.Message { return &corev3.TypedExtensionConfig{} }),
			resource.SecretType:   read(line.Secrets, func() proto.Message { return &tlsv3.Secret{} }),
		})
		if err != nil {
			fail(err)
		}
		if err := snapshots.SetSnapshot(context.Background(), "everyone", snapshot); err != nil {
			fail(err)
		}
		tell(event{Kind: "snapshot", Version: line.Version})
	}
	// Whoever started us is gone.
	os.Exit(0)
}

func read(list []json.RawMessage, make func() proto.Message) []types.Resource {
	resources := []types.Resource{}
	for _, raw := range list {
		message := make()
		if err := protojson.Unmarshal(raw, message); err != nil {
			fail(err)
		}
		resources = append(resources, message)
	}
	return resources
}
