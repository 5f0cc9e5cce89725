import type { JsonValue } from "@bufbuild/protobuf";

/** One kind of a proxy's configuration: a table for people, its JSON for programs. */
export interface View {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly json: readonly JsonValue[];
}
