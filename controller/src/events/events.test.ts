import assert from "node:assert/strict";
import { test } from "node:test";
import type { Instant } from "@mnm/proto/net";
import { Journal, type NetworkEvent } from "./index.js";

const EVENT: NetworkEvent = {
  kind: "resynced",
  reason: "overrun",
  link: undefined,
  before: "",
  after: "",
  text: "",
};
const TIME = { wallMs: 0, at: 0 as Instant };

test("Journal numbers from 1 without gaps and keeps the newest", () => {
  const journal = new Journal(3);
  const numbers = Array.from({ length: 5 }, () => journal.append(EVENT, TIME).sequence);
  assert.deepEqual(numbers, [1, 2, 3, 4, 5]);
  assert.equal(journal.oldest, 3);
  assert.deepEqual(
    [2, 3, 5, 6].map((n) => journal.at(n)?.sequence),
    [undefined, 3, 5, undefined],
  );
});

test("Journal resumes exactly where no event is missing", () => {
  const journal = new Journal(3);
  assert.deepEqual(
    [0, 1].map((n) => journal.canResumeAfter(n)),
    [true, false],
    "empty",
  );
  for (let n = 0; n < 5; n += 1) journal.append(EVENT, TIME);
  assert.deepEqual(
    [1, 2, 5, 6].map((n) => journal.canResumeAfter(n)),
    [false, true, true, false],
    "3 to 5 are kept",
  );
});
