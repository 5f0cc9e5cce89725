/**
 * Every field of the kinds that are honoured, as Istio's API lists them, each with its zero and with
 * values that say something. `#` in a path is the first item of a list.
 */
export interface FieldTable {
  readonly kind: string;
  readonly group: "networking" | "security";
  /** A spec that acts, and what has to stand beside it. */
  readonly base: Readonly<Record<string, unknown>>;
  readonly beside?: string;
  /** By path: the zero, then others. */
  readonly fields: Readonly<Record<string, readonly unknown[]>>;
}

const destination = { host: "cart" };
const text = ["", "a"];
const flag = [false, true];
const duration = ["0s", "3s"];
const count = [0, 7];
const match = { exact: "a" };

const route = { route: [{ destination }] };
const toCart = { hosts: ["cart"], http: [{ match: [{ uri: { prefix: "/a" } }], ...route }] };
const splitting = {
  hosts: ["cart"],
  http: [
    {
      route: [
        { destination, weight: 50 },
        { destination: { host: "web" }, weight: 50 },
      ],
    },
  ],
};
const withoutRoute = (action: unknown): Readonly<Record<string, unknown>> => ({
  hosts: ["cart"],
  http: [action],
});

const at = "trafficPolicy";
const trafficPolicy: FieldTable["fields"] = {
  [`${at}.loadBalancer.simple`]: ["UNSPECIFIED", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN"],
  [`${at}.loadBalancer.consistentHash.httpHeaderName`]: text,
  [`${at}.loadBalancer.consistentHash.useSourceIp`]: flag,
  [`${at}.loadBalancer.consistentHash.httpQueryParameterName`]: text,
  [`${at}.loadBalancer.consistentHash.httpCookie`]: [{}, { name: "a", ttl: "3s" }],
  [`${at}.loadBalancer.localityLbSetting`]: [{}, { enabled: true }],
  [`${at}.loadBalancer.localityLbSetting.enabled`]: flag,
  [`${at}.loadBalancer.zoneAwareLbSetting.enabled`]: flag,
  [`${at}.loadBalancer.warmup`]: [{}, { duration: "3s" }],
  [`${at}.loadBalancer.warmupDurationSecs`]: duration,
  [`${at}.connectionPool.tcp.maxConnections`]: count,
  [`${at}.connectionPool.tcp.connectTimeout`]: duration,
  [`${at}.connectionPool.tcp.tcpKeepalive`]: [{}, { time: "3s" }],
  [`${at}.connectionPool.tcp.tcpKeepalive.probes`]: count,
  [`${at}.connectionPool.tcp.tcpKeepalive.time`]: duration,
  [`${at}.connectionPool.tcp.tcpKeepalive.interval`]: duration,
  [`${at}.connectionPool.tcp.maxConnectionDuration`]: duration,
  [`${at}.connectionPool.tcp.idleTimeout`]: duration,
  [`${at}.connectionPool.http.http1MaxPendingRequests`]: count,
  [`${at}.connectionPool.http.http2MaxRequests`]: count,
  [`${at}.connectionPool.http.maxRequestsPerConnection`]: count,
  [`${at}.connectionPool.http.maxRetries`]: count,
  [`${at}.connectionPool.http.idleTimeout`]: duration,
  [`${at}.connectionPool.http.h2UpgradePolicy`]: ["DEFAULT", "UPGRADE", "DO_NOT_UPGRADE"],
  [`${at}.connectionPool.http.useClientProtocol`]: flag,
  [`${at}.connectionPool.http.maxConcurrentStreams`]: count,
  [`${at}.connectionPool.http.http2KeepAlive`]: [{}, { interval: "3s" }],
  [`${at}.outlierDetection`]: [{}, { interval: "3s" }],
  [`${at}.outlierDetection.splitExternalLocalOriginErrors`]: flag,
  [`${at}.outlierDetection.consecutiveLocalOriginFailures`]: count,
  [`${at}.outlierDetection.consecutiveGatewayErrors`]: count,
  [`${at}.outlierDetection.consecutive5xxErrors`]: count,
  [`${at}.outlierDetection.consecutiveErrors`]: count,
  [`${at}.outlierDetection.interval`]: duration,
  [`${at}.outlierDetection.baseEjectionTime`]: duration,
  [`${at}.outlierDetection.maxEjectionPercent`]: count,
  [`${at}.outlierDetection.minHealthPercent`]: count,
  [`${at}.outlierDetection.outlierDetectionHttpErrorCodes`]: [[], ["500"]],
  [`${at}.tls`]: [{}, { mode: "SIMPLE" }, { mode: "DISABLE" }],
};

const tls = (mode: string, more: object = {}): FieldTable => ({
  kind: "DestinationRule",
  group: "networking",
  base: { host: "cart", trafficPolicy: { tls: { mode, ...more } } },
  fields: {
    "trafficPolicy.tls.sni": text,
    "trafficPolicy.tls.subjectAltNames": [[], ["a"]],
    "trafficPolicy.tls.caCertificates": text,
    "trafficPolicy.tls.clientCertificate": text,
    "trafficPolicy.tls.privateKey": text,
    "trafficPolicy.tls.credentialName": text,
    "trafficPolicy.tls.caCrl": text,
    "trafficPolicy.tls.insecureSkipVerify": flag,
  },
});

const hash = (more: object): FieldTable["base"] => ({
  host: "cart",
  trafficPolicy: { loadBalancer: { consistentHash: more } },
});
const hashAt = "trafficPolicy.loadBalancer.consistentHash";

export const tables: readonly FieldTable[] = [
  {
    kind: "VirtualService",
    group: "networking",
    base: toCart,
    fields: {
      hosts: [[], ["web"]],
      gateways: [[], ["mesh"], ["none"]],
      exportTo: [[], ["."], ["*"]],
      tls: [[], [{ match: [{ sniHosts: ["a"] }], ...route }]],
      tcp: [[], [{ route: [{ destination: { host: "web" } }] }]],
      "http.#.name": text,
      "http.#.match": [[], [{ method: match }]],
      "http.#.timeout": duration,
      "http.#.rewrite": [{}, { uri: "/b" }],
      "http.#.rewrite.uri": text,
      "http.#.rewrite.authority": text,
      "http.#.rewrite.uriRegexRewrite": [{}, { match: "/a", rewrite: "/b" }],
      "http.#.retries": [{}, { attempts: 7 }],
      "http.#.retries.attempts": count,
      "http.#.retries.perTryTimeout": duration,
      "http.#.retries.retryOn": ["", "5xx"],
      "http.#.retries.retryRemoteLocalities": flag,
      "http.#.retries.retryIgnorePreviousHosts": flag,
      "http.#.retries.backoff": duration,
      "http.#.fault": [{}, { abort: { httpStatus: 500 } }],
      "http.#.fault.delay": [{}, { fixedDelay: "3s" }, { exponentialDelay: "3s" }],
      "http.#.fault.delay.percent": count,
      "http.#.fault.abort": [
        {},
        { httpStatus: 500 },
        { grpcStatus: "INTERNAL" },
        { http2Error: "a" },
      ],
      "http.#.mirror": [{}, { host: "web" }],
      "http.#.mirrors": [[], [{ destination: { host: "web" } }]],
      "http.#.mirrorPercent": count,
      "http.#.corsPolicy": [{}, { allowOrigins: [match] }],
      "http.#.corsPolicy.allowOrigins": [[], [match]],
      "http.#.corsPolicy.allowOrigin": [[], ["a"]],
      "http.#.corsPolicy.allowMethods": [[], ["GET"]],
      "http.#.corsPolicy.allowHeaders": [[], ["a"]],
      "http.#.corsPolicy.exposeHeaders": [[], ["a"]],
      "http.#.corsPolicy.maxAge": duration,
      "http.#.corsPolicy.allowCredentials": flag,
      "http.#.corsPolicy.unmatchedPreflights": ["UNSPECIFIED", "FORWARD", "IGNORE"],
      "http.#.headers.request.set": [{}, { a: "b" }],
      "http.#.headers.request.add": [{}, { a: "b" }],
      "http.#.headers.request.remove": [[], ["a"]],
      "http.#.headers.response.set": [{}, { a: "b" }],
      "http.#.headers.response.add": [{}, { a: "b" }],
      "http.#.headers.response.remove": [[], ["a"]],
      "http.#.match.#.name": text,
      "http.#.match.#.uri": [{}, { exact: "/b" }, { regex: "/b" }],
      "http.#.match.#.scheme": [{}, match],
      "http.#.match.#.method": [{}, match],
      "http.#.match.#.authority": [{}, match],
      "http.#.match.#.headers": [{}, { a: match }, { a: {} }],
      "http.#.match.#.port": [0, 81],
      "http.#.match.#.sourceLabels": [{}, { app: "a" }],
      "http.#.match.#.gateways": [[], ["none"]],
      "http.#.match.#.queryParams": [{}, { a: match }],
      "http.#.match.#.ignoreUriCase": flag,
      "http.#.match.#.withoutHeaders": [{}, { a: match }],
      "http.#.match.#.sourceNamespace": text,
      "http.#.match.#.statPrefix": text,
      "http.#.route.#.destination.subset": ["", "v1"],
      "http.#.route.#.destination.port": [{}, { number: 81 }],
      "http.#.route.#.weight": count,
      "http.#.route.#.headers": [{}, { request: { set: { a: "b" } } }],
    },
  },
  {
    kind: "VirtualService",
    group: "networking",
    base: splitting,
    fields: { "http.#.route.#.weight": count },
  },
  {
    kind: "VirtualService",
    group: "networking",
    base: {
      hosts: ["cart"],
      http: [
        {
          ...route,
          mirror: { host: "web" },
          fault: { delay: { fixedDelay: "3s" }, abort: { httpStatus: 500 } },
        },
      ],
    },
    fields: {
      "http.#.mirrorPercentage": [{}, { value: 0 }, { value: 7 }],
      "http.#.fault.delay.percentage": [{}, { value: 0 }, { value: 7 }],
      "http.#.fault.abort.percentage": [{}, { value: 0 }, { value: 7 }],
      "http.#.fault.abort.httpStatus": [0, 503],
      "http.#.fault.delay.fixedDelay": ["0s", "5s"],
      "http.#.mirror.subset": ["", "v1"],
      "http.#.mirror.port": [{}, { number: 81 }],
    },
  },
  {
    kind: "VirtualService",
    group: "networking",
    base: { hosts: ["cart"], http: [{ ...route, mirrors: [{ destination: { host: "web" } }] }] },
    fields: { "http.#.mirrors.#.percentage": [{}, { value: 0 }, { value: 7 }] },
  },
  {
    kind: "VirtualService",
    group: "networking",
    base: withoutRoute({ redirect: { uri: "/b" } }),
    fields: {
      "http.#.redirect": [{}, { authority: "a" }],
      "http.#.redirect.uri": ["", "/c"],
      "http.#.redirect.authority": text,
      "http.#.redirect.port": [0, 81],
      "http.#.redirect.derivePort": ["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"],
      "http.#.redirect.scheme": ["", "https"],
      "http.#.redirect.redirectCode": [0, 308],
      "http.#.redirect.prefixRewrite": text,
    },
  },
  {
    kind: "VirtualService",
    group: "networking",
    base: withoutRoute({ directResponse: { status: 200 } }),
    fields: {
      "http.#.directResponse.status": [0, 503],
      "http.#.directResponse.body": [{}, { string: "a" }, { bytes: "YQ==" }],
      "http.#.delegate": [{}, { name: "a" }],
    },
  },
  {
    kind: "VirtualService",
    group: "networking",
    base: {
      hosts: ["ledger"],
      tcp: [{ match: [{ port: 9000 }], route: [{ destination: { host: "cart" } }] }],
    },
    fields: {
      "tcp.#.match": [[], [{ port: 1 }]],
      "tcp.#.match.#.port": [0, 81],
      "tcp.#.match.#.destinationSubnets": [[], ["10.0.0.0/8"]],
      "tcp.#.match.#.sourceSubnet": ["", "10.0.0.0/8"],
      "tcp.#.match.#.sourceLabels": [{}, { app: "a" }],
      "tcp.#.match.#.gateways": [[], ["none"]],
      "tcp.#.match.#.sourceNamespace": text,
      "tcp.#.route.#.weight": count,
      "tcp.#.route.#.destination.port": [{}, { number: 9000 }],
    },
  },
  {
    kind: "VirtualService",
    group: "networking",
    base: {
      hosts: ["vault"],
      tls: [{ match: [{ sniHosts: ["vault"] }], route: [{ destination: { host: "cart" } }] }],
    },
    fields: {
      "tls.#.match": [[], [{ sniHosts: ["vault"], port: 1 }]],
      "tls.#.match.#.sniHosts": [[], ["other"]],
      "tls.#.match.#.port": [0, 81],
      "tls.#.match.#.destinationSubnets": [[], ["10.0.0.0/8"]],
      "tls.#.match.#.sourceLabels": [{}, { app: "a" }],
      "tls.#.match.#.gateways": [[], ["none"]],
      "tls.#.match.#.sourceNamespace": text,
      "tls.#.route": [[]],
      "tls.#.route.#.weight": count,
      "tls.#.route.#.headers": [{}, { request: { set: { a: "b" } } }],
      "tls.#.route.#.destination.port": [{}, { number: 443 }],
    },
  },
  {
    kind: "DestinationRule",
    group: "networking",
    base: {
      host: "ledger",
      trafficPolicy: { connectionPool: { tcp: {} }, tunnel: { targetHost: "b", targetPort: 2 } },
    },
    fields: {
      [`${at}.connectionPool.tcp.idleTimeout`]: duration,
      [`${at}.connectionPool.tcp.maxConnectionDuration`]: duration,
      [`${at}.loadBalancer.consistentHash.useSourceIp`]: flag,
      [`${at}.tunnel.protocol`]: ["", "CONNECT", "POST"],
      [`${at}.tunnel.targetHost`]: text,
      [`${at}.tunnel.targetPort`]: [0, 7],
    },
  },
  {
    kind: "DestinationRule",
    group: "networking",
    base: {
      host: "cart",
      trafficPolicy: { connectionPool: { http: { h2UpgradePolicy: "UPGRADE" } } },
    },
    fields: {
      [`${at}.connectionPool.http.maxConcurrentStreams`]: count,
      [`${at}.connectionPool.http.useClientProtocol`]: flag,
      [`${at}.connectionPool.http.http2KeepAlive`]: [{}, { interval: "3s", timeout: "1s" }],
      [`${at}.connectionPool.http.http2KeepAlive.interval`]: duration,
      [`${at}.connectionPool.http.http2KeepAlive.timeout`]: duration,
    },
  },
  {
    kind: "DestinationRule",
    group: "networking",
    base: { host: "cart", subsets: [{ name: "v1", labels: { version: "v1" } }], trafficPolicy: {} },
    fields: {
      host: ["", "web"],
      exportTo: [[], ["."]],
      workloadSelector: [{}, { matchLabels: { app: "web" } }],
      subsets: [[], [{ name: "v2" }]],
      "subsets.#.name": ["", "v2"],
      "subsets.#.labels": [{}, { version: "v2" }],
      "trafficPolicy.portLevelSettings": [[], [{ port: { number: 80 }, tls: { mode: "SIMPLE" } }]],
      "trafficPolicy.tunnel": [{}, { targetHost: "a", targetPort: 1 }],
      "trafficPolicy.proxyProtocol": [{}, { version: "V2" }],
      "trafficPolicy.retryBudget": [{}, { percent: 7 }],
      ...trafficPolicy,
      "subsets.#.trafficPolicy": [{}, { loadBalancer: { simple: "RANDOM" } }],
    },
  },
  tls("SIMPLE"),
  tls("DISABLE"),
  tls("ISTIO_MUTUAL"),
  tls("MUTUAL", { clientCertificate: "/c", privateKey: "/k" }),
  {
    kind: "DestinationRule",
    group: "networking",
    base: hash({ httpHeaderName: "a" }),
    fields: {
      [`${hashAt}.ringHash`]: [{}, { minimumRingSize: 7 }],
      [`${hashAt}.ringHash.minimumRingSize`]: count,
      [`${hashAt}.maglev`]: [{}, { tableSize: 7 }],
      [`${hashAt}.maglev.tableSize`]: count,
      [`${hashAt}.minimumRingSize`]: count,
    },
  },
  {
    kind: "DestinationRule",
    group: "networking",
    base: hash({ httpCookie: { name: "a" } }),
    fields: {
      [`${hashAt}.httpCookie.name`]: ["", "b"],
      [`${hashAt}.httpCookie.path`]: text,
      [`${hashAt}.httpCookie.ttl`]: duration,
      [`${hashAt}.httpCookie.attributes`]: [[], [{ name: "a" }]],
    },
  },
  {
    kind: "ServiceEntry",
    group: "networking",
    base: {
      hosts: ["a.example"],
      ports: [{ number: 80, name: "http" }],
      resolution: "STATIC",
      endpoints: [{ address: "10.0.0.1" }, { address: "10.0.0.2" }],
    },
    fields: {
      hosts: [[], ["b.example"]],
      addresses: [[], ["10.0.0.9"]],
      ports: [[], [{ number: 81, name: "http" }]],
      "ports.#.number": [0, 81],
      "ports.#.name": ["", "tcp"],
      "ports.#.protocol": ["", "TCP"],
      "ports.#.targetPort": [0, 81],
      location: ["MESH_EXTERNAL"],
      resolution: ["NONE", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"],
      endpoints: [[], [{ address: "10.0.0.3" }]],
      "endpoints.#.address": ["", "10.0.0.3"],
      "endpoints.#.ports": [{}, { http: 81 }],
      "endpoints.#.labels": [{}, { version: "v1" }],
      "endpoints.#.network": text,
      "endpoints.#.locality": text,
      "endpoints.#.weight": count,
      "endpoints.#.serviceAccount": text,
      workloadSelector: [{}, { labels: { app: "cart" } }],
      exportTo: [[], ["."]],
      subjectAltNames: [[], ["a"]],
    },
    beside: `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: for-entry }
spec: { host: a.example, trafficPolicy: { tls: { mode: ISTIO_MUTUAL } }, subsets: [{ name: v1, labels: { version: v1 } }] }
`,
  },
  {
    kind: "ServiceEntry",
    group: "networking",
    base: { hosts: ["a.example"], ports: [{ number: 80, name: "http" }], resolution: "DNS" },
    fields: { location: ["MESH_EXTERNAL", "MESH_INTERNAL"] },
  },
  {
    kind: "Gateway",
    group: "networking",
    base: {
      selector: { istio: "ingress" },
      servers: [{ port: { number: 80, protocol: "HTTP" }, hosts: ["*"] }],
    },
    beside: `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: for-gateway }
spec: { hosts: [shop.example], gateways: [x], http: [{ route: [{ destination: { host: cart } }] }] }
`,
    fields: {
      selector: [{}, { istio: "other" }],
      servers: [[], [{ port: { number: 81, protocol: "HTTP" }, hosts: ["*"] }]],
      "servers.#.name": text,
      "servers.#.port.number": [0, 81],
      "servers.#.port.name": text,
      "servers.#.port.protocol": ["", "HTTPS", "TCP"],
      "servers.#.port.targetPort": [0, 81],
      "servers.#.bind": ["", "127.0.0.1"],
      "servers.#.hosts": [[], ["other.example"]],
      "servers.#.defaultEndpoint": text,
      ...Object.fromEntries(
        "serverCertificate privateKey caCertificates caCrl credentialName caCertCredentialName"
          .split(" ")
          .map((name) => [`servers.#.tls.${name}`, text]),
      ),
      "servers.#.tls.httpsRedirect": flag,
      "servers.#.tls.mode": ["PASSTHROUGH", "SIMPLE"],
      "servers.#.tls.credentialNames": [[], ["a"]],
      "servers.#.tls.tlsCertificates": [[], [{ privateKey: "a" }]],
      "servers.#.tls.subjectAltNames": [[], ["a"]],
      "servers.#.tls.verifyCertificateSpki": [[], ["a"]],
      "servers.#.tls.verifyCertificateHash": [[], ["a"]],
      "servers.#.tls.minProtocolVersion": ["TLS_AUTO", "TLSV1_3"],
      "servers.#.tls.maxProtocolVersion": ["TLS_AUTO", "TLSV1_3"],
      "servers.#.tls.cipherSuites": [[], ["a"]],
      "servers.#.tls.insecureSkipVerify": flag,
    },
  },
  {
    kind: "PeerAuthentication",
    group: "security",
    base: { selector: { matchLabels: { app: "cart" } }, mtls: { mode: "STRICT" } },
    fields: {
      selector: [{}, { matchLabels: { app: "web" } }],
      "selector.matchLabels": [{}, { app: "web" }],
      mtls: [{}, { mode: "DISABLE" }],
      "mtls.mode": ["UNSET", "DISABLE", "PERMISSIVE"],
      portLevelMtls: [{}, { 8080: { mode: "DISABLE" } }, { 8080: { mode: "PERMISSIVE" } }],
    },
  },
  {
    kind: "AuthorizationPolicy",
    group: "security",
    base: {
      selector: { matchLabels: { app: "cart" } },
      rules: [
        {
          from: [{ source: { ipBlocks: ["10.0.0.0/8"] } }],
          to: [{ operation: { methods: ["GET"] } }],
          when: [{ key: "source.namespace", values: ["a"] }],
        },
      ],
    },
    fields: {
      selector: [{}, { matchLabels: { app: "web" } }],
      targetRef: [{}, { kind: "Gateway", name: "a" }],
      targetRefs: [[], [{ kind: "Gateway", name: "a" }]],
      action: ["ALLOW", "DENY", "AUDIT", "CUSTOM"],
      provider: [{}, { name: "a" }],
      rules: [[], [{}]],
      "rules.#.from": [[], [{ source: { namespaces: ["a"] } }]],
      "rules.#.to": [[], [{ operation: { paths: ["/a"] } }]],
      "rules.#.when": [[], [{ key: "source.ip", values: ["10.0.0.1"] }]],
      "rules.#.when.#.key": ["", "source.principal"],
      "rules.#.when.#.values": [[], ["b"]],
      "rules.#.when.#.notValues": [[], ["b"]],
      ...Object.fromEntries(
        "principals requestPrincipals namespaces serviceAccounts trustDomains"
          .split(" ")
          .flatMap((name) => [name, `not${name.charAt(0).toUpperCase()}${name.slice(1)}`])
          .map((name) => [`rules.#.from.#.source.${name}`, [[], ["a"]]]),
      ),
      ...Object.fromEntries(
        "ipBlocks notIpBlocks remoteIpBlocks notRemoteIpBlocks"
          .split(" ")
          .map((name) => [`rules.#.from.#.source.${name}`, [[], ["10.0.0.1"]]]),
      ),
      ...Object.fromEntries(
        "hosts notHosts paths notPaths methods notMethods"
          .split(" ")
          .map((name) => [`rules.#.to.#.operation.${name}`, [[], ["/b"]]]),
      ),
      "rules.#.to.#.operation.ports": [[], ["81"]],
      "rules.#.to.#.operation.notPorts": [[], ["8080"]],
    },
  },
];
