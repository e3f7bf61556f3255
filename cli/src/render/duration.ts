const UNITS = [
  { name: "d", seconds: 86_400 },
  { name: "h", seconds: 3600 },
  { name: "min", seconds: 60 },
] as const;

/** Seconds in the wire's way of saying "for ever". */
const INFINITE_SEC = 0xffff_ffff;

/** `40 s`, `41 min`, `11 h`, `3 d`: whole ones of the largest unit that fits. */
export function formatSeconds(seconds: number): string {
  if (seconds >= INFINITE_SEC) return "forever";
  const whole = Math.max(0, Math.floor(seconds));
  const unit = UNITS.find((candidate) => whole >= candidate.seconds);
  return unit === undefined ? `${whole} s` : `${Math.floor(whole / unit.seconds)} ${unit.name}`;
}

export function formatMs(ms: bigint): string {
  return formatSeconds(Number(ms / 1000n));
}

/** `17:08:02.114` in local time, with the date before it when that is not today's. */
export function formatWallTime(wallMs: bigint, today: Date): string {
  const date = new Date(Number(wallMs));
  if (Number.isNaN(date.getTime())) return "-";
  const two = (value: number) => value.toString().padStart(2, "0");
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  const ms = date.getMilliseconds().toString().padStart(3, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const isToday = date.toDateString() === today.toDateString();
  return isToday ? `${clock}.${ms}` : `${day} ${clock}.${ms}`;
}
