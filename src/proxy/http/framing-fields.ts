/**
 * Header fields that say how one message is framed, or whom it is for. What somebody else says, a
 * service in its answer or a token in its claims, must never become one of them.
 */
export const framingFields: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "host",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
