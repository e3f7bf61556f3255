#!/usr/bin/env node
// Runs the bundle beside this file, by V8's code cache where there is one that fits: compiling is a
// fifth of a start. The cache belongs to one version of Node and its flags; without it, or with one
// that does not fit, the bundle is compiled as ever. `--write-code-cache` writes it.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const v8 = require("node:v8");
const vm = require("node:vm");

const name = path.basename(__filename, ".js");
const bundle = path.join(__dirname, `${name}.bundle.js`);
const cache = path.join(__dirname, `${name}.cache`);

const isWriting = process.argv[2] === "--write-code-cache";
if (isWriting) process.argv[2] = "--version";
const source = `(function (exports, require, module, __filename, __dirname) {${fs.readFileSync(bundle, "utf8")}\n})`;
let cachedData;
try {
  if (!isWriting) cachedData = fs.readFileSync(cache);
} catch {
  // Nobody has written one.
}
const script = new vm.Script(source, { filename: bundle, cachedData });
if (isWriting) process.on("exit", () => fs.writeFileSync(cache, script.createCachedData()));
script.runInThisContext()(exports, require, module, bundle, __dirname);

// On the command line, or any earlier, these would make Node reject the code cache of its own
// modules: 20 ms and more. A code cache that is written with them would not fit at the next start.
if (name === "mnm-controller" && !isWriting) {
  v8.setFlagsFromString("--semi-space-growth-factor=1");
  v8.setFlagsFromString("--max-semi-space-size=1");
  // By default the heap may double before it is collected: 30 MB at 300 links.
  v8.setFlagsFromString("--heap-growing-percent=25");
}
