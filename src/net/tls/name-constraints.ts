/**
 * Which names an authority may vouch for (RFC 5280 section 4.2.1.10). URIs and DNS names are judged;
 * names of another form lie outside wherever that form is limited.
 */
import type { AuthorityLimits, NameTree } from "../../wire/certificate-limits.ts";
import type { CertificateNames } from "../../wire/certificate-names.ts";

interface Form {
  readonly names: (all: CertificateNames) => readonly string[];
  /** Undefined for a name that cannot be judged. */
  readonly hostOf?: (name: string) => string | undefined;
  readonly liesIn?: (host: string, base: string) => boolean;
}

/** By the tag of GeneralName. */
const forms: Readonly<Record<number, Form>> = {
  0x81: { names: ({ emailSans }) => emailSans },
  0x82: { names: ({ dnsSans }) => dnsSans, hostOf: (name) => name, liesIn: isBelowOrSame },
  0x86: { names: ({ uriSans }) => uriSans, hostOf: hostOfUri, liesIn: isBelowOrExact },
  0x87: { names: ({ ipSans }) => ipSans },
  0xa4: { names: ({ subject }) => (subject === "" ? [] : [subject]) },
};

export function mayBeVouchedFor(
  names: CertificateNames,
  { permitted, excluded }: AuthorityLimits,
): boolean {
  const limited = new Set([...permitted, ...excluded].map(({ form }) => form));
  for (const tag of limited) {
    const form = forms[tag];
    // Whether it has such names is not known.
    if (form === undefined) return false;
    const trees = {
      permitted: permitted.filter((tree) => tree.form === tag),
      excluded: excluded.filter((tree) => tree.form === tag),
    };
    if (!form.names(names).every((name) => isWithin(name, form, trees))) return false;
  }
  return true;
}

function isWithin(
  name: string,
  { hostOf, liesIn }: Form,
  { permitted, excluded }: Pick<AuthorityLimits, "permitted" | "excluded">,
): boolean {
  const host = hostOf?.(name)?.toLowerCase();
  if (host === undefined || liesIn === undefined) return false;
  const isInOneOf = (trees: readonly NameTree[]): boolean =>
    trees.some((tree) => liesIn(host, textOf(tree)));
  return !isInOneOf(excluded) && (permitted.length === 0 || isInOneOf(permitted));
}

function textOf({ base }: NameTree): string {
  return Buffer.from(base).toString("latin1").toLowerCase();
}

/** The name itself and all below it; a base that begins with a dot: those below alone. */
function isBelowOrSame(host: string, base: string): boolean {
  if (base === "" || host === base) return true;
  return host.endsWith(base.startsWith(".") ? base : `.${base}`);
}

/** A base that begins with a dot: hosts below it; another: that host. */
function isBelowOrExact(host: string, base: string): boolean {
  return base.startsWith(".") ? host.endsWith(base) : host === base;
}

function hostOfUri(uri: string): string | undefined {
  return /^[A-Za-z][A-Za-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#:@]+)/.exec(uri)?.[1];
}
