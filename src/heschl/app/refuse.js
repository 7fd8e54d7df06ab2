// What the page does not take is refused before it is sent, in a sentence: the server would answer with a bare "Error".
(() => {
  const KINDS = /\.(KINDS)$/i, MOST = MEGABYTES;
  function wrong(file) {
    if (!KINDS.test(file.name)) return "This file is no recording: give WAV, FLAC, OGG or MP3.";
    if (file.size > MOST * 1e6) return `The file has ${Math.round(file.size / 1e6)} MB, and at most ${MOST} are taken: cut it.`;
    return "";
  }
  function look(event, files) {
    const given = document.querySelector("#given"), old = document.querySelector("#refused");
    if (!given || !given.contains(event.target) || !files?.length) return;
    old?.remove();
    const words = wrong(files[0]);
    if (!words) return;
    event.preventDefault(); event.stopImmediatePropagation();
    const told = document.createElement("p");
    told.id = "refused"; told.className = "trouble"; told.setAttribute("role", "alert"); told.textContent = words;
    given.after(told);
    if (event.target.value) event.target.value = "";
  }
  addEventListener("change", (event) => look(event, event.target.files), true);
  addEventListener("drop", (event) => look(event, event.dataTransfer?.files), true);
})();
