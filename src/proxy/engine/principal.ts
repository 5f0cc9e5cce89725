/** Under which names policies know a client. */
import type { ConnectionView } from "./request.ts";
import type { TextPredicate } from "./text-test.ts";

/**
 * As Envoy's `authenticated.principal_name`: each URI of its certificate, each DNS name, and the subject,
 * one after the other, and one that passes is enough. A client over TLS that has shown no certificate has
 * the empty subject.
 */
export function isPrincipal(connection: ConnectionView, test: TextPredicate): boolean {
  const { isTls, peerUriSans, peerNames } = connection;
  if (!isTls) return false;
  if (peerUriSans.some(test)) return true;
  return peerNames === undefined
    ? test("")
    : peerNames.dnsSans.some(test) || test(peerNames.subject);
}
