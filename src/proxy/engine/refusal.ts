import { HeddleError } from "../../base/error.ts";

/** One thing that cannot be honoured. */
export interface RefusedField {
  /** From the resource's root, in proto names: `virtual_hosts[0].routes[2].match`. */
  readonly path: string;
  readonly reason: string;
}

/**
 * Says that a resource cannot be honoured as written. Thrown while compiling, caught once per
 * resource by whoever applies configuration, who refuses that resource alone (NACK).
 */
export class Refusal extends HeddleError {
  readonly fields: readonly RefusedField[];

  constructor(fields: readonly RefusedField[]) {
    super("xds.refused", fields.map(({ path, reason }) => `${path}: ${reason}`).join("; "));
    this.fields = fields;
  }
}

/** `path` is the field from the root of what is being compiled. */
export function refuse(path: string, reason: string): never {
  throw new Refusal([{ path, reason }]);
}

/** Nobody reads more of one resource. */
const fieldsMax = 100;

/** Goes on after a refusal, so that one look at a resource tells all that is wrong with it. */
export class RefusalList {
  readonly #fields: RefusedField[] = [];

  /** `place` is where what is made stands; undefined when it was refused. */
  attempt<T>(make: () => T, place = ""): T | undefined {
    try {
      return make();
    } catch (thrown) {
      if (thrown instanceof Refusal) {
        for (const { path, reason } of thrown.fields) this.add(joinPath(place, path), reason);
        return undefined;
      }
      // TLS contexts say what they cannot honour in an error of their own.
      if (!(thrown instanceof HeddleError)) throw thrown;
      this.add(place, thrown.message);
      return undefined;
    }
  }

  /** The same thing said twice, by a check and by a compiler, counts once. */
  add(path: string, reason: string): void {
    if (this.isFull || this.#fields.some((known) => known.path === path && known.reason === reason))
      return;
    this.#fields.push({ path, reason });
  }

  get fields(): readonly RefusedField[] {
    return this.#fields;
  }

  /** It takes no more: who looks for more may stop. */
  get isFull(): boolean {
    return this.#fields.length >= fieldsMax;
  }

  get isEmpty(): boolean {
    return this.#fields.length === 0;
  }

  throwIfAny(): void {
    if (!this.isEmpty) throw new Refusal(this.#fields);
  }
}

function joinPath(place: string, path: string): string {
  if (place === "" || path === "") return place + path;
  return path.startsWith("[") ? `${place}${path}` : `${place}.${path}`;
}
