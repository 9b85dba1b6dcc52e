// The page: figures of the current second, pointer, keyboard, start.

const momentBox = document.getElementById("moment"), plots = document.getElementById("plots");
const playheadLine = document.getElementById("playhead"), tooltip = element("div", { className: "tip", hidden: true });
const SVG = "http://www.w3.org/2000/svg";
plots.append(tooltip);

/** A bar of one share; SVG, because the policy of the page forbids style attributes. */
function shareBar(k) {
  const svg = document.createElementNS(SVG, "svg"), rect = document.createElementNS(SVG, "rect");
  rect.setAttribute("height", "100%");
  rect.setAttribute("class", `e-${EMOTIONS[k]}`);
  svg.append(rect);
  svg.setAttribute("aria-hidden", "true");
  return { svg, set: (share) => rect.setAttribute("width", `${(100 * share).toFixed(1)}%`) };
}

const moment = { title: element("h2"), status: element("p"), faces: element("div", { className: "present" }), rows: [] };
{
  const rows = element("div", { className: "rows" });
  EMOTIONS.forEach((name, k) => {
    const bar = shareBar(k), value = element("b"), row = element("div", { className: "row" }, element("span", { textContent: name }), bar.svg, value);
    moment.rows.push({ row, bar, value });
    rows.append(row);
  });
  momentBox.append(moment.title, moment.status, rows, moment.faces);
}

let shownSecond = -1;
/** Show the figures of the second under the playhead. */
function showMoment() {
  const second = Math.min(Math.max(Math.floor(playhead.t + 1e-6), FIRST), END - 1), values = mean(second, second + 1);
  moment.title.textContent = clock(playhead.t, true);
  const best = values ? values.indexOf(Math.max(...values)) : -1;
  const entropy = values ? -values.reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0) : 0;
  moment.status.textContent = describeSecond(second) + (values && entropy > 1.5 ? ", undecided" : "");
  moment.rows.forEach(({ row, bar, value }, k) => {
    row.classList.toggle("best", k === best);
    bar.set(values ? values[k] : 0);
    value.textContent = values ? percent(values[k]) : "–";
  });
  const spoken = `${clock(playhead.t)}, ${values ? `${EMOTIONS[best]} ${percent(values[best])}, ` : ""}${describeSecond(second)}`;
  chartBox.setAttribute("aria-valuenow", Math.floor(playhead.t));
  chartBox.setAttribute("aria-valuetext", spoken);
  if (second !== shownSecond) showFaces(second);
  shownSecond = second;
}

/** Show the faces of a second with their most probable expressions: six by name, the others counted. */
function showFaces(second) {
  const here = LANES.map((lane) => ({ lane, row: rowAt(lane, second) })).filter(({ row }) => row >= 0);
  const items = here.slice(0, 6).map(({ lane, row }) => element("span", {},
    element("i", { className: `swatch e-${EMOTIONS[BEST[row]]}` }), `${lane.name} ${EMOTIONS[BEST[row]]} ${percent(ROWS.prob[BEST[row] * COUNT + row] / SCALE)}`));
  if (here.length > 6) items.push(element("span", { textContent: `and ${here.length - 6} more` }));
  moment.faces.replaceChildren(...items);
}

function movePlayhead(t) {
  playhead.t = Math.min(Math.max(t, FIRST), Math.max(END, FIRST));
  if (video && !video.paused && playhead.t > view.max && view.max < END) panBy(0.9);
  placeLine();
  showMoment();
  drawBoxes();
}

const xOf = (t) => gutter() + ((t - view.min) / (view.max - view.min)) * plotWidth();
function placeLine() {
  playheadLine.hidden = N === 0 || playhead.t < view.min || playhead.t > view.max;
  playheadLine.style.transform = `translateX(${xOf(playhead.t)}px)`;
}

// -- the pointer -----------------------------------------------------------------------------------------------------

