/** Small builders for the well-known types that every resource is full of. */
import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { Any, Duration } from "@bufbuild/protobuf/wkt";
import { anyPack, DurationSchema } from "@bufbuild/protobuf/wkt";

import type {
  Address,
  CidrRangeSchema,
} from "../../wire/gen/es/envoy/config/core/v3/address_pb.ts";
import { AddressSchema } from "../../wire/gen/es/envoy/config/core/v3/address_pb.ts";
import type { ConfigSource } from "../../wire/gen/es/envoy/config/core/v3/config_source_pb.ts";
import {
  ApiVersion,
  ConfigSourceSchema,
} from "../../wire/gen/es/envoy/config/core/v3/config_source_pb.ts";
import type { StringMatcher } from "../../wire/gen/es/envoy/type/matcher/v3/string_pb.ts";
import { StringMatcherSchema } from "../../wire/gen/es/envoy/type/matcher/v3/string_pb.ts";
import type { StringMatch } from "../../model/matching.ts";

/** Fields of a message as a plain object, which can be spread and completed. */
export type Init<Schema extends DescMessage> = Exclude<
  MessageInitShape<Schema>,
  MessageShape<Schema>
>;

/** A message inside an Any, as `typed_config` wants it. */
export function any<Schema extends DescMessage>(
  schema: Schema,
  init: MessageInitShape<Schema>,
): Any {
  return anyPack(schema, create(schema, init));
}

/** `typedConfig: …` of filters, transport sockets and the like. */
export function typedConfig<Schema extends DescMessage>(
  schema: Schema,
  init: MessageInitShape<Schema>,
): { readonly case: "typedConfig"; readonly value: Any } {
  return { case: "typedConfig", value: any(schema, init) };
}

/** Milliseconds, with fractions down to nanoseconds. */
export function duration(milliseconds: number): Duration {
  const nanoseconds = Math.round(milliseconds * 1e6);
  const seconds = Math.floor(nanoseconds / 1e9);
  return create(DurationSchema, {
    seconds: BigInt(seconds),
    nanos: nanoseconds - seconds * 1e9,
  });
}

/** Of a Unix socket (`/run/app.sock`, `@name`) it is a pipe, and there is no port. */
export function socketAddress(address: string, port: number): Address {
  if (/^[/@]/.test(address)) {
    return create(AddressSchema, { address: { case: "pipe", value: { path: address } } });
  }
  return create(AddressSchema, {
    address: {
      case: "socketAddress",
      value: { address, portSpecifier: { case: "portValue", value: port } },
    },
  });
}

/** "Ask for it on the stream that brought this", and wait for it as long as it takes. */
export function adsSource(): ConfigSource {
  return create(ConfigSourceSchema, {
    configSourceSpecifier: { case: "ads", value: {} },
    initialFetchTimeout: duration(0),
    resourceApiVersion: ApiVersion.V3,
  });
}

export function stringMatcher(match: StringMatch): StringMatcher {
  switch (match.kind) {
    case "exact":
      return create(StringMatcherSchema, { matchPattern: { case: "exact", value: match.value } });
    case "prefix":
      return create(StringMatcherSchema, { matchPattern: { case: "prefix", value: match.value } });
    case "regex":
      return create(StringMatcherSchema, {
        matchPattern: { case: "safeRegex", value: { regex: match.value } },
      });
  }
}

/** `10.0.0.0/8`, or one address. */
export function cidrRange(block: string): Init<typeof CidrRangeSchema> {
  const [addressPrefix = "", length] = block.split("/", 2);
  const full = addressPrefix.includes(":") ? 128 : 32;
  return { addressPrefix, prefixLen: length === undefined ? full : Number(length) };
}
