// The chart: the selected faces as areas or lines over time. All plots share one view {min, max}, in seconds.

const view = { min: FIRST, max: Math.max(END, FIRST + 1) };
const shown = EMOTIONS.map(() => true);
let areas = true, plot = null, viewListeners = [];
/** Durations of the redraws in milliseconds; a benchmark reads them. */
const redraws = [];

const chartBox = document.getElementById("chart");
const gutter = () => parseInt(getComputedStyle(document.documentElement).getPropertyValue("--gutter"), 10);
const onView = (call) => viewListeners.push(call);

/** Two points per step, so that an area covers exactly its seconds; null without a face. */
function buildAreas() {
  const step = stepFor(view.max - view.min, plotWidth()), x = [], layers = EMOTIONS.map(() => []);
  const from = Math.max(FIRST, Math.floor(view.min / step) * step);
  for (let at = from, to; at < Math.min(END, view.max); at = to) {
    to = Math.min(END, (Math.floor(at / step) + 1) * step);
    const values = mean(at, to);
    x.push(at, to);
    let sum = 0;
    for (let k = 0; k < K; k++) {
      if (values && shown[k]) sum += values[k];
      const value = values && shown[k] ? sum : null;
      layers[k].push(value, value);
    }
  }
  return [x, ...layers.reverse()];
}

/** One point per step, at its middle. */
function buildLines() {
  const step = stepFor(view.max - view.min, plotWidth()), x = [], layers = EMOTIONS.map(() => []);
  const from = Math.max(FIRST, Math.floor(view.min / step) * step - step);
  for (let at = from, to; at < Math.min(END, view.max + step); at = to) {
    to = Math.min(END, (Math.floor(at / step) + 1) * step);
    const values = mean(at, to);
    x.push((at + to) / 2);
    for (let k = 0; k < K; k++) layers[k].push(values && shown[k] ? values[k] : null);
  }
  return [x, ...layers.reverse()];
}

const plotWidth = () => Math.max(50, chartBox.clientWidth - gutter());
const build = () => (areas ? buildAreas() : buildLines());

function makeChart() {
  plot?.destroy();
  const axis = { stroke: () => COLOURS.muted, font: "12px system-ui, sans-serif", ticks: { show: false } };
  const series = EMOTIONS.map((name, k) => ({
    label: name, spanGaps: false, width: areas ? 0 : 2, points: { show: areas ? false : undefined, size: 5, fill: COLOURS.pure[k] },
    stroke: areas ? "transparent" : COLOURS.pure[k], fill: areas ? COLOURS.area[k] : undefined,
  })).reverse();
  plot = new uPlot({
    width: chartBox.clientWidth, height: chartBox.clientHeight, padding: [8, 0, 0, 0], legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: true, y: false, dist: 6, setScale: false }, bind: { dblclick: () => null } },
    scales: { x: { time: false, auto: false, range: () => [view.min, view.max] }, y: { range: () => [0, 1] } },
    axes: [
      { ...axis, grid: { show: false }, size: 26, gap: 6, space: 76, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200], values: (_, all) => all.map((at) => ((view.max - at) / (view.max - view.min) * plotWidth() < (at < 3600 ? 17 : 27) ? "" : clock(at))) },
      { ...axis, size: gutter(), gap: 10, splits: () => [0, 0.25, 0.5, 0.75, 1], grid: { stroke: () => COLOURS.line, width: 1 }, values: (_, all) => all.map(gutter() > 60 ? percent : (p) => Math.round(100 * p)) },
    ],
    series: [{}, ...series],
    hooks: { drawClear: [drawGaps], draw: [labelGaps, drawShots], setSelect: [zoomToSelection] },
  }, build(), chartBox);
}

function drawGaps(u) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const gap of gapsWithin(view.min, view.max)) {
    const from = u.valToPos(gap.from, "x", true), to = u.valToPos(gap.to, "x", true);
    drawGap(ctx, gap.kind, from, bbox.top, gapWidth(gap, to - from), bbox.height);
  }
  ctx.restore();
}

/** Label wide gaps at their middle, on a background of their own. */
function labelGaps(u) {
  const { ctx, bbox } = u;
  ctx.save();
  for (const gap of gapsWithin(view.min, view.max)) {
    const from = Math.max(u.valToPos(gap.from, "x", true), bbox.left), to = Math.min(u.valToPos(gap.to, "x", true), bbox.left + bbox.width);
    if (to - from > 84 * devicePixelRatio) labelGap(ctx, gap.kind, (from + to) / 2, bbox.top + bbox.height / 2);
  }
  ctx.restore();
}

function labelGap(ctx, kind, middle, y) {
  ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.fillStyle = COLOURS.shade;
  ctx.fillRect(middle - 30 * devicePixelRatio, y - 10 * devicePixelRatio, 60 * devicePixelRatio, 20 * devicePixelRatio);
  ctx.fillStyle = COLOURS.muted;
  ctx.fillText(kind === NO_DATA ? "no data" : "no face", middle, y);
}

/** Mark the start of each shot: a line through the plot, a tick at the top if space is scarce, nothing if shots are too dense. */
function drawShots(u) {
  const { ctx, bbox } = u, within = DATA.shots.filter((at) => at >= view.min && at <= view.max);
  const apart = bbox.width / devicePixelRatio / Math.max(within.length, 1);
  if (apart < 4) return;
  const height = apart > 12 ? bbox.height : 7 * devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = COLOURS.text;
  ctx.globalAlpha = height === bbox.height ? 0.45 : 0.8;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash(height === bbox.height ? [3 * devicePixelRatio, 3 * devicePixelRatio] : []);
  ctx.beginPath();
  for (const at of within) {
    const x = Math.round(u.valToPos(at, "x", true)) + 0.5;
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + height);
  }
  ctx.stroke();
  ctx.restore();
}

function zoomToSelection(u) {
  if (u.select.width < 6) return;
  const from = u.posToVal(u.select.left, "x"), to = u.posToVal(u.select.left + u.select.width, "x");
  u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  setView(from, to);
}

let pendingFrame = 0;
/** Show [min, max], clamped to the timeline and to a width of at least three seconds. */
function setView(min, max) {
  const all = Math.max(END - FIRST, 1), range = Math.min(all, Math.max(max - min, Math.min(3, all)));
  const middle = (min + max) / 2;
  view.min = Math.min(Math.max(FIRST, middle - range / 2), FIRST + all - range);
  view.max = view.min + range;
  if (!pendingFrame) pendingFrame = requestAnimationFrame(redraw);
}

function zoomBy(factor, at) {
  const around = at ?? (playhead.t >= view.min && playhead.t <= view.max ? playhead.t : (view.min + view.max) / 2);
  const share = (around - view.min) / (view.max - view.min), range = (view.max - view.min) * factor;
  const clamped = Math.min(Math.max(range, 3), Math.max(END - FIRST, 1));
  setView(around - share * clamped, around + (1 - share) * clamped);
}

const panBy = (share) => { const by = share * (view.max - view.min); setView(view.min + by, view.max + by); };

function redraw() {
  pendingFrame = 0;
  const began = performance.now();
  plot.batch(() => {
    plot.setData(build(), false);
    plot.setScale("x", { min: view.min, max: view.max });
  });
  for (const call of viewListeners) call();
  redraws.push(performance.now() - began);
}
const requestRedraw = () => { if (!pendingFrame) pendingFrame = requestAnimationFrame(redraw); };
/** Rebuild what depends on the colours, the size or the type of the chart. */
function rebuild() {
  readColours();
  makeChart();
  for (const call of viewListeners) call();
}
