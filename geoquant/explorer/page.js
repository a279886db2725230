// Draws the page that geoquant.explorer writes; its data is described there.
(() => {
"use strict";

const page = JSON.parse(document.getElementById("geoquant-data").textContent);
const element = (id) => document.getElementById(id);

// ------------------------------------------------------------------------------ reading data

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function uint16Of(base64) {
  return new Uint16Array(bytesOf(base64).buffer);
}

/** A function that gives one varint after the other. */
function varintReader(bytes) {
  let at = 0;
  return () => {
    let value = 0, factor = 1, byte;
    do {
      byte = bytes[at++];
      value += (byte & 127) * factor;
      factor *= 128;
    } while (byte & 128);
    return value;
  };
}

/** Numbers of so many bits each, one after the other, the lower bits first. */
function unpackedBits(base64, bits, count) {
  const bytes = bytesOf(base64), levels = new Uint16Array(count), mask = 2 ** bits - 1;
  for (let i = 0, at = 0, left = 0, held = 0; i < count; i++) {
    for (; left < bits; left += 8) held |= bytes[at++] << left;
    levels[i] = held & mask;
    held >>>= bits;
    left -= bits;
  }
  return levels;
}

function float16Of(base64) {
  const halves = uint16Of(base64);
  const numbers = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const sign = halves[i] & 0x8000 ? -1 : 1;
    const exponent = (halves[i] >> 10) & 31, fraction = halves[i] & 1023;
    numbers[i] = exponent === 0
      ? sign * fraction * 2 ** -24
      : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return numbers;
}

/** Points of code c are codeStart[c] to codeStart[c + 1] - 1. */
function readCodes() {
  const start = new Int32Array(page.n_codes + 1);
  const code = new Uint32Array(page.n_points);
  page.count_of_code.forEach((count, c) => {
    start[c + 1] = start[c] + count;
    code.fill(c, start[c], start[c + 1]);
  });
  return { code, start };
}

function readRows() {
  const next = varintReader(bytesOf(page.row));
  const rows = new Float64Array(page.n_points);
  for (let i = 0; i < rows.length; i++) {
    const isFirst = i === 0 || codes.code[i] !== codes.code[i - 1];
    rows[i] = isFirst ? next() : rows[i - 1] + next();
  }
  return rows;
}

/** Latents of points, then codewords, as numbers. */
function readLatents() {
  const { bits, low, step, levels } = page.latents;
  const d = page.dim, count = (page.n_points + page.n_codes) * d;
  const all = unpackedBits(levels, bits, count);
  const numbers = new Float32Array(count);
  for (let i = 0, at = 0; at < count; i++) {
    for (let j = 0; j < d; j++, at++) numbers[at] = low[j] + step[j] * all[at];
  }
  return numbers;
}

const places = uint16Of(page.place);
const codes = readCodes();
const distances = uint16Of(page.distance.levels);
const labels = page.label && unpackedBits(page.label.index, page.label.bits, page.n_points);
const lazily = (read) => {
  let found;
  return () => found ?? (found = read());
};
const rows = lazily(readRows);
const latents = lazily(readLatents);
const graph = lazily(readGraph);

// ------------------------------------------------------------------------------ graph and paths

function distanceBetween(a, aAt, b, bAt) {
  let sum = 0;
  for (let j = 0; j < page.dim; j++) {
    const difference = a[aAt + j] - b[bAt + j];
    sum += difference * difference;
  }
  return Math.sqrt(sum);
}

/** Neighbours of u are neighbour[start[u]] to neighbour[start[u + 1] - 1], as far as length says. */
function readGraph() {
  const n = page.n_points, m = page.n_edges;
  const low = new Int32Array(m), high = new Int32Array(m), start = new Int32Array(n + 2);
  const next = varintReader(bytesOf(page.edges));
  for (let u = 0, e = 0; u < n; u++) {
    let v = u;
    for (let left = next(); left > 0; left--, e++) {
      v += next();
      low[e] = u;
      high[e] = v;
      start[u + 2]++;
      start[v + 2]++;
    }
  }
  for (let u = 2; u < n + 2; u++) start[u] += start[u - 1];
  return filledRows(low, high, start);
}

/** start[u + 1] moves from the beginning of row u to its end while the row is filled. */
function filledRows(low, high, start) {
  const neighbour = new Int32Array(2 * low.length), length = new Float32Array(2 * low.length);
  const z = latents();
  for (let e = 0; e < low.length; e++) {
    const u = low[e], v = high[e];
    const far = distanceBetween(z, u * page.dim, z, v * page.dim);
    const uAt = start[u + 1]++, vAt = start[v + 1]++;
    neighbour[uAt] = v;
    neighbour[vAt] = u;
    length[uAt] = length[vAt] = far;
  }
  return { start, neighbour, length };
}

/** Nodes of about the same distance wait in one bucket; so wide that a few edges lead out of it. */
function bucketWidth({ length }) {
  let sum = 0, most = 0;
  for (let at = 0; at < length.length; at++) {
    sum += length[at];
    most = Math.max(most, length[at]);
  }
  // A few very long edges must not make millions of empty buckets.
  return Math.max(sum / length.length, most / 1000) || 1;
}

/**
 * Shortest paths from one point to all: delta-stepping, as in the kernels of geoquant. A node whose
 * distance shrinks waits once more, so that the distances in the end are those of Dijkstra.
 */
function searchFrom(source) {
  const { start, neighbour, length } = graph(), width = bucketWidth(graph());
  const distance = new Float64Array(page.n_points).fill(Infinity);
  const before = new Int32Array(page.n_points).fill(-1);
  const buckets = [[source]];
  distance[source] = 0;
  for (let b = 0; b < buckets.length; b++) {
    const bucket = buckets[b] ?? [];
    for (let i = 0; i < bucket.length; i++) {
      const u = bucket[i];
      if (Math.floor(distance[u] / width) !== b) continue; // was nearer, and has been dealt with
      for (let at = start[u]; at < start[u + 1]; at++) {
        const v = neighbour[at], through = distance[u] + length[at];
        if (through < distance[v]) {
          distance[v] = through;
          before[v] = u;
          (buckets[Math.floor(through / width)] ??= []).push(v);
        }
      }
    }
    buckets[b] = null;
  }
  return { source, distance, before };
}

function pathTo(search, end) {
  const nodes = [end];
  while (nodes[nodes.length - 1] !== search.source) {
    nodes.push(search.before[nodes[nodes.length - 1]]);
  }
  return nodes.reverse();
}

// ------------------------------------------------------------------------------ images

const ACTIVATIONS = {
  none: (x) => x,
  relu: (x) => (x > 0 ? x : 0),
  leaky_relu: (x) => (x > 0 ? x : 0.01 * x),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  silu: (x) => x / (1 + Math.exp(-x)),
};

const layers = lazily(() => page.decoder.layers.map((layer) => ({
  ...layer,
  weight: float16Of(layer.weight),
  bias: float16Of(layer.bias),
  activation: ACTIVATIONS[layer.activation],
})));

function appliedLayer(layer, input) {
  const output = new Float32Array(layer.out);
  for (let i = 0, at = 0; i < layer.out; i++) {
    let sum = layer.bias[i];
    for (let j = 0; j < layer.in; j++, at++) sum += layer.weight[at] * input[j];
    output[i] = layer.activation(sum);
  }
  return output;
}

/** Pixels of channels, rows and columns in [0, 1], as the picture that a canvas takes. */
function pictureOf(numbers, [channels, height, width], white) {
  const picture = new ImageData(width, height);
  const area = height * width;
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) {
      picture.data[4 * i + c] = (255 / white) * numbers[(channels === 3 ? c * area : 0) + i];
    }
    picture.data[4 * i + 3] = 255;
  }
  return picture;
}

