export {
  isUsable,
  type Link,
  type LinkKind,
  type LinkSettings,
  linkKindOf,
  type Operstate,
} from "./link.js";
export { type LinkRef, linkRefOf } from "./link-ref.js";
