// A browser that is told what to do, a JSON document a line: reads orders from standard input and
// answers each on standard output with {"value": ...} or {"error": "..."}.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { readFile } from "node:fs/promises";

const require = createRequire(import.meta.url);
const { chromium } = require("playwright-core");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});
let context, page, cdp;
const said = [];

const orders = {
  // A new page, in a context of its own, at `url`.
  async open({ url, options }) {
    await context?.close();
    context = await browser.newContext(options);
    context.setDefaultTimeout(60_000);
    page = await context.newPage();
    said.length = 0;
    page.on("console", (message) => said.push(message.text()));
    page.on("pageerror", (error) => said.push(String(error)));
    cdp = await context.newCDPSession(page);
    const answer = await page.goto(url);
    return answer.status();
  },
  // A method of the page's, such as ["keyboard", "press"].
  async call({ path, args }) {
    const on = path.slice(0, -1).reduce((object, name) => object[name], page);
    const value = await on[path.at(-1)](...args);
    const isPlain = value === null || Array.isArray(value) || typeof value !== "object";
    return isPlain || Object.getPrototypeOf(value) === Object.prototype ? value : null;
  },
  // Answer the window for files, which a key opens.
  async choose({ key, files }) {
    const [window] = await Promise.all([page.waitForEvent("filechooser"), page.keyboard.press(key)]);
    await window.setFiles(files);
  },
  // Follow what is done by `path` to another page; its status.
  async follow({ path, args }) {
    const [answer] = await Promise.all([
      page.waitForResponse((answer) => answer.request().isNavigationRequest()
        && answer.status() !== 401),
      orders.call({ path, args }),
    ]);
    await page.waitForLoadState();
    return answer.status();
  },
  // Wait until an expression is true. (What the driver has for it needs `eval` in the page, which
  // the policy of a page may forbid.)
  async until({ condition }) {
    for (const end = Date.now() + 60_000; Date.now() < end;) {
      if (await page.evaluate(condition)) return;
    }
    throw new Error(`expected within 60 s: ${condition}`);
  },
  // Send no more than so many bytes a second.
  async throttle({ rate }) {
    await cdp.send("Network.emulateNetworkConditions",
      { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: rate });
  },
  // What axe-core finds: the rule and where.
  async axe() {
    // The page's policy lets no script in; the tools of the browser may.
    const source = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");
    await cdp.send("Runtime.evaluate", { expression: source });
    const { result } = await cdp.send("Runtime.evaluate", {
      expression: `axe.run().then((found) => JSON.stringify({
        passes: found.passes.length,
        findings: found.violations.flatMap((it) =>
          it.nodes.map((node) => [it.id, node.target.join(" "), node.failureSummary])),
        unsure: found.incomplete.flatMap((it) =>
          it.nodes.map((node) => [it.id, node.target.join(" ")])),
      }))`,
      awaitPromise: true,
    });
    return JSON.parse(result.value);
  },
  async said() {
    return said;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { order, ...told } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await orders[order](told)) ?? null };
  } catch (error) {
    answer = { error: String(error.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
