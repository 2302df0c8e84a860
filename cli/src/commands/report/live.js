"use strict";
let failures = 0;
async function renew() {
  try {
    const answer = await fetch("/main", { cache: "no-store" });
    const text = await answer.text();
    const main = document.querySelector("main");
    const open = [...main.querySelectorAll("details")].map((one) => one.open);
    main.innerHTML = text;
    main.querySelectorAll("details").forEach((one, i) => { if (i in open) one.open = open[i]; });
    failures = 0;
  } catch {
    failures += 1;
  }
  if (failures < 3) return setTimeout(renew, 1000);
  const note = document.createElement("p");
  note.className = "lacks";
  note.textContent = "zilch no longer serves this page: the training has ended, or the server was stopped.";
  document.querySelector("main").prepend(note);
}
setTimeout(renew, 1000);
