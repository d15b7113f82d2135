// The page: puts the talk and its views together, and turns what the user does into what the talk does.

import { Events } from "./events.js";
import { Latency } from "./latency.js";
import { Echo, level } from "./levels.js";
import { whyNoMicrophone } from "./microphone.js";
import { RATE } from "./pcm.js";
import { offerQuestions } from "./questions.js";
import { save } from "./recording.js";
import { Settings } from "./settings.js";
import { ask } from "./socket.js";
import { Spectrogram } from "./spectrogram.js";
import { showStatus } from "./status.js";
import { Talk } from "./talk.js";
import { Tokens } from "./tokens.js";
import { Transcript } from "./transcript.js";

const $ = (id) => document.getElementById(id);
const talk = new Talk();
const transcript = new Transcript($("transcript"));
const tokens = new Tokens($("tokens"), $("tokens-caption"));
const latency = new Latency($("latency"), $("headline"), $("latency-note"));
const events = new Events($("events"), $("events-caption"));
const echo = new Echo();
const settings = new Settings($("settings"), ({ session }) => {
  talk.set(session);
  if (!model) findModel();
});
const spectrogram = new Spectrogram([
  { canvas: $("you-sound"), analyser: () => listened() },
  { canvas: $("model-sound"), analyser: () => talk.sound?.output },
]);
let model = new URLSearchParams(location.search).get("model");
let warned = false; // of an echo

function listened() {
  if (talk.stopAsking) return talk.sound.asked;
  return talk.muted ? null : talk.microphone?.analyser;
}

function showState() {
  showStatus(talk);
  $("text").placeholder = talk.phase === "on" && talk.live ? "Or add an instruction" : "Or type a message";
  $("fresh-talk").disabled = $("save-audio").disabled = $("save-events").disabled = talk.recording.empty;
  keepAwake(talk.phase !== "off");
}

function fault(text, tone = "bad") {
  $("fault").dataset.tone = tone;
  $("fault").textContent = text;
  $("fault").hidden = !text;
}

async function begin(withMicrophone) {
  fault("");
  talk.settings = settings.session;
  const live = document.querySelector("[name=mode]:checked").value === "full";
  const find = async () => {
    if (!model) await findModel();
    return { live, model: model ?? "", key: settings.key, device: settings.device };
  };
  await talk.start(find, withMicrophone).catch((problem) => fault(problem.message));
}

/** Begins another connection, if there is one, after a change that this one cannot take. */
async function again() {
  if (talk.phase === "off") return;
  const withMicrophone = talk.microphone !== null;
  talk.stop();
  await begin(withMicrophone);
}

/** Waits until a talk is on; begins one, without a microphone, if there is none. */
async function ready() {
  if (talk.phase === "off") await begin(false);
  else if (talk.phase !== "on") await talk.whenOn();
}

// The big button, and space.
const ACTIONS = {
  off: () => begin(true),
  typing: () => talk.listen().catch((problem) => fault(problem.message)),
  connecting: () => talk.stop(),
  waiting: () => talk.stop(),
  thinking: () => talk.interrupt(),
  speaking: () => talk.interrupt(),
  listening: () => talk.mute(true),
  live: () => talk.mute(true),
  muted: () => talk.mute(false),
  hearing: () => talk.commit(),
  holding: () => {},
};

const held = () => talk.phase === "on" && talk.byHand && talk.microphone;

function press() {
  if (held()) talk.hold();
  else ACTIONS[talk.state]();
}

function release() {
  if (talk.held) talk.release();
}

async function write(event) {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  await ready();
  $("text").value = "";
  talk.write(text);
}

function fresh() {
  talk.stop();
  talk.forget();
  for (const view of [transcript, tokens, latency, events]) view.clear();
  fault("");
  showState();
}

async function findModel() {
  const { status, body } = await ask("v1/models", settings.key);
  const names = (body?.data ?? []).map(({ id }) => id);
  model ??= names[0] ?? null;
  if (status === 401) settings.open();
  if (!model) return;
  if (!names.includes(model)) names.push(model); // of the address; the server says that there is none
  $("model").replaceChildren(...names.map((name) => new Option(name, name, false, name === model)));
  $("model").disabled = names.length < 2;
  const about = await ask(`v1/models/${encodeURIComponent(model)}`, settings.key);
  settings.voices(about.body?.voices ?? []);
  $("recorded").hidden = !about.body?.recorded;
}

let awake = null; // the promise of a lock that keeps the screen on

function keepAwake(on) {
  if (on) awake ??= navigator.wakeLock?.request("screen").catch(() => null);
  else {
    awake?.then((lock) => lock?.release());
    awake = null;
  }
}

