"use strict";
(() => {
  const task = JSON.parse(document.getElementById("task").textContent);
  const sides = ["left", "right", "source"].map((side) => document.getElementById(side));
  const choices = new Map();
  let at = 0;

  // A closed page loses no vote; where the browser keeps nothing, it does without.
  const shelf = `videoedit-votes-${task.suite_sha256}-${task.seed}`;
  try { for (const [pair, choice] of JSON.parse(localStorage.getItem(shelf) || "[]")) choices.set(pair, choice); } catch {}
  while (at < task.pairs.length && choices.has(task.pairs[at].id)) at += 1;
  const keep = () => { try { localStorage.setItem(shelf, JSON.stringify([...choices])); } catch {} };

  const show = () => {
    const pair = task.pairs[Math.min(at, task.pairs.length - 1)];
    document.getElementById("place").textContent = `${Math.min(at + 1, task.pairs.length)} of ${task.pairs.length}`;
    document.getElementById("prompt").textContent = pair.prompt;
    document.getElementById("done").hidden = at < task.pairs.length;
    for (const video of sides) {
      const id = pair[video.id];
      video.hidden = !id;
      video.closest("figure").hidden = !id;
      if (!id) continue;
      video.src = "data:video/mp4;base64," + document.getElementById(id).textContent;
      video.onloadedmetadata = () => video.classList.toggle("small", video.videoWidth <= 192);
    }
    Promise.all(sides.filter((video) => !video.hidden).map((video) => new Promise((go) => { video.oncanplay = go; })))
      .then(() => { for (const video of sides) if (!video.hidden) { video.currentTime = 0; video.play().catch(() => {}); } });
    for (const button of document.querySelectorAll("[data-choice]"))
      button.classList.toggle("chosen", choices.get(pair.id) === button.dataset.choice);
  };
  const vote = (choice) => {
    if (at >= task.pairs.length) return;
    choices.set(task.pairs[at].id, choice);
    at += 1;
    keep();
    show();
  };
  const back = () => { at = Math.max(0, at - 1); show(); };
  const ballot = () => {
    const votes = [...choices].map(([pair, choice]) => ({ pair, choice }));
    return JSON.stringify({ format: task.format, suite_sha256: task.suite_sha256, seed: task.seed, votes }, null, 1) + "\n";
  };
  const save = () => {
    const link = document.createElement("a");
    link.href = "data:application/json;charset=utf-8," + encodeURIComponent(ballot());
    link.download = `votes-${Date.now()}.json`;
    link.click();
  };
  const keys = { ArrowLeft: () => vote("left"), ArrowRight: () => vote("right"), ArrowDown: () => vote("tie"), Backspace: back, s: save, S: save };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  for (const button of document.querySelectorAll("[data-choice]")) button.onclick = () => vote(button.dataset.choice);
  document.getElementById("back").onclick = back;
  document.getElementById("save").onclick = save;
  document.getElementById("vote").ballot = ballot;
  show();
})();
