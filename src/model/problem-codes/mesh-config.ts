/** Codes of problems with settings of the whole mesh. */
export const meshConfigCodes: Readonly<Record<string, string>> = {
  "meshconfig.no-tracing-provider":
    "Tracing is on, or a provider is named, and none says where spans go.",
  "meshconfig.collector-not-found": "No service has the name and port where spans are sent.",
  "meshconfig.bad-access-log-format": "A JSON access-log format is no JSON object.",
  "meshconfig.restart-needed": "A setting that is fixed while the mesh runs was changed.",
};
