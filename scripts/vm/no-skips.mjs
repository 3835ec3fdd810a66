// A reporter of node:test that lets a run fail on CI in which a test was skipped: there, everything is to be had.
// biome-ignore lint/style/noDefaultExport: where node:test looks for a reporter
export default async function* noSkips(events) {
  for await (const { type, data } of events) {
    if (type !== "test:pass" || data.skip === undefined || process.env.CI !== "true") continue;
    process.exitCode = 1;
    yield `skipped, which CI does not allow: ${data.name}: ${data.skip}\n`;
  }
}

/** Node's options for a run whose skips count on CI. */
export const reporters = [
  "--test-reporter=spec",
  "--test-reporter-destination=stdout",
  `--test-reporter=${import.meta.url}`,
  "--test-reporter-destination=stdout",
];
