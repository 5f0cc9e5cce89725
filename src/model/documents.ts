/**
 * From the text of a file to typed resources, with every problem in it. What cannot be honoured comes
 * back as a `BrokenResource`, so that whoever keeps earlier versions, or must deny, knows of it.
 */
import type { Problem, ResourceRef, SourcePosition } from "../base/problem.ts";
import type { BrokenResource, ConfigResource } from "./config-resource.ts";
import { resourceKey } from "./config-resource.ts";
import { duplicateProblem } from "./duplicates.ts";
import type { AnyHonouredKind, Kind } from "./kinds.ts";
import {
  allKindNames,
  apiVersionOf,
  honouredNamesake,
  isConfigKind,
  isKubernetesGroup,
  isSecurityKind,
  kindOf,
  servedIn,
} from "./kinds.ts";
import { labels as labelsType } from "./matching.ts";
import type { LabelSelector } from "./matching.ts";
import { nearestName } from "./nearest-name.ts";
import { Findings, Place } from "./schema.ts";
import type { YamlDocument, YamlMapping, YamlNode } from "./yaml.ts";
import { dumpNode, parseYaml, yamlField } from "./yaml.ts";

export interface ParsedDocuments {
  readonly resources: readonly ConfigResource[];
  /** Further documents under the name of one among `resources`; each is a problem, too. */
  readonly duplicates: readonly ConfigResource[];
  readonly broken: readonly BrokenResource[];
  readonly problems: readonly Problem[];
  /** False when the text, or a document in it, does not tell what it is: more may have stood there. */
  readonly isComplete: boolean;
}

const defaultNamespace = "default";

/**
 * Parses every document of a file; `file` is the name that positions carry, `namespace` that of
 * documents which name none.
 */
export function parseDocuments(
  text: string,
  file: string,
  namespace: string = defaultNamespace,
): ParsedDocuments {
  const yaml = parseYaml(text, file);
  const result: Result = {
    namespace,
    resources: [],
    broken: [],
    problems: [...yaml.problems],
    hasUnknown: false,
  };
  for (const document of yaml.documents) {
    if (document.isBroken) {
      result.broken.push(...guessBroken(document, namespace));
    } else if (document.root !== undefined) {
      readDocument(document.root, document.text, result);
    }
  }
  const duplicates = takeDuplicates(result);
  const isComplete =
    !result.hasUnknown &&
    !yaml.documents.some((document) => document.isBroken) &&
    !yaml.problems.some((problem) => problem.code.startsWith("yaml."));
  const { resources, broken, problems } = result;
  return { resources, duplicates, broken, problems, isComplete };
}

interface Result {
  readonly namespace: string;
  readonly resources: ConfigResource[];
  readonly broken: BrokenResource[];
  readonly problems: Problem[];
  /** A document is readable YAML and still does not tell which resource it is. */
  hasUnknown: boolean;
}

function readDocument(root: YamlNode, text: string, result: Result): void {
  if (root.kind !== "mapping") {
    result.problems.push({
      code: "config.not-a-resource",
      severity: "error",
      path: "",
      message: "a resource is a mapping with apiVersion, kind, metadata and spec",
      source: root.position,
    });
    result.hasUnknown = true;
    return;
  }
  const items = yamlField(root, "items");
  if (scalarText(yamlField(root, "kind")) === "List" && items?.kind === "sequence") {
    // Each item becomes a resource of its own, which can be shown and kept without the others.
    for (const item of items.items) readDocument(item, dumpNode(item), result);
    return;
  }
  readResource(root, text, result);
}

function readResource(root: YamlMapping, text: string, result: Result): void {
  const kind = scalarText(yamlField(root, "kind"));
  const apiVersion = scalarText(yamlField(root, "apiVersion"));
  if (kind === undefined || apiVersion === undefined) {
    result.problems.push({
      code: "config.not-a-resource",
      severity: "error",
      path: "",
      message: `${kind === undefined ? "kind" : "apiVersion"} is missing`,
      source: root.position,
    });
    result.hasUnknown = true;
    const meant = securityKindMeant(kind, apiVersion);
    if (meant !== undefined) {
      const { namespace, name } = readMetadata(root, meant, result);
      result.broken.push(brokenAs(meant, { namespace, name, root }));
    }
    return;
  }
  const known = kindOf(apiVersion, kind) ?? honouredNamesake(kind);
  const kindName = known?.name ?? kind;
  const identity = readMetadata(root, kindName, result);
  const { namespace, name, findings } = identity;
  const isPlaced = yamlField(yamlField(root, "metadata"), "namespace") !== undefined;
  // A text that does not say where it belongs means something else to whoever reads it next.
  const ownText =
    isPlaced || namespace === defaultNamespace ? text : dumpNode(withNamespace(root, namespace));
  const served = servedIn(known, apiVersion);
  if (served === undefined) {
    refuseKind({ kind, apiVersion, known, root, resource: findings.resource }, result.problems);
    if (known === undefined && !isKubernetesGroup(apiVersion)) result.hasUnknown = true;
    const meant =
      known?.state === "honoured" ? known.name : securityKindMeant(kindName, apiVersion);
    if (meant !== undefined) result.broken.push(brokenAs(meant, { namespace, name, root }));
    return;
  }
  const resource = readSpec(served, root, { ...identity, apiVersion, text: ownText });
  result.problems.push(...findings.problems);
  if (resource === undefined) result.broken.push(brokenAs(served.name, { namespace, name, root }));
  else result.resources.push(resource);
}

