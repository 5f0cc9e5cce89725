/** Which subject alternative names a peer's certificate must have: Envoy's matchers, compiled. */
import { RE2JS } from "re2js";

import { HeddleError } from "../../base/error.ts";
import type { CertificateNames } from "../../wire/certificate-names.ts";
import {
  type CertificateValidationContext,
  SubjectAltNameMatcher_SanType as SanType,
} from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/common.ts";
import type { StringMatcher } from "../../wire/gen/ts/envoy/type/matcher/v3/string.ts";

const noNames: CertificateNames = {
  subject: "",
  commonName: "",
  uriSans: [],
  dnsSans: [],
  emailSans: [],
  ipSans: [],
};

/** True when the certificate may be the peer's; any matcher suffices, none at all means any name. */
export type PeerNameCheck = (names: CertificateNames) => boolean;

/** `urisOnly`: beside trust bundles, whose domains speak for URIs alone (SPIFFE X.509-SVID section 2). */
export function compilePeerNames(
  context: CertificateValidationContext,
  urisOnly = false,
): PeerNameCheck | undefined {
  const checks: PeerNameCheck[] = [];
  for (const { sanType, matcher } of context.matchTypedSubjectAltNames) {
    if (matcher === undefined) throw refusal("match_typed_subject_alt_names without a matcher");
    if (urisOnly && sanType !== SanType.URI) {
      throw refusal("match_typed_subject_alt_names of another type than URI beside trust bundles");
    }
    const matches = compileMatcher(matcher);
    checks.push((names) => namesOf(names, sanType).some(matches));
    // Refused when configured, not when the first peer comes.
    namesOf(noNames, sanType);
  }
  for (const matcher of context.matchSubjectAltNames) {
    const matches = compileMatcher(matcher);
    checks.push(({ uriSans, dnsSans, emailSans, ipSans }) =>
      (urisOnly ? uriSans : [...uriSans, ...dnsSans, ...emailSans, ...ipSans]).some(matches),
    );
  }
  if (checks.length === 0) return undefined;
  return (names) => checks.some((check) => check(names));
}

/** SPIFFE X.509-SVID §2: exactly one URI, if that URI is a SPIFFE id. */
export function isSoundSvid(names: CertificateNames): boolean {
  return names.uriSans.length <= 1 || !names.uriSans.some((uri) => /^spiffe:/i.test(uri));
}

/** Whether a certificate is of a host: by DNS name, with wildcards, by URI or by address. */
export function isNamedSo(names: CertificateNames, name: string): boolean {
  if (name === "") return false;
  return hasDnsName(names, name) || names.uriSans.includes(name) || names.ipSans.includes(name);
}

export function hasDnsName(names: CertificateNames, name: string): boolean {
  return names.dnsSans.some((pattern) => matchesDnsName(pattern, name));
}

/** RFC 6125 §6.4.3: one star, in the first label alone, and none within an internationalised one. */
function matchesDnsName(pattern: string, name: string): boolean {
  const [wanted, given] = [pattern.toLowerCase(), name.toLowerCase()];
  if (wanted === given) return given !== "";
  const [wantedDot, givenDot] = [wanted.indexOf("."), given.indexOf(".")];
  if (wantedDot < 0 || givenDot < 0) return false;
  if (wanted.slice(wantedDot) !== given.slice(givenDot)) return false;
  const [before = "", after, ...more] = wanted.slice(0, wantedDot).split("*");
  if (after === undefined || more.length > 0 || wanted.startsWith("xn--")) return false;
  const label = given.slice(0, givenDot);
  const isLongEnough = label.length >= before.length + after.length && label.length > 0;
  return isLongEnough && label.startsWith(before) && label.endsWith(after);
}

function namesOf(names: CertificateNames, type: SanType): readonly string[] {
  if (type === SanType.URI) return names.uriSans;
  if (type === SanType.DNS) return names.dnsSans;
  if (type === SanType.EMAIL) return names.emailSans;
  if (type === SanType.IP_ADDRESS) return names.ipSans;
  throw refusal(`match_typed_subject_alt_names of type ${type}`);
}

function compileMatcher(matcher: StringMatcher): (name: string) => boolean {
  const { ignoreCase } = matcher;
  const fold = (text: string): string => (ignoreCase ? text.toLowerCase() : text);
  if (matcher.exact !== undefined) {
    const exact = fold(matcher.exact);
    return (name) => fold(name) === exact;
  }
  if (matcher.prefix !== undefined) {
    const prefix = fold(matcher.prefix);
    return (name) => fold(name).startsWith(prefix);
  }
  if (matcher.suffix !== undefined) {
    const suffix = fold(matcher.suffix);
    return (name) => fold(name).endsWith(suffix);
  }
  if (matcher.contains !== undefined) {
    const contained = fold(matcher.contains);
    return (name) => fold(name).includes(contained);
  }
  if (matcher.safeRegex !== undefined) {
    const pattern = RE2JS.compile(matcher.safeRegex.regex);
    return (name) => pattern.matches(name);
  }
  throw refusal("a subject alternative name matcher of unknown kind");
}

function refusal(what: string): HeddleError {
  return new HeddleError("tls-unsupported", `${what} is not supported`);
}
