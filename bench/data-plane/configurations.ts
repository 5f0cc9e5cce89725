/**
 * The configuration files of the benchmark's proxies: templates with their `__NAME__`s filled, and
 * pairs composed of two of them, so that both hops do what one proxy with everything on does.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { load } from "js-yaml";

export type Fillings = Readonly<Record<string, string>>;

/** Writes a template filled; returns the file. */
export function fill(template: string, folder: string, values: Fillings): string {
  const file = join(folder, `${values["NAME"] ?? ""}-${template}`);
  writeFileSync(file, filled(template, values));
  return file;
}

/** `pair` with the filters, loggers and tracing of `mesh.yaml` at both of its hops. */
export function composePair(pair: string, folder: string, values: Fillings): string {
  return write(pairOf(pair, values), folder, values);
}

function pairOf(pair: string, values: Fillings): Fields {
  const whole = object(load(filled(pair, values)));
  const mesh = object(load(filled("mesh.yaml", values)));
  const [source] = managersOf(mesh);
  for (const manager of managersOf(whole)) {
    for (const field of ["http_filters", "access_log", "tracing", "generate_request_id"]) {
      manager[field] = source?.[field];
    }
  }
  const collector = clustersOf(mesh).filter((cluster) => object(cluster)["name"] === "otlp");
  clustersOf(whole).push(...collector);
  return whole;
}

/** `mesh.yaml` with HTTP/2 to an application on the port of this name. */
export function composeHttp2(application: ApplicationPort): Compose {
  return (folder, values) => {
    const whole = object(load(filled("mesh.yaml", at(application, values))));
    speakHttp2(whole);
    return write(whole, folder, values);
  };
}

/** A pair with every filter, and HTTP/2 to the application as between the hops. */
export function composeGrpcPair(folder: string, values: Fillings): string {
  const whole = pairOf("pair-h2.yaml", at("GRPC", values));
  speakHttp2(whole);
  return write(whole, folder, values);
}

type Compose = (folder: string, values: Fillings) => string;
type ApplicationPort = "HTTP2" | "GRPC";

function at(application: ApplicationPort, values: Fillings): Fillings {
  return { ...values, BACKEND: values[application] ?? "" };
}

function speakHttp2(whole: Fields): void {
  const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
  const application = clustersOf(whole).find((cluster) => object(cluster)["name"] === "app");
  object(application)["typed_extension_protocol_options"] = {
    [options]: {
      "@type": `type.googleapis.com/${options}`,
      explicit_http_config: { http2_protocol_options: {} },
    },
  };
}

function write(whole: Fields, folder: string, values: Fillings): string {
  const file = join(folder, `${values["NAME"] ?? ""}.json`);
  writeFileSync(file, JSON.stringify(whole));
  return file;
}

/** Where a configuration listens first, and where it expects applications. */
export function portsOf(file: string): { readonly listens: number; readonly dials: Set<number> } {
  const whole = object(load(readFileSync(file, "utf8"), { maxAliases: 1000 }));
  const listened = portsIn(object(whole["static_resources"])["listeners"]);
  const dials = new Set(portsIn(object(whole["static_resources"])["clusters"]));
  for (const port of listened) dials.delete(port);
  const [listens] = listened;
  if (listens === undefined) throw new Error(`${file} has no listener`);
  return { listens, dials };
}

function filled(template: string, values: Fillings): string {
  const text = readFileSync(join(import.meta.dirname, template), "utf8");
  return text.replaceAll(/__([A-Z]+)__/g, (whole, name: string) => values[name] ?? whole);
}

function managersOf(bootstrap: Fields): Fields[] {
  const listeners = list(object(bootstrap["static_resources"])["listeners"]);
  return listeners
    .flatMap((listener) => list(object(listener)["filter_chains"]))
    .flatMap((chain) => list(object(chain)["filters"]))
    .map((filter) => object(object(filter)["typed_config"]));
}

function clustersOf(bootstrap: Fields): unknown[] {
  return list(object(bootstrap["static_resources"])["clusters"]);
}

function portsIn(value: unknown): number[] {
  if (Array.isArray(value)) return value.flatMap(portsIn);
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === "port_value" ? [Number(inner)] : portsIn(inner),
  );
}

type Fields = Record<string, unknown>;

function object(value: unknown): Fields {
  if (!isFields(value)) throw new Error("a configuration of the benchmark has another shape");
  return value;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null;
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
