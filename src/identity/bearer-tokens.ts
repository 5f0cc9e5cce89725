import { createHash, timingSafeEqual } from "node:crypto";

/**
 * Tells workload instances apart by the bearer tokens their sidecars present. Only digests are kept,
 * so whoever reads the control plane's memory or state learns no token.
 */
export class BearerTokens<Holder> {
  #holders = new Map<string, { readonly digest: Buffer; readonly holder: Holder }>();

  /** Replaces all. `sha256` is hexadecimal; an entry that is no digest admits nobody. */
  replace(entries: Iterable<{ readonly sha256: string; readonly holder: Holder }>): void {
    const holders = new Map<string, { readonly digest: Buffer; readonly holder: Holder }>();
    for (const { sha256, holder } of entries) {
      if (!/^[0-9a-f]{64}$/.test(sha256)) continue;
      holders.set(sha256, { digest: Buffer.from(sha256, "hex"), holder });
    }
    this.#holders = holders;
  }

  /** Whose token an `authorization` header carries; undefined when nobody's. */
  identify(authorization: string | undefined): Holder | undefined {
    const [, token] = /^Bearer ([\x21-\x7e]{16,512})$/.exec(authorization ?? "") ?? [];
    if (token === undefined) return undefined;
    const digest = createHash("sha256").update(token).digest();
    const known = this.#holders.get(digest.toString("hex"));
    // The look-up is by digest, which a caller cannot steer; the decision takes constant time.
    return known !== undefined && timingSafeEqual(known.digest, digest) ? known.holder : undefined;
  }
}
