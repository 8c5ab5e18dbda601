// The model runs here, in the browser: the runtime and the model are loaded once, then no network is needed.
import { Polite, look, requireSize, unreadable } from "./header.js";

const facts = JSON.parse(document.getElementById("facts").textContent);
const at = (id) => document.getElementById(id);

async function runtimeFile(name, type) {
  // The browser compares the sha384 and refuses a file that is another one.
  const answer = await fetch(new URL(name, new URL(facts.runtime.from, location.href)), {
    integrity: facts.runtime.files[name],
  });
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  return new Blob([await answer.arrayBuffer()], { type });
}

async function load() {
  const [code, wasm, model] = await Promise.all([
    runtimeFile("ort.wasm.bundle.min.mjs", "text/javascript"),
    runtimeFile("ort-wasm-simd-threaded.wasm", "application/wasm"),
    fetch("model.onnx").then((answer) => {
      if (!answer.ok) throw new Error(`model.onnx: ${answer.status}`);
      return answer.arrayBuffer();
    }),
  ]);
  const ort = await import(URL.createObjectURL(code));
  ort.env.wasm.numThreads = 1; // more need headers that a plain web server does not send
  ort.env.wasm.wasmBinary = await wasm.arrayBuffer();
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"] });
  return { ort, session };
}

// Raw levels of the whole frame at its own size: a canvas that resizes does so without antialias.
async function pixelsOf(file) {
  if (file.size > facts.max_bytes)
    throw new Polite(`${file.name} has ${Math.round(file.size / 2 ** 20)} MB; at most ${facts.max_bytes / 2 ** 20} are taken.`);
  const content = look(await file.arrayBuffer(), file.name, facts.rules);
  let bitmap;
  try {
    bitmap = await createImageBitmap(content, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Polite(unreadable(file.name, facts.rules));
  }
  requireSize(bitmap.width, bitmap.height, facts.rules);
  const canvas = at("view");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height);
  const pixels = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    if (data[from + 3] !== 255) throw new Polite(`${file.name} has transparent parts; save it without them.`);
    pixels[to] = data[from];
    pixels[to + 1] = data[from + 1];
    pixels[to + 2] = data[from + 2];
  }
  return { pixels, width, height };
}

// Some browsers add noise to what a page reads from a canvas, against tracking.
function canvasIsTrue() {
  const canvas = new OffscreenCanvas(16, 16);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const drawn = context.createImageData(16, 16);
  for (let i = 0; i < drawn.data.length; i++) drawn.data[i] = i % 4 === 3 ? 255 : (i * 37) % 256;
  context.putImageData(drawn, 0, 0);
  return context.getImageData(0, 0, 16, 16).data.every((level, i) => level === drawn.data[i]);
}

function softmax(logits, temperature) {
  const most = Math.max(...logits);
  const raised = logits.map((logit) => Math.exp((logit - most) / temperature));
  const total = raised.reduce((sum, value) => sum + value, 0);
  return raised.map((value) => value / total);
}

function show(probabilities, logits) {
  const calibrated = facts.temperature === null ? null : softmax(logits, facts.temperature);
  const first = probabilities.indexOf(Math.max(...probabilities));
  const rows = facts.labels.map((label, i) => {
    const row = document.createElement("tr");
    row.dataset.label = label;
    row.dataset.probability = probabilities[i];
    row.dataset.logit = logits[i];
    if (calibrated) row.dataset.calibrated = calibrated[i];
    const meter = Object.assign(document.createElement("meter"), { value: probabilities[i], max: 1 });
    meter.setAttribute("aria-label", `probability of ${label}`);
    for (const content of [label, probabilities[i].toFixed(4), calibrated ? calibrated[i].toFixed(4) : "\u2013", meter]) {
      const cell = document.createElement("td");
      cell.className = "number";
      cell.append(content);
      row.append(cell);
    }
    return row;
  });
  at("rows").replaceChildren(...rows);
  const positive = facts.labels.indexOf(facts.positive);
  let words = `The most probable class is ${facts.labels[first]}.`;
  let how = "";
  if (positive >= 0 && facts.threshold !== null && calibrated) {
    const called = calibrated[positive] >= facts.threshold ? positive : 1 - positive;
    words = `At the locked threshold it is called ${facts.labels[called]}.`;
    how =
      `Called ${facts.positive} from a calibrated probability of ${facts.threshold.toFixed(3)}; without a threshold ` +
      `the most probable class is ${facts.labels[first]}. Calibrated: logits divided by ${facts.temperature.toFixed(2)}, ` +
      `fitted on test predictions of this run.`;
  }
  at("said").textContent = words;
  at("how").textContent = how;
  at("result").hidden = false;
}

function tell(problem) {
  at("problem").textContent = problem;
  at("problem").hidden = !problem;
}

const loading = load();
let turn = 0;

async function answer(file) {
  const own = ++turn; // of two images given in haste the later one is shown
  tell("");
  at("result").hidden = true;
  at("status").textContent = `Reading ${file.name}\u2026`;
  try {
    const { ort, session } = await loading;
    const { pixels, width, height } = await pixelsOf(file);
    at("status").textContent = `${file.name}: ${width} x ${height} pixels. The model is at work\u2026`;
    await new Promise((done) => setTimeout(done)); // lets the browser draw that
    const image = new ort.Tensor("uint8", pixels, [1, height, width, 3]);
    const { logits, probabilities } = await session.run({ image });
    if (own !== turn) return;
    show([...probabilities.data], [...logits.data]);
    at("status").textContent = `${file.name}: ${width} x ${height} pixels.`;
  } catch (error) {
    if (own !== turn) return;
    at("status").textContent = "";
    tell(error instanceof Polite ? error.message : `The model could not be run on ${file.name} (${error.message}).`);
  }
}

function take(files) {
  if (files.length === 1) answer(files[0]);
  else tell(files.length ? "One image at a time, please." : "That was no file; drop an image file.");
}

at("file").addEventListener("change", (event) => {
  if (event.target.files.length) take(event.target.files);
  event.target.value = "";
});
for (const kind of ["dragover", "dragleave", "drop"])
  addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files);
  });

loading.then(
  () => {
    at("status").textContent = "Ready. From now on no network is needed.";
    document.body.dataset.ready = "yes";
    if (!canvasIsTrue()) tell("This browser alters what a page reads from an image, against tracking: allow it here, or answers are wrong.");
  },
  (error) => {
    at("status").textContent = "";
    tell(`The model could not be loaded (${error.message}). The page has to come from a web server, not from a file.`);
  },
);
