import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { REPOSITORY } from "../lab/identity.js";
import { must } from "../lab/run.js";
import { build, scratchFolder } from "./package-rig.js";

interface Component {
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly licenses: readonly unknown[];
  readonly hashes: readonly unknown[];
}

const scratch = scratchFolder();
let shipped: readonly string[];
let licences: string;
let components: readonly Component[];

before(async () => {
  await must("dpkg-deb", ["-x", await build("deb", "--if-stale"), scratch.path]);
  const read = (name: string) =>
    gunzipSync(readFileSync(join(scratch.path, "usr/share/doc/mnm", `${name}.gz`))).toString();
  licences = read("THIRD-PARTY-LICENSES");
  const bill = JSON.parse(read("sbom.cdx.json"));
  assert.equal(bill.bomFormat, "CycloneDX");
  components = bill.components;
  // esbuild's own words on what it has read.
  const modules = JSON.parse(readFileSync(join(REPOSITORY, "dist/modules.json"), "utf8"));
  shipped = [...new Set([...modules.bundled, ...modules.beside].map(packageOf))];
});
after(() => scratch[Symbol.dispose]());

/** `name@version` of the npm package that a file of node_modules belongs to. */
function packageOf(file: string): string {
  const [, folder = ""] = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file) ?? [];
  const text = readFileSync(join(REPOSITORY, folder, "package.json"), "utf8");
  const { name, version } = JSON.parse(text);
  return `${name}@${version}`;
}

describe("what a package says of the software of others", () => {
  test("the bundles hold what one would expect", () => {
    assert.ok(shipped.length > 20, shipped.join());
    for (const name of ["@grpc/grpc-js", "yaml", "pino", "koffi", "netlink"]) {
      assert.ok(
        shipped.some((one) => one.startsWith(`${name}@`)),
        name,
      );
    }
  });

  test("the bill of materials has all that is shipped, and no more", () => {
    const native = `@koromix/koffi-linux-${process.arch}`;
    const listed = components.map(({ purl }) => {
      const [, name = "", version = ""] = /^pkg:npm\/(.+)@([^@]+)$/.exec(purl) ?? [];
      return `${decodeURIComponent(name)}@${version}`;
    });
    const others = listed.filter((one) => !one.startsWith(`${native}@`));
    assert.deepEqual(
      others.toSorted(),
      shipped.filter((one) => !one.startsWith(native)).toSorted(),
    );
    assert.equal(listed.length, others.length + 1);
  });

  test("each has a licence and a checksum in it", () => {
    for (const { purl, licenses, hashes } of components) {
      assert.equal(licenses?.length, 1, purl);
      assert.ok(hashes?.length > 0, purl);
    }
  });

  test("each is under a full text among the licences", () => {
    const parts = licences.split(`\n${"-".repeat(80)}\n\n`).slice(1);
    const named = new Set<string>();
    for (const part of parts) {
      const [names = "", ...text] = part.split("\n\n");
      for (const name of names.split("\n")) named.add(name.replace(/ ([^ ]+)$/, "@$1"));
      assert.match(text.join("\n"), /copyright/i, names);
      assert.match(text.join("\n"), /as is/i, names);
    }
    for (const one of shipped) assert.ok(named.has(one), one);
  });
});
