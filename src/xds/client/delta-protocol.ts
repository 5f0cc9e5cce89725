/** The incremental variant: requests name what is new, responses hold what has changed. */
import {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from "../../wire/gen/ts/envoy/service/discovery/v3/discovery.ts";
import { grpcStatus } from "../../wire/grpc.ts";
import { DeltaClientSubscription, type Received, type Wish } from "./delta-subscription.ts";
import type {
  AnsweredResponse,
  ClientProtocol,
  ClientResponse,
  ClientSubscription,
  EncodeRequest,
} from "./protocol.ts";

export const deltaProtocol: ClientProtocol = {
  path: "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
  subscription: (typeUrl, wish) => new DeltaSubscriptionMessages(typeUrl, wish),
  decode,
};

class DeltaSubscriptionMessages implements ClientSubscription {
  readonly #state: DeltaClientSubscription;

  constructor(typeUrl: string, wish: Wish) {
    this.#state = new DeltaClientSubscription(typeUrl, wish);
  }

  get typeUrl(): string {
    return this.#state.typeUrl;
  }

  get held(): ReadonlyMap<string, string> {
    return this.#state.held;
  }

  setWish(wish: Wish): void {
    this.#state.setWish(wish);
  }

  refresh(name: string): void {
    this.#state.refresh(name);
  }

  streamLost(): void {
    this.#state.streamLost();
  }

  nextRequest(): EncodeRequest | undefined {
    const request = this.#state.nextRequest();
    if (request === undefined) return undefined;
    return encode({
      typeUrl: this.typeUrl,
      resourceNamesSubscribe: [...request.subscribe],
      resourceNamesUnsubscribe: [...request.unsubscribe],
      initialResourceVersions: { ...request.initialVersions },
    });
  }

  answer({ nonce }: AnsweredResponse, refusal: string | undefined): EncodeRequest {
    return encode({
      typeUrl: this.typeUrl,
      responseNonce: nonce,
      ...(refusal === undefined
        ? {}
        : { errorDetail: { code: grpcStatus.invalidArgument, message: refusal, details: [] } }),
    });
  }

  receive({ resources, removed }: ClientResponse): Received {
    return this.#state.receive({ resources, removed });
  }

  accepted(_response: AnsweredResponse, received: Extract<Received, { kind: "usable" }>): void {
    this.#state.accepted(received.resources, received.removed);
  }

  /** Servers of this variant say of each name that it does not exist. */
  unanswered(): readonly string[] {
    return [];
  }
}

function encode(request: Partial<DeltaDiscoveryRequest>): EncodeRequest {
  return (node) => {
    const message = { ...DeltaDiscoveryRequest.fromPartial({}), ...request };
    return DeltaDiscoveryRequest.encode(
      node === undefined ? message : { ...message, node },
    ).finish();
  };
}

function decode(message: Uint8Array): ClientResponse | undefined {
  let response: DeltaDiscoveryResponse;
  try {
    response = DeltaDiscoveryResponse.decode(message);
  } catch {
    return undefined; // malformed protobuf: the caller ends the stream
  }
  const { typeUrl, nonce } = response;
  const mistyped = response.resources.find(({ resource }) => resource?.typeUrl !== typeUrl);
  return {
    typeUrl,
    nonce,
    version: response.systemVersionInfo,
    resources: response.resources.map(({ name, version, resource }) => ({
      name,
      version,
      bytes: resource?.value ?? new Uint8Array(),
    })),
    removed: response.removedResources,
    broken: mistyped === undefined ? undefined : `resource ${mistyped.name} is of another type`,
  };
}
