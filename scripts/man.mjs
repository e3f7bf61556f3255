// Writes docs/man/mnmctl.1 from the table of commands. Needs `npx tsc -b cli` first.
import { writeFileSync } from "node:fs";
import { manPage } from "../cli/dist/render/man-page.js";
import { VERSION } from "../cli/dist/version.js";

writeFileSync(new URL("../docs/man/mnmctl.1", import.meta.url), manPage(VERSION));