/** Images of some nodes in one picture, which the browser decodes meanwhile. */
class Atlas {
  constructor({ node, shape, columns, picture }) {
    this.node = node;
    this.shape = shape;
    this.columns = columns;
    this.place = new Map(node.map((which, at) => [which, at]));
    this.picture = new Image();
    this.picture.onload = () => redrawImages();
    this.picture.src = picture;
  }

  /** Place of the image of the latent nearest to one, and how far that is. */
  nearestTo(latent) {
    let nearest = 0, least = Infinity;
    this.node.forEach((which, at) => {
      const far = distanceBetween(latent, 0, latents(), which * page.dim);
      if (far < least) [nearest, least] = [at, far];
    });
    return { at: nearest, far: least };
  }

  draw(context, at, x, y) {
    const [, height, width] = this.shape;
    const left = (at % this.columns) * width, top = Math.floor(at / this.columns) * height;
    if (this.picture.complete) {
      context.drawImage(this.picture, left, top, width, height, x, y, width, height);
    }
  }
}

const isLive = page.decoder !== null && page.decoder.kind === "layers";
const decoded = page.decoder !== null && !isLive ? new Atlas(page.decoder) : null;
const samples = page.samples && new Atlas(page.samples);
const hasImages = page.decoder !== null || samples !== null;
/** Where decoded images come from if the page cannot decode: samples, if there is nothing else. */
const shownInstead = decoded ?? samples;
const imageShape = hasImages ? (isLive ? page.decoder.shape : shownInstead.shape) : null;

function latentOf(node) {
  return latents().subarray(node * page.dim, (node + 1) * page.dim);
}

/** Draws what is decoded of a latent, or the image nearest to it. */
function drawDecoded(context, latent, x, y) {
  if (isLive) {
    const numbers = layers().reduce((input, layer) => appliedLayer(layer, input), latent);
    context.putImageData(pictureOf(numbers, page.decoder.shape, page.decoder.white), x, y);
  } else {
    shownInstead.draw(context, shownInstead.nearestTo(latent).at, x, y);
  }
}

// ------------------------------------------------------------------------------ what is chosen

const state = {
  hovered: -1, // a point
  first: -1, // ends of the path
  second: -1,
  picked: -1, // a code
  colourBy: "code",
  search: null, // shortest paths from the first end
  view: { x: 0, y: 0, scale: 1 }, // what is in the middle, and pixels per unit of places
};

const numberText = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const format = (value) => numberText.format(value);
const whole = (value) => value.toLocaleString("en");
const distanceOf = (point) => distances[point] * page.distance.step;
const labelOf = (point) => page.label.names[labels[point]];

