/** Findings about ServiceEntries whose connections of TCP cannot be told from those to another host. */
import type { Problem } from "../../base/problem.ts";
import type { MeshModel, MeshService } from "../mesh-model.ts";
import { problemOf } from "./finding.ts";
import { isVisible } from "./lookup.ts";
import { tcpClaims } from "./tcp-claims.ts";

/** Services of ServiceEntries that no captured caller reaches by TCP, because another has their place. */
export function checkTcpPlaces(model: MeshModel): Problem[] {
  const found = new Map<string, Problem>();
  const callers = model.instances.filter(
    ({ role, capture }) => role === "workload" && capture === "transparent",
  );
  const namespaces = new Set(callers.map((caller) => caller.namespace));
  for (const visible of distinctViews([...model.services.values()], namespaces)) {
    for (const { service, port, loses } of tcpClaims(visible)) {
      const { entry, hostname } = service;
      if (loses === undefined || entry === undefined) continue;
      const index = (entry.spec.ports ?? []).findIndex(({ number }) => number === port.number);
      const other = `${loses.service.hostname} (${loses.port.name})`;
      const finding = {
        code: "serviceentry.indistinct",
        path: `spec.ports[${index}]`,
        message: `connections to port ${port.number} of ${hostname} cannot be told from those to ${other}, which gets them`,
        hint: "give it addresses of its own, or a resolution and a host without wildcard",
      };
      found.set(`${hostname}:${port.number}`, problemOf(entry, finding));
    }
  }
  return [...found.values()];
}

/** What callers in each namespace see, where it is the same once: most see what all do. */
function distinctViews(
  services: readonly MeshService[],
  namespaces: ReadonlySet<string>,
): readonly (readonly MeshService[])[] {
  const isForAll = ({ exportTo }: MeshService): boolean =>
    exportTo.length === 0 || exportTo.includes("*");
  const restricted = services.filter((one) => !isForAll(one));
  const named = restricted.flatMap(({ exportTo, namespace }) =>
    exportTo.map((name) => (name === "." ? namespace : name)),
  );
  const special = new Set(named.filter((name) => namespaces.has(name)));
  const views = [...special].map((viewer) =>
    services.filter((one) => isVisible(one.exportTo, one.namespace, viewer)),
  );
  return namespaces.size === special.size ? views : [...views, services.filter(isForAll)];
}
