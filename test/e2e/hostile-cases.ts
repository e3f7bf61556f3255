import type { Arena } from "./hostile-arena.js";
import { arpCases, dhcpCases } from "./hostile-cases-packets.js";
import {
  addressCases,
  mainCases,
  peerCases,
  routeCases,
  ruleCases,
  selectorCases,
} from "./hostile-cases-routing.js";
import { type Case, validCalls } from "./hostile-valid.js";
import type { Message } from "./hostile-wire.js";

/** Everything that the contract forbids, once the valid calls have been made. */
export function forbiddenCalls(arena: Arena): readonly Case[] {
  return [
    ...linkCases(arena),
    ...addressCases(arena),
    ...peerCases(arena),
    ...routeCases(arena),
    ...mainCases(arena),
    ...ruleCases(arena),
    ...selectorCases(arena),
    ...settingsCases(arena),
    ...dhcpCases(arena),
    ...arpCases(arena),
    [
      "BroadcastLegacyEvent: off unless helper.json says so",
      "BroadcastLegacyEvent",
      { ifindex: 2, up: 1 },
      "not_permitted legacy_broadcast",
    ],
  ];
}

const NAMING = [
  ...(["putAddress", "putRoute", "putRule", "putLinkSettings"] as const),
  ...(["SendDhcp", "WatchArp", "SendArp", "deleteRoute", "deleteAddress"] as const),
];

/** Every verb that names a link, deletes too. */
function linkCases(arena: Arena): readonly Case[] {
  const valid = validCalls(arena);
  const other = arena.link("wan1").ref;
  const link = arena.link("wan0").ref;
  const wrong: readonly [string, Message | undefined, string][] = [
    ["its ifindex must match the kernel", { ...link, ifindex: 9999 }, "link_mismatch ifindex"],
    ["its name must match the kernel", { ...link, name: "wan9" }, "link_mismatch name"],
    ["its MAC must match the kernel", { ...link, mac: Buffer.alloc(6, 2) }, "link_mismatch mac"],
    ["all three are of one link", { ...link, ifindex: other["ifindex"] }, "link_mismatch name"],
    ["helper.json must allow it", arena.link("f0").ref, "not_permitted link"],
    ["lo is never allowed", arena.link("lo").ref, "not_permitted link"],
    ["it must be there", undefined, "malformed link"],
  ];
  return wrong.flatMap(([sentence, ref, want]): readonly Case[] => [
    ...NAMING.map((kind): Case => {
      return [`A link: ${sentence}`, kind, { ...valid[kind], link: ref }, want];
    }),
    ...(ref === undefined ? [] : [[`A link: ${sentence}`, "OpenPackets", ref, want] as const]),
  ]);
}

function settingsCases(arena: Arena): readonly Case[] {
  const { putLinkSettings } = validCalls(arena);
  const most = {
    rpFilter: 2,
    arpIgnore: 8,
    arpAnnounce: 2,
    ignoreRoutesWithLinkdown: 1,
    promoteSecondaries: 1,
  };
  return Object.entries(most).map(([field, largest]): Case => {
    const named = field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    const request = { ...putLinkSettings, [field]: largest + 1 };
    return [
      `PutLinkSettings: ${named} within its enum`,
      "putLinkSettings",
      request,
      `not_permitted ${named}`,
    ];
  });
}
