"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const places = new Uint16Array(bytes(data.places)), labels = new Uint16Array(bytes(data.labels));
  const rows = new Uint32Array(bytes(data.rows)), count = labels.length;
  const outliers = new Set(data.outliers), tiles = new Map(data.shown);
  const canvas = document.getElementById("canvas"), hint = document.getElementById("hint");
  const pen = canvas.getContext("2d"), dark = matchMedia("(prefers-color-scheme: dark)");
  const sprite = new Image();
  const names = data.hues.map((_, number) => String(number));
  let zoom = 1, centre = [data.ends[0] / 2, data.ends[1] / 2], only = -1, across = 1, waiting = false;

  // What dots are coloured by: clusters, or known labels, of which the last number is unknown.
  const known = data.known.map((each) => ({ ...each, labels: new Uint16Array(bytes(each.labels)) }));
  const clusters = { hues: data.hues, labels };
  let by = clusters;
  const shade = (hue, alpha) => `hsl(${hue ?? 0} ${hue === null ? 0 : 62}% ${dark.matches ? 64 : 47}% / ${alpha})`;
  const colour = (k, alpha = 1) => shade(data.hues[k], alpha);
  const dot = (i, alpha = 1) => shade(by.hues[by.labels[i]], alpha);
  const middle = [data.ends[0] / 2, data.ends[1] / 2];
  const scale = () => Math.min(canvas.clientWidth / data.ends[0], canvas.clientHeight / data.ends[1]) * 0.9 * zoom;
  const x = (i) => (places[2 * i] / 65535 - centre[0]) * scale() + canvas.clientWidth / 2;
  const y = (i) => (data.ends[1] - places[2 * i + 1] / 65535 - centre[1]) * scale() + canvas.clientHeight / 2;

  function draw() {
    waiting = false;
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const radius = Math.max(1.1, Math.min(5, (26 / Math.sqrt(count)) * 3 * Math.sqrt(zoom)));
    for (const single of only < 0 ? [true] : [false, true]) for (let k = 0; k < by.hues.length; k++) {
      pen.fillStyle = shade(by.hues[k], single ? 0.8 : 0.1);
      pen.beginPath();
      for (let i = 0; i < count; i++) {
        if (by.labels[i] !== k || outliers.has(i) || (only >= 0 && single !== (labels[i] === only))) continue;
        const px = x(i), py = y(i);
        if (px < -9 || py < -9 || px > width + 9 || py > height + 9) continue;
        pen.moveTo(px + radius, py);
        pen.arc(px, py, radius, 0, 7);
      }
      pen.fill();
    }
    pen.lineWidth = 1.4;
    for (const i of outliers) {
      pen.strokeStyle = dot(i, only < 0 || only === labels[i] ? 1 : 0.15);
      pen.beginPath();
      pen.arc(x(i), y(i), radius + 1.5, 0, 7);
      pen.stroke();
    }
    pictures(width, height);
    titles();
  }

  function pictures(width, height) {
    if (!sprite.naturalWidth) return;
    const side = Math.min(64, 22 + 7 * zoom), spots = new Map();
    for (const [i, place] of tiles) {
      if (only >= 0 && labels[i] !== only) continue;
      const px = x(i), py = y(i);
      if (px < -side || py < -side || px > width + side || py > height + side) continue;
      const cx = Math.floor(px / (side + 3)), cy = Math.floor(py / (side + 3));
      let free = true;
      for (let a = -1; a <= 1 && free; a++) for (let b = -1; b <= 1 && free; b++) {
        const other = spots.get(`${cx + a},${cy + b}`);
        if (other && Math.abs(other[0] - px) < side + 3 && Math.abs(other[1] - py) < side + 3) free = false;
      }
      if (!free) continue;
      spots.set(`${cx},${cy}`, [px, py]);
      const left = px - side / 2, top = py - side / 2;
      pen.drawImage(sprite, (place % across) * data.tile, Math.floor(place / across) * data.tile, data.tile, data.tile, left, top, side, side);
      pen.strokeStyle = dot(i);
      pen.lineWidth = 2;
      pen.strokeRect(left, top, side, side);
    }
  }

  // A cluster's name stands where the median of its rows is.
  const titled = data.hues.map((_, k) => {
    const own = [];
    for (let i = 0; i < count; i++) if (labels[i] === k && !outliers.has(i)) own.push(i);
    if (!own.length) return -1;
    const median = (axis) => own.map((i) => places[2 * i + axis]).sort((a, b) => a - b)[own.length >> 1];
    return [median(0), median(1)];
  });

  function titles() {
    pen.font = "600 13px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    titled.forEach((i, k) => {
      if (i < 0 || (only >= 0 && only !== k)) return;
      const px = (i[0] / 65535 - centre[0]) * scale() + canvas.clientWidth / 2;
      const py = (data.ends[1] - i[1] / 65535 - centre[1]) * scale() + canvas.clientHeight / 2;
      const half = Math.max(11, pen.measureText(names[k]).width / 2 + 8);
      pen.beginPath();
      pen.roundRect(px - half, py - 11, 2 * half, 22, 11);
      pen.fillStyle = colour(k);
      pen.fill();
      pen.lineWidth = 2;
      pen.strokeStyle = dark.matches ? "#1e2125" : "#ffffff";
      pen.stroke();
      pen.fillStyle = dark.matches ? "#101214" : "#ffffff";
      pen.fillText(names[k], px, py + 1);
    });
  }

  const again = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };
  function closer(factor, px = canvas.clientWidth / 2, py = canvas.clientHeight / 2) {
    const next = Math.min(60, Math.max(0.7, zoom * factor)), real = next / zoom;
    centre[0] += ((px - canvas.clientWidth / 2) / scale()) * (1 - 1 / real);
    centre[1] += ((py - canvas.clientHeight / 2) / scale()) * (1 - 1 / real);
    zoom = next;
    again();
  }
  const whole = () => { zoom = 1; centre = [...middle]; again(); };

  function nearest(px, py) {
    let best = -1, least = 14 * 14;
    for (let i = 0; i < count; i++) {
      if (only >= 0 && labels[i] !== only) continue;
      const dx = x(i) - px, dy = y(i) - py, square = dx * dx + dy * dy;
      if (square < least) { least = square; best = i; }
    }
    return best;
  }
  function point(event) {
    const i = nearest(event.offsetX, event.offsetY);
    hint.hidden = i < 0;
    if (i < 0) return;
    hint.replaceChildren();
    if (tiles.has(i) && sprite.naturalWidth) {
      const small = document.createElement("canvas");
      small.width = small.height = data.tile;
      const place = tiles.get(i);
      small.getContext("2d").drawImage(sprite, (place % across) * data.tile, Math.floor(place / across) * data.tile, data.tile, data.tile, 0, 0, data.tile, data.tile);
      hint.append(small);
    }
    const name = names[labels[i]] === String(labels[i]) ? `cluster ${labels[i]}` : names[labels[i]];
    const given = known.map((each) => ` · ${each.name} ${each.classes[each.labels[i]] ?? "unknown"}`).join("");
    hint.append(`row ${rows[i]} · ${name}${outliers.has(i) ? " · outlier" : ""}${given}`);
    const right = event.offsetX > canvas.clientWidth - 200;
    hint.style.left = right ? "" : `${event.offsetX + 14}px`;
    hint.style.right = right ? `${canvas.clientWidth - event.offsetX + 14}px` : "";
    hint.style.top = `${Math.min(event.offsetY + 14, canvas.clientHeight - 100)}px`;
  }

  let held = null;
  canvas.addEventListener("wheel", (e) => { e.preventDefault(); closer(Math.exp(-e.deltaY / 400), e.offsetX, e.offsetY); }, { passive: false });
  canvas.addEventListener("pointerdown", (e) => { held = [e.offsetX, e.offsetY]; canvas.setPointerCapture(e.pointerId); hint.hidden = true; });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointermove", (e) => {
    if (!held) return point(e);
    centre[0] -= (e.offsetX - held[0]) / scale();
    centre[1] -= (e.offsetY - held[1]) / scale();
    held = [e.offsetX, e.offsetY];
    again();
  });
  canvas.addEventListener("pointerleave", () => { hint.hidden = true; });
  canvas.addEventListener("dblclick", (e) => closer(2, e.offsetX, e.offsetY));
  canvas.addEventListener("keydown", (e) => {
    const step = 0.1 / zoom, keys = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (keys[e.key]) { centre[0] += keys[e.key][0]; centre[1] += keys[e.key][1]; again(); e.preventDefault(); }
    else if (e.key === "+" || e.key === "=") closer(1.4);
    else if (e.key === "-") closer(1 / 1.4);
    else if (e.key === "0") whole();
  });
  document.getElementById("closer").addEventListener("click", () => closer(1.5));
  document.getElementById("further").addEventListener("click", () => closer(1 / 1.5));
  document.getElementById("whole").addEventListener("click", whole);
  for (const button of document.querySelectorAll(".pick")) button.addEventListener("click", () => {
    const k = Number(button.dataset.cluster);
    only = only === k ? -1 : k;
    document.querySelectorAll(".pick").forEach((b) => b.classList.toggle("on", Number(b.dataset.cluster) === only));
    again();
  });

  for (const button of document.querySelectorAll(".by")) button.addEventListener("click", () => {
    by = known[Number(button.dataset.known)] ?? clusters;
    document.querySelectorAll(".by").forEach((b) => b.classList.toggle("on", b === button));
    document.querySelectorAll(".of").forEach((p) => { p.hidden = p.dataset.known !== button.dataset.known; });
    again();
  });

  const command = document.getElementById("command"), fields = [...document.querySelectorAll(".cluster input")];
  const quoted = (word) => /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
  function told() {
    const by = new Map();
    for (const field of fields) {
      const name = field.value.trim(), k = field.dataset.cluster;
      names[k] = name || k;
      document.querySelector(`.named[data-of="${k}"]`).textContent = names[k];
      if (name) by.set(name, [...(by.get(name) || []), k]);
    }
    const words = [...by].map(([name, clusters]) => quoted(`${clusters.join("+")}=${name}`));
    command.textContent = ["manyhot name", quoted(command.dataset.folder), ...(words.length ? words : ["0=…"])].join(" ");
    again();
  }
  fields.forEach((field) => field.addEventListener("input", told));

  sprite.addEventListener("load", () => { across = Math.round(sprite.naturalWidth / data.tile); again(); });
  if (data.sprite) sprite.src = data.sprite;
  addEventListener("resize", again);
  dark.addEventListener("change", again);
  told();
})();
