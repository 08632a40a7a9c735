// The page of a LongLora server: documents and a conversation, kept here; the server keeps nothing but what it has read.
"use strict";

const at = id => document.getElementById(id);
const hint = at("hint");
const documents = [];  // { name, text, tokens }
let messages = [];     // what was said: { role, content }
let asked = 0;         // how many documents stand in the conversation already
let models = [], model = ""; // those of the server, and the name of the one that answers
let context = 0, used = 0, key = "", running = null;

async function call(path, body, options = {}) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (typeof body === "string") headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body, ...options });
  if (response.ok) return response;
  if (response.status === 401) at("key-form").hidden = false;
  const error = await response.json().catch(() => null);
  throw new Error(error?.error?.message ?? `The server answered with ${response.status}.`);
}

// What went wrong, where it was tried: with a document, or with a question.
function problem(text, place = "problem") {
  at(place).hidden = !text;
  at(place).textContent = text ?? "";
}

function number(value) { return value.toLocaleString("en"); }

function show() {
  const inDocuments = documents.reduce((sum, d) => sum + d.tokens, 0);
  const all = Math.max(used, inDocuments);
  const room = context < Infinity ? `${number(all)} of ${number(context)} tokens` : `${number(all)} tokens`;
  const share = value => context ? Math.min(100, 100 * value / context) : 0;
  at("meter-documents").style.width = `${share(inDocuments)}%`;
  at("meter-talk").style.width = `${share(all - inDocuments)}%`;
  at("meter").setAttribute("aria-valuenow", Math.round(share(all)));
  at("meter").setAttribute("aria-valuetext", room);
  at("room").textContent = context < Infinity ? `${room}, ${Math.round(share(all))} %` : room;
  at("choice").disabled = !!running;
  at("again").disabled = !!running || (messages.length === 0 && documents.length === 0);
  at("question").placeholder = documents.length ? "Ask about the document" : "Ask a question";
  at("drop").classList.toggle("small", documents.length > 0);
  at("documents").replaceChildren(...documents.map((d, i) => {
    const item = document.createElement("li"), text = document.createElement("div"), name = document.createElement("b"), size = document.createElement("span");
    name.textContent = d.name;
    name.title = d.name;
    size.textContent = `${number(d.tokens)} tokens, ${share(d.tokens).toFixed(0)} %`;
    text.append(name, size);
    item.append(text);
    if (i >= asked && !running) {
      const remove = document.createElement("button");
      remove.type = "button";
      remove.textContent = "×";
      remove.setAttribute("aria-label", `Take ${d.name} out`);
      remove.onclick = () => { documents.splice(i, 1); show(); };
      item.append(remove);
    }
    return item;
  }));
}

async function add(files) {
  problem();
  const problems = [];
  for (const file of files) {
    at("status").textContent = `reading ${file.name}`;
    try {
      const made = await (await call(`/documents?name=${encodeURIComponent(file.name)}&model=${encodeURIComponent(model)}`, file)).json();
      const before = documents.reduce((sum, d) => sum + d.tokens, 0);
      if (!made.text.trim()) throw new Error(`${file.name} holds no text.`);
      if (before + made.tokens >= context)
        throw new Error(`${made.name} has ${number(made.tokens)} tokens; ${number(Math.max(0, context - before))} of the context are free. Take a part of it, or a model with a longer context.`);
      documents.push(made);
    } catch (error) {
      problems.push(error.message);
    }
  }
  problem(problems.join("\n"));
  at("status").textContent = running ? "answering" : "";
  show();
}

function element(kind, style, text) {
  const made = document.createElement(kind);
  made.className = style;
  made.textContent = text;
  at("messages").append(made);
  return made;
}

function scroll() {
  const box = at("messages");
  if (box.scrollHeight > box.clientHeight) box.scrollTop = box.scrollHeight;
  else window.scrollTo(0, document.body.scrollHeight);
}

async function ask(question) {
  problem("", "failure");
  hint.remove();
  const fresh = documents.slice(asked), sent = documents.length;
  const content = fresh.map(d => d.text.trimEnd() + "\n\n").join("") + question;
  const conversation = [...messages, { role: "user", content }];
  const heading = element("p", "question", question), answer = element("p", "answer busy", "");
  scroll();
  running = new AbortController();
  at("send").hidden = true;
  at("stop").hidden = false;
  at("status").textContent = fresh.length ? `reading ${number(fresh.reduce((sum, d) => sum + d.tokens, 0))} tokens` : "reading";
  show();
  let text = "", usage = null, reason = "", stopped = false, fault = "";
  const progress = comment => {
    const seen = /^reading: (\d+) of (\d+) tokens$/.exec(comment);
    if (seen) at("status").textContent = `reading, ${number(+seen[1])} of ${number(+seen[2])} tokens`;
  };
  const began = performance.now();
  let first = 0;
  try {
    const body = JSON.stringify({ model, messages: conversation, stream: true, stream_options: { include_usage: true } });
    for await (const piece of events(await call("/v1/chat/completions", body, { signal: running.signal }), progress)) {
      if (piece.error) throw new Error(piece.error.message);
      usage = piece.usage ?? usage;
      const choice = piece.choices[0];
      reason = choice?.finish_reason ?? reason;
      if (choice?.delta.content) {
        first ||= performance.now();
        at("status").textContent = "answering";
        text += choice.delta.content;
        answer.textContent = text.trimStart();
        scroll();
      }
    }
    if (!usage) fault = "The answer broke off: the server ended it.";
  } catch (error) {
    stopped = running.signal.aborted;
    fault = stopped ? "" : error instanceof TypeError ? "The server does not answer. Is it still running?" : error.message;
  }
  problem(fault, "failure");
  running = null;
  at("send").hidden = false;
  at("stop").hidden = true;
  answer.classList.remove("busy");
  at("status").textContent = "";
  if (text || usage) {
    messages = [...conversation, { role: "assistant", content: text }];
    asked = sent;
    used = usage?.total_tokens ?? await count();
    const seconds = (performance.now() - (first || began)) / 1000;
    const known = usage?.prompt_tokens_details.cached_tokens;
    element("p", "facts", stopped ? "stopped" : !usage ? "broken off" : `${number(usage.prompt_tokens)} tokens read${known ? ` (${number(known)} known already)` : ""}, ${number(usage.completion_tokens)} written, ${(usage.completion_tokens / Math.max(seconds, 1e-3)).toFixed(0)} a second${reason === "length" ? "; cut off at the limit" : ""}`);
    passages(question, text);
  } else {
    heading.remove();
    answer.remove();
    at("question").value = question;
  }
  show();
  scroll();
  at("question").focus();
}

