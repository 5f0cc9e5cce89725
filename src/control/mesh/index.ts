/**
 * Tables over a mesh: made when they are first asked for, and kept for as long as the model is. A model never
 * changes, so neither does what was made of it.
 */
import type { MeshShape } from "../mesh-model.ts";

/** `make`, which runs once for each model. */
export function indexed<Model extends MeshShape, Made>(
  make: (model: Model) => Made,
): (model: Model) => Made {
  const kept = new WeakMap<Model, { readonly made: Made }>();
  return (model) => {
    const known = kept.get(model);
    if (known !== undefined) return known.made;
    const made = make(model);
    kept.set(model, { made });
    return made;
  };
}
