import {
  EventKind,
  Fault_Code,
  HelperStatus_State,
  LinkKind,
  LinkState,
  Method,
  MetricSource,
  Reason,
} from "@mnm/proto/network-manager";

/**
 * The words of the API's enums, as JSON has them: `no_carrier`. They follow from the proto's
 * names, which `buf breaking` keeps; a value of a newer controller becomes its number.
 */
function wordsOf(values: Readonly<Record<string, number>>): (value: number) => string {
  const words = new Map(Object.entries(values).map(([name, value]) => [value, name.toLowerCase()]));
  return (value) => words.get(value) ?? value.toString();
}

export const linkKindWord = wordsOf(LinkKind);
export const linkStateWord = wordsOf(LinkState);
export const methodWord = wordsOf(Method);
export const metricSourceWord = wordsOf(MetricSource);
export const helperStateWord = wordsOf(HelperStatus_State);
export const eventKindWord = wordsOf(EventKind);
export const reasonWord = wordsOf(Reason);
export const faultCodeWord = wordsOf(Fault_Code);

/** A word as people read it: `no carrier`. */
export function spoken(word: string): string {
  return word.replaceAll("_", " ");
}
