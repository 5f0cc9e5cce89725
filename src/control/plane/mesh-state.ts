import type { Problem, ResourceRef, SourcePosition } from "../../base/problem.ts";
import { type ConfigResource, resourceKey } from "../../model/config-resource.ts";
import {
  defaultMeshSettings,
  type MeshSettings,
  parseMeshConfig,
} from "../../model/mesh-config.ts";
import type { WorkloadSnapshot } from "../../model/workload.ts";
import type { YamlNode } from "../../model/yaml.ts";
import type { SeenProtocol } from "../control-view.ts";
import { type BuiltMesh, buildMeshModel } from "../mesh.ts";
import { checkSeenProtocols } from "../mesh/check-seen-protocols.ts";
import type { MeshModel } from "../mesh-model.ts";
import type { ControlOptions, WorkloadsMessage } from "../options.ts";
import type { ConfigSet } from "./configuration.ts";

const nothingRuns: WorkloadSnapshot = { revision: -1, services: [], instances: [] };

/** What runs and how the mesh is set, as last told; makes models of it with a configuration. */
export class MeshState {
  readonly #options: ControlOptions;
  #message: WorkloadsMessage | undefined;
  #settings: MeshSettings;
  #settingsProblems: readonly Problem[] = [];
  #places: BuiltMesh["places"] = new Map();
  #model: MeshModel | undefined;
  #seen: readonly SeenProtocol[] = [];
  /** Found when somebody asks: many do, often, of what seldom changes. */
  #contradicted: readonly Problem[] | undefined;

  constructor(options: ControlOptions) {
    this.#options = options;
    const { trustDomain, rootNamespace } = options;
    this.#settings = { ...defaultMeshSettings, trustDomain, rootNamespace };
  }

  get workloads(): WorkloadSnapshot | undefined {
    return this.#message?.snapshot;
  }

  get problems(): readonly Problem[] {
    this.#contradicted ??= this.#findContradicted();
    return [...(this.#message?.problems ?? []), ...this.#settingsProblems, ...this.#contradicted];
  }

  #findContradicted(): readonly Problem[] {
    const { workloads } = this;
    if (this.#model === undefined || workloads === undefined) return [];
    return checkSeenProtocols(this.#model, workloads, this.#seen);
  }

  /** Takes over what proxies have seen spoken; false when that is nothing new. */
  see(seen: readonly SeenProtocol[]): boolean {
    if (JSON.stringify(seen) === JSON.stringify(this.#seen)) return false;
    this.#seen = seen;
    this.#contradicted = undefined;
    return true;
  }

  /** False when `message` is older than what is known. */
  take(message: WorkloadsMessage): boolean {
    const known = this.#message?.snapshot.revision ?? -1;
    if (message.snapshot.revision < known) return false;
    this.#message = message;
    this.#contradicted = undefined;
    this.#readSettings(message.meshConfig);
    return true;
  }

  /** The model that the mesh runs by from now on. */
  build(config: ConfigSet): BuiltMesh {
    const built = this.preview(config);
    this.#places = built.places;
    this.#model = built.model;
    this.#contradicted = undefined;
    return built;
  }

  /** The model that a configuration would make. */
  preview(config: ConfigSet): BuiltMesh {
    return buildMeshModel({
      resources: config.resources,
      broken: config.broken,
      workloads: this.workloads ?? nothingRuns,
      settings: this.#settings,
      places: this.#places,
    });
  }

  #readSettings(meshConfig: YamlNode | undefined): void {
    const { trustDomain, rootNamespace } = this.#options;
    const defaults = { ...defaultMeshSettings, trustDomain, rootNamespace };
    const parsed = parseMeshConfig(meshConfig, defaults);
    // Unsound settings leave the last good ones in force.
    const settings = parsed.isSound ? parsed.settings : this.#settings;
    const problems = [...parsed.problems];
    if (settings.trustDomain !== trustDomain || settings.rootNamespace !== rootNamespace) {
      problems.push({
        code: "meshconfig.restart-needed",
        severity: "error",
        path: "meshConfig",
        message: "the trust domain and the root namespace cannot change while the mesh runs",
        hint: "stop the mesh and start it again",
        ...(meshConfig === undefined ? {} : { source: meshConfig.position }),
      });
    }
    this.#settings = { ...settings, trustDomain, rootNamespace };
    this.#settingsProblems = problems;
  }
}

/** Finds where resources are written. */
export function locator(
  resources: readonly ConfigResource[],
): (ref: ResourceRef) => SourcePosition | undefined {
  const places = new Map(resources.map((one) => [resourceKey(one), one.source]));
  return (ref) => places.get(resourceKey(ref));
}
