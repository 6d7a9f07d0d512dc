// The page of `manyhot serve`: pictures and rows in, answers out, corrections stored at once.
// Names of classes, models and files are set as text only, never as HTML.

const TOP = 5, TOP_TAGS = 8; // answers shown at first
const AT_ONCE = 2; // pictures asked about at a time
const LARGE_PIXELS = 4e6, LARGE_SIDE = 1600, QUALITY = 0.9, SMALL_BYTES = 1 << 18;
const TRIES = 8; // while the server is busy
const KEYS = [..."1234567890abcdefghijklmnopqrstvwxyz"]; // u undoes
const CHOICES = 30; // categories up to which a field is a list to choose from
const $ = (id) => document.getElementById(id);
const coarse = matchMedia("(pointer: coarse)").matches;

let models = [], model = null, takesCorrections = false;
let items = [], at = 0, active = 0; // the rows asked about, the one shown, the target that keys are for
let undoable = [], queue = Promise.resolve(), unsent = 0;
let open = new Set(); // targets of which all classes are shown
const shares = new Map(); // how long each bar was, so that it moves on from there

// ---- elements -------------------------------------------------------------------------------------

function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const percent = (p) => (p > 0.99 && p < 1 ? ">99\u00a0%" : p > 0 && p < 0.01 ? "<1\u00a0%" : `${Math.round(100 * p)}\u00a0%`);
const number = (n) => n.toLocaleString("en");
const plural = (n, one, more = `${one}s`) => `${number(n)} ${n === 1 ? one : more}`;
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
const and = (words) => (words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words.at(-1)}` : words[0] ?? "");

let quietAgain = 0;
function say(text, { action, run, lasting = false } = {}) {
  clearTimeout(quietAgain);
  $("saying").textContent = text;
  $("act").hidden = !action;
  $("act").replaceChildren(...(action ? [action, ...(action === "Undo" ? [h("kbd", {}, "U")] : [])] : []));
  $("act").onclick = run ?? null;
  $("said").hidden = !text;
  if (text && !lasting) quietAgain = setTimeout(() => say(""), 7000);
}

function problem(text, again = null) {
  $("problem").hidden = !text;
  $("problem").replaceChildren(h("span", {}, text ?? ""));
  if (again) $("problem").append(h("button", { className: "button", type: "button", onclick: again }, "Try again"));
}

// ---- the server -----------------------------------------------------------------------------------

class Said extends Error {} // a sentence for people

async function ask(path, options = {}) {
  for (let tries = 1; ; tries++) {
    let response;
    const token = sessionStorage.getItem("token");
    try {
      response = await fetch(path, { ...options, headers: token ? { Authorization: `Bearer ${token}` } : {} });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Said("The server does not answer. See that it still runs and that you are on its network, then try again.");
    }
    if (response.status === 401) {
      await askForToken(token);
    } else if (response.status === 503 && tries < TRIES) {
      const seconds = Math.min(30, Math.max(1, Number(response.headers.get("Retry-After")) || 1));
      say(`The server is busy. Trying again in ${plural(seconds, "second")}.`, { lasting: true });
      await pause(seconds);
    } else {
      if ($("saying").textContent.startsWith("The server is busy")) say("");
      if (response.ok) return response;
      const told = await response.json().catch(() => ({}));
      throw new Said(told.error ?? `The server answered with status ${response.status}. Try again.`);
    }
  }
}

let asked = null; // one question for all requests that wait for the token
function askForToken(refused) {
  if (refused !== sessionStorage.getItem("token")) return null; // a newer one is there already
  asked ??= new Promise((done) => {
    if (refused) $("door-why").textContent = "That was not the token. See how the server was started, after --token.";
    $("token").value = "";
    $("door").showModal();
    $("door").oncancel = (event) => event.preventDefault();
    $("door-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem("token", $("token").value.trim());
      $("door").close();
      asked = null;
      done();
    };
  });
  return asked;
}

function fieldsOf(item) {
  const body = new FormData();
  for (const { name } of model.inputs) {
    if (item.pictures[name]) body.append(name, item.pictures[name], item.name);
    else if (!images().some((input) => input.name === name)) body.append(name, item.values[name]);
  }
  return body;
}

async function answer(item) {
  item.asking?.abort();
  const asking = (item.asking = new AbortController());
  const { signal } = asking;
  const path = `models/${encodeURIComponent(model.name)}/predict`;
  try {
    const response = await ask(path, { method: "POST", body: fieldsOf(item), signal });
    const [row] = (await response.json()).rows;
    item.answers = Object.keys(row.answers).length ? row.answers : null;
    item.error = item.answers ? null : row.error;
    item.note = [item.answers && row.error, row.note].filter(Boolean).join("; "); // answered all the same
  } catch (error) {
    if (error.name === "AbortError") return;
    item.error = error instanceof Said ? error.message : "The server gave no answer that this page can read.";
    item.again = () => { item.error = null; item.again = null; draw(); answer(item); };
  }
  if (item.asking !== asking) return;
  item.asking = null;
  draw(item);
}

// Why a row is answered so: asked once, for all targets.
async function wonder(item, target) {
  if (item.wondering.delete(target.name)) { draw(item); return; }
  item.wondering.add(target.name);
  draw(item);
  if (item.reasons) return;
  item.reasons = {};
  try {
    const response = await ask(`models/${encodeURIComponent(model.name)}/explain`, { method: "POST", body: fieldsOf(item) });
    item.reasons = (await response.json()).rows[0].targets;
  } catch (error) {
    item.reasons = null;
    item.wondering.clear();
    say(error instanceof Said ? error.message : "The server gave no reasons that this page can read.");
  }
  draw(item);
}

// ---- rows -----------------------------------------------------------------------------------------

const images = () => model.inputs.filter((input) => input.kind === "image");
const columns = () => model.inputs.filter((input) => input.kind !== "image");

const nothing = () => Object.fromEntries(columns().map(({ name }) => [name, ""]));

function newItem(name = "", values = nothing()) {
  return { name, values, pictures: Object.create(null), url: "", answers: null, error: null, note: "", labels: {}, confirmed: false, asking: null, reasons: null, wondering: new Set() };
}

async function add(files) {
  const all = [...files]; // the box that they come from is emptied soon
  await begun.catch(() => null); // until then nobody knows what the model reads
  if (!all.length || !model) return;
  const wanted = images();
  if (!wanted.length) {
    problem("This model reads no pictures. Fill in the row; for a file of rows use: manyhot predict MODEL FILE.");
    return;
  }
  const pictures = all.filter((file) => file.type.startsWith("image/") || /\.(heic|heif|avif|jfif|p[bgnp]m|tiff?)$/i.test(file.name));
  problem(pictures.length < all.length ? `Only pictures can be asked about; left out: ${and(all.filter((file) => !pictures.includes(file)).slice(0, 3).map((file) => file.name))}.` : "");
  if (!pictures.length) return;
  const first = items.length;
  for (const file of pictures) {
    // a row with several pictures is filled before the next begins
    const free = items.length && wanted.find(({ name }) => !items.at(-1).pictures[name]);
    const item = free && wanted.length > 1 ? items.at(-1) : newItem(file.name || "picture");
    const input = free && wanted.length > 1 ? free : wanted[0];
    item.pictures[input.name] = file;
    item.url ||= URL.createObjectURL(file);
    item.answers = item.error = null;
    if (item !== items.at(-1)) items.push(item);
  }
  at = Math.min(first, items.length - 1);
  draw();
  const left = items.slice(at);
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let item; (item = left.shift()); ) {
      for (const [name, file] of Object.entries(item.pictures)) item.pictures[name] = await shrunk(file);
      if (items.includes(item)) await answer(item);
    }
  }));
}

// Photos of phones are sent smaller: nothing is lost that a model sees, and it takes a tenth of the time.
async function shrunk(file) {
  if (file.size < SMALL_BYTES) return file;
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap || bitmap.width * bitmap.height <= LARGE_PIXELS) return file;
  const scale = LARGE_SIDE / Math.max(bitmap.width, bitmap.height);
  const canvas = h("canvas", { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // behind what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((done) => canvas.toBlob((blob) => done(blob ?? file), "image/jpeg", QUALITY));
}

function clear() {
  for (const item of items) { item.asking?.abort(); if (item.url) URL.revokeObjectURL(item.url); }
  [items, at, undoable] = [[], 0, []];
  problem("");
  say("");
  buildForm();
  if (!images().length) items = [newItem()];
  draw();
}

function go(step) {
  const next = at + step;
  if (next < 0 || next >= items.length) return;
  at = next;
  draw();
  document.querySelector("#rows tr.now")?.scrollIntoView({ block: "nearest" });
}

// ---- the form of a row ----------------------------------------------------------------------------

let typing = 0;
const boxes = new Map(); // by column; a form's own list of fields is at the mercy of their names
const typedValues = () => Object.fromEntries(columns().map(({ name }) => [name, boxes.get(name).value.trim()]));

function buildForm() {
  const fields = columns();
  boxes.clear();
  $("form").hidden = !fields.length;
  if (!fields.length) return;
  const example = h("button", { className: "button", type: "button", onclick: fill }, "Fill in an example");
  const empty = h("button", { className: "button plain", type: "button", onclick: () => { for (const box of boxes.values()) box.value = ""; typed(); } }, "Empty the row");
  $("form").replaceChildren(h("p", { className: "buttons" }, example, empty), ...fields.map(field));
}

function field(input, index) {
  const example = input.example === null || input.example === undefined ? "" : String(input.example);
  const labelled = (box, ...more) => (boxes.set(input.name, box), h("label", {}, input.name, box, ...more));
  const placeholder = example && `such as ${example}`;
  const classes = input.classes ?? [];
  if (input.kind === "category" && classes.length && classes.length <= CHOICES) {
    const options = classes.map((name) => h("option", { value: name }, name));
    return labelled(h("select", { oninput: typed }, h("option", { value: "" }, "unknown"), ...options));
  }
  if (input.kind === "category" && classes.length) {
    const id = `list-${index}`;
    const options = classes.map((name) => h("option", { value: name }));
    return labelled(h("input", { oninput: typed, placeholder, list: id }), h("datalist", { id }, ...options));
  }
  const isDate = input.kind === "date" && (!example || /^\d{4}-\d\d-\d\d$/.test(example));
  const kind = isDate ? { type: "date" } : input.kind === "number" ? { inputMode: "decimal" } : {};
  return labelled(h("input", { oninput: typed, ...kind, placeholder }));
}

function fill() {
  for (const input of columns()) boxes.get(input.name).value = input.example ?? "";
  typed();
}

function typed() {
  const values = typedValues();
  problem("");
  const old = items[at];
  if (!old) return;
  old.asking?.abort();
  // Other values are another row, with no corrections yet.
  const item = (items[at] = { ...newItem(old.name, values), pictures: old.pictures, url: old.url, answers: old.answers });
  clearTimeout(typing);
  const empty = !Object.values(values).some(Boolean) && !images().length;
  if (empty) { item.answers = null; draw(); } else typing = setTimeout(() => answer(item), 120);
}

// ---- answers --------------------------------------------------------------------------------------

const isTags = (target) => target.kind === "multilabel";
const listOf = (given) => (Array.isArray(given) ? given : given && given !== "[]" ? String(given).split(";") : []);

// What holds now for a target of a row: what people said, else what the model did.
function current(item, target) {
  if (Object.hasOwn(item.labels, target.name)) return item.labels[target.name];
  const given = item.answers?.[target.name]?.answer;
  return isTags(target) ? listOf(given) : given ?? "";
}

function ordered(item, target) {
  const chances = item.answers[target.name].probabilities;
  const known = [...target.classes].sort((a, b) => chances[b] - chances[a]);
  return [...known, ...[current(item, target)].flat().filter((name) => name && !Object.hasOwn(chances, name))];
}

function shown(item, target) {
  const order = ordered(item, target);
  const few = isTags(target) ? TOP_TAGS : TOP;
  if (open.has(target.name) || order.length <= few + 1) return order;
  const now = [current(item, target)].flat();
  return order.filter((name, index) => index < few || now.includes(name));
}

function draw(changed = items[at]) {
  const item = items[at];
  const photos = Boolean(model && images().length);
  document.body.classList.toggle("asking", photos && items.length > 0);
  $("start").hidden = !model || !photos || items.length > 0;
  $("work").hidden = !model || !items.length;
  $("work").classList.toggle("photo", photos);
  $("figure").hidden = $("more").hidden = !photos;
  drawRows();
  if (!item || changed !== item) return;
  if (photos) {
    if ($("picture").src !== item.url) { $("picture").hidden = false; $("picture").src = item.url; }
    $("picture").alt = `The picture ${item.name}`;
    $("caption").textContent = items.length > 1 ? `${item.name}, ${number(at + 1)} of ${number(items.length)}` : item.name;
    $("before").hidden = $("after").hidden = items.length < 2;
    $("before").disabled = at === 0;
    $("after").disabled = at === items.length - 1;
    for (const { name } of columns()) {
      const box = boxes.get(name);
      if (box !== document.activeElement) box.value = item.values[name];
    }
  }
  drawAnswers(item);
}

function drawAnswers(item) {
  const focus = document.activeElement?.dataset?.at;
  const parts = [];
  if (item.error) {
    const again = item.again && h("button", { className: "button", type: "button", onclick: item.again }, "Try again");
    parts.push(h("p", { className: "problem" }, h("span", {}, item.error), again));
  } else if (!item.answers) {
    const text = item.asking || images().length ? "Looking…" : "Fill in what you know of the row: the answers come as you type.";
    parts.push(h("p", { className: item.asking || images().length ? "waiting" : "quiet" }, text));
  } else {
    if (item.note) parts.push(h("p", { className: "problem" }, h("span", {}, item.note)));
    model.targets.forEach((target, index) => item.answers[target.name] && parts.push(drawTarget(item, target, index)));
  }
  $("answers").replaceChildren(...parts);
  const ready = Boolean(item.answers);
  $("confirming").hidden = !ready || !takesCorrections;
  const next = at < items.length - 1 ? ", next" : "";
  $("confirm").replaceChildren(item.confirmed ? "✓ Confirmed" : `All right${next}`, h("kbd", {}, "Enter"));
  $("hint").textContent = coarse ? "Not right? Tap what is." : "Not right? Click what is, or press its key.";
  if (focus) document.querySelector(`[data-at="${CSS.escape(focus)}"]`)?.focus();
  if (ready && !item.read) { item.read = true; $("live").textContent = model.targets.map((target) => spoken(item, target)).join(". "); }
  requestAnimationFrame(() => {
    for (const bar of document.querySelectorAll("#answers .bar")) bar.style.setProperty("--share", bar.dataset.share);
  });
}

function spoken(item, target) {
  const now = [current(item, target)].flat().filter(Boolean);
  const given = item.answers[target.name];
  if (isTags(target)) return `${target.name}: ${now.length ? and(now) : "none"}`;
  return `${target.name}: ${given.unsure ? "not sure, perhaps " : ""}${now[0]}, ${percent(given.probabilities[now[0]] ?? 0)}`;
}

function drawTarget(item, target, index) {
  const given = item.answers[target.name];
  const mine = Object.hasOwn(item.labels, target.name);
  const now = current(item, target);
  const names = shown(item, target);
  const rest = ordered(item, target).length - names.length;
  const isOpen = open.has(target.name);
  const draws = isTags(target) ? chip : bar;
  const body = names.map((name, place) => draws(item, target, name, index === active && takesCorrections ? KEYS[place] : null));
  const corrected = mine && !same(now, isTags(target) ? listOf(given.answer) : given.answer);
  const mark = corrected ? h("span", { className: "mark" }, "corrected")
    : mine ? h("span", { className: "mark" }, "confirmed")
    : given.unsure ? h("span", { className: "mark unsure" }, "not sure") : null;
  const chance = given.probabilities[now];
  const says = isTags(target) ? null : h("p", { className: "says" },
    given.unsure && !mine ? `Perhaps ${now}` : now || "No answer", " ",
    h("small", {}, corrected ? `was ${given.answer}` : chance === undefined ? "" : percent(chance)));
  return h("section", { className: `target${index === active && takesCorrections && !coarse && model.targets.length > 1 ? " now" : ""}`, onpointerdown: () => { active = index; } },
    h("h2", {}, target.name, mark),
    says,
    h("div", { className: isTags(target) ? "chips" : "bars", role: "group", "aria-label": target.name }, ...body),
    h("div", { className: "others" },
      rest > 0 || isOpen ? h("button", { className: "link", type: "button", "data-at": `all ${index}`, onclick: () => { isOpen ? open.delete(target.name) : open.add(target.name); draw(); } },
        isOpen ? "Show fewer" : `Show all ${number(rest + names.length)}`) : null,
      mine ? null : h("button", { className: "link", type: "button", "data-at": `why ${index}`, "aria-expanded": String(item.wondering.has(target.name)), onclick: () => wonder(item, target) }, item.wondering.has(target.name) ? "Hide why" : "Why?"),
      takesCorrections && target.kind !== "binary" ? h("button", { className: "link", type: "button", onclick: (event) => another(event.target, item, target, index) }, isTags(target) ? "Another tag" : "None of these") : null),
    !mine && item.wondering.has(target.name) ? h("div", { className: "why" }, ...whyOf(item, target)) : null);
}

const STRONGEST = 6, SEEN = 220; // columns of a row; pixels of a picture's longer side
function whyOf(item, target) {
  const classes = item.reasons?.[target.name]?.classes;
  if (!classes) return [h("p", { className: "waiting" }, "Trying what changes the answer…")];
  const legend = h("p", { className: "quiet" }, h("i", { className: "for" }), "spoke for it ", h("i", { className: "against" }), "spoke against it");
  return [...classes.map((each) => h("figure", {}, h("figcaption", {}, each.class), each.heat ? heatOf(item, each) : columnsOf(each))), legend];
}

// Its colours are those of the report, over a pale grey picture.
function heatOf(item, { class: name, heat }) {
  const { naturalWidth: wide, naturalHeight: high } = $("picture");
  const [width, height] = wide ? [wide, high] : [heat[0].length, heat.length];
  const scale = SEEN / Math.max(width, height);
  const canvas = h("canvas", { width: Math.round(width * scale), height: Math.round(height * scale), role: "img", "aria-label": `What of the picture spoke for ${name}` });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (wide) {
    context.filter = "grayscale(1)";
    context.globalAlpha = 0.4;
    context.imageSmoothingEnabled = scale < 1;
    context.drawImage($("picture"), 0, 0, canvas.width, canvas.height);
    context.filter = "none";
  }
  const most = Math.max(...heat.flat().map(Math.abs)) || 1;
  const [across, down] = [canvas.width / heat[0].length, canvas.height / heat.length];
  heat.forEach((line, y) => line.forEach((value, x) => {
    context.globalAlpha = 0.9 * Math.abs(value) / most;
    context.fillStyle = value > 0 ? "#d95412" : "#1962be";
    context.fillRect(x * across, y * down, across, down);
  }));
  return canvas;
}

function columnsOf({ columns }) {
  const most = Math.max(...columns.map(({ effect }) => Math.abs(effect))) || 1;
  const lines = columns.slice(0, STRONGEST).map(({ columns: cells, effect }) => {
    const bar = h("i", { className: effect > 0 ? "for" : "against" });
    bar.style.setProperty("--share", Math.abs(effect) / most);
    return h("tr", {}, h("td", {}, ...Object.entries(cells).map(([name, cell]) => h("div", {}, name, " ", h("b", {}, cell || "unknown")))),
      h("td", { title: "how far the log odds fall without it" }, `${effect > 0 ? "+" : ""}${effect.toFixed(2)}`), h("td", {}, bar));
  });
  const more = columns.length - lines.length;
  return h("div", {}, h("table", {}, h("tbody", {}, ...lines)), more > 0 ? h("p", { className: "quiet" }, `and ${number(more)} more that moved it less`) : null);
}

const same = (a, b) => JSON.stringify([a].flat().sort()) === JSON.stringify([b].flat().sort());

function choice(item, target, name, key, className, children) {
  const now = [current(item, target)].flat();
  const on = now.includes(name);
  const mine = on && Object.hasOwn(item.labels, target.name);
  const props = { className: `${className}${on ? " on" : ""}${mine ? " mine" : ""}` };
  if (!takesCorrections) return h("div", props, ...children);
  return h("button", {
    ...props, type: "button", "aria-pressed": String(on), "data-at": `${target.name} ${name}`,
    onclick: (event) => { if (event.detail) event.currentTarget.blur(); choose(item, target, name); }, // so that Enter confirms
  }, key ? h("kbd", { "aria-hidden": "true" }, key) : null, ...children);
}

function bar(item, target, name, key) {
  const chance = item.answers[target.name].probabilities[name] ?? 0;
  const mine = current(item, target) === name && Object.hasOwn(item.labels, target.name);
  const made = choice(item, target, name, key, "bar", [
    h("span", { className: "class" }, name), mine ? h("span", { className: "tick", "aria-hidden": "true" }, "✓") : null,
    h("span", { className: "share" }, percent(chance))]);
  const id = `${model.name}\n${target.name}\n${name}`;
  made.style.setProperty("--share", shares.get(id) ?? 0);
  made.dataset.share = chance;
  shares.set(id, chance);
  return made;
}

function chip(item, target, name, key) {
  const chance = item.answers[target.name].probabilities[name];
  return choice(item, target, name, key, "chip", [name, h("small", {}, chance === undefined ? "" : percent(chance))]);
}

function another(link, item, target, index) {
  const id = `classes-${index}`;
  const box = h("input", { list: id, placeholder: isTags(target) ? "tag" : `the right ${target.name}`, "aria-label": `The right ${target.name}`, maxLength: 200 });
  const form = h("form", { className: "another", onsubmit: (event) => {
    event.preventDefault();
    const name = box.value.trim();
    if (name) choose(item, target, name); else draw();
  } }, box, h("datalist", { id }, ...target.classes.map((name) => h("option", { value: name }))), h("button", { className: "button", type: "submit" }, "Store"));
  box.onkeydown = (event) => { if (event.key === "Escape") draw(); };
  link.parentElement.replaceWith(form);
  box.focus();
}

// ---- corrections ----------------------------------------------------------------------------------

function choose(item, target, name) {
  active = model.targets.indexOf(target);
  const now = current(item, target);
  const label = !isTags(target) ? name : now.includes(name) ? now.filter((tag) => tag !== name) : [...now, name];
  const text = isTags(target) ? (label.includes(name) ? `${name} is there` : `${name} is not there`) : name;
  store(item, { [target.name]: label }, `Stored: ${target.name}: ${text}.`);
}

function confirm() {
  const item = items[at];
  if (!item?.answers || !takesCorrections) return;
  const labels = Object.fromEntries(model.targets.map((target) => [target.name, current(item, target)]).filter(([, label]) => label !== ""));
  const last = at === items.length - 1;
  const said = items.length === 1 ? "Confirmed and stored." : last ? "Confirmed and stored. That was the last one." : "Confirmed and stored.";
  if (!item.confirmed) store(item, labels, said, true);
  if (!last) go(1);
}

// Shown at once, and sent in the order in which they were made: the last word on a row is the one that holds.
function store(item, labels, said, confirmed = false) {
  const made = model;
  const entry = { item, labels, before: { ...item.labels }, wasConfirmed: item.confirmed, id: null, made };
  item.labels = { ...item.labels, ...labels };
  item.confirmed = confirmed;
  undoable.push(entry);
  draw();
  say(said, { action: "Undo", run: undo });
  const body = fieldsOf(item);
  body.append("model", made.name);
  body.append("labels", JSON.stringify(labels));
  body.append("answers", JSON.stringify(Object.fromEntries(Object.entries(item.answers).map(([name, given]) => [name, given.answer]))));
  unsent++;
  queue = queue.then(async () => {
    try {
      entry.id = (await (await ask("corrections", { method: "POST", body })).json()).id;
    } catch (error) {
      if (undoable.includes(entry)) takeBack(entry);
      say(`Not stored. ${error.message}`, { action: "Try again", run: () => store(item, labels, said, confirmed), lasting: true });
    }
    unsent--;
    counted();
  });
}

function takeBack(entry) {
  undoable = undoable.filter((other) => other !== entry);
  entry.item.labels = entry.before;
  entry.item.confirmed = entry.wasConfirmed;
  if (items.includes(entry.item)) at = items.indexOf(entry.item);
  draw();
}

function undo() {
  const entry = undoable.at(-1);
  if (!entry) { say("Nothing to undo."); return; }
  takeBack(entry);
  say(`Undone: ${and(Object.keys(entry.labels))} ${Object.keys(entry.labels).length === 1 ? "is" : "are"} as before.`);
  unsent++;
  queue = queue.then(async () => {
    try {
      if (entry.id !== null) await ask(`corrections/${entry.id}`, { method: "DELETE" });
    } catch (error) {
      say(`Not undone. ${error.message}`, { lasting: true });
    }
    unsent--;
    counted();
  });
}

async function counted() {
  if (!takesCorrections || unsent) return;
  try {
    const { count, commands } = await (await ask("corrections/count")).json();
    $("stored").hidden = !count;
    $("stored-count").textContent = `${plural(count, "row")} corrected or confirmed`;
    $("how").textContent = commands.length ? "Unpack it, and learn from it with" : "To learn from them takes two classes of a target: correct or confirm some more.";
    $("commands").replaceChildren(...commands.map((command) => h("div", { className: "line" }, h("code", {}, command),
      navigator.clipboard ? h("button", { className: "button", type: "button", onclick: () => navigator.clipboard.writeText(command).then(() => say("Copied."), () => say("The browser did not allow copying. Select the line instead.")) }, "Copy") : null)));
  } catch { /* what matters was said when storing */ }
}

// ---- the table and its file -----------------------------------------------------------------------

let drawing = false;
function drawRows() {
  $("rows").hidden = items.length < 2;
  if (items.length < 2 || drawing) return;
  drawing = true; // once a frame, however many answers come
  requestAnimationFrame(() => { drawing = false; fillRows(); });
}

function fillRows() {
  const done = items.filter((item) => item.answers || item.error).length;
  $("count").textContent = done < items.length ? `${number(done)} of ${plural(items.length, "picture")} answered` : plural(items.length, "picture");
  const [head, body] = [document.querySelector("#rows thead"), document.querySelector("#rows tbody")];
  if (head.dataset.model !== model.name) {
    head.dataset.model = model.name;
    head.replaceChildren(h("tr", {}, h("th", {}, h("span", { className: "unseen" }, "picture")), h("th", { scope: "col" }, "file"), ...model.targets.map(({ name }) => h("th", { scope: "col" }, name))));
  }
  while (body.rows.length > items.length) body.lastElementChild.remove();
  items.forEach((item, index) => {
    const state = JSON.stringify([item.name, item.labels, item.confirmed, item.error, item.answers && 1]);
    let row = body.rows[index];
    if (!row || row.item !== item || row.state !== state) {
      const made = h("tr", { onclick: () => { at = items.indexOf(item); draw(); if (innerWidth < 832) $("work").scrollIntoView(); } },
        h("td", {}, h("img", { className: "thumb", src: item.url, alt: "", loading: "lazy", onerror: (event) => event.target.removeAttribute("src") })),
        h("td", {}, h("button", { type: "button" }, item.name)), ...cells(item));
      Object.assign(made, { item, state });
      row ? row.replaceWith(made) : body.append(made);
      row = made;
    }
    row.classList.toggle("now", index === at);
  });
}

function cells(item) {
  if (item.error) return [h("td", { className: "wrong", colSpan: model.targets.length }, item.error)];
  if (!item.answers) return [h("td", { className: "quiet", colSpan: model.targets.length }, "…")];
  return model.targets.map((target) => {
    const now = current(item, target);
    const note = Object.hasOwn(item.labels, target.name) ? "✓" : isTags(target) ? "" : percent(item.answers[target.name]?.probabilities[now] ?? 0);
    return h("td", {}, isTags(target) ? now.join(", ") || "none" : now, " ", h("small", {}, note));
  });
}

// The columns of `manyhot predict`, and NAME_corrected where people said something; formulas do not run.
function csv() {
  const risky = /^'*[=+\-@\t\r]/, plain = /^[+-]?[\d.,]*\d[\d.,]*([eE][+-]?\d+)?$/;
  const cell = (value) => {
    let text = String(value ?? "");
    if (risky.test(text) && !plain.test(text)) text = `'${text}`;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const joined = (value) => (Array.isArray(value) ? value.join(";") || "[]" : value);
  const said = model.targets.filter(({ name }) => items.some((item) => Object.hasOwn(item.labels, name)));
  const head = ["file", ...columns().map(({ name }) => name)];
  for (const { name, classes } of model.targets) head.push(name, ...classes.map((each) => `${name}.${each}`));
  head.push(...said.map(({ name }) => `${name}_corrected`), "error");
  const lines = items.map((item) => {
    const line = [item.name, ...columns().map(({ name }) => item.values[name])];
    for (const { name, classes } of model.targets) {
      const given = item.answers?.[name];
      line.push(joined(given?.answer), ...classes.map((each) => given && Number(given.probabilities[each].toFixed(6))));
    }
    return [...line, ...said.map(({ name }) => joined(Object.hasOwn(item.labels, name) ? item.labels[name] : "")), item.error || item.note];
  });
  download(new Blob([[head, ...lines].map((line) => line.map(cell).join(",") + "\r\n").join("")], { type: "text/csv" }), "answers.csv");
}

