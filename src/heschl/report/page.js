// Each player becomes one button; while it plays, a line runs over the picture that it belongs to, and the others fall silent.
(() => {
  const sounds = [...document.querySelectorAll("audio[src]")];
  const icon = (path) => `<svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true"><path fill="currentColor" d="${path}"/></svg>`;
  const PLAY = icon("M8 5v14l11-7z"), STOP = icon("M7 7h10v10H7z");
  for (const sound of sounds) {
    const button = document.createElement("button"), words = sound.getAttribute("aria-label");
    const pictures = [...(sound.closest(".seen, .card, .lines") || document.createElement("i")).querySelectorAll("[data-time]")];
    button.type = "button"; button.className = "play"; button.innerHTML = PLAY; button.setAttribute("aria-label", "Play: " + words);
    sound.controls = false; sound.hidden = true; sound.before(button);
    const lines = pictures.map((picture) => picture.appendChild(document.createElement("b")));
    lines.forEach((line) => { line.className = "now"; line.hidden = true; });
    function follow() {
      lines.forEach((line, k) => {
        const [left, right, start, stop] = pictures[k].dataset.time.split(" ").map(Number);
        const at = left + (right - left) * (sound.currentTime - start) / (stop - start);
        line.style.left = 100 * at + "%"; line.hidden = sound.paused || at < left || at > right;
      });
      if (!sound.paused) requestAnimationFrame(follow);
    }
    function told() {
      button.innerHTML = sound.paused ? PLAY : STOP;
      button.setAttribute("aria-label", (sound.paused ? "Play: " : "Stop: ") + words);
      follow();
    }
    button.onclick = () => { if (sound.paused) sound.play(); else { sound.pause(); sound.currentTime = 0; } };
    sound.addEventListener("play", () => { sounds.forEach((other) => { if (other !== sound) other.pause(); }); told(); });
    for (const kind of ["pause", "ended"]) sound.addEventListener(kind, told);
  }
})();
