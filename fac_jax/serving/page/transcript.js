// The words of both sides: what has been heard is dark, what is still to come grey, what was cut off struck out.

export class Transcript {
  constructor(list) {
    this.list = list;
    this.rows = new Map(); // turn -> its row
  }

  clear() {
    this.list.replaceChildren();
    this.rows.clear();
  }

  /** Shows a turn of the user: its text, or that it is being spoken. */
  user(turn, transcribes) {
    const row = this.row(turn, "user", "You");
    const text = row.querySelector("p");
    const waiting = transcribes && turn.text === "" && turn.seconds === undefined;
    row.classList.toggle("speaking", turn.text === "" && turn.seconds === undefined);
    row.classList.toggle("wordless", turn.text === "");
    if (turn.text) text.textContent = turn.text;
    else if (turn.seconds !== undefined) text.textContent = `Spoken, ${turn.seconds.toFixed(1)} s`;
    else text.textContent = waiting ? "…" : "Speaking…";
    this.follow();
  }

  /** Shows a reply as far as it is known and heard. */
  reply(reply) {
    const row = this.row(reply, "model", "Model");
    const [heard, rest] = row.querySelectorAll("span.heard, span.rest");
    const count = reply.heard;
    heard.textContent = reply.text.slice(0, count);
    rest.textContent = reply.text.slice(count);
    row.classList.toggle("empty", reply.text === "" && !reply.finished);
    row.classList.toggle("cut", reply.stopped && reply.finished);
    row.setAttribute("aria-busy", String(!reply.finished)); // screen readers wait until the turn is over
    this.follow();
  }

  /** Adds a remark that is nobody's turn. */
  note(text) {
    const row = document.createElement("li");
    row.className = "note";
    row.textContent = text;
    this.append(row);
  }

  row(turn, side, name) {
    let row = this.rows.get(turn);
    if (row) return row;
    row = document.createElement("li");
    row.className = `turn ${side}`;
    const label = document.createElement("b");
    label.textContent = name;
    const text = document.createElement("p");
    if (side === "model") text.append(span("heard"), span("rest"));
    row.append(label, text);
    this.append(row, turn.at);
    this.rows.set(turn, row);
    return row;
  }

  // What comes late, as the user's words in full duplex, goes before the replies that began later.
  append(row, at) {
    const stuck = this.atEnd();
    let before = null;
    for (const [turn, other] of [...this.rows].reverse()) {
      if (!(turn.at > at || (at !== undefined && turn.at === undefined && turn.finished === false))) break;
      before = other;
    }
    this.list.insertBefore(row, before);
    if (stuck) this.list.scrollTop = this.list.scrollHeight;
  }

  atEnd() {
    return this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 80;
  }

  follow() {
    if (this.atEnd()) this.list.scrollTop = this.list.scrollHeight;
  }
}

function span(name) {
  const element = document.createElement("span");
  element.className = name;
  return element;
}
