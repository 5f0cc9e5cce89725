/** Versions, ciphers, curves and signatures of TLS, as OpenSSL takes them. */
import tls from "node:tls";

import { HeddleError } from "../../base/error.ts";
import {
  TlsParameters_TlsProtocol as Protocol,
  type TlsParameters,
} from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/common.ts";

export interface ParameterPlan {
  readonly versions: {
    readonly minVersion: tls.SecureVersion;
    readonly maxVersion: tls.SecureVersion;
  };
  /** Names of TLS 1.3 and 1.2, in one list. */
  readonly ciphers: string;
  /** A client whose first is ChaCha20 has it, whatever stands first here. */
  readonly yieldsToChaCha: boolean;
  readonly curves: string | undefined;
  /** In order of preference; undefined: OpenSSL's own. */
  readonly signatures: string | undefined;
}

// AES-128 first: it is what the peers' processors do fastest, and 1.3 leaves no weak choice.
const ciphers13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
const ciphers12 = [
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
];

/** Throws `tls-unsupported`. */
export function planParameters(parameters: TlsParameters | undefined): ParameterPlan {
  const suites = parameters?.cipherSuites ?? [];
  // Envoy writes groups of equal preference as [A|B], and the client's order counts within one. OpenSSL
  // knows order only, but for ChaCha20, which clients put first that have no instructions for AES.
  const chosen = suites.flatMap((suite) => suite.replaceAll(/[[\]]/g, "").split("|"));
  const curves = parameters?.ecdhCurves ?? [];
  const known = chosen.filter((suite) => tls.getCiphers().includes(suite.toLowerCase()));
  // Falling back on ours would offer what was not asked for.
  if (chosen.length > 0 && known.length === 0) {
    throw new HeddleError("tls-unsupported", `no cipher suite of ${chosen.join(", ")} is known`);
  }
  if (curves.length > 0) checkNames("an ECDH curve", curves, { ecdhCurve: curves.join(":") });
  const signatures = parameters?.signatureAlgorithms ?? [];
  if (signatures.length > 0) {
    checkNames("a signature algorithm", signatures, { sigalgs: signatures.join(":") });
  }
  if ((parameters?.compliancePolicies.length ?? 0) > 0) {
    throw new HeddleError("tls-unsupported", "compliance_policies is not supported");
  }
  return {
    versions: {
      minVersion: versionOf(parameters?.tlsMinimumProtocolVersion, "TLSv1.2"),
      maxVersion: versionOf(parameters?.tlsMaximumProtocolVersion, "TLSv1.3"),
    },
    ciphers: [ciphers13, ...(known.length === 0 ? ciphers12 : known)].join(":"),
    yieldsToChaCha: suites.length === 0 || isFirstAmongEquals(suites),
    curves: curves.length === 0 ? undefined : curves.join(":"),
    signatures: signatures.length === 0 ? undefined : signatures.join(":"),
  };
}

/** Whether ChaCha20 stands in a group, and nothing that goes with the same certificates stands before it. */
function isFirstAmongEquals(suites: readonly string[]): boolean {
  const before = new Set<boolean>();
  let isGrouped = false;
  for (const suite of suites) {
    const names = suite.replaceAll(/[[\]]/g, "").split("|");
    for (const name of names.filter((one) => one.includes("CHACHA20"))) {
      // OpenSSL would put it before everything, and the client would choose against the order.
      if (before.has(name.includes("ECDSA"))) return false;
      isGrouped ||= names.length > 1;
    }
    for (const name of names) before.add(name.includes("ECDSA"));
  }
  return isGrouped;
}

/** Before the secrets come: a name that OpenSSL does not know would fail every handshake. */
function checkNames(
  what: string,
  names: readonly string[],
  options: tls.SecureContextOptions,
): void {
  try {
    tls.createSecureContext({ ...options, ca: [] });
  } catch (cause) {
    const message = `${what} of ${names.join(", ")} is not known`;
    throw new HeddleError("tls-unsupported", message, { cause });
  }
}

function versionOf(version: Protocol | undefined, automatic: tls.SecureVersion): tls.SecureVersion {
  if (version === undefined || version === Protocol.TLS_AUTO) return automatic;
  if (version === Protocol.TLSv1_2) return "TLSv1.2";
  if (version === Protocol.TLSv1_3) return "TLSv1.3";
  throw new HeddleError("tls-unsupported", "TLS 1.0 and 1.1 are not supported");
}
