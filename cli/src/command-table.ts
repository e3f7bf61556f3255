/** An option of the command line, as parser, `help` and manual page need it. */
export interface OptionSpec {
  readonly name: string;
  readonly short?: string;
  /** What its value is called; an option without one is a switch. */
  readonly value?: string;
  readonly text: string;
}

/** A word of a command line. */
export interface ArgumentSpec {
  readonly name: string;
  readonly required: boolean;
  /** There may be any number of them; only the last one of a command. */
  readonly repeated?: boolean;
}

/** A command of mnmctl. The parser, `mnmctl help` and mnmctl(1) are made from these. */
export interface CommandSpec {
  readonly name: string;
  readonly arguments: readonly ArgumentSpec[];
  /** One line, without full stop. */
  readonly summary: string;
  /** Paragraphs. */
  readonly details: readonly string[];
  readonly options: readonly OptionSpec[];
  readonly examples: readonly string[];
}

export const DEFAULT_SOCKET = "/run/mnm/controller.sock";

/** Allowed before and after every command. */
export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  {
    name: "socket",
    value: "PATH",
    text: `The controller's socket; else MNM_SOCKET, else ${DEFAULT_SOCKET}.`,
  },
  { name: "json", text: "Answer in JSON, described in docs/json.md." },
  {
    name: "color",
    value: "WHEN",
    text: "auto, always or never; auto is on a terminal, unless NO_COLOR is set.",
  },
  { name: "help", short: "h", text: "Explain the command." },
  { name: "version", text: "The same as mnmctl version." },
];

const LINK = { name: "LINK", required: true } as const;

