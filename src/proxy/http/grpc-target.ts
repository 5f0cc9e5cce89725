/**
 * Services of gRPC that the proxy itself calls in a cluster, as configuration names them: collectors of
 * logs and spans. One message and its answer here; calls that last are in `cluster-stream.ts`.
 */
import type { GrpcService } from "../../wire/gen/ts/envoy/config/core/v3/grpc_service.ts";
import { grpcPrefix, grpcStatus, grpcStatusName, parseGrpcStatus } from "../../wire/grpc.ts";
import { honoured, type Honoured } from "../config/honoured.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse } from "../engine/refusal.ts";
import { lowerAscii } from "../engine/text-test.ts";
import { callCluster, type CallServices } from "./cluster-call.ts";
import type { PostDone } from "./cluster-post.ts";

export interface GrpcTarget {
  readonly cluster: string;
  readonly authority: string;
  /** Of every call, names in lower case. */
  readonly metadata: readonly (readonly [name: string, value: string])[];
  /** Of one call with one answer. */
  readonly timeoutMs: number;
}

const honouredService: Honoured<GrpcService> = {
  envoyGrpc: {
    clusterName: true,
    authority: true,
    // Nothing of Envoy's own is added.
    skipEnvoyHeaders: true,
    // Nobody reads what collectors answer.
    maxReceiveMessageLength: true,
  },
  timeout: true,
  initialMetadata: { key: true, value: true },
};

const timeoutDefaultMs = 5000;
/** Nobody reads what a collector has to say beyond its status. */
const answerBytesMax = 64 * 1024;

export function compileGrpcTarget(service: GrpcService | undefined, path: string): GrpcTarget {
  if (service === undefined) return refuse(path, "is required");
  const { envoyGrpc, timeout, initialMetadata } = honoured(service, honouredService, path);
  if (envoyGrpc === undefined) return refuse(path, "only envoy_grpc is supported");
  const { clusterName: cluster, authority } = envoyGrpc;
  if (cluster === "") refuse(`${path}.envoy_grpc.cluster_name`, "is required");
  const metadata = initialMetadata.map(({ key, value }, i): readonly [string, string] => {
    if (value.includes("%")) {
      refuse(`${path}.initial_metadata[${i}].value`, "formats are not supported");
    }
    return [lowerAscii(key), value];
  });
  return {
    cluster,
    authority: authority === "" ? cluster : authority,
    metadata,
    timeoutMs: durationMs(timeout) || timeoutDefaultMs,
  };
}

export function grpcFields({ metadata }: GrpcTarget): readonly (readonly [string, string])[] {
  return [["te", "trailers"], ["content-type", "application/grpc"], ...metadata];
}

/** One message in front of which its length stands. */
export function grpcFrame(message: Uint8Array): Buffer {
  return Buffer.concat([grpcPrefix(message.length), message]);
}

/** `body` is framed. Never throws; `done` is called once, with the reason where it failed. */
export function callGrpc(
  services: CallServices,
  target: GrpcTarget & { readonly path: string },
  body: Uint8Array,
  done: PostDone,
): void {
  services.upstreams.wheel.touch();
  const { cluster, authority, path, timeoutMs } = target;
  const headers = [...grpcFields(target), ["grpc-timeout", `${Math.ceil(timeoutMs)}m`] as const];
  callCluster(
    services,
    { cluster, authority, path, method: "POST", headers, body, timeoutMs, answerBytesMax },
    {
      onAnswer({ status, head, trailers }) {
        const code = parseGrpcStatus(trailers?.joined("grpc-status") ?? head.joined("grpc-status"));
        if (status !== 200) done(`the answer is ${status}`);
        else if (code !== grpcStatus.ok) done(`the status is ${grpcStatusName(code)}`);
        else done(undefined);
      },
      onFailure: done,
    },
  );
}
