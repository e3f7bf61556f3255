// Bundles the three programs into dist/, so that each starts by reading one file.
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
      external,
      // CommonJS dependencies call require() for Node's own modules.
      banner: {
        js: '#!/usr/bin/env node\nimport { createRequire as mnmCreateRequire } from "node:module"; const require = mnmCreateRequire(import.meta.url);',
      },
    }),
  ),
);
