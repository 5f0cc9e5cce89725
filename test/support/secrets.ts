import type { SecretSource, TlsSecret } from "../../src/net/secret-source.ts";

/** Secrets a test sets by hand. */
export class FakeSecrets implements SecretSource {
  readonly #secrets = new Map<string, TlsSecret>();
  readonly #listeners = new Set<(name: string) => void>();

  get(name: string): TlsSecret | undefined {
    return this.#secrets.get(name);
  }

  set(name: string, secret: TlsSecret): void {
    this.#secrets.set(name, secret);
    for (const listener of this.#listeners) listener(name);
  }

  remove(name: string): void {
    this.#secrets.delete(name);
    for (const listener of this.#listeners) listener(name);
  }

  onChange(listener: (name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
