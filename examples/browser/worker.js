// Runs the model, so that the page stays responsive. It is a blob of the page's, so that the page's Content-Security-Policy holds here too.
"use strict";

let module; // WebAssembly.Module
let file; // the model's
let instance; // null until the model was read, and after a trap

function failure(text) {
  return Object.assign(new Error(text), { isTold: true });
}

// Calls a function of the module on a request, and returns its answer.
function call(name, request, ...more) {
  const { memory, ...functions } = instance.exports;
  const address = functions.tfod_request(request.byteLength);
  if (address === 0) {
    throw failure(`there is no memory for its ${request.byteLength} bytes`);
  }
  new Uint8Array(memory.buffer, address, request.byteLength).set(request);
  let trap;
  try {
    functions[name](...more);
  } catch (error) {
    trap = error;
  }
  const bytes = new Uint8Array(memory.buffer, functions.tfod_answer(), functions.tfod_answer_length());
  const text = new TextDecoder().decode(bytes);
  if (trap) {
    // What is in memory may be anything now.
    instance = null;
    throw failure(text ? JSON.parse(text).error : `the runtime ended, perhaps because there is not enough memory: ${trap.message}`);
  }
  const answer = JSON.parse(text);
  if (answer.error !== undefined) {
    throw failure(answer.error);
  }
  return answer;
}

// Reads the model, in an instance of its own: a module's memory never becomes smaller.
async function open() {
  const bytes = new Uint8Array(await file.arrayBuffer());
  instance = await WebAssembly.instantiate(module, {});
  try {
    return call("tfod_open", bytes);
  } catch (error) {
    instance = null;
    throw error;
  }
}

const commands = {
  async open(given) {
    ({ module, file } = given);
    instance = null;
    return await open();
  },

  async detect({ height, width, pixels }) {
    if (!instance) {
      await open();
    }
    const start = performance.now();
    const answer = call("tfod_detect", new Uint8Array(pixels), height, width);
    return { ...answer, milliseconds: performance.now() - start };
  },
};

// One after another, in the order in which they come.
let last = Promise.resolve();
self.onmessage = ({ data }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ number: data.number, result: await commands[data.command](data) });
    } catch (error) {
      self.postMessage({ number: data.number, error: error.isTold ? error.message : String(error) });
    }
  });
};