function describe(point) {
  const label = labels ? `, label ${labelOf(point)}` : "";
  const far = format(distanceOf(point));
  return `Row ${whole(rows()[point])}: code ${codes.code[point]}${label}, ${far} from its centre.`;
}

const HINT = "Point at a latent to see its code. Click two for the shortest path along the data.";

function say(text) {
  element("said").textContent = text;
}

// ------------------------------------------------------------------------------ colours

// Okabe and Ito's colours and one more, which the colour-blind tell apart; lighter ones on black.
const CELLS = {
  light: ["#0072b2", "#d98200", "#009e73", "#cc5f9b", "#3fa7dc", "#c44e00", "#8a7fd6", "#8f8a00"],
  dark: ["#4aa8e8", "#f2a93b", "#2fc796", "#e58bbd", "#8fd0f5", "#f07b3a", "#b3a8ff", "#e6dc4c"],
};
const CLASSES = {
  light: ["#1f77b4", "#e07b00", "#2ca02c", "#d62728", "#8f5fc4", "#8c564b", "#d95fb0", "#6b7280",
    "#9a9a00", "#0fa3b8"],
  dark: ["#5aa9e6", "#ffa94d", "#5fd068", "#ff7070", "#bd99f0", "#c99388", "#f59ad6", "#aab2bd",
    "#dcdc55", "#4fd6e8"],
};
// Viridis, from near to far.
const RAMP = ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"];

const rgbOf = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const theme = () => document.documentElement.dataset.theme;
const cssColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function rampColour(share) {
  const at = Math.min(share, 0.9999) * (RAMP.length - 1);
  const [from, to] = [rgbOf(RAMP[Math.floor(at)]), rgbOf(RAMP[Math.floor(at) + 1])];
  return from.map((value, c) => Math.round(value + (to[c] - value) * (at - Math.floor(at))));
}

/** On white the ramp begins with what is lightest there, so that far points stand out. */
const distanceColour = (share) => rampColour(theme() === "dark" ? share : 1 - share);

/** The farthest distance that has a colour of its own: few outliers must not take them all. */
const farDistance = lazily(() => {
  const sorted = distances.slice().sort();
  return Math.max(1, sorted[Math.floor(0.995 * (sorted.length - 1))]);
});

/** Red, green and blue of each point. */
function pointColours() {
  const colours = new Uint8Array(3 * page.n_points);
  const cells = CELLS[theme()].map(rgbOf), classes = CLASSES[theme()].map(rgbOf);
  const ramp = Array.from({ length: 256 }, (_, level) => distanceColour(level / 255));
  for (let i = 0; i < page.n_points; i++) {
    let colour;
    if (state.colourBy === "label") {
      colour = classes[labels[i] % classes.length];
    } else if (state.colourBy === "distance") {
      colour = ramp[Math.min(255, Math.round((255 * distances[i]) / farDistance()))];
    } else {
      colour = cells[page.colour_of_code[codes.code[i]]];
    }
    colours.set(colour, 3 * i);
  }
  return colours;
}

// ------------------------------------------------------------------------------ drawing the map

const stage = element("stage"), marks = element("marks");
const base = element("points").getContext("2d", { alpha: false });
const overlay = marks.getContext("2d");
let pixels = null, colours = null, ratio = 1;
const size = { width: 1, height: 1 }; // of the map, in pixels of the page

const screenX = (point) => (places[2 * point] - state.view.x) * state.view.scale + size.width / 2;
// The second axis of the map points up.
const screenY = (point) =>
  (state.view.y - places[2 * point + 1]) * state.view.scale + size.height / 2;

function resize() {
  ratio = Math.min(window.devicePixelRatio || 1, 2);
  size.width = Math.max(1, stage.clientWidth);
  size.height = Math.max(1, stage.clientHeight);
  for (const context of [base, overlay]) {
    context.canvas.width = Math.round(size.width * ratio);
    context.canvas.height = Math.round(size.height * ratio);
  }
  pixels = base.createImageData(base.canvas.width, base.canvas.height);
  redraw();
}

/** Scale at which everything is in sight. */
function wholeScale() {
  return Math.max(1e-6, (0.46 * Math.min(size.width, size.height)) / 32768);
}

function showAll() {
  const [x, y, width, height] = boxOf(0, page.n_points);
  state.view = { x, y, scale: scaleFor(width, height) };
  redraw();
}

function boxOf(begin, end) {
  let [left, right, bottom, top] = [65535, 0, 65535, 0];
  for (let i = begin; i < end; i++) {
    left = Math.min(left, places[2 * i]);
    right = Math.max(right, places[2 * i]);
    bottom = Math.min(bottom, places[2 * i + 1]);
    top = Math.max(top, places[2 * i + 1]);
  }
  return [(left + right) / 2, (bottom + top) / 2, right - left, top - bottom];
}

function scaleFor(width, height) {
  const across = (0.92 * size.width) / Math.max(width, 1);
  return Math.max(1e-6, Math.min(across, (0.92 * size.height) / Math.max(height, 1)));
}

/** Radius of a point in pixels of the page: larger where there is room. */
function pointRadius() {
  const room = Math.sqrt((size.width * size.height) / page.n_points);
  const radius = Math.min(3.2, Math.max(0.8, 0.36 * room));
  return radius * Math.min(2.5, Math.max(1, Math.sqrt(state.view.scale / wholeScale()) / 1.4));
}

