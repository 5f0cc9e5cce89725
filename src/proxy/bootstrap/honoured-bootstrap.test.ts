import assert from "node:assert/strict";
import test from "node:test";

import { message } from "../../../test/support/message.ts";
import { Bootstrap } from "../../wire/gen/ts/envoy/config/bootstrap/v3/bootstrap.ts";
import { InternalListener } from "../../wire/gen/ts/envoy/extensions/bootstrap/internal_listener/v3/internal_listener.ts";
import { TypedStruct } from "../../wire/gen/ts/udpa/type/v1/typed_struct.ts";
import { checkBootstrap } from "./honoured-bootstrap.ts";

const internal =
  "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener";
const struct = "type.googleapis.com/udpa.type.v1.TypedStruct";

test("checkBootstrap() takes listeners inside, but no other size of what may wait there", () => {
  const check = (typeUrl: string, value: Uint8Array): void =>
    checkBootstrap(
      message(Bootstrap, { bootstrapExtensions: [{ name: "i", typedConfig: { typeUrl, value } }] }),
    );
  const sized = (fields: { bufferSizeKb?: number }): Uint8Array =>
    InternalListener.encode(message(InternalListener, fields)).finish();
  const structOf = (value: { [field: string]: unknown }): Uint8Array =>
    TypedStruct.encode(message(TypedStruct, { typeUrl: internal, value })).finish();
  const refusal = /bootstrap_extensions\[0\]\.typed_config\.buffer_size_kb: is not supported/;
  check(internal, sized({}));
  check(struct, structOf({}));
  for (const bufferSizeKb of [0, 64]) {
    assert.throws(() => check(internal, sized({ bufferSizeKb })), refusal);
    assert.throws(() => check(struct, structOf({ buffer_size_kb: bufferSizeKb })), refusal);
  }
  assert.throws(() => check("type.googleapis.com/a.B", sized({})), /'a\.B' is not supported/);
});
