/** Which addresses a name has in the mesh, and whose business a name is. Pure. */
export interface MeshAddresses {
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
}

export type NameLookup =
  | { readonly kind: "known"; readonly addresses: MeshAddresses }
  /** In the mesh's own domain, so nobody else may answer: it does not exist. */
  | { readonly kind: "missing" }
  | { readonly kind: "foreign" };

export interface NameScope {
  /** Namespace of the workload that asks: where its short names are looked for. */
  readonly namespace: string;
  /** `cluster.local`. */
  readonly domain: string;
}

export function lookUpName(
  table: ReadonlyMap<string, MeshAddresses>,
  name: string,
  scope: NameScope,
): NameLookup {
  for (const candidate of candidatesFor(name, scope)) {
    const addresses = table.get(candidate) ?? wildcard(table, candidate);
    if (addresses !== undefined) return { kind: "known", addresses };
  }
  const isOurs = name === scope.domain || name.endsWith(`.${scope.domain}`);
  return { kind: isOurs || name.endsWith(".svc") ? "missing" : "foreign" };
}

/** The name itself, then what it is short for: `svc`, `svc.ns`, `svc.ns.svc`. */
function candidatesFor(name: string, { namespace, domain }: NameScope): readonly string[] {
  const labels = name.split(".");
  if (labels.length === 1) return [name, `${name}.${namespace}.svc.${domain}`];
  if (labels.length === 2) return [name, `${name}.svc.${domain}`];
  if (labels.at(-1) === "svc") return [name, `${name}.${domain}`];
  return [name];
}

/** `*.example.com` covers every depth below it; the longest wins. */
function wildcard(
  table: ReadonlyMap<string, MeshAddresses>,
  name: string,
): MeshAddresses | undefined {
  for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) {
    const found = table.get(`*${name.slice(dot)}`);
    if (found !== undefined) return found;
  }
  return undefined;
}
