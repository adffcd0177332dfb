"use strict";
// Labels the rows of an audit. Texts are put on the page as text only, never as markup.
(() => {
  const $ = id => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const questions = ["faithful", "complete", "useful"];
  const buttons = [...document.querySelectorAll("[data-name]")];
  let by = data.by, place = 0, labels = {}, kept = true;

  const store = name => `gristmill audit ${data.date} ${data.publication} ${name}`;
  const answered = label => label !== undefined && questions.every(name => label[name] !== undefined);
  const right = label => answered(label) && label.faithful && label.complete && label.useful >= data.min_useful;
  const done = label => answered(label) && label.fault !== undefined;
  const say = text => { $("message").textContent = text; };

  function stored(name) {
    try { return JSON.parse(localStorage.getItem(store(name))) || {}; } catch { return {}; }
  }

  function keep() {
    try { localStorage.setItem(store(by), JSON.stringify(labels)); kept = true; } catch {
      kept = false;
      say("This browser keeps nothing for this page: download the labels before you close it.");
    }
  }

  function open(name) {
    const before = labels, nameless = by === "";
    by = name;
    labels = name === data.by ? {...data.labels} : {};
    for (const [id, label] of Object.entries(stored(name)))
      if (!(Date.parse(labels[id]?.time) > Date.parse(label.time))) labels[id] = label;
    if (nameless && name !== "") {
      if (Object.keys(labels).length === 0) labels = before;
      try { localStorage.removeItem(store("")); } catch { /* nothing is kept there either */ }
    }
    keep();
    place = Math.max(data.rows.findIndex(row => !done(labels[row.id])), 0);
    show();
  }

  function show() {
    const row = data.rows[place];
    $("row").textContent = `${place + 1} of ${data.rows.length} · ${row.domain} · ${row.task} · ${row.language}`;
    $("passage").textContent = row.passage;
    $("passage").lang = row.language;
    $("passage").scrollTop = 0;
    const remarks = [data.written[row.writes], row.written && `The model's text: “${row.written}”`].filter(Boolean);
    $("written").hidden = !remarks.length;
    $("written").textContent = remarks.join(" ");
    $("turns").replaceChildren(...row.turns.flatMap(turn => {
      const role = document.createElement("p"), text = document.createElement("div");
      role.className = "role";
      role.textContent = turn.role;
      text.className = "text";
      text.dir = "auto";
      text.lang = row.language;
      text.tabIndex = 0;
      text.textContent = turn.content;
      return [role, text];
    }));
    mark();
  }

  function mark() {
    const label = labels[data.rows[place].id] || {};
    for (const button of buttons)
      button.setAttribute("aria-pressed", String(label[button.dataset.name]) === button.dataset.value);
    $("note").value = label.note || "";
    const count = data.rows.filter(row => done(labels[row.id])).length;
    $("progress").value = count;
    $("done").textContent = count;
    $("state").textContent = done(label) ? (right(label) ? "Labelled: right." : "Labelled: not right.")
      : answered(label) ? "What is wrong?" : "";
    if (count === data.rows.length) say("All rows are labelled: download the labels.");
  }

  function change(name, value) {
    const id = data.rows[place].id, label = {...labels[id], [name]: value, time: new Date().toISOString()};
    if (name !== "fault" && name !== "note") {
      if (right(label)) label.fault = label.fault ?? "none";
      else if (label.fault === "none") delete label.fault;
    }
    labels[id] = label;
    keep();
    mark();
  }

  function go(to) {
    place = Math.min(Math.max(to, 0), data.rows.length - 1);
    show();
    scrollTo(0, 0);
    $("row").focus({preventScroll: true});
  }

  function next() {
    const after = [...data.rows.keys()].map(step => (place + 1 + step) % data.rows.length);
    go(after.find(to => !done(labels[data.rows[to].id])) ?? place + 1);
  }

  function download() {
    if (!new RegExp("^[\\p{L}\\p{N}_][\\p{L}\\p{N}_.@+-]{0,59}$", "u").test(by)) {
      say("Give your name first: letters and digits, with . _ - + or @ inside.");
      $("by").focus();
      return;
    }
    const rows = data.rows.filter(row => done(labels[row.id]));
    const lines = rows.map(({id}) => {
      const {faithful, complete, useful, fault, note, time} = labels[id];
      const label = {row: id, by, time, publication: data.publication, faithful, complete, useful, fault, note: note || ""};
      return JSON.stringify(label) + "\n";
    });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(lines, {type: "application/jsonl"}));
    link.download = `audit-${data.date}-${by}.jsonl`;
    link.click();
    say(`${rows.length} labels in ${link.download}.`);
    kept = true;
  }

  for (const button of buttons)
    button.addEventListener("click", () => {
      const value = button.dataset.value;
      change(button.dataset.name, button.dataset.name === "fault" ? value : Number(value));
    });
  $("note").addEventListener("input", () => change("note", $("note").value));
  $("by").addEventListener("change", () => open($("by").value.trim()));
  $("label").addEventListener("submit", event => event.preventDefault());
  $("back").addEventListener("click", () => go(place - 1));
  $("next").addEventListener("click", () => go(place + 1));
  $("download").addEventListener("click", download);
  addEventListener("beforeunload", event => { if (!kept) event.preventDefault(); });
  document.addEventListener("keydown", event => {
    const element = event.target, typing = element.matches("input, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (typing) {
      if (event.key === "Escape") element.blur();
      return;
    }
    const button = buttons.find(each => each.dataset.key === event.key.toLowerCase());
    if (button) button.click();
    else if (event.key === "ArrowRight") go(place + 1);
    else if (event.key === "ArrowLeft") go(place - 1);
    else if (event.key === "Enter" && (!element.matches("button, a, summary") || element.ariaPressed === "true")) next();
    else if (event.key === "/") $("note").focus();
    else if (event.key === "?") $("rubric").open = !$("rubric").open;
    else return;
    event.preventDefault();
  });

  $("by").value = by;
  open(by);
  $("rubric").open = Object.keys(labels).length === 0; // for a reader who is new to it
})();
