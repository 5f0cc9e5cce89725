/**
 * Everything one sidecar (or gateway) process is started with. Whoever starts it writes this as
 * JSON to a file of mode 0600 and runs `heddle sidecar --options FILE`; nothing comes from the
 * environment.
 */
export interface SidecarOptions {
  /** xDS node id, Istio's form: `sidecar~<address>~<instance>.<namespace>~<namespace>.svc.<domain>`. */
  readonly nodeId: string;
  readonly instance: SidecarInstance;
  readonly dataPlane: "heddle" | "envoy";
  /** Path of the Envoy binary; present when `dataPlane` is `envoy`. */
  readonly envoyBinary?: string;
  readonly control: {
    /** `address:port` of xDS and CA over TLS. */
    readonly address: string;
    /** PEM file with the mesh's root certificate, which the control plane's certificate chains to. */
    readonly rootFile: string;
    /** File (0600) with the bearer token that proves which instance this is. */
    readonly tokenFile: string;
  };
  /** Folder of mode 0700 that only this sidecar uses: snapshot, key, certificate, `admin.sock`. */
  readonly stateDir: string;
  readonly capture: "transparent" | "explicit" | "gateway";
  /** Who does the I/O of Heddle's proxy; `auto` unless told, which takes epoll where it works. */
  readonly io?: "portable" | "epoll" | "auto";
  /** Data workers of Heddle's proxy; none unless told: then its main thread serves. */
  readonly concurrency?: number;
  /** Socket mark on the proxy's own connections, so that capture lets them pass (0x539). */
  readonly socketMark?: number;
  readonly ports: SidecarPorts;
  /** Address for :15020, :15021, :15090 (reached by the supervisor and the metrics store). */
  readonly statusAddress: string;
  /** `http://127.0.0.1:port/path` of the application's own metrics, merged into :15020. */
  readonly applicationMetricsUrl?: string;
  /** DNS server for names the mesh does not know, as `address:port`, asked over TCP. */
  readonly dnsUpstream?: string;
  readonly trustDomain: string;
  /** Where the access log goes; `-` is standard output. */
  readonly accessLogFile: string;
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly logFormat: "text" | "json";
}

export interface SidecarInstance {
  /** Unique in its namespace: `cart-0`. */
  readonly name: string;
  readonly workload: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Istio's port numbers by default; in explicit mode every sidecar gets a set of its own. */
export interface SidecarPorts {
  readonly admin: number;
  readonly outbound: number;
  readonly inbound: number;
  readonly mergedMetrics: number;
  readonly ready: number;
  readonly dns: number;
  readonly metrics: number;
}

export const defaultSidecarPorts: SidecarPorts = {
  admin: 15000,
  outbound: 15001,
  inbound: 15006,
  mergedMetrics: 15020,
  ready: 15021,
  dns: 15053,
  metrics: 15090,
};

/**
 * Where a captured workload's proxy asks for names, on the DNS port: beside the address to which its
 * application's questions are turned.
 */
export const proxyDnsAddress = "127.0.0.2";
