// The two streams of the model: a row for each LLM step (5 Hz), its text id and piece over five speech units (25 Hz).

import { UNIT } from "./pcm.js";

const MOST = 600; // rows, two minutes

export class Tokens {
  constructor(list, caption) {
    this.list = list;
    this.caption = caption;
    this.clear();
  }

  clear() {
    this.list.replaceChildren();
    this.cells = []; // of units, in the order in which they are played
    this.lit = null;
    this.reply = null;
    this.caption.textContent = "";
  }

  /** Adds a step: {reply, step, text_id, text, units}. */
  add({ reply, step, text_id: id, text, units }) {
    if (reply !== this.reply) this.clear();
    this.reply = reply;
    if (this.list.childElementCount >= MOST) return;
    const row = document.createElement("li");
    row.append(part("number", step), part("id", id), piece(text));
    const group = part("units", "");
    for (const unit of units) {
      const cell = part("unit", unit);
      cell.style.setProperty("--hue", (unit * 47) % 360);
      group.append(cell);
      this.cells.push(cell);
    }
    row.append(group);
    this.list.append(row);
    this.caption.textContent = `${step + 1} steps, ${this.cells.length} units`;
  }

  /** Lights the unit that is played. */
  played({ id, played, finished }) {
    if (id !== this.reply) return;
    const cell = finished ? null : this.cells[Math.floor(played / UNIT)];
    if (cell === this.lit) return;
    this.lit?.classList.remove("lit");
    cell?.classList.add("lit");
    if (cell && this.lit?.parentElement !== cell.parentElement) this.follow(cell.parentElement.parentElement);
    this.lit = cell ?? null;
  }

  follow(row) {
    this.list.querySelector(".now")?.classList.remove("now");
    row.classList.add("now");
    this.list.scrollTop = row.offsetTop - this.list.clientHeight / 2;
  }
}

function part(name, text) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}

function piece(text) {
  const element = part("piece", text === "" ? "·" : text.replace(/^ /, "␣").replaceAll("\n", "⏎"));
  element.classList.toggle("blank", text === "");
  return element;
}