/** How much of each pixel around the middle of a point it covers, from 0 to 255. */
function discOf(radius) {
  const reach = Math.ceil(radius), side = 2 * reach + 1, cover = [];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const share = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(x, y)));
      if (share > 0) cover.push({ x, y, alpha: Math.round(235 * share) });
    }
  }
  return { reach, side, cover };
}

function clearPixels() {
  const [red, green, blue] = rgbOf(cssColour("--stage"));
  const words = new Uint32Array(pixels.data.buffer);
  words.fill((255 << 24) | (blue << 16) | (green << 8) | red);
}

function drawPoint(point, disc, red, green, blue) {
  const { data, width, height } = pixels;
  const left = Math.round(screenX(point) * ratio), top = Math.round(screenY(point) * ratio);
  const { reach, cover } = disc;
  if (left < reach || top < reach || left >= width - reach || top >= height - reach) return;
  for (let i = 0; i < cover.length; i++) {
    const { x, y, alpha } = cover[i];
    const at = 4 * ((top + y) * width + left + x);
    data[at] += ((red - data[at]) * alpha) / 255;
    data[at + 1] += ((green - data[at + 1]) * alpha) / 255;
    data[at + 2] += ((blue - data[at + 2]) * alpha) / 255;
  }
}

/** Calls back with every point, in an order that mixes codes, so that none lies on top. */
function forMixedPoints(visit) {
  const n = page.n_points;
  let step = Math.max(1, Math.round(n * 0.618));
  while (greatestDivisor(n, step) !== 1) step++;
  for (let count = 0, i = 0; count < n; count++, i = (i + step) % n) visit(i);
}

