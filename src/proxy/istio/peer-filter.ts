/**
 * Istio's `peer_metadata` filter (`istio.metadata_exchange` on HTTP): two proxies tell each other in
 * headers whom they stand beside. The headers never reach an application.
 */
import type { PeerLabels } from "../../telemetry/standard-metrics.ts";
import { refuse } from "../engine/refusal.ts";
import type { FilterStream, HttpFilter } from "../http/filter.ts";
import {
  decodePeer,
  encodePeer,
  type NodeMetadata,
  peerHeader,
  peerIdHeader,
  recordOf,
} from "./peer.ts";
import { checkFields } from "./typed-struct.ts";

export const peerMetadataType = "io.istio.http.peer_metadata.Config";

/** Who is at the other ends of a stream, for whoever reports it: by its record. */
export interface StreamPeers {
  downstream?: PeerLabels;
  upstream?: PeerLabels;
}

export const streamPeers: WeakMap<object, StreamPeers> = new WeakMap();

export interface OwnNode {
  readonly id: string;
  readonly cluster?: string;
  readonly zone?: string;
  readonly metadata: NodeMetadata;
}

const directions = [
  "downstream_discovery",
  "upstream_discovery",
  "downstream_propagation",
  "upstream_propagation",
] as const;

/** Throws a refusal. */
export function createPeerFilter(
  name: string,
  fields: Readonly<Record<string, unknown>>,
  place: { readonly path: string; readonly node: OwnNode },
): HttpFilter {
  checkFields(fields, [...directions, "shared_with_upstream"], place.path);
  const [fromDownstream, fromUpstream, toDownstream, toUpstream] = directions.map((direction) =>
    usesHeaders(fields[direction], `${place.path}.${direction}`),
  );
  // Where nobody is found, there is nothing to share.
  if (fields["shared_with_upstream"] === true && fromDownstream === true) {
    refuse(`${place.path}.shared_with_upstream`, "is not supported");
  }
  const own = encodePeer(place.node.metadata);
  const { id } = place.node;
  return {
    name,
    onRequest(stream) {
      const { headers } = stream.request;
      if (fromDownstream === true) {
        note(stream, "downstream", headers.get(peerHeader));
        headers.remove(peerHeader);
        headers.remove(peerIdHeader);
      }
      if (toUpstream === true) {
        headers.set(peerHeader, own);
        headers.set(peerIdHeader, id);
      }
      return "continue";
    },
    onResponse(stream) {
      const headers = stream.responseHeaders;
      if (fromUpstream === true) {
        note(stream, "upstream", headers.get(peerHeader));
        headers.remove(peerHeader);
        headers.remove(peerIdHeader);
      }
      // Nobody else is told: only a proxy that has told of itself.
      const peers = streamPeers.get(stream.record);
      if (toDownstream === true && peers?.downstream !== undefined) {
        headers.set(peerHeader, own);
        headers.set(peerIdHeader, id);
      }
    },
  };
}

function note(stream: FilterStream, end: keyof StreamPeers, header: string | undefined): void {
  const peer = decodePeer(header);
  const peers = streamPeers.get(stream.record) ?? {};
  if (peer === undefined) delete peers[end];
  else peers[end] = peer;
  streamPeers.set(stream.record, peers);
}

/** Discovery of workloads by address needs a directory of istiod's that sidecars do not get. */
function usesHeaders(methods: unknown, path: string): boolean {
  if (methods === undefined) return false;
  if (!Array.isArray(methods)) return refuse(path, "must be a list");
  let hasHeaders = false;
  for (const [i, method] of methods.entries()) {
    const kinds = typeof method === "object" && method !== null ? Object.entries(method) : [];
    for (const [kind, options] of kinds) {
      if (kind !== "istio_headers" && kind !== "workload_discovery") {
        refuse(`${path}[${i}].${kind}`, "is not supported");
      }
      checkFields(recordOf(options), [], `${path}[${i}].${kind}`);
      hasHeaders ||= kind === "istio_headers";
    }
  }
  return hasHeaders;
}
