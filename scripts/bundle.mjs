// Bundles the three programs into dist/, so that each starts by reading few files.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const programs = [
  // Of netlink it uses the formatters alone, which are plain JavaScript: bundled, it starts 25 ms
  // earlier, and netlink's native part is not even loaded next to the capabilities.
  { name: "mnm-helper", entry: "helper/src/start/main.ts", external: ["koffi"] },
  // Reflection finds its .proto files by its own place in node_modules, and is loaded only when
  // somebody asks for it.
  {
    name: "mnm-controller",
    entry: "controller/src/main.ts",
    external: ["koffi", "netlink", "@grpc/reflection", "@grpc/proto-loader"],
  },
  { name: "mnmctl", entry: "cli/src/main.ts", external: [] },
];

mkdirSync("dist", { recursive: true });
const bundled = await Promise.all(programs.map(bundle));
writeFileSync("dist/package.json", '{ "type": "commonjs" }\n');
for (const { name } of programs) {
  const program = `dist/${name}.js`;
  copyFileSync("scripts/launch.cjs", program);
  chmodSync(program, 0o755);
}
writeFileSync("dist/mnm-helper", helperLauncher());
chmodSync("dist/mnm-helper", 0o755);
// What a package has to carry and to give credit for: scripts/package.
const modules = { bundled: filesOf(bundled), beside: await besideTheBundles() };
writeFileSync("dist/modules.json", `${JSON.stringify(modules, undefined, 2)}\n`);
writeFileSync("dist/write-code-cache", codeCacheScript());
chmodSync("dist/write-code-cache", 0o755);
execFileSync("dist/write-code-cache", [process.execPath]);

async function bundle({ name, entry, external }) {
  const outfile = `dist/${name}.bundle.js`;
  const { metafile, outputFiles } = await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: "node",
    target: "node20",
    // V8's code cache is for scripts, not for modules. See launch.cjs.
    format: "cjs",
    supported: { "dynamic-import": false },
    minifySyntax: true,
    keepNames: true,
    legalComments: "none",
    logLevel: "warning",
    // Native parts find their .node files by their own place in node_modules.
    external,
    metafile: true,
    write: false,
  });
  // The launcher compares this line with the code cache: V8 compares no more than lengths.
  const { text } = outputFiles[0];
  const id = createHash("sha256").update(text).digest("hex");
  writeFileSync(outfile, `//${id}\n${text}`);
  return metafile;
}

/** The files that stay outside of the bundles, as far as the programs reach them. */
async function besideTheBundles() {
  const names = new Set(programs.flatMap(({ external }) => external));
  const { metafile } = await build({
    stdin: {
      contents: [...names].map((name) => `require(${JSON.stringify(name)});`).join("\n"),
      resolveDir: process.cwd(),
    },
    bundle: true,
    platform: "node",
    metafile: true,
    write: false,
    logLevel: "warning",
  });
  return filesOf([metafile]);
}

function filesOf(metafiles) {
  const inputs = new Set(metafiles.flatMap(({ inputs }) => Object.keys(inputs)));
  return [...inputs].filter((path) => path.startsWith("node_modules/")).sort();
}

/** The command that people start the helper by: with Node's options of its unit. */
function helperLauncher() {
  const options = nodeFlagsOf("mnm-helper").join(" ");
  const script = readFileSync("helper/bin/mnm-helper.sh", "utf8");
  return script.replace("@NODE@", process.execPath).replace("@OPTIONS@", options);
}

/** A code cache is for one Node and its flags, those of the program's unit. */
function codeCacheScript() {
  const runs = programs.map(({ name }) =>
    ['"$node"', ...nodeFlagsOf(name), `${name}.js`, "--write-code-cache >/dev/null"].join(" "),
  );
  return [
    "#!/bin/sh",
    "# Writes V8's code caches beside the programs, for the Node that is named.",
    "set -eu",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's
    "node=${1:-/usr/bin/node}",
    'cd "$(dirname "$0")"',
    ...runs,
    "",
  ].join("\n");
}

function nodeFlagsOf(name) {
  if (name === "mnmctl") return [];
  const unit = readFileSync(`systemd/${name}.service`, "utf8");
  const [, flags = ""] = /^ExecStart=\/usr\/bin\/node (.*)\/usr\/lib\/mnm\//m.exec(unit) ?? [];
  return flags.trim().split(/\s+/);
}
