import assert from "node:assert/strict";
import test from "node:test";

import { message } from "../../../test/support/message.ts";
import { Bootstrap } from "../../wire/gen/ts/envoy/config/bootstrap/v3/bootstrap.ts";
import { InternalListener } from "../../wire/gen/ts/envoy/extensions/bootstrap/internal_listener/v3/internal_listener.ts";
import { TypedStruct } from "../../wire/gen/ts/udpa/type/v1/typed_struct.ts";
import { checkBootstrap } from "./honoured-bootstrap.ts";
import { internalBufferBytesOf, internalListenerType } from "./internal-buffer.ts";

const url = `type.googleapis.com/${internalListenerType}`;
const struct = "type.googleapis.com/udpa.type.v1.TypedStruct";

function bootstrap(typeUrl: string, value: Uint8Array): Bootstrap {
  return message(Bootstrap, {
    bootstrapExtensions: [{ name: "i", typedConfig: { typeUrl, value } }],
  });
}

function sized(fields: { bufferSizeKb?: number }): Bootstrap {
  return bootstrap(url, InternalListener.encode(message(InternalListener, fields)).finish());
}

function structOf(value: { [field: string]: unknown }): Bootstrap {
  const fields = message(TypedStruct, { typeUrl: url, value });
  return bootstrap(struct, TypedStruct.encode(fields).finish());
}

test("internalBufferBytesOf() reads the extension in either form", () => {
  assert.equal(internalBufferBytesOf(message(Bootstrap, {})), undefined);
  assert.equal(internalBufferBytesOf(sized({})), undefined);
  assert.equal(internalBufferBytesOf(sized({ bufferSizeKb: 64 })), 65_536);
  assert.equal(internalBufferBytesOf(structOf({ buffer_size_kb: 64 })), 65_536);
  assert.equal(internalBufferBytesOf(structOf({ bufferSizeKb: 8192 })), 8_388_608);
});

test("internalBufferBytesOf() refuses what Envoy refuses", () => {
  const place = /bootstrap_extensions\[0\]\.typed_config\.buffer_size_kb/;
  for (const kib of [0, 8193]) {
    assert.throws(() => internalBufferBytesOf(sized({ bufferSizeKb: kib })), place);
  }
  for (const kib of [0, 1.5, "64", 8193]) {
    assert.throws(() => internalBufferBytesOf(structOf({ buffer_size_kb: kib })), place);
  }
  assert.throws(() => internalBufferBytesOf(structOf({ size: 1 })), /value\.size/);
});

test("checkBootstrap() takes listeners inside, and no extension that it does not know", () => {
  checkBootstrap(sized({ bufferSizeKb: 64 }));
  checkBootstrap(structOf({ buffer_size_kb: 64 }));
  const other = bootstrap("type.googleapis.com/a.B", new Uint8Array(0));
  assert.throws(() => checkBootstrap(other), /'a\.B' is not supported/);
});
