// A brush on the picture: what is dragged over, with mouse, pen or finger, is told to the page as "start stop low high".
(() => {
  let picture = null, from = null, sent = 0;
  const clip = (v) => Math.min(1, Math.max(0, v));
  const numbers = (name) => (picture.dataset[name] || "").split(" ").filter(Boolean).map(Number);
  function place(event) {  // shares of the spectrogram, from its upper left
    const whole = picture.querySelector("svg").getBoundingClientRect(), [left, top, right, bottom] = numbers("box");
    const x = (event.clientX - whole.left) / whole.width, y = (event.clientY - whole.top) / whole.height;
    return [clip((x - left) / (right - left)), clip((y - top) / (bottom - top))];
  }
  function hertz(share) {  // rows lie from below, their middles at half steps
    const rows = numbers("rows"), at = Math.min(rows.length - 1, Math.max(0, (1 - share) * rows.length - 0.5));
    const k = Math.floor(at), next = Math.min(rows.length - 1, k + 1);
    return share <= 0 ? rows.at(-1) + 50 : share >= 1 ? 0 : rows[k] + (at - k) * (rows[next] - rows[k]);
  }
  function tell(to, live) {
    const [start, stop] = numbers("time"), rows = numbers("rows").length;
    const seconds = [from[0], to[0]].sort((a, b) => a - b).map((v) => Math.max(0, start + v * (stop - start)));
    const band = rows ? [from[1], to[1]].sort((a, b) => b - a).map(hertz) : [0, 1e5];
    const field = document.querySelector("#brush textarea, #brush input");
    field.value = [...seconds.map((v) => v.toFixed(2)), ...band.map((v) => Math.round(v))].join(" ") + (live ? " live" : "");
    field.dispatchEvent(new Event("input", {bubbles: true}));
  }
  function draw(to) {
    const [left, top, right, bottom] = numbers("box"), rows = numbers("rows").length;
    const [x, y] = [0, 1].map((k) => [from[k], to[k]].sort((a, b) => a - b));
    if (!rows) y.splice(0, 2, 0, 1);
    let part = picture.querySelector(".hidden-part");
    if (!part) { part = picture.appendChild(document.createElement("div")); part.className = "hidden-part"; }
    const whole = picture.querySelector("svg").getBoundingClientRect(), own = picture.getBoundingClientRect();
    part.style.left = whole.left - own.left + whole.width * (left + x[0] * (right - left)) + "px";
    part.style.width = whole.width * (x[1] - x[0]) * (right - left) + "px";
    part.style.top = whole.top - own.top + whole.height * (top + y[0] * (bottom - top)) + "px";
    part.style.height = whole.height * (y[1] - y[0]) * (bottom - top) + "px";
  }
  const far = (to) => Math.abs(to[0] - from[0]) > 0.01;
  document.addEventListener("pointerdown", (event) => {
    if (event.button || !event.isPrimary || !(picture = event.target.closest?.(".brush"))) return;
    event.preventDefault(); from = place(event);
  });
  document.addEventListener("pointermove", (event) => {
    if (!from || !event.isPrimary) return;
    const to = place(event); draw(to);
    if (far(to) && event.timeStamp - sent > 250) { sent = event.timeStamp; tell(to, true); }
  });
  function end(event) {
    if (!from || !event.isPrimary) return;
    const to = place(event);
    if (far(to)) draw(to); else { to[0] = from[0]; picture.querySelector(".hidden-part")?.remove(); }  // a click takes it back
    tell(to, false); from = null;
  }
  document.addEventListener("pointerup", end);
  document.addEventListener("pointercancel", () => { from = null; });
})();
