"use strict";
// One set of controls for the videos inside `root`. They run on the clock of the longest one; a video that begins later
// in the clip says so in data-from (seconds). `keys` listens for space and arrows; `onshow` hears of each frame shown.
const player = (root, { keys = root, autoplay = false, onshow = () => {}, onplay = () => {} } = {}) => {
  const videos = [...root.querySelectorAll("video")];
  const controls = root.querySelector(".controls");
  if (!videos.length || !controls) return null;
  const [play, back, forth, scrub, frame, speed, loop] =
    ["play", "back", "forth", "scrub", "frame", "speed", "loop"].map((name) => controls.querySelector("." + name));
  const fps = Number(root.dataset.fps) || 8;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const from = (video) => Number(video.dataset.from) || 0;
  let master = videos[0], count = 1, index = 0, playing = false;

  const clock = () => master.currentTime + from(master);
  const now = () => Math.min(count - 1, Math.max(0, Math.floor(clock() * fps + 1e-3)));
  const show = (number) => {
    index = number;
    scrub.value = index;
    frame.textContent = `${index + 1} / ${count}`;
    scrub.setAttribute("aria-valuetext", `frame ${index + 1} of ${count}`);
    onshow(index, count);
  };
  const seek = (number) => {
    // The middle of a frame, so that rounding never shows its neighbour.
    for (const v of videos)
      v.currentTime = Math.max(0, Math.min((number + 0.5) / fps - from(v), (v.duration || 1e9) - 0.25 / fps));
    show(number);
  };
  const start = () => { for (const v of videos) v.play().catch(() => {}); };
  const set = (on) => {
    if (on && !playing) onplay();
    playing = on;
    play.setAttribute("aria-pressed", String(on));
    play.firstChild.textContent = on ? "❚❚" : "▶";
    play.lastChild.textContent = on ? "Pause" : "Play";
    if (on && (master.ended || now() >= count - 1)) seek(0);
    if (on) { start(); requestAnimationFrame(tick); return; }
    for (const v of videos) v.pause();
    seek(now());
  };
  const tick = () => {
    if (!playing) return;
    if (master.ended) {
      if (!loop.checked) return set(false);
      seek(0);
      start();
    } else {
      for (const v of videos) {
        const due = Math.max(0, clock() - from(v));
        if (v !== master && !v.ended && Math.abs(v.currentTime - due) > 0.75 / fps) v.currentTime = due;
      }
    }
    show(now());
    requestAnimationFrame(tick);
  };
  const step = (by) => { if (playing) set(false); seek((index + by + count) % count); };

  play.onclick = () => set(!playing);
  back.onclick = () => step(-1);
  forth.onclick = () => step(1);
  scrub.oninput = () => { const number = Number(scrub.value); if (playing) set(false); seek(number); };
  speed.onchange = () => { for (const v of videos) v.defaultPlaybackRate = v.playbackRate = Number(speed.value); };
  keys.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|BUTTON|TEXTAREA|SUMMARY)$/.test(event.target.tagName)) return;
    const action = { " ": () => set(!playing), ArrowLeft: () => step(-1), ArrowRight: () => step(1) }[event.key];
    if (action) { event.preventDefault(); action(); }
  });
  const ready = () => {
    const known = videos.filter((v) => v.duration);
    if (!known.length) return;
    master = known.reduce((a, b) => (b.duration + from(b) > a.duration + from(a) ? b : a));
    count = Math.max(1, Math.round((master.duration + from(master)) * fps));
    scrub.max = count - 1;
    controls.hidden = false;
    if (index) seek(index); else show(0);
    if (autoplay && known.length === videos.length && !calm && count > 1 && !playing) set(true);
  };
  for (const v of videos) v.addEventListener("loadedmetadata", ready);
  ready();
  return { pause: () => { if (playing) set(false); } };
};
