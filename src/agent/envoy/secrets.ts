/** A secret as Envoy's SDS has it. The bytes hold the private key: they go to the own proxy only. */
import type { TlsSecret } from "../../net/secret-source.ts";
import { DataSource } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import {
  CertificateValidationContext,
  TlsCertificate,
  TlsSessionTicketKeys,
} from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/common.ts";
import { Secret } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/secret.ts";

export function encodeSecret(name: string, secret: TlsSecret): Uint8Array {
  return Secret.encode(Secret.fromPartial({ name, ...contentOf(secret) })).finish();
}

function contentOf(secret: TlsSecret): Partial<Secret> {
  const inline = (pem: string): DataSource =>
    DataSource.fromPartial({ inlineBytes: Buffer.from(pem) });
  switch (secret.kind) {
    case "certificate":
      return {
        tlsCertificate: TlsCertificate.fromPartial({
          certificateChain: inline(secret.chainPem),
          privateKey: inline(secret.privateKeyPem),
        }),
      };
    case "validation":
    case "revocations": {
      const { crlPem } = secret;
      return {
        validationContext: CertificateValidationContext.fromPartial({
          ...(secret.kind === "validation" ? { trustedCa: inline(secret.trustedCaPem) } : {}),
          ...(crlPem === undefined ? {} : { crl: inline(crlPem) }),
        }),
      };
    }
    case "ticket-keys": {
      const keys = secret.keys.map((inlineBytes) => ({ inlineBytes }));
      return { sessionTicketKeys: TlsSessionTicketKeys.fromPartial({ keys }) };
    }
  }
}
