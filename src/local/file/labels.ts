/** Names and labels as Kubernetes allows them, and the labels Istio derives. */

/** RFC 1123 label: lower case letters, digits, `-`; at most 63. */
export function isDnsLabel(text: string): boolean {
  return /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text);
}

/** The labels given, with `app`, `version` and Istio's canonical name and revision filled in. */
export function completeLabels(
  given: Readonly<Record<string, string>>,
  app: string,
  version: string,
): Readonly<Record<string, string>> {
  const labels: Record<string, string> = { app, version, ...given };
  labels["service.istio.io/canonical-name"] ??= labels["app"] ?? app;
  labels["service.istio.io/canonical-revision"] ??= labels["version"] ?? version;
  return labels;
}