function brokenAs(
  kind: string,
  what: Pick<BrokenResource, "namespace" | "name"> & { readonly root: YamlMapping },
): BrokenResource {
  const { namespace, name, root } = what;
  return { kind, namespace, name, selector: readSelector(root), source: root.position };
}

/**
 * The security kind that a misspelt or half-written document was meant to be, if any: one letter too
 * few must not open what a policy closes.
 */
function securityKindMeant(
  kind: string | undefined,
  apiVersion: string | undefined,
): string | undefined {
  const near = kind === undefined ? undefined : nearestName(kind, allKindNames());
  for (const one of [kind, near]) if (one !== undefined && isSecurityKind(one)) return one;
  const isOfGroup = apiVersion?.startsWith("security.istio.io/") === true;
  return isOfGroup ? "AuthorizationPolicy" : undefined;
}

interface Identity {
  readonly namespace: string;
  readonly name: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly findings: Findings;
}

/** Without a mesh nobody knows which of the two it will be; a running one says so in `policy.denies`. */
const failsClosed =
  "its last good version stays in force, or else the workloads it selects deny every request";

const namePattern = /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/;

function readMetadata(root: YamlMapping, kind: string, result: Result): Identity {
  const { problems } = result;
  const metadata = yamlField(root, "metadata");
  const nameNode = yamlField(metadata, "name");
  const namespaceNode = yamlField(metadata, "namespace");
  const rawName = scalarText(nameNode);
  const rawNamespace = scalarText(namespaceNode) ?? result.namespace;
  const isNamed = rawName !== undefined && rawName.length <= 253 && namePattern.test(rawName);
  const isPlaced =
    rawNamespace.length <= 63 && /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/.test(rawNamespace);
  const name = isNamed ? rawName : undefined;
  const namespace = isPlaced ? rawNamespace : result.namespace;
  const ref = name === undefined ? undefined : { kind, namespace, name };
  const findings = isSecurityKind(kind) ? new Findings(ref, failsClosed) : new Findings(ref);
  const complain = (path: string, node: YamlNode | undefined, message: string): void => {
    new Place(findings, path).complain(node?.position ?? root.position, {
      code: "config.bad-metadata",
      message,
    });
  };
  if (name === undefined) {
    const got = rawName === undefined ? "is missing" : `${JSON.stringify(rawName)} is not a name`;
    complain("metadata.name", nameNode ?? metadata, `metadata.name ${got}`);
    if (!isConfigKind(kind)) problems.push(...findings.problems.splice(0));
  }
  if (!isPlaced)
    complain("metadata.namespace", namespaceNode, `${rawNamespace} is not a namespace`);
  if (namespaceNode !== undefined && scalarText(namespaceNode) === undefined) {
    complain("metadata.namespace", namespaceNode, "metadata.namespace is not text");
  }
  return {
    namespace,
    name,
    findings,
    labels: readTexts(yamlField(metadata, "labels")),
    annotations: readTexts(yamlField(metadata, "annotations")),
  };
}

function readTexts(node: YamlNode | undefined): Readonly<Record<string, string>> {
  if (node?.kind !== "mapping") return {};
  return Object.fromEntries(
    node.entries.flatMap(({ key, value }) =>
      value.kind === "scalar" ? [[key, value.text] as const] : [],
    ),
  );
}

