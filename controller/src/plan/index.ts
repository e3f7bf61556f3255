export { type Collision, collisionsOf, ownersOfAddresses, sharingUplinks } from "./collisions.js";
export {
  MAIN,
  type PlannedRule,
  planShared,
  planUplink,
  type RoutingPlan,
  type WantedAddress,
  type WantedRoute,
  type WantedRule,
} from "./plan.js";
export { planSettings } from "./settings.js";
