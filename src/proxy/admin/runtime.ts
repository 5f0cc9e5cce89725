/** The runtime of a bootstrap, as Envoy's `/runtime` tells it: what its layers say of each key. */

/** `bootstrap` is its JSON, in either spelling of names. */
export function runtimeOf(bootstrap: unknown): unknown {
  const layered = at(bootstrap, "layeredRuntime", "layered_runtime");
  const layers = at(layered, "layers", "layers");
  const list: readonly unknown[] = Array.isArray(layers) ? layers : [];
  const entries = new Map<string, string[]>();
  for (const [i, layer] of list.entries()) {
    for (const [key, value] of leaves(at(layer, "staticLayer", "static_layer"), "")) {
      const values = entries.get(key) ?? list.map(() => "");
      values[i] = value;
      entries.set(key, values);
    }
  }
  return {
    layers: list.map((layer) => textOf(at(layer, "name") ?? "")),
    entries: Object.fromEntries(
      [...entries].map(([key, values]) => [
        key,
        { layer_values: values, final_value: values.findLast((value) => value !== "") ?? "" },
      ]),
    ),
  };
}

function at(value: unknown, ...names: readonly string[]): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  const found = Object.entries(value).find(([name]) => names.includes(name));
  return found?.[1];
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function leaves(value: unknown, path: string): readonly (readonly [string, string])[] {
  if (typeof value !== "object" || value === null) {
    return value === undefined || path === "" ? [] : [[path, textOf(value)]];
  }
  return Object.entries(value).flatMap(([name, inner]) =>
    leaves(inner, path === "" ? name : `${path}.${name}`),
  );
}