/** Show the tooltip at a time: the mean of the selected faces, or one lane. */
function showTip(t, box, lane) {
  const step = lane ? 1 : stepFor(view.max - view.min, plotWidth()), from = Math.max(FIRST, Math.floor(t / step) * step);
  const to = Math.min(END, (Math.floor(t / step) + 1) * step), row = lane ? rowAt(lane, from) : -1;
  const values = lane ? (row >= 0 ? probs(row) : null) : mean(from, to);
  const span = to - from > 1 ? `${clock(from)} to ${clock(to)}, mean` : clock(from);
  const lines = [element("b", { textContent: lane ? `${lane.name}, ${span}` : span })];
  if (!values) lines.push(element("div", { textContent: lane && STATUS[from - FIRST] === OK ? "not on screen" : to - from > 1 ? "no face" : describeSecond(from) }));
  else {
    values.map((p, k) => [p, k]).sort((a, b) => b[0] - a[0]).filter(([p], i) => i < 2 || p >= 0.05).forEach(([p, k]) =>
      lines.push(element("div", {}, element("i", { className: `swatch e-${EMOTIONS[k]}` }), element("span", { textContent: EMOTIONS[k] }), element("em", { textContent: percent(p) }))));
    if (row >= 0) lines.push(element("div", { textContent: `face ${ROWS.face_px[row]} px, in view ${percent(ROWS.weight[row] / SCALE)}` }));
  }
  tooltip.replaceChildren(...lines);
  tooltip.hidden = false;
  const around = plots.getBoundingClientRect(), x = xOf(t), wide = tooltip.offsetWidth;
  const left = x + 16 + wide > plots.clientWidth ? x - 16 - wide : x + 16;
  tooltip.style.transform = `translate(${Math.max(0, left)}px, ${box.top - around.top + 10}px)`;
}

const touches = new Map();
/** Hovering shows values, clicking seeks; two fingers zoom, one finger moves the playhead. `lane` is null for the chart. */
function followPointer(area, lane) {
  const timeAt = (event) => view.min + ((event.clientX - plots.getBoundingClientRect().left - gutter()) / plotWidth()) * (view.max - view.min);
  const inside = (t) => N > 0 && t >= view.min && t < view.max;
  let downX = 0, pinch = 0;
  area.addEventListener("pointerdown", (event) => {
    downX = event.clientX;
    if (event.pointerType === "touch") touches.set(event.pointerId, event.clientX);
    pinch = 0;
  });
  area.addEventListener("pointermove", (event) => {
    const t = timeAt(event);
    if (touches.has(event.pointerId)) touches.set(event.pointerId, event.clientX);
    if (touches.size === 2) {
      const [a, b] = [...touches.values()], apart = Math.max(Math.abs(a - b), 10);
      if (pinch) zoomBy(pinch / apart, timeAt({ clientX: (a + b) / 2 }));
      pinch = apart;
    } else if (touches.size === 1 && inside(t)) seek(t);
    if (inside(t) && touches.size < 2) showTip(t, area.getBoundingClientRect(), lane); else tooltip.hidden = true;
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) area.addEventListener(name, (event) => {
    touches.delete(event.pointerId);
    if (name !== "pointerup" || event.pointerType === "touch") tooltip.hidden = true;
  });
  area.addEventListener("click", (event) => {
    const t = timeAt(event);
    if (Math.abs(event.clientX - downX) < 5 && inside(t)) seek(t);
  });
  area.addEventListener("wheel", (event) => {
    const across = event.shiftKey ? event.deltaY : event.deltaX;
    if (event.ctrlKey || event.metaKey) zoomBy(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 150), timeAt(event));
    else if (Math.abs(across) > Math.abs(event.shiftKey ? 0 : event.deltaY)) panBy(across / plotWidth());
    else return;
    event.preventDefault();
  }, { passive: false });
}

// -- the keys --------------------------------------------------------------------------------------------------------

const KEYS = {
  ArrowLeft: (event) => step(event.shiftKey ? -10 : -1), ArrowRight: (event) => step(event.shiftKey ? 10 : 1),
  Home: () => goTo(FIRST), End: () => goTo(END - 0.001), PageUp: () => panBy(-0.5), PageDown: () => panBy(0.5),
  "+": () => zoomBy(0.6), "=": () => zoomBy(0.6), "-": () => zoomBy(1 / 0.6), "0": () => setView(FIRST, END), " ": playPause,
};
const step = (by) => goTo(playhead.t + by);
/** Seek by keyboard: the view follows the playhead. */
function goTo(t) {
  seek(t);
  if (playhead.t < view.min || playhead.t > view.max) setView(playhead.t - (view.max - view.min) / 2, playhead.t + (view.max - view.min) / 2);
}

