// A cross-hair over the time-line, with the numbers of the column under it. Nothing needs it: the numbers are in windows.csv.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("columns").textContent);
  const figure = document.getElementById("timeline");
  if (!figure || !data.rows.length) return;
  const svg = figure.querySelector("svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [name, value] of Object.entries({ y1: data.top, y2: data.bottom, stroke: "currentColor", "stroke-width": 1, opacity: 0.6, visibility: "hidden" })) line.setAttribute(name, value);
  svg.append(line);
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  figure.append(tip);
  let at = -1;
  const hide = () => { tip.hidden = true; line.setAttribute("visibility", "hidden"); };
  const show = (index) => {
    at = Math.max(0, Math.min(data.rows.length - 1, index));
    const row = data.rows[at], box = svg.getBoundingClientRect(), home = figure.getBoundingClientRect();
    const x = data.left + (row[0] / data.end) * (data.right - data.left);
    line.setAttribute("x1", x); line.setAttribute("x2", x); line.setAttribute("visibility", "visible");
    const head = document.createElement("b"), table = document.createElement("table");
    head.textContent = row[1];
    row[2].forEach((text, n) => {
      if (text === "") return;
      const tr = table.insertRow();
      tr.insertCell().textContent = data.names[n];
      tr.insertCell().textContent = text;
    });
    tip.replaceChildren(head, table);
    tip.hidden = false;
    const px = box.left - home.left + (x / data.width) * box.width;
    const left = px + 16 + tip.offsetWidth > home.width ? px - 16 - tip.offsetWidth : px + 16;
    tip.style.left = Math.max(0, left) + "px";
    tip.style.top = ((data.top - data.above) / (data.height - data.above)) * box.height + 8 + "px";
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * data.width;
    if (x < data.left || x > data.right) return hide();
    const s = ((x - data.left) / (data.right - data.left)) * data.end;
    let low = 0, high = data.rows.length - 1;
    while (low < high) { const middle = (low + high + 1) >> 1; if (data.rows[middle][0] - data.step / 2 <= s) low = middle; else high = middle - 1; }
    show(low);
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (step) { event.preventDefault(); show(at + step); }
  });
  svg.addEventListener("blur", hide);
  svg.setAttribute("tabindex", "0");
})();
