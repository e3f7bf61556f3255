/** The same as in package.json; a test compares them, so that the bundle needs no second file. */
export const VERSION = "0.1.0";
