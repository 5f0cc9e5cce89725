/**
 * Plaintext shows a destination nothing of who calls, so it reports a caller it does not know; the
 * source reports the same requests with both names. This finds the pairs: what a source sent without
 * a certificate is what the destination received from nobody. What is left of the latter is foreign.
 */
import { endId, type Flow, isOpaque, requestsPerSecond } from "./flow.ts";

export interface Reports {
  source: Flow | undefined;
  destination: Flow | undefined;
}

/** Two proxies are not scraped at one moment: less than this share of a flow is no flow. */
const timingShare = 0.1;

/** Tells senders what their plaintext requests were, and takes these from the anonymous reports. */
export function attributeAnonymous(all: readonly Reports[]): readonly Reports[] {
  const senders = new Map<string, Flow[]>();
  for (const { source, destination } of all) {
    if (source === undefined || destination !== undefined) continue;
    if (source.target.kind === "external" || source.destinationPrincipals.size > 0) continue;
    const key = targetKey(source);
    senders.set(key, [...(senders.get(key) ?? []), source]);
  }
  return all.flatMap((reports) => {
    const { source, destination } = reports;
    if (source !== undefined || destination?.source.kind !== "unknown") return [reports];
    const known = senders.get(targetKey(destination)) ?? [];
    const total = amountOf(destination);
    let sent = 0;
    for (const sender of known) {
      sender.plaintextPerSecond = amountOf(sender);
      sent += amountOf(sender);
    }
    if (sent === 0) return [reports];
    const rest = total - sent;
    if (rest <= total * timingShare) return [];
    return [{ source, destination: scaled(destination, rest / total) }];
  });
}

function targetKey({ target, service, protocol }: Flow): string {
  return [endId(target), service?.namespace, service?.name, protocol].join(" ");
}

function amountOf(flow: Flow): number {
  return isOpaque(flow.protocol)
    ? flow.tcpSentBytesPerSecond + flow.tcpReceivedBytesPerSecond
    : requestsPerSecond([flow]);
}

function scaled(flow: Flow, factor: number): Flow {
  const times = <Key>(map: ReadonlyMap<Key, number>): Map<Key, number> =>
    new Map([...map].map(([key, value]) => [key, value * factor]));
  return {
    ...flow,
    codes: times(flow.codes),
    flags: times(flow.flags),
    buckets: times(flow.buckets),
    errorsPerSecond: flow.errorsPerSecond * factor,
    tcpSentBytesPerSecond: flow.tcpSentBytesPerSecond * factor,
    tcpReceivedBytesPerSecond: flow.tcpReceivedBytesPerSecond * factor,
    requestMessagesPerSecond: flow.requestMessagesPerSecond * factor,
    responseMessagesPerSecond: flow.responseMessagesPerSecond * factor,
    mutualPerSecond: flow.mutualPerSecond * factor,
    plaintextPerSecond: flow.plaintextPerSecond * factor,
  };
}
