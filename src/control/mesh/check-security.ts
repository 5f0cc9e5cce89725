/** Findings about PeerAuthentication and AuthorizationPolicy: scope, selection, root namespaces. */
import type { Problem } from "../../base/problem.ts";
import type {
  AuthorizationPolicy,
  BrokenResource,
  PeerAuthentication,
} from "../../model/config-resource.ts";
import type { OperationMatch } from "../../model/security.ts";
import type { PortProtocol } from "../../model/workload.ts";
import type { MeshModel } from "../mesh-model.ts";
import { problemOf } from "./finding.ts";
import { indexed } from "./index.ts";
import { InstanceTable } from "./instances.ts";
import { denyingFor, hasSelector } from "./security.ts";

const instancesOf = indexed((model: MeshModel) => new InstanceTable(model.instances));

export function checkSecurity(model: MeshModel): Problem[] {
  const policies = [...model.resources.PeerAuthentication, ...model.resources.AuthorizationPolicy];
  return [
    ...policies.flatMap((policy) => checkScope(model, policy)),
    ...checkDuplicateScopes(model),
    ...model.resources.AuthorizationPolicy.flatMap((policy) => checkPorts(model, policy)),
    ...model.denying.map((broken) => denyingProblem(model, broken)),
  ];
}

/** Who pays for a policy that cannot be honoured. */
function denyingProblem(model: MeshModel, broken: BrokenResource): Problem {
  const { kind, namespace, name, source } = broken;
  const selected = model.instances.filter((one) => denyingFor(model, one).includes(broken));
  const workloads = new Set(selected.map((one) => `${one.workload}.${one.namespace}`));
  const effect =
    workloads.size === 0
      ? "no workload is selected"
      : `every request is denied by ${[...workloads].join(", ")}`;
  return {
    code: "policy.denies",
    severity: "error",
    path: "",
    message: `this ${kind} cannot be honoured and no earlier version was good; until it is mended ${effect}`,
    hint: "mend the document, or take it out",
    source,
    ...(name === undefined ? {} : { resource: { kind, namespace, name } }),
  };
}

type Policy = PeerAuthentication | AuthorizationPolicy;

const rootLike = /^(?:istio-system|istio-config|istio|heddle-system|heddle|mesh-config)$/;

function checkScope(model: MeshModel, policy: Policy): Problem[] {
  const { rootNamespace } = model.settings;
  const { namespace } = policy;
  const inNamespace = instancesOf(model).selected(namespace, undefined);
  if (namespace !== rootNamespace && inNamespace.length === 0) {
    if (rootLike.test(namespace)) {
      return [
        problemOf(policy, {
          code: "policy.not-the-root-namespace",
          path: "metadata.namespace",
          message: `${namespace} is not the root namespace, so the policy holds for no workload`,
          hint: `for the whole mesh, write namespace: ${rootNamespace}`,
        }),
      ];
    }
    return [
      problemOf(policy, {
        code: "policy.empty-namespace",
        severity: "warning",
        path: "metadata.namespace",
        message: `no workload runs in namespace ${namespace}, so the policy holds for none`,
      }),
    ];
  }
  if (
    namespace !== rootNamespace &&
    rootLike.test(namespace) &&
    !hasSelector(policy) &&
    inNamespace.every(({ role }) => role === "gateway")
  ) {
    return [
      problemOf(policy, {
        code: "policy.not-the-root-namespace",
        severity: "warning",
        path: "metadata.namespace",
        message: `${namespace} is not the root namespace, so the policy holds for the gateways there alone`,
        hint: `for the whole mesh, write namespace: ${rootNamespace}`,
      }),
    ];
  }
  if (!hasSelector(policy)) return [];
  const isMeshWide = namespace === rootNamespace && policy.kind === "AuthorizationPolicy";
  const { selector } = policy.spec;
  const reached = instancesOf(model).selected(isMeshWide ? undefined : namespace, selector);
  if (reached.length > 0) return [];
  return [
    problemOf(policy, {
      code: "policy.selects-nothing",
      severity: "warning",
      path: "spec.selector",
      message: `no workload in namespace ${namespace} has the labels of the selector`,
    }),
  ];
}

function checkDuplicateScopes(model: MeshModel): Problem[] {
  const first = new Map<string, PeerAuthentication>();
  return model.resources.PeerAuthentication.flatMap((policy) => {
    const labels = Object.entries(policy.spec.selector ?? {}).map((label) => label.join("="));
    const scope = `${policy.namespace} ${labels.toSorted(inOrder).join(",")}`;
    const earlier = first.get(scope);
    if (earlier === undefined) {
      first.set(scope, policy);
      return [];
    }
    return problemOf(policy, {
      code: "peerauthentication.duplicate-scope",
      path: "spec",
      message: `PeerAuthentication ${earlier.namespace}/${earlier.name} holds for the same workloads; this one does not act`,
      hint: "merge the two",
    });
  });
}

/** HTTP attributes mean nothing on a TCP port: ALLOW rules that use them never match there. */
function checkPorts(model: MeshModel, policy: AuthorizationPolicy): Problem[] {
  const operations = (policy.spec.rules ?? [])
    .flatMap((rule) => rule.to ?? [])
    .map(({ operation }) => operation)
    .filter(usesHttp);
  if (operations.length === 0) return [];
  const isMeshWide = policy.namespace === model.settings.rootNamespace;
  const place = isMeshWide ? undefined : policy.namespace;
  const reach = instancesOf(model).selected(place, policy.spec.selector);
  const concerns = (port: number): boolean =>
    operations.some(({ ports }) => ports?.includes(String(port)) ?? true);
  const tcp = reach.flatMap((one) =>
    one.ports
      .filter((port) => isTcp(port.protocol) && concerns(port.port))
      .map((port) => `${one.workload}:${port.port}`),
  );
  if (tcp.length === 0) return [];
  const places = [...new Set(tcp)].join(", ");
  const effect = policy.spec.action === "DENY" ? "deny without them" : "match nothing";
  return [
    problemOf(policy, {
      code: "authorizationpolicy.http-on-tcp",
      severity: "warning",
      path: "spec.rules",
      message: `rules that name HTTP attributes ${effect} on ${places}, where TCP is spoken`,
      hint: "say with ports which ports a rule is for",
    }),
  ];
}

function usesHttp(operation: OperationMatch): boolean {
  return ["hosts", "notHosts", "methods", "notMethods", "paths", "notPaths"].some(
    (name) => name in operation,
  );
}

function isTcp(protocol: PortProtocol): boolean {
  return ["tcp", "tls", "https"].includes(protocol);
}

function inOrder(left: string, right: string): number {
  return left < right ? -1 : 1;
}
