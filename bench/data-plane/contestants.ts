/** The proxies that are compared, and how each is started with its configuration file. */

export interface Contestant {
  readonly name: string;
  readonly does: string;
  readonly template: string;
  /** What its cost is put in relation to. */
  readonly reference: string;
  readonly command: (file: string, folder: string) => readonly string[];
}

export interface Programs {
  /** Path of its binary; its rows are left out without one. */
  readonly envoy: string | undefined;
  /** Heddle's main file: the bundle, as sidecars run it. */
  readonly heddle: string;
}

export function contestants({ envoy, heddle: main }: Programs): readonly Contestant[] {
  const heddle = (file: string, io: string): readonly string[] => [
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    "--max-semi-space-size=2",
    main,
    "proxy",
    "--config",
    file,
    "--log-level",
    "error",
    "--io",
    io,
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
    ...envoyOf("pair-h2", "two hops, mutual TLS and HTTP/2 between them", {
      template: "pair-h2.yaml",
      reference: "envoy-pair",
    }),
  ];
  return all;

  function envoyOf(
    kind: string,
    does: string,
    parts: Pick<Contestant, "template" | "reference">,
  ): readonly Contestant[] {
    if (envoy === undefined) return [];
    const options = ["--concurrency", "1", "--use-dynamic-base-id", "-l", "error"];
    const command = (file: string): readonly string[] => [envoy, "-c", file, ...options];
    return [{ name: `envoy-${kind}`, does, ...parts, command }];
  }

  function pairOf(kind: string, does: string, template: string): readonly Contestant[] {
    const reference = `envoy-${kind}`;
    const own = ["portable", "epoll"].map((io): Contestant => {
      const name = io === "portable" ? `heddle-${kind}` : `heddle-${kind}-${io}`;
      const command = (file: string): readonly string[] => heddle(file, io);
      return { name, does, template, reference, command };
    });
    return [...envoyOf(kind, does, { template, reference }), ...own];
  }
}
