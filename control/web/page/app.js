"use strict";

const kept = 120; // seconds of rates
const rates = new Map(); // instance -> [{packets, dropped}]
let before = null;

const get = (id) => document.getElementById(id);

// element makes one with text or children. Text is never read as HTML.
function element(name, content, className) {
  const e = document.createElement(name);
  if (className) e.className = className;
  for (const c of Array.isArray(content) ? content : [content]) {
    e.append(c instanceof Node ? c : document.createTextNode(String(c ?? "")));
  }
  return e;
}

const number = new Intl.NumberFormat("en");
const bytes = (n) => n < 1e4 ? number.format(n) : n < 1e7 ? `${(n / 1e3).toFixed(0)} k` : `${(n / 1e6).toFixed(0)} M`;
const actionClass = (a) => a === "drop" ? "bad" : a.startsWith("would-") ? "doubt" : "good";

// table fills one: columns are [heading, "number" or "text" or "", cell].
function table(id, columns, rows, none) {
  const head = element("tr", columns.map(([heading, kind]) => element("th", heading, kind)));
  const body = rows.map((row) => element("tr", columns.map(([, kind, cell]) => {
    const content = cell(row);
    return content instanceof Node && content.nodeName === "TD" ? content : element("td", content, kind);
  })));
  if (!rows.length) {
    get(id).replaceChildren(element("tbody", element("tr", element("td", none, "none"))));
    return;
  }
  get(id).replaceChildren(element("thead", head), element("tbody", body));
}

function sparkline(points) {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  svg.setAttribute("class", "rate");
  svg.setAttribute("viewBox", `0 0 ${kept} 24`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "packets per second");
  const top = Math.max(1, ...points.map((p) => p.packets));
  for (const [key, className] of [["packets", ""], ["dropped", "drops"]]) {
    const line = document.createElementNS(ns, "polyline");
    if (className) line.setAttribute("class", className);
    line.setAttribute("points", points.map((p, i) => `${kept - points.length + i},${(23 - 22 * p[key] / top).toFixed(1)}`).join(" "));
    svg.append(line);
  }
  return svg;
}

const both = (i, field) => i.flows[0][field] + i.flows[1][field];

function rate(i, now) {
  const old = before?.instances.get(i.name);
  if (!old) return null;
  const seconds = (now - before.at) / 1000;
  const grown = (field) => Math.max(0, both(i, field) - both(old, field)) / seconds;
  return {packets: grown("in"), bits: 8 * grown("in_bytes"), dropped: grown("dropped")};
}

function showInstances(list, now) {
  for (const i of list) {
    const r = rate(i, now);
    if (!r) continue;
    const points = rates.get(i.name) ?? [];
    points.push(r);
    rates.set(i.name, points.slice(-kept));
  }
  const last = (i) => rates.get(i.name)?.at(-1) ?? {packets: 0, bits: 0, dropped: 0};
  table("instances", [
    ["Name", "", (i) => i.name],
    ["Mode", "", (i) => element("td", i.protecting ? i.mode : "monitor: NOT PROTECTING", i.protecting ? "" : "bad")],
    ["Chain", "", (i) => (i.chains[0] ?? []).join(" → ")],
    ["Packets/s", "number", (i) => number.format(Math.round(last(i).packets))],
    ["Mbit/s", "number", (i) => (last(i).bits / 1e6).toFixed(2)],
    ["", "", (i) => sparkline(rates.get(i.name) ?? [])],
    ["Connections", "number", (i) => number.format(i.connections)],
    ["In", "number", (i) => number.format(both(i, "in"))],
    ["Repaired", "number", (i) => number.format(both(i, "repaired"))],
    ["Dropped", "number", (i) => element("td", number.format(both(i, "dropped")), both(i, "dropped") ? "number bad" : "number")],
  ], list, "There is no instance: nothing is protected.");
  before = {at: now, instances: new Map(list.map((i) => [i.name, i]))};
}

// showDrops keeps what is open open.
function showDrops(list) {
  const open = new Set([...get("drops").querySelectorAll("details[open]")].map((d) => d.dataset.seq));
  if (!list.length) {
    get("drops").replaceChildren(element("p", "Nothing was dropped or repaired.", "none"));
    return;
  }
  get("drops").replaceChildren(...list.map((d) => {
    const r = d.record;
    const more = [r.field && `${r.field} = ${r.value}`, r.rfc && `RFC ${r.rfc}`, (r.cve ?? []).join(" "), r.client && `client ${r.client}`].filter(Boolean).join(", ");
    const head = element("summary", [
      `${new Date(d.time).toLocaleTimeString("en-GB")} `, element("span", `${r.action} ${r.reason}`, actionClass(r.action)), ` ${d.instance} ${r.flow}: ${more}`,
    ]);
    const rows = d.lines.map((l) => element("tr", [element("td", l.field), element("td", l.received), element("td", r.pair.sent_length ? l.sent : "")], l.changed ? "changed" : ""));
    const heading = element("tr", [element("th", "Field"), element("th", "Received"), element("th", r.pair.sent_length ? "Sent" : "Nothing was sent")]);
    const details = element("details", [head, element("table", [heading, ...rows])]);
    details.dataset.seq = d.seq;
    details.open = open.has(String(d.seq));
    return details;
  }));
}

