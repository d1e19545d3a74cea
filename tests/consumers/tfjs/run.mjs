// Runs a graph model in TensorFlow.js under Node: run.mjs MODEL.json INPUT.json OUTPUTS.json
//
// The input is {shape, values}; outputs are written as {key: {shape, values}}.

import fs from "node:fs";
import path from "node:path";
import * as tf from "@tensorflow/tfjs";

const [modelPath, inputPath, outputsPath] = process.argv.slice(2);

/** Reads a converted model from disk, as the loader for Node does, which is part of a package with native code. */
const fromDisk = {
  load: async () => {
    const model = JSON.parse(fs.readFileSync(modelPath, "utf8"));
    const files = model.weightsManifest.flatMap((group) => group.paths);
    const data = Buffer.concat(files.map((file) => fs.readFileSync(path.join(path.dirname(modelPath), file))));
    return {
      modelTopology: model.modelTopology,
      format: model.format,
      signature: model.signature,
      weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
      weightData: data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength),
    };
  },
};

const model = await tf.loadGraphModel(fromDisk);
const { shape, values } = JSON.parse(fs.readFileSync(inputPath, "utf8"));
const [input] = model.inputs;
const keys = Object.entries(model.artifacts.signature.outputs).map(([key, info]) => [key, info.name]);
const tensors = await model.executeAsync({ [input.name]: tf.tensor(values, shape, "int32") }, keys.map(([, name]) => name));
const outputs = {};
[tensors].flat().forEach((tensor, index) => {
  outputs[keys[index][0]] = { shape: tensor.shape, values: [...tensor.dataSync()] };
});
fs.writeFileSync(outputsPath, JSON.stringify(outputs));
