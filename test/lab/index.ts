export { type LabMode, SERVER, TCP_PORT, UDP_PORT } from "./addressing.js";
export { Lab, type LabOptions } from "./lab.js";
export type { StartOptions } from "./launcher.js";
export type { Namespace } from "./namespace.js";
export type { Bind, PingCount, PingStream, TcpProbe, Whoami } from "./probe.js";
export type { Credentials, Program } from "./program.js";
export { type Output, until } from "./run.js";