let told = 0; // when the levels were told to screen readers

function showLevel(side, value, now) {
  document.querySelector(`.${side}-ring`).style.setProperty("--level", value.toFixed(3));
  $(`${side}-level`).style.setProperty("--level", value.toFixed(3));
  if (now === told) $(`${side}-level`).setAttribute("aria-valuenow", String(Math.round(100 * value)));
}

function draw(now) {
  if (now - told > 500) told = now;
  const you = level(listened());
  const its = level(talk.sound?.output);
  showLevel("you", you, now);
  showLevel("model", its, now);
  spectrogram.draw(now);
  if (talk.playing && talk.microphone && !warned && echo.leaks(you, its)) {
    warned = true;
    transcript.note("The microphone hears the loudspeaker. Headphones would keep the model from interrupting itself.");
  }
  requestAnimationFrame(draw);
}

talk
  .on("state", showState)
  .on("user", (turn) => transcript.user(turn, talk.transcribes))
  .on("text", (reply) => {
    transcript.reply(reply);
    if (reply.finished) tokens.played(reply);
  })
  .on("cut", (reply) => transcript.reply(reply))
  .on("heard", (reply) => {
    transcript.reply(reply);
    tokens.played(reply);
  })
  .on("reply", (reply) => {
    latency.reply(reply);
    transcript.reply(reply);
  })
  .on("ended", (ended) => latency.begin(ended))
  .on("first", (first) => latency.first(first))
  .on("timing", ({ reply, timing }) => latency.server(reply, timing))
  .on("step", (step) => tokens.add(step))
  .on("vad", ({ probability }) => ($("vad").textContent = `speech ${probability.toFixed(2)}`))
  .on("log", (line) => events.add(line))
  .on("note", (text) => transcript.note(text))
  .on("fault", ({ text, key }) => {
    fault(text);
    if (key) settings.open();
  })
  .on("playback", ({ reply, buffered, underruns }) => {
    const gaps = underruns ? `${underruns} ${underruns > 1 ? "gaps" : "gap"}` : "no gap";
    $("playback").textContent = reply === null ? gaps : `${(buffered / RATE).toFixed(1)} s ahead, ${gaps}`;
  });

$("main").addEventListener("pointerdown", ({ pointerId }) => {
  if (!held()) return;
  $("main").setPointerCapture(pointerId);
  press();
});
$("main").addEventListener("pointerup", release);
$("main").addEventListener("pointercancel", release);
$("main").addEventListener("click", () => held() || press());
$("mute").addEventListener("click", () => talk.mute(!talk.muted));
$("leave").addEventListener("click", () => talk.stop());
$("fresh-talk").addEventListener("click", fresh);
$("composer").addEventListener("submit", write);
$("open-settings").addEventListener("click", () => settings.open());
$("settings").addEventListener("themed", () => spectrogram.colours());
$("save-audio").addEventListener("click", () => save(talk.recording.wav(), `${talk.recording.name}.wav`));
$("save-events").addEventListener("click", () => save(talk.recording.jsonl(), `${talk.recording.name}.jsonl`));
for (const choice of document.querySelectorAll("[name=mode]")) choice.addEventListener("change", again);
$("model").addEventListener("change", async () => {
  model = $("model").value;
  await again();
});
window.addEventListener("blur", release);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") awake = null; // the browser takes the lock back
  else keepAwake(talk.phase !== "off");
});

// Space belongs to the big button, unless the focus is where it means something else.
const ours = ({ key, target }) => key === " " && !target.closest("input:not([type=radio]), textarea, select, summary, button:not(#main)");
const plain = (event) => !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest("input[type=text], dialog");
document.addEventListener("keydown", (event) => {
  if (!plain(event)) return;
  if (ours(event)) {
    event.preventDefault();
    if (!event.repeat) press();
  } else if (event.key === "m" && !$("mute").disabled) talk.mute(!talk.muted);
  else if (event.key === "Escape" && talk.phase !== "off") talk.stop();
  else if (event.key === "/") {
    event.preventDefault();
    $("text").focus();
  }
});
document.addEventListener("keyup", (event) => {
  if (!ours(event)) return;
  event.preventDefault(); // no click as well
  release();
});

if (matchMedia("(max-width: 900px)").matches) for (const panel of document.querySelectorAll("aside details")) panel.open = false;
showState();
fault(whyNoMicrophone(), "info");
findModel();
offerQuestions($("asking"), $("questions"), async (file) => {
  await ready();
  await talk.question(file);
});
requestAnimationFrame(draw);
