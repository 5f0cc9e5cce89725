/** What health checks have found, as lines of JSON for a file: Envoy's `HealthCheckEvent`. */
import { isPipe, type SocketAddress } from "../../base/socket-address.ts";
import type { AppendLines } from "../../telemetry/batch-writer.ts";
import type { HealthCheck } from "../../wire/gen/ts/envoy/config/core/v3/health_check.ts";
import { HealthCheckEventFileSink } from "../../wire/gen/ts/envoy/extensions/health_check/event_sinks/file/v3/file.ts";
import { type CheckFailure, healthFlag } from "../engine/health-check.ts";
import { refuse } from "../engine/refusal.ts";
import type { EndpointMetadata } from "./endpoint.ts";

/** Who is told of. */
export interface EventSubject {
  /** Its own, whatever it is asked by. */
  readonly address: SocketAddress;
  /** Values that are no text are told as text. */
  readonly metadata: EndpointMetadata;
  /** Region, zone and what is in it, with `/` between; empty: it names none. */
  readonly locality: string;
}

export type HealthEvent =
  | {
      readonly kind: "eject_unhealthy_event";
      readonly failure: CheckFailure;
      /** 0: it was none that had one. */
      readonly status: number;
    }
  | { readonly kind: "add_healthy_event"; readonly isFirst: boolean }
  | {
      readonly kind: "health_check_failure_event";
      readonly failure: CheckFailure;
      readonly isFirst: boolean;
      readonly status: number;
    }
  | {
      readonly kind:
        | "successful_health_check_event"
        | "degraded_healthy_host"
        | "no_longer_degraded_host";
    };

/** What a cluster wants to be told besides changes. */
export interface EventPlan {
  readonly paths: readonly string[];
  readonly tellsFailures: boolean;
  readonly tellsSuccesses: boolean;
}

/** One check's outcome: the endpoint's flags before and after; `failure`: undefined for one that passed. */
export interface JudgedCheck {
  readonly before: number;
  readonly after: number;
  readonly isFirst: boolean;
  readonly failure: CheckFailure | undefined;
  /** Of the answer that failed; 0 without one. */
  readonly status: number;
}

const fileSink =
  "type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink";

export function compileEvents(check: HealthCheck, path: string): EventPlan | undefined {
  const sinks = check.eventLogger.map(({ name, typedConfig }, i) => {
    const place = `${path}.event_logger[${i}].typed_config`;
    if (typedConfig?.typeUrl !== fileSink) {
      refuse(place, `'${typedConfig?.typeUrl ?? name}' is not supported`);
    }
    const { eventLogPath } = HealthCheckEventFileSink.decode(typedConfig.value);
    return eventLogPath === "" ? refuse(`${place}.event_log_path`, "is required") : eventLogPath;
  });
  const paths = check.eventLogPath === "" ? sinks : [check.eventLogPath, ...sinks];
  if (paths.length === 0) return undefined;
  return {
    paths,
    tellsFailures: check.alwaysLogHealthCheckFailures,
    tellsSuccesses: check.alwaysLogHealthCheckSuccess,
  };
}

export function eventsOf(
  { before, after, isFirst, failure, status }: JudgedCheck,
  { tellsFailures, tellsSuccesses }: Pick<EventPlan, "tellsFailures" | "tellsSuccesses">,
): readonly HealthEvent[] {
  const changed = before ^ after;
  const hasTurned = (changed & healthFlag.failed) !== 0;
  const events: HealthEvent[] = [];
  if (failure !== undefined) {
    if (hasTurned) events.push({ kind: "eject_unhealthy_event", failure, status });
    if (isFirst || tellsFailures) {
      events.push({ kind: "health_check_failure_event", failure, isFirst, status });
    }
    return events;
  }
  if (hasTurned) events.push({ kind: "add_healthy_event", isFirst });
  else if (tellsSuccesses) events.push({ kind: "successful_health_check_event" });
  if ((changed & healthFlag.degraded) !== 0) {
    const isDegraded = (after & healthFlag.degraded) !== 0;
    events.push({ kind: isDegraded ? "degraded_healthy_host" : "no_longer_degraded_host" });
  }
  return events;
}

export interface EventOptions {
  readonly plan: EventPlan;
  readonly cluster: string;
  readonly checker: "HTTP" | "TCP" | "GRPC";
  readonly appends: readonly AppendLines[];
  /** By the wall clock, in milliseconds. */
  readonly nowMs: () => number;
}

const failureTypes: { readonly [Kind in CheckFailure]: string } = {
  active: "ACTIVE",
  passive: "PASSIVE",
  network: "NETWORK",
  "network-timeout": "NETWORK_TIMEOUT",
};

/** Writes them. What cannot be written is lost, and counted, by whoever keeps the files. */
export class HealthEvents {
  readonly #options: EventOptions;

  constructor(options: EventOptions) {
    this.#options = options;
  }

  write(subject: EventSubject, outcome: JudgedCheck): void {
    const { plan, nowMs, appends } = this.#options;
    const events = eventsOf(outcome, plan);
    if (events.length === 0) return;
    const timestamp = new Date(nowMs()).toISOString().replace(".000Z", "Z");
    const lines = events.map((event) => this.#line(subject, event, timestamp)).join("");
    const bytes = Buffer.from(lines);
    for (const append of appends) append(bytes, bytes.length);
  }

  /** In the order of the message's fields, as Envoy's library prints them. */
  #line(subject: EventSubject, event: HealthEvent, timestamp: string): string {
    const { cluster, checker } = this.#options;
    const { address, metadata, locality } = subject;
    const [region = "", zone = "", subZone = ""] = locality.split("/");
    const details = { [event.kind]: detailsOf(event) };
    const place = placeOf(event);
    const told = {
      health_checker_type: checker,
      host: hostOf(address),
      cluster_name: cluster,
      ...(place === "first" ? details : {}),
      timestamp,
      ...(place === "middle" ? details : {}),
      ...(Object.keys(metadata).length === 0
        ? {}
        : { metadata: { filter_metadata: metadata, typed_filter_metadata: {} } }),
      locality: { region, zone, sub_zone: subZone },
      ...(place === "last" ? details : {}),
    };
    return `${JSON.stringify(told)}\n`;
  }
}

/** The fields have the order of their numbers, which is that of their ages. */
function placeOf({ kind }: HealthEvent): "first" | "middle" | "last" {
  if (kind === "successful_health_check_event") return "last";
  return kind === "eject_unhealthy_event" || kind === "add_healthy_event" ? "first" : "middle";
}

function detailsOf(event: HealthEvent): object {
  switch (event.kind) {
    case "eject_unhealthy_event":
      return { failure_type: failureTypes[event.failure], http_status_code: event.status };
    case "add_healthy_event":
      return { first_check: event.isFirst };
    case "health_check_failure_event":
      return {
        failure_type: failureTypes[event.failure],
        first_check: event.isFirst,
        http_status_code: event.status,
      };
    case "successful_health_check_event":
    case "degraded_healthy_host":
    case "no_longer_degraded_host":
      return {};
  }
}

function hostOf({ address, port }: SocketAddress): object {
  if (isPipe(address)) return { pipe: { path: address, mode: 0 } };
  return {
    socket_address: {
      protocol: "TCP",
      address,
      port_value: port,
      resolver_name: "",
      ipv4_compat: false,
      network_namespace_filepath: "",
    },
  };
}
