/**
 * How long from now until a certificate should be renewed: half of what is left of it, ±10 % so that
 * a mesh started at once does not renew at once. `random` is between 0 and 1. After a failed try, ask
 * again: half of what is left then, down to `retryMs`, until it succeeds.
 */
export function renewalDelayMs(
  certificate: { readonly nowMs: number; readonly notAfterMs: number },
  random: number,
): number {
  const leftMs = certificate.notAfterMs - certificate.nowMs;
  return Math.max(retryMs, Math.round(leftMs * (0.45 + random * 0.1)));
}

/** Never asked more often than this. */
export const retryMs = 1000;
