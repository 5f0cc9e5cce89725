/** What trees of matchers may ask of connections and of requests. */
import { FilterStateInput } from "../../wire/gen/ts/envoy/extensions/matching/common_inputs/network/v3/network_inputs.ts";
import { HttpRequestHeaderMatchInput } from "../../wire/gen/ts/envoy/type/matcher/v3/http_inputs.ts";
import { knownIp } from "./ip.ts";
import type { MatchInput, MatchInputs } from "./match-tree.ts";
import { refuse } from "./refusal.ts";
import type { RequestView } from "./request.ts";
import { lowerAscii } from "./text-test.ts";

type Read = (request: RequestView) => string | undefined;

const network = "envoy.extensions.matching.common_inputs.network.v3";
const ssl = "envoy.extensions.matching.common_inputs.ssl.v3";

function computed(textOf: Read, address?: MatchInput["address"]): () => MatchInput {
  const source = { kind: "computed", textOf } as const;
  return () => (address === undefined ? { source } : { source, address });
}

/** The end of a connection inside the proxy has a name instead: nothing that could be asked for. */
function ipOf(address: string): string | undefined {
  return knownIp(address) === undefined ? undefined : address;
}

/** A client behind other proxies has an address, but no port that we know. */
const sourcePort: Read = ({ connection, remoteAddress = connection.sourceAddress }) => {
  if (ipOf(remoteAddress) === undefined) return undefined;
  return remoteAddress === connection.sourceAddress ? String(connection.sourcePort) : "0";
};

/** What filters have set: before they have run it asks for nothing. */
export const stateInput: string = `${network}.FilterStateInput`;

/** The source of a request is its client, as far as trusted proxies vouch for it. */
export const connectionInputs: MatchInputs = new Map([
  [
    `${network}.DestinationIPInput`,
    computed(({ connection }) => ipOf(connection.destinationAddress), "destination"),
  ],
  [
    `${network}.DestinationPortInput`,
    computed(({ connection }) =>
      ipOf(connection.destinationAddress) === undefined
        ? undefined
        : String(connection.destinationPort),
    ),
  ],
  [
    `${network}.SourceIPInput`,
    computed(
      ({ connection, remoteAddress }) => ipOf(remoteAddress ?? connection.sourceAddress),
      "remote",
    ),
  ],
  [`${network}.SourcePortInput`, computed(sourcePort)],
  [
    `${network}.DirectSourceIPInput`,
    computed(
      ({ connection }) => ipOf(connection.direct?.address ?? connection.sourceAddress),
      "direct",
    ),
  ],
  [`${network}.ServerNameInput`, computed(({ connection }) => connection.sni || undefined)],
  [
    `${ssl}.UriSanInput`,
    computed(({ connection }) => connection.peerUriSans.join(",") || undefined),
  ],
  [
    `${ssl}.DnsSanInput`,
    computed(({ connection }) => connection.peerNames?.dnsSans.join(",") || undefined),
  ],
  [`${ssl}.SubjectInput`, computed(({ connection }) => connection.peerNames?.subject || undefined)],
  [stateInput, compileStateInput],
]);

function compileStateInput(bytes: Uint8Array, path: string): MatchInput {
  const { key, field } = FilterStateInput.decode(bytes);
  if (key === "") refuse(`${path}.key`, "is required");
  if (field !== "") refuse(`${path}.field`, "is not supported");
  return { source: { kind: "state", name: key } };
}

export const requestInputs: MatchInputs = new Map([
  ...connectionInputs,
  [
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
    (bytes: Uint8Array, path: string): MatchInput => {
      const name = lowerAscii(HttpRequestHeaderMatchInput.decode(bytes).headerName);
      if (name === "") refuse(`${path}.header_name`, "is required");
      return { source: { kind: "header", name } };
    },
  ],
]);
