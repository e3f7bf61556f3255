/** The version of all of MNM; scripts/bundle.mjs checks it against package.json. */
export const VERSION = "0.1.0";
