import type { EncodedResource } from "../snapshot.ts";
import type { Change } from "./subscription.ts";

/**
 * Encodes discovery responses by concatenation: each resource's message was encoded once, so only
 * the few bytes around it are made here (kept per resource), and the message is copied as it is.
 * Field numbers are those of envoy/service/discovery/v3/discovery.proto and google/protobuf/any.proto.
 */
export interface ResponseHead {
  readonly typeUrl: string;
  readonly version: string;
  readonly nonce: string;
}

/** A DeltaDiscoveryResponse. */
export function encodeDeltaResponse(head: ResponseHead, change: Change): Uint8Array {
  const parts: Uint8Array[] = [stringField(1, head.version)];
  for (const resource of change.resources) {
    parts.push(deltaPrefix(resource, head.typeUrl), resource.bytes);
  }
  parts.push(stringField(4, head.typeUrl), stringField(5, head.nonce));
  for (const name of change.removed) parts.push(stringField(6, name));
  return Buffer.concat(parts);
}

/** A DiscoveryResponse. */
export function encodeSotwResponse(head: ResponseHead, change: Change): Uint8Array {
  const parts: Uint8Array[] = [stringField(1, head.version)];
  for (const resource of change.resources) {
    parts.push(anyPrefix(2, head.typeUrl, resource.bytes.length), resource.bytes);
  }
  parts.push(stringField(4, head.typeUrl), stringField(5, head.nonce));
  return Buffer.concat(parts);
}

const deltaPrefixes = new WeakMap<EncodedResource, Uint8Array>();

/** All of the `resources` entry but the message, which comes last in it. */
function deltaPrefix(resource: EncodedResource, typeUrl: string): Uint8Array {
  const known = deltaPrefixes.get(resource);
  if (known !== undefined) return known;
  const inner = Buffer.concat([
    stringField(3, resource.name),
    stringField(1, resource.version),
    anyPrefix(2, typeUrl, resource.bytes.length),
  ]);
  const prefix = Buffer.concat([tagAndLength(2, inner.length + resource.bytes.length), inner]);
  deltaPrefixes.set(resource, prefix);
  return prefix;
}

/** An Any in field `field`, up to its value's first byte. */
function anyPrefix(field: number, typeUrl: string, valueBytes: number): Uint8Array {
  const inner = Buffer.concat([stringField(1, typeUrl), tagAndLength(2, valueBytes)]);
  return Buffer.concat([tagAndLength(field, inner.length + valueBytes), inner]);
}

function stringField(field: number, text: string): Uint8Array {
  const bytes = Buffer.from(text);
  return Buffer.concat([tagAndLength(field, bytes.length), bytes]);
}

/** The tag of a length-delimited field and its length. Field numbers here are below 16. */
function tagAndLength(field: number, length: number): Uint8Array {
  const bytes = [(field << 3) | 2];
  let rest = length;
  while (rest > 127) {
    bytes.push((rest & 127) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Uint8Array.from(bytes);
}
