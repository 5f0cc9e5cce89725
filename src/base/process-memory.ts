/** How much memory a process uses and may use; each call reads files, so a few a second are enough. */
export interface ProcessMemory {
  /** Memory that is ours alone and cannot be dropped. */
  anonymousBytes(): number;
  /** What the kernel would end the process for: present where a limit is set. */
  readonly limited?: { readonly limitBytes: number; usedBytes(): number };
}
