"use strict";
(() => {
  const root = document.getElementById("player");
  const videos = [...root.querySelectorAll("video")];
  const controls = root.querySelector(".controls");
  if (!videos.length || !controls) return;
  const [play, back, forth, scrub, frame, speed, loop] =
    ["play", "back", "forth", "scrub", "frame", "speed", "loop"].map((id) => document.getElementById(id));
  const fps = Number(root.dataset.fps) || 8;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let master = videos[0], count = 1, playing = false;

  // The middle of a frame, so that rounding never shows its neighbour.
  const at = (index) => (index + 0.5) / fps;
  const now = () => Math.min(count - 1, Math.max(0, Math.floor(master.currentTime * fps + 1e-3)));
  const show = () => {
    scrub.value = now();
    frame.textContent = `${now() + 1} / ${count}`;
    scrub.setAttribute("aria-valuetext", `frame ${now() + 1} of ${count}`);
  };
  const seek = (index) => {
    for (const v of videos) v.currentTime = Math.min(at(index), Math.max(0, (v.duration || 1e9) - 0.25 / fps));
    show();
  };
  const set = (on) => {
    playing = on;
    play.setAttribute("aria-pressed", String(on));
    play.firstChild.textContent = on ? "❚❚" : "▶";
    play.lastChild.textContent = on ? "Pause" : "Play";
    if (on && (master.ended || now() >= count - 1)) seek(0);
    for (const v of videos) on ? v.play().catch(() => {}) : v.pause();
    if (on) requestAnimationFrame(tick); else seek(now());
  };
  const tick = () => {
    if (!playing) return;
    if (master.ended) {
      if (!loop.checked) return set(false);
      seek(0);
      for (const v of videos) v.play().catch(() => {});
    } else {
      for (const v of videos)
        if (v !== master && !v.ended && Math.abs(v.currentTime - master.currentTime) > 0.75 / fps) v.currentTime = master.currentTime;
    }
    show();
    requestAnimationFrame(tick);
  };
  const step = (by) => { const index = now(); set(false); seek((index + by + count) % count); };

  play.onclick = () => set(!playing);
  back.onclick = () => step(-1);
  forth.onclick = () => step(1);
  scrub.oninput = () => { const index = Number(scrub.value); set(false); seek(index); };
  speed.onchange = () => { for (const v of videos) v.playbackRate = Number(speed.value); };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|BUTTON|TEXTAREA)$/.test(event.target.tagName)) return;
    const action = { " ": () => set(!playing), ArrowLeft: () => step(-1), ArrowRight: () => step(1) }[event.key];
    if (action) { event.preventDefault(); action(); }
  });
  const ready = () => {
    const known = videos.filter((v) => v.duration);
    if (!known.length) return;
    master = known.reduce((a, b) => (b.duration > a.duration ? b : a));
    count = Math.max(1, Math.round(master.duration * fps));
    scrub.max = count - 1;
    controls.hidden = false;
    show();
    if (known.length === videos.length && !calm && count > 1 && !playing) set(true);
  };
  for (const v of videos) v.readyState ? 0 : v.addEventListener("loadedmetadata", ready, { once: true });
  ready();
})();
