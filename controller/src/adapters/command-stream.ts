import { type ClientDuplexStream, status } from "@grpc/grpc-js";
import type { OperationResult, PerformRequest, PerformResponse } from "@mnm/proto/helper";

/** One of the helper's verbs, and what it is asked. */
export type Command = NonNullable<PerformRequest["command"]>;

/** What became of a command: one result for each item, or why it was refused as a whole. */
export type Answer =
  | { readonly kind: "results"; readonly results: readonly OperationResult[] }
  | { readonly kind: "refused"; readonly text: string };

/** The helper works a few milliseconds on a command: one that takes this long hangs. */
export const PATIENCE_MS = 5_000;

/**
 * The helper's verbs by one stream: a call for each would cost three times as much, half of it in
 * the helper, which runs without a compiler. Answers come in the order of the commands.
 */
export class CommandStream {
  readonly #call: ClientDuplexStream<PerformRequest, PerformResponse>;
  readonly #onHung: () => void;
  readonly #waiting: ((answer: Answer) => void)[] = [];
  #patience: NodeJS.Timeout | undefined;

  /** Its end is for the caller to see to, who gives it up then. `onHung`: no answer comes. */
  constructor(call: ClientDuplexStream<PerformRequest, PerformResponse>, onHung: () => void) {
    this.#call = call;
    this.#onHung = onHung;
    call.on("data", (response: PerformResponse) => this.#take(response));
  }

  /** `onAnswer` is not called when the stream ends before. */
  send(command: Command, onAnswer: (answer: Answer) => void = () => {}): void {
    this.#waiting.push(onAnswer);
    this.#patience ??= setTimeout(this.#onHung, PATIENCE_MS);
    this.#call.write({ command });
  }

  close(): void {
    clearTimeout(this.#patience);
    this.#call.cancel();
  }

  #take({ status: code, text, results }: PerformResponse): void {
    const onAnswer = this.#waiting.shift();
    if (this.#waiting.length > 0) {
      this.#patience?.refresh();
    } else {
      clearTimeout(this.#patience);
      this.#patience = undefined;
    }
    onAnswer?.(code === status.OK ? { kind: "results", results } : { kind: "refused", text });
  }
}
