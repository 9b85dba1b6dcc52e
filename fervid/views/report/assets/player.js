// The player: its time and the playhead follow each other, and boxes are drawn over the faces.

const video = document.getElementById("video"), boxesCanvas = document.getElementById("boxes");
const playhead = { t: FIRST };
const OFFSET = DATA.video ? DATA.video.offset : 0;

/** Load the video, embedded in the page or linked. */
function loadVideo() {
  if (!video) return;
  video.addEventListener("error", () => showNote("This browser cannot play the video. Create the report again with --transcode."));
  video.addEventListener("loadeddata", checkShape);
  for (const name of ["timeupdate", "seeked", "loadeddata", "play"]) video.addEventListener(name, follow);
  if (DATA.video.url) { video.src = DATA.video.url; return; }
  const embedded = document.getElementById("video-content"), text = embedded.textContent, parts = [];
  embedded.remove();
  for (let at = 0; at < text.length; at += 1 << 22) parts.push(bytes(text.slice(at, at + (1 << 22))));
  video.src = URL.createObjectURL(new Blob(parts, { type: DATA.video.mime }));
}

/** Browsers do not know the display orientation of H.264 and HEVC: boxes would lie beside the faces. */
function checkShape() {
  const [w, h] = DATA.video.size, shape = video.videoWidth / video.videoHeight;
  if (shape && Math.abs(Math.log(shape * h / w)) > 0.1) {
    showNote("This browser displays the video in another orientation. Create the report again with --transcode.");
  }
}

function showNote(text) { document.getElementById("video-note").textContent = text; }

/** The time of the timeline that the player shows, in seconds. */
const timelineTime = (mediaTime = video.currentTime) => mediaTime - OFFSET;

let following = false;
/** Move the playhead with every frame while the video plays, and with seeking while it is paused. */
function follow() {
  if (!video.seeking) movePlayhead(timelineTime());
  if (following || video.paused) return;
  following = true;
  const next = video.requestVideoFrameCallback
    ? (call) => video.requestVideoFrameCallback((_, frame) => call(frame.mediaTime))
    : (call) => requestAnimationFrame(() => call(video.currentTime));
  const onFrame = (mediaTime) => {
    if (!video.seeking) movePlayhead(timelineTime(mediaTime));
    if (video.paused || video.ended) following = false; else next(onFrame);
  };
  next(onFrame);
}

/** Seek to a time; without a video, only the playhead moves. */
function seek(t) {
  const within = Math.min(Math.max(t, FIRST), END - 0.001);
  if (video && video.readyState > 0) {
    const last = Number.isFinite(video.duration) ? video.duration - 0.001 : Infinity;
    video.currentTime = Math.min(Math.max(within + OFFSET, 0), last);
  }
  movePlayhead(within);
}

function playPause() {
  if (!video) return;
  if (video.paused) video.play().catch(() => showNote("The video cannot be played.")); else video.pause();
}

// -- boxes ---------------------------------------------------------------------------------------------------------

const BOXES = DATA.boxes && video ? unpackBoxes(DATA.boxes) : null;

function unpackBoxes(packed) {
  const names = new Map(LANES.flatMap((lane) => lane.tracks.map((track) => [track, lane.name])));
  let from = 0;
  const tracks = packed.tracks.map((track, i) => {
    const start = from;
    from += packed.counts[i];
    return { name: names.get(track) || `Track ${track}`, from: start, to: from };
  });
  return {
    tracks, n: from, gap: packed.gap, ms: unpack(Uint32Array, packed.ms), box: unpack(Int16Array, packed.box),
    best: bytes(packed.best), sure: bytes(packed.sure),
  };
}

/** The faces at a time, interpolated linearly between two readings of a track; none across a gap. */
function facesAt(t) {
  const { tracks, n, gap, ms, box, best, sure } = BOXES, now = t * 1000, found = [];
  for (const track of tracks) {
    if (ms[track.from] > now + 1 || ms[track.to - 1] + gap < now) continue;
    const after = lowerBound(ms, now + 1, track.from, track.to), before = after - 1;
    if (before < track.from) continue;
    const near = after < track.to && ms[after] - ms[before] <= gap;
    if (!near && now - ms[before] > gap / 1.6) continue;
    const share = near ? (now - ms[before]) / (ms[after] - ms[before]) : 0, to = near ? after : before;
    const place = [0, 1, 2, 3].map((i) => ((1 - share) * box[i * n + before] + share * box[i * n + to]) / SCALE);
    found.push({ name: track.name, place, k: best[before], sure: sure[before] / 100 });
  }
  return found;
}

/** The area of the frame within the player, which keeps the aspect ratio: x, y, width, height in the canvas. */
function frameArea(canvas, t) {
  const [left, top, width, height] = videoArea(canvas);
  const [, [x, y, w, h]] = (DATA.video.places || []).findLast(([from]) => from <= t + 0.001) || [0, [0, 0, 1, 1]];
  return [left + x * width, top + y * height, w * width, h * height];
}

function videoArea(canvas) {
  const [w, h] = video.videoWidth ? [video.videoWidth, video.videoHeight] : DATA.video.size;
  const scale = Math.min(canvas.width / w, canvas.height / h);
  return [(canvas.width - w * scale) / 2, (canvas.height - h * scale) / 2, w * scale, h * scale];
}

function drawBoxes() {
  if (!BOXES) return;
  const context = clearCanvas(boxesCanvas);
  if (!context || !document.getElementById("boxes-on").checked) return;
  const [left, top, width, height] = frameArea(boxesCanvas, playhead.t), dpr = devicePixelRatio;
  context.font = `600 ${12 * dpr}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  for (const { name, place, k, sure } of facesAt(playhead.t)) {
    const x = left + place[0] * width, y = top + place[1] * height, w = place[2] * width, h = place[3] * height;
    context.lineWidth = 4 * dpr;
    context.strokeStyle = "rgb(0 0 0 / 45%)";
    context.strokeRect(x, y, w, h);
    context.lineWidth = 2 * dpr;
    context.strokeStyle = DATA.palette[EMOTIONS[k]] === "#000000" ? "#F2F2F2" : DATA.palette[EMOTIONS[k]];
    context.strokeRect(x, y, w, h);
    const short = name.replace(/^\w+ /, ""), text = w > 70 * dpr ? `${short} ${EMOTIONS[k]} ${percent(sure)}` : short;
    const wide = context.measureText(text).width + 10 * dpr, tall = 18 * dpr;
    const tagX = Math.min(Math.max(left, x - dpr), left + width - wide), tagY = Math.max(top, y - tall - 3 * dpr);
    context.fillStyle = "rgb(12 14 18 / 82%)";
    context.fillRect(tagX, tagY, wide, tall);
    context.fillStyle = "#fff";
    context.fillText(text, tagX + 5 * dpr, tagY + tall / 2 + dpr / 2);
  }
}
