/** An Envoy bootstrap file as a data plane takes it: read, checked, and with what it names opened. */
import { readFileSync, unwatchFile, watch, watchFile } from "node:fs";
import { basename, dirname } from "node:path";

import { load } from "js-yaml";

import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/error.ts";
import { parseYaml, type YamlNode } from "../model/yaml.ts";
import { type BootstrapFeed, openBootstrapFeed } from "../proxy/bootstrap-feed.ts";
import {
  type BootstrapConfig,
  type BootstrapReading,
  type PlacedNode,
  readBootstrap,
} from "../proxy/bootstrap.ts";
import type { MemoryBounds } from "../proxy/overload.ts";
import type { Log } from "../telemetry/log.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import { CommandFailure, exitCodes } from "./exit.ts";

const parse = (yaml: string): unknown => load(yaml, { maxAliases: 10_000 });

/** Throws when the file cannot be read at all; what is wrong in it stands in the reading. */
export function readBootstrapFile(file: string, bounds: MemoryBounds): BootstrapReading {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (thrown) {
    throw new CommandFailure(exitCodes.usage, `reading ${file}: ${messageOf(thrown)}`);
  }
  return readBootstrap({
    name: file,
    text,
    parseYaml: parse,
    readFile: (path) => readFileSync(path),
    readPlaces: () => {
      const root = parseYaml(text, file).documents[0]?.root;
      return root === undefined ? undefined : placed(root, root.position.line);
    },
    bounds,
  });
}

export function openBootstrapSources(
  config: BootstrapConfig,
  parts: { readonly clock: Clock; readonly log: Log; readonly metrics: MetricRegistry },
): BootstrapFeed {
  return openBootstrapFeed(config, {
    ...parts,
    parseYaml: parse,
    readText: (path) => readFileSync(path, "utf8"),
    watch: watchPlace,
  });
}

/** A field stands where its name does. */
function placed(node: YamlNode, line: number): PlacedNode {
  switch (node.kind) {
    case "scalar":
      return { line, children: new Map() };
    case "sequence":
      return {
        line,
        children: new Map(
          node.items.map((item, i) => [String(i), placed(item, item.position.line)]),
        ),
      };
    case "mapping":
      return {
        line,
        children: new Map(
          node.entries.map(({ key, keyPosition, value }) => [key, placed(value, keyPosition.line)]),
        ),
      };
  }
}

const pollMs = 1000;

/**
 * A file is replaced by another that is moved into its place, or by a link of its folder's; polling
 * notices what a folder's events do not tell.
 */
function watchPlace(path: string, onChange: () => void): () => void {
  watchFile(path, { interval: pollMs, persistent: false }, onChange);
  const name = basename(path);
  let folder: ReturnType<typeof watch> | undefined;
  try {
    folder = watch(dirname(path), { persistent: false }, (_event, changed) => {
      if (changed === null || changed === name) onChange();
    });
    folder.on("error", () => folder?.close());
  } catch {
    // A folder that is not there yet: polling finds the file when it is.
  }
  return () => {
    unwatchFile(path, onChange);
    folder?.close();
  };
}
