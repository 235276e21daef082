{
  // Many videos in one page: only the rows near the window hold theirs, and one row plays at a time.
  const address = (film) => film.startsWith("#") ? "data:video/mp4;base64," + document.getElementById(film.slice(1)).textContent : film;
  const players = new Map();
  const load = (root, near) => {
    if (!near) players.get(root)?.pause();
    for (const v of root.querySelectorAll("video")) {
      if (near && !v.hasAttribute("src")) v.src = address(v.dataset.film);
      else if (!near && v.hasAttribute("src")) { v.removeAttribute("src"); v.load(); }
    }
  };
  const nearby = new IntersectionObserver((entries) => entries.forEach((e) => load(e.target, e.isIntersecting)), { rootMargin: "50% 0px" });
  for (const root of document.querySelectorAll(".player")) {
    const heads = root.querySelectorAll(".head");
    const onshow = (index) => heads.forEach((head) => head.setAttribute("transform", `translate(${index * head.dataset.step} 0)`));
    const onplay = () => players.forEach((other, at) => { if (at !== root) other?.pause(); });
    compare(root);
    players.set(root, player(root, { onshow, onplay }));
    nearby.observe(root);
  }

  const [clip, kind] = ["of-clip", "of-kind"].map((id) => document.getElementById(id));
  const choose = () => {
    for (const root of players.keys())
      root.hidden = (clip.value && root.dataset.clip !== clip.value) || (kind.value && root.dataset.kind !== kind.value);
  };
  clip.onchange = kind.onchange = choose;
  for (const box of document.querySelectorAll(".chip input"))
    box.onchange = () => {
      for (const part of document.querySelectorAll("[data-method]"))
        if (part.dataset.method === box.value) part.classList.toggle("off", !box.checked);
    };
  document.querySelector(".filters").hidden = false;
}
