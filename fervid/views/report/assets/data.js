// The timeline in typed arrays, and queries on it: one second, means over many seconds, gaps.

const DATA = JSON.parse(document.getElementById("data").textContent);
const EMOTIONS = DATA.emotions, K = EMOTIONS.length, SCALE = 10000;
const OK = 0, NO_FACE = 1, NO_DATA = 2;

function bytes(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}
const unpack = (Kind, text) => new Kind(bytes(text).buffer);

const FIRST = DATA.first, STATUS = bytes(DATA.status), N = STATUS.length, END = FIRST + N;
const ROWS = {
  second: unpack(Uint32Array, DATA.second), prob: unpack(Uint16Array, DATA.prob), weight: unpack(Uint16Array, DATA.weight),
  entropy: unpack(Uint16Array, DATA.entropy), face_px: unpack(Uint16Array, DATA.face_px),
};
const COUNT = ROWS.second.length;
let nextRow = 0;
const LANES = DATA.lanes.map((lane, i) => {
  const from = nextRow;
  nextRow += lane.rows;
  return { ...lane, i, from, to: nextRow, on: true };
});
/** The index of the most probable emotion of each row. */
const BEST = new Uint8Array(COUNT);
{
  const top = new Uint16Array(COUNT);
  for (let k = 0; k < K; k++)
    for (let r = 0, at = k * COUNT; r < COUNT; r++, at++)
      if (ROWS.prob[at] > top[r] || k === 0) { top[r] = ROWS.prob[at]; BEST[r] = k; }
}

/** Runs of seconds without a face, and of seconds without data: {from, to, kind}, in seconds of the video. */
const GAPS = [];
for (let i = 0; i < N; i++) {
  if (STATUS[i] === OK) continue;
  const last = GAPS[GAPS.length - 1];
  if (last && last.to === FIRST + i && last.kind === STATUS[i]) last.to++;
  else GAPS.push({ from: FIRST + i, to: FIRST + i + 1, kind: STATUS[i] });
}

/** Cumulative sums by second, so that the mean over any range takes two look-ups per emotion. */
const SUMS = { weight: new Float64Array(N + 1), prob: EMOTIONS.map(() => new Float64Array(N + 1)) };

/** Sum the selected lanes, each face weighted by the time for which it was visible. */
function updateSums() {
  const { weight, prob } = SUMS;
  weight.fill(0);
  for (let k = 0; k < K; k++) prob[k].fill(0);
  for (const lane of LANES) {
    if (!lane.on) continue;
    for (let r = lane.from; r < lane.to; r++) weight[ROWS.second[r] - FIRST + 1] += ROWS.weight[r];
    for (let k = 0; k < K; k++)
      for (let r = lane.from, at = k * COUNT; r < lane.to; r++)
        prob[k][ROWS.second[r] - FIRST + 1] += ROWS.weight[r] * ROWS.prob[at + r] / SCALE;
  }
  for (const sums of [weight, ...prob]) for (let i = 0; i < N; i++) sums[i + 1] += sums[i];
}

/** The mean of the selected lanes over whole seconds [from, to): K probabilities, or null without a face. */
function mean(from, to) {
  const a = Math.max(0, from - FIRST), b = Math.min(N, to - FIRST);
  if (b <= a) return null;
  const weight = SUMS.weight[b] - SUMS.weight[a];
  return weight > 0 ? SUMS.prob.map((sums) => (sums[b] - sums[a]) / weight) : null;
}

/** The row of a lane at a second; -1 if there is none. */
function rowAt(lane, second) {
  const r = lowerBound(ROWS.second, second, lane.from, lane.to);
  return r < lane.to && ROWS.second[r] === second ? r : -1;
}

function lowerBound(values, wanted, low, high) {
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < wanted) low = middle + 1; else high = middle;
  }
  return low;
}

const probs = (row) => EMOTIONS.map((_, k) => ROWS.prob[k * COUNT + row] / SCALE);

/** Seconds per step of the chart, so that a step is at least four pixels wide. */
function stepFor(range, width) {
  const least = 4 * range / Math.max(width, 1);
  return [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800].find((step) => step >= least) || 3600;
}

function clock(seconds, parts) {
  const t = Math.max(0, seconds), s = Math.floor(t + 1e-6), h = Math.floor(s / 3600);
  const two = (n) => String(n).padStart(2, "0");
  const text = h ? `${h}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
  return parts ? `${text}.${Math.floor((t - s + 1e-6) * 10)}` : text;
}
/** Format a duration; below a minute in tenths of a second. */
const duration = (seconds) => (seconds < 60 ? `${seconds.toFixed(1)} s` : clock(Math.round(seconds)));
const percent = (p) => `${Math.round(100 * p)}%`;

/** Describe a second in words. */
function describeSecond(second) {
  if (second < FIRST || second >= END) return "outside the timeline";
  const kind = STATUS[second - FIRST];
  if (kind === NO_DATA) return "no data: no frame could be decoded";
  if (kind === NO_FACE) return "no face";
  const here = LANES.filter((lane) => lane.on && rowAt(lane, second) >= 0).length;
  return here ? `${here} ${here === 1 ? "face" : "faces"}` : "none of the selected faces";
}

/** The colours of the current theme; areas are slightly paler than the palette. */
const COLOURS = {};
function readColours() {
  const style = getComputedStyle(document.documentElement), get = (name) => style.getPropertyValue(name).trim();
  for (const name of ["page", "text", "muted", "line", "strong", "shade", "hatch", "sunken"]) COLOURS[name] = get(`--${name}`);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  COLOURS.pure = EMOTIONS.map((name) => (dark && name === "contempt" ? "#F2F2F2" : DATA.palette[name]));
  COLOURS.area = COLOURS.pure.map((colour) => blend(colour, COLOURS.page, Number(get("--mix"))));
}

function blend(one, other, share) {
  const channel = (colour, i) => parseInt(colour.slice(1 + 2 * i, 3 + 2 * i), 16);
  return `rgb(${[0, 1, 2].map((i) => Math.round(share * channel(one, i) + (1 - share) * channel(other, i))).join(" ")})`;
}

/** Draw one gap: flat for no face, hatched for no data. */
function drawGap(context, kind, x, y, width, height) {
  const dpr = devicePixelRatio;
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.fillStyle = COLOURS.shade;
  context.fill();
  if (kind === NO_DATA) {
    context.clip();
    context.strokeStyle = COLOURS.hatch;
    context.lineWidth = 1.2 * dpr;
    context.beginPath();
    const apart = 6 * dpr;
    for (let at = Math.floor((x - height) / apart) * apart; at < x + width; at += apart) {
      context.moveTo(at, y + height);
      context.lineTo(at + height, y);
    }
    context.stroke();
  }
  context.restore();
}

const GAP_ENDS = GAPS.map((gap) => gap.to);
/** The gaps that overlap a range of time. */
function gapsWithin(min, max) {
  let to = lowerBound(GAP_ENDS, min, 0, GAPS.length);
  const from = to;
  while (to < GAPS.length && GAPS[to].from < max) to++;
  return GAPS.slice(from, to);
}
/** The width of a gap on the canvas; a gap without data is at least one pixel wide, so that it stays visible. */
const gapWidth = (gap, pixels) => (gap.kind === NO_DATA ? Math.max(pixels, devicePixelRatio) : pixels);