/** In the order of the manual: what is asked most comes first. */
export const COMMANDS = [
  {
    name: "status",
    arguments: [],
    summary: "show every link, its uplink and the default",
    details: [
      "A * marks the link that unbound traffic uses. LEASE is what is left of it, SINCE how long the link has been in its state. Lines with ! say what works differently from what you may expect.",
      "The exit status is 4 when no link is usable, and else 6 when another program keeps changing what is MNM's: a link is then shown as contended, and a line with ! says what, by whom as far as can be told, and what to do.",
    ],
    options: [{ name: "watch", short: "w", text: "Show it again whenever something happens." }],
    examples: ["mnmctl status", "mnmctl status --json"],
  },
  {
    name: "link",
    arguments: [{ name: "LINK", required: false }],
    summary: "show all that is known of a link, or of every link",
    details: [
      "Messages are counted from when the controller began to manage the link; what is not shown is 0. received and sent-X are DHCP messages that came in and went out, received-X those that were taken, send-failed those that helper or kernel did not take. refused-X came in and did nothing, because of X, be it a wrong checksum (refused-checksum) or a flood (refused-overload): docs/dhcp.md has the list of reasons.",
      "A DHCP client that was refused, or that declined an address, waits longer each time before it asks again. dhcp says how long and why; reconnect asks at once.",
      "arp-sent-probe, arp-sent-announcement and arp-sent-request are ARP packets that ask whether the address is in use, say that it is ours, and ask whether the gateway is still there. conflict-defended: another host used the address and was told that it is taken; conflict-lost: another host used it, and it was given up.",
    ],
    options: [],
    examples: ["mnmctl link eth0"],
  },
  {
    name: "set-metric",
    arguments: [LINK, { name: "N", required: true }],
    summary: "move a link to another metric, 1 to 9999; the lowest gets unbound traffic",
    details: [
      "New connections follow at once, existing ones stay where they are. A metric that another link has is refused, unless --swap exchanges the two.",
    ],
    options: [
      { name: "swap", text: "Exchange metrics with the link that has this one." },
      { name: "persist", text: "Keep it after a restart or reload of the controller." },
    ],
    examples: ["mnmctl set-metric wlan0 5", "mnmctl set-metric wlan0 10 --swap --persist"],
  },
  {
    name: "events",
    arguments: [],
    summary: "show what happened, and what happens",
    details: [
      "The journal keeps the last 10,000 events since the controller started. With --follow a restart of the controller ends nothing: mnmctl connects again, says so, and goes on without loss where the journal allows it.",
      "With --json every event is one line.",
    ],
    options: [
      { name: "follow", short: "f", text: "Go on until interrupted." },
      { name: "since", value: "SEQ", text: "Only events after the one with this number." },
    ],
    examples: ["mnmctl events", "mnmctl events --follow", "mnmctl events --follow --json"],
  },
  {
    name: "renew",
    arguments: [LINK],
    summary: "renew the lease of a link now",
    details: [
      "Returns when renewing has begun; events say how it ends. A link that was released asks for a new lease.",
    ],
    options: [],
    examples: ["mnmctl renew eth0"],
  },
  {
    name: "release",
    arguments: [LINK],
    summary: "give the lease of a link back, and leave the link without one",
    details: [
      "Tells the server that the address is free (DHCPRELEASE), removes address, routes and rules, and forgets the stored lease. Returns when the kernel is clean.",
      "The link then stays released, whatever its carrier does: until mnmctl reconnect or renew, a reload, or a restart of the controller. It keeps its table and metric. Without carrier the server cannot be told; without a lease the link is released all the same.",
    ],
    options: [],
    examples: ["mnmctl release eth0"],
  },
  {
    name: "reconnect",
    arguments: [LINK],
    summary: "begin anew on a link: forget its lease and ask for another at once",
    details: [
      "Gives a lease that is held back to its server, forgets one that is stored and every wait after refusals, and sends a DISCOVER. Works in every state of the link but without carrier, and brings back one that was released. Returns when that has begun; events say how it ends.",
    ],
    options: [],
    examples: ["mnmctl reconnect eth0"],
  },
  {
    name: "reload",
    arguments: [],
    summary: "make the controller read its configuration file again",
    details: [
      "A file with problems changes nothing; they are shown. Metrics set at run time are dropped.",
    ],
    options: [],
    examples: ["mnmctl reload"],
  },
  {
    name: "leases",
    arguments: [],
    summary: "show the DHCP leases and when they are renewed",
    details: [],
    options: [],
    examples: ["mnmctl leases"],
  },
  {
    name: "wait-online",
    arguments: [{ name: "LINK", required: false, repeated: true }],
    summary: "wait until a link is usable, as mnm-wait-online.service does at boot",
    details: [
      "Without LINK it waits for one usable link, with --all for every managed link that has carrier. With LINK it waits for all that are named, with --any for one of them. It waits for the controller too.",
      "The exit status is 0 as soon as that is so. When it is not in time it is 4, or 3 when the controller could not be reached.",
    ],
    options: [
      { name: "any", text: "One link is enough." },
      { name: "all", text: "All of them." },
      {
        name: "timeout",
        value: "TIME",
        text: "How long to wait: 90, 90s, 2min (the default), 1h or infinity; 0 only looks.",
      },
    ],
    examples: ["mnmctl wait-online", "mnmctl wait-online --any --timeout 30s wwan0 wwan1"],
  },
  {
    name: "check",
    arguments: [{ name: "FILE", required: true }],
    summary: "check a configuration file without using it",
    details: [
      "Needs no controller. Every problem is one line FILE:LINE:COLUMN: TEXT, and then the exit status is 1. A good file is told in other words, so that you see whether it says what you mean.",
    ],
    options: [],
    examples: ["mnmctl check /etc/mnm/mnm.yaml"],
  },
  {
    name: "completion",
    arguments: [{ name: "SHELL", required: true }],
    summary: "print the completion script of a shell: bash, zsh or fish",
    details: [
      "Packages install them. Otherwise bash wants `source <(mnmctl completion bash)` in ~/.bashrc, zsh the same with its name in ~/.zshrc after compinit, and fish a file ~/.config/fish/completions/mnmctl.fish.",
      "For LINK the scripts ask `mnmctl completion links`, which prints the names that the running controller knows, one a line, and nothing when there is no controller.",
    ],
    options: [],
    examples: ["mnmctl completion bash", "mnmctl completion links"],
  },
  {
    name: "version",
    arguments: [],
    summary: "show the versions of mnmctl and of the controller",
    details: [],
    options: [],
    examples: ["mnmctl version"],
  },
  {
    name: "help",
    arguments: [{ name: "COMMAND", required: false }],
    summary: "explain mnmctl, or one command",
    details: [],
    options: [],
    examples: ["mnmctl help set-metric"],
  },
] as const satisfies readonly CommandSpec[];

export type CommandName = (typeof COMMANDS)[number]["name"];

/** What the exit status says, for help and manual. */
export const EXIT_STATUS: readonly { readonly code: number; readonly text: string }[] = [
  { code: 0, text: "done" },
  { code: 1, text: "refused or failed" },
  { code: 2, text: "the command line is wrong" },
  { code: 3, text: "the controller is not reachable" },
  { code: 4, text: "status: no link is usable; wait-online: not in time" },
  { code: 5, text: "reserved: a configuration waits to be confirmed" },
  { code: 6, text: "status: another program keeps changing what is MNM's" },
];

export function isCommandName(text: string): text is CommandName {
  return COMMANDS.some(({ name }) => name === text);
}

export function specOf(name: CommandName): CommandSpec {
  const spec = COMMANDS.find((command) => command.name === name);
  if (spec === undefined) throw new TypeError(`No command ${name} in the table`);
  return spec;
}

/** `set-metric [--swap] [--persist] LINK N`. */
export function usageOf(spec: CommandSpec): string {
  const options = spec.options.map(({ name, value }) =>
    value === undefined ? `[--${name}]` : `[--${name} ${value}]`,
  );
  const words = spec.arguments.map(({ name, required, repeated }) => {
    const word = repeated === true ? `${name}...` : name;
    return required ? word : `[${word}]`;
  });
  return ["mnmctl", spec.name, ...options, ...words].join(" ");
}
