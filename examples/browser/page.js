// The page: reads pictures, has the worker detect, shows what was found.
"use strict";

const MODEL_LIMIT = 500e6; // bytes: it is in memory several times while it is read, and a module has 4 GB
const PICTURE_LIMIT = 16e6; // pixels
const SHOWN = [640, 1600]; // the least and the most pixels of a drawing's longer side

const element = (id) => document.getElementById(id);
let model = null; // what the worker says of the model
let stream = null; // the camera's
const drawings = new Set();

class Problem extends Error {}

// ---------------------------------------------------------------------------------------------------------------------------------------------------- worker

const waiting = new Map();
let number = 0;
const started = start();

async function start() {
  const packed = Uint8Array.from(atob(element("module").textContent), (character) => character.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const module = await WebAssembly.compile(await new Response(unpacked).arrayBuffer());
  const address = URL.createObjectURL(new Blob([element("worker").textContent], { type: "text/javascript" }));
  const worker = new Worker(address);
  worker.onmessage = ({ data }) => {
    const { resolve, reject } = waiting.get(data.number);
    waiting.delete(data.number);
    if (data.error === undefined) {
      resolve(data.result);
    } else {
      reject(new Problem(data.error));
    }
  };
  worker.onerror = (event) => {
    for (const { reject } of waiting.values()) {
      reject(new Problem(`the worker failed: ${event.message}`));
    }
    waiting.clear();
  };
  return { worker, module };
}

async function ask(command, given, transfer = []) {
  const { worker, module } = await started;
  number += 1;
  const message = { number, command, ...given, ...(command === "open" && { module }) };
  return new Promise((resolve, reject) => {
    waiting.set(message.number, { resolve, reject });
    worker.postMessage(message, transfer);
  });
}

// ---------------------------------------------------------------------------------------------------------------------------------------------------- model

async function open(file) {
  model = null;
  element("about").textContent = `Reading ${file.name}…`;
  try {
    if (file.size > MODEL_LIMIT) {
      throw new Problem(`has ${megabytes(file.size)} MB; this page takes models of at most ${megabytes(MODEL_LIMIT)} MB`);
    }
    const start = performance.now();
    model = await ask("open", { file });
    const size = model.height && model.width ? `, for pictures of ${model.width}x${model.height}` : "";
    const classes = model.labels.length ? `classes ${model.labels.join(", ")}` : `${model.num_classes} classes without names (export with --label_map)`;
    element("about").textContent = `${file.name}: ${model.architecture}, ${classes}${size}. Read in ${Math.round(performance.now() - start)} ms.`;
  } catch (error) {
    element("about").textContent = "";
    throw error;
  }
}

function megabytes(bytes) {
  return Math.round(bytes / 1e6);
}

// -------------------------------------------------------------------------------------------------------------------------------------------------- pictures

// Returns a file's picture with the pixels that are in the file, turned as it says.
async function decode(file) {
  try {
    return await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Problem("is no picture that this browser can decode");
  }
}

// Returns the pixels that the model is given of a picture (or of a video's frame), with their size.
function pixelsOf(picture, pictureWidth, pictureHeight) {
  const scale = Math.min(1, Math.sqrt(PICTURE_LIMIT / (pictureWidth * pictureHeight)));
  const width = model.width ?? Math.max(1, Math.floor(pictureWidth * scale));
  const height = model.height ?? Math.max(1, Math.floor(pictureHeight * scale));
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, 0, 0, width, height);
  return { width, height, pixels: pen.getImageData(0, 0, width, height).data.buffer };
}

async function detect(picture, width, height) {
  if (!model) {
    throw new Problem("choose a model first");
  }
  const given = pixelsOf(picture, width, height);
  const { detections, milliseconds } = await ask("detect", given, [given.pixels]);
  const scaled = given.width !== width || given.height !== height ? `, scaled to ${given.width}x${given.height}` : "";
  return { detections, about: `${width}x${height}${scaled}, ${Math.round(milliseconds)} ms` };
}

async function show(name, picture) {
  const { detections, about } = await detect(picture, picture.width, picture.height);
  const drawing = new Drawing(name);
  drawing.update(picture, picture.width, picture.height, detections, about);
}

// --------------------------------------------------------------------------------------------------------------------------------------------------- drawing

// A picture with its detections: a figure of the page.
class Drawing {
  constructor(name) {
    this.name = name;
    this.figure = document.createElement("figure");
    this.canvas = this.figure.appendChild(document.createElement("canvas"));
    this.caption = this.figure.appendChild(document.createElement("figcaption"));
    this.table = this.figure.appendChild(document.createElement("table"));
    this.save = document.createElement("button");
    this.save.textContent = "Save the detections";
    this.save.onclick = () => this.download();
    this.figure.append(this.save);
    element("results").prepend(this.figure);
    drawings.add(this);
  }

  update(picture, width, height, detections, about) {
    const longer = Math.max(width, height);
    const scale = Math.min(Math.max(longer, SHOWN[0]), SHOWN[1]) / longer;
    this.picture = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
    this.picture.getContext("2d").drawImage(picture, 0, 0, this.picture.width, this.picture.height);
    Object.assign(this, { width, height, detections, about });
    this.draw();
  }