document.addEventListener("keydown", (event) => {
  const target = event.target, onChart = target === chartBox, key = event.key;
  const busy = target.closest("input, button, video, summary, a, select");
  if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[key] || (!onChart && (busy || key !== " "))) return;
  event.preventDefault();
  KEYS[key](event);
});

// -- start -----------------------------------------------------------------------------------------------------------

function setChartType(wanted) {
  areas = wanted;
  document.getElementById("as-areas").setAttribute("aria-pressed", String(areas));
  document.getElementById("as-lines").setAttribute("aria-pressed", String(!areas));
  makeChart();
}

function addControls() {
  const on = (id, call) => document.getElementById(id).addEventListener("click", call);
  on("as-areas", () => setChartType(true));
  on("as-lines", () => setChartType(false));
  on("zoom-in", () => zoomBy(0.6));
  on("zoom-out", () => zoomBy(1 / 0.6));
  on("zoom-fit", () => setView(FIRST, END));
  on("all-on", () => choose(() => true));
  on("all-off", () => choose(() => false));
  on("more", showMoreLanes);
  EMOTIONS.forEach((name, k) => {
    const button = element("button", { type: "button" }, element("i", { className: `swatch e-${name}` }), name);
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => { shown[k] = !shown[k]; button.setAttribute("aria-pressed", String(shown[k])); requestRedraw(); });
    document.getElementById("emotions").append(button);
  });
  if (BOXES) {
    document.getElementById("boxes-label").hidden = false;
    document.getElementById("boxes-on").addEventListener("change", drawBoxes);
  }
  for (const name of ["pointerdown", "pointermove"]) rail.addEventListener(name, dragRail);
}

/** Write the legend of shades and lines, if they occur. */
function writeLegend() {
  const meanings = [[NO_FACE, "no face: frames were sampled, but no face was found"], [NO_DATA, "no data: no frame could be decoded"]];
  const items = meanings.filter(([kind]) => GAPS.some((gap) => gap.kind === kind)).map(([kind, text]) => {
    const canvas = element("canvas"), item = element("li", {}, canvas, text);
    requestAnimationFrame(() => { const context = clearCanvas(canvas); if (context) drawGap(context, kind, 0, 0, canvas.width, canvas.height); });
    return item;
  });
  if (DATA.shots.length) items.push(element("li", { textContent: `${DATA.shots.length} ${DATA.shots.length === 1 ? "change" : "changes"} of shot, as dashed lines where there is space` }));
  document.getElementById("key").replaceChildren(...items);
}

function start() {
  document.body.classList.toggle("faceless", LANES.length === 0);
  document.body.classList.toggle("empty", N === 0);
  if (N === 0) return;
  chartBox.setAttribute("aria-valuemin", FIRST);
  chartBox.setAttribute("aria-valuemax", Math.max(END - 1, FIRST));
  readColours();
  updateSums();
  addControls();
  makeChart();
  listLanes();
  onView(() => { for (const strip of listedRows) if (strip.seen) drawLane(strip); });
  onView(scheduleLaneList);
  onView(drawRail);
  onView(placeLine);
  followPointer(chartBox, null);
  writeLegend();
  movePlayhead(FIRST);
  drawRail();
  new ResizeObserver(() => { plot.setSize({ width: chartBox.clientWidth, height: chartBox.clientHeight }); requestRedraw(); }).observe(chartBox);
  matchMedia("(max-width: 760px)").addEventListener("change", rebuild);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { rebuild(); writeLegend(); });
  if (video) new ResizeObserver(drawBoxes).observe(video);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", loadVideo); else loadVideo();
}

start();
/** For tests and benchmarks; the page itself does not use it. */
window.fervid = { view, playhead, redraws, setView, choose, mean, facesAt: BOXES ? facesAt : null, LANES };
