#!/usr/bin/env node
// Runs the bundle beside this file, by V8's code cache where there is one that fits: compiling is a
// fifth of a start. V8 itself refuses a cache of another version of Node, or for other flags. That
// the cache is of this very bundle is ours to see to, because V8 would run the old code of any
// bundle as long as this one. Without a cache that fits the bundle is compiled as ever.
// `--write-code-cache` writes it.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const v8 = require("node:v8");
const vm = require("node:vm");

const name = path.basename(__filename, ".js");
const file = path.join(__dirname, `${name}.bundle.js`);
const cache = path.join(__dirname, `${name}.cache`);
// The SHA-256 in the first line of the bundle, `//` and 64 digits; the cache begins with it as well.
const ID_BYTES = 64;

const isWriting = process.argv[2] === "--write-code-cache";
if (isWriting) process.argv[2] = "--version";
const bundle = fs.readFileSync(file, "utf8");
const id = bundle.slice(2, 2 + ID_BYTES);
const source = `(function (exports, require, module, __filename, __dirname) {${bundle}\n})`;
const script = new vm.Script(source, {
  filename: file,
  cachedData: isWriting ? undefined : cachedCode(),
});
if (isWriting) process.on("exit", writeCache);
script.runInThisContext()(exports, require, module, file, __dirname);

// On the command line, or any earlier, these would make Node reject the code cache of its own
// modules: 20 ms and more. A code cache that is written with them would not fit at the next start.
if (name === "mnm-controller" && !isWriting) {
  v8.setFlagsFromString("--semi-space-growth-factor=1");
  v8.setFlagsFromString("--max-semi-space-size=1");
  // By default the heap may double before it is collected: 30 MB at 300 links.
  v8.setFlagsFromString("--heap-growing-percent=25");
}

function cachedCode() {
  try {
    const content = fs.readFileSync(cache);
    const fits = content.toString("latin1", 0, ID_BYTES) === id;
    return fits ? content.subarray(ID_BYTES) : undefined;
  } catch {
    return undefined; // Nobody has written one.
  }
}

/** At once or not at all: a program may start meanwhile. */
function writeCache() {
  const draft = `${cache}.${process.pid}`;
  fs.writeFileSync(draft, Buffer.concat([Buffer.from(id), script.createCachedData()]));
  fs.renameSync(draft, cache);
}
