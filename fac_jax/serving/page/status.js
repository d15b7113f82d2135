// What is going on, in words and colours, and what the big button would do now.

const PATIENCE = 1500; // milliseconds without an answer after which the page says something

// The name of a state, what the big button does in it, and what is said below.
const STATES = {
  off: ["Ready", "Start talking", "Tap to start"],
  connecting: ["Connecting…", "Cancel", ""],
  waiting: ["Trying again…", "Cancel", ""],
  listening: ["Listening", "Mute the microphone", "Just speak. Tap to mute"],
  hearing: ["Hearing you", "Send now", "Pause, or tap to send now"],
  thinking: ["Thinking…", "Stop", "Tap to stop"],
  speaking: ["Speaking", "Interrupt", "Speak or tap to interrupt"],
  muted: ["Muted", "Unmute the microphone", "Tap to unmute"],
  holding: ["Hold to talk", "Hold to talk", "Hold while you talk"],
  typing: ["Your turn", "Turn on the microphone", "Type, or tap to talk"],
  live: ["Listening and speaking", "Mute the microphone", "Both may speak at once. Tap to mute"],
};

const CONNECTIONS = {
  off: ["", "Offline"],
  connecting: ["wait", "Connecting"],
  on: ["good", "Connected"],
  waiting: ["bad", "Disconnected"],
};

const $ = (id) => document.getElementById(id);
let patience = 0;

/** Shows the state of a talk. */
export function showStatus(talk) {
  const state = talk.state;
  const [name, action, hint] = STATES[state];
  const { body } = document;
  body.dataset.state = state;
  body.classList.toggle("hears", Boolean(talk.microphone));
  $("state").textContent = talk.held ? "Let go to send" : talk.stopAsking ? "Asking" : name;
  $("main").setAttribute("aria-label", action);
  [$("connection").dataset.tone, $("connection").textContent] = CONNECTIONS[talk.phase];
  $("leave").disabled = talk.phase === "off";
  $("mute").disabled = talk.phase !== "on" || !talk.microphone;
  $("mute").setAttribute("aria-pressed", String(talk.muted));
  const why = state === "waiting" ? `${talk.why} Next attempt in ${talk.retryIn} s.` : hint;
  showHint(talk.held ? "" : why, hint !== "");
  clearTimeout(patience);
  if (state === "thinking")
    patience = setTimeout(() => showHint("Still waiting. Others may be ahead; tap to stop", true), PATIENCE);
}

function showHint(text, space) {
  $("hint-text").textContent = text;
  $("space").hidden = !space;
}
