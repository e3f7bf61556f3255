export { ownersOfAddresses, sharingUplinks } from "./collisions.js";
export {
  MAIN,
  type PlannedRule,
  planRouting,
  planShared,
  planUplink,
  type RoutingPlan,
  type WantedAddress,
  type WantedRoute,
  type WantedRule,
} from "./plan.js";
export { planSettings, type SettingsOfLink } from "./settings.js";
