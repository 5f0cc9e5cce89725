/** The proxies that are compared, and how each is started with its configuration file. */

export interface Contestant {
  readonly name: string;
  readonly does: string;
  readonly template: string;
  /** What its cost is put in relation to. */
  readonly reference: string;
  readonly command: (file: string, folder: string) => readonly string[];
}

/** `envoy` is the path of its binary; its rows are left out without one. */
export function contestants(envoy: string | undefined): readonly Contestant[] {
  const heddle = (file: string): readonly string[] => [
    process.execPath,
    "src/cli/main.ts",
    "proxy",
    "--config",
    file,
    "--log-level",
    "error",
  ];
  const all: readonly Contestant[] = [
    {
      name: "nginx",
      does: "plain proxy",
      template: "nginx.conf",
      reference: "envoy-mesh",
      command: (file, folder) => ["nginx", "-p", folder, "-c", file],
    },
    {
      name: "haproxy",
      does: "plain proxy",
      template: "haproxy.cfg",
      reference: "envoy-mesh",
      command: (file) => ["haproxy", "-f", file],
    },
    ...pairOf("plain", "routing only", "plain.yaml"),
    ...pairOf(
      "mesh",
      "RBAC, CORS, fault, Istio's metrics, JSON access log, 10 % traced",
      "mesh.yaml",
    ),
    ...pairOf("pair", "two hops, mutual TLS and HTTP/1.1 between them", "pair.yaml"),
  ];
  return all;

  function pairOf(kind: string, does: string, template: string): readonly Contestant[] {
    const reference = `envoy-${kind}`;
    const own: Contestant = { name: `heddle-${kind}`, does, template, reference, command: heddle };
    if (envoy === undefined) return [own];
    const options = ["--concurrency", "1", "--use-dynamic-base-id", "-l", "error"];
    const command = (file: string): readonly string[] => [envoy, "-c", file, ...options];
    return [{ name: reference, does, template, reference, command }, own];
  }
}
