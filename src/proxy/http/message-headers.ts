/**
 * The header fields of one message with the proxy's edits: what was received stays as offsets, what
 * was set stands beside it. Names are in lower case.
 */
import { type Http1Head, slotWidth } from "../../wire/http1-head.ts";
import { type OtherNames, properCase, type Spell } from "../../wire/header-case.ts";
import type { Http1Writer } from "../../wire/http1-writer.ts";
import type { NameSet } from "../../wire/name-set.ts";

export class MessageHeaders {
  head: Http1Head | undefined = undefined;
  /** Own fields; places from `#count` on are free. Never shortened: that would cost a new array. */
  readonly #names: string[] = [];
  readonly #values: string[] = [];
  #count = 0;

  reset(head: Http1Head | undefined): void {
    this.head = head;
    for (let at = 0; at < this.#count; at++) this.#values[at] = "";
    this.#count = 0;
  }

  /** All values joined with `,`; undefined when there is none. */
  get(name: string): string | undefined {
    let value = this.head?.joined(name);
    for (let at = 0; at < this.#count; at++) {
      if (this.#names[at] !== name) continue;
      const own = this.#values[at] ?? "";
      value = value === undefined ? own : `${value},${own}`;
    }
    return value;
  }

  /** Each line that is left, in order. */
  forEach(visit: (name: string, value: string) => void): void {
    const { head } = this;
    if (head !== undefined) {
      for (let field = 0; field < head.count; field++) {
        if (head.dropped[field] === 0) visit(head.nameAt(field), head.valueAt(field));
      }
    }
    for (let at = 0; at < this.#count; at++) visit(this.#names[at] ?? "", this.#values[at] ?? "");
  }

  /** Each line's value. */
  values(name: string): readonly string[] {
    const values: string[] = [];
    const { head } = this;
    if (head !== undefined) {
      for (let at = head.findName(name); at >= 0; at = head.findName(name, at + 1)) {
        values.push(head.valueAt(at));
      }
    }
    for (let at = 0; at < this.#count; at++) {
      if (this.#names[at] === name) values.push(this.#values[at] ?? "");
    }
    return values;
  }

  has(name: string): boolean {
    return (this.head !== undefined && this.head.findName(name) >= 0) || this.#find(name) >= 0;
  }

  add(name: string, value: string): void {
    this.#names[this.#count] = name;
    this.#values[this.#count] = value;
    this.#count++;
  }

  set(name: string, value: string): void {
    this.remove(name);
    this.add(name, value);
  }

  remove(name: string): void {
    this.head?.dropName(name);
    this.removeOwn(name);
  }

  /** What was added; what came stays. */
  removeOwn(name: string): void {
    for (;;) {
      const at = this.#find(name);
      if (at < 0) return;
      this.#count--;
      this.#names.copyWithin(at, at + 1, this.#count + 1);
      this.#values.copyWithin(at, at + 1, this.#count + 1);
      this.#values[this.#count] = "";
    }
  }

  removeAll(names: NameSet): void {
    if (this.head !== undefined) names.dropFrom(this.head);
    for (let at = this.#count - 1; at >= 0; at--) {
      const name = this.#names[at] ?? "";
      if (names.has(name)) this.removeOwn(name);
    }
  }

  removeMatching(matches: (name: string) => boolean): void {
    const { head } = this;
    for (let field = 0; head !== undefined && field < head.count; field++) {
      if (head.dropped[field] === 0 && matches(head.nameAt(field))) head.dropped[field] = 1;
    }
    for (const name of new Set(this.#names.slice(0, this.#count))) {
      if (matches(name)) this.removeOwn(name);
    }
  }

  #find(name: string): number {
    for (let at = 0; at < this.#count; at++) if (this.#names[at] === name) return at;
    return -1;
  }

  get length(): number {
    const { head } = this;
    let count = this.#count;
    for (let field = 0; field < (head?.count ?? 0); field++) {
      if (head?.dropped[field] === 0) count++;
    }
    return count;
  }

  /** Bytes of all names and values. */
  get byteLength(): number {
    const { head } = this;
    let bytes = 0;
    if (head !== undefined) {
      const { slots } = head;
      for (let field = 0; field < head.count; field++) {
        if (head.dropped[field] !== 0) continue;
        const at = field * slotWidth;
        bytes +=
          (slots[at + 1] ?? 0) - (slots[at] ?? 0) + (slots[at + 3] ?? 0) - (slots[at + 2] ?? 0);
      }
    }
    for (let at = 0; at < this.#count; at++) {
      bytes += (this.#names[at]?.length ?? 0) + (this.#values[at]?.length ?? 0);
    }
    return bytes;
  }

  /** Fields that were set here, after those of the head. */
  get ownCount(): number {
    return this.#count;
  }

  ownName(at: number): string {
    return this.#names[at] ?? "";
  }

  ownValue(at: number): string {
    return this.#values[at] ?? "";
  }

  /** How names are spelled, where they are not written as they stand here. `others`: of fields that nobody spelled. */
  spelling(others: OtherNames): Spell | undefined {
    const { head } = this;
    if (head === undefined || head.spelling === undefined) {
      return others === "proper" ? properCase : undefined;
    }
    return spellAs(head, head.spelling.others);
  }

  writeSpelled(writer: Http1Writer, spell: Spell): void {
    this.forEach((name, value) => writer.field(spell(name), value));
  }

  /** Writes every field line. */
  writeTo(writer: Http1Writer): void {
    if (this.head !== undefined) writer.fields(this.head);
    for (let at = 0; at < this.#count; at++) {
      writer.field(this.#names[at] ?? "", this.#values[at] ?? "");
    }
  }
}

/** By itself, for a function with a closure in it allocates whether or not it comes to that. */
function spellAs(head: Http1Head, others: OtherNames): Spell {
  return (name) => head.spelled(name) ?? (others === "proper" ? properCase(name) : name);
}
