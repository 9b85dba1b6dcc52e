// One lane per face: when it is on screen, in the colour of the most probable expression. Only visible lanes are drawn.

const FIRST_LANES = 12, MORE_LANES = 100;
const lanesBox = document.getElementById("lanes"), more = document.getElementById("more");
const strips = new Map();
let listedRows = [], laneLimit = FIRST_LANES;
const visibility = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const strip = strips.get(Number(entry.target.dataset.lane));
    strip.seen = entry.isIntersecting;
    if (strip.seen) drawLane(strip);
  }
}, { rootMargin: "120px" });

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** The row of a lane; created when it is first shown. */
function laneRow(lane) {
  if (strips.has(lane.i)) return strips.get(lane.i);
  const box = element("input", { type: "checkbox", checked: lane.on });
  box.setAttribute("aria-label", `${lane.name}, on screen ${duration(lane.time)}`);
  const only = element("button", { type: "button", className: "only", textContent: "only" });
  only.setAttribute("aria-label", `Only ${lane.name}`);
  const label = element("label", {}, box, element("span", { textContent: lane.name }), only, element("b", { textContent: duration(lane.time) }));
  const canvas = element("canvas"), area = element("div", { className: "strip" }, canvas);
  canvas.setAttribute("aria-hidden", "true");
  const row = element("div", { className: "lane" }, label, area);
  row.dataset.lane = lane.i;
  row.classList.toggle("off", !lane.on);
  box.addEventListener("change", () => choose((one) => (one === lane ? box.checked : one.on)));
  only.addEventListener("click", (event) => { event.preventDefault(); choose((one) => one === lane); });
  followPointer(area, lane);
  visibility.observe(row);
  const strip = { lane, row, box, canvas, seen: true };
  strips.set(lane.i, strip);
  return strip;
}

/** The lanes to list: all of a few, else those in the view, the one with the most time first. */
function lanesInView() {
  if (LANES.length <= FIRST_LANES) return LANES;
  const from = Math.floor(view.min), to = Math.ceil(view.max), whole = to - from >= N;
  const seconds = (lane) => lowerBound(ROWS.second, to, lane.from, lane.to) - lowerBound(ROWS.second, from, lane.from, lane.to);
  if (whole) return LANES;
  return LANES.map((lane) => [seconds(lane), lane]).filter(([n]) => n > 0).sort((a, b) => b[0] - a[0] || a[1].i - b[1].i).map(([, lane]) => lane);
}

/** Update the list of lanes, unless the keyboard focus is in it. */
function listLanes() {
  if (lanesBox.contains(document.activeElement) && document.activeElement.matches(":focus-visible")) return;
  const here = lanesInView(), now = here.slice(0, laneLimit).map(laneRow), left = here.length - now.length;
  if (now.length !== listedRows.length || now.some((strip, i) => strip !== listedRows[i])) {
    listedRows = now;
    lanesBox.replaceChildren(...now.map((strip) => strip.row));
    for (const strip of now) drawLane(strip);
  }
  more.hidden = left === 0;
  more.textContent = left <= MORE_LANES ? `Show all ${here.length}` : `Show ${MORE_LANES} more of ${here.length}`;
  describeSelection(here.length);
}
function showMoreLanes() { laneLimit += MORE_LANES; listLanes(); }

let listTimer = 0;
/** Update the list once zooming has stopped. */
function scheduleLaneList() {
  if (LANES.length <= FIRST_LANES) return;
  clearTimeout(listTimer);
  listTimer = setTimeout(listLanes, 140);
}

/** Select lanes by a rule; the chart shows the mean of the selected ones. */
function choose(rule) {
  for (const lane of LANES) lane.on = Boolean(rule(lane));
  for (const { lane, row, box } of strips.values()) { box.checked = lane.on; row.classList.toggle("off", !lane.on); }
  describeSelection(lanesInView().length);
  updateSums();
  requestRedraw();
  showMoment();
}

