// Services that every server of gRPC may have (health, reflection), and a stream that both ends count, asked by
// gRPC's own clients.
//
//	services serve PORT    reads lines: `off` and `on` change what health says, `counts` prints messages in and out
//	services watch ADDR    prints what health says, until it is killed
//	services ask ADDR      prints what health and reflection answer
//	services talk ADDR N   sends N messages that ask for three each; prints how many went out and came in
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

const testService = "grpc.testing.TestService"

// counter counts messages of the test service.
type counter struct{ in, out atomic.Int64 }

type methodKey struct{}

func (c *counter) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, methodKey{}, info.FullMethodName)
}

func (c *counter) HandleRPC(ctx context.Context, event stats.RPCStats) {
	if ctx.Value(methodKey{}) != "/"+testService+"/FullDuplexCall" {
		return
	}
	switch event.(type) {
	case *stats.InPayload:
		c.in.Add(1)
	case *stats.OutPayload:
		c.out.Add(1)
	}
}

func (c *counter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c *counter) HandleConn(context.Context, stats.ConnStats)                      {}

func serve(port string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	counts := &counter{}
	server := grpc.NewServer(grpc.StatsHandler(counts))
	state := health.NewServer()
	state.SetServingStatus(testService, healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(server, state)
	testpb.RegisterTestServiceServer(server, interop.NewTestServer())
	reflection.Register(server)
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			switch lines.Text() {
			case "off":
				state.SetServingStatus(testService, healthpb.HealthCheckResponse_NOT_SERVING)
			case "on":
				state.SetServingStatus(testService, healthpb.HealthCheckResponse_SERVING)
			case "counts":
				fmt.Printf("in=%d out=%d\n", counts.in.Load(), counts.out.Load())
			}
		}
	}()
	return server.Serve(listener)
}

func watch(ctx context.Context, conn *grpc.ClientConn) error {
	stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: testService})
	if err != nil {
		return err
	}
	for {
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		fmt.Println(answer.Status)
	}
}

func ask(ctx context.Context, conn *grpc.ClientConn) error {
	client := healthpb.NewHealthClient(conn)
	for _, name := range []string{"", testService, "nobody"} {
		answer, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: name})
		fmt.Printf("health of '%s': %v, %v\n", name, answer.GetStatus(), status.Code(err))
	}
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	questions := []*reflectionpb.ServerReflectionRequest{
		{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}},
		{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: testService}},
		{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "nobody"}},
	}
	for _, question := range questions {
		if err := stream.Send(question); err != nil {
			return err
		}
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		var names []string
		for _, service := range answer.GetListServicesResponse().GetService() {
			names = append(names, service.Name)
		}
		sort.Strings(names)
		files := answer.GetFileDescriptorResponse().GetFileDescriptorProto()
		fmt.Printf("reflection: %v, files %d, code %d\n", names, len(files), answer.GetErrorResponse().GetErrorCode())
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); err != io.EOF {
		return fmt.Errorf("the stream did not end: %v", err)
	}
	return nil
}

func talk(ctx context.Context, conn *grpc.ClientConn, messages int) error {
	stream, err := testpb.NewTestServiceClient(conn).FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	three := []*testpb.ResponseParameters{{Size: 0}, {Size: 10}, {Size: 1000}}
	go func() {
		for range messages {
			request := &testpb.StreamingOutputCallRequest{ResponseParameters: three}
			if stream.Send(request) != nil {
				return
			}
		}
		_ = stream.CloseSend()
	}()
	received := 0
	for {
		_, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		received++
	}
	fmt.Printf("out=%d in=%d\n", messages, received)
	return nil
}

func run(arguments []string) error {
	if len(arguments) < 2 {
		return fmt.Errorf("usage: services serve|watch|ask|talk ADDRESS")
	}
	if arguments[0] == "serve" {
		return serve(arguments[1])
	}
	conn, err := grpc.NewClient("passthrough:///"+arguments[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch arguments[0] {
	case "watch":
		return watch(ctx, conn)
	case "ask":
		return ask(ctx, conn)
	case "talk":
		messages, err := strconv.Atoi(arguments[2])
		if err != nil {
			return err
		}
		return talk(ctx, conn, messages)
	}
	return fmt.Errorf("%s is not known", arguments[0])
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
