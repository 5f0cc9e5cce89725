/** Envoy's response flags as bits; the access log's text is made once per combination. */

export const flag = {
  noHealthyUpstream: 0x1,
  upstreamRequestTimeout: 0x2,
  localReset: 0x4,
  upstreamRemoteReset: 0x8,
  upstreamConnectionFailure: 0x10,
  upstreamConnectionTermination: 0x20,
  upstreamOverflow: 0x40,
  noRouteFound: 0x80,
  delayInjected: 0x100,
  faultInjected: 0x200,
  rateLimited: 0x400,
  externalAuthorizationDenied: 0x800,
  downstreamConnectionTermination: 0x1000,
  upstreamRetryLimitExceeded: 0x2000,
  streamIdleTimeout: 0x4000,
  downstreamProtocolError: 0x8000,
  upstreamMaxStreamDuration: 0x10000,
  durationTimeout: 0x20000,
  upstreamProtocolError: 0x40000,
  noClusterFound: 0x80000,
  overloadManager: 0x100000,
  downstreamRemoteReset: 0x400000,
  dropOverload: 0x200000,
  noFilterConfigFound: 0x800000,
  unconditionalDropOverload: 0x2000000,
  invalidRequestHeaders: 0x1000000,
} as const;

/** Envoy lists them as they were set: this is the order in which a stream comes by them. */
const letters: readonly (readonly [bit: number, text: string])[] = [
  [flag.overloadManager, "OM"],
  [flag.delayInjected, "DI"],
  [flag.faultInjected, "FI"],
  [flag.noFilterConfigFound, "NFCF"],
  [flag.rateLimited, "RL"],
  [flag.externalAuthorizationDenied, "UAEX"],
  [flag.invalidRequestHeaders, "IH"],
  [flag.noRouteFound, "NR"],
  [flag.noClusterFound, "NC"],
  [flag.upstreamRetryLimitExceeded, "URX"],
  [flag.upstreamRequestTimeout, "UT"],
  [flag.noHealthyUpstream, "UH"],
  [flag.upstreamConnectionFailure, "UF"],
  [flag.upstreamOverflow, "UO"],
  [flag.dropOverload, "DO"],
  [flag.unconditionalDropOverload, "UDO"],
  [flag.upstreamRemoteReset, "UR"],
  [flag.upstreamConnectionTermination, "UC"],
  [flag.upstreamProtocolError, "UPE"],
  [flag.upstreamMaxStreamDuration, "UMSDR"],
  [flag.localReset, "LR"],
  [flag.streamIdleTimeout, "SI"],
  [flag.durationTimeout, "DT"],
  [flag.downstreamProtocolError, "DPE"],
  [flag.downstreamConnectionTermination, "DC"],
  [flag.downstreamRemoteReset, "DR"],
];

const texts = new Map<number, string>([[0, ""]]);

export function formatFlags(flags: number): string {
  let text = texts.get(flags);
  if (text === undefined) {
    text = letters
      .filter(([bit]) => (flags & bit) !== 0)
      .map(([, name]) => name)
      .join(",");
    texts.set(flags, text);
  }
  return text;
}
