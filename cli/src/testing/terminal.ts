import type { Io } from "../io.js";

/** What one run wrote, and a way to wait for it and to press Ctrl-C. */
export class Terminal implements Io {
  readonly env: Record<string, string>;
  isTerminal = false;
  stdout = "";
  stderr = "";
  readonly #interrupt = new AbortController();
  #changed: () => void = () => undefined;

  constructor(dependencies: { readonly env: Record<string, string> }) {
    this.env = dependencies.env;
  }

  out(text: string): void {
    this.stdout += text;
    this.#changed();
  }

  err(text: string): void {
    this.stderr += text;
  }

  interruption(): AbortSignal {
    return this.#interrupt.signal;
  }

  interrupt(): void {
    this.#interrupt.abort();
  }

  async until(text: string): Promise<void> {
    while (!this.stdout.includes(text)) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }
}
