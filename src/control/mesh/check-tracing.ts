/** Findings about tracing: spans that nobody is there to take. */
import type { Problem } from "../../base/problem.ts";
import type { MeshModel } from "../mesh-model.ts";
import { hostHint } from "./finding.ts";

export function checkTracing(model: MeshModel): Problem[] {
  const { tracing } = model.settings;
  if (tracing === undefined) return [];
  const { service: host, port, source } = tracing;
  const service = model.services.get(host);
  if (service?.ports.some(({ number }) => number === port) === true) return [];
  const ports = service?.ports.map(({ number }) => number).join(", ");
  return [
    {
      code: "meshconfig.collector-not-found",
      severity: "error",
      path: "meshConfig.extensionProviders",
      message:
        service === undefined
          ? `no service is called ${host}, so no spans are sent`
          : `${host} has no port ${port}, so no spans are sent; it has ${ports}`,
      hint:
        service === undefined
          ? hostHint(model, host, model.settings.rootNamespace)
          : "name one of its ports",
      ...(source === undefined ? {} : { source }),
    },
  ];
}
