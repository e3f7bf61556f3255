export type { WantedSettings } from "./diff.js";
export { KernelModel, type ModelChange } from "./kernel-model.js";
export { addressKey, type ObjectKey, operationKey } from "./keys.js";
export type { Operation } from "./operation.js";
export { Reconciler } from "./reconciler.js";
export { renderObject, renderOperation } from "./render.js";
export {
  type KernelAddress,
  type KernelNotification,
  type KernelRoute,
  type KernelRule,
  type KernelSnapshot,
  MAIN_TABLE,
  MNM_PROTOCOL,
  type RouteType,
} from "./snapshot.js";
