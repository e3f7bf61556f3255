// Builds a lab, prints its directory, and waits to be ended by a signal, or ends itself and keeps
// the lab: for the lab's own test. idle-lab.js [keep]
import { Lab } from "./lab.js";

const lab = await Lab.create({ uplinks: 2 });
console.log(lab.directory);
if (process.argv[2] === "keep") {
  lab.keep();
  process.exit(0);
}
setInterval(() => undefined, 60_000);
