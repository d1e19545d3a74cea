// The page of examples/browser, in Chromium. tests/page.py builds it, exports the models and starts this; TFOD_PAGE is a JSON object with their paths.

import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import url from "node:url";
import { choose, launch, least, open, saved, show } from "./browser.mjs";

const given = JSON.parse(process.env.TFOD_PAGE);
const [png, jpeg] = given.pictures;
const pageAddress = url.pathToFileURL(given.page).href;
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "tfod-page-"));

function scratchFile(name, content) {
  const file = path.join(scratch, name);
  fs.writeFileSync(file, content);
  return file;
}

/** A server of files on this machine that tells what it was asked for. */
async function serve(files) {
  const asked = [];
  const server = http.createServer((request, response) => {
    asked.push(request.url);
    const file = files[request.url];
    response.writeHead(file ? 200 : 404, { "content-type": "text/html", "access-control-allow-origin": "*" });
    response.end(file ? fs.readFileSync(file) : "");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { asked, address: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

function assertSame(found, expected, tolerance) {
  assert.deepEqual(
    found.detections.map(({ class: id, name }) => [id, name]),
    expected.detections.map(({ class: id, name }) => [id, name]),
  );
  found.detections.forEach(({ score, box }, row) => {
    const other = expected.detections[row];
    [[score, other.score], ...box.map((edge, index) => [edge, other.box[index]])].forEach(([one, two]) => {
      assert.ok(Math.abs(one - two) <= tolerance, `row ${row}: ${one}, ONNX Runtime has ${two}`);
    });
  });
}

/** Waits for errors, and returns them. */
async function errors(page) {
  await page.locator("#errors li").first().waitFor({ timeout: 60_000 });
  return await page.locator("#errors li").allTextContents();
}

describe("the page", { concurrency: false }, () => {
  let browser;
  before(async () => {
    browser = await launch("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream");
  });
  after(async () => {
    await browser?.close();
    fs.rmSync(scratch, { recursive: true, force: true });
  });

  /** Opens the page; after the test, nothing may have failed in it, and nothing may have been asked for but the page itself. */
  function inPage(name, work, address = () => pageAddress) {
    test(name, async () => {
      const page = await open(browser, address());
      await work(page);
      assert.deepEqual(page.failures, []);
      const others = page.requests.filter((asked) => !asked.startsWith("blob:") && !asked.startsWith("data:"));
      assert.deepEqual(others, [address()]);
      await page.context().close();
    });
  }

  for (const [kind, model] of Object.entries(given.models)) {
    inPage(`detects what ONNX Runtime does, with a model of ${kind}`, async (page) => {
      await choose(page, model.file);
      assert.match(await page.locator("#about").textContent(), /classes circle, square, triangle/);
      await least(page, 0);
      for (const [picture, expected] of Object.entries(model.expected)) {
        await show(page, picture);
        const found = await saved(page);
        assert.deepEqual([found.width, found.height], [expected.width, expected.height]);
        // The pixels of a PNG are the same everywhere; decoders of JPEG differ.
        assertSame(found, expected, picture.endsWith(".png") ? 1e-5 : 2e-3);
      }
    });
  }

  inPage("shows several pictures, with what has the least score", async (page) => {
    const model = given.models["bytes"];
    await choose(page, model.file);
    await show(page, png, jpeg);
    const wanted = model.expected[jpeg].detections.filter(({ score }) => score >= 0.5).length;
    const figure = page.locator("figure").first();
    assert.equal((await saved(page, figure)).detections.length, wanted);
    assert.equal(await figure.locator("tr").count(), wanted);
    await least(page, 1);
    assert.equal(await figure.locator("tr").count(), 0);
    const empty = await figure.locator("canvas").screenshot();
    await least(page, 0.5);
    assert.notDeepEqual(await figure.locator("canvas").screenshot(), empty, "boxes are drawn");
    if (process.env.TFOD_SCREENSHOT) {
      await page.screenshot({ path: process.env.TFOD_SCREENSHOT, fullPage: true });
    }
  });

  inPage("detects with the camera until it is stopped", async (page) => {
    await page.locator("#camera").click();
    assert.match((await errors(page))[0], /^camera: choose a model first$/);
    await choose(page, given.models["bytes"].file);
    await least(page, 0);
    await page.locator("#camera").click();
    await page.locator("#live figcaption").waitFor({ timeout: 60_000 });
    const size = await page.locator("#video").evaluate((video) => [video.videoWidth, video.videoHeight]);
    await page.locator("#take").click();
    await page.locator("figure:not(#live)").waitFor({ timeout: 60_000 });
    const { width, height } = await saved(page, page.locator("figure:not(#live)"));
    assert.deepEqual([width, height], size);
    assert.ok(width > 0 && height > 0);
    // One frame follows the other.
    const shown = () => page.locator("#live canvas").evaluate((canvas) => canvas.toDataURL());
    const first = await shown();
    await page.waitForFunction((first) => document.querySelector("#live canvas").toDataURL() !== first, first, { timeout: 60_000 });
    await page.locator("#camera").click();
    await page.locator("#live").waitFor({ state: "detached", timeout: 60_000 });
    assert.equal(await page.locator("#video").evaluate((video) => video.srcObject.active), false);
    assert.equal(await page.locator("#errors li").count(), 0);
  });

  inPage("tells what is wrong, and goes on", async (page) => {
    await page.setInputFiles("#pictures", png);
    assert.deepEqual(await errors(page), ["test_1.png: choose a model first"]);

    for (const [file, message] of [
      [scratchFile("empty.onnx", ""), /^empty\.onnx: cannot be run: it has no graph$/],
      [jpeg, /^test_2\.jpg: cannot be run: it is damaged at byte \d+: /],
      [scratchFile("half.onnx", fs.readFileSync(given.models["bytes"].file).subarray(0, 100_000)), /^half\.onnx: cannot be run: it is damaged at byte \d+: /],
      [given.wrong.heads, /^model\.onnx: has no output detection_boxes, .*; expected a model of `tfod export --format onnx` without/],
      [given.wrong.external, /^model\.onnx: cannot be run: .* is in the file `model\.onnx\.data`: expected a model with its weights inside/],
      [given.wrong.batch, /^model\.onnx: takes 2 pictures at once; expected a model that was made with `--batch 1` or `dynamic`$/],
    ]) {
      await page.setInputFiles("#model", file);
      const [error] = await errors(page);
      assert.match(error, message);
    }

    // A file that is not there on the disk: it has a size only.
    const large = scratchFile("large.onnx", "");
    fs.truncateSync(large, 600e6);
    await page.setInputFiles("#model", large);
    assert.deepEqual(await errors(page), ["large.onnx: has 600 MB; this page takes models of at most 500 MB"]);

    await choose(page, given.models["bytes"].file);
    await page.setInputFiles("#pictures", [scratchFile("broken.png", fs.readFileSync(png).subarray(0, 40)), jpeg]);
    await page.locator("figure").waitFor({ timeout: 60_000 });
    assert.deepEqual(await errors(page), ["broken.png: is no picture that this browser can decode"]);
    assert.ok((await saved(page)).detections.length > 0);
  });

  inPage("reads the model again when the runtime ended", async (page) => {
    const model = given.models["bytes"];
    await choose(page, model.file);
    // A trap cannot be had from a good model: here the functions of the instance are made to fail once.
    await page.workers()[0].evaluate(() => {
      const { exports } = instance;
      instance = {
        exports: { ...exports, memory: exports.memory, tfod_detect: () => new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 116, 0, 0, 10, 5, 1, 3, 0, 0, 11))).exports.t() },
      };
    });
    await page.setInputFiles("#pictures", png);
    assert.match((await errors(page))[0], /^test_1\.png: the runtime ended, perhaps because there is not enough memory: unreachable$/);
    await show(page, png);
    assertSame(await saved(page), { detections: model.expected[png].detections.filter(({ score }) => score >= 0.5) }, 1e-5);
  });

  let server;
  before(async () => {
    server = await serve({ "/": given.page, "/free": scratchFile("free.html", "<p>A page without a policy</p>") });
  });
  after(() => server.close());

  inPage(
    "works from a server, and can reach neither it nor another",
    async (page) => {
      const elsewhere = await serve({});
      await choose(page, given.models["bytes"].file);
      await show(page, png);
      const ways = async (target) => {
        const attempts = {
          fetch: () => fetch(target, { mode: "no-cors" }),
          beacon: () => self.navigator.sendBeacon?.(target, "x"),
          socket: () => new WebSocket(target.replace("http", "ws")),
          image: () => typeof Image !== "undefined" && Object.assign(new Image(), { src: target }),
          script: () => (typeof document === "undefined" ? importScripts(target) : document.head.append(Object.assign(document.createElement("script"), { src: target }))),
        };
        for (const attempt of Object.values(attempts)) {
          try {
            await attempt();
          } catch {
            // As it should be.
          }
        }
        await new Promise((resolve) => setTimeout(resolve, 500));
      };
      const free = await open(browser, `${server.address}/free`);
      await free.evaluate(ways, `${elsewhere.address}/free`);
      assert.ok(elsewhere.asked.length >= 4, `what is tried below can be noticed: ${elsewhere.asked}`);
      elsewhere.asked.length = 0;
      server.asked.length = 0;
      const told = page.requests.length;
      for (const target of [`${elsewhere.address}/secret`, `${server.address}/secret`]) {
        await page.evaluate(ways, target);
        await page.workers()[0].evaluate(ways, target);
      }
      assert.deepEqual([elsewhere.asked, server.asked], [[], []]);
      page.requests.length = told; // attempts that the policy stopped
      elsewhere.close();
    },
    () => `${server.address}/`,
  );
});