/** Describe which faces the chart averages, and how many are in view. */
function describeSelection(inView) {
  const on = LANES.filter((lane) => lane.on).length, all = LANES.length;
  const mean = all === 0 ? "No face was found." : on < all ? `The chart shows ${on} of ${all}.` : all > 1 ? `The chart is the mean of all ${all}, weighted by time on screen.` : "";
  document.getElementById("faces-note").textContent = inView < all ? `${mean} In view: ${inView}.` : mean;
}

/** Clear a canvas and size it to its box in device pixels; returns its context, or null while it has no size. */
function clearCanvas(canvas) {
  const width = Math.round(canvas.clientWidth * devicePixelRatio), height = Math.round(canvas.clientHeight * devicePixelRatio);
  if (!width || !height) return null;
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  return context;
}

function drawLane({ lane, canvas }) {
  const context = clearCanvas(canvas);
  if (!context) return;
  const { width, height } = canvas, scale = width / (view.max - view.min);
  for (const gap of gapsWithin(view.min, view.max))
    if (gap.kind === NO_DATA) drawGap(context, gap.kind, (gap.from - view.min) * scale, 0, gapWidth(gap, (gap.to - gap.from) * scale), height);
  const step = stepFor(view.max - view.min, 2 * width), tally = new Float64Array(K);
  let r = lowerBound(ROWS.second, Math.floor(view.min), lane.from, lane.to), run = null;
  const flush = () => { if (run) { context.fillStyle = COLOURS.area[run.k]; context.fillRect(run.x, 0, Math.max(run.to - run.x, 1), height); } };
  while (r < lane.to && ROWS.second[r] < view.max) {
    const bin = Math.floor(ROWS.second[r] / step);
    tally.fill(0);
    let last = 0;
    for (; r < lane.to && Math.floor(ROWS.second[r] / step) === bin; r++) { tally[BEST[r]] += ROWS.weight[r]; last = ROWS.second[r]; }
    let k = 0;
    for (let j = 1; j < K; j++) if (tally[j] > tally[k]) k = j;
    const x = (bin * step - view.min) * scale, to = (Math.min(bin * step + step, last + 1) - view.min) * scale;
    if (run && run.k === k && x - run.to < 0.5) run.to = to;
    else { flush(); run = { k, x, to }; }
  }
  flush();
}

/** The whole video as a rail below the chart; the part in view is bright. */
const rail = document.getElementById("rail"), railCanvas = rail.firstElementChild;
function drawRail() {
  const all = Math.max(END - FIRST, 1), whole = view.max - view.min >= all - 1e-6, context = clearCanvas(railCanvas);
  rail.classList.toggle("all", whole);
  if (!context || whole) return;
  const { width, height } = railCanvas, scale = width / all, step = all / width;
  for (let x = 0; x < width; x++) {
    const from = FIRST + Math.floor(x * step), values = mean(from, Math.max(from + 1, FIRST + Math.floor((x + 1) * step)));
    if (!values) continue;
    let k = 0;
    for (let j = 1; j < K; j++) if (values[j] > values[k]) k = j;
    context.fillStyle = COLOURS.area[k];
    context.fillRect(x, 0, 1, height);
  }
  context.fillStyle = COLOURS.page;
  context.globalAlpha = 0.72;
  context.fillRect(0, 0, (view.min - FIRST) * scale, height);
  context.fillRect((view.max - FIRST) * scale, 0, width, height);
  context.globalAlpha = 1;
  context.strokeStyle = COLOURS.text;
  context.lineWidth = 2 * devicePixelRatio;
  context.strokeRect((view.min - FIRST) * scale, 0, Math.max((view.max - view.min) * scale, 3), height);
}

function dragRail(event) {
  if (event.type === "pointermove" && !(event.buttons & 1)) return;
  if (event.type === "pointerdown") rail.setPointerCapture(event.pointerId);
  const box = rail.getBoundingClientRect(), half = (view.max - view.min) / 2;
  const at = FIRST + ((event.clientX - box.left) / box.width) * (END - FIRST);
  setView(at - half, at + half);
}
