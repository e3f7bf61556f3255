/** Files as disks, crashes and people damage them: seeded mutations of JSON text. */
import type { Random } from "./dhcp4-mutations.js";

const WEIRD: readonly unknown[] = [
  ...[
    null,
    true,
    false,
    0,
    -1,
    0.5,
    3600.5,
    1e308,
    -1e308,
    2 ** 53,
    2 ** 32,
    2 ** 31,
    9.9,
    "",
    " ",
  ],
  ...["0.0.0.0", "127.0.0.1", "255.255.255.255", "192.0.2.0/33", "a b", "\u001b[2J", "../x"],
  ...["x".repeat(300), [], {}, [[]], ["x"], [null], { length: 4 }, { toString: 1 }],
];

/** The text after one to four accidents. Mostly still JSON, with values that make no sense. */
export function damaged(text: string, random: Random): string {
  let result = text;
  for (let times = 1 + random(4); times > 0; times -= 1) {
    result = random(3) === 0 ? damagedText(result, random) : damagedValue(result, random);
  }
  return result;
}

function damagedText(text: string, random: Random): string {
  const at = random(text.length + 1);
  const end = at + random(20);
  switch (random(6)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.slice(0, at) + text.slice(end);
    case 2:
      return text.slice(0, end) + text.slice(at);
    case 3:
      return text.slice(0, at) + String.fromCharCode(random(256)) + text.slice(at + 1);
    case 4:
      return text.slice(0, at) + "\0".repeat(random(40)) + text.slice(end);
    default:
      return `${"[".repeat(random(20_000))}${text}`;
  }
}

/** A value somewhere inside replaced, removed or renamed; the text itself when it is no JSON. */
function damagedValue(text: string, random: Random): string {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch {
    return damagedText(text, random);
  }
  const weird = WEIRD[random(WEIRD.length)];
  const places = [...placesIn(root)];
  const place = places[random(places.length)];
  if (place === undefined) return JSON.stringify(weird);
  const [holder, key] = place;
  const value = Reflect.get(holder, key);
  switch (random(5)) {
    case 0:
      Reflect.deleteProperty(holder, key);
      break;
    case 1:
      Object.defineProperty(holder, "__proto__", { value, enumerable: true, configurable: true });
      break;
    case 2:
      if (typeof value === "number") Reflect.set(holder, key, value + random(3) - 1);
      break;
    default:
      Reflect.set(holder, key, weird);
  }
  return JSON.stringify(root);
}

function* placesIn(value: unknown): Iterable<readonly [object, string]> {
  if (typeof value !== "object" || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    yield [value, key];
    yield* placesIn(inner);
  }
}
