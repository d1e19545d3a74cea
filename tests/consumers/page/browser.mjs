// Chromium, as a person would use it: a new profile, a camera that shows a test picture, and a list of everything that the page asks the network for.

import fs from "node:fs";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.TFOD_CHROMIUM ?? "/usr/bin/chromium";

/** Starts the browser; `more` are further flags. */
export async function launch(...more) {
  if (!fs.existsSync(CHROMIUM)) {
    throw new Error(`${CHROMIUM}: there is no browser; install it with \`apt-get install chromium\`, or name one in TFOD_CHROMIUM`);
  }
  const quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  return await chromium.launch({ executablePath: CHROMIUM, headless: true, args: ["--no-sandbox", ...quiet, ...more] });
}

/** Opens the page at an address; `page.requests` are the addresses of all that it, its workers and its frames ask for. */
export async function open(browser, address) {
  const context = await browser.newContext();
  const requests = [];
  context.on("request", (request) => requests.push(request.url()));
  const page = await context.newPage();
  page.requests = requests;
  page.failures = [];
  page.on("pageerror", (error) => page.failures.push(String(error)));
  await page.goto(address);
  return page;
}

/** Chooses a model and waits until it was read; fails with what the page says. */
export async function choose(page, model) {
  await page.setInputFiles("#model", model);
  await page.waitForFunction(() => /Read in \d+ ms/.test(document.querySelector("#about").textContent) || document.querySelector("#errors li"), null, {
    timeout: 300_000,
  });
  await refuseErrors(page);
}

/** Chooses pictures and waits for as many new figures. */
export async function show(page, ...pictures) {
  const before = await page.locator("figure").count();
  await page.setInputFiles("#pictures", pictures);
  const count = before + pictures.length;
  await page.waitForFunction((count) => document.querySelectorAll("figure").length >= count || document.querySelector("#errors li"), count, {
    timeout: 600_000,
  });
  await refuseErrors(page);
}

async function refuseErrors(page) {
  const errors = await page.locator("#errors li").allTextContents();
  if (errors.length) {
    throw new Error(errors.join("; "));
  }
}

/** Shows what has at least this score. */
export async function least(page, score) {
  await page.locator("#least").fill(String(score));
}

/** Returns what the button of a figure saves. */
export async function saved(page, figure = page.locator("figure").first()) {
  const [download] = await Promise.all([page.waitForEvent("download"), figure.getByRole("button").click()]);
  return JSON.parse(fs.readFileSync(await download.path(), "utf8"));
}
