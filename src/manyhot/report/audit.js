"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const items = data.items, card = document.getElementById("card"), body = document.querySelector("#list tbody");
  const key = `manyhot audit ${document.title} ${items.length} ${items.map((i) => i.index).join(",").length}`;
  let decided = new Map(), at = 0, only = "", shown = items.map((_, n) => n), editing = false, tags = null;
  try { decided = new Map(JSON.parse(localStorage.getItem(key) || "[]")); } catch { /* nothing is kept here */ }

  // An element with words in it; what users gave is only ever text.
  const make = (name, words = "", style = "") => {
    const found = document.createElement(name);
    if (words !== "") found.textContent = words;
    if (style) found.className = style;
    return found;
  };
  const yes = (text) => ["1", "1.0", "true", "yes", "y", "t", "x"].includes(text.trim().toLowerCase());
  const row = (i) => data.rows[i];
  const removes = (item) => ["duplicate", "unreadable"].includes(item.problem);
  const can = (item) => item.changes.length > 0 || removes(item);

  function tagsOf(item, text) {
    const target = data.targets[item.target];
    if (!text || text === "[]") return new Set();
    return new Set(text.split(";").filter((tag) => target.classes.includes(tag)));
  }
  // The cells to be written for a label: a class, or a set of tags.
  function cells(item, label) {
    const target = data.targets[item.target];
    if (target.exclusive) return [[target.columns[0], item.was[0], label]];
    if (target.columns.length > 1) return target.columns.flatMap((column, n) => {
      const given = item.was[n], wanted = label.has(target.classes[n]);
      return given && yes(given) !== wanted ? [[column, given, target.flags[column][wanted ? 1 : 0]]] : [];
    });
    const given = item.was[0], mark = target.separators.find((s) => given.includes(s)) ?? target.separators[0] ?? ";";
    return [[target.columns[0], given, [...label].join(mark) || "[]"]];
  }

  function decide(what) {
    const n = shown[at];
    if (n === undefined) return;
    if (what === null) decided.delete(n); else decided.set(n, what);
    try { localStorage.setItem(key, JSON.stringify([...decided])); } catch { /* nothing is kept here */ }
    editing = false;
    if (what === null) draw(); else move(1);
  }
  const accept = () => {
    const item = items[shown[at]];
    if (!item || !can(item)) return;
    decide(removes(item) ? { action: "remove" } : { action: "change", changes: item.changes, label: item.suggested });
  };
  const keep = () => decide({ action: "keep" });
  const remove = () => { if (items[shown[at]]?.index >= 0) decide({ action: "remove" }); };
  const undo = () => decide(null);
  function other() {
    const item = items[shown[at]];
    if (!item || !data.targets[item.target] || item.problem === "leak") return;
    editing = !editing;
    tags = data.targets[item.target].exclusive ? null : tagsOf(item, decided.get(shown[at])?.label ?? item.given);
    draw();
    (card.querySelector(".tags button") ?? card.querySelector("select"))?.focus();
  }
  function change(label) {
    const changes = cells(items[shown[at]], label).filter(([, given, value]) => given !== value);
    if (!changes.length) return keep();
    decide({ action: "change", changes, label: typeof label === "string" ? label : [...label].join(";") || "[]" });
  }
  function move(step) {
    at = Math.max(0, Math.min(shown.length - 1, at + step));
    editing = false;
    draw();
  }

  const told = (what) => what ? { change: `→ ${what.label}`, remove: "left out", keep: "stays" }[what.action] : "";
  function button(words, hint, act, style = "", on = false) {
    const found = make("button", words, `${style}${on ? " on" : ""}`.trim());
    found.type = "button";
    if (hint) found.append(make("kbd", hint));
    found.addEventListener("click", act);
    return found;
  }
  function picture(i) {
    const figure = make("figure"), image = make("img");
    image.src = row(i).picture;
    image.alt = `row ${row(i).row}`;
    figure.append(image, make("figcaption", `row ${row(i).row}`));
    return figure;
  }
  function lines(i) {
    const found = make("p", "", "cells");
    data.columns.forEach((name, n) => {
      if (n) found.append(" · ");
      found.append(`${name} `, make("b", row(i).cells[n] || "–"));
    });
    return found;
  }

  function draw() {
    const n = shown[at], item = items[n];
    document.getElementById("count").textContent = shown.length ? `${at + 1} of ${shown.length}` : "";
    const done = [...decided.values()], count = (action) => done.filter((each) => each.action === action).length;
    document.getElementById("decided").textContent =
      `${decided.size} of ${items.length} decided: ${count("change")} changed, ${count("remove")} left out, ${count("keep")} as they are`;
    [...body.rows].forEach((line) => {
      const own = Number(line.dataset.n);
      line.classList.toggle("on", own === n);
      line.classList.toggle("done", decided.has(own));
      line.cells[5].textContent = told(decided.get(own));
    });
    card.replaceChildren();
    if (!item) return;
    const pictures = make("div", "", "shown"), about = make("div", "", "about"), what = decided.get(n);
    for (const i of [item.index, item.other]) if (i >= 0 && row(i)?.picture) pictures.append(picture(i));
    card.classList.toggle("pair", pictures.childElementCount > 1);
    card.classList.toggle("bare", !pictures.childElementCount);
    about.append(make("h3", item.index < 0 ? `Column ${item.given}` : `Row ${row(item.index).row}${item.target ? `, ${item.target}` : ""}`));
    about.append(make("p", `${data.words[item.problem]} · score ${item.score.toFixed(3)}${item.note ? ` · ${item.note}` : ""}`, "quiet"));
    if (item.index >= 0) about.append(lines(item.index));
    if (item.other >= 0) about.append(make("p", `beside row ${row(item.other).row}:`, "quiet"), lines(item.other));
    if (item.problem !== "leak" && item.given) {
      const pair = make("dl"), given = make("dd"), suggested = make("dd");
      const old = data.targets[item.target]?.exclusive === false ? tagsOf(item, item.given) : null;
      const fresh = old ? tagsOf(item, item.suggested) : null;
      if (old) {
        for (const tag of old) given.append(make("span", tag, fresh.has(tag) ? "chip" : "chip missed"));
        for (const tag of fresh) suggested.append(make("span", tag, old.has(tag) ? "chip" : "chip extra"));
        if (!old.size) given.append(make("span", "no tags", "chip"));
        if (!fresh.size) suggested.append(make("span", "no tags", "chip"));
      } else {
        given.append(make("span", item.given, "chip missed"));
        if (item.suggested) suggested.append(make("span", item.suggested, "chip extra"));
      }
      pair.append(make("dt", "given"), given);
      if (item.suggested) pair.append(make("dt", "suggested"), suggested);
      if (what) pair.append(make("dt", "decided"), make("dd", told(what)));
      about.append(pair);
    }
    const act = make("div", "", "act"), changed = what?.action === "change";
    if (can(item)) {
      const words = removes(item) ? "Leave the row out" : `Accept ${item.suggested}`;
      act.append(button(words, "a", accept, "main", removes(item) ? what?.action === "remove" : changed && what.label === item.suggested));
    }
    act.append(button("Stays as it is", "s", keep, "", what?.action === "keep"));
    if (data.targets[item.target] && item.problem !== "leak") act.append(button("Another label", "o", other, "", editing));
    if (!removes(item) && item.index >= 0) act.append(button("Leave the row out", "x", remove, "", what?.action === "remove"));
    if (what) act.append(button("Undo", "u", undo));
    about.append(act);
    if (editing) about.append(tags ? tagging(item) : choosing(item));
    card.append(pictures, about);
  }
  function choosing(item) {
    const found = make("div", "", "act"), select = make("select");
    select.setAttribute("aria-label", "another label");
    select.append(make("option", "choose…"));
    for (const name of data.targets[item.target].classes) select.append(make("option", name));
    select.addEventListener("change", () => { if (select.selectedIndex) change(select.value); });
    found.append(select);
    return found;
  }
  function tagging(item) {
    const found = make("div"), chips = make("div", "", "tags"), act = make("div", "", "act");
    for (const name of data.targets[item.target].classes) {
      const chip = button(name, "", () => {
        if (tags.has(name)) tags.delete(name); else tags.add(name);
        chip.setAttribute("aria-pressed", tags.has(name));
      });
      chip.setAttribute("aria-pressed", tags.has(name));
      chips.append(chip);
    }
    act.append(button("Give these tags", "", () => change(tags), "main"));
    found.append(chips, act);
    return found;
  }

  function list() {
    body.replaceChildren(...shown.map((n, place) => {
      const item = items[n], line = make("tr");
      line.dataset.n = n;
      const words = [item.index < 0 ? "–" : row(item.index).row, item.problem, item.given, item.suggested, item.score.toFixed(3), ""];
      words.forEach((text, column) => line.append(make("td", String(text), column === 0 || column === 4 ? "n" : "")));
      line.addEventListener("click", () => { at = place; editing = false; draw(); card.scrollIntoView({ block: "nearest" }); });
      return line;
    }));
    draw();
  }
  for (const each of document.querySelectorAll(".pick")) each.addEventListener("click", () => {
    only = only === each.dataset.problem ? "" : each.dataset.problem;
    document.querySelectorAll(".pick").forEach((b) => b.classList.toggle("on", b.dataset.problem === only));
    shown = items.map((_, n) => n).filter((n) => !only || items[n].problem === only);
    at = 0;
    list();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input")) return;
    const acts = { j: () => move(1), ArrowDown: () => move(1), ArrowRight: () => move(1), k: () => move(-1), ArrowUp: () => move(-1), ArrowLeft: () => move(-1), a: accept, s: keep, o: other, x: remove, u: undo };
    if (event.key === "Escape" && editing) { editing = false; draw(); }
    if (!items.length || !acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
    if (event.key !== "o") card.focus({ preventScroll: true });
  });

  // Text that a spreadsheet would run as a formula gets an apostrophe, which reading takes away again.
  const number = /^[+-]?\p{Sc}?[ \d.,'’]*\d[ \d.,'’]*([eE][+-]?\d+)?[ %\p{Sc}]*$/u;
  function field(value) {
    const text = /^'*[=+\-@\t\r]/.test(value) && !number.test(value) ? `'${value}` : String(value);
    return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }
  function reviewed() {
    const lines = [["row", "action", "column", "given", "value"]];
    const gone = new Set(), last = new Map();
    for (const [n, what] of decided) {
      const item = items[n];
      if (item === undefined || item.index < 0) continue;
      const number = row(item.index).row;
      if (what.action === "remove") gone.add(number);
      for (const [column, given, value] of what.changes ?? []) last.set(`${number} ${column}`, [number, "change", column, given, value]);
      if (what.action === "keep") last.set(`${number} kept ${n}`, [number, "keep", item.target, item.given, item.given]);
    }
    for (const number of gone) lines.push([number, "remove", "", "", ""]);
    for (const line of last.values()) if (!gone.has(line[0])) lines.push(line);
    return lines.map((line) => line.map(field).join(",")).join("\n") + "\n";
  }
  document.getElementById("download").addEventListener("click", () => {
    const link = make("a"), file = URL.createObjectURL(new Blob([reviewed()], { type: "text/csv" }));
    link.href = file;
    link.download = "REVIEWED.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(file), 1000);
  });
  list();
})();
