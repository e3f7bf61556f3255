// What a package says about the software of others in it: a bill of materials and the licences.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * The CycloneDX document that npm writes, cut down to what is shipped: npm knows what is installed,
 * not what the bundles use. Without npm's random serial number and clock, so that two builds agree.
 */
export function softwareBill(packages, { version, date }) {
  const args = ["sbom", "--sbom-format=cyclonedx", "--package-lock-only", "--loglevel=error"];
  const options = { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 };
  const bill = JSON.parse(execFileSync("npm", args, options));
  const wanted = new Set(packages.map(({ name, version }) => `${name}@${version}`));
  const components = bill.components.filter((component) => wanted.delete(component["bom-ref"]));
  if (wanted.size > 0) throw new Error(`npm sbom does not know ${[...wanted].join(", ")}`);
  const kept = new Set(components.map((component) => component["bom-ref"]));
  const dependencies = bill.dependencies
    .filter(({ ref }) => kept.has(ref))
    .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((to) => kept.has(to)) }));
  const root = `mnm@${version}`;
  const document = {
    ...bill,
    serialNumber: undefined,
    metadata: {
      ...bill.metadata,
      timestamp: date.toISOString(),
      component: {
        "bom-ref": root,
        type: "application",
        name: "mnm",
        version,
        licenses: [{ license: { id: "Apache-2.0" } }],
      },
    },
    components,
    dependencies: [{ ref: root, dependsOn: [...kept] }, ...dependencies],
  };
  const digest = createHash("sha256").update(JSON.stringify(document)).digest("hex");
  const serialNumber = `urn:uuid:${uuidOf(digest)}`;
  return `${JSON.stringify({ ...document, serialNumber }, undefined, 2)}\n`;
}

/** An RFC 9562 UUID of version 8, from the digest. */
function uuidOf(digest) {
  const parts = [
    digest.slice(0, 8),
    digest.slice(8, 12),
    `8${digest.slice(13, 16)}`,
    `8${digest.slice(17, 20)}`,
    digest.slice(20, 32),
  ];
  return parts.join("-");
}

/** The full text of each licence, the packages under equal texts together. */
export function licenceTexts(packages) {
  const byText = new Map();
  for (const one of packages) {
    const text = textOf(one).trim();
    byText.set(text, [...(byText.get(text) ?? []), `${one.name} ${one.version}`]);
  }
  const parts = [...byText].map(([text, names]) => `${names.join("\n")}\n\n${text}\n`);
  const line = `\n${"-".repeat(80)}\n\n`;
  return ["MNM contains software of others, under these licences.\n", ...parts].join(line);
}

function textOf({ folder, name }) {
  const file = readdirSync(folder).find((entry) => /^(licen[cs]e|copying)/i.test(entry));
  if (file !== undefined) return readFileSync(join(folder, file), "utf8");
  // Published without the text that their package.json names.
  if (name.startsWith("@koromix/koffi-"))
    return readFileSync("node_modules/koffi/LICENSE.txt", "utf8");
  if (name === "@bufbuild/protobuf") {
    const wire = `${folder}/dist/cjs/wire`;
    const headers = ["binary-encoding.js", "varint.js"].map((file) => headerOf(`${wire}/${file}`));
    return [...headers, readFileSync("LICENSE", "utf8")].join("\n\n");
  }
  throw new Error(`${name} has no licence text in ${folder}`);
}

/** The comment that a source file begins with, without its slashes. */
function headerOf(file) {
  const lines = readFileSync(file, "utf8").replace('"use strict";\n', "").split("\n");
  const end = lines.findIndex((text) => !text.startsWith("//"));
  return lines
    .slice(0, end)
    .map((text) => text.replace(/^\/\/ ?/, ""))
    .join("\n");
}
