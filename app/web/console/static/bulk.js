// Of a bulk action: counts what is chosen, and chooses all or none.
"use strict";

const choices = document.querySelector("[data-choices]");
if (choices) {
  const boxes = [...choices.querySelectorAll("input[name=selected]")];
  const shown = document.querySelector("[data-chosen]");
  const head = choices.querySelector("th");
  const all = document.createElement("input");
  const count = () => {
    const chosen = boxes.filter((box) => box.checked).length;
    if (shown) shown.textContent = chosen;
    all.checked = chosen === boxes.length;
    all.indeterminate = chosen > 0 && chosen < boxes.length;
  };
  if (boxes.length) {
    all.type = "checkbox";
    all.setAttribute("aria-label", "Choose all");
    all.addEventListener("change", () => {
      boxes.forEach((box) => { box.checked = all.checked; });
      count();
    });
    head.replaceChildren(all);
    choices.addEventListener("change", count);
    addEventListener("pageshow", count);
    count();
  }
}