// Tokens of a conversation whose answer was cut short, for which the server sent no numbers.
async function count() {
  try {
    return (await (await call("/tokens", JSON.stringify({ model, messages }))).json()).tokens;
  } catch {
    return used;
  }
}

// Server-sent events of a response, until [DONE]. Comments say how much of the prompt has been read.
async function* events(response, onComment) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    for (let end = held.indexOf("\n\n"); end >= 0; end = held.indexOf("\n\n")) {
      const event = held.slice(0, end), data = event.replace(/^data: /, "");
      held = held.slice(end + 2);
      if (event.startsWith(": ")) {
        onComment(event.slice(2));
        continue;
      }
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

const words = text => text.toLowerCase().match(/[\p{L}\p{N}]{2,}/gu) ?? [];

// Paragraphs that share the rarest words with question and answer: where to look, not what the model looked at.
function passages(question, answer) {
  const parts = documents.flatMap(d => d.text.split(/\n\s*\n|(?<=[.!?])\s+(?=\p{Lu})/u).map(t => t.trim()).filter(t => t.length > 20).map(text => ({ name: d.name, text, words: new Set(words(text)) })));
  if (parts.length === 0) return;
  const counts = new Map();
  for (const part of parts) for (const word of part.words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const weight = word => counts.has(word) ? Math.max(0, Math.log(parts.length / counts.get(word))) : 0;
  const wanted = new Map([...new Set(words(question))].map(w => [w, weight(w)]));
  for (const word of new Set(words(answer))) wanted.set(word, (wanted.get(word) ?? 0) + weight(word));
  const isRare = word => weight(word) > Math.log(parts.length) / 2;
  const score = part => [...part.words].reduce((sum, w) => sum + (wanted.get(w) ?? 0), 0) / Math.sqrt(8 + part.words.size);
  const best = parts.map(part => ({ part, score: score(part) })).filter(p => p.score > 0.5).sort((a, b) => b.score - a.score).slice(0, 3);
  if (best.length === 0) return;
  const box = element("details", "", ""), title = document.createElement("summary");
  title.textContent = best.length === 1 ? "1 passage with these words" : `${best.length} passages with these words`;
  box.append(title, ...best.map(({ part }) => {
    const quote = document.createElement("blockquote"), from = document.createElement("cite");
    const cut = part.text.length > 500 ? part.text.slice(0, 500) + " ..." : part.text;
    for (const piece of cut.split(/([\p{L}\p{N}]+)/u)) {
      const word = piece.toLowerCase();
      if (!wanted.has(word) || !isRare(word)) { quote.append(piece); continue; }
      const mark = document.createElement("mark");
      mark.textContent = piece;
      quote.append(mark);
    }
    from.textContent = part.name;
    quote.append(from);
    return quote;
  }));
}

async function connect() {
  try {
    models = (await (await call("/v1/models")).json()).data;
    at("choice").replaceChildren(...models.map(m => new Option(m.id)));
    at("choice").hidden = models.length === 1;
    at("key-form").hidden = true;
    choose(models[0].id);
  } catch (error) {
    at("model").textContent = "not connected";
    problem(error instanceof TypeError ? "The server does not answer. Is it still running?" : error.message);
  }
}

// A conversation goes on with another model where one is chosen.
function choose(name) {
  const { id, context_length: length, chat } = models.find(m => m.id === name);
  model = id;
  context = length ?? Infinity; // none while old text is forgotten
  const room = context < Infinity ? `${number(context)} tokens` : "without end";
  at("model").textContent = models.length === 1 ? `${id}, ${context < Infinity ? `${room} of context` : `texts ${room}`}` : room;
  problem(chat ? "" : "This model has no chat template; start the server with --template.");
  show();
}

at("choice").onchange = event => choose(event.target.value);
at("file").onchange = event => { add([...event.target.files]); event.target.value = ""; };
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, event => { event.preventDefault(); at("drop").classList.add("over"); });
for (const name of ["dragleave", "drop"]) document.addEventListener(name, event => { event.preventDefault(); if (name === "drop" || !event.relatedTarget) at("drop").classList.remove("over"); });
document.addEventListener("drop", event => add([...event.dataTransfer.files]));
at("ask").onsubmit = event => {
  event.preventDefault();
  const question = at("question").value.trim();
  if (!question || running) return;
  at("question").value = "";
  ask(question);
};
at("question").onkeydown = event => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("ask").requestSubmit();
  }
};
at("stop").onclick = () => running?.abort();
at("again").onclick = () => {
  messages = [];
  documents.length = asked = used = 0;
  at("messages").replaceChildren(hint);
  problem();
  problem("", "failure");
  show();
  at("question").focus();
};
at("key-form").onsubmit = event => { event.preventDefault(); key = at("key").value; connect(); };
connect();
