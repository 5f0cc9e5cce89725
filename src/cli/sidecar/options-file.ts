/** Reads the file that a sidecar is started with; what is wrong is said in one sentence. */
import { readFileSync } from "node:fs";

import { messageOf } from "../../base/error.ts";
import { defaultSidecarPorts, type SidecarOptions } from "../../base/sidecar-options.ts";
import { CommandFailure, exitCodes } from "../exit.ts";

export function readSidecarOptions(file: string): SidecarOptions {
  const refuse = (reason: string): never => {
    throw new CommandFailure(exitCodes.usage, `sidecar options ${file}: ${reason}`);
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(file, "utf8"));
  } catch (thrown) {
    return refuse(messageOf(thrown));
  }
  const missing = firstMissing(parsed);
  if (missing !== undefined) refuse(`${missing} is missing or of the wrong type`);
  // Every field that is read has just been checked.
  const options = parsed as SidecarOptions;
  if (options.dataPlane !== "heddle" && options.dataPlane !== "envoy") {
    refuse("dataPlane must be heddle or envoy");
  }
  if (options.dataPlane === "envoy" && typeof options.envoyBinary !== "string") {
    refuse("envoyBinary is missing");
  }
  if (options.io !== undefined && !["portable", "epoll", "auto"].includes(options.io)) {
    refuse("io must be portable, epoll or auto");
  }
  const { concurrency = 0 } = options;
  if (!Number.isInteger(concurrency) || concurrency < 0) refuse("concurrency must be a number");
  return options;
}

/** Path → type of every field that a sidecar cannot do without. */
const required: Readonly<Record<string, string>> = {
  nodeId: "string",
  "instance.name": "string",
  "instance.workload": "string",
  "instance.namespace": "string",
  "instance.serviceAccount": "string",
  "instance.labels": "object",
  dataPlane: "string",
  "control.address": "string",
  "control.rootFile": "string",
  "control.tokenFile": "string",
  stateDir: "string",
  capture: "string",
  statusAddress: "string",
  trustDomain: "string",
  accessLogFile: "string",
  logLevel: "string",
  logFormat: "string",
  ...Object.fromEntries(
    Object.keys(defaultSidecarPorts).map((name) => [`ports.${name}`, "number"]),
  ),
};

function firstMissing(value: unknown): string | undefined {
  return Object.entries(required).find(([path, type]) => {
    let at: unknown = value;
    for (const key of path.split(".")) {
      at =
        typeof at === "object" && at !== null
          ? Object.getOwnPropertyDescriptor(at, key)?.value
          : undefined;
    }
    return at === null || typeof at !== type;
  })?.[0];
}
