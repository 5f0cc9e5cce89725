/** The names that the DNS server of the agent beside a proxy answers for. */
import { create } from "@bufbuild/protobuf";

import type { NameTable, NameTable_NameInfoSchema } from "../../wire/gen/es/dns/proto/nds_pb.ts";
import { NameTableSchema } from "../../wire/gen/es/dns/proto/nds_pb.ts";
import type { Init } from "./proto.ts";
import type { ClientView } from "./proxy-view.ts";

/** What names of services resolve to; wildcards and services without addresses are left to others. */
export function nameTable(view: ClientView): NameTable {
  const table: Record<string, Init<typeof NameTable_NameInfoSchema>> = {};
  const suffix = `.svc.${view.model.domain}`;
  for (const service of view.services) {
    const ips = service.addresses.filter((address) => !address.includes("/"));
    if (ips.length === 0 || service.hostname.startsWith("*")) continue;
    const isOfMesh = service.hostname.endsWith(suffix);
    table[service.hostname] = {
      ips,
      registry: isOfMesh ? "Kubernetes" : "External",
      ...(isOfMesh ? { shortname: service.name, namespace: service.namespace } : {}),
    };
  }
  return create(NameTableSchema, { table });
}
