// Bundles the three programs into dist/, so that each starts by reading one file.
import { build } from "esbuild";

const programs = [
  { name: "mnm-helper", entry: "helper/src/main.ts" },
  { name: "mnm-controller", entry: "controller/src/main.ts" },
  { name: "mnmctl", entry: "cli/src/main.ts" },
];

await Promise.all(
  programs.map(({ name, entry }) =>
    build({
      entryPoints: [entry],
      outfile: `dist/${name}.js`,
      bundle: true,
      platform: "node",
      target: "node20",
      format: "esm",
      minifySyntax: true,
      keepNames: true,
      legalComments: "none",
      logLevel: "warning",
      // Native parts find their .node files by their own place in node_modules.
      external: ["koffi", "netlink"],
      // CommonJS dependencies call require() for Node's own modules.
      banner: {
        js: '#!/usr/bin/env node\nimport { createRequire as mnmCreateRequire } from "node:module"; const require = mnmCreateRequire(import.meta.url);',
      },
    }),
  ),
);