function showSelftest(result) {
  const good = {stopped: "good", rebuilt: "good", arrived: "bad", "not-covered": "bad", unpublished: "none"};
  const rows = result?.rows ?? [];
  const held = rows.filter((r) => good[r.verdict] === "good").length;
  const violations = result?.violations ?? [];
  get("selftest-when").replaceChildren(...(result ? [
    `${result.time ? `${new Date(result.time).toLocaleString("en-GB")}, ` : ""}version ${result.version ?? "unknown"}, ${result.config || "all that this build has"}, mode ${result.mode}: ${held} of ${rows.length} held`,
    ...violations.map((v) => element("div", `FAILED: ${v}`, "bad")),
  ] : []));
  table("selftest", [
    ["CVE", "", (r) => r.cve],
    // A phone shows the first three without scrolling.
    ["Verdict", "", (r) => element("td", r.verdict, good[r.verdict] ?? "")],
    ["Check", "", (r) => r.check],
    ["Family", "", (r) => r.family],
    ["Evidence", "", (r) => r.evidence],
    ["Plain forwarding", "", (r) => r.baselines?.forwarding ?? ""],
    ["Legitimate twin", "", (r) => r.twin],
  ], rows, "No result yet: promethos selftest --cve");
}

function show(o, connections) {
  const now = Date.now();
  const s = o.stats;
  get("status").textContent = `version ${o.status.version}, process ${o.status.pid}, ${o.status.queue}; ${number.format(s.connections)} connections`;
  const monitored = o.instances.filter((i) => !i.protecting).map((i) => i.name);
  const lost = (s.sources ?? []).reduce((n, q) => n + q.kernel_dropped + q.socket_dropped, 0);
  const warnings = [];
  if (!o.instances.length) warnings.push("There is no instance: nothing is protected.");
  if (monitored.length) warnings.push(`NOT PROTECTING, in mode monitor: ${monitored.join(", ")}.`);
  if (lost) warnings.push(`${number.format(lost)} packets were lost in full queues.`);
  warn(warnings.join(" "));
  showInstances(o.instances, now);
  table("reasons", [
    ["Reason", "", (r) => r.reason],
    ["Instance", "", (r) => r.instance],
    ["Action", "", (r) => element("td", r.action, actionClass(r.action))],
    ["Count", "number", (r) => number.format(r.count)],
    ["RFC", "", (r) => r.rfc],
    ["CVE", "text", (r) => (r.cve ?? []).join(" ")],
  ], o.reasons, "Nothing was dropped or repaired.");
  showDrops(o.drops);
  table("connections", [
    ["Instance", "", (c) => c.instance],
    ["Client", "", (c) => c.client],
    ["Server", "", (c) => c.server],
    ["", "", (c) => c.protocol],
    ["State", "", (c) => c.state],
    ["Client sent", "number", (c) => bytes(c.cs.bytes)],
    ["Server sent", "number", (c) => bytes(c.sc.bytes)],
    ["Sent as", "", (c) => c.sent_as ?? ""],
  ], connections, "No connection is tracked.");
  table("queues", [
    ["Queue", "", (q) => q.name],
    ["Received", "number", (q) => number.format(q.received)],
    ["Let go", "number", (q) => number.format(q.sent)],
    ["Waiting", "number", (q) => number.format(q.depth)],
    ["Lost in the kernel", "number", (q) => number.format(q.kernel_dropped)],
    ["Lost at the socket", "number", (q) => number.format(q.socket_dropped)],
  ], s.sources ?? [], "No queue is open.");
  showSelftest(o.selftest);
  table("modules", [
    ["Module", "", (m) => m.name],
    ["Loaded", "", (m) => m.loaded ? "yes" : "no"],
    ["Functions", "", (m) => (m.functions ?? []).join(", ")],
    ["What it does", "text", (m) => m.doc],
  ], o.modules, "There is no module.");
}

function warn(text) {
  get("warning").hidden = !text;
  get("warning").textContent = text;
}

async function json(path) {
  const r = await fetch(path);
  if (!r.ok) throw new Error(`${path}: ${r.status}`);
  return r.json();
}

async function look() {
  try {
    const [overview, connections] = await Promise.all([json("v1/overview"), json("v1/connections")]);
    show(overview, connections);
  } catch (e) {
    warn(`The daemon does not answer: what follows is old. (${e.message})`);
  }
  setTimeout(look, 1000);
}

look();
