// What the user has chosen; the browser keeps it, but for the key, which lasts as long as the tab.

import { microphones } from "./microphone.js";

const KEPT = ["voice", "instructions", "turns", "silence", "device", "theme"];
const START = { voice: "", instructions: "", turns: "auto", silence: "500", device: "", theme: "", key: "" };

export class Settings {
  /** `changed` is called whenever the dialog is closed. */
  constructor(dialog, changed) {
    this.dialog = dialog;
    this.fields = Object.fromEntries([...KEPT, "key"].map((name) => [name, dialog.querySelector(`#${name}`)]));
    const fragment = new URLSearchParams(location.hash.slice(1)); // a launcher may hand the key over there
    for (const [name, field] of Object.entries(this.fields)) this.put(field, this.stored(name));
    if (fragment.has("key")) this.fields.key.value = fragment.get("key");
    dialog.addEventListener("input", () => this.show());
    dialog.addEventListener("close", () => {
      this.keep();
      changed(this);
    });
    this.show();
  }

  get key() {
    return this.fields.key.value;
  }

  get device() {
    return this.fields.device.value;
  }

  /** The part that the server gets. */
  get session() {
    const { voice, instructions, turns, silence } = this.fields;
    return { voice: voice.value, instructions: instructions.value.trim(), turns: turns.value, silence: Number(silence.value) };
  }

  async open() {
    if (this.dialog.open) return;
    this.dialog.showModal();
    const found = await microphones();
    const names = found.map(({ deviceId, label }, i) => [deviceId, label || `Microphone ${i + 1}`]);
    this.choices("device", [["", "as the browser chooses"], ...names]);
  }

  /** Offers voices by name. */
  voices(names) {
    this.choices("voice", [["", "the model's own"], ...names.map((name) => [name, name])]);
  }

  choices(name, options) {
    const chosen = this.fields[name].value || this.stored(name);
    this.fields[name].replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    this.put(this.fields[name], options.some(([value]) => value === chosen) ? chosen : "");
  }

  put(field, value) {
    if (field.tagName === "SELECT" && ![...field.options].some((option) => option.value === value))
      field.add(new Option(value, value));
    field.value = value;
  }

  stored(name) {
    return (name === "key" ? sessionStorage : localStorage).getItem(`fac.${name}`) ?? START[name];
  }

  keep() {
    for (const [name, { value }] of Object.entries(this.fields))
      (name === "key" ? sessionStorage : localStorage).setItem(`fac.${name}`, value);
  }

  show() {
    const { silence, turns, theme } = this.fields;
    this.dialog.querySelector("#silence-shown").value = `${silence.value} ms`;
    this.dialog.querySelector("#silence-field").hidden = turns.value === "hold";
    document.documentElement.style.colorScheme = theme.value;
    this.dialog.dispatchEvent(new Event("themed"));
  }
}