  chosen() {
    return this.detections.filter(({ score }) => score >= element("least").valueAsNumber);
  }

  draw() {
    const { width, height } = this.picture;
    const unit = Math.max(width, height) / 800;
    Object.assign(this.canvas, { width, height });
    const pen = this.canvas.getContext("2d");
    pen.drawImage(this.picture, 0, 0);
    pen.lineWidth = 2.5 * unit;
    pen.font = `600 ${15 * unit}px system-ui, sans-serif`;
    pen.textBaseline = "top";
    // The best one last, above the others.
    for (const { class: id, name, score, box } of this.chosen().reverse()) {
      const [top, left, bottom, right] = [box[0] * height, box[1] * width, box[2] * height, box[3] * width];
      const text = `${name} ${score.toFixed(2)}`;
      const [textWidth, textHeight] = [pen.measureText(text).width + 8 * unit, 20 * unit];
      const x = Math.max(0, Math.min(left, width - textWidth));
      const y = top >= textHeight ? top - textHeight : Math.max(0, top);
      pen.strokeStyle = pen.fillStyle = `hsl(${(id * 137.5) % 360} 90% 35%)`;
      pen.strokeRect(left, top, right - left, bottom - top);
      pen.fillRect(x, y, textWidth, textHeight);
      pen.fillStyle = "white";
      pen.fillText(text, x + 4 * unit, y + 3 * unit);
    }
    this.caption.textContent = `${this.name} (${this.about}): ${this.chosen().length} found`;
    this.table.replaceChildren(...this.chosen().map(row));
  }

  // Saves what is shown as JSON; boxes are upper, left, lower and right edge, as parts of the height and the width.
  download() {
    const { name, width, height } = this;
    const text = JSON.stringify({ picture: name, width, height, detections: this.chosen() }, null, 2);
    const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    Object.assign(document.createElement("a"), { href: address, download: `${name}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }
}

function row({ name, score, box }) {
  const row = document.createElement("tr");
  for (const text of [name, score.toFixed(3), ...box.map((edge) => edge.toFixed(3))]) {
    row.insertCell().textContent = text;
  }
  return row;
}

// ---------------------------------------------------------------------------------------------------------------------------------------------------- camera

const REFUSALS = {
  NotAllowedError: "this page is not allowed to use it",
  NotFoundError: "there is none",
  NotReadableError: "another program uses it",
};

async function startCamera() {
  if (!model) {
    throw new Problem("choose a model first");
  }
  if (!navigator.mediaDevices) {
    throw new Problem("browsers give it to files, to https: and to localhost alone");
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
  } catch (error) {
    throw new Problem(REFUSALS[error.name] ?? String(error));
  }
  const video = element("video");
  video.srcObject = stream;
  await video.play();
  element("camera").textContent = "Stop the camera";
  element("take").hidden = false;
  const drawing = new Drawing("camera");
  drawing.figure.id = "live";
  try {
    while (stream) {
      const frame = await createImageBitmap(video);
      const { detections, about } = await detect(frame, frame.width, frame.height);
      drawing.update(frame, frame.width, frame.height, detections, about);
      frame.close();
      await new Promise(requestAnimationFrame);
    }
  } finally {
    stopCamera();
    drawing.figure.remove();
    drawings.delete(drawing);
  }
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  element("camera").textContent = "Start the camera";
  element("take").hidden = true;
}

// ---------------------------------------------------------------------------------------------------------------------------------------------------- events

// Does something; what goes wrong is shown with the name of what it was done to.
async function guarded(name, work) {
  try {
    await work();
  } catch (error) {
    const item = document.createElement("li");
    item.textContent = `${name}: ${error instanceof Problem ? error.message : error}`;
    element("errors").append(item);
  }
}

function clearErrors() {
  element("errors").replaceChildren();
}

element("controls").onsubmit = (event) => event.preventDefault();

element("model").onchange = async ({ target }) => {
  clearErrors();
  for (const file of target.files) {
    await guarded(file.name, () => open(file));
  }
};

element("pictures").onchange = async ({ target }) => {
  clearErrors();
  for (const file of [...target.files]) {
    await guarded(file.name, async () => {
      const picture = await decode(file);
      await show(file.name, picture);
      picture.close();
    });
  }
  // So that the same picture can be chosen again.
  target.value = "";
};

element("camera").onclick = () => {
  clearErrors();
  if (stream) {
    stopCamera();
  } else {
    guarded("camera", startCamera);
  }
};

element("take").onclick = () =>
  guarded("camera", async () => {
    const frame = await createImageBitmap(element("video"));
    await show(`camera ${new Date().toLocaleTimeString()}`, frame);
    frame.close();
  });

element("least").oninput = ({ target }) => {
  element("least-shown").textContent = target.valueAsNumber.toFixed(2);
  for (const drawing of drawings) {
    drawing.draw();
  }
};

guarded("this page", () => started);
