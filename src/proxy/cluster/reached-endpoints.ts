/**
 * Endpoints of a cluster as a request reaches them: under the name that it has for its server
 * (`server-names.ts`), told of its client (`proxy-header.ts`) or of what it passes on (`passed-endpoints.ts`).
 */
import type { EndpointChoice, UpstreamEndpoint } from "../context.ts";
import type { ClusterSeries } from "../stats/envoy-series.ts";
import { DerivedEndpoints } from "./derived-endpoints.ts";
import type { Endpoint } from "./endpoint.ts";
import { passedEndpoint } from "./passed-endpoints.ts";
import type { ClusterPlan } from "./plan.ts";
import { clientsMax, toldEndpoint } from "./proxy-header.ts";
import { namedEndpoint, speaksTls } from "./server-names.ts";

export class ReachedEndpoints {
  readonly #plan: ClusterPlan;
  readonly #series: ClusterSeries;
  /** By the names that requests have for them, once there are any. */
  #named: DerivedEndpoints | undefined;
  /** Inside the proxy, by what they are told, once there are any. */
  #passed: DerivedEndpoints | undefined;
  /** Told of clients, once there are any. */
  #told: DerivedEndpoints | undefined;
  /** Of the server that the last request asked for, where requests are foreseen. */
  #lastName: string | undefined;

  constructor(plan: ClusterPlan, series: ClusterSeries) {
    this.#plan = plan;
    this.#series = series;
  }

  reach(picked: Endpoint, choice: EndpointChoice): UpstreamEndpoint {
    if (picked.internal?.passesState === true) {
      const { wanted, connection } = choice;
      const states = [wanted?.state, connection.state];
      this.#passed ??= this.#derived("statesDropped");
      return passedEndpoint(this.#passed, picked, picked.internal, states);
    }
    const name = this.#serverOf(choice);
    if (this.#plan.forecastRatio !== undefined) this.#lastName = name;
    const named = this.#underName(picked, name);
    return picked.header === undefined ? named : this.#tellOf(picked, named, choice);
  }

  /** As one of the requests to come will, if it asks for the same server as the last. */
  foresee(next: Endpoint): UpstreamEndpoint {
    return this.#underName(next, this.#lastName);
  }

  /** The endpoint goes, or its connections are to be replaced. */
  forget(endpoint: Endpoint, how: "remove" | "drain"): void {
    this.#named?.forget(endpoint, how);
    this.#passed?.forget(endpoint, how);
    this.#told?.forget(endpoint, how);
  }

  /** By itself, for its closure would cost every choice a context. */
  #derived(
    dropped: "statesDropped" | "serverNamesDropped" | "clientsDropped",
    max?: number,
  ): DerivedEndpoints {
    return new DerivedEndpoints(() => this.#series[dropped]().add(1), max);
  }

  /** What is no request names nobody. */
  #serverOf({ wanted, authority }: EndpointChoice): string | undefined {
    const { serverNames: plan } = this.#plan;
    return plan === undefined ? undefined : (wanted?.hostOr(plan.header) ?? authority);
  }

  #underName(picked: Endpoint, name: string | undefined): UpstreamEndpoint {
    const { serverNames: plan } = this.#plan;
    if (plan === undefined || name === undefined || !speaksTls(picked)) return picked;
    this.#named ??= this.#derived("serverNamesDropped");
    return namedEndpoint(plan, this.#named, picked, name);
  }

  /** `named`: the same, perhaps under a name. */
  #tellOf(picked: Endpoint, named: UpstreamEndpoint, choice: EndpointChoice): UpstreamEndpoint {
    const { ends, isAlone = false } = choice.client ?? {};
    if (ends === undefined) return named;
    this.#told ??= this.#derived("clientsDropped", clientsMax);
    const name = this.#serverOf(choice) ?? "";
    return toldEndpoint(this.#told, { picked, named, name, ends, isAlone });
  }
}
