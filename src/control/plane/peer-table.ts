import { fromJson, toBinary } from "@bufbuild/protobuf";
import { StructSchema } from "@bufbuild/protobuf/wkt";

import type { WorkloadInstance } from "../../model/workload.ts";
import { type EncodedResource, encodedResource } from "../../xds/snapshot.ts";
import { peerMetadata } from "../translate/metadata.ts";
import { proxyIdOf } from "./proxy-snapshots.ts";

/**
 * Who each certificate subject is: what agents resolve peers with (docs/decisions/0003). The same for
 * every proxy; a row is encoded again only when it changed.
 */
export class PeerTable {
  #rows: ReadonlyMap<string, Row> = new Map();

  update(instances: Iterable<WorkloadInstance>): readonly EncodedResource[] {
    const rows = new Map<string, Row>();
    for (const instance of instances) {
      const name = proxyIdOf(instance);
      const metadata = peerMetadata(instance);
      const key = JSON.stringify(metadata);
      const known = this.#rows.get(name);
      rows.set(name, known?.key === key ? known : { key, resource: encode(name, metadata) });
    }
    this.#rows = rows;
    return [...rows.values()].map(({ resource }) => resource);
  }
}

interface Row {
  readonly key: string;
  readonly resource: EncodedResource;
}

function encode(name: string, metadata: Readonly<Record<string, string>>): EncodedResource {
  return encodedResource(name, toBinary(StructSchema, fromJson(StructSchema, { ...metadata })));
}