function download(blob, name) {
  const href = URL.createObjectURL(blob);
  h("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60000);
}

async function zip() {
  try {
    await queue; // what was just said belongs in it
    download(await (await ask("corrections.zip")).blob(), "corrections.zip");
  } catch (error) {
    say(error.message, { action: "Try again", run: zip, lasting: true });
  }
}

// ---- keys -----------------------------------------------------------------------------------------

function keyed(event) {
  const { key, target } = event;
  if (document.querySelector("dialog[open]")) return;
  if (target.matches("input, select, textarea")) {
    if (target.form === $("form") && (key === "Enter" || key === "Escape")) { event.preventDefault(); target.blur(); }
    return;
  }
  if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === "z" && !event.shiftKey) { event.preventDefault(); undo(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const item = items[at];
  const named = model?.targets[active];
  const place = KEYS.indexOf(key.toLowerCase());
  if (key === "?") { $("keys").showModal(); }
  else if (key === "ArrowLeft" || key === "ArrowRight") go(key === "ArrowLeft" ? -1 : 1);
  else if ((key === "ArrowUp" || key === "ArrowDown") && takesCorrections && item?.answers && model.targets.length > 1 && !target.closest(".scroll")) turn(key === "ArrowUp" ? -1 : 1);
  else if (key === "Enter" && !target.matches("button, a, summary")) confirm();
  else if (key.toLowerCase() === "u" && takesCorrections) undo();
  else if (place >= 0 && takesCorrections && item?.answers?.[named.name]) {
    const name = shown(item, named)[place];
    if (name === undefined) return;
    choose(item, named, name);
  } else return;
  event.preventDefault();
}

function turn(step) {
  const count = model.targets.length;
  active = (active + step + count) % count;
  draw();
  document.querySelector(".target.now")?.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function listKeys() {
  const several = model.targets.length > 1;
  const keys = [
    takesCorrections && [["1", "…", "9", "0", "a", "…"], "choose the answer beside which the key stands; of tags, turn it on or off"],
    takesCorrections && [["Enter"], "all right: store it, and go on to the next"],
    takesCorrections && [["U", "Ctrl+Z"], "undo"],
    takesCorrections && several && [["↑", "↓"], "another target"],
    images().length && [["←", "→"], "another picture"],
    images().length && [["Ctrl+V"], "paste a picture"],
    [["?"], "these keys"],
  ].filter(Boolean);
  $("key-list").replaceChildren(...keys.flatMap(([names, text]) => [h("dt", {}, ...names.map((name) => (name === "…" ? "…" : h("kbd", {}, name)))), h("dd", {}, text)]));
}

// ---- which model ----------------------------------------------------------------------------------

const SCORES = { accuracy: "right", exact_match: "all tags right", micro_f1: "micro F1" };

function aboutModel() {
  const card = model.card ?? {};
  const scores = card.scores?.targets ?? card.scores ?? {};
  const parts = [];
  const rows = card.rows?.train ?? card.rows;
  const when = typeof card.trained === "string" && !isNaN(Date.parse(card.trained)) ? ` on ${new Date(card.trained).toLocaleDateString("en-GB", { dateStyle: "long" })}` : "";
  if (rows) parts.push(`Trained${when} with ${plural(rows, "row")}${card.source ? ` of ${card.source}` : ""}. `);
  const best = model.targets.flatMap(({ name }) => {
    const metric = Object.keys(SCORES).find((key) => typeof scores[name]?.[key] === "number");
    return metric ? [`${name} ${percent(scores[name][metric])}${metric === "accuracy" ? "" : ` (${SCORES[metric]})`}`] : [];
  });
  if (best.length) parts.push(`On rows it had not seen it was right: ${and(best.slice(0, 4))}${best.length > 4 ? ` and ${best.length - 4} more` : ""}. `);
  const table = Object.entries(scores).filter(([, each]) => each && typeof each === "object");
  if (table.length) {
    parts.push(h("details", {}, h("summary", {}, "All scores"), h("table", { className: "scores" }, h("tbody", {}, ...table.map(([name, each]) =>
      h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, Object.entries(each).filter(([, value]) => typeof value === "number").map(([metric, value]) => `${metric.replaceAll("_", " ")} ${value.toFixed(3)}`).join(" · "))))))));
  }
  $("about").replaceChildren(...parts);
  $("about").hidden = !parts.length;
}

function use(name) {
  model = models.find((each) => each.name === name) ?? models[0];
  open.clear();
  shares.clear();
  active = 0;
  document.title = `${model.name} · manyhot`;
  $("name").textContent = model.name;
  const words = images().length > 1 ? `Drop ${images().length} photos here` : "Drop a photo here";
  $("invite").textContent = coarse ? "Show me a photo" : words;
  aboutModel();
  listKeys();
  clear();
}

async function begin() {
  try {
    const found = await (await ask("models")).json();
    problem("");
    models = found.models;
    takesCorrections = found.corrections;
    $("models").hidden = models.length < 2;
    $("name").classList.toggle("unseen", models.length > 1);
    $("model").replaceChildren(...models.map(({ name }) => h("option", { value: name }, name)));
    use(models[0].name);
    counted();
  } catch (error) {
    problem(error instanceof Said ? error.message : "This page could not begin. Load it again.", begin);
    if (!(error instanceof Said)) throw error;
  }
}

// ---- listening ------------------------------------------------------------------------------------

document.addEventListener("keydown", keyed);
document.addEventListener("paste", (event) => { if (event.clipboardData?.files.length) { event.preventDefault(); add(event.clipboardData.files); } });
let over = 0; // drag events come for every element on the way
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => { if (hasFiles(event)) { over++; document.body.classList.add("dragging"); } });
document.addEventListener("dragleave", (event) => { if (hasFiles(event) && --over <= 0) { over = 0; document.body.classList.remove("dragging"); } });
document.addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  over = 0;
  document.body.classList.remove("dragging");
  if (event.dataTransfer?.files.length) { event.preventDefault(); add(event.dataTransfer.files); }
});
for (const box of document.querySelectorAll(".choose")) box.addEventListener("change", () => { add(box.files); box.value = ""; });
addEventListener("beforeunload", (event) => { if (unsent) event.preventDefault(); });
$("model").onchange = () => use($("model").value);
$("form").onsubmit = (event) => event.preventDefault();
$("before").onclick = () => go(-1);
$("after").onclick = () => go(1);
$("clear").onclick = clear;
$("picture").onerror = () => { $("picture").hidden = true; }; // what the browser cannot show, the server may read
$("confirm").onclick = (event) => { if (event.detail) event.currentTarget.blur(); confirm(); };
$("csv").onclick = csv;
$("zip").onclick = zip;
$("help").onclick = () => $("keys").showModal();
$("keys-close").onclick = () => $("keys").close();
const begun = begin();