function readSpec(
  kind: AnyHonouredKind,
  root: YamlMapping,
  identity: Identity & { readonly apiVersion: string; readonly text: string },
): ConfigResource | undefined {
  const { findings, name, namespace, labels, annotations, apiVersion, text } = identity;
  checkTopLevel(root, findings);
  const place = new Place(findings, "spec");
  const node = yamlField(root, "spec") ?? emptyMapping(root.position);
  findings.positions.set("spec", node.position);
  const spec: unknown = kind.spec.decode(node, place);
  if (!findings.isSound || spec === undefined || name === undefined) return undefined;
  const resource = {
    kind: kind.name,
    apiVersion,
    namespace,
    name,
    labels,
    annotations,
    spec,
    source: root.position,
    positions: findings.positions,
    text,
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the kind's own schema decoded it
  return resource as ConfigResource;
}

const topLevelFields = ["apiVersion", "kind", "metadata", "spec", "status"];

function checkTopLevel(root: YamlMapping, findings: Findings): void {
  for (const { key, keyPosition } of root.entries) {
    if (topLevelFields.includes(key)) continue;
    const near = nearestName(key, topLevelFields);
    new Place(findings, key).complain(keyPosition, {
      code: "config.unknown-field",
      message: `unknown field ${key}`,
      hint: near === undefined ? "fields of a resource belong under spec" : `did you mean ${near}?`,
    });
  }
}

function emptyMapping(position: SourcePosition): YamlMapping {
  return { kind: "mapping", entries: [], position };
}

function refuseKind(
  what: {
    readonly kind: string;
    readonly apiVersion: string;
    /** What it is, or was meant to be. */
    readonly known: Kind | undefined;
    readonly root: YamlMapping;
    readonly resource: ResourceRef | undefined;
  },
  problems: Problem[],
): void {
  const { kind, apiVersion, known, root, resource } = what;
  const subject = resource === undefined ? {} : { resource };
  const source = yamlField(root, "kind")?.position ?? root.position;
  const place = { path: "kind", source, ...subject };
  if (known?.state === "refused") {
    const message = `${kind} is not honoured yet (${known.effect})`;
    const hint = known.isSecurity
      ? "take the document out to let requests pass"
      : "take the document out, or keep it knowing that it has no effect";
    problems.push({ code: "config.kind-not-honoured", severity: "error", message, hint, ...place });
  } else if (known !== undefined) {
    const message = `${kind} does not exist in ${apiVersion}`;
    const hint = `write apiVersion: ${apiVersionOf(known, known.versions[0] ?? "")}`;
    problems.push({ code: "config.bad-api-version", severity: "error", message, hint, ...place });
  } else if (isKubernetesGroup(apiVersion)) {
    const message = `${apiVersion} ${kind} has no effect without Kubernetes`;
    const hint = "declare what runs in heddle.yaml";
    problems.push({ code: "config.kubernetes-kind", severity: "warning", message, hint, ...place });
  } else {
    const near = nearestName(kind, allKindNames());
    const hint = near === undefined ? {} : { hint: `did you mean ${near}?` };
    const message = `unknown kind ${kind} in ${apiVersion}`;
    problems.push({ code: "config.unknown-kind", severity: "error", message, ...hint, ...place });
  }
}

/** The selector of a security kind that is otherwise broken; undefined when it cannot be trusted. */
function readSelector(root: YamlMapping): LabelSelector | undefined {
  const spec = yamlField(root, "spec");
  const selector = yamlField(spec, "selector");
  if (selector === undefined) return {};
  const node = yamlField(selector, "matchLabels");
  if (selector.kind !== "mapping" || selector.entries.some(({ key }) => key !== "matchLabels")) {
    return undefined;
  }
  if (node === undefined) return {};
  const findings = new Findings();
  const labels = labelsType.decode(node, new Place(findings, ""));
  return findings.isSound ? labels : undefined;
}

/**
 * A document that is not even YAML may have held a policy. Its text is searched for what it would
 * have been: guessing too much only denies until the file is mended.
 */
function guessBroken(document: YamlDocument, fallback: string): BrokenResource[] {
  const written = /^["']?kind["']?\s*:\s*["']?(\w+)/m.exec(document.text)?.[1];
  if (written === undefined) return [];
  const apiVersion = /^["']?apiVersion["']?\s*:\s*["']?([\w./-]+)/m.exec(document.text)?.[1] ?? "";
  const kind = kindOf(apiVersion, written)?.name ?? written;
  const name = /^\s+name\s*:\s*["']?([a-z0-9.-]+)/m.exec(document.text)?.[1];
  const namespace = /^\s+namespace\s*:\s*["']?([a-z0-9-]+)/m.exec(document.text)?.[1] ?? fallback;
  return [{ kind, namespace, name, selector: undefined, source: document.position }];
}

/** The first document of a name counts; the others are put aside. */
function takeDuplicates(result: Result): readonly ConfigResource[] {
  const first = new Map<string, ConfigResource>();
  const duplicates: ConfigResource[] = [];
  for (const resource of result.resources) {
    const earlier = first.get(resourceKey(resource));
    if (earlier === undefined) {
      first.set(resourceKey(resource), resource);
      continue;
    }
    duplicates.push(resource);
    result.problems.push(duplicateProblem(resource, earlier.source));
  }
  result.resources.splice(0, result.resources.length, ...first.values());
  return duplicates;
}

function withNamespace(root: YamlMapping, namespace: string): YamlMapping {
  const position = root.position;
  const value: YamlNode = { kind: "scalar", value: namespace, text: namespace, position };
  const entry = { key: "namespace", keyPosition: position, value };
  const entries = root.entries.map((one) =>
    one.key === "metadata" && one.value.kind === "mapping"
      ? { ...one, value: { ...one.value, entries: [...one.value.entries, entry] } }
      : one,
  );
  return { ...root, entries };
}

function scalarText(node: YamlNode | undefined): string | undefined {
  return node?.kind === "scalar" && typeof node.value === "string" ? node.value : undefined;
}
