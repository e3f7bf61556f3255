// Bundles the three programs into dist/, so that each starts by reading few files.
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const programs = [
  // Of netlink it uses the formatters alone, which are plain JavaScript: bundled, it starts 25 ms
  // earlier, and netlink's native part is not even loaded next to the capabilities.
  { name: "mnm-helper", entry: "helper/src/main.ts", external: ["koffi"] },
  // Reflection finds its .proto files by its own place in node_modules, and is loaded only when
  // somebody asks for it.
  {
    name: "mnm-controller",
    entry: "controller/src/main.ts",
    external: ["koffi", "netlink", "@grpc/reflection", "@grpc/proto-loader"],
  },
  { name: "mnmctl", entry: "cli/src/main.ts" },
];

await Promise.all(
  programs.map(({ name, entry, external = [] }) =>
    build({
      entryPoints: [entry],
      outfile: `dist/${name}.bundle.js`,
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
    }),
  ),
);
writeFileSync("dist/package.json", '{ "type": "commonjs" }\n');
for (const { name } of programs) {
  const program = `dist/${name}.js`;
  copyFileSync("scripts/launch.cjs", program);
  chmodSync(program, 0o755);
  execFileSync(process.execPath, [...nodeFlagsOf(name), program, "--write-code-cache"]);
}

/** The flags that its unit gives to Node: the code cache is for these. */
function nodeFlagsOf(name) {
  if (name === "mnmctl") return [];
  const unit = readFileSync(`systemd/${name}.service`, "utf8");
  const [, flags = ""] = /^ExecStart=\/usr\/bin\/node (.*)\/usr\/lib\/mnm\//m.exec(unit) ?? [];
  return flags.trim().split(/\s+/);
}
