import assert from "node:assert/strict";
import { test } from "node:test";

import { create, type DescFile, toBinary } from "@bufbuild/protobuf";
import { fileDesc as fileDescOfLibrary } from "@bufbuild/protobuf/codegenv2";
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";

import { fileDesc } from "./file-desc.ts";

interface Written {
  readonly name: string;
  readonly imports: readonly DescFile[];
  /** Messages that its one message has a field of each. */
  readonly fields: readonly string[];
  /** Of its imports, by place. */
  readonly handsOn?: readonly number[];
}

/** As the generator writes a file with the message `name.M`. */
function write({ name, imports, fields, handsOn = [] }: Written): string {
  const field = fields.map((typeName, i) => ({
    name: `field_${i}`,
    number: i + 1,
    label: Label.OPTIONAL,
    type: Type.MESSAGE,
    typeName: `.${typeName}`,
  }));
  const file = create(FileDescriptorProtoSchema, {
    name: `${name}.proto`,
    package: name,
    syntax: "proto3",
    dependency: imports.map(({ proto }) => proto.name),
    publicDependency: [...handsOn],
    messageType: [{ name: "M", field }],
  });
  return Buffer.from(toBinary(FileDescriptorProtoSchema, file)).toString("base64");
}

function make(written: Written): DescFile {
  return fileDesc(write(written), [...written.imports]);
}

test("fileDesc() makes what the library makes", () => {
  const a = make({ name: "a", imports: [], fields: [] });
  const b = make({ name: "b", imports: [a], fields: ["a.M"] });
  const written = write({ name: "c", imports: [a, b], fields: ["a.M", "b.M", "c.M"] });
  const own = fileDesc(written, [a, b]);
  const theirs = fileDescOfLibrary(written, [a, b]);
  assert.deepEqual(own.proto, theirs.proto);
  assert.equal(String(own.messages[0]?.fields), String(theirs.messages[0]?.fields));
  assert.deepEqual(Object.keys(own), Object.keys(theirs));
});

test("fileDesc() leads to the very descriptors that were imported", () => {
  const a = make({ name: "a", imports: [], fields: [] });
  const b = make({ name: "b", imports: [a], fields: ["a.M"] });
  assert.equal(b.dependencies[0], a);
  assert.equal(b.messages[0]?.fields[0]?.message, a.messages[0]);
});

test("fileDesc() knows what an import hands on, however far, and nothing that it does not", () => {
  const a = make({ name: "a", imports: [], fields: [] });
  const b = make({ name: "b", imports: [a], fields: [], handsOn: [0] });
  const c = make({ name: "c", imports: [b], fields: [], handsOn: [0] });
  const d = make({ name: "d", imports: [c], fields: ["a.M"] });
  assert.equal(d.messages[0]?.fields[0]?.message, a.messages[0]);
  const e = make({ name: "e", imports: [a], fields: [] });
  assert.throws(() => make({ name: "f", imports: [e], fields: ["a.M"] }), /a\.M not found/);
});

test("fileDesc() looks at a file once for each that imports it, by however many ways it is reached", () => {
  let looks = 0;
  const first: DescFile = {
    ...make({ name: "f0", imports: [], fields: [] }),
    get dependencies() {
      looks++;
      return [];
    },
  };
  // Each imports the two before it: 144 ways lead from the last to the first.
  const files = [first];
  for (let i = 1; i <= 12; i++) {
    files.push(make({ name: `f${i}`, imports: files.slice(-2), fields: [] }));
  }
  assert.equal(looks, 2);
});
