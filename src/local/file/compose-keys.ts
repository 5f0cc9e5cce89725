/**
 * Which keys of a Compose file Heddle heeds, and what is said of the others. Nothing is left out in
 * silence: what changes what a service does is refused, what a plain process does without is a warning
 * that names the effect.
 */
import type { YamlNode } from "../../model/yaml.ts";
import type { FieldReader } from "./reader.ts";

const code = "heddle-file.container";
const processHint = "Heddle runs processes, not containers: leave it out";

/** Service keys without which a process runs as well; and what is different then. */
const unheeded: Readonly<Record<string, string>> = {
  image: "the image is not used: the command runs with the programs of this machine",
  build: "nothing is built: the command runs with the programs of this machine",
  container_name: "there is no container to be named",
  hostname: "the name of an instance is that of its workload and a number",
  restart: "a workload that ends is started again, whatever this says",
  healthcheck: "it is not run: a workload is ready when its ports accept connections",
  init: "every workload has an init process",
  stdin_open: "workloads have no standard input",
  tty: "workloads have no terminal",
  logging: "logs are kept in the state directory; 'heddle logs' shows them",
  profiles: "the service runs whatever profiles are chosen",
  stop_grace_period: "workloads have 3 seconds to end",
  stop_signal: "workloads are ended by SIGTERM",
  platform: "the command runs on this machine's platform",
  pull_policy: "nothing is pulled",
  annotations: "there is no container to be annotated",
  develop: "commands are not rebuilt",
};

/** Service keys that would need a container, or something else that is not here. */
const refused = [
  "volumes",
  "volumes_from",
  "networks",
  "network_mode",
  "entrypoint",
  "env_file",
  "secrets",
  "configs",
  "privileged",
  "cap_add",
  "cap_drop",
  "devices",
  "user",
  "links",
  "external_links",
  "extends",
  "extra_hosts",
  "dns",
  "dns_search",
  "tmpfs",
  "read_only",
  "security_opt",
  "sysctls",
  "ulimits",
  "shm_size",
  "pid",
  "ipc",
  "cpus",
  "mem_limit",
  "post_start",
  "pre_stop",
];

const unheededAtTop: Readonly<Record<string, string>> = {
  volumes: "no volume is made",
  networks: "no network is made: every workload reaches the others by name",
  secrets: "no secret is made",
  configs: "no config is made",
};

/** Keys of a whole file; `heeded` ones have been asked for. */
export function reportTopKeys(reader: FieldReader): void {
  for (const [key, effect] of Object.entries(unheededAtTop)) {
    if (reader.has(key)) reader.warn(key, code, `${key}: ${effect}`, processHint);
  }
  if (reader.has("include")) {
    reader.refuse("include", code, "other files are not included", "write their services here");
  }
  // `version` says nothing since Compose v2.
  reader.finish(["version", "include", ...Object.keys(unheededAtTop), ...extensionsOf(reader)]);
}

/** Keys of one service, after what is heeded was read. */
export function reportServiceKeys(reader: FieldReader, hasCommand: boolean): void {
  for (const [key, effect] of Object.entries(unheeded)) {
    if (!reader.has(key)) continue;
    if (hasCommand || (key !== "image" && key !== "build")) {
      reader.warn(key, code, `${key} has no effect: ${effect}`);
    }
  }
  for (const key of refused) {
    if (!reader.has(key)) continue;
    reader.refuse(key, code, `${key} needs a container`, processHint);
  }
  reader.finish([...Object.keys(unheeded), ...refused, ...extensionsOf(reader)]);
}

/** Without a command, an image says what would run, and cannot be run. */
export function refuseWithoutCommand(reader: FieldReader): void {
  const hint = "say what to run on this machine: command: [node, server.mjs]";
  for (const key of ["image", "build"]) {
    if (!reader.has(key)) continue;
    const message = `${key} cannot be run: there are no containers here, and its own command is not known`;
    reader.refuse(key, code, message, hint);
    return;
  }
  reader.refuse("command", "heddle-file.required", "a service needs a command", hint);
}

/** A gateway is Heddle's own process. */
export function reportGatewayKeys(reader: FieldReader): void {
  for (const key of ["environment", "depends_on", "scale", "deploy", "working_dir"]) {
    if (!reader.has(key)) continue;
    reader.warn(key, code, `${key} has no effect: a gateway is Heddle's own proxy`);
  }
}

/** `replicas` of `deploy` is heeded. */
export function reportDeployKeys(deploy: FieldReader | undefined): void {
  for (const key of deploy?.keys() ?? []) {
    if (key === "replicas") continue;
    deploy?.warn(key, code, `deploy.${key} has no effect on processes of one machine`);
  }
}

/** The long form of `depends_on`: a dependency is waited for until it is ready, and no other way. */
export function reportConditions(reader: FieldReader, node: YamlNode): void {
  if (node.kind !== "mapping") return;
  const dependencies = reader.mapping("depends_on");
  for (const { key } of node.entries) {
    const dependency = dependencies?.mapping(key);
    const condition = dependency?.string("condition");
    if (condition === "service_completed_successfully") {
      const message = `${key} is never completed: a workload that ends is started again`;
      dependency?.refuse("condition", code, message, "run it before 'heddle up', and leave it out");
    }
    for (const other of ["restart", "required"]) {
      if (dependency?.node(other) === undefined) continue;
      dependency.warn(other, code, `${other} has no effect: dependencies are only waited for`);
    }
    dependency?.finish(["condition"]);
  }
}

function extensionsOf(reader: FieldReader): readonly string[] {
  return reader.keys().filter((key) => key.startsWith("x-"));
}
