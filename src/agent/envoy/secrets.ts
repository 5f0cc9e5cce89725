/** A secret as Envoy's SDS has it. The bytes hold the private key: they go to the own proxy only. */
import type { TlsSecret } from "../../net/secret-source.ts";
import { Secret } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/secret.ts";

export function encodeSecret(name: string, secret: TlsSecret): Uint8Array {
  const inline = (pem: string): { readonly inlineBytes: Uint8Array } => ({
    inlineBytes: Buffer.from(pem),
  });
  const message =
    secret.kind === "ticket-keys"
      ? Secret.fromPartial({
          name,
          sessionTicketKeys: { keys: secret.keys.map((inlineBytes) => ({ inlineBytes })) },
        })
      : secret.kind === "certificate"
        ? Secret.fromPartial({
            name,
            tlsCertificate: {
              certificateChain: inline(secret.chainPem),
              privateKey: inline(secret.privateKeyPem),
            },
          })
        : Secret.fromPartial({
            name,
            validationContext: { trustedCa: inline(secret.trustedCaPem) },
          });
  return Secret.encode(message).finish();
}
