// What the pages do beyond links and forms. Without it they work too: nothing goes on by itself then.
"use strict";

let paused = false;
const live = document.getElementById("live");
const pause = document.getElementById("pause");

if (live && pause) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
  });
  // Nobody sees a page in the background: it asks for nothing.
  live.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target === live && (paused || document.hidden)) event.preventDefault();
  });
  const offline = (is) => live.classList.toggle("offline", is);
  live.addEventListener("htmx:sendError", () => offline(true));
  live.addEventListener("htmx:responseError", () => offline(true));
  live.addEventListener("htmx:afterOnLoad", () => offline(false));
}

const all = document.querySelector("[data-check-all]");
if (all) {
  all.hidden = false;
  document.querySelector("[data-check-all-words]").hidden = false;
  all.addEventListener("change", () => {
    for (const box of document.querySelectorAll("input[name=letter]")) box.checked = all.checked;
  });
}
