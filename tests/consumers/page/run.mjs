// Detects on a picture in the page: run.mjs PAGE.html MODEL.onnx PICTURE OUTPUT.json
//
// The output is what the page saves, without a least score.

import fs from "node:fs";
import url from "node:url";
import { choose, launch, least, open, saved, show } from "./browser.mjs";

const [file, model, picture, output] = process.argv.slice(2);
const browser = await launch();
try {
  const page = await open(browser, url.pathToFileURL(file).href);
  await choose(page, model);
  await least(page, 0);
  await show(page, picture);
  fs.writeFileSync(output, JSON.stringify(await saved(page)));
} catch (error) {
  console.error(`Error: ${error.message}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