function greatestDivisor(a, b) {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

function drawPoints() {
  colours ??= pointColours();
  clearPixels();
  const disc = discOf(pointRadius() * ratio);
  const muted = rgbOf(cssColour("--muted-point"));
  const isMuted = (i) => state.picked >= 0 && codes.code[i] !== state.picked;
  forMixedPoints((i) => {
    if (isMuted(i)) drawPoint(i, disc, ...muted);
    else drawPoint(i, disc, colours[3 * i], colours[3 * i + 1], colours[3 * i + 2]);
  });
  if (state.picked >= 0) {
    for (let i = codes.start[state.picked]; i < codes.start[state.picked + 1]; i++) {
      drawPoint(i, disc, colours[3 * i], colours[3 * i + 1], colours[3 * i + 2]);
    }
  }
  base.putImageData(pixels, 0, 0);
}

function strokeLine(points, isDashed) {
  for (const [name, width] of [["--halo", 5], ["--path", 2.2]]) {
    overlay.beginPath();
    points.forEach((point) => overlay.lineTo(screenX(point), screenY(point)));
    overlay.setLineDash(isDashed && name === "--path" ? [7, 5] : []);
    overlay.strokeStyle = cssColour(name);
    overlay.lineWidth = width;
    overlay.lineJoin = overlay.lineCap = "round";
    overlay.stroke();
  }
  overlay.setLineDash([]);
}

function ring(point, radius, fill) {
  overlay.beginPath();
  overlay.arc(screenX(point), screenY(point), radius, 0, 2 * Math.PI);
  overlay.fillStyle = fill;
  overlay.fill();
  for (const [name, width] of [["--halo", 4], ["--path", 2]]) {
    overlay.strokeStyle = cssColour(name);
    overlay.lineWidth = width;
    overlay.stroke();
  }
}

function drawMarks() {
  overlay.setTransform(ratio, 0, 0, ratio, 0, 0);
  overlay.clearRect(0, 0, size.width, size.height);
  if (state.hovered >= 0) markCell(codes.code[state.hovered]);
  const path = currentPath();
  if (path) {
    strokeLine([path[0], path[path.length - 1]], true);
    strokeLine(path, false);
    path.slice(1, -1).forEach((point) => {
      overlay.beginPath();
      overlay.arc(screenX(point), screenY(point), 3, 0, 2 * Math.PI);
      overlay.fillStyle = cssColour("--path");
      overlay.fill();
    });
  }
  for (const end of [state.first, state.second]) {
    if (end >= 0) ring(end, 6, cssColour("--accent"));
  }
  if (state.hovered >= 0) ring(state.hovered, 5, cssColour("--accent"));
}

/** Frames around the points of a code, or around so many of them as are drawn in no time. */
function markCell(code) {
  const [begin, end] = [codes.start[code], codes.start[code + 1]];
  const stride = Math.max(1, Math.ceil((end - begin) / 3000));
  const side = Math.max(3, 2 * pointRadius());
  overlay.fillStyle = cssColour("--path");
  for (let i = begin; i < end; i += stride) square(i, side + 2.5);
  for (let i = begin; i < end; i += stride) {
    overlay.fillStyle = `rgb(${colours[3 * i]} ${colours[3 * i + 1]} ${colours[3 * i + 2]})`;
    square(i, side);
  }
}

function square(point, side) {
  overlay.fillRect(screenX(point) - side / 2, screenY(point) - side / 2, side, side);
}

let isDrawingDue = false;
function redraw() {
  if (isDrawingDue) return;
  isDrawingDue = true;
  requestAnimationFrame(() => {
    isDrawingDue = false;
    drawPoints();
    drawMarks();
    placeCard();
  });
}

// ------------------------------------------------------------------------------ the card

function addFact(list, name, value) {
  const term = document.createElement("dt"), description = document.createElement("dd");
  term.textContent = name;
  description.textContent = value;
  list.append(term, description);
}

function addFigure(place, caption, draw) {
  const figure = document.createElement("figure"), canvas = document.createElement("canvas");
  const text = document.createElement("figcaption");
  [, canvas.height, canvas.width] = imageShape;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", caption);
  text.textContent = caption;
  draw(canvas.getContext("2d"), canvas);
  figure.append(canvas, text);
  place.append(figure);
}

function showCard() {
  const point = state.hovered;
  element("card").hidden = point < 0;
  if (point < 0) return;
  const list = element("card-facts"), images = element("card-images");
  list.replaceChildren();
  images.replaceChildren();
  addFact(list, "code", codes.code[point]);
  if (labels) addFact(list, "label", labelOf(point));
  addFact(list, "to centre", format(distanceOf(point)));
  addFact(list, "row", whole(rows()[point]));
  addCardImages(images, point);
  placeCard();
}

function addCardImages(images, point) {
  if (samples) addSample(images, point);
  if (page.decoder === null) return;
  const isPixels = isLive && page.decoder.layers.length === 0;
  const ofPoint = isPixels ? "this latent" : isLive ? "decoded" : nearness(point);
  addFigure(images, ofPoint, (context) => drawDecoded(context, latentOf(point), 0, 0));
  const word = page.n_points + codes.code[point];
  const ofWord = isLive || decoded.place.has(word) ? "its codeword" : "near its codeword";
  addFigure(images, ofWord, (context) => drawDecoded(context, latentOf(word), 0, 0));
}

function nearness(point) {
  return decoded.place.has(point) ? "decoded" : "decoded nearby";
}

function addSample(images, point) {
  const own = samples.place.get(point);
  const at = own ?? samples.nearestTo(latentOf(point)).at;
  addFigure(images, own === undefined ? "nearest image" : "its image", (context, canvas) => {
    [, canvas.height, canvas.width] = samples.shape;
    samples.draw(context, at, 0, 0);
  });
}

/** Beside the point, within the map. */
function placeCard() {
  const card = element("card");
  if (card.hidden || state.hovered < 0) return;
  const x = screenX(state.hovered), y = screenY(state.hovered);
  const width = card.offsetWidth, height = card.offsetHeight;
  const isRight = x + 18 + width < size.width;
  const left = isRight ? x + 18 : x - 18 - width;
  const top = Math.min(y - 20, size.height - height - 8);
  card.style.left = `${Math.max(8, Math.min(left, size.width - width - 8))}px`;
  card.style.top = `${Math.max(8, top)}px`;
}

// ------------------------------------------------------------------------------ the path

const MOST_FRAMES = 9;

/** From the first end to the second, or to the point that is pointed at. */
function currentPath() {
  const end = state.second >= 0 ? state.second : state.hovered;
  if (state.first < 0 || end < 0 || end === state.first || !state.search) return null;
  if (state.search.source !== state.first) return null;
  return pathTo(state.search, end);
}

/** Points of the path for frames: ends and, as far as possible, at equal lengths between them. */
function framesOf(path) {
  const { distance } = state.search, last = path.length - 1;
  if (path.length <= MOST_FRAMES) return path;
  const chosen = new Set([0, last]);
  for (let frame = 1; frame < MOST_FRAMES - 1; frame++) {
    const wanted = (distance[path[last]] * frame) / (MOST_FRAMES - 1);
    const far = (at) => Math.abs(distance[path[at]] - wanted);
    chosen.add(path.reduce((best, _, at) => (far(at) < far(best) ? at : best), 0));
  }
  return [...chosen].sort((a, b) => a - b).map((at) => path[at]);
}

function between(from, to, share) {
  return from.map((value, j) => value + (to[j] - value) * share);
}

function drawStrip(id, frames) {
  const canvas = element(id), [, height, width] = imageShape;
  const gap = Math.max(1, Math.round(width / 14));
  canvas.width = MOST_FRAMES * (width + gap) - gap;
  canvas.height = height;
  const context = canvas.getContext("2d");
  frames.forEach((latent, i) => drawDecoded(context, latent, i * (width + gap), 0));
}

function stepsOf(path) {
  return path.length === 2 ? "1 step" : `${path.length - 1} steps`;
}

function lengthOfPath(path) {
  return state.search.distance[path[path.length - 1]];
}

function chordOfPath(path) {
  return distanceBetween(latentOf(path[0]), 0, latentOf(path[path.length - 1]), 0);
}

function addLength(name, value, kind) {
  const list = element("lengths");
  addFact(list, "", value);
  const swatch = document.createElement("span");
  swatch.className = `swatch ${kind}`;
  list.children[list.children.length - 2].append(swatch, name);
}

function showRoute() {
  const path = currentPath();
  element("route").hidden = path === null;
  if (path === null) return;
  const length = lengthOfPath(path), chord = chordOfPath(path);
  // For whoever reads the page by a program.
  Object.assign(element("route").dataset, { along: length, straight: chord });
  element("lengths").replaceChildren();
  addLength("along the data", `${format(length)} in ${stepsOf(path)}`, "");
  addLength("straight", format(chord), "dashed");
  if (chord > 0) addFact(element("lengths"), "how much longer", `${(length / chord).toFixed(2)} times`);
  showFrames(path);
  const passed = path.map((point) => codes.code[point]);
  const distinct = passed.filter((code, i) => i === 0 || code !== passed[i - 1]);
  element("codes-passed").textContent = `Codes passed: ${distinct.join(" → ")}`;
}

function showFrames(path) {
  for (const id of ["along", "straight"]) element(id).parentElement.hidden = !hasImages;
  if (!hasImages) return;
  const points = framesOf(path), length = lengthOfPath(path);
  const along = points.map(latentOf), [from, to] = [along[0], along[along.length - 1]];
  const shares = points.map((point) => state.search.distance[point] / length);
  drawStrip("along", along);
  drawStrip("straight", shares.map((share) => between(from, to, share)));
  const what = isLive ? "Decoded" : decoded ? "Nearest decoded images" : "Nearest images";
  element("along-caption").textContent = `${what} along the data`;
  element("straight-caption").textContent = `${what} on the straight chord, at the same shares`;
  const percent = shares.map((share) => `${Math.round(100 * share)} %`).join(", ");
  const ends = `from row ${rows()[path[0]]} to row ${rows()[path[path.length - 1]]}`;
  element("along").setAttribute("aria-label", `${what} along the data ${ends}, at ${percent}`);
  element("straight").setAttribute("aria-label", `${what} on the chord ${ends}, at ${percent}`);
}

function redrawImages() {
  if (page.decoder !== null) drawCodewords(0);
  showCard();
  showRoute();
}

// ------------------------------------------------------------------------------ choosing

function hover(point, isSaid) {
  if (point === state.hovered) return;
  state.hovered = point;
  showCard();
  if (state.first >= 0 && state.second < 0) showRoute();
  drawMarks();
  markInCodebook();
  if (isSaid && point >= 0) say(describe(point));
}

function choose(point) {
  if (point < 0) return;
  performance.mark("geoquant-choose");
  if (state.first < 0 || state.second >= 0) {
    [state.first, state.second, state.search] = [point, -1, searchFrom(point)];
    say(`${describe(point)} This is where the path begins; choose where it ends.`);
  } else if (point !== state.first) {
    state.second = point;
    sayPath();
  }
  showRoute();
  drawMarks();
  performance.measure(state.second < 0 ? "geoquant-search" : "geoquant-path", "geoquant-choose");
}

function sayPath() {
  const path = currentPath();
  const length = format(lengthOfPath(path)), chord = format(chordOfPath(path));
  const [from, to] = [state.first, state.second].map((end) => codes.code[end]);
  say(`From code ${from} to code ${to}: ${length} along the data in ${stepsOf(path)}, `
    + `${chord} straight.`);
}

function clear() {
  Object.assign(state, { hovered: -1, first: -1, second: -1, picked: -1, search: null });
  element("code").value = "";
  showCard();
  showRoute();
  markInCodebook();
  say(HINT);
  redraw();
}

function pick(code) {
  state.picked = code;
  const [begin, end] = [codes.start[code], codes.start[code + 1]];
  const count = end - begin;
  if (count === 0) {
    hover(-1, false);
    say(`Code ${code} has none of the points shown.`);
  } else {
    const [x, y, width, height] = boxOf(begin, end);
    const closest = 12 * wholeScale();
    state.view = { x, y, scale: Math.min(closest, 0.6 * scaleFor(width, height)) };
    hover(nearestToCentre(begin, end), false);
    say(`Code ${code}: ${whole(count)} ${count === 1 ? "point" : "points"}, shown in colour. The `
      + "card is that of the point nearest to its centre.");
  }
  markInCodebook();
  redraw();
}

function nearestToCentre(begin, end) {
  let nearest = begin;
  for (let i = begin; i < end; i++) if (distances[i] < distances[nearest]) nearest = i;
  return nearest;
}

function find(text) {
  const code = /^\s*\d+\s*$/.test(text) ? Number(text) : NaN;
  if (code < page.n_codes) pick(code);
  else say(`There is no code “${text.trim()}”; codes are 0 to ${page.n_codes - 1}.`);
}

/** The point nearest to a place of the map, if there is one so near. */
function pointAt(x, y, reach) {
  let nearest = -1, least = reach * reach;
  for (let i = 0; i < page.n_points; i++) {
    const dx = screenX(i) - x, dy = screenY(i) - y;
    const far = dx * dx + dy * dy;
    if (far < least) [nearest, least] = [i, far];
  }
  return nearest;
}

// ------------------------------------------------------------------------------ moving the map

function zoomAt(x, y, factor) {
  const { view } = state;
  const fromMiddle = [x - size.width / 2, y - size.height / 2];
  const scale = Math.min(Math.max(view.scale * factor, wholeScale() / 3), 400 * wholeScale());
  view.x += fromMiddle[0] * (1 / view.scale - 1 / scale);
  view.y -= fromMiddle[1] * (1 / view.scale - 1 / scale);
  view.scale = scale;
  redraw();
}

function zoomMiddle(factor) {
  zoomAt(size.width / 2, size.height / 2, factor);
}

function panBy(dx, dy) {
  state.view.x -= dx / state.view.scale;
  state.view.y += dy / state.view.scale;
  redraw();
}

const pointers = new Map();
let hasMoved = false;

function pointerPlace(event) {
  const box = marks.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

function onPointerDown(event) {
  if (event.button !== 0) return;
  marks.setPointerCapture(event.pointerId);
  if (pointers.size === 0) hasMoved = false;
  pointers.set(event.pointerId, { ...pointerPlace(event), begin: pointerPlace(event) });
}

function onPointerMove(event) {
  const place = pointerPlace(event), before = pointers.get(event.pointerId);
  if (before === undefined) {
    if (event.pointerType === "mouse") hover(pointAt(place.x, place.y, 20), false);
    return;
  }
  const slack = event.pointerType === "mouse" ? 4 : 10;
  if (Math.hypot(place.x - before.begin.x, place.y - before.begin.y) > slack) hasMoved = true;
  if (pointers.size === 2) pinch(event.pointerId, before, place);
  else if (hasMoved) panBy(place.x - before.x, place.y - before.y);
  if (hasMoved) Object.assign(before, place);
}

function pinch(id, before, place) {
  hasMoved = true;
  const [, other] = [...pointers].find(([which]) => which !== id);
  const spread = (from) => Math.max(1, Math.hypot(from.x - other.x, from.y - other.y));
  panBy((place.x - before.x) / 2, (place.y - before.y) / 2);
  zoomAt((place.x + other.x) / 2, (place.y + other.y) / 2, spread(place) / spread(before));
}

function onPointerUp(event) {
  if (!pointers.delete(event.pointerId) || hasMoved || pointers.size > 0) return;
  const { x, y } = pointerPlace(event);
  const point = pointAt(x, y, event.pointerType === "mouse" ? 20 : 30);
  hover(point, false);
  choose(point);
  // A finger does not move off the point, and the card must not stay on the path.
  if (event.pointerType !== "mouse" && state.second >= 0) hover(-1, false);
}

function onWheel(event) {
  event.preventDefault();
  const { x, y } = pointerPlace(event);
  const lines = event.deltaMode === 1 ? 16 : 1;
  zoomAt(x, y, Math.exp(-Math.max(-200, Math.min(200, event.deltaY * lines)) / 300));
}

// ------------------------------------------------------------------------------ keys

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The nearest point in a direction, of those that can be told from this one. */
function neighbourTowards(point, [dx, dy]) {
  const x = screenX(point), y = screenY(point);
  let nearest = point, least = Infinity;
  for (let i = 0; i < page.n_points; i++) {
    const right = screenX(i) - x, down = screenY(i) - y;
    const ahead = right * dx + down * dy, aside = Math.abs(right * dy) + Math.abs(down * dx);
    const far = ahead + 2 * aside;
    if (ahead >= 6 && aside <= ahead && far < least) [nearest, least] = [i, far];
  }
  return nearest;
}

function step(direction) {
  const middle = [size.width / 2, size.height / 2];
  const from = state.hovered >= 0 ? state.hovered : pointAt(...middle, Infinity);
  const to = state.hovered >= 0 ? neighbourTowards(from, direction) : from;
  hover(to, true);
  keepInSight(to);
}

function keepInSight(point) {
  const x = screenX(point), y = screenY(point), margin = 30;
  const isInSight = x > margin && y > margin
    && x < size.width - margin && y < size.height - margin;
  if (!isInSight) panBy(size.width / 2 - x, size.height / 2 - y);
}

function onMapKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const direction = DIRECTIONS[event.key];
  if (direction && event.shiftKey) panBy(-60 * direction[0], -60 * direction[1]);
  else if (direction) step(direction);
  else if (event.key === "Enter" || event.key === " ") choose(state.hovered);
  else if (event.key === "+" || event.key === "=") zoomMiddle(1.4);
  else if (event.key === "-") zoomMiddle(1 / 1.4);
  else if (event.key === "0" || event.key === "Home") showAll();
  else return;
  event.preventDefault();
}

function onAnyKey(event) {
  if (event.key === "Escape") clear();
  else if (event.key === "/" && event.target !== element("code")) {
    event.preventDefault();
    element("code").select();
  }
}

// ------------------------------------------------------------------------------ the codebook

const MOST_CODES = 1024;

/** A button for each code, with its codeword; drawn a few at a time, to stay responsive. */
function showCodebook() {
  const place = element("codewords"), count = Math.min(page.n_codes, MOST_CODES);
  element("codebook").hidden = page.decoder === null;
  if (page.decoder === null) return;
  for (let code = 0; code < count; code++) place.append(codeButton(code));
  if (count < page.n_codes) place.after(`The first ${whole(count)} of ${whole(page.n_codes)} codes.`);
  drawCodewords(0);
}

function codeButton(code) {
  const button = document.createElement("button"), canvas = document.createElement("canvas");
  const number = page.count_of_code[code];
  [, canvas.height, canvas.width] = imageShape;
  button.type = "button";
  button.title = `Code ${code}: ${whole(number)} ${number === 1 ? "point" : "points"}`;
  button.setAttribute("aria-label", button.title);
  button.append(canvas, String(code));
  button.addEventListener("click", () => pick(code));
  return button;
}

function drawCodewords(begin) {
  const buttons = element("codewords").children;
  const end = Math.min(begin + 32, buttons.length);
  for (let code = begin; code < end; code++) {
    const context = buttons[code].firstChild.getContext("2d");
    drawDecoded(context, latentOf(page.n_points + code), 0, 0);
  }
  if (end < buttons.length) setTimeout(() => drawCodewords(end));
}

/** Marks the code that is pointed at, or else the one that was found. */
function markInCodebook() {
  const code = state.hovered >= 0 ? codes.code[state.hovered] : state.picked;
  element("codewords").querySelector("[aria-current]")?.removeAttribute("aria-current");
  element("codewords").children[code]?.setAttribute("aria-current", "true");
}

// ------------------------------------------------------------------------------ the panel

function keyEntry(colour, text) {
  const item = document.createElement("li"), dot = document.createElement("i");
  dot.style.background = colour;
  item.append(dot, text);
  return item;
}

function keyOfLabels() {
  const list = document.createElement("ul"), palette = CLASSES[theme()];
  const shown = page.label.names.slice(0, 30);
  shown.forEach((name, i) => list.append(keyEntry(palette[i % palette.length], name)));
  const left = page.label.names.length - shown.length;
  if (left > 0) list.append(keyEntry("transparent", `and ${whole(left)} more`));
  return list;
}

function keyOfDistance() {
  const box = document.createElement("div"), bar = document.createElement("canvas");
  const ends = document.createElement("div");
  [bar.width, bar.height] = [256, 1];
  const context = bar.getContext("2d");
  for (let x = 0; x < 256; x++) {
    context.fillStyle = `rgb(${distanceColour(x / 255)})`;
    context.fillRect(x, 0, 1, 1);
  }
  ends.className = "ends";
  for (const text of ["0", `${format(farDistance() * page.distance.step)} or more`]) {
    const end = document.createElement("span");
    end.textContent = text;
    ends.append(end);
  }
  box.append(bar, ends);
  return box;
}

function showKey() {
  const key = element("key");
  if (state.colourBy === "label") key.replaceChildren(keyOfLabels());
  else if (state.colourBy === "distance") key.replaceChildren(keyOfDistance());
  else key.replaceChildren("Neighbouring cells differ in colour; a colour has no other meaning.");
}

function recolour() {
  colours = null;
  showKey();
  redraw();
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  element("theme").textContent = name === "dark" ? "Light" : "Dark";
  recolour();
}

function showFacts() {
  const ofAll = page.n_points === page.n_latents ? "" : ` of ${whole(page.n_latents)}`;
  element("facts").textContent = `${whole(page.n_points)}${ofAll} latents of ${whole(page.dim)} `
    + `numbers · ${whole(page.n_codes)} codes`;
  const notes = [...page.notes];
  if (decoded) {
    notes.push(`${whole(decoded.node.length)} decoded images are in this page; of other latents `
      + "the nearest of them is shown.");
  }
  if (samples) notes.push(`${whole(samples.node.length)} of the images are in this page.`);
  if (isLive && page.decoder.layers.length > 0) notes.push("The page decodes latents itself.");
  notes.push("The map is a projection: lengths are those among the latents, not of the lines drawn.");
  notes.forEach((note) => {
    const item = document.createElement("li");
    item.textContent = note;
    element("notes").append(item);
  });
}

function listen() {
  marks.addEventListener("pointerdown", onPointerDown);
  marks.addEventListener("pointermove", onPointerMove);
  marks.addEventListener("pointerup", onPointerUp);
  marks.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  marks.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") hover(-1, false);
  });
  marks.addEventListener("wheel", onWheel, { passive: false });
  marks.addEventListener("keydown", onMapKey);
  document.addEventListener("keydown", onAnyKey);
  element("search").addEventListener("submit", (event) => {
    event.preventDefault();
    find(element("code").value);
  });
  element("clear").addEventListener("click", clear);
  element("zoom-in").addEventListener("click", () => zoomMiddle(1.6));
  element("zoom-out").addEventListener("click", () => zoomMiddle(1 / 1.6));
  element("whole").addEventListener("click", showAll);
  element("colour-by").addEventListener("change", (event) => {
    state.colourBy = event.target.value;
    recolour();
  });
  element("theme").addEventListener("click", () => setTheme(theme() === "dark" ? "light" : "dark"));
  new ResizeObserver(resize).observe(stage);
}

function start() {
  element("by-label").hidden = labels === null;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  prefersDark.addEventListener("change", () => setTheme(prefersDark.matches ? "dark" : "light"));
  setTheme(prefersDark.matches ? "dark" : "light");
  showFacts();
  say(HINT);
  resize();
  showAll();
  listen();
  requestAnimationFrame(() => requestAnimationFrame(() => {
    performance.mark("geoquant-drawn");
    // Once the map is drawn: the graph, and a search by which the browser compiles its code, so
    // that the first click is answered as fast as later ones.
    setTimeout(() => searchFrom(0));
    setTimeout(showCodebook);
  }));
}

start();
})();
