// Two of the videos inside `root`, one over the other and parted by a slider. They are the page's own, so they stay in step.
const compare = (root) => {
  const bar = root.querySelector(".ab"), stage = root.querySelector(".stage");
  const figures = [...root.querySelectorAll("figure")].filter((figure) => figure.querySelector("video"));
  if (!bar || figures.length < 2) return;
  const [open, first, second, cut] = ["open", "first", "second", "cut"].map((name) => bar.querySelector("." + name));
  const name = (figure) => (figure.querySelector(".title") ?? figure.querySelector("figcaption")).innerText.replace("\n", " ").trim();
  const place = () => {
    const on = open.getAttribute("aria-pressed") === "true";
    stage.classList.toggle("split", on);
    bar.classList.toggle("closed", !on);
    figures.forEach((figure, index) => {
      figure.classList.toggle("left", index === first.selectedIndex);
      figure.classList.toggle("right", index === second.selectedIndex);
    });
    stage.style.setProperty("--cut", cut.value + "%");
  };
  const drag = (event) => {
    if (!event.buttons || !stage.classList.contains("split")) return;
    const box = figures[second.selectedIndex].getBoundingClientRect();
    cut.value = (100 * (event.clientX - box.left)) / box.width;
    place();
  };
  for (const figure of figures) for (const select of [first, second]) select.add(new Option(name(figure)));
  second.selectedIndex = Math.max(1, figures.findIndex((figure) => figure.matches(".edit, [data-method]")));
  first.onchange = second.onchange = cut.oninput = place;
  open.onclick = () => { open.setAttribute("aria-pressed", String(open.getAttribute("aria-pressed") !== "true")); place(); };
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", drag);
  bar.hidden = false;
  place();
};
